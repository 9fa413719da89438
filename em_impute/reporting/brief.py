"""A run in brief: what an event, a line of the job's history and `--json` say of it."""

from __future__ import annotations

from dataclasses import dataclass

from em_impute.reporting.records import Ending, Report


@dataclass(frozen=True)
class Brief:
    """The verdict and the counts of a run; what it did not come to is None.

    Attributes
    ----------
    job, run : str
    started : str
        ISO 8601, with the time zone.
    outcome : {"published", "published with warnings", "not published"}
    verdict : str
        Why, in a sentence.
    published : bool or None
        Whether the target holds the table; None if that could not be found out.
    source, target : str
    rows, columns : int
        Of the table as it was read.
    missing_cells, imputed_cells, left_cells : int
        Of the table as it was read; those that the run filled, and those that it leaves missing.
    missing_percent : float
        Of all cells of the table.
    patterns : int or None
        Distinct missingness patterns.
    iterations : int or None
        Of EM.
    fit : str or None
        How EM ended: converged, max_iterations, time_limit, singular or saddle.
    checks, failed_checks, warned_checks : int
        All checks; those of severity critical that failed, and those of any other that did.
    self_test : str or None
        What the self-test says, a sentence; None, like its numbers, if there was none.
    rmse_ratio, coverage_95 : float or None
        Error of hidden cells over that of the column's mean, and the share of them that lie within
        their 95% intervals.
    date : str or None
        The data date, ISO 8601; None of a job whose tables have none.
    """

    job: str
    run: str
    started: str
    outcome: Ending
    verdict: str
    source: str
    target: str
    rows: int
    columns: int
    missing_cells: int
    missing_percent: float
    imputed_cells: int
    patterns: int | None
    iterations: int | None
    fit: str | None
    checks: int
    failed_checks: int
    warned_checks: int
    self_test: str | None = None
    rmse_ratio: float | None = None
    coverage_95: float | None = None
    left_cells: int = 0
    published: bool | None = None
    date: str | None = None


def in_brief(report: Report) -> Brief:
    """Return what a report says, in brief."""
    tested = report.self_test
    failed = [check.severity == "critical" for check in report.checks if not check.success]
    return Brief(
        job=report.job,
        run=report.run,
        started=report.started,
        outcome=report.verdict.outcome,
        verdict=report.verdict.sentence,
        source=report.source,
        target=report.target,
        rows=report.rows,
        columns=len(report.columns),
        missing_cells=report.missing_cells,
        missing_percent=round(100 * report.missing_cells / max(report.cells, 1), 4),
        imputed_cells=report.imputed_cells,
        patterns=report.patterns.total_patterns if report.patterns else None,
        iterations=report.fit.evaluations if report.fit else None,
        fit=report.fit.status if report.fit else None,
        checks=len(report.checks),
        failed_checks=sum(failed),
        warned_checks=len(failed) - sum(failed),
        self_test=tested.sentence if tested else None,
        rmse_ratio=tested.rmse_ratio if tested else None,
        coverage_95=tested.coverage.at_95 if tested else None,
        left_cells=report.left_cells,
        published=None if report.unsettled else report.published,
        date=report.date or None,
    )
