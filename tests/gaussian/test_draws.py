"""Keyed draws: the right distribution, and the same bits however the rows are passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from holed_tables import factor_table, tables
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import stats

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.draws import standard_normals
from em_impute.gaussian.keys import row_words

Floats = NDArray[np.float64]


def some_model(p: int, seed: int) -> GaussianModel:
    X = factor_table(10 * p, p, 0.0, seed)
    return GaussianModel(X.mean(axis=0), np.cov(X.T), tuple(f"c{j}" for j in range(p)))


def standardised(model: GaussianModel, X: Floats, drawn: Floats) -> Floats:
    cells = model.conditional(X)
    z: Floats = (drawn[cells.rows, cells.columns] - cells.mean) / cells.sd
    return z


def test_moments_are_those_of_the_conditional_distribution() -> None:
    """Mean and covariance of 200,000 draws of one row, each within 5 standard errors."""
    n, model = 200_000, some_model(5, seed=1)
    row = np.array([np.nan, 1.0, np.nan, -2.0, np.nan])
    hidden, shown = np.flatnonzero(np.isnan(row)), np.flatnonzero(~np.isnan(row))
    S = model.covariance
    slopes = np.linalg.solve(S[np.ix_(shown, shown)], S[np.ix_(shown, hidden)])
    mean = model.mean[hidden] + (row[shown] - model.mean[shown]) @ slopes
    covariance = S[np.ix_(hidden, hidden)] - S[np.ix_(hidden, shown)] @ slopes

    drawn = model.draw(np.tile(row, (n, 1)), seed=1)[:, hidden]

    variances = np.diag(covariance)
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * np.sqrt(variances / n)).all()
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / n)
    assert (np.abs(np.cov(drawn.T) - covariance) < 5 * error).all()


@pytest.mark.parametrize("smallest", [1.0, 1e-10], ids=["well", "ill-conditioned"])
def test_draws_are_cholesky_factor_times_normals(smallest: float) -> None:
    """Row by row, with the factor computed in 50 digits."""
    rng = np.random.default_rng(2)
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    S = (Q * np.geomspace(smallest, 1.0, 6)) @ Q.T
    model = GaussianModel(rng.normal(size=6), (S + S.T) / 2, tuple("abcdef"))
    X = model.mean + np.where(np.isnan(factor_table(40, 6, 0.4, seed=3)), np.nan, 0.0)
    missing = np.isnan(X)
    z = np.zeros_like(X)
    z[missing] = standard_normals(np.nonzero(missing), model.columns, 7, row_words(None, 40), 2)
    noise = model.draw(X, seed=7, imputation=2) - model.mean
    for i, m in enumerate(missing):
        expected = np.array(exact_factor(model.covariance, m)) @ z[i, m]
        np.testing.assert_allclose(noise[i, m], expected, rtol=1e-4, atol=1e-11)


def exact_factor(covariance: Floats, missing: NDArray[np.bool_]) -> list[list[float]]:
    """Cholesky factor of the conditional covariance, computed with 50 digits."""
    with mpmath.workdps(50):
        order = [*np.flatnonzero(~missing), *np.flatnonzero(missing)]
        lower = mpmath.cholesky(mpmath.matrix(covariance[np.ix_(order, order)].tolist()))
        k = int((~missing).sum())
        return [[float(lower[i, j]) for j in range(k, 6)] for i in range(k, 6)]


def test_standardised_draws_are_normal() -> None:
    model, X = some_model(6, seed=4), factor_table(20_000, 6, 0.3, seed=5)
    z = standardised(model, X, model.draw(X, seed=6))
    assert stats.kstest(z, "norm").pvalue > 0.01


@pytest.mark.parametrize(
    "keys",
    [np.arange(100_000), np.arange(100_000) * 2**40, np.arange(100_000) - 50_000],
    ids=["row numbers", "far apart", "negative"],
)
def test_normals_of_regular_keys_are_normal_and_independent(keys: NDArray[np.int64]) -> None:
    """Neighbouring rows, columns, imputations and seeds: each correlation within 5 errors of 0."""
    everything, words = np.nonzero(np.ones((len(keys), 3))), row_words(keys, len(keys))

    def normals(seed: int, imputation: int) -> Floats:
        z = standard_normals(everything, ("a", "b", "c"), seed, words, imputation)
        return z.reshape(-1, 3)

    z = normals(seed=0, imputation=1)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    apart = np.hstack([z, np.roll(z, 1, axis=0), normals(0, 2), normals(1, 1)])
    error = 5 / np.sqrt(len(keys))
    for moment in (apart, apart**2):
        correlation = np.corrcoef(moment.T)
        assert (np.abs(correlation - np.eye(12)) < error).all()


def test_no_two_cells_share_their_noise() -> None:
    everything, words = np.nonzero(np.ones((1000, 20))), row_words(None, 1000)
    columns = [f"c{j}" for j in range(20)]
    z = [standard_normals(everything, columns, s, words, i) for s in (0, 1) for i in (1, 2)]
    assert len(np.unique(np.concatenate(z))) == 80_000


@settings(max_examples=25, deadline=None)
@given(tables())
def test_observed_cells_come_back_bit_by_bit(X: Floats) -> None:
    X.flat[0] = -0.0
    before = X.tobytes()
    drawn = some_model(X.shape[1], seed=8).draw(X, seed=9)
    observed = ~np.isnan(X)
    assert drawn[observed].tobytes() == X[observed].tobytes()
    assert np.isfinite(drawn).all()
    assert X.tobytes() == before


@pytest.fixture(scope="module")
def together() -> tuple[GaussianModel, Floats, NDArray[np.int64], Floats]:
    """A model, rows, their keys, and the draws of all rows at once."""
    model, X = some_model(7, seed=10), factor_table(600, 7, 0.3, seed=11)
    keys = np.random.default_rng(12).permutation(10_000)[:600]
    return model, X, keys, model.draw(X, seed=13, keys=keys)


@pytest.mark.parametrize("batch", [1, 2, 7, 599])
def test_batches_give_the_same_bits(
    together: tuple[GaussianModel, Floats, NDArray[np.int64], Floats], batch: int
) -> None:
    model, X, keys, drawn = together
    parts = [
        model.draw(X[i : i + batch], seed=13, keys=keys[i : i + batch])
        for i in range(0, len(X), batch)
    ]
    assert np.vstack(parts).tobytes() == drawn.tobytes()


def test_other_orders_and_subsets_give_the_same_bits(
    together: tuple[GaussianModel, Floats, NDArray[np.int64], Floats],
) -> None:
    model, X, keys, drawn = together
    for size in (600, 300, 11):
        rows = np.random.default_rng(size).permutation(600)[:size]
        part = model.draw(np.asfortranarray(X[rows]), seed=13, keys=keys[rows])
        assert part.tobytes() == drawn[rows].tobytes()


def test_keys_default_to_the_row_numbers() -> None:
    model, X = some_model(3, seed=14), factor_table(20, 3, 0.5, seed=15)
    drawn = model.draw(X, seed=16)
    for keys in (np.arange(20), range(20), list(range(20)), np.arange(20.0)):
        assert model.draw(X, seed=16, keys=keys).tobytes() == drawn.tobytes()
    assert model.draw(X, seed=17).tobytes() != drawn.tobytes()
    assert model.draw(X, seed=16, imputation=1).tobytes() == drawn.tobytes()
    assert model.draw(X, seed=16, imputation=2).tobytes() != drawn.tobytes()


def test_another_process_draws_the_same() -> None:
    """Python's own hash of text differs from process to process; ours must not."""
    program = (
        "import numpy as np; from em_impute.gaussian.draws import standard_normals;"
        "from em_impute.gaussian.keys import row_words;"
        "cells, words = np.nonzero(np.ones((2, 1))), row_words(['a', ('b', 4)], 2);"
        "print(standard_normals(cells, ('Größe',), 3, words, 5).tolist())"
    )
    cells, words = np.nonzero(np.ones((2, 1))), row_words(["a", ("b", 4)], 2)
    here = standard_normals(cells, ("Größe",), 3, words, 5)
    root = Path(__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert there.stdout.strip() == str(here.tolist())


def test_the_noise_of_a_cell_is_pinned() -> None:
    """A change of these numbers would change what every user's seed means."""
    z = standard_normals(np.nonzero(np.ones((1, 2))), ("a", "b"), 1, row_words(["key"], 1), 1)
    np.testing.assert_allclose(z, [-0.5814408892994077, -1.136385460880819], rtol=1e-13)


def test_a_constant_column_and_a_row_with_nothing_observed() -> None:
    model = GaussianModel(np.array([5.0, 1.0]), np.diag([0.0, 2.0]), ("constant", "other"))
    drawn = model.draw(np.full((20_000, 2), np.nan), seed=18)
    assert (drawn[:, 0] == 5.0).all()
    assert stats.kstest((drawn[:, 1] - 1.0) / np.sqrt(2.0), "norm").pvalue > 0.01


def test_nothing_missing_is_nothing_drawn() -> None:
    X = factor_table(5, 3, 0.0, seed=19)
    assert some_model(3, seed=20).draw(X, seed=21).tobytes() == X.tobytes()
    assert some_model(3, seed=20).draw(X[:0], seed=21).shape == (0, 3)


def test_mistakes_are_sentences() -> None:
    model, X = some_model(3, seed=22), factor_table(5, 3, 0.5, seed=23)
    with pytest.raises(ValueError, match="one key for each of the 5 rows, got 4"):
        model.draw(X, seed=1, keys=[1, 2, 3, 4])
    with pytest.raises(TypeError, match="Keys must be numbers, text, dates"):
        model.draw(X, seed=1, keys=[object()] * 5)
    with pytest.raises(ValueError, match=r"The key of row 1 \(counted from 0\) is missing"):
        model.draw(X, seed=1, keys=["a", None, "b", "c", "d"])
    with pytest.raises(ValueError, match="counted from 1, got 0"):
        model.draw(X, seed=1, imputation=0)
    impossible = GaussianModel(np.zeros(2), 2 - np.eye(2), ("a", "b"))
    with pytest.raises(ValueError, match="a negative variance"):
        impossible.draw(np.array([[1.0, np.nan]]), seed=1)
