"""The manifest of a run: what ran on what, on which machine, with which outcome."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from threadpoolctl import threadpool_info

from em_impute.job import CannotRun, Job
from em_impute.reporting.rows_of_model import RowsOfModel
from em_impute.tables.run_folder import RunFolder, folders_in
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.whole_files import read_json, written_whole
from em_impute.tables.writing.staged import Published

RECORDED_PACKAGES = (
    "em_impute",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "prefect",
    "great_expectations",
)


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
    rows_of_model : RowsOfModel or None
        Of which rows the model is, where the job has a state.
    imputed : dict of str to int
        Imputed cells of each column.
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
    rows_of_model: RowsOfModel | None = None
    imputed: dict[str, int] = field(default_factory=dict)
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
            "seed": self.job.imputation.seed if self.job.imputation.is_drawn else None,
            "source": {
                "path": self.snapshot.source,
                "version": self.snapshot.version,
                "fingerprint": self.snapshot.fingerprint,
                "rows": self.snapshot.rows,
                "rows_read": self.snapshot.at_hand.rows,
                "columns": [column.name for column in self.snapshot.columns],
            },
            "target": self.published and asdict(self.published),
            "cells": self.cells,
            "imputed": self.imputed,
            "rows_of_model": self.rows_of_model and asdict(self.rows_of_model),
            "table": self.table,
            "outputs": self.outputs,
            "versions": self.versions,
            "machine": self.machine,
            "started": self.started.isoformat(),
            "finished": self.finished.isoformat(),
            "verdict": self.verdict,
        }

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with written_whole(path) as partial:
            text = json.dumps(self.to_dict(), indent=2, default=str)
            partial.write_text(text + "\n", encoding="utf-8")


# --- Read back ---------------------------------------------------------------------------------


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


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """Read what `Manifest.save` wrote.

    Raises
    ------
    CannotRun
        If there is none, or none that says enough.
    """
    try:
        content: dict[str, Any] = read_json(folder.manifest)
    except (OSError, ValueError):
        raise CannotRun(
            f"{folder.path} has no manifest.json that can be read; expected the folder of a "
            "finished run, such as runs/<job>/<run>."
        ) from None
    if isinstance(content, dict) and "definition" not in content:
        raise CannotRun(
            f"{folder.manifest} does not hold the whole job, as those of em_impute before "
            "em-impute verify do; run the job again."
        )
    try:
        _Manifest.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise CannotRun(
            f"{folder.manifest} was damaged or changed by hand ({place}); the run cannot be read "
            "from it."
        ) from None
    return content


def read_manifests(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each run's folder in a job's folder, with its manifest, in the order of their names.

    What is no finished run is passed over.
    """
    for path in folders_in(folder):
        with suppress(CannotRun):
            yield path, read_manifest(RunFolder(path))


# --- What computed it --------------------------------------------------------------------------


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
