"""The steps of a run as Prefect tasks: each a thin wrapper, importable on its own.

Tasks hand each other paths and small records, never tables. What a step knows is logged in whole
sentences; what the user got wrong is raised as `CannotRun` or `Refused` and logged as a sentence
too, without a traceback.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import pandas as pd
import pyarrow as pa
from prefect import Flow, Task, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.tasks import exponential_backoff
from prefect.utilities.timeout import timeout
from pydantic import ValidationError

from em_impute import checks as validation
from em_impute.checks import Checked
from em_impute.job import CannotRun, Job, load_job
from em_impute.job.legible import legible_lines
from em_impute.plugin import artifacts
from em_impute.plugin.blocks import read_block
from em_impute.reporting import render
from em_impute.reporting.brief import in_brief
from em_impute.reporting.parts import PAUSES, Parts, kind_and_place, unmade
from em_impute.reporting.records import Report, Verdict
from em_impute.runs.kept import clear_dead_runs, is_overtaken, prune
from em_impute.runs.manifest import Manifest
from em_impute.runs.measure import report_numbers, with_manifest, with_verdict
from em_impute.runs.run import (
    EXPECTED,
    Found,
    Outcome,
    Refused,
    Run,
    TookTooLong,
    imputed_before,
    manifest,
    settle,
)
from em_impute.self_test import limits
from em_impute.self_test.run import score_hidden_cells
from em_impute.self_test.scores import SelfTest
from em_impute.tables import fill as filling
from em_impute.tables import groups, progress, sources, spelling, summarise, targets
from em_impute.tables.columns import doubts, misfits
from em_impute.tables.columns import roles as columns
from em_impute.tables.columns.encoding import decimals_as_floats
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.unfilled import find_unfilled, unfilled_in_words
from em_impute.tables.databases.logins import read_blocks_with
from em_impute.tables.groups import Fitted
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.sample import sample_rows
from em_impute.tables.snapshot import (
    Snapshot,
    read_batches,
    read_schema,
    read_spelled,
    spelled_columns,
)
from em_impute.tables.whole_files import written_whole
from em_impute.tables.writing import publications
from em_impute.tables.writing.formats import read_staged
from em_impute.tables.writing.staged import Published, Staged

P = ParamSpec("P")
R = TypeVar("R")

# A run that takes its machine down is not tried for ever.
MOST_TRIES = 3

AnyFlow = Flow[..., Any]


class _SentencesOnly(logging.Filter):
    """Makes a message legible, and drops the traceback of what is the user's to mend.

    Names in it may be hostile, and the message says it all.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = legible_lines(record.getMessage()), ()
        if record.exc_info and isinstance(record.exc_info[1], EXPECTED):
            record.exc_info = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_SentencesOnly())

# From here down, what is named in Prefect is read without knowing Prefect.
read_blocks_with(read_block)


def _is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: not where the job or the source is wrong."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def _step(
    name: str, **options: Any
) -> Callable[[Callable[Concatenate[Run, P], R]], Task[Concatenate[Run, P], R]]:
    """A function as a task that tells whoever listens when it begins and how it ends.

    Its run notes how long it took; tried again, how long all of it took.
    """

    def as_task(function: Callable[Concatenate[Run, P], R]) -> Task[Concatenate[Run, P], R]:
        @functools.wraps(function)
        def told(run: Run, /, *arguments: P.args, **named: P.kwargs) -> R:
            began = time.monotonic()
            try:
                # Here, too: Prefect may try for minutes to tell a server of it that is gone.
                with (
                    progress.step(name),
                    artifacts.heartbeat(name),
                    nothing_left_if_interrupted(run),
                ):
                    return function(run, *arguments, **named)
            finally:
                run.seconds[name] = run.seconds.get(name, 0.0) + time.monotonic() - began

        return task(name=name, cache_policy=NO_CACHE, **options)(told)

    return as_task


