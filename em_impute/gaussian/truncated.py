"""The one-dimensional normal between two bounds: moments and quantiles, also far in its tails.

Everything is reckoned from the *anchor*, the point between the bounds where the density is highest:
the normal's mean, or the bound next to it. With ``x = anchor + sd t`` and ``c = (anchor - mean) /
sd`` the density is proportional to ``exp(-t^2/2 - c t)``, in which nothing is lost however far the
bounds are from the mean. Expectations are sums over the Gauss-Legendre nodes of the interval where
that is above ``exp(-98)``; 64 nodes give 13 digits. Quantiles come from the inverse of the
distribution function's logarithm. So there is no rejection and no division by a vanishing mass,
and a row's answer does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtri_exp

from em_impute.gaussian.patterns import Floats

# exp(-98) of the density's peak is where the nodes end: exact means of exp(x) up to sd 4 need it.
FARTHEST = 98.0
# From so many sd on, a bound is as good as infinitely far away, and squares would overflow.
FARTHEST_BOUND = 1e100
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


def truncated_sd(mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> Floats:
    """Standard deviation of a normal between bounds; parameters as in `truncated_mean`."""
    _, spreads = truncated_moments(lambda x: x, mean, sd, low, high)
    return spreads


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
    reckoned = np.where(np.isfinite(z), mean + sd * z, mean)
    quantile: Floats = np.clip(reckoned, low, high)
    return quantile


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
