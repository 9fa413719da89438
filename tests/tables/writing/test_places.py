"""Whether a file can be published where a job says, before the work starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from em_impute.job import FileTarget
from em_impute.tables.targets import check_target
from em_impute.tables.writing.staged import TargetError


def test_folder_of_the_target_is_made(tmp_path: Path) -> None:
    check_target(FileTarget(path=tmp_path / "a/b/y.csv"))
    assert list((tmp_path / "a/b").iterdir()) == []


def test_check_leaves_the_target_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "y.csv").write_bytes(b"old")
    check_target(FileTarget(path=tmp_path / "y.csv"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "folder.csv",
            "The target {0}/folder.csv is a folder; name a file in it, or add partition_by",
        ),
        ("file/y.csv", "cannot be written in {0}/file (file exists); choose another folder"),
        ("file/a/y.csv", "cannot be written in {0}/file/a (not a directory); choose another"),
        ("/proc/y.csv", "The target /proc/y.csv cannot be written in /proc (no such file"),
        ("/proc/a/y.csv", "The target /proc/a/y.csv cannot be written in /proc/a (no such file"),
    ],
)
def test_target_that_cannot_be_written(tmp_path: Path, path: str, expected: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(TargetError) as caught:
        check_target(FileTarget(path=tmp_path / path))
    assert expected.format(tmp_path) in str(caught.value)
