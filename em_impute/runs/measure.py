"""The numbers of a run's report, measured on what the run has left, as far as it came.

That is its snapshot, its summary, its model and its ledger, each read in batches, and the folder of
the last run that published. No Prefect in here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian import EMResult, Observed, PatternSummary
from em_impute.gaussian.families import FactorFit
from em_impute.gaussian.filling import FittedModel
from em_impute.job import CannotRun
from em_impute.job.legible import legible
from em_impute.reporting import matrices, missingness
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.factors import Factors, describe_factors
from em_impute.reporting.fit import describe_fit, describe_groups
from em_impute.reporting.imputations import Imputations, describe_imputations
from em_impute.reporting.means import MeanEstimate, describe_means, estimate_means
from em_impute.reporting.parts import Parts, unmade
from em_impute.reporting.records import (
    CheckRow,
    Column,
    GroupRow,
    Report,
    Runtime,
    Verdict,
    kept,
)
from em_impute.reporting.rows_of_model import RowsOfModel, describe_rows
from em_impute.reporting.sensitivity import Sensitivity, describe_sensitivity
from em_impute.reporting.verdict import verdict_on
from em_impute.runs.manifest import Manifest
from em_impute.runs.measure_columns import (
    measure_columns,
    measure_levels,
    with_left,
)
from em_impute.runs.measure_components import measure_components
from em_impute.runs.measure_drift import measure_drift, published_before
from em_impute.runs.measure_missingness import count_missing, mcar_tests, measure_patterns
from em_impute.runs.model_rows import kept_summary
from em_impute.runs.run import Found, Loaded, Run
from em_impute.runs.survey import FirstPass, Known, Survey
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.columns.unfilled import Unfilled, find_unfilled, unfilled_in_words
from em_impute.tables.digest import Digest
from em_impute.tables.fill import shifts_in_words
from em_impute.tables.groups import Fitted, GroupFit
from em_impute.tables.snapshot import Snapshot

Columns = tuple[Column, ...]


def report_numbers(run: Run, found: Found, parts: Parts | None = None) -> Report:
    """Return what the report says, as far as the run came.

    Parameters
    ----------
    run : Run
    found : Found
    parts : Parts, optional
        Takes note of the sections that fail; these are left out.
    """
    parts = parts or Parts()
    measured = _Measured(run, found, parts)
    found.left = parts.make("cells that are left", lambda: _left(found, measured.unfilled), ())
    report = Report(
        job=run.job.name,
        run=run.id,
        started=run.started.isoformat(timespec="seconds"),
        source=legible(str(run.job.source)),
        target=legible(str(run.job.target)),
        verdict=_plain_verdict(found),
        rows=found.snapshot.rows if found.snapshot else 0,
        columns=measured.columns,
        drawn=run.job.imputation.is_drawn,
        unsettled=found.unsettled,
        is_direct=run.is_direct,
        flow_run=run.flow_run,
        date=run.date.isoformat() if run.dated else "",
    )
    sections: dict[str, Any] = {
        field: parts.make(
            f"section {field.replace('_', ' ')}",
            partial(_section, field, measured),
            getattr(report, field),
        )
        for field in SECTIONS
    }
    return with_verdict(replace(report, **sections), run, found, parts)


def _section(field: str, measured: _Measured) -> Any:
    return kept(field, SECTIONS[field](measured))


def _left(found: Found, unfilled: Sequence[Unfilled]) -> tuple[str, ...]:
    return tuple(unfilled_in_words(unfilled, planned=found.published is None))


def with_verdict(report: Report, run: Run, found: Found, parts: Parts) -> Report:
    """Return the report with its verdict, which warns of what could not be made.

    Parameters
    ----------
    report : Report
    run : Run
    found : Found
    parts : Parts
        What could not be made so far.
    """

    def verdict() -> tuple[tuple[str, ...], Verdict]:
        moved = report.drift.warning if report.drift and report.drift.drifted else ""
        sentences = (*found.warnings, *found.left, moved, unmade(parts.failures))
        warnings = tuple(legible(sentence) for sentence in sentences if sentence)
        judgement = verdict_on(
            refusal=str(found.stopped_by) if found.stopped_by else None,
            warnings=warnings,
            imputed_cells=_filled_cells(run, found),
            imputations=found.staged.imputations if found.staged else 1,
            target=report.target,
            left_cells=report.left_cells,
            unsettled=found.unsettled,
        )
        return warnings, replace(judgement, sentence=legible(judgement.sentence))

    nothing = (), _plain_verdict(found)
    warnings, judgement = parts.make("verdict", verdict, nothing)
    return replace(report, warnings=warnings, verdict=judgement, failures=parts.failures)


def _plain_verdict(found: Found) -> Verdict:
    """What is true in any case."""
    if found.published:
        return Verdict("published with warnings", "The table was published.")
    return Verdict("not published", legible(str(found.stopped_by or "")))


def _filled_cells(run: Run, found: Found) -> int:
    """Cells that were filled; those of a run whose process is gone are in its ledger."""
    if found.staged:
        return found.staged.cells
    if found.published and found.snapshot and found.snapshot.sample:
        roles = _roles(run, found)
        return sum(found.snapshot.profile(n).missing for n in (roles.impute if roles else ()))
    if found.published and run.folder.cells.exists():
        with pq.ParquetFile(run.folder.cells) as ledger:
            numbers = ledger.read(columns=["imputation"])["imputation"]
        return int(pc.sum(pc.equal(numbers, 1)).as_py() or 0)
    return 0


class _Measured:
    """What several sections are made of, each measured once; what fails is as if not reached."""

    def __init__(self, run: Run, found: Found, parts: Parts) -> None:
        self.run, self.found, self._parts = run, found, parts
        self.snapshot, self.fitted = found.snapshot, found.fitted
        self.result = found.fitted.result if found.fitted else None
        # Of this family only there are standard errors, and Little's test.
        self.gaussian = self.result if isinstance(self.result, EMResult) else None

    @cached_property
    def roles(self) -> Roles | None:
        return self._parts.make("parts of the columns", lambda: _roles(self.run, self.found), None)

    @cached_property
    def summary(self) -> PatternSummary | None:
        def load() -> PatternSummary | None:
            folder = self.run.folder
            return kept_summary(folder.summary, folder) if self.result else None

        return self._parts.make("pattern summary", load, None)

    @cached_property
    def observed(self) -> PatternSummary | Observed | None:
        """What is known of the observed cells of the table's own rows, all of which may be far."""
        at = self.run.folder.observed
        return Observed.load(at) if self.result and at.exists() else self.table_summary

    @cached_property
    def table_summary(self) -> PatternSummary | None:
        """That of the run's own table, of which the model's rows may be a part."""

        def load() -> PatternSummary | None:
            folder = self.run.folder
            return kept_summary(folder.table_summary, folder) if self.result else None

        if self.fitted is None or self.fitted.gathered is None:
            return self.summary
        return self._parts.make("pattern summary of the table", load, None)

    @cached_property
    def survey(self) -> Survey | None:
        """What was seen of the rows; None of a run that came to no fit."""
        if self.found.survey:
            return self.found.survey
        if self.snapshot is None or self.fitted is None:
            return None
        survey = survey_of(self.run, self.snapshot, self.fitted)
        survey.filled(self.found.staged)
        return survey

    @property
    def seen(self) -> FirstPass:
        """What was seen of the observed cells, where there was a fit."""
        assert self.survey is not None
        return self.survey.first

    @cached_property
    def digests(self) -> tuple[dict[str, Digest], dict[str, ImputedDigest]]:
        """What is known of the cells of columns of numbers, observed and imputed."""
        nothing: tuple[dict[str, Digest], dict[str, ImputedDigest]] = ({}, {})

        def take() -> tuple[dict[str, Digest], dict[str, ImputedDigest]]:
            return (self.seen.digests.found, self.survey.imputed) if self.survey else nothing

        return self._parts.make("moments of the cells", take, nothing)

    @cached_property
    def unfilled(self) -> tuple[Unfilled, ...]:
        def find() -> tuple[Unfilled, ...]:
            if self.snapshot is None or self.roles is None:
                return ()
            return tuple(find_unfilled(self.snapshot, self.roles, self.run.job.columns))

        nothing: tuple[Unfilled, ...] = ()
        return self._parts.make("cells that stay missing", find, nothing)

    @cached_property
    def mcar_tests(self) -> tuple[missingness.McarTest, ...]:
        nothing: tuple[missingness.McarTest, ...] = ()
        return self._parts.make(
            "tests of missing completely at random",
            lambda: mcar_tests(self.gaussian, self.summary),
            nothing,
        )

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        def measure(roles: Roles | None, summary: PatternSummary | Observed | None) -> Columns:
            described = measure_columns(
                self.found, roles, summary, *self.digests, lambda: self.seen.kurtosis.found
            )
            return kept("columns", with_left(described, self.unfilled))

        plain = partial(self._parts.make, "names of the columns", partial(measure, None, None), ())
        measured = partial(measure, self.roles, self.observed)
        columns: Columns | None = self._parts.make("section columns", measured, None)
        return plain() if columns is None else columns

    @cached_property
    def means(self) -> tuple[MeanEstimate, ...]:
        def estimate() -> tuple[MeanEstimate, ...]:
            if self.gaussian is None or self.summary is None:
                return ()
            return estimate_means(self.gaussian, self.summary, {c.name for c in self.columns})

        nothing: tuple[MeanEstimate, ...] = ()
        return self._parts.make("estimated means", estimate, nothing)

    @cached_property
    def counted(self) -> missingness.Counted | None:
        return self._parts.make(
            "counts of the patterns",
            lambda: count_missing(self.snapshot, self.roles, self.table_summary),
            None,
        )


