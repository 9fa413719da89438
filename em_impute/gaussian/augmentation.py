"""Data augmentation: draws of the mean and the covariance from their posterior.

Two steps alternate (Tanner & Wong 1987; Schafer 1997, section 5.4). The imputation step draws the
missing cells given the parameters, the posterior step the parameters given the completed rows. Of
these only their moments are needed, so the first works on the weighted rows of a summary, and a
sweep costs about as much as an E-step, whatever the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import lapack

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.e_step import Part, WeightedRows
from em_impute.gaussian.linalg import cholesky_factor, inverse_and_log_det
from em_impute.gaussian.parameters import Parameters
from em_impute.gaussian.threads import one_blas_thread


@dataclass(frozen=True)
class Prior:
    """What is known of the covariance before: an inverse Wishart, times ``|Sigma|^(-(p+1)/2)``.

    Attributes
    ----------
    rows : float
        Degrees of freedom, as rows that were seen before; 0 for Jeffreys' prior.
    scatter : ndarray of shape (p, p) or None
        Their scatter in the units of the columns; None for 0.
    """

    rows: float = 0.0
    scatter: Floats | None = None

    @classmethod
    def ridge(cls, rows: float, p: int) -> Self:
        """That of the fit: rows of independent columns with variance 1."""
        return cls(rows, rows * np.eye(p))


def augment(
    rows: WeightedRows, start: Parameters, prior: Prior, seeds: Sequence[int]
) -> Iterator[Parameters]:
    """Yield the parameters after each sweep of one chain, without end.

    Parameters
    ----------
    rows : WeightedRows
    start : tuple of ndarray
        Mean (p,) and covariance (p, p).
    prior : Prior
    seeds : sequence of int
        What the draws depend on, besides the rows and the number of their parts.

    Raises
    ------
    ValueError
        If rows and prior together are too few for the posterior to be one.
    """
    p = len(start[0])
    if not rows.n - 1 + prior.rows > p - 1:
        raise ValueError(
            f"{rows.n:.10g} rows do not determine the spread of {p} columns, so that there is no "
            "posterior to draw from. Use a prior (prior_rows), or fewer columns."
        )
    sequence = np.random.SeedSequence(list(seeds)).spawn(len(rows.parts) + 1)
    random, *randoms = map(np.random.default_rng, sequence)
    of_part = dict(zip(map(id, rows.parts), randoms, strict=True))
    observed, at = _Observed.of(rows), start
    while True:
        with one_blas_thread():
            total, cross = _impute(rows, observed, at, of_part)
            at = _posterior(rows.n, total, cross, at[0], prior, random)
        yield at


@dataclass(frozen=True)
class _Observed:
    """Sums over the observed cells, of which those about any mean follow.

    Attributes
    ----------
    total : ndarray of shape (p,)
    cross : ndarray of shape (p, p)
        Of products, where both are observed.
    beside : ndarray of shape (p, p)
        Of column j over the rows that show column k.
    pairs : ndarray of shape (p, p)
        How many rows show both.
    """

    total: Floats
    cross: Floats
    beside: Floats
    pairs: Floats

    @classmethod
    def of(cls, rows: WeightedRows) -> Self:
        """The sums over some rows."""

        def summed(part: Part) -> tuple[Floats, Floats, Floats]:
            sums = part.rows * part.weights[:, None]
            shown = np.repeat(part.patterns, np.diff(part.starts), axis=0).astype(np.float64)
            return sums.sum(axis=0), part.rows.T @ part.rows, sums.T @ shown

        total, cross, beside = (
            np.sum(sums, axis=0) for sums in zip(*rows.map(summed), strict=True)
        )
        return cls(total, cross, beside, rows.pairs)

    def about(self, mean: Floats) -> tuple[Floats, Floats]:
        """Their sum and the sum of their products, about a mean."""
        shift = self.beside * mean
        cross = self.cross - shift - shift.T + self.pairs * np.multiply.outer(mean, mean)
        return self.total - self.pairs.diagonal() * mean, cross


def _impute(
    rows: WeightedRows,
    observed: _Observed,
    at: Parameters,
    of_part: Mapping[int, np.random.Generator],
) -> tuple[Floats, Floats]:
    """Sums of the completed rows about the mean, and of their products: the imputation step.

    What the observed cells bring is known from sweep to sweep; only the drawn ones are gone
    through. Each part of the rows, by its `id`, has a generator of its own, so that threads share
    none.
    """
    from em_impute.gaussian import kernels

    mean, covariance = at
    precision, _ = inverse_and_log_det(covariance)

    def draw(part: Part) -> tuple[Floats, Floats]:
        total, cross = np.zeros_like(mean), np.zeros_like(covariance)
        definite = kernels.draw_missing(
            part.rows, part.weights, part.patterns, part.counts, part.starts,
            mean, precision, of_part[id(part)], total, cross,
        )  # fmt: skip
        if not definite:
            raise np.linalg.LinAlgError("A block of the precision is not positive definite.")
        return total, cross + cross.T

    totals, crosses = zip(observed.about(mean), *rows.map(draw), strict=True)
    return np.sum(totals, axis=0), np.sum(crosses, axis=0)


def _posterior(
    n: float, total: Floats, cross: Floats, mean: Floats, prior: Prior, random: np.random.Generator
) -> Parameters:
    """Parameters given completed rows: the posterior step.

    ``Sigma ~ W^-1(n - 1 + nu, S + S_0)`` and ``mu ~ N(mean of the rows, Sigma / n)``.
    """
    shift = total / n
    scatter = cross - n * np.multiply.outer(shift, shift)
    if prior.scatter is not None:
        scatter = scatter + prior.scatter
    root = inverse_wishart_root(n - 1 + prior.rows, (scatter + scatter.T) / 2.0, random)
    covariance = root @ root.T
    drawn = mean + shift + root @ random.standard_normal(len(mean)) / math.sqrt(n)
    return drawn, (covariance + covariance.T) / 2.0


def inverse_wishart_root(df: float, scatter: Floats, random: np.random.Generator) -> Floats:
    """A root ``R R^T`` of a draw from the inverse Wishart distribution (Bartlett 1933).

    Parameters
    ----------
    df : float
        Above p - 1.
    scatter : ndarray of shape (p, p)
    random : Generator
    """
    p = len(scatter)
    lower = np.tril(random.standard_normal((p, p)), -1)
    lower[np.diag_indices(p)] = np.sqrt(random.chisquare(df - np.arange(p)))
    # With S = L L^T and the Bartlett factor A, Sigma^-1 = L^-T A A^T L^-1.
    inverse, _ = lapack.dtrtri(lower, lower=1)
    root: Floats = cholesky_factor(scatter) @ inverse.T
    return root
