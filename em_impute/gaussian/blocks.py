"""Blocks of a matrix, some of its rows and the same columns: inverted and factorised, compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from em_impute.gaussian.arrays import Bools, Floats, Ints

# Sums may be taken in another order, which makes vectors of them, and reciprocals be multiplied.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"arcp", "contract", "reassoc", "nsz"},
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled when it is first called, and kept for later processes if possible."""
    compiled: Callable[..., Any]
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # nowhere to keep it, as in a read-only image
        compiled = njit(**_OPTIONS)(function)
    return compiled


@compiled
def split(pattern: Bools, shown: Ints, hidden: Ints) -> int:
    """Set `shown` to the observed columns and `hidden` to the missing; how many are observed."""
    k = 0
    for j in range(len(pattern)):
        # Without a branch, which would be guessed wrongly at every hole.
        shown[k] = j
        hidden[j - k] = j
        k += pattern[j]
    return k


@compiled
def sweep(matrix: Floats, columns: Ints, block: Floats, vector: Floats) -> float:
    """Set the lower triangle of `block` to minus the inverse of ``matrix[columns, columns]``.

    Returns
    -------
    float
        The log-determinant; NaN where that is not positive definite.
    """
    m = len(columns)
    for i in range(m):
        for j in range(i + 1):
            block[i, j] = matrix[columns[i], columns[j]]
    log_det = 0.0
    for j in range(m):
        pivot = block[j, j]
        # Written so that NaN is not above zero either.
        if not pivot > 0.0:
            return np.nan
        log_det += math.log(pivot)
        for i in range(j):
            vector[i] = block[j, i]
        vector[j] = 0.0
        for i in range(j + 1, m):
            vector[i] = block[i, j]
        for i in range(m):
            slope = vector[i] / pivot
            for k in range(i + 1):
                block[i, k] -= slope * vector[k]
        for i in range(j):
            block[j, i] = vector[i] / pivot
        block[j, j] = -1.0 / pivot
        for i in range(j + 1, m):
            block[i, j] = vector[i] / pivot
    return log_det


@compiled
def place_in_triangle(i: int, j: int) -> int:
    """Where ``[i, j]`` of a lower triangle stands in its rows one after the other."""
    return i * (i + 1) // 2 + j


@compiled
def sweep_side_by_side(
    matrix: Floats, columns: Ints, blocks: Floats, vectors: Floats, log_dets: Floats
) -> None:
    """What `sweep` does, for several blocks at once: what is done to one cell is one loop over all.

    Parameters
    ----------
    matrix : ndarray of shape (p, p)
    columns : ndarray of shape (n, m), int64
        Those of each block.
    blocks : ndarray of shape (m (m + 1) / 2, at least n)
        Its columns become the lower triangles of minus the inverses.
    vectors : ndarray of shape (m + 3, at least n)
        Is overwritten.
    log_dets : ndarray of shape (at least n,)
        Set to the log-determinants; NaN where a block is not positive definite.
    """
    n, m = columns.shape
    reciprocals, slopes, products = vectors[m], vectors[m + 1], vectors[m + 2]
    for lane in range(n):
        log_dets[lane], products[lane] = 0.0, 1.0
        for i in range(m):
            for j in range(i + 1):
                place = place_in_triangle(i, j)
                blocks[place, lane] = matrix[columns[lane, i], columns[lane, j]]
    for j in range(m):
        for lane in range(n):
            pivot = blocks[place_in_triangle(j, j), lane]
            products[lane] *= pivot if pivot > 0.0 else np.nan
            reciprocals[lane] = 1.0 / pivot
        if j % 4 == 3 or j == m - 1:
            # A logarithm for each pivot takes as long as the rest.
            for lane in range(n):
                log_dets[lane] += math.log(products[lane])
                products[lane] = 1.0
        for i in range(m):
            place = place_in_triangle(i, j) if i > j else place_in_triangle(j, i)
            for lane in range(n):
                vectors[i, lane] = blocks[place, lane] if i != j else 0.0
        for i in range(m):
            for lane in range(n):
                slopes[lane] = vectors[i, lane] * reciprocals[lane]
            for k in range(i + 1):
                place = place_in_triangle(i, k)
                for lane in range(n):
                    blocks[place, lane] -= slopes[lane] * vectors[k, lane]
        for i in range(m):
            place = place_in_triangle(i, j) if i > j else place_in_triangle(j, i)
            for lane in range(n):
                slope = vectors[i, lane] if i != j else -1.0
                blocks[place, lane] = slope * reciprocals[lane]


@compiled
def factorise(matrix: Floats, columns: Ints, factor: Floats) -> tuple[bool, float]:
    """Set the lower triangle of `factor` to Cholesky's factor of ``matrix[columns, columns]``.

    Returns
    -------
    (bool, float)
        Whether that is positive definite, and its log-determinant.
    """
    log_det = 0.0
    for i in range(len(columns)):
        for j in range(i + 1):
            rest = matrix[columns[i], columns[j]]
            for h in range(j):
                rest -= factor[i, h] * factor[j, h]
            if j < i:
                factor[i, j] = rest / factor[j, j]
        # Written so that NaN is not above zero either.
        if not rest > 0.0:
            return False, 0.0
        factor[i, i] = math.sqrt(rest)
        log_det += math.log(rest)
    return True, log_det


@compiled
def invert_diagonal(factor: Floats, m: int) -> None:
    """Set the first `m` on the diagonal to their reciprocals: rows then need no division."""
    for i in range(m):
        factor[i, i] = 1.0 / factor[i, i]


@compiled
def solve_upper(factor: Floats, vector: Floats, m: int) -> None:
    """Set the first `m` of `vector` to ``L^-T`` times themselves, of an inverted diagonal."""
    for i in range(m - 1, -1, -1):
        vector[i] *= factor[i, i]
        for j in range(i):
            vector[j] -= factor[i, j] * vector[i]
