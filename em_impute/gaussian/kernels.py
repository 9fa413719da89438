"""The loops of the E-step that NumPy has no words for, compiled.

Between the matrix products of all rows there are a small inverse, a fill and a scatter for every
missingness pattern. As stacked NumPy calls they took two to five times as long as compiled.
"""

from __future__ import annotations

import math

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.blocks import (
    compiled,
    factorise,
    invert_diagonal,
    place_in_triangle,
    solve_upper,
    split,
    sweep,
    sweep_side_by_side,
)

# So many blocks are inverted side by side, if each has at most so many columns: they fit the cache.
SIDE_BY_SIDE = 32
MOST_COLUMNS = 40


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
                # Without a branch, which would be guessed wrongly at every hole.
                X[r, j] = rows[r, j] - weights[r] * mean[j] * patterns[s, j]


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
    order, ends = _by_number_missing(patterns)
    deviance = 0.0
    for m in range(p + 1):
        those = order[ends[m] : ends[m + 1]]
        if invertible and 2 * m <= p:
            deviance += _fill_by_missing_blocks(
                X, product, patterns, counts, starts, those, m, precision, log_det, cross
            )
        else:
            deviance += _fill_by_observed_blocks(
                X, patterns, counts, starts, those, m, covariance, cross
            )
    for i in range(p):
        for j in range(i):
            cross[j, i] = cross[i, j]
    return deviance


@compiled
def _by_number_missing(patterns: Bools) -> tuple[Ints, Ints]:
    """The patterns that miss fewest columns first, and where those that miss `m` begin."""
    n, p = patterns.shape
    missing, order, ends = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(p + 2, np.int64)
    for s in range(n):
        missing[s] = p
        for j in range(p):
            missing[s] -= patterns[s, j]
        ends[missing[s] + 1] += 1
    for m in range(p + 1):
        ends[m + 1] += ends[m]
    place = ends.copy()
    for s in range(n):
        order[place[missing[s]]] = s
        place[missing[s]] += 1
    return order, ends


@compiled
def _fill_by_missing_blocks(
    X: Floats,
    product: Floats,
    patterns: Bools,
    counts: Floats,
    starts: Ints,
    those: Ints,
    m: int,
    precision: Floats,
    log_det: float,
    cross: Floats,
) -> float:
    """Fill the rows of `those` patterns, which miss `m` columns each, from ``K``.

    What is returned is as for `fill`, of `those` patterns.
    """
    p = len(precision)
    together = SIDE_BY_SIDE if m <= MOST_COLUMNS else 1
    blocks = np.empty((m * (m + 1) // 2 if together > 1 else 0, together))
    block, vectors = np.empty((m, m)), np.empty((m + 3, together))
    hidden, shown = np.empty((together, p), np.int64), np.empty(p, np.int64)
    log_dets, vector, pull = np.empty(together), np.empty(m), np.empty(m)
    deviance = 0.0
    for first in range(0, len(those), together):
        batch = those[first : first + together]
        for lane in range(len(batch)):
            split(patterns[batch[lane]], shown, hidden[lane])
        columns = hidden[: len(batch), :m]
        if together > 1:
            sweep_side_by_side(precision, columns, blocks, vectors, log_dets)
        else:
            log_dets[0] = sweep(precision, columns[0], block, vector)
        for lane in range(len(batch)):
            s = batch[lane]
            for i in range(m):
                for j in range(i + 1):
                    if together > 1:
                        block[i, j] = blocks[place_in_triangle(i, j), lane]
                    block[j, i] = block[i, j]
                    cross[columns[lane, i], columns[lane, j]] -= counts[s] * block[i, j]
            deviance += counts[s] * (log_det + log_dets[lane])
            for r in range(starts[s] - starts[0], starts[s + 1] - starts[0]):
                for j in range(p):
                    deviance += X[r, j] * product[r, j]
                for i in range(m):
                    pull[i] = product[r, columns[lane, i]]
                for i in range(m):
                    cell = 0.0
                    for j in range(m):
                        cell += block[i, j] * pull[j]
                    X[r, columns[lane, i]] = cell
                    deviance += cell * pull[i]
    return deviance


@compiled
def _fill_by_observed_blocks(
    X: Floats,
    patterns: Bools,
    counts: Floats,
    starts: Ints,
    those: Ints,
    m: int,
    covariance: Floats,
    cross: Floats,
) -> float:
    """Fill the rows of `those` patterns, which miss `m` columns each, from ``Sigma_OO = L L^T``.

    What is returned is as for `fill`, of `those` patterns. Whitening both sides keeps the answer
    symmetric and costs sqrt(condition) digits, not more.
    """
    p = len(covariance)
    k = p - m
    factor, slopes, scores = np.empty((k, k)), np.empty((m, k)), np.empty(k)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    deviance = 0.0
    for s in those:
        split(patterns[s], shown, hidden)
        definite, log_det = factorise(covariance, shown[:k], factor)
        if not definite:
            return np.nan
        deviance += counts[s] * log_det
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
                cross[hidden[h], hidden[i]] += counts[s] * rest
        for r in range(starts[s] - starts[0], starts[s + 1] - starts[0]):
            for i in range(k):
                rest = X[r, shown[i]]
                for j in range(i):
                    rest -= factor[i, j] * scores[j]
                scores[i] = rest / factor[i, i]
                deviance += scores[i] * scores[i]
            for h in range(m):
                total = 0.0
                for i in range(k):
                    total += slopes[h, i] * scores[i]
                X[r, hidden[h]] = total
    return deviance


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
