"""The numbers of a run's report, measured on what the run has left, as far as it came.

That is its snapshot, its summary, its model and its ledger, each read in batches, and the folder of
the last run that published. No Prefect in here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from em_impute.gaussian import (
    EMResult,
    GaussianModel,
    PatternSummary,
    Status,
    little_mcar_test,
)
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.job import CannotRun
from em_impute.job.legible import legible
from em_impute.reporting import drift, matrices, missingness
from em_impute.reporting.columns import ImputedDigest, describe_columns, digest
from em_impute.reporting.diagnostics import Floats, ImputedDigest
from em_impute.reporting.distributions import (
    MAX_DISTRIBUTIONS,
    describe_distributions,
    most_imputed,
)
from em_impute.reporting.fit import describe_fit, describe_groups
from em_impute.reporting.parts import Parts, unmade
from em_impute.reporting.records import (
    CheckRow,
    Column,
    Distribution,
    Floats,
    GroupRow,
    Levels,
    Report,
    Role,
    Runtime,
    Verdict,
    kept,
)
from em_impute.reporting.verdict import verdict_on
from em_impute.runs.manifest import Manifest, read_manifests
from em_impute.runs.run import Found, Run
from em_impute.tables.columns.encoding import Nominal, Number, Ordinal, ceil_or_inf, floor_or_inf
from em_impute.tables.columns.hints import columns_that_move_on
from em_impute.tables.columns.roles import Roles, assign_roles, to_matrix
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.columns.unfilled import Unfilled, find_unfilled, unfilled_in_words
from em_impute.tables.digest import Digest, Moments
from em_impute.tables.groups import Fitted, GroupFit
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot, read_batches
from em_impute.tables.summarise import count_patterns
from em_impute.tables.whole_files import read_json
from em_impute.tables.writing.staged import Staged

# Little's test takes up each pattern by itself; with more of them than this, few rows have each.
MOST_TESTED = 2_000

Columns = tuple[Column, ...]
Cells = dict[str, tuple[Floats, Floats]]
"""Imputed cells of columns, and their standard deviations."""


def report_numbers(run: Run, found: Found, parts: Parts | None = None) -> Report:
    """What the report says, as far as the run came; a section that fails is noted and left out."""
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
    told: dict[str, Any] = {
        field: parts.make(
            f"section {field.replace('_', ' ')}",
            partial(_section, field, measured),
            getattr(report, field),
        )
        for field in SECTIONS
    }
    return judged(replace(report, **told), run, found, parts)


def _section(field: str, measured: _Measured) -> Any:
    return kept(field, SECTIONS[field](measured))


def _left(found: Found, unfilled: Sequence[Unfilled]) -> tuple[str, ...]:
    return tuple(unfilled_in_words(unfilled, planned=found.published is None))


def judged(report: Report, run: Run, found: Found, parts: Parts) -> Report:
    """The report with its verdict, which warns of what could not be made."""

    def verdict() -> tuple[tuple[str, ...], Verdict]:
        moved = report.drift.warning if report.drift and report.drift.drifted else ""
        said = (*found.warnings, *found.left, moved, unmade(parts.failures))
        warnings = tuple(legible(sentence) for sentence in said if sentence)
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
            "moments of the cells", lambda: _digests(self.found, self.roles), nothing
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
            "Little's test", lambda: _completely_at_random(self.result, self.summary), (None, "")
        )

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        def measure(roles: Roles | None, summary: PatternSummary | None) -> Columns:
            described = _columns(self.found, roles, summary, *self.digests)
            return kept("columns", _with_left(described, self.unfilled))

        plain = partial(self._parts.make, "names of the columns", partial(measure, None, None), ())
        measured = partial(measure, self.roles, self.summary)
        columns: Columns | None = self._parts.make("section columns", measured, None)
        return plain() if columns is None else columns

    @cached_property
    def counted(self) -> missingness.Counted | None:
        return self._parts.make(
            "counts of the patterns",
            lambda: _counted(self.snapshot, self.roles, self.summary),
            None,
        )


Section = Callable[[_Measured], Any]

SECTIONS: dict[str, Section] = {
    "fit": lambda m: describe_fit(m.result, m.run.job.model.tol) if m.result else None,
    "patterns": lambda m: _patterns(m.snapshot, m.roles, m.summary, m.counted),
    "distributions": lambda m: _distributions(m.found, m.columns, *m.digests),
    "checks": lambda m: tuple(_checks(m.found)),
    "decisions": lambda m: tuple(map(legible, m.found.decisions)),
    "missingness": lambda m: missingness.describe_map(m.counted) if m.counted else None,
    "together": lambda m: matrices.describe_together(m.counted) if m.counted else None,
    "completely_at_random": lambda m: m.at_random[0],
    "not_tested": lambda m: m.at_random[1],
    "groups": lambda m: describe_groups(
        [_group(fit) for fit in m.fitted.group_fits] if m.fitted else []
    ),
    "correlations": lambda m: _correlations(m.result, m.summary),
    "drift": lambda m: _drift(m.run, m.found, m.columns),
    "imputed": lambda m: tuple(
        m.digests[1][c.name].describe(c) for c in m.columns if c.name in m.digests[1]
    ),
    "levels": lambda m: _levels(m.found, m.columns),
    "runtime": lambda m: Runtime(tuple(m.run.seconds.items()), peak_memory()),
    "self_test": lambda m: m.found.tested,
}
"""How each field of the report is measured; what a run did not come to is as a report has it."""


def with_manifest(numbers: Report, manifest: Manifest) -> Report:
    """The report with what the manifest says that it does not say itself."""
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
    told = tuple((name, str(value)) for name, value in lines.items() if value is not None)
    return replace(numbers, manifest=told)


def peak_memory() -> int | None:
    """Bytes that this process has had in memory at most; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


