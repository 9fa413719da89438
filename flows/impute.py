"""The flow that runs one job, in Prefect: each of its steps is a task."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from em_impute.flows.order import Steps, carry_out
from em_impute.job import CannotRun, Job, load_job
from em_impute.plugin.artifacts import tell_ended
from em_impute.plugin.tasks import (
    check_input,
    check_output,
    dropped_signals_sent_again,
    fill,
    fit,
    load,
    open_run,
    publish,
    report,
    report_cancelled,
    report_lost,
    self_test,
    time_limit,
    update_state,
)
from em_impute.runs.report import nothing_left_if_interrupted
from em_impute.runs.run import EXPECTED, Outcome


def _run_name() -> str:
    """The job, its data date or the day on which it was to start, and when, on that clock."""
    given, started = runtime.flow_run.parameters, runtime.flow_run.scheduled_start_time
    job, schedule, day = given["job"], int(given.get("schedule", 0)), given.get("date")
    try:
        job = job if isinstance(job, Job) else load_job(job)
    except CannotRun:
        return f"{Path(job).stem}, {started:%Y-%m-%d %H:%M:%S}"
    about = day or (job.data_date(started, schedule) if job.is_dated else None)
    if job.schedules:
        zone = job.schedules[min(schedule, len(job.schedules) - 1)].timezone
        started = started.astimezone(ZoneInfo(zone))
    if about:
        return f"{job.name} of {about}, {started:%H:%M:%S}"
    return f"{job.name}, {started:%Y-%m-%d %H:%M:%S}"


# The names of the states in which a run ends.
ENDINGS = ("Published", "Published with warnings", "Refused", "Failed")

STEPS = Steps(
    load=load,
    check_input=check_input,
    fit=fit,
    fill=fill,
    self_test=self_test,
    check_output=check_output,
    publish=publish,
    update_state=update_state,
    report=report,
    time_limit=time_limit,
)


# The form in Prefect's UI has its words from the docstring, of which Prefect reads this style.
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

    It ends Completed with the verdict if the table was published, else Failed with the reason, by
    one of the names in `ENDINGS`; the state's data is the `Outcome`.

    Args:
        job: The YAML file of the job, or the job itself. Relative paths in it are relative to the
            folder that the program was started in.
        runs: Where the run's folder, with the report, is made.
        date: The data date, which stands in the place of {date} in the job. By default the day for
            which the run was scheduled, by the job's schedule.
        schedule: Which of the job's schedules that is, from 0.
    """
    try:
        run = open_run(job, runs, date, schedule)
    except EXPECTED as reason:
        return Failed(message=str(reason), data=reason)
    with dropped_signals_sent_again(), nothing_left_if_interrupted(run):
        outcome = carry_out(run, STEPS, get_run_logger())
    ending = Failed if outcome.stopped else Completed
    return ending(name=_state_name(outcome), message=outcome.verdict.sentence, data=outcome)


def _state_name(outcome: Outcome) -> str:
    """What Prefect's lists show: how the run ended, not only that it did."""
    if outcome.stopped:
        return "Refused" if outcome.stopped == "refused" else "Failed"
    return outcome.verdict.outcome.capitalize()
