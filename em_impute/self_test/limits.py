"""The columns that limits of the self-test name: whether hidden cells can tell of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from em_impute.job import LEVEL_LIMITS, Job, JobError, Problem
from em_impute.tables.columns.encoding import Number
from em_impute.tables.columns.roles import Roles, absence
from em_impute.tables.snapshot import Snapshot

# Which limit to look for where another does not fit the kind of its column.
OF_NUMBERS, OF_LEVELS = "max_rmse_ratio", "min_accuracy"


def check_limits(snapshot: Snapshot, roles: Roles, job: Job) -> None:
    """Make sure that every column which a limit names can be tested.

    Raises
    ------
    JobError
        With a problem for each that the table lacks, that is not filled, or that is of another
        kind than the limit.
    """
    if problems := list(_problems(snapshot, roles, job)):
        raise JobError(problems)


def limits_that_apply(snapshot: Snapshot, job: Job) -> dict[str, float | dict[str, float]]:
    """The job's limits without the columns in which no cell is missing: these are not tested."""
    return {
        name: {c: at for c, at in limit.items() if snapshot.profile(c).missing}
        if isinstance(limit, Mapping)
        else limit
        for name, limit in job.self_test.limits.items()
    }


def _problems(snapshot: Snapshot, roles: Roles, job: Job) -> Iterator[Problem]:
    for limit, columns in job.self_test.limits.items():
        for column in columns if isinstance(columns, Mapping) else ():
            if message := _objection(snapshot, roles, limit, column):
                place = job.place("self_test", limit, column)
                yield Problem(place, f"self_test.{limit}: {message}")


def _objection(snapshot: Snapshot, roles: Roles, limit: str, column: str) -> str:
    if message := absence(snapshot, column):
        return message
    # A column that is filled as soon as it has a hole may have none tonight.
    filled = column in roles.impute or (
        column in roles.model_columns and not snapshot.profile(column).missing
    )
    if not filled:
        return f"column {column!r} is not filled, so no cell of it is hidden; remove the limit."
    if isinstance(roles.encoding(column), Number) == (limit in LEVEL_LIMITS):
        kind, other = (
            ("numbers", OF_NUMBERS) if limit in LEVEL_LIMITS else ("categories", OF_LEVELS)
        )
        return f"column {column!r} is one of {kind}; its limits are {other} and the like."
    return ""
