"""EM for a mixture of Gaussians with missing cells: the loop.

Each evaluation of the EM map also gives the log-likelihood at its argument, so a step that Anderson
acceleration proposes and that lowers it is caught at no cost. The rise that is left is estimated
from what an M-step adds to the expected log-likelihood: near a maximum that is at least
``1 - rate`` of it, `rate` being that of plain EM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from em_impute.gaussian.acceleration import Anderson
from em_impute.gaussian.arrays import Ints
from em_impute.gaussian.families.components import Components, m_step
from em_impute.gaussian.families.e_step import e_step
from em_impute.gaussian.families.rows import SortedRows
from em_impute.gaussian.parameters import LOGLIK_ROUNDING
from em_impute.gaussian.status import Iteration
from em_impute.gaussian.stopping import Options
from em_impute.gaussian.threads import one_blas_thread

# Steps that gain more than this for each row are on the way to a hill: they stay plain ones.
FAR = 1e-3
# A gain for each row that is nothing but rounding.
NO_GAIN = 1e-13


@dataclass(frozen=True, eq=False)
class Point:
    """Components, what EM makes of them, and how likely they are.

    Attributes
    ----------
    components, image : Components
    loglik, objective : float
        Log-likelihood on the original scale; the same less the prior's penalty, which must not
        decrease.
    gain : float
        By how much the M-step raises the expected log-likelihood.
    """

    components: Components
    image: Components
    loglik: float
    objective: float
    gain: float

    @property
    def rounding(self) -> float:
        """By how much the objective may fall without meaning it."""
        return LOGLIK_ROUNDING * (1.0 + abs(self.objective))


@dataclass(frozen=True, eq=False)
class Climb:
    """Where one climb ended.

    Attributes
    ----------
    point : Point
        Its components are of the standardised columns.
    trace : tuple of Iteration
        Every evaluation of the EM map; its distance is what the M-step there gains for each row,
        and eigenvalues are not looked at.
    converged : bool
    prior_rows : float
    """

    point: Point
    trace: tuple[Iteration, ...]
    converged: bool
    prior_rows: float

    @property
    def logliks(self) -> tuple[float, ...]:
        """Log-likelihoods of the points that were accepted."""
        return tuple(one.loglik for one in self.trace if one.step != "rejected")

    @property
    def n_iter(self) -> int:
        """Evaluations of the EM map, that at the start included."""
        return len(self.trace)

    @property
    def collapsed(self) -> Ints:
        """The components that were about to lose all their rows or spread when it ended."""
        return self.point.image.collapsed()


@one_blas_thread()
def climb(rows: SortedRows, start: Components, prior_rows: float, options: Options) -> Climb:
    """The ending of a climb from `start`, on and on until the objective rises no further.

    Parameters
    ----------
    rows : SortedRows
    start : Components
        Of the standardised columns.
    prior_rows : float
        Pseudo-rows of the prior.
    options : Options

    Raises
    ------
    ValueError
        If a covariance of the start is not positive definite.
    """
    method, course = Anderson(), _Course(rows, prior_rows, options)
    point = course.evaluated(start, "start")
    if point is None:
        raise ValueError("The covariances of the start must be positive definite.")
    converged = False
    while not len(point.image.collapsed()):
        proposal = method.beyond(point.components.position(), point.image.position())
        converged = _at_the_top(point, rows.n_observed, method, options.tol)
        if converged or len(course.trace) > options.max_iter or options.out_of_time:
            break
        following = None
        if proposal is not None and point.gain <= FAR * rows.n_observed:
            proposed = point.components.at(proposal)
            following = course.evaluated(proposed, "accelerated", least=point)
            if following is None:
                method.restart()
        if following is None:
            following = course.evaluated(point.image, "em")
        if following is None:
            break
        point = following
    return Climb(point, tuple(course.trace), converged, prior_rows)


def _at_the_top(point: Point, n: int, method: Anderson, tol: float) -> bool:
    """Whether hardly anything is left to gain."""
    gain = point.gain / n
    # The rate takes as long as a small evaluation, and decides only where the steps are short.
    return gain <= NO_GAIN or (gain <= tol and gain <= tol * (1.0 - method.rate()))


@dataclass
class _Course:
    """The evaluations of one climb so far."""

    rows: SortedRows
    prior_rows: float
    options: Options
    trace: list[Iteration] = field(default_factory=list)

    def evaluated(
        self, components: Components, step: str, least: Point | None = None
    ) -> Point | None:
        """The point there; None where a covariance is not positive definite.

        With `least`, which a proposal has to come up to, also None where the objective is lower or
        a component has collapsed.
        """
        wild = least and (
            not np.isfinite(components.covariances).all() or len(components.collapsed())
        )
        point = None if wild else _evaluate(self.rows, components, self.prior_rows)
        if point and least and point.objective < least.objective - least.rounding:
            self._keep(point, "rejected")
            return None
        self._keep(point, step if point else "rejected")
        return point

    def _keep(self, point: Point | None, step: str) -> None:
        loglik, objective = (point.loglik, point.objective) if point else (-math.inf, -math.inf)
        gain = point.gain / self.rows.n_observed if point else math.inf
        self.trace.append(Iteration(len(self.trace), loglik, objective, gain, step, math.nan))
        self.options.on_iteration(self.trace[-1])


def _evaluate(rows: SortedRows, components: Components, prior_rows: float) -> Point | None:
    """The EM map and the objective; None where a covariance is not positive definite."""
    moments = e_step(rows, components)
    if not np.isfinite(moments.loglik):
        return None
    image, gain = m_step(moments, components, prior_rows)
    loglik = moments.loglik - rows.log_jacobian
    return Point(components, image, loglik, loglik - components.penalty(prior_rows), gain)
