"""The flow that runs one job for many days: what is published is left alone, the rest is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule
from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed

from em_impute.flows.impute import impute
from em_impute.job import CannotRun, Job, load_job
from em_impute.job.legible import in_a_table
from em_impute.plugin.artifacts import artifact_key
from em_impute.reporting.records import Verdict
from em_impute.runs.history import BEFORE, published_dates
from em_impute.runs.run import Outcome

Every = Literal["day", "week", "month"]
_FREQUENCY = {"day": DAILY, "week": WEEKLY, "month": MONTHLY}


def _run_name() -> str:
    given = runtime.flow_run.parameters
    job = given["job"]
    name = job.name if isinstance(job, Job) else Path(job).stem
    return f"{name}, {given['first']} to {given['last']}"


# As of the flow that runs one job, Prefect's form has its words from the docstring.
@flow(name="backfill", flow_run_name=_run_name)
def backfill(
    job: Path | Job,
    first: date,
    last: date,
    every: Every = "day",
    parallel: int = 1,
    again: bool = False,
    runs: Path = Path("runs"),
) -> State[dict[date, Verdict]]:
    """Run a job for each data date from `first` to `last` that it has not published.

    A date that fails does not keep the others from being run. Started again, the flow goes on with
    what is left. It ends Failed unless every date is published; the state's data is each date's
    verdict.

    Args:
        job: The YAML file of the job, with {date} in its source or its target, or the job itself.
        first: The first data date.
        last: The last data date, which is run, too.
        every: From one date to the next; of months, those that have the first date's day.
        parallel: Dates that are run at a time, in one process.
        again: Whether what was published is run again.
        runs: Where the runs' folders are made, and looked for.
    """
    try:
        loaded = job if isinstance(job, Job) else load_job(job)
        days = _days(loaded, first, last, every, parallel)
        known = {} if again else published_dates(runs, loaded)
    except CannotRun as mistake:
        return Failed(message=str(mistake), data=mistake)
    left = [day for day in days if day not in known]
    done = sum(known.get(day) == BEFORE for day in days)
    get_run_logger().info("%s of %s dates are published already.", done, len(days))
    ran = dict(_each(job, left, parallel, runs))
    verdicts = {day: ran.get(day) or known[day] for day in days}
    create_table_artifact(
        [
            {
                "date": day.isoformat(),
                "outcome": verdict.outcome,
                "why": in_a_table(verdict.sentence),
            }
            for day, verdict in verdicts.items()
        ],
        key=f"{artifact_key(loaded.name)}-backfill",
    )
    counts = Counter(verdict.outcome for verdict in verdicts.values())
    sentence = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    ending = Failed if counts["not published"] else Completed
    return ending(message=f"Of {len(days)} dates {sentence}.", data=verdicts)


def _days(job: Job, first: date, last: date, every: Every, parallel: int) -> list[date]:
    if not job.is_dated and job.target.mode == "replace":
        raise CannotRun(
            f"The job {job.name} is the same for every date, so each would overwrite the one "
            "before: write {date} in the path of its source and of its target, for example "
            "data/{date:%Y-%m-%d}.parquet."
        )
    if first > last:
        raise CannotRun(f"The first date, {first}, is after the last, {last}.")
    if parallel < 1:
        raise CannotRun(f"At least one date is run at a time, got {parallel}.")
    if parallel > 1 and job.state:
        raise CannotRun(
            f"The job {job.name} has a state, and a day's model is of the days before it: run them "
            "one at a time, without parallel."
        )
    rule = rrule(_FREQUENCY[every], dtstart=first, until=last)
    return [moment.date() for moment in rule]


def _each(
    job: Path | Job, days: Sequence[date], parallel: int, runs: Path
) -> Iterator[tuple[date, Verdict]]:
    """Run the days in their order, so many at a time, and yield how each ended."""
    running: dict[PrefectFuture[Verdict], date] = {}
    for day in days:
        if len(running) == parallel:
            finished = next(as_completed(list(running)))
            yield running.pop(finished), finished.result()
        running[run_day.submit(job, day, runs)] = day
    for future, day in running.items():
        yield day, future.result()


@task(task_run_name="{day}", cache_policy=NO_CACHE)
def run_day(job: Path | Job, day: date, runs: Path) -> Verdict:
    """Run the job of one day; how it ended."""
    state = impute(job, runs, day, return_state=True)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, Outcome):
        return outcome.verdict
    return Verdict("not published", state.message or "The run failed.")
