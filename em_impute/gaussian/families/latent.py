"""What rows say of their scores, over several cores: a factor model's E-step, and posteriors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np

from em_impute.gaussian.arrays import Floats, to_read
from em_impute.gaussian.families.loadings import Loadings, Moments
from em_impute.gaussian.families.rows import Scaling
from em_impute.gaussian.threads import spread

# Scores and their precisions are held of so many rows at a time.
BLOCK = 256
# The cores share so many parts of a table at most, whose sums take so many numbers together.
PARTS = 16
SUMS = 2**25

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Posterior:
    """The scores of some rows given what these show.

    Attributes
    ----------
    mean : ndarray of shape (n, k)
    factors : ndarray of shape (n, k, k)
        Lower triangles ``L``: the precision of a row's scores is ``L L^T``.
    logliks : ndarray of shape (n,)
        Of the rows, on the original scale.
    """

    mean: Floats
    factors: Floats
    logliks: Floats


@dataclass(frozen=True, eq=False)
class WeightedTable:
    """Rows that are fitted.

    Attributes
    ----------
    X : ndarray of shape (n, p)
        Row behind row; NaN where missing.
    weights : ndarray of shape (n,)
        How often each row counts.
    scaling : Scaling
        How the columns are standardised wherever they are used.
    """

    X: Floats
    weights: Floats
    scaling: Scaling


def posterior(X: Floats, scaling: Scaling, at: Loadings) -> Posterior:
    """The scores of a few rows.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    scaling : Scaling
    at : Loadings
        Of the standardised columns.
    """
    # Importing the compiler takes a second, which whoever only reads tables need not wait for.
    from em_impute.gaussian.families import scores

    n, k = len(X), at.loadings.shape[1]
    found = Posterior(np.zeros((n, k)), np.zeros((n, k, k)), np.empty(n))
    scores.posteriors(
        to_read(X), scaling.centre, scaling.scale, at.mean, at.loadings, at.noise,
        found.mean, found.factors, found.logliks,
    )  # fmt: skip
    return found


def by_blocks(
    X: Floats, scaling: Scaling, at: Loadings, use: Callable[[slice, Posterior], Result]
) -> list[Result]:
    """What `use` returns for each block of rows, of where it is and its scores.

    Of no rows there is one block, which is empty.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    scaling : Scaling
    at : Loadings
    use : callable
    """
    blocks = [slice(first, first + BLOCK) for first in range(0, max(len(X), 1), BLOCK)]
    return spread(lambda block: use(block, posterior(X[block], scaling, at)), blocks, X.size)


def e_step(table: WeightedTable, at: Loadings) -> Moments:
    """The expected moments of all rows with something observed.

    Parameters
    ----------
    table : WeightedTable
    at : Loadings
        Of the standardised columns.
    """
    from em_impute.gaussian.families import scores

    X, scaling = to_read(table.X), table.scaling
    (n, p), k = X.shape, at.loadings.shape[1]
    q = (k + 1) * (k + 2) // 2

    def expect(part: slice) -> tuple[Floats, ...]:
        sums = np.zeros((p, q)), np.zeros((p, k + 1)), np.zeros(p), np.zeros(q)
        loglik = 0.0
        for first in range(part.start, part.stop, BLOCK):
            rows = slice(first, min(first + BLOCK, part.stop))
            found = posterior(X[rows], scaling, at)
            scores.add_moments(
                X[rows], table.weights[rows], scaling.centre, scaling.scale, at.mean,
                found.mean, found.factors, *sums,
            )  # fmt: skip
            loglik += float(table.weights[rows] @ found.logliks)
        return (*sums, np.array(loglik))

    parts = max(2, min(PARTS, SUMS // (p * q)))
    length = max(1, -(-n // parts))
    cuts = [slice(first, min(first + length, n)) for first in range(0, n, length)]
    crosses, products, squares, total, loglik = (
        reduce(np.add, kind) for kind in zip(*spread(expect, cuts, X.size), strict=True)
    )
    return Moments(_squared(crosses), products, squares, _squared(total), float(loglik))


def _squared(triangles: Floats) -> Floats:
    """Symmetric matrices (..., k, k) from their lower triangles, row behind row."""
    k = int((2 * triangles.shape[-1]) ** 0.5)
    rows, columns = np.tril_indices(k)
    matrices = np.empty((*triangles.shape[:-1], k, k))
    matrices[..., rows, columns] = matrices[..., columns, rows] = triangles
    return matrices
