"""The missing cells of rows given their observed ones, under a multivariate Gaussian.

For a row with observed columns O and missing columns M

    x_M | x_O ~ N( mu_M + Sigma_MO Sigma_OO^-1 (x_O - mu_O),
                   Sigma_MM - Sigma_MO Sigma_OO^-1 Sigma_OM ).

Rows that show at least as many columns as they miss are filled by a compiled loop, if Sigma has an
inverse to rely on; the others by stacked products. Each row is a sum or a product of one fixed
shape, so its answer does not depend, to the last bit, on which other rows it is computed with.

Where columns determine each other, Sigma_OO may have no inverse; its pseudo-inverse then gives the
same answer for rows that obey the relation, and the nearest one for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints, to_read
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.linalg import (
    INDEFINITE,
    NO_VARIANCE,
    correlation_of_varying,
    is_singular,
    precision_if_accurate,
    pseudo_inverses,
    runs_of,
    split_columns,
    submatrices,
)
from em_impute.gaussian.threads import one_blas_thread, spread

# Stacked matrices are built for about this many numbers at a time.
CHUNK_NUMBERS = 2**17
# About so many rows are filled at a time, by each thread.
PART_ROWS = 2**12
NO_NORMALS: Floats = np.empty(0)
# Up to this condition number the inverse of a correlation matrix has half of its digits.
LARGEST_CONDITION = 1e8


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


@one_blas_thread()
def conditional(holes: Holes, mean: Floats, covariance: Floats) -> Conditional:
    """Distribution of the missing cells of a table.

    Parameters
    ----------
    holes : Holes
        The table, and where its missing cells are.
    mean : ndarray of shape (n_columns,)
    covariance : ndarray of shape (n_columns, n_columns)
        A column of variance zero is filled with its mean and says nothing about the others.
        Columns may determine each other: cells that the observed ones determine have sd 0.

    Raises
    ------
    ValueError
        If the covariance is none: some combination of columns has a negative variance.
    """
    varying, scale, correlation = correlation_of_varying(covariance)
    means, sds = mean[holes.columns], np.zeros(len(holes.columns))
    if len(varying):
        among, cells = holes.among(varying)
        means[cells], sds[cells] = of_varying(among, mean[varying], scale, correlation)
    return Conditional(holes.rows, holes.columns, means, sds)


@one_blas_thread()
def conditional_cells(
    X: Floats, cells: Ints, mean: Floats, covariance: Floats
) -> tuple[Floats, Floats]:
    """Distribution of some missing cells of `X`, as many of each row.

    Where many cells of a row are missing and few are asked for, this takes one system of equations
    a row, not the regressions of all of them. Its last bits may depend on the other rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        NaN where missing.
    cells : ndarray of shape (n_rows, k), int64
        The columns of each row's cells.
    mean, covariance
        As in `conditional`.

    Returns
    -------
    mean, sd : ndarray of shape (n_rows, k)

    Raises
    ------
    ValueError
        If the covariance is none: some combination of columns has a negative variance.
    """
    varying, scale, correlation = correlation_of_varying(covariance)
    means, sds = mean[cells], np.zeros(cells.shape)
    if len(varying):
        position, unit = np.full(len(mean), -1), np.zeros(len(mean))
        position[varying], unit[varying] = np.arange(len(varying)), scale
        Z = (X[:, varying] - mean[varying]) / scale
        z, spreads = _of_cells(Z, position[cells], correlation)
        means, sds = means + unit[cells] * z, unit[cells] * spreads
    return means, sds


def _of_cells(Z: Floats, cells: Ints, correlation: Floats) -> tuple[Floats, Floats]:
    """Mean and sd (n, k) of cells of standardised rows; those of column -1 mean nothing."""
    shown = ~np.isnan(Z)
    Z = np.where(shown, Z, 0.0)
    precision = precision_if_accurate(correlation, LARGEST_CONDITION)
    singular = precision is None and is_singular(correlation)
    weighted = Z if precision is None else Z @ precision
    n_missing = (~shown).sum(axis=1)
    means, variances = np.empty(cells.shape), np.empty(cells.shape)

    def solve(rows: Ints) -> None:
        seen, hidden = split_columns(shown[rows])
        if precision is not None and hidden.shape[1] <= seen.shape[1]:
            # K_MM^-1 e is a column of the conditional covariance.
            chosen = (hidden[:, :, None] == cells[rows, None]).astype(np.float64)
            columns = np.linalg.solve(submatrices(precision, hidden, hidden), chosen)
            pull = np.take_along_axis(weighted[rows], hidden, axis=1)
            means[rows] = -np.einsum("smk,sm->sk", columns, pull)
            variances[rows] = np.einsum("smk,smk->sk", columns, chosen)
            return
        across = submatrices(correlation, seen, cells[rows])
        among = submatrices(correlation, seen, seen)
        slopes = pseudo_inverses(among) @ across if singular else np.linalg.solve(among, across)
        z = np.take_along_axis(Z[rows], seen, axis=1)
        means[rows] = np.einsum("sok,so->sk", slopes, z)
        variances[rows] = _unexplained(np.einsum("sok,sok->sk", slopes, across), singular)

    blocks = [
        rows
        for m in np.unique(n_missing)
        for rows in runs_of(
            np.flatnonzero(n_missing == m), CHUNK_NUMBERS // max(m, len(correlation) - m) ** 2
        )
    ]
    try:
        spread(solve, blocks, len(Z) * correlation.size)
    except np.linalg.LinAlgError:
        raise ValueError(INDEFINITE) from None
    return means, np.sqrt(variances)


def of_varying(
    holes: Holes, mean: Floats, scale: Floats, correlation: Floats, normals: Floats = NO_NORMALS
) -> tuple[Floats, Floats]:
    """Mean and sd of the missing cells, in row-major order, where no column is constant.

    Parameters
    ----------
    holes : Holes
    mean, scale : ndarray of shape (p,)
    correlation : ndarray of shape (p, p)
    normals : ndarray of shape (n_missing,), optional
        Makes draws of the means, but in the patterns from `quick_patterns` on.
    """
    precision = precision_if_accurate(correlation)
    singular = precision is None and is_singular(correlation)
    X, means, sds = holes.X, np.empty(len(holes.rows)), np.empty(len(holes.rows))
    first, last = quick_patterns(holes, precision)
    if precision is not None and first < last:
        _fill_quickly(holes, slice(first, last), (mean, scale, precision), normals, (means, sds))

    def fill(block: Ints) -> None:
        shown, hidden = split_columns(holes.patterns[block])
        slopes, residual_sd = regressions(correlation, singular, shown, hidden)
        for rows, which, cells in holes.rows_of(block, CHUNK_NUMBERS // max(slopes[0].size, 1)):
            at, to = shown[which], hidden[which]
            z = (X[rows[:, None], at] - mean[at]) / scale[at]
            means[cells] = mean[to] + scale[to] * (z[:, None, :] @ slopes[which])[:, 0, :]
            sds[cells] = scale[to] * residual_sd[which]

    spread(fill, holes.blocks(CHUNK_NUMBERS // X.shape[1] ** 2, last), X.size)
    return means, sds


def quick_patterns(holes: Holes, precision: Floats | None) -> tuple[int, int]:
    """The first of the patterns that the compiled loop fills, and the one behind the last."""
    n_missing = (~holes.patterns).sum(axis=1)
    most = -1 if precision is None else holes.X.shape[1] // 2
    first, last = np.searchsorted(n_missing, [0, most], side="right")
    return int(first), max(int(first), int(last))


def _fill_quickly(
    holes: Holes,
    patterns: slice,
    model: tuple[Floats, Floats, Floats],
    normals: Floats,
    found: tuple[Floats, Floats],
) -> None:
    # It brings the compiler, which takes a second.
    from em_impute.gaussian.row_filling import fill_rows

    X = to_read(holes.X)

    def fill(part: slice) -> bool:
        ends = holes.ends[part.start : part.stop + 1]
        definite = fill_rows(
            X, holes.patterns[part], holes.by_pattern, ends, holes.first, *model, normals,
            *found,
        )  # fmt: skip
        return bool(definite)

    rows = np.arange(holes.ends[patterns.start], holes.ends[patterns.stop], PART_ROWS)
    cuts = np.unique([*np.searchsorted(holes.ends, rows), patterns.stop]).tolist()
    parts = [slice(*cut) for cut in pairwise(cuts)]
    if not all(spread(fill, parts, holes.X.size)):
        raise ValueError(INDEFINITE)


def regressions(
    correlation: Floats,
    singular: bool,
    shown: Ints,
    hidden: Ints,
    precision: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Regressions of the missing on the observed columns, in standard deviations.

    Parameters
    ----------
    correlation : ndarray of shape (p, p)
    singular : bool
        Whether columns determine each other.
    shown, hidden : ndarray of shape (s, k) and (s, m), int64
        Observed and missing columns of patterns.
    precision : ndarray of shape (p, p), optional
        Its inverse, which is quicker where less is missing than observed.

    Returns
    -------
    slopes : ndarray of shape (s, k, m)
    residual_sd : ndarray of shape (s, m)
    """
    if precision is not None and hidden.shape[1] < shown.shape[1]:
        covariances = np.linalg.inv(submatrices(precision, hidden, hidden))
        slopes = -submatrices(precision, shown, hidden) @ covariances
        return slopes, np.sqrt(np.einsum("smm->sm", covariances))
    across = submatrices(correlation, shown, hidden)
    among = submatrices(correlation, shown, shown)
    if singular:
        slopes = pseudo_inverses(among) @ across
        explained = np.einsum("skm,skm->sm", slopes, across)
        return slopes, np.sqrt(_unexplained(explained, singular))
    try:
        lower = np.linalg.cholesky(among)
    except np.linalg.LinAlgError:
        raise ValueError(INDEFINITE) from None
    whitened = np.linalg.solve(lower, across)
    slopes = np.linalg.solve(np.swapaxes(lower, 1, 2), whitened)
    explained = np.einsum("skm,skm->sm", whitened, whitened)
    return slopes, np.sqrt(_unexplained(explained, singular))


def _unexplained(explained: Floats, singular: bool) -> Floats:
    """The rest of a variance of 1; none where that is what rounding leaves of no spread at all."""
    rest = np.maximum(1.0 - explained, 0.0)
    return np.where(rest < NO_VARIANCE, 0.0, rest) if singular else rest
