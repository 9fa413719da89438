"""The covariances of p columns as a vector: the lower triangle of a matrix, row after row."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints


class Triangle(NamedTuple):
    """Where the d = p (p + 1) / 2 elements of the triangle are.

    Attributes
    ----------
    row, column : ndarray of shape (d,), int64
        Of the matrix; ``row >= column``.
    times : ndarray of shape (d,)
        How often each stands in a symmetric matrix: 1 on the diagonal, 2 beside it.
    number : ndarray of shape (p, p), int64
        Which element of the vector each element of the matrix is.
    """

    row: Ints
    column: Ints
    times: Floats
    number: Ints


@lru_cache(maxsize=8)
def triangle(p: int) -> Triangle:
    """The triangle of a (p, p) matrix."""
    row, column = np.tril_indices(p)
    number = np.zeros((p, p), dtype=np.int64)
    number[row, column] = number[column, row] = np.arange(len(row))
    return Triangle(row, column, np.where(row == column, 1.0, 2.0), number)
