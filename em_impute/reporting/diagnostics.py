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
from typing import Any, Literal, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from em_impute.gaussian import EMResult, GaussianModel, PatternSummary
from em_impute.gaussian.linalg import NO_SPREAD
from em_impute.gaussian.threads import one_blas_thread
from em_impute.reporting.drift import Drift
from em_impute.reporting.matrices import Correlations, Together
from em_impute.reporting.missingness import (
    FEWEST_ROWS,
    CompletelyAtRandom,
    MissingnessMap,
    Patterns,
)
from em_impute.reporting.parts import Failure
from em_impute.self_test.scores import SelfTest
from em_impute.tables.digest import Digest, Moments, finite

MAX_EVALUATIONS = 500
MAX_DISTRIBUTIONS = 24
MAX_GROUPS = 40
MIN_BINS, MAX_BINS = 8, 40
# Beyond the one, differences of numbers may overflow; within the other, numbers are one.
LARGE, SMALL = 2.0**1000, 1e-290

T = TypeVar("T")
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
class Column:
    """One column of the table.

    `em` describes the column as the models that fill it estimate it for all rows, seen or not, on
    its own scale; it counts no rows where the column is not in the model or nothing was fitted.
    `transform` is what the model sees of it, such as log; empty if that is the column as it is.
    `kurtosis` is the fourth standardised moment of what the model sees of the observed cells; 3 is
    the normal's. `left` says why the missing cells are left missing; empty if there are none or
    they are filled.
    """

    name: str
    role: Role
    missing: int
    observed: Moments
    em: Moments
    imputed: Moments
    transform: str = ""
    kurtosis: float | None = None
    left: str = ""

    @property
    def missing_share(self) -> float:
        """Missing cells as a fraction of all cells of the column; 0 in an empty table."""
        return self.missing / max(self.missing + self.observed.count, 1)


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

    Attributes
    ----------
    worst_fraction : float or None
        Worst fraction of missing information; None where it is not known.
    worst_combination : tuple of (str, float)
        The parameters that it belongs to, with their loadings, the largest 1.
    condition : float or None
        Condition number of the correlation matrix.
    starts : int
        From how many points EM was started.
    starts_agree : bool or None
        Whether all of them led to the same maximum; None with one.
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
    worst_fraction: float | None = None
    worst_combination: tuple[tuple[str, float], ...] = ()
    condition: float | None = None
    starts: int = 1
    starts_agree: bool | None = None


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
        shares = np.asarray(counts, dtype=float) / max(sum(counts), 1)
        with np.errstate(over="ignore"):  # of bins as wide as all numbers together
            return shares / np.diff(self.edges)


@dataclass(frozen=True)
class Levels:
    """Observed and imputed cells of each level of a column of categories, which it names."""

    column: str
    levels: tuple[str, ...]
    observed: tuple[int, ...]
    imputed: tuple[int, ...]


@dataclass(frozen=True)
class ImputedCells:
    """What is known of the imputed cells of a column of numbers.

    Attributes
    ----------
    column : str
    count : int
    sd_mean, sd_median : float or None
        Of the cells' conditional standard deviations, over the standard deviation of the column as
        the model estimates it: near 0 where the other columns tell the cell, near 1 where they tell
        nothing of it.
    beyond : int
        Cells below the least or above the greatest observed one.
    at_bound : int or None
        Cells at a bound that the job sets; None if it sets none.
    """

    column: str
    count: int
    sd_mean: float | None
    sd_median: float | None
    beyond: int
    at_bound: int | None = None

    @property
    def share_beyond(self) -> float:
        """Fraction of the imputed cells that are beyond the observed range."""
        return self.beyond / max(self.count, 1)


@dataclass(frozen=True)
class GroupRow:
    """The model of a group of rows; one that has none of its own is filled by that of all rows.

    `status` is that of its fit, or "too few rows" or "not determined".
    """

    label: str
    rows: int
    own_model: bool
    status: str
    iterations: int | None = None


