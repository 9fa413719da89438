"""What is known of the checks before a table is read, and before the filled one is checked.

Great Expectations (GX) drops a check that it cannot build, and passes one that compares with
nothing. So each is first seen to be one that GX would evaluate as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from em_impute.checks.domain import (
    ABOUT_ROW_COUNT,
    CONDITION,
    CONDITION_HELP,
    CONDITION_OPTIONS,
    columns_read,
    counts_all_rows,
    domain_of,
    is_about_imputed,
    telling_imputed,
)
from em_impute.checks.great_expectations import (
    failure_on,
    is_of_great_expectations,
    known_expectations,
    objections,
    opened,
    options_of,
)
from em_impute.checks.project import Taken, take
from em_impute.job import Check, Job, JobError, Problem
from em_impute.job.legible import one_line
from em_impute.job.mistakes import did_you_mean


def verify_checks(job: Job) -> None:
    """Make sure that GX knows every check of a job and would evaluate it as it is written.

    Raises
    ------
    JobError
        With all problems of all checks, each with its place in the job.
    """
    if not (job.checks.input or job.checks.output or job.checks.context):
        return
    project, problems = _project(job)
    with opened() as table:
        fails = partial(failure_on, table)
        problems += [
            Problem(place, message)
            for _, place, check in _placed(job)
            for message in _problems_of(check, fails)
        ]
        problems += [
            Problem(place, f"{check.expectation}: {message}")
            for _, place, check in _placed_of(project)
            for message in list(_parameters(check)) or _not_evaluable(check, fails)
        ]
    problems += _without_mask(job, project)
    if problems:
        raise JobError(problems)


def check_columns(job: Job, names: Sequence[str], added: Sequence[str] = ()) -> None:
    """Make sure that the table has the columns that the job's checks name.

    Parameters
    ----------
    job : Job
    names : sequence of str
        The table's columns.
    added : sequence of str
        Columns that only the filled table has, which checks of the output may name.

    Raises
    ------
    JobError
        With a problem for every column that is not there.
    """
    known = {"input": names, "output": [*names, *added]}
    problems = [
        Problem(place, f"{check.expectation}: {_no_such_column(column, known[stage])}")
        for stage, place, check in _placed(job)
        if check.expectation != "expect_column_to_exist"
        for column in columns_read(check)
        if column not in known[stage]
    ]
    if problems:
        raise JobError(problems)


def output_checks(
    job: Job, imputed: Sequence[str], file: Path | None = None
) -> tuple[tuple[Check, ...], Taken | None]:
    """Return the checks of the filled table, those of imputed cells with their mask's bits.

    Parameters
    ----------
    job : Job
    imputed : sequence of str
        The columns that are filled, in the order of the mask's bits.
    file : Path, optional
        Where results of a project's suites are left, if the job wants them.

    Returns
    -------
    tuple of Check
        The job's own.
    Taken or None
        Those that it takes of a project of Great Expectations.

    Raises
    ------
    JobError
        With a problem for every such check of a column that is not filled.
    """
    theirs = take(job, "output", file)
    problems = [
        Problem(
            place,
            f"{check.expectation}: {one_line(str(check.kwargs.get('column')))} is not imputed by "
            f"this job, only {one_line(', '.join(imputed), 400) or 'nothing'}",
        )
        for stage, place, check in (*_placed(job), *_placed_of(filter(None, [theirs])))
        if stage == "output"
        and is_about_imputed(check)
        and check.kwargs.get("column") not in imputed
    ]
    if problems:
        raise JobError(problems)
    own = tuple(telling_imputed(check, imputed) for check in job.checks.output)
    return own, theirs.telling_imputed(imputed) if theirs else None


def check_rows(job: Job, rows: int) -> None:
    """Make sure that no check is about all rows together where only a sample will be seen.

    Parameters
    ----------
    job : Job
    rows : int
        Rows of the table as it was read; of the filled one as many times more as there are
        imputations.

    Raises
    ------
    JobError
        With a problem for every check that a sample of ``job.most_checked`` rows cannot answer.
    """
    option, most = job.most_checked
    of_stage = {"input": rows, "output": rows * job.imputation.most_draws}
    problems = [
        Problem(
            place,
            f"{check.expectation}: this is about all rows together, but only a sample of "
            f"{option} ({most:,}) of the table's {of_stage[stage]:,} rows is "
            f"checked; raise {option}, or leave the check out",
        )
        for stage, place, check in (*_placed(job), *_placed_of(_project(job)[0]))
        if of_stage[stage] > most and _is_about_all_rows(check)
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


def _is_about_all_rows(check: Check) -> bool:
    counted = check.expectation in ABOUT_ROW_COUNT and not counts_all_rows(check)
    return counted or check.expectation in _ABOUT_ALL_ROWS


def _without_mask(job: Job, project: Sequence[Taken]) -> Iterator[Problem]:
    """Problems of the checks of imputed cells that no mask of this job can tell."""
    remedies = {"input": "nothing is imputed in the input yet; move it to checks.output"}
    if not job.imputation.mask:
        remedies["output"] = "the mask tells which cells are imputed; add imputation: {mask: true}"
    for stage, place, check in (*_placed(job), *_placed_of(project)):
        if stage in remedies and is_about_imputed(check):
            message = f"{check.expectation}: {remedies[stage]}, or name a mask_column"
            yield Problem(place, message)


def _project(job: Job) -> tuple[list[Taken], list[Problem]]:
    """What the job takes of a project of Great Expectations, and what of it cannot be had."""
    taken: list[Taken] = []
    problems: list[Problem] = []
    for stage in job.checks.of_project:
        try:
            taken += filter(None, [take(job, stage)])
        except JobError as error:
            problems += error.problems
    return taken, list(dict.fromkeys(problems))


def _placed(job: Job) -> Iterator[tuple[str, str, Check]]:
    """Each check with its stage and its place in the job's file."""
    for stage, checks in (("input", job.checks.input), ("output", job.checks.output)):
        for number, check in enumerate(checks):
            yield stage, job.place("checks", stage, number), check


