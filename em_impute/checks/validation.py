"""All checks of one table: ours, the job's own and those of a project of Great Expectations."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from em_impute.checks.domain import columns_of
from em_impute.checks.great_expectations import evaluate, opened
from em_impute.checks.project import Taken
from em_impute.checks.results import Checked, CheckResult
from em_impute.job import Check, Stage


def columns_needed(
    checks: Sequence[Check], names: Sequence[str], theirs: Taken | None = None
) -> list[str]:
    """Return the columns that must be loaded for these checks.

    Parameters
    ----------
    checks : sequence of Check
    names : sequence of str
        The table's columns.
    theirs : Taken, optional
        What the job takes of a project of Great Expectations for this table.

    Returns
    -------
    list of str
        Only those that the checks name, in the table's order; all of them if a check names none,
        because it is about the table as a whole. A count of rows needs no column.
    """
    if theirs is None:
        return columns_of(checks, names)
    return list(names) if theirs.reads_all else columns_of((*checks, *theirs.checks), names)


def check_input(
    frame: pd.DataFrame,
    checks: Sequence[Check],
    preconditions: Sequence[CheckResult],
    rows: int | None = None,
    option: str = "checks.max_rows",
    theirs: Taken | None = None,
) -> Checked:
    """Return the results of all checks of the table that was read.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        At least the columns that `columns_needed` names.
    checks : sequence of Check
        The job's checks of the input.
    preconditions : sequence of CheckResult
        What `check_preconditions` returned; they come first in the results.
    rows : int, optional
        Rows of the table, if `frame` holds a sample of them.
    option : str
        What of the job has it no larger.
    theirs : Taken, optional
        What the job takes of a project of Great Expectations for this table.

    Returns
    -------
    Checked
    """
    return _checked("input", frame, checks, preconditions, rows, option, theirs)


def check_output(
    frame: pd.DataFrame,
    checks: Sequence[Check],
    invariants: Sequence[CheckResult],
    rows: int | None = None,
    option: str = "checks.max_rows",
    theirs: Taken | None = None,
) -> Checked:
    """Return the results of all checks of the filled table.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        At least the columns that `columns_needed` names.
    checks : sequence of Check
        What `output_checks` returned.
    invariants : sequence of CheckResult
        What `check_invariants` returned; they come first in the results.
    rows : int, optional
        Rows of the table, if `frame` holds a sample of them.
    option : str
        What of the job has it no larger.
    theirs : Taken, optional
        What the job takes of a project of Great Expectations for this table.
    """
    return _checked("output", frame, checks, invariants, rows, option, theirs)


def _checked(
    stage: Stage,
    frame: pd.DataFrame,
    checks: Sequence[Check],
    ours: Sequence[CheckResult],
    rows: int | None,
    option: str,
    theirs: Taken | None,
) -> Checked:
    rows = len(frame) if rows is None else rows
    note = _sampled(stage, frame, rows, option)
    if not (checks or theirs):
        return Checked(tuple(ours), stage, note)
    with opened(theirs.table if theirs else "table") as table:
        batch = table.get_batch({"dataframe": frame})
        found = [evaluate(check, batch, frame, rows).result for check in checks]
        more, not_done = theirs.validate(batch, frame, rows) if theirs else ((), ())
    return Checked((*ours, *found, *more), stage, note, not_done)


def _sampled(stage: Stage, frame: pd.DataFrame, rows: int, option: str) -> str:
    if frame.columns.empty or len(frame) >= rows:
        return ""
    return (
        f"Great Expectations saw a sample of {len(frame):,} of the {rows:,} rows of the {stage} "
        f"({option}). Counts of rows and em_impute's own checks are about all rows."
    )