# --- The columns -------------------------------------------------------------------------------


def _roles(run: Run, found: Found) -> Roles | None:
    """The columns' parts, also before the fit; None where the verdict says why there are none."""
    if found.fitted:
        return found.fitted.roles
    with suppress(CannotRun):
        return assign_roles(found.snapshot, run.job) if found.snapshot else None
    return None


def _columns(
    found: Found,
    roles: Roles | None,
    summary: PatternSummary | None,
    observed: Mapping[str, Digest],
    imputed: Mapping[str, ImputedDigest],
) -> tuple[Column, ...]:
    snapshot, staged = found.snapshot, found.staged
    if snapshot is None:
        return ()
    result = found.fitted.result if found.fitted else None
    filled = {name: Moments(cells) for name, cells in staged.imputed} if staged else {}
    described = describe_columns(
        _parts(snapshot, roles),
        {column.name: column.missing for column in snapshot.columns},
        snapshot.rows,
        summary=summary,
        model=result.model if result else None,
        imputed=filled | {name: d.cells.moments for name, d in imputed.items() if d.cells.count},
    )
    if roles is None or result is None or summary is None:
        return described
    models, kurtosis = _models(found.fitted, snapshot.rows), _kurtosis(snapshot, roles, summary)
    return tuple(
        replace(
            _on_its_own_scale(column, roles, models, observed),
            kurtosis=kurtosis.get(column.name),
        )
        for column in described
    )


def _with_left(columns: Sequence[Column], unfilled: Sequence[Unfilled]) -> tuple[Column, ...]:
    told = {one.column: one.told for one in unfilled}
    return tuple(replace(column, left=told.get(column.name, "")) for column in columns)


def _parts(snapshot: Snapshot, roles: Roles | None) -> dict[str, Role]:
    """The part of every column of the table, in its order."""
    parts: dict[str, Role] = {c.name: "passthrough" for c in snapshot.columns}
    if roles:
        parts |= dict.fromkeys(roles.key, "key")
        parts |= dict.fromkeys(roles.impute, "impute")
        parts |= dict.fromkeys(roles.predictors, "predictor")
    return parts


