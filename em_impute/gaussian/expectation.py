"""The E-step: expected moments of the completed rows, over weighted rows in batches of patterns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from em_impute.gaussian.conditional import split_columns, submatrices
from em_impute.gaussian.patterns import Bools, Floats, Ints, PatternSummary

# Batches hold stacks of about this many numbers, which fit the cache.
BATCH_NUMBERS = 2**18
# Beyond this condition number the missing-block form loses digits that the other keeps.
ILL_CONDITIONED = 1e6


@dataclass(frozen=True)
class Batch:
    """Patterns with equally many missing columns and equally many weighted rows.

    Attributes
    ----------
    observed : ndarray of shape (s, k), int64
    missing : ndarray of shape (s, m), int64
        Column indices.
    counts : ndarray of shape (s,), int64
        Rows that each pattern stands for.
    rows : ndarray of shape (s, q, p)
        Weighted rows ``z``, zero where missing.
    weights : ndarray of shape (s, q)
        Their weights ``c``.
    """

    observed: Ints
    missing: Ints
    counts: Ints
    rows: Floats
    weights: Floats


@dataclass(frozen=True)
class WeightedRows:
    """A summary as the E-step reads it: some columns of it, standardised, in batches.

    Attributes
    ----------
    n : int
        Rows with something observed; the others say nothing about the parameters.
    n_cells : int
        Observed cells.
    log_jacobian : float
        What standardising added to the log-likelihood.
    batches : tuple of Batch
    """

    n: int
    n_cells: int
    log_jacobian: float
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, summary: PatternSummary, columns: Ints, centre: Floats, scale: Floats) -> Self:
        """The `columns` of `summary`; `centre` and `scale`, of all columns, become 0 and 1."""
        rows, weights, pattern_of_row = summary.weighted_rows(centre, scale)
        patterns = summary.patterns[:, columns]
        counts = np.where(patterns.any(axis=1), summary.counts, 0)
        cells = counts @ patterns
        return cls(
            n=int(counts.sum()),
            n_cells=int(cells.sum()),
            log_jacobian=float(cells @ np.log(scale[columns])),
            batches=tuple(_batches(patterns, counts, rows[:, columns], weights, pattern_of_row)),
        )


@dataclass(frozen=True)
class ExpectedMoments:
    """What the E-step expects of the completed rows, about the mean it was given.

    Attributes
    ----------
    n : int
        Rows.
    total : ndarray of shape (p,)
        Expected sum of ``x - mu``.
    cross : ndarray of shape (p, p)
        Expected sum of ``(x - mu)(x - mu)^T``.
    loglik : float
        Observed-data log-likelihood at the parameters, on the original scale.
    smallest_eigenvalue : float
        Of the correlation matrix of the covariance it was given.
    """

    n: int
    total: Floats
    cross: Floats
    loglik: float
    smallest_eigenvalue: float


def e_step(data: WeightedRows, mean: Floats, covariance: Floats) -> ExpectedMoments:
    """Expected moments of the completed rows, and the log-likelihood, at ``(mean, covariance)``.

    For a pattern with missing columns M and ``K = Sigma^-1`` the conditional covariance is
    ``C = K_MM^-1`` and the centred conditional mean ``-(x K)_M C`` (missing-block form). Where less
    is observed than missing, or Sigma is ill-conditioned, the same comes from ``Sigma_OO``
    (observed-block form). The log-likelihood is

        -1/2 [ n_obs log 2 pi + sum_s n_s log|Sigma_OO| + sum d_O^T Sigma_OO^-1 d_O ],  d = x - mu.

    Parameters
    ----------
    data : WeightedRows
    mean : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    eigenvalues = np.linalg.eigvalsh(correlation_of(covariance))
    well_conditioned = eigenvalues[-1] < ILL_CONDITIONED * eigenvalues[0]
    factor = linalg.cho_factor(covariance, lower=True)
    log_det = 2.0 * float(np.log(np.diag(factor[0])).sum())
    precision = linalg.cho_solve(factor, np.eye(len(mean)))
    total, cross = np.zeros_like(mean), np.zeros_like(covariance)
    deviance = data.n_cells * np.log(2 * np.pi)
    for batch in data.batches:
        X = batch.rows - batch.weights[:, :, None] * mean
        np.put_along_axis(X, batch.missing[:, None, :], 0.0, axis=2)
        if well_conditioned and batch.missing.shape[1] <= batch.observed.shape[1]:
            uncertain, log_dets, distance = fill_by_missing_block(X, batch, precision)
            log_dets += log_det
        else:
            uncertain, log_dets, distance = fill_by_observed_block(X, batch, covariance)
        filled = X.reshape(-1, len(mean))
        total += batch.weights.ravel() @ filled
        cross += filled.T @ filled
        _add_blocks(cross, batch.missing, batch.counts[:, None, None] * uncertain)
        deviance += float(batch.counts @ log_dets) + distance
    loglik = -0.5 * deviance - data.log_jacobian
    return ExpectedMoments(data.n, total, cross, loglik, float(eigenvalues[0]))


