"""The numbers of a run's report, as typed records and the functions that compute them.

The records hold plain Python values only, so a report can be kept as JSON and rendered again
without the run. A number that does not exist (the mean of no cells) is None, never NaN. A run
that was refused early has a report too: what was not reached is None or empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from em_impute.gaussian import EMResult, GaussianModel, PatternSummary

MAX_PATTERNS = 25
MAX_PATTERN_COLUMNS = 40
MAX_EVALUATIONS = 500
MAX_DISTRIBUTIONS = 24
MIN_BINS, MAX_BINS = 8, 40
MAX_KEPT = 100_000

Floats = NDArray[np.float64]
Portions = Callable[[], Iterable[Mapping[str, Floats]]]
"""Reads the cells of some columns, from the first, in portions; a cell is a finite number."""

Outcome = Literal["published", "published with warnings", "not published"]
Role = Literal["impute", "predictor", "key", "passthrough"]


@dataclass(frozen=True)
class Verdict:
    """What became of the run, and why, in a sentence."""

    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Moments:
    """Count, mean and standard deviation (divisor n) of some cells, in the column's own units."""

    count: int
    mean: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Column:
    """One column of the table.

    `em` describes the column as the model estimates it for all rows, seen or not; it counts no
    rows where the column is not in the model or nothing was fitted.
    """

    name: str
    role: Role
    missing: int
    observed: Moments
    em: Moments
    imputed: Moments

    @property
    def missing_share(self) -> float:
        """Missing cells as a fraction of all cells of the column; 0 in an empty table."""
        return self.missing / max(self.missing + self.observed.count, 1)


@dataclass(frozen=True)
class Pattern:
    """Rows in which the same columns are observed, and how many there are."""

    observed: tuple[bool, ...]
    count: int


