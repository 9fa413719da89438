"""Pooling: against mice on stored analyses, published limits, and what is refused."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from sklearn.linear_model import BayesianRidge

from em_impute.pooling import (
    Analysis,
    combine,
    pool,
    pool_chi_squares,
    pool_likelihood_ratios,
)
from em_impute.pooling.rules import _shrunk

MICE: dict[str, Any] = json.loads((ROOT / "tests" / "reference" / "pooled.json").read_text())


def analyses(name: str) -> list[tuple[Any, Any, list[str]]]:
    known = MICE[name]
    return [(a["estimate"], a["covariance"], known["terms"]) for a in known["analyses"]]


def given(found: Any) -> Any:
    """A fit that has been made already."""
    return found


class AtOneEstimate(list[Any]):
    """Tables that know where they come from."""

    posterior = "ml"


@pytest.mark.parametrize("name", MICE)
def test_coefficients_are_pooled_as_by_mice(name: str) -> None:
    """Where a coefficient varies between the tables: older mice put a floor under that share."""
    known = MICE[name]
    table = pool(given, analyses(name), complete_df=known["complete_df"]).table()
    assert table.term.tolist() == known["terms"]
    assert min(known["lambda"]) >= 1e-4
    for key in ("estimate", "std_error", "statistic", "df", "conf_low", "conf_high", "fmi", "riv"):
        np.testing.assert_allclose(table[key], known[key], rtol=1e-8, err_msg=key)
    np.testing.assert_allclose(table.p_value, known["p_value"], rtol=1e-6)


def published(name: str) -> Any:
    known = json.loads((ROOT / "tests" / "reference" / "published.json").read_text())[name]
    analyses = [(a["estimate"], a["covariance"]) for a in known["analyses"]]
    return pool(given, analyses, complete_df=known["complete_df"])


def test_the_numbers_printed_of_nhanes_come_out() -> None:
    """`bmi ~ age`, ten imputations: the worked example of van Buuren (2018)."""
    pooled = published("book")
    printed = {
        "estimate": (pooled.estimate, [30.50, -2.13], 0.005),
        "ubar": (pooled.within.diagonal(), [3.408, 0.906], 0.0005),
        "b": (pooled.between.diagonal(), [1.454, 0.238], 0.0005),
        "t": (pooled.total.diagonal(), [5.01, 1.17], 0.005),
        "riv": (pooled.riv, [0.469, 0.289], 0.0005),
        "df": (pooled.df, [12.4, 15.1], 0.05),
        "fmi": (pooled.fmi, [0.408, 0.310], 0.0005),
    }
    for name, (ours, theirs, rounding) in printed.items():
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding, err_msg=name)


def test_the_numbers_in_the_tests_of_mice_come_out() -> None:
    """`bmi ~ chl + age + hyp` of nhanes2, five imputations."""
    pooled = published("tests")
    mean = [18.76175, 0.05359003, -4.573652, -6.635969, 2.163629]
    errors = [4.002796, 0.02235067, 2.033986, 2.459769, 2.02898]
    np.testing.assert_allclose(pooled.estimate, mean, rtol=1e-6)
    np.testing.assert_allclose(pooled.std_error, errors, rtol=1e-6)


@pytest.mark.parametrize("name", MICE)
def test_coefficients_are_tested_together_as_by_mice(name: str) -> None:
    """mice gives D1 the degrees of freedom of the smaller sample where it knows them."""
    known = MICE[name]
    extra = [
        term for term in known["terms"] if term not in ("(Intercept)", *known["smaller"].split())
    ]
    pooled = pool(given, analyses(name), complete_df=known["complete_df"])
    ours, theirs = pooled.test(extra), known["D1"]
    assert ours.statistic == pytest.approx(theirs["statistic"], rel=1e-8)
    assert ours.riv == pytest.approx(theirs["riv"], rel=1e-8)
    assert ours.df == theirs["df1"]
    assert ours.df_residual == pytest.approx(theirs["df2"], rel=1e-6)
    assert ours.p_value == pytest.approx(theirs["p"], rel=1e-5)


def test_one_coefficient_is_tested_as_in_the_table() -> None:
    pooled = pool(given, analyses("nhanes"), complete_df=21)
    row = pooled.table().set_index("term").loc["bmi"]
    found = pooled.test(["bmi"])
    assert found.statistic == pytest.approx(row.statistic**2)
    assert found.p_value == pytest.approx(row.p_value)


@pytest.mark.parametrize("name", MICE)
def test_chi_squares_are_pooled_as_by_mice(name: str) -> None:
    known, theirs = MICE[name], MICE[name]["D2"]
    ours = pool_chi_squares(known["wald"], theirs["df1"])
    assert ours.statistic == pytest.approx(theirs["statistic"], rel=1e-6)
    assert ours.df_residual == pytest.approx(theirs["df2"], rel=1e-6)
    assert ours.p_value == pytest.approx(theirs["p"], rel=1e-5)
    assert ours.riv == pytest.approx(theirs["riv"], rel=1e-6)


def test_likelihood_ratios_by_the_formula() -> None:
    """Meng & Rubin 1992, equations 1.5 to 2.7, written out."""
    own, pooled, k = [10.0, 14.0, 12.0], [8.0, 9.0, 10.0], 2
    riv = 4 / (k * 2) * (12.0 - 9.0)
    t = k * 2
    found = pool_likelihood_ratios(own, pooled, k)
    assert found.riv == pytest.approx(riv)
    assert found.statistic == pytest.approx(9.0 / (k * (1 + riv)))
    assert found.df_residual == pytest.approx(t * (1 + 1 / k) * (1 + 1 / riv) ** 2 / 2)


def test_without_variation_between_the_tables_all_degrees_of_freedom_are_left() -> None:
    """Barnard & Rubin 1999: nu (nu + 1) / (nu + 3), for there is no floor on the share."""
    for spread in (0.0, 1e-9, 1e-7):
        tables = [(x, 1.0) for x in (2.0, 2.0 + spread, 2.0 - spread)]
        table = pool(given, tables, complete_df=20).table()
        assert table.df[0] == pytest.approx(20 * 21 / 23, rel=1e-6)
        assert table.fmi[0] == pytest.approx(2 / (20 * 21 / 23 + 3), rel=1e-4)
    assert pool(given, [(2.0, 1.0), (2.0, 1.0)]).df[0] == math.inf


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 99])
@pytest.mark.parametrize("fraction", [1e-6, 0.01, 0.3, 0.9, 1.0, 1.5, 5.0])
def test_a_fraction_is_shrunk_to_the_mean_of_its_distribution(df: int, fraction: float) -> None:
    x = mpmath.mpf(df) * fraction / 2
    expected = (
        x * mpmath.gammainc(mpmath.mpf(df) / 2 - 1, x) / mpmath.gammainc(mpmath.mpf(df) / 2, x)
    )
    assert _shrunk(fraction, df) == pytest.approx(float(expected), abs=1e-7)


def test_draws_at_one_estimate_have_rules_of_their_own() -> None:
    """One coefficient, by the formulas of von Hippel & Bartlett 2021, section 4."""
    estimates, within, m = np.array([1.0, 1.4, 0.8, 1.2, 1.1]), 0.09, 5
    between = float(estimates.var(ddof=1))
    missing = _shrunk(between / within, m - 1)
    at_maximum = within / (1 - missing)
    total = at_maximum + between / m
    df = total**2 / (
        at_maximum**2 / ((m - 1) * ((1 - missing) / missing) ** 2 - 4)
        + (between / m) ** 2 / (m - 1)
    )
    pooled = pool(given, AtOneEstimate((x, within) for x in estimates))
    assert pooled.rules == "ml"
    assert pooled.total[0, 0] == pytest.approx(total)
    assert pooled.df[0] == pytest.approx(max(3.0, df))
    assert pooled.fmi[0] == pytest.approx(missing)


def test_the_ml_rules_do_not_depend_on_the_units_of_the_coefficients() -> None:
    rng = np.random.default_rng(3)
    turn = np.array([[2.0, 0.5], [0.0, 30.0]])
    base = [(rng.normal(size=2) * 0.2, np.array([[0.2, 0.1], [0.1, 0.3]])) for _ in range(6)]
    turned = [(turn @ b, turn @ V @ turn.T) for b, V in base]
    one, other = (pool(given, AtOneEstimate(tables)) for tables in (base, turned))
    np.testing.assert_allclose(other.total, turn @ one.total @ turn.T, rtol=1e-10)


def test_results_of_other_libraries_are_understood() -> None:
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"])
    y = X.a + rng.normal(size=50)
    estimator = pool(lambda shift: BayesianRidge().fit(X, y + shift), [0.0, 0.1, 0.2])
    assert estimator.terms == ("a", "b")

    def of_statsmodels(shift: float) -> Any:
        return SimpleNamespace(
            params=pd.Series([1.0 + shift, 2.0], index=["const", "x"]),
            cov_params=lambda: pd.DataFrame(np.eye(2)),
            df_resid=48.0,
        )

    pooled = pool(of_statsmodels, [0.0, 0.1, 0.2])
    assert (pooled.terms, pooled.complete_df) == (("const", "x"), 48.0)
    assert pooled.efficiency[0] == pytest.approx(1 / (1 + pooled.fmi[0] / 3))
    assert "std_error" in str(pooled)
    assert "<pre>" in pooled._repr_html_()


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ([(1.0, 1.0)], {}, "two imputed tables or more, got 1"),
        ([], {}, "two imputed tables or more, got 0"),
        ([([1.0], [[1.0]]), ([1.0, 2.0], np.eye(2))], {}, "table 2 has the terms"),
        ([([1.0, 2.0], [1.0, 2.0])] * 2, {}, "the shapes"),
        ([(1.0, 1.0, ["a", "b"])] * 2, {}, "a name for each of 1 estimates, got 2"),
        ([(1.0,)] * 2, {}, "got 1 things"),
        ([(math.nan, 1.0)] * 2, {}, "not finite"),
        ([3.0, 4.0], {}, "got float"),
        ([(1.0, 1.0)] * 2, {"complete_df": 0}, "complete_df must be above 0"),
        ([(1.0, 1.0)] * 2, {"rules": "bayes"}, "rules must be"),
        (AtOneEstimate([(1.0, 1.0)] * 2), {"rules": "rubin"}, "drawn at one estimate"),
    ],
)
def test_what_cannot_be_pooled_is_refused(
    tables: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pool(given, tables, **options)


def test_tests_that_do_not_fit_are_refused() -> None:
    pooled = pool(given, [(1.0, 1.0), (2.0, 1.0)])
    with pytest.raises(ValueError, match="no term 'x'"):
        pooled.test(["x"])
    with pytest.raises(ValueError, match="level must lie"):
        pooled.table(level=95)
    with pytest.raises(ValueError, match="posterior"):
        pool(given, AtOneEstimate([(1.0, 1.0), (2.0, 1.0)])).test(["b0"])
    with pytest.raises(ValueError, match="two tables or more"):
        pool_chi_squares([1.0], 1)
    with pytest.raises(ValueError, match="as many of both"):
        pool_likelihood_ratios([1.0, 2.0], [1.0, 2.0, 3.0], 1)


def test_analyses_that_were_made_before_are_combined() -> None:
    made = [Analysis(np.array([x]), np.array([[1.0]]), ("b",), math.inf) for x in (1.0, 2.0)]
    assert combine(made, 10.0).estimate[0] == 1.5
