"""How a fit goes on and ends: the `Iteration` records of its trace, its `Status`, the warning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
        deviations or of a covariance in correlation units; inf while it cannot be estimated. Of a
        mixture: what the M-step there gains of the log-likelihood for each row; of a factor model:
        what that is estimated to rise by from there, for each row.
    step : {"start", "em", "accelerated", "rejected"}
        How the point was reached. A rejected point lowered the objective and was abandoned.
    smallest_eigenvalue : float
        Of the correlation matrix there: how near to singular it is; NaN of a mixture, the smallest
        noise variance of a factor model.
    """

    number: int
    loglik: float
    objective: float
    distance: float
    step: str
    smallest_eigenvalue: float
