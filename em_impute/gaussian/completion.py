"""Correlations that no row shows: of two columns that are never observed together.

The likelihood does not depend on them, so that any value that leaves the covariance positive
definite is as likely as any other. The completion of largest entropy makes such columns independent
given all others (Dempster 1972), assumes nothing else, and does not depend on where EM began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.linalg import solve_definite

# Sweeps over the columns, and the change of a correlation at which they end before.
MOST_SWEEPS, SETTLED = 100, 1e-10


def complete(covariance: Floats, unseen: Bools) -> Floats:
    """The covariance with its `unseen` entries such that the inverse is zero there.

    Column after column takes the covariances with its unseen partners that its regression on the
    other columns implies (Hastie, Tibshirani & Friedman 2009, algorithm 17.1); columns with the
    same partners do so together. Each such step keeps the matrix positive definite.

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
    sd = np.sqrt(covariance.diagonal())
    blocks = list(_alike(unseen))
    for _ in range(MOST_SWEEPS):
        change = 0.0
        for columns, partners, others in blocks:
            shown = covariance[others]
            slopes = solve_definite(shown[:, others], shown[:, columns])
            implied = shown[:, partners].T @ slopes
            here = np.ix_(partners, columns)
            moved = np.abs(implied - covariance[here]) / np.multiply.outer(
                sd[partners], sd[columns]
            )
            change = max(change, float(moved.max()))
            covariance[here] = implied
            covariance[here[::-1]] = implied
        if change < SETTLED:
            break
    return covariance


def _alike(unseen: Bools) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Columns with the same unseen partners, these partners, and all other columns."""
    kinds, kind_of_column = distinct_patterns(unseen)
    for kind, partners in enumerate(kinds):
        if partners.any():
            columns = kind_of_column == kind
            others = ~(columns | partners)
            yield np.flatnonzero(columns), np.flatnonzero(partners), np.flatnonzero(others)


def undetermined(unseen: Bools, names: Sequence[str], prior_rows: float) -> tuple[str, ...]:
    """A sentence on the pairs of columns that no row shows together, if there are any.

    Parameters
    ----------
    unseen : ndarray of shape (p, p), bool
    names : sequence of str
        Of the p columns.
    prior_rows : float
        Pseudo-rows of the ridge prior of the fit.
    """
    pairs = np.argwhere(np.triu(unseen))
    if not len(pairs):
        return ()
    i, j = pairs[0]
    rest = len(pairs) - 1
    others = f" (and {rest} other {'pairs' if rest > 1 else 'pair'})" if rest else ""
    taken = "the model takes them to be independent given all others"
    return (
        f"'{names[i]}' and '{names[j]}'{others} are never observed together, so the data cannot "
        f"determine how they are related; {'the prior decides' if prior_rows else taken}.",
    )
