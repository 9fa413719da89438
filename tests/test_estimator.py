"""EMImputer: a scikit-learn citizen that gives frames back as frames."""

from __future__ import annotations

import pickle
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from holed_tables import MURRAY, REFERENCE, factor_table, reference
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.utils.estimator_checks import parametrize_with_checks

from em_impute import ConvergenceWarning, EMImputer, Status, fit_gaussian


@parametrize_with_checks(
    [
        EMImputer(),
        EMImputer(sample=True, random_state=0),
        EMImputer(categories={}),
        EMImputer(round=False, sample=True, random_state=0),
    ]
)
def test_scikit_learn_contract(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without it scikit-learn skips its check of NumPy input under array_api_dispatch=True. SciPy
    # reads it on import only, so its own functions stay as they are; ours get NumPy arrays anyway.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
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
    assert imputer.n_iter_ == len(imputer.result_.trace) > 0


def test_a_frame_comes_back_as_a_frame_with_observed_cells_untouched(air: pd.DataFrame) -> None:
    air.index = pd.date_range("1973-05-01", periods=len(air))
    filled = EMImputer().fit_transform(air)
    assert filled.index.equals(air.index)
    assert list(filled.columns) == list(air.columns)
    assert filled.dtypes.to_dict() == air.dtypes.to_dict()
    assert not filled.isna().any(axis=None)
    pd.testing.assert_frame_equal(filled.where(air.notna()), air.astype(filled.dtypes))


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_nullable_columns_come_back_as_numbers_of_numpy(air: pd.DataFrame, backend: Any) -> None:
    """Nothing is missing any more, and an array of it would be one of objects."""
    filled = EMImputer().fit_transform(air.convert_dtypes(dtype_backend=backend))
    assert filled.dtypes["Temp"] == np.int64
    assert filled.dtypes["Ozone"] == np.float64
    assert np.isfinite(np.asarray(filled)).all()


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("dtype", ["Int64", "Float32", "boolean", "bool", "int64[pyarrow]"])
def test_arrays_of_what_comes_back_are_numeric(dtype: str, indicator: bool) -> None:
    """Through a ColumnTransformer and a FeatureUnion, too, as of SimpleImputer."""
    rng = np.random.default_rng(0)
    first = pd.Series(rng.integers(2, size=50)).astype(dtype)
    if dtype != "bool":
        first[5] = pd.NA
    X = pd.DataFrame({"a": first, "b": rng.normal(size=50)})
    X.loc[7, "b"] = np.nan
    imputer = EMImputer(add_indicator=indicator)
    for array in (
        np.asarray(imputer.fit_transform(X)),
        make_column_transformer((imputer, ["a", "b"])).fit_transform(X),
        make_union(imputer, clone(imputer)).fit_transform(X),
    ):
        assert array.dtype == np.float64
        assert np.isfinite(array).all()


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


def test_works_on_some_columns_and_in_a_search(air: pd.DataFrame) -> None:
    """A ColumnTransformer, whose prior is searched for by cross-validation."""
    columns = make_column_transformer(
        (EMImputer(), ["Ozone", "Solar.R", "Wind"]), remainder="passthrough"
    )
    model = make_pipeline(columns, LinearRegression())
    grid = {"columntransformer__emimputer__prior_rows": [0.0, 10.0]}
    search = GridSearchCV(
        model, grid, cv=KFold(3, shuffle=True, random_state=0), error_score="raise"
    )
    search.fit(air.drop(columns="Temp"), air["Temp"])
    assert search.best_score_ > 0
    names = columns.set_output(transform="pandas").fit_transform(air).columns
    assert names[:3].tolist() == [f"emimputer__{name}" for name in ("Ozone", "Solar.R", "Wind")]


def test_pickled_it_fills_the_same(air: pd.DataFrame) -> None:
    imputer = EMImputer(sample=True, random_state=1, add_indicator=True).fit(air)
    loaded = pickle.loads(pickle.dumps(imputer))
    pd.testing.assert_frame_equal(loaded.transform(air), imputer.transform(air))


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_indicator_columns_are_those_of_scikit_learn(air: pd.DataFrame) -> None:
    """Also where a column is empty, and for holes in columns that had none in fit."""
    train, test = air.iloc[:100].assign(empty=np.nan), air.iloc[100:].assign(empty=np.nan)
    test.iloc[0, train.columns.get_loc("Wind")] = np.nan
    for keep in (False, True):
        options: Any = {"add_indicator": True, "keep_empty_features": keep}
        theirs, ours = SimpleImputer(**options).fit(train), EMImputer(**options)
        with pytest.warns(UserWarning, match="without any observed cell"):
            ours.fit(train)
        names = theirs.get_feature_names_out().tolist()
        assert ours.get_feature_names_out().tolist() == names
        filled = ours.transform(test)
        assert filled.columns.tolist() == names
        marks = [name for name in names if name.startswith("missingindicator_")]
        assert (filled.dtypes[marks] == np.float64).all()
        assert filled.index.equals(test.index)
        expected = theirs.set_output(transform="pandas").transform(test)
        np.testing.assert_array_equal(filled[marks], expected[marks])


def test_indicator_of_an_array() -> None:
    X = factor_table(50, 3, 0.2, seed=1)
    filled = EMImputer(add_indicator=True).fit_transform(X)
    np.testing.assert_array_equal(filled[:, :3], EMImputer().fit_transform(X))
    np.testing.assert_array_equal(filled[:, 3:], np.isnan(X))


def test_samples_are_the_draws_of_the_model(air: pd.DataFrame) -> None:
    imputer = EMImputer(sample=True, random_state=3).fit(air)
    drawn = imputer.transform(air)
    expected = imputer.result_.model.draw(air.to_numpy(float), imputer.seed_)
    np.testing.assert_array_equal(drawn, expected)
    pd.testing.assert_frame_equal(drawn.where(air.notna()), air.astype(drawn.dtypes))
    pd.testing.assert_frame_equal(imputer.transform(air), drawn)
    pd.testing.assert_frame_equal(clone(imputer).fit_transform(air), drawn)


@pytest.mark.parametrize("sample", [False, True])
def test_a_delta_shifts_missing_cells_by_the_models_sd(air: pd.DataFrame, sample: bool) -> None:
    plain, shifted = (
        EMImputer(sample=sample, random_state=7, delta=delta).fit(air)
        for delta in (None, {"Ozone": -0.2})
    )
    pd.testing.assert_frame_equal(
        shifted.transform(air).drop(columns="Ozone"), plain.transform(air).drop(columns="Ozone")
    )
    moved = shifted.transform(air)["Ozone"] - plain.transform(air)["Ozone"]
    sd = np.sqrt(plain.covariance_.diagonal()[list(air.columns).index("Ozone")])
    np.testing.assert_allclose(moved, np.where(air["Ozone"].isna(), -0.2 * sd, 0.0), rtol=1e-9)
    assert clone(shifted).delta == {"Ozone": -0.2}


def test_a_delta_of_an_array_goes_by_the_names_of_its_columns() -> None:
    X = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 5.0], [4.0, 9.0]])
    plain, shifted = (EMImputer(delta=delta).fit_transform(X) for delta in (None, {"x1": 1.0}))
    assert (shifted > plain).tolist() == np.isnan(X).tolist()


