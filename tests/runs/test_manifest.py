"""The manifest: what ran on what, and whether it can be read back."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib.metadata import version

import pytest

from em_impute.job import CannotRun, Job
from em_impute.runs.manifest import Manifest, installed_versions, read_manifest, this_machine
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.writing.staged import Published

Take = Callable[..., Snapshot]


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
            "version": None,
            "fingerprint": snapshot.fingerprint,
            "rows": 1,
            "rows_read": 1,
            "columns": ["a", "b"],
        },
        "target": {
            "target": "out/y.parquet",
            "rows": 1,
            "sha256": "ab12",
            "before": False,
            "narrowed": [],
            "version": None,
        },
        "cells": 3,
        "imputed": {},
        "rows_of_model": None,
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


def test_the_machine_is_described_with_its_blas() -> None:
    machine = this_machine()
    assert machine["platform"] == f"{platform.system()} {platform.machine()}"
    assert "threads" in machine["BLAS"]


def test_versions_are_those_installed() -> None:
    versions = installed_versions()
    assert versions["python"] == platform.python_version()
    assert versions["pyarrow"] == version("pyarrow")
    assert versions["great_expectations"] == version("great-expectations")
