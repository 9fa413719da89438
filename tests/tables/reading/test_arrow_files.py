"""Parquet and Feather: types, metadata and categories of several parts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from em_impute.job import FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    Snapshot,
    read_batches,
    read_schema,
)
from em_impute.tables.sources import take_snapshot


def table_of(snapshot: Snapshot) -> pa.Table:
    return pa.Table.from_batches(list(read_batches(snapshot.path)), read_schema(snapshot.path))


def test_parquet_keeps_types_and_metadata(tmp_path: Path, folder: RunFolder) -> None:
    schema = pa.schema(
        [("f", pa.float32()), ("d", pa.decimal128(5, 2)), ("t", pa.timestamp("us", "UTC"))],
        metadata={"pandas": '{"columns": []}'},
    )
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"f": [0.1], "d": [1], "t": [0]}, schema=schema), path)
    take_snapshot(FileSource(path=path), folder.snapshot)
    assert read_schema(folder.snapshot).equals(schema, check_metadata=True)


def test_categories_that_differ_between_row_groups_become_one_dictionary(
    tmp_path: Path, folder: RunFolder
) -> None:
    path = tmp_path / "x.parquet"
    type_ = pa.dictionary(pa.int8(), pa.string())
    groups = [["a", "b"], ["c", None], ["b", "d"]]
    parts = [pa.array(group).dictionary_encode() for group in groups]
    codes = [pa.DictionaryArray.from_arrays(p.indices.cast(pa.int8()), p.dictionary) for p in parts]
    pq.write_table(pa.table({"c": pa.chunked_array(codes)}), path, row_group_size=2)
    column = table_of(take_snapshot(FileSource(path=path), folder.snapshot, 2))["c"]
    assert column.to_pylist() == ["a", "b", "c", None, "b", "d"]
    assert column.type == type_
    assert [chunk.dictionary.to_pylist() for chunk in column.chunks] == [["a", "b", "c", "d"]] * 3