def _placed_of(project: Iterable[Taken]) -> Iterator[tuple[str, str, Check]]:
    """Each check of a project's suites, at the place where the job names them."""
    for taken in project:
        for check in taken.checks:
            yield taken.stage, taken.place, check


def _no_such_column(name: str, names: Sequence[str]) -> str:
    there = one_line(", ".join(names), 400)
    return f"the table has no column {one_line(name)}{did_you_mean(name, names)}, only {there}"


# --- Whether GX would evaluate a check as it is written ----------------------------------------

# Options without any of which these expectations compare with nothing, and pass.
_COMPARED_WITH = ("min_value", "max_value", "threshold", "type_list", "column_list", "column_set")

# By these a JSON schema names others, which GX would read from this machine or the network.
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}

# GX takes a mapping for any option, as the name of a parameter that nobody would give it here.
_MAPPINGS = {"json_schema", "partition_object", "quantile_ranges"}

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

# What a check is tried on, and what GX answers if it cannot evaluate it.
_Trial = Callable[[pd.DataFrame, Check], str | None]


def _problems_of(check: Check, fails: _Trial) -> list[str]:
    known = known_expectations()
    if check.expectation not in known:
        return [_unknown_expectation(check.expectation, known)]
    options = options_of(check)
    found = [*_unknown_options(check, options), *_wrong_options(check, options)]
    found += ["a $ref of json_schema must begin with #"] if _refers_elsewhere(check.kwargs) else []
    found = found or [*_empty_comparisons(check, options)]
    found = found or [*_not_evaluable(check, fails)]
    return [f"{check.expectation}: {problem}" for problem in found]


def _unknown_expectation(name: str, known: Iterable[str]) -> str:
    snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return (
        f"Great Expectations has no expectation {one_line(name)}{did_you_mean(snake_case, known)}"
    )


def _unknown_options(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    for name in check.kwargs:
        if name not in options:
            nearest = did_you_mean(name, options)
            yield f"there is no option {one_line(name)}{nearest}, only {', '.join(options)}"


def _wrong_options(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    if not _is_condition(check.kwargs):
        yield CONDITION_HELP
        return
    findings = objections(check)
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
    readable = isinstance(condition, str) and CONDITION.fullmatch(condition)
    return bool(readable) and parser in (None, "great_expectations")


def _wrong_option(name: str, value: object, findings: Sequence[Mapping[str, Any]]) -> str:
    if findings[0]["type"] == "value_error.missing":
        return f"the option {name} is missing"
    if findings[0]["type"] == "value_error":
        return one_line(findings[0]["msg"].rstrip("."))
    known = [finding for finding in findings if finding["type"] in _WANTED]
    words = [_WANTED[f["type"]].format(**f.get("ctx", {})) for f in known]
    expected = " or ".join(dict.fromkeys(words)) or "of another kind"
    return f"{name} must be {expected}, got {_CAME.get(type(value), value)}"


def _parameters(check: Check) -> Iterator[str]:
    for name, value in check.kwargs.items():
        if isinstance(value, dict) and "$PARAMETER" in value:
            yield f"{name} is a parameter of the suite, which a job cannot give; write its value"


def _empty_comparisons(check: Check, options: Mapping[str, Any]) -> Iterator[str]:
    needed = [name for name in _COMPARED_WITH if name in options and not options[name].required]
    if needed and all(check.kwargs.get(name, options[name].default) is None for name in needed):
        yield f"without {' or '.join(needed)} it would check nothing"
    least, most = check.kwargs.get("min_value"), check.kwargs.get("max_value")
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        yield "min_value is above max_value, so nothing can pass"


def _not_evaluable(check: Check, fails: _Trial) -> Iterator[str]:
    """Try a check on small tables: what fails on numbers, text and times fails on every table."""
    if not is_of_great_expectations(check):
        return  # one's own expectation may rely on more than the columns that it names
    # Without its row_condition, which may compare a column of another type.
    kwargs = {k: value for k, value in check.kwargs.items() if k not in CONDITION_OPTIONS}
    every_row = check.model_copy(update={"kwargs": kwargs})
    failures = []
    for frame in _small_tables(every_row):
        failure = fails(frame, every_row)
        if failure is None:
            return
        failures.append(failure)
    if "PandasExecutionEngine" in failures[0]:
        yield "it works on tables in a database only, not on files"
    else:
        yield f"it cannot be evaluated with these options: {one_line(failures[0])}"


def _small_tables(check: Check) -> Iterator[pd.DataFrame]:
    times = pd.to_datetime(["2024-01-01", "2025-01-01"])
    days = [time.date() for time in times]
    for cells in ([0.0, 1.0], ["2024", "2025"], times, times.tz_localize("UTC"), days):
        yield pd.DataFrame(dict.fromkeys(domain_of(check), cells))
