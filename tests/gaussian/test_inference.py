"""The observed information against numerical differentiation, and both ways to invert it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from holed_tables import factor_table

from em_impute.gaussian import PatternSummary, fit_gaussian, inference
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.em import penalty
from em_impute.gaussian.inference import (
    Undetermined,
    complete_errors,
    observed_information,
    precision_of,
)
from em_impute.gaussian.parameters import Parameters, Standardisation

SETS = (
    "africa", "airquality", "airquality6", "apple", "boys", "cholesterol", "mammalsleep_nots",
    "missvals", "nhanes", "norm_mdata",
)  # fmt: skip


def rows_of(X: Floats) -> WeightedRows:
    p = X.shape[1]
    return WeightedRows.of(PatternSummary.from_array(X), np.arange(p), np.zeros(p), np.ones(p))


def vector(at: Parameters) -> Floats:
    return np.concatenate([at[0], at[1][np.tril_indices(len(at[0]))]])


def parameters(at: Floats) -> Parameters:
    p = int((np.sqrt(9 + 8 * len(at)) - 3) / 2)
    covariance = np.zeros((p, p))
    row, column = np.tril_indices(p)
    covariance[row, column] = covariance[column, row] = at[p:]
    return at[:p], covariance


def score(X: Floats, at: Parameters) -> Floats:
    """The first derivative of the log-likelihood, row by row."""
    mean, covariance = at
    p = len(mean)
    of_mean, of_covariance = np.zeros(p), np.zeros((p, p))
    for x in X:
        o = np.flatnonzero(~np.isnan(x))
        inverse = np.linalg.inv(covariance[np.ix_(o, o)])
        weighted = inverse @ (x[o] - mean[o])
        of_mean[o] += weighted
        of_covariance[np.ix_(o, o)] += 0.5 * (np.outer(weighted, weighted) - inverse)
    row, column = np.tril_indices(p)
    twice = np.where(row == column, 1.0, 2.0)
    return np.concatenate([of_mean, twice * of_covariance[row, column]])


@pytest.mark.parametrize("name", SETS)
def test_it_is_the_derivative_of_the_score(name: str) -> None:
    table = pd.read_csv(ROOT / "tests" / "reference" / f"{name}.csv").to_numpy(np.float64)
    X = (table - np.nanmean(table, axis=0)) / np.nanstd(table, axis=0)
    model = fit_gaussian(X, prior_rows=0.0).model
    at = model.mean, model.covariance
    # In units of the errors that complete rows would leave, the information is at most 1.
    units = np.linalg.cholesky(complete_errors(at[1], len(X)))
    step, found = 1e-3 * units.T, []
    for one in step:
        near, far = (
            score(X, parameters(vector(at) + k * one)) - score(X, parameters(vector(at) - k * one))
            for k in (1.0, 2.0)
        )
        found.append((far - 8.0 * near) / 12.0 / 1e-3)
    ours = units.T @ observed_information(rows_of(X), at) @ units
    np.testing.assert_allclose(ours, np.array(found) @ units, rtol=0, atol=1e-6)


def test_it_is_the_second_derivative_of_the_likelihood_everywhere() -> None:
    """Away from the maximum, with a prior."""
    rows, prior_rows = rows_of(factor_table(200, 3, 0.3, seed=3)), 7.0
    centre = vector((np.full(3, 0.1), 0.3 + 0.9 * np.eye(3)))

    def objective(at: Floats) -> float:
        moved = parameters(at)
        return e_step(rows, *moved).loglik - penalty(moved[1], prior_rows)

    def second(one: Floats, other: Floats) -> float:
        corners = [
            a * b * objective(centre + a * one + b * other) for a in (1, -1) for b in (1, -1)
        ]
        return -sum(corners) / 4.0

    steps, h = np.eye(len(centre)), 1e-3
    found = (
        np.array(
            [
                [(4 * second(h * a, h * b) - second(2 * h * a, 2 * h * b) / 4) / 3 for a in steps]
                for b in steps
            ]
        )
        / h**2
    )
    ours = observed_information(rows, parameters(centre), prior_rows)
    size = np.sqrt(np.outer(ours.diagonal(), ours.diagonal()))
    np.testing.assert_allclose(found / size, ours / size, atol=1e-6)


def test_without_missing_cells_it_is_that_of_complete_data() -> None:
    X = factor_table(50, 3, 0.0, seed=1)
    at = X.mean(axis=0), np.cov(X.T, bias=True)
    information = observed_information(rows_of(X), at)
    np.testing.assert_allclose(information @ complete_errors(at[1], 50), np.eye(9), atol=1e-10)


@pytest.mark.parametrize("prior_rows", [0.0, 5.0])
def test_conjugate_gradients_come_to_the_same(
    prior_rows: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = factor_table(300, 6, 0.3, seed=5)
    rows = rows_of((X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0))
    summary = PatternSummary.from_array(X)
    fit = fit_gaussian(summary, prior_rows=prior_rows, tol=1e-10)
    at = Standardisation.of(summary).standardise(fit.model)
    columns, names = np.array([4, 1]), list("abcdef")
    by_matrix = precision_of(rows, at, prior_rows, columns, names)
    monkeypatch.setattr(inference, "MOST_COLUMNS", 0)
    by_solving = precision_of(rows, at, prior_rows, columns, names)
    np.testing.assert_allclose(by_solving.errors, by_matrix.errors, rtol=1e-5, atol=1e-9)
    assert by_solving.errors.shape == (5, 5)


@pytest.mark.parametrize("most", [100, 0])
def test_a_direction_without_information_is_named(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = factor_table(200, 3, 0.0, seed=2)
    X[:100, 0], X[100:, 1] = np.nan, np.nan
    monkeypatch.setattr(inference, "MOST_COLUMNS", most)
    model = fit_gaussian(X).model
    at = model.mean, model.covariance
    with pytest.raises(Undetermined, match="covariance of a and b"):
        precision_of(rows_of(X), at, 0.0, np.arange(3), list("abc"))
