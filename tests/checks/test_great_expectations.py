"""The checks of a table: the job's own by Great Expectations, preconditions, invariants."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from em_impute.checks import (
    Checked,
    CheckResult,
    check_columns,
    check_input,
    check_invariants,
    check_output,
    check_rows,
    columns_needed,
    preconditions,
    verify_checks,
)
from em_impute.job import Check, Checks, Job, JobError, Severity, load_job

AIRQUALITY = Path(__file__).parents[1] / "reference" / "airquality.csv"

BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"
OBSERVED_SHARE = "expect_column_proportion_of_non_null_values_to_be_between"


def check(expectation: str, severity: Severity = "critical", **kwargs: Any) -> Check:
    return Check(expectation=expectation, kwargs=kwargs, severity=severity)


def job(*before: Check, after: Sequence[Check] = ()) -> Job:
    return Job.model_validate(
        {
            "name": "test",
            "source": {"path": "table.csv"},
            "target": {"path": "filled.csv"},
            "checks": Checks(input=before, output=tuple(after)),
        }
    )


def result(
    success: bool = False, severity: Severity = "critical", expected: str = "Temp at least 0"
) -> CheckResult:
    observed = "3 of 153 rows unexpected (2.0%)"
    return CheckResult(BETWEEN, "Temp", expected, severity, success, observed, "great_expectations")


def carried_out(frame: pd.DataFrame, *checks: Check) -> list[CheckResult]:
    return list(check_input(frame, checks, ()).results)


@pytest.fixture(scope="module")
def airquality() -> pd.DataFrame:
    options = csv.ConvertOptions(null_values=["NA", ""])
    frame: pd.DataFrame = csv.read_csv(AIRQUALITY, convert_options=options).to_pandas()
    return frame


# --- The verdict -------------------------------------------------------------------------------


def test_nothing_is_refused_without_a_critical_failure() -> None:
    checked = Checked((result(True), result(severity="warning"), result(severity="info")))
    assert checked.refusal is None


def test_refusal_names_the_critical_failures() -> None:
    checked = Checked((result(), result(severity="warning"), result(expected="Wind above 1")))
    assert checked.refusal == (
        "2 critical checks failed on the input: "
        "Temp at least 0 (3 of 153 rows unexpected); Wind above 1 (3 of 153 rows unexpected)."
    )


def test_refusal_of_one_check_of_the_output_is_in_the_singular() -> None:
    refusal = Checked((result(),), "output").refusal
    assert refusal is not None
    assert "1 critical check failed on the output: Temp" in refusal


def test_refusal_counts_the_failures_that_it_does_not_name() -> None:
    refusal = Checked((result(),) * 500).refusal
    assert refusal is not None
    assert "500 critical checks" in refusal
    assert refusal.endswith("; and 497 more.")
    assert len(refusal) < 700


def test_only_warnings_are_in_the_warnings() -> None:
    checked = Checked((result(), result(severity="warning"), result(severity="info")))
    assert checked.warnings == (
        "Not met on the input: Temp at least 0 (3 of 153 rows unexpected).",
    )
    assert checked.failed("info") == (checked.results[2],)


def test_verdict_survives_json() -> None:
    checked = Checked((result(), result(True, "info")), "output")
    text = json.dumps(checked.to_dict(), allow_nan=False)
    assert Checked.from_dict(json.loads(text)) == checked


# --- Before the table is read ------------------------------------------------------------------

MISTAKES = {
    "unknown expectation": (
        check("expect_column_values_to_be_betwen", column="x"),
        "no expectation expect_column_values_to_be_betwen "
        "(did you mean expect_column_values_to_be_between?)",
    ),
    "class name": (
        check("ExpectColumnValuesToNotBeNull", column="x"),
        "(did you mean expect_column_values_to_not_be_null?)",
    ),
    "nothing like it": (check("Temp > 0"), "no expectation Temp > 0"),
    "unknown option": (
        check(BETWEEN, column="x", min_valeu=3),
        "there is no option min_valeu (did you mean min_value?), only column,",
    ),
    "bookkeeping": (
        check(NOT_NULL, column="x", result_format="COMPLETE"),
        "there is no option result_format, only column,",
    ),
    "missing option": (check(NOT_NULL), "the option column is missing"),
    "share above one": (
        check(NOT_NULL, column="x", mostly=1.5),
        "mostly must be at most 1, got 1.5",
    ),
    "text for a number": (
        check(BETWEEN, column="x", min_value="abc"),
        "min_value must be a number or a date or a time, got text",
    ),
    "number for a name": (check(NOT_NULL, column=5), "column must be text, got 5"),
    "text for a list": (
        check("expect_column_values_to_be_in_set", column="x", value_set="abc"),
        "value_set must be a list, got text",
    ),
    "nothing": (
        check("expect_column_values_to_be_in_set", column="x", value_set=None),
        "value_set must be given a value, got nothing",
    ),
    "unknown choice": (
        check("expect_column_values_to_not_be_outliers", column="x", method="guess"),
        "method must be one of ('iqr', 'std'), got text",
    ),
    "too short a list": (
        check("expect_compound_columns_to_be_unique", column_list=["x"]),
        "column_list must contain at least two columns",
    ),
    "parameter from outside": (
        check(BETWEEN, column="x", min_value={"$PARAMETER": "low"}),
        "min_value must not be a mapping",
    ),
    "no bound": (
        check("expect_column_mean_to_be_between", column="x"),
        "without min_value or max_value it would check nothing",
    ),
    "no types": (
        check("expect_column_values_to_be_in_type_list", column="x"),
        "without type_list it would check nothing",
    ),
    "bounds the wrong way round": (
        check(BETWEEN, column="x", min_value=5, max_value=1),
        "min_value is above max_value",
    ),
    "no regular expression": (
        check("expect_column_values_to_match_regex", column="x", regex="("),
        "cannot be evaluated with these options: Invalid regular expression",
    ),
    "half a range": (
        check(
            "expect_column_quantile_values_to_be_between",
            column="x",
            quantile_ranges={"quantiles": [0.5]},
        ),
        "cannot be evaluated with these options: 'value_ranges'",
    ),
    "for databases": (
        check("expect_column_values_to_match_like_pattern", column="x", like_pattern="a%"),
        "it works on tables in a database only, not on files",
    ),
    "other table": (
        check("expect_table_row_count_to_equal_other_table", other_table_name="t"),
        "it works on tables in a database only, not on files",
    ),
    "condition in other words": (
        check(NOT_NULL, column="x", row_condition="Month > 5"),
        'row_condition must be one comparison such as col("Month") > 5',
    ),
    "condition as code": (
        check(NOT_NULL, column="x", row_condition="@pd.io", condition_parser="pandas"),
        "row_condition must be one comparison",
    ),
    "condition for another program": (
        check(NOT_NULL, column="x", row_condition='col("x") > 5', condition_parser="spark"),
        "row_condition must be one comparison",
    ),
    "condition that GX cannot read": (
        check(NOT_NULL, column="x", row_condition='col("x") == "日本"'),
        "row_condition must be one comparison",
    ),
    "list for a switch": (
        check(BETWEEN, column="x", min_value=1, strict_min=["yes"]),
        "strict_min must be true or false, got a list",
    ),
    "mapping for a text": (
        check(NOT_NULL, column="x", description={}),
        "description must be text, got a mapping",
    ),
    "schema in the network": (
        check(
            "expect_column_values_to_match_json_schema",
            column="x",
            json_schema={"$ref": "file:///etc/passwd"},
        ),
        "a $ref of json_schema must begin with #",
    ),
    "schema in the network, deep inside": (
        check(
            "expect_column_values_to_match_json_schema",
            column="x",
            json_schema={"anyOf": [{"properties": {"a": {"$dynamicRef": "//example.org/x"}}}]},
        ),
        "a $ref of json_schema must begin with #",
    ),
    "a list of no use to GX": (
        check(
            "expect_column_kl_divergence_to_be_less_than",
            column="x",
            partition_object={},
            threshold=1,
        ),
        "it cannot be evaluated with these options",
    ),
    "condition half of which would be ignored": (
        check(NOT_NULL, column="x", row_condition='col("x") > 5 and col("y") < 3'),
        "row_condition must be one comparison",
    ),
    "condition with code in its column": (
        check(NOT_NULL, column="x", row_condition='col("a` or @pd.io or `b") > 5'),
        "row_condition must be one comparison",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_in_a_check_is_told(wrong: Check, message: str) -> None:
    with pytest.raises(JobError) as refused:
        verify_checks(job(wrong))
    told = str(refused.value)
    assert told.startswith("checks.input.0: ")
    assert message in told
    assert "\n" not in told
    assert "http" not in told
    assert "pydantic" not in told


def test_all_mistakes_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "name: t\n"
        "source: {path: a.csv}\n"
        "target: {path: b.csv}\n"
        "checks:\n"
        "  input:\n"
        "    - {expect_nothing: {column: x}}\n"
        "    - {expect_column_values_to_not_be_null: {column: x}}\n"
        "    - {expect_column_values_to_not_be_null: {mostly: 2, colunm: x}}\n"
        "  output:\n"
        "    - {expect_column_values_to_be_between: {column: x}}\n"
    )
    with pytest.raises(JobError) as refused:
        verify_checks(load_job(path))
    lines = [problem.place.split(":")[-2] for problem in refused.value.problems]
    assert lines == ["6", "8", "8", "8", "10"]


OPTIONS: dict[str, Any] = {
    "column": "x",
    "column_A": "x",
    "column_B": "y",
    "column_list": ["x", "y"],
    "column_set": ["x", "y"],
    "double_sided": True,
    "json_schema": {"type": "object"},
    "min_value": 1,
    "partition_object": {"bins": [0, 1, 2], "weights": [0.5, 0.5]},
    "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, None]]},
    "regex": "^a",
    "regex_list": ["^a"],
    "strftime_format": "%d.%m.%Y",
    "sum_total": 1,
    "threshold": 3,
    "type_": "float64",
    "type_list": ["float64"],
    "value": 1,
    "value_pairs_set": [[1, 2]],
    "value_set": [1.0],
}


def every_expectation() -> list[Check]:
    """All that GX knows for tables in memory, with options that make sense."""
    from great_expectations.expectations import core
    from great_expectations.expectations.expectation import Expectation

    expectations = [e for e in vars(core).values() if isinstance(e, type)]
    fields = {e.expectation_type: e.__fields__ for e in expectations if issubclass(e, Expectation)}
    return [
        check(name, **{option: OPTIONS[option] for option in OPTIONS if option in fields[name]})
        for name in sorted(fields)
        if name.startswith("expect_")
        and not any(word in name for word in ("like_pattern", "query", "other_table", "unexpected"))
        and fields[name].keys() & OPTIONS.keys()
    ]


def test_every_expectation_on_tables_in_memory_is_accepted() -> None:
    checks = every_expectation()
    assert len(checks) > 40
    verify_checks(job(*checks))


@pytest.mark.parametrize(
    "right",
    [
        check(BETWEEN, column="day", min_value="2024-01-01"),
        check(BETWEEN, column="time", min_value="2024-01-01T00:00:00"),
        check(BETWEEN, column="time", min_value="2024-01-01T00:00:00Z"),
        check(BETWEEN, column="x", min_value=1, row_condition='col("Solar.R") >= -5.5e2'),
        check(BETWEEN, column="x", min_value=1, row_condition='col("Species") == "Adelie"'),
        check(BETWEEN, column="x", min_value=1, description="sensible", notes="as agreed"),
    ],
)
def test_check_of_days_times_and_conditions_is_accepted(right: Check) -> None:
    verify_checks(job(after=[right]))


def test_own_expectation_can_be_used_by_its_name() -> None:
    import great_expectations.expectations as gxe

    class ExpectTempToBeCelsius(gxe.ExpectColumnValuesToBeBetween):
        column: str = "Temp"
        min_value: float = -90
        max_value: float = 60

    own = check("expect_temp_to_be_celsius")
    verify_checks(job(own))
    assert columns_needed([own], ["Temp", "Wind"]) == ["Temp", "Wind"]
    [found] = carried_out(pd.DataFrame({"Temp": [20.0, 100.0]}), own)
    assert (found.success, found.observed) == (False, "1 of 2 rows unexpected (50.0%)")


def test_column_that_the_table_lacks_is_told_with_the_nearest() -> None:
    checks = [
        check(NOT_NULL, column="Ozon"),
        check("expect_compound_columns_to_be_unique", column_list=["Wind", "Dya"]),
        check(NOT_NULL, column="Wind", row_condition='col("month") > 5'),
        check("expect_column_to_exist", column="Humidity"),
        check("expect_table_columns_to_match_set", column_set=["Humidity"]),
    ]
    with pytest.raises(JobError) as refused:
        check_columns(job(*checks, after=checks[:1]), ["Ozone", "Wind", "Month", "Day"])
    assert [str(problem).partition(": ")[2] for problem in refused.value.problems] == [
        f"{check.expectation}: the table has no column {missing}, only Ozone, Wind, Month, Day"
        for check, missing in (
            (checks[0], "Ozon (did you mean Ozone?)"),
            (checks[1], "Dya (did you mean Day?)"),
            (checks[2], "month (did you mean Month?)"),
            (checks[0], "Ozon (did you mean Ozone?)"),
        )
    ]


@pytest.mark.parametrize(
    ("checks", "needed"),
    [
        ([], []),
        ([check(NOT_NULL, column="c"), check(NOT_NULL, column="a")], ["a", "c"]),
        ([check(NOT_NULL, column="c", row_condition='col("b") > 1')], ["b", "c"]),
        ([check("expect_column_pair_values_to_be_equal", column_A="a", column_B="c")], ["a", "c"]),
        (
            [check("expect_multicolumn_sum_to_equal", column_list=["a", "b"], sum_total=1)],
            ["a", "b"],
        ),
        ([check("expect_column_values_to_suit", column="a", other="d")], ["a", "d"]),
        ([check("expect_column_to_exist", column="z")], []),
        ([check("expect_column_to_exist", column="a", column_index=0)], ["a", "b", "c", "d"]),
        ([check("expect_table_row_count_to_equal", value=3)], []),
        ([check("expect_table_column_count_to_equal", value=3)], ["a", "b", "c", "d"]),
        ([check("expect_the_best")], ["a", "b", "c", "d"]),
    ],
)
def test_only_the_columns_that_are_needed_are_asked_for(
    checks: list[Check], needed: list[str]
) -> None:
    assert columns_needed(checks, ["a", "b", "c", "d"]) == needed


def test_great_expectations_is_not_imported_without_checks() -> None:
    program = """
