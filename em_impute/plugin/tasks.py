"""The steps of a run as Prefect tasks: each a thin wrapper, importable on its own.

Tasks hand each other paths and small records, never tables. What a step knows is logged in whole
sentences; what the user got wrong is raised as `CannotRun` or `Refused` and logged as a sentence
too, without a traceback.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from prefect import Flow, Task, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.tasks import exponential_backoff
from prefect.utilities.timeout import timeout
from pydantic import ValidationError

from em_impute.checks import Checked
from em_impute.job import CannotRun, Job, load_job
from em_impute.plugin import artifacts
from em_impute.plugin.blocks import read_block
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.runs import report as ending
from em_impute.runs import steps
from em_impute.runs.history import imputed_before
from em_impute.runs.opening import begin, run_of
from em_impute.runs.run import (
    EXPECTED,
    Found,
    Loaded,
    Outcome,
    Refused,
    Run,
    SentencesOnly,
    TookTooLong,
    interruption_behind,
)
from em_impute.runs.survey import Survey
from em_impute.self_test.scores import SelfTest
from em_impute.tables.databases.logins import read_blocks_with
from em_impute.tables.groups import Fitted
from em_impute.tables.writing.staged import Published, Staged

P = ParamSpec("P")
R = TypeVar("R")

# A run that takes its machine down is not tried for ever.
MOST_TRIES = 3
# A signal that was dropped is sent again after so many seconds.
SOON = 0.1

AnyFlow = Flow[..., Any]


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(SentencesOnly())

# From here down, what is named in Prefect is read without knowing Prefect.
read_blocks_with(read_block)


def _is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: not where the job or the source is wrong."""
    return isinstance(state.result(raise_on_failure=False), OSError)


@contextmanager
def sentences_alone() -> Iterator[None]:
    """What the user can mend is raised without the errors that it came of.

    Prefect may store an exception, and where Dask has been imported it is stored with its causes: a
    driver's own text may hold a password or a cell.
    """
    try:
        yield
    except EXPECTED as reason:
        if not interruption_behind(reason):
            reason.__cause__ = reason.__context__ = None
        raise


def _step(
    name: str, **options: Any
) -> Callable[[Callable[Concatenate[Run, P], R]], Task[Concatenate[Run, P], R]]:
    """A function as a task, of which the log says every minute that it still goes on."""

    def as_task(function: Callable[Concatenate[Run, P], R]) -> Task[Concatenate[Run, P], R]:
        @functools.wraps(function)
        def wrapped(run: Run, /, *arguments: P.args, **named: P.kwargs) -> R:
            # Here, too: Prefect may try for minutes to tell a server of it that is gone.
            with (
                sentences_alone(),
                run.step(name),
                artifacts.heartbeat(name),
                ending.nothing_left_if_interrupted(run),
            ):
                return function(run, *arguments, **named)

        return task(name=name, cache_policy=NO_CACHE, **options)(wrapped)

    return as_task


@sentences_alone()
def open_run(
    job: Path | Job, runs: Path = Path("runs"), day: date | None = None, schedule: int = 0
) -> Run:
    """Read the job, see that its target can be written, and make the run's folder under `runs`.

    The run has the id of the flow run in which this is called: a flow run that is tried again is
    the same run. Outside of a flow every call begins a run of its own.

    Parameters
    ----------
    job : Path or Job
    runs : Path
    day : date, optional
        The data date; by default what the job's schedule makes of the moment for which the run was
        scheduled.
    schedule : int
        Which of the job's schedules that is, from 0.

    Raises
    ------
    CannotRun
        If the job or the target is wrong.
    """
    job = job if isinstance(job, Job) else load_job(job)
    if (runtime.flow_run.run_count or 0) > MOST_TRIES:
        raise CannotRun(
            f"This run was tried {MOST_TRIES} times, and each time its process was lost: see if "
            "the machine has enough memory, and start the job again."
        )
    started = runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    run = run_of(job, runs, started, str(runtime.flow_run.id or uuid4()), day, schedule)
    run = replace(
        run,
        is_deployed=bool(runtime.deployment.id),
        flow_run=artifacts.flow_run_address(runtime.flow_run.id),
    )
    if removed := begin(run, runs):
        get_run_logger().info(removed)
    artifacts.tag_flow_run(job.name, *job.tags)
    return run


# Files and databases may be back in a moment; others should not knock at the same time.
_AGAIN: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}


@_step("load", **_AGAIN)
def load(run: Run) -> Loaded:
    """Read the source into the run's folder and decide what each column is for.

    A run that is tried again has read it already. A check that Great Expectations does not know is
    an error before anything is read.
    """
    return steps.load(run.job, run.folder, get_run_logger())


@_step("check input")
def check_input(run: Run, snapshot: Loaded) -> Checked:
    """Check the table as it was read: preconditions of ours, then the job's own checks."""
    before = imputed_before(run.folder.path.parent, run.id)
    return steps.check_input(run.job, snapshot, before, get_run_logger(), run.folder)


