"""The energy-I-score: the published algorithm with draws, and what it prefers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from em_impute.gaussian import GaussianModel, fit_gaussian
from em_impute.gaussian.truncated import truncated_crps
from em_impute.self_test.energy import Scored, energy_i_score
from em_impute.self_test.scores import EnergyIScore

Floats = NDArray[np.float64]


def scored(X: Floats, imputed: Floats, model: GaussianModel) -> EnergyIScore:
    columns = [Scored(f"x{j}", j) for j in np.flatnonzero(np.isnan(X).any(axis=0)).tolist()]
    score = energy_i_score(X, imputed, columns, model)
    assert score is not None
    return score


def missing_at_random(n: int, seed: int) -> tuple[Floats, Floats]:
    """Complete rows, and the same with cells of the last two columns missing by the first."""
    rng = np.random.default_rng(seed)
    complete = rng.normal(size=(n, 4)) @ np.triu(np.full((4, 4), 0.7)) + [5.0, 0.0, -3.0, 1.0]
    X = complete.copy()
    X[:, 2:][rng.random((n, 2)) < 0.7 / (1 + np.exp(5.5 - complete[:, :1]))] = np.nan
    return complete, X


def plainly(X: Floats, imputed: Floats, draws: int = 4000) -> float:
    """The package's steps: column by column, a table with holes, filled again and again."""
    rng, n, total, weights = np.random.default_rng(0), len(X), 0.0, 0.0
    X, imputed = X / np.nanstd(X, axis=0), imputed / np.nanstd(X, axis=0)
    for j in range(X.shape[1]):
        shows = [i for i in range(n) if not np.isnan(X[i, j])]
        lacks = [i for i in range(n) if np.isnan(X[i, j])]
        if not lacks:
            continue
        others = [k for k in range(X.shape[1]) if k != j and not np.isnan(X[shows, k]).any()]
        table = np.column_stack([imputed[:, j], imputed[:, others]])
        table[shows, 0] = np.nan
        refitted = fit_gaussian(table, tol=1e-10).model
        normal = refitted.conditional(table)
        off = 0.0
        for i, mean, sd in zip(normal.rows, normal.mean, normal.sd, strict=True):
            x = np.sort(rng.normal(mean, sd, draws))
            # E|X - X'| of a sample, from its order.
            apart = 2 * ((2 * np.arange(1, draws + 1) - draws - 1) @ x) / draws**2
            off += np.abs(x - X[i, j]).mean() - apart / 2
        weight = len(shows) * len(lacks) / n**2
        total, weights = total - weight * off / len(shows), weights + weight
    return total / weights


def test_the_score_is_that_of_the_published_algorithm() -> None:
    _, X = missing_at_random(200, seed=1)
    X[np.random.default_rng(2).random(200) < 0.1, 3] = np.nan
    model = fit_gaussian(X).model
    imputed = model.draw(X, seed=3)
    assert scored(X, imputed, model).score == pytest.approx(plainly(X, imputed), rel=0.005)


def test_with_all_other_columns_seen_it_is_the_crps_of_the_model() -> None:
    """Where cells are missing by chance the model's normals have sd / sqrt(pi) on average."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(20_000, 3)) @ np.array([[1.0, 0.6, 0.5], [0.0, 0.8, 0.3], [0.0, 0.0, 0.7]])
    residual_sd = np.sqrt(1.0 / np.linalg.inv(np.cov(X.T))[2, 2])
    expected = -residual_sd / X[:, 2].std() / np.sqrt(np.pi)
    X[rng.random(20_000) < 0.3, 2] = np.nan
    model = fit_gaussian(X).model
    found = scored(X, model.draw(X, seed=1), model)
    assert found.score == pytest.approx(expected, rel=0.02)
    assert found.alone == pytest.approx(-1 / np.sqrt(np.pi), rel=0.02)
    (one,) = found.columns
    assert (one.predictors, one.observed + one.missing) == (2, 20_000)
    assert one.weight == pytest.approx(0.3 * 0.7, rel=0.02)


def test_it_prefers_draws_where_the_error_of_masked_cells_prefers_means() -> None:
    """And draws of the right model to those of one without correlations."""
    complete, X = missing_at_random(3000, seed=5)
    model, holes = fit_gaussian(X).model, np.isnan(X)
    loose = GaussianModel(model.mean, np.diag(model.sd**2), model.columns)
    fillings = {
        "draws": model.draw(X, seed=1),
        "means": model.impute(X),
        "unrelated draws": loose.draw(X, seed=1),
    }
    score = {name: scored(X, filled, model).score for name, filled in fillings.items()}
    rmse = {
        name: np.sqrt(np.mean((filled - complete)[holes] ** 2)) for name, filled in fillings.items()
    }
    assert max(score, key=lambda name: score[name]) == "draws"
    assert min(rmse, key=lambda name: rmse[name]) == "means"


def test_neither_order_nor_units_matter() -> None:
    _, X = missing_at_random(300, seed=6)
    model = fit_gaussian(X).model
    imputed, order = model.draw(X, seed=1), np.random.default_rng(7).permutation(300)
    found = scored(X, imputed, model)
    units = np.array([1e8, 1.0, 1e-8, 20.0])
    there = GaussianModel(
        model.mean * units, model.covariance * np.outer(units, units), model.columns
    )
    other = scored((X * units)[order], (imputed * units)[order], there)
    assert other.score == pytest.approx(found.score, rel=1e-8)
    assert other.alone == pytest.approx(found.alone, rel=1e-8)


def test_without_a_column_that_all_rows_show_the_one_that_most_show_is_taken() -> None:
    _, X = missing_at_random(400, seed=8)
    rng = np.random.default_rng(9)
    X[rng.random(400) < 0.02, 0] = np.nan
    X[rng.random(400) < 0.01, 1] = np.nan
    model = fit_gaussian(X).model
    found = energy_i_score(X, model.draw(X, seed=1), [Scored("x2", 2)], model)
    assert found is not None
    assert [one.predictors for one in found.columns] == [1]


def test_bounds_cut_the_normals() -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=500)
    X = np.column_stack([x, np.abs(0.5 * x + rng.normal(size=500))])
    X[rng.random(500) < 0.3, 1] = np.nan
    model, holes = fit_gaussian(X).model, np.isnan(X[:, 1])
    imputed = model.draw(X, seed=1)
    found = energy_i_score(X, imputed, [Scored("x1", 1, low=0.0)], model)
    assert found is not None
    line = stats.linregress(x[holes], imputed[holes, 1])
    sd = np.sqrt(np.mean((imputed[holes, 1] - line.intercept - line.slope * x[holes]) ** 2))
    y = X[~holes, 1]
    crps = truncated_crps(
        y, line.intercept + line.slope * x[~holes], np.full(len(y), sd), 0, np.inf
    )
    assert found.score == pytest.approx(-crps.mean() / y.std())


def test_few_rows_are_no_score() -> None:
    _, X = missing_at_random(60, seed=11)
    model = fit_gaussian(X).model
    X[:, 2:] = np.nan_to_num(X[:, 2:])
    X[:9, 2] = np.nan
    assert energy_i_score(X, model.draw(X, seed=1), [Scored("x2", 2)], model) is None
    X[:, 2], X[:9, 2] = np.nan, 1.0
    assert energy_i_score(X, model.draw(X, seed=1), [Scored("x2", 2)], model) is None
