"""How each row pulls at the estimates: its score, the derivative of its log-likelihood.

Of a row with ``d = x - mu`` in its observed columns, zero elsewhere, and ``W = Sigma_OO^-1`` it is
``W d`` by the mean, and ``(W d d^T W - W) / 2`` by the covariance, where those off the diagonal
count twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.linalg import inverse_and_log_det
from em_impute.gaussian.parameters import Parameters, Standardisation
from em_impute.gaussian.triangle import triangle

# Rows whose scores are computed at a time have so many.
CHUNK_NUMBERS = 2**20


def row_scores(X: Any, scaling: Standardisation, at: Parameters) -> Iterator[tuple[Ints, Floats]]:
    """Yield some rows of a table and their scores, until it has been gone through.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The columns of `scaling`; NaN where missing.
    scaling : Standardisation
    at : tuple of ndarray
        Standardised mean (p,) and covariance (p, p) of the columns that vary.

    Yields
    ------
    rows : ndarray of shape (r,), int64
    scores : ndarray of shape (r, q)
        By the p means and the ``p (p + 1) / 2`` covariances of the lower triangle.
    """
    mean, covariance = at
    row, column, times, _ = triangle(len(mean))
    for rows, observed, deviations in _by_pattern(X, scaling, mean):
        shown = np.ix_(observed, observed)
        inverse = np.zeros_like(covariance)
        inverse[shown] = inverse_and_log_det(covariance[shown])[0]
        weighted = deviations @ inverse
        of_covariance = weighted[:, row] * weighted[:, column] - inverse[row, column]
        yield rows, np.hstack([weighted, 0.5 * times * of_covariance])


def _by_pattern(
    X: Any, scaling: Standardisation, mean: Floats
) -> Iterator[tuple[Ints, Bools, Floats]]:
    """Yield rows, which columns they show, and their deviations from the mean, zero if missing."""
    p, columns = len(mean), scaling.varying
    step = max(1, CHUNK_NUMBERS // (p * (p + 3)))
    for start in range(0, len(X), step):
        chunk = np.asarray(X[start : start + step, columns], dtype=np.float64)
        chunk = (chunk - scaling.centre[columns]) / scaling.scale[columns] - mean
        patterns, which = distinct_patterns(~np.isnan(chunk))
        for k, observed in enumerate(patterns):
            rows = np.flatnonzero(which == k)
            yield start + rows, observed, np.nan_to_num(chunk[rows])
