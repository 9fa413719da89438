"""Checks of a job for tests: made, carried out, one of every expectation that there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from em_impute.checks import CheckResult, check_input
from em_impute.job import Check, Checks, Job, Severity

BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"
OBSERVED_SHARE = "expect_column_proportion_of_non_null_values_to_be_between"
SENTINELS = (987_654_321.125, "kQ7-sentinel")


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


def carried_out(frame: pd.DataFrame, *checks: Check) -> list[CheckResult]:
    return list(check_input(frame, checks, ()).results)


def holds_sentinel(text: str) -> bool:
    return any(part in text for part in ("987654321", "987654e", "9.87654e", "kQ7", "sentinel"))


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
