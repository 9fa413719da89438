"""The job's own checks, carried out by Great Expectations (GX), to which this is the only door."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import re
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pyarrow as pa

from em_impute.checks import words
from em_impute.checks.domain import ABOUT_ROW_COUNT, CONDITION_HELP, domain_of
from em_impute.checks.results import Checked, CheckResult, Stage
from em_impute.job import Check
from em_impute.job.legible import one_line

if TYPE_CHECKING:
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation

    from em_impute.checks.expectations import InWords

# Fields of GX's expectations that say nothing about the data; of those, the ones a job may set.
_BOOKKEEPING = {"batch_id", "library_metadata"}
_DOCUMENTATION = {"description", "notes"}

# The counts of a result, without the values that it would show as examples.
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}


class _EvaluationError(Exception):
    """GX could not evaluate an expectation; its message may quote values of the data."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message


def check_input(
    frame: pd.DataFrame,
    checks: Sequence[Check],
    preconditions: Sequence[CheckResult],
    rows: int | None = None,
    option: str = "checks.max_rows",
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

    Returns
    -------
    Checked
    """
    return _checked("input", frame, checks, preconditions, rows, option)


def check_output(
    frame: pd.DataFrame,
    checks: Sequence[Check],
    invariants: Sequence[CheckResult],
    rows: int | None = None,
    option: str = "checks.max_rows",
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
    """
    return _checked("output", frame, checks, invariants, rows, option)


def _checked(
    stage: Stage,
    frame: pd.DataFrame,
    checks: Sequence[Check],
    ours: Sequence[CheckResult],
    rows: int | None,
    option: str,
) -> Checked:
    rows = len(frame) if rows is None else rows
    results = (*ours, *_carry_out(frame, checks, rows))
    return Checked(results, stage, _sampled(stage, frame, rows, option))


def _sampled(stage: Stage, frame: pd.DataFrame, rows: int, option: str) -> str:
    if frame.columns.empty or len(frame) >= rows:
        return ""
    return (
        f"Great Expectations saw a sample of {len(frame):,} of the {rows:,} rows of the {stage} "
        f"({option}). Counts of rows and em_impute's own checks are about all rows."
    )


def _carry_out(frame: pd.DataFrame, checks: Sequence[Check], rows: int) -> list[CheckResult]:
    if not checks:
        return []
    with opened() as table:
        batch = table.get_batch({"dataframe": frame})
        return [_result(check, batch, frame, rows) for check in checks]


def _result(check: Check, batch: Batch, frame: pd.DataFrame, rows: int) -> CheckResult:
    from em_impute.checks.expectations import CannotJudge

    try:
        if check.expectation in ABOUT_ROW_COUNT:
            success, result = _count_rows(check, rows)
        else:
            success, result = _evaluate(batch, _build(check))
    except CannotJudge as reason:
        success, observed = False, f"cannot be judged: {one_line(str(reason), 400)}"
    except Exception as error:  # whatever it was, the check has not passed
        success, observed = False, _could_not(check, frame, error)
    else:
        observed = _observed(check, success, result)
    column = check.kwargs.get("column")
    return CheckResult(
        name=check.expectation,
        column=column if isinstance(column, str) else None,
        expected=_expected(check),
        severity=check.severity,
        success=success,
        observed=observed,
        source="great_expectations",
    )


def _expected(check: Check) -> str:
    ours = None if check.kwargs.get("description") else _in_words(check)
    return words.expected(check, ours.expected() if ours else None)


def _observed(check: Check, success: bool, result: Mapping[str, Any]) -> str:
    ours = None if "element_count" in result else _in_words(check)
    return ours.observed(result) if ours else words.observed(check, success, result)


def _in_words(check: Check) -> InWords | None:
    """An expectation of ours, which says itself what it expects and has seen."""
    from em_impute.checks.expectations import InWords

    if check.expectation not in {kind.expectation_type for kind in InWords.__subclasses__()}:
        return None
    return cast(InWords, _build(check))


def _count_rows(check: Check, rows: int) -> tuple[bool, Mapping[str, Any]]:
    exactly = check.kwargs.get("value")
    least: Any = check.kwargs.get("min_value", exactly)
    most: Any = check.kwargs.get("max_value", exactly)
    enough = least is None or (rows > least if check.kwargs.get("strict_min") else rows >= least)
    few = most is None or (rows < most if check.kwargs.get("strict_max") else rows <= most)
    return enough and few, {"observed_value": rows}


def _could_not(check: Check, frame: pd.DataFrame, error: Exception) -> str:
    kind = error.kind if isinstance(error, _EvaluationError) else type(error).__name__
    types = dict.fromkeys(str(frame[name].dtype) for name in domain_of(check) if name in frame)
    on = f" on a column of type {' and '.join(types)}" if types else ""
    return f"could not be evaluated{on}: {kind}"


# --- What GX knows of an expectation and its options -------------------------------------------


def known_expectations() -> list[str]:
    """Return the names of all expectations that GX knows, ours among them."""
    from great_expectations.expectations.registry import (
        list_registered_expectation_implementations,
    )

    return list_registered_expectation_implementations()


def is_of_great_expectations(check: Check) -> bool:
    """Whether a check's expectation is one of GX's own."""
    from great_expectations.expectations.registry import get_expectation_impl

    return get_expectation_impl(check.expectation).__module__.startswith("great_expectations.")


def options_of(check: Check) -> dict[str, Any]:
    """Return the fields of a check's expectation that a job may set, by name."""
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.registry import get_expectation_impl

    fields = get_expectation_impl(check.expectation).__fields__
    hidden = (set(Expectation.__fields__) - _DOCUMENTATION) | _BOOKKEEPING
    return {name: field for name, field in sorted(fields.items()) if name not in hidden}


def objections(check: Check) -> dict[str, list[Mapping[str, Any]]]:
    """Return what GX has against the options, by option."""
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    findings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    try:
        _build(check)
    except ValidationError as error:
        for detail in error.errors():
            findings[str(detail["loc"][0])].append(detail)
    except GreatExpectationsError:
        findings["row_condition"] = [{"type": "value_error", "msg": CONDITION_HELP}]
    return findings


def failure_on(table: BatchDefinition[Any], frame: pd.DataFrame, check: Check) -> str | None:
    """Return why a check cannot be evaluated on a table; None if it can.

    Parameters
    ----------
    table : BatchDefinition
        What `opened` gives.
    frame : DataFrame
    check : Check
    """
    try:
        _evaluate(table.get_batch({"dataframe": frame}), _build(check))
    except _EvaluationError as failure:
        return failure.message
    except Exception as error:  # GX does not catch all of its own
        return type(error).__name__
    return None


# --- Great Expectations ------------------------------------------------------------------------


@contextmanager
def opened() -> Iterator[BatchDefinition[Any]]:
    """A table of GX, without its telemetry, log lines and warnings, for one thread at a time.

    GX keeps a frame until it gets the next of that name; leaving by this door forgets it.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with _one_at_a_time, _silence("great_expectations"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources = _context().data_sources
        asset = sources.add_or_update_pandas("em_impute").add_dataframe_asset("table")
        try:
            yield asset.add_batch_definition_whole_dataframe("rows")
        finally:
            sources.delete("em_impute")


_one_at_a_time = threading.RLock()


@contextmanager
def _silence(name: str) -> Iterator[None]:
    """Keep a library's log lines from the user's handlers, and from stderr where there are none."""
    logger, nowhere = logging.getLogger(name), logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(nowhere)
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = propagate


@functools.cache
def _context() -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from em_impute.checks import expectations  # noqa: F401 - known to GX once it is imported

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _build(check: Check) -> Expectation:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    kwargs: dict[str, Any] = dict(check.kwargs)
    if "row_condition" in kwargs:
        kwargs["condition_parser"] = "great_expectations"
    return ExpectationConfiguration(type=check.expectation, kwargs=kwargs).to_domain_obj()


def _evaluate(batch: Batch, expectation: Expectation) -> tuple[bool, Mapping[str, Any]]:
    from em_impute.checks.expectations import CannotJudge

    answer = batch.validate(expectation, result_format=_COUNTS_ONLY)
    info = answer.exception_info or {}
    # Flat, or one entry for each metric that failed.
    for entry in [info] if "raised_exception" in info else info.values():
        if entry["raised_exception"]:
            traceback, message = str(entry["exception_traceback"]), str(entry["exception_message"])
            if f"{CannotJudge.__module__}.{CannotJudge.__name__}: " in traceback:
                raise CannotJudge(message)
            raise _EvaluationError(_exception_kind(traceback), message)
    return bool(answer.success), answer.result


def _exception_kind(traceback: str) -> str:
    """Find the last exception that is not one of GX's wrappers; only names of known types."""
    names: list[str] = re.findall(r"^(?:[\w.]+\.)?(\w+)(?=:|$)", traceback, re.MULTILINE)
    for name in reversed(names):
        kind = getattr(builtins, name, None) or getattr(pa, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return name
    return "an error in Great Expectations"
