"""Hidden cells in bins of similar predictions, against a slow plain version and other programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import scores_of
from scipy import stats

from em_impute.self_test.calibration import calibrate
from em_impute.self_test.scores import Forecasts

FREE = (-np.inf, np.inf)


def test_the_bins_are_deciles_of_the_predictions() -> None:
    rng = np.random.default_rng(3)
    mean = rng.normal(size=200)
    truth, sd = mean + rng.normal(size=200), np.full(200, 1.0)
    bins = calibrate(truth, stats.norm.cdf(truth, mean, sd), mean, sd, FREE)
    ranked = sorted(zip(mean, truth, strict=True))
    for k, found in enumerate(bins):
        own = ranked[20 * k : 20 * (k + 1)]
        assert found.cells == len(own) == 20
        assert found.predicted == pytest.approx(np.mean([m for m, _ in own]))
        assert found.observed == pytest.approx(np.mean([t for _, t in own]))
        assert found.within == sum(abs(t - m) <= stats.norm.ppf(0.95) for m, t in own)
        assert found.high - found.predicted == pytest.approx(stats.norm.ppf(0.95))
        assert found.low - found.predicted == pytest.approx(-stats.norm.ppf(0.95))
    assert len(bins) == 10


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 130), levels=st.integers(1, 5))
def test_no_bin_has_fewer_than_ten_cells(n: int, levels: int) -> None:
    rng = np.random.default_rng(n)
    mean = rng.integers(0, levels, n).astype(float)
    bins = calibrate(rng.normal(size=n), rng.random(n), mean, np.ones(n), FREE)
    assert all(found.cells >= 10 for found in bins)
    assert sum(found.cells for found in bins) == (n if n >= 10 else 0)
    assert len(bins) <= 10
    assert [b.predicted for b in bins] == sorted(b.predicted for b in bins)


def test_predictions_are_cut_at_the_bounds() -> None:
    mean, sd = np.linspace(-1, 1, 40), np.full(40, 0.7)
    cut = stats.truncnorm((0 - mean) / sd, (2 - mean) / sd, mean, sd)
    truth = cut.rvs(random_state=4)
    bins = calibrate(truth, cut.cdf(truth), mean, sd, (0.0, 2.0))
    for k, found in enumerate(bins):
        own = slice(10 * k, 10 * (k + 1))
        assert found.predicted == pytest.approx(cut.mean()[own].mean())
        assert found.low == pytest.approx(cut.ppf(0.05)[own].mean())
        assert found.high == pytest.approx(cut.ppf(0.95)[own].mean())


def test_intervals_that_are_too_narrow_are_told_from_right_ones() -> None:
    truth = np.random.default_rng(5).normal(size=2000)
    right, narrow = scores_of(truth), scores_of(truth, sd=0.4)
    assert not any(found.too_few_within for found in right.calibration)
    assert all(found.too_few_within for found in narrow.calibration)
    assert sum(b.within for b in right.calibration) == pytest.approx(1800, abs=60)


def test_cells_of_which_the_model_is_certain_are_in_no_bin() -> None:
    truth = np.random.default_rng(6).normal(size=30)
    sd = np.where(np.arange(30) < 15, 0.0, 1.0)
    found = scores_of(truth, forecasts=Forecasts(np.where(sd > 0, 0.0, truth), sd))
    assert [b.cells for b in found.calibration] == [15]
    assert found.calibration[0].observed == pytest.approx(truth[15:].mean())


def test_numbers_beyond_floating_point_have_no_bins() -> None:
    assert calibrate(np.full(20, 1e308), np.full(20, 0.5), np.zeros(20), np.ones(20), FREE) == ()