def open_run(
    job: Path | Job, runs: Path = Path("runs"), day: date | None = None, schedule: int = 0
) -> Run:
    """Read the job, see that its target can be written, and make the run's folder under `runs`.

    The run has the id of the flow run in which this is called: a flow run that is tried again is
    the same run. Outside of a flow every call begins a run of its own. The data date is `day`, or
    else what the job's schedule of that number makes of the moment for which the run was scheduled.

    Raises
    ------
    CannotRun
        If the job or the target is wrong.
    """
    job = job if isinstance(job, Job) else load_job(job)
    if (runtime.flow_run.run_count or 0) > MOST_TRIES:
        raise CannotRun(
            f"This run was tried {MOST_TRIES} times, and each time its process was lost: see if "
            "the machine has memory enough, and start the job again."
        )
    started = runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    run = _run(job, runs, started, str(runtime.flow_run.id or uuid4()), day, schedule)
    run = replace(run, is_deployed=bool(runtime.deployment.id))
    targets.check_target(run.job.target)
    open_run_folder(runs, run.job.name, run.id).hold()
    if dead := clear_dead_runs(run.folder.path.parent):
        get_run_logger().info("Removed the working files of %s runs that were killed.", dead)
    artifacts.tag_flow_run(job.name, *job.tags)
    return run


def _run(
    job: Job, runs: Path, started: datetime, flow_run: str, day: date | None, schedule: int
) -> Run:
    day = day or job.data_date(started, schedule)
    # The last digits are random; the first ones are the time, alike in runs of one minute.
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{flow_run[-8:]}"
    name = publications.named(job, run_id, day)
    folder = RunFolder(runs / job.name / run_id)
    return Run(run_id, job.at(day), folder, started, day, name, dated=job.is_dated)


# Files and databases may be back in a moment; others should not knock at the same time.
_AGAIN: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}


@_step("load", **_AGAIN)
def load(run: Run) -> Snapshot:
    """Read the source into the run's folder; a run that is tried again has read it already.

    What it had read is too old where another run has ended meanwhile: that one's table is newer.
    """
    snapshot = Snapshot.load(run.folder.read)
    if snapshot is not None and not is_overtaken(run.folder):
        get_run_logger().info(
            "Going on with the %s rows that were read before.", f"{snapshot.rows:,}"
        )
        return snapshot
    snapshot = columns.count_blanks(
        sources.take_snapshot(
            run.job.source, run.folder.snapshot, run.job.batch_rows, Purpose.of(run.job)
        ),
        run.job,
    )
    snapshot.save(run.folder.read)
    get_run_logger().info(
        "Read %s rows and %s columns from %s.",
        f"{snapshot.rows:,}",
        len(snapshot.columns),
        run.job.source,
    )
    for note in snapshot.notes:
        get_run_logger().info(note)
    return snapshot


@_step("check input")
def check_input(run: Run, snapshot: Snapshot) -> Checked:
    """Check the table as it was read: preconditions of ours, then the job's own checks."""
    checks, names = run.job.checks.input, [column.name for column in snapshot.columns]
    roles = columns.assign_roles(snapshot, run.job)
    limits.check_limits(snapshot, roles, run.job)
    targets.check_schema(filling.filled_schema(snapshot, roles), run.job.target, roles.key)
    validation.check_columns(run.job, names)
    validation.verify_checks(run.job)
    validation.check_rows(run.job, snapshot.rows)
    validation.output_checks(run.job, roles.impute)
    preconditions = (
        *validation.check_preconditions(snapshot.rows, snapshot.columns, roles.model_columns),
        *validation.misfits(misfits.find_misfits(snapshot, roles, run.job), snapshot.rows),
        *validation.doubts(
            doubts.find_doubts(
                snapshot, roles, run.job, imputed_before(run.folder.path.parent, run.id)
            )
        ),
    )
    schema = read_schema(snapshot.path)
    needed = validation.columns_needed(checks, schema.names)
    batches = read_batches(snapshot.path, needed)
    frame = _frame(schema, batches, needed, snapshot.rows, run.job.checks.max_rows)
    return _logged(validation.check_input(frame, checks, preconditions, snapshot.rows))