import sys
import pandas as pd
from em_impute.job import Job
from em_impute.checks import check_input, check_output, verify_checks
verify_checks(Job(name="t", source={"path": "a.csv"}, target={"path": "b.csv"}))
assert check_input(pd.DataFrame(), (), ()).results == ()
assert check_output(pd.DataFrame(), (), ()).refusal is None
print("great_expectations" in sys.modules)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


# --- The job's checks on a table ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected", "observed", "success"),
    [
        (
            check(NOT_NULL, column="Ozone"),
            "Ozone observed",
            "37 of 153 rows unexpected (24.2%)",
            False,
        ),
        (
            check(NOT_NULL, column="Ozone", mostly=0.75),
            "Ozone observed in at least 75% of rows",
            "37 of 153 rows unexpected (24.2%)",
            True,
        ),
        (
            check(OBSERVED_SHARE, column="Ozone", min_value=0.5),
            "at least 50% of Ozone observed",
            "75.8% observed",
            True,
        ),
        (
            check(BETWEEN, column="Temp", min_value=-60, max_value=90),
            "Temp between -60 and 90",
            "14 of 153 rows unexpected (9.2%)",
            False,
        ),
        (
            check(BETWEEN, column="Ozone", max_value=100, strict_max=True),
            "Ozone below 100",
            "7 of 116 rows unexpected (6.0%), 37 missing",
            False,
        ),
        (
            check(BETWEEN, column="Ozone", min_value=0, row_condition='col("Solar.R").notnull()'),
            'Ozone at least 0 where col("Solar.R").notnull()',
            "0 of 111 rows unexpected (0.0%), 35 missing",
            True,
        ),
        (
            check("expect_column_mean_to_be_between", column="Temp", min_value=70, max_value=80),
            "Temp: mean between 70 and 80",
            "mean 77.8824",
            True,
        ),
        (
            check("expect_column_median_to_be_between", column="Temp", max_value=70),
            "Temp: median at most 70",
            "median 79",
            False,
        ),
        (
            check("expect_column_max_to_be_between", column="Temp", max_value=90),
            "Temp: max at most 90",
            "failed",
            False,
        ),
        (
            check("expect_column_values_to_be_in_set", column="Temp", value_set=[67, 72]),
            "Temp: values in set 67, 72",
            "146 of 153 rows unexpected (95.4%)",
            False,
        ),
        (
            check("expect_column_values_to_be_increasing", column="Temp", strictly=True),
            "Temp: values increasing (strictly)",
            "82 of 153 rows unexpected (53.6%)",
            False,
        ),
        (
            check(
                "expect_column_pair_values_a_to_be_greater_than_b", column_A="Temp", column_B="Wind"
            ),
            "Temp, Wind: pair values a greater than b",
            "0 of 153 rows unexpected (0.0%)",
            True,
        ),
        (
            check("expect_table_row_count_to_equal", value=150),
            "table row count equal 150",
            "153 rows",
            False,
        ),
        (check("expect_column_to_exist", column="Humidity"), "Humidity exists", "failed", False),
        (
            check(BETWEEN, column="Temp", min_value=0, description="No frost"),
            "No frost",
            "0 of 153 rows unexpected (0.0%)",
            True,
        ),
    ],
    ids=lambda value: value.expectation if isinstance(value, Check) else "",
)
def test_check_on_real_data(
    airquality: pd.DataFrame, made: Check, expected: str, observed: str, success: bool
) -> None:
    [found] = carried_out(airquality, made)
    assert (found.expected, found.observed, found.success) == (expected, observed, success)
    assert found.source == "great_expectations"
    assert found.name == made.expectation


