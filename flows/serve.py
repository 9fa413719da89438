"""Running jobs by their schedules from one process, without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import prefect
from prefect.schedules import Cron, Interval, Schedule

from em_impute.flows.impute import impute
from em_impute.job import Job


def serve_jobs(jobs: Sequence[tuple[Path, Job]], runs: Path) -> None:
    """Deploy each job under its name and run it by its schedule; returns when interrupted.

    Parameters
    ----------
    jobs : sequence of (Path, Job)
        The absolute path of each file, which every run reads again, and the job in it.
    runs : Path
        Where the folders of the runs are made.
    """
    prefect.serve(
        *(
            impute.to_deployment(
                name=job.name,
                parameters={"job": str(path), "runs": str(runs.absolute())},
                schedule=_schedule(job),
                tags=["em_impute", job.name],
                # Two runs of one job would publish to the same target.
                concurrency_limit=1,
            )
            for path, job in jobs
        )
    )


def _schedule(job: Job) -> Schedule | None:
    if job.schedule is None:
        return None
    if job.schedule.cron is not None:
        return Cron(job.schedule.cron, timezone=job.schedule.timezone)
    assert job.schedule.interval is not None
    return Interval(job.schedule.interval, timezone=job.schedule.timezone)
