"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from em_impute.tables.snapshot import Snapshot
from em_impute.tables.whole_files import DiskFullError, sha256, written_whole

Take = Callable[..., Snapshot]


def test_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with written_whole(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "Input/output error")])
def test_failure_leaves_the_old_file(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    """/dev/full takes no byte, as a disk without room."""
    (tmp_path / ".x.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError) as caught, written_whole(tmp_path / "x") as partial:
        partial.write_text("content")
    assert str(caught.value) == f"The disk is full: {tmp_path}/x could not be written."
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
