"""The verdict on the results of all checks."""

from __future__ import annotations

import json
from dataclasses import asdict

from job_checks import BETWEEN

from em_impute.checks import Checked, CheckResult
from em_impute.job import Severity


def result(
    success: bool = False, severity: Severity = "critical", expected: str = "Temp at least 0"
) -> CheckResult:
    observed = "3 of 153 rows unexpected (2.0%)"
    return CheckResult(BETWEEN, "Temp", expected, severity, success, observed, "great_expectations")


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


def test_verdict_is_written_as_strict_json() -> None:
    checked = Checked((result(), result(True, "info")), "output")
    text = json.dumps(checked.to_dict(), allow_nan=False)
    assert json.loads(text) == {
        "stage": "output",
        "note": "",
        "results": [asdict(one) for one in checked.results],
    }
