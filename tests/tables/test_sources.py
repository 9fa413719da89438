"""A source becomes a snapshot: its batches, its fingerprint, and no half of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from em_impute.job import FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    Snapshot,
    read_batches,
)
from em_impute.tables.sources import take_snapshot
from em_impute.tables.whole_files import DiskFullError

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


def test_full_disk_leaves_no_half_snapshot(take_csv: Take, folder: RunFolder) -> None:
    """/dev/full takes no byte, as a disk without room."""
    folder.snapshot.with_name(".snapshot.arrow.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"The disk is full: .*/snapshot\.arrow could not be"):
        take_csv("a\n" + "1\n" * 100_000)
    assert list(folder.path.iterdir()) == []
