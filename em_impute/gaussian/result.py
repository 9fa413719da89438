"""What a fit returns: `EMResult`, its `Status`, and the `Iteration` records of its trace."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from em_impute.gaussian.model import GaussianModel


class ConvergenceWarning(UserWarning):
    """The fit ended, but not at a maximum; the message says what to do."""


class Status(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    TIME_LIMIT = "time_limit"
    SINGULAR = "singular"

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

    @property
    def converged(self) -> bool:
        """Whether the fit ended at a maximum."""
        return self.status is Status.CONVERGED

    def __repr__(self) -> str:
        return (
            f"EMResult({self.status.value} after {self.n_iter} iterations, "
            f"loglik={self.loglik:.6f}, {len(self.model.columns)} columns)"
        )
