"""Folders as targets: their versions, the link to the published one, and what a kill leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pytest
from pyarrow import feather

from em_impute.job import FileTarget
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.targets import check_schema, check_target, publish
from em_impute.tables.writing import partitions
from em_impute.tables.writing.staged import Staged, TargetError

Stage = Callable[[dict[str, Any]], Staged]


@pytest.fixture
def stage(folder: RunFolder) -> Stage:
    """A table that waits to be published to a folder."""

    def make(columns: dict[str, Any]) -> Staged:
        path = folder.staged("feather")
        table = pa.table(columns)
        feather.write_feather(table, path, compression="lz4")
        return Staged(path, "feather", table.num_rows, 0, "", path, (), ("k",))

    return make


def target_of(path: Path, **options: Any) -> FileTarget:
    return FileTarget(path=path / "out", format="parquet", **({"partition_by": ["year"]} | options))


def read(folder: Path) -> list[dict[str, Any]]:
    table = pa_dataset.dataset(folder, partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["k"])


def test_readers_open_current(tmp_path: Path, stage: Stage) -> None:
    target = target_of(tmp_path)
    staged = stage({"k": [1, 2, 3], "year": [2025, 2024, 2025], "x": [0.5, 1.5, None]})
    published = publish(staged, target, "run 1")
    assert (published.target, published.rows) == (str(tmp_path / "out"), 3)
    files = sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*.parquet"))
    assert [str(path) for path in files] == [
        "versions/run 1/year=2024/part-0.parquet",
        "versions/run 1/year=2025/part-0.parquet",
    ]
    assert read(tmp_path / "out" / "current") == [
        {"k": 1, "x": 0.5, "year": 2025},
        {"k": 2, "x": 1.5, "year": 2024},
        {"k": 3, "x": None, "year": 2025},
    ]


def test_names_of_folders_are_quoted(tmp_path: Path, stage: Stage) -> None:
    """A slash, an equals sign, spaces and a missing value come back."""
    texts = ["a/b", "c=d", " ..", "é%", None]
    table = {"k": range(5), "year": pa.array(texts, pa.string())}
    target = target_of(tmp_path)
    publish(stage(table), target, "run")
    schema = pa.table(table).schema
    batches = partitions.read(tmp_path / "out" / "current", "parquet", schema)
    rows = pa.Table.from_batches(batches, schema).to_pylist()
    assert sorted(rows, key=lambda row: row["k"]) == pa.table(table).to_pylist()


def test_versions_that_are_kept(tmp_path: Path, stage: Stage) -> None:
    """The published one always; a reader of an older one can finish while it is kept."""
    target = target_of(tmp_path, keep_versions=2)
    for run in range(4):
        publish(stage({"k": [run], "year": [2024]}), target, f"run {run}")
        kept = sorted(path.name for path in (tmp_path / "out" / "versions").iterdir())
        assert kept == [f"run {i}" for i in range(max(0, run - 1), run + 1)]
        assert (tmp_path / "out" / "current").resolve().name == f"run {run}"
    assert read(tmp_path / "out" / "versions" / "run 2") == [{"k": 2, "year": 2024}]


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_the_same_run_publishes_once(tmp_path: Path, stage: Stage, mode: str) -> None:
    target = target_of(tmp_path, mode=mode)
    first = publish(stage({"k": [1], "year": [2024]}), target, "run 1")
    assert publish(stage({"k": [2], "year": [2024]}), target, "run 2").rows == (
        1 if mode == "replace" else 2
    )
    before = (tmp_path / "out" / "current").resolve()
    assert publish(stage({"k": [3], "year": [2024]}), target, "run 1") == first
    assert (tmp_path / "out" / "current").resolve() == before


@pytest.mark.parametrize(
    ("options", "schema", "message"),
    [
        ({}, {"k": pa.int64()}, "target.partition_by: the table has no column 'year'."),
        (
            {},
            {"k": pa.int64(), "year": pa.float64()},
            "target.partition_by: 'year' is of type double; folders are named by integers, text, "
            "dates or true and false.",
        ),
        (
            {},
            {"year": pa.int64()},
            "target.partition_by names every column; leave one for the files.",
        ),
    ],
)
def test_columns_that_do_not_make_partitions(
    tmp_path: Path, options: dict[str, Any], schema: dict[str, pa.DataType], message: str
) -> None:
    with pytest.raises(TargetError) as caught:
        check_schema(pa.schema(schema), target_of(tmp_path, **options))
    assert str(caught.value) == message


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(TargetError, match="is a folder that em_impute has not written; name a new"):
        check_target(target_of(tmp_path))
    (tmp_path / "out" / "mine.txt").rename(tmp_path / "file")
    with pytest.raises(TargetError, match="is a file; with partition_by it is a folder"):
        check_target(FileTarget(path=tmp_path / "file", format="parquet", partition_by=[]))


KILLED = """
import os, signal, sys
from pathlib import Path
from em_impute.job import FileTarget
from em_impute.tables.targets import publish
from em_impute.tables.writing import versions
from em_impute.tables.writing.staged import Staged
staged, out, moment = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
point = versions.point
def die_after(*arguments):
    point(*arguments)
    die()
if moment == "writing":
    versions.write_record = die
elif moment == "before":
    versions.point = die
else:
    versions.point = die_after
target = FileTarget(path=out, format="parquet", partition_by=["year"])
path = Path(staged)
publish(Staged(path, "feather", 1, 0, "", path, ()), target, "run 2")
"""


@pytest.mark.parametrize("moment", ["writing", "before", "after"])
def test_kill_9_leaves_the_old_version_or_the_new(
    tmp_path: Path, stage: Stage, moment: str
) -> None:
    target = target_of(tmp_path)
    publish(stage({"k": [1], "year": [2024]}), target, "run 1")
    staged = stage({"k": [2], "year": [2025]})
    command = [sys.executable, "-c", KILLED, str(staged.path), str(tmp_path / "out"), moment]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    new = [{"k": 2, "year": 2025}]
    found = read(tmp_path / "out" / "current")
    assert found == (new if moment == "after" else [{"k": 1, "year": 2024}])
    publish(staged, target, "run 2")
    assert read(tmp_path / "out" / "current") == new
    versions = sorted(path.name for path in (tmp_path / "out" / "versions").iterdir())
    assert versions == ["run 1", "run 2"]
