"""How a run begins: its name and its folder, and what runs that were killed have left there."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from em_impute.job import Job
from em_impute.runs.kept import clear_dead_runs
from em_impute.runs.run import Run
from em_impute.tables import targets
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.writing import publications


def run_of(
    job: Job, runs: Path, started: datetime, key: str, day: date | None = None, schedule: int = 0
) -> Run:
    """A run of a job as it is called; nothing is made yet.

    Parameters
    ----------
    job : Job
    runs : Path
        Where the folders of the runs are.
    started : datetime
        For when it was scheduled.
    key : str
        Its last digits tell runs of one moment apart; with the same key it is the same run.
    day : date, optional
        The data date; by default what the job's schedule makes of `started`.
    schedule : int
        Which of the job's schedules that is, from 0.
    """
    day = day or job.data_date(started, schedule)
    # The last digits are random; the first ones are the time, alike in runs of one minute.
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{key[-8:]}"
    name = publications.named(job, run_id, day)
    folder = RunFolder(runs / job.name / run_id)
    return Run(run_id, job.at(day), folder, started, day, name, dated=job.is_dated)


def begin(run: Run, runs: Path) -> str:
    """See that the run's target can be written, and make the folder of the run.

    Parameters
    ----------
    run : Run
    runs : Path
        As for `run_of`.

    Returns
    -------
    str
        What was removed of earlier runs, a sentence; empty if nothing was.

    Raises
    ------
    CannotRun
        If the target is wrong.
    """
    targets.check_target(run.job.target)
    open_run_folder(runs, run.job.name, run.id).hold()
    dead = clear_dead_runs(run.folder.path.parent)
    return f"Removed the working files of {dead} runs that were killed." if dead else ""
