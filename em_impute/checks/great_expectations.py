"""Expectations carried out by Great Expectations (GX), to which this is the door for one table."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import re
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pyarrow as pa

from em_impute.checks import words
from em_impute.checks.domain import CONDITION_HELP, counts_all_rows, domain_of
from em_impute.checks.results import CheckResult
from em_impute.job import Check, Job
from em_impute.job.legible import one_line

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.data_context.data_context.file_data_context import FileDataContext
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    from em_impute.checks.expectations import InWords

# Fields of GX's expectations that say nothing about the data; of those, the ones a job may set.
_BOOKKEEPING = {"batch_id", "library_metadata"}
_DOCUMENTATION = {"description", "notes"}

ResultFormat = str | dict[str, Any]
# The counts of a result, without the values that it would show as examples.
COUNTS_ONLY: ResultFormat = {"result_format": "BASIC", "partial_unexpected_count": 0}


class _EvaluationError(Exception):
    """GX could not evaluate an expectation; its message may quote values of the data."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Evaluated:
    """What a check has found: as we show it, without a value of the data, and in GX's own form."""

    result: CheckResult
    answer: ExpectationValidationResult


def evaluate(
    check: Check,
    batch: Batch,
    frame: pd.DataFrame,
    rows: int,
    result_format: ResultFormat = COUNTS_ONLY,
) -> Evaluated:
    """Carry out a check.

    Parameters
    ----------
    check : Check
    batch : Batch
        That of `frame`.
    frame : DataFrame
    rows : int
        Rows of the table, of which `frame` may hold a sample.
    result_format : str or dict
        What GX's own form tells, in GX's words.
    """
    from em_impute.checks.expectations import CannotJudge

    answer = _answer(check, batch, rows, result_format)
    try:
        success, result = _judged(answer)
    except CannotJudge as reason:
        success, observed = False, f"cannot be judged: {one_line(str(reason), 400)}"
    except _EvaluationError as error:
        success, observed = False, _could_not(check, frame, error)
    else:
        observed = _observed(check, success, result)
    if result_format == "BOOLEAN_ONLY":
        answer.result = {}
    column = check.kwargs.get("column")
    found = CheckResult(
        name=check.expectation,
        column=column if isinstance(column, str) else None,
        expected=_expected(check),
        severity=check.severity,
        success=success,
        observed=observed,
        source="great_expectations",
    )
    return Evaluated(found, answer)


def _expected(check: Check) -> str:
    ours = None if check.kwargs.get("description") else _in_words(check)
    if isinstance(check.kwargs.get("row_condition"), dict):
        condition = repr(_build(check).row_condition)  # type: ignore[attr-defined]
        check = check.model_copy(update={"kwargs": {**check.kwargs, "row_condition": condition}})
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


def _could_not(check: Check, frame: pd.DataFrame, error: _EvaluationError) -> str:
    domain = domain_of(check)
    if absent := [name for name in domain if name not in frame]:
        return f"could not be evaluated: no column {one_line(', '.join(absent))} in the table"
    types = dict.fromkeys(str(frame[name].dtype) for name in domain)
    on = f" on a column of type {' and '.join(types)}" if types else ""
    return f"could not be evaluated{on}: {error.kind}"


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
    batch = table.get_batch({"dataframe": frame})
    try:
        _judged(_answer(check, batch, len(frame), COUNTS_ONLY))
    except _EvaluationError as failure:
        return failure.message
    except Exception as error:
        return type(error).__name__
    return None


# --- Great Expectations ------------------------------------------------------------------------


@contextmanager
def opened(name: str = "table") -> Iterator[BatchDefinition[Any]]:
    """A table of GX under a name.

    GX keeps a frame until it gets the next of that name; leaving by this door forgets it.
    """
    with quiet():
        sources = _context().data_sources
        asset = sources.add_or_update_pandas("em_impute").add_dataframe_asset(name)
        try:
            yield asset.add_batch_definition_whole_dataframe("rows")
        finally:
            sources.delete("em_impute")


def make_ready(job: Job) -> None:
    """Import GX, which takes seconds, if a job has checks for it."""
    if job.checks.input or job.checks.output or job.checks.context:
        # Whatever is wrong with it, the run's first check will say.
        with suppress(Exception), quiet():
            _context()


@contextmanager
def quiet() -> Iterator[None]:
    """GX without its telemetry, log lines and warnings, for one thread at a time."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with _one_at_a_time, silence("great_expectations"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_one_at_a_time = threading.RLock()


@contextmanager
def silence(name: str) -> Iterator[None]:
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


def read_project(folder: Path) -> FileDataContext:
    """The project in a folder, for which our expectations are known, too."""
    import great_expectations as gx

    from em_impute.checks import expectations  # noqa: F401 - known to GX once it is imported

    return gx.get_context(mode="file", context_root_dir=str(folder))


def _build(check: Check) -> Expectation:
    return _configuration(check).to_domain_obj()


def _configuration(check: Check) -> ExpectationConfiguration:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    kwargs: dict[str, Any] = dict(check.kwargs)
    if isinstance(kwargs.get("row_condition"), str):
        kwargs.setdefault("condition_parser", "great_expectations")
    severity = FailureSeverity(check.severity)
    return ExpectationConfiguration(type=check.expectation, kwargs=kwargs, severity=severity)


def _answer(
    check: Check, batch: Batch, rows: int, result_format: ResultFormat
) -> ExpectationValidationResult:
    from great_expectations.core import ExpectationValidationResult

    try:
        if counts_all_rows(check):
            success, result = _count_rows(check, rows)
            return ExpectationValidationResult(
                success=success, result=dict(result), expectation_config=_configuration(check)
            )
        # Without a result the words would have nothing to say.
        enough = COUNTS_ONLY if result_format == "BOOLEAN_ONLY" else result_format
        return batch.validate(_build(check), result_format=enough)  # type: ignore[arg-type]
    except Exception as error:  # whatever it was, the check has not passed
        kind = type(error).__name__
        info = {"raised_exception": True, "exception_message": kind, "exception_traceback": kind}
        return ExpectationValidationResult(
            success=False, exception_info=info, expectation_config=_configuration(check)
        )


def _judged(answer: ExpectationValidationResult) -> tuple[bool, Mapping[str, Any]]:
    from em_impute.checks.expectations import CannotJudge

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
    if traceback.isidentifier():  # of an exception that GX has not caught
        return traceback
    names: list[str] = re.findall(r"^(?:[\w.]+\.)?(\w+)(?=:|$)", traceback, re.MULTILINE)
    for name in reversed(names):
        kind = getattr(builtins, name, None) or getattr(pa, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return name
    return "an error in Great Expectations"