def test_samples_follow_random_state() -> None:
    X = factor_table(50, 3, 0.2, seed=1)
    state = np.random.RandomState(4)
    fills = [
        EMImputer(sample=True, random_state=seed).fit_transform(X) for seed in (1, 2, state, state)
    ]
    assert len({filled.tobytes() for filled in fills}) == 4
    again = EMImputer(sample=True, random_state=np.random.RandomState(4)).fit_transform(X)
    assert again.tobytes() == fills[2].tobytes()


def test_a_sampled_table_has_the_spread_that_means_take_away() -> None:
    X = factor_table(20_000, 4, 0.4, seed=5)
    imputer = EMImputer(random_state=6).fit(X)
    true = np.diag(imputer.covariance_)
    sampled = imputer.set_params(sample=True).transform(X)
    np.testing.assert_allclose(sampled.var(axis=0), true, rtol=0.03)
    means = imputer.set_params(sample=False).transform(X)
    assert (means.var(axis=0) < 0.97 * true).all()


@pytest.fixture
def air_in_polars(air: pd.DataFrame) -> pl.DataFrame:
    """Integers with nulls, floats with NaN, whole integers."""
    frame = pl.DataFrame({name: air[name].astype(object).tolist() for name in air}, strict=False)
    return frame.with_columns(
        pl.col("Ozone").cast(pl.Float64).fill_nan(None).cast(pl.Int64),
        pl.col("Solar.R").cast(pl.Float32),
        pl.col("Temp").cast(pl.Int16),
    )


