"""Correlations that no row shows: of two columns that are never observed together.

The likelihood does not depend on them, so that any value that leaves the covariance positive
definite is as likely as any other. The completion of largest entropy makes such columns independent
given all others (Dempster 1972), assumes nothing else, and does not depend on where EM began.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from em_impute.gaussian.blocks import cholesky_factor
from em_impute.gaussian.patterns import Bools, Floats

# Sweeps over the columns, and the change of a correlation at which they end before.
MOST_SWEEPS, SETTLED = 100, 1e-10


def complete(covariance: Floats, unseen: Bools) -> Floats:
    """The covariance with its `unseen` entries such that the inverse is zero there.

    Column after column takes the covariances with its unseen partners that its regression on the
    other columns implies (Hastie, Tibshirani & Friedman 2009, algorithm 17.1). Each such step keeps
    the matrix positive definite.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        Positive definite.
    unseen : ndarray of shape (p, p), bool
        Symmetric, False on the diagonal.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    covariance = np.array(covariance)
    sd, every = np.sqrt(covariance.diagonal()), np.arange(len(covariance))
    for _ in range(MOST_SWEEPS):
        change = 0.0
        for j in np.flatnonzero(unseen.any(axis=0)):
            partners, others = every[unseen[j]], every[~unseen[j] & (every != j)]
            lower = cholesky_factor(covariance[np.ix_(others, others)])
            of_partners = solve_triangular(lower, covariance[np.ix_(others, partners)], lower=True)
            of_itself = solve_triangular(lower, covariance[others, j], lower=True)
            implied = of_partners.T @ of_itself
            moved = np.abs(implied - covariance[partners, j]) / (sd[partners] * sd[j])
            change = max(change, float(moved.max()))
            covariance[partners, j] = covariance[j, partners] = implied
        if change < SETTLED:
            break
    return covariance
