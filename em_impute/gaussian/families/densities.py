"""The loops over the rows of a mixture, compiled: one run of rows of one pattern at a time.

A block of a run is held column behind column, so that the innermost loops go over its rows, and
nothing here is of the size rows x components x columns. Covariances are a stack of matrices
(k, p, p), or one of their diagonals (k, 1, p), whose cells are independent within a component.
"""

from __future__ import annotations

import math

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.kernels import compiled, factorise, split

# Rows of a block: what is held of them, of all components, fits the cache.
BLOCK = 128


@compiled
def expected_moments(
    X: Floats,
    order: Ints,
    centre: Floats,
    scale: Floats,
    patterns: Bools,
    pattern_of_run: Ints,
    starts: Ints,
    log_weights: Floats,
    means: Floats,
    covariances: Floats,
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
        Its rows, those of a run one behind the other.
    centre, scale : ndarray of shape (p,)
        What is taken off each column, and what it is then divided by.
    patterns : ndarray of shape (s, p), bool
        True where observed.
    pattern_of_run : ndarray of shape (r,), int64
    starts : ndarray of shape (r + 1,), int64
        The rows of run `r` are ``order[starts[r] : starts[r + 1]]``.
    log_weights : ndarray of shape (k,)
    means : ndarray of shape (k, p)
    covariances : ndarray of shape (k, p, p) or (k, 1, p)
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
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    factors, slopes, sds, constants = _room(covariances)
    Z, whitened, x = np.empty((p, BLOCK)), np.empty((k, p, BLOCK)), np.empty((p, BLOCK))
    logs, logliks, weighted = np.empty((k, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    mass = np.empty(k)
    loglik = 0.0
    for run in range(len(pattern_of_run)):
        m = split(patterns[pattern_of_run[run]], shown, hidden)
        if not _prepare(
            covariances, log_weights, shown[:m], hidden[: p - m], factors, slopes, sds, constants
        ):
            return np.nan
        mass[:] = 0.0
        for first in range(starts[run], starts[run + 1], BLOCK):
            b = min(BLOCK, starts[run + 1] - first)
            _load(X, order[first : first + b], shown[:m], centre, scale, Z)
            for g in range(k):
                _whiten(Z, b, means[g], shown[:m], factors[g], sds[g], whitened[g], logs[g])
                _weigh(constants[g], b, logs[g])
            _share(logs, b, logliks)
            for r in range(b):
                loglik += logliks[r]
            for g in range(k):
                for i in range(m):
                    for r in range(b):
                        x[shown[i], r] = Z[i, r] - means[g, shown[i]]
                for h in range(p - m):
                    for r in range(b):
                        x[hidden[h], r] = 0.0
                    for i in range(0 if diagonal else m):
                        for r in range(b):
                            x[hidden[h], r] += slopes[g, h, i] * whitened[g, i, r]
                for r in range(b):
                    mass[g] += logs[g, r]
                for i in range(p):
                    total = 0.0
                    for r in range(b):
                        weighted[r] = logs[g, r] * x[i, r]
                        total += weighted[r]
                    totals[g, i] += total
                    for j in range(i if diagonal else 0, i + 1):
                        product = 0.0
                        for r in range(b):
                            product += weighted[r] * x[j, r]
                        crosses[g, 0 if diagonal else i, j] += product
        for g in range(k):
            masses[g] += mass[g]
            for i in range(p - m):
                if diagonal:
                    crosses[g, 0, hidden[i]] += mass[g] * covariances[g, 0, hidden[i]]
                    continue
                for j in range(i + 1):
                    rest = covariances[g, hidden[i], hidden[j]]
                    for h in range(m):
                        rest -= slopes[g, i, h] * slopes[g, j, h]
                    crosses[g, hidden[i], hidden[j]] += mass[g] * rest
    return loglik


@compiled
def posteriors(
    X: Floats,
    order: Ints,
    centre: Floats,
    scale: Floats,
    patterns: Bools,
    pattern_of_run: Ints,
    starts: Ints,
    log_weights: Floats,
    means: Floats,
    covariances: Floats,
    responsibilities: Floats,
    logliks: Floats,
) -> bool:
    """Set the responsibilities and the log-likelihood of the rows of some runs.

    Parameters
    ----------
    X, order, centre, scale, patterns, pattern_of_run, starts, log_weights, means, covariances
        As in `expected_moments`.
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
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    factors, slopes, sds, constants = _room(covariances)
    Z, whitened = np.empty((p, BLOCK)), np.empty((p, BLOCK))
    logs, of_block = np.empty((k, BLOCK)), np.empty(BLOCK)
    for run in range(len(pattern_of_run)):
        m = split(patterns[pattern_of_run[run]], shown, hidden)
        if not _prepare(
            covariances, log_weights, shown[:m], hidden[:0], factors, slopes, sds, constants
        ):
            return False
        for first in range(starts[run], starts[run + 1], BLOCK):
            b = min(BLOCK, starts[run + 1] - first)
            _load(X, order[first : first + b], shown[:m], centre, scale, Z)
            for g in range(k):
                _whiten(Z, b, means[g], shown[:m], factors[g], sds[g], whitened, logs[g])
                _weigh(constants[g], b, logs[g])
            _share(logs, b, of_block)
            for r in range(b):
                logliks[order[first + r]] = of_block[r]
                for g in range(k):
                    responsibilities[order[first + r], g] = logs[g, r]
    return True


@compiled
def _room(covariances: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """For factors, slopes, the factors' diagonals and the densities' constants."""
    k, width, p = covariances.shape
    # Diagonals have neither factors nor slopes.
    p_or_1 = p if width == p else 1
    shape = (k, p_or_1, p_or_1)
    return np.empty(shape), np.empty(shape), np.empty((k, p)), np.empty(k)


@compiled
def _prepare(
    covariances: Floats,
    log_weights: Floats,
    shown: Ints,
    hidden: Ints,
    factors: Floats,
    slopes: Floats,
    sds: Floats,
    constants: Floats,
) -> bool:
    """Set what a pattern needs of each component; False where that is not positive definite.

    With ``Sigma_OO = L L^T``: `factors` become L, `sds` its diagonal, `slopes` ``Sigma_MO L^-T``,
    and `constants` what the log-density has besides the distance.
    """
    m = len(shown)
    for g in range(len(covariances)):
        log_det = 0.0
        if covariances.shape[1] < covariances.shape[2]:
            for i in range(m):
                variance = covariances[g, 0, shown[i]]
                if not variance > 0.0:
                    return False
                sds[g, i] = math.sqrt(variance)
                log_det += math.log(variance)
        else:
            definite, log_det = factorise(covariances[g], shown, factors[g])
            if not definite:
                return False
            for i in range(m):
                sds[g, i] = factors[g, i, i]
            for h in range(len(hidden)):
                for i in range(m):
                    rest = covariances[g, shown[i], hidden[h]]
                    for j in range(i):
                        rest -= factors[g, i, j] * slopes[g, h, j]
                    slopes[g, h, i] = rest / factors[g, i, i]
        constants[g] = log_weights[g] - 0.5 * (log_det + m * math.log(2.0 * math.pi))
    return True


@compiled
def _load(X: Floats, rows: Ints, shown: Ints, centre: Floats, scale: Floats, Z: Floats) -> None:
    """Set `Z` to the observed cells of a block, standardised, column behind column."""
    for r in range(len(rows)):
        for i in range(len(shown)):
            Z[i, r] = (X[rows[r], shown[i]] - centre[shown[i]]) / scale[shown[i]]


@compiled
def _whiten(
    Z: Floats,
    b: int,
    mean: Floats,
    shown: Ints,
    factor: Floats,
    sds: Floats,
    whitened: Floats,
    distances: Floats,
) -> None:
    """Set `whitened` to ``L^-1 (z - mu)`` of the `b` rows of a block, and their distances."""
    dense = len(factor) == len(mean)
    for r in range(b):
        distances[r] = 0.0
    for i in range(len(shown)):
        for r in range(b):
            whitened[i, r] = Z[i, r] - mean[shown[i]]
        for j in range(i if dense else 0):
            for r in range(b):
                whitened[i, r] -= factor[i, j] * whitened[j, r]
        for r in range(b):
            whitened[i, r] /= sds[i]
            distances[r] += whitened[i, r] * whitened[i, r]


@compiled
def _weigh(constant: float, b: int, logs: Floats) -> None:
    """Make logarithms of weighted densities of the distances in `logs`."""
    for r in range(b):
        logs[r] = constant - 0.5 * logs[r]


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
            logs[g, r] = math.exp(logs[g, r] - largest)
            total += logs[g, r]
        for g in range(k):
            logs[g, r] /= total
        logliks[r] = largest + math.log(total)
