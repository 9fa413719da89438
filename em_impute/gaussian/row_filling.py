"""The loop over the rows that are filled, compiled.

It serves where the inverse of the correlation matrix has its digits and a row shows at least as
many columns as it misses; `conditional` and `draws` go by NumPy elsewhere. What becomes of a row
depends on nothing but the row, to the last bit.
"""

from __future__ import annotations

import math

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.blocks import compiled, factorise, invert_diagonal, solve_upper, split


@compiled
def fill_rows(
    X: Floats,
    patterns: Bools,
    by_pattern: Ints,
    ends: Ints,
    first: Ints,
    mean: Floats,
    scale: Floats,
    precision: Floats,
    normals: Floats,
    cells: Floats,
    sds: Floats,
) -> bool:
    """Set the missing cells of rows to conditional means or draws, and their standard deviations.

    With ``K_MM = B B^T``, the missing columns taken from the last to the first, and the pull
    ``k = (z K)_M`` of the observed ones, a draw is ``B^-T (e - B^-1 k)``, and the mean the same
    without `e`.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Rows with NaN where missing.
    patterns : ndarray of shape (s, p), bool
        Those that are filled.
    by_pattern : ndarray of shape (n,), int64
        The rows in the order of their patterns.
    ends : ndarray of shape (s + 1,), int64
        The rows of pattern `s` are ``by_pattern[ends[s] : ends[s + 1]]``.
    first : ndarray of shape (n,), int64
        The number of each row's first missing cell.
    mean, scale : ndarray of shape (p,)
    precision : ndarray of shape (p, p)
        Inverse ``K`` of the correlation matrix.
    normals : ndarray of shape (n_missing,) or (0,)
        Standard normals `e` by the numbers of the cells; none for means.
    cells, sds : ndarray of shape (n_missing,)
        Are set, by the numbers of the cells, in the units of the columns.

    Returns
    -------
    bool
        False where a block is not positive definite.
    """
    p = len(mean)
    factor, column = np.empty((p, p)), np.empty(p)
    z, deviations, spreads = np.empty(p), np.empty(p), np.empty(p)
    shown, hidden = np.empty(p, np.int64), np.empty(p, np.int64)
    for s in range(len(patterns)):
        k = split(patterns[s], shown, hidden)
        m = p - k
        backwards = hidden[:m][::-1].copy()
        definite, _ = factorise(precision, backwards, factor)
        if not definite:
            return False
        invert_diagonal(factor, m)
        for i in range(m):
            # A conditional variance is the squared length of a column of B^-1.
            square = 0.0
            for j in range(i, m):
                rest = 1.0 if j == i else 0.0
                for h in range(i, j):
                    rest -= factor[j, h] * column[h]
                column[j] = rest * factor[j, j]
                square += column[j] * column[j]
            spreads[i] = scale[backwards[i]] * math.sqrt(square)
        for r in by_pattern[ends[s] : ends[s + 1]]:
            for j in range(p):
                z[j] = (X[r, j] - mean[j]) / scale[j] if patterns[s, j] else 0.0
            last = first[r] + m - 1
            for i in range(m):
                h, pull = backwards[i], 0.0
                for j in range(p):
                    pull += z[j] * precision[h, j]
                for j in range(i):
                    pull -= factor[i, j] * deviations[j]
                deviations[i] = pull * factor[i, i]
            for i in range(m):
                noise = normals[last - i] if len(normals) else 0.0
                deviations[i] = noise - deviations[i]
            solve_upper(factor, deviations, m)
            for i in range(m):
                h = backwards[i]
                cells[last - i] = mean[h] + scale[h] * deviations[i]
                sds[last - i] = spreads[i]
    return True
