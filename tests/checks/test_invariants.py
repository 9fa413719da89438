"""Filling changes nothing but the holes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_checks import SENTINELS, holds_sentinel
from pyarrow import parquet

from em_impute.checks import CheckResult, check_invariants

KEY, IMPUTED = ("day",), ("x", "n", "f")
SCHEMA = pa.schema(
    [
        ("day", pa.int32()),
        ("x", pa.float64()),
        ("n", pa.int64()),
        ("f", pa.float32()),
        ("s", pa.string()),
        ("w", pa.float64()),
        ("v", pa.list_(pa.float64())),
    ]
)
FILLED_SCHEMA = SCHEMA.set(2, pa.field("n", pa.float64()))
NAN = math.nan
BEFORE: dict[str, list[Any]] = {
    "day": [1, 2, 3, 4],
    "x": [1.5, None, NAN, -0.0],
    "n": [None, 2**53, -7, 0],
    "f": [0.25, None, None, 3.0],
    "s": ["a", None, "", "d"],
    "w": [NAN, None, 0.0, 1.0],
    "v": [[NAN, 1.0], None, [], [-0.0]],
}
AFTER = BEFORE | {
    "x": [1.5, 9.0, 8.0, -0.0],
    "n": [3.5, 2.0**53, -7.0, 0.0],
    "f": [0.25, 1.0, 2.0, 3.0],
}


def batches(
    columns: dict[str, list[Any]], schema: pa.Schema = FILLED_SCHEMA, size: int = 100
) -> list[pa.RecordBatch]:
    found: list[pa.RecordBatch] = pa.table(columns, schema).to_batches(max_chunksize=size)
    return found


def compare(after: Any, before: Any = None) -> dict[str, CheckResult]:
    before = batches(BEFORE, SCHEMA) if before is None else before
    found = check_invariants(iter(before), iter(after), IMPUTED, KEY)
    assert {(one.severity, one.source) for one in found} == {("critical", "invariant")}
    return {one.name: one for one in found}


def broken(after: Any, before: Any = None) -> dict[str, str]:
    return {name: one.observed for name, one in compare(after, before).items() if not one.success}


def with_cell(column: str, row: int, value: Any) -> dict[str, list[Any]]:
    """The filled table with one cell changed; rows are counted from 1."""
    cells = list(AFTER[column])
    cells[row - 1] = value
    return AFTER | {column: cells}


@pytest.mark.parametrize("size_before", [1, 3, 100])
@pytest.mark.parametrize("size_after", [1, 2, 100])
def test_invariants_hold_for_any_batches(size_before: int, size_after: int) -> None:
    found = compare(batches(AFTER, size=size_after), batches(BEFORE, SCHEMA, size_before))
    assert len(found) == 7
    assert {one.observed for one in found.values() if one.success} == {"4 rows compared"}
    assert all(one.success for one in found.values())


CHANGES = {
    "key": (("day", 3, 5), {"same_keys": "not so in row 3, column day"}),
    "key lost": (("day", 2, None), {"same_keys": "not so in row 2, column day"}),
    "observed": (
        ("x", 1, math.nextafter(1.5, 2)),
        {"observed_cells": "not so in row 1, column x"},
    ),
    "sign of zero": (("x", 4, 0.0), {"observed_cells": "not so in row 4, column x"}),
    "integer": (("n", 3, -7.5), {"observed_cells": "not so in row 3, column n"}),
    "float32": (("f", 4, 3.0000002), {"observed_cells": "not so in row 4, column f"}),
    "observed lost": (
        ("x", 1, None),
        {
            "observed_cells": "not so in row 1, column x",
            "no_missing_cell": "not so in row 1, column x",
        },
    ),
    "still missing": (("x", 2, None), {"no_missing_cell": "not so in row 2, column x"}),
    "NaN": (("f", 3, NAN), {"no_missing_cell": "not so in row 3, column f"}),
    "infinite": (("x", 3, math.inf), {"no_infinite_cell": "not so in row 3, column x"}),
    "text": (("s", 4, "e"), {"other_cells": "not so in row 4, column s"}),
    "empty text for none": (("s", 2, ""), {"other_cells": "not so in row 2, column s"}),
    "filled": (("w", 2, 0.0), {"other_cells": "not so in row 2, column w"}),
    "NaN for null": (("w", 2, NAN), {"other_cells": "not so in row 2, column w"}),
    "zero": (("w", 3, -0.0), {"other_cells": "not so in row 3, column w"}),
    "inside a list": (("v", 4, [0.0]), {"other_cells": "not so in row 4, column v"}),
}


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(("change", "found"), CHANGES.values(), ids=CHANGES.keys())
def test_changed_cell_is_located(
    change: tuple[str, int, Any], found: dict[str, str], size: int
) -> None:
    assert broken(batches(with_cell(*change), size=size)) == found


def test_first_of_several_breaks_is_named() -> None:
    after = with_cell("w", 3, 7.0) | {"s": ["a", "changed", "changed", "d"]}
    assert broken(batches(after)) == {"other_cells": "not so in row 2, column s"}


@pytest.mark.parametrize("observed", [2**53 + 1, 2**63 - 1])
def test_integer_that_a_double_cannot_hold_is_no_longer_that_integer(observed: int) -> None:
    before = batches(BEFORE | {"n": [1, 2, 3, observed]}, SCHEMA)
    after = batches(AFTER | {"n": [1.0, 2.0, 3.0, float(observed)]})
    assert broken(after, before) == {"observed_cells": "not so in row 4, column n"}


def test_imputed_integer_column_without_holes_may_stay_integer() -> None:
    cells = {"n": [1, 2, 3, 2**60 + 1]}
    assert broken(batches(AFTER | cells, SCHEMA), batches(BEFORE | cells, SCHEMA)) == {}


def drop_row(row: int) -> dict[str, list[Any]]:
    return {name: cells[: row - 1] + cells[row:] for name, cells in AFTER.items()}


def test_lost_row_is_told() -> None:
    found = broken(batches(drop_row(4)))
    assert found == {"same_rows": "4 rows before, 3 after"}
    assert set(broken(batches(drop_row(1)))) >= {"same_rows", "same_keys"}


def test_additional_rows_are_told() -> None:
    after = [*batches(AFTER), *batches(AFTER, size=2)]
    assert broken(after) == {"same_rows": "4 rows before, 8 after"}


def test_table_that_came_back_empty_is_told() -> None:
    assert "same_rows" in broken([])
    assert "same_rows" in broken(batches({name: [] for name in AFTER}))


def test_lost_added_moved_and_retyped_columns_are_told() -> None:
    table = pa.table(AFTER, FILLED_SCHEMA)
    names = table.column_names
    day_as_text = table.set_column(0, "day", table["day"].cast(pa.string()))
    tables = {
        "column w is not there any more": table.drop_columns("w"),
        "column extra has been added": table.append_column("extra", table["w"]),
        "they are in another order": table.select(names[::-1]),
        "column day was int32, is string": day_as_text,
        "column day was int32, is double": table.set_column(
            0, "day", table["day"].cast(pa.float64())
        ),
        "column f was float, is double": table.set_column(3, "f", table["f"].cast(pa.float64())),
        "column x was double, is string": table.set_column(1, "x", table["x"].cast(pa.string())),
    }
    for observed, after in tables.items():
        assert broken(after.to_batches()).get("same_columns") == observed
    assert "other_cells" in broken(tables["column w is not there any more"].to_batches())
    assert "same_keys" in broken(day_as_text.to_batches())
    assert "no_infinite_cell" in broken(tables["column x was double, is string"].to_batches())


def test_lost_or_retyped_column_is_not_taken_for_another() -> None:
    """Nor is one whose bits are the same."""
    before = pa.record_batch({"a": [1.0], "b": [1.0]})
    bits = pa.array([1.0]).view(pa.int64())
    for after in ({"b": [1.0]}, {"a": bits, "b": [1.0]}):
        found = check_invariants([before], [pa.record_batch(after)], (), ())
        told = {one.name: one.observed for one in found if not one.success}
        assert told["other_cells"] == "not so in row 1, column a"


def test_without_keys_and_imputed_columns_only_the_rest_is_compared() -> None:
    found = check_invariants(batches(AFTER), batches(AFTER), (), ())
    assert [one.name for one in found] == ["same_columns", "same_rows", "other_cells"]
    assert all(one.success for one in found)


def test_other_dictionary_of_the_same_values_is_no_change() -> None:
    old = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), ["a", "b"])
    new = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int32()), ["b", "a"])
    before, after = pa.record_batch({"c": old}), pa.record_batch({"c": new})
    assert all(one.success for one in check_invariants([before], [after], (), ()))


def test_other_nan_is_no_change() -> None:
    """The missing value of R is a NaN of its own, which does not survive a CSV file."""
    payload = np.array([0x7FF00000000007A2], np.uint64).view(np.float64)
    before, after = pa.record_batch({"c": payload}), pa.record_batch({"c": [NAN]})
    assert all(one.success for one in check_invariants([before], [after], (), ()))


def test_half_floats_are_compared_by_bits() -> None:
    before = pa.record_batch({"c": pa.array(np.array([1.0, -0.0], np.float16))})
    after = pa.record_batch({"c": pa.array(np.array([1.0, 0.0], np.float16))})
    assert all(one.success for one in check_invariants([before], [before], ("c",), ()))
    found = check_invariants([before], [after], ("c",), ())
    assert [one.observed for one in found if not one.success] == ["not so in row 2, column c"]


def test_file_that_cannot_be_read_to_its_end_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "staged.parquet"
    parquet.write_table(pa.table(AFTER, FILLED_SCHEMA), path)
    path.write_bytes(path.read_bytes()[:-100])

    def read() -> Iterator[pa.RecordBatch]:
        yield from parquet.ParquetFile(path).iter_batches()

    [(name, observed)] = broken(read()).items()
    assert name == "readable"
    assert observed.startswith("could not be read to its end: Arrow")


def test_no_value_of_the_data_is_in_the_invariants() -> None:
    number, text = SENTINELS
    changes = [("day", 1, 987_654_321), ("x", 1, number), ("s", 1, text), ("w", 4, number)]
    for change in changes:
        found = compare(batches(with_cell(*change)))
        assert not all(one.success for one in found.values())
        told = json.dumps([dataclasses.asdict(one) for one in found.values()])
        assert not holds_sentinel(told)


@st.composite
def filled_tables(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """A table with holes, and the same with its holes filled."""
    n = draw(st.integers(1, 12))
    doubles = st.floats(allow_infinity=False)
    singles = st.floats(width=32, allow_infinity=False)
    integers = st.integers(-(2**53), 2**53)
    cells: dict[str, st.SearchStrategy[Any]] = {
        "day": st.integers(-5, 5),
        "x": st.none() | doubles,
        "n": st.none() | integers,
        "f": st.none() | singles,
        "s": st.none() | st.text(max_size=3),
        "w": st.none() | st.floats(),
        "v": st.none() | st.lists(st.floats(), max_size=2),
    }
    before = {name: draw(st.lists(one, min_size=n, max_size=n)) for name, one in cells.items()}
    hole = draw(st.integers(-1000, 1000).map(float))
    filled = {
        name: [hole if c is None or c != c else float(c) for c in before[name]] for name in IMPUTED
    }
    return pa.table(before, SCHEMA), pa.table(before | filled, FILLED_SCHEMA)


sizes = st.integers(1, 13)


@settings(deadline=None, max_examples=50)
@given(filled_tables(), sizes, sizes)
def test_filling_holes_keeps_every_invariant(
    tables: tuple[pa.Table, pa.Table], size: int, other: int
) -> None:
    before, after = tables
    assert broken(after.to_batches(other), before.to_batches(size)) == {}


def other_than(cell: Any, data: st.DataObject, kind: pa.DataType) -> Any:
    """Another cell of that type: missing, if it was not, or with any one bit flipped."""
    if cell is None:
        return {pa.int32(): 1, pa.string(): "", pa.float64(): NAN}.get(kind, [])
    if data.draw(st.booleans(), "missing"):
        return None
    if pa.types.is_floating(kind):
        unsigned = {32: np.uint32, 64: np.uint64}[kind.bit_width]
        value = np.array([cell], kind.to_pandas_dtype())
        flipped = value.view(unsigned) ^ unsigned(
            1 << data.draw(st.integers(0, kind.bit_width - 1))
        )
        return flipped.view(value.dtype)[0] if value[0] == value[0] else 0.0
    if pa.types.is_integer(kind):
        return cell ^ (1 << data.draw(st.integers(0, 30)))
    return [*cell, 0.0] if pa.types.is_list(kind) else f"{cell}."


@settings(deadline=None, max_examples=200)
@given(filled_tables(), st.data(), sizes, sizes)
def test_any_changed_cell_that_was_observed_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], data: st.DataObject, size: int, other: int
) -> None:
    before, after = tables
    row = data.draw(st.integers(0, len(before) - 1))
    observed = [name for name in IMPUTED if (c := before[name][row].as_py()) is not None and c == c]
    column = data.draw(st.sampled_from([*KEY, "s", "w", "v", *observed]))
    cells = after[column].to_pylist()
    kind = after.schema.field(column).type
    cells[row] = other_than(cells[row], data, kind)
    if column == "n" and cells[row] == before["n"][row].as_py():
        return  # the sign of zero, which the integer did not have
    index = after.schema.get_field_index(column)
    changed = after.set_column(index, column, pa.chunked_array([pa.array(cells, kind)]))
    found = broken(changed.to_batches(other), before.to_batches(size))
    assert any(f"row {row + 1}, column {column}" in observed for observed in found.values())


@settings(deadline=None, max_examples=50)
@given(filled_tables(), st.data(), sizes, sizes)
def test_any_lost_repeated_or_moved_row_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], data: st.DataObject, size: int, other: int
) -> None:
    before, after = tables
    rows = list(range(len(after)))
    row, place = data.draw(st.sampled_from(rows)), data.draw(st.sampled_from(rows))
    lost = rows[:row] + rows[row + 1 :]
    moved = [*lost[:place], row, *lost[place:]]
    days = before["day"].to_pylist()
    for order in (lost, [*rows, row], moved):
        found = broken(
            after.take(pa.array(order, pa.int64())).to_batches(other), before.to_batches(size)
        )
        if [days[one] for one in order] != days:
            assert found


@settings(deadline=None, max_examples=50)
@given(filled_tables(), st.sampled_from(SCHEMA.names))
def test_any_lost_column_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], column: str
) -> None:
    before, after = tables
    found = broken(after.drop_columns(column).to_batches(), before.to_batches())
    assert found["same_columns"] == f"column {column} is not there any more"
    assert len(found) > 1