@dataclass(frozen=True)
class Groups:
    """The largest groups of rows, and how many there are.

    `rows` is ordered by the groups' rows, descending; groups of fewer than `FEWEST_ROWS` are not in
    it.
    """

    rows: tuple[GroupRow, ...]
    total: int
    own_models: int


@dataclass(frozen=True)
class Runtime:
    """What a run took until its report: seconds by step, and the most memory of its process."""

    steps: tuple[tuple[str, float], ...]
    peak_memory: int | None = None

    @property
    def seconds(self) -> float:
        """Seconds of all steps together."""
        return sum(seconds for _, seconds in self.steps)


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
    are draws, not means. `not_tested` says why the data allow no test of `completely_at_random`,
    where they do not. `warnings` are the sentences behind the verdict, the most important first;
    some of them are `decisions`, too. `self_test` is None where no cell was hidden. `manifest` has
    names and values of what the run was made of. `failures` are the parts of it that could not be
    made; `unsettled` says that nobody knows whether the target holds the table.
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
    warnings: tuple[str, ...] = ()
    missingness: MissingnessMap | None = None
    together: Together | None = None
    completely_at_random: CompletelyAtRandom | None = None
    not_tested: str = ""
    groups: Groups | None = None
    correlations: Correlations | None = None
    drift: Drift | None = None
    imputed: tuple[ImputedCells, ...] = ()
    levels: tuple[Levels, ...] = ()
    runtime: Runtime | None = None
    manifest: tuple[tuple[str, str], ...] = ()
    self_test: SelfTest | None = None
    failures: tuple[Failure, ...] = ()
    unsettled: bool = False

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

    @property
    def left(self) -> tuple[Column, ...]:
        """Columns with missing cells that are left missing, those with the most of them first."""
        return tuple(sorted((c for c in self.columns if c.left), key=lambda c: -c.missing))

    @property
    def left_cells(self) -> int:
        """Missing cells that are left missing."""
        return sum(column.missing for column in self.left)

    @property
    def panels(self) -> tuple[Distribution | Levels, ...]:
        """What was observed and imputed, column by column."""
        return (*self.distributions, *self.levels)

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
_FIELDS = {name: TypeAdapter(hint) for name, hint in get_type_hints(Report).items()}


def kept(field: str, value: T) -> T:
    """Return the value of a field of a report, which can be read again from what it is kept as.

    Raises
    ------
    ValueError
        If it cannot.
    """
    adapter: TypeAdapter[T] = _FIELDS[field]
    adapter.validate_json(adapter.dump_json(value))
    return value


def judge(
    *,
    refusal: str | None,
    warnings: Sequence[str],
    imputed_cells: int,
    target: str,
    left_cells: int = 0,
    unsettled: bool = False,
) -> Verdict:
    """Return the verdict on a run.

    Parameters
    ----------
    refusal : str or None
        The sentence that says why nothing was published; None if it was.
    warnings : sequence of str
        Sentences about what a reader should know before trusting the table, the most important
        first: the verdict has that one, and says how many there are.
    imputed_cells : int
        Cells that were filled.
    target : str
        Where the table went, or would have gone.
    left_cells : int
        Missing cells that were left missing.
    unsettled : bool
        Whether it is not known that the target is as it was.
    """
    if refusal is not None and unsettled:
        return Verdict(
            "not published",
            f"{refusal} Whether the target {target} holds this run's table could not be found out: "
            "look at it before the job is run again.",
        )
    if refusal is not None:
        untouched = f"The target {target} is as it was before this run."
        return Verdict("not published", f"{refusal} {untouched}")
    left = f", {left_cells:,} {_were(left_cells)} left missing," if left_cells else ""
    done = f"{_filled(imputed_cells)}{left} and the table was written to {target}"
    if not warnings:
        return Verdict("published", f"{done}; no check warned.")
    if len(warnings) == 1:
        return Verdict("published with warnings", f"{done}. {warnings[0]}")
    first = f"The first of {len(warnings)} warnings: {warnings[0]}"
    return Verdict("published with warnings", f"{done}. {first}")