def test_results_come_in_the_order_of_the_checks_with_their_severities() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    checks = [
        check(BETWEEN, "warning", column="x", min_value=2),
        check(BETWEEN, "critical", column="x", min_value=0),
        check(BETWEEN, "warning", column="x", min_value=2),
        check(NOT_NULL, "info", column="x"),
    ]
    before = preconditions(2, [], [])
    checked = check_output(frame, checks, before)
    assert checked.results[: len(before)] == before
    found = checked.results[len(before) :]
    assert [(r.severity, r.success) for r in found] == [
        ("warning", False),
        ("critical", True),
        ("warning", False),
        ("info", True),
    ]
    assert checked.stage == "output"
    assert checked.refusal is None


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_only_a_critical_failure_refuses(severity: Severity) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    checked = check_input(frame, [check(BETWEEN, severity, column="x", min_value=2)], ())
    assert (checked.refusal is not None) == (severity == "critical")
    assert len(checked.warnings) == (severity == "warning")


TEXT = pd.DataFrame({"x": ["1", "b", None]})


@pytest.mark.parametrize(
    ("frame", "made", "observed"),
    [
        (TEXT, check(BETWEEN, column="x", min_value=0), "on a column of type str: TypeError"),
        (TEXT, check("expect_column_max_to_be_between", column="x", min_value=0), "TypeError"),
        (TEXT, check("expect_column_mean_to_be_between", column="x", min_value=0), "TypeError"),
        (TEXT, check(BETWEEN, column="absent", min_value=0), "could not be evaluated: "),
        (TEXT, check("expect_nothing_known", column="x"), "ExpectationNotFoundError"),
        (TEXT, check(BETWEEN, column="x", min_value="no"), "ValidationError"),
        (
            TEXT,
            check("expect_column_values_to_match_like_pattern", column="x", like_pattern="a"),
            "could not be evaluated on a column of type str: ",
        ),
    ],
)
def test_check_that_cannot_be_evaluated_has_failed(
    frame: pd.DataFrame, made: Check, observed: str
) -> None:
    """Whichever of its shapes GX gives its exceptions, and even if it raises them."""
    [found] = carried_out(frame, made)
    assert not found.success
    assert found.observed.startswith("could not be evaluated")
    assert observed in found.observed


