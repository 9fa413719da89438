"""What EM estimates, as it moves: parameters, positions, points, and the scale of the columns.

In the loop a column has observed mean 0 and observed sd 1; `Standardisation` leads there and back.
A *position* is the parameters as one vector without constraints, in which any step is a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.linalg import cholesky_factor, correlation_of
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.observed import Observed
from em_impute.gaussian.patterns import PatternSummary, too_large
from em_impute.gaussian.table import listed

# Relative rounding error of a log-likelihood.
LOGLIK_ROUNDING = 1e-13

Parameters = tuple[Floats, Floats]
"""Mean (p,) and covariance (p, p)."""


@dataclass(frozen=True)
class Point:
    """Parameters, what the EM map makes of them, and how likely they are.

    Attributes
    ----------
    parameters : tuple of ndarray
    image : tuple of ndarray
        The parameters to which one step of EM leads from here.
    position : ndarray of shape (d,)
        `parameters` as an unconstrained vector.
    image_position : ndarray of shape (d,) or None
        `image` as an unconstrained vector; None where it is singular.
    loglik : float
        Observed-data log-likelihood.
    objective : float
        The same less the prior's penalty: what must not decrease.
    smallest_eigenvalue : float
        Of the correlation matrix.
    """

    parameters: Parameters
    image: Parameters
    position: Floats
    image_position: Floats | None
    loglik: float
    objective: float
    smallest_eigenvalue: float

    @property
    def rounding(self) -> float:
        """By how much the objective may fall without meaning it."""
        return LOGLIK_ROUNDING * (1.0 + abs(self.objective))


def position_if_definite(parameters: Parameters) -> Floats | None:
    """The position of these parameters: mean, and Cholesky factor with its diagonal in logs.

    None where the covariance has no factor.
    """
    mean, covariance = parameters
    try:
        lower = cholesky_factor(covariance)
    except np.linalg.LinAlgError:
        return None
    below = _below_diagonal(len(mean))
    return np.concatenate([mean, np.log(lower.diagonal()), lower.take(below)])


def parameters_at(position: Floats) -> Parameters:
    """The mean and covariance at a position."""
    p = (int(np.sqrt(9 + 8 * len(position))) - 3) // 2
    lower = np.zeros((p, p))
    lower.put(_below_diagonal(p), position[2 * p :])
    with np.errstate(over="ignore", invalid="ignore"):
        # A wild proposal overflows; the E-step then finds that it is no covariance.
        lower.flat[:: p + 1] = np.exp(position[p : 2 * p])
        return position[:p], lower @ lower.T


def largest_difference(one: Parameters, other: Parameters) -> float:
    """The largest difference of a mean in sds of `other`, or of a covariance in correlations."""
    sd = np.sqrt(other[1].diagonal())
    of_mean = np.abs((one[0] - other[0]) / sd)
    of_covariance = np.abs((one[1] - other[1]) / np.multiply.outer(sd, sd))
    return float(max(of_mean.max(), of_covariance.max()))


@lru_cache(maxsize=8)
def _below_diagonal(p: int) -> Ints:
    """Where a (p, p) matrix is below its diagonal, as flat indices."""
    return np.ravel_multi_index(np.tril_indices(p, -1), (p, p)).astype(np.int64)


@dataclass(frozen=True)
class Standardisation:
    """The columns of a summary: which vary, and what makes them observed mean 0 and sd 1.

    Attributes
    ----------
    names : tuple of str
    n_rows : int
    varying : ndarray of int64
        Indices of the columns that are not constant; only these are modelled.
    centre, scale : ndarray of shape (n_columns,)
        Observed mean and standard deviation of every column; 1 for the scale of a constant.
    """

    names: tuple[str, ...]
    n_rows: int
    varying: Ints
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, summary: PatternSummary | Observed) -> Self:
        """The columns of `summary`.

        Raises
        ------
        ValueError
            If there is no row, or a column has no observed cell or no finite variance.
        """
        if not summary.n_rows:
            raise ValueError("There are no rows to fit a model to.")
        if not summary.columns:
            raise ValueError("There are no columns to fit a model to.")
        empty = np.flatnonzero(summary.observed_counts == 0)
        if len(empty):
            raise ValueError(
                f"No cell is observed in {listed([summary.columns[j] for j in empty])}, so "
                "nothing can be estimated there. Leave these columns out."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            centre, scale = summary.observed_moments()
            infinite = np.flatnonzero(~np.isfinite(scale**2))
        if len(infinite):
            raise ValueError(too_large([summary.columns[j] for j in infinite]))
        return cls(
            summary.columns,
            summary.n_rows,
            np.flatnonzero(scale > 0),
            centre,
            np.where(scale > 0, scale, 1.0),
        )

    @property
    def varying_names(self) -> tuple[str, ...]:
        """Names of the columns that are modelled."""
        return tuple(self.names[j] for j in self.varying)

    @property
    def decisions(self) -> tuple[str, ...]:
        """A sentence on each column that was treated differently from the others."""
        constant = np.setdiff1d(np.arange(len(self.names)), self.varying)
        return tuple(
            f"Column '{self.names[j]}' is constant: its missing cells get that value, and it says "
            "nothing about the other columns."
            for j in constant
        )

    def standardise(self, model: GaussianModel) -> Parameters:
        """The parameters of `model` in the columns that vary."""
        v = self.varying
        if sorted(model.columns) != sorted(self.names):
            raise ValueError(
                f"The start has columns {list(model.columns)}, the data {list(self.names)}."
            )
        model = model.in_order_of(self.names)
        scale = self.scale[v]
        covariance = model.covariance[np.ix_(v, v)] / np.outer(scale, scale)
        return (model.mean[v] - self.centre[v]) / scale, covariance

    def model(self, parameters: Parameters) -> GaussianModel:
        """The model on the original scale."""
        v, scale = self.varying, self.scale[self.varying]
        mean, covariance = self.centre.copy(), np.zeros((len(self.names), len(self.names)))
        mean[v] += scale * parameters[0]
        covariance[np.ix_(v, v)] = np.outer(scale, scale) * parameters[1]
        return GaussianModel(mean, covariance, self.names)

    def dependent_columns(self, covariance: Floats) -> str:
        """Which columns make this covariance (nearly) singular, as a clause."""
        if self.n_rows <= len(self.varying):
            return f"{self.n_rows} rows do not determine the spread of {len(self.varying)} columns"
        direction = np.abs(np.linalg.eigh(correlation_of(covariance))[1][:, 0])
        order = np.argsort(-direction, kind="stable")
        involved = sorted(self.varying[order[direction[order] > 0.1 * direction.max()]])
        return (
            "the data leave no spread in a combination of "
            f"{listed([self.names[j] for j in involved])}"
        )