def _models(fitted: Fitted | None, rows: int) -> list[tuple[int, GaussianModel]]:
    """The models that fill the rows, and how many rows each."""
    if fitted is None or fitted.result is None:
        return []
    own = [
        (fit.rows, fit.result.model) for fit in fitted.group_fits if fit.result and fit.own_model
    ]
    others = rows - sum(n for n, _ in own)
    return [*own, *([(others, fitted.result.model)] if others else [])]


def _on_its_own_scale(
    column: Column,
    roles: Roles,
    models: Sequence[tuple[int, GaussianModel]],
    observed: Mapping[str, Digest],
) -> Column:
    """A column as the table shows it, and as the models that fill it estimate it there."""
    encoding = roles.encoding(column.name)
    if not isinstance(encoding, Number):
        return replace(column, observed=Moments(column.observed.count), em=Moments(0))
    if column.name not in roles.model_columns:
        return column
    column = replace(column, em=_estimated_moments(encoding, roles.at(column.name).start, models))
    if encoding.transform is IDENTITY:
        return column
    return replace(
        column, observed=observed[column.name].moments, transform=encoding.transform.name
    )


def _estimated_moments(
    encoding: Number, at: int, models: Sequence[tuple[int, GaussianModel]]
) -> Moments:
    """Of a column for all rows: the models' own moments, mixed by the rows that each fills."""
    rows = np.array([n for n, _ in models])
    means, sds = encoding.own_moments(
        np.array([model.mean[at] for _, model in models]),
        np.array([model.sd[at] for _, model in models]),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(means, weights=rows)
        sd = np.sqrt(np.average(sds**2 + (means - mean) ** 2, weights=rows))
    known = [float(value) if np.isfinite(value) else None for value in (mean, sd)]
    return Moments(int(rows.sum()), *known)


def _transformed(roles: Roles) -> list[str]:
    """Columns that the model sees transformed."""
    return [
        encoding.column
        for encoding in roles.encodings
        if isinstance(encoding, Number) and encoding.transform is not IDENTITY
    ]


# --- Their cells -------------------------------------------------------------------------------


def _digests(
    found: Found, roles: Roles | None
) -> tuple[dict[str, Digest], dict[str, ImputedDigest]]:
    """What is known of the observed cells of some columns of numbers, and of the imputed ones.

    These are the imputed columns and, of the observed cells, the transformed ones too.
    """
    snapshot, staged = found.snapshot, found.staged
    if snapshot is None or roles is None or found.fitted is None:
        return {}, {}
    filled = [name for name, cells in staged.imputed if cells] if staged else []
    filled = [name for name in filled if isinstance(roles.encoding(name), Number)]
    names = list(dict.fromkeys([*filled, *_transformed(roles)]))
    observed = digest(_observed_cells(snapshot, names), names)
    imputed = {
        name: ImputedDigest(observed[name].low, observed[name].high, _bounds(roles, name))
        for name in filled
    }
    for cells in _imputed_cells(staged, filled):
        for name, (values, sd) in cells.items():
            imputed[name].add(values, sd)
    return observed, imputed


def _bounds(roles: Roles, name: str) -> tuple[float, float] | None:
    encoding = roles.encoding(name)
    assert isinstance(encoding, Number)
    low, high = encoding.low, encoding.high
    if (low, high) == (-math.inf, math.inf):
        return None
    return (ceil_or_inf(low), floor_or_inf(high)) if encoding.whole else (low, high)


def _observed_cells(snapshot: Snapshot, names: Sequence[str]) -> Iterator[dict[str, Floats]]:
    """The observed cells of columns of numbers, in portions."""
    for batch in read_batches(snapshot.path, names) if names else ():
        cells = {name: to_matrix(batch, [name])[:, 0] for name in names}
        yield {name: column[np.isfinite(column)] for name, column in cells.items()}


def _imputed_cells(staged: Staged | None, names: Sequence[str]) -> Iterator[Cells]:
    """The imputed cells of columns of numbers, in portions, from the ledger."""
    for column, batch in _ledger(staged, names, ["value", "sd"]):
        values, sd = (batch[name].to_numpy(zero_copy_only=False) for name in ("value", "sd"))
        order = np.argsort(column, kind="stable")
        ends = np.searchsorted(column[order], np.arange(len(names) + 1))
        yield {
            name: (values[order[a:b]], sd[order[a:b]])
            for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
            if a < b
        }


def _ledger(
    staged: Staged | None, names: Sequence[str], fields: Sequence[str]
) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """The ledger in batches, and for each cell which of `names` it is in; -1 for another column."""
    if staged is None or not names:
        return
    with pq.ParquetFile(staged.ledger) as ledger:
        for batch in ledger.iter_batches(columns=["column", *fields]):
            column = batch["column"]
            known = pc.index_in(column.dictionary, pa.array(names, pa.string())).fill_null(-1)
            yield known.to_numpy()[column.indices.to_numpy()].astype(np.int64), batch


def _distributions(
    found: Found,
    columns: Sequence[Column],
    observed: Mapping[str, Digest],
    imputed: Mapping[str, ImputedDigest],
) -> tuple[Distribution, ...]:
    shown = [name for name in most_imputed(columns, len(columns)) if name in imputed]
    shown = shown[:MAX_DISTRIBUTIONS]
    if found.snapshot is None or not shown:
        return ()

    def filled() -> Iterable[Mapping[str, Floats]]:
        for cells in _imputed_cells(found.staged, shown):
            yield {name: values for name, (values, _) in cells.items()}

    return describe_distributions(
        shown,
        partial(_observed_cells, found.snapshot, shown),
        filled,
        (observed, {name: digest.cells for name, digest in imputed.items()}),
    )


def _levels(found: Found, columns: Sequence[Column]) -> tuple[Levels, ...]:
    if found.snapshot is None or found.fitted is None or found.staged is None:
        return ()
    roles = found.fitted.roles
    encodings = {
        name: encoding
        for name in most_imputed(columns, len(columns))
        if isinstance(encoding := roles.encoding(name), Nominal | Ordinal)
    }
    names = list(encodings)[:MAX_DISTRIBUTIONS]
    seen = {name: np.zeros(len(encodings[name].levels), dtype=np.int64) for name in names}
    filled = {name: np.zeros_like(counts) for name, counts in seen.items()}
    for batch in read_batches(found.snapshot.path, names) if names else ():
        for name in names:
            codes = encodings[name].codes(batch.column(name))
            seen[name] += np.bincount(codes[codes >= 0], minlength=len(seen[name]))
    for column, batch in _ledger(found.staged, names, ["level"]):
        for j, name in enumerate(names):
            cells = batch["level"].filter(pa.array(column == j))
            known = pc.index_in(cells, pa.array(encodings[name].levels, pa.string()))
            filled[name] += np.bincount(known.to_numpy(), minlength=len(filled[name]))
    return tuple(
        Levels(
            name, encodings[name].levels, tuple(seen[name].tolist()), tuple(filled[name].tolist())
        )
        for name in names
    )


# --- Where cells are missing -------------------------------------------------------------------


def _counted(
    snapshot: Snapshot | None, roles: Roles | None, summary: PatternSummary | None
) -> missingness.Counted | None:
    """The patterns of the model's columns, as the table has these; None if no cell is missing."""
    if snapshot is None or roles is None or not roles.model_columns:
        return None
    if summary is None:
        if not any(snapshot.profile(name).missing for name in roles.model_columns):
            return None
        return missingness.PatternCounts(roles.model_columns, *count_patterns(snapshot, roles))
    # A nominal column is missing in all of its dimensions; one of a single level has none.
    columns = tuple(name for name in roles.model_columns if roles.encoding(name).dimensions)
    at = [roles.at(name).start for name in columns]
    patterns = summary.patterns if columns == summary.columns else summary.patterns[:, at]
    return missingness.PatternCounts(columns, patterns, summary.counts)


def _patterns(
    snapshot: Snapshot | None,
    roles: Roles | None,
    summary: PatternSummary | None,
    counted: missingness.Counted | None,
) -> missingness.Patterns | None:
    if counted is None:
        return None
    if snapshot is None or roles is None or summary is None:
        return missingness.describe_patterns(counted)
    shown = missingness.most_frequent(counted)
    on_models_scale = summary.means_of(shown)
    transformed = _transformed(roles)
    means = {
        name: on_models_scale[:, roles.at(name).start]
        for name in counted.columns
        if isinstance(roles.encoding(name), Number) and name not in transformed
    }
    means |= _own_means(snapshot, roles, counted, shown, transformed)
    return missingness.describe_patterns(counted, means=means)


def _own_means(
    snapshot: Snapshot,
    roles: Roles,
    counted: missingness.Counted,
    shown: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, Floats]:
    """Means of columns as the table has them, of the rows of each shown pattern."""
    if not names:
        return {}
    patterns, totals = counted.patterns[shown], np.zeros((len(names), len(shown)))
    at = [roles.model_columns.index(name) for name in counted.columns]
    for batch in read_batches(snapshot.path, roles.model_columns):
        observed = ~roles.missing(batch)[:, at]
        distinct, which = distinct_patterns(np.concatenate([patterns, observed]))
        place = np.full(len(distinct), len(shown))
        place[which[: len(shown)]] = np.arange(len(shown))
        group = place[which[len(shown) :]]
        for j, cells in enumerate(np.nan_to_num(to_matrix(batch, names)).T):
            totals[j] += np.bincount(group, cells, minlength=len(shown) + 1)[:-1]
    return {
        name: np.where(
            patterns[:, counted.columns.index(name)], totals[j] / counted.counts[shown], np.nan
        )
        for j, name in enumerate(names)
    }


def _completely_at_random(
    result: EMResult | None, summary: PatternSummary | None
) -> tuple[missingness.CompletelyAtRandom | None, str]:
    """Little's test, where there is a maximum, or why it has no answer."""
    if result is None or summary is None or not result.converged or result.prior_rows:
        return None, ""
    if len(summary.counts) > MOST_TESTED:
        return None, f"Little's test is not made of more than {MOST_TESTED:,} patterns."
    try:
        test = little_mcar_test(summary, result.model)
    except ValueError as error:
        return None, str(error)
    if not test.df:
        return None, ""
    told = missingness.CompletelyAtRandom(test.statistic, test.df, test.p_value, test.left_out)
    return told, ""


# --- The fit and the estimates -----------------------------------------------------------------


def _group(fit: GroupFit) -> GroupRow:
    return GroupRow(
        fit.label, fit.rows, fit.own_model, fit.status, fit.result.n_iter if fit.result else None
    )


def _correlations(
    result: EMResult | None, summary: PatternSummary | None
) -> matrices.Correlations | None:
    if result is None or summary is None:
        return None
    missing = summary.n_rows - summary.observed_counts
    return matrices.describe_correlations(result.model, missing.tolist())


def _drift(
    run: Run,
    found: Found,
    columns: Sequence[Column],
) -> drift.Drift | None:
    """What has changed since the run of the date before; None if there is none to be read."""
    result = found.fitted.result if found.fitted else None
    if found.snapshot is None or found.fitted is None or result is None:
        return None
    if result.status is Status.SINGULAR:
        return None  # these are no estimates
    earlier = _published_before(run)
    move_on = columns_that_move_on(found.snapshot, found.fitted.roles) if earlier else ()
    roles = found.fitted.roles
    names = [name for name in roles.model_columns if name not in move_on]
    now = _estimated(
        run.id,
        run.started.isoformat(timespec="seconds"),
        found.snapshot.rows,
        _part_of(result.model, [d for name in names for d in roles.encoding(name).dimensions]),
        roles,
        columns,
    )
    for folder, manifest in earlier:
        # What an older version or a damaged disk left is no reason to have no report.
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            before = _estimated_before(folder, manifest, run, roles, names)
            day = _data_date(manifest)
            return replace(
                drift.describe_drift(before, now, run.job.report.drift),
                date=day if day < run.date.isoformat() else "",
                move_on=move_on,
            )
    return None


def _published_before(run: Run) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The job's runs that published an earlier data date, the latest one first.

    A job whose table is the same for every date may have no earlier one: then what was published
    of this date comes before.
    """
    runs = [
        (RunFolder(path), manifest)
        for path, manifest in read_manifests(run.folder.path.parent)
        if manifest.get("target") is not None and path.name != run.folder.path.name
    ]
    day = run.date.isoformat()
    earlier = [known for known in runs if _data_date(known[1]) < day]
    if not earlier and not run.dated:
        earlier = [known for known in runs if _data_date(known[1]) == day]
    return sorted(
        earlier,
        key=lambda known: (_data_date(known[1]), str(known[1].get("finished"))),
        reverse=True,
    )


def _data_date(manifest: Mapping[str, Any]) -> str:
    """The day that a run was about; of early versions, the one on which it began."""
    return str(manifest.get("date") or str(manifest.get("started"))[:10])


def _part_of(model: GaussianModel, dimensions: Sequence[str]) -> GaussianModel:
    """The model of some of its columns."""
    at = [model.columns.index(dimension) for dimension in dimensions]
    return GaussianModel(model.mean[at], model.covariance[np.ix_(at, at)], tuple(dimensions))


def _estimated_before(
    folder: RunFolder, manifest: Mapping[str, Any], run: Run, roles: Roles, names: Sequence[str]
) -> drift.Estimated:
    """What an earlier run estimated, of the columns that take part in the model as they do now."""
    report = Report.from_dict(read_json(folder.numbers))
    model, known = GaussianModel.load(folder.model), {column.name for column in report.columns}
    options = run.job.model_dump(mode="json")["columns"], manifest["definition"]["columns"]
    alike = [
        dimension
        for name in names
        if name in known
        and all(
            options[0].get(option, {}).get(name) == options[1].get(option, {}).get(name)
            for option in ("transform", "categories")
        )
        for dimension in roles.encoding(name).dimensions
        if dimension in model.columns
    ]
    kept = _part_of(model, alike)
    return _estimated(report.run, report.started, report.rows, kept, roles, report.columns)


def _estimated(
    run: str,
    started: str,
    rows: int,
    model: GaussianModel,
    roles: Roles,
    columns: Sequence[Column],
) -> drift.Estimated:
    """What a run estimated; the columns of its model are dimensions of the table's columns."""
    known = {column.name: column for column in columns}
    column_of = {d: known[name] for name in known for d in _dimensions(roles, name)}
    of_model = [column_of[name] for name in model.columns]
    return drift.Estimated(
        run,
        started,
        rows,
        model,
        np.array([column.observed.count for column in of_model], dtype=np.int64),
        np.array([3.0 if c.kurtosis is None else c.kurtosis for c in of_model]),
    )


def _dimensions(roles: Roles, name: str) -> tuple[str, ...]:
    return roles.encoding(name).dimensions if name in roles.model_columns else ()


def _kurtosis(snapshot: Snapshot, roles: Roles, summary: PatternSummary) -> dict[str, float]:
    """Fourth standardised moments of the columns of numbers, as the model sees them."""
    names = [n for n in roles.model_columns if isinstance(roles.encoding(n), Number)]
    at = [roles.at(name).start for name in names]
    (mean, sd), totals = summary.observed_moments(), np.zeros(len(names))
    mean, sd = mean[at], np.where(sd[at] > 0, sd[at], np.nan)
    for batch in read_batches(snapshot.path, names) if names else ():
        for j, name in enumerate(names):
            cells = (roles.encoding(name).encode(batch.column(name))[:, 0] - mean[j]) / sd[j]
            totals[j] += np.nansum(np.square(np.square(cells)))
    kurtosis = totals / np.maximum(summary.observed_counts[at], 1)
    return dict(zip(names, kurtosis.tolist(), strict=True))


# --- What was checked --------------------------------------------------------------------------


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
