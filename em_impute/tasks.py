"""The steps of a run as Prefect tasks: each a thin wrapper, importable on its own.

Tasks hand each other paths and small records, never tables. What a step knows is logged in whole
sentences; what the user got wrong is raised as `CannotRun` or `Refused` and logged as a sentence
too, without a traceback.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pandas as pd
import pyarrow as pa
from prefect import get_run_logger, runtime, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from em_impute import validation
from em_impute.findings import (
    EXPECTED,
    Fitted,
    Found,
    Outcome,
    Run,
    manifest,
    report_numbers,
)
from em_impute.gaussian import Iteration
from em_impute.job import Job, load_job
from em_impute.reporting import render
from em_impute.reporting.self_test import SelfTest
from em_impute.self_testing import score_hidden_cells
from em_impute.tables import columns, groups, misfits, sources, summarise, targets
from em_impute.tables import fill as filling
from em_impute.tables.fill import Staged
from em_impute.tables.run_folder import open_run_folder, written_whole
from em_impute.tables.sample import sample_rows
from em_impute.tables.sources import Snapshot
from em_impute.tables.targets import Published
from em_impute.validation import Checked

# EM reports its progress to Prefect at most this often, in seconds.
PROGRESS_INTERVAL = 1.0


class _SentencesOnly(logging.Filter):
    """Drops the traceback of what is the user's to mend: the message says it all."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], EXPECTED):
            record.exc_info = None
        return True


logging.getLogger("prefect.task_runs").addFilter(_SentencesOnly())


def _is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: not where the job or the source is wrong."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def open_run(job: Path | Job, runs: Path) -> Run:
    """Read the job, see that its target can be written, and make the run's folder under `runs`.

    Raises
    ------
    CannotRun
        If the job or the target is wrong.
    """
    job = job if isinstance(job, Job) else load_job(job)
    targets.check_target(job.target)
    started = runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    flow_run_id = str(runtime.flow_run.id or "")
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{flow_run_id[:8] or 'local'}"
    return Run(run_id, job, open_run_folder(runs, job.name, run_id), started)


@task(
    name="load",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_is_transient,
)
def load(run: Run) -> Snapshot:
    """Read the source into the run's folder."""
    snapshot = columns.count_blanks(
        sources.take_snapshot(run.job.source, run.folder.snapshot, run.job.batch_rows), run.job
    )
    get_run_logger().info(
        "Read %s rows and %s columns from %s.",
        f"{snapshot.rows:,}",
        len(snapshot.columns),
        run.job.source,
    )
    return snapshot


@task(name="check input", cache_policy=NO_CACHE)
def check_input(run: Run, snapshot: Snapshot) -> Checked:
    """Check the table as it was read: preconditions of ours, then the job's own checks."""
    checks, names = run.job.checks.input, [column.name for column in snapshot.columns]
    roles = columns.assign_roles(snapshot, run.job)
    targets.check_schema(filling.filled_schema(snapshot, roles), run.job.target)
    validation.check_columns(run.job, names)
    validation.verify_checks(run.job)
    validation.check_rows(run.job, snapshot.rows)
    preconditions = (
        *validation.preconditions(snapshot.rows, snapshot.columns, roles.model_columns),
        *validation.misfits(misfits.find_misfits(snapshot, roles, run.job), snapshot.rows),
    )
    schema = sources.read_schema(snapshot.path)
    needed = validation.columns_needed(checks, schema.names)
    batches = sources.read_batches(snapshot.path, needed)
    frame = _frame(schema, batches, needed, snapshot.rows, run.job.checks.max_rows)
    return _logged(validation.check_input(frame, checks, preconditions, snapshot.rows))


@task(name="fit", cache_policy=NO_CACHE)
def fit(run: Run, snapshot: Snapshot) -> Fitted:
    """Estimate the model: one pass over the snapshot, then EM on the summary."""
    logger = get_run_logger()
    roles = columns.assign_roles(snapshot, run.job)
    if not roles.impute:
        logger.info("No column is to be imputed, so no model is fitted.")
        return Fitted(roles, None)
    summary = summarise.summarise(snapshot, roles)
    summary.save(run.folder.summary)
    logger.info(
        "Fitting %s columns; their cells are missing in %s patterns.",
        len(roles.dimensions),
        f"{len(summary.patterns):,}",
    )
    with _progress(run) as report_progress:
        result = summarise.fit_model(summary, run.job.model, report_progress)
    result.model.save(run.folder.model)
    models, decisions = groups.fit_groups(snapshot, roles, run.job.model)
    if roles.group_by:
        groups.save_models(models, run.folder.groups)
        logger.info("Fitted a model to each of %s groups.", len(models))
    for sentence in (*result.decisions, *decisions):
        logger.warning(sentence)
    logger.log(logging.INFO if result.converged else logging.WARNING, result.message)
    return Fitted(roles, result, models, (*result.decisions, *decisions))


@task(name="fill", cache_policy=NO_CACHE)
def fill(run: Run, snapshot: Snapshot, fitted: Fitted) -> Staged:
    """Stage the table with its holes filled, in the target's format, and write the cell ledger."""
    model = fitted.result.model if fitted.result else None
    staged = filling.fill(
        snapshot,
        model,
        fitted.roles,
        run.job.target,
        run.folder,
        run.job.imputation,
        fitted.groups,
    )
    get_run_logger().info("Filled %s cells of %s rows.", f"{staged.cells:,}", f"{staged.rows:,}")
    return staged


