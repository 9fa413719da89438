"""What a check is about: the columns that must be there for it."""

from __future__ import annotations

import pytest
from job_checks import NOT_NULL, check

from em_impute.checks import columns_needed
from em_impute.job import Check


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
