"""Standard errors, intervals and regressions: against lavaan, against differences, and refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from holed_tables import factor_table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.information import parameter_names

REFERENCE = ROOT / "tests" / "reference"
LAVAAN: dict[str, Any] = json.loads((REFERENCE / "standard_errors.json").read_text())
# What lavaan's optimiser leaves.
DIGITS = 2e-4


def reference(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv")


def of_lavaan(found: dict[str, Any], columns: list[str]) -> pd.DataFrame:
    """Its errors, by our names of the parameters."""
    means, rest = found["means"], found["covariances"]
    names = [f"mean of {columns[j - 1]}" for j in means["column"]]
    for i, j in zip(rest["row"], rest["column"], strict=True):
        one, other = columns[j - 1], columns[i - 1]
        names.append(f"variance of {one}" if i == j else f"covariance of {one} and {other}")
    kept = {
        key: [*means[key], *rest[key]] for key in ("estimate", "std_error", "fmi") if key in means
    }
    return pd.DataFrame(kept, index=names, dtype=float)


@pytest.mark.parametrize("name", LAVAAN)
def test_errors_and_missing_information_are_those_of_lavaan(name: str) -> None:
    table = reference(name)
    ours = fit_gaussian(table, tol=1e-10).estimates().set_index("parameter")
    theirs = of_lavaan(LAVAAN[name]["observed"], list(table.columns))
    for key in ("estimate", "std_error"):
        np.testing.assert_allclose(ours.loc[theirs.index, key], theirs[key], rtol=DIGITS)
    np.testing.assert_allclose(ours.loc[theirs.index, "fmi"], theirs["fmi"], atol=DIGITS)


@pytest.mark.parametrize("name", LAVAAN)
def test_robust_errors_are_those_of_lavaan(name: str) -> None:
    table = reference(name)
    ours = fit_gaussian(table, tol=1e-10).estimates(rows=table).set_index("parameter")
    theirs = of_lavaan(LAVAAN[name]["robust"], list(table.columns))
    np.testing.assert_allclose(
        ours.loc[theirs.index, "std_error"], theirs["std_error"], rtol=DIGITS
    )


def test_a_regression_is_that_of_lavaan() -> None:
    theirs = LAVAAN["holzinger"]["regression"]
    columns = ["x9", "x1", "x5"]
    found = fit_gaussian(reference("holzinger")[columns], tol=1e-10).regress("x9", ["x1", "x5"])
    order = [theirs["term"].index(term) for term in ("~1", "~v2", "~v3")]
    for ours, key in (("estimate", "estimate"), ("std_error", "std_error")):
        expected = np.array(theirs[key])[order]
        np.testing.assert_allclose(found.coefficients[ours], expected, rtol=DIGITS)
    residual = theirs["term"].index("~~v1")
    assert found.residual_variance == pytest.approx(theirs["estimate"][residual], rel=DIGITS)
    assert found.residual_variance_error == pytest.approx(theirs["std_error"][residual], rel=DIGITS)
    assert found.r_squared == pytest.approx(theirs["r_squared"], rel=DIGITS)


def test_intervals_and_p_values_follow_from_the_errors() -> None:
    result = fit_gaussian(reference("airquality"))
    table = result.estimates(0.9).set_index("parameter")
    z = norm.ppf(0.95)
    mean, variance = table.loc["mean of Ozone"], table.loc["variance of Ozone"]
    assert mean.conf_high - mean.estimate == pytest.approx(z * mean.std_error)
    assert mean.estimate - mean.conf_low == pytest.approx(z * mean.std_error)
    logs = np.log(variance[["conf_low", "estimate", "conf_high"]].astype(float))
    np.testing.assert_allclose(np.diff(logs), z * variance.std_error / variance.estimate)
    r = table.loc["correlation of Ozone and Temp"]
    fisher = np.arctanh(r[["conf_low", "estimate", "conf_high"]].astype(float))
    np.testing.assert_allclose(np.diff(fisher), z * r.std_error / (1 - r.estimate**2))
    slopes = result.regress("Ozone", ["Temp"]).coefficients
    np.testing.assert_allclose(slopes.statistic, slopes.estimate / slopes.std_error)
    np.testing.assert_allclose(slopes.p_value, 2 * norm.sf(abs(slopes.statistic)))


def derived(mean: Floats, covariance: Floats) -> dict[str, float]:
    """What is told of columns a, b, c beside their moments."""
    slopes = np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    residual = covariance[0, 0] - slopes @ covariance[1:, 0]
    return {
        "correlation of a and b": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
        "(intercept)": mean[0] - slopes @ mean[1:],
        "b": slopes[0],
        "c": slopes[1],
        "r_squared": 1 - residual / covariance[0, 0],
        "residual_variance": residual,
    }


def test_errors_of_what_is_derived_are_by_the_delta_method() -> None:
    """With numerical gradients, and the errors of covariances from those of sums."""
    X = pd.DataFrame(factor_table(150, 3, 0.3, seed=8), columns=list("abc"))
    result = fit_gaussian(X, tol=1e-10)
    mean, covariance = result.model.mean, result.model.covariance
    row, column = np.tril_indices(3)
    names = parameter_names("abc")
    errors = joint_errors(X, names)
    gradients: dict[str, list[float]] = {key: [] for key in derived(mean, covariance)}
    for k in range(9):
        ends = []
        for step in (1e-5, -1e-5):
            m, S = mean.copy(), covariance.copy()
            if k < 3:
                m[k] += step
            else:
                S[row[k - 3], column[k - 3]] += step
                S[column[k - 3], row[k - 3]] = S[row[k - 3], column[k - 3]]
            ends.append(derived(m, S))
        for key, found in gradients.items():
            found.append((ends[0][key] - ends[1][key]) / 2e-5)
    expected = {
        key: float(np.sqrt(np.array(g) @ errors @ np.array(g))) for key, g in gradients.items()
    }
    table = result.estimates().set_index("parameter")
    regression = result.regress("a", ["b", "c"])
    slopes = regression.coefficients.set_index("term")
    ours = {
        "correlation of a and b": table.loc["correlation of a and b", "std_error"],
        **{term: slopes.loc[term, "std_error"] for term in ("(intercept)", "b", "c")},
        "r_squared": regression.r_squared_error,
        "residual_variance": regression.residual_variance_error,
    }
    assert ours == pytest.approx(expected, rel=1e-5)


def joint_errors(X: pd.DataFrame, names: list[str]) -> Floats:
    """The covariance of all estimates, as `inference` gives it."""
    from em_impute.gaussian.e_step import WeightedRows
    from em_impute.gaussian.inference import observed_information

    model = fit_gaussian(X, tol=1e-10).model
    summary = PatternSummary.from_array(X)
    rows = WeightedRows.of(summary, np.arange(3), np.zeros(3), np.ones(3))
    inverse: Floats = np.linalg.inv(observed_information(rows, (model.mean, model.covariance)))
    assert len(inverse) == len(names)
    return inverse


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    scale=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
def test_order_and_scale_of_the_columns_change_nothing_else(
    order: list[int], scale: list[float]
) -> None:
    X = pd.DataFrame(factor_table(80, 3, 0.2, seed=4), columns=list("abc"))
    before = fit_gaussian(X, tol=1e-10).estimates().set_index("parameter")
    moved = (X * scale).iloc[:, order]
    after = fit_gaussian(moved, tol=1e-10).estimates().set_index("parameter")
    for j, name in enumerate("abc"):
        for parameter, unit in (
            (f"mean of {name}", scale[j]),
            (f"variance of {name}", scale[j] ** 2),
        ):
            one, other = before.loc[parameter] * unit, after.loc[parameter]
            np.testing.assert_allclose(one[["std_error"]], other[["std_error"]], rtol=1e-6)
            np.testing.assert_allclose(
                before.loc[parameter, "fmi"], after.loc[parameter, "fmi"], atol=1e-7
            )
    for pair in ("ab", "ac", "bc"):
        names = {
            f"correlation of {pair[0]} and {pair[1]}",
            f"correlation of {pair[1]} and {pair[0]}",
        }
        (one,), (other,) = (t.index.intersection(list(names)) for t in (before, after))
        np.testing.assert_allclose(
            before.loc[one].astype(float), after.loc[other].astype(float), rtol=1e-5, atol=1e-7
        )


def test_some_columns_have_what_they_have_among_all() -> None:
    result = fit_gaussian(reference("airquality"))
    few = result.estimates(columns=["Temp", "Ozone"]).set_index("parameter")
    every = result.estimates().set_index("parameter")
    assert len(few) == 6
    pd.testing.assert_series_equal(
        few.loc["mean of Ozone"], every.loc["mean of Ozone"], check_exact=False
    )
    assert few.loc["correlation of Temp and Ozone", "std_error"] == pytest.approx(
        every.loc["correlation of Ozone and Temp", "std_error"]
    )


def test_many_columns_are_asked_for_by_name() -> None:
    X = factor_table(200, 101, 0.0, seed=3)
    X[:30, 0] = np.nan  # with few patterns an evaluation takes no time
    result = fit_gaussian(X)
    with pytest.raises(ValueError, match="name some columns"):
        result.estimates()
    table = result.estimates(columns=["x0"])
    assert np.isfinite(table.drop(columns="parameter").to_numpy()).all()
    with pytest.raises(ValueError, match="Robust errors are computed of up to 100"):
        result.estimates(columns=["x0"], rows=X)


def test_a_regression_is_told_in_words() -> None:
    text = str(fit_gaussian(reference("airquality")).regress("Ozone", ["Temp"]))
    assert text.startswith("Regression of Ozone on Temp, 153 rows")
    assert "(intercept)" in text
    assert "R^2" in text


def refusals() -> Iterator[tuple[str, Any]]:
    def of(**options: Any) -> Any:
        return lambda r: r.estimates(**options)

    yield "level must lie between 0 and 1", of(level=95)
    yield "level must lie between 0 and 1", of(level=1.0)
    yield "has no column 'Rain'", of(columns=["Rain"])
    yield "Expected a list of columns", of(columns="Ozone")
    yield "must differ from each other", of(columns=["Ozone", "Ozone"])
    yield "of 153 rows, got 10", of(rows=reference("airquality").head(10))
    yield "at least one predictor", lambda r: r.regress("Ozone", [])
    yield "the response not among them", lambda r: r.regress("Ozone", ["Ozone"])
    yield "came without the data", lambda r: pickle.loads(pickle.dumps(r)).estimates()


@pytest.mark.parametrize(("message", "asked"), list(refusals()))
def test_what_cannot_be_said_is_refused(message: str, asked: Any) -> None:
    with pytest.raises(ValueError, match=message):
        asked(fit_gaussian(reference("airquality")))


def test_only_a_maximum_has_errors() -> None:
    with pytest.warns(match="max_iter"):
        stopped = fit_gaussian(reference("boys"), max_iter=1)
    with pytest.raises(ValueError, match="Standard errors are those of a maximum"):
        stopped.estimates()


def test_columns_that_determine_each_other_are_named() -> None:
    X = pd.DataFrame(factor_table(100, 3, 0.1, seed=2), columns=list("abc"))
    X["total"] = X.a + X.b
    X.loc[3, "total"] = np.nan
    result = fit_gaussian(X, prior_rows="auto")
    with pytest.raises(ValueError, match=r"'a', 'b'.*'total'"):
        result.estimates()


def test_a_constant_column_has_none() -> None:
    X = pd.DataFrame(factor_table(100, 2, 0.1, seed=2), columns=list("ab")).assign(c=3.0)
    result = fit_gaussian(X)
    assert not result.estimates().parameter.str.contains("c$").any()
    with pytest.raises(ValueError, match="constant: 'c'"):
        result.estimates(columns=["a", "c"])
