"""Draws of missing cells from their conditional distribution, keyed.

The standard normal of a cell depends only on the seed, the key of its row, the name of its column
and the number of the imputation: they are hashed, as `keys` says, and the hash goes through the
inverse normal distribution function. Rows are counted from 0 and imputations from 1.
So, given the model, the same cell gets the same draw in any chunk, subset or order of the rows, and
whatever other columns are missing elsewhere.

The missing cells M of a row are drawn jointly, ``mean + L z`` with ``L L^T`` their conditional
covariance. That is the inverse of K_MM, ``K = Sigma^-1``; and with the columns in the order O, M, L
is the lower right block of the Cholesky factor of the whole covariance, which costs more and stands
any condition. Where columns determine each other it is a factor of what is left of Sigma_MM.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.keys import Keys, mixed, row_words, word_of
from em_impute.gaussian.linalg import (
    INDEFINITE,
    correlation_of_varying,
    is_singular,
    precision_if_accurate,
    pseudo_inverses,
    runs_of,
    semidefinite_factors,
    split_columns,
    submatrices,
)
from em_impute.gaussian.threads import one_blas_thread

# Stacked matrices are built for about this many numbers at a time.
CHUNK_NUMBERS = 2**20


def standard_normals(
    missing: Bools, columns: Sequence[str], seed: int, keys: Keys | None, imputation: int
) -> Floats:
    """One standard normal for every missing cell; between -8.3 and 8.3.

    It is the normal quantile of that cell's `uniforms`; errors are as there.

    Parameters
    ----------
    missing : ndarray of shape (n_rows, n_columns), bool
    columns : sequence of str
    seed : int
    keys : sequence of hashable or ndarray of shape (n_rows,), optional
    imputation : int
        All as in `uniforms`.
    """
    normals: Floats = ndtri(uniforms(missing, columns, seed, keys, imputation))
    return normals


def uniforms(
    missing: Bools, columns: Sequence[str], seed: int, keys: Keys | None, imputation: int
) -> Floats:
    """One number between 0 and 1, both excluded, for every missing cell.

    Parameters
    ----------
    missing : ndarray of shape (n_rows, n_columns), bool
    columns : sequence of str
        Names of the columns.
    seed : int
    keys : sequence of hashable or ndarray of shape (n_rows,), optional
        What identifies the rows; the row number, from 0, by default.
    imputation : int
        From 1.

    Returns
    -------
    ndarray of shape (n_missing,)
        In row-major order.

    Raises
    ------
    ValueError
        If there are not as many keys as rows, a key is missing, or `imputation` is below 1.
    TypeError
        If a key is of a kind that has no stable value.
    """
    if imputation < 1:
        raise ValueError(f"Imputations are counted from 1, got {imputation}.")
    stream = word_of((int(seed), int(imputation)))
    of_row = mixed(row_words(keys, len(missing)) ^ stream)
    of_column = np.array([word_of(name) for name in columns], dtype=np.uint64)
    i, j = np.nonzero(missing)
    cells = mixed(of_row[i] ^ of_column[j])
    # 52 bits and a half: never 0, never 1, and no rounding.
    fractions: Floats = ((cells >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return fractions


@one_blas_thread()
def conditional_noise(missing: Bools, covariance: Floats, normals: Floats) -> Floats:
    """Deviations of the missing cells from their conditional means.

    Parameters
    ----------
    missing : ndarray of shape (n_rows, n_columns), bool
    covariance : ndarray of shape (n_columns, n_columns)
        A column of variance zero does not deviate, nor does one that the observed ones determine.
    normals : ndarray of shape (n_missing,)
        Independent standard normals, in row-major order.

    Returns
    -------
    ndarray of shape (n_missing,)
        In row-major order, in the units of the columns.

    Raises
    ------
    ValueError
        If the covariance is none: some combination of columns has a negative variance.
    """
    z = np.zeros(missing.shape)
    z[missing] = normals
    varying, scale, correlation = correlation_of_varying(covariance)
    deviations = np.zeros(missing.shape)
    if len(varying):
        correlated = _correlated(missing[:, varying], correlation, z[:, varying])
        deviations[:, varying] = scale * correlated
    noise: Floats = deviations[missing]
    return noise


def _correlated(missing: Bools, correlation: Floats, z: Floats) -> Floats:
    """``L z`` for the missing cells of every row, 0 for the others.

    Each row is a product of one fixed shape, so its bits do not depend on its company.
    """
    correlated = np.zeros_like(z)
    patterns, pattern_of_row = distinct_patterns(~missing)
    precision = precision_if_accurate(correlation)
    singular = precision is None and is_singular(correlation)
    n_missing = (~patterns).sum(axis=1)
    for m in np.unique(n_missing[n_missing > 0]):
        members = np.flatnonzero(n_missing == m)
        for block in runs_of(members, CHUNK_NUMBERS // correlation.size):
            hidden, factors = _factors(correlation, precision, singular, patterns[block])
            position = np.full(len(patterns), -1)
            position[block] = np.arange(len(block))
            for chunk in runs_of(
                np.flatnonzero(position[pattern_of_row] >= 0), CHUNK_NUMBERS // (m * m)
            ):
                which = position[pattern_of_row[chunk]]
                at = (chunk[:, None], hidden[which])
                correlated[at] = (factors[which] @ z[at][:, :, None])[:, :, 0]
    return correlated


def _factors(
    correlation: Floats, precision: Floats | None, singular: bool, patterns: Bools
) -> tuple[Ints, Floats]:
    """Missing columns (s, m) and Cholesky factors (s, m, m) of their conditional covariances."""
    shown, hidden = split_columns(patterns)
    k = shown.shape[1]
    if precision is not None and hidden.shape[1] <= k:
        # In reverse order K_MM = A A^T, so C = (A^-1)^T A^-1; reversed back, (A^-1)^T is lower.
        backwards = hidden[:, ::-1]
        lower = np.linalg.cholesky(submatrices(precision, backwards, backwards))
        return hidden, np.ascontiguousarray(np.linalg.inv(lower).transpose(0, 2, 1)[:, ::-1, ::-1])
    if singular:
        across = submatrices(correlation, shown, hidden)
        slopes = pseudo_inverses(submatrices(correlation, shown, shown)) @ across
        rest = submatrices(correlation, hidden, hidden) - np.swapaxes(across, 1, 2) @ slopes
        return hidden, semidefinite_factors(rest)
    order = np.concatenate([shown, hidden], axis=1)
    try:
        lower = np.linalg.cholesky(submatrices(correlation, order, order))
    except np.linalg.LinAlgError:
        raise ValueError(INDEFINITE) from None
    return hidden, np.ascontiguousarray(lower[:, k:, k:])
