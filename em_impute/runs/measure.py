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

import pyarrow.parquet as pq

from em_impute.gaussian import (
    EMResult,
    PatternSummary,
)
from em_impute.job import CannotRun
from em_impute.job.legible import legible
from em_impute.reporting import matrices, missingness
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.fit import describe_fit, describe_groups
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
from em_impute.reporting.verdict import verdict_on
from em_impute.runs.manifest import Manifest
from em_impute.runs.measure_columns import (
    digest_cells,
    measure_columns,
    measure_distributions,
    measure_levels,
    with_left,
)
from em_impute.runs.measure_drift import measure_drift
from em_impute.runs.measure_missingness import count_missing, little_test, measure_patterns
from em_impute.runs.run import Found, Loaded, Run
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.columns.unfilled import Unfilled, find_unfilled, unfilled_in_words
from em_impute.tables.digest import Digest
from em_impute.tables.groups import GroupFit

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
        drawn=run.job.imputation.method == "draw",
        unsettled=found.unsettled,
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
    if found.published and run.folder.cells.exists():
        rows: int = pq.read_metadata(run.folder.cells).num_rows
        return rows
    return 0


class _Measured:
    """What several sections are made of, each measured once; what fails is as if not reached."""

    def __init__(self, run: Run, found: Found, parts: Parts) -> None:
        self.run, self.found, self._parts = run, found, parts
        self.snapshot, self.fitted = found.snapshot, found.fitted
        self.result = found.fitted.result if found.fitted else None

    @cached_property
    def roles(self) -> Roles | None:
        return self._parts.make("parts of the columns", lambda: _roles(self.run, self.found), None)

    @cached_property
    def summary(self) -> PatternSummary | None:
        def load() -> PatternSummary | None:
            return PatternSummary.load(self.run.folder.summary) if self.result else None

        return self._parts.make("pattern summary", load, None)

    @cached_property
    def digests(self) -> tuple[dict[str, Digest], dict[str, ImputedDigest]]:
        nothing: tuple[dict[str, Digest], dict[str, ImputedDigest]] = ({}, {})
        return self._parts.make(
            "moments of the cells", lambda: digest_cells(self.found, self.roles), nothing
        )

    @cached_property
    def unfilled(self) -> tuple[Unfilled, ...]:
        def find() -> tuple[Unfilled, ...]:
            if self.snapshot is None or self.roles is None:
                return ()
            return tuple(find_unfilled(self.snapshot, self.roles, self.run.job))

        nothing: tuple[Unfilled, ...] = ()
        return self._parts.make("cells that stay missing", find, nothing)

    @cached_property
    def at_random(self) -> tuple[missingness.CompletelyAtRandom | None, str]:
        return self._parts.make(
            "Little's test", lambda: little_test(self.result, self.summary), (None, "")
        )

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        def measure(roles: Roles | None, summary: PatternSummary | None) -> Columns:
            described = measure_columns(self.found, roles, summary, *self.digests)
            return kept("columns", with_left(described, self.unfilled))

        plain = partial(self._parts.make, "names of the columns", partial(measure, None, None), ())
        measured = partial(measure, self.roles, self.summary)
        columns: Columns | None = self._parts.make("section columns", measured, None)
        return plain() if columns is None else columns

    @cached_property
    def counted(self) -> missingness.Counted | None:
        return self._parts.make(
            "counts of the patterns",
            lambda: count_missing(self.snapshot, self.roles, self.summary),
            None,
        )


Section = Callable[[_Measured], Any]

SECTIONS: dict[str, Section] = {
    "fit": lambda m: describe_fit(m.result, m.run.job.model.tol) if m.result else None,
    "patterns": lambda m: measure_patterns(m.snapshot, m.roles, m.summary, m.counted),
    "distributions": lambda m: measure_distributions(m.found, m.columns, *m.digests),
    "checks": lambda m: tuple(_checks(m.found)),
    "decisions": lambda m: tuple(map(legible, m.found.decisions)),
    "missingness": lambda m: missingness.describe_map(m.counted) if m.counted else None,
    "together": lambda m: matrices.describe_together(m.counted) if m.counted else None,
    "completely_at_random": lambda m: m.at_random[0],
    "not_tested": lambda m: m.at_random[1],
    "groups": lambda m: describe_groups(
        [_group(fit) for fit in m.fitted.group_fits] if m.fitted else []
    ),
    "correlations": lambda m: _estimated_correlations(m.result, m.summary),
    "drift": lambda m: measure_drift(m.run, m.found, m.columns),
    "imputed": lambda m: tuple(
        m.digests[1][c.name].describe(c) for c in m.columns if c.name in m.digests[1]
    ),
    "levels": lambda m: measure_levels(m.found, m.columns),
    "runtime": lambda m: Runtime(tuple(m.run.seconds.items()), peak_memory()),
    "self_test": lambda m: m.found.tested,
}
"""How each field of the report is measured; what a run did not come to is as a report has it."""


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


def _group(fit: GroupFit) -> GroupRow:
    return GroupRow(
        fit.label, fit.rows, fit.own_model, fit.status, fit.result.n_iter if fit.result else None
    )


def _estimated_correlations(
    result: EMResult | None, summary: PatternSummary | None
) -> matrices.Correlations | None:
    if result is None or summary is None:
        return None
    missing = summary.n_rows - summary.observed_counts
    return matrices.describe_correlations(result.model, missing.tolist())


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
