"""The one-dimensional normal between two bounds: moments, quantiles, probabilities and scores.

All of them hold far in its tails, too.

Everything is computed from the *anchor*, the point between the bounds where the density is highest:
the normal's mean, or the bound next to it. With ``x = anchor + sd t`` and ``c = (anchor - mean) /
sd`` the density is proportional to ``exp(-t^2/2 - c t)``, in which nothing is lost however far the
bounds are from the mean. Expectations are sums over the Gauss-Legendre nodes of the interval where
that is above ``exp(-98)``; 64 nodes give 13 digits. Quantiles come from the inverse of the
distribution function's logarithm, probabilities from that logarithm itself. So there is no
rejection and no division by a vanishing mass, and a row's answer does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtri_exp

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.threads import one_blas_thread

# exp(-98) of the density's peak is where the nodes end: exact means of exp(x) up to sd 4 need it.
FARTHEST = 98.0
# From so many sd on, a bound is as good as infinitely far away, and squares would overflow.
FARTHEST_BOUND = 1e100
# So many sd beyond a bound, all that is between the bounds is at it.
FARTHEST_SCORED = 1e3
# Between bounds less than so many sd apart, the terms of a score in closed form cancel.
NARROW = 0.1
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
CHUNK_CELLS = 2**14


def truncated_mean(mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> Floats:
    """Mean of a normal that is known to lie between `low` and `high`.

    Parameters
    ----------
    mean, sd : array_like of shape (n,)
        Of the normal without bounds; where `sd` is 0, the answer is the point next to `mean`.
    low, high : float
        ``low <= high``; infinite for no bound.

    Returns
    -------
    ndarray of shape (n,)
        Between `low` and `high`.
    """
    values, _ = truncated_moments(lambda x: x, mean, sd, low, high)
    return values


def truncated_moments(
    function: Callable[[Floats], Floats],
    mean: ArrayLike,
    sd: ArrayLike,
    low: float = -np.inf,
    high: float = np.inf,
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a function of a normal between bounds.

    Parameters
    ----------
    function : callable
        Of arrays, element by element; monotone between the bounds, and of no more than
        exponential growth.
    mean, sd, low, high
        As in `truncated_mean`.

    Returns
    -------
    mean, sd : ndarray of shape (n,)
    """
    mean, sd = np.broadcast_arrays(
        np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64)
    )
    means, spreads = np.empty(len(mean)), np.empty(len(mean))
    for part in _chunks(len(mean)):
        points, weights = _nodes(mean[part], sd[part], low, high)
        at = function(points)
        # From the value at one of the nodes: a narrow distribution far from 0 loses nothing.
        base = at[:, :1]
        means[part] = base[:, 0] + (weights * (at - base)).sum(axis=1)
        spreads[part] = np.sqrt((weights * (at - means[part, None]) ** 2).sum(axis=1))
    ends = np.sort(function(np.array([low, high])))
    return np.clip(means, *ends), spreads