def test_a_polars_frame_comes_back_as_one(air: pd.DataFrame, air_in_polars: pl.DataFrame) -> None:
    filled = EMImputer().fit_transform(air_in_polars)
    assert isinstance(filled, pl.DataFrame)
    assert filled.columns == list(air.columns)
    assert filled.schema["Ozone"] == pl.Float64
    assert filled.schema["Solar.R"] == pl.Float32
    assert filled.schema["Temp"] == pl.Int16
    expected = EMImputer().fit_transform(air)
    np.testing.assert_allclose(filled.to_numpy(), expected, rtol=1e-6)
    assert EMImputer().fit(air_in_polars).feature_names_in_.tolist() == list(air.columns)


@pytest.mark.parametrize("given", ["numpy", "pandas", "polars"])
@pytest.mark.parametrize("wanted", ["pandas", "polars"])
def test_set_output_whatever_comes_in(
    air: pd.DataFrame, air_in_polars: pl.DataFrame, given: str, wanted: str
) -> None:
    X: Any = {"numpy": air.to_numpy(float), "pandas": air, "polars": air_in_polars}[given]
    imputer = EMImputer(add_indicator=True).set_output(transform=wanted).fit(X)
    filled = imputer.transform(X)
    assert isinstance(filled, pd.DataFrame if wanted == "pandas" else pl.DataFrame)
    assert list(filled.columns) == imputer.get_feature_names_out().tolist()
    expected = EMImputer(add_indicator=True).fit_transform(air.to_numpy(float))
    np.testing.assert_allclose(filled.to_numpy().astype(float), expected, rtol=1e-6)


def test_polars_text_columns_are_named(air_in_polars: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"got others: \['city'\]"):
        EMImputer().fit(air_in_polars.with_columns(city=pl.lit("Manhattan")))


def test_polars_is_the_users_to_bring() -> None:
    program = "import sys, em_impute; sys.exit('polars' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("dtype", "filled_dtype"),
    [
        ("Int8", "float64"),
        ("Float32", "float32"),
        ("Float64", "float64"),
        ("boolean", "float64"),
        ("int8[pyarrow]", "float64"),
        ("float[pyarrow]", "float32"),
        ("bool[pyarrow]", "float64"),
        (pd.ArrowDtype(pa.decimal128(30, 2)), "float64"),
    ],
)
def test_dtypes_with_holes(dtype: Any, filled_dtype: str) -> None:
    numbers = pd.Series([1, 0, None, 1, 1, 0], dtype="Int64").astype(dtype)
    X = pd.DataFrame({"a": numbers, "b": [3.0, 1.0, 2.5, 2.0, 4.0, 1.5]})
    filled = EMImputer().fit_transform(X)
    expected = EMImputer().fit_transform(X.astype("float64"))
    assert str(filled.dtypes["a"]) == filled_dtype
    np.testing.assert_allclose(filled.to_numpy(float), expected.to_numpy(), rtol=1e-6)


# --- As tables come ---------------------------------------------------------------------------


@pytest.fixture
def pairs() -> pd.DataFrame:
    a = np.random.default_rng(0).normal(size=50)
    return pd.DataFrame({"a": a, "b": 2 * a + np.random.default_rng(1).normal(size=50)})