Section = Callable[[_Measured], Any]

SECTIONS: dict[str, Section] = {
    "fit": lambda m: describe_fit(m.result, m.run.job.model.tol) if m.result else None,
    "patterns": lambda m: measure_patterns(
        m.snapshot, m.roles, m.table_summary, m.counted, lambda: m.seen.means.found
    ),
    "distributions": lambda m: m.survey.distributions if m.survey else (),
    "checks": lambda m: tuple(_checks(m.found)),
    "decisions": lambda m: tuple(map(legible, (*_shifts(m), *m.found.decisions))),
    "missingness": lambda m: missingness.describe_map(m.counted) if m.counted else None,
    "together": lambda m: matrices.describe_together(m.counted) if m.counted else None,
    "mcar_tests": lambda m: m.mcar_tests,
    "groups": lambda m: describe_groups(
        [_group(fit) for fit in m.fitted.group_fits] if m.fitted else []
    ),
    "correlations": lambda m: _estimated_correlations(m.result, m.summary or m.observed, m.roles),
    "components": lambda m: measure_components(m.snapshot, m.roles, m.result),
    "factors": lambda m: _factors(m.result, m.run.job.model.rotation),
    "means": lambda m: describe_means(m.means),
    "sensitivity": lambda m: _sensitivity(m),
    "imputations": lambda m: _several(m.run, m.fitted),
    "rows_of_model": lambda m: _rows_of_model(m.run, m.fitted),
    "drift": lambda m: measure_drift(m.run, m.found, m.columns, lambda: m.seen.looks.found),
    "imputed": lambda m: tuple(
        m.digests[1][c.name].describe(c) for c in m.columns if c.name in m.digests[1]
    ),
    "levels": lambda m: measure_levels(m.found, m.columns, lambda: m.seen.levels.found),
    "runtime": lambda m: Runtime(tuple(m.run.seconds.items()), peak_memory()),
    "self_test": lambda m: m.found.tested,
}
"""How each field of the report is measured; what a run did not come to is as a report has it."""


