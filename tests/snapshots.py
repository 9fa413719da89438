"""Fixtures for tests of what is done with a table that was read: run folders, snapshots, jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from em_impute.job import FileSource, FileTarget, Job
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot

Read = Callable[..., pa.Table]
Refusal = Callable[..., str]


def put(path: Path, content: str | bytes | pa.Table) -> None:
    """Write a file of text, bytes or a table, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str | bytes):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    elif path.suffix == ".parquet":
        pq.write_table(content, path)
    else:
        feather.write_feather(content, path)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return open_run_folder(tmp_path / "runs", "job", "run-1")


@pytest.fixture
def take_csv(tmp_path: Path, folder: RunFolder) -> Callable[[str | bytes], Snapshot]:
    """Snapshot of a CSV file with the given content, called x.csv."""

    def take(content: str | bytes) -> Snapshot:
        path = tmp_path / "x.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return take_snapshot(FileSource(path=path), folder.snapshot)

    return take


@pytest.fixture
def take_table(tmp_path: Path, folder: RunFolder) -> Callable[[pa.Table], Snapshot]:
    """Snapshot of a Feather file with the given table."""

    def take(table: pa.Table) -> Snapshot:
        path = tmp_path / "x.feather"
        feather.write_feather(table, path)
        return take_snapshot(FileSource(path=path), folder.snapshot)

    return take


@pytest.fixture
def job() -> Callable[..., Job]:
    """A job with the given columns section."""

    def make(**columns: Any) -> Job:
        return Job(
            name="job",
            source=FileSource(path=Path("x.csv")),
            target=FileTarget(path=Path("y.parquet")),
            columns=columns,
        )

    return make
