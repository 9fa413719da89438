"""Whether a run's output can be computed again: its input is read, fitted and filled once more.

What comes out is compared with the hashes in the run's manifest and, where these differ, cell by
cell with the run's ledger. The target itself is not needed: a later run may have replaced it. Where
it is known to be this run's, it is compared too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from em_impute.checks.invariants import Rows, side_by_side
from em_impute.gaussian import EMResult, GaussianModel, PatternSummary
from em_impute.gaussian.filling import load_model
from em_impute.job import (
    CannotRun,
    DatabaseTarget,
    DeltaSource,
    DeltaTarget,
    FileTarget,
    IcebergSource,
    IcebergTarget,
    Job,
)
from em_impute.job.confinement import OutsideError
from em_impute.runs import steps
from em_impute.runs.manifest import installed_versions, read_manifest, this_machine
from em_impute.runs.passes import passes_of
from em_impute.tables import summarise
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.state.gathering import ModelRows, shape_of
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.publications import Comparison
from em_impute.tables.writing.staged import Staged

Agreement = Literal["equal", "equal to rounding", "not equal", "cannot be verified"]
TABLE = "the table"


@dataclass(frozen=True)
class Verification:
    """What computing a run again has shown.

    Attributes
    ----------
    agreement : {"equal", "equal to rounding", "not equal", "cannot be verified"}
    sentences : tuple of str
        What was compared, and what differs where.
    """

    agreement: Agreement
    sentences: tuple[str, ...]


def verify(path: Path) -> Verification:
    """Compute the output of a run again and compare it with what the run recorded.

    Parameters
    ----------
    path : Path
        The run's folder.

    Raises
    ------
    CannotRun
        If it is not the folder of a run that published, or its source cannot be read.
    """
    folder = RunFolder(path)
    recorded = read_manifest(folder)
    job = as_read(job_of(recorded), recorded)
    if recorded["target"] is None:
        raise CannotRun("This run published nothing, so there is nothing to verify.")
    if changed := _changed_files(folder, recorded["outputs"]):
        return Verification("not equal", changed)
    with tempfile.TemporaryDirectory(prefix="em_impute-verify-") as root:
        # Under the run's own name, which is in the ledger.
        again = RunFolder(Path(root) / Path(recorded["run"]).name)
        again.path.mkdir()
        snapshot = steps.read(job, again)
        if job.engine.name == "sql":
            return _where_it_is(folder, again, snapshot, job, recorded)
        if snapshot.fingerprint != recorded["source"]["fingerprint"]:
            why = "it does not have the fingerprint that the run recorded"
            return _without_source(folder, again, job, recorded, why)
        # A state has gone on since; what of it went into the model is in the run's folder.
        of_state = folder.state.exists() and folder.summary.exists()
        rows = ModelRows.of_run(folder) if of_state else None
        job = job.model_copy(update={"state": None})
        for given in filter(Path.exists, (folder.state, folder.start)):
            shutil.copy(given, again.path)
        table = steps.assigned(snapshot, job, shape_of(folder))
        staged = passes_of(job).fill(table, steps.fit(job, table, again, rows=rows), again)
        verification = _compare(folder, again, staged, job, recorded)
        if isinstance(job.target, DatabaseTarget):
            return _with_database(verification, staged, job.target, recorded["run"])
        if isinstance(job.target, DeltaTarget | IcebergTarget):
            version = recorded["target"].get("version")
            return _with_version(verification, staged, job.target, version)
    return Verification(
        verification.agreement,
        (*verification.sentences, *_from_the_state(rows, snapshot), *_target_now(job, recorded)),
    )


def _from_the_state(rows: ModelRows | None, snapshot: Snapshot) -> tuple[str, ...]:
    """Which rows of the model were not read again; one sentence, or none."""
    if rows is None:
        return ()
    return (
        f"The model is of {rows.summary.n_rows:,} rows, as summary.npz has them; only the table's "
        f"{snapshot.rows:,} were read again.",
    )


def _with_database(
    verification: Verification, staged: Staged, target: DatabaseTarget, run_id: str
) -> Verification:
    from em_impute.tables.databases.published_rows import compare

    return _with(verification, compare(staged, target, run_id))


def _with(verification: Verification, found: Comparison) -> Verification:
    """The verification with what the target holds, which may differ."""
    agreement: Agreement = "not equal" if found.differs else verification.agreement
    return Verification(agreement, (*verification.sentences, found.sentence))


def _with_version(
    verification: Verification,
    staged: Staged,
    target: DeltaTarget | IcebergTarget,
    version: int | None,
) -> Verification:
    from em_impute.tables.lakehouse.published_rows import compare

    return _with(verification, compare(staged, target, version))


def as_read(job: Job, recorded: Mapping[str, Any]) -> Job:
    """The job with its source at the version that the run has read, by its manifest."""
    version = recorded["source"].get("version")
    if version is None or not isinstance(job.source, DeltaSource | IcebergSource):
        return job
    source = job.source.model_copy(update={"version": version})
    return job.model_copy(update={"source": source})


def job_of(recorded: Mapping[str, Any]) -> Job:
    """The job of a run, by its manifest.

    Raises
    ------
    CannotRun
        If this version does not read it.
    """
    try:
        return Job.model_validate(recorded["definition"])
    except ValidationError as error:
        reasons = (details.get("ctx", {}).get("error") for details in error.errors())
        if outside := [reason for reason in reasons if isinstance(reason, OutsideError)]:
            raise CannotRun(f"A path of the run's job {outside[0]}.") from None
        raise CannotRun(
            "The job in the manifest is not one that this version of em_impute "
            f"({installed_versions()['em_impute']}) reads; the run was made by "
            f"{recorded['versions']['em_impute']}."
        ) from None


def _changed_files(folder: RunFolder, outputs: Mapping[str, str]) -> tuple[str, ...]:
    now = folder.hashes()
    return tuple(
        f"{folder.path / name} is {'another file than the run wrote' if name in now else 'gone'}."
        for name, recorded in outputs.items()
        if now.get(name) != recorded
    )


# --- The source has changed --------------------------------------------------------------------


def _without_source(
    folder: RunFolder, again: RunFolder, job: Job, recorded: Mapping[str, Any], why: str
) -> Verification:
    """Verify the model, which can be fitted to the summary that the run has kept."""
    source = recorded["source"]["path"]
    sentence = (
        f"The source {source} has changed since: {why}, so the table cannot be computed again."
    )
    sentences = (sentence, *_differences(recorded))
    if job.model.is_of_rows or not folder.summary.exists():
        # The run has not kept the rows.
        return Verification("cannot be verified", sentences)
    then = GaussianModel.load(folder.model)
    rows = ModelRows.of_run(folder)
    now = summarise.fit_model(rows.summary, job.model, start=rows.start).model
    now.save(again.model)
    equal = sha256(again.model) == recorded["outputs"].get(again.model.name)
    largest = _apart_in_means(then, now)
    by = "equal bit by bit" if equal else f"apart by up to {largest:.2g} sd in its means"
    fitted = f"The model, fitted again to the run's {folder.summary.name}, is {by}."
    within = equal or largest <= job.model.tol
    return Verification("cannot be verified" if within else "not equal", (*sentences, fitted))


def _apart_in_means(then: GaussianModel, now: GaussianModel) -> float:
    """The largest distance of two models' means, in standard deviations."""
    scale = np.where(then.sd > 0, then.sd, 1.0)
    return float(np.max(np.abs(now.mean - then.mean) / scale, initial=0.0))


