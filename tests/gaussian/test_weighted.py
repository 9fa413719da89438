"""Rows with weights: the summary, the fit and its file, against slow plain versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from holed_tables import factor_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian import PatternSummary, aleksic_mcar_test, fit_gaussian, little_mcar_test
from em_impute.gaussian.posterior import posterior_draws

Floats = NDArray[np.float64]


def plain_loglik(X: Floats, weights: Floats, mean: Floats, covariance: Floats) -> float:
    """``sum w log N(x_O; mu_O, Sigma_OO)``, row by row."""
    total = 0.0
    for x, w in zip(X, weights, strict=True):
        shown = np.flatnonzero(~np.isnan(x))
        d, block = x[shown] - mean[shown], covariance[np.ix_(shown, shown)]
        _, log_det = np.linalg.slogdet(block)
        distance = d @ np.linalg.solve(block, d)
        total -= 0.5 * w * (len(shown) * np.log(2 * np.pi) + log_det + distance)
    return total


def moments(summary: PatternSummary) -> list[Floats]:
    """What of a summary an estimate depends on: masses, means and scatters of the patterns."""
    p = summary.n_columns
    rows, weights, owner = summary.weighted_rows(np.zeros(p), np.ones(p))
    found = [summary.masses, np.nan_to_num(summary.means_of(np.arange(len(summary.patterns))))]
    for s in range(len(summary.patterns)):
        mine = owner == s
        found += [rows[mine].T @ rows[mine], weights[mine] @ rows[mine]]
    return found


def assert_same(one: PatternSummary, other: PatternSummary) -> None:
    np.testing.assert_array_equal(one.patterns, other.patterns)
    for ours, theirs in zip(moments(one), moments(other), strict=True):
        scale = max(1.0, float(np.max(np.abs(theirs), initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * scale)


@settings(deadline=None)
@given(tables())
def test_weights_of_one_change_nothing(X: Floats) -> None:
    summary = PatternSummary.from_array(X)
    assert_same(summary.weighted(1.0), summary)
    assert not summary.weighted(1.0).is_weighted


@settings(deadline=None)
@given(tables(), st.integers(2, 4))
def test_a_whole_weight_is_rows_repeated(X: Floats, times: int) -> None:
    weighted = PatternSummary.from_array(X).weighted(times)
    repeated = PatternSummary.from_array(np.repeat(X, times, axis=0))
    assert_same(weighted, repeated)
    np.testing.assert_array_equal(times * weighted.counts, repeated.counts)
    np.testing.assert_allclose(weighted.observed_mean, repeated.observed_mean, atol=1e-10)
    np.testing.assert_allclose(weighted.observed_sd, repeated.observed_sd, atol=1e-8)


@settings(deadline=None)
@given(tables(), st.data())
def test_many_summaries_together_are_their_sum(X: Floats, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(X)), max_size=5)))
    weight = st.floats(0.01, 10.0)
    parts = [
        PatternSummary.from_array(part).weighted(data.draw(weight)) for part in np.split(X, cuts)
    ]
    total = PatternSummary(parts[0].columns)
    for part in parts:
        total += part
    assert_same(PatternSummary.together(parts), total)


@pytest.fixture(scope="module")
def rows() -> tuple[Floats, Floats]:
    """Four parts of a table, and the weight of each row: that of its part."""
    X = factor_table(240, 4, 0.25, seed=3)
    X[5] = np.nan
    return X, np.repeat([0.25, 0.5, 1.0, 1.7], 60)


def weighted_summary(X: Floats, weights: Floats) -> PatternSummary:
    parts = [
        PatternSummary.from_array(X[i : i + 60]).weighted(weights[i]) for i in range(0, 240, 60)
    ]
    return PatternSummary.together(parts)


def test_the_fit_maximises_the_weighted_likelihood(rows: tuple[Floats, Floats]) -> None:
    """Its log-likelihood is that of the rows one by one, and no way leads up from it."""
    X, weights = rows
    result = fit_gaussian(weighted_summary(X, weights), tol=1e-9)
    mean, covariance = result.model.mean, result.model.covariance
    there = plain_loglik(X, weights, mean, covariance)
    np.testing.assert_allclose(result.loglik, there, rtol=1e-12)
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-3):
        for _ in range(10):
            step, spread = rng.normal(size=4), rng.normal(size=(4, 4))
            moved = covariance + size * (spread + spread.T) / 2
            assert plain_loglik(X, weights, mean + size * step, moved) < there


@pytest.fixture(scope="module")
def row_by_row(rows: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The estimates of 400 steps of EM, each row with its weight."""
    X, weights = rows
    mean, covariance = np.nanmean(X, axis=0), np.diag(np.nanvar(X, axis=0))
    for _ in range(400):
        total, cross = np.zeros(4), np.zeros((4, 4))
        for x, w in zip(X, weights, strict=True):
            o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
            if not len(o):
                continue
            slopes = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
            full, left = x.copy(), np.zeros((4, 4))
            full[m] = mean[m] + slopes @ (x[o] - mean[o])
            left[np.ix_(m, m)] = covariance[np.ix_(m, m)] - slopes @ covariance[np.ix_(o, m)]
            total += w * full
            cross += w * (np.outer(full, full) + left)
        n = weights[~np.isnan(X).all(axis=1)].sum()
        mean = total / n
        covariance = cross / n - np.outer(mean, mean)
    return mean, covariance


@pytest.mark.parametrize("acceleration", ["anderson", "none"])
def test_weighted_estimates_are_those_of_em_row_by_row(
    rows: tuple[Floats, Floats], row_by_row: tuple[Floats, Floats], acceleration: str
) -> None:
    mean, covariance = row_by_row
    fitted = fit_gaussian(weighted_summary(*rows), tol=1e-10, acceleration=acceleration)
    np.testing.assert_allclose(fitted.model.mean, mean, atol=1e-8)
    np.testing.assert_allclose(fitted.model.covariance, covariance, atol=1e-8)


def test_a_weighted_summary_comes_back_from_its_file(
    rows: tuple[Floats, Floats], tmp_path: Path
) -> None:
    summary = weighted_summary(*rows)
    summary.save(tmp_path / "summary.npz")
    again = PatternSummary.load(tmp_path / "summary.npz")
    for ours, theirs in zip(moments(again), moments(summary), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert again.is_weighted
    assert again.n_rows == summary.n_rows == 240
    with np.load(tmp_path / "summary.npz") as file:
        fields = dict(file)
    np.savez(tmp_path / "summary.npz", **{**fields, "masses": -fields["masses"]})
    with pytest.raises(ValueError, match="masses has one that is not above 0"):
        PatternSummary.load(tmp_path / "summary.npz")


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_is_above_zero(weight: float) -> None:
    with pytest.raises(ValueError, match="A weight is a number above 0, got"):
        PatternSummary.from_array(np.ones((2, 2))).weighted(weight)


def test_what_needs_a_number_of_rows_is_refused(rows: tuple[Floats, Floats]) -> None:
    result = fit_gaussian(weighted_summary(*rows))
    assert result.data is not None
    for what in (
        lambda: result.estimates(),
        lambda: little_mcar_test(result.data),
        lambda: aleksic_mcar_test(result.data),
        lambda: posterior_draws(result, 2, seed=1),
    ):
        with pytest.raises(ValueError, match=r"The rows have weights, .*, so there is no "):
            what()


def test_nothing_is_no_summary() -> None:
    with pytest.raises(ValueError, match="no summary to put together"):
        PatternSummary.together([])
