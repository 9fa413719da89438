"""A run in brief: the counts are those of the table."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest

from em_impute.reporting.brief import in_brief
from em_impute.reporting.records import Report
from em_impute.reporting.verdict import verdict_on


def test_counts_are_those_of_the_table(report: Report, airquality: pd.DataFrame) -> None:
    brief = in_brief(report)
    holes = airquality.isna()
    assert (brief.rows, brief.columns) == airquality.shape
    assert brief.missing_cells == brief.imputed_cells == holes.to_numpy().sum() == 44
    assert brief.missing_percent == pytest.approx(100 * holes.to_numpy().mean(), abs=1e-4)
    assert brief.patterns == len(holes.drop_duplicates()) == 4
    assert brief.fit == "converged"
    assert (brief.outcome, brief.verdict) == ("published", report.verdict.sentence)


def test_failed_checks_are_counted_by_severity(report: Report) -> None:
    check = report.checks[0]
    outcomes = [("critical", False), ("warning", False), ("info", False), ("critical", True)]
    checks = tuple(dataclasses.replace(check, severity=s, success=ok) for s, ok in outcomes)
    brief = in_brief(dataclasses.replace(report, checks=checks))
    assert (brief.checks, brief.failed_checks, brief.warned_checks) == (4, 1, 2)


def test_what_a_run_did_not_come_to_is_none() -> None:
    verdict = verdict_on(refusal="No.", warnings=(), imputed_cells=0, target="t")
    brief = in_brief(Report("job", "run", "now", "s", "t", verdict, rows=0, columns=()))
    assert (brief.patterns, brief.iterations, brief.fit) == (None, None, None)
    assert (brief.missing_percent, brief.checks) == (0.0, 0)


def test_a_self_test_is_said_where_there_was_one(report: Report) -> None:
    assert in_brief(report).self_test is None
    tested = dataclasses.replace(report)
    coverage = SimpleNamespace(at_95=0.94)
    scores = SimpleNamespace(sentence="Better.", rmse_ratio=0.69, coverage=coverage)
    object.__setattr__(tested, "self_test", scores)
    brief = in_brief(tested)
    assert (brief.self_test, brief.rmse_ratio, brief.coverage_95) == ("Better.", 0.69, 0.94)
