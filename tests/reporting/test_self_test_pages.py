"""The self-test on the report's pages: its numbers, its pictures, and that no name can break it."""

from __future__ import annotations

import dataclasses
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt

from em_impute.reporting import render, self_test_plots, style
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.self_test.judge import judge
from em_impute.self_test.limits import Limits
from em_impute.self_test.scores import (
    EnergyIScore,
    EnergyScore,
    Forecasts,
    LevelScores,
    NumberScores,
    SelfTest,
    score_numbers,
)

HOSTILE = "<img src=x onerror=alert(1)> | `x` **b** ![](http://example.org)"


def scores(column: str, sd: float = 1.0, transform: str = "none", cells: int = 200) -> NumberScores:
    rng = np.random.default_rng(len(column))
    filled = rng.normal(size=cells)
    truth = filled + 0.5 * rng.normal(size=cells)
    return score_numbers(
        column,
        truth,
        filled,
        mean=0.0,
        median=0.1,
        on_scale=truth,
        published_as=(truth, truth),
        forecasts=Forecasts(filled, np.full(cells, 0.5 * sd)),
        usual=Forecasts(np.zeros(cells), np.ones(cells)),
        transform=transform,
    )


@pytest.fixture
def test() -> SelfTest:
    numbers = [scores("Ozone", transform="log"), scores("Solar.R"), scores(HOSTILE, sd=0.3)]
    levels = [LevelScores("grade", 200, 150, 90)]
    judged = judge("refit", 9000, 1, numbers, levels, Limits(min_coverage_95=0.9))
    columns = tuple(
        EnergyScore(name, 7321, 1234, 5, -0.4567, -0.5678, 0.1) for name in ("Ozone", HOSTILE)
    )
    return dataclasses.replace(judged, energy=EnergyIScore(-0.3456, -0.5432, columns))


@pytest.fixture
def tested(report: Report, test: SelfTest) -> Report:
    return dataclasses.replace(report, self_test=test)


def text_of(page: str) -> str:
    """The page's text; markdown is rendered first, with whatever HTML it has in it."""
    if not page.startswith("<!doctype"):
        page = MarkdownIt("commonmark", {"html": False}).enable("table").render(page)
    words = re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(words.split())


@pytest.mark.parametrize("page", [render.html, render.markdown])
def test_pages_say_what_the_test_says(page: object, tested: Report, test: SelfTest) -> None:
    assert callable(page)
    text = text_of(page(tested))
    assert test.sentence in text
    assert test.note in text
    assert "800 of the 9,000 observed cells" in text
    assert "a second fit, which did not see them" in text
    assert "These test cells represent cells like the observed ones" in text
    assert test.refusal is not None
    assert "The self-test misses min_coverage_95 (0.9)" in text
    assert "The normal model does not fit the test cells of" in text
    ozone = test.numbers[0]
    assert ozone.filled.rmse is not None
    assert ozone.by_mean.rmse is not None
    for number in (ozone.filled.rmse, ozone.by_mean.rmse):
        assert f"{number:.2f}" in text
    assert f"{ozone.coverage.at_95:.1%}" in text
    assert re.search(r"grade\W+200\W+75\.0% 45\.0%", text)
    assert "Energy-I-score of draws −0.346, of each column alone −0.543" in text
    assert page is render.markdown or "Ozone 7,321 1,234 5 −0.457 −0.568" in text
    assert "None" not in text


def test_pages_without_a_test_have_no_section(report: Report) -> None:
    assert report.self_test is None
    assert "self-test" not in render.html(report)
    assert "self-test" not in render.markdown(report)


@pytest.mark.parametrize("page", [render.html, render.markdown])
@pytest.mark.parametrize("empty", [judge("fill", 0, 2, (), (), Limits()), SelfTest("fill", 0, 0)])
def test_a_test_of_nothing_reads_well(page: object, report: Report, empty: SelfTest) -> None:
    assert callable(page)
    text = text_of(page(dataclasses.replace(report, self_test=empty)))
    assert "The self-test" in text
    assert "None" not in text


