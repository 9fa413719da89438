"""A source becomes a snapshot: its batches, its fingerprint, and no half of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from em_impute.job import FileSource
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    Snapshot,
    SnapshotFile,
    parts_of,
    read_batches,
    read_schema,
)
from em_impute.tables.sources import hold, take_snapshot
from em_impute.tables.whole_files import DiskFullError, sha256

Take = Callable[..., Snapshot]


def test_same_content_has_the_same_fingerprint(take_csv: Take) -> None:
    first, again = take_csv("a,b\n1,x\n,y\n"), take_csv("a,b\n1,x\n,y\n")
    other = take_csv("a,b\n1,x\n2,y\n")
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert re.fullmatch("sha256:[0-9a-f]{64}", first.fingerprint)


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_batches_have_the_rows_that_the_job_says(
    tmp_path: Path, folder: RunFolder, rows: int
) -> None:
    pq.write_table(pa.table({"i": range(20)}), tmp_path / "x.parquet", row_group_size=6)
    take_snapshot(FileSource(path=tmp_path / "x.parquet"), folder.snapshot, rows)
    batches = list(read_batches(folder.snapshot))
    assert [i for batch in batches for i in batch["i"].to_pylist()] == list(range(20))
    assert {batch.num_rows for batch in batches[:-1]} <= {rows}


def test_a_table_in_memory_is_held_as_it_would_be_read(tmp_path: Path, folder: RunFolder) -> None:
    """With the same profiles, batches and parts, and what stands for a missing cell as nulls."""
    n = 70_000
    table = pa.table(
        {
            "number": pa.array([-9.0, None, 1.5, 2.5] * (n // 4)),
            "level": pa.array(["a", "?", None, "b"] * (n // 4)),
            "code": pa.chunked_array([pa.array(["x"] * 5).dictionary_encode()] * (n // 5)),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    source = FileSource(path=tmp_path / "x.parquet", missing={"number": ["-9"], "level": ["?"]})
    levels: dict[str, tuple[str, ...]] = {"level": ()}
    read = take_snapshot(source, folder.snapshot, purpose=Purpose(categories=levels))
    held = hold(table, Missing.of(source, levels))
    assert (held.rows, held.columns) == (read.rows, read.columns)
    assert held.profile("number").missing == n // 2
    assert read_schema(held.path).equals(read_schema(read.path))
    assert list(read_batches(held.path)) == list(read_batches(read.path))
    assert parts_of(held, 3) == parts_of(read, 3)


def test_full_disk_leaves_no_half_snapshot(take_csv: Take, folder: RunFolder) -> None:
    """/dev/full takes no byte, as a disk without room."""
    folder.snapshot.with_name(".snapshot.arrow.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"The disk is full: .*/snapshot\.arrow could not be"):
        take_csv("a\n" + "1\n" * 100_000)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "parquet", "feather", "jsonl"])
def test_the_rows_of_each_file_are_known_where_they_have_to_be(
    tmp_path: Path, file_format: str
) -> None:
    """By the file's name in the folder, in the order of the rows, whatever the batches are."""
    sizes = {"month=1/a": 70, "month=1/b": 1, "month=2/a": 40}
    for name, rows in sizes.items():
        frame = pd.DataFrame({"x": np.arange(rows) / 4, "y": "text"})
        path = tmp_path / "in" / f"{name}.{file_format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        match file_format:
            case "parquet":
                frame.to_parquet(path)
            case "feather":
                frame.to_feather(path)
            case "jsonl":
                frame.to_json(path, orient="records", lines=True)
            case _:
                frame.to_csv(path, index=False)
    source = FileSource(path=tmp_path / "in", format=file_format.partition(".")[0])
    snapshot = take_snapshot(source, tmp_path / "snapshot.arrow", 32, Purpose(by_file=True))
    expected = [
        SnapshotFile(
            f"{name}.{file_format}", sha256(tmp_path / "in" / f"{name}.{file_format}"), rows
        )
        for name, rows in sizes.items()
    ]
    assert list(snapshot.files) == expected
    months = pa.Table.from_batches(read_batches(snapshot.path, ["month"]))["month"].to_pylist()
    assert months == [1] * 71 + [2] * 40
    snapshot.save(tmp_path / "snapshot.json")
    again = Snapshot.load(tmp_path / "snapshot.json")
    assert again is not None
    assert again.files == snapshot.files
    assert not take_snapshot(source, tmp_path / "other.arrow").files
