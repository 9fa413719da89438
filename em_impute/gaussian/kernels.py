"""The loops of the E-step that NumPy has no words for, compiled: one missingness pattern at a time.

Between the matrix products of all rows there are a small inverse, a fill and a scatter for every
pattern. As stacked NumPy calls they took two to five times as long as compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from em_impute.gaussian.arrays import Bools, Floats, Ints

# Sums may be taken in another order, which makes vectors of them, and reciprocals be multiplied.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"arcp", "contract", "reassoc", "nsz"},
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled when it is first called, and kept for later processes if possible."""
    compiled: Callable[..., Any]
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # nowhere to keep it, as in a read-only image
        compiled = njit(**_OPTIONS)(function)
    return compiled


@compiled
def centre(
    rows: Floats, weights: Floats, mean: Floats, patterns: Bools, starts: Ints, X: Floats
) -> None:
    """Set `X` to ``z - c mu`` where a row's pattern is observed, and to zero elsewhere.

    Parameters
    ----------
    rows, weights : ndarray of shape (n, p) and (n,)
        Weighted rows ``z`` and their weights ``c``.
    mean : ndarray of shape (p,)
    patterns : ndarray of shape (s, p), bool
    starts : ndarray of shape (s + 1,), int64
        The rows of pattern `s` are ``starts[s] - starts[0]`` and on, to ``starts[s + 1] -
        starts[0]``.
    X : ndarray of shape (n, p)
        Is overwritten.
    """
    for s in range(len(patterns)):
        for r in range(starts[s] - starts[0], starts[s + 1] - starts[0]):
            for j in range(len(mean)):
                X[r, j] = rows[r, j] - weights[r] * mean[j] if patterns[s, j] else 0.0


@compiled
def fill(
    X: Floats,
    patterns: Bools,
    counts: Floats,
    starts: Ints,
    covariance: Floats,
    precision: Floats,
    log_det: float,
    product: Floats,
    invertible: bool,
    cross: Floats,
) -> float:
    """Fill the centred rows `X` in place with their conditional means.

    Where less is missing than observed, and Sigma is well conditioned, from ``K = Sigma^-1``;
    elsewhere from ``Sigma_OO``.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        What `centre` made; is overwritten.
    patterns : ndarray of shape (s, p), bool
    counts : ndarray of shape (s,)
        Rows that each pattern stands for.
    starts : ndarray of shape (s + 1,), int64
        As in `centre`.
    covariance, precision : ndarray of shape (p, p)
        ``Sigma`` and ``K``.
    log_det : float
        Of ``Sigma``.
    product : ndarray of shape (n, p)
        ``X K``; anything where not `invertible`.
    invertible : bool
        Whether Sigma is well conditioned.
    cross : ndarray of shape (p, p)
        Zero; the conditional covariances are added up in it, `counts` times each.

    Returns
    -------
    float
        ``sum_s n_s log|Sigma_OO| + sum x_O^T Sigma_OO^-1 x_O``; NaN where a block is not positive
        definite.
    """
    p = len(covariance)
    block, slopes, vector = np.empty((p, p)), np.empty((p, p)), np.empty(p)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    deviance = 0.0
    for s in range(len(patterns)):
        k = split(patterns[s], shown, hidden)
        mine = slice(starts[s] - starts[0], starts[s + 1] - starts[0])
        if invertible and p - k <= k:
            log_det_hidden, distance = _fill_by_missing_block(
                X[mine], product[mine], precision, hidden[: p - k], counts[s], cross, block, vector
            )
            deviance += counts[s] * (log_det + log_det_hidden) + distance
        else:
            log_det_shown, distance = _fill_by_observed_block(
                X[mine], covariance, shown[:k], hidden[: p - k], counts[s], cross, block, slopes,
                vector,
            )  # fmt: skip
            deviance += counts[s] * log_det_shown + distance
    for i in range(p):
        for j in range(i):
            cross[j, i] = cross[i, j]
    return deviance


@compiled
def split(pattern: Bools, shown: Ints, hidden: Ints) -> int:
    """Set `shown` to the observed columns and `hidden` to the missing; how many are observed."""
    k = 0
    for j in range(len(pattern)):
        if pattern[j]:
            shown[k] = j
            k += 1
        else:
            hidden[j - k] = j
    return k


