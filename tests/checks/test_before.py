"""What is wrong with a check is known before a table is read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from job_checks import BETWEEN, NOT_NULL, carried_out, check, every_expectation, job

from em_impute.checks import check_columns, check_rows, columns_needed, verify_checks
from em_impute.job import Check, Imputation, JobError, load_job

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


def test_only_checks_of_the_output_name_columns_that_filling_adds() -> None:
    unique = check("expect_compound_columns_to_be_unique", column_list=["Day", "imputation"])
    check_columns(job(after=[unique]), ["Ozone", "Day"], ["imputation"])
    with pytest.raises(JobError, match="the table has no column imputation, only Ozone, Day"):
        check_columns(job(unique), ["Ozone", "Day"], ["imputation"])


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


def test_imputations_count_among_the_rows_of_the_output() -> None:
    several = job(after=[check("expect_column_sum_to_be_between", column="x", min_value=1)])
    several = several.model_copy(update={"imputation": Imputation(method="multiple", draws=5)})
    check_rows(several, 400_000)
    with pytest.raises(JobError, match="of the table's 2,500,000 rows"):
        check_rows(several, 500_000)


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
        f"checks.input.1: {made.expectation}: this is about all rows together, but only a sample "
        "of checks.max_rows (2,000,000) of the table's 10,000,000 rows is checked; raise "
        "checks.max_rows, or leave the check out"
    )
