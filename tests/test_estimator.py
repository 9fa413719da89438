"""EMImputer: a scikit-learn citizen that gives frames back as frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from holed_tables import REFERENCE, factor_table, reference
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from em_impute import ConvergenceWarning, EMImputer, Status


@parametrize_with_checks([EMImputer()])
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def air() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "airquality6.csv")


def test_attributes_are_the_reference_answer() -> None:
    known = reference("airquality")
    imputer = EMImputer(tol=1e-8).fit(known.X)
    np.testing.assert_allclose(imputer.mean_, known.mean, rtol=1e-7)
    np.testing.assert_allclose(imputer.covariance_, known.covariance, rtol=1e-6)
    assert imputer.loglik_ == pytest.approx(known.loglik, abs=1e-6)
    assert imputer.status_ is Status.CONVERGED
    assert imputer.n_iter_ == imputer.result_.n_iter > 0


def test_a_frame_comes_back_as_a_frame_with_observed_cells_untouched(air: pd.DataFrame) -> None:
    air.index = pd.date_range("1973-05-01", periods=len(air))
    filled = EMImputer().fit_transform(air)
    assert filled.index.equals(air.index)
    assert list(filled.columns) == list(air.columns)
    assert filled.dtypes.to_dict() == air.dtypes.to_dict()
    assert not filled.isna().any(axis=None)
    pd.testing.assert_frame_equal(filled.where(air.notna()), air.astype(filled.dtypes))


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_integers_with_holes_become_floats_of_the_same_family(
    air: pd.DataFrame, backend: Any
) -> None:
    filled = EMImputer().fit_transform(air.convert_dtypes(dtype_backend=backend))
    whole, filled_dtype = (
        ("Int64", "Float64")
        if backend == "numpy_nullable"
        else ("int64[pyarrow]", "double[pyarrow]")
    )
    assert filled.dtypes["Temp"] == whole
    assert filled.dtypes["Ozone"] == filled_dtype
    assert filled["Ozone"].notna().all()


def test_float32_columns_stay_float32(air: pd.DataFrame) -> None:
    filled = EMImputer().fit_transform(air.astype({"Ozone": "float32"}))
    assert filled.dtypes["Ozone"] == "float32"


def test_an_array_comes_back_as_an_array() -> None:
    X = factor_table(50, 3, 0.2, seed=1)
    filled = EMImputer().fit_transform(X)
    assert isinstance(filled, np.ndarray)
    assert filled[~np.isnan(X)].tobytes() == X[~np.isnan(X)].tobytes()


def test_set_output_and_feature_names(air: pd.DataFrame) -> None:
    imputer = EMImputer().set_output(transform="pandas").fit(air.to_numpy())
    assert imputer.get_feature_names_out().tolist() == [f"x{j}" for j in range(6)]
    assert isinstance(imputer.transform(air.to_numpy()), pd.DataFrame)
    assert EMImputer().fit(air).get_feature_names_out().tolist() == list(air.columns)


def test_one_row_and_a_pattern_that_fit_has_not_seen(air: pd.DataFrame) -> None:
    imputer = EMImputer().fit(air)
    row = air.iloc[[0]].assign(Temp=np.nan, Wind=np.nan)
    filled = imputer.transform(row)
    assert filled.shape == (1, 6)
    assert filled.notna().all(axis=None)
    assert filled.loc[0, "Ozone"] == 41


def test_fills_tables_other_than_the_fitted_one(air: pd.DataFrame) -> None:
    imputer = EMImputer().fit(air.iloc[:100])
    assert not imputer.transform(air.iloc[100:]).isna().any(axis=None)


def test_empty_columns_are_left_out_or_kept_and_never_in_silence(air: pd.DataFrame) -> None:
    air = air.assign(empty=np.nan)
    with pytest.warns(UserWarning, match=r"left out of the result: \['empty'\]"):
        imputer = EMImputer().fit(air)
    assert "empty" not in imputer.transform(air).columns
    assert "empty" not in imputer.get_feature_names_out()
    assert np.isnan(imputer.mean_[-1])
    with pytest.warns(UserWarning, match="filled with 0"):
        kept = EMImputer(keep_empty_features=True).fit_transform(air)
    assert (kept["empty"] == 0).all()


def test_text_columns_are_named_and_their_values_are_not(air: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"got others: \['city'\]") as caught:
        EMImputer().fit(air.assign(city="Manhattan"))
    assert "Manhattan" not in str(caught.value)


def test_nothing_observed_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="No cell of X is observed"):
        EMImputer().fit(np.full((3, 2), np.nan))


def test_not_converging_is_a_warning() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        EMImputer(max_iter=2).fit(reference("boys").X)


def test_works_in_a_pipeline(air: pd.DataFrame) -> None:
    model = make_pipeline(EMImputer(), LinearRegression())
    model.fit(air.drop(columns="Temp"), air["Temp"])
    assert clone(model).fit(air.drop(columns="Temp"), air["Temp"]).score(
        air.drop(columns="Temp"), air["Temp"]
    ) == pytest.approx(model.score(air.drop(columns="Temp"), air["Temp"]))
