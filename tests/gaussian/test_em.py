"""fit_gaussian: the same answer as other programs, as plain EM, and under every symmetry."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from holed_tables import MURRAY, factor_table, reference, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    GaussianModel,
    Iteration,
    PatternSummary,
    Status,
    fit_gaussian,
)
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.em import _observed_moments

Floats = NDArray[np.float64]

WITH_MAXIMUM = [
    "africa",
    "airquality",
    "airquality6",
    "apple",
    "boys",
    "cholesterol",
    "mammalsleep_nots",
    "missvals",
    "nhanes",
    "norm_mdata",
]


def distance(a: GaussianModel, b: GaussianModel) -> float:
    """Largest difference of a mean in sds of `b`, or of a covariance in correlation units."""
    return max(
        np.abs((a.mean - b.mean) / b.sd).max(),
        np.abs((a.covariance - b.covariance) / np.outer(b.sd, b.sd)).max(),
    )


def plain_em(X: Floats, tol: float = 1e-11, max_iter: int = 100_000) -> tuple[Floats, Floats]:
    """Textbook EM, one row at a time (Little & Rubin 2019, section 11.2)."""
    X = X[~np.isnan(X).all(axis=1)]
    mu, sigma = np.nanmean(X, axis=0), np.diag(np.nanvar(X, axis=0))
    for _ in range(max_iter):
        total, cross = np.zeros_like(mu), np.zeros_like(sigma)
        for row in X:
            o, m = ~np.isnan(row), np.isnan(row)
            x, c = row.copy(), np.zeros_like(sigma)
            slopes = np.linalg.solve(sigma[np.ix_(o, o)], sigma[np.ix_(o, m)]).T
            x[m] = mu[m] + slopes @ (row[o] - mu[o])
            c[np.ix_(m, m)] = sigma[np.ix_(m, m)] - slopes @ sigma[np.ix_(o, m)]
            total += x
            cross += np.outer(x, x) + c
        new_mu = total / len(X)
        new_sigma = cross / len(X) - np.outer(new_mu, new_mu)
        change = max(np.abs(new_mu - mu).max(), np.abs(new_sigma - sigma).max())
        mu, sigma = new_mu, new_sigma
        if change < tol * np.abs(sigma).max():
            break
    return mu, sigma


def loglik_row_by_row(X: Floats, mean: Floats, covariance: Floats) -> float:
    """Sum over rows of log N(x_O; mu_O, Sigma_OO)."""
    total = 0.0
    for row in X:
        o = ~np.isnan(row)
        d, within = row[o] - mean[o], covariance[np.ix_(o, o)]
        log_det = np.linalg.slogdet(2 * np.pi * within)[1] if o.any() else 0.0
        total -= (log_det + d @ np.linalg.solve(within, d)) / 2
    return total


@pytest.mark.parametrize("acceleration", ["anderson", "squarem", "none"])
@pytest.mark.parametrize("name", WITH_MAXIMUM)
def test_agrees_with_other_programs(name: str, acceleration: str) -> None:
    """Means to 1e-6 sd, covariances to 1e-6 in correlation units, log-likelihood to 1e-6."""
    known = reference(name)
    assert known.mean is not None
    assert known.covariance is not None
    result = fit_gaussian(
        PatternSummary.from_array(known.X, known.columns),
        tol=1e-8,
        max_iter=5000,
        acceleration=acceleration,  # type: ignore[arg-type]
    )
    assert result.status is Status.CONVERGED
    assert distance(result.model, GaussianModel(known.mean, known.covariance, known.columns)) < 1e-6
    assert result.loglik == pytest.approx(known.loglik, abs=1e-6)


def test_marijuana_has_no_maximum_and_says_so_with_names() -> None:
    known = reference("marijuana")
    summary = PatternSummary.from_array(known.X, known.columns)
    with pytest.warns(ConvergenceWarning, match="likelihood has no maximum"):
        result = fit_gaussian(summary)
    assert result.status is Status.SINGULAR
    assert "'Plac.15'" in result.message
    assert "prior_rows" in result.message
    assert result.n_iter < 200


def test_auto_prior_rescues_marijuana_and_says_what_it_did() -> None:
    known = reference("marijuana")
    result = fit_gaussian(PatternSummary.from_array(known.X, known.columns), prior_rows="auto")
    assert result.status is Status.CONVERGED
    assert result.prior_rows == pytest.approx(9e-6)
    assert len(result.decisions) == 1
    assert "'Plac.15'" in result.decisions[0]
    assert "0.0001% of 9" in result.decisions[0]


def test_auto_prior_leaves_data_with_a_maximum_alone() -> None:
    X = reference("airquality").X
    one, other = fit_gaussian(X, prior_rows="auto"), fit_gaussian(X)
    assert one.prior_rows == 0.0
    assert one.decisions == ()
    np.testing.assert_array_equal(one.model.covariance, other.model.covariance)


def test_creeping_towards_a_singular_covariance_is_noticed_early() -> None:
    """200 x 20 with 40% missing: the covariance drifts for thousands of steps."""
    X = factor_table(200, 20, 0.0, seed=8)
    rng = np.random.default_rng(9)
    X[rng.random(X.shape) < 0.4] = np.nan
    with pytest.warns(ConvergenceWarning):
        result = fit_gaussian(X)
    assert result.status is Status.SINGULAR
    assert result.n_iter < 150
    rescued = fit_gaussian(X, prior_rows="auto")
    assert rescued.status is Status.CONVERGED


@pytest.mark.parametrize("acceleration", ["anderson", "squarem"])
@pytest.mark.parametrize(
    ("n", "p", "missing", "noise"),
    [(500, 8, 0.6, 0.5), (300, 8, 0.6, 0.5), (200, 10, 0.5, 0.01), (500, 12, 0.5, 0.003)],
)
def test_slow_is_not_taken_for_creeping(
    n: int, p: int, missing: float, noise: float, acceleration: str
) -> None:
    """Much missing, or a nearly singular covariance, and still a maximum."""
    result = fit_gaussian(
        factor_table(n, p, missing, seed=52, noise=noise),
        acceleration=acceleration,  # type: ignore[arg-type]
    )
    assert result.status is Status.CONVERGED


def test_the_way_off_a_saddle_is_not_taken_for_creeping() -> None:
    """There, too, accelerated steps aim at nothing and are rejected."""
    nearly = GaussianModel(np.zeros(2), np.array([[1.6, -0.01], [-0.01, 1.6]]), ("x0", "x1"))
    result = fit_gaussian(MURRAY, start=nearly)
    assert result.model.correlation[0, 1] == pytest.approx(-0.5, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(tables())
def test_agrees_with_plain_em_row_by_row(X: Floats) -> None:
    result = fit_gaussian(X, tol=1e-9)
    mean, covariance = plain_em(X)
    assert distance(result.model, GaussianModel(mean, covariance, result.model.columns)) < 1e-6
    by_row = loglik_row_by_row(X, result.model.mean, result.model.covariance)
    assert result.loglik == pytest.approx(by_row, rel=1e-12, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    tables(), st.sampled_from(["anderson", "squarem", "none"]), st.sampled_from([0.0, 0.5, 20.0])
)
def test_objective_never_decreases_over_accepted_iterations(
    X: Floats, acceleration: str, prior_rows: float
) -> None:
    result = fit_gaussian(X, acceleration=acceleration, prior_rows=prior_rows)  # type: ignore[arg-type]
    climbed = [record.objective for record in result.trace if record.step != "rejected"]
    for earlier, later in pairwise(climbed):
        assert later >= earlier - 1e-12 * (1 + abs(earlier))


@settings(max_examples=25, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_permuting_rows_and_columns_permutes_the_answer(X: Floats, random: object) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
    one = fit_gaussian(X, tol=1e-9).model
    other = fit_gaussian(X[np.ix_(rows, columns)], tol=1e-9).model
    np.testing.assert_allclose(other.mean, one.mean[columns], rtol=0, atol=1e-7 * one.sd.max())
    np.testing.assert_allclose(
        other.covariance, one.covariance[np.ix_(columns, columns)], atol=1e-7 * one.sd.max() ** 2
    )


@settings(max_examples=25, deadline=None)
@given(tables(), st.floats(-6, 6), st.floats(-1e3, 1e3))
def test_scaling_and_shifting_a_column_does_so_to_its_estimates(
    X: Floats, log_scale: float, shift: float
) -> None:
    scale = 10.0**log_scale
    moved = X.copy()
    moved[:, 0] = scale * moved[:, 0] + shift * scale
    one, other = fit_gaussian(X, tol=1e-9), fit_gaussian(moved, tol=1e-9)
    factors = np.array([scale] + [1.0] * (X.shape[1] - 1))
    expected = GaussianModel(
        factors * one.model.mean + shift * scale * np.eye(X.shape[1])[0],
        one.model.covariance * np.outer(factors, factors),
        one.model.columns,
    )
    assert distance(other.model, expected) < 1e-7
    n_observed = int((~np.isnan(X[:, 0])).sum())
    assert other.loglik == pytest.approx(one.loglik - n_observed * np.log(scale), rel=1e-9)


@given(tables())
@settings(max_examples=25, deadline=None)
def test_complete_data_give_the_sample_moments(X: Floats) -> None:
    complete = np.where(np.isnan(X), 1.0 + np.arange(X.size).reshape(X.shape) % 7, X)
    result = fit_gaussian(complete)
    assert result.n_iter <= 1
    np.testing.assert_allclose(result.model.mean, complete.mean(axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        result.model.covariance, np.cov(complete.T, bias=True), rtol=1e-8, atol=1e-10
    )


def test_ridge_prior_is_that_many_pseudo_rows() -> None:
    X = factor_table(60, 3, 0.0, seed=21)
    sample = np.cov(X.T, bias=True)
    result = fit_gaussian(X, prior_rows=6.0)
    expected = (60 * sample + 6.0 * np.diag(np.diag(sample))) / 66
    np.testing.assert_allclose(result.model.covariance, expected, rtol=1e-10)


def test_acceleration_saves_evaluations_and_not_digits() -> None:
    X = reference("boys").X
    fast, slow = (
        fit_gaussian(X, tol=1e-8, max_iter=5000, acceleration=method)  # type: ignore[arg-type]
        for method in ("anderson", "none")
    )
    assert fast.n_iter * 20 < slow.n_iter
    assert distance(fast.model, slow.model) < 1e-7


def test_distance_to_the_maximum_is_not_underestimated() -> None:
    """Where EM is slow its steps are tiny far from the answer; the estimate must not be."""
    known = reference("mammalsleep_nots")
    assert known.mean is not None
    assert known.covariance is not None
    truth = GaussianModel(known.mean, known.covariance, known.columns)
    for tol in (1e-3, 1e-5, 1e-7):
        for method in ("anderson", "squarem", "none"):
            result = fit_gaussian(
                PatternSummary.from_array(known.X, known.columns),
                tol=tol,
                acceleration=method,  # type: ignore[arg-type]
            )
            assert distance(result.model, truth) < 2 * tol


@pytest.mark.parametrize("acceleration", ["anderson", "squarem", "none"])
@pytest.mark.parametrize("noise", [1e-2, 1e-3])
def test_a_column_that_is_nearly_the_sum_of_others_is_followed_to_the_maximum(
    noise: float, acceleration: str
) -> None:
    """A step that is short in correlation units can be a long one where hardly any spread is."""
    rng = np.random.default_rng(1)
    parts = rng.normal(10, 3, size=(1000, 3))
    X = np.c_[parts, parts.sum(axis=1) + noise * rng.normal(size=1000)]
    X[rng.random(X.shape) < 0.1] = np.nan
    result = fit_gaussian(X, acceleration=acceleration)
    assert result.status is Status.CONVERGED
    assert result.loglik == pytest.approx(fit_gaussian(X, tol=1e-12).loglik, abs=0.05)


def test_going_on_from_a_result_reaches_the_same_maximum() -> None:
    X = reference("missvals").X
    with pytest.warns(ConvergenceWarning, match="max_iter=5"):
        first = fit_gaussian(X, max_iter=5)
    assert first.status is Status.MAX_ITERATIONS
    assert first.n_iter == 5
    rest = fit_gaussian(X, start=first.model)
    assert rest.trace[0].loglik == pytest.approx(first.loglik, rel=1e-12)
    assert distance(rest.model, fit_gaussian(X, tol=1e-8).model) < 1e-6


def test_single_steps_climb_like_the_loop() -> None:
    """One iteration at a time, resumed, never goes down (scikit-learn's monotonicity test)."""
    X = reference("nhanes").X
    model, logliks = None, []
    for _ in range(20):
        with pytest.warns(ConvergenceWarning):
            result = fit_gaussian(X, tol=1e-12, max_iter=1, acceleration="none", start=model)
        model = result.model
        logliks.append(result.loglik)
    assert all(later > earlier for earlier, later in pairwise(logliks))


def test_further_starts_say_that_they_reached_the_same_maximum() -> None:
    X = reference("missvals").X
    one, several = fit_gaussian(X), fit_gaussian(X, n_starts=3)
    assert re.match(
        r"All 3 starts reached the same maximum; .* at most \S+e-0\d ", *several.decisions
    )
    assert distance(several.model, one.model) < 1e-5
    assert several.decisions == fit_gaussian(X, n_starts=3).decisions


def test_further_starts_say_that_there_are_several_maxima() -> None:
    start = GaussianModel(np.zeros(2), np.array([[1.0, 0.3], [0.3, 1.0]]), ("x0", "x1"))
    result = fit_gaussian(MURRAY, start=start, n_starts=4)
    assert "4 starts reached different maxima, 1 apart" in result.decisions[0]
    assert f"{result.loglik:.6f}" in result.decisions[0]
    assert abs(result.model.correlation[0, 1]) == pytest.approx(0.5, abs=1e-5)


def test_a_start_that_finds_no_maximum_is_not_kept() -> None:
    known = reference("marijuana")
    with pytest.warns(ConvergenceWarning, match="no maximum"):
        result = fit_gaussian(PatternSummary.from_array(known.X, known.columns), n_starts=2)
    assert result.decisions == ("Not all of the 2 starts ended at a maximum: singular, singular.",)


def test_only_the_first_start_is_watched() -> None:
    X = reference("nhanes").X
    seen: list[Iteration] = []
    fit_gaussian(X, n_starts=3, on_iteration=seen.append)
    assert tuple(seen) == fit_gaussian(X).trace


def test_time_limit_is_a_status() -> None:
    with pytest.warns(ConvergenceWarning, match="time limit"):
        result = fit_gaussian(reference("boys").X, time_limit=0.0)
    assert result.status is Status.TIME_LIMIT


def test_every_evaluation_is_reported_once() -> None:
    seen: list[Iteration] = []
    result = fit_gaussian(reference("missvals").X, on_iteration=seen.append)
    assert tuple(seen) == result.trace
    assert [record.number for record in seen] == list(range(len(seen)))
    assert seen[0].step == "start"
    assert any(record.step == "rejected" for record in seen)


def test_the_same_data_give_the_same_bits() -> None:
    X = factor_table(500, 8, 0.3, seed=22)
    one, other = fit_gaussian(X), fit_gaussian(X)
    np.testing.assert_array_equal(one.model.covariance, other.model.covariance)
    assert one.loglik == other.loglik


def fitted_and_silent(X: Floats) -> EMResult:
    """A fit whose ending is looked at by the caller."""
    with pytest.warns(ConvergenceWarning):
        return fit_gaussian(X)


def test_identical_columns_are_named() -> None:
    X = factor_table(50, 3, 0.0, seed=23)
    X = np.column_stack([X, X[:, 1]])
    result = fitted_and_silent(X)
    assert result.status is Status.SINGULAR
    assert "'x1' and 'x3'" in result.message
    assert fit_gaussian(X, prior_rows="auto").status is Status.CONVERGED


def test_a_column_that_is_the_sum_of_two_with_holes_is_named() -> None:
    rng = np.random.default_rng(24)
    X = rng.normal(size=(60, 4))
    X[:, 3] = X[:, 0] + X[:, 1]
    X[rng.random(X.shape) < 0.2] = np.nan
    result = fitted_and_silent(X)
    assert result.status is Status.SINGULAR
    assert "'x0', 'x1' and 'x3'" in result.message


def test_fewer_rows_than_columns_say_so() -> None:
    X = factor_table(5, 8, 0.0, seed=25)
    result = fitted_and_silent(X)
    assert "5 rows do not determine the spread of 8 columns" in result.message
    assert fit_gaussian(X, prior_rows="auto").status is Status.CONVERGED


def test_a_constant_column_keeps_its_value_and_is_named() -> None:
    X = factor_table(60, 3, 0.2, seed=26)
    X[:, 1] = np.where(np.isnan(X[:, 1]), np.nan, 0.1)
    result = fit_gaussian(X)
    assert result.model.mean[1] == 0.1
    assert (result.model.covariance[1] == 0).all()
    assert result.decisions == (
        "Column 'x1' is constant: its missing cells get that value, and it says nothing about "
        "the other columns.",
    )
    others = fit_gaussian(X[:, [0, 2]])
    np.testing.assert_allclose(result.model.mean[[0, 2]], others.model.mean, rtol=1e-12)


def test_one_row_one_column_and_all_constant() -> None:
    assert fit_gaussian(np.ones((1, 3))).status is Status.CONVERGED
    one = fit_gaussian(np.arange(10.0)[:, None])
    assert one.model.mean[0] == pytest.approx(4.5)
    assert one.model.covariance[0, 0] == pytest.approx(8.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": 0.0}, "tol must lie between 0 and 1"),
        ({"tol": "a"}, "tol must lie between 0 and 1, got 'a'"),
        ({"tol": None}, "tol must lie between 0 and 1"),
        ({"max_iter": 2.5}, "max_iter must be a whole number, got 2.5"),
        ({"max_iter": "a"}, "max_iter must be a whole number"),
        ({"n_starts": True}, "n_starts must be a whole number"),
        ({"n_starts": None}, "n_starts must be a whole number"),
        ({"acceleration": ["squarem"]}, "acceleration must be one of"),
        ({"acceleration": None}, "acceleration must be one of"),
        ({"prior_rows": None}, "prior_rows must be a number"),
        ({"prior_rows": [1.0]}, "prior_rows must be a number"),
        ({"prior_rows": np.zeros(2)}, "prior_rows must be a number"),
        ({"prior_rows": -1}, "prior_rows must not be negative"),
        ({"time_limit": "a"}, "time_limit must be a number of seconds"),
        ({"time_limit": -1}, "time_limit must be a number of seconds"),
        ({"start": np.zeros(3)}, "start must be a GaussianModel"),
        ({"on_iteration": 3}, "on_iteration must be a function or None, got 3"),
        ({"on_checkpoint": "a"}, "on_checkpoint must be a function"),
        ({"n_jobs": "a"}, "n_jobs must be a number of threads"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
        ({"n_starts": 0}, "n_starts must be at least 1"),
        ({"acceleration": "warp"}, r"one of \['anderson', 'squarem', 'none'\], got 'warp'"),
        ({"prior_rows": -1.0}, "must not be negative"),
        ({"prior_rows": "none"}, 'a number or "auto"'),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_gaussian(np.eye(3), **options)  # type: ignore[arg-type]


def test_data_without_anything_to_learn_from_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        fit_gaussian(np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"No cell is observed in 'x1'"):
        fit_gaussian(np.array([[1.0, np.nan], [2.0, np.nan]]))


def test_a_start_of_other_columns_or_of_no_distribution_is_refused() -> None:
    X = factor_table(20, 2, 0.0, seed=27)
    with pytest.raises(ValueError, match="start has columns"):
        fit_gaussian(X, start=GaussianModel(np.zeros(2), np.eye(2), ("a", "b")))
    with pytest.raises(ValueError, match="start must be positive definite"):
        fit_gaussian(X, start=GaussianModel(np.zeros(2), 2 - np.eye(2), ("x0", "x1")))


def start_of(X: Floats) -> tuple[Floats, Floats]:
    """Where the fit starts, on the scale of standardised columns."""
    columns = np.arange(X.shape[1])
    mean, sd = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    return _observed_moments(WeightedRows.of(PatternSummary.from_array(X), columns, mean, sd))


def test_the_start_is_the_correlation_of_the_rows_that_show_both_columns() -> None:
    X = factor_table(300, 4, 0.2, seed=31)
    mean, correlation = start_of(X)
    Z = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    expected = [[np.nanmean(Z[:, i] * Z[:, j]) for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(mean, np.zeros(4))
    np.testing.assert_allclose(correlation, expected, atol=1e-12)


def test_correlations_that_no_table_has_are_drawn_towards_zero_for_the_start() -> None:
    """Of three columns each two are alike in the rows that show them, but one pair is opposite."""
    rng = np.random.default_rng(32)
    X = np.full((60, 3), np.nan)
    for k, (i, j, sign) in enumerate([(0, 1, 1), (1, 2, 1), (0, 2, -1)]):
        shared, mine = rng.normal(size=20), slice(20 * k, 20 * k + 20)
        X[mine, i], X[mine, j] = shared, sign * shared
    _, correlation = start_of(X)
    assert np.linalg.eigvalsh(correlation)[0] == pytest.approx(0.01)
    assert correlation[0, 1] > 0.3 > -0.3 > correlation[0, 2]


def test_a_fit_goes_on_from_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("em_impute.gaussian.em.CHECKPOINT_SECONDS", 0.0)
    kept: list[GaussianModel] = []
    X = factor_table(400, 8, 0.5, seed=70)
    whole = fit_gaussian(X, on_checkpoint=kept.append)
    assert len(kept) == whole.n_iter - sum(step.step == "rejected" for step in whole.trace)
    np.testing.assert_array_equal(kept[-1].mean, whole.model.mean)
    resumed = fit_gaussian(X, start=kept[len(kept) // 2])
    assert resumed.n_iter < whole.n_iter
    assert distance(resumed.model, whole.model) < 1e-5


def test_short_fits_have_no_checkpoint() -> None:
    kept: list[GaussianModel] = []
    fit_gaussian(factor_table(100, 3, 0.1, seed=71), on_checkpoint=kept.append)
    assert kept == []
