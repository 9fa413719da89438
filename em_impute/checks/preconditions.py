"""What em_impute itself finds in a table that was read: what is needed to estimate, what is odd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from em_impute.checks.results import CheckResult
from em_impute.job import Severity
from em_impute.job.legible import one_line


class _Profile(Protocol):
    """A column as it was read: rows from 1; constant, if all observed cells are equal."""

    @property
    def name(self) -> str: ...
    @property
    def missing(self) -> int: ...
    @property
    def infinite(self) -> int: ...
    @property
    def first_infinite_row(self) -> int | None: ...
    @property
    def constant(self) -> bool: ...


def check_preconditions(
    rows: int, columns: Sequence[_Profile], model_columns: Sequence[str]
) -> tuple[CheckResult, ...]:
    """Return whether the model can be estimated from a table at all.

    Parameters
    ----------
    rows : int
        Number of rows of the table.
    columns : sequence of ColumnProfile
        Of all columns of the table.
    model_columns : sequence of str
        The numeric columns that the model is about.

    Returns
    -------
    tuple of CheckResult
        One result for a precondition that holds; one for each column where it does not.
    """
    size = f"{rows} rows"
    has_rows = _precondition("table_not_empty", "at least one row", "critical", size, rows > 0)
    if not rows:
        return (has_rows,)
    profiles = [column for column in columns if column.name in model_columns]
    return (
        has_rows,
        *_by_column("no_infinities", "{} finite", "critical", profiles, _infinities),
        *_by_column(
            "observed_cells",
            "{} observed in some row",
            "critical",
            profiles,
            lambda column: _NONE_OBSERVED if column.missing >= rows else None,
        ),
        # What follows from these two, the fit decides and says.
        *_by_column("not_constant", "{} not constant", "info", profiles, _constancy),
        _precondition(
            "more_rows_than_columns",
            "more rows than columns in the model, or else a prior",
            "info",
            f"{size}, {len(profiles)} columns",
            rows > len(profiles),
        ),
    )


_NONE_OBSERVED = "all cells missing; leave it out of columns.impute and columns.predictors"


def _infinities(column: _Profile) -> str | None:
    if not column.infinite:
        return None
    cells = "1 infinite cell" if column.infinite == 1 else f"{column.infinite} infinite cells"
    row = column.first_infinite_row
    first = "" if row is None else f", the first in row {row}"
    return f"{cells}{first}; mend them or make them missing"


def _constancy(column: _Profile) -> str | None:
    if not column.constant:
        return None
    return "one value only: it predicts nothing, and its holes are filled with that value"


def _by_column(
    name: str,
    expected: str,
    severity: Severity,
    columns: Sequence[_Profile],
    fault: Callable[[_Profile], str | None],
) -> list[CheckResult]:
    faults = [(column.name, observed) for column in columns if (observed := fault(column))]
    if not faults:
        words = expected.format("every column of the model")
        return [_precondition(name, words, severity, f"all {len(columns)} columns", True)]
    return [
        _precondition(name, expected.format(column), severity, observed, False, column)
        for column, observed in faults
    ]


def _precondition(
    name: str,
    expected: str,
    severity: Severity,
    observed: str,
    success: bool,
    column: str | None = None,
) -> CheckResult:
    words = one_line(expected)
    return CheckResult(name, column, words, severity, success, observed, "precondition")


class _Doubt(Protocol):
    """Something about the table that is most likely not as it was meant."""

    @property
    def name(self) -> str: ...
    @property
    def column(self) -> str | None: ...
    @property
    def expected(self) -> str: ...
    @property
    def observed(self) -> str: ...
    @property
    def stop(self) -> bool: ...


def doubts(found: Sequence[_Doubt]) -> tuple[CheckResult, ...]:
    """Return a failure for each doubt: critical where it must stop the job, else a warning."""
    return tuple(
        _precondition(
            doubt.name,
            doubt.expected,
            "critical" if doubt.stop else "warning",
            one_line(doubt.observed, 400),
            False,
            doubt.column,
        )
        for doubt in found
    )


class _Misfits(Protocol):
    """Observed cells of a column that are not as expected, and the first rows that hold one."""

    @property
    def column(self) -> str: ...
    @property
    def expected(self) -> str: ...
    @property
    def cells(self) -> int: ...
    @property
    def rows(self) -> tuple[int, ...]: ...
    @property
    def stop(self) -> bool: ...


def misfits(found: Sequence[_Misfits], rows: int) -> tuple[CheckResult, ...]:
    """Return a failure for each column with cells outside of its transform's domain or its bounds.

    Parameters
    ----------
    found : sequence of Misfits
        The failure is critical where it must stop the job, else a warning.
    rows : int
        Number of rows of the table.
    """
    return tuple(
        _precondition(
            "cells_in_range",
            misfit.expected,
            "critical" if misfit.stop else "warning",
            f"{misfit.cells} of {rows} rows are not{_numbered(misfit.rows)}",
            False,
            misfit.column,
        )
        for misfit in found
    )


def _numbered(rows: Sequence[int]) -> str:
    """The first rows in words; nothing where they have no numbers, as in a database."""
    if not rows:
        return ""
    return f", the first: row{'s' if rows[1:] else ''} {', '.join(map(str, rows))}"
