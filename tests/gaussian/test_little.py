"""Little's test: the statistic of other programs, and the error rates that a test promises."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from holed_tables import REFERENCE, factor_table, reference
from numpy.typing import NDArray
from scipy import stats

from em_impute.gaussian import GaussianModel, PatternSummary, little_mcar_test

KNOWN = sorted(
    path.stem
    for path in REFERENCE.glob("*.json")
    if "little_mcar" in json.loads(path.read_text()) and path.stem != "marijuana"
)


@pytest.mark.parametrize("name", KNOWN)
def test_little_agrees_with_other_programs(name: str) -> None:
    """The statistic as R computes it at the maximum, where norm, norm2 and others agree."""
    known = reference(name)
    expected = json.loads((REFERENCE / f"{name}.json").read_text())["little_mcar"]
    test = little_mcar_test(known.X)
    assert test.statistic == pytest.approx(expected["ml_cov"]["statistic"], abs=1e-6)
    assert test.p_value == pytest.approx(expected["ml_cov"]["p"], rel=1e-6)
    assert (test.df, test.n_patterns) == (expected["df"], expected["patterns"])
    with_n_minus_1 = test.statistic * (len(known.X) - 1) / len(known.X)
    assert with_n_minus_1 == pytest.approx(
        expected["unbiased_cov_n_over_nm1"]["statistic"], abs=1e-6
    )


@pytest.mark.parametrize(
    ("name", "statistic", "df", "p_value"),
    [("airquality6", 35.106, 14, 0.00142), ("apple", 7.357854, 1, 0.006677)],
    ids=["naniar", "BaylorEdPsych"],
)
def test_little_is_what_other_programs_print(
    name: str, statistic: float, df: int, p_value: float
) -> None:
    test = little_mcar_test(reference(name).X)
    assert round(test.statistic, 3) == round(statistic, 3)
    assert test.df == df
    assert test.p_value == pytest.approx(p_value, abs=5e-6)


def test_the_statistic_does_not_depend_on_units() -> None:
    """A pseudo-inverse of badly scaled columns drops some of them."""
    X = reference("mammalsleep_nots").X
    units = 10.0 ** np.linspace(-8, 8, X.shape[1])
    there = little_mcar_test(X * units + 1e3 * units)
    assert there.statistic == pytest.approx(little_mcar_test(X).statistic, rel=1e-6)


def test_the_summary_says_as_much_as_the_rows() -> None:
    X = factor_table(4000, 5, 0.2, seed=3)
    summary = PatternSummary.from_array(X[:1000]) + PatternSummary.from_array(X[1000:])
    assert little_mcar_test(summary).statistic == pytest.approx(
        little_mcar_test(X).statistic, rel=1e-8
    )


def test_rows_that_show_nothing_take_no_part() -> None:
    X = reference("airquality6").X
    test = little_mcar_test(np.vstack([X, np.full((40, X.shape[1]), np.nan)]))
    assert test.statistic == pytest.approx(little_mcar_test(X).statistic, abs=1e-6)
    assert (test.df, test.n_patterns) == (14, 4)


def test_of_a_constant_column_it_counts_where_it_is_missing() -> None:
    known = reference("airquality6")
    group = np.arange(len(known.X)) % 3 == 0
    test = little_mcar_test(np.column_stack([known.X, np.where(group, np.nan, 7.0)]))
    expected, df = 0.0, -known.X.shape[1]
    patterns = {tuple(row) for row in np.column_stack([~np.isnan(known.X), group])}
    for *shown, in_group in patterns:
        observed = np.array(shown)
        rows = known.X[(np.isnan(known.X) == ~observed).all(axis=1) & (group == in_group)]
        off = rows[:, observed].mean(axis=0) - known.mean[observed]
        expected += (
            len(rows) * off @ np.linalg.solve(known.covariance[np.ix_(observed, observed)], off)
        )
        df += observed.sum()
    assert (test.statistic, test.df) == (pytest.approx(expected, abs=1e-5), df)


def test_with_one_pattern_there_is_nothing_to_test() -> None:
    test = little_mcar_test(np.random.default_rng(0).normal(size=(30, 3)))
    assert (test.statistic, test.df) == (pytest.approx(0.0, abs=1e-12), 0)
    assert np.isnan(test.p_value)


def test_the_contributions_add_up_and_name_the_column_whose_mean_differs() -> None:
    rng = np.random.default_rng(21)
    X = rng.normal(size=(500, 4))
    X[:, 0] += 0.8 * X[:, 1]  # which differs, too, but only by way of the other
    X[rng.random(500) < 1 / (1 + np.exp(1.0 - 2.0 * X[:, 1])), 3] = np.nan
    X[rng.random(500) < 0.2, 2] = np.nan
    test = little_mcar_test(X)
    assert sum(part for _, part in test.by_column) == pytest.approx(test.statistic)
    (first, part), *others = test.by_column
    assert (first, part > 0.8 * test.statistic) == ("x1", True)
    assert max(abs(other) for _, other in others) < 0.1 * test.statistic


# --- Error rates -------------------------------------------------------------------------------

ROUNDS = 400


def correlated(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.normal(size=(n, 3)) @ np.array([[1.0, 0.7, 0.4], [0.0, 0.7, 0.3], [0.0, 0.0, 0.9]])


def test_p_values_are_uniform_where_cells_are_missing_completely_at_random() -> None:
    rng = np.random.default_rng(7)
    p_values = []
    for _ in range(ROUNDS):
        X = correlated(rng, 300)
        X[rng.random(X.shape) < 0.2] = np.nan
        p_values.append(little_mcar_test(X).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.05
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_missing_at_random_is_noticed() -> None:
    """The second column is missing more often where the first is high: power, not certainty."""
    rng = np.random.default_rng(8)
    rejected = 0
    for _ in range(ROUNDS // 4):
        X = correlated(rng, 300)
        X[rng.random(300) < 1 / (1 + np.exp(1.0 - X[:, 0])), 1] = np.nan
        rejected += little_mcar_test(X).p_value < 0.05
    assert rejected > 0.95 * (ROUNDS // 4)


def ten_columns(rng: np.random.Generator) -> NDArray[np.float64]:
    """300 rows, of which some hundred show what no other row shows."""
    return rng.normal(size=(300, 2)) @ LOADINGS + rng.normal(size=(300, 10))


LOADINGS = np.random.default_rng(14).normal(size=(2, 10))


def test_rows_that_are_alone_do_not_spoil_the_p_value() -> None:
    """With them the statistic hardly varies, and p is never small or large."""
    rng = np.random.default_rng(9)
    p_values = []
    for _ in range(ROUNDS // 4):
        X = ten_columns(rng)
        X[rng.random(X.shape) < 0.2] = np.nan
        test = little_mcar_test(X)
        assert 50 < test.left_out < 150
        p_values.append(test.p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert min(p_values) < 0.1
    assert max(p_values) > 0.9


def test_missing_at_random_is_noticed_beside_rows_that_are_alone() -> None:
    rng = np.random.default_rng(10)
    rejected = 0
    for _ in range(ROUNDS // 8):
        X = ten_columns(rng)
        chance = 0.4 / (1 + np.exp(-1.5 * X[:, :1]))
        X[:, 1:][rng.random((300, 9)) < chance] = np.nan
        test = little_mcar_test(X)
        assert test.left_out > 20
        rejected += test.p_value < 0.05
    assert rejected > 0.7 * (ROUNDS // 8)


def test_a_few_rows_that_are_alone_are_compared_as_elsewhere() -> None:
    """Five of 748 boys, as in other programs."""
    assert little_mcar_test(reference("boys").X).left_out == 0


# --- What cannot be tested ---------------------------------------------------------------------


def test_data_without_a_maximum_name_the_columns() -> None:
    X = factor_table(60, 3, 0.0, seed=5)
    X[:, 2] = X[:, 0] - X[:, 1]
    X[:10, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"needs the maximum of the likelihood.*'x0', 'x1' and 'x2'"
    ):
        little_mcar_test(X)


def test_a_singular_block_names_its_columns() -> None:
    """Of a given model; a pattern that does not show all of the columns is no trouble."""
    X = factor_table(60, 3, 0.0, seed=5)
    X[:, 2] = X[:, 0] - X[:, 1]
    model = GaussianModel(X.mean(axis=0), np.cov(X.T, bias=True), ("x0", "x1", "x2"))
    with pytest.raises(ValueError, match="Leave out one of 'x0', 'x1' and 'x2'"):
        little_mcar_test(X, model)
    X[np.arange(60), np.arange(60) % 3] = np.nan
    assert little_mcar_test(X, model).df == 3


def test_a_model_of_other_columns_is_refused() -> None:
    X = factor_table(60, 3, 0.1, seed=5)
    model = GaussianModel(np.zeros(3), np.eye(3), ("a", "b", "c"))
    with pytest.raises(ValueError, match="The model has columns"):
        little_mcar_test(X, model)
    own = replace(model, columns=("x0", "x1", "x2"))
    assert little_mcar_test(X, own).df > 0


def test_no_row_and_no_observed_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        little_mcar_test(np.empty((0, 2)))
    with pytest.raises(ValueError, match="No cell is observed in 'x1'"):
        little_mcar_test(np.array([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan]]))


@pytest.mark.parametrize("missing", [0.4, 0.5])
def test_patterns_of_one_row_each_are_refused(missing: float) -> None:
    X = factor_table(200, 30, missing, seed=14)
    assert (PatternSummary.from_array(X).counts == 1).all()
    model = GaussianModel(np.zeros(30), np.eye(30), tuple(f"x{j}" for j in range(30)))
    with pytest.raises(ValueError, match="nearly every row has a pattern of its own"):
        little_mcar_test(X, model)


@pytest.mark.parametrize("n_alone", [100, 8])
def test_complete_rows_and_others_that_are_alone_are_refused(n_alone: int) -> None:
    """What is left is one pattern, which has nothing to be compared with."""
    X = factor_table(n_alone + 7, 8, 0.0, seed=15)
    patterns = np.unpackbits(np.arange(1, n_alone + 1, dtype=np.uint8)[:, None], axis=1)
    X[:n_alone][patterns.astype(bool)] = np.nan
    model = GaussianModel(np.zeros(8), np.eye(8), tuple(f"x{j}" for j in range(8)))
    with pytest.raises(ValueError, match="pattern of its own"):
        little_mcar_test(X, model)
