"""Errors by the scores of the rows: the formula row by row, what it is right about, and where."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from em_impute import fit_gaussian, multiply_impute, pool
from em_impute.gaussian import PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.scores import row_scores
from em_impute.pooling.scores import ScoreSums

AIR = pd.read_csv(ROOT / "data" / "airquality.csv")[["Ozone", "Solar.R", "Wind", "Temp"]]
FIT = fit_gaussian(AIR)


def mean_of_ozone(table: Any) -> tuple[float, float, list[str], Floats]:
    x = np.asarray(table)[:, 0].astype(float)
    return x.mean(), x.var(ddof=1) / len(x), ["ozone"], (x - x.mean()) / len(x)


def least_squares(table: Any) -> Any:
    """Ozone on Wind and Temp, as statsmodels has it."""
    X = np.column_stack([np.ones(len(table)), table["Wind"], table["Temp"]])
    y = table["Ozone"].to_numpy()
    inverse = np.linalg.inv(X.T @ X)
    params = inverse @ X.T @ y
    residuals = y - X @ params
    scale = residuals @ residuals / (len(y) - 3)
    return SimpleNamespace(
        params=pd.Series(params, index=["const", "wind", "temp"]),
        cov_params=lambda: scale * inverse,
        df_resid=len(y) - 3.0,
        model=SimpleNamespace(wexog=X),
        wresid=residuals,
        normalized_cov_params=inverse,
    )


def test_the_covariance_is_the_formula_row_by_row() -> None:
    """Robins & Wang (2000), with every row's vector by itself."""
    tables, m, n = multiply_impute(AIR, 5, result=FIT, posterior="ml", seed=2), 5, len(AIR)
    scaling = Standardisation.of(PatternSummary.from_array(AIR))
    at = scaling.standardise(FIT.model)

    def scores_of(X: Floats) -> Floats:
        found = np.empty((n, 14))
        for rows, scores in row_scores(X, scaling, at):
            found[rows] = scores
        return found

    observed = scores_of(AIR.to_numpy())
    influences = [mean_of_ozone(table)[3] for table in tables]
    completed = [scores_of(table.to_numpy()) for table in tables]
    K = sum(
        influence[i] * (complete[i] - observed[i])
        for influence, complete in zip(influences, completed, strict=True)
        for i in range(n)
    )
    # The information by differences of the scores.
    information = np.empty((14, 14))
    row, column = np.tril_indices(4)
    for k, step in enumerate(1e-5 * np.eye(14)):
        change = np.zeros((4, 4))
        change[row, column] = change[column, row] = step[4:]
        sides = []
        for sign in (1, -1):
            moved = at[0] + sign * step[:4], at[1] + sign * change
            sides.append(sum(s.sum(axis=0) for _, s in row_scores(AIR.to_numpy(), scaling, moved)))
        information[k] = (sides[1] - sides[0]) / 2e-5
    errors = np.linalg.inv(information)
    total = sum(
        (np.mean([u[i] for u in influences]) + K / m @ errors @ observed[i]) ** 2 for i in range(n)
    )
    sums = ScoreSums(AIR, FIT.model, 0.0)
    for table, influence in zip(tables, influences, strict=True):
        sums.add(table, influence[:, None])
    assert len(sums) == n
    within, found = sums.covariances()
    assert found[0, 0] == pytest.approx(total, rel=1e-6)
    assert within[0, 0] == pytest.approx(np.mean([u @ u for u in influences]))


def test_a_part_of_an_analysis_has_the_errors_of_the_observed_information() -> None:
    """A mean alone: the within-between rule, which does not know its predictors, is off."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3000, 3)) @ np.array([[1.0, 0.6, 0.4], [0.0, 0.8, 0.3], [0.0, 0.0, 0.9]])
    X[rng.random(3000) < 1 / (1 + np.exp(-1.5 * X[:, 0])), 1] = np.nan
    result = fit_gaussian(X)
    known = result.estimates().set_index("parameter").std_error["mean of x1"]
    tables = multiply_impute(X, 20, result=result, posterior="ml", seed=3)

    def mean(table: Floats) -> tuple[float, float, list[str], Floats]:
        x = table[:, 1]
        return x.mean(), x.var(ddof=1) / len(x), ["x1"], (x - x.mean()) / len(x)

    pooled, other = pool(mean, tables), pool(mean, tables, rules="ml")
    assert (pooled.rules, other.rules) == ("scores", "ml")
    assert pooled.std_error[0] == pytest.approx(known, rel=0.03)
    assert abs(other.std_error[0] / known - 1) > 0.04
    assert pooled.df[0] == math.inf


def test_a_regression_of_statsmodels_brings_its_influence() -> None:
    """Its errors are the robust ones of the fit: both take the rows as they are."""
    pooled = pool(least_squares, multiply_impute(AIR, 50, result=FIT, posterior="ml", seed=1))
    assert pooled.rules == "scores"
    known = FIT.regress("Ozone", ["Wind", "Temp"], rows=AIR).coefficients.std_error
    np.testing.assert_allclose(pooled.std_error, known, rtol=0.12)
    assert (pooled.df < 150).all()
    assert (pooled.fmi > 0).all()


def test_a_likelihood_of_statsmodels_brings_its_scores() -> None:
    def mean(table: Any) -> Any:
        x = table["Ozone"].to_numpy()
        score = lambda params: ((x - params[0]) / x.var())[:, None]  # noqa: E731
        return SimpleNamespace(
            params=np.array([x.mean()]),
            cov_params=lambda: np.array([[x.var() / len(x)]]),
            model=SimpleNamespace(score_obs=score),
        )

    tables = multiply_impute(AIR, 5, result=FIT, posterior="ml", seed=1)
    one, other = pool(mean, tables), pool(mean_of_ozone, tables)
    assert one.rules == "scores"
    np.testing.assert_allclose(one.total, other.total, rtol=1e-9)


def test_where_the_rows_are_not_known_the_other_rule_is_taken() -> None:
    tables = multiply_impute(AIR, 5, result=FIT, posterior="ml", seed=1)
    shifted = multiply_impute(AIR, 5, result=FIT, posterior="ml", seed=1, delta={"Ozone": -0.5})
    drawn = multiply_impute(AIR, 5, result=FIT, seed=1)
    of_some = lambda table: mean_of_ozone(table.iloc[:100])  # noqa: E731
    no_influence = lambda table: mean_of_ozone(table)[:2]  # noqa: E731
    for fit, given in ((no_influence, tables), (of_some, tables), (mean_of_ozone, shifted)):
        assert pool(fit, given).rules == "ml"
        with pytest.raises(ValueError, match="The rules by scores need tables"):
            pool(fit, given, rules="scores")
    assert pool(mean_of_ozone, drawn).rules == "rubin"
    with pytest.raises(ValueError, match="The rules by scores need tables"):
        pool(mean_of_ozone, drawn, rules="scores")
    wrong = lambda table: (*mean_of_ozone(table)[:3], np.ones((153, 2)))  # noqa: E731
    with pytest.raises(ValueError, match=r"of the shape \(rows, 1\), as the influence"):
        pool(wrong, tables)


def test_a_prior_of_the_fit_is_known_to_what_was_saved(tmp_path: Any) -> None:
    result = fit_gaussian(AIR, prior_rows=20)
    tables = multiply_impute(AIR, 5, result=result, posterior="ml", seed=1)
    tables.save(tmp_path / "imputation.json")
    again = type(tables).load(tmp_path / "imputation.json").of(AIR)
    assert again.prior_rows == 20
    one, other = pool(mean_of_ozone, tables), pool(mean_of_ozone, again)
    assert one.total == other.total