@dataclass(frozen=True)
class Patterns:
    """The most frequent missingness patterns over the columns with the most missing cells.

    `rows` is ordered by count, `columns` by missing cells, both descending; the totals count
    what the table has, shown or not.
    """

    columns: tuple[str, ...]
    rows: tuple[Pattern, ...]
    total_columns: int
    total_patterns: int
    total_rows: int

    @property
    def share_shown(self) -> float:
        """Fraction of the table's rows that the shown patterns hold."""
        return sum(pattern.count for pattern in self.rows) / max(self.total_rows, 1)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the EM map; `step` is start, em, accelerated or rejected."""

    number: int
    loglik: float | None
    objective: float | None
    distance: float | None
    step: str


@dataclass(frozen=True)
class Fit:
    """How EM went.

    `distance` is the estimated distance to the maximum: of means in standard deviations, of
    covariances in correlation units. `trace` is thinned evenly to `MAX_EVALUATIONS`.
    """

    status: str
    message: str
    evaluations: int
    rejected: int
    loglik: float | None
    distance: float | None
    tol: float | None
    prior_rows: float
    trace: tuple[Evaluation, ...]


@dataclass(frozen=True)
class Distribution:
    """Histogram of a column's observed and imputed cells on shared bins.

    `edges` has one entry more than the two tuples of counts.
    """

    column: str
    edges: tuple[float, ...]
    observed: tuple[int, ...]
    imputed: tuple[int, ...]

    def density(self, counts: Sequence[int]) -> Floats:
        """Counts as a density over the edges, of area one; zeros where nothing was counted."""
        heights = np.asarray(counts, dtype=float) / np.diff(self.edges)
        return heights / max(sum(counts), 1)


@dataclass(frozen=True)
class CheckRow:
    """One check with what it expected and what it saw."""

    stage: Literal["input", "output"]
    name: str
    expected: str
    observed: str
    severity: str
    success: bool
    column: str | None = None


@dataclass(frozen=True)
class Report:
    """All that a report says.

    `columns` holds every column of the table, in its order; `drawn` says whether the imputed cells
    are draws, not means.
    """

    job: str
    run: str
    started: str
    source: str
    target: str
    verdict: Verdict
    rows: int
    columns: tuple[Column, ...]
    fit: Fit | None = None
    patterns: Patterns | None = None
    distributions: tuple[Distribution, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    decisions: tuple[str, ...] = ()
    drawn: bool = False

    @property
    def published(self) -> bool:
        """Whether the table was written to its target."""
        return self.verdict.outcome != "not published"

    @property
    def cells(self) -> int:
        """All cells of the table."""
        return self.rows * len(self.columns)

    @property
    def missing_cells(self) -> int:
        """Missing cells of the whole table as it was read."""
        return sum(column.missing for column in self.columns)

    @property
    def imputed_cells(self) -> int:
        """Cells that the run filled."""
        return sum(column.imputed.count for column in self.columns)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as strict JSON values; a NaN or an infinity becomes null."""
        values: dict[str, Any] = json.loads(_REPORT.dump_json(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """Make a report again from what `to_dict` returned.

        Raises
        ------
        pydantic.ValidationError
            If a field is missing or of the wrong type; it names the field.
        """
        return _REPORT.validate_python(values)


_REPORT = TypeAdapter(Report)


def judge(
    *, refusal: str | None, warnings: Sequence[str], imputed_cells: int, target: str
) -> Verdict:
    """Return the verdict on a run.

    Parameters
    ----------
    refusal : str or None
        The sentence that says why nothing was published; None if it was.
    warnings : sequence of str
        Sentences about what a reader should know before trusting the table.
    imputed_cells : int
        Cells that were filled.
    target : str
        Where the table went, or would have gone.
    """
    if refusal is not None:
        untouched = f"The target {target} is as it was before this run."
        return Verdict("not published", f"{refusal} {untouched}")
    done = f"{_filled(imputed_cells)} and the table was written to {target}"
    if warnings:
        return Verdict("published with warnings", f"{done}. {' '.join(warnings)}")
    return Verdict("published", f"{done}; no check warned.")


@dataclass
class Digest:
    """What is known of a column's cells, which come in portions and are not kept.

    Attributes
    ----------
    count : int
    mean, squares : float
        Mean, and sum of the squared distances from it, merged as Chan, Golub & LeVeque (1983) do.
    low, high : float
    whole : bool
        Whether all are whole numbers.
    kept : ndarray of shape (at most MAX_KEPT,)
        All cells, or every `stride`-th beyond that many, from which quartiles are estimated.
    stride : int
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    kept: Floats = field(default_factory=lambda: np.empty(0))
    stride: int = 1

    def add(self, cells: Floats) -> None:
        """Take in the next cells, an array of shape (n,) of finite numbers."""
        if not cells.size:
            return
        self.kept = np.concatenate([self.kept, cells[-self.count % self.stride :: self.stride]])
        while len(self.kept) > MAX_KEPT:
            self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.low, self.high = min(self.low, cells.min()), max(self.high, cells.max())
        self.whole = self.whole and np.array_equal(cells, np.round(cells))
        with np.errstate(over="ignore", invalid="ignore"):
            self._add_moments(cells.size, cells.mean(), cells.var())

    def _add_moments(self, count: int, mean: np.float64, variance: np.float64) -> None:
        step, total = mean - self.mean, self.count + count
        self.squares += float(count * (variance + step**2 * self.count / total))
        self.mean += float(step * count / total)
        self.count = total

    @property
    def moments(self) -> Moments:
        """Count, mean and sd (divisor n)."""
        if not self.count:
            return Moments(0)
        return Moments(
            self.count, _finite(self.mean), _finite(math.sqrt(self.squares / self.count))
        )


def digest(portions: Iterable[Mapping[str, Floats]], columns: Iterable[str]) -> dict[str, Digest]:
    """Digest the cells of some columns in one pass; a portion may lack a column."""
    digests = {name: Digest() for name in columns}
    for portion in portions:
        for name in digests.keys() & portion.keys():
            digests[name].add(portion[name])
    return digests


def describe_columns(
    roles: Mapping[str, Role],
    missing: Mapping[str, int],
    rows: int,
    *,
    summary: PatternSummary | None = None,
    model: GaussianModel | None = None,
    imputed: Mapping[str, Moments] | None = None,
) -> tuple[Column, ...]:
    """Describe every column of the table.

    Parameters
    ----------
    roles : mapping of str to str
        Each column's role, in the order of the table.
    missing : mapping of str to int
        Missing cells of each column of `roles`.
    rows : int
        Rows of the table.
    summary, model : optional
        Give the observed and the estimated moments of the model's columns, as far as the run
        came.
    imputed : mapping of str to Moments, optional
        Moments of the filled cells of each imputed column.
    """
    observed = {} if summary is None else _observed_moments(summary)
    estimated = {} if model is None else _estimated_moments(model, rows)
    filled = imputed or {}
    return tuple(
        Column(
            name=name,
            role=role,
            missing=missing[name],
            observed=observed.get(name, Moments(rows - missing[name])),
            em=estimated.get(name, Moments(0)),
            imputed=filled.get(name, Moments(0)),
        )
        for name, role in roles.items()
    )


def describe_patterns(
    summary: PatternSummary,
    *,
    max_patterns: int = MAX_PATTERNS,
    max_columns: int = MAX_PATTERN_COLUMNS,
) -> Patterns:
    """Pick the most frequent patterns and the columns with the most missing cells."""
    missing = ~summary.patterns
    by_column = np.argsort(-(summary.counts @ missing), kind="stable")[:max_columns]
    by_count = np.lexsort((missing.sum(axis=1), -summary.counts))[:max_patterns]
    return Patterns(
        columns=tuple(summary.columns[j] for j in by_column),
        rows=tuple(
            Pattern(tuple(summary.patterns[i, by_column].tolist()), int(summary.counts[i]))
            for i in by_count
        ),
        total_columns=summary.n_columns,
        total_patterns=len(summary.counts),
        total_rows=int(summary.n_rows),
    )


def describe_fit(result: EMResult, tol: float | None = None) -> Fit:
    """Describe how EM went; `tol` is the distance it was asked to reach."""
    kept = np.linspace(0, len(result.trace) - 1, min(len(result.trace), MAX_EVALUATIONS))
    return Fit(
        status=result.status.value,
        message=result.message,
        evaluations=result.n_iter,
        rejected=sum(iteration.step == "rejected" for iteration in result.trace),
        loglik=_finite(result.loglik),
        distance=_finite(result.distance),
        tol=tol,
        prior_rows=float(result.prior_rows),
        trace=tuple(
            Evaluation(
                number=iteration.number,
                loglik=_finite(iteration.loglik),
                objective=_finite(iteration.objective),
                distance=_finite(iteration.distance),
                step=iteration.step,
            )
            for iteration in (result.trace[round(i)] for i in kept)
        ),
    )


def most_imputed(columns: Sequence[Column], limit: int = MAX_DISTRIBUTIONS) -> tuple[str, ...]:
    """Return the names of the columns with the most imputed cells, at most `limit` of them."""
    imputed = [column for column in columns if column.imputed.count]
    ranked = sorted(imputed, key=lambda column: -column.imputed.count)
    return tuple(column.name for column in ranked[:limit])


def describe_distributions(
    columns: Sequence[str], observed: Portions, imputed: Portions
) -> tuple[Distribution, ...]:
    """Count observed and imputed cells of each column on shared bins.

    Parameters
    ----------
    columns : sequence of str
    observed, imputed : callable
        Give the cells, twice: for the bins, and to be counted.

    Raises
    ------
    ValueError
        If a column has no cell of either kind.
    """
    seen, filled = digest(observed(), columns), digest(imputed(), columns)
    edges = {name: _shared_edges(name, seen[name], filled[name]) for name in columns}
    counts = [_histograms(portions(), edges) for portions in (observed, imputed)]
    return tuple(
        Distribution(name, tuple(edges[name].tolist()), *(tuple(c[name].tolist()) for c in counts))
        for name in columns
    )


def _histograms(
    portions: Iterable[Mapping[str, Floats]], edges: Mapping[str, Floats]
) -> dict[str, NDArray[np.int64]]:
    counts = {name: np.zeros(len(edges[name]) - 1, dtype=np.int64) for name in edges}
    for portion in portions:
        for name in counts.keys() & portion.keys():
            # With a range, which gives the same edges, NumPy computes the bin and does not search.
            ends = edges[name][[0, -1]]
            counts[name] += np.histogram(portion[name], len(counts[name]), tuple(ends))[0]
    return counts


def _shared_edges(column: str, observed: Digest, imputed: Digest) -> Floats:
    """Bins of equal width over both ranges, as wide as the observed cells ask for.

    They end at round numbers: the smallest and the largest value are cells of the table, which a
    report does not show.
    """
    if observed.count + imputed.count == 0:
        raise ValueError(f"column {column!r} has neither observed nor imputed cells to count")
    reference = observed if observed.count else imputed
    low, high = min(observed.low, imputed.low), max(observed.high, imputed.high)
    if math.isclose(low, high, rel_tol=1e-12):
        margin = abs(low) / 2 or 0.5
        return np.linspace(low - margin, high + margin, 2)
    width = min(max(_bin_width(reference), (high - low) / MAX_BINS), (high - low) / MIN_BINS)
    if high - low >= MIN_BINS and reference.whole:
        # Whole numbers counted in bins of a fractional width would look like a comb.
        width = float(round(width))
        low = width * math.floor(low / width) - 0.5
        high = low + width * math.ceil((high + 0.5 - low) / width)
        return np.linspace(low, high, math.ceil((high - low) / width - 1e-9) + 1)
    bins, unit = math.ceil((high - low) / width - 1e-9), 10.0 ** math.floor(math.log10(width))
    return np.linspace(unit * math.floor(low / unit), unit * math.ceil(high / unit), bins + 1)


def _bin_width(cells: Digest) -> float:
    """Freedman & Diaconis (1981): twice the interquartile range over the cube root of n."""
    lower, upper = np.percentile(cells.kept, [25, 75])
    return float(2 * (upper - lower) / np.cbrt(cells.count))


def _observed_moments(summary: PatternSummary) -> dict[str, Moments]:
    return {
        name: Moments(int(count), _finite(mean), _finite(sd))
        for name, count, mean, sd in zip(
            summary.columns,
            summary.observed_counts,
            summary.observed_mean,
            summary.observed_sd,
            strict=True,
        )
    }


def _estimated_moments(model: GaussianModel, rows: int) -> dict[str, Moments]:
    return {
        name: Moments(rows, _finite(mean), _finite(sd))
        for name, mean, sd in zip(model.columns, model.mean, model.sd, strict=True)
    }


def _filled(cells: int) -> str:
    if cells == 0:
        return "No cell was to be filled"
    return f"{cells:,} missing {'cell was' if cells == 1 else 'cells were'} filled"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
