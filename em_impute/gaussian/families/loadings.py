"""The parameters of a factor model, of standardised columns, and their M-step.

A row is ``x = mu + Lambda z + e`` with scores ``z ~ N(0, I)`` and noise ``e ~ N(0, Psi)``, `Psi`
diagonal. Given what a row shows, EM completes it with its scores alone (Rubin & Thayer 1982): given
these the columns are independent, so each is regressed on them over the rows that show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats

# How near to its floor a noise variance counts as held there: its logarithm is rounded.
NEAR = 1e-9


@dataclass(frozen=True, eq=False)
class Moments:
    """What the E-step expects, with ``u = (1, z)`` and ``d = x - mu``.

    Attributes
    ----------
    crosses : ndarray of shape (p, k + 1, k + 1)
        Sums of ``u u^T``, for each column over the rows that show it.
    products : ndarray of shape (p, k + 1)
        Sums of ``d u``, over the same rows.
    squares : ndarray of shape (p,)
        And of ``d^2``.
    total : ndarray of shape (k + 1, k + 1)
        Sum of ``u u^T`` over all rows that show anything.
    loglik : float
        On the original scale.
    """

    crosses: Floats
    products: Floats
    squares: Floats
    total: Floats
    loglik: float


@dataclass(frozen=True, eq=False)
class Loadings:
    """Means, loadings and noise.

    Attributes
    ----------
    mean : ndarray of shape (p,)
    loadings : ndarray of shape (p, k)
        ``Lambda``.
    noise : ndarray of shape (p,)
        The diagonal of ``Psi``.
    isotropic : bool
        Whether all columns have one noise variance.
    floor : float
        What no noise variance goes below.
    """

    mean: Floats
    loadings: Floats
    noise: Floats
    isotropic: bool
    floor: float

    @property
    def n_parameters(self) -> int:
        """How many numbers are free: those of a rotation are not, and a covariance has no more."""
        p, k = self.loadings.shape
        of_factors: int = p + p * k - k * (k - 1) // 2 + (1 if self.isotropic else p)
        return min(of_factors, int(p + p * (p + 1) // 2))

    @property
    def held(self) -> Bools:
        """Whether the noise variance of each column (p,) is at its floor."""
        return self.noise <= self.floor * (1.0 + NEAR)

    def position(self) -> Floats:
        """All as one vector without constraints but the floor: noise in logarithms."""
        logs = np.log(self.noise[:1] if self.isotropic else self.noise)
        return np.concatenate([self.mean, self.loadings.ravel(), logs])

    def moved(self, position: Floats) -> Self:
        """Those of the same kind and size at another position."""
        p, k = self.loadings.shape
        mean, loadings, logs = np.split(position, [p, p + p * k])
        with np.errstate(over="ignore"):
            noise = np.broadcast_to(np.maximum(np.exp(logs), self.floor), p)
        return type(self)(
            mean, loadings.reshape(p, k), np.ascontiguousarray(noise), self.isotropic, self.floor
        )


def m_step(moments: Moments, at: Loadings) -> tuple[Loadings, float]:
    """The parameters under which the expected moments are most likely, and what that gains.

    The scores may have a mean and a covariance of their own for the step, which go into the means
    and loadings afterwards (parameter expansion: Liu, Rubin & Wu 1998).

    Parameters
    ----------
    moments : Moments
    at : Loadings
        Where they were expected.

    Returns
    -------
    Loadings
    float
        How much the expected log-likelihood rises by this step; never negative.
    """
    masses = moments.crosses[:, 0, 0]
    solved = np.linalg.solve(moments.crosses, moments.products[:, :, None])
    slopes = solved[:, :, 0].astype(np.float64, copy=False)
    old: Floats = np.column_stack([np.zeros(len(masses)), at.loadings])
    left = _squares_left(moments, slopes)
    noise = left.sum() / masses.sum() if at.isotropic else left / masses
    noise = np.maximum(np.broadcast_to(noise, masses.shape), at.floor).astype(np.float64)
    gain = np.log(at.noise / noise) @ masses
    gain += np.sum(_squares_left(moments, old) / at.noise - left / noise)
    n = moments.total[0, 0]
    shift = moments.total[0, 1:] / n
    second = moments.total[1:, 1:] / n
    variances, directions = np.linalg.eigh(second - np.outer(shift, shift))
    gain += n * np.sum(np.diagonal(second) - 1.0 - np.log(variances))
    # The root that turns the factors least.
    root = (directions * np.sqrt(variances)) @ directions.T
    mean = at.mean + slopes[:, 0] + slopes[:, 1:] @ shift
    image = Loadings(mean, slopes[:, 1:] @ root, noise, at.isotropic, at.floor)
    return image, float(gain) / 2.0


def _squares_left(moments: Moments, slopes: Floats) -> Floats:
    """Expected sums (p,) of ``(d - u^T b)^2`` for the slopes b (p, k + 1) of each column."""
    fitted = np.einsum("jgh,jh->jg", moments.crosses, slopes)
    left: Floats = moments.squares + np.sum((fitted - 2.0 * moments.products) * slopes, axis=1)
    return left
