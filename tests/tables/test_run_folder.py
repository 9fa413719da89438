"""The run's folder: files whole or not at all, the manifest, and what a finished run leaves."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from em_impute.job import CannotRun, Job, KeptRuns
from em_impute.runs.kept import prune
from em_impute.runs.manifest import Manifest, installed_versions, read_manifest, this_machine
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.whole_files import DiskFullError, sha256, written_whole
from em_impute.tables.writing.targets import Published

Take = Callable[..., Snapshot]


# --- Files -------------------------------------------------------------------------------------


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


# --- The folder --------------------------------------------------------------------------------


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


# --- The manifest ------------------------------------------------------------------------------


def manifest(job: Job, snapshot: Snapshot, published: Published | None) -> Manifest:
    return Manifest(
        run="run-1",
        date=date(2026, 1, 1),
        job=job,
        snapshot=snapshot,
        published=published,
        cells=3,
        table="ef56",
        outputs={"model.json": "cd34"},
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        finished=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        verdict="Published.",
    )


def test_manifest_says_what_ran_on_what(
    folder: RunFolder, take_csv: Take, job: Callable[..., Job]
) -> None:
    snapshot = take_csv("a,b\n1,2\n")
    published = Published("out/y.parquet", 1, "ab12")
    manifest(job(), snapshot, published).save(folder.manifest)
    written = json.loads(folder.manifest.read_text())
    assert written.pop("versions") == installed_versions()
    assert written.pop("machine") == this_machine()
    assert Job.model_validate(written.pop("definition")) == job()
    assert read_manifest(folder)["run"] == "run-1"
    assert written.pop("job_hash") == hashlib.sha256(job().model_dump_json().encode()).hexdigest()
    assert written == {
        "run": "run-1",
        "date": "2026-01-01",
        "job": "job",
        "source": {
            "path": snapshot.source,
            "fingerprint": snapshot.fingerprint,
            "rows": 1,
            "columns": ["a", "b"],
        },
        "target": {
            "target": "out/y.parquet",
            "rows": 1,
            "sha256": "ab12",
            "before": False,
            "narrowed": [],
        },
        "cells": 3,
        "table": "ef56",
        "outputs": {"model.json": "cd34"},
        "seed": None,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:04:06+00:00",
        "verdict": "Published.",
    }


def test_job_hash_follows_the_job(take_csv: Take, job: Callable[..., Job]) -> None:
    snapshot = take_csv("a\n1\n")
    hashes = [manifest(j, snapshot, None).to_dict()["job_hash"] for j in (job(), job(key=["a"]))]
    assert hashes[0] != hashes[1]


def test_manifest_of_a_refused_run_has_no_target(
    folder: RunFolder, take_csv: Take, job: Callable[..., Job]
) -> None:
    manifest(job(), take_csv("a\n1\n"), None).save(folder.manifest)
    assert json.loads(folder.manifest.read_text())["target"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no manifest.json that can be read; expected the folder of a finished run"),
        ("{", "has no manifest.json that can be read"),
        ('{"run": "1"}', "does not hold the whole job"),
    ],
)
def test_manifest_that_cannot_be_read(folder: RunFolder, content: str | None, message: str) -> None:
    if content is not None:
        folder.manifest.write_text(content)
    with pytest.raises(CannotRun, match=message):
        read_manifest(folder)


def test_hashes_are_of_the_files_that_there_are(folder: RunFolder) -> None:
    folder.model.write_text("{}")
    assert folder.hashes() == {"model.json": hashlib.sha256(b"{}").hexdigest()}


def test_the_machine_is_described_with_its_blas() -> None:
    machine = this_machine()
    assert machine["platform"] == f"{platform.system()} {platform.machine()}"
    assert "threads" in machine["BLAS"]


def test_versions_are_those_installed() -> None:
    versions = installed_versions()
    assert versions["python"] == platform.python_version()
    assert versions["pyarrow"] == version("pyarrow")
    assert versions["great_expectations"] == version("great-expectations")


# --- Old runs ----------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def leave_run(folder: Path, days_ago: float, published: bool | None) -> str:
    """A run's folder; without a manifest if it is not known whether it published."""
    started = NOW - timedelta(days=days_ago)
    run = folder / f"{started:%Y%m%dT%H%M%SZ}-abcdefgh"
    run.mkdir(parents=True)
    (run / "report.html").touch()
    if published is not None:
        target = {"target": "out.csv", "sha256": "..."} if published else None
        content = {
            "run": run.name,
            "definition": {"target": {}, "columns": {}},
            "source": {"path": "in.csv", "fingerprint": "sha256:..."},
            "target": target,
            "outputs": {},
            "versions": {},
            "machine": {},
            "started": started.isoformat(),
        }
        (run / "manifest.json").write_text(json.dumps(content))
    os.utime(run / "report.html", (started.timestamp(), started.timestamp()))
    os.utime(run, (started.timestamp(), started.timestamp()))
    return run.name


def test_without_a_policy_every_run_is_kept(tmp_path: Path) -> None:
    leave_run(tmp_path, 3000, published=True)
    leave_run(tmp_path, 2000, published=None)
    assert prune(tmp_path, KeptRuns(), NOW) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_runs_are_kept_by_count_and_by_age(tmp_path: Path) -> None:
    for days_ago in (40, 30, 20, 10, 5):
        leave_run(tmp_path, days_ago, published=True)
    assert prune(tmp_path, KeptRuns(days=25), NOW) == 2
    assert prune(tmp_path, KeptRuns(count=2), NOW) == 1
    assert prune(tmp_path, KeptRuns(count=2, days=7), NOW) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_latest_that_published_is_kept(tmp_path: Path) -> None:
    kept = {leave_run(tmp_path, 400, published=True), leave_run(tmp_path, 1, published=False)}
    leave_run(tmp_path, 500, published=True)
    leave_run(tmp_path, 399, published=False)
    assert prune(tmp_path, KeptRuns(count=1, days=30), NOW) == 2
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_run_that_may_still_be_going_on_is_kept(tmp_path: Path) -> None:
    going_on = leave_run(tmp_path, 1, published=None)
    leave_run(tmp_path, 8, published=None)
    (tmp_path / "notes.txt").touch()
    assert prune(tmp_path, KeptRuns(days=1), NOW) == 1
    assert {path.name for path in tmp_path.iterdir()} == {going_on, "notes.txt"}
