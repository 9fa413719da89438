"""The job's own checks, carried out by Great Expectations (GX), to which this is the only door.

Before the table is read it is seen whether GX would evaluate a check as it is written.
"""

from __future__ import annotations

import builtins
import functools
import logging
import math
import os
import re
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pyarrow as pa
from pydantic import JsonValue

from em_impute.checks.results import Checked, CheckResult, Stage
from em_impute.job import MASK, Check, Job, JobError, Problem
from em_impute.job.legible import one_line
from em_impute.job.mistakes import did_you_mean

if TYPE_CHECKING:
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation

    from em_impute.checks.expectations import InWords

# --- Before the table is read ------------------------------------------------------------------


def verify_checks(job: Job) -> None:
    """Make sure that GX knows every check of a job and would evaluate it as it is written.

    GX itself drops a check that it cannot build, and passes one that compares with nothing.

    Raises
    ------
    JobError
        With all problems of all checks, each with its place in the job.
    """
    if not (job.checks.input or job.checks.output):
        return
    with _great_expectations() as table:
        problems = [
            Problem(place, message)
            for place, check in _placed(job)
            for message in _problems_of(check, table)
        ]
    problems += _without_mask(job)
    if problems:
        raise JobError(problems)


def check_columns(job: Job, names: Sequence[str]) -> None:
    """Make sure that the table has the columns that the job's checks name.

    Parameters
    ----------
    job : Job
    names : sequence of str
        The table's columns.

    Raises
    ------
    JobError
        With a problem for every column that is not there.
    """
    problems = [
        Problem(place, f"{check.expectation}: {_no_such_column(column, names)}")
        for place, check in _placed(job)
        if check.expectation != "expect_column_to_exist"
        for column in _columns_of(check)
        if column not in names
    ]
    if problems:
        raise JobError(problems)


def output_checks(job: Job, imputed: Sequence[str]) -> tuple[Check, ...]:
    """Give the job's checks of the filled table, those of imputed cells with the bits of the mask.

    Parameters
    ----------
    job : Job
    imputed : sequence of str
        The columns that are filled, in the order of the mask's bits.

    Raises
    ------
    JobError
        With a problem for every such check of a column that is not filled.
    """
    problems = [
        Problem(
            job.place("checks", "output", number),
            f"{check.expectation}: {one_line(str(check.kwargs.get('column')))} is not imputed by "
            f"this job, only {one_line(', '.join(imputed), 400) or 'nothing'}",
        )
        for number, check in enumerate(job.checks.output)
        if _by_mask(check) and check.kwargs.get("column") not in imputed
    ]
    if problems:
        raise JobError(problems)
    return tuple(
        _with_options(check, mask_column=MASK, mask_bit=imputed.index(str(check.kwargs["column"])))
        if _by_mask(check)
        else check
        for check in job.checks.output
    )


def check_rows(job: Job, rows: int) -> None:
    """Make sure that no check is about all rows together where only a sample will be seen.

    Parameters
    ----------
    job : Job
    rows : int
        Rows of the table.

    Raises
    ------
    JobError
        With a problem for every check that a sample of ``job.checks.max_rows`` cannot answer.
    """
    if rows <= job.checks.max_rows:
        return
    problems = [
        Problem(
            place,
            f"{check.expectation}: this is about all rows together, and of the table's {rows:,} "
            f"only a sample of checks.max_rows ({job.checks.max_rows:,}) is checked; "
            "raise checks.max_rows, or leave the check out",
        )
        for place, check in _placed(job)
        if check.expectation in _ABOUT_ALL_ROWS
    ]
    if problems:
        raise JobError(problems)


# Expectations about how often a value occurs, or how much there is: a sample says little of them.
_ABOUT_ALL_ROWS = {
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_values_to_be_unique",
    "expect_compound_columns_to_be_unique",
}

# Expectations that need no row, only how many there are; GX would want to see all of them.
_ABOUT_ROW_COUNT = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}


def columns_needed(checks: Sequence[Check], names: Sequence[str]) -> list[str]:
    """Choose the columns that must be loaded for these checks.

    Parameters
    ----------
    checks : sequence of Check
    names : sequence of str
        The table's columns.

    Returns
    -------
    list of str
        Only those that the checks name, in the table's order; all of them if a check names none,
        because it is about the table as a whole. A count of rows needs no column.
    """
    checks = [check for check in checks if check.expectation not in _ABOUT_ROW_COUNT]
    if any(not _domain_of(check) or "column_index" in check.kwargs for check in checks):
        return list(names)
    wanted = {text for check in checks for text in _texts_of(check)}
    return [name for name in names if name in wanted]


