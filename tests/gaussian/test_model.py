"""GaussianModel: what it fills, and its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from holed_tables import factor_table, reference, tables
from hypothesis import given, settings
from numpy.typing import NDArray

from em_impute.gaussian import GaussianModel, fit_gaussian
from em_impute.gaussian.conditional import conditional_cells

Floats = NDArray[np.float64]


def some_model(p: int, seed: int) -> GaussianModel:
    X = factor_table(10 * p, p, 0.0, seed)
    return GaussianModel(X.mean(axis=0), np.cov(X.T), tuple(f"c{j}" for j in range(p)))


@settings(deadline=None)
@given(tables())
def test_observed_cells_come_back_bit_by_bit(X: Floats) -> None:
    X.flat[0] = -0.0
    model = some_model(X.shape[1], seed=1)
    before = X.tobytes()
    filled = model.impute(X)
    observed = ~np.isnan(X)
    assert filled[observed].tobytes() == X[observed].tobytes()
    assert np.isfinite(filled).all()
    assert X.tobytes() == before


@settings(deadline=None)
@given(tables())
def test_each_missing_cell_is_its_regression_on_the_observed_ones(X: Floats) -> None:
    model = some_model(X.shape[1], seed=2)
    cells = model.conditional(X)
    np.testing.assert_array_equal(
        np.stack([cells.rows, cells.columns], axis=1), np.argwhere(np.isnan(X))
    )
    for i, j, mean, sd in zip(cells.rows, cells.columns, cells.mean, cells.sd, strict=True):
        o = ~np.isnan(X[i])
        slopes = np.linalg.solve(model.covariance[np.ix_(o, o)], model.covariance[o, j])
        expected = model.mean[j] + slopes @ (X[i, o] - model.mean[o])
        variance = model.covariance[j, j] - slopes @ model.covariance[o, j]
        assert mean == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert sd == pytest.approx(np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize("condition", [1e1, 1e7, 1e11])
def test_few_cells_of_a_row_are_as_they_are_among_all(condition: float) -> None:
    """One to three cells of rows that lack any share of 9 columns, one of which is constant."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    covariance = (axes * np.geomspace(1, condition, 9)) @ axes.T
    covariance = (covariance + covariance.T) / 2
    covariance[4] = covariance[:, 4] = 0.0
    model = GaussianModel(rng.normal(size=9), covariance, tuple("abcdefghi"))
    for k in (1, 3):
        X = rng.normal(size=(200, 9))
        X[rng.random(X.shape) < rng.random((200, 1))] = np.nan
        cells = rng.permuted(np.tile(np.arange(9), (200, 1)), axis=1)[:, :k]
        X[np.arange(200)[:, None], cells] = np.nan
        expected = np.full((2, 200, 9), np.nan)
        given = model.conditional(X)
        expected[:, given.rows, given.columns] = given.mean, given.sd
        found = conditional_cells(X, cells, model.mean, model.covariance)
        for one, all_ in zip(found, expected, strict=True):
            chosen = np.take_along_axis(all_, cells, axis=1)
            np.testing.assert_allclose(one, chosen, rtol=1e-5, atol=1e-5)


def test_a_row_is_filled_the_same_to_the_last_bit_in_any_company() -> None:
    X = factor_table(500, 7, 0.3, seed=3)
    model = some_model(7, seed=4)
    together = model.impute(X)
    alone = np.vstack([model.impute(row[None]) for row in X])
    assert together.tobytes() == alone.tobytes()
    order = np.random.default_rng(5).permutation(len(X))
    assert model.impute(X[order]).tobytes() == together[order].tobytes()


def test_rows_with_nothing_observed_get_the_means() -> None:
    model = some_model(4, seed=6)
    np.testing.assert_array_equal(
        model.impute(np.full((2, 4), np.nan)), np.tile(model.mean, (2, 1))
    )


def test_a_constant_column_is_filled_with_its_value_and_says_nothing() -> None:
    model = GaussianModel(np.array([5.0, 1.0]), np.diag([0.0, 2.0]), ("constant", "other"))
    filled = model.impute(np.array([[np.nan, 3.0], [9.0, np.nan]]))
    np.testing.assert_array_equal(filled, [[5.0, 3.0], [9.0, 1.0]])
    assert model.conditional(np.array([[np.nan, 3.0]])).sd.tolist() == [0.0]


