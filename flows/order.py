"""The order of a run's steps, written once: for Prefect's tasks and for a run without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from em_impute.checks import Checked
from em_impute.runs.lineage import tell_start
from em_impute.runs.measure import survey_of
from em_impute.runs.report import unreported
from em_impute.runs.run import (
    EXPECTED,
    Found,
    Loaded,
    Outcome,
    Run,
    Unforeseen,
    interruption_behind,
    settle,
    stop_if_refused,
)
from em_impute.runs.steps import Log
from em_impute.runs.survey import Survey
from em_impute.self_test.scores import SelfTest
from em_impute.tables.groups import Fitted
from em_impute.tables.state.gathering import not_kept
from em_impute.tables.writing.staged import Published, Staged


@dataclass(frozen=True)
class Steps:
    """What is done for a run at each step, in the order of `carry_out`."""

    load: Callable[[Run], Loaded]
    check_input: Callable[[Run, Loaded], Checked]
    fit: Callable[[Run, Loaded], Fitted]
    fill: Callable[[Run, Loaded, Fitted, Survey], Staged]
    self_test: Callable[[Run, Loaded, Fitted, Survey], SelfTest | None]
    check_output: Callable[[Run, Loaded, Fitted, Staged], Checked]
    publish: Callable[[Run, Staged], Published]
    update_state: Callable[[Run, Found], None]
    report: Callable[[Run, Found], Outcome]
    time_limit: Callable[[float | None], AbstractContextManager[None]]


def carry_out(run: Run, steps: Steps, log: Log) -> Outcome:
    """Go the steps of a run; how it has ended, whatever came up.

    Parameters
    ----------
    run : Run
    steps : Steps
    log : Logger
    """
    found = Found()
    tell_start(run, log)
    try:
        with steps.time_limit(run.job.time_limit):
            found.snapshot = table = steps.load(run)
            found.before = steps.check_input(run, table)
            stop_if_refused(found)
            found.fitted = steps.fit(run, table)
            stop_if_refused(found)
            found.survey = survey_of(run, table, found.fitted)
            found.staged = steps.fill(run, table, found.fitted, found.survey)
            found.tested = steps.self_test(run, table, found.fitted, found.survey)
            found.after = steps.check_output(run, table, found.fitted, found.staged)
            stop_if_refused(found)
        found.published = steps.publish(run, found.staged)
    except EXPECTED as reason:
        found.stopped_by = reason
    except Exception as fault:
        if interruption := interruption_behind(fault):
            raise interruption from None
        # Its traceback is in the log; whoever watches gets the report all the same.
        found.stopped_by = Unforeseen(fault)
    settle(run, found)
    _keep_in_state(run, found, steps, log)
    return reported(run, found, steps, log)


def _keep_in_state(run: Run, found: Found, steps: Steps, log: Log) -> None:
    """Add the rows of a run that has published to its state; a fault of that is a warning."""
    if run.job.state is None or found.published is None:
        return
    try:
        steps.update_state(run, found)
    except Exception as fault:
        found.not_kept = not_kept(run.job.state.folder, type(fault).__name__)
        log.warning(found.not_kept)


def reported(run: Run, found: Found, steps: Steps, log: Log) -> Outcome:
    """How a run has ended, reported whatever Prefect makes of the task of it."""
    try:
        return steps.report(run, found)
    except Exception as fault:
        return unreported(run, found, fault, log)