@dataclass
class ImputedDigest:
    """What is known of the imputed cells of a column of numbers, which come in portions.

    Attributes
    ----------
    low, high : float
        The least and the greatest observed cell.
    bounds : pair of float or None
        The least and the greatest number that the job lets be filled in; None if it sets no bounds.
    cells, sd : Digest
        The cells, and their conditional standard deviations.
    beyond, at_bound : int
        Cells outside of the observed range, and at a bound.
    """

    low: float
    high: float
    bounds: tuple[float, float] | None = None
    cells: Digest = field(default_factory=Digest)
    sd: Digest = field(default_factory=Digest)
    beyond: int = 0
    at_bound: int = 0

    def add(self, cells: Floats, sd: Floats) -> None:
        """Take in the next cells and their standard deviations, arrays of shape (n,)."""
        self.cells.add(cells)
        self.sd.add(sd[np.isfinite(sd)])
        if self.low <= self.high:
            self.beyond += int(np.count_nonzero((cells < self.low) | (cells > self.high)))
        # A bound that a narrow type cannot hold is met by its neighbour.
        for bound in self.bounds or ():
            self.at_bound += int(np.count_nonzero(np.isclose(cells, bound, rtol=1e-6, atol=0.0)))

    def describe(self, column: Column) -> ImputedCells:
        """Describe the cells of `column`, which says how it varies."""
        scale = column.em.sd or math.nan
        middle = np.median(self.sd.kept) if self.sd.count else math.nan
        return ImputedCells(
            column=column.name,
            count=self.cells.count,
            sd_mean=finite(self.sd.mean / scale) if self.sd.count else None,
            sd_median=finite(float(middle) / scale),
            beyond=self.beyond,
            at_bound=None if self.bounds is None else self.at_bound,
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


def describe_fit(result: EMResult, tol: float | None = None) -> Fit:
    """Describe how EM went; `tol` is the distance it was asked to reach."""
    kept = np.linspace(0, len(result.trace) - 1, min(len(result.trace), MAX_EVALUATIONS))
    return Fit(
        status=result.status.value,
        message=result.message,
        evaluations=result.n_iter,
        rejected=sum(iteration.step == "rejected" for iteration in result.trace),
        loglik=finite(result.loglik),
        distance=finite(result.distance),
        tol=tol,
        prior_rows=float(result.prior_rows),
        trace=tuple(
            Evaluation(
                number=iteration.number,
                loglik=finite(iteration.loglik),
                objective=finite(iteration.objective),
                distance=finite(iteration.distance),
                step=iteration.step,
            )
            for iteration in (result.trace[round(i)] for i in kept)
        ),
        worst_fraction=finite(result.worst_fraction),
        worst_combination=result.worst_combination,
        condition=_condition(result.model),
        starts=result.starts.n if result.starts else 1,
        starts_agree=result.starts.agree if result.starts else None,
    )


@one_blas_thread()
def _condition(model: GaussianModel) -> float | None:
    varying = model.sd > 0
    if not varying.any():
        return None
    correlation = model.correlation[np.ix_(varying, varying)]
    if not np.isfinite(correlation).all():  # of spreads whose product is no number any more
        return None
    eigenvalues = np.linalg.eigvalsh(correlation)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > NO_SPREAD else None


def describe_groups(groups: Sequence[GroupRow]) -> Groups | None:
    """Pick the largest groups, at most `MAX_GROUPS`; None without any."""
    if not groups:
        return None
    large = [group for group in groups if group.rows >= FEWEST_ROWS]
    ranked = sorted(large, key=lambda group: -group.rows)[:MAX_GROUPS]
    return Groups(tuple(ranked), len(groups), sum(group.own_model for group in groups))


def most_imputed(columns: Sequence[Column], limit: int = MAX_DISTRIBUTIONS) -> tuple[str, ...]:
    """Return the names of the columns with the most imputed cells, at most `limit` of them."""
    imputed = [column for column in columns if column.imputed.count]
    ranked = sorted(imputed, key=lambda column: -column.imputed.count)
    return tuple(column.name for column in ranked[:limit])


def describe_distributions(
    columns: Sequence[str],
    observed: Portions,
    imputed: Portions,
    digests: tuple[Mapping[str, Digest], Mapping[str, Digest]] | None = None,
) -> tuple[Distribution, ...]:
    """Count observed and imputed cells of each column on shared bins.

    Parameters
    ----------
    columns : sequence of str
    observed, imputed : callable
        Give the cells: to be counted and, without `digests`, for the bins.
    digests : pair of mappings of str to Digest, optional
        The digests of both, where they are known.

    Raises
    ------
    ValueError
        If a column has no cell of either kind.
    """
    seen, filled = digests or (digest(observed(), columns), digest(imputed(), columns))
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
    scales = {name: _scale(*edges[name][[0, -1]]) for name in edges}
    for portion in portions:
        for name in counts.keys() & portion.keys():
            # With a range, which gives the same edges, NumPy computes the bin and does not search.
            first, last = edges[name][[0, -1]] * scales[name]
            cells = portion[name] if scales[name] == 1.0 else portion[name] * scales[name]
            counts[name] += np.histogram(cells, len(counts[name]), (first, last))[0]
    return counts


def _scale(low: float, high: float) -> float:
    """A power of two by which numbers of this range are multiplied, so that differences are finite.

    Where they are in any case, that is 1.
    """
    return 1.0 if max(abs(low), abs(high)) <= LARGE else 1.0 / 1024.0


def _shared_edges(column: str, observed: Digest, imputed: Digest) -> Floats:
    """Bins of equal width over both ranges, about as wide as the observed cells ask for.

    They begin and end at multiples of their width, not at the least and the greatest cell.
    """
    if observed.count + imputed.count == 0:
        raise ValueError(f"column {column!r} has neither observed nor imputed cells to count")
    reference = observed if observed.count else imputed
    low, high = float(min(observed.low, imputed.low)), float(max(observed.high, imputed.high))
    scale = _scale(low, high)
    if math.isclose(low, high, rel_tol=1e-12, abs_tol=SMALL):
        edges = _around(low * scale, high * scale)
    else:
        edges = _bins(reference, low * scale, high * scale, scale)
    with np.errstate(over="ignore"):  # the ends may be beyond the largest number there is
        return np.nan_to_num(edges / scale)


def _around(low: float, high: float) -> Floats:
    """One bin for cells that hardly differ."""
    margin = max(abs(low), abs(high)) / 2
    margin = margin if margin > SMALL else 0.5
    return np.array([low - margin, high + margin])


def _bins(cells: Digest, low: float, high: float, scale: float) -> Floats:
    """Bins from `low` to `high`, of a width that `cells`, multiplied by `scale`, ask for."""
    spread = high - low
    width = min(max(_bin_width(cells, scale), spread / MAX_BINS), spread / MIN_BINS)
    if cells.whole and spread >= MIN_BINS and scale == 1.0:
        # Whole numbers counted in bins of a fractional width would look like a comb.
        width, offset = float(max(round(width), math.ceil(spread / MAX_BINS))), 0.5
    else:
        width, offset = float(f"{1.05 * width:.1e}"), 0.0
    first = math.floor((low + offset) / width)
    last = math.ceil((high + offset) / width)
    # The division may have rounded across an edge.
    first -= first * width - offset > low
    last += last * width - offset < high
    return np.linspace(first * width - offset, last * width - offset, last - first + 1)


def _bin_width(cells: Digest, scale: float) -> float:
    """Freedman & Diaconis (1981): twice the interquartile range over the cube root of n."""
    lower, upper = np.percentile(cells.kept * scale, [25, 75])
    return float(2 * (upper - lower) / np.cbrt(cells.count))


def _observed_moments(summary: PatternSummary) -> dict[str, Moments]:
    return {
        name: Moments(int(count), finite(mean), finite(sd))
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
        name: Moments(rows, finite(mean), finite(sd))
        for name, mean, sd in zip(model.columns, model.mean, model.sd, strict=True)
    }


def _filled(cells: int) -> str:
    if cells == 0:
        return "No cell was to be filled"
    return f"{cells:,} missing {'cell' if cells == 1 else 'cells'} {_were(cells)} filled"


def _were(cells: int) -> str:
    return "was" if cells == 1 else "were"