def fill_by_missing_block(
    X: Floats, batch: Batch, precision: Floats
) -> tuple[Floats, Floats, float]:
    """Fill the centred rows `X` (s, q, p) in place, from ``K = Sigma^-1``.

    Returns
    -------
    uncertain : ndarray of shape (s, m, m)
        Conditional covariance of the missing columns.
    log_dets : ndarray of shape (s,)
        ``log|K_MM| = log|Sigma_OO| - log|Sigma|``.
    distance : float
        Sum of the squared Mahalanobis distances of the observed cells.
    """
    hidden = batch.missing[:, None, :]
    block = submatrices(precision, batch.missing, batch.missing)
    lower = np.linalg.cholesky(block)
    log_dets = _log_det_of_factor(lower)
    uncertain = np.linalg.inv(block)
    uncertain = (uncertain + np.swapaxes(uncertain, 1, 2)) / 2
    gradient = np.take_along_axis(X @ precision, hidden, axis=2)
    np.put_along_axis(X, hidden, -gradient @ uncertain, axis=2)
    flat = X.reshape(-1, X.shape[2])
    return uncertain, log_dets, float(np.vdot(flat, flat @ precision))


def fill_by_observed_block(
    X: Floats, batch: Batch, covariance: Floats
) -> tuple[Floats, Floats, float]:
    """The same from ``Sigma_OO``; `log_dets` is ``log|Sigma_OO|``."""
    shown, hidden = batch.observed, batch.missing
    lower = np.linalg.cholesky(submatrices(covariance, shown, shown))
    observed = np.swapaxes(np.take_along_axis(X, shown[:, None, :], axis=2), 1, 2)
    across = submatrices(covariance, shown, hidden)
    # Whitening both sides keeps the answer symmetric and costs sqrt(condition) digits, not more.
    whitened = np.linalg.solve(lower, np.concatenate([across, observed], axis=2))
    slopes, scores = np.split(whitened, [hidden.shape[1]], axis=2)
    uncertain = submatrices(covariance, hidden, hidden) - np.swapaxes(slopes, 1, 2) @ slopes
    np.put_along_axis(X, hidden[:, None, :], np.swapaxes(scores, 1, 2) @ slopes, axis=2)
    return uncertain, _log_det_of_factor(lower), float(np.vdot(scores, scores))


def correlation_of(covariance: Floats) -> Floats:
    """The correlation matrix of a covariance.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a variance is not positive and finite.
    """
    variances = np.diag(covariance)
    if not (np.isfinite(covariance).all() and (variances > 0).all()):
        raise np.linalg.LinAlgError("A variance is not positive and finite.")
    sd = np.sqrt(variances)
    correlation: Floats = covariance / np.outer(sd, sd)
    return correlation


def _batches(
    patterns: Bools, counts: Ints, rows: Floats, weights: Floats, pattern_of_row: Ints
) -> Iterator[Batch]:
    lengths = np.bincount(pattern_of_row, minlength=len(patterns))
    starts = np.cumsum(lengths) - lengths
    p = patterns.shape[1]
    shapes = np.stack([patterns.sum(axis=1), lengths], axis=1)
    for k, q in np.unique(shapes[counts > 0], axis=0):
        members = np.flatnonzero((shapes == (k, q)).all(axis=1) & (counts > 0))
        step = max(1, BATCH_NUMBERS // (p * max(p, q)))
        for at in range(0, len(members), step):
            chosen = members[at : at + step]
            observed, missing = split_columns(patterns[chosen])
            which = starts[chosen][:, None] + np.arange(q)
            yield Batch(observed, missing, counts[chosen], rows[which], weights[which])


def _log_det_of_factor(lower: NDArray[np.floating[Any]]) -> Floats:
    """Log-determinants (s,) of the matrices whose Cholesky factors these are."""
    log_dets: Floats = 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return log_dets


def _add_blocks(matrix: Floats, columns: Ints, blocks: Floats) -> None:
    """Add each block (m, m) to the rows and columns (m,) of `matrix` that it belongs to."""
    p = len(matrix)
    places = columns[:, :, None] * p + columns[:, None, :]
    matrix += np.bincount(places.ravel(), weights=blocks.ravel(), minlength=p * p).reshape(p, p)