def test_text_of_pandas_3_can_be_checked() -> None:
    frame = pa.table({"s": ["Adelie", "Gentoo", None]}).to_pandas()
    found = carried_out(
        frame,
        check("expect_column_values_to_be_in_set", column="s", value_set=["Adelie"]),
        check("expect_column_values_to_match_regex", column="s", regex="^[AG]"),
        check("expect_column_values_to_be_of_type", column="s", type_="str"),
    )
    assert [(r.success, r.observed) for r in found] == [
        (False, "1 of 2 rows unexpected (50.0%), 1 missing"),
        (True, "0 of 2 rows unexpected (0.0%), 1 missing"),
        (True, "passed"),
    ]


@pytest.mark.parametrize(
    ("cells", "observed"), [([math.nan] * 3, "no row to judge, 3 missing"), ([], "no row to judge")]
)
def test_column_without_observed_cells_is_not_said_to_be_good(
    cells: list[float], observed: str
) -> None:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype="float64")})
    checks = (
        check(BETWEEN, column="x", min_value=0),
        check("expect_column_mean_to_be_between", column="x", min_value=0),
    )
    assert [r.observed for r in carried_out(frame, *checks)] == [
        observed,
        "nothing to compute it from",
    ]


def test_infinite_mean_is_no_number_in_the_result() -> None:
    frame = pd.DataFrame({"x": [1.0, math.inf, 2.0]})
    [found] = carried_out(frame, check("expect_column_mean_to_be_between", column="x", min_value=0))
    assert found.observed == "nothing to compute it from"


SENTINELS = (987_654_321.125, "kQ7-sentinel")


def holds_sentinel(text: str) -> bool:
    return any(part in text for part in ("987654321", "987654e", "9.87654e", "kQ7", "sentinel"))