def truncated_quantile(
    probability: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float, high: float
) -> Floats:
    """Quantile of a normal between bounds; of uniform probabilities, a draw.

    Parameters
    ----------
    probability : array_like of shape (n,)
        Above 0 and below 1.
    mean, sd, low, high
        As in `truncated_mean`.

    Returns
    -------
    ndarray of shape (n,)
        Between `low` and `high`, and finite.
    """
    u, mean = np.asarray(probability, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    sd = np.asarray(sd, dtype=np.float64)
    unit = np.where(sd > 0, sd, 1.0)
    with np.errstate(over="ignore"):
        a, b = (low - mean) / unit, (high - mean) / unit
        below = np.logaddexp(np.log1p(-u) + log_ndtr(a), np.log(u) + log_ndtr(b))
        above = np.logaddexp(np.log1p(-u) + log_ndtr(-a), np.log(u) + log_ndtr(-b))
    # From the side on which the probability is small, where its logarithm has all digits.
    z = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    # Where even the logarithm overflows, everything is at the bound.
    computed = np.where(np.isfinite(z), mean + sd * z, mean)
    quantile: Floats = np.clip(computed, low, high)
    return quantile


def truncated_probability(
    x: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float, high: float
) -> Floats:
    """Probability that a normal between bounds is below `x`.

    Parameters
    ----------
    x : array_like of shape (n,)
    mean, sd, low, high
        As in `truncated_mean`; where `sd` is 0, half of the probability is below the point.

    Returns
    -------
    ndarray of shape (n,)
    """
    x = np.asarray(x, dtype=np.float64)
    tail = _Tail.of(x, mean, sd, low, high)
    share = np.where(tail.mirrored, 1.0 - tail.share_below, tail.share_below)
    probability: Floats = np.where(tail.certain, (1.0 + np.sign(x - tail.anchor)) / 2.0, share)
    return np.clip(probability, 0.0, 1.0)


def truncated_crps(x: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> Floats:
    """Continuous ranked probability score of a normal between bounds, in closed form.

    ``E|X - x| - E|X - X'| / 2``, in the units of `x`. With ``z = (x - mean) / sd``, the bounds
    ``a`` and ``b`` on that scale, ``D = Phi(b) - Phi(a)`` and ``F`` the distribution function

        sd [ z (2 F(x) - 1) + 2 phi(z) / D - (Phi(sqrt2 b) - Phi(sqrt2 a)) / (sqrt(pi) D^2) ]

    (Gneiting & Raftery 2007; between bounds Jordan, Krüger & Lerch 2019). Where `sd` is 0, and
    beyond a bound, it grows by the distance.

    Parameters
    ----------
    x : array_like of shape (n,)
    mean, sd, low, high
        As in `truncated_mean`.

    Returns
    -------
    ndarray of shape (n,)
    """
    x = np.asarray(x, dtype=np.float64)
    inside = np.clip(x, low, high)
    tail = _Tail.of(inside, mean, sd, low, high)
    with np.errstate(over="ignore"):
        density = np.exp(-tail.z * tail.z / 2.0 - tail.log_mass) / np.sqrt(2.0 * np.pi)
    log_squares = _log_mass(np.sqrt(2.0) * tail.low, np.sqrt(2.0) * tail.high)
    spread = np.exp(log_squares - 2.0 * tail.log_mass) / np.sqrt(np.pi)
    score = tail.z * (2.0 * tail.share_below - 1.0) + 2.0 * density - spread
    crps = np.where(tail.certain, np.abs(inside - tail.anchor), tail.sd * np.maximum(score, 0.0))
    narrow = np.flatnonzero(~tail.certain & (tail.high - tail.low < NARROW))
    if len(narrow):
        mean, sd = (np.broadcast_to(part, x.shape)[narrow] for part in (mean, sd))
        crps[narrow] = _integrated_crps(inside[narrow], mean, sd, low, high)
    beyond: Floats = crps + np.abs(x - inside)
    return beyond


@one_blas_thread()
def _integrated_crps(x: Floats, mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> Floats:
    """The integrals of ``F^2`` below and of ``(1 - F)^2`` above `x`: no terms that cancel."""
    mean, sd = np.asarray(mean)[:, None], np.asarray(sd)[:, None]
    total = np.zeros(len(x))
    for end, below in ((low, 0.0), (high, 1.0)):
        width = np.abs(x - end)
        points = end + np.sign(x - end)[:, None] * width[:, None] * (NODES + 1.0) / 2.0
        share = truncated_probability(points, mean, sd, low, high) - below
        total += width / 2.0 * (share**2 @ WEIGHTS)
    return total


@dataclass(frozen=True)
class _Tail:
    """A point and two bounds in units of the sd from the mean, mirrored to where the bounds are.

    To the left of the mean, that is, or around it, where the logarithm of the distribution function
    has all digits. Where `certain`, all probability is at the anchor, and the rest means nothing.
    """

    z: Floats
    low: Floats
    high: Floats
    sd: Floats
    anchor: Floats
    mirrored: NDArray[np.bool_]
    certain: NDArray[np.bool_]

    @classmethod
    def of(cls, x: Floats, mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> Self:
        mean, sd = np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64)
        unit = np.where(sd > 0, sd, 1.0)
        with np.errstate(over="ignore"):
            z, a, b = ((end - mean) / unit for end in (np.clip(x, low, high), low, high))
        mirrored = a > 0
        z, a, b = np.where(mirrored, -z, z), np.where(mirrored, -b, a), np.where(mirrored, -a, b)
        certain = (sd == 0) | (b < -FARTHEST_SCORED) | (a == b)
        return cls(
            np.where(certain, 0.0, z),
            np.where(certain, -np.inf, a),
            np.where(certain, np.inf, b),
            sd,
            np.clip(mean, low, high),
            mirrored,
            certain,
        )

    @property
    def log_mass(self) -> Floats:
        """Logarithm of the normal's probability between the bounds."""
        return _log_mass(self.low, self.high)

    @property
    def share_below(self) -> Floats:
        """The part of that which is below the point."""
        highest = log_ndtr(self.high)
        lowest = np.expm1(log_ndtr(self.low) - highest)
        share: Floats = 1.0 - np.expm1(log_ndtr(self.z) - highest) / lowest
        return share


def _log_mass(low: Floats, high: Floats) -> Floats:
    """Logarithm of a standard normal's probability between bounds in its left tail."""
    highest = log_ndtr(high)
    mass: Floats = highest + np.log(-np.expm1(log_ndtr(low) - highest))
    return mass


def _nodes(mean: Floats, sd: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """Points (n, 64) and their probabilities."""
    unit = np.where(sd > 0, sd, 1.0)
    anchor = np.clip(mean, low, high)
    with np.errstate(over="ignore"):
        c = np.clip((anchor - mean) / unit, -FARTHEST_BOUND, FARTHEST_BOUND)
        ends = (low - anchor) / unit, (high - anchor) / unit
    # Where t^2/2 + |c| t reaches FARTHEST.
    reach = 2.0 * FARTHEST / (np.hypot(c, np.sqrt(2.0 * FARTHEST)) + np.abs(c))
    first = np.maximum(ends[0], -reach)[:, None]
    last = np.minimum(ends[1], reach)[:, None]
    t = first + (last - first) * (NODES + 1.0) / 2.0
    density = WEIGHTS * np.exp(-t * (t / 2.0 + c[:, None]))
    points = np.clip(anchor[:, None] + sd[:, None] * t, low, high)
    return points, density / density.sum(axis=1, keepdims=True)


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, CHUNK_CELLS):
        yield slice(start, start + CHUNK_CELLS)
