"""The checks of a job: each an expectation with its options."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints, load
from pydantic import ValidationError

from em_impute.job import Check, Job

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
        (
            "checks: {context: gx, suite: [a]}",
            "4:30: checks.suite: expected a name, or a mapping such as "
            "{input: raw, output: nightly}",
        ),
        (
            "checks: {context: gx, suite: {inptu: a}}",
            "4:31: checks.suite.inptu: unknown key (did you mean input?); allowed here: input, "
            "output",
        ),
        (
            "checks: {checkpoint: a}",
            "4:9: checks: a checkpoint is of a project of Great Expectations: name its folder, for "
            "example `context: gx`",
        ),
        (
            "checks: {context: gx}",
            "4:9: checks: `context` is of no use without a suite or a checkpoint; name one",
        ),
        (
            "checks: {results: BASIC}",
            "4:9: checks: `results` is of no use without a suite or a checkpoint; name one",
        ),
        (
            "checks: {context: gx, suite: a, results: FULL}",
            "4:42: checks.results: expected BOOLEAN_ONLY, BASIC, SUMMARY or COMPLETE; for example "
            "`results: COMPLETE`",
        ),
    ],
)
def test_a_mistake_in_a_check_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


def test_a_suite_alone_is_for_the_filled_table_and_both_come_back_from_json() -> None:
    job = load(f"{MINIMAL}checks: {{context: gx/, suite: a, checkpoint: {{input: b}}}}")
    assert (job.checks.suite.output, job.checks.suite.input) == ("a", None)
    assert list(job.checks.of_project) == ["input", "output"]
    assert Job.model_validate_json(job.model_dump_json()).checks == job.checks


def test_a_check_keeps_its_severity_out_of_its_options() -> None:
    with pytest.raises(ValidationError, match="severity is a field of its own"):
        Check(expectation="expect_x", kwargs={"severity": "info"})
