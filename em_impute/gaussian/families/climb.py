"""EM for a mixture of Gaussians with missing cells: the loop.

Each evaluation of the EM map also gives the log-likelihood at its argument, so a step that Anderson
acceleration proposes and that lowers it is caught at no cost. The rise that is left is estimated
from what an M-step adds to the expected log-likelihood: near a maximum that is at least
``1 - rate`` of it, `rate` being that of plain EM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.acceleration import Anderson
from em_impute.gaussian.arrays import Ints
from em_impute.gaussian.families.components import Components, m_step
from em_impute.gaussian.families.e_step import e_step
from em_impute.gaussian.families.rows import SortedRows
from em_impute.gaussian.parameters import LOGLIK_ROUNDING
from em_impute.gaussian.threads import one_blas_thread

# Steps that gain more than this for each row are on the way to a hill: they stay plain ones.
FAR = 1e-3
# A gain for each row that is nothing but rounding.
NO_GAIN = 1e-13


@dataclass(frozen=True)
class Options:
    """When the loop ends.

    Attributes
    ----------
    tol : float
        Estimated rise of the log-likelihood that is left, for each row.
    max_iter : int
        Evaluations of the EM map after that at the start.
    """

    tol: float
    max_iter: int


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
    logliks : tuple of float
        At the points that were accepted.
    n_iter : int
        Evaluations of the EM map.
    converged : bool
    prior_rows : float
    """

    point: Point
    logliks: tuple[float, ...]
    n_iter: int
    converged: bool
    prior_rows: float

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
    method, n_iter = Anderson(), 1
    point = _evaluate(rows, start, prior_rows)
    if point is None:
        raise ValueError("The covariances of the start must be positive definite.")
    logliks, converged = [point.loglik], False
    while not len(point.image.collapsed()):
        proposal = method.beyond(point.components.position(), point.image.position())
        converged = _at_the_top(point, rows.n_observed, method, options.tol)
        if converged or n_iter > options.max_iter:
            break
        following = None
        if proposal is not None and point.gain <= FAR * rows.n_observed:
            n_iter += 1
            following = _not_below(point, rows, point.components.at(proposal), prior_rows)
            if following is None:
                method.restart()
        if following is None:
            n_iter += 1
            following = _evaluate(rows, point.image, prior_rows)
        if following is None:
            break
        point = following
        logliks.append(point.loglik)
    return Climb(point, tuple(logliks), n_iter, converged, prior_rows)


def _at_the_top(point: Point, n: int, method: Anderson, tol: float) -> bool:
    """Whether hardly anything is left to gain."""
    gain = point.gain / n
    # The rate takes as long as a small evaluation, and decides only where the steps are short.
    return gain <= NO_GAIN or (gain <= tol and gain <= tol * (1.0 - method.rate()))


def _not_below(
    point: Point, rows: SortedRows, components: Components, prior_rows: float
) -> Point | None:
    """The point there; None where that is lower, or where a component has collapsed."""
    if not np.isfinite(components.covariances).all() or len(components.collapsed()):
        return None
    trial = _evaluate(rows, components, prior_rows)
    if trial is None or trial.objective < point.objective - point.rounding:
        return None
    return trial


def _evaluate(rows: SortedRows, components: Components, prior_rows: float) -> Point | None:
    """The EM map and the objective; None where a covariance is not positive definite."""
    moments = e_step(rows, components)
    if not np.isfinite(moments.loglik):
        return None
    image, gain = m_step(moments, components, prior_rows)
    loglik = moments.loglik - rows.log_jacobian
    return Point(components, image, loglik, loglik - components.penalty(prior_rows), gain)