@_step("fit")
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
    if run.folder.checkpoint.exists():
        logger.info("Going on from where the fit was interrupted.")
    with artifacts.em_progress(f"{run.key}-em") as shown:
        on_iteration = progress.iterations(run.job.model.tol)
        result = summarise.fit_model(summary, run.job.model, on_iteration, run.folder.checkpoint)
        shown.ended(result)
    result.model.save(run.folder.model)
    models, decisions, fits = groups.fit_groups(snapshot, roles, run.job.model)
    if roles.group_by:
        groups.save_models(models, run.folder.groups)
        logger.info("Fitted a model to each of %s groups.", len(models))
    for sentence in (*result.decisions, *decisions):
        logger.warning(sentence)
    logger.log(logging.INFO if result.converged else logging.WARNING, result.message)
    return Fitted(roles, result, models, (*result.decisions, *decisions), fits)


@_step("fill")
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
    logger = get_run_logger()
    logger.info("Filled %s cells of %s rows.", f"{staged.cells:,}", f"{staged.rows:,}")
    for sentence in unfilled_in_words(find_unfilled(snapshot, fitted.roles, run.job)):
        logger.warning(sentence)
    return staged


@_step("self-test")
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


@_step("check output")
def check_output(run: Run, snapshot: Snapshot, fitted: Fitted, staged: Staged) -> Checked:
    """Check the staged table: nothing but the holes has changed, then the job's own checks."""
    schema = filling.filled_schema(snapshot, fitted.roles)
    spelled = spelled_columns(snapshot)
    table = spelling.spelled(schema) if spelled else schema
    invariants = validation.check_invariants(
        _before(snapshot, fitted.roles),
        (
            batch.select([*fitted.roles.columns, *spelled.values()])
            for batch in read_staged(staged.path, staged.format, table)
        ),
        fitted.roles.impute,
        fitted.roles.key,
        spelled,
    )
    checks = validation.output_checks(run.job, fitted.roles.impute)
    needed = validation.columns_needed(checks, schema.names)
    batches = read_staged(staged.path, staged.format, schema)
    frame = _frame(schema, batches, needed, staged.rows, run.job.checks.max_rows)
    return _logged(validation.check_output(frame, checks, invariants, staged.rows))


def _before(snapshot: Snapshot, roles: Roles) -> Iterator[pa.RecordBatch]:
    """The table as it was read, of the imputed columns the spellings of observed cells only."""
    for batch in read_spelled(snapshot.path):
        shown = columns.blanks_as_missing(batch, roles)
        if spelling.is_spelled(batch.schema):
            shown = spelling.observed_spellings(shown, roles.impute)
        yield shown


@_step("publish", **_AGAIN)
def publish(run: Run, staged: Staged) -> Published:
    """Move the staged table onto the target, in one atomic step."""
    with suppress(OSError):  # a disk that is full for this file need not be that of the target
        run.folder.publishing.touch()
    published = targets.publish(staged, run.job.target, run.publication)
    # That this run itself was tried before is nothing to be told.
    published = replace(published, before=published.before and run.id not in run.publication)
    get_run_logger().info("Published %s rows to %s.", f"{published.rows:,}", published.target)
    if published.warning:
        get_run_logger().warning(published.warning)
    return published


@_step("report")
def report(run: Run, found: Found) -> Outcome:
    """Leave what was found: checks, numbers, report and manifest on disk, artifacts in Prefect.

    It does not fail: what cannot be made is named in the report and in the verdict, which warns.
    """
    try:
        return _report(run, found)
    except Exception as fault:
        return _unreported(run, found, fault)


