"""What an estimate is worth, whoever made it: log-likelihood and error on the hidden cells.

Written apart from em_impute, row group by row group, so that it can judge em_impute too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from benchmarks.cases import Floats


@dataclass(frozen=True)
class Worth:
    """The judgement.

    Attributes
    ----------
    loglik : float
        Observed-data log-likelihood in full; NaN where the covariance is not positive definite.
    rmse : float
        Of the conditional means of the hidden cells, in standard deviations of their columns.
    """

    loglik: float
    rmse: float


def judge(mean: Floats, covariance: Floats, holes: Floats, complete: Floats) -> Worth:
    """Judge a mean (p,) and covariance (p, p) on a table with holes (n, p)."""
    patterns, pattern_of_row = np.unique(np.isnan(holes), axis=0, return_inverse=True)
    order = np.argsort(pattern_of_row, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(pattern_of_row))[:-1])
    scale = complete.std(axis=0)
    logliks, squares = [], []
    try:
        for missing, rows in zip(patterns, groups, strict=True):
            seen = ~missing
            lower = np.linalg.cholesky(covariance[np.ix_(seen, seen)])
            centred = (holes[np.ix_(rows, seen)] - mean[seen]).T
            white = linalg.solve_triangular(lower, centred, lower=True)
            log_det = len(rows) * (seen.sum() * math.log(2 * math.pi) + _log_det(lower))
            logliks.append(-0.5 * (log_det + float((white**2).sum())))
            slopes = linalg.solve_triangular(lower, covariance[np.ix_(seen, missing)], lower=True)
            off = complete[np.ix_(rows, missing)] - mean[missing] - white.T @ slopes
            squares.append(float(((off / scale[missing]) ** 2).sum()))
    except np.linalg.LinAlgError:
        return Worth(math.nan, math.nan)
    return Worth(math.fsum(logliks), math.sqrt(math.fsum(squares) / int(np.isnan(holes).sum())))


def rmse_of_filled(filled: Floats, holes: Floats, complete: Floats) -> float:
    """Error of a table that a tool has filled itself, in standard deviations of the columns."""
    off = ((filled - complete) / complete.std(axis=0))[np.isnan(holes)]
    return float(np.sqrt(np.mean(off**2)))


def _log_det(lower: NDArray[np.floating[Any]]) -> float:
    return 2 * float(np.log(np.diag(lower)).sum())
