"""The job's own checks on a table, by Great Expectations."""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from job_checks import (
    BETWEEN,
    NOT_NULL,
    OBSERVED_SHARE,
    SENTINELS,
    carried_out,
    check,
    every_expectation,
    holds_sentinel,
    job,
)
from pyarrow import csv

from em_impute.checks import (
    check_input,
    check_output,
    check_preconditions,
    check_rows,
    columns_needed,
    verify_checks,
)
from em_impute.job import Check, Checks, JobError, Severity

AIRQUALITY = Path(__file__).parents[1] / "reference" / "airquality.csv"


@pytest.fixture(scope="module")
def airquality() -> pd.DataFrame:
    options = csv.ConvertOptions(null_values=["NA", ""])
    frame: pd.DataFrame = csv.read_csv(AIRQUALITY, convert_options=options).to_pandas()
    return frame


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
    before = check_preconditions(2, [], [])
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


def test_rows_of_a_condition_are_counted_in_the_table() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    kind, above = "expect_table_row_count_to_equal", 'col("x") > 1'
    asked = check(kind, value=2, row_condition=above)
    assert columns_needed([asked], ["x", "y"]) == ["x", "y"]
    [found] = check_input(frame, [asked], ()).results
    assert (found.success, found.observed) == (True, "2 rows")
    with pytest.raises(JobError, match="about all rows together"):
        check_rows(job(asked).model_copy(update={"checks": Checks(input=[asked], max_rows=2)}), 3)


def test_a_sample_is_said_to_be_one() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    checked = check_output(frame, [check(NOT_NULL, column="x")], (), rows=10_000_000)
    assert checked.note == (
        "Great Expectations saw a sample of 3 of the 10,000,000 rows of the output "
        "(checks.max_rows). Counts of rows and em_impute's own checks are about all rows."
    )
    assert checked.to_dict()["note"] == checked.note
    assert check_input(frame, [check(NOT_NULL, column="x")], (), rows=3).note == ""
    assert check_input(pd.DataFrame(), [], (), rows=10).note == ""
