"""The numbers of a run's report, as typed records and the functions that compute them.

The records hold plain Python values only, so a report can be kept as JSON and rendered again
without the run. A number that does not exist (the mean of no cells) is None, never NaN. A run
that was refused early has a report too: what was not reached is None or empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    def density(self, counts: Sequence[int]) -> NDArray[np.float64]:
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
    """All that a report says; `columns` holds every column of the table, in its order."""

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


def moments(values: NDArray[np.float64]) -> Moments:
    """Return count, mean and sd (divisor n) of an array without NaN, of shape (n,)."""
    if values.size == 0:
        return Moments(0)
    return Moments(values.size, _finite(values.mean()), _finite(values.std()))


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


def describe_distribution(
    column: str, observed: NDArray[np.float64], imputed: NDArray[np.float64]
) -> Distribution:
    """Count observed and imputed cells on shared bins.

    Parameters
    ----------
    column : str
        The column's name.
    observed, imputed : ndarray of shape (n,)
        Finite values; at least one of the two has some.

    Raises
    ------
    ValueError
        If both are empty.
    """
    if observed.size + imputed.size == 0:
        raise ValueError(f"column {column!r} has neither observed nor imputed cells to count")
    edges = _shared_edges(observed, imputed)
    return Distribution(
        column=column,
        edges=tuple(edges.tolist()),
        observed=tuple(np.histogram(observed, edges)[0].tolist()),
        imputed=tuple(np.histogram(imputed, edges)[0].tolist()),
    )


def _shared_edges(
    observed: NDArray[np.float64], imputed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bins of equal width over both ranges, as wide as the observed cells ask for."""
    reference = observed if observed.size else imputed
    low = float(min(values.min() for values in (observed, imputed) if values.size))
    high = float(max(values.max() for values in (observed, imputed) if values.size))
    if math.isclose(low, high, rel_tol=1e-12):
        margin = abs(low) / 2 or 0.5
        return np.array([low - margin, high + margin])
    width = min(max(_bin_width(reference), (high - low) / MAX_BINS), (high - low) / MIN_BINS)
    if high - low >= MIN_BINS and np.array_equal(reference, np.round(reference)):
        # Whole numbers counted in bins of a fractional width would look like a comb.
        width, low = float(round(width)), math.floor(low) - 0.5
        high = low + width * math.ceil((high + 0.5 - low) / width)
    return np.linspace(low, high, math.ceil((high - low) / width - 1e-9) + 1)


def _bin_width(values: NDArray[np.float64]) -> float:
    """Freedman & Diaconis (1981): twice the interquartile range over the cube root of n."""
    lower, upper = np.percentile(values, [25, 75])
    return float(2 * (upper - lower) / np.cbrt(values.size))


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