@task(name="self-test", cache_policy=NO_CACHE)
def self_test(run: Run, snapshot: Snapshot, fitted: Fitted) -> SelfTest | None:
    """Hide observed cells and see how well they are filled; the table is not touched."""
    logger = get_run_logger()
    tested = score_hidden_cells(snapshot, fitted, run.job)
    if tested is None:
        logger.info("There is no self-test: it is off, or no cell is to be filled.")
        return None
    logger.info("Self-test: %s", " ".join(filter(None, (tested.sentence, tested.note))))
    for sentence in filter(None, (tested.refusal, *tested.warnings)):
        logger.warning(sentence)
    return tested


@task(name="check output", cache_policy=NO_CACHE)
def check_output(run: Run, snapshot: Snapshot, fitted: Fitted, staged: Staged) -> Checked:
    """Check the staged table: nothing but the holes has changed, then the job's own checks."""
    schema = filling.filled_schema(snapshot, fitted.roles)
    invariants = validation.check_invariants(
        (columns.blanks_as_missing(b, fitted.roles) for b in sources.read_batches(snapshot.path)),
        (
            batch.select(fitted.roles.columns)
            for batch in targets.read_staged(staged.path, staged.format, schema)
        ),
        fitted.roles.impute,
        fitted.roles.key,
    )
    checks = run.job.checks.output
    needed = validation.columns_needed(checks, schema.names)
    batches = targets.read_staged(staged.path, staged.format, schema)
    frame = _frame(schema, batches, needed, staged.rows, run.job.checks.max_rows)
    return _logged(validation.check_output(frame, checks, invariants, staged.rows))


@task(
    name="publish",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_is_transient,
)
def publish(run: Run, staged: Staged) -> Published:
    """Move the staged table onto the target, in one atomic step."""
    published = targets.publish(staged, run.job.target, run.id)
    get_run_logger().info("Published %s rows to %s.", f"{published.rows:,}", published.target)
    return published


@task(name="report", cache_policy=NO_CACHE)
def report(run: Run, found: Found) -> Outcome:
    """Leave what was found: checks, numbers, report and manifest on disk, artifacts in Prefect."""
    numbers = report_numbers(run, found)
    found_checks = [checked.to_dict() for checked in (found.before, found.after) if checked]
    _write(run.folder.checks, json.dumps(found_checks, indent=1))
    _write(run.folder.numbers, json.dumps(numbers.to_dict()))
    _write(run.folder.report, render.html(numbers))
    if found.snapshot:
        run.folder.write_manifest(manifest(run, found.snapshot, found, numbers))
    run.folder.clear()
    create_markdown_artifact(render.markdown(numbers), key=f"{run.key}-report")
    create_table_artifact(render.column_table(numbers), key=f"{run.key}-columns")
    get_run_logger().info("The report is in %s.", run.folder.report)
    return Outcome(
        verdict=numbers.verdict,
        stopped_by=found.stopped_by,
        fit=numbers.fit.message if numbers.fit else "",
        tested=numbers.self_test.sentence if numbers.self_test else "",
        cells=found.staged.imputed if found.staged else (),
        target=str(run.job.target),
        report=run.folder.report,
    )


def _frame(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[str],
    rows: int,
    most: int,
) -> pd.DataFrame:
    """Some columns as Great Expectations takes them, of at most so many rows."""
    selected = pa.schema([schema.field(name) for name in columns])
    parts = (batch.select(list(columns)) for batch in batches)
    sample = sample_rows(parts, rows, most) if columns else ()
    frame: pd.DataFrame = pa.Table.from_batches(sample, selected).to_pandas()
    return frame


def _logged(checked: Checked) -> Checked:
    logger = get_run_logger()
    if checked.note:
        logger.info(checked.note)
    for sentence in (checked.refusal, *checked.warnings):
        if sentence:
            logger.warning(sentence)
    if not (checked.refusal or checked.warnings):
        logger.info("All %s checks of the %s passed.", len(checked.results), checked.stage)
    return checked


@contextmanager
def _progress(run: Run) -> Iterator[Callable[[Iteration], None]]:
    """A progress artifact that follows EM: how far the distance has come down to the tolerance."""
    # Outside of an event loop Prefect's functions answer themselves, not with a coroutine.
    artifact = cast(
        UUID,
        create_progress_artifact(
            0.0, key=f"{run.key}-em", description="EM: how near the estimate is to the maximum."
        ),
    )
    last, farthest = time.monotonic(), 0.0

    def show(iteration: Iteration) -> None:
        nonlocal last, farthest
        if not math.isfinite(iteration.distance):
            return
        farthest = max(farthest, iteration.distance)
        if time.monotonic() - last < PROGRESS_INTERVAL:
            return
        last = time.monotonic()
        to_go = math.log(max(iteration.distance / run.job.model.tol, 1.0))
        all_of_it = math.log(max(farthest / run.job.model.tol, math.e))
        update_progress_artifact(artifact, 100.0 * min(max(1 - to_go / all_of_it, 0.0), 1.0))
        get_run_logger().info(
            "EM iteration %s: log-likelihood %.6f, estimated distance %.2g.",
            iteration.number,
            iteration.loglik,
            iteration.distance,
        )

    yield show
    update_progress_artifact(artifact, 100.0)


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
