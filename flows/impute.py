"""The flow that runs one job: load, check, fit, fill, test, check, publish, report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from em_impute.findings import EXPECTED, Found, Outcome, stop_if_refused
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
    self_test,
)


def _run_name() -> str:
    job = runtime.flow_run.parameters["job"]
    started = runtime.flow_run.scheduled_start_time
    return f"{job.name if isinstance(job, Job) else Path(job).stem}, {started:%Y-%m-%d %H:%M:%S}"


@flow(name="impute", flow_run_name=_run_name)
def impute(job: Path | Job, runs: Path = Path("runs")) -> State[Outcome]:
    """Run one job: fill the holes of its source and publish the table to its target.

    Parameters
    ----------
    job : Path or Job
        The YAML file, or a job made in Python. Relative paths in it are relative to the folder
        that the program was started in.
    runs : Path
        Where the run's folder, with the report, is made.

    Returns
    -------
    State
        Completed with the verdict if the table was published, else Failed with the reason; its
        data is the `Outcome`.
    """
    try:
        run = open_run(job, runs)
    except CannotRun as mistake:
        return Failed(message=str(mistake), data=mistake)
    found = Found()
    try:
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
    outcome = report(run, found)
    ending = Failed if found.stopped_by else Completed
    return ending(message=outcome.verdict.sentence, data=outcome)