@compiled
def sweep(matrix: Floats, columns: Ints, block: Floats, vector: Floats) -> float:
    """Set the lower triangle of `block` to minus the inverse of ``matrix[columns, columns]``.

    Returns
    -------
    float
        The log-determinant; NaN where that is not positive definite.
    """
    m = len(columns)
    for i in range(m):
        for j in range(i + 1):
            block[i, j] = matrix[columns[i], columns[j]]
    log_det = 0.0
    for j in range(m):
        pivot = block[j, j]
        # Written so that NaN is not above zero either.
        if not pivot > 0.0:
            return np.nan
        log_det += math.log(pivot)
        for i in range(j):
            vector[i] = block[j, i]
        vector[j] = 0.0
        for i in range(j + 1, m):
            vector[i] = block[i, j]
        for i in range(m):
            slope = vector[i] / pivot
            for k in range(i + 1):
                block[i, k] -= slope * vector[k]
        for i in range(j):
            block[j, i] = vector[i] / pivot
        block[j, j] = -1.0 / pivot
        for i in range(j + 1, m):
            block[i, j] = vector[i] / pivot
    return log_det


@compiled
def _fill_by_missing_block(
    X: Floats,
    product: Floats,
    precision: Floats,
    hidden: Ints,
    count: int,
    cross: Floats,
    block: Floats,
    vector: Floats,
) -> tuple[float, float]:
    """Fill the rows of one pattern from ``K``; ``log|K_MM|`` and the sum of squared distances.

    The lower triangle of `block` becomes ``-K_MM^-1``.
    """
    m = len(hidden)
    log_det = sweep(precision, hidden, block, vector)
    if math.isnan(log_det):
        return np.nan, 0.0
    for i in range(m):
        for j in range(i + 1):
            cross[hidden[i], hidden[j]] -= count * block[i, j]
    distance = 0.0
    for r in range(len(X)):
        for j in range(X.shape[1]):
            distance += X[r, j] * product[r, j]
        for i in range(m):
            gradient, total = product[r, hidden[i]], 0.0
            for j in range(i):
                total += block[i, j] * product[r, hidden[j]]
                vector[j] += block[i, j] * gradient
            vector[i] = total + block[i, i] * gradient
        for i in range(m):
            X[r, hidden[i]] = vector[i]
            distance += vector[i] * product[r, hidden[i]]
    return log_det, distance


@compiled
def _fill_by_observed_block(
    X: Floats,
    covariance: Floats,
    shown: Ints,
    hidden: Ints,
    count: int,
    cross: Floats,
    factor: Floats,
    slopes: Floats,
    scores: Floats,
) -> tuple[float, float]:
    """Fill the rows of one pattern from ``Sigma_OO = L L^T``; its log-determinant and distances.

    Whitening both sides keeps the answer symmetric and costs sqrt(condition) digits, not more.
    """
    k, m = len(shown), len(hidden)
    definite, log_det = factorise(covariance, shown, factor)
    if not definite:
        return np.nan, 0.0
    for h in range(m):
        for i in range(k):
            rest = covariance[shown[i], hidden[h]]
            for j in range(i):
                rest -= factor[i, j] * slopes[h, j]
            slopes[h, i] = rest / factor[i, i]
        for i in range(h + 1):
            rest = covariance[hidden[h], hidden[i]]
            for j in range(k):
                rest -= slopes[h, j] * slopes[i, j]
            cross[hidden[h], hidden[i]] += count * rest
    distance = 0.0
    for r in range(len(X)):
        for i in range(k):
            rest = X[r, shown[i]]
            for j in range(i):
                rest -= factor[i, j] * scores[j]
            scores[i] = rest / factor[i, i]
            distance += scores[i] * scores[i]
        for h in range(m):
            total = 0.0
            for i in range(k):
                total += slopes[h, i] * scores[i]
            X[r, hidden[h]] = total
    return log_det, distance


