"""The folder of a run: where its files are, how they are written, and its manifest.

A file is in the folder whole or not at all, so a retry may trust what it finds there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from threadpoolctl import threadpool_info

from em_impute.job import CannotRun, Job, KeptRuns
from em_impute.job.confinement import OutsideError, confined

if TYPE_CHECKING:
    from em_impute.tables.reading.sources import Snapshot
    from em_impute.tables.writing.targets import Published

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
RECORDED_PACKAGES = (
    "em_impute",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "prefect",
    "great_expectations",
)


class DiskFullError(OSError):
    """The disk was full while a file was being written; the message is a whole sentence."""


@contextmanager
def written_whole(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield the name to write under; give the file its own name once it is complete.

    Parameters
    ----------
    path : Path
        The name of the complete file. A file that is there already is replaced in one step.
    partial : Path, optional
        The name until then, on the same device; by default hidden beside `path`. It is removed
        if the writing fails.

    Raises
    ------
    DiskFullError
        If the device has no room left. Any other OSError comes through as it is.
    """
    partial = partial or path.with_name(f".{path.name}.part")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"The disk is full: {path} could not be written.") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file that may have been damaged since it was written.

    Raises
    ------
    ValueError
        If it is not JSON, or nested without end.
    OSError
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    def model(self) -> Path:
        """The fitted mean and covariance."""
        return self.path / "model.json"

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
        files = (self.summary, self.model, self.cells)
        return {file.name: sha256(file) for file in files if file.exists()}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `manifest` as JSON, whole or not at all."""
        with written_whole(self.manifest) as partial:
            text = json.dumps(manifest.to_dict(), indent=2, default=str)
            partial.write_text(text + "\n", encoding="utf-8")

    def read_manifest(self) -> dict[str, Any]:
        """Read what `write_manifest` wrote.

        Raises
        ------
        CannotRun
            If there is none, or none that says enough.
        """
        try:
            content: dict[str, Any] = read_json(self.manifest)
        except (OSError, ValueError):
            raise CannotRun(
                f"{self.path} has no manifest.json that can be read; expected the folder of a "
                "finished run, such as runs/<job>/<run>."
            ) from None
        if isinstance(content, dict) and "definition" not in content:
            raise CannotRun(
                f"{self.manifest} does not hold the whole job, as those of em_impute before "
                "em-impute verify do; run the job again."
            )
        try:
            _Manifest.model_validate_json(json.dumps(content), strict=True)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            raise CannotRun(
                f"{self.manifest} was damaged or changed by hand ({place}); the run cannot be read "
                "from it."
            ) from None
        return content

    @property
    def is_overtaken(self) -> bool:
        """Whether another run of the job has ended since this one read its source."""
        read = self.read.stat().st_mtime_ns
        ended = (path for path in self.path.parent.glob("*/manifest.json") if path != self.manifest)
        return any(manifest.lstat().st_mtime_ns > read for manifest in ended)

    def hold(self) -> None:
        """Let other processes see that the run goes on; they do until it ends, however it does."""
        lock = FileLock(self.path / LOCK, thread_local=False)
        # Where files cannot be locked, nobody takes a run without a lock for a dead one either.
        with suppress(OSError, NotImplementedError):
            lock.acquire()
            _held[self.path] = lock

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

    @property
    def _is_dead(self) -> bool:
        """Whether the run's process is gone, and has left working files."""
        if self.path in _held or not self._working_files():
            return False
        if not (self.path / LOCK).exists():
            return _is_left(self.path, datetime.now(UTC))
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return True
        except (Timeout, OSError, NotImplementedError):
            return False


def clear_held_folders() -> None:
    """Remove the working files of all runs of this process, which is about to end."""
    for path in list(_held):
        RunFolder(path).clear()


def clear_dead_runs(folder: Path) -> int:
    """Remove what runs that were killed have left in a job's folder; how many there were.

    One of them that is tried again reads its source again, as it does where another run has ended
    meanwhile.
    """
    dead = [run for run in map(RunFolder, _folders(folder)) if run._is_dead]
    for run in dead:
        run.clear()
    return len(dead)


class _Source(BaseModel):
    path: str
    fingerprint: str


class _Target(BaseModel):
    target: str
    sha256: str


class _Definition(BaseModel):
    target: dict[str, Any]
    columns: dict[str, Any] = Field({})