def test_a_record_with_none_is_filled(pairs: pd.DataFrame) -> None:
    """Serving: pandas makes a column of objects of a field that is None."""
    imputer = EMImputer().fit(pairs)
    expected = imputer.transform(pd.DataFrame([{"a": 1.0, "b": np.nan}]))
    for missing in (None, pd.NA, np.nan):
        for a in (1, 1.0, Decimal(1), True, np.float32(1)):
            filled = imputer.transform(pd.DataFrame([{"a": a, "b": missing}], dtype=object))
            pd.testing.assert_frame_equal(filled.astype(float), expected)
            assert np.isfinite(np.asarray(filled)).all()
    polars = imputer.transform(pl.DataFrame([{"a": 1.0, "b": None}]))
    assert polars.schema == {"a": pl.Float64, "b": pl.Float64}
    np.testing.assert_array_equal(polars.to_numpy(), expected)


def test_columns_of_objects_are_filled_in_fit_as_well(pairs: pd.DataFrame) -> None:
    pairs.loc[3, "b"] = np.nan
    objects = pairs.astype(object).where(pairs.notna(), None)
    pd.testing.assert_frame_equal(
        EMImputer().fit_transform(objects), EMImputer().fit_transform(pairs)
    )
    with pytest.warns(UserWarning, match="left out of the result"):
        assert list(EMImputer().fit_transform(pairs.assign(c=None)).columns) == ["a", "b"]


def test_names_of_columns_in_another_order_are_an_error(pairs: pd.DataFrame) -> None:
    """The contract of scikit-learn."""
    imputer = EMImputer().fit(pairs)
    for frame in (pairs[["b", "a"]], pl.from_pandas(pairs[["b", "a"]])):
        with pytest.raises(ValueError, match="must be in the same order"):
            imputer.transform(frame)


@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [
        ("float16", 1.0, np.float32),
        ("float16", 12_000.0, np.float32),
        ("float32", 1.0, np.float32),
        ("float32", 6e37, np.float64),
        ("float64", 1.0, np.float64),
    ],
)
def test_floats_keep_their_type_and_no_fill_is_infinite(
    kind: str, dtype: str, scale: float, expected: type
) -> None:
    """The fills go up to 1.2 times the largest observed cell, which is 5 * scale."""
    x = np.linspace(1, 5, 50)
    X = scale * np.column_stack([x, 1.2 * x])
    X[-9:, 1] = np.nan
    given: Any = X.astype(dtype)
    filled = EMImputer().fit_transform(given if kind == "array" else pd.DataFrame(given))
    assert np.asarray(filled).dtype == expected
    assert np.isfinite(np.asarray(filled)).all()
    np.testing.assert_allclose(np.asarray(filled), scale * np.column_stack([x, 1.2 * x]), rtol=2e-3)
    observed = ~np.isnan(given)
    np.testing.assert_array_equal(np.asarray(filled)[observed], given[observed])


def test_integers_and_floats_of_a_frame_keep_their_types_where_nothing_is_missing() -> None:
    types = {"i": "int8", "u": "uint16", "f": "float32", "d": "float64", "n": "Int32", "o": "bool"}
    X = pd.DataFrame(np.random.default_rng(2).integers(0, 2, (40, 6)), columns=list(types)).astype(
        types
    )
    X["d"] = X["d"].where(X.index % 7 != 0)
    dtypes = EMImputer(prior_rows=1.0).fit_transform(X).dtypes.astype(str).to_dict()
    assert dtypes == types | {"n": "int32", "o": "float64"}


def test_masked_cells_are_missing() -> None:
    X = factor_table(60, 3, 0.2, seed=1)
    masked = np.ma.array(np.where(np.isnan(X), -999.0, X), mask=np.isnan(X))
    filled = EMImputer().fit_transform(masked)
    assert type(filled) is np.ndarray
    np.testing.assert_array_equal(filled, EMImputer().fit_transform(X))


def test_index_and_labels_are_those_that_came_in(pairs: pd.DataFrame) -> None:
    pairs.loc[4, "a"] = np.nan
    index = pd.MultiIndex.from_product([range(5), range(10)], names=["store", "day"])
    levels = pd.MultiIndex.from_tuples([("x", "a"), ("y", "b")], names=["part", "name"])
    for labels in (pd.Index(["a", "b"], name="field"), levels, pd.Index([10, 20], name="code")):
        for frame in (pairs, pairs.astype("Float64"), pairs.astype({"b": "float32"})):
            given = frame.set_axis(labels, axis=1).set_axis(index)
            filled = EMImputer().fit_transform(given)
            pd.testing.assert_index_equal(filled.columns, labels)
            pd.testing.assert_index_equal(filled.index, index)


