"""What the tests of sources share: a folder for them, what is read there, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from snapshots import Read, Refusal

from em_impute.job import FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import SourceError, read_batches, read_schema
from em_impute.tables.sources import take_snapshot


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def read(folder: RunFolder) -> Read:
    """The table of a snapshot that is taken of a folder or URL."""

    def take(path: Path | str, file_format: str) -> pa.Table:
        take_snapshot(FileSource(path=path, format=file_format), folder.snapshot)
        snapshot = folder.snapshot
        return pa.Table.from_batches(list(read_batches(snapshot)), read_schema(snapshot))

    return take


@pytest.fixture
def refusal(folder: RunFolder) -> Refusal:
    """The message about a source, which leaves nothing in the run's folder."""

    def take(path: Path | str, file_format: str | None = None) -> str:
        with pytest.raises(SourceError) as caught:
            take_snapshot(FileSource(path=path, format=file_format), folder.snapshot)
        assert list(folder.path.iterdir()) == []
        return str(caught.value)

    return take
