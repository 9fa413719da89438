"""Blocks of a covariance or its inverse that belong to patterns of columns, a stack at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from em_impute.gaussian.arrays import Bools, Floats, Ints

# Beyond this condition number the inverse loses digits that the matrix itself keeps.
ILL_CONDITIONED = 1e6
# A correlation matrix with a smaller eigenvalue is singular for a fit.
SINGULAR_EIGENVALUE = 1e-10
# Smaller eigenvalues of a correlation matrix are 0, to rounding: its columns determine each other.
NO_SPREAD = 1e-12
# And a variance, in units of the column's own, that is 0 where they do.
NO_VARIANCE = 1e-11
INDEFINITE = (
    "The model's covariance gives a combination of columns a negative variance, so it belongs to "
    "no distribution. Fit the model again."
)
# Up to this size blocks are inverted by sweeping.


def split_columns(patterns: Bools) -> tuple[Ints, Ints]:
    """Observed (s, k) and missing (s, m) column indices of patterns with equally many missing."""
    n = len(patterns)
    return np.nonzero(patterns)[1].reshape(n, -1), np.nonzero(~patterns)[1].reshape(n, -1)


def submatrices(matrix: Floats, rows: Ints, columns: Ints) -> Floats:
    """Stack of ``matrix[rows[s], :][:, columns[s]]``, of shape (s, n_rows, n_columns).

    Parameters
    ----------
    matrix : ndarray of shape (p, p)
    rows : ndarray of shape (s, n_rows), int64
    columns : ndarray of shape (s, n_columns), int64
    """
    stack: Floats = matrix[rows[:, :, None], columns[:, None, :]]
    return stack


def correlation_of(covariance: Floats) -> Floats:
    """The correlation matrix of a covariance.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a variance is not positive and finite.
    """
    variances = covariance.diagonal()
    if not (variances.min(initial=np.inf) > 0 and np.isfinite(covariance).all()):
        raise np.linalg.LinAlgError("A variance is not positive and finite.")
    sd = np.sqrt(variances)
    correlation: Floats = covariance / np.multiply.outer(sd, sd)
    return correlation


def in_own_units(covariance: Floats) -> tuple[Floats, Floats]:
    """The scale of each column and the covariance on it; a column of variance 0 keeps its scale.

    Returns
    -------
    scale : ndarray of shape (p,)
        Standard deviations; 1 where that is 0.
    correlation : ndarray of shape (p, p)
        Zero, and not 1 on the diagonal, in a column of variance 0.
    """
    sd = np.sqrt(covariance.diagonal())
    scale = np.where(sd > 0, sd, 1.0)
    return scale, covariance / np.multiply.outer(scale, scale)


def correlation_of_varying(covariance: Floats) -> tuple[Ints, Floats, Floats]:
    """The columns that vary, their standard deviations, and the correlations between them.

    Returns
    -------
    varying : ndarray of shape (k,), int64
    scale : ndarray of shape (k,)
    correlation : ndarray of shape (k, k)
    """
    scale, correlation = in_own_units(covariance)
    varying = np.flatnonzero(covariance.diagonal() > 0)
    return varying, scale[varying], correlation[np.ix_(varying, varying)]


def eigenvalues_of(correlation: Floats) -> Floats:
    """Eigenvalues of a symmetric matrix, ascending."""
    eigenvalues: Floats = lapack.dsyevd(correlation, compute_v=0)[0]
    return eigenvalues


def well_conditioned(
    eigenvalues: NDArray[np.floating[Any]], limit: float = ILL_CONDITIONED
) -> bool:
    """Whether a correlation matrix with these eigenvalues, ascending, may be inverted."""
    return bool(eigenvalues[-1] < limit * eigenvalues[0])


def cholesky_factor(matrix: Floats) -> Floats:
    """Lower triangular factor of a positive definite matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite.
    """
    # LAPACK without NumPy's wrapping, which takes longer than the factor of a small matrix.
    factor: Floats
    factor, failed = lapack.dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError("The matrix is not positive definite.")
    return factor


def solve_definite(matrix: Floats, right: Floats) -> Floats:
    """Solution of ``matrix x = right`` for a positive definite matrix, which may be empty.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite.
    """
    solution: Floats
    if not len(matrix):
        return right
    _, solution, failed = lapack.dposv(matrix, right, lower=1)
    if failed:
        raise np.linalg.LinAlgError("The matrix is not positive definite.")
    return solution


def inverse_and_log_det(matrix: Floats) -> tuple[Floats, float]:
    """Inverse and log-determinant of a positive definite matrix, by its Cholesky factor.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite.
    """
    factor = cholesky_factor(matrix)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse: Floats = lower + lower.T
    np.fill_diagonal(inverse, lower.diagonal())
    return inverse, 2.0 * float(np.log(factor.diagonal()).sum())


def precision_if_accurate(correlation: Floats, limit: float = ILL_CONDITIONED) -> Floats | None:
    """The inverse of a correlation matrix; None if its condition number is beyond `limit`."""
    eigenvalues, vectors = np.linalg.eigh(correlation)
    if not well_conditioned(eigenvalues, limit):
        return None
    precision: Floats = (vectors / eigenvalues) @ vectors.T
    return precision


def is_singular(correlation: Floats) -> bool:
    """Whether columns of this correlation matrix determine each other exactly.

    Raises
    ------
    ValueError
        If it is none, because some combination of columns has a negative variance.
    """
    smallest = eigenvalues_of(correlation)[0]
    if smallest < -NO_VARIANCE:
        raise ValueError(INDEFINITE)
    return bool(smallest < NO_SPREAD)


def pseudo_inverses(stack: Floats) -> Floats:
    """Inverses (s, k, k) of positive semidefinite matrices where they have any spread."""
    eigenvalues, vectors = np.linalg.eigh(stack)
    spread = eigenvalues > NO_SPREAD
    inverse = np.divide(1.0, eigenvalues, out=np.zeros_like(eigenvalues), where=spread)
    inverses: Floats = (vectors * inverse[:, None]) @ np.swapaxes(vectors, 1, 2)
    return inverses


def semidefinite_factors(stack: Floats) -> Floats:
    """Lower triangular ``L`` (s, m, m) with ``L L^T = C``; without spread where `C` has none."""
    left, factors = stack.copy(), np.zeros_like(stack)
    for j in range(stack.shape[1]):
        pivot = left[:, j, j, None]
        some = pivot > NO_VARIANCE
        column = np.where(some, left[:, :, j] / np.sqrt(np.where(some, pivot, 1.0)), 0.0)
        column[:, :j] = 0.0
        left -= column[:, :, None] * column[:, None]
        factors[:, :, j] = column
    return factors


def runs_of(indices: Ints, length: int) -> Iterator[Ints]:
    """Yield `indices` in runs of at most `length`, but of one at least."""
    step = max(1, length)
    for start in range(0, len(indices), step):
        yield indices[start : start + step]
