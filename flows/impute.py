"""The flow that runs one job: load, check, fit, fill, check, publish, report."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from em_impute.findings import EXPECTED, Found, Outcome, Unforeseen, stop_if_refused
from em_impute.job import CannotRun, Job
from em_impute.tasks import (
    check_input,
    check_output,
    fill,
    fit,
    load,
    open_run,
    publish,
    report,
    report_cancelled,
    report_lost,
    time_limit,
)


def _run_name() -> str:
    given = runtime.flow_run.parameters
    job, day = given["job"], given.get("date")
    name = job.name if isinstance(job, Job) else Path(job).stem
    about = f" of {day}" if day else ""
    return f"{name}{about}, {runtime.flow_run.scheduled_start_time:%Y-%m-%d %H:%M:%S}"


@flow(
    name="impute",
    flow_run_name=_run_name,
    on_crashed=[report_lost],
    on_cancellation=[report_cancelled],
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
    found = Found()
    try:
        with time_limit(run.job.time_limit):
            found.snapshot = load(run)
            found.before = check_input(run, found.snapshot)
            stop_if_refused(found)
            found.fitted = fit(run, found.snapshot)
            stop_if_refused(found)
            found.staged = fill(run, found.snapshot, found.fitted)
            found.after = check_output(run, found.snapshot, found.fitted, found.staged)
            stop_if_refused(found)
        found.published = publish(run, found.staged)
    except EXPECTED as reason:
        found.stopped_by = reason
    except Exception as fault:
        # Its traceback is in the log; whoever watches gets the report all the same.
        found.stopped_by = Unforeseen(fault)
    outcome = report(run, found)
    ending = Failed if found.stopped_by else Completed
    return ending(message=outcome.verdict.sentence, data=outcome)
