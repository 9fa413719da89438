"""The loops over the rows of a mixture, compiled: one block of rows after the other.

A block is held column behind column, so that the innermost loops go over its rows, of whichever
patterns; nothing here is of the size rows x components x columns. What a pattern needs of a
component is made for the stretch of its rows that a block has. Covariances are a stack of matrices
(k, p, p), or one of their diagonals (k, 1, p), whose cells are independent within a component.

Of a pattern with observed columns O and missing ones M a component needs either ``Sigma_OO`` or,
with ``K = Sigma^-1``, ``K_MM``: whichever takes fewer operations.
"""

from __future__ import annotations

import math

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.blocks import compiled, factorise, split, sweep

# Rows of a block: what is held of them, of all components, fits the cache.
BLOCK = 256
# Below this logarithm a number added to 1 is lost.
NEGLIGIBLE = -40.0


@compiled
def expected_moments(
    X: Floats,
    order: Ints,
    centre: Floats,
    scale: Floats,
    patterns: Bools,
    starts: Ints,
    begin: int,
    end: int,
    log_weights: Floats,
    means: Floats,
    covariances: Floats,
    precisions: Floats,
    log_dets: Floats,
    masses: Floats,
    totals: Floats,
    crosses: Floats,
) -> float:
    """Add up what is expected of the completed rows, each as much as a component answers for it.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Any number where a cell is missing.
    order : ndarray of shape (n,), int64
        Its rows, those of a pattern one behind the other.
    centre, scale : ndarray of shape (p,)
        What is taken off each column, and what it is then divided by.
    patterns : ndarray of shape (s, p), bool
        True where observed.
    starts : ndarray of shape (s + 1,), int64
        The rows of pattern `s` are ``order[starts[s] : starts[s + 1]]``.
    begin, end : int
        Only ``order[begin:end]`` is looked at.
    log_weights : ndarray of shape (k,)
    means : ndarray of shape (k, p)
    covariances : ndarray of shape (k, p, p) or (k, 1, p)
    precisions : ndarray of shape (k, p, p)
        Inverses of the matrices; anything of diagonals.
    log_dets : ndarray of shape (k,)
        Log-determinants of the matrices; NaN where an inverse would not be accurate.
    masses : ndarray of shape (k,)
        The responsibilities are added to it,
    totals : ndarray of shape (k, p)
        here ``x - mu`` times these,
    crosses : ndarray of shape (k, p, p) or (k, 1, p)
        and here ``(x - mu)(x - mu)^T``: its lower triangle, or its diagonal.

    Returns
    -------
    float
        The log-likelihood of the rows, less `centre` and over `scale`; NaN where a block of a
        covariance is not positive definite.
    """
    k, p = means.shape
    diagonal = covariances.shape[1] < p
    Z, x, room = np.empty((p, BLOCK)), np.empty((k, p, BLOCK)), _room(covariances)
    logs, logliks, weighted = np.empty((k, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    which, cuts = np.empty(BLOCK, np.int64), np.empty(BLOCK + 1, np.int64)
    loglik = 0.0
    for first in range(begin, end, BLOCK):
        b = min(BLOCK, end - first)
        n = _stretches(starts, first, b, which, cuts)
        _load(X, order[first : first + b], centre, scale, Z)
        for g in range(k):
            if not _complete(
                Z, patterns, which[:n], cuts, log_weights[g], means[g], covariances[g],
                precisions[g], log_dets[g], room, x[g], logs[g],
            ):  # fmt: skip
                return np.nan
        _share(logs, b, logliks)
        for r in range(b):
            loglik += logliks[r]
        for g in range(k):
            for r in range(b):
                masses[g] += logs[g, r]
            for i in range(p):
                total = 0.0
                for r in range(b):
                    weighted[r] = logs[g, r] * x[g, i, r]
                    total += weighted[r]
                totals[g, i] += total
                for j in range(i if diagonal else 0, i + 1):
                    product = 0.0
                    for r in range(b):
                        product += weighted[r] * x[g, j, r]
                    crosses[g, 0 if diagonal else i, j] += product
            _add_covariances(
                patterns, which[:n], cuts, covariances[g], precisions[g], log_dets[g], logs[g],
                room, crosses[g],
            )  # fmt: skip
    return loglik


@compiled
def posteriors(
    X: Floats,
    order: Ints,
    centre: Floats,
    scale: Floats,
    patterns: Bools,
    starts: Ints,
    begin: int,
    end: int,
    log_weights: Floats,
    means: Floats,
    covariances: Floats,
    precisions: Floats,
    log_dets: Floats,
    responsibilities: Floats,
    logliks: Floats,
) -> bool:
    """Set the responsibilities and the log-likelihood of rows.

    Parameters
    ----------
    X, order, centre, scale, patterns, starts, begin, end
        As in `expected_moments`, and so are the parameters of the mixture.
    log_weights, means, covariances, precisions, log_dets
    responsibilities : ndarray of shape (n, k)
        Each row's probabilities of having come from the components.
    logliks : ndarray of shape (n,)
        Of the rows, less `centre` and over `scale`.

    Returns
    -------
    bool
        False where a block of a covariance is not positive definite.
    """
    k, p = means.shape
    Z, x, room = np.empty((p, BLOCK)), np.empty((p, BLOCK)), _room(covariances)
    logs, of_block = np.empty((k, BLOCK)), np.empty(BLOCK)
    which, cuts = np.empty(BLOCK, np.int64), np.empty(BLOCK + 1, np.int64)
    for first in range(begin, end, BLOCK):
        b = min(BLOCK, end - first)
        n = _stretches(starts, first, b, which, cuts)
        _load(X, order[first : first + b], centre, scale, Z)
        for g in range(k):
            if not _complete(
                Z, patterns, which[:n], cuts, log_weights[g], means[g], covariances[g],
                precisions[g], log_dets[g], room, x, logs[g],
            ):  # fmt: skip
                return False
        _share(logs, b, of_block)
        for r in range(b):
            logliks[order[first + r]] = of_block[r]
            for g in range(k):
                responsibilities[order[first + r], g] = logs[g, r]
    return True


@compiled
def _room(covariances: Floats) -> tuple[Floats, Floats, Floats, Floats, Ints, Ints]:
    """For a block of a matrix, slopes, products of rows, a vector, and two sets of columns.

    Diagonals need no block and no slopes.
    """
    _, width, p = covariances.shape
    p_or_1 = p if width == p else 1
    block, slopes = np.empty((p_or_1, p_or_1)), np.empty((p_or_1, p_or_1))
    columns = np.empty(p, np.int64), np.empty(p, np.int64)
    return block, slopes, np.empty((p, BLOCK)), np.empty(p), columns[0], columns[1]


@compiled
def _stretches(starts: Ints, first: int, b: int, which: Ints, cuts: Ints) -> int:
    """Set which patterns the `b` rows from `first` on have, and where each ends; how many."""
    pattern = np.searchsorted(starts, first, side="right") - 1
    n, cuts[0] = 0, 0
    while cuts[n] < b:
        which[n] = pattern
        cuts[n + 1] = min(starts[pattern + 1] - first, b)
        # A pattern may have no rows.
        if cuts[n + 1] > cuts[n]:
            n += 1
        pattern += 1
    return n


@compiled
def _load(X: Floats, rows: Ints, centre: Floats, scale: Floats, Z: Floats) -> None:
    """Set `Z` to the rows of a block, standardised, column behind column."""
    for r in range(len(rows)):
        for j in range(len(centre)):
            Z[j, r] = X[rows[r], j]
    for j in range(len(centre)):
        for r in range(len(rows)):
            Z[j, r] = (Z[j, r] - centre[j]) / scale[j]


@compiled
def _complete(
    Z: Floats,
    patterns: Bools,
    which: Ints,
    cuts: Ints,
    log_weight: float,
    mean: Floats,
    covariance: Floats,
    precision: Floats,
    log_det: float,
    room: tuple[Floats, Floats, Floats, Floats, Ints, Ints],
    x: Floats,
    logs: Floats,
) -> bool:
    """Set `x` to the centred and filled rows of a block, `logs` to their weighted log-densities.

    False where a block of the covariance is not positive definite.
    """
    block, slopes, products, vector, shown, hidden = room
    p, b = len(mean), cuts[len(which)]
    for s in range(len(which)):
        for j in range(p):
            if patterns[which[s], j]:
                for r in range(cuts[s], cuts[s + 1]):
                    x[j, r] = Z[j, r] - mean[j]
            else:
                for r in range(cuts[s], cuts[s + 1]):
                    x[j, r] = 0.0
    by_missing = not math.isnan(log_det) and _missing_is_less(patterns, which, cuts)
    if by_missing:
        _multiply(precision, x, b, products)
    for s in range(len(which)):
        first, last = cuts[s], cuts[s + 1]
        o = split(patterns[which[s]], shown, hidden)
        for r in range(first, last):
            logs[r] = 0.0
        if len(covariance) < p:
            log_det_shown = 0.0
            for i in range(o):
                variance = covariance[0, shown[i]]
                log_det_shown += math.log(variance)
                for r in range(first, last):
                    logs[r] += x[shown[i], r] * x[shown[i], r] / variance
        elif by_missing:
            log_det_shown = log_det + sweep(precision, hidden[: p - o], block, vector)
            _fill_by_missing_block(x, first, last, hidden[: p - o], block, products, logs)
        else:
            log_det_shown = _regress(covariance, shown[:o], hidden[: p - o], block, slopes)
            _fill_by_observed_block(
                x, first, last, shown[:o], hidden[: p - o], block, slopes, products, logs
            )
        # Written so that NaN is not finite either.
        if not -math.inf < log_det_shown < math.inf:
            return False
        constant = log_weight - 0.5 * (log_det_shown + o * math.log(2.0 * math.pi))
        for r in range(first, last):
            logs[r] = constant - 0.5 * logs[r]
    return True


@compiled
def _missing_is_less(patterns: Bools, which: Ints, cuts: Ints) -> bool:
    """Whether a block takes fewer multiplications by ``K_MM`` than by ``Sigma_OO``."""
    p = patterns.shape[1]
    by_missing, by_observed = float(cuts[len(which)]) * p * p, 0.0
    for s in range(len(which)):
        rows, o = cuts[s + 1] - cuts[s], 0
        for j in range(p):
            o += patterns[which[s], j]
        m = p - o
        by_missing += m * m * (m / 2 + rows)
        by_observed += o * o * (o / 6 + m / 2) + rows * o * (o / 2 + m)
    return bool(by_missing < by_observed)


@compiled
def _multiply(precision: Floats, x: Floats, b: int, products: Floats) -> None:
    """Set `products` to ``K x`` of the `b` rows of a block."""
    for i in range(len(precision)):
        for r in range(b):
            products[i, r] = 0.0
        for j in range(len(precision)):
            for r in range(b):
                products[i, r] += precision[i, j] * x[j, r]


@compiled
def _fill_by_missing_block(
    x: Floats,
    first: int,
    last: int,
    hidden: Ints,
    block: Floats,
    products: Floats,
    distances: Floats,
) -> None:
    """Fill rows with ``-K_MM^-1 q_M``, ``q = K x``; add ``x^T q`` to their distances.

    The lower triangle of `block` is ``-K_MM^-1``.
    """
    for h in range(len(hidden)):
        for i in range(len(hidden)):
            slope = block[max(h, i), min(h, i)]
            for r in range(first, last):
                x[hidden[h], r] += slope * products[hidden[i], r]
    for i in range(len(x)):
        for r in range(first, last):
            distances[r] += x[i, r] * products[i, r]


@compiled
def _regress(
    covariance: Floats, shown: Ints, hidden: Ints, factor: Floats, slopes: Floats
) -> float:
    """Set `factor` to L, of ``Sigma_OO = L L^T``, and `slopes` to ``Sigma_MO L^-T``.

    Returns
    -------
    float
        The log-determinant; NaN where ``Sigma_OO`` is not positive definite.
    """
    log_det: float
    definite, log_det = factorise(covariance, shown, factor)
    if not definite:
        return math.nan
    for h in range(len(hidden)):
        for i in range(len(shown)):
            rest = covariance[shown[i], hidden[h]]
            for j in range(i):
                rest -= factor[i, j] * slopes[h, j]
            slopes[h, i] = rest / factor[i, i]
    return log_det


@compiled
def _fill_by_observed_block(
    x: Floats,
    first: int,
    last: int,
    shown: Ints,
    hidden: Ints,
    factor: Floats,
    slopes: Floats,
    scores: Floats,
    distances: Floats,
) -> None:
    """Fill rows with ``Sigma_MO L^-T y``, ``y = L^-1 x_O``; add ``y^T y`` to their distances."""
    for i in range(len(shown)):
        inverse = 1.0 / factor[i, i]
        for r in range(first, last):
            scores[i, r] = x[shown[i], r]
        for j in range(i):
            for r in range(first, last):
                scores[i, r] -= factor[i, j] * scores[j, r]
        for r in range(first, last):
            scores[i, r] *= inverse
            distances[r] += scores[i, r] * scores[i, r]
    for h in range(len(hidden)):
        for i in range(len(shown)):
            for r in range(first, last):
                x[hidden[h], r] += slopes[h, i] * scores[i, r]


@compiled
def _share(logs: Floats, b: int, logliks: Floats) -> None:
    """Make responsibilities of `logs` (k, b), in place, and set the log-likelihoods."""
    k = len(logs)
    for r in range(b):
        largest = logs[0, r]
        for g in range(1, k):
            largest = max(largest, logs[g, r])
        total = 0.0
        for g in range(k):
            below = logs[g, r] - largest
            # An exponential takes as long as all else that is done here.
            share = 1.0
            if below < 0.0:
                share = math.exp(below) if below > NEGLIGIBLE else 0.0
            logs[g, r] = share
            total += share
        for g in range(k):
            logs[g, r] /= total
        logliks[r] = largest + math.log(total)


@compiled
def _add_covariances(
    patterns: Bools,
    which: Ints,
    cuts: Ints,
    covariance: Floats,
    precision: Floats,
    log_det: float,
    responsibilities: Floats,
    room: tuple[Floats, Floats, Floats, Floats, Ints, Ints],
    cross: Floats,
) -> None:
    """Add the conditional covariances of the missing cells of a block to `cross`.

    They are made again for it, which costs less than to keep those of all components.
    """
    block, slopes, _, vector, shown, hidden = room
    p = patterns.shape[1]
    for s in range(len(which)):
        o = split(patterns[which[s]], shown, hidden)
        m, mass = p - o, 0.0
        for r in range(cuts[s], cuts[s + 1]):
            mass += responsibilities[r]
        if len(covariance) < p:
            for h in range(m):
                cross[0, hidden[h]] += mass * covariance[0, hidden[h]]
        elif m < o and not math.isnan(log_det):
            sweep(precision, hidden[:m], block, vector)
            for h in range(m):
                for i in range(h + 1):
                    cross[hidden[h], hidden[i]] -= mass * block[h, i]
        elif m:
            _regress(covariance, shown[:o], hidden[:m], block, slopes)
            for h in range(m):
                for i in range(h + 1):
                    rest = covariance[hidden[h], hidden[i]]
                    for j in range(o):
                        rest -= slopes[h, j] * slopes[i, j]
                    cross[hidden[h], hidden[i]] += mass * rest
