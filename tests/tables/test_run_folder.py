"""The run's folder: made once, and what a finished run leaves in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from em_impute.job import CannotRun
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


def test_folder_is_made_once_and_opened_again(tmp_path: Path) -> None:
    folder = open_run_folder(tmp_path / "runs", "air", "run-1")
    assert folder.path == tmp_path / "runs" / "air" / "run-1"
    folder.model.write_text("{}")
    assert open_run_folder(tmp_path / "runs", "air", "run-1").model.read_text() == "{}"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(CannotRun, match=r"runs/air/run-1 cannot be made \(not a directory\)"):
        open_run_folder(tmp_path / "runs", "air", "run-1")


def test_clear_removes_the_working_files_only(folder: RunFolder) -> None:
    leave = [
        folder.summary,
        folder.model,
        folder.cells,
        folder.checks,
        folder.numbers,
        folder.report,
        folder.manifest,
    ]
    work = [folder.snapshot, folder.staged("csv"), folder.staged("parquet")]
    for path in [*leave, *work, folder.path / ".cells.parquet.part"]:
        path.touch()
    folder.clear()
    assert sorted(folder.path.iterdir()) == sorted(leave)
    folder.clear()


def test_hashes_are_of_the_files_that_there_are(folder: RunFolder) -> None:
    folder.model.write_text("{}")
    assert folder.hashes() == {"model.json": hashlib.sha256(b"{}").hexdigest()}
