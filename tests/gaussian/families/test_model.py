"""The mixture as a model that fills tables: moments, draws, constant columns, its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.families import KINDS, Components, Kind, MixtureModel, Scaling
from em_impute.gaussian.families.mixed import mixed_moments
from em_impute.gaussian.filling import load_model
from em_impute.gaussian.keys import row_words

Floats = NDArray[np.float64]
COLUMNS = ("x", "y", "z")


def mixture(kind: Kind = "full", seed: int = 0) -> MixtureModel:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(2, 3, 3)) / 2 + np.eye(3)
    covariances = factors @ np.swapaxes(factors, 1, 2)
    if kind in ("diag", "spherical"):
        covariances = np.diagonal(covariances, axis1=1, axis2=2)[:, None].copy()
    weights, means = np.array([0.7, 0.3]), rng.normal(size=(2, 3))
    scaling = Scaling(np.array([5.0, -2.0, 0.0]), np.array([2.0, 0.1, 30.0]))
    return MixtureModel(Components(kind, weights, means, covariances), scaling, COLUMNS)


def holed(model: MixtureModel, n: int = 60) -> Floats:
    rng = np.random.default_rng(1)
    X = model.mean + model.sd * rng.normal(size=(n, 3))
    X[rng.random(X.shape) < 0.4] = np.nan
    X[0] = np.nan
    return X


def by_hand(model: MixtureModel, x: Floats) -> tuple[Floats, Floats]:
    """Mean and sd of the missing cells of a row, by the definition."""
    o, m = ~np.isnan(x), np.isnan(x)
    weights, means, variances = [], [], []
    for w, mu, S in zip(model.weights, model.means, model.covariances, strict=True):
        density = multivariate_normal(mu[o], S[np.ix_(o, o)]).pdf(x[o]) if o.any() else 1.0
        slopes = np.linalg.solve(S[np.ix_(o, o)], S[np.ix_(o, m)]).T
        weights.append(w * density)
        means.append(mu[m] + slopes @ (x[o] - mu[o]))
        variances.append(np.diag(S[np.ix_(m, m)] - slopes @ S[np.ix_(o, m)]))
    r = np.array(weights) / np.sum(weights)
    mean = r @ np.array(means)
    return mean, np.sqrt(r @ (np.array(variances) + (np.array(means) - mean) ** 2))


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_cells_have_the_mixtures_mean_and_sd(kind: Kind) -> None:
    model = mixture(kind)
    X = holed(model)
    given = model.conditional(X)
    for row in range(len(X)):
        mean, sd = by_hand(model, X[row])
        np.testing.assert_allclose(given.mean[given.rows == row], mean, rtol=1e-9)
        np.testing.assert_allclose(given.sd[given.rows == row], sd, rtol=1e-9)
    lacking = np.flatnonzero(np.isnan(X[:, 1]))
    parts = model.conditional_parts(X[lacking], np.full((len(lacking), 1), 1))
    mean, sd = mixed_moments(parts)
    np.testing.assert_allclose(mean[:, 0], given.mean[given.columns == 1], rtol=1e-9)
    np.testing.assert_allclose(sd[:, 0], given.sd[given.columns == 1], rtol=1e-9)
    np.testing.assert_array_equal(model.impute(X)[given.rows, given.columns], given.mean)


def test_the_moments_of_all_rows_are_those_of_samples() -> None:
    model, rng = mixture(), np.random.default_rng(2)
    of = rng.choice(2, size=200_000, p=model.weights)
    rows = np.array([rng.multivariate_normal(m, S, len(of)) for _, one in model.parts
                     for m, S in [(one.mean, one.covariance)]])[of, np.arange(len(of))]  # fmt: skip
    np.testing.assert_allclose((rows.mean(axis=0) - model.mean) / model.sd, 0.0, atol=0.01)
    np.testing.assert_allclose(rows.std(axis=0), model.sd, rtol=0.01)
    np.testing.assert_allclose(np.corrcoef(rows.T), model.correlation, atol=0.01)


def test_a_row_is_drawn_by_one_component() -> None:
    """By its responsibilities; and whatever rows are drawn with it."""
    model = mixture()
    X = np.tile(np.array([np.nan, -1.9, np.nan]), (4000, 1))
    [expected] = model.posteriors(X[:1])[0]
    words = row_words(None, len(X))
    by = {id(one): rows for one, rows in model.drawn_by(X, 7, words, 1)}
    shares = [len(by[id(one)]) / len(X) for one in model.gaussians]
    np.testing.assert_allclose(shares, expected, atol=0.03)
    drawn = model.draw(X, 7)
    for one in model.gaussians:
        rows = by[id(one)]
        alone = one.draw(X[rows], 7, [int(row) for row in rows])
        assert alone.tobytes() == drawn[rows].tobytes()
    some = np.array([17, 3, 3999])
    assert model.draw(X[some], 7, some.tolist()).tobytes() == drawn[some].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_column_says_nothing_and_is_filled_with_its_value(kind: Kind) -> None:
    model = mixture(kind)
    wider = model.with_constants(("c", "x", "y", "z", "d"), {"c": 3.0, "d": -1.0})
    X = holed(model)
    with_both = np.column_stack([np.full(len(X), 3.0), X, np.full(len(X), -1.0)])
    with_both[::2, 0] = np.nan
    with_both[::3, 4] = np.nan
    with_both[1, 0] = 100.0
    np.testing.assert_allclose(wider.posteriors(with_both)[0], model.posteriors(X)[0], atol=1e-12)
    np.testing.assert_allclose(wider.impute(with_both)[:, 1:4], model.impute(X), rtol=1e-10)
    assert (wider.impute(with_both)[::2, 0] == 3.0).all()
    assert (wider.draw(with_both, 1)[::3, 4] == -1.0).all()
    given = wider.conditional(with_both)
    assert (given.sd[np.isin(given.columns, [0, 4])] == 0).all()
    assert wider.sd[[0, 4]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_model_back_bit_by_bit(kind: Kind, tmp_path: Path) -> None:
    model = mixture(kind).with_constants(("x", "y", "z", "c"), {"c": 1 / 3})
    model.save(tmp_path / "model.json")
    for again in (MixtureModel.load(tmp_path / "model.json"), load_model(tmp_path / "model.json")):
        assert isinstance(again, MixtureModel)
        assert json.dumps(again.to_dict()) == json.dumps(model.to_dict())
        X = np.column_stack([holed(mixture(kind)), np.full(60, np.nan)])
        assert again.impute(X).tobytes() == model.impute(X).tobytes()


def test_a_file_of_another_family_is_refused(tmp_path: Path) -> None:
    mixture().save(tmp_path / "mixture.json")
    GaussianModel(np.zeros(1), np.eye(1), ("x",)).save(tmp_path / "gaussian.json")
    said = (
        "not a model that can be read: expected format em_impute.{} version 1; a model of another"
    )
    with pytest.raises(ValueError, match=said.format("gaussian")):
        GaussianModel.load(tmp_path / "mixture.json")
    with pytest.raises(ValueError, match=said.format("mixture")):
        MixtureModel.load(tmp_path / "gaussian.json")
    assert load_model(tmp_path / "gaussian.json").columns == ("x",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": [0.7, 0.7]}, "weights that sum to 1"),
        ({"weights": ["a", "b"]}, "to be numbers"),
        ({"scale": [1.0, -1.0, 1.0]}, "scales that are not negative"),
        ({"columns": [1, 2, 3]}, "column names to be text"),
        ({"columns": ["x", "y"]}, "do not fit each other"),
        ({"covariance_type": "round"}, "one of the covariance types"),
        ({"covariances": np.zeros((2, 3, 3)).tolist()}, "positive definite"),
        ({"version": 2}, "version 1"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    mixture().save(tmp_path / "model.json")
    content = json.loads((tmp_path / "model.json").read_text()) | change
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path / "model.json")