# --- The table stayed in its database ----------------------------------------------------------


def _where_it_is(
    folder: RunFolder, again: RunFolder, snapshot: Snapshot, job: Job, recorded: Mapping[str, Any]
) -> Verification:
    """Sum the table up and fill it again in its database, by the run's own model."""
    table, passes = steps.assigned(snapshot, job), passes_of(job)
    fitted = steps.fit(job, table, again)
    sentences: tuple[str, ...] = ()
    agreement: Agreement = "equal"
    if fitted.result:
        if not _adds_up(PatternSummary.load(folder.summary), PatternSummary.load(again.summary)):
            why = "its rows do not add up to what the run has kept of them"
            return _without_source(folder, again, job, recorded, why)
        then = GaussianModel.load(folder.model)
        assert isinstance(fitted.result, EMResult)  # of another family `engine: sql` has no job
        largest = _apart_in_means(then, fitted.result.model)
        equal = sha256(again.model) == recorded["outputs"].get(again.model.name)
        by = "equal bit by bit" if equal else f"apart by up to {largest:.2g} sd in its means"
        sentences = (f"The model, fitted again to the table where it is, is {by}.",)
        if not equal:
            agreement = "equal to rounding" if largest <= job.model.tol else "not equal"
        # By the run's own model the same cells are filled with the same bits.
        fitted = replace(fitted, result=replace(fitted.result, model=then))
    try:
        staged = passes.fill(table, fitted, again)
        assert isinstance(job.target, DatabaseTarget)
        verification = Verification(agreement, (*sentences, *_differences(recorded)))
        return _with_database(verification, staged, job.target, recorded["run"])
    finally:
        passes.clear(again)


def _adds_up(then: PatternSummary, now: PatternSummary) -> bool:
    """Whether two summaries are of the same rows, but for rounding."""
    if then.columns != now.columns or not np.array_equal(then.patterns, now.patterns):
        return False
    unit = np.where(then.observed_sd > 0, then.observed_sd, 1.0)
    return (
        np.array_equal(then.counts, now.counts)
        and bool(np.all(np.abs(then.observed_mean - now.observed_mean) <= 1e-8 * unit))
        and np.allclose(then.observed_sd, now.observed_sd, rtol=1e-8)
    )


