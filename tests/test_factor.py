"""EMFactor: scikit-learn's factor analysis and PCA, with missing cells."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from em_impute import ConvergenceWarning, EMFactor

Floats = NDArray[np.float64]


@pytest.mark.filterwarnings("ignore::em_impute.gaussian.ConvergenceWarning")
@parametrize_with_checks([EMFactor(), EMFactor(noise="isotropic", rotation="varimax")])
def test_scikit_learn_contract(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for EMImputer.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.fixture(scope="module")
def wine() -> pd.DataFrame:
    """Thirteen measurements of 178 wines (Aeberhard, Coomans & de Vel 1992)."""
    return load_wine(as_frame=True).data


@pytest.fixture(scope="module")
def holed(wine: pd.DataFrame) -> pd.DataFrame:
    return wine.mask(np.random.default_rng(0).random(wine.shape) < 0.2)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_complete_rows_are_fitted_as_by_factor_analysis(wine: pd.DataFrame, k: int) -> None:
    X = scale(wine)
    theirs = FactorAnalysis(k, tol=1e-10, max_iter=20_000, svd_method="lapack").fit(X)
    ours = EMFactor(k, tol=1e-9).fit(X)
    assert ours.score(X) >= theirs.score(X) - 1e-3
    np.testing.assert_allclose(ours.get_covariance(), theirs.get_covariance(), atol=0.01)
    np.testing.assert_allclose(np.abs(ours.transform(X)), np.abs(theirs.transform(X)), atol=0.05)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_complete_rows_are_fitted_as_by_probabilistic_pca(k: int) -> None:
    X = load_breast_cancer().data
    theirs, ours = PCA(k).fit(X), EMFactor(k, noise="isotropic").fit(X)
    # PCA divides by n - 1, which is not the maximum.
    assert theirs.score(X) - 1e-6 <= ours.score(X) <= theirs.score(X) + 1e-3
    assert ours.noise_variance_ == pytest.approx(theirs.noise_variance_, rel=0.01)
    assert isinstance(ours.noise_variance_, float)
    ours_first = ours.components_[0] / np.linalg.norm(ours.components_[0])
    assert abs(ours_first @ theirs.components_[0]) > 0.9999


def test_attributes_and_scores_agree(holed: pd.DataFrame) -> None:
    factor = EMFactor(2).fit(holed)
    scores = factor.score_samples(holed)
    assert factor.converged_
    assert not factor.held_.any()
    assert scores.sum() == pytest.approx(factor.loglik_)
    assert factor.score(holed) == pytest.approx(factor.loglik_ / len(holed))
    assert factor.logliks_[-1] == factor.loglik_
    assert (np.diff(factor.logliks_) >= -1e-9).all()
    assert 1 <= len(factor.logliks_) <= factor.n_iter_
    assert factor.components_.shape == (2, 13)
    assert factor.mean_.shape == factor.noise_variance_.shape == (13,)
    covariance = factor.components_.T @ factor.components_ + np.diag(factor.noise_variance_)
    np.testing.assert_allclose(factor.get_covariance(), covariance)
    n_parameters = 13 + 13 + 2 * 13 - 1
    assert factor.bic(holed) == pytest.approx(-2 * factor.loglik_ + n_parameters * np.log(178))
    assert factor.aic(holed) == pytest.approx(-2 * factor.loglik_ + 2 * n_parameters)


def test_scores_lead_back_to_what_the_columns_are_expected_to_be(holed: pd.DataFrame) -> None:
    factor = EMFactor(2).fit(holed)
    scores = factor.transform(holed)
    expected, missing = factor.inverse_transform(scores), holed.isna().to_numpy()
    np.testing.assert_allclose(factor.impute(holed).to_numpy()[missing], expected[missing])
    nothing = pd.DataFrame(np.nan, index=[0], columns=holed.columns)
    np.testing.assert_array_equal(factor.transform(nothing), [[0.0, 0.0]])
    np.testing.assert_allclose(factor.impute(nothing).to_numpy()[0], factor.mean_)
    assert list(factor.get_feature_names_out()) == ["emfactor0", "emfactor1"]
    framed = factor.set_output(transform="pandas").transform(holed)
    assert framed.index.equals(holed.index)


def test_varimax_changes_nothing_but_the_factors(holed: pd.DataFrame) -> None:
    plain, turned = EMFactor(2).fit(holed), EMFactor(2, rotation="varimax").fit(holed)
    np.testing.assert_allclose(turned.get_covariance(), plain.get_covariance(), rtol=1e-8)
    assert turned.impute(holed).to_numpy() == pytest.approx(plain.impute(holed).to_numpy())
    sd = np.sqrt(np.diag(plain.get_covariance()))
    simplicity = [np.var((one.components_ / sd) ** 2, axis=1).sum() for one in (plain, turned)]
    assert simplicity[1] > simplicity[0]


@pytest.mark.filterwarnings("ignore:The noise of 'ash'")
def test_bic_chooses_among_numbers_of_factors(holed: pd.DataFrame) -> None:
    factor = EMFactor("bic").fit(holed)
    assert min(factor.bics_, key=factor.bics_.__getitem__) == factor.n_components_
    assert list(factor.bics_) == list(range(1, factor.n_components_ + 3))
    assert factor.bics_[factor.n_components_] == pytest.approx(factor.bic(holed))


def test_a_seed_fixes_everything(holed: pd.DataFrame) -> None:
    one, other = (EMFactor(2, random_state=7).fit(holed) for _ in range(2))
    assert one.components_.tobytes() == other.components_.tobytes()
    assert one.impute(holed, "draw").equals(other.impute(holed, "draw"))
    assert pickle.loads(pickle.dumps(one)).impute(holed).equals(one.impute(holed))
    assert one.sample(5).tobytes() == one.sample(5).tobytes()


def test_samples_are_like_the_rows(wine: pd.DataFrame) -> None:
    factor = EMFactor(2, random_state=0).fit(wine)
    X = factor.sample(50_000)
    sd = wine.std().to_numpy()
    np.testing.assert_allclose((X.mean(axis=0) - wine.mean()) / sd, 0.0, atol=0.02)
    np.testing.assert_allclose(
        np.cov((X / sd).T), factor.get_covariance() / np.outer(sd, sd), atol=0.03
    )


@pytest.mark.parametrize("method", ["mean", "draw"])
def test_filling_leaves_observed_cells_to_the_bit(holed: pd.DataFrame, method: Any) -> None:
    holed = holed.set_index(pd.RangeIndex(100, 100 + len(holed), name="wine"))
    filled = EMFactor(2, random_state=0).fit(holed).impute(holed, method)
    assert filled.index.equals(holed.index)
    assert list(filled.columns) == list(holed.columns)
    assert not filled.isna().any(axis=None)
    shown = holed.notna().to_numpy()
    assert filled.to_numpy()[shown].tobytes() == holed.to_numpy()[shown].tobytes()


@pytest.mark.parametrize("method", ["mean", "draw"])
def test_a_row_is_filled_alike_in_any_company(holed: pd.DataFrame, method: Any) -> None:
    factor = EMFactor(2, random_state=3).fit(holed)
    keys = [f"wine {i}" for i in range(len(holed))]
    whole = factor.impute(holed, method, keys=keys)
    some = np.random.default_rng(0).permutation(len(holed))[:40]
    part = factor.impute(holed.iloc[some], method, keys=[keys[i] for i in some])
    assert part.equals(whole.iloc[some])


def test_tables_come_back_as_they_came(holed: pd.DataFrame) -> None:
    factor = EMFactor(2).fit(holed)
    filled = factor.impute(holed).to_numpy()
    assert isinstance(EMFactor(2).fit(holed.to_numpy()).impute(holed.to_numpy()), np.ndarray)
    polars = factor.impute(pl.from_pandas(holed))
    assert isinstance(polars, pl.DataFrame)
    np.testing.assert_array_equal(polars.to_numpy(), filled)
    arrow = factor.impute(pa.Table.from_pandas(holed))
    assert isinstance(arrow, pa.Table)
    assert arrow.column_names == list(holed.columns)
    assert (factor.impute(holed.astype("float32")).dtypes == "float32").all()


def test_layouts_in_memory_give_the_same_fit(holed: pd.DataFrame) -> None:
    X = holed.to_numpy()
    fits = [
        EMFactor(2).fit(one).components_.tobytes()
        for one in (np.ascontiguousarray(X), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2])
    ]
    assert len(set(fits)) == 1


def test_as_many_factors_as_columns_or_rows() -> None:
    X = np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(ValueError, match="fewer factors than columns, got n_components = 4 with"):
        EMFactor(4).fit(X)
    with pytest.raises(
        ValueError, match=r"fewer factors than rows .*n_samples = 3, n_features = 4"
    ):
        EMFactor(3).fit(X[:3])
    with pytest.raises(ValueError, match=r"n_components = 'bic' with n_samples = 1, n_features"):
        EMFactor("bic").fit(X[:1])
    X[4:] = np.nan
    with pytest.raises(ValueError, match="n_samples = 4"):
        EMFactor(4).fit(np.column_stack([X, X]))


def test_columns_that_determine_each_other_are_held_and_named(wine: pd.DataFrame) -> None:
    twice = wine.assign(again=2.0 * wine["ash"])
    with pytest.warns(ConvergenceWarning, match="Heywood case") as warned:
        factor = EMFactor(2).fit(twice)
    [warning] = warned
    assert "The noise of 'ash' and 'again' would shrink" in str(warning.message)
    assert "1e-05 of the column's variance" in str(warning.message)
    assert warning.filename == __file__
    assert twice.columns[factor.held_].tolist() == ["ash", "again"]
    hidden = twice.mask((twice.index == 3)[:, None] & (twice.columns == "again"))
    filled = factor.impute(hidden)
    assert filled.loc[3, "again"] == pytest.approx(twice.loc[3, "again"], abs=0.1)


def test_noise_that_vanishes_everywhere_is_held(wine: pd.DataFrame) -> None:
    two = scale(wine)[:, :2] @ np.random.default_rng(0).normal(size=(2, 6))
    with pytest.warns(ConvergenceWarning, match="factors explain all that varies"):
        EMFactor(2, noise="isotropic").fit(two)


def test_a_constant_column_is_named(wine: pd.DataFrame) -> None:
    with pytest.warns(ConvergenceWarning, match="The noise of 'ash' would"):
        factor = EMFactor(1).fit(wine.assign(ash=7.0))
    nothing = pd.DataFrame(np.nan, index=[0], columns=wine.columns)
    assert factor.impute(nothing).loc[0, "ash"] == pytest.approx(7.0)


def test_a_column_without_cells_is_named(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="No cell is observed in 'price'"):
        EMFactor(2).fit(holed.assign(price=np.nan))


def test_infinite_cells_are_named_by_place(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"row 4, column 2 .*'ash'"):
        EMFactor(2).fit(holed.assign(ash=holed["ash"].mask(holed.index == 4, np.inf)))


def test_squares_beyond_floating_point(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="numbers in 'ash' are so large"):
        EMFactor(2).fit(holed.assign(ash=holed["ash"] * 1e300))


def test_other_columns_are_refused(holed: pd.DataFrame) -> None:
    factor = EMFactor(2).fit(holed)
    with pytest.raises(ValueError, match="feature names should match"):
        factor.transform(holed.rename(columns={"ash": "cinders"}))
    with pytest.raises(ValueError, match="feature names should match"):
        factor.impute(holed[holed.columns[::-1]])
    with pytest.raises(ValueError, match="3 features"):
        factor.fit(holed.to_numpy()).transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="Expected the scores of 2 factors, got 3 columns"):
        factor.inverse_transform(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_components": 0}, "n_components must be a whole number from 1"),
        ({"n_components": "BIC"}, "n_components must be a whole number from 1"),
        ({"noise": "white"}, "noise must be one of diagonal, isotropic"),
        ({"rotation": "promax"}, "rotation must be one of varimax, None"),
        ({"min_noise": 0.0}, "min_noise must be a share between 0 and 1"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"tol": -1.0}, "tol must be a number that is not negative"),
        ({"n_jobs": 0}, "n_jobs must be"),
    ],
)
def test_options_out_of_range(wine: pd.DataFrame, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EMFactor(**{"n_components": 2, **changed}).fit(wine)


def test_questions_out_of_range(wine: pd.DataFrame) -> None:
    factor = EMFactor(2).fit(wine)
    with pytest.raises(ValueError, match="method must be one of mean, draw"):
        factor.impute(wine, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_samples must be a whole number"):
        factor.sample(0)
    with pytest.raises(ValueError, match="Expected a weight for each of the 178 rows"):
        factor.fit(wine, sample_weight=np.full(178, -1.0))


def test_an_early_end_is_one_warning(holed: pd.DataFrame) -> None:
    with pytest.warns(ConvergenceWarning, match="Stopped by max_iter after 2 iterations") as warned:
        factor = EMFactor(6, max_iter=2).fit(holed)
    assert len(warned) == 1
    assert not factor.converged_


def test_a_wide_table_takes_little_memory() -> None:
    """No matrix of columns x columns, which would take 288 million bytes, nor a row's of one."""
    rng, p = np.random.default_rng(0), 6000
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, p)) + rng.normal(size=(40, p))
    X[rng.random(X.shape) < 0.1] = np.nan
    factor = EMFactor(3)
    tracemalloc.start()
    try:
        factor.fit(X).impute(X)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 60e6
    truth = factor.inverse_transform(factor.transform(X))
    assert np.nanmean((X - truth) ** 2) < 1.2
