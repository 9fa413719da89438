"""The flow that runs one job: load, check, fit, fill, test, check, publish, report."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from em_impute.job import CannotRun, Job, load_job
from em_impute.plugin.artifacts import tell_ended
from em_impute.plugin.tasks import (
    check_input,
    check_output,
    dropped_signals_sent_again,
    fill,
    fit,
    interruption_behind,
    kept_in_state,
    load,
    nothing_left_if_interrupted,
    open_run,
    publish,
    report_cancelled,
    report_lost,
    reported,
    self_test,
    time_limit,
)
from em_impute.runs.run import (
    EXPECTED,
    Found,
    Outcome,
    Run,
    Unforeseen,
    settle,
    stop_if_refused,
)


def _run_name() -> str:
    """The job, its data date, and when it was to start, on the schedule's clock."""
    given, started = runtime.flow_run.parameters, runtime.flow_run.scheduled_start_time
    job, schedule, day = given["job"], int(given.get("schedule", 0)), given.get("date")
    try:
        job = job if isinstance(job, Job) else load_job(job)
    except CannotRun:
        return f"{Path(job).stem}, {started:%Y-%m-%d %H:%M:%S}"
    about = f" of {day or job.data_date(started, schedule)}" if day or job.is_dated else ""
    if job.schedules:
        zone = job.schedules[min(schedule, len(job.schedules) - 1)].timezone
        started = started.astimezone(ZoneInfo(zone))
    return f"{job.name}{about}, {started:%Y-%m-%d %H:%M:%S}"


@flow(
    name="impute",
    flow_run_name=_run_name,
    on_completion=[tell_ended],
    on_failure=[tell_ended],
    on_crashed=[report_lost],
    on_cancellation=[report_cancelled, tell_ended],
)
def impute(
    job: Path | Job,
    runs: Path = Path("runs"),
    date: dt.date | None = None,
    schedule: int = 0,
) -> State[Outcome]:
    """Run one job: fill the holes of its source and publish the table to its target.

    Parameters
    ----------
    job : Path or Job
        The YAML file, or a job made in Python. Relative paths in it are relative to the folder
        that the program was started in.
    runs : Path
        Where the run's folder, with the report, is made.
    date : date, optional
        The data date, which stands in the place of ``{date}`` in the job; by default the day for
        which the run was scheduled, by the job's schedule.
    schedule : int
        Which of the job's schedules that is, from 0.

    Returns
    -------
    State
        Completed with the verdict if the table was published, else Failed with the reason; its
        data is the `Outcome`.
    """
    try:
        run = open_run(job, runs, date, schedule)
    except CannotRun as mistake:
        return Failed(message=str(mistake), data=mistake)
    with dropped_signals_sent_again(), nothing_left_if_interrupted(run):
        return _carry_out(run)


def _carry_out(run: Run) -> State[Outcome]:
    found = Found()
    try:
        with time_limit(run.job.time_limit):
            found.snapshot = load(run)
            found.before = check_input(run, found.snapshot)
            stop_if_refused(found)
            found.fitted = fit(run, found.snapshot)
            stop_if_refused(found)
            found.staged = fill(run, found.snapshot, found.fitted)
            found.tested = self_test(run, found.snapshot, found.fitted)
            found.after = check_output(run, found.snapshot, found.fitted, found.staged)
            stop_if_refused(found)
        found.published = publish(run, found.staged)
    except EXPECTED as reason:
        found.stopped_by = reason
    except Exception as fault:
        if interruption := interruption_behind(fault):
            raise interruption from None
        # Its traceback is in the log; whoever watches gets the report all the same.
        found.stopped_by = Unforeseen(fault)
    settle(run, found)
    kept_in_state(run, found)
    outcome = reported(run, found)
    ending = Failed if outcome.stopped else Completed
    return ending(message=outcome.verdict.sentence, data=outcome)
