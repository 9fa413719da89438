"""EM for a multivariate Gaussian with missing cells: the loop.

`climb` evaluates the EM map, lets a method propose where to evaluate it next, accepts that or falls
back on the plain step of EM, and stops. Columns come in standardised: observed mean 0 and sd 1.

Dempster, Laird & Rubin 1977; Little & Rubin 2019, chapter 11.
"""

from __future__ import annotations

import numpy as np

from em_impute.gaussian.acceleration import METHODS, Method
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.completion import complete
from em_impute.gaussian.e_step import ExpectedMoments, WeightedRows, e_step
from em_impute.gaussian.linalg import SINGULAR_EIGENVALUE
from em_impute.gaussian.parameters import (
    Parameters,
    Point,
    largest_difference,
    parameters_at,
    position_if_definite,
)
from em_impute.gaussian.scoring import Scoring, scoring_pays
from em_impute.gaussian.status import Status
from em_impute.gaussian.stopping import Ending, Options, Trace, stopping


def climb(rows: WeightedRows, start: Parameters, prior_rows: float, options: Options) -> Ending:
    """The ending of a climb from `start`, on and on until the objective rises no further.

    Parameters
    ----------
    rows : WeightedRows
    start : tuple of ndarray
        Mean (p,) and covariance (p, p).
    prior_rows : float
        Pseudo-rows of the ridge prior.
    options : Options

    Raises
    ------
    ValueError
        If the covariance of the start is not positive definite.
    """
    method = _method(options.acceleration, rows, prior_rows)
    point, step, trace = _first_point(rows, start, prior_rows), "start", Trace(options)
    while True:
        proposal = method.propose(point)
        residual = largest_difference(proposal.image, point.parameters)
        distance = trace.distance(residual, method)
        trace.add(step, point, distance)
        stop, status = stopping(point, distance, trace, options)
        if stop:
            break
        step, following = _advance(rows, point, proposal.position, prior_rows)
        if step == "rejected":
            trace.add(step, following)
            method.restart()
            step, following = _advance(rows, point, None, prior_rows)
        if following is None:
            status = Status.SINGULAR
            break
        point = following
        options.keep(point.parameters)
    if status is Status.CONVERGED and not prior_rows:
        point = _completed(rows, point)
    return Ending(point, status, distance, prior_rows, tuple(trace.iterations))


def m_step(moments: ExpectedMoments, mean: Floats, prior_rows: float) -> Parameters:
    """The mean and covariance under which the expected moments about `mean` are most likely.

    With a ridge prior of `prior_rows` pseudo-rows of independent columns at the observed
    variances (1 here), ``Sigma = (n Sigma_EM + nu I) / (n + nu)``.

    Parameters
    ----------
    moments : ExpectedMoments
    mean : ndarray of shape (p,)
        What the moments are about.
    prior_rows : float
        ``nu``.
    """
    shift = moments.total / moments.n
    cross = moments.cross - moments.n * np.multiply.outer(shift, shift)
    if prior_rows:
        cross.flat[:: len(mean) + 1] += prior_rows
    return mean + shift, (cross + cross.T) / (2 * (moments.n + prior_rows))


def _method(acceleration: str, rows: WeightedRows, prior_rows: float) -> Method:
    if acceleration == "anderson" and not prior_rows and scoring_pays(rows):
        return Scoring(rows)
    return METHODS[acceleration]()


def _first_point(rows: WeightedRows, start: Parameters, prior_rows: float) -> Point:
    position = position_if_definite(start)
    point = None if position is None else _evaluate(rows, start, position, prior_rows)
    if point is None:
        raise ValueError("The covariance of the start must be positive definite.")
    return point


def _advance(
    rows: WeightedRows, point: Point, proposal: Floats | None, prior_rows: float
) -> tuple[str, Point | None]:
    """The step and the point that it leads to: the proposed one, or else that of plain EM."""
    if proposal is None:
        if point.image_position is None:
            return "em", None
        return "em", _evaluate(rows, point.image, point.image_position, prior_rows)
    trial = _evaluate(rows, parameters_at(proposal), proposal, prior_rows)
    lower = trial is None or trial.objective < point.objective - point.rounding
    return ("rejected" if lower else "accelerated"), trial


def _evaluate(
    rows: WeightedRows, at: Parameters, position: Floats, prior_rows: float
) -> Point | None:
    """The EM map and the objective at `at`; None where the covariance is as good as singular."""
    try:
        moments = e_step(rows, *at)
    except np.linalg.LinAlgError:
        return None
    if moments.smallest_eigenvalue < SINGULAR_EIGENVALUE or not np.isfinite(moments.loglik):
        return None
    image = m_step(moments, at[0], prior_rows)
    image_position = position_if_definite(image)
    objective = moments.loglik - penalty(at[1], prior_rows)
    return Point(
        at, image, position, image_position, moments.loglik, objective, moments.smallest_eigenvalue
    )


def penalty(covariance: Floats, prior_rows: float) -> float:
    """What the ridge prior takes off the log-likelihood: ``nu/2 (log|Sigma| + tr Sigma^-1)``."""
    if not prior_rows:
        return 0.0
    log_det = np.linalg.slogdet(covariance)[1]
    return float(prior_rows / 2 * (log_det + np.trace(np.linalg.inv(covariance))))


def _completed(rows: WeightedRows, point: Point) -> Point:
    """The maximum that assumes least, where the likelihood is flat around `point`."""
    if not rows.unseen.any():
        return point
    mean, covariance = point.parameters[0], complete(point.parameters[1], rows.unseen)
    position = position_if_definite((mean, covariance))
    completed = None
    if position is not None:
        completed = _evaluate(rows, (mean, covariance), position, 0.0)
    return completed or point
