"""When the loop ends: the trace of its iterations, what it shows, and the ending in a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.acceleration import Method
from em_impute.gaussian.parameters import Parameters, Point, Standardisation
from em_impute.gaussian.status import Iteration, Status

# Absolute rounding error of the EM map.
MAP_ROUNDING = 1e-13
# Every so many evaluations the method is asked how fast plain EM would be.
RATE_INTERVAL = 4
# Evaluations over which a covariance is watched for creeping towards a singular one, and those at
# the end of them where no proposal is accepted any more; from which smallest eigenvalue on, and by
# which factor that falls in each half at least.
CREEPING_WINDOW = 60
STUCK_WINDOW = 18
CREEPING_EIGENVALUE = 1e-2
CREEPING_FALL = 0.994
# Near a maximum the gain decays faster than this from one half to the next.
CREEPING_GAIN = 0.2
# In units of the log-likelihood. Where a combination of columns has next to no spread, a step that
# is small for each of them can still be a large one for the likelihood.
NEGLIGIBLE_GAIN = 0.01


def unheard(_: object) -> None:
    """Nothing: for those who do not want to hear of the loop."""


@dataclass(frozen=True)
class Options:
    """What the caller chose for the loop.

    Attributes
    ----------
    tol : float
        Estimated distance to the maximum at which it ends; of the other families what the
        log-likelihood may still rise by, for each row.
    max_iter : int
        Evaluations at which it ends.
    acceleration : {"anderson", "squarem", "none"}
    deadline : float or None
        When it ends, by the monotonic clock.
    on_iteration, keep : callable
        Called with each `Iteration`, and with the parameters of each point that is accepted.
    """

    tol: float
    max_iter: int
    acceleration: str = "anderson"
    deadline: float | None = None
    on_iteration: Callable[[Iteration], None] = unheard
    keep: Callable[[Parameters], None] = unheard

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and time.monotonic() > self.deadline


def stopping(point: Point, distance: float, trace: Trace, options: Options) -> tuple[bool, Status]:
    """Whether the loop stops at `point`, and the status of the fit if it does.

    Parameters
    ----------
    point : Point
        The last that was accepted, and the last of the trace.
    distance : float
        Estimated distance to the maximum.
    trace : Trace
    options : Options
    """
    if point.image_position is None or trace.creeping():
        return True, Status.SINGULAR
    if distance <= options.tol and trace.gain() <= NEGLIGIBLE_GAIN:
        return True, Status.CONVERGED
    if trace.n_iter >= options.max_iter:
        return True, Status.MAX_ITERATIONS
    return options.out_of_time, Status.TIME_LIMIT


class Trace:
    """The iterations so far, and what they show of where the loop is going."""

    def __init__(self, options: Options) -> None:
        self.iterations: list[Iteration] = []
        self._options = options
        self._rate = np.nan

    @property
    def n_iter(self) -> int:
        """Evaluations after the one at the start."""
        return len(self.iterations) - 1

    def distance(self, residual: float, method: Method) -> float:
        """The distance that is left to a point from which the method's map moves by `residual`.

        An iteration that shrinks its steps by a rate has ``residual / (1 - rate)`` before it.
        """
        # The rate takes as long as a small evaluation, and decides only where the steps are short.
        if residual <= self._options.tol or len(self.iterations) % RATE_INTERVAL == 0:
            self._rate = method.rate()
        if residual < MAP_ROUNDING:
            return residual
        return np.inf if np.isnan(self._rate) else residual / (1.0 - self._rate)

    def add(self, step: str, point: Point | None, distance: float = np.inf) -> None:
        """Keep one evaluation.

        Parameters
        ----------
        step : {"start", "em", "accelerated", "rejected"}
            How the point was reached.
        point : Point or None
            None where the covariance is as good as singular.
        distance : float
            Estimated distance to the maximum.
        """
        iteration = Iteration(
            number=len(self.iterations),
            loglik=-np.inf if point is None else point.loglik,
            objective=-np.inf if point is None else point.objective,
            distance=distance,
            step=step,
            smallest_eigenvalue=0.0 if point is None else point.smallest_eigenvalue,
        )
        self.iterations.append(iteration)
        self._options.on_iteration(iteration)

    def gain(self) -> float:
        """By how much the objective rose in the last step that was accepted; 0 at the start."""
        before = (r.objective for r in self.iterations[-2::-1] if r.step != "rejected")
        latest = self.iterations[-1].objective
        return latest - next(before, latest)

    def creeping(self) -> bool:
        """Whether the covariance is drifting towards a singular one, however slowly.

        Near a maximum the accelerated steps aim at it and are accepted. Where there is none they
        aim at nothing: over a window a good part is rejected, while the objective rises on and the
        smallest eigenvalue keeps falling in both halves of it. If all are rejected, a short window
        is enough.
        """
        latest = self.iterations[-1]
        if self.n_iter < CREEPING_WINDOW or latest.step == "rejected":
            return False
        if latest.smallest_eigenvalue > CREEPING_EIGENVALUE:
            return False
        recent = self.iterations[-STUCK_WINDOW - 1 :]
        stuck = all(record.step != "accelerated" for record in recent)
        return self._creeps(CREEPING_WINDOW) or (stuck and self._creeps(STUCK_WINDOW))

    def _creeps(self, window: int) -> bool:
        recent = self.iterations[-window - 1 :]
        accepted = [record for record in recent if record.step != "rejected"]
        if len(recent) - len(accepted) < 0.3 * window:
            return False
        first, middle, last = accepted[0], accepted[len(accepted) // 2], accepted[-1]
        falling = all(
            later.smallest_eigenvalue < CREEPING_FALL * earlier.smallest_eigenvalue
            for earlier, later in ((first, middle), (middle, last))
        )
        gains = middle.objective - first.objective, last.objective - middle.objective
        return falling and gains[1] >= CREEPING_GAIN * gains[0]


@dataclass(frozen=True)
class Ending:
    """Where and why the loop stopped, with which prior, and how it came there."""

    point: Point
    status: Status
    distance: float
    prior_rows: float
    trace: tuple[Iteration, ...]

    @property
    def n_iter(self) -> int:
        """Evaluations after the one at the start."""
        return len(self.trace) - 1

    def sentence(self, scaling: Standardisation, options: Options) -> str:
        """What happened, and what to do."""
        far = (
            f"the estimated distance to the maximum is {self.distance:.1g} "
            "(standard deviations, or correlation units)"
        )
        if self.status is Status.CONVERGED:
            return f"Converged after {self.n_iter} iterations; {far}."
        if self.status is Status.SINGULAR:
            return (
                f"The likelihood has no maximum: {scaling.dependent_columns(self.point.image[1])}. "
                f"{self.status.advice}"
            )
        if self.status is Status.SADDLE:
            return (
                f"The fit ended at a saddle point of the likelihood after {self.n_iter} "
                f"iterations, not at a maximum. {self.status.advice}"
            )
        out_of_iterations = self.status is Status.MAX_ITERATIONS
        limit = f"max_iter={options.max_iter}" if out_of_iterations else "the time limit"
        return (
            f"Stopped by {limit} after {self.n_iter} iterations, before the maximum was reached: "
            f"{far}, and tol is {options.tol:g}. {self.status.advice}"
        )