def _by_mask(check: Check) -> bool:
    """Whether a check is about imputed cells, and leaves it to the job to say which these are."""
    imputed = check.expectation == "expect_imputed_distribution_to_match"
    return imputed and "mask_column" not in check.kwargs


def _with_options(check: Check, **options: JsonValue) -> Check:
    return check.model_copy(update={"kwargs": {**check.kwargs, **options}})


def _without_mask(job: Job) -> Iterator[Problem]:
    """Find the checks of imputed cells that no mask of this job can tell."""
    remedies = {"input": "nothing is imputed in the input yet; move it to checks.output"}
    if not job.imputation.mask:
        remedies["output"] = "the mask tells which cells are imputed; add imputation: {mask: true}"
    for stage, remedy in remedies.items():
        for number, check in enumerate(getattr(job.checks, stage)):
            if _by_mask(check):
                message = f"{check.expectation}: {remedy}, or name a mask_column"
                yield Problem(job.place("checks", stage, number), message)


def _placed(job: Job) -> Iterator[tuple[str, Check]]:
    for stage, checks in (("input", job.checks.input), ("output", job.checks.output)):
        for number, check in enumerate(checks):
            yield job.place("checks", stage, number), check


def _domain_of(check: Check) -> list[str]:
    """Give the columns that a check is about."""
    named = [check.kwargs.get(option) for option in ("column", "column_A", "column_B")]
    listed = check.kwargs.get("column_list")
    if isinstance(listed, list) and not check.expectation.startswith("expect_table_"):
        named += listed
    return [name for name in named if isinstance(name, str)]


def _columns_of(check: Check) -> list[str]:
    """Give the columns whose cells a check reads: those of its row_condition too."""
    condition = _CONDITION.fullmatch(str(check.kwargs.get("row_condition")))
    return _domain_of(check) + ([condition["column"]] if condition else [])


def _texts_of(check: Check) -> Iterator[str]:
    """Give all texts among the options: a custom expectation may name columns in any of them."""
    yield from _columns_of(check)
    for value in check.kwargs.values():
        yield from (text for text in _as_list(value) if isinstance(text, str))


def _no_such_column(name: str, names: Sequence[str]) -> str:
    there = one_line(", ".join(names), 400)
    return f"the table has no column {one_line(name)}{did_you_mean(name, names)}, only {there}"


# --- Whether GX would evaluate a check as it is written ----------------------------------------

# Fields of GX's expectations that say nothing about the data; of those, the ones a job may set.
_BOOKKEEPING = {"batch_id", "library_metadata"}
_DOCUMENTATION = {"description", "notes"}

# Options without any of which these expectations compare with nothing, and pass.
_COMPARED_WITH = ("min_value", "max_value", "threshold", "type_list", "column_list", "column_set")

# By these a JSON schema names others, which GX would read from this machine or the network.
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}

# GX takes a mapping for any option, as the name of a parameter that nobody would give it here.
_MAPPINGS = {"json_schema", "partition_object", "quantile_ranges"}

# GX's own grammar for row_condition, whole: its parser ignores what follows a first comparison.
# The other grammar that GX offers, pandas', runs the text as code.
_CONDITION_OPTIONS = {"row_condition", "condition_parser"}
_CONDITION = re.compile(
    r"""col\("(?P<column>[^"`]+)"\)\s*
        (\.notnull\(\)
        |([<>]=?|[=!]=)\s*([+-]?\d+(\.\d*)?([eE][+-]?\d+)?|"[^"'`]+"|'[^"'`]+'))""",
    re.VERBOSE,
)
_CONDITION_HELP = (
    'row_condition must be one comparison such as col("Month") > 5, '
    'col("Species") == "Adelie" or col("Month").notnull()'
)

# What was expected, by the type of pydantic's error; a union of types gives one error for each.
_WANTED = {
    "type_error.float": "a number",
    "type_error.integer": "a whole number",
    "type_error.str": "text",
    "type_error.list": "a list",
    "type_error.sequence": "a list",
    "value_error.date": "a date",
    "value_error.datetime": "a time",
    "type_error.bool": "true or false",
    "type_error.none.not_allowed": "given a value",
    "value_error.number.not_le": "at most {limit_value:g}",
    "value_error.number.not_ge": "at least {limit_value:g}",
    "value_error.const": "one of {permitted}",
}
_CAME = {str: "text", list: "a list", dict: "a mapping", type(None): "nothing"}


