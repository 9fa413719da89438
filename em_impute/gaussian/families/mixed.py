"""Several normals with weights, for each of some cells: their mean and spread, and their score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.special import ndtr

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.threads import one_blas_thread
from em_impute.gaussian.truncated import NODES, WEIGHTS, truncated_probability

Part = tuple[Floats, Floats, Floats]
"""Weights, means and standard deviations of one of the normals, for every cell."""

# Farther from its highest place, in sd, no normal has a part that counts.
REACH = 9.0
CHUNK_CELLS = 2**12


def mixed_moments(parts: Sequence[Part]) -> tuple[Floats, Floats]:
    """Means and standard deviations of the mixtures; one normal stays as it is.

    Parameters
    ----------
    parts : sequence of Part
        Weights sum to 1, and may be of fewer dimensions than the cells, from the first on.
    """
    _, first, spread = parts[0]
    if len(parts) == 1:
        return first, spread
    # From the first on: where all agree there is no rounding.
    mean, variance = first.copy(), np.zeros_like(first)
    for weights, own, _ in parts[1:]:
        mean += _like(weights, own) * (own - first)
    for weights, own, sd in parts:
        variance += _like(weights, own) * (sd**2 + (own - mean) ** 2)
    return mean, np.sqrt(variance)


def _like(weights: Floats, cells: Floats) -> Floats:
    return weights.reshape(weights.shape + (1,) * (cells.ndim - weights.ndim))


def mixed_crps(x: Floats, parts: Sequence[Part], low: float, high: float) -> Floats:
    """Continuous ranked probability score of mixtures of normals that lie between bounds.

    ``E|X - x| - E|X - X'| / 2``: without bounds in closed form, ::

        sum_g w_g A(x - m_g, s_g) - sum_g,h w_g w_h A(m_g - m_h, sqrt(s_g^2 + s_h^2)) / 2
        A(m, s) = 2 s phi(m / s) + m (2 Phi(m / s) - 1)

    (Grimit, Gneiting, Berrocal & Johnson 2006), else by integrals of the distribution function.

    Parameters
    ----------
    x : ndarray of shape (n,)
    parts : sequence of Part
        Of shape (n,) each.
    low, high : float
        Infinite for no bound.
    """
    if np.isfinite([low, high]).any():
        chunks = [slice(i, i + CHUNK_CELLS) for i in range(0, len(x), CHUNK_CELLS)]
        own = [[tuple(one[chunk] for one in part) for part in parts] for chunk in chunks]
        scores = [
            _integrated(x[chunk], some, low, high)  # type: ignore[arg-type]
            for chunk, some in zip(chunks, own, strict=True)
        ]
        return np.concatenate([np.empty(0), *scores])
    score = np.zeros(len(x))
    for weights, mean, sd in parts:
        score += weights * _distance(x - mean, sd) - weights**2 * sd / np.sqrt(np.pi)
    for (w, m, s), (v, n, t) in combinations(parts, 2):
        score -= w * v * _distance(m - n, np.hypot(s, t))
    return score


def _distance(mean: Floats, sd: Floats) -> Floats:
    """``E|Z|`` of normals."""
    z = np.divide(mean, sd, out=np.zeros_like(mean), where=sd > 0)
    spread = 2.0 * sd * np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi) + mean * (2.0 * ndtr(z) - 1.0)
    return np.where(sd > 0, spread, np.abs(mean))


@one_blas_thread()
def _integrated(x: Floats, parts: Sequence[Part], low: float, high: float) -> Floats:
    """The integrals of ``F^2`` below and of ``(1 - F)^2`` above `x`."""
    inside = np.clip(x, low, high)
    anchors = [np.clip(mean, low, high) for _, mean, _ in parts]
    reaches = [REACH * sd for _, _, sd in parts]
    first = np.min([a - r for a, r in zip(anchors, reaches, strict=True)], axis=0)
    last = np.max([a + r for a, r in zip(anchors, reaches, strict=True)], axis=0)
    ends = (
        np.clip(np.minimum(first, inside), low, high),
        np.clip(np.maximum(last, inside), low, high),
    )
    total = np.abs(x - inside)
    for end, outside in zip(ends, (0.0, 1.0), strict=True):
        width = inside - end
        points = end[:, None] + width[:, None] * (NODES + 1.0) / 2.0
        share = np.zeros_like(points)
        for weights, mean, sd in parts:
            own = truncated_probability(points, mean[:, None], sd[:, None], low, high)
            share += weights[:, None] * own
        total += np.abs(width) / 2.0 * ((share - outside) ** 2 @ WEIGHTS)
    return total
