"""The loops over the rows of a factor model, compiled: a few rows at a time, cell by cell.

Given its scores the cells of a row are independent, so a missing one takes no part in anything, and
an observed one costs the lower triangle of a matrix of the factors. Rows do not see each other: the
answer for one is the same, to the last bit, in any company.

Columns are standardised on the way, ``d = (x - centre) / scale - mean``. Triangles of symmetric
matrices are laid out row behind row.
"""

from __future__ import annotations

import math

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.blocks import compiled

# So many rows share what is read of a column; their sums fit the cache.
TILE = 16


@compiled
def posteriors(
    X: Floats,
    centre: Floats,
    scale: Floats,
    mean: Floats,
    loadings: Floats,
    noise: Floats,
    scores: Floats,
    factors: Floats,
    logliks: Floats,
) -> None:
    """Set what the rows say of their scores: ``N(M^-1 b, M^-1)``.

    ``M = I + sum l l^T / psi`` and ``b = sum l d / psi`` are sums over observed cells.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        NaN where a cell is missing.
    centre, scale, mean, noise : ndarray of shape (p,)
    loadings : ndarray of shape (p, k)
    scores : ndarray of shape (n, k)
        Are set to ``M^-1 b``,
    factors : ndarray of shape (n, k, k)
        the lower triangles to Cholesky's factor of ``M``,
    logliks : ndarray of shape (n,)
        and these to the log-likelihoods of the rows on the scale of `X`.
    """
    n, p = X.shape
    k = loadings.shape[1]
    q = k * (k + 1) // 2
    slopes, products, logs = np.empty((p, k)), np.empty((p, q)), np.empty(p)
    for j in range(p):
        logs[j] = math.log(2.0 * math.pi * noise[j]) + 2.0 * math.log(scale[j])
        for h in range(k):
            slopes[j, h] = loadings[j, h] / noise[j]
            for g in range(h + 1):
                products[j, h * (h + 1) // 2 + g] = slopes[j, h] * loadings[j, g]
    information, pull = np.empty((TILE, q)), np.empty((TILE, k))
    deviance = np.empty(TILE)
    for first in range(0, n, TILE):
        b = min(TILE, n - first)
        information[:], pull[:], deviance[:] = 0.0, 0.0, 0.0
        for j in range(p):
            for r in range(b):
                if math.isnan(X[first + r, j]):
                    continue
                d = (X[first + r, j] - centre[j]) / scale[j] - mean[j]
                deviance[r] += d * d / noise[j] + logs[j]
                for h in range(k):
                    pull[r, h] += d * slopes[j, h]
                for i in range(q):
                    information[r, i] += products[j, i]
        for r in range(b):
            deviance[r] += _solve(information[r], pull[r], factors[first + r], scores[first + r])
            logliks[first + r] = -deviance[r] / 2.0


@compiled
def _solve(information: Floats, pull: Floats, factor: Floats, score: Floats) -> float:
    """Set `factor` to L, ``L L^T = M``, and `score` to ``M^-1 b``; ``log|M| - b^T M^-1 b``."""
    k = len(pull)
    added = 0.0
    for i in range(k):
        whitened = pull[i]
        for j in range(i + 1):
            rest = information[i * (i + 1) // 2 + j]
            if i == j:
                rest += 1.0
            for h in range(j):
                rest -= factor[i, h] * factor[j, h]
            if j < i:
                factor[i, j] = rest / factor[j, j]
                whitened -= factor[i, j] * score[j]
            else:
                factor[i, i] = math.sqrt(rest)
                added += math.log(rest)
        score[i] = whitened / factor[i, i]
        added -= score[i] * score[i]
    for i in range(k - 1, -1, -1):
        score[i] /= factor[i, i]
        for j in range(i):
            score[j] -= factor[i, j] * score[i]
    return added


@compiled
def add_moments(
    X: Floats,
    weights: Floats,
    centre: Floats,
    scale: Floats,
    mean: Floats,
    scores: Floats,
    factors: Floats,
    crosses: Floats,
    products: Floats,
    squares: Floats,
    total: Floats,
) -> None:
    """Add up what is expected of the rows, with ``u = (1, z)``.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    weights : ndarray of shape (n,)
    centre, scale, mean : ndarray of shape (p,)
    scores : ndarray of shape (n, k)
    factors : ndarray of shape (n, k, k)
        As `posteriors` sets both.
    crosses : ndarray of shape (p, (k + 1) (k + 2) / 2)
        The triangles of ``u u^T`` are added to it, for each column those of rows that show it,
    products : ndarray of shape (p, k + 1)
        here ``d u``,
    squares : ndarray of shape (p,)
        here ``d^2``,
    total : ndarray of shape ((k + 1) (k + 2) / 2,)
        and here ``u u^T`` of all rows that show anything.
    """
    n, p = X.shape
    k = scores.shape[1]
    q = crosses.shape[1]
    u, moments = np.empty((TILE, k + 1)), np.empty((TILE, q))
    inverse = np.empty((k, k))
    shown = np.empty(TILE, np.bool_)
    for first in range(0, n, TILE):
        b = min(TILE, n - first)
        for r in range(b):
            w = weights[first + r]
            _expect(scores[first + r], factors[first + r], inverse, moments[r])
            u[r, 0] = w
            for h in range(k):
                u[r, h + 1] = w * scores[first + r, h]
            for i in range(q):
                moments[r, i] *= w
            shown[r] = False
        for j in range(p):
            for r in range(b):
                if math.isnan(X[first + r, j]):
                    continue
                shown[r] = True
                d = (X[first + r, j] - centre[j]) / scale[j] - mean[j]
                squares[j] += weights[first + r] * d * d
                for h in range(k + 1):
                    products[j, h] += d * u[r, h]
                for i in range(q):
                    crosses[j, i] += moments[r, i]
        for r in range(b):
            if shown[r]:
                for i in range(q):
                    total[i] += moments[r, i]


@compiled
def _expect(score: Floats, factor: Floats, inverse: Floats, moments: Floats) -> None:
    """Set the triangle of ``E[u u^T]``; `inverse` becomes ``L^-1``."""
    k = len(score)
    for j in range(k):
        for i in range(j, k):
            rest = 1.0 if i == j else 0.0
            for h in range(j, i):
                rest -= factor[i, h] * inverse[h, j]
            inverse[i, j] = rest / factor[i, i]
    moments[0] = 1.0
    for i in range(k):
        at = (i + 1) * (i + 2) // 2
        moments[at] = score[i]
        for j in range(i + 1):
            moment = score[i] * score[j]
            for h in range(i, k):
                moment += inverse[h, i] * inverse[h, j]
            moments[at + 1 + j] = moment


@compiled
def add_variances(
    rows: Ints, columns: Ints, loadings: Floats, factors: Floats, variances: Floats
) -> None:
    """Add ``l^T M^-1 l`` to the variance of each cell: what its row's scores are unsure of.

    Parameters
    ----------
    rows, columns : ndarray of shape (c,), int64
        Of the cells.
    loadings : ndarray of shape (p, k)
    factors : ndarray of shape (n, k, k)
        As `posteriors` sets them.
    variances : ndarray of shape (c,)
    """
    k = loadings.shape[1]
    whitened = np.empty(k)
    for c in range(len(rows)):
        factor = factors[rows[c]]
        for i in range(k):
            rest = loadings[columns[c], i]
            for h in range(i):
                rest -= factor[i, h] * whitened[h]
            whitened[i] = rest / factor[i, i]
            variances[c] += whitened[i] * whitened[i]


@compiled
def add_draws(normals: Floats, factors: Floats, scores: Floats) -> None:
    """Add ``L^-T e`` to the scores of each row, whose covariance is ``M^-1``.

    Parameters
    ----------
    normals : ndarray of shape (n, k)
        ``e``; is overwritten.
    factors : ndarray of shape (n, k, k)
        ``L``, as `posteriors` sets them.
    scores : ndarray of shape (n, k)
    """
    n, k = normals.shape
    for r in range(n):
        for i in range(k - 1, -1, -1):
            normals[r, i] /= factors[r, i, i]
            for j in range(i):
                normals[r, j] -= factors[r, i, j] * normals[r, i]
            scores[r, i] += normals[r, i]