# --- The output, then and now ------------------------------------------------------------------


@dataclass
class _Cells:
    """How the cells of two ledgers differ; `largest` in standard deviations of their columns."""

    count: int = 0
    differing: int = 0
    first: str = ""
    largest: float = 0.0

    def add(self, old: pa.RecordBatch, new: pa.RecordBatch, sd: Mapping[str, float]) -> None:
        names = old["column"].dictionary.to_pylist()
        columns = old["column"].indices.to_numpy()
        rows = old["row"].to_numpy()
        elsewhere = (rows != new["row"].to_numpy()) | _other_text(old["column"], new["column"])
        apart = np.where(elsewhere, np.inf, np.maximum(*(_apart(old, new, c) for c in _NUMBERS)))
        if not self.differing and apart.any():
            at = int(np.flatnonzero(apart)[0])
            self.first = f"row {rows[at]}, column {names[columns[at]]}"
        self.count += len(apart)
        self.differing += int(np.count_nonzero(apart))
        scale = np.array([sd.get(name) or 1.0 for name in names])[columns]
        self.largest = max(self.largest, float(np.max(apart / scale, initial=0.0)))


_NUMBERS = ("value", "sd")


def _other_text(old: pa.DictionaryArray, new: pa.DictionaryArray) -> np.ndarray[Any, Any]:
    other = pc.not_equal(old.dictionary_decode(), new.dictionary_decode())
    texts: np.ndarray[Any, Any] = other.to_numpy(zero_copy_only=False)
    return texts


def _apart(old: pa.RecordBatch, new: pa.RecordBatch, column: str) -> np.ndarray[Any, Any]:
    apart: np.ndarray[Any, Any] = np.abs(old[column].to_numpy() - new[column].to_numpy())
    return apart


def _compare(
    folder: RunFolder, again: RunFolder, staged: Staged, job: Job, recorded: Mapping[str, Any]
) -> Verification:
    then = {TABLE: recorded["table"], **recorded["outputs"]}
    now = {TABLE: staged.sha256, **again.hashes()}
    files = [name for name in then if now.get(name) != then[name]]
    if not files:
        return Verification("equal", (f"Equal bit by bit: {', '.join(then)}.",))
    cells = _compare_cells(folder, again)
    differences = _differences(recorded)
    by = f"up to {cells.largest:.2g} standard deviations of their column"
    bytes_ = f"Other bytes than then: {', '.join(files)}."
    if cells.largest <= job.model.tol and (cells.differing or differences):
        apart = f"{cells.differing:,} of {cells.count:,} filled cells differ, by {by}"
        return Verification("equal to rounding", (f"{apart}.", bytes_, *differences))
    if cells.differing:
        where = (
            f"{cells.differing:,} of {cells.count:,} cells in {folder.cells.name} differ, the "
            f"first in {cells.first}, by {by}."
        )
        return Verification("not equal", (where, bytes_, *differences))
    same = "The filled cells are equal bit by bit, and yet the files are not."
    return Verification("not equal", (same, bytes_, *differences))


def _compare_cells(folder: RunFolder, again: RunFolder) -> _Cells:
    """Compare the ledgers, in portions."""
    model = load_model(folder.model) if folder.model.exists() else None
    sd = dict(zip(model.columns, model.sd, strict=True)) if model else {}
    before, after = Rows(_ledger(folder.cells)), Rows(_ledger(again.cells))
    found = _Cells()
    for _, old, new in side_by_side(before, after):
        found.add(old, new, sd)
    if before.taken != after.taken:
        found.first = found.first or f"cell {found.count + 1:,} of the ledger"
        found.differing += abs(before.taken - after.taken)
        found.largest = np.inf
    return found


def _ledger(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(columns=["row", "column", *_NUMBERS])


def _differences(recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the program and the machine is not as it was; one sentence, or none."""
    then = {**recorded["versions"], **recorded["machine"]}
    now = {**installed_versions(), **this_machine()}
    found = [f"{what} {was} then, {now.get(what)} now" for what, was in then.items()]
    found = [text for text, what in zip(found, then, strict=True) if now.get(what) != then[what]]
    return (f"Not the same as then: {'; '.join(found)}.",) if found else ()


def _target_now(job: Job, recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """Whether the target still is this run's, where that is a file."""
    target = job.target
    if not isinstance(target, FileTarget) or target.is_folder or target.mode != "replace":
        return ()
    place = Path(target.path)
    if not place.exists():
        return (f"The target {place} is not there any more.",)
    if sha256(place) == recorded["target"]["sha256"]:
        return (f"The target {place} still is what this run published.",)
    return (f"The target {place} holds another table by now.",)
