"""The factor model as a model that fills tables: moments, draws, constant columns, its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.families import FactorModel, MixtureModel, Scaling
from em_impute.gaussian.families.loadings import Loadings
from em_impute.gaussian.filling import load_model
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import row_words

Floats = NDArray[np.float64]
COLUMNS = ("v", "w", "x", "y", "z")


def factor(*, isotropic: bool = False) -> FactorModel:
    rng = np.random.default_rng(0)
    noise = np.full(5, 0.3) if isotropic else rng.uniform(0.2, 0.8, 5)
    at = Loadings(rng.normal(size=5), rng.normal(size=(5, 2)), noise, isotropic, 1e-5)
    scaling = Scaling(np.array([5.0, -2.0, 0.0, 1.0, 9.0]), np.array([2.0, 0.1, 30.0, 1.0, 1.0]))
    return FactorModel(at, scaling, COLUMNS)


def holed(model: FactorModel, n: int = 600) -> Floats:
    """More rows than are worked on at a time, one of which shows nothing."""
    rng = np.random.default_rng(1)
    X = rng.multivariate_normal(model.mean, model.covariance, n)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[0] = np.nan
    return X


def dense(model: FactorModel) -> GaussianModel:
    """The same Gaussian with its covariance as a matrix."""
    return GaussianModel(model.mean, model.covariance, model.columns)


def test_cells_are_those_of_the_gaussian_with_the_same_covariance() -> None:
    model = factor()
    X, gaussian = holed(model), dense(model)
    ours, theirs = model.conditional(X), gaussian.conditional(X)
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    np.testing.assert_array_equal(ours.columns, theirs.columns)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.sd, theirs.sd, rtol=1e-9)
    np.testing.assert_allclose(model.correlation, gaussian.correlation, rtol=1e-12)
    np.testing.assert_array_equal(model.impute(X)[ours.rows, ours.columns], ours.mean)


def test_some_cells_of_each_row_are_described_alone() -> None:
    model = factor()
    X = holed(model)
    rows = np.flatnonzero(np.isnan(X[:, 1:3]).all(axis=1))
    cells = np.tile([1, 2], (len(rows), 1))
    [(weights, mean, sd)] = model.conditional_parts(X[rows], cells)
    [(_, expected, spread)] = dense(model).conditional_parts(X[rows], cells)
    assert (weights == 1.0).all()
    np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sd, spread, rtol=1e-9)
    [(_, nothing, _)] = model.conditional_parts(X[:0], cells[:0])
    assert nothing.shape == (0, 2)


def test_a_table_without_rows_or_holes_is_no_exception() -> None:
    model = factor()
    assert model.impute(np.empty((0, 5))).shape == (0, 5)
    assert model.posteriors(np.empty((0, 5)))[0].shape == (0, 2)
    whole = np.zeros((3, 5))
    assert model.draw(whole, 1).tobytes() == whole.tobytes()
    assert len(model.conditional(whole).mean) == 0


def test_a_row_is_drawn_alike_in_any_company() -> None:
    model = factor()
    X = holed(model)
    drawn = model.draw(X, 7)
    some = np.array([17, 3, 599])
    assert model.draw(X[some], 7, some.tolist()).tobytes() == drawn[some].tobytes()
    [(normal, rows)] = model.drawn_by(X, 7, row_words(None, len(X)), 1)
    assert normal is model
    np.testing.assert_array_equal(rows, np.arange(len(X)))
    holes = Holes.of(X)
    cells = model.draw_cells(holes, 7, row_words(None, len(X)))
    assert holes.filled(cells).tobytes() == drawn.tobytes()
    assert not np.array_equal(model.draw(X, 7, imputation=2), drawn)


@pytest.mark.parametrize("isotropic", [False, True])
def test_a_constant_column_says_nothing_and_is_filled_with_its_value(isotropic: bool) -> None:
    model = factor(isotropic=isotropic)
    wider = model.with_constants(("c", *COLUMNS, "d"), {"c": 3.0, "d": -1.0})
    X = holed(model)
    with_both = np.column_stack([np.full(len(X), 3.0), X, np.full(len(X), -1.0)])
    with_both[::2, 0] = np.nan
    with_both[::3, 6] = np.nan
    with_both[1, 0] = 100.0
    np.testing.assert_allclose(wider.posteriors(with_both)[0], model.posteriors(X)[0], atol=1e-12)
    np.testing.assert_allclose(wider.impute(with_both)[:, 1:6], model.impute(X), rtol=1e-10)
    assert (wider.impute(with_both)[::2, 0] == 3.0).all()
    assert (wider.draw(with_both, 1)[::3, 6] == -1.0).all()
    given = wider.conditional(with_both)
    assert (given.sd[np.isin(given.columns, [0, 6])] == 0).all()
    assert wider.sd[[0, 6]].tolist() == [0.0, 0.0]
    assert not wider.standardised.held.any()


@pytest.mark.parametrize("isotropic", [False, True])
def test_a_file_gives_the_model_back_bit_by_bit(isotropic: bool, tmp_path: Path) -> None:
    model = factor(isotropic=isotropic).with_constants((*COLUMNS, "c"), {"c": 1 / 3})
    model.save(tmp_path / "model.json")
    for again in (FactorModel.load(tmp_path / "model.json"), load_model(tmp_path / "model.json")):
        assert isinstance(again, FactorModel)
        assert json.dumps(again.to_dict()) == json.dumps(model.to_dict())
        X = np.column_stack([holed(factor()), np.full(600, np.nan)])
        assert again.draw(X, 3).tobytes() == model.draw(X, 3).tobytes()


def test_a_file_of_another_family_is_refused(tmp_path: Path) -> None:
    factor().save(tmp_path / "factor.json")
    said = "not a model that can be read: expected format em_impute.mixture version 1; a model of"
    with pytest.raises(ValueError, match=said):
        MixtureModel.load(tmp_path / "factor.json")
    dense(factor()).save(tmp_path / "gaussian.json")
    with pytest.raises(ValueError, match=r"expected format em_impute\.factor version 1"):
        FactorModel.load(tmp_path / "gaussian.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": ["a"] * 5}, "to be numbers"),
        ({"noise": [0.0] * 5}, "noise above 0"),
        ({"min_noise": 0}, "noise above 0"),
        ({"scale": [1.0, -1.0, 1.0, 1.0, 1.0]}, "scales that are not negative"),
        ({"columns": [1, 2, 3, 4, 5]}, "column names to be text"),
        ({"isotropic": "yes"}, "true or false"),
        ({"columns": ["x", "y"]}, "parameters do not fit"),
        ({"loadings": [[1.0, 2.0]]}, "loadings do not fit"),
        ({"loadings": [[]] * 5}, "to be numbers|loadings do not fit"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    factor().save(tmp_path / "model.json")
    content = json.loads((tmp_path / "model.json").read_text()) | change
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path / "model.json")
