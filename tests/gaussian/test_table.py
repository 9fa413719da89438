"""What users hand in, through every door: the same numbers, by name, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from em_impute import (
    EMImputer,
    GaussianModel,
    PatternSummary,
    aleksic_mcar_test,
    fit_gaussian,
    little_mcar_test,
)
from em_impute.gaussian.table import Table

NAMES = ["a", "b", "c"]
# Every door, with what it makes of a table; columns in the table's order.
DOORS: dict[str, Callable[[Any], Any]] = {
    "from_array": lambda X: PatternSummary.from_array(X).observed_mean,
    "update": lambda X: PatternSummary(NAMES).update(X).observed_mean,
    "fit_gaussian": lambda X: fit_gaussian(X).model.mean,
    "little_mcar_test": lambda X: little_mcar_test(X).statistic,
    "aleksic_mcar_test": lambda X: aleksic_mcar_test(X).statistic,
    "impute": lambda X: MODEL.impute(X),
    "draw": lambda X: MODEL.draw(X, seed=1),
    "conditional": lambda X: MODEL.conditional(X).mean,
    "EMImputer": lambda X: np.asarray(EMImputer().fit(X).transform(X)),
}
doors = pytest.mark.parametrize("door", DOORS)


def whole_numbers() -> NDArray[np.float64]:
    """Three columns of whole numbers, 30% of the last two missing."""
    return np.round(10 * factor_table(80, 3, 0.3, seed=4))


X = whole_numbers()
X[:, 0] = np.where(np.isnan(X[:, 0]), 3.0, X[:, 0])
HOLES = np.isnan(X)
MODEL = fit_gaussian(pd.DataFrame(X, columns=NAMES)).model
FRAME = pd.DataFrame(X, columns=NAMES)


def cells(missing: object) -> list[list[Any]]:
    return [[missing if np.isnan(x) else x for x in row] for row in X.tolist()]


def objects(missing: object) -> NDArray[np.object_]:
    return np.array(cells(missing), dtype=object)


def mixed() -> pd.DataFrame:
    """Objects of several kinds: whole numbers, decimals, fractions and booleans among them."""
    frame = FRAME.astype(object)
    for row, kind in enumerate((int, Decimal, Fraction, np.float32, np.int8)):
        for name in NAMES:
            cell = frame.loc[row, name]
            frame.loc[row, name] = None if np.isnan(cell) else kind(int(cell))
    return frame.where(frame.notna(), pd.NA)


SAME: dict[str, Any] = {
    "list": cells(None),
    "list with nan": cells(float("nan")),
    "tuples": [tuple(row) for row in cells(None)],
    "objects with None": objects(None),
    "objects with NA": objects(pd.NA),
    "objects with masked": objects(np.ma.masked),
    "masked": np.ma.array(np.where(HOLES, -999.0, X), mask=HOLES),
    "masked integers": np.ma.array(np.where(HOLES, -999, np.nan_to_num(X)).astype(int), mask=HOLES),
    "masked objects": np.ma.array(np.where(HOLES, "n/a", X.astype(object)), mask=HOLES),
    "masked rows": list(np.ma.array(np.where(HOLES, -999.0, X), mask=HOLES)),
    "fortran": np.asfortranarray(X),
    "strided": np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": X[::-1][::-1],
    "big endian": X.astype(">f8"),
    "float16": X.astype(np.float16),
    "float32": X.astype(np.float32),
    "read only": np.frombuffer(X.tobytes()).reshape(X.shape),
    "pandas": FRAME,
    "pandas float32": FRAME.astype("float32"),
    "pandas float16": FRAME.astype("float16"),
    "pandas objects": FRAME.astype(object),
    "pandas objects with None": FRAME.astype(object).where(FRAME.notna(), None),
    "pandas objects of kinds": mixed(),
    "pandas nullable": FRAME.astype("Float64"),
    "pandas nullable integers": FRAME.astype("Int16"),
    "pandas mixed": FRAME.astype({"a": "int64", "b": "Float32", "c": "int64[pyarrow]"}),
    "pandas arrow": FRAME.astype("Int64").astype("int32[pyarrow]"),
    "pandas arrow decimals": FRAME.astype("Int64").astype(pd.ArrowDtype(pa.decimal128(30, 2))),
    "pandas sparse": FRAME.astype(pd.SparseDtype("float64")),
    "pandas labelled 0, 1, 2": pd.DataFrame(X),
    "polars": pl.DataFrame(X, schema=NAMES),
    "polars integers": pl.DataFrame(cells(None), schema=NAMES, orient="row").cast(pl.Int32),
    "polars decimals": pl.DataFrame(cells(None), schema=NAMES, orient="row").cast(pl.Decimal(9, 1)),
    "polars 128 bits": pl.DataFrame(cells(None), schema=NAMES, orient="row").cast(pl.Int128),
    "polars objects": pl.DataFrame(
        {
            name: pl.Series(objects(None)[:, j].tolist(), dtype=pl.Object)
            for j, name in enumerate("abc")
        }
    ),
    "arrow table": pa.table(FRAME.astype("Int64")),
    "arrow batch": pa.RecordBatch.from_pandas(FRAME.astype("Float64")),
}


@doors
@pytest.mark.parametrize("kind", SAME)
def test_whatever_holds_the_numbers_gives_the_same(door: str, kind: str) -> None:
    np.testing.assert_allclose(DOORS[door](SAME[kind]), DOORS[door](X), rtol=1e-6, atol=1e-6)


def with_column(cells: list[Any], **options: Any) -> dict[str, Any]:
    """A frame of pandas and one of polars, and an array, of which the second column is `cells`."""
    n = len(cells)
    around = np.arange(float(n))
    made = {"pandas": pd.DataFrame({"a": around, "b": pd.Series(cells, **options), "c": around**2})}
    made["array"] = made["pandas"].astype(object).to_numpy()
    return made


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "text": (["secret", "x", "y"], {}, r"'b'\] \(text"),
    "numbers as text": (["1.5", "2", "3"], {}, r"'b'\] \(text"),
    "categories": (["secret", "x", "y"], {"dtype": "category"}, r"'b'\] \(categories"),
    "arrow text": (["secret", "x", "y"], {"dtype": "string[pyarrow]"}, r"'b'\] \(text"),
    "one text among numbers": ([1.5, "secret", None], {"dtype": object}, r"'b'\] \(text in row 1"),
    "times": (["2024-02-01", None, None], {"dtype": "datetime64[ns]"}, r"'b'\] \(times"),
    "zoned times": (["2024-02-01", None, None], {"dtype": "datetime64[ns, UTC]"}, r"'b'\] \(times"),
    "arrow times": ([None] * 3, {"dtype": "timestamp[us][pyarrow]"}, r"'b'\] \(times"),
    "durations": ([None, 1, 2], {"dtype": "timedelta64[s]"}, r"'b'\] \(durations"),
    "complex": ([1 + 2j, 2, 3], {}, r"'b'\] \(complex"),
    "periods": (list(pd.period_range("2024", periods=3)), {}, r"'b'\]"),
    "a time": ([1, pd.Timestamp("2024-02-01"), 3], {"dtype": object}, r"\(a time in row 1"),
    "a NumPy time": ([1, np.datetime64("NaT"), 3], {"dtype": object}, r"\(a time in row 1"),
    "a duration": ([1, np.timedelta64(2, "s"), 3], {"dtype": object}, r"\(a duration in row 1"),
    "a complex number": ([1, 1 + 2j, None], {"dtype": object}, r"\(a complex number in row 1"),
    "large": ([1, 2**53 + 1, 3], {}, r"'b' holds a whole number beyond 2\*\*53.* in row 1"),
    "large unsigned": ([1, 2**63, 3], {"dtype": "uint64"}, "'b' holds a whole number beyond"),
    "large negative": ([1, -(2**53) - 1, 3], {}, "'b' holds a whole number beyond"),
    "large nullable": ([None, 2**53 + 1, 3], {"dtype": "Int64"}, "'b' holds .* in row 1"),
    "large arrow": ([None, 2**60, 3], {"dtype": "int64[pyarrow]"}, "'b' holds .* in row 1"),
    "large object": ([None, 10**400, 3], {"dtype": object}, "'b' holds .* in row 1"),
    "infinite": ([1.0, np.inf, 3.0], {}, r"row 1, column 1 .*'b'"),
    "infinite decimal": ([Decimal(1), Decimal("Infinity"), None], {}, r"row 1, column 1 .*'b'"),
}


@doors
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_number_is_refused_by_the_columns_name(door: str, kind: str) -> None:
    cells, options, message = REFUSED[kind]
    frame = pd.DataFrame({"a": [1.0, 2, 4], "b": pd.Series(cells, **options), "c": [3.0, 1, 2]})
    with pytest.raises(ValueError, match=message) as caught:
        DOORS[door](frame)
    assert "secret" not in str(caught.value)
    assert "9007199254740993" not in str(caught.value)


@doors
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["secret", "x", "1"]]), r"'x0', 'x1', 'x2'|'a', 'b', 'c'"),
        (np.array([[1, "secret", 2]], dtype=object), r"'(x1|b)'\] \(text in row 0"),
        ([[1.5, "secret", 2]], r"'(x1|b)'\] \(text in row 0"),
        ([[1.5, 2**53 + 1, 2]], r"'(x1|b)' holds a whole number beyond"),
        (np.array([[1, 2**53 + 1, 2]]), r"'(x1|b)' holds a whole number beyond"),
        (np.array([["2024-01-01", "NaT", "NaT"]], dtype="M8[D]"), "times"),
        (np.array([[1, 2, "NaT"]], dtype="m8[s]"), "durations"),
        (np.array([[1 + 1j, 2, 3]]), "(?i)complex"),
        ([[1.0, 2.0, 3.0], [1.0]], "rows of equal length"),
        (np.zeros(3), "two-dimensional.*got 1 dimension"),
        (pd.Series([1.0, 2.0]), "two-dimensional.*got 1 dimension"),
        (pl.Series([1.0, 2.0]), "two-dimensional.*got 1 dimension"),
        (np.zeros((2, 3, 2)), "two-dimensional.*got 3 dimension"),
        ({"a": [1.0]}, "two-dimensional.*got 0 dimension"),
        (pl.LazyFrame({"a": [1.0]}), "collect"),
        (FRAME.set_axis(["a", "a", "b"], axis=1), "differ from each other|there twice: 'a'"),
    ],
)
def test_arrays_and_lists_that_are_no_table_of_numbers(door: str, array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        DOORS[door](array)
    assert "secret" not in str(caught.value)


@doors
def test_an_object_that_is_no_number_is_told_by_its_type(door: str) -> None:
    with pytest.raises(TypeError, match=r"'b'\] \(dict in row 0"):
        DOORS[door](pd.DataFrame({"a": [1.0], "b": [{"secret": 1}], "c": [2.0]}))


def test_a_column_without_any_cell_is_empty_whatever_its_type() -> None:
    kinds: dict[str, Any] = {
        "objects": pd.Series([None] * 3, dtype=object),
        "arrow": pd.Series([None] * 3, dtype=pd.ArrowDtype(pa.null())),
        "nullable": pd.Series([None] * 3, dtype="Int64"),
    }
    for empty in kinds.values():
        assert np.isnan(Table.of(pd.DataFrame({"a": empty})).values).all()
    assert np.isnan(Table.of(pl.DataFrame({"a": [None, None]})).values).all()
    assert np.isnan(Table.of(pa.table({"a": pa.nulls(3)})).values).all()


# --- Names --------------------------------------------------------------------------------------

ORDER = ["c", "a", "b"]
REORDERED: dict[str, Any] = {
    "pandas": FRAME[ORDER],
    "nullable": FRAME[ORDER].astype("Int64"),
    "polars": pl.DataFrame(X, schema=NAMES)[ORDER],
    "arrow": pa.table(FRAME[ORDER]),
}


@pytest.mark.parametrize("kind", REORDERED)
def test_columns_in_another_order_are_found_by_name(kind: str) -> None:
    other = REORDERED[kind]
    np.testing.assert_array_equal(
        PatternSummary(NAMES).update(other).observed_mean,
        PatternSummary(NAMES).update(X).observed_mean,
    )
    places = [NAMES.index(name) for name in ORDER]
    np.testing.assert_array_equal(MODEL.impute(other), MODEL.impute(X)[:, places])
    np.testing.assert_array_equal(MODEL.draw(other, seed=3), MODEL.draw(X, seed=3)[:, places])
    cells, expected = MODEL.conditional(other), MODEL.conditional(X)
    np.testing.assert_array_equal(
        np.stack([cells.rows, cells.columns]).T, np.argwhere(np.isnan(X[:, places]))
    )
    for name in ("mean", "sd"):
        here, there = np.zeros(X.shape), np.zeros(X.shape)
        here[cells.rows, cells.columns] = getattr(cells, name)
        there[expected.rows, expected.columns] = getattr(expected, name)
        np.testing.assert_array_equal(here, there[:, places])
    assert PatternSummary.from_array(other, NAMES).columns == tuple(NAMES)
    one, same = little_mcar_test(other, MODEL), little_mcar_test(FRAME, MODEL)
    assert one.statistic == pytest.approx(same.statistic, rel=1e-9)
    assert fit_gaussian(other).model.columns == tuple(ORDER)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.rename(columns={"b": "salary"}), "missing: 'b'; not expected: 'salary'"),
        (FRAME.assign(d=1.0), "not expected: 'd'"),
        (FRAME[["a", "b"]], "missing: 'c'"),
        (FRAME[["a", "b", "b"]], "missing: 'c'; there twice: 'b'"),
    ],
)
def test_other_columns_are_refused_by_name(frame: pd.DataFrame, message: str) -> None:
    for door in (MODEL.impute, MODEL.conditional, PatternSummary(NAMES).update):
        with pytest.raises(ValueError, match=message):
            door(frame)
    with pytest.raises(ValueError, match="olumn"):
        little_mcar_test(frame, MODEL)


def test_what_has_no_names_is_taken_by_position() -> None:
    """Arrays; frames whose labels only count; models and summaries of arrays."""
    nameless = fit_gaussian(X).model
    assert nameless.columns == ("x0", "x1", "x2")
    expected = MODEL.impute(X)
    for filled in (MODEL.impute(pd.DataFrame(X)), nameless.impute(FRAME), nameless.impute(X)):
        np.testing.assert_allclose(filled, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="Expected 3 columns, got 2"):
        nameless.impute(FRAME[["a", "b"]])
    counted = fit_gaussian(pd.DataFrame(X)).model
    np.testing.assert_allclose(
        counted.impute(pd.DataFrame(X)[[2, 0, 1]]), expected[:, [2, 0, 1]], rtol=1e-9
    )


def test_a_start_is_matched_by_name() -> None:
    places = [NAMES.index(name) for name in ORDER]
    start = MODEL.in_order_of(ORDER)
    np.testing.assert_array_equal(start.covariance, MODEL.covariance[np.ix_(places, places)])
    again = fit_gaussian(FRAME, start=start)
    assert again.n_iter <= 1
    np.testing.assert_allclose(again.model.mean, MODEL.mean, rtol=1e-6)
    with pytest.raises(ValueError, match="The start has columns"):
        fit_gaussian(FRAME.rename(columns={"a": "d"}), start=MODEL)


def test_a_frame_keeps_its_names_in_the_fit() -> None:
    assert fit_gaussian(FRAME).model.columns == tuple(NAMES)
    with pytest.raises(ValueError, match="differ from each other"):
        fit_gaussian(FRAME.set_axis(["a", "a", "b"], axis=1))


# --- What does not fit floating point -----------------------------------------------------------


def state(summary: PatternSummary) -> dict[str, Any]:
    return {name: np.array(value, copy=True) for name, value in vars(summary).items()}


@pytest.mark.parametrize("chunk_rows", [2**20, 4])
@pytest.mark.parametrize(
    "bad",
    [np.inf, -np.inf, "text", None],
    ids=["inf", "-inf", "text", "columns"],
)
@pytest.mark.parametrize("before", [0, 50])
def test_a_refused_chunk_leaves_the_summary_as_it_was(
    monkeypatch: pytest.MonkeyPatch, before: int, bad: Any, chunk_rows: int
) -> None:
    monkeypatch.setattr("em_impute.gaussian.patterns.CHUNK_ROWS", chunk_rows)
    summary = PatternSummary(NAMES)
    if before:
        summary.update(X[:before])
    kept = state(summary)
    chunk = X[:20].astype(object)
    chunk[17, 2] = bad
    chunk[:, :2] = np.arange(40).reshape(20, 2)
    chunk[:17, 2] = np.arange(17)
    with pytest.raises(ValueError, match=r"row 17, column 2|'(c|x2)'|Expected 3 columns"):
        summary.update(chunk if bad is not None else chunk[:, :2])
    for name, value in state(summary).items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)
    fresh = PatternSummary(NAMES)
    if before:
        fresh.update(X[:before])
    good = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 1.0]])
    np.testing.assert_array_equal(
        summary.update(good).observed_mean, fresh.update(good).observed_mean
    )


@pytest.mark.parametrize("n", [4, 600])
@pytest.mark.parametrize("value", [1e300, -1e200, 1e155])
def test_a_number_too_large_to_square_names_its_column(n: int, value: float) -> None:
    table = factor_table(n, 3, 0.0, seed=1)
    table[2, 1] = value
    frame = pd.DataFrame(table, columns=NAMES)
    for door in (fit_gaussian, EMImputer().fit):
        with pytest.raises(ValueError, match=r"numbers in 'b' are so large"):
            door(frame)


def test_numbers_whose_difference_is_infinite_name_their_column() -> None:
    summary = PatternSummary(["a"]).update([[1.0], [2.0]])
    with pytest.raises(ValueError, match="numbers in 'a' are so large"):
        summary.update([[1.7e308], [-1.7e308], [0.0]])
    assert summary.observed_mean == 1.5


@pytest.mark.parametrize("door", [d for d in DOORS if d != "EMImputer"])
def test_sparse_matrices_are_told_how(door: str) -> None:
    with pytest.raises(ValueError, match="toarray"):
        DOORS[door](csr_matrix(np.eye(3)))


def test_there_must_be_columns() -> None:
    with pytest.raises(ValueError, match="no columns"):
        fit_gaussian([[], []])


@pytest.mark.parametrize("bad", ["a", 1.5, None])
def test_seeds_are_whole_numbers(bad: Any) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number"):
        MODEL.draw(X, seed=bad)
    with pytest.raises(ValueError, match="imputation must be a whole number"):
        MODEL.draw(X, seed=1, imputation=bad)


def test_a_constant_column_may_be_as_large_as_it_likes() -> None:
    frame = FRAME.assign(b=1e300)
    frame.loc[3, "b"] = np.nan
    assert EMImputer().fit_transform(frame).loc[3, "b"] == 1e300


def test_no_cell_is_filled_with_infinity() -> None:
    model = GaussianModel([0.0, 0.0], [[1.0, 90.0], [90.0, 1e4]], ["a", "b"])
    with pytest.raises(ValueError, match="Missing cells of 'b' would be filled with infinities"):
        model.impute([[1e307, None]])
