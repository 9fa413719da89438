"""When the loop ends: at a maximum, at none, on its way to a singular covariance, out of time."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import MURRAY, distance, factor_table, reference
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    GaussianModel,
    PatternSummary,
    Status,
    fit_gaussian,
)

Floats = NDArray[np.float64]


def test_marijuana_has_no_maximum_and_says_so_with_names() -> None:
    known = reference("marijuana")
    summary = PatternSummary.from_array(known.X, known.columns)
    with pytest.warns(ConvergenceWarning, match="likelihood has no maximum"):
        result = fit_gaussian(summary)
    assert result.status is Status.SINGULAR
    assert "'Plac.15'" in result.message
    assert "prior_rows" in result.message
    assert result.n_iter < 200


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


def test_time_limit_is_a_status() -> None:
    with pytest.warns(ConvergenceWarning, match="time limit"):
        result = fit_gaussian(reference("boys").X, time_limit=0.0)
    assert result.status is Status.TIME_LIMIT


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
