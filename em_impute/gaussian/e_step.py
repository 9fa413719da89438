"""The E-step: expected moments of the completed rows, over the weighted rows of a summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.linalg import (
    correlation_of,
    eigenvalues_of,
    inverse_and_log_det,
    well_conditioned,
)
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.threads import one_blas_thread, spread

# Patterns are worked on in parts of about this many numbers, which fit the cache.
PART_NUMBERS = 2**16


@dataclass(frozen=True)
class Part:
    """Some patterns and their rows.

    Attributes
    ----------
    patterns : ndarray of shape (s, p), bool
        True where observed.
    counts : ndarray of shape (s,)
        Rows that each pattern stands for, or the sum of their weights.
    starts : ndarray of shape (s + 1,), int64
        Where the weighted rows of each pattern begin; the first is where the part's begin.
    rows : ndarray of shape (n, p)
        Weighted rows ``z``, zero where missing.
    weights : ndarray of shape (n,)
        Their weights ``c``.
    """

    patterns: Bools
    counts: Floats
    starts: Ints
    rows: Floats
    weights: Floats


@dataclass(frozen=True)
class WeightedRows:
    """A summary as the E-step reads it: some columns of it, standardised, in parts.

    Attributes
    ----------
    n : float
        Rows with something observed, or the sum of their weights; the others say nothing about the
        parameters.
    n_cells : float
        Observed cells, likewise.
    log_jacobian : float
        What standardising added to the log-likelihood.
    pairs : ndarray of shape (p, p)
        Rows that show each two columns.
    parts : tuple of Part
    """

    n: float
    n_cells: float
    log_jacobian: float
    pairs: Floats
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, summary: PatternSummary, columns: Ints, centre: Floats, scale: Floats) -> Self:
        """The rows of some columns, standardised.

        Parameters
        ----------
        summary : PatternSummary
        columns : ndarray of shape (p,), int64
            Which of its columns.
        centre, scale : ndarray of shape (n_columns,)
            What becomes 0, and what becomes 1, in each column of the summary.
        """
        rows, weights, pattern_of_row = summary.weighted_rows(centre, scale)
        patterns = summary.patterns
        if len(columns) < summary.n_columns:
            rows, patterns = np.ascontiguousarray(rows[:, columns]), patterns[:, columns]
        starts = np.searchsorted(pattern_of_row, np.arange(len(patterns) + 1))
        counts = np.where(patterns.any(axis=1), summary.masses, 0.0)
        parts = tuple(
            Part(
                patterns[first:last],
                counts[first:last],
                starts[first : last + 1],
                rows[starts[first] : starts[last]],
                weights[starts[first] : starts[last]],
            )
            for first, last in _cuts(starts, max(1, PART_NUMBERS // max(1, rows.shape[1])))
        )
        pairs = reduce(np.add, spread(_pairs, parts, patterns.size))
        cells = pairs.diagonal()
        return cls(
            n=float(counts.sum()),
            n_cells=float(cells.sum()),
            log_jacobian=float(cells @ np.log(scale[columns])),
            pairs=pairs,
            parts=parts,
        )

    def map(self, function: Callable[[Part], Any]) -> list[Any]:
        """What `function` returns for the parts; on several cores."""
        return spread(function, self.parts, self.size)

    def total(self, function: Callable[[Part], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The sums over the parts of each number or array that `function` returns for one."""
        return added(self.map(function))

    @property
    def size(self) -> int:
        """How many numbers the rows have together."""
        return sum(part.rows.size for part in self.parts)

    @property
    def unseen(self) -> Bools:
        """Which two columns no row shows together, (p, p)."""
        unseen: Bools = self.pairs == 0
        return unseen

    def within(self, covariances: int, products: int) -> bool:
        """Whether there are at most so many covariances, and products of two over all patterns."""
        p = len(self.pairs)
        d = p * (p + 1) // 2
        return (
            d <= covariances and sum(len(part.patterns) for part in self.parts) * d * d <= products
        )

    def pair_means(self) -> Floats:
        """Mean product of each two columns over the rows that show both; 0 where none does."""
        (products,) = self.total(lambda part: (part.rows.T @ part.rows,))
        means: Floats = products / np.maximum(self.pairs, 1.0)
        return means


def added(found: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The sums of what stands in the same place, in the order in which it comes."""
    return tuple(reduce(add, each) for each in zip(*found, strict=True))


def _pairs(part: Part) -> Floats:
    shown = part.patterns.astype(np.float64)
    pairs: Floats = (shown * part.counts[:, None]).T @ shown
    return pairs


def _cuts(starts: Ints, n_rows: int) -> list[tuple[int, int]]:
    """First and last + 1 of runs of patterns that have about `n_rows` rows together."""
    ends = np.arange(n_rows, starts[-1] + n_rows, n_rows)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(starts, ends), [len(starts) - 1]]))
    inner = np.minimum(cuts, len(starts) - 1).tolist()
    return [(first, last) for first, last in pairwise(inner) if first < last]


@dataclass(frozen=True)
class ExpectedMoments:
    """What the E-step expects of the completed rows, about the mean it was given.

    Attributes
    ----------
    n : float
        Rows, or the sum of their weights.
    total : ndarray of shape (p,)
        Expected sum of ``x - mu``.
    cross : ndarray of shape (p, p)
        Expected sum of ``(x - mu)(x - mu)^T``.
    loglik : float
        Observed-data log-likelihood at the parameters, on the original scale.
    smallest_eigenvalue : float
        Of the correlation matrix of the covariance it was given.
    """

    n: float
    total: Floats
    cross: Floats
    loglik: float
    smallest_eigenvalue: float


def e_step(data: WeightedRows, mean: Floats, covariance: Floats) -> ExpectedMoments:
    """Expected moments of the completed rows, and the log-likelihood, at ``(mean, covariance)``.

    For a pattern with missing columns M and ``K = Sigma^-1`` the conditional covariance is
    ``C = K_MM^-1`` and the centred conditional mean ``-(x K)_M C`` (missing-block form). Where less
    is observed than missing, or Sigma is ill-conditioned, the same comes from ``Sigma_OO``
    (observed-block form). The log-likelihood is

        -1/2 [ n_obs log 2 pi + sum_s n_s log|Sigma_OO| + sum d_O^T Sigma_OO^-1 d_O ],  d = x - mu.

    Parameters
    ----------
    data : WeightedRows
    mean : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    # Importing the compiler takes a second, which whoever only reads tables need not wait for.
    from em_impute.gaussian import kernels

    with one_blas_thread():
        eigenvalues = eigenvalues_of(correlation_of(covariance))
        invertible = well_conditioned(eigenvalues)
        precision, log_det = inverse_and_log_det(covariance)

        def expect(part: Part) -> tuple[Floats, Floats, float]:
            X, cross = np.empty_like(part.rows), np.zeros_like(covariance)
            kernels.centre(part.rows, part.weights, mean, part.patterns, part.starts, X)
            product = X @ precision if invertible else X
            deviance = kernels.fill(
                X, part.patterns, part.counts, part.starts,
                covariance, precision, log_det, product, invertible, cross,
            )  # fmt: skip
            return part.weights @ X, X.T @ X + cross, deviance

        total, cross, deviance = data.total(expect)
    if math.isnan(deviance):
        raise np.linalg.LinAlgError("A block of the covariance is not positive definite.")
    deviance += data.n_cells * math.log(2 * math.pi)
    return ExpectedMoments(
        n=data.n,
        total=total,
        cross=cross,
        loglik=-0.5 * deviance - data.log_jacobian,
        smallest_eigenvalue=float(eigenvalues[0]),
    )
