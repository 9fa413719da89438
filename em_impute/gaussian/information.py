"""How much of the information about the parameters went missing with the cells.

At a maximum the Jacobian of the EM map is ``J = I - I_com^-1 I_obs``, with the information in the
completed and in the observed data (Dempster, Laird & Rubin 1977). Its largest eigenvalue is the
worst fraction of missing information, and EM's rate of convergence; its eigenvector is the
combination of parameters that the data determine worst (Schafer 1997, section 3.3; Fraley 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.parameters import Parameters
from em_impute.gaussian.triangle import triangle

MAX_EVALUATIONS = 30
# The eigenvalue is known to the square of this, over the gap to the next one.
RESIDUAL = 3e-3
# An eigenvalue that is so many residuals below 1 is the largest of all: a vector that belongs to 1
# and has grown to this length, the others having 1 together, would leave a larger residual.
DECIDED, SHOWN = 3.0, 0.38
# How far a saddle is looked at on both sides, in the same units as the next.
LOOK = 0.1
# Step of the finite differences, in complete-data standard errors times sqrt(n).
STEP = 1e-6
# What is below this share of the largest loading is left out of a combination, and all after five.
SMALLEST_LOADING = 0.1
MOST_LOADINGS = 5

Map = Callable[[Parameters], Parameters]


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


@dataclass(frozen=True)
class _Ritz:
    """The largest eigenvalue of `J` on the vectors that it was applied to, and how sure it is.

    Attributes
    ----------
    value : float
        At most the largest of all.
    vector : ndarray of shape (p + p^2,)
    residual : float
        Length of ``J vector - value vector``: so near to `value` is an eigenvalue.
    evaluations : int
        Vectors that `J` was applied to.
    """

    value: float
    vector: Floats
    residual: float
    evaluations: int

    @property
    def beyond_1(self) -> bool:
        """Whether the largest eigenvalue is above 1, beyond rounding."""
        return self.value > 1.0 + RESIDUAL

    def leaves_none_beyond_1(self, p: int) -> bool:
        """Whether none is 1 or more: it would have shown by now, of p columns.

        A start that favours no direction has about ``1 / sqrt(d)`` of each of d. While the others
        have eigenvalues between 0 and e, the vector that belongs to 1 has grown beside them, after
        k evaluations, by Chebyshev's polynomial ``T_(k-1)(2/e - 1)`` (Kuczynski & Wozniakowski
        1992), and is then seen in the value or in the residual.
        """
        edge = self.value + self.residual
        if not self.residual < (1.0 - self.value) / DECIDED:
            return False
        growth = np.cosh((self.evaluations - 1) * np.arccosh(2.0 / max(edge, RESIDUAL) - 1.0))
        return bool(growth > SHOWN * np.sqrt(p + p * (p + 1) / 2))


def missing_information(
    em_map: Map,
    objective: Callable[[Parameters], float],
    point: Parameters,
    image: Parameters,
    prior_share: float,
    columns: Sequence[str],
) -> MissingInformation:
    """Worst fraction of missing information at a fixed point of `em_map`.

    The power iteration on `J` (Fraley 1998), with all its iterates kept: in coordinates in which
    the complete-data information is the identity, `J` is symmetric, so that its largest eigenvalue
    in their span (Lanczos 1950) is there in a fraction of the steps. `J` times a vector is a
    difference of the map.

    Parameters
    ----------
    em_map : callable
        The EM map; takes and returns mean and covariance.
    objective : callable
        The log-likelihood per row, less the prior's penalty, at mean and covariance.
    point, image : tuple of ndarray
        Mean (p,) and covariance (p, p) at the fixed point, and what the map makes of them.
    prior_share : float
        Pseudo-rows of the ridge prior per row.
    columns : sequence of str
        Names of the p columns.
    """
    space = Whitened(point, prior_share)
    for found in _ritz_pairs(em_map, space, point, image, space.any_direction()):
        if found.residual <= RESIDUAL:
            break
    saddle = _is_saddle(found, objective, space, point)
    return MissingInformation(
        max(0.0, found.value) if saddle else min(max(0.0, found.value), 1.0),
        combination(space.direction(found.vector), point[1], columns),
        found.evaluations,
        saddle,
    )


def at_a_saddle(
    em_map: Map,
    objective: Callable[[Parameters], float],
    point: Parameters,
    image: Parameters,
    prior_share: float,
    out_of_time: Callable[[], bool],
) -> bool | None:
    """Whether a fixed point of `em_map` is a saddle: on which side of 1 the worst fraction is.

    That takes a few evaluations where the fraction is not near 1.

    Parameters
    ----------
    em_map, objective, point, image, prior_share
        As in `missing_information`.
    out_of_time : callable
        Asked before each evaluation but the first.

    Returns
    -------
    bool or None
        None where the time was over before it was certain.
    """
    space = Whitened(point, prior_share)
    for found in _ritz_pairs(em_map, space, point, image, space.every_direction()):
        if found.beyond_1 or found.leaves_none_beyond_1(len(point[0])):
            break
        if out_of_time():
            return None
    return _is_saddle(found, objective, space, point)


def _ritz_pairs(
    em_map: Map, space: Whitened, point: Parameters, image: Parameters, start: Floats
) -> Iterator[_Ritz]:
    """The largest eigenpair of `J` after each evaluation of the map, until there is nothing new."""
    basis: list[Floats] = []
    images: list[Floats] = []
    following: Floats | None = start
    while following is not None and len(images) < MAX_EVALUATIONS:
        basis.append(following)
        moved = em_map(space.move(point, STEP * following))
        images.append(space.difference(moved, image) / STEP)
        directions = np.array(basis)
        yield _Ritz(*_largest_eigenpair(directions, np.array(images)), len(images))
        following = _orthogonal(images[-1], directions)


def _is_saddle(
    found: _Ritz, objective: Callable[[Parameters], float], space: Whitened, point: Parameters
) -> bool:
    """Whether the objective is convex along the vector, by half of what the eigenvalue says."""
    # Differences of the map, between so near points, may be mostly rounding.
    if not found.beyond_1:
        return False
    try:
        sides = [objective(space.move(point, side * found.vector)) for side in (LOOK, -LOOK)]
    except np.linalg.LinAlgError:
        return False
    gain = sum(sides) / 2 - objective(point)
    return gain > (found.value - 1.0) * LOOK**2 / 4


class Whitened:
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

    def every_direction(self) -> Floats:
        """A unit vector with as much of each coordinate, the signs at random; always the same."""
        p = len(self._factor)
        signs = 2.0 * np.random.default_rng(0).integers(2, size=p + p * p) - 1.0
        lower = np.tril(signs[p:].reshape(p, p))
        vector = np.concatenate([signs[:p], (lower + np.tril(lower, -1).T).ravel()])
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

    def gradients(self, columns: Ints) -> Floats:
        """What the parameters of some columns change by along each coordinate, (q, p + p^2).

        In the order of `parameter_names`.
        """
        L, (row, column, _, _) = self._factor[columns], triangle(len(columns))
        of_means = np.hstack([L, np.zeros((len(L), L.shape[1] ** 2))])
        outer = L[row][:, :, None] * L[column][:, None, :]
        of_covariances = self._weight / 2.0 * (outer + np.swapaxes(outer, 1, 2))
        flat = of_covariances.reshape(len(row), -1)
        return np.vstack([of_means, np.hstack([np.zeros((len(row), L.shape[1])), flat])])

    def difference(self, one: Parameters, other: Parameters) -> Floats:
        """The vector that leads from `other` to `one`."""
        of_mean = (one[0] - other[0])[:, None]
        left, _ = lapack.dtrtrs(self._factor, np.hstack([of_mean, one[1] - other[1]]), lower=1)
        both, _ = lapack.dtrtrs(self._factor, left[:, 1:].T, lower=1)
        return np.concatenate([left[:, 0], both.ravel() / self._weight])


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


def combination(
    direction: Parameters, covariance: Floats, columns: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    """The parameters that a direction loads on most, and their loadings, the largest 1.

    Parameters
    ----------
    direction : tuple of ndarray
        Changes of mean (p,) and covariance (p, p).
    covariance : ndarray of shape (p, p)
        In whose units they are measured.
    columns : sequence of str
    """
    sd = np.sqrt(np.diag(covariance))
    first, second, _, _ = triangle(len(sd))
    of_covariance = (direction[1] / np.outer(sd, sd))[first, second]
    loadings = np.concatenate([direction[0] / sd, of_covariance])
    names = parameter_names(columns)
    order = np.argsort(-np.abs(loadings), kind="stable")[:MOST_LOADINGS]
    shares = loadings / loadings[order[0]]
    return tuple((names[i], float(shares[i])) for i in order if abs(shares[i]) >= SMALLEST_LOADING)


def parameter_names(columns: Sequence[str]) -> list[str]:
    """The names of the means, and of the covariances of the lower triangle, row after row."""
    first, second, _, _ = triangle(len(columns))
    return [f"mean of {name}" for name in columns] + [
        f"variance of {columns[i]}" if i == j else f"covariance of {columns[j]} and {columns[i]}"
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]


def in_words(found: Sequence[tuple[str, float]]) -> str:
    """A combination of parameters as a clause, with their loadings beside the first."""
    (first, _), *others = found
    return ", ".join([first, *(f"{name} ({loading:.2f})" for name, loading in others)])
