"""Mixtures of normals for single cells, against integrals over a grid and one normal's forms."""

from __future__ import annotations

import numpy as np
import pytest

from em_impute.gaussian.families.mixed import Part, mixed_crps, mixed_moments
from em_impute.gaussian.truncated import truncated_crps, truncated_probability


def normals(n: int = 12, k: int = 3, seed: int = 0) -> tuple[np.ndarray, list[Part]]:
    """Cells, and for each of them k normals with weights; one of them is narrow."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k), n).T
    parts = [(w, 3 * rng.normal(size=n), s * rng.uniform(0.5, 2, n))
             for w, s in zip(weights, (1.0, 0.1, 0.6), strict=True)]  # fmt: skip
    return 2 * rng.normal(size=n), parts


def test_moments_are_those_of_the_mixture() -> None:
    _, parts = normals()
    mean, sd = mixed_moments(parts)
    second = sum(w * (s**2 + m**2) for w, m, s in parts)
    np.testing.assert_allclose(mean, sum(w * m for w, m, _ in parts))
    np.testing.assert_allclose(sd, np.sqrt(second - mean**2))
    w, m, s = (np.array([0.3, 0.7]), np.array([0.1, 0.3]), np.array([0.7, 1.1]))
    alone = mixed_moments([(np.ones(2), m, s)])
    assert np.array_equal(alone, [m, s])
    same = mixed_moments([(w, m, np.zeros(2)), (1 - w, m, np.zeros(2))])
    assert np.array_equal(same, [m, np.zeros(2)])


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-1.0, np.inf), (-np.inf, 2.0), (-2.0, 2.5)])
def test_the_score_is_the_integral_of_squares(bounds: tuple[float, float]) -> None:
    x, parts = normals()
    grid = np.linspace(-25, 25, 200_001)
    F = np.zeros((len(x), len(grid)))
    for w, m, s in parts:
        F += w[:, None] * truncated_probability(grid, m[:, None], s[:, None], *bounds)
    expected = np.trapezoid((F - (grid >= x[:, None])) ** 2, grid, axis=1)
    np.testing.assert_allclose(mixed_crps(x, parts, *bounds), expected, rtol=2e-3, atol=3e-4)


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-1.0, 2.0)])
def test_normals_that_are_alike_score_as_one(bounds: tuple[float, float]) -> None:
    x, [(w, m, s), *_] = normals()
    found = mixed_crps(x, [(w, m, s), (1 - w, m, s)], *bounds)
    np.testing.assert_allclose(found, truncated_crps(x, m, s, *bounds), rtol=1e-6, atol=1e-9)


def test_cells_that_are_certain_score_their_distance() -> None:
    x, m = np.array([1.0, 2.0]), np.array([1.5, 2.0])
    certain = [(np.array([0.4, 1.0]), m, np.zeros(2)), (np.array([0.6, 0.0]), m, np.zeros(2))]
    np.testing.assert_allclose(mixed_crps(x, certain, -np.inf, np.inf), [0.5, 0.0], atol=1e-12)
    half, none = np.full(1, 0.5), np.zeros(1)
    apart = [(half, none, none), (half, np.ones(1), none)]
    # E|X - 0.5| = 0.5, E|X - X'| = 0.5.
    np.testing.assert_allclose(mixed_crps(np.array([0.5]), apart, -np.inf, np.inf), [0.25])
