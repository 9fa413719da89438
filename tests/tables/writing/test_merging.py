"""Append and upsert, for files and folders: which rows are there, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather

from em_impute.job import FileTarget
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.targets import publish
from em_impute.tables.writing import partitions
from em_impute.tables.writing.formats import read_staged
from em_impute.tables.writing.merging import MergeError
from em_impute.tables.writing.staged import Staged

Stage = Callable[..., Staged]
KINDS = ["csv", "parquet", "feather", "jsonl", "folder"]


@pytest.fixture
def stage(folder: RunFolder) -> Stage:
    def make(key: tuple[str, ...] = ("k",), **columns: Any) -> Staged:
        path, table = folder.staged("feather"), pa.table(columns)
        feather.write_feather(table, path, compression="lz4")
        return Staged(path, "feather", table.num_rows, 0, "", path, (), key)

    return make


def target_of(folder: Path, kind: str, mode: str) -> FileTarget:
    options = {"format": "parquet", "partition_by": []} if kind == "folder" else {}
    name = "out" if kind == "folder" else f"out.{kind}"
    return FileTarget(path=folder / name, mode=mode, **options)


def rows_of(target: FileTarget, schema: pa.Schema) -> list[dict[str, Any]]:
    path = Path(target.path)
    if target.is_folder:
        batches = partitions.read(path / "current", "parquet", schema)
    else:
        batches = read_staged(path, target.file_format, schema)
    return pa.Table.from_batches(batches, schema).to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_append_adds_the_new_rows_after_the_old(tmp_path: Path, stage: Stage, kind: str) -> None:
    target, schema = target_of(tmp_path, kind, "append"), pa.schema([("k", "int64"), ("x", "f8")])
    assert publish(stage(k=[1, 2], x=[0.5, None]), target, "run 1").rows == 2
    assert publish(stage(k=[2], x=[7.0]), target, "run 2").rows == 3
    assert rows_of(target, schema) == [
        {"k": 1, "x": 0.5},
        {"k": 2, "x": None},
        {"k": 2, "x": 7.0},
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_upsert_replaces_by_key(tmp_path: Path, stage: Stage, kind: str) -> None:
    """By a key of two columns; an old row without a key stays."""
    target = target_of(tmp_path, kind, "upsert")
    publish(
        stage(("k", "t"), k=[1, 1, 2], t=["a", "b", None], x=[1.0, 2.0, 3.0]),
        target_of(tmp_path, kind, "append"),
        "run 1",
    )
    publish(stage(("k", "t"), k=[3, 1], t=["a", "b"], x=[4.0, 5.0]), target, "run 2")
    schema = pa.schema([("k", "int64"), ("t", "string"), ("x", "f8")])
    assert [tuple(row.values()) for row in rows_of(target, schema)] == [
        (1, "a", 1.0),
        (2, None, 3.0),
        (3, "a", 4.0),
        (1, "b", 5.0),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_the_same_run_publishes_once(tmp_path: Path, stage: Stage, kind: str, mode: str) -> None:
    target = target_of(tmp_path, kind, mode)
    publish(stage(k=[1]), target, "run 1")
    first = publish(stage(k=[2]), target, "run 2")
    assert publish(stage(k=[2]), target, "run 2") == first
    assert rows_of(target, pa.schema([("k", "int64")])) == [{"k": 1}, {"k": 2}]


@pytest.mark.parametrize(
    ("columns", "difference"),
    [
        ({"k": [1]}, "it has 'x', which the new table does not have"),
        ({"k": [1], "x": [1.0], "y": [1]}, "it has no 'y'"),
        ({"k": [1], "x": ["a"]}, "'x' is of type double, now string"),
        ({"x": [1.0], "k": [1]}, "its columns are in another order"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_tables_of_other_columns_are_not_mixed(
    tmp_path: Path, stage: Stage, kind: str, columns: dict[str, Any], difference: str
) -> None:
    target = target_of(tmp_path, kind, "append")
    publish(stage(k=[1], x=[0.5]), target, "run 1")
    with pytest.raises(MergeError) as caught:
        publish(stage(**columns), target, "run 2")
    assert str(caught.value) == (
        f"The table at {target} has other columns than the new one: {difference}. Publish it with "
        "`mode: replace`, or to another target."
    )
    assert rows_of(target, pa.schema([("k", "int64"), ("x", "f8")])) == [{"k": 1, "x": 0.5}]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([1, None, None], "'k' is missing in rows 2, 3; `mode: upsert` needs a key in every row."),
        ([0.5, float("nan")], "'k' is missing in row 2; `mode: upsert` needs a key in every row."),
        ([7, 8, 7], "'k' is not unique, as in rows 1, 3; `mode: upsert` needs a key that is in"),
    ],
)
def test_keys_that_tell_no_row(
    tmp_path: Path, stage: Stage, keys: list[float | None], message: str
) -> None:
    target, type_ = target_of(tmp_path, "parquet", "upsert"), pa.array(keys).type
    publish(stage(k=pa.array([1], type_)), target, "run 1")
    with pytest.raises(MergeError) as caught:
        publish(stage(k=keys), target, "run 2")
    assert message in str(caught.value)
    assert rows_of(target, pa.schema([("k", type_)])) == [{"k": 1}]


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_row_whose_key_is_nan_stays(tmp_path: Path, stage: Stage, kind: str) -> None:
    """As one without a key does, and it may come more than once."""
    nan = float("nan")
    old = stage(k=[0.5, nan, nan], x=[1, 2, 3])
    publish(old, target_of(tmp_path, kind, "append"), "run 1")
    target, schema = target_of(tmp_path, kind, "upsert"), pa.schema([("k", "f8"), ("x", "int64")])
    publish(stage(k=[0.5], x=[4]), target, "run 2")
    assert [row["x"] for row in rows_of(target, schema)] == [2, 3, 4]