def test_an_indicator_beside_labels_that_are_no_names(pairs: pd.DataFrame) -> None:
    """As in scikit-learn, all columns then have the names that it gives them."""
    pairs.loc[4, "a"] = np.nan
    for labels in ([0, 1], [(0, "a"), (1, "b")]):
        imputer = EMImputer(add_indicator=True)
        filled = imputer.fit_transform(pairs.set_axis(labels, axis=1))
        assert filled.columns.tolist() == ["x0", "x1", "missingindicator_x0"]
        assert filled.columns.tolist() == imputer.get_feature_names_out().tolist()
    named = EMImputer(add_indicator=True).fit_transform(pairs.rename_axis("field", axis=1))
    assert named.columns.tolist() == ["a", "b", "missingindicator_a"]
    assert named.columns.name == "field"


@pytest.mark.parametrize("wanted", ["default", "pandas", "polars"])
@pytest.mark.parametrize("given", ["table", "batch"])
def test_tables_of_arrow(pairs: pd.DataFrame, given: str, wanted: str) -> None:
    pairs.loc[4, "a"] = np.nan
    kind = pa.Table if given == "table" else pa.RecordBatch
    imputer = EMImputer(add_indicator=True).set_output(transform=wanted)
    filled = imputer.fit_transform(kind.from_pandas(pairs))
    expected = EMImputer(add_indicator=True).fit_transform(pairs)
    kinds: dict[str, type] = {"default": kind, "pandas": pd.DataFrame, "polars": pl.DataFrame}
    assert isinstance(filled, kinds[wanted])
    columns = (
        filled.to_pydict()
        if wanted == "default"
        else filled.to_dict(
            **{"pandas": {"orient": "list"}, "polars": {"as_series": False}}[wanted]
        )
    )
    assert list(columns) == imputer.get_feature_names_out().tolist()
    np.testing.assert_array_equal(np.array(list(columns.values())).T, expected)


def test_a_saddle_is_warned_of_and_further_starts_find_a_maximum() -> None:
    with pytest.warns(ConvergenceWarning, match=r"saddle point.*n_starts"):
        saddle = EMImputer().fit(MURRAY)
    assert saddle.status_ is Status.SADDLE
    best = EMImputer(n_starts=5).fit(MURRAY)
    assert best.status_ is Status.CONVERGED
    assert best.loglik_ == pytest.approx(-29.974, abs=1e-3)
    assert best.result_.starts is not None


def test_the_worst_fraction_is_there_for_whoever_asks(air: pd.DataFrame) -> None:
    expected = fit_gaussian(air, prior_rows="auto").worst_fraction
    assert EMImputer().fit(air).result_.worst_fraction == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": "a"}, "tol must lie between 0 and 1, got 'a'"),
        ({"max_iter": "a"}, "max_iter must be a whole number"),
        ({"n_starts": 0}, "n_starts must be at least 1, got 0"),
        ({"prior_rows": -1}, "prior_rows must not be negative"),
        ({"prior_rows": "automatic"}, 'prior_rows must be a number or "auto"'),
        ({"acceleration": "fast"}, "acceleration must be one of"),
        ({"sample": "yes"}, "sample must be True or False, got 'yes'"),
        ({"add_indicator": 1}, "add_indicator must be True or False"),
        ({"keep_empty_features": "no"}, "keep_empty_features must be True or False"),
        ({"n_jobs": 0}, "n_jobs must be a number of threads"),
        ({"random_state": "a"}, "cannot be used to seed"),
        ({"delta": {"ozone": 1}}, "delta names 'ozone', which the model does not have; it has '"),
        ({"delta": {"Ozone": np.nan}}, "delta must be a finite number of standard deviations"),
    ],
)
def test_options_of_another_type_are_told(
    air: pd.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EMImputer(**options).fit(air)