def _report(run: Run, found: Found) -> Outcome:
    parts = Parts()
    numbers, recorded = _measured(run, found, parts)
    numbers = _write_files(run, found, numbers, recorded, parts)
    _tell(run, found, numbers, parts)
    page = parts.make(
        "address of the page", lambda: artifacts.page_address(run.job.name, run.id), None
    )
    parts.make("artifacts", lambda: artifacts.leave_report(run.key, numbers, page, parts), None)
    parts.make("events", lambda: artifacts.announce(numbers, found.stopped, page, parts), None)
    parts.make("removal of working files", run.folder.clear, None)
    parts.make("removal of earlier runs", lambda: _prune(run), None)
    if parts.failures != numbers.failures:
        numbers = with_verdict(numbers, run, found, parts)
        numbers = _write_files(run, found, numbers, recorded, parts)
    outcome = _tell(run, found, numbers, parts)
    if parts.failures:
        get_run_logger().warning(unmade(parts.failures))
    get_run_logger().info("The report is in %s.", run.folder.report)
    return outcome


def reported(run: Run, found: Found) -> Outcome:
    """How a run has ended, reported whatever Prefect makes of the task of it."""
    try:
        outcome: Outcome = report(run, found)
    except Exception as fault:
        return _unreported(run, found, fault)
    return outcome


def _unreported(run: Run, found: Found, fault: Exception) -> Outcome:
    """The outcome of a run whose report ended by a fault; what it published is published."""
    if found.outcome:
        return found.outcome
    sentence = f"No report could be made ({kind_and_place(fault)})."
    get_run_logger().warning(sentence)
    if found.published:
        verdict = Verdict(
            "published with warnings", f"The table was written to {run.job.target}. {sentence}"
        )
    else:
        verdict = Verdict("not published", f"{found.stopped_by} {sentence}")
    with suppress(Exception):
        run.folder.clear()
    cells = found.staged.imputed if found.staged else ()
    return Outcome(
        verdict,
        found.stopped,
        "",
        "",
        cells,
        str(run.job.target),
        run.folder.report,
        published=None if found.unsettled else found.published is not None,
    )


def _tell(run: Run, found: Found, numbers: Report, parts: Parts) -> Outcome:
    """Tell whoever listens how the run has ended, as far as it is known."""
    found.outcome = Outcome(
        verdict=numbers.verdict,
        stopped=found.stopped,
        fit=numbers.fit.message if numbers.fit else "",
        tested=numbers.self_test.sentence if numbers.self_test else "",
        cells=found.staged.imputed if found.staged else (),
        target=numbers.target,
        report=run.folder.report,
        brief=parts.make("the run in brief", lambda: in_brief(numbers), None),
        published=None if found.unsettled else found.published is not None,
    )
    progress.reported(found.outcome)
    return found.outcome


def _measured(run: Run, found: Found, parts: Parts) -> tuple[Report, Manifest | None]:
    """The report, and the manifest of a run that read its source."""
    numbers, snapshot = report_numbers(run, found, parts), found.snapshot
    if snapshot is None:
        return numbers, None
    recorded = parts.make("manifest", lambda: manifest(run, snapshot, found, numbers, parts), None)
    if recorded is None:
        return numbers, None
    told = parts.make("section manifest", lambda: with_manifest(numbers, recorded), numbers)
    return told, recorded


def _write_files(
    run: Run,
    found: Found,
    numbers: Report,
    recorded: Manifest | None,
    parts: Parts,
) -> Report:
    """Write the report and all that belongs to it; return it as it was written."""
    page = render.html(numbers, parts)
    if parts.failures != numbers.failures:
        # What of the page could not be made is a warning, which stands on it.
        numbers = with_verdict(numbers, run, found, parts)
        page = render.html(numbers, parts)
    verdict = numbers.verdict.sentence
    writings: dict[Path, Callable[[], None]] = {
        run.folder.checks: lambda: _write(run.folder.checks, json.dumps(_all_checks(found))),
        run.folder.numbers: lambda: _write(run.folder.numbers, json.dumps(numbers.to_dict())),
        run.folder.report: lambda: _write(run.folder.report, page),
    }
    if recorded:
        last = replace(recorded, verdict=verdict)
        writings[run.folder.manifest] = lambda: last.save(run.folder.manifest)
    for path, write in writings.items():
        parts.make(f"file {path.name}", write, None, PAUSES)
    return numbers


