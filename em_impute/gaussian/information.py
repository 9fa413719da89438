"""How much of the information about the parameters went missing with the cells.

At a maximum the Jacobian of the EM map is ``J = I - I_com^-1 I_obs``, with the information in the
completed and in the observed data (Dempster, Laird & Rubin 1977). Its largest eigenvalue is the
worst fraction of missing information, and EM's rate of convergence; its eigenvector is the
combination of parameters that the data determine worst (Schafer 1997, section 3.3; Fraley 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.parameters import Parameters

MAX_EVALUATIONS = 30
# The eigenvalue is known to the square of this, over the gap to the next one.
RESIDUAL = 3e-3
# After so many evaluations, an eigenvalue that is so many residuals below 1 is the largest of all.
LEAST_EVALUATIONS = 5
DECIDED = 4.0
# How far a saddle is looked at on both sides, in the same units as the next.
LOOK = 0.1
# Step of the finite differences, in complete-data standard errors times sqrt(n).
STEP = 1e-6
# What is below this share of the largest loading is left out of a combination, and all after five.
SMALLEST_LOADING = 0.1
MOST_LOADINGS = 5


@dataclass(frozen=True)
class MissingInformation:
    """The worst fraction of missing information, and where it is.

    Attributes
    ----------
    worst_fraction : float
        Between 0 (nothing is missing) and 1; above 1 at a saddle point; NaN where not known.
    worst_combination : tuple of (str, float)
        Parameters that the direction with that fraction loads on, and their loadings: means in
        standard deviations, covariances in correlation units, the largest 1.
    evaluations : int
        Evaluations of the EM map that finding it took.
    at_a_saddle : bool
        Whether EM, moved off the point, would go away from it.
    """

    worst_fraction: float
    worst_combination: tuple[tuple[str, float], ...] = ()
    evaluations: int = 0
    at_a_saddle: bool = False


def missing_information(
    em_map: Callable[[Parameters], Parameters],
    objective: Callable[[Parameters], float],
    point: Parameters,
    image: Parameters,
    prior_share: float,
    columns: Sequence[str],
    out_of_time: Callable[[], bool],
    closely: bool = True,
) -> MissingInformation:
    """Worst fraction of missing information at a fixed point of `em_map`.

    The power iteration on `J` (Fraley 1998), with all its iterates kept: in coordinates in which
    the complete-data information is the identity, `J` is symmetric, so that its largest eigenvalue
    in their span (Lanczos 1950) is there in a fraction of the steps. `J` times a vector is a
    difference of two values of the map.

    Parameters
    ----------
    em_map : callable
        From parameters to parameters.
    objective : callable
        What the map climbs, per row.
    point : tuple of ndarray
        Mean (p,) and covariance (p, p).
    image : tuple of ndarray
        What the map makes of it: the same, nearly.
    prior_share : float
        Pseudo-rows of the ridge prior per row.
    columns : sequence of str
        Names of the p columns.
    out_of_time : callable
        Asked before each evaluation.
    closely : bool
        Whether the fraction is asked for, or only on which side of 1 it is: whether the point is a
        maximum or a saddle. That takes a few evaluations where the fraction is not near 1.
    """
    space = _Whitened(point, prior_share)
    basis, residual = [space.any_direction()], np.inf
    images: list[Floats] = []
    while residual > RESIDUAL and len(images) < MAX_EVALUATIONS and not out_of_time():
        moved = em_map(space.move(point, STEP * basis[-1]))
        images.append(space.difference(moved, image) / STEP)
        value, vector, residual = _largest_eigenpair(np.array(basis), np.array(images))
        following = _orthogonal(images[-1], np.array(basis))
        # The value comes to the largest from below, and from a start that favours no direction.
        below = len(images) >= LEAST_EVALUATIONS and residual < (1.0 - value) / DECIDED
        decided = below or value > 1.0 + RESIDUAL
        if following is None or (decided and not closely):
            break
        basis.append(following)
    if not images:
        return MissingInformation(np.nan)
    # Differences of the map, between so near points, may be mostly rounding.
    saddle = value > 1.0 + RESIDUAL and _rises(objective, space, point, vector, value)
    return MissingInformation(
        max(0.0, value) if saddle else min(max(0.0, value), 1.0),
        _combination(space.direction(vector), point[1], columns),
        len(images),
        saddle,
    )


def _rises(
    objective: Callable[[Parameters], float],
    space: _Whitened,
    point: Parameters,
    vector: Floats,
    value: float,
) -> bool:
    """Whether the objective is convex along `vector`, by half of what the eigenvalue says."""
    try:
        sides = [objective(space.move(point, side * vector)) for side in (LOOK, -LOOK)]
    except np.linalg.LinAlgError:
        return False
    gain = sum(sides) / 2 - objective(point)
    return gain > (value - 1.0) * LOOK**2 / 4


class _Whitened:
    """Coordinates in which the complete-data information is a multiple of the identity.

    With ``Sigma = L L^T`` a move is ``(L a, w L B L^T)``; the information of n completed rows and
    ``nu`` pseudo-rows about it is ``n |a|^2 + (n + nu)/2 w^2 |B|^2``, which fixes `w`.
    """

    def __init__(self, at: Parameters, prior_share: float) -> None:
        self._factor = np.linalg.cholesky(at[1])
        self._weight = np.sqrt(2.0 / (1.0 + prior_share))

    def any_direction(self) -> Floats:
        """A unit vector that favours no parameter; always the same."""
        p = len(self._factor)
        rng = np.random.default_rng(0)
        a, B = rng.normal(size=p), rng.normal(size=(p, p))
        vector = np.concatenate([a, (B + B.T).ravel()])
        unit: Floats = vector / np.linalg.norm(vector)
        return unit

    def direction(self, vector: Floats) -> Parameters:
        """Changes of mean and covariance that `vector` (p + p^2,) stands for."""
        L, p = self._factor, len(self._factor)
        return L @ vector[:p], self._weight * L @ vector[p:].reshape(p, p) @ L.T

    def move(self, at: Parameters, vector: Floats) -> Parameters:
        """`at`, moved by `vector`."""
        of_mean, of_covariance = self.direction(vector)
        return at[0] + of_mean, at[1] + (of_covariance + of_covariance.T) / 2

    def difference(self, one: Parameters, other: Parameters) -> Floats:
        """The vector that leads from `other` to `one`."""
        a = solve_triangular(self._factor, one[0] - other[0], lower=True)
        half = solve_triangular(self._factor, one[1] - other[1], lower=True)
        B = solve_triangular(self._factor, half.T, lower=True) / self._weight
        return np.concatenate([a, B.ravel()])


def _largest_eigenpair(basis: Floats, images: Floats) -> tuple[float, Floats, float]:
    """Largest eigenvalue of `J` in the span of `basis` (k, d), its vector, and the residual."""
    projected = basis @ images.T
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    vector = vectors[:, -1] @ basis
    residual = vectors[:, -1] @ images - values[-1] * vector
    return float(values[-1]), vector, float(np.linalg.norm(residual))


def _orthogonal(vector: Floats, basis: Floats) -> Floats | None:
    """Unit vector in the direction of `vector` that is orthogonal to `basis`; None if it is not."""
    rest = vector
    for _ in range(2):
        rest = rest - (basis @ rest) @ basis
    length = float(np.linalg.norm(rest))
    return None if length < 100 * STEP else rest / length


def _combination(
    direction: Parameters, covariance: Floats, columns: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    sd = np.sqrt(np.diag(covariance))
    first, second = np.tril_indices(len(sd))
    of_covariance = (direction[1] / np.outer(sd, sd))[first, second]
    loadings = np.concatenate([direction[0] / sd, of_covariance])
    names = [f"mean of {name}" for name in columns] + [
        f"variance of {columns[i]}" if i == j else f"covariance of {columns[j]} and {columns[i]}"
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]
    order = np.argsort(-np.abs(loadings), kind="stable")[:MOST_LOADINGS]
    shares = loadings / loadings[order[0]]
    return tuple((names[i], float(shares[i])) for i in order if abs(shares[i]) >= SMALLEST_LOADING)
