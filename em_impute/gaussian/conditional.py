"""The missing cells of rows given their observed ones, under a multivariate Gaussian.

For a row with observed columns O and missing columns M

    x_M | x_O ~ N( mu_M + Sigma_MO Sigma_OO^-1 (x_O - mu_O),
                   Sigma_MM - Sigma_MO Sigma_OO^-1 Sigma_OM ).

Each row is a product of one fixed shape, so its answer does not depend, to the last bit, on which
other rows it is computed with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.patterns import Bools, Floats, Ints, distinct_patterns

# Stacked matrices are built for about this many numbers at a time.
CHUNK_NUMBERS = 2**20


@dataclass(frozen=True)
class Conditional:
    """Mean and standard deviation of every missing cell given its row's observed cells.

    Attributes
    ----------
    rows, columns : ndarray of shape (n_missing,), int64
        Where the cells are, in row-major order.
    mean, sd : ndarray of shape (n_missing,)
        In the units of the column.
    """

    rows: Ints
    columns: Ints
    mean: Floats
    sd: Floats


def conditional(X: Floats, mean: Floats, covariance: Floats) -> Conditional:
    """Distribution of the missing cells of `X`.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        NaN where missing.
    mean : ndarray of shape (n_columns,)
    covariance : ndarray of shape (n_columns, n_columns)
        Positive definite in the columns of non-zero variance. A column of variance zero is
        filled with its mean and says nothing about the others.

    Raises
    ------
    ValueError
        If the covariance of some observed columns is singular.
    """
    missing = np.isnan(X)
    means, sds = np.full(X.shape, np.nan), np.full(X.shape, np.nan)
    scale = np.sqrt(np.diag(covariance))
    means[missing] = np.broadcast_to(mean, X.shape)[missing]
    sds[missing] = np.broadcast_to(scale, X.shape)[missing]
    active = np.flatnonzero(scale > 0)
    if len(active):
        units = scale[active]
        fill = _standardised_conditional(
            (X[:, active] - mean[active]) / units,
            covariance[np.ix_(active, active)] / np.outer(units, units),
        )
        for chunk, columns, z, sd in fill:
            at = (chunk[:, None], active[columns])
            means[at] = mean[at[1]] + scale[at[1]] * z
            sds[at] = scale[at[1]] * sd
    rows, columns = np.nonzero(missing)
    return Conditional(rows, columns, means[missing], sds[missing])


def _standardised_conditional(
    Z: Floats, correlation: Floats
) -> Iterator[tuple[Ints, Ints, Floats, Floats]]:
    """Yield ``(rows (r,), missing columns (r, m), mean (r, m), sd (r, m))`` chunk by chunk."""
    observed = ~np.isnan(Z)
    patterns, pattern_of_row = distinct_patterns(observed)
    n_missing = (~patterns).sum(axis=1)
    for m in np.unique(n_missing[n_missing > 0]):
        members = np.flatnonzero(n_missing == m)
        for block in _blocks(members, Z.shape[1] ** 2):
            shown, hidden = split_columns(patterns[block])
            slopes, sd = _regressions(correlation, shown, hidden)
            position = np.full(len(patterns), -1)
            position[block] = np.arange(len(block))
            rows = np.flatnonzero(position[pattern_of_row] >= 0)
            for chunk in _blocks(rows, slopes[0].size):
                which = position[pattern_of_row[chunk]]
                z = np.take_along_axis(Z[chunk], shown[which], axis=1)
                yield chunk, hidden[which], (z[:, None, :] @ slopes[which])[:, 0, :], sd[which]


def split_columns(patterns: Bools) -> tuple[Ints, Ints]:
    """Observed (s, k) and missing (s, m) column indices of patterns with equally many missing."""
    order = np.argsort(~patterns, axis=1, kind="stable")
    k = int(patterns[0].sum())
    return order[:, :k], order[:, k:]


def submatrices(matrix: Floats, rows: Ints, columns: Ints) -> Floats:
    """Stack of ``matrix[rows[s], :][:, columns[s]]``, of shape (s, n_rows, n_columns)."""
    stack: Floats = matrix[rows[:, :, None], columns[:, None, :]]
    return stack


def _regressions(correlation: Floats, shown: Ints, hidden: Ints) -> tuple[Floats, Floats]:
    """Slopes (s, k, m) of the missing on the observed columns and residual sd (s, m)."""
    within = submatrices(correlation, shown, shown)
    across = submatrices(correlation, shown, hidden)
    try:
        lower = np.linalg.cholesky(within)
    except np.linalg.LinAlgError:
        raise ValueError(
            "The model's covariance is singular, so its columns do not determine each other in "
            'one way. Fit it with a prior (prior_rows="auto").'
        ) from None
    whitened = np.linalg.solve(lower, across)
    slopes = np.linalg.solve(np.swapaxes(lower, 1, 2), whitened)
    explained = np.einsum("skm,skm->sm", whitened, whitened)
    return slopes, np.sqrt(np.maximum(1.0 - explained, 0.0))


def _blocks(indices: Ints, numbers_each: int) -> Iterator[Ints]:
    step = max(1, CHUNK_NUMBERS // max(1, numbers_each))
    for start in range(0, len(indices), step):
        yield indices[start : start + step]
