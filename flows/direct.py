"""A run without Prefect: the same steps in the same order, in a plain process.

It leaves what every run leaves on disk, and nothing in Prefect: no artifacts, events or retries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from em_impute.flows.order import Steps, carry_out
from em_impute.job import Job
from em_impute.runs import steps
from em_impute.runs.history import imputed_before
from em_impute.runs.opening import begin, run_of
from em_impute.runs.report import nothing_left_if_interrupted, report
from em_impute.runs.run import EXPECTED, Found, Outcome, Run, SentencesOnly

P = ParamSpec("P")
R = TypeVar("R")

LOG = logging.getLogger("em_impute.runs")
"""What the steps say; it is shown where the root logger has handlers."""
LOG.setLevel(logging.INFO)
LOG.addFilter(SentencesOnly())


def run_directly(job: Job, runs: Path = Path("runs"), day: date | None = None) -> Outcome:
    """Run a job without Prefect.

    Parameters
    ----------
    job : Job
    runs : Path
        Where the run's folder, with the report, is made.
    day : date, optional
        The data date; by default today's.

    Raises
    ------
    CannotRun
        If the target is wrong; whatever stops the run later is in its outcome.
    """
    started = datetime.now(UTC)
    run = replace(run_of(job, runs, started, str(uuid4()), day), is_direct=True)
    if removed := begin(run, runs):
        LOG.info(removed)
    with nothing_left_if_interrupted(run):
        outcome: Outcome = carry_out(run, STEPS, LOG)
    return outcome


def _step(
    name: str, function: Callable[Concatenate[Run, P], R]
) -> Callable[Concatenate[Run, P], R]:
    def step(run: Run, /, *arguments: P.args, **named: P.kwargs) -> R:
        with run.step(name):
            try:
                return function(run, *arguments, **named)
            except EXPECTED:
                raise
            except Exception:
                LOG.exception("The step %s failed by a fault of the program.", name)
                raise

    return step


def _update_state(run: Run, found: Found) -> None:
    found.not_kept = steps.update_state(run.job, found.fitted, LOG)


def _time_limit(seconds: float | None) -> AbstractContextManager[None]:
    if seconds is None:
        return nullcontext()
    # Prefect has the clock for that, which is worth importing it.
    from em_impute.plugin.tasks import time_limit

    return time_limit(seconds)


STEPS = Steps(
    load=_step("load", lambda run: steps.load(run.job, run.folder, LOG)),
    check_input=_step(
        "check input",
        lambda run, table: steps.check_input(
            run.job, table, imputed_before(run.folder.path.parent, run.id), LOG, run.folder
        ),
    ),
    fit=_step("fit", lambda run, table: steps.fit(run.job, table, run.folder, LOG)),
    fill=_step(
        "fill",
        lambda run, table, fitted, survey: steps.fill(
            run.job, table, fitted, run.folder, LOG, survey
        ),
    ),
    self_test=_step(
        "self-test",
        lambda run, table, fitted, survey: steps.self_test(run.job, table, fitted, LOG, survey),
    ),
    check_output=_step(
        "check output",
        lambda run, table, fitted, staged: steps.check_output(
            run.job, table, fitted, staged, LOG, run.folder
        ),
    ),
    publish=_step("publish", lambda run, staged: steps.publish(run, staged, LOG)),
    update_state=_step("update state", _update_state),
    report=_step("report", lambda run, found: report(run, found, LOG)),
    time_limit=_time_limit,
)
