"""The page on all jobs."""

from __future__ import annotations

from dataclasses import replace

from em_impute.reporting import index
from em_impute.reporting.brief import Brief, in_brief
from em_impute.reporting.miniatures import bars
from em_impute.reporting.records import Report


def line(brief: Brief | None, *before: Brief | None, job: str = "air") -> index.JobLine:
    outcome = brief.outcome if brief else "no report"
    return index.JobLine.of(
        job, [*before, brief], outcome, "It was killed.", f"{job}/1/report.html"
    )


def test_what_ended_worst_comes_first(report: Report) -> None:
    good = in_brief(report)
    page = index.html(
        [
            line(good, job="good"),
            line(replace(good, outcome="published with warnings"), job="warned"),
            line(replace(good, outcome="not published"), job="refused"),
            line(None, good, job="killed"),
        ]
    )
    assert [
        page.index(f">{job}</bdi>") for job in ("killed", "refused", "warned", "good")
    ] == sorted(page.index(f">{job}</bdi>") for job in ("killed", "refused", "warned", "good"))
    assert "It was killed." in page
    assert good.verdict in page


def test_a_name_of_a_job_stays_a_name(report: Report) -> None:
    page = index.html([line(in_brief(report), job="<img src=x onerror=alert(1)>")])
    assert "<img" not in page
    assert 'href="%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E/1/report.html"' in page


def test_missing_and_filled_cells_are_drawn_over_time(report: Report) -> None:
    last = replace(in_brief(report), missing_cells=10, missing_percent=2.0, imputed_cells=5)
    first = replace(last, missing_percent=4.0, imputed_cells=10, date="2026-11-01")
    page = index.html([line(last, first, None)])
    assert "<title>2026-11-01: 4.00% missing, 4.00% filled, published</title>" in page
    assert '<g transform="translate(2)"><rect class="seen" y="0.500" width=".8"' in page
    assert '<rect class="filled" y="0.750" width=".8" height="0.250"/>' in page
    assert "2026-11-01 – 2026-11-22" in page
    assert "up to 4.00%" in page


def test_bars_are_as_high_as_their_numbers() -> None:
    drawn = bars([1.0, None, 4.0])
    assert "M0 1V0.750h.8V1h.2V1.000h.8V1h.2V0.000h.8V1h.2z" in drawn
    assert "2 runs, from 1 to 4" in drawn
    assert "0 runs" in bars([])