@_step("fit")
def fit(run: Run, snapshot: Loaded) -> Fitted:
    """Estimate the model: one pass over the snapshot, then EM on the summary."""
    shown = artifacts.em_progress(f"{artifacts.artifact_key(run.job.name)}-em")
    return steps.fit(run.job, snapshot, run.folder, get_run_logger(), shown)


@_step("fill")
def fill(run: Run, snapshot: Loaded, fitted: Fitted, survey: Survey | None = None) -> Staged:
    """Stage the table with its holes filled, in the target's format, and write the cell ledger.

    Parameters
    ----------
    run : Run
    snapshot : Loaded
    fitted : Fitted
    survey : Survey, optional
        Looks on, so that the steps behind need not read the rows for it.
    """
    return steps.fill(run.job, snapshot, fitted, run.folder, get_run_logger(), survey)


@_step("self-test")
def self_test(
    run: Run, snapshot: Loaded, fitted: Fitted, survey: Survey | None = None
) -> SelfTest | None:
    """Hide observed cells and see how well they are filled; the table is not touched.

    Parameters
    ----------
    run : Run
    snapshot : Loaded
    fitted : Fitted
    survey : Survey, optional
        Has chosen the cells to hide, and looks on.

    Returns
    -------
    SelfTest or None
        None if the job wants none, or no cell is to be filled.
    """
    return steps.self_test(run.job, snapshot, fitted, get_run_logger(), survey)


@_step("check output")
def check_output(run: Run, snapshot: Loaded, fitted: Fitted, staged: Staged) -> Checked:
    """Check the staged table: nothing but the holes has changed, then the job's own checks.

    Parameters
    ----------
    run : Run
    snapshot : Loaded
    fitted : Fitted
    staged : Staged
    """
    return steps.check_output(run.job, snapshot, fitted, staged, get_run_logger(), run.folder)


@_step("publish", **_AGAIN)
def publish(run: Run, staged: Staged) -> Published:
    """Move the staged table onto the target, in one atomic step."""
    return steps.publish(run, staged, get_run_logger())


@_step("update state")
def update_state(run: Run, found: Found) -> None:
    """Add the rows of a run that has published to its job's state."""
    found.not_kept = steps.update_state(run.job, found.fitted, get_run_logger())


@_step("report")
def report(run: Run, found: Found) -> Outcome:
    """Leave what was found: checks, numbers, report and manifest on disk, artifacts in Prefect.

    It does not fail: what cannot be made is named in the report and in the verdict, which warns.
    """
    key = artifacts.artifact_key(run.job.name)

    def show(numbers: Report, parts: Parts) -> None:
        page = parts.make(
            "address of the page", lambda: artifacts.page_address(run.job.name, run.id), None
        )
        parts.make("artifacts", lambda: artifacts.leave_report(key, numbers, page, parts), None)
        parts.make(
            "events",
            lambda: artifacts.announce(numbers, run.job, found.stopped, page, parts),
            None,
        )

    return ending.report(run, found, get_run_logger(), show)


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
        ending.leave_report(run, Refused("The run was cancelled."))
        ending.clear(run)


def report_lost(flow: AnyFlow, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Leave a report of a run whose process is gone; with its folder it can be tried again."""
    run = _run_of(flow_run)
    if run and flow_run.deployment_id and not run.folder.manifest.exists():
        ending.leave_report(run, Refused(_LOST))


_LOST = "The process of this run was lost: it was killed, restarted or out of memory."


@contextmanager
def dropped_signals_sent_again() -> Iterator[None]:
    """Send a signal again if Python drops the exception that Prefect raises for it.

    It does so in finalizers and in callbacks of weak references: it prints the exception and goes
    on.
    """
    before, again = sys.unraisablehook, list[threading.Timer]()

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(signal := unraisable.exc_value, TerminationSignal):
            # A little later, for here it would be dropped, too.
            again.append(threading.Timer(SOON, os.kill, [os.getpid(), signal.signal]))
            again[-1].start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()


def _run_of(flow_run: FlowRun) -> Run | None:
    """The run that `open_run` made in a flow run; None if it did not come so far."""
    given, started = flow_run.parameters, flow_run.expected_start_time or datetime.now(UTC)
    try:
        job = given["job"]
        job = Job.model_validate(job) if isinstance(job, dict) else load_job(Path(job))
        day = given.get("date") and date.fromisoformat(str(given["date"]))
        schedule = int(given.get("schedule", 0))
        runs = Path(given.get("runs", "runs"))
        run = run_of(job, runs, started, str(flow_run.id), day, schedule)
    except (CannotRun, ValidationError):
        return None
    if not run.folder.path.is_dir():
        return None
    return replace(run, flow_run=artifacts.flow_run_address(str(flow_run.id)))
