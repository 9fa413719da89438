"""Blocks of a covariance or its inverse that belong to patterns of columns, a stack at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.patterns import Bools, Floats, Ints

# Beyond this condition number the inverse loses digits that the matrix itself keeps.
ILL_CONDITIONED = 1e6
# Up to this size blocks are inverted by sweeping.
LARGEST_SWEPT = 30


def split_columns(patterns: Bools) -> tuple[Ints, Ints]:
    """Observed (s, k) and missing (s, m) column indices of patterns with equally many missing."""
    n = len(patterns)
    return np.nonzero(patterns)[1].reshape(n, -1), np.nonzero(~patterns)[1].reshape(n, -1)


def submatrices(matrix: Floats, rows: Ints, columns: Ints) -> Floats:
    """Stack of ``matrix[rows[s], :][:, columns[s]]``, of shape (s, n_rows, n_columns)."""
    stack: Floats = matrix[rows[:, :, None], columns[:, None, :]]
    return stack


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


def well_conditioned(eigenvalues: NDArray[np.floating[Any]]) -> bool:
    """Whether a correlation matrix with these eigenvalues, ascending, may be inverted."""
    return bool(eigenvalues[-1] < ILL_CONDITIONED * eigenvalues[0])


def block_places(columns: Ints, n_columns: int) -> Ints:
    """Where the blocks ``[columns[s], columns[s]]`` are in a matrix, as flat indices (m, m, s).

    The blocks come last, so that a step on all of them is a few long vector operations.
    """
    of = np.ascontiguousarray(columns.T)
    places: Ints = of[:, None] * n_columns + of
    return places


def inverses(matrix: Floats, places: Ints) -> tuple[Floats, Floats]:
    """Inverse (m, m, s) and log-determinant (s,) of each block of a matrix.

    Small blocks are inverted by sweeping all of them at once, pivot after pivot, which takes half
    the time of as many calls of LAPACK.

    Parameters
    ----------
    matrix : ndarray of shape (n_columns, n_columns)
    places : ndarray of shape (m, m, s), int64
        From `block_places`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a block is not positive definite.
    """
    blocks = matrix.take(places)
    if len(places) > LARGEST_SWEPT:
        stack = np.ascontiguousarray(blocks.transpose(2, 0, 1))
        log_dets = log_det_of_factor(np.linalg.cholesky(stack))
        inverse = np.linalg.inv(stack)
        return ((inverse + np.swapaxes(inverse, 1, 2)) / 2).transpose(1, 2, 0), log_dets
    return _swept(blocks)


def _swept(blocks: Floats) -> tuple[Floats, Floats]:
    """Inverses, in the place of the blocks, and log-determinants."""
    pivots = np.empty(blocks.shape[1:])
    change = np.empty_like(blocks)
    with np.errstate(all="ignore"):
        for j, pivot in enumerate(pivots):
            pivot[:] = blocks[j, j]
            column = blocks[:, j].copy()
            row = column / pivot
            np.multiply(column[:, None], row, out=change)
            blocks -= change
            blocks[:, j] = blocks[j] = row
            blocks[j, j] = -1.0 / pivot
    if not (pivots > 0).all():
        raise np.linalg.LinAlgError("A block is not positive definite.")
    return np.negative(blocks, out=blocks), np.log(pivots).sum(axis=0)


def log_det_of_factor(lower: NDArray[np.floating[Any]]) -> Floats:
    """Log-determinants (s,) of the matrices whose Cholesky factors these are."""
    log_dets: Floats = 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return log_dets