def survey_of(run: Run, snapshot: Snapshot, fitted: Fitted) -> Survey:
    """Return what looks on while the rows of a run pass.

    Parameters
    ----------
    run : Run
    snapshot : Snapshot
    fitted : Fitted
    """

    def counted() -> missingness.Counted | None:
        path = run.folder.table_summary if fitted.gathered else run.folder.summary
        if fitted.result is None:
            return None
        return count_missing(snapshot, fitted.roles, kept_summary(path, run.folder))

    known = Known(counted, lambda: bool(published_before(run)))
    return Survey(snapshot, fitted, known, run.job.self_test)


def with_manifest(numbers: Report, manifest: Manifest) -> Report:
    """Return the report with what the manifest adds to it."""
    recorded = manifest.to_dict()
    lines: dict[str, Any] = {
        "started": recorded["started"],
        "finished": recorded["finished"],
        "seed of the draws": recorded["seed"],
        "job, SHA-256": recorded["job_hash"],
        "source, fingerprint": recorded["source"]["fingerprint"],
        "filled table, SHA-256": recorded["table"],
        **{f"{name}, SHA-256": digest for name, digest in recorded["outputs"].items()},
        **recorded["versions"],
        **recorded["machine"],
    }
    known = tuple((name, str(value)) for name, value in lines.items() if value is not None)
    return replace(numbers, manifest=known)