class _Manifest(BaseModel):
    """What of a manifest others than its reader go by; there is more in it."""

    run: str
    day: date = Field(date.min, alias="date")
    definition: _Definition
    source: _Source
    target: _Target | None
    table: str | None = None
    outputs: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str]
    started: AwareDatetime


def prune(folder: Path, keep: KeptRuns, now: datetime) -> int:
    """Remove the run folders in a job's folder that are not to be kept; how many there were.

    The latest run that published is kept, and so is one without a manifest that may still be
    running or be tried again: that is a week after the last change in it.
    """
    runs = [(path, manifest) for path, manifest in read_manifests(folder)][::-1]
    published = next((path for path, manifest in runs if manifest["target"] is not None), None)
    gone = [
        path
        for i, (path, manifest) in enumerate(runs)
        if path != published
        and (
            (keep.count is not None and i >= keep.count)
            or (keep.days is not None and _days_ago(manifest["started"], now) > keep.days)
        )
    ]
    if keep != KeptRuns():
        finished = {path for path, _ in runs}
        gone += [path for path in _folders(folder) if path not in finished and _is_left(path, now)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def _days_ago(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)) / timedelta(days=1)


def _is_left(path: Path, now: datetime) -> bool:
    latest = max(file.lstat().st_mtime for file in (path, *path.iterdir()))
    return now.timestamp() - latest > LEFT_AFTER.total_seconds()


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def read_manifests(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each run's folder in a job's folder, with its manifest, in the order of their names.

    What is no finished run is passed over.
    """
    for path in _folders(folder):
        with suppress(CannotRun):
            yield path, RunFolder(path).read_manifest()


def open_run_folder(root: Path, job_name: str, run_id: str) -> RunFolder:
    """Make the folder ``root/job_name/run_id``, or open it if it is there.

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


def reason(error: OSError) -> str:
    """What the system says went wrong, such as "permission denied", without any path."""
    return (error.strerror or type(error).__name__).lower()


@dataclass(frozen=True)
class Manifest:
    """What ran on what, with which outcome.

    Attributes
    ----------
    run : str
        The run's id.
    date : date
        The day that the data are about.
    job : Job
    snapshot : Snapshot
        What was read.
    published : Published or None
        What was published; None if the run stopped before.
    cells : int
        Imputed cells.
    table : str or None
        SHA-256 of the filled table as it was staged; None if the run stopped before.
    outputs : dict of str to str
        SHA-256 of the files in the run's folder, by name.
    started, finished : datetime
        With their time zone.
    verdict : str
        The outcome in a sentence.
    versions, machine : dict of str to str
        What computed it.
    """

    run: str
    date: date
    job: Job
    snapshot: Snapshot
    published: Published | None
    cells: int
    table: str | None
    outputs: dict[str, str]
    started: datetime
    finished: datetime
    verdict: str
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    machine: dict[str, str] = field(default_factory=lambda: this_machine())

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON holds it."""
        definition = self.job.model_dump(mode="json")
        return {
            "run": self.run,
            "date": self.date.isoformat(),
            "job": self.job.name,
            "job_hash": hashlib.sha256(self.job.model_dump_json().encode()).hexdigest(),
            "definition": definition,
            "seed": self.job.imputation.seed if self.job.imputation.method == "draw" else None,
            "source": {
                "path": self.snapshot.source,
                "fingerprint": self.snapshot.fingerprint,
                "rows": self.snapshot.rows,
                "columns": [column.name for column in self.snapshot.columns],
            },
            "target": self.published and asdict(self.published),
            "cells": self.cells,
            "table": self.table,
            "outputs": self.outputs,
            "versions": self.versions,
            "machine": self.machine,
            "started": self.started.isoformat(),
            "finished": self.finished.isoformat(),
            "verdict": self.verdict,
        }


def installed_versions() -> dict[str, str]:
    """Version of Python and of every package that has a part in the result."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def this_machine() -> dict[str, str]:
    """What else the last bits of a result may depend on."""
    blas = {
        f"{found['internal_api']} {found['version']} {found.get('architecture', '')}, "
        f"{found['num_threads']} threads"
        for found in threadpool_info()
        if found["user_api"] == "blas"
    }
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "BLAS": "; ".join(sorted(blas)),
    }
