"""Aleksić's test: the statistic in loops, what it does not depend on, and its error rates."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from em_impute.gaussian import PatternSummary, aleksic_mcar_test, little_mcar_test

Floats = NDArray[np.float64]


def holed(rng: np.random.Generator, n: int) -> Floats:
    """Five columns, the last three with cells that are missing completely at random."""
    X = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))
    X[:, 2:][rng.random((n, 3)) < [0.1, 0.3, 0.2]] = np.nan
    return X


def plainly(X: Floats) -> float:
    """The sums of the definition over pairs of rows, and the whole covariance of vec(T)."""
    n = len(X)
    complete = X[:, ~np.isnan(X).any(axis=0)]
    responds = (~np.isnan(X[:, np.isnan(X).any(axis=0)])).astype(float)
    T = np.zeros((complete.shape[1], responds.shape[1]))
    for u in range(len(T)):
        for v in range(T.shape[1]):
            of_pairs = sum(
                complete[i, u] * responds[j, v] for i in range(n) for j in range(n) if i != j
            )
            T[u, v] = of_pairs / (n * (n - 1)) - (complete[:, u] * responds[:, v]).mean()
    S = np.kron(np.cov(complete.T), np.cov(responds.T))
    return float(n * T.ravel() @ np.linalg.solve(S, T.ravel()))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_statistic_is_that_of_the_definition(seed: int) -> None:
    X = holed(np.random.default_rng(seed), 40)
    test = aleksic_mcar_test(X)
    assert test.statistic == pytest.approx(plainly(X), rel=1e-9)
    assert test.df == 6
    assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, 6), rel=1e-9)


def test_with_one_incomplete_column_it_is_little_s_statistic() -> None:
    """As the author proves; cholesterol's third measurement alone has holes."""
    X = reference("cholesterol").X
    test, little = aleksic_mcar_test(X), little_mcar_test(X)
    assert np.isnan(X).any(axis=0).sum() == 1
    assert test.statistic == pytest.approx(little.statistic, abs=1e-6)
    assert test.df == little.df


@given(st.integers(0, 2**32 - 1), st.integers(30, 60))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_units_nor_portions_matter(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X = holed(rng, n)
    test = aleksic_mcar_test(X)
    units, places = 10.0 ** rng.uniform(-6, 6, 5), rng.permutation(5)
    other = aleksic_mcar_test((X * units + 5.0 * units)[rng.permutation(n)][:, places])
    assert other.statistic == pytest.approx(test.statistic, rel=1e-6)
    assert other.df == test.df
    parts = PatternSummary.from_array(X[:17]) + PatternSummary.from_array(X[17:])
    assert aleksic_mcar_test(parts).statistic == pytest.approx(test.statistic, rel=1e-6)


def test_the_contributions_add_up_and_name_what_drives_it() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 4))
    X[:, 0] += 0.8 * X[:, 1]  # correlated with missingness, but only by way of the other
    X[X[:, 1] + rng.normal(size=400) > 1.0, 2] = np.nan
    X[rng.random(400) < 0.2, 3] = np.nan
    test = aleksic_mcar_test(X)
    for named in (test.by_column, test.by_missing):
        assert sum(part for _, part in named) == pytest.approx(test.statistic)
        assert named[0][1] > 0.9 * test.statistic
    assert (test.by_column[0][0], test.by_missing[0][0]) == ("x1", "x2")


def test_columns_that_are_missing_together_or_determined_count_once() -> None:
    X = holed(np.random.default_rng(6), 200)
    test = aleksic_mcar_test(X)
    twice = np.column_stack([X, X[:, 2] ** 2, X[:, 0] - X[:, 1], np.full(200, 3.0)])
    more = aleksic_mcar_test(twice)
    assert (more.statistic, more.df) == (pytest.approx(test.statistic), test.df)
    assert len(more.by_missing) == 4


def test_rows_that_show_nothing_and_columns_without_a_cell_take_no_part() -> None:
    X = holed(np.random.default_rng(7), 80)
    empty = np.full((9, 5), np.nan)
    test = aleksic_mcar_test(np.column_stack([np.vstack([X, empty]), np.full(89, np.nan)]))
    assert test == aleksic_mcar_test(X)


def test_without_missing_cells_there_is_nothing_to_test() -> None:
    test = aleksic_mcar_test(np.random.default_rng(0).normal(size=(30, 3)))
    assert (test.statistic, test.df) == (0.0, 0)
    assert np.isnan(test.p_value)


def test_what_cannot_be_tested_says_why() -> None:
    X = factor_table(100, 3, 0.2, seed=3)
    for no_use in (X, np.column_stack([X, np.full(100, 2.0)])):
        with pytest.raises(ValueError, match=r"needs a column that is observed in every row"):
            aleksic_mcar_test(no_use)
    few = holed(np.random.default_rng(8), 40)[:, [0, 1, 2]]
    wide = np.column_stack([few, np.random.default_rng(9).normal(size=(40, 60))])
    with pytest.raises(ValueError, match="needs more rows than columns"):
        aleksic_mcar_test(wide)


# --- Error rates -------------------------------------------------------------------------------


def test_p_values_are_uniform_where_cells_are_missing_completely_at_random() -> None:
    """Of skewed columns, too: nothing is assumed of their distribution."""
    rng = np.random.default_rng(11)
    p_values = np.array(
        [aleksic_mcar_test(np.exp(0.3 * holed(rng, 200))).p_value for _ in range(400)]
    )
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert (p_values < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_missing_at_random_is_noticed() -> None:
    """Two columns are missing more often where the first is high: power, not certainty."""
    rng, rejected = np.random.default_rng(12), 0
    for _ in range(100):
        X = rng.normal(size=(200, 4)) @ np.triu(np.full((4, 4), 0.6))
        chance = 0.6 / (1 + np.exp(1.0 - 1.5 * X[:, :1]))
        X[:, 2:][rng.random((200, 2)) < chance] = np.nan
        rejected += aleksic_mcar_test(X).p_value < 0.05
    assert rejected > 80
