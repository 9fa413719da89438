"""The truncated normal: against extended precision and SciPy, and inside its bounds everywhere."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, stats

from em_impute.gaussian.truncated import (
    truncated_crps,
    truncated_mean,
    truncated_moments,
    truncated_probability,
    truncated_quantile,
)

INF = float("inf")
BOUNDS = [(0.0, INF), (-INF, 0.0), (0.0, 1.0), (-1.0, 2.0), (0.0, 1e-3), (-8.0, 30.0)]


def in_extended_precision(mean: float, sd: float, low: float, high: float) -> tuple[float, float]:
    """Mean and sd of the truncated normal from the textbook's formulas, in 200 digits."""
    with mpmath.workdps(200):
        a, b = ((mpmath.mpf(end) - mean) / sd for end in (low, high))
        mass = (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2
        density = [mpmath.npdf(end) for end in (a, b)]
        rise = [0 if mpmath.isinf(end) else end * p for end, p in zip((a, b), density, strict=True)]
        centre = (density[0] - density[1]) / mass
        variance = 1 + (rise[0] - rise[1]) / mass - centre**2
        return float(mean + sd * centre), float(sd * mpmath.sqrt(variance))


def truncated_sd(mean: ArrayLike, sd: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """Standard deviation of a normal between bounds."""
    return truncated_moments(lambda x: x, mean, sd, low, high)[1]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("mean", [-40.0, -10.0, -3.0, -0.1, 0.0, 0.7, 5.0, 12.0])
def test_mean_and_sd_in_extended_precision(mean: float, bounds: tuple[float, float]) -> None:
    for sd in (0.5, 1.0, 3.0):
        expected, spread = in_extended_precision(mean, sd, *bounds)
        [found] = truncated_mean([mean], [sd], *bounds)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)
        assert truncated_sd([mean], [sd], *bounds)[0] == pytest.approx(spread, rel=1e-12)


def test_mean_a_thousand_sd_outside() -> None:
    """There the tail is exponential, with the rate that is the distance in sd."""
    for distance in (1e3, 1e6, 1e12):
        [mean] = truncated_mean([-distance], [1.0], 0.0, INF)
        assert mean == pytest.approx(1 / distance, rel=2 / distance**2 + 1e-12)


def test_without_bounds_nothing_changes() -> None:
    mean, sd = np.array([-3.0, 0.0, 1e6]), np.array([2.0, 1.0, 1e3])
    np.testing.assert_allclose(truncated_mean(mean, sd, -INF, INF), mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(truncated_sd(mean, sd, -INF, INF), sd, rtol=1e-12)


@pytest.mark.parametrize("sd", [0.1, 1.0, 2.0, 4.0])
def test_moments_of_the_lognormal(sd: float) -> None:
    means, spreads = truncated_moments(np.exp, [0.3], [sd])
    expected = np.exp(0.3 + sd**2 / 2)
    assert means[0] == pytest.approx(expected, rel=1e-12)
    if sd <= 2:
        assert spreads[0] == pytest.approx(expected * np.sqrt(np.expm1(sd**2)), rel=1e-9)


# Each distance of the mean from the bound next to it, on both sides; then bounds around the mean.
GRID = [
    *[(-distance, 0.0, INF) for distance in range(11)],
    *[(distance, -INF, 0.0) for distance in range(11)],
    *[(-distance, 0.0, 0.5) for distance in range(11)],
    *[(distance, -1.0, 0.0) for distance in range(0, 11, 2)],
    (0.0, -1.0, 2.0),
]


@pytest.mark.parametrize(("mean", "low", "high"), GRID)
def test_draws_have_the_distribution(mean: float, low: float, high: float) -> None:
    """Kolmogorov-Smirnov, to 10 sd outside: a true one fails once in a thousand seeds."""
    sd = 2.5
    u = np.random.default_rng(6).random(5_000)
    draws = truncated_quantile(u, np.full(len(u), mean * sd), np.full(len(u), sd), low, high)
    reference = stats.truncnorm((low - mean * sd) / sd, (high - mean * sd) / sd, mean * sd, sd)
    assert stats.kstest(draws, reference.cdf).pvalue > 0.001
    assert ((draws >= low) & (draws <= high)).all()


ends = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([-INF, INF, 0.0]))


@given(ends, ends, st.floats(-1e8, 1e8), st.floats(0, 1e4), st.floats(0, 1, exclude_min=True))
def test_never_outside_never_infinite(
    one: float, other: float, mean: float, sd: float, u: float
) -> None:
    low, high = min(one, other), max(one, other)
    if (low, high) in [(INF, INF), (-INF, -INF)]:
        return
    u = min(u, 1 - 2.0**-53)
    for value in (
        truncated_mean([mean], [sd], low, high)[0],
        truncated_quantile([u], [mean], [sd], low, high)[0],
    ):
        assert np.isfinite(value)
        assert low <= value <= high
    assert 0 <= truncated_sd([mean], [sd], low, high)[0] <= sd * (1 + 1e-9) + 1e-15 * abs(mean)


def test_a_row_does_not_depend_on_its_company() -> None:
    rng = np.random.default_rng(2)
    mean, sd, u = rng.normal(0, 5, 1001), rng.gamma(2, size=1001), rng.random(1001)
    whole = truncated_mean(mean, sd, 0.0, 4.0), truncated_quantile(u, mean, sd, 0.0, 4.0)
    alone = [
        (truncated_mean([m], [s], 0.0, 4.0)[0], truncated_quantile([v], [m], [s], 0.0, 4.0)[0])
        for m, s, v in zip(mean, sd, u, strict=True)
    ]
    np.testing.assert_array_equal(np.transpose(whole), alone)


def score_in_extended_precision(
    x: float, mean: float, sd: float, low: float, high: float
) -> tuple[float, float]:
    """Probability below `x`, and the score of it, from their formulas in 300 digits."""
    with mpmath.workdps(300):
        a, b, z = ((mpmath.mpf(end) - mean) / sd for end in (low, high, min(max(x, low), high)))
        mass = (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2
        below = (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(z / mpmath.sqrt(2))) / 2 / mass
        pairs = (mpmath.erfc(a) - mpmath.erfc(b)) / 2 / mass**2 / mpmath.sqrt(mpmath.pi)
        score = sd * (z * (2 * below - 1) + 2 * mpmath.npdf(z) / mass - pairs)
        return float(below), float(score) + abs(x - min(max(x, low), high))


@pytest.mark.parametrize("bounds", [(-INF, INF), *BOUNDS], ids=str)
@pytest.mark.parametrize("mean", [-30.0, -10.0, -3.0, 0.0, 0.7, 12.0])
def test_probability_and_score_in_extended_precision(
    mean: float, bounds: tuple[float, float]
) -> None:
    for sd, x in ((1.0, 0.4), (3.0, 0.0005), (2.0, 5.0), (2.0, -2.5)):
        expected, score = score_in_extended_precision(x, mean, sd, *bounds)
        [probability] = truncated_probability([x], [mean], [sd], *bounds)
        [crps] = truncated_crps([x], [mean], [sd], *bounds)
        assert probability == pytest.approx(expected, abs=1e-10)
        assert crps == pytest.approx(score, rel=1e-7)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("x", [-2.0, 0.0004, 0.6, 3.0])
def test_score_is_its_integral(x: float, bounds: tuple[float, float]) -> None:
    """Of ``F^2`` below the cell and ``(1 - F)^2`` above it."""
    mean, sd = 0.3, 1.5
    a, b = ((end - mean) / sd for end in bounds)
    F = stats.truncnorm(a, b, loc=mean, scale=sd).cdf
    low, high = max(bounds[0], mean - 10 * sd), min(bounds[1], mean + 10 * sd)
    inside = min(max(x, low), high)
    score = integrate.quad(lambda t: F(t) ** 2, low, inside)[0]
    score += integrate.quad(lambda t: (1 - F(t)) ** 2, inside, high)[0]
    [crps] = truncated_crps([x], [mean], [sd], *bounds)
    assert crps == pytest.approx(score + abs(x - inside), rel=1e-6)


def test_quantiles_and_probabilities_are_inverse() -> None:
    u = np.linspace(0.01, 0.99, 25)
    for mean in (-50.0, -2.0, 0.5, 9.0):
        x = truncated_quantile(u, np.full(25, mean), np.ones(25), 0.0, 2.0)
        back = truncated_probability(x, np.full(25, mean), np.ones(25), 0.0, 2.0)
        np.testing.assert_allclose(back, u, rtol=1e-9)


def test_forecast_without_spread_is_a_step_and_an_absolute_error() -> None:
    x, mean, sd = np.array([0.0, 1.0, 3.0, 9.0]), np.full(4, 1.0), np.zeros(4)
    np.testing.assert_array_equal(truncated_probability(x, mean, sd, 0.0, 5.0), [0, 0.5, 1, 1])
    np.testing.assert_array_equal(truncated_crps(x, mean, sd, 0.0, 5.0), [1, 0, 2, 8])


@pytest.mark.parametrize("mean", [-1e300, -1e9, 1e9, 1e300])
def test_bounds_at_any_distance_give_finite_scores(mean: float) -> None:
    x = np.array([0.0, 0.3, 1.0, 7.0])
    crps = truncated_crps(x, np.full(4, mean), np.ones(4), 0.0, 1.0)
    expected = np.abs(x - (0.0 if mean < 0 else 1.0))
    np.testing.assert_allclose(crps, expected, atol=1e-8)
    assert np.isfinite(truncated_probability(x, np.full(4, mean), np.ones(4), 0.0, 1.0)).all()