@pytest.mark.parametrize("sentinel", SENTINELS, ids=["number", "text"])
def test_no_value_of_the_data_is_in_any_result(sentinel: float | str) -> None:
    """Neither of one that passes, nor of one that fails, nor of one that cannot be evaluated."""
    others = [1.0, 2.0] if isinstance(sentinel, float) else ["a", "b"]
    frame = pd.DataFrame({"x": [*others, sentinel, None], "y": [sentinel, *others, sentinel]})
    checks = [
        made
        for made in every_expectation()
        if not any(word in made.expectation for word in ("mean", "median", "sum", "stdev"))
    ]
    checked = check_input(frame, checks, ())
    assert len(checked.results) == len(checks)
    assert any(r.success for r in checked.results)
    assert any("could not be evaluated" in r.observed for r in checked.results)
    assert not holds_sentinel(json.dumps(checked.to_dict(), allow_nan=False))
    assert not holds_sentinel(f"{checked.refusal} {checked.warnings}")


def test_name_of_a_column_cannot_break_the_line() -> None:
    name = "a\x1b[31m\nb" + "c" * 1000
    [found] = carried_out(pd.DataFrame({name: [1.0]}), check(NOT_NULL, column=name))
    assert found.column == name
    assert found.expected.isprintable()
    assert len(found.expected) <= 160


def test_great_expectations_is_quiet_and_leaves_the_loggers_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    loggers = [logging.getLogger(), logging.getLogger("great_expectations")]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    caplog.set_level(logging.DEBUG)
    conditional = check(NOT_NULL, column="x", row_condition='col("x") > 0')
    verify_checks(job(conditional))
    carried_out(
        pd.DataFrame({"x": ["1", "2"]}), check(BETWEEN, column="x", min_value=0), conditional
    )
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("great")] == []
    after = [(one.propagate, list(one.handlers)) for one in loggers]
    assert after == [state[1:] for state in before]


@pytest.mark.filterwarnings("error")
def test_great_expectations_warns_of_nothing_that_the_user_can_change() -> None:
    frame = pd.DataFrame({"x": [math.inf, -math.inf]})
    [found] = carried_out(frame, check("expect_column_sum_to_be_between", column="x", min_value=0))
    assert found.observed == "nothing to compute it from"


