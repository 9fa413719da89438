"""What a fit returns: `EMResult`, its `Status`, the `Iteration` records of its trace, a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Self

import numpy as np

from em_impute.gaussian.information import MissingInformation
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.patterns import PatternSummary

# A summary shows at most these.
MOST_PATTERNS = 10
MOST_NAMES = 6
MOST_CORRELATIONS = 12


class ConvergenceWarning(UserWarning):
    """The fit ended, but not at a maximum; the message says what to do."""


class Status(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    TIME_LIMIT = "time_limit"
    SINGULAR = "singular"
    SADDLE = "saddle"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "Nothing needs to be done.",
    Status.MAX_ITERATIONS: (
        "Raise max_iter, or go on from here with start=result.model; if the distance hardly "
        "shrinks, a small prior (prior_rows) makes the maximum better determined."
    ),
    Status.TIME_LIMIT: "Raise time_limit, or go on from here with start=result.model.",
    Status.SINGULAR: (
        "Leave out or combine one of these columns, or use a prior "
        '(prior_rows="auto"; in a job, prior: auto).'
    ),
    Status.SADDLE: (
        "Further starts (n_starts=5; in a job, n_starts: 5) find the maxima beside it, and keep "
        "the highest."
    ),
}


@dataclass(frozen=True)
class Iteration:
    """One evaluation of the EM map.

    Attributes
    ----------
    number : int
        0 for the start.
    loglik : float
        Observed-data log-likelihood at this point, on the original scale; -inf where the
        covariance was not positive definite.
    objective : float
        What must not decrease: `loglik`, with the prior's penalty where there is a prior.
    distance : float
        Estimated distance to the maximum: the largest remaining change of a mean in standard
        deviations or of a covariance in correlation units; inf while it cannot be estimated.
    step : {"start", "em", "accelerated", "rejected"}
        How the point was reached. A rejected point lowered the objective and was abandoned.
    smallest_eigenvalue : float
        Of the correlation matrix there: how near to singular it is.
    """

    number: int
    loglik: float
    objective: float
    distance: float
    step: str
    smallest_eigenvalue: float


@dataclass(frozen=True)
class Missingness:
    """How many cells a fit had to do without, and where.

    Attributes
    ----------
    n_rows, n_missing, n_patterns : int
        Rows, missing cells and distinct missingness patterns.
    frequent : tuple of (int, tuple of str)
        Rows and missing columns of the most frequent patterns, at most ten.
    """

    n_rows: int
    n_missing: int
    n_patterns: int
    frequent: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def of(cls, summary: PatternSummary) -> Self:
        """What `summary` shows."""
        order = np.argsort(-summary.counts, kind="stable")[:MOST_PATTERNS]
        return cls(
            n_rows=summary.n_rows,
            n_missing=summary.n_rows * summary.n_columns - int(summary.observed_counts.sum()),
            n_patterns=len(summary.counts),
            frequent=tuple(
                (
                    int(summary.counts[s]),
                    tuple(summary.columns[j] for j in np.flatnonzero(~summary.patterns[s])),
                )
                for s in order
            ),
        )


@dataclass(frozen=True)
class Starts:
    """Whether EM ends at the same maximum from several starts.

    Attributes
    ----------
    n : int
        The starts.
    agree : bool
        Whether all of them led to the same maximum.
    sentence : str
        How they compare.
    """

    n: int
    agree: bool
    sentence: str


@dataclass(frozen=True)
class EMResult:
    """A fitted model and how it was reached.

    Attributes
    ----------
    model : GaussianModel
        Mean and covariance at the last accepted point.
    status : Status
        How the fit ended.
    message : str
        The same in a sentence, with what to do.
    loglik : float
        Observed-data log-likelihood of `model`, constants included, on the original scale,
        without the prior; of all columns that are not constant.
    n_iter : int
        Evaluations of the EM map after the one at the start.
    distance : float
        Estimated distance to the maximum, as in `Iteration`.
    prior_rows : float
        Pseudo-rows of the ridge prior that was used; 0 for maximum likelihood.
    trace : tuple of Iteration
        Every evaluation, in order.
    decisions : tuple of str
        What the program decided by itself, a sentence each.
    missingness : Missingness
        Rows and patterns of the data.
    missing_information : MissingInformation
        How well the data determine the estimate.
    starts : Starts or None
        How several starts compare; None with one.
    """

    model: GaussianModel
    status: Status
    message: str
    loglik: float
    n_iter: int
    distance: float
    prior_rows: float
    trace: tuple[Iteration, ...]
    decisions: tuple[str, ...]
    missingness: Missingness
    missing_information: MissingInformation
    starts: Starts | None = None

    @property
    def worst_fraction(self) -> float:
        """Worst fraction of missing information: 0 without missing cells, NaN where unknown."""
        return self.missing_information.worst_fraction

    @property
    def worst_combination(self) -> tuple[tuple[str, float], ...]:
        """The parameters that it belongs to, with their loadings, the largest first."""
        return self.missing_information.worst_combination

    @property
    def remarks(self) -> tuple[str, ...]:
        """The message and the decisions, each once."""
        return tuple(dict.fromkeys([self.message, *self.decisions]))

    @property
    def converged(self) -> bool:
        """Whether the fit ended at a maximum."""
        return self.status is Status.CONVERGED

    def __repr__(self) -> str:
        return (
            f"EMResult({self.status.value} after {self.n_iter} iterations, "
            f"loglik={self.loglik:.6f}, {len(self.model.columns)} columns)"
        )

    def _repr_html_(self) -> str:
        # The sentences are longer than a notebook is wide.
        return f'<pre style="white-space: pre-wrap">{escape(self.summary())}</pre>'

    def summary(self) -> str:
        """The fit on a page: data, ending, estimates."""
        return "\n".join(
            [
                *_data(self.missingness, self.model.columns),
                "",
                *_ending(self),
                "",
                *_estimates(self.model),
            ]
        )


def _data(seen: Missingness, columns: Sequence[str]) -> Iterator[str]:
    cells = seen.n_rows * len(columns)
    yield "Multivariate Gaussian, estimated by EM"
    yield ""
    yield f"Rows {seen.n_rows:,}, columns {len(columns):,}, missing {seen.n_missing:,} of {cells:,}"
    shown = len(seen.frequent)
    some = f", the {shown} most frequent" if shown < seen.n_patterns else ""
    yield f"Missingness patterns {seen.n_patterns:,}{some}:"
    yield f"  {'rows':>13}  missing"
    for count, missing in seen.frequent:
        rest = len(missing) - MOST_NAMES
        more = f" and {rest} more" if rest > 0 else ""
        yield f"  {count:>13,}  {', '.join(missing[:MOST_NAMES]) or 'nothing'}{more}"


def _ending(result: EMResult) -> Iterator[str]:
    yield from result.remarks
    prior = f"{result.prior_rows:.4g} pseudo-rows" if result.prior_rows else "none"
    yield f"Status                                 {result.status.value}"
    yield f"Iterations                             {result.n_iter}"
    yield f"Log-likelihood                         {result.loglik:.6f}"
    yield f"Estimated distance to the maximum      {result.distance:.1g}"
    yield f"Ridge prior                            {prior}"
    fraction = "not known" if np.isnan(result.worst_fraction) else f"{result.worst_fraction:.4f}"
    yield f"Worst fraction of missing information  {fraction}"
    for name, loading in result.worst_combination:
        yield f"  {loading:6.3f}  {name}"


def _estimates(model: GaussianModel) -> Iterator[str]:
    """A line a column; its correlations with the earlier ones where they fit a page."""
    p = len(model.columns)
    shown = p if p <= MOST_CORRELATIONS else 0
    width = max(map(len, model.columns))
    yield f"{'Estimates':<{width}} {'mean':>13} {'sd':>13}" + ("  correlations" if shown else "")
    for i, name in enumerate(model.columns):
        row = model.correlation[i, : min(i + 1, shown)]
        correlations = "".join("      -" if np.isnan(r) else f" {r:6.3f}" for r in row)
        yield f"{name:<{width}} {model.mean[i]:>13.6g} {model.sd[i]:>13.6g} {correlations}".rstrip()
