"""EM for a factor model with missing cells: the loop.

As in `climb`, an accelerated step that lowers the log-likelihood is caught at no cost and taken
back. What is left to rise is estimated from what an M-step adds to the expected log-likelihood,
which near a maximum is at least ``1 - rate`` of it. Where a noise variance creeps towards zero a
history that has just begun anew shows too small a rate; so the largest of the last ones counts.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.acceleration import DEPTH, Anderson
from em_impute.gaussian.families.latent import WeightedTable, e_step
from em_impute.gaussian.families.loadings import Loadings, m_step
from em_impute.gaussian.parameters import LOGLIK_ROUNDING
from em_impute.gaussian.status import Iteration, Status
from em_impute.gaussian.stopping import Options
from em_impute.gaussian.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters, what EM makes of them, and how likely they are.

    Attributes
    ----------
    at, image : Loadings
        Of the standardised columns.
    loglik : float
        On the original scale; -inf where the parameters are beyond floating point.
    gain : float
        By how much the M-step raises the expected log-likelihood.
    mass : float
        Rows with something observed, by weight.
    """

    at: Loadings
    image: Loadings
    loglik: float
    gain: float
    mass: float

    @property
    def rounding(self) -> float:
        """By how much the log-likelihood may fall without meaning it."""
        return LOGLIK_ROUNDING * (1.0 + abs(self.loglik))


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where one climb ended, and why.

    Attributes
    ----------
    point : Point
    status : Status
    trace : tuple of Iteration
        Every evaluation, in order. A distance is what the log-likelihood is estimated to rise by
        from there, for each row; in the place of an eigenvalue is the smallest noise variance.
    """

    point: Point
    status: Status
    trace: tuple[Iteration, ...]


@one_blas_thread()
def ascend(table: WeightedTable, start: Loadings, options: Options) -> Ascent:
    """Climb from `start` until the likelihood is estimated to rise no further.

    Parameters
    ----------
    table : WeightedTable
    start : Loadings
        Of the standardised columns.
    options : Options
        Its `tol` is what the log-likelihood may still rise by, for each row.
    """
    method, course = Anderson(), _Course(options)
    point, step = _evaluate(table, start), "start"
    while True:
        proposal = method.beyond(point.at.position(), point.image.position())
        status = course.add(step, point, method.rate())
        if status is not None:
            return Ascent(point, status, tuple(course.trace))
        following = None
        if proposal is not None:
            step, following = "accelerated", _evaluate(table, point.at.moved(proposal))
            if following.loglik < point.loglik - point.rounding:
                course.keep("rejected", following, math.inf)
                method.restart()
                following = None
        if following is None:
            step, following = "em", _evaluate(table, point.image)
        point = following


class _Course:
    """The evaluations so far, and when they end."""

    def __init__(self, options: Options) -> None:
        self.trace: list[Iteration] = []
        self._options = options
        self._rates: deque[float] = deque(maxlen=DEPTH)

    def add(self, step: str, point: Point, rate: float) -> Status | None:
        """Keep a point that was accepted; why the climb ends there, or None."""
        if not math.isnan(rate):
            self._rates.append(rate)
        distance = max(point.gain, 0.0) / point.mass
        if point.gain > point.rounding:
            distance = distance / (1.0 - max(self._rates)) if self._rates else math.inf
        self.keep(step, point, distance)
        if distance <= self._options.tol:
            return Status.CONVERGED
        if len(self.trace) > self._options.max_iter:
            return Status.MAX_ITERATIONS
        return Status.TIME_LIMIT if self._options.out_of_time else None

    def keep(self, step: str, point: Point, distance: float) -> None:
        """Keep an evaluation."""
        loglik, smallest = point.loglik, float(point.at.noise.min())
        self.trace.append(Iteration(len(self.trace), loglik, loglik, distance, step, smallest))
        self._options.on_iteration(self.trace[-1])


def _evaluate(table: WeightedTable, at: Loadings) -> Point:
    """The EM map, and the log-likelihood at its argument."""
    with np.errstate(over="ignore", invalid="ignore"):
        # A wild proposal overflows.
        moments = e_step(table, at)
    if not np.isfinite(moments.loglik):
        return Point(at, at, -math.inf, 0.0, 1.0)
    image, gain = m_step(moments, at)
    return Point(at, image, moments.loglik, gain, moments.total[0, 0])