def test_great_expectations_prints_nothing_and_sends_nothing_from_a_plain_process() -> None:
    """Where no logger has a handler, Python itself prints warnings to stderr."""
    program = """
import logging, os
import pandas as pd
from em_impute.job import Check
from em_impute.checks import check_input
frame = pd.DataFrame({"x": [1.0]})
[first] = check_input(frame, [Check(expectation="expect_noise")], ()).results
from great_expectations.expectations import ExpectColumnValuesToNotBeNull
class ExpectNoise(ExpectColumnValuesToNotBeNull):
    def _validate(self, *args, **kwargs):
        logging.getLogger("great_expectations.noise").warning("noise")
        return super()._validate(*args, **kwargs)
noise = Check(expectation="expect_noise", kwargs={"column": "x"})
[second] = check_input(frame, [noise], ()).results
print(first.success, second.success, os.environ["GX_ANALYTICS_ENABLED"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "GX_ANALYTICS_ENABLED"}
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert answer.stdout.split() == ["False", "True", "false"]
    assert answer.stderr == ""


def test_frame_is_forgotten_after_its_checks() -> None:
    frame = pd.DataFrame({"x": [1.0]})
    carried_out(frame, check(NOT_NULL, column="x"))
    alive = weakref.ref(frame)
    del frame
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("options", "success"),
    [
        ({"value": 10_000_000}, True),
        ({"value": 3}, False),
        ({"min_value": 10_000_000, "max_value": 10_000_000}, True),
        ({"min_value": 10_000_000, "strict_min": True}, False),
        ({"max_value": 10_000_000, "strict_max": True}, False),
        ({"max_value": 10_000_001, "strict_max": True}, True),
        ({"min_value": 10_000_001}, False),
    ],
)
def test_rows_are_counted_where_a_sample_is_seen(options: dict[str, Any], success: bool) -> None:
    kind = "to_equal" if "value" in options else "to_be_between"
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    counted = check(f"expect_table_row_count_{kind}", **options)
    [found] = check_input(frame, [counted], (), rows=10_000_000).results
    assert (found.success, found.observed) == (success, "10000000 rows")


def test_a_sample_is_said_to_be_one() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    checked = check_output(frame, [check(NOT_NULL, column="x")], (), rows=10_000_000)
    assert checked.note == (
        "Great Expectations saw a sample of 3 of the 10,000,000 rows of the output "
        "(checks.max_rows): the job's checks are about the sample, but for counts of rows, which "
        "are about all rows, as em_impute's own checks are."
    )
    assert Checked.from_dict(checked.to_dict()) == checked
    assert check_input(frame, [check(NOT_NULL, column="x")], (), rows=3).note == ""
    assert check_input(pd.DataFrame(), [], (), rows=10).note == ""


@pytest.mark.parametrize(
    "made",
    [
        check("expect_column_values_to_be_unique", column="x"),
        check("expect_compound_columns_to_be_unique", column_list=["x", "y"]),
        check("expect_column_sum_to_be_between", column="x", min_value=1),
    ],
)
def test_a_check_of_all_rows_together_is_refused_on_a_sample(made: Check) -> None:
    loaded = job(check(NOT_NULL, column="x"), made)
    check_rows(loaded, 2_000_000)
    with pytest.raises(JobError) as caught:
        check_rows(loaded, 10_000_000)
    assert str(caught.value) == (
        f"checks.input.1: {made.expectation}: this is about all rows together, and of the table's "
        "10,000,000 only a sample of checks.max_rows (2,000,000) is checked; raise "
        "checks.max_rows, or leave the check out"
    )


# --- Preconditions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    name: str
    missing: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    constant: bool = False


def failures(
    rows: int, *profiles: Profile, model: Sequence[str] = ("a", "b")
) -> list[tuple[str, str | None, str, str]]:
    found = preconditions(rows, profiles, model)
    assert {one.source for one in found} == {"precondition"}
    return [(r.name, r.column, r.severity, r.observed) for r in found if not r.success]


def test_ordinary_table_meets_all_preconditions() -> None:
    found = preconditions(10, [Profile("a", missing=9), Profile("b")], ["a", "b"])
    assert all(one.success for one in found)
    assert len(found) == 5


def test_empty_table_is_one_failure() -> None:
    found = failures(0, Profile("a"), Profile("b"))
    assert found == [("table_not_empty", None, "critical", "0 rows")]


def test_infinities_are_counted_and_the_first_is_located() -> None:
    [found] = failures(9, Profile("a", infinite=3, first_infinite_row=7), Profile("b"))
    assert found[:3] == ("no_infinities", "a", "critical")
    assert found[3].startswith("3 infinite cells, the first in row 7;")


def test_column_without_an_observed_cell_is_refused() -> None:
    [found] = failures(9, Profile("a", missing=9), Profile("b", missing=8))
    assert found[:3] == ("observed_cells", "a", "critical")


def test_constant_column_is_pointed_out() -> None:
    [found] = failures(9, Profile("a"), Profile("b", constant=True))
    assert found[:3] == ("not_constant", "b", "info")
    assert "filled with that value" in found[3]


@pytest.mark.parametrize(("rows", "pointed_out"), [(1, True), (2, True), (3, False)])
def test_too_few_rows_for_a_covariance_are_pointed_out(rows: int, pointed_out: bool) -> None:
    expected = ("more_rows_than_columns", None, "info", f"{rows} rows, 2 columns")
    assert failures(rows, Profile("a"), Profile("b")) == ([expected] if pointed_out else [])


def test_columns_outside_the_model_do_not_matter() -> None:
    odd = Profile("key", missing=9, infinite=2, first_infinite_row=1, constant=True)
    assert failures(9, Profile("a"), Profile("b"), odd) == []


def test_preconditions_name_their_column_in_the_refusal() -> None:
    checked = Checked(preconditions(9, [Profile("Ozone", missing=9)], ["Ozone"]))
    assert checked.refusal is not None
    assert "Ozone observed in some row (all cells missing" in checked.refusal


# --- Invariants --------------------------------------------------------------------------------

KEY, IMPUTED = ("day",), ("x", "n", "f")
SCHEMA = pa.schema(
    [
        ("day", pa.int32()),
        ("x", pa.float64()),
        ("n", pa.int64()),
        ("f", pa.float32()),
        ("s", pa.string()),
        ("w", pa.float64()),
        ("v", pa.list_(pa.float64())),
    ]
)
FILLED_SCHEMA = SCHEMA.set(2, pa.field("n", pa.float64()))
NAN = math.nan

BEFORE: dict[str, list[Any]] = {
    "day": [1, 2, 3, 4],
    "x": [1.5, None, NAN, -0.0],
    "n": [None, 2**53, -7, 0],
    "f": [0.25, None, None, 3.0],
    "s": ["a", None, "", "d"],
    "w": [NAN, None, 0.0, 1.0],
    "v": [[NAN, 1.0], None, [], [-0.0]],
}
AFTER = BEFORE | {
    "x": [1.5, 9.0, 8.0, -0.0],
    "n": [3.5, 2.0**53, -7.0, 0.0],
    "f": [0.25, 1.0, 2.0, 3.0],
}


def batches(
    columns: dict[str, list[Any]], schema: pa.Schema = FILLED_SCHEMA, size: int = 100
) -> list[pa.RecordBatch]:
    found: list[pa.RecordBatch] = pa.table(columns, schema).to_batches(max_chunksize=size)
    return found


def compare(after: Any, before: Any = None) -> dict[str, CheckResult]:
    before = batches(BEFORE, SCHEMA) if before is None else before
    found = check_invariants(iter(before), iter(after), IMPUTED, KEY)
    assert {(one.severity, one.source) for one in found} == {("critical", "invariant")}
    return {one.name: one for one in found}


def broken(after: Any, before: Any = None) -> dict[str, str]:
    return {name: one.observed for name, one in compare(after, before).items() if not one.success}


def with_cell(column: str, row: int, value: Any) -> dict[str, list[Any]]:
    """The filled table with one cell changed; rows are counted from 1."""
    cells = list(AFTER[column])
    cells[row - 1] = value
    return AFTER | {column: cells}


@pytest.mark.parametrize("size_before", [1, 3, 100])
@pytest.mark.parametrize("size_after", [1, 2, 100])
def test_invariants_hold_for_any_batches(size_before: int, size_after: int) -> None:
    found = compare(batches(AFTER, size=size_after), batches(BEFORE, SCHEMA, size_before))
    assert len(found) == 7
    assert {one.observed for one in found.values() if one.success} == {"4 rows compared"}
    assert all(one.success for one in found.values())


CHANGES = {
    "key": (("day", 3, 5), {"same_keys": "not so in row 3, column day"}),
    "key lost": (("day", 2, None), {"same_keys": "not so in row 2, column day"}),
    "observed": (
        ("x", 1, math.nextafter(1.5, 2)),
        {"observed_cells": "not so in row 1, column x"},
    ),
    "sign of zero": (("x", 4, 0.0), {"observed_cells": "not so in row 4, column x"}),
    "integer": (("n", 3, -7.5), {"observed_cells": "not so in row 3, column n"}),
    "float32": (("f", 4, 3.0000002), {"observed_cells": "not so in row 4, column f"}),
    "observed lost": (
        ("x", 1, None),
        {
            "observed_cells": "not so in row 1, column x",
            "no_missing_cell": "not so in row 1, column x",
        },
    ),
    "still missing": (("x", 2, None), {"no_missing_cell": "not so in row 2, column x"}),
    "NaN": (("f", 3, NAN), {"no_missing_cell": "not so in row 3, column f"}),
    "infinite": (("x", 3, math.inf), {"no_infinite_cell": "not so in row 3, column x"}),
    "text": (("s", 4, "e"), {"other_cells": "not so in row 4, column s"}),
    "empty text for none": (("s", 2, ""), {"other_cells": "not so in row 2, column s"}),
    "filled": (("w", 2, 0.0), {"other_cells": "not so in row 2, column w"}),
    "NaN for null": (("w", 2, NAN), {"other_cells": "not so in row 2, column w"}),
    "zero": (("w", 3, -0.0), {"other_cells": "not so in row 3, column w"}),
    "inside a list": (("v", 4, [0.0]), {"other_cells": "not so in row 4, column v"}),
}


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(("change", "found"), CHANGES.values(), ids=CHANGES.keys())
def test_changed_cell_is_located(
    change: tuple[str, int, Any], found: dict[str, str], size: int
) -> None:
    assert broken(batches(with_cell(*change), size=size)) == found


def test_first_of_several_breaks_is_named() -> None:
    after = with_cell("w", 3, 7.0) | {"s": ["a", "changed", "changed", "d"]}
    assert broken(batches(after)) == {"other_cells": "not so in row 2, column s"}


@pytest.mark.parametrize("observed", [2**53 + 1, 2**63 - 1])
def test_integer_that_a_double_cannot_hold_is_no_longer_that_integer(observed: int) -> None:
    before = batches(BEFORE | {"n": [1, 2, 3, observed]}, SCHEMA)
    after = batches(AFTER | {"n": [1.0, 2.0, 3.0, float(observed)]})
    assert broken(after, before) == {"observed_cells": "not so in row 4, column n"}


def test_imputed_integer_column_without_holes_may_stay_integer() -> None:
    cells = {"n": [1, 2, 3, 2**60 + 1]}
    assert broken(batches(AFTER | cells, SCHEMA), batches(BEFORE | cells, SCHEMA)) == {}


def drop_row(row: int) -> dict[str, list[Any]]:
    return {name: cells[: row - 1] + cells[row:] for name, cells in AFTER.items()}


def test_lost_row_is_told() -> None:
    found = broken(batches(drop_row(4)))
    assert found == {"same_rows": "4 rows before, 3 after"}
    assert set(broken(batches(drop_row(1)))) >= {"same_rows", "same_keys"}


def test_additional_rows_are_told() -> None:
    after = [*batches(AFTER), *batches(AFTER, size=2)]
    assert broken(after) == {"same_rows": "4 rows before, 8 after"}


def test_table_that_came_back_empty_is_told() -> None:
    assert "same_rows" in broken([])
    assert "same_rows" in broken(batches({name: [] for name in AFTER}))


def test_lost_added_moved_and_retyped_columns_are_told() -> None:
    table = pa.table(AFTER, FILLED_SCHEMA)
    names = table.column_names
    day_as_text = table.set_column(0, "day", table["day"].cast(pa.string()))
    tables = {
        "column w is not there any more": table.drop_columns("w"),
        "column extra has been added": table.append_column("extra", table["w"]),
        "they are in another order": table.select(names[::-1]),
        "column day was int32, is string": day_as_text,
        "column day was int32, is double": table.set_column(
            0, "day", table["day"].cast(pa.float64())
        ),
        "column f was float, is double": table.set_column(3, "f", table["f"].cast(pa.float64())),
        "column x was double, is string": table.set_column(1, "x", table["x"].cast(pa.string())),
    }
    for observed, after in tables.items():
        assert broken(after.to_batches()).get("same_columns") == observed
    assert "other_cells" in broken(tables["column w is not there any more"].to_batches())
    assert "same_keys" in broken(day_as_text.to_batches())
    assert "no_infinite_cell" in broken(tables["column x was double, is string"].to_batches())


def test_lost_or_retyped_column_is_not_taken_for_another() -> None:
    """Nor is one whose bits are the same."""
    before = pa.record_batch({"a": [1.0], "b": [1.0]})
    bits = pa.array([1.0]).view(pa.int64())
    for after in ({"b": [1.0]}, {"a": bits, "b": [1.0]}):
        found = check_invariants([before], [pa.record_batch(after)], (), ())
        told = {one.name: one.observed for one in found if not one.success}
        assert told["other_cells"] == "not so in row 1, column a"


def test_without_keys_and_imputed_columns_only_the_rest_is_compared() -> None:
    found = check_invariants(batches(AFTER), batches(AFTER), (), ())
    assert [one.name for one in found] == ["same_columns", "same_rows", "other_cells"]
    assert all(one.success for one in found)


def test_other_dictionary_of_the_same_values_is_no_change() -> None:
    old = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), ["a", "b"])
    new = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int32()), ["b", "a"])
    before, after = pa.record_batch({"c": old}), pa.record_batch({"c": new})
    assert all(one.success for one in check_invariants([before], [after], (), ()))


def test_other_nan_is_no_change() -> None:
    """The missing value of R is a NaN of its own, which does not survive a CSV file."""
    payload = np.array([0x7FF00000000007A2], np.uint64).view(np.float64)
    before, after = pa.record_batch({"c": payload}), pa.record_batch({"c": [NAN]})
    assert all(one.success for one in check_invariants([before], [after], (), ()))


def test_half_floats_are_compared_by_bits() -> None:
    before = pa.record_batch({"c": pa.array(np.array([1.0, -0.0], np.float16))})
    after = pa.record_batch({"c": pa.array(np.array([1.0, 0.0], np.float16))})
    assert all(one.success for one in check_invariants([before], [before], ("c",), ()))
    found = check_invariants([before], [after], ("c",), ())
    assert [one.observed for one in found if not one.success] == ["not so in row 2, column c"]


def test_file_that_cannot_be_read_to_its_end_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "staged.parquet"
    parquet.write_table(pa.table(AFTER, FILLED_SCHEMA), path)
    path.write_bytes(path.read_bytes()[:-100])

    def read() -> Iterator[pa.RecordBatch]:
        yield from parquet.ParquetFile(path).iter_batches()

    [(name, observed)] = broken(read()).items()
    assert name == "readable"
    assert observed.startswith("could not be read to its end: Arrow")


def test_no_value_of_the_data_is_in_the_invariants() -> None:
    number, text = SENTINELS
    changes = [("day", 1, 987_654_321), ("x", 1, number), ("s", 1, text), ("w", 4, number)]
    for change in changes:
        found = compare(batches(with_cell(*change)))
        assert not all(one.success for one in found.values())
        told = json.dumps([dataclasses.asdict(one) for one in found.values()])
        assert not holds_sentinel(told)


@st.composite
def filled_tables(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """A table with holes, and the same with its holes filled."""
    n = draw(st.integers(1, 12))
    doubles = st.floats(allow_infinity=False)
    singles = st.floats(width=32, allow_infinity=False)
    integers = st.integers(-(2**53), 2**53)
    cells: dict[str, st.SearchStrategy[Any]] = {
        "day": st.integers(-5, 5),
        "x": st.none() | doubles,
        "n": st.none() | integers,
        "f": st.none() | singles,
        "s": st.none() | st.text(max_size=3),
        "w": st.none() | st.floats(),
        "v": st.none() | st.lists(st.floats(), max_size=2),
    }
    before = {name: draw(st.lists(one, min_size=n, max_size=n)) for name, one in cells.items()}
    hole = draw(st.integers(-1000, 1000).map(float))
    filled = {
        name: [hole if c is None or c != c else float(c) for c in before[name]] for name in IMPUTED
    }
    return pa.table(before, SCHEMA), pa.table(before | filled, FILLED_SCHEMA)


sizes = st.integers(1, 13)


@settings(deadline=None, max_examples=50)
@given(filled_tables(), sizes, sizes)
def test_filling_holes_keeps_every_invariant(
    tables: tuple[pa.Table, pa.Table], size: int, other: int
) -> None:
    before, after = tables
    assert broken(after.to_batches(other), before.to_batches(size)) == {}


def other_than(cell: Any, data: st.DataObject, kind: pa.DataType) -> Any:
    """Another cell of that type: missing, if it was not, or with any one bit flipped."""
    if cell is None:
        return {pa.int32(): 1, pa.string(): "", pa.float64(): NAN}.get(kind, [])
    if data.draw(st.booleans(), "missing"):
        return None
    if pa.types.is_floating(kind):
        unsigned = {32: np.uint32, 64: np.uint64}[kind.bit_width]
        value = np.array([cell], kind.to_pandas_dtype())
        flipped = value.view(unsigned) ^ unsigned(
            1 << data.draw(st.integers(0, kind.bit_width - 1))
        )
        return flipped.view(value.dtype)[0] if value[0] == value[0] else 0.0
    if pa.types.is_integer(kind):
        return cell ^ (1 << data.draw(st.integers(0, 30)))
    return [*cell, 0.0] if pa.types.is_list(kind) else f"{cell}."


@settings(deadline=None, max_examples=200)
@given(filled_tables(), st.data(), sizes, sizes)
def test_any_changed_cell_that_was_observed_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], data: st.DataObject, size: int, other: int
) -> None:
    before, after = tables
    row = data.draw(st.integers(0, len(before) - 1))
    observed = [name for name in IMPUTED if (c := before[name][row].as_py()) is not None and c == c]
    column = data.draw(st.sampled_from([*KEY, "s", "w", "v", *observed]))
    cells = after[column].to_pylist()
    kind = after.schema.field(column).type
    cells[row] = other_than(cells[row], data, kind)
    if column == "n" and cells[row] == before["n"][row].as_py():
        return  # the sign of zero, which the integer did not have
    index = after.schema.get_field_index(column)
    changed = after.set_column(index, column, pa.chunked_array([pa.array(cells, kind)]))
    found = broken(changed.to_batches(other), before.to_batches(size))
    assert any(f"row {row + 1}, column {column}" in observed for observed in found.values())


@settings(deadline=None, max_examples=50)
@given(filled_tables(), st.data(), sizes, sizes)
def test_any_lost_repeated_or_moved_row_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], data: st.DataObject, size: int, other: int
) -> None:
    before, after = tables
    rows = list(range(len(after)))
    row, place = data.draw(st.sampled_from(rows)), data.draw(st.sampled_from(rows))
    lost = rows[:row] + rows[row + 1 :]
    moved = [*lost[:place], row, *lost[place:]]
    days = before["day"].to_pylist()
    for order in (lost, [*rows, row], moved):
        found = broken(
            after.take(pa.array(order, pa.int64())).to_batches(other), before.to_batches(size)
        )
        if [days[one] for one in order] != days:
            assert found


@settings(deadline=None, max_examples=50)
@given(filled_tables(), st.sampled_from(SCHEMA.names))
def test_any_lost_column_breaks_an_invariant(
    tables: tuple[pa.Table, pa.Table], column: str
) -> None:
    before, after = tables
    found = broken(after.drop_columns(column).to_batches(), before.to_batches())
    assert found["same_columns"] == f"column {column} is not there any more"
    assert len(found) > 1
