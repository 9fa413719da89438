"""fit_gaussian: the same answer as other programs, as plain EM, and under every symmetry."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from holed_tables import distance, reference, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    GaussianModel,
    PatternSummary,
    Status,
    fit_gaussian,
)

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


def test_acceleration_saves_evaluations_and_not_digits() -> None:
    X = reference("boys").X
    fast, slow = (
        fit_gaussian(X, tol=1e-8, max_iter=5000, acceleration=method)  # type: ignore[arg-type]
        for method in ("anderson", "none")
    )
    assert fast.n_iter * 20 < slow.n_iter
    assert distance(fast.model, slow.model) < 1e-7


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