def _problems_of(check: Check, table: BatchDefinition[Any]) -> list[str]:
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    known = list_registered_expectation_implementations()
    if check.expectation not in known:
        return [_unknown_expectation(check.expectation, known)]
    expectation = get_expectation_impl(check.expectation)
    options = _options_of(expectation)
    found = [*_unknown_options(check, options), *_wrong_options(check, options)]
    found += ["a $ref of json_schema must begin with #"] if _refers_elsewhere(check.kwargs) else []
    found = found or [*_empty_comparisons(check, options)]
    found = found or [*_not_evaluable(check, expectation, table)]
    return [f"{check.expectation}: {problem}" for problem in found]


def _unknown_expectation(name: str, known: Iterable[str]) -> str:
    snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return (
        f"Great Expectations has no expectation {one_line(name)}{did_you_mean(snake_case, known)}"
    )


def _options_of(expectation: type[Expectation]) -> dict[str, Any]:
    """Give the fields of an expectation that a job may set."""
    from great_expectations.expectations.expectation import Expectation

    hidden = (set(Expectation.__fields__) - _DOCUMENTATION) | _BOOKKEEPING
    return {name: f for name, f in sorted(expectation.__fields__.items()) if name not in hidden}


def _unknown_options(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    for name in check.kwargs:
        if name not in options:
            nearest = did_you_mean(name, options)
            yield f"there is no option {one_line(name)}{nearest}, only {', '.join(options)}"


def _wrong_options(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    if not _is_condition(check.kwargs):
        yield _CONDITION_HELP
        return
    findings = _findings(check)
    for name in findings:
        # What is wrong with the options together often follows from what is wrong with one.
        if name in options or findings.keys() == {"__root__"}:
            yield _wrong_option(name, check.kwargs.get(name), findings[name])
    for name in sorted(options.keys() - findings.keys() - _MAPPINGS):
        if isinstance(check.kwargs.get(name), dict):
            yield f"{name} must not be a mapping"


def _refers_elsewhere(value: object) -> bool:
    """Whether a JSON schema among the options refers to one in another place."""
    if isinstance(value, dict):
        references = (value.get(name, "#") for name in _REFERENCES)
        elsewhere = any(isinstance(r, str) and not r.startswith("#") for r in references)
        return elsewhere or any(map(_refers_elsewhere, value.values()))
    return isinstance(value, list) and any(map(_refers_elsewhere, value))


def _is_condition(kwargs: Mapping[str, Any]) -> bool:
    condition, parser = kwargs.get("row_condition"), kwargs.get("condition_parser")
    if condition is None:
        return parser is None
    readable = isinstance(condition, str) and _CONDITION.fullmatch(condition)
    return bool(readable) and parser in (None, "great_expectations")


def _findings(check: Check) -> dict[str, list[Mapping[str, Any]]]:
    """Give what GX has against the options, by option."""
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    findings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    try:
        _build(check)
    except ValidationError as error:
        for detail in error.errors():
            findings[str(detail["loc"][0])].append(detail)
    except GreatExpectationsError:
        findings["row_condition"] = [{"type": "value_error", "msg": _CONDITION_HELP}]
    return findings


def _wrong_option(name: str, value: object, findings: Sequence[Mapping[str, Any]]) -> str:
    if findings[0]["type"] == "value_error.missing":
        return f"the option {name} is missing"
    if findings[0]["type"] == "value_error":
        return one_line(findings[0]["msg"].rstrip("."))
    known = [finding for finding in findings if finding["type"] in _WANTED]
    words = [_WANTED[f["type"]].format(**f.get("ctx", {})) for f in known]
    expected = " or ".join(dict.fromkeys(words)) or "of another kind"
    return f"{name} must be {expected}, got {_CAME.get(type(value), value)}"


def _empty_comparisons(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    needed = [name for name in _COMPARED_WITH if name in options and not options[name].required]
    if needed and all(check.kwargs.get(name, options[name].default) is None for name in needed):
        yield f"without {' or '.join(needed)} it would check nothing"
    least, most = check.kwargs.get("min_value"), check.kwargs.get("max_value")
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        yield "min_value is above max_value, so that nothing could pass"


def _not_evaluable(
    check: Check, expectation: type[Expectation], table: BatchDefinition[Any]
) -> Iterator[str]:
    """Try a check on small tables: what fails on numbers, text and times fails on every table."""
    if not expectation.__module__.startswith("great_expectations."):
        return  # one's own expectation may rely on more than the columns that it names
    # Without its row_condition, which may compare a column of another type.
    kwargs = {k: value for k, value in check.kwargs.items() if k not in _CONDITION_OPTIONS}
    every_row = check.model_copy(update={"kwargs": kwargs})
    failures = []
    for frame in _small_tables(every_row):
        failure = _failure_on(frame, every_row, table)
        if failure is None:
            return
        failures.append(failure)
    if "PandasExecutionEngine" in failures[0]:
        yield "it works on tables in a database only, not on files"
    else:
        yield f"it cannot be evaluated with these options: {one_line(failures[0])}"


def _failure_on(frame: pd.DataFrame, check: Check, table: BatchDefinition[Any]) -> str | None:
    try:
        _evaluate(table.get_batch({"dataframe": frame}), _build(check))
    except _EvaluationError as failure:
        return failure.message
    except Exception as error:  # GX does not catch all of its own
        return type(error).__name__
    return None


def _small_tables(check: Check) -> Iterator[pd.DataFrame]:
    times = pd.to_datetime(["2024-01-01", "2025-01-01"])
    days = [time.date() for time in times]
    for cells in ([0.0, 1.0], ["2024", "2025"], times, times.tz_localize("UTC"), days):
        yield pd.DataFrame(dict.fromkeys(_domain_of(check), cells))


# --- Great Expectations ------------------------------------------------------------------------

# The counts of a result, without the values that it would show as examples.
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}

# Expectations whose observed_value is an aggregate that may be shown, and how it is written.
# That of the others can be a value of some row: a maximum, a quantile, a set.
_AGGREGATES: dict[str, str] = {
    "expect_column_mean_to_be_between": "mean {:.6g}",
    "expect_column_median_to_be_between": "median {:.6g}",
    "expect_column_stdev_to_be_between": "standard deviation {:.6g}",
    "expect_column_sum_to_be_between": "sum {:.6g}",
    "expect_column_unique_value_count_to_be_between": "{} distinct values",
    "expect_column_proportion_of_unique_values_to_be_between": "{:.1%} distinct",
    "expect_column_proportion_of_non_null_values_to_be_between": "{:.1%} observed",
    "expect_table_row_count_to_be_between": "{} rows",
    "expect_table_row_count_to_equal": "{} rows",
    "expect_table_column_count_to_be_between": "{} columns",
    "expect_table_column_count_to_equal": "{} columns",
}


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
) -> Checked:
    """Check the table that was read.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        At least the columns that `columns_needed` names.
    checks : sequence of Check
        The job's checks of the input.
    preconditions : sequence of CheckResult
        What `preconditions` found; they come first in the results.
    rows : int, optional
        Rows of the table, if `frame` holds a sample of them.

    Returns
    -------
    Checked
    """
    return _checked("input", frame, checks, preconditions, rows)


def check_output(
    frame: pd.DataFrame,
    checks: Sequence[Check],
    invariants: Sequence[CheckResult],
    rows: int | None = None,
) -> Checked:
    """Check the filled table; the same as `check_input`, with the result of `check_invariants`."""
    return _checked("output", frame, checks, invariants, rows)


def _checked(
    stage: Stage,
    frame: pd.DataFrame,
    checks: Sequence[Check],
    ours: Sequence[CheckResult],
    rows: int | None,
) -> Checked:
    rows = len(frame) if rows is None else rows
    results = (*ours, *_carry_out(frame, checks, rows))
    return Checked(results, stage, _sampled(stage, frame, rows))


def _sampled(stage: Stage, frame: pd.DataFrame, rows: int) -> str:
    if frame.columns.empty or len(frame) >= rows:
        return ""
    return (
        f"Great Expectations saw a sample of {len(frame):,} of the {rows:,} rows of the {stage} "
        "(checks.max_rows): the job's checks are about the sample, but for counts of rows, which "
        "are about all rows, as em_impute's own checks are."
    )


@contextmanager
def _great_expectations() -> Iterator[BatchDefinition[Any]]:
    """Open the door to GX, without its telemetry, log lines and warnings, for one thread at a time.

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


def _carry_out(frame: pd.DataFrame, checks: Sequence[Check], rows: int) -> list[CheckResult]:
    if not checks:
        return []
    with _great_expectations() as table:
        batch = table.get_batch({"dataframe": frame})
        return [_result(check, batch, frame, rows) for check in checks]


def _result(check: Check, batch: Batch, frame: pd.DataFrame, rows: int) -> CheckResult:
    from em_impute.checks.expectations import CannotJudge

    try:
        if check.expectation in _ABOUT_ROW_COUNT:
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


def _count_rows(check: Check, rows: int) -> tuple[bool, Mapping[str, Any]]:
    exactly = check.kwargs.get("value")
    least: Any = check.kwargs.get("min_value", exactly)
    most: Any = check.kwargs.get("max_value", exactly)
    enough = least is None or (rows > least if check.kwargs.get("strict_min") else rows >= least)
    few = most is None or (rows < most if check.kwargs.get("strict_max") else rows <= most)
    return enough and few, {"observed_value": rows}


def _could_not(check: Check, frame: pd.DataFrame, error: Exception) -> str:
    kind = error.kind if isinstance(error, _EvaluationError) else type(error).__name__
    types = dict.fromkeys(str(frame[name].dtype) for name in _domain_of(check) if name in frame)
    on = f" on a column of type {' and '.join(types)}" if types else ""
    return f"could not be evaluated{on}: {kind}"


def _observed(check: Check, success: bool, result: Mapping[str, Any]) -> str:
    if "element_count" in result:
        return _observed_rows(result)
    if ours := _in_words(check):
        return ours.observed(result)
    name = check.expectation
    if name not in _AGGREGATES:
        return "passed" if success else "failed"
    value = result.get("observed_value")
    known = value is not None and math.isfinite(value)
    return _AGGREGATES[name].format(value) if known else "nothing to compute it from"


def _observed_rows(result: Mapping[str, Any]) -> str:
    missing = int(result.get("missing_count") or 0)
    rows, unexpected = int(result["element_count"]) - missing, int(result["unexpected_count"])
    not_judged = f", {missing} missing" if missing else ""
    if not rows:
        return f"no row to judge{not_judged}"
    return f"{unexpected} of {rows} rows unexpected ({unexpected / rows:.1%}){not_judged}"


# --- Expectations in words ---------------------------------------------------------------------


def _in_words(check: Check) -> InWords | None:
    """An expectation of ours, which says itself what it expects and has seen."""
    from em_impute.checks.expectations import InWords

    if check.expectation not in {kind.expectation_type for kind in InWords.__subclasses__()}:
        return None
    return cast(InWords, _build(check))


# Options that `_expected` says in its own way, or that do not change what is expected.
_SAID = {
    *("column", "column_A", "column_B", "column_list", "mostly", "row_condition"),
    *("min_value", "max_value", "strict_min", "strict_max"),
    *("condition_parser", "ignore_row_if", "notes"),
}


def _expected(check: Check) -> str:
    """Say what a check expects: "Temp between -60 and 140 in at least 95% of rows"."""
    kwargs = check.kwargs
    if description := kwargs.get("description"):
        return one_line(str(description))
    mostly, condition = kwargs.get("mostly", 1), kwargs.get("row_condition")
    share = "" if mostly == 1 else f" in at least {_percent(mostly)} of rows"
    where = f" where {condition}" if condition else ""
    ours = _in_words(check)
    return one_line((ours.expected() if ours else _statement(check)) + share + where)


def _statement(check: Check) -> str:
    subject = one_line(", ".join(_domain_of(check)), 80)
    match check.expectation:
        case "expect_column_values_to_be_between":
            return f"{subject} {_range(check.kwargs, str)}"
        case "expect_column_to_exist":
            return f"{subject} exists"
        case "expect_column_values_to_not_be_null":
            return f"{subject} observed"
        case "expect_column_proportion_of_non_null_values_to_be_between":
            return f"{_range(check.kwargs, _percent)} of {subject} observed"
    return f"{subject}: {_plain_words(check)}" if subject else _plain_words(check)


def _plain_words(check: Check) -> str:
    """Turn the name of any expectation into words: "values match regex ^A", "mean at least 5"."""
    name = re.sub("^expect_(column_)?", "", check.expectation).replace("_to_not_be_", "_not_")
    words = [re.sub("_to(_be)?(?=_|$)|_between$", "", name).replace("_", " ")]
    words += [_range(check.kwargs, str)] if name.endswith("_between") else []
    words += [_option_words(k, v) for k, v in check.kwargs.items() if k not in _SAID]
    return " ".join(word for word in words if word)


def _option_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"({name.replace('_', ' ')})" if value else ""
    if isinstance(value, dict):
        return ""
    return ", ".join(map(str, _as_list(value)))


def _range(kwargs: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    least, most = kwargs.get("min_value"), kwargs.get("max_value")
    above = "above" if kwargs.get("strict_min") else "at least"
    below = "below" if kwargs.get("strict_max") else "at most"
    if least is not None and most is not None and (above, below) == ("at least", "at most"):
        return f"between {write(least)} and {write(most)}"
    lower = [] if least is None else [f"{above} {write(least)}"]
    upper = [] if most is None else [f"{below} {write(most)}"]
    return " and ".join(lower + upper)


def _percent(share: Any) -> str:
    return f"{100 * share:g}%" if isinstance(share, int | float) else str(share)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
