"""Where EM starts, and what several starts say of the maximum."""

from __future__ import annotations

import re

import numpy as np
import pytest
from holed_tables import MURRAY, distance, factor_table, reference
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    GaussianModel,
    Iteration,
    PatternSummary,
    Status,
    fit_gaussian,
)
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.starts import observed_moments

Floats = NDArray[np.float64]


def test_going_on_from_a_result_reaches_the_same_maximum() -> None:
    X = reference("missvals").X
    with pytest.warns(ConvergenceWarning, match="max_iter=5"):
        first = fit_gaussian(X, max_iter=5)
    assert first.status is Status.MAX_ITERATIONS
    assert first.n_iter == 5
    rest = fit_gaussian(X, start=first.model)
    assert rest.trace[0].loglik == pytest.approx(first.loglik, rel=1e-12)
    assert distance(rest.model, fit_gaussian(X, tol=1e-8).model) < 1e-6


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


def start_of(X: Floats) -> tuple[Floats, Floats]:
    """Where the fit starts, on the scale of standardised columns."""
    columns = np.arange(X.shape[1])
    mean, sd = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    return observed_moments(WeightedRows.of(PatternSummary.from_array(X), columns, mean, sd))


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