def peak_memory() -> int | None:
    """Return the most bytes that this process has had in memory; None on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _roles(run: Run, found: Found) -> Roles | None:
    """The columns' parts, also before the fit; None where the verdict says why there are none."""
    if isinstance(found.snapshot, Loaded):
        return found.snapshot.roles
    if found.fitted:
        return found.fitted.roles
    # Of a run whose process was lost, the snapshot is all that is known.
    with suppress(CannotRun):
        return assign_roles(found.snapshot, run.job) if found.snapshot else None
    return None


def _shifts(measured: _Measured) -> Sequence[str]:
    """How the job shifts imputed cells, where the run came to fill them."""
    roles, found = measured.roles, measured.found
    return shifts_in_words(roles, measured.run.job.imputation) if roles and found.staged else ()


def _group(fit: GroupFit) -> GroupRow:
    return GroupRow(
        fit.label, fit.rows, fit.own_model, fit.status, fit.result.n_iter if fit.result else None
    )


def _estimated_correlations(
    result: FittedModel | None, summary: PatternSummary | Observed | None, roles: Roles | None
) -> matrices.Correlations | None:
    if result is None or summary is None or roles is None:
        return None
    missing = summary.n_rows - summary.observed_counts
    columns = {name: roles.at(name) for name in roles.model_columns}
    return matrices.describe_correlations(result.model, missing.tolist(), columns)


def _factors(result: FittedModel | None, rotation: str | None) -> Factors | None:
    return describe_factors(result, rotation) if isinstance(result, FactorFit) else None


def _sensitivity(measured: _Measured) -> Sensitivity | None:
    roles, result = measured.roles, measured.result
    if roles is None or result is None:
        return None
    numbers = [
        (column, encoding.moves_as_one)
        for column in measured.columns
        if column.name in roles.impute
        and isinstance(encoding := roles.encoding(column.name), Numeric)
        and column.missing
    ]
    shown = [column for column, moves_as_one in numbers if moves_as_one]
    return describe_sensitivity(
        result.model,
        {column.name: column.em.mean for column in shown if column.em.mean is not None},
        _missing_shares(measured, roles, shown),
        # The intervals are about the means of the model of all rows.
        () if roles.group_by else measured.means,
        left_out=len(numbers) - len(shown),
    )


def _missing_shares(
    measured: _Measured, roles: Roles, columns: Sequence[Column]
) -> dict[str, float]:
    """The shares of the columns' cells that are missing, in the rows that the model is of."""
    summary = measured.summary
    if measured.fitted is None or measured.fitted.gathered is None or summary is None:
        return {column.name: column.missing_share for column in columns}
    observed = summary.observed_counts / max(summary.n_rows, 1)
    return {c.name: float(1.0 - observed[roles.at(c.name).start]) for c in columns}


def _several(run: Run, fitted: Fitted | None) -> Imputations | None:
    if fitted is None or fitted.drawn is None:
        return None
    return describe_imputations(fitted.drawn, run.job.imputation.posterior or "augmentation")


def _rows_of_model(run: Run, fitted: Fitted | None) -> RowsOfModel | None:
    if fitted is None or fitted.gathered is None or run.job.state is None:
        return None
    return describe_rows(fitted.gathered, run.job.state)


def _checks(found: Found) -> Iterator[CheckRow]:
    for checked in filter(None, (found.before, found.after)):
        for check in checked.results:
            yield CheckRow(
                checked.stage,
                check.name,
                check.expected,
                check.observed,
                check.severity,
                check.success,
                check.column,
            )
