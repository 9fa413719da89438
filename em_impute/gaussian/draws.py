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

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import ndtri

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.conditional import of_varying, quick_patterns
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Words, mixed, word_of
from em_impute.gaussian.linalg import (
    INDEFINITE,
    correlation_of_varying,
    is_singular,
    precision_if_accurate,
    pseudo_inverses,
    semidefinite_factors,
    split_columns,
    submatrices,
)
from em_impute.gaussian.threads import one_blas_thread, spread

# Stacked matrices are built for about this many numbers at a time.
CHUNK_NUMBERS = 2**17


def standard_normals(
    cells: tuple[Ints, Ints], columns: Sequence[Hashable], seed: int, words: Words, imputation: int
) -> Floats:
    """One standard normal for every missing cell; between -8.3 and 8.3.

    It is the normal quantile of that cell's `uniforms`; errors are as there.

    Parameters
    ----------
    cells : tuple of ndarray of shape (n_missing,), int64
    columns : sequence of hashable
    seed : int
    words : ndarray of shape (n_rows,), uint64
    imputation : int
        All as in `uniforms`.
    """
    normals: Floats = ndtri(uniforms(cells, columns, seed, words, imputation))
    return normals


def uniforms(
    cells: tuple[Ints, Ints], columns: Sequence[Hashable], seed: int, words: Words, imputation: int
) -> Floats:
    """One number between 0 and 1, both excluded, for every missing cell.

    Parameters
    ----------
    cells : tuple of ndarray of shape (n_missing,), int64
        Their rows and columns.
    columns : sequence of hashable
        Names of the columns.
    seed : int
    words : ndarray of shape (n_rows,), uint64
        What identifies the rows, as `row_words` makes it of their keys.
    imputation : int
        From 1.

    Returns
    -------
    ndarray of shape (n_missing,)

    Raises
    ------
    ValueError
        If `imputation` is below 1.
    """
    if imputation < 1:
        raise ValueError(f"Imputations are counted from 1, got {imputation}.")
    stream = word_of((int(seed), int(imputation)))
    of_row = mixed(words ^ stream)
    of_column = np.array([word_of(name) for name in columns], dtype=np.uint64)
    hashes = mixed(of_row[cells[0]] ^ of_column[cells[1]])
    # 52 bits and a half: never 0, never 1, and no rounding.
    fractions: Floats = ((hashes >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return fractions


@one_blas_thread()
def conditional_draws(holes: Holes, mean: Floats, covariance: Floats, normals: Floats) -> Floats:
    """The missing cells, drawn given the observed ones.

    Parameters
    ----------
    holes : Holes
    mean : ndarray of shape (n_columns,)
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
    varying, scale, correlation = correlation_of_varying(covariance)
    drawn = mean[holes.columns]
    if len(varying):
        among, cells = holes.among(varying)
        normals = normals[cells]
        drawn[cells], _ = of_varying(among, mean[varying], scale, correlation, normals)
        precision = precision_if_accurate(correlation)
        _, last = quick_patterns(among, precision)
        if last < len(among.patterns):
            singular = precision is None and is_singular(correlation)
            deviations = _deviations(among, last, correlation, singular, normals)
            drawn[cells] += deviations * scale[among.columns]
    return drawn


def _deviations(
    holes: Holes, first: int, correlation: Floats, singular: bool, normals: Floats
) -> Floats:
    """``L z`` for the missing cells of the patterns from `first` on, and 0 for the others.

    Each row is a product of one fixed shape, so its bits do not depend on its company.
    """
    correlated = np.zeros(len(normals))

    def correlate(block: Ints) -> None:
        factors = _factors(correlation, singular, holes.patterns[block])
        for _, which, cells in holes.rows_of(block, CHUNK_NUMBERS // factors[0].size):
            correlated[cells] = (factors[which] @ normals[cells][:, :, None])[:, :, 0]

    spread(correlate, holes.blocks(CHUNK_NUMBERS // correlation.size, first), holes.X.size)
    return correlated


def _factors(correlation: Floats, singular: bool, patterns: Bools) -> Floats:
    """Cholesky factors (s, m, m) of the conditional covariances of the missing columns."""
    shown, hidden = split_columns(patterns)
    k = shown.shape[1]
    if singular:
        across = submatrices(correlation, shown, hidden)
        slopes = pseudo_inverses(submatrices(correlation, shown, shown)) @ across
        rest = submatrices(correlation, hidden, hidden) - np.swapaxes(across, 1, 2) @ slopes
        return semidefinite_factors(rest)
    order = np.concatenate([shown, hidden], axis=1)
    try:
        lower = np.linalg.cholesky(submatrices(correlation, order, order))
    except np.linalg.LinAlgError:
        raise ValueError(INDEFINITE) from None
    return np.ascontiguousarray(lower[:, k:, k:])