@compiled
def inverse_triangles(patterns: Bools, counts: Floats, covariance: Floats, out: Floats) -> None:
    """Set row `s` of `out` to the lower triangle of ``sqrt(n_s) Sigma_OO^-1``, of all columns.

    Parameters
    ----------
    patterns : ndarray of shape (s, p), bool
    counts : ndarray of shape (s,)
        ``n_s``.
    covariance : ndarray of shape (p, p)
    out : ndarray of shape (s, p (p + 1) / 2)
        Zero; where a column is missing it stays so.
    """
    p = len(covariance)
    block, vector = np.empty((p, p)), np.empty(p)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    for s in range(len(patterns)):
        k = split(patterns[s], shown, hidden)
        sweep(covariance, shown[:k], block, vector)
        root = math.sqrt(counts[s])
        for i in range(k):
            for j in range(i + 1):
                out[s, shown[i] * (shown[i] + 1) // 2 + shown[j]] = -root * block[i, j]


@compiled
def information_triangles(
    X: Floats,
    weights: Floats,
    patterns: Bools,
    counts: Floats,
    starts: Ints,
    covariance: Floats,
    inverses: Floats,
    curvatures: Floats,
    slopes: Floats,
) -> None:
    """Set what the observed information sums over patterns, with ``W = Sigma_OO^-1``.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Centred weighted rows, zero where missing, as `centre` makes them.
    weights : ndarray of shape (n,)
    patterns : ndarray of shape (s, p), bool
    counts : ndarray of shape (s,)
    starts : ndarray of shape (s + 1,), int64
    covariance : ndarray of shape (p, p)
    inverses, curvatures : ndarray of shape (s, p (p + 1) / 2)
        Zero; set to the lower triangles of ``W`` and of ``2 W S W - n_s W``, with the scatter ``S``
        about the mean.
    slopes : ndarray of shape (s, p)
        Zero; set to ``W t``, with the sum ``t`` of the rows less the mean.
    """
    p = len(covariance)
    block, scatter = np.empty((p, p)), np.empty((p, p))
    row, vector, slope = np.empty(p), np.empty(p), np.empty(p)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    for s in range(len(patterns)):
        k = split(patterns[s], shown, hidden)
        sweep(covariance, shown[:k], block, vector)
        for i in range(k):
            slope[i] = 0.0
            for j in range(i + 1):
                block[i, j] = -block[i, j]
                block[j, i] = block[i, j]
                scatter[i, j] = 0.0
        for r in range(starts[s] - starts[0], starts[s + 1] - starts[0]):
            for i in range(k):
                row[i] = X[r, shown[i]]
            for i in range(k):
                total = 0.0
                for j in range(k):
                    total += block[i, j] * row[j]
                vector[i] = total
                slope[i] += weights[r] * total
                for j in range(i + 1):
                    scatter[i, j] += total * vector[j]
        for i in range(k):
            slopes[s, shown[i]] = slope[i]
            for j in range(i + 1):
                place = shown[i] * (shown[i] + 1) // 2 + shown[j]
                inverses[s, place] = block[i, j]
                curvatures[s, place] = 2.0 * scatter[i, j] - counts[s] * block[i, j]


@compiled
def draw_missing(
    rows: Floats,
    weights: Floats,
    patterns: Bools,
    counts: Floats,
    starts: Ints,
    mean: Floats,
    precision: Floats,
    random: np.random.Generator,
    total: Floats,
    cross: Floats,
) -> bool:
    """Draw the missing cells of weighted rows, and add what they bring to the moments.

    With ``K_MM = L L^T`` a draw is ``L^-T (z - L^-1 (x K)_M)``. The rows of a pattern are ``Q Z``,
    of which only the k weighted rows `Z` are at hand, and the columns of `Q` are orthonormal. Of
    independent noise `E` in the missing cells, ``Q^T E`` is as independent, and goes into the
    weighted rows; what is left of ``E^T E`` is a Wishart matrix with ``n_s - k`` degrees of
    freedom.

    Parameters
    ----------
    rows, weights : ndarray of shape (n, p) and (n,)
        Weighted rows, zero where missing, and their weights.
    patterns : ndarray of shape (s, p), bool
    counts : ndarray of shape (s,)
    starts : ndarray of shape (s + 1,), int64
    mean : ndarray of shape (p,)
    precision : ndarray of shape (p, p)
        ``K = Sigma^-1``.
    random : Generator
    total : ndarray of shape (p,)
        The sum of the drawn cells about the mean is added to it.
    cross : ndarray of shape (p, p)
        Half of their products with each other, and their whole products with the observed cells of
        their rows, are added to the rows of the missing columns: ``cross + cross^T`` is what they
        bring to ``sum z z^T``.

    Returns
    -------
    bool
        False where a block is not positive definite.
    """
    p = len(precision)
    factor, root, drawn = np.empty((p, p)), np.empty((p, p)), np.empty(p)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    # Loops of a multiple of 16 steps are vectors from end to end.
    width = (p + 15) // 16 * 16
    row, shown_mean = np.zeros(width), np.empty(p)
    wide, added = np.zeros((p, width)), np.zeros((p, width))
    wide[:, :p] = precision
    for s in range(len(patterns)):
        m = p - split(patterns[s], shown, hidden)
        if m == 0 or counts[s] == 0:
            continue
        definite, _ = factorise(precision, hidden[:m], factor)
        if not definite:
            return False
        invert_diagonal(factor, m)
        for j in range(p):
            shown_mean[j] = mean[j] if patterns[s, j] else 0.0
        first, last = starts[s] - starts[0], starts[s + 1] - starts[0]
        for r in range(first, last):
            for j in range(p):
                row[j] = rows[r, j] - weights[r] * shown_mean[j]
            for i in range(m):
                h, pull = hidden[i], 0.0
                for j in range(width):
                    pull += row[j] * wide[h, j]
                for j in range(i):
                    pull -= factor[i, j] * drawn[j]
                drawn[i] = pull * factor[i, i]
            for i in range(m):
                drawn[i] = random.standard_normal() - drawn[i]
            solve_upper(factor, drawn, m)
            for i in range(m):
                row[hidden[i]] = 0.5 * drawn[i]
                total[hidden[i]] += weights[r] * drawn[i]
            for i in range(m):
                # Out of their arrays, which the compiler cannot tell from the one that is written.
                h, cell = hidden[i], drawn[i]
                for j in range(width):
                    added[h, j] += cell * row[j]
        free = int(counts[s]) - (last - first)
        columns = min(free, m)
        for j in range(columns):
            # Bartlett (1933): the factor of a Wishart matrix, column by column.
            for i in range(m):
                drawn[i] = random.standard_normal() if i > j else 0.0
            drawn[j] = math.sqrt(random.chisquare(free - j))
            solve_upper(factor, drawn, m)
            for i in range(m):
                root[i, j] = drawn[i]
        for i in range(m):
            for j in range(m):
                product = 0.0
                for h in range(columns):
                    product += root[i, h] * root[j, h]
                cross[hidden[i], hidden[j]] += 0.5 * product
    cross += added[:, :p]
    return True


@compiled
def factorise(matrix: Floats, columns: Ints, factor: Floats) -> tuple[bool, float]:
    """Set the lower triangle of `factor` to Cholesky's factor of ``matrix[columns, columns]``.

    Returns
    -------
    (bool, float)
        Whether that is positive definite, and its log-determinant.
    """
    log_det = 0.0
    for i in range(len(columns)):
        for j in range(i + 1):
            rest = matrix[columns[i], columns[j]]
            for h in range(j):
                rest -= factor[i, h] * factor[j, h]
            if j < i:
                factor[i, j] = rest / factor[j, j]
        # Written so that NaN is not above zero either.
        if not rest > 0.0:
            return False, 0.0
        factor[i, i] = math.sqrt(rest)
        log_det += math.log(rest)
    return True, log_det


@compiled
def invert_diagonal(factor: Floats, m: int) -> None:
    """Set the first `m` on the diagonal to their reciprocals: rows then need no division."""
    for i in range(m):
        factor[i, i] = 1.0 / factor[i, i]


@compiled
def solve_upper(factor: Floats, vector: Floats, m: int) -> None:
    """Set the first `m` of `vector` to ``L^-T`` times themselves, of an inverted diagonal."""
    for i in range(m - 1, -1, -1):
        vector[i] *= factor[i, i]
        for j in range(i):
            vector[j] -= factor[i, j] * vector[i]
