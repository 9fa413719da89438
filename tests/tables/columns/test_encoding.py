"""Cells as numbers and labels, decimals as floats, and rows as a mask."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_impute.tables.columns.encoding import as_labels, decimals_as_floats, mask_of, to_numbers


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=5))
def test_integers_are_the_nearest_floats_and_nulls_nan(cells: list[int | None]) -> None:
    expected = [np.nan if cell is None else float(cell) for cell in cells]
    np.testing.assert_array_equal(to_numbers(pa.array(cells, pa.int64())), expected)


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        ([1.5, None, float("nan")], pa.float16()),
        ([1.5, None, float("nan")], pa.float64()),
        ([Decimal("1.5"), None, None], pa.decimal128(5, 1)),
    ],
    ids=str,
)
def test_numbers_of_other_types(cells: list[Any], type_: pa.DataType) -> None:
    np.testing.assert_array_equal(to_numbers(pa.array(cells, type_)), [1.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (pa.array(["a", None, ""]), ["a", None, ""]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array([7, None, -1], pa.int8()), ["7", None, "-1"]),
        (pa.array(["a", None, "b"]).dictionary_encode(), ["a", None, "b"]),
        (pa.array([7, None, 7]).dictionary_encode(), ["7", None, "7"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_labels_are_text_and_null_where_missing(cells: pa.Array, labels: list[str | None]) -> None:
    assert as_labels(cells).type == pa.large_string()
    assert as_labels(cells).to_pylist() == labels


@given(st.lists(st.decimals(-999, 999, places=3, allow_nan=False) | st.none(), max_size=6))
def test_decimals_that_floats_keep_become_floats(cells: list[Decimal | None]) -> None:
    decimals = pa.array(cells, pa.decimal128(6, 3))
    others = pa.array(["a"] * len(cells), pa.string())
    found = decimals_as_floats(pa.table({"x": decimals, "kept": others}))
    assert found.schema.types == [pa.float64(), pa.string()]
    # Arrow's floats may be the next but one to the decimals, which come back nevertheless.
    assert found["x"].cast(decimals.type).to_pylist() == decimals.to_pylist()
    expected = [np.nan if cell is None else float(cell) for cell in cells]
    np.testing.assert_allclose(to_numbers(found["x"]), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("cells", "precision"),
    [
        # The two would be one float.
        ([Decimal(2**53), Decimal(2**53 + 1)], 20),
        # Its float has one digit more than the type has room for.
        ([Decimal("9" * 17)], 17),
    ],
)
def test_decimals_that_floats_do_not_keep_stay(cells: list[Decimal], precision: int) -> None:
    table = pa.table({"x": pa.array(cells, pa.decimal128(precision, 0))})
    assert decimals_as_floats(table).equals(table)


@given(st.sets(st.integers(0, 7)))
def test_a_mask_has_the_rows(rows: set[int]) -> None:
    mask = mask_of(8, np.array(sorted(rows), dtype=np.int64))
    assert mask.to_pylist() == [i in rows for i in range(8)]
