"""The folder of a run: where its files are, and which of them go when the run ends.

A file is in the folder whole or not at all, so a retry may trust what it finds there.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from em_impute.job import CannotRun
from em_impute.job.confinement import OutsideError, confined
from em_impute.tables.whole_files import reason, sha256

# A run that has not ended after so long is not going to.
LEFT_AFTER = timedelta(days=7)
# What is in a run's folder only while the run goes on. The lock is held by its process.
LOCK = ".lock"
WORKING_FILES = (
    "snapshot.*",
    "checkpoint.json",
    "staged.*",
    "publishing",
    ".*.part",
    ".source.*",
    LOCK,
)
# The folders of the runs that go on in this process.
_held: dict[Path, FileLock] = {}


@dataclass(frozen=True)
class RunFolder:
    """Where one run keeps its files: ``<root>/<job>/<run id>/``."""

    path: Path

    @property
    def snapshot(self) -> Path:
        """The source as it was read; a working file."""
        return self.path / "snapshot.arrow"

    @property
    def read(self) -> Path:
        """What is known of the snapshot, once it is whole; a working file."""
        return self.path / "snapshot.json"

    @property
    def checkpoint(self) -> Path:
        """The model of a fit that is not at its end; a working file."""
        return self.path / "checkpoint.json"

    @property
    def summary(self) -> Path:
        """The pattern summary that the model was fitted to."""
        return self.path / "summary.npz"

    @property
    def observed(self) -> Path:
        """What is kept of that summary where its rows stayed on the workers of a cluster."""
        return self.path / "observed.npz"

    @property
    def model(self) -> Path:
        """The fitted mean and covariance."""
        return self.path / "model.json"

    @property
    def columns(self) -> Path:
        """How each column takes part in the model."""
        return self.path / "columns.json"

    @property
    def table_summary(self) -> Path:
        """The pattern summary of the run's own table, where the model is of more rows."""
        return self.path / "table.npz"

    @property
    def start(self) -> Path:
        """The model of an earlier run from which the fit began, where it did."""
        return self.path / "start.json"

    @property
    def state(self) -> Path:
        """What of the job's state went into the model, where the job has one."""
        return self.path / "state.json"

    @property
    def groups(self) -> Path:
        """The fitted models of groups, where there are any."""
        return self.path / "groups.json"

    @property
    def cells(self) -> Path:
        """The cell ledger: one row per imputed cell."""
        return self.path / "cells.parquet"

    @property
    def checks(self) -> Path:
        """Results of the checks before and after."""
        return self.path / "checks.json"

    def validation(self, stage: str) -> Path:
        """Great Expectations' own results of a project's suites on a table, if a job wants them."""
        return self.path / f"great_expectations-{stage}.json"

    @property
    def numbers(self) -> Path:
        """The report's numbers, from which the page can be made again."""
        return self.path / "report.json"

    @property
    def publishing(self) -> Path:
        """There since the run began to publish; an empty working file."""
        return self.path / "publishing"

    @property
    def report(self) -> Path:
        """The report as one page."""
        return self.path / "report.html"

    @property
    def manifest(self) -> Path:
        """What ran on what, with which outcome."""
        return self.path / "manifest.json"

    def staged(self, file_format: str) -> Path:
        """The filled table until it is published; a working file."""
        return self.path / f"staged.{file_format}"

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file from which a run can be verified, by name; of those there are."""
        files = (self.summary, self.model, self.cells, self.start, self.state)
        return {file.name: sha256(file) for file in files if file.exists()}

    def hold(self) -> None:
        """Let other processes see that the run goes on; they do until it ends, however it does."""
        lock = FileLock(self.path / LOCK, thread_local=False)
        # Where files cannot be locked, nobody takes a run without a lock for a dead one either.
        with suppress(OSError, NotImplementedError):
            lock.acquire()
            _held[self.path] = lock

    @property
    def is_held(self) -> bool:
        """Whether a process holds it, or has died with it."""
        return (self.path / LOCK).exists()

    def clear(self) -> None:
        """Remove the working files: the snapshot, a staged table, and whatever is half written."""
        for path in self._working_files():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if lock := _held.pop(self.path, None):
            lock.release()
            (self.path / LOCK).unlink(missing_ok=True)

    def _working_files(self) -> list[Path]:
        return [path for pattern in WORKING_FILES for path in self.path.glob(pattern)]

    def is_left(self, now: datetime) -> bool:
        """Whether nothing in it has changed for so long that its run cannot be going on."""
        latest = max(file.lstat().st_mtime for file in (self.path, *self.path.iterdir()))
        return now.timestamp() - latest > LEFT_AFTER.total_seconds()

    @property
    def is_dead(self) -> bool:
        """Whether the run's process is gone, and has left working files."""
        if self.path in _held or not self._working_files():
            return False
        if not (self.path / LOCK).exists():
            return self.is_left(datetime.now(UTC))
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return True
        except (Timeout, OSError, NotImplementedError):
            return False


def clear_held_folders() -> None:
    """Remove the working files of all runs of this process, which is about to end."""
    for path in list(_held):
        RunFolder(path).clear()


def open_run_folder(root: Path, job_name: str, run_id: str) -> RunFolder:
    """Make the folder ``root/job_name/run_id``, or open it if it is there.

    Parameters
    ----------
    root : Path
        Where the folders of all jobs' runs are.
    job_name, run_id : str

    Raises
    ------
    CannotRun
        If the folder cannot be made, or is where jobs may not go.
    """
    folder = RunFolder(root / job_name / run_id)
    try:
        confined(folder.path)
        folder.path.mkdir(parents=True, exist_ok=True)
    except OutsideError as outside:
        raise CannotRun(f"The run's folder {folder.path} {outside}.") from None
    except OSError as error:
        raise CannotRun(
            f"The run's folder {folder.path} cannot be made ({reason(error)}); "
            "choose another folder for the runs."
        ) from error
    return folder


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, such as those of a job's runs, in the order of their names."""
    return sorted(path for path in folder.glob("*") if path.is_dir())
