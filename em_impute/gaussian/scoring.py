"""Fisher scoring: where the likelihood's gradient and expected information say the maximum is.

With little data per parameter EM takes many steps that are cheap each. Where a table has few
columns and patterns, one step of scoring costs about as much and goes most of the way.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.linalg import lapack

from em_impute.gaussian.acceleration import Anderson, Proposal
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.e_step import Part, WeightedRows
from em_impute.gaussian.linalg import inverse_and_log_det
from em_impute.gaussian.parameters import Parameters, Point, position_if_definite
from em_impute.gaussian.triangle import triangle

# A step multiplies matrices of (patterns, d) and solves for d covariances. With more products, or
# more covariances than those of 12 columns, EM's steps are cheaper all together.
MOST_PRODUCTS = 2**21
MOST_COVARIANCES = 78
# After so many evaluations scoring takes over where plain EM's rate looks worse than this.
SCORING_AFTER = 5
SLOW_RATE = 0.8


class Scoring:
    """Anderson's acceleration of the EM map and, where EM turns out to be slow, of scoring.

    Scoring is given up for good as soon as it leads nowhere.

    Parameters
    ----------
    rows : WeightedRows
        Of which `scoring_pays`.
    """

    def __init__(self, rows: WeightedRows) -> None:
        self._rows = rows
        self._anderson = Anderson()
        self._seen = 0
        self._given_up = False

    def propose(self, point: Point) -> Proposal:
        """Where Anderson's acceleration leads, of the map that is followed."""
        scored = self._scored(point)
        self._seen += 1
        if scored is None:
            return self._anderson.propose(point)
        proposal = self._anderson.propose(scored)
        if proposal.position is None:
            return Proposal(scored.image, scored.image_position)
        return proposal

    def rate(self) -> float:
        """The rate of the map that is followed."""
        return self._anderson.rate()

    def restart(self) -> None:
        """Go on with EM alone, and a new history."""
        self._given_up = True
        self._anderson.restart()

    def _scored(self, point: Point) -> Point | None:
        """The point, its image that under scoring; None where EM is followed."""
        if self._given_up or self._seen < SCORING_AFTER:
            return None
        if self._seen == SCORING_AFTER:
            # While it is unknown, the rate is NaN: EM is not slow then.
            self._given_up = not self._anderson.rate() > SLOW_RATE
            if self._given_up:
                return None
            self._anderson.restart()
        image = scoring_step(self._rows, point.parameters, point.image)
        position = None if image is None else position_if_definite(image)
        if image is None or position is None:
            self.restart()
            return None
        return replace(point, image=image, image_position=position)


def scoring_pays(rows: WeightedRows) -> bool:
    """Whether a step is cheap here; without all pairs of columns it cannot be made at all."""
    return rows.within(MOST_COVARIANCES, MOST_PRODUCTS) and not rows.unseen.any()


def scoring_step(rows: WeightedRows, at: Parameters, image: Parameters) -> Parameters | None:
    """The parameters to which one step of scoring leads.

    For a pattern that is observed in `n_s` rows let ``W_s = Sigma_OO^-1``, zero elsewhere. The
    expected information on the mean is ``sum_s n_s W_s``, and on two covariances it is
    ``1/2 sum_s n_s tr(W_s E_ij W_s E_kl)``, ``E_ij`` being the derivative of Sigma by one
    (Jamshidian & Bentler 1999). The gradient is that of the EM map (Fisher's identity).

    Parameters
    ----------
    rows : WeightedRows
    at : tuple of ndarray
        Mean (p,) and covariance (p, p) from which it leads.
    image : tuple of ndarray
        What the EM map makes of them.

    Returns
    -------
    (mean, covariance) or None
        None where the information is not positive definite, to rounding.
    """
    (mean, covariance), n, p = at, rows.n, len(at[0])
    i, j, times, _ = triangle(p)
    first, second = _products(p)
    inverses = np.vstack(rows.map(lambda part: _inverses(part, covariance, p)))
    products = inverses.T @ inverses
    of_mean = np.zeros((p, p))
    roots = np.sqrt(np.concatenate([part.counts for part in rows.parts]))
    of_mean[i, j] = of_mean[j, i] = roots @ inverses
    twice = np.multiply.outer(times, times)
    of_covariance = 0.25 * twice * (products[first] + products[second])
    # With n times the EM step, d, the gradients are Sigma^-1 d and 1/2 Sigma^-1 D Sigma^-1.
    shift = image[0] - mean
    change = image[1] + np.multiply.outer(shift, shift) - covariance
    precision = inverse_and_log_det(covariance)[0]
    gradient = 0.5 * n * (precision @ change @ precision)
    slope = times * gradient[i, j]
    _, of_shift, singular = lapack.dposv(of_mean, n * (precision @ shift))
    _, of_change, flat = lapack.dposv(of_covariance, slope)
    if singular or flat:
        return None
    step = np.zeros((p, p))
    step[i, j] = step[j, i] = of_change
    return mean + of_shift, covariance + step


def _inverses(part: Part, covariance: Floats, p: int) -> Floats:
    from em_impute.gaussian import kernels

    inverses = np.zeros((len(part.patterns), p * (p + 1) // 2))
    kernels.inverse_triangles(part.patterns, part.counts, covariance, inverses)
    return inverses


@lru_cache(maxsize=8)
def _products(p: int) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """For each two covariances, (i, j) and (k, l), those at (ik, jl), and at (il, jk)."""
    i, j, _, number = triangle(p)
    ik, jl = number[i[:, None], i], number[j[:, None], j]
    il, jk = number[i[:, None], j], number[j[:, None], i]
    return (ik, jl), (il, jk)
