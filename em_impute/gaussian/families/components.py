"""The parameters of a mixture: weights, means and covariances of four kinds, and their M-step.

Of the components' covariances ``Sigma_g`` scikit-learn's names say what they have in common:
`full` nothing, `tied` all; `diag` ones are diagonal, `spherical` ones multiples of the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints

Kind = Literal["full", "tied", "diag", "spherical"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A component has collapsed where its covariance leaves less than this share of a column's variance
# unexplained by other columns, or of the table's variance at all, or no more than this weight.
DEPENDENT = 1e-10
POINT = 1e-14
EMPTY = 1e-10


@dataclass(frozen=True, eq=False)
class Moments:
    """What the E-step expects of the completed rows, by component, about its mean.

    Attributes
    ----------
    masses : ndarray of shape (k,)
        Sums of responsibilities.
    totals : ndarray of shape (k, p)
        Expected sums of ``x - mu``.
    crosses : ndarray of shape (k, p, p) or (k, 1, p)
        Expected sums of ``(x - mu)(x - mu)^T``, or their diagonals.
    loglik : float
        Of the standardised rows; NaN where a covariance is not positive definite.
    """

    masses: Floats
    totals: Floats
    crosses: Floats
    loglik: float


@dataclass(frozen=True, eq=False)
class Components:
    """Weights, means and covariances.

    Attributes
    ----------
    kind : {"full", "tied", "diag", "spherical"}
    weights : ndarray of shape (k,)
    means : ndarray of shape (k, p)
    covariances : ndarray of shape (k, p, p) or (k, 1, p)
        Matrices where `kind` is full or tied, else their diagonals.
    """

    kind: Kind
    weights: Floats
    means: Floats
    covariances: Floats

    @property
    def log_weights(self) -> Floats:
        """Logarithms of the weights."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @property
    def distinct(self) -> Floats:
        """The covariances that differ: one where they are tied."""
        return self.covariances[:1] if self.kind == "tied" else self.covariances

    @property
    def matrices(self) -> Floats:
        """The covariances (k, p, p) as matrices."""
        p = self.means.shape[1]
        if self.covariances.shape[1] == p:
            return self.covariances
        return np.swapaxes(self.covariances, 1, 2) * np.eye(p)

    @property
    def n_parameters(self) -> int:
        """How many numbers are free."""
        k, p = self.means.shape
        of_each: int = {"diag": p, "spherical": 1}.get(self.kind, p * (p + 1) // 2)
        return int(k - 1 + k * p) + len(self.distinct) * of_each

    def collapsed(self) -> Ints:
        """The components that have lost their rows or, in some direction, their spread."""
        left = [unexplained(covariance) for covariance in self.covariances]
        spread = np.array([variances.min() for variances, _ in left]) > POINT
        apart = np.array([shares.min() for _, shares in left]) > DEPENDENT
        return np.flatnonzero(~(spread & apart & (self.weights > EMPTY)))

    def by_weight(self) -> Self:
        """The same, the largest first."""
        order = np.argsort(-self.weights, kind="stable")
        means, covariances = self.means[order], self.covariances[order]
        return type(self)(self.kind, self.weights[order], means, covariances)

    def position(self) -> Floats:
        """All as one vector without constraints: logarithms, means, factors of the covariances."""
        log_weights = self.log_weights
        if self.kind in ("full", "tied"):
            factors = np.linalg.cholesky(self.distinct)
            rows, columns = np.tril_indices(self.means.shape[1], -1)
            below = factors[:, rows, columns]
            logs = np.log(np.diagonal(factors, axis1=1, axis2=2))
            spread = [logs.ravel(), below.ravel()]
        else:
            variances = self.covariances[:, 0, : 1 if self.kind == "spherical" else None]
            spread = [np.log(variances).ravel()]
        return np.concatenate([log_weights - log_weights.mean(), self.means.ravel(), *spread])

    def at(self, position: Floats) -> Self:
        """Those of the same kind and size at another position."""
        k, p = self.means.shape
        d = len(self.distinct)
        log_weights, means, spread = np.split(position, [k, k + k * p])
        weights = np.exp(log_weights - log_weights.max())
        with np.errstate(over="ignore", invalid="ignore"):
            # A wild proposal overflows; the E-step then finds that it is no covariance.
            if self.kind in ("full", "tied"):
                factors = np.zeros((d, p, p))
                factors[:, range(p), range(p)] = np.exp(spread[: d * p]).reshape(d, p)
                rows, columns = np.tril_indices(p, -1)
                factors[:, rows, columns] = spread[d * p :].reshape(d, -1)
                covariances = factors @ np.swapaxes(factors, 1, 2)
            else:
                covariances = np.exp(spread).reshape(d, 1, -1)
        covariances = np.broadcast_to(covariances, self.covariances.shape)
        return type(self)(
            self.kind,
            weights / weights.sum(),
            means.reshape(k, p),
            np.ascontiguousarray(covariances),
        )

    def penalty(self, prior_rows: float) -> float:
        """What the prior takes off: ``nu/2 (log|Sigma| + tr Sigma^-1)`` of each covariance."""
        if not prior_rows:
            return 0.0
        traces = [np.sum(unit(one) * inverse(one)) for one in self.distinct]
        return prior_rows / 2 * float(log_dets(self.distinct).sum() + np.sum(traces))


def m_step(moments: Moments, at: Components, prior_rows: float) -> tuple[Components, float]:
    """The parameters under which the expected moments are most likely, and what that gains.

    With a prior of `prior_rows` pseudo-rows of independent columns at the table's variances (1
    here) a covariance is ``(S + nu I) / (n + nu)``, S being the scatter of its component.

    Parameters
    ----------
    moments : Moments
    at : Components
        Where they were expected.
    prior_rows : float
        ``nu``.

    Returns
    -------
    Components
    float
        How much the expected log-likelihood of the completed rows rises by this step: never
        negative, and 0 only at a stationary point of the likelihood.
    """
    masses = np.maximum(moments.masses, np.finfo(float).tiny)
    shifts = moments.totals / masses[:, None]
    about_old = _symmetric(moments.crosses)
    diagonal = about_old.shape[1] < about_old.shape[2]
    squares = shifts[:, None] ** 2 if diagonal else shifts[:, :, None] * shifts[:, None]
    scatters = about_old - masses[:, None, None] * squares
    covariances = pooled(at.kind, scatters, masses, prior_rows)
    weights = masses / masses.sum()
    image = Components(at.kind, weights, at.means + shifts, covariances)
    expected = pooled(at.kind, about_old, masses, prior_rows)[: len(at.distinct)]
    shares = masses if len(expected) == len(masses) else masses.sum(keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = log_dets(at.distinct) - log_dets(image.distinct) - shifts.shape[1]
        divergence += [
            np.sum(inverse(old) * new) for old, new in zip(at.distinct, expected, strict=True)
        ]
        gain = (shares + prior_rows) @ divergence / 2 + masses @ np.log(weights / at.weights)
    return image, float(gain)


def pooled(kind: Kind, scatters: Floats, masses: Floats, prior_rows: float) -> Floats:
    """Covariances (k, p, p) or (k, 1, p) of a kind, of the components' scatters.

    Parameters
    ----------
    kind : {"full", "tied", "diag", "spherical"}
    scatters : ndarray of shape (k, p, p) or (k, 1, p)
    masses : ndarray of shape (k,)
        What their rows weigh.
    prior_rows : float
    """
    shape = scatters.shape
    if kind == "tied":
        scatters, masses = scatters.sum(axis=0, keepdims=True), masses.sum(keepdims=True)
    covariances = scatters + prior_rows * unit(scatters[0])
    covariances /= (masses + prior_rows)[:, None, None]
    if kind == "spherical":
        covariances = covariances.mean(axis=2, keepdims=True)
    return np.ascontiguousarray(np.broadcast_to(covariances, shape))


def unit(covariance: Floats) -> Floats:
    """The identity, as a matrix or a diagonal (1, p) like `covariance`."""
    p = covariance.shape[1]
    return np.eye(p) if len(covariance) == p else np.ones((1, p))


def inverse(covariance: Floats) -> Floats:
    """The inverse of a matrix, or of a diagonal (1, p)."""
    if len(covariance) < covariance.shape[1]:
        return 1.0 / covariance
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64)


def log_dets(covariances: Floats) -> Floats:
    """Log-determinants of matrices (k, p, p), or of diagonals (k, 1, p)."""
    if covariances.shape[1] < covariances.shape[2]:
        return np.array([np.log(one).sum() for one in covariances])
    return np.array([np.linalg.slogdet(one)[1] for one in covariances])


def unexplained(covariance: Floats) -> tuple[Floats, Floats]:
    """Each column's variance, and the share of it that the columns before it leave unexplained."""
    if len(covariance) < covariance.shape[1]:
        return covariance[0], np.ones(covariance.shape[1])
    variances = np.diagonal(covariance)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return variances, np.zeros(len(variances))
    return variances, np.diagonal(factor) ** 2 / variances


def _symmetric(crosses: Floats) -> Floats:
    """Matrices of which the lower triangles are at hand; diagonals stay as they are."""
    if crosses.shape[1] < crosses.shape[2]:
        return crosses
    lower = np.tril(crosses, -1)
    return lower + np.swapaxes(np.tril(crosses), 1, 2)