def _all_checks(found: Found) -> list[dict[str, Any]]:
    return [checked.to_dict() for checked in (found.before, found.after) if checked]


def _prune(run: Run) -> None:
    if removed := prune(run.folder.path.parent, run.job.keep_runs, datetime.now(UTC)):
        get_run_logger().info("Removed %s folders of earlier runs.", removed)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Stop what is going on inside after so many seconds.

    Raises
    ------
    TookTooLong
    """
    try:
        with timeout(seconds, TookTooLong):
            yield
    except TookTooLong:
        raise TookTooLong(
            f"The run took longer than its time limit of {seconds:g} seconds; raise time_limit, or "
            "see in the log which step took so long."
        ) from None


def report_cancelled(flow: AnyFlow, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Leave a report of a run that was cancelled, and nothing that only a run needs."""
    run = _run_of(flow_run)
    if run and not run.folder.manifest.exists():
        _leave_report(run, Refused("The run was cancelled."))
        run.folder.clear()


def report_lost(flow: AnyFlow, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Leave a report of a run whose process is gone; with its folder it can be tried again."""
    run = _run_of(flow_run)
    if run and flow_run.deployment_id and not run.folder.manifest.exists():
        _leave_report(run, Refused(_LOST))


_LOST = "The process of this run was lost, by a kill, a restart or want of memory."


@contextmanager
def nothing_left_if_interrupted(run: Run) -> Iterator[None]:
    """Leave only a report of a run that is interrupted, unless it is a deployment's.

    Not by a hook of the flow: Ctrl-C ends a temporary server, too, without which none is called.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if not run.is_deployed and run.folder.path.is_dir():
            if not run.folder.manifest.exists():
                _leave_report(run, Refused("The run was interrupted."))
            run.folder.clear()
        raise


def interruption_behind(fault: BaseException | None) -> BaseException | None:
    """The signal that a fault came of; None if it came of none.

    Prefect may be interrupted in work of its own, between two steps, and fail in clearing that up.
    """
    while isinstance(fault, Exception):
        fault = fault.__cause__ or fault.__context__
    return fault if isinstance(fault, KeyboardInterrupt | TerminationSignal) else None


def _run_of(flow_run: FlowRun) -> Run | None:
    """A run as `open_run` made it, told by its flow run; None if it did not come so far."""
    given, started = flow_run.parameters, flow_run.expected_start_time or datetime.now(UTC)
    try:
        job = given["job"]
        job = Job.model_validate(job) if isinstance(job, dict) else load_job(Path(job))
        day = given.get("date") and date.fromisoformat(str(given["date"]))
        schedule = int(given.get("schedule", 0))
        runs = Path(given.get("runs", "runs"))
        run = _run(job, runs, started, str(flow_run.id), day, schedule)
    except (CannotRun, ValidationError):
        return None
    return run if run.folder.path.is_dir() else None


def _leave_report(run: Run, reason: Exception) -> None:
    """Leave on disk what is known of a run that cannot do it itself; it may have published."""
    parts = Parts()
    snapshot = parts.make("snapshot", lambda: Snapshot.load(run.folder.read), None)
    found = Found(snapshot=snapshot, stopped_by=reason)
    settle(run, found)
    numbers, recorded = _measured(run, found, parts)
    numbers = _write_files(run, found, numbers, recorded if found.published else None, parts)
    _tell(run, found, numbers, parts)


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
    table = decimals_as_floats(pa.Table.from_batches(sample, selected))
    frame: pd.DataFrame = table.to_pandas()
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


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
