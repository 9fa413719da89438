"""Files whose columns differ: joined where no cell is lost, refused where one would be."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snapshots import Read, Refusal, put

from em_impute.job import FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import read_batches, read_schema
from em_impute.tables.sources import take_snapshot


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_nulls_and_categories_of_files_join(place: Path, read: Read, suffix: str) -> None:
    put(
        place / f"1.{suffix}",
        pa.table({"c": pa.array(["a", "b"]).dictionary_encode(), "n": pa.nulls(2)}),
    )
    put(
        place / f"2.{suffix}",
        pa.table({"n": [1.5, None], "c": pa.array(["c", "a"]).dictionary_encode()}),
    )
    table = read(place, suffix)
    assert table.to_pydict() == {"c": ["a", "b", "c", "a"], "n": [None, None, 1.5, None]}
    assert table.schema.types == [pa.dictionary(pa.int32(), pa.string()), pa.float64()]


# A categorical of pandas in which every cell is missing.
NO_CATEGORY = pa.DictionaryArray.from_arrays(pa.array([None], pa.int32()), pa.nulls(0))


DIFFERENT = [
    ([1, 2], [1.5, None], pa.float64()),
    (pa.array([1.5, None], pa.float32()), [1, 2], pa.float64()),
    (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
    (pa.array([-1], pa.int8()), pa.array([200], pa.uint8()), pa.int16()),
    (pa.array([-1], pa.int64()), pa.array([7], pa.uint64()), pa.int64()),
    (["a"], pa.array(["b"], pa.large_string()), pa.large_string()),
    (["a"], pa.array(["b", None]).dictionary_encode(), pa.string()),
    (
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["b", "c"], pa.large_string()).dictionary_encode(),
        pa.dictionary(pa.int32(), pa.large_string()),
    ),
    (
        pa.array([1, None], pa.timestamp("us")),
        pa.array([5], pa.timestamp("ns")),
        pa.timestamp("ns"),
    ),
    (
        pa.array([1], pa.timestamp("ms", "UTC")),
        pa.array([5], pa.timestamp("ns", "UTC")),
        pa.timestamp("ns", "UTC"),
    ),
    (
        pa.array([1], pa.timestamp("us", "UTC")),
        pa.array([5], pa.timestamp("us", "+00:00")),
        pa.timestamp("us", "UTC"),
    ),
    (pa.array([1], pa.duration("s")), pa.array([5], pa.duration("ns")), pa.duration("ns")),
    (pa.array([1], pa.time32("s")), pa.array([5], pa.time64("us")), pa.time64("us")),
    (
        pa.array([Decimal("1.25")], pa.decimal128(5, 2)),
        pa.array([Decimal("12345678901.5")], pa.decimal128(12, 1)),
        pa.decimal128(13, 2),
    ),
    (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), [3, None], pa.decimal128(22, 2)),
    ([[1, 2]], [[1.5], None], pa.list_(pa.float64())),
    ([{"a": 1}], [{"a": 2.5}], pa.struct([("a", pa.float64())])),
    (pa.nulls(2), ["a"], pa.string()),
    (NO_CATEGORY, ["a"], pa.string()),
    (NO_CATEGORY, pa.array(["a"]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string())),
]


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize(("one", "other", "type_"), DIFFERENT)
@pytest.mark.parametrize("turned", [False, True])
def test_files_that_differ_without_loss_are_one_table(
    place: Path,
    folder: RunFolder,
    one: Any,
    other: Any,
    type_: pa.DataType,
    turned: bool,
    suffix: str,
) -> None:
    tables = [pa.table({"x": cells}) for cells in (one, other)][:: -1 if turned else 1]
    for i, table in enumerate(tables):
        put(place / f"{i}.{suffix}", table)
    source = FileSource(path=place, format=suffix)
    snapshot = take_snapshot(source, folder.snapshot)
    assert read_schema(snapshot.path).field("x").type == type_ or suffix == "parquet"
    cells = [batch.column("x").to_pylist() for batch in read_batches(snapshot.path)]
    expected = [cell for table in tables for cell in table["x"].to_pylist()]
    assert [cell for batch in cells for cell in batch] == expected
    nulls = any("null" in str(table.schema.field("x").type) for table in tables)
    if suffix == "feather" and not nulls:
        assert snapshot.notes[0].startswith("Column 'x' is ")
        assert f"{place}/0.{suffix}" in snapshot.notes[0]


@pytest.mark.parametrize(
    "cells",
    [
        ["a", None],
        [True],
        [date(2024, 1, 1)],
        pa.array(["a"]).dictionary_encode(),
        [Decimal("1.5")],
    ],
    ids=["text", "bool", "date", "category", "decimal"],
)
def test_an_empty_column_of_pandas_is_of_any_type(place: Path, read: Read, cells: Any) -> None:
    """It is one of floats, all of them NaN."""
    table = pa.table({"x": cells})
    put(place / "1.parquet", pa.table({"x": [float("nan"), None]}))
    put(place / "2.parquet", table)
    found = read(place, "parquet")
    assert found["x"].to_pylist() == [None, None, *table["x"].to_pylist()]
    assert not pa.types.is_floating(found.schema.field("x").type)


def test_a_file_may_have_more_columns_than_others(place: Path, folder: RunFolder) -> None:
    put(place / "1.parquet", pa.table({"a": [1], "b": pa.array(["u"]).dictionary_encode()}))
    put(place / "2.parquet", pa.table({"c": pa.array(["v"]).dictionary_encode(), "a": [2]}))
    put(place / "2.parquet", pa.table({"c": ["w"], "a": [2], "b": ["x"]}))
    put(place / "3.parquet", pa.table({"a": [3], "b": ["y"]}))
    snapshot = take_snapshot(FileSource(path=place, format="parquet"), folder.snapshot)
    rows = [row for batch in read_batches(snapshot.path) for row in batch.to_pylist()]
    assert rows == [
        {"a": 1, "b": "u", "c": None},
        {"a": 2, "b": "x", "c": "w"},
        {"a": 3, "b": "y", "c": None},
    ]
    assert snapshot.notes[-1] == (
        f"Column 'c' is not in {place}/1.parquet and 1 more: its cells are missing there."
    )


@pytest.mark.parametrize(
    ("one", "other", "row"),
    [
        ([1.5], [1, 2**53 + 1], 2),
        (["a"], [float("nan"), 1.5], 2),
        (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), [None, None, 1.5], 3),
        (pa.array([1], pa.int64()), pa.array([2**63], pa.uint64()), 1),
        (
            pa.array([1], pa.timestamp("ns")),
            pa.array([1, None, 253_402_214_400_000_000], pa.timestamp("us")),
            3,
        ),
    ],
    ids=["int64", "text", "decimal", "uint64", "timestamp"],
)
def test_a_cell_that_no_common_type_holds(
    place: Path, refusal: Refusal, one: Any, other: Any, row: int
) -> None:
    put(place / "1.parquet", pa.table({"x": one}))
    put(place / "2.parquet", pa.table({"x": other}))
    message = refusal(place, "parquet")
    assert message.startswith(f"{place}/2.parquet: column 'x' is of type ")
    assert f"the cell in row {row} would not be the same" in message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a"], [b"a"]),
        ([True], [1]),
        ([date(2024, 1, 1)], pa.array([1], pa.timestamp("us"))),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.array([1], pa.timestamp("us", "Asia/Tokyo"))),
        (["a"], pa.DictionaryArray.from_arrays(pa.array([0]), ["a"], ordered=True)),
        (["1"], [1]),
    ],
)
def test_types_that_do_not_join(place: Path, refusal: Refusal, one: Any, other: Any) -> None:
    put(place / "1.feather", pa.table({"x": one}))
    put(place / "2.feather", pa.table({"x": other}))
    message = refusal(place, "feather")
    assert message.startswith(f"{place}/2.feather: column 'x' is of type ")
    assert "no type holds both" in message


def test_pandas_reads_the_joined_types(place: Path, folder: RunFolder) -> None:
    """What it wrote of itself into the first file is not said of all of them."""
    put(place / "1.parquet", pa.Table.from_pandas(pd.DataFrame({"x": [1, 2], "k": [1, 2]})))
    put(place / "2.parquet", pa.Table.from_pandas(pd.DataFrame({"x": [1.5, None], "k": [3, 4]})))
    snapshot = take_snapshot(FileSource(path=place, format="parquet"), folder.snapshot)
    frame = pa.ipc.open_file(snapshot.path.read_bytes()).read_pandas()
    assert frame["x"].tolist()[:3] == [1.0, 2.0, 1.5]
    assert frame.dtypes.tolist() == [np.dtype("float64"), np.dtype("int64")]


@pytest.mark.parametrize("codes", [pa.int8(), pa.int16()])
def test_categories_of_all_files_together_may_be_more_than_their_codes_tell(
    tmp_path: Path, folder: RunFolder, codes: pa.DataType
) -> None:
    """pandas writes codes of one byte where a file has few categories."""
    (tmp_path / "in").mkdir()
    texts = [[f"{part}{i}" for i in range(100)] for part in "ab"]
    for number, (cells, type_) in enumerate(zip(texts, (pa.int8(), codes), strict=True)):
        column = pa.array(cells).dictionary_encode().cast(pa.dictionary(type_, pa.string()))
        pq.write_table(pa.table({"t": column}), tmp_path / "in" / f"{number}.parquet")
    source = FileSource(path=tmp_path / "in", format="parquet")
    batches = list(read_batches(take_snapshot(source, folder.snapshot).path))
    found = pa.Table.from_batches(batches)["t"]
    assert found.type == pa.dictionary(pa.int32(), pa.string())
    assert found.to_pylist() == [*texts[0], *texts[1]]
