"""The self-test's scores against other ways to compute them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from made_scores import OFF, judged, scores_of
from scipy import integrate, stats

from em_impute.self_test.scores import (
    Errors,
    Forecasts,
    LevelScores,
    score_levels,
)


def test_errors_are_those_of_pandas() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"truth": rng.gamma(2.0, size=300), "filled": rng.gamma(2.0, size=300)})
    scores = scores_of(frame.truth.to_numpy(), frame.filled.to_numpy(), mean=2.1, median=1.7)
    for errors, guess in (
        (scores.filled, frame.filled),
        (scores.by_mean, 2.1),
        (scores.by_median, 1.7),
    ):
        off = frame.truth - guess
        assert errors.rmse == pytest.approx((off**2).mean() ** 0.5)
        assert errors.mae == pytest.approx(off.abs().mean())
    assert scores.filled.rmse is not None
    assert scores.by_mean.rmse is not None
    assert scores.rmse_ratio == pytest.approx(scores.filled.rmse / scores.by_mean.rmse)


def test_error_of_the_ratio_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(1)
    several = [
        scores_of(filled + rng.normal(size=400), filled) for filled in rng.normal(size=(400, 400))
    ]
    logarithms = [math.log(scores.rmse_ratio or 0.0) for scores in several]
    errors = [scores.rmse_ratio_error or 0.0 for scores in several]
    assert np.mean(errors) == pytest.approx(np.std(logarithms), rel=0.15)


def test_crps_is_the_integral_over_the_distribution() -> None:
    truth, mean, sd = np.array([0.3, 4.0, -2.0]), np.array([0.0, 1.0, 2.0]), np.array([1, 2.0, 0.5])

    def integral(x: float, m: float, s: float) -> float:
        F = stats.norm(m, s).cdf
        below = integrate.quad(lambda t: F(t) ** 2, -30, x)[0]
        return float(below + integrate.quad(lambda t: (1 - F(t)) ** 2, x, 30)[0])

    expected = [integral(*cell) for cell in zip(truth, mean, sd, strict=True)]
    assert scores_of(truth, mean, sd).crps == pytest.approx(np.mean(expected), rel=1e-6)


def test_crps_of_a_normal_is_the_known_formula() -> None:
    """Gneiting & Raftery (2007), equation 21, and its mean at calibrated forecasts, sd/sqrt(pi)."""
    truth = np.random.default_rng(2).normal(size=200_000)
    phi, Phi = stats.norm.pdf(truth), stats.norm.cdf(truth)
    formula = truth * (2 * Phi - 1) + 2 * phi - 1 / math.sqrt(math.pi)
    crps = scores_of(truth).crps
    assert crps == pytest.approx(formula.mean())
    assert crps == pytest.approx(1 / math.sqrt(math.pi), rel=0.01)


def test_pit_and_its_distance_are_scipy_s() -> None:
    truth = np.random.default_rng(3).standard_t(3, size=1000)
    scores = scores_of(truth)
    pit = stats.norm.cdf(truth)
    assert scores.pit == tuple(np.histogram(pit, 10, (0, 1))[0])
    assert scores.pit_distance == pytest.approx(stats.kstest(pit, "uniform").statistic)


def test_intervals_are_the_central_ones() -> None:
    truth = np.random.default_rng(4).normal(scale=1.3, size=1000)
    held = [np.mean(np.abs(truth) <= stats.norm.ppf(0.5 + q / 2)) for q in (0.5, 0.8, 0.95)]
    assert scores_of(truth).coverage.shares == tuple(held)


@pytest.mark.parametrize("sd", [0.4, 1.0, 5.0])
def test_rounded_numbers_have_a_uniform_pit(sd: float) -> None:
    """Their distribution has steps; the PIT fills them, so that coarse numbers do not alarm."""
    rng = np.random.default_rng(5)
    mean = rng.uniform(0, 10, size=5000)
    truth = np.rint(rng.normal(mean, sd))
    exact = scores_of(truth, mean, sd)
    rounded = scores_of(truth, mean, sd, reach=0.5)
    assert stats.kstwo.sf(rounded.pit_distance, 5000) > 0.001
    assert rounded.coverage.at_95 == pytest.approx(0.95, abs=0.01)
    if sd < 1:
        assert stats.kstwo.sf(exact.pit_distance, 5000) < 0.001


def test_bounded_numbers_have_a_uniform_pit() -> None:
    rng = np.random.default_rng(6)
    mean, sd = rng.normal(0.5, 1, size=4000), np.full(4000, 1.0)
    a, b = -mean, 2 - mean
    truth = stats.truncnorm.rvs(a, b, loc=mean, random_state=rng)
    bounded = scores_of(truth, forecasts=Forecasts(mean, sd, 0.0, 2.0), **OFF)
    assert stats.kstwo.sf(bounded.pit_distance, 4000) > 0.001
    assert not judged(bounded).warnings
    unbounded = scores_of(truth, forecasts=Forecasts(mean, sd))
    assert judged(unbounded).misfits == ("x",)


def test_certain_cells_have_errors_and_no_spread() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    scores = scores_of(truth, truth, np.array([0.0, 0.0, 0.0, 1.0]))
    assert scores.filled == Errors(0.0, 0.0)
    assert (scores.cells, scores.spread_cells) == (4, 1)
    assert scores.coverage.shares == (1.0, 1.0, 1.0)
    certain = scores_of(truth, truth, 0.0)
    assert certain.pit_distance is None
    assert certain.coverage.shares == ()
    assert certain.crps == 0.0
    assert (
        judged(certain).sentence == "Error 100.0% lower than filling with the mean; 4 test cells."
    )


def test_constant_column_has_no_ratio() -> None:
    scores = scores_of(np.full(5, 7.0), 7.0, 0.0, mean=7.0)
    assert (scores.rmse_ratio, scores.rmse_ratio_error) == (None, None)
    assert judged(scores).rmse_ratio is None


@pytest.mark.parametrize("huge", [1e200, 1e307])
def test_huge_cells_give_numbers_or_none(huge: float) -> None:
    truth = huge * np.array([-1.0, 0.5, 0.2])
    scores = scores_of(truth, sd=huge)
    for number in (*dataclasses.astuple(scores.filled), scores.rmse_ratio, scores.crps):
        assert number is None or math.isfinite(number)
    assert scores.rmse_ratio == pytest.approx(1.0)


def test_levels_are_counted() -> None:
    truth, filled = np.array([0, 0, 1, 2, 1]), np.array([0, 1, 1, 2, 0])
    assert score_levels("sex", truth, filled, mode=1) == LevelScores("sex", 5, 3, 2, mended=2)


def test_several_normals_are_scored_as_the_mixture_that_they_are() -> None:
    """Cells between two heaps: one normal would find them spread too evenly, or too little."""
    rng, n = np.random.default_rng(8), 4000
    weights = np.tile([0.7, 0.3], (n, 1)).T
    parts = tuple((w, np.full(n, m), np.ones(n)) for w, m in zip(weights, (-4.0, 4.0), strict=True))
    truth = rng.normal(np.where(rng.random(n) < 0.7, -4.0, 4.0))
    mean, sd = np.full(n, -1.6), np.full(n, np.sqrt(1 + 0.21 * 64))
    found = scores_of(truth, forecasts=Forecasts(mean, sd, parts=parts))
    one = scores_of(truth, forecasts=Forecasts(mean, sd))
    assert found.pit_distance is not None
    assert found.pit_distance < 0.025 < 0.2 < (one.pit_distance or 0)
    np.testing.assert_allclose(found.coverage.shares, (0.5, 0.8, 0.95), atol=0.03)
    assert found.crps is not None
    assert found.crps < 0.95 * (one.crps or 0)