def test_columns_of_wildly_different_scale() -> None:
    scale = np.array([1e-12, 1.0, 1e12])
    X = factor_table(100, 3, 0.2, seed=7)
    one, other = fit_gaussian(X, tol=1e-9).model, fit_gaussian(X * scale, tol=1e-9).model
    np.testing.assert_allclose(other.impute(X * scale) / scale, one.impute(X), rtol=1e-7)


def test_columns_that_determine_each_other_fill_each_other() -> None:
    model = GaussianModel(np.zeros(3), np.ones((3, 3)), ("a", "b", "c"))
    X = np.array([[2.0, 2.0, np.nan], [2.0, np.nan, np.nan], [1.0, 2.0, np.nan]])
    given = model.conditional(X)
    # What contradicts the model is taken for the nearest that does not.
    np.testing.assert_allclose(given.mean, [2.0, 2.0, 2.0, 1.5], atol=1e-12)
    np.testing.assert_array_equal(given.sd, 0.0)


def test_a_covariance_of_no_distribution_is_a_sentence() -> None:
    model = GaussianModel(np.zeros(3), 2 - np.eye(3), ("a", "b", "c"))
    with pytest.raises(ValueError, match="a negative variance"):
        model.impute(np.array([[1.0, 2.0, np.nan]]))


def test_infinities_and_other_shapes_are_refused() -> None:
    model = some_model(3, seed=8)
    with pytest.raises(ValueError, match="Expected 3 columns, got 2"):
        model.impute(np.ones((1, 2)))
    with pytest.raises(ValueError, match="Infinite cells"):
        model.impute(np.array([[1.0, np.inf, np.nan]]))


def test_saved_model_comes_back_bit_by_bit(tmp_path: Path) -> None:
    model = fit_gaussian(reference("nhanes").X).model
    model.save(tmp_path / "model.json")
    loaded = GaussianModel.load(tmp_path / "model.json")
    assert loaded.columns == model.columns
    assert loaded.mean.tobytes() == model.mean.tobytes()
    assert loaded.covariance.tobytes() == model.covariance.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "expected format em_impute.gaussian version 1"),
        ({"format": "other"}, "expected format"),
        ({"mean": [0.0]}, "must have shape"),
        ({"covariance": [[1.0, 0.5], [0.4, 1.0]]}, "symmetric"),
        ({"covariance": [[-1.0, 0.0], [0.0, 1.0]]}, "negative"),
        ({"mean": [0.0, "x"]}, "not a model"),
        ({"mean": [0.0, float("inf")]}, "finite"),
        ({"mean": [0.0, "1"]}, "numbers"),
        ({"mean": [0.0, None]}, "numbers"),
        ({"mean": {"a": 1}}, "numbers"),
        ({"covariance": [[1.0, 0.5]]}, "must have shape"),
        ({"covariance": [[1.0, 0.5], [0.5]]}, "not a model"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive semidefinite"),
        ({"covariance": [[0.0, 0.5], [0.5, 1.0]]}, "positive semidefinite"),
        ({"covariance": [[1.0, None], [None, 1.0]]}, "numbers"),
        ({"columns": ["a", "a"]}, "differ from each other"),
        ({"columns": ["a"]}, "must have shape"),
        ({"columns": "ab"}, "list of column names"),
        ({"columns": ["a", 1]}, "names to be text"),
        ({"columns": None}, "not a model"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "model.json"
    GaussianModel(np.zeros(2), np.eye(2), ("a", "b")).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        GaussianModel.load(path)


def test_a_model_is_made_of_lists_too() -> None:
    model = GaussianModel([0, 1], [[1, 0.5], [0.5, 1]], ["a", "b"])  # type: ignore[arg-type]
    assert model.impute([[1, None]]).tolist() == [[1.0, 1.5]]
    with pytest.raises(TypeError, match="Expected a list of column names"):
        GaussianModel(np.zeros(2), np.eye(2), "ab")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="differ from each other"):
        GaussianModel(np.zeros(2), np.eye(2), ("a", "a"))


@pytest.mark.parametrize("content", ["mean: 1", "null", "[]", "[" * 100_000, "\x00"])
def test_text_that_is_no_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ValueError, match=r"model\.json is not a model that can be read"):
        GaussianModel.load(tmp_path / "model.json")
