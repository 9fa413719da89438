"""The checks of a job: each an expectation with its options."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints
from pydantic import ValidationError

from em_impute.job import Check

CHECK_EXPECTED = (
    "expected one expectation with its options, such as "
    "{expect_column_values_to_not_be_null: {column: Temp}}"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "checks: {before: []}",
            "4:10: checks.before: unknown key; allowed here: input, output, "
            "context, suite, checkpoint, results, max_rows",
        ),
        (
            "checks: {input: {expect_x: {}}}",
            "4:17: checks.input: expected a list, got a mapping",
        ),
        ("checks: {input: [expect_x]}", f"4:18: checks.input.0: {CHECK_EXPECTED}"),
        ("checks: {input: [{}]}", f"4:18: checks.input.0: {CHECK_EXPECTED}"),
        (
            "checks:\n  output:\n    - expect_x: {}\n      severity: info",
            f"6:7: checks.output.0: {CHECK_EXPECTED}",
        ),
        (
            "checks: {input: [{expect_x: [a]}]}",
            "4:29: checks.input.0.expect_x: expected a mapping (`key: value`), got a list",
        ),
        (
            "checks:\n  output:\n    - expect_x:\n        column: a\n        severity: fatal",
            "8:19: checks.output.0.expect_x.severity: expected critical, warning or info",
        ),
    ],
)
def test_a_mistake_in_a_check_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


def test_a_check_keeps_its_severity_out_of_its_options() -> None:
    with pytest.raises(ValidationError, match="severity is a field of its own"):
        Check(expectation="expect_x", kwargs={"severity": "info"})