def test_no_name_breaks_the_pages(tested: Report) -> None:
    parts = Parts()
    html, markdown = render.html(tested, parts), render.markdown(tested, parts=parts)
    assert "<img" not in html
    assert html.count("<svg") == html.count("</svg>")
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    children = [child for token in tokens for child in token.children or ()]
    assert not {"html_block", "html_inline", "code_inline"} & {t.type for t in [*tokens, *children]}
    assert all(t.attrs["src"].startswith("data:") for t in children if t.type == "image")


def test_a_report_with_a_test_is_kept_as_json(tested: Report) -> None:
    kept = json.loads(json.dumps(tested.to_dict(), allow_nan=False))
    assert Report.from_dict(kept) == tested
    del kept["self_test"]
    assert Report.from_dict(kept).self_test is None


def test_column_table_has_the_scores(tested: Report, test: SelfTest) -> None:
    rows = {row["column"]: row for row in render.column_table(tested)}
    assert rows["Ozone"]["RMSE / mean's"] == pytest.approx(test.numbers[0].rmse_ratio, rel=1e-5)
    assert rows["Ozone"]["in 95% interval"] == pytest.approx(test.numbers[0].coverage.at_95)
    assert rows["Wind"]["RMSE / mean's"] is None


def test_markdown_shows_the_worst_columns_of_many_and_stays_small(report: Report) -> None:
    numbers = [scores(f"column {j}" + "x" * (j % 7)) for j in range(200)]
    test = judge("fill", 100_000, 0, numbers, (), Limits())
    many = dataclasses.replace(report, self_test=test)
    parts = Parts()
    html, markdown = render.html(many, parts), render.markdown(many, parts=parts)
    assert "the other 160 are in the table artifact" in markdown
    assert len(markdown.encode()) < 300_000
    assert len(html.encode()) < 3_000_000
    assert html.count("Histogram of the PIT") == self_test_plots.MAX_TESTED


def text_in(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]


def test_errors_are_drawn_the_worst_first(test: SelfTest) -> None:
    shown = text_in(self_test_plots.errors(test).on_page("Errors."))
    worst = sorted(test.numbers, key=lambda s: -(s.rmse_ratio or 0.0))
    names = [style.label(s.column) for s in worst]
    assert [text for text in shown if text in names] == names


def test_coverage_is_drawn_with_its_numbers(test: SelfTest) -> None:
    shown = text_in(self_test_plots.coverage(test).on_page("Coverage."))
    assert {f"{share:.1%}" for share in test.coverage.shares} <= set(shown)


@pytest.mark.parametrize("page", [render.html, render.markdown])
def test_pages_show_observed_against_predicted(page: object, tested: Report) -> None:
    assert callable(page)
    assert "Observed against predicted" in text_of(page(tested))
    few = judge("fill", 15, 0, [scores("Ozone", cells=15)], (), Limits())
    assert len(few.numbers[0].calibration) == 1
    assert "bins of similar predictions" not in page(dataclasses.replace(tested, self_test=few))


def test_bins_are_drawn_and_told_in_alarm_where_intervals_are_too_narrow(test: SelfTest) -> None:
    [narrow] = [scores for scores in test.numbers if scores.column in test.misfits]
    assert all(b.too_few_within for b in narrow.calibration)
    for one in test.numbers:
        drawing = self_test_plots.calibration(one).on_page("Bins.")
        assert ("--alarm" in drawing) == (one is narrow)
    shown = text_in(self_test_plots.calibrations(test.numbers).on_page("Bins."))
    assert {style.label(one.column, 17) for one in test.numbers} <= set(shown)


def test_a_misfit_is_drawn_in_alarm(test: SelfTest) -> None:
    assert test.misfits == (HOSTILE,)
    assert "--alarm" in self_test_plots.pit(test.numbers[2], misfit=True).on_page("PIT.")
    assert "--alarm" not in self_test_plots.pit(test.numbers[0], misfit=False).on_page("PIT.")
    assert self_test_plots.uneven_first(test)[0].column == HOSTILE
    assert text_in(self_test_plots.pits(test).on_page("PIT.")).count("0.5") == 3
