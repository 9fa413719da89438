"""All that a flow of one's own needs: the steps of a run as Prefect tasks, and what they give."""

from em_impute.plugin.tasks import (
    check_input,
    check_output,
    fill,
    fit,
    load,
    open_run,
    publish,
    report,
    self_test,
    update_state,
)
from em_impute.runs.measure import survey_of
from em_impute.runs.run import (
    EXPECTED,
    Found,
    Loaded,
    Outcome,
    Refused,
    Run,
    settle,
    stop_if_refused,
)
from em_impute.tables.groups import Fitted
from em_impute.tables.writing.staged import Published, Staged

__all__ = [
    "EXPECTED",
    "Fitted",
    "Found",
    "Loaded",
    "Outcome",
    "Published",
    "Refused",
    "Run",
    "Staged",
    "check_input",
    "check_output",
    "fill",
    "fit",
    "load",
    "open_run",
    "publish",
    "report",
    "self_test",
    "settle",
    "stop_if_refused",
    "survey_of",
    "update_state",
]
