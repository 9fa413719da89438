"""What `fit_gaussian` takes and refuses, and what it says while it goes on."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import distance, factor_table, reference
from numpy.typing import NDArray

from em_impute.gaussian import (
    GaussianModel,
    Iteration,
    Status,
    fit_gaussian,
)

Floats = NDArray[np.float64]


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


def test_a_fit_goes_on_from_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("em_impute.gaussian.fit.CHECKPOINT_SECONDS", 0.0)
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
