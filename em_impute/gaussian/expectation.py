"""The E-step: expected moments of the completed rows, over weighted rows in batches of patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from scipy import linalg

from em_impute.gaussian.blocks import (
    LARGEST_SWEPT,
    block_places,
    correlation_of,
    inverses,
    log_det_of_factor,
    split_columns,
    submatrices,
    well_conditioned,
)
from em_impute.gaussian.patterns import Bools, Floats, Ints, PatternSummary
from em_impute.gaussian.threads import one_blas_thread, spread

Result = TypeVar("Result")

# Batches hold stacks of about this many numbers, which fit the cache.
BATCH_NUMBERS = 2**17
# Batches of up to this many weighted rows are filled up to one length.
PADDED_ROWS = 2**12


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
    cells : ndarray of shape (q, m, s), int64
        Where the missing cells of the rows are, counted through all numbers of the batch.
    """

    observed: Ints
    missing: Ints
    counts: Ints
    rows: Floats
    weights: Floats
    cells: Ints


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
    pair_means : ndarray of shape (p, p)
        Mean product of each two columns over the rows that show both; 0 where none does.
    """

    n: int
    n_cells: int
    log_jacobian: float
    batches: tuple[Batch, ...]
    pair_means: Floats

    def map(self, function: Callable[[Batch], Result]) -> list[Result]:
        """Apply `function` to every batch, on several cores where that pays."""
        numbers = sum(
            batch.rows.size + batch.missing.size**2 // len(batch.counts) for batch in self.batches
        )
        return spread(function, self.batches, numbers)

    @classmethod
    def of(cls, summary: PatternSummary, columns: Ints, centre: Floats, scale: Floats) -> Self:
        """The `columns` of `summary`; `centre` and `scale`, of all columns, become 0 and 1."""
        rows, weights, pattern_of_row = summary.weighted_rows(centre, scale)
        patterns = summary.patterns
        if len(columns) < summary.n_columns:
            rows, patterns = rows[:, columns], patterns[:, columns]
        counts = np.where(patterns.any(axis=1), summary.counts, 0)
        cells = counts @ patterns
        pairs = (patterns * counts[:, None].astype(np.float64)).T @ patterns.astype(np.float64)
        return cls(
            n=int(counts.sum()),
            n_cells=int(cells.sum()),
            log_jacobian=float(cells @ np.log(scale[columns])),
            batches=tuple(_batches(patterns, counts, rows, weights, pattern_of_row)),
            pair_means=rows.T @ rows / np.maximum(pairs, 1.0),
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
    with one_blas_thread():
        eigenvalues = np.linalg.eigvalsh(correlation_of(covariance))
        invertible = well_conditioned(eigenvalues)
        lower = linalg.cho_factor(covariance, lower=True)
        log_det = 2.0 * float(np.log(np.diag(lower[0])).sum())
        precision = linalg.cho_solve(lower, np.eye(len(mean)))

        def expect(batch: Batch) -> tuple[Floats, Floats, float]:
            X = batch.weights[:, :, None] * -mean
            X += batch.rows
            X.reshape(-1)[batch.cells] = 0.0
            if invertible and batch.missing.shape[1] <= max(batch.observed.shape[1], LARGEST_SWEPT):
                filled = fill_by_missing_block(X, batch, precision, log_det)
            else:
                filled = fill_by_observed_block(X, batch, covariance)
            return _moments_of(X, batch, filled)

        totals, crosses, deviances = zip(*data.map(expect), strict=True)
    deviance = data.n_cells * np.log(2 * np.pi) + sum(deviances)
    return ExpectedMoments(
        n=data.n,
        total=np.sum(totals, axis=0),
        cross=np.sum(crosses, axis=0),
        loglik=float(-0.5 * deviance - data.log_jacobian),
        smallest_eigenvalue=float(eigenvalues[0]),
    )


@dataclass(frozen=True)
class Filled:
    """What filling the rows of a batch tells besides.

    Attributes
    ----------
    places : ndarray of shape (m, m, s), int64
        Where the missing block of each pattern is in a matrix of all columns.
    uncertain : ndarray of shape (m, m, s)
        Conditional covariance of the missing columns.
    log_dets : ndarray of shape (s,)
        ``log|Sigma_OO|``.
    distance : float
        Sum over the rows of the squared Mahalanobis distances of the observed cells.
    """

    places: Ints
    uncertain: Floats
    log_dets: Floats
    distance: float


def fill_by_missing_block(X: Floats, batch: Batch, precision: Floats, log_det: float) -> Filled:
    """Fill the centred rows `X` (s, q, p) in place, from ``K = Sigma^-1`` and ``log|Sigma|``."""
    product = X.reshape(-1, X.shape[2]) @ precision
    gradient = product.take(batch.cells)
    places = block_places(batch.missing, X.shape[2])
    uncertain, log_dets = inverses(precision, places)
    means = _products(uncertain, gradient)
    distance = np.vdot(X, product) - np.vdot(gradient, means)
    X.reshape(-1)[batch.cells] = -means
    return Filled(places, uncertain, log_det + log_dets, float(distance))


def _products(matrices: Floats, vectors: Floats) -> Floats:
    """Products (q, m, s) of each matrix (m, m, s) with its vectors (q, m, s)."""
    if len(vectors) == 1:
        product: Floats = np.einsum("ijs,qjs->qis", matrices, vectors)
        return product
    stack = np.ascontiguousarray(matrices.transpose(2, 0, 1))
    return np.asarray((vectors.transpose(2, 0, 1) @ stack).transpose(1, 2, 0))


def fill_by_observed_block(X: Floats, batch: Batch, covariance: Floats) -> Filled:
    """Fill the centred rows `X` (s, q, p) in place, from ``Sigma_OO``."""
    shown, hidden = batch.observed, batch.missing
    lower = np.linalg.cholesky(submatrices(covariance, shown, shown))
    observed = np.swapaxes(np.take_along_axis(X, shown[:, None, :], axis=2), 1, 2)
    across = submatrices(covariance, shown, hidden)
    # Whitening both sides keeps the answer symmetric and costs sqrt(condition) digits, not more.
    whitened = np.linalg.solve(lower, np.concatenate([across, observed], axis=2))
    slopes, scores = np.split(whitened, [hidden.shape[1]], axis=2)
    explained = np.swapaxes(slopes, 1, 2) @ slopes
    places = block_places(hidden, X.shape[2])
    uncertain = covariance.take(places) - explained.transpose(1, 2, 0)
    X.reshape(-1)[batch.cells] = np.einsum("skq,skm->qms", scores, slopes, optimize=True)
    return Filled(places, uncertain, log_det_of_factor(lower), float(np.vdot(scores, scores)))


def _moments_of(X: Floats, batch: Batch, filled: Filled) -> tuple[Floats, Floats, float]:
    """Expected total (p,), cross-products (p, p) and deviance of a batch of filled rows."""
    p = X.shape[2]
    rows = X.reshape(-1, p)
    blocks = batch.counts * filled.uncertain
    scattered = np.bincount(filled.places.ravel(), weights=blocks.ravel(), minlength=p * p)
    cross = rows.T @ rows + scattered.reshape(p, p)
    deviance = float(batch.counts @ filled.log_dets) + filled.distance
    return batch.weights.ravel() @ rows, cross, deviance


def _batches(
    patterns: Bools, counts: Ints, rows: Floats, weights: Floats, pattern_of_row: Ints
) -> Iterator[Batch]:
    p = patterns.shape[1]
    lengths = np.bincount(pattern_of_row, minlength=len(patterns))
    starts = np.cumsum(lengths) - lengths
    for members in _alike(patterns.sum(axis=1), np.where(counts > 0, lengths, 0)):
        q = int(lengths[members].max())
        observed, missing = split_columns(patterns[members])
        step = max(1, BATCH_NUMBERS // (p * q + missing.shape[1] ** 2))
        position = np.arange(q)
        for at in range(0, len(members), step):
            part, chosen = slice(at, at + step), members[at : at + step]
            filler = position >= lengths[chosen][:, None]
            which = np.where(filler, 0, starts[chosen][:, None] + position)
            mine, of_mine = rows[which], weights[which]
            if filler.any():
                mine[filler], of_mine[filler] = 0.0, 0.0
            first_cells = (np.arange(len(chosen)) * q + position[:, None, None]) * p
            yield Batch(
                observed[part],
                missing[part],
                counts[chosen],
                mine,
                of_mine,
                first_cells + missing[part].T,
            )


def _alike(n_observed: Ints, lengths: Ints) -> Iterator[Ints]:
    """Yield indices of patterns to go together: equally many missing, about equally many rows.

    A few large batches are quicker than many small ones, so short patterns are put to longer ones
    where filling them up costs little.
    """
    for k in np.unique(n_observed[lengths > 0]):
        members = np.flatnonzero((n_observed == k) & (lengths > 0))
        size = np.ceil(np.log2(lengths[members]))
        if len(members) * lengths[members].max() <= PADDED_ROWS:
            size[:] = 0
        for one in np.unique(size):
            yield members[size == one]
