"""Acceleration on linear maps, whose fixed points and rates are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from em_impute.gaussian.acceleration import METHODS, Anderson, Method, Plain, Squarem
from em_impute.gaussian.parameters import Point

Floats = NDArray[np.float64]

RATES = np.array([0.99, 0.7, 0.4, 0.1])
FIXED = np.array([1.0, -2.0, 3.0, 0.5])


def em_map(theta: Floats) -> Floats:
    """Contracts each coordinate towards `FIXED` at its own rate."""
    return FIXED + RATES * (theta - FIXED)


def proposed(method: Method, theta: Floats, image: Floats) -> Floats | None:
    """Where a method that sees ``image = G(theta)`` would go; None for the image."""
    none = np.zeros(0), np.zeros((0, 0))
    return method.propose(Point(none, none, theta, image, 0.0, 0.0, 1.0)).position


def visited(method: Method, evaluations: int, start: Floats | None = None) -> list[Floats]:
    """The points at which the map is evaluated."""
    points = [np.zeros(4) if start is None else start]
    for _ in range(evaluations - 1):
        proposal = proposed(method, points[-1], em_map(points[-1]))
        points.append(em_map(points[-1]) if proposal is None else proposal)
    return points


def evaluations_to(method: Method, tolerance: float) -> int:
    near = [np.abs(theta - FIXED).max() < tolerance for theta in visited(method, 3000)]
    return near.index(True)


def test_plain_is_the_iteration_itself() -> None:
    points = visited(Plain(), 5)
    np.testing.assert_array_equal(points[3], em_map(em_map(em_map(np.zeros(4)))))


def test_anderson_solves_a_linear_map_in_as_many_steps_as_it_has_rates() -> None:
    assert evaluations_to(Anderson(), 1e-9) <= 2 + len(RATES)


def test_squarem_needs_a_tenth_of_the_evaluations() -> None:
    assert 10 * evaluations_to(Squarem(), 1e-8) < evaluations_to(Plain(), 1e-8)


def test_a_cycle_of_squarem_is_scheme_s3() -> None:
    """Varadhan & Roland (2008): theta - 2 alpha r + alpha^2 v with alpha = -|r| / |v|, then G."""
    zero, one, leap, settled = visited(Squarem(), 4)
    r = one - zero
    v = em_map(one) - one - r
    alpha = -np.linalg.norm(r) / np.linalg.norm(v)
    np.testing.assert_array_equal(one, em_map(zero))
    np.testing.assert_allclose(leap, zero - 2 * alpha * r + alpha**2 * v, rtol=1e-12)
    np.testing.assert_array_equal(settled, em_map(leap))


def test_squarem_begins_a_new_cycle_after_a_restart() -> None:
    method = Squarem()
    zero = np.zeros(4)
    assert proposed(method, zero, em_map(zero)) is None
    method.restart()
    assert proposed(method, em_map(zero), em_map(em_map(zero))) is None
    assert proposed(method, em_map(em_map(zero)), em_map(em_map(em_map(zero)))) is not None


def test_squarem_does_not_step_short() -> None:
    """Where a step overshoots (negative rates) the leap would be shorter than plain EM's."""
    method = Squarem()
    assert proposed(method, np.zeros(2), np.ones(2)) is None
    assert proposed(method, np.ones(2), np.zeros(2)) is None


def test_squarem_stays_at_a_fixed_point() -> None:
    for theta in visited(Squarem(), 7, FIXED):
        np.testing.assert_allclose(theta, FIXED, rtol=1e-14)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_slowest_rate_is_learnt(name: str) -> None:
    method = METHODS[name]()
    assert np.isnan(method.rate())
    visited(method, 7 if name == "anderson" else 20 if name == "squarem" else 500)
    assert method.rate() == pytest.approx(RATES.max(), abs=1e-3)
