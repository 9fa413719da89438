"""The pages: their numbers, that no name can break them, and that they stay small."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from made_scores import helped, judged
from markdown_it import MarkdownIt
from markdown_it.token import Token
from reports import BROKEN, HOSTILE, holed_frame, refused_before_the_fit, with_names

from em_impute.gaussian import PatternSummary
from em_impute.job.legible import BREAK
from em_impute.reporting import render
from em_impute.reporting.columns import describe_columns
from em_impute.reporting.distributions import MAX_DISTRIBUTIONS, describe_distributions
from em_impute.reporting.formatting import anchor
from em_impute.reporting.missingness import describe_patterns
from em_impute.reporting.records import CheckRow, Column, Report
from em_impute.reporting.verdict import verdict_on
from em_impute.tables.digest import Moments

ReportOn = Callable[[pd.DataFrame], Report]

# What markdown would make of them.
MEANINGS = {"html_block", "html_inline", "link_open", "code_inline", "em_open", "s_open"}


class Page(HTMLParser):
    """Elements, what they load or point to, and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def values(self, *names: str) -> set[str]:
        return {value or "" for name, value in self.attributes if name in names}

    @property
    def cells(self) -> list[list[str]]:
        return [[cell.strip() for cell in row] for row in self.rows]

    def row(self, name: str) -> list[str]:
        """A column's numbers in the table of all columns, which has 12."""
        return next(row for row in self.cells if row[:1] == [name] and len(row) == 12)


def markdown_tokens(text: str) -> list[Token]:
    """Parse with raw HTML, tables and links of any kind: the most that a viewer may do."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True
    return [t for block in parser.parse(text) for t in (block, *(block.children or ()))]


def shown(tokens: list[Token]) -> str:
    text = "\n".join(t.content for t in tokens if t.type in {"text", "text_special"})
    return text.replace(BREAK, "")


def table_rows(tokens: list[Token]) -> list[list[str]]:
    rows: list[list[str]] = []
    for token, after in itertools.pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"td_open", "th_open"}:
            cells = after.children or []
            text = "".join(child.content for child in cells).replace(BREAK, "")
            rows[-1].append(text.replace("\u00a0", " "))
    return rows


def without_pictures(report: Report, name: str) -> Report:
    """Name the run itself."""
    return dataclasses.replace(
        refused_before_the_fit(report), job=name, run=name, source=name, target=name
    )


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render.html(report))


@pytest.fixture(scope="module")
def hostile_page(report: Report) -> Page:
    return Page(render.html(with_names(report, HOSTILE + BROKEN)))


@pytest.fixture(scope="module")
def hostile_tokens(report: Report) -> list[Token]:
    return markdown_tokens(render.markdown(with_names(report, HOSTILE + BROKEN)))


@pytest.fixture(scope="module")
def wide(report: Report) -> Report:
    """Report on 200 columns and as many patterns, with all the pictures there can be."""
    frame = holed_frame([f"a_column_with_a_long_name_{i}" for i in range(200)], rows=300)
    summary = PatternSummary.from_array(frame.to_numpy(), list(frame))
    columns = describe_columns(
        dict.fromkeys(frame, "impute"), frame.isna().sum().to_dict(), len(frame), summary=summary
    )
    ranked = sorted(frame, key=lambda name: frame[name].count())
    return dataclasses.replace(
        report,
        rows=len(frame),
        columns=columns,
        patterns=describe_patterns(summary),
        distributions=describe_distributions(
            ranked[:MAX_DISTRIBUTIONS],
            lambda: [{name: frame[name].dropna().to_numpy() for name in frame}],
            lambda: [{name: np.linspace(-1, 1, 20) for name in frame}],
        ),
    )


def test_page_shows_the_columns_numbers(page: Page, airquality: pd.DataFrame) -> None:
    ozone = airquality["Ozone"]
    row = page.row("Ozone")
    assert row[:5] == ["Ozone", "imputed", "116", "37", f"{ozone.isna().mean():.1%}"]
    assert row[5:7] == [f"{ozone.mean():.1f}", f"{ozone.std(ddof=0):.1f}"]
    assert page.row("Wind")[9:] == ["0", "–", "–"]


def test_the_page_and_the_artifact_begin_with_it(report: Report) -> None:
    tested = dataclasses.replace(
        report, self_test=judged(helped(2000, 1, "Ozone")), date="2026-11-21"
    )
    page = Page(render.html(tested))
    row = next(row for row in page.cells if row[0] == "Ozone")
    assert row[:3] == ["Ozone", "37 24.2%", "0"]
    assert row[4].endswith("% lower")
    assert "2026-11-21" in page.text
    text = render.markdown(tested)
    assert text.index("## Each column") < text.index("## The fit")
    assert "| Ozone | 37 (24.2%) | 0 | " in text
    assert "data of 2026" in text


def test_each_section_is_in_the_contents() -> None:
    templates = ROOT / "em_impute" / "reporting" / "templates"
    page = (templates / "report.html.j2").read_text()
    sections = page + (templates / "self_test.html.j2").read_text()
    sections += (templates / "glance.html.j2").read_text()
    contents = re.findall(r'^  "(.*)",$', page[page.index("{% set contents") :], re.MULTILINE)
    for title in re.findall(r"<section[^>]*>\n<h2>(.*)</h2>", sections):
        assert title in contents
        assert f'<section id="{anchor(title)}">\n<h2>{title}</h2>' in sections


def test_links_lead_to_the_sections_that_there_are(report: Report) -> None:
    page = Page(render.html(report))
    links = {one for one in page.values("href") if one.startswith("#")}
    assert links
    assert links <= {f"#{one}" for one in page.values("id")}
    assert "#the-self-test" not in links


def test_page_says_what_became_of_the_run(page: Page, report: Report) -> None:
    text = " ".join(page.text)
    assert "published 44 missing cells were filled" in " ".join(text.split())
    assert report.fit
    assert report.fit.message in text
    assert "0 rejected" not in text


def test_page_links_to_the_flow_run_where_that_is_known(report: Report) -> None:
    bare = without_pictures(report, "x")
    assert "In Prefect" not in render.html(bare)
    address = "http://prefect.example.org/runs/flow-run/1"
    assert f'<a href="{address}" rel="noreferrer">' in render.html(
        dataclasses.replace(bare, flow_run=address)
    )
    for other in ("javascript:alert(1)", "prefect.example.org"):
        assert other not in render.html(dataclasses.replace(bare, flow_run=other))
    assert "directly, without Prefect" in render.html(dataclasses.replace(bare, is_direct=True))


def test_page_has_a_picture_for_each_part_and_every_id_once(page: Page) -> None:
    assert page.tags.count("svg") == 7 + 2  # and two miniatures
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_page_needs_no_network_and_runs_its_own_script_only(page: Page, report: Report) -> None:
    loaded = page.values("href", "src", "xlink:href") - {f"#{name}" for name in page.values("id")}
    assert all(one.startswith(("data:,", "data:image/png;base64,")) for one in loaded)
    assert not {"iframe", "object", "base"} & set(page.tags)
    [policy] = [value for value in page.values("content") if "src" in value]
    [allowed] = re.findall(r"script-src ([^;]*);", policy)
    [script] = re.findall(r"<script>(.*?)</script>", render.html(report), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed == f"'sha256-{digest}'"
    assert policy.startswith("default-src 'none';")
    style = "".join(page.values("style")) + "".join(page.text)
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)


def test_no_name_makes_an_element_of_the_page(page: Page, hostile_page: Page) -> None:
    assert set(hostile_page.tags) <= set(page.tags) | {"ul", "li"}
    assert not [name for name, _ in hostile_page.attributes if name.startswith("on")]
    ids = {f"#{name}" for name in hostile_page.values("id")}
    loaded = hostile_page.values("href", "src", "xlink:href") - ids
    assert all(one.startswith(("data:,", "data:image/png;base64,")) for one in loaded)


@pytest.mark.parametrize("name", HOSTILE)
def test_every_name_is_legible_in_the_page(hostile_page: Page, name: str) -> None:
    assert hostile_page.row(name)
    assert ["failed", "input", *[name] * 4, "warning"] in hostile_page.cells
    assert f"Column {name} was left out." in hostile_page.text


def test_no_name_has_a_meaning_in_markdown(hostile_tokens: list[Token]) -> None:
    types = {token.type for token in hostile_tokens}
    assert not MEANINGS & types
    pictures = [str(t.attrs["src"]) for t in hostile_tokens if t.type == "image"]
    assert len(pictures) == 7
    assert all(source.startswith("data:image/svg+xml") for source in pictures)
    assert {len(row) for row in table_rows(hostile_tokens)} == {2, 4, 5, 6, 7}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_name_is_legible_in_markdown(hostile_tokens: list[Token], name: str) -> None:
    words = [w if len(w) <= 30 else f"{w[:14]}…{w[-15:]}" for w in name.split(" ")]
    in_a_table = " ".join(words)
    assert any(row[0] == in_a_table for row in table_rows(hostile_tokens))
    assert ["failed", in_a_table, in_a_table, "warning"] in table_rows(hostile_tokens)
    legible = name if len(name) < 72 else "n" * 51 + "…" + name[-20:]
    assert f"Column {legible} was left out." in shown(hostile_tokens)


@pytest.mark.parametrize(
    ("name", "legible"),
    list(zip(BROKEN, ["line break | x", "□[31m", "ab□gnp.exe"], strict=True)),
)
def test_what_a_name_hides_is_shown(
    hostile_page: Page, hostile_tokens: list[Token], name: str, legible: str
) -> None:
    assert name not in hostile_page.text
    assert hostile_page.row(legible)
    assert ["failed", legible, legible, "warning"] in table_rows(hostile_tokens)


@pytest.mark.parametrize("name", HOSTILE + BROKEN)
def test_no_name_of_a_run_breaks_its_pages(report: Report, page: Page, name: str) -> None:
    named = without_pictures(report, name)
    hostile = Page(render.html(named))
    assert set(hostile.tags) <= set(page.tags)
    assert all(one[0] == "#" or one == "data:," for one in hostile.values("href", "src"))
    tokens = markdown_tokens(render.markdown(named))
    assert not MEANINGS & {token.type for token in tokens}
    assert next(token.tag for token in tokens if token.type == "heading_open") == "h1"


def test_markdown_shows_the_columns_numbers(report: Report, airquality: pd.DataFrame) -> None:
    ozone = airquality["Ozone"]
    rows = table_rows(markdown_tokens(render.markdown(report)))
    [row] = [row for row in rows if row[:2] == ["Ozone", "imputed"]]
    assert row[2] == f"37 ({ozone.isna().mean():.1%})"
    assert row[3] == f"{ozone.mean():.1f} ({ozone.std(ddof=0):.1f})"


def test_markdown_has_a_bar_and_a_picture_for_each_part(report: Report) -> None:
    tokens = markdown_tokens(render.markdown(report))
    assert next(t.content for t in tokens if t.type == "image") == "published"
    assert sum(t.type == "image" for t in tokens) == 7


def test_markdown_leaves_the_last_pictures_out_when_they_are_too_large(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render.markdown(report)
    monkeypatch.setattr(render, "MARKDOWN_BYTES", len(whole.encode()) - 1)
    text = render.markdown(report)
    assert "The picture of what is missing together is left out" in text
    assert text.count("data:image/svg+xml") == 6
    monkeypatch.setattr(render, "MARKDOWN_BYTES", 100)
    text = render.markdown(report)
    assert "data:image/svg" not in text
    assert "The picture of the fit is left out" in text


def test_two_hundred_columns_make_pages_of_bearable_size(wide: Report) -> None:
    assert len(render.html(wide).encode()) < 3_000_000
    assert len(render.markdown(wide).encode()) < 300_000


def test_markdown_shows_the_forty_columns_with_the_most_missing_cells(wide: Report) -> None:
    text = render.markdown(wide)
    rows = table_rows(markdown_tokens(text))
    names = [row[0] for row in rows if row[1:2] == ["imputed"]]
    most = sorted(wide.columns, key=lambda column: -column.missing)[:40]
    assert names == [column.name for column in most]
    assert "the other 160 are in the table artifact" in text


def test_two_hundred_hostile_columns_with_endless_texts_stay_below_the_limit(
    report: Report,
) -> None:
    """The text alone is bounded, whatever names, messages and checks a job brings."""
    column = dataclasses.replace(report.columns[0], name="<|> " * 5000)
    check = CheckRow("input", "`" * 9999, "|" * 9999, "<" * 9999, "warning", False, "&" * 9999)
    text = render.markdown(
        dataclasses.replace(report, columns=(column,) * 200, checks=(check,) * 1000)
    )
    assert len(text.encode()) < 1_000_000
    assert "These are 60 of 1000 checks, failed ones first." in text


def test_failed_checks_come_first(report: Report) -> None:
    passed = CheckRow("input", "a", "x", "x", "critical", True)
    failed = CheckRow("output", "b", "x", "y", "warning", False)
    mixed = dataclasses.replace(report, checks=(passed, failed))
    checks = [row for row in Page(render.html(mixed)).cells if row[0] in {"passed", "failed"}]
    assert [row[:3] for row in checks] == [["failed", "output", "b"], ["passed", "input", "a"]]


def test_run_refused_before_the_fit_reads_well(report: Report) -> None:
    refused = dataclasses.replace(
        refused_before_the_fit(report),
        verdict=verdict_on(
            refusal="Temp is out of range.", warnings=(), imputed_cells=0, target="t"
        ),
        columns=describe_columns({"Temp": "impute", "Day": "key"}, {"Temp": 3, "Day": 0}, 153),
    )
    page = Page(render.html(refused))
    for text in (" ".join(page.text), render.markdown(refused)):
        assert "Temp is out of range. The target t was not changed." in text
        assert "No model was fitted: the run ended before the fit." in text
        assert "None" not in text
    assert "svg" not in page.tags
    assert page.row("Temp")[2:] == ["150", "3", "2.0%", *"––––", "0", "–", "–"]


def test_run_that_could_not_read_its_table_reads_well(report: Report) -> None:
    unread = dataclasses.replace(
        refused_before_the_fit(report),
        runtime=None,
        verdict=verdict_on(
            refusal="No such file: x.csv.", warnings=(), imputed_cells=0, target="t"
        ),
        rows=0,
        columns=(),
        checks=(),
    )
    page = Page(render.html(unread))
    assert "table" not in page.tags
    assert "No such file: x.csv." in " ".join(page.text)
    assert not table_rows(markdown_tokens(render.markdown(unread)))


def test_table_without_holes_reads_well(report: Report, airquality: pd.DataFrame) -> None:
    whole = dataclasses.replace(
        refused_before_the_fit(report),
        verdict=verdict_on(refusal=None, warnings=(), imputed_cells=0, target="t"),
        columns=describe_columns({"Wind": "predictor"}, {"Wind": 0}, len(airquality)),
    )
    for text in (" ".join(Page(render.html(whole)).text), render.markdown(whole)):
        assert "No cell needed filling and the table was written to t" in text
        assert "No model was fitted: no cell needed filling." in text


def test_fit_without_holes_has_no_distributions(report_on: ReportOn) -> None:
    complete = report_on(holed_frame(["a", "b"]).fillna(0.5))
    page = Page(render.html(complete))
    assert complete.distributions == ()
    assert page.tags.count("svg") == 2
    text = " ".join(page.text)
    assert "Observed against imputed" not in text
    assert "None of the model's columns has a missing cell." in text
    assert render.markdown(complete).count("data:image/svg+xml") == 3


def test_one_row_reads_well(report_on: ReportOn) -> None:
    one = report_on(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    page = Page(render.html(one))
    assert page.row("a")[5:9] == ["1.00", "0.00", "1.00", "0.00"]
    rows = table_rows(markdown_tokens(render.markdown(one)))
    assert ["a", "predictor", "0 (0%)", "1.00 (0.00)", "1.00 (0.00)", "–"] in rows


@pytest.mark.parametrize(
    ("mean", "sd", "shown"),
    [
        (42.129, 32.98, ["42.1", "33.0"]),
        (-0.004, 3.3, ["0.00", "3.30"]),
        (-9.5772, 3.51, ["−9.58", "3.51"]),
        (5_848_380.4, 1_234_567.8, ["5,848,380", "1,234,568"]),
        (1.5e-12, 2e-13, ["1.5 × 10⁻¹²", "2 × 10⁻¹³"]),
        (3e15, 1e14, ["3 × 10¹⁵", "1 × 10¹⁴"]),
        (None, None, ["–", "–"]),
    ],
)
def test_numbers_show_their_column_s_spread_to_three_digits(
    report: Report, mean: float | None, sd: float | None, shown: list[str]
) -> None:
    column = Column("x", "impute", 0, Moments(9, mean, sd), Moments(0), Moments(0))
    page = Page(render.html(dataclasses.replace(report, columns=(column,))))
    assert page.row("x")[5:7] == shown


def test_column_table_is_strict_json_of_plain_values(report: Report) -> None:
    odd = dataclasses.replace(report.columns[0], name="odd", em=Moments(3, np.nan, np.inf))
    rows = render.column_table(dataclasses.replace(report, columns=(*report.columns, odd)))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {type(cell) for row in rows for cell in row.values()} == {str, int, float, type(None)}
    assert (rows[-1]["EM mean"], rows[-1]["EM sd"]) == (None, None)


def test_column_table_has_every_column_with_its_numbers(
    report: Report, airquality: pd.DataFrame
) -> None:
    rows = pd.DataFrame(render.column_table(report)).set_index("column")
    assert rows["observed"].tolist() == airquality.count().tolist()
    assert rows["missing %"].tolist() == (100 * airquality.isna().mean()).round(2).tolist()
    assert np.allclose(rows["observed mean"], airquality.mean(), rtol=1e-5)
    assert rows.loc["Wind", ["imputed", "imputed mean"]].tolist()[0] == 0


@pytest.mark.parametrize("page", [render.html, render.markdown])
def test_draws_are_not_called_means(report: Report, page: Callable[[Report], str]) -> None:
    means = "Imputed cells are conditional means: they vary less"
    draws = "Imputed cells are draws: they vary as much as real cells."
    assert means in page(report)
    drawn = page(dataclasses.replace(report, drawn=True))
    assert draws in drawn
    assert means not in drawn


def test_check_table_has_every_check_with_failed_ones_first(report: Report) -> None:
    names = [*HOSTILE, *BROKEN]
    rows = render.check_table(with_names(report, names))
    assert [row["result"] for row in rows] == ["failed"] * len(names)
    shown = [str(row["column"]).replace(BREAK, "") for row in rows]
    assert shown[: len(HOSTILE)] == HOSTILE
    assert "\x1b" not in json.dumps(rows, ensure_ascii=False)
    passed_last = render.check_table(
        dataclasses.replace(
            report,
            checks=(*report.checks, dataclasses.replace(report.checks[0], success=False)),
        )
    )
    assert [row["result"] for row in passed_last] == ["failed"] + ["passed"] * len(report.checks)


@pytest.mark.parametrize("table", [render.column_table, render.check_table])
def test_tables_stay_below_a_megabyte(
    report: Report, table: Callable[[Report], list[dict[str, object]]]
) -> None:
    """Of 20,000 columns with names of 1,000 letters, those with the most missing cells are kept."""
    names = [f"{i:05}" + "é" * 995 for i in range(20_000)]
    columns = tuple(
        dataclasses.replace(report.columns[0], name=name, missing=i) for i, name in enumerate(names)
    )
    checks = tuple(dataclasses.replace(report.checks[0], column=name) for name in names)
    rows = table(dataclasses.replace(report, columns=columns, checks=checks))
    assert 100 < len(rows) < 20_000
    assert len(json.dumps(rows)) < 1_000_000
    if table is render.column_table:
        assert str(rows[0]["column"]).startswith("19999")


def test_the_served_page_is_linked(report: Report) -> None:
    address = "https://reports.example.org/runs/air_quality/20261122T030000Z-5f1c/report.html"
    links = [
        (token.attrs["href"], after.content)
        for token, after in itertools.pairwise(markdown_tokens(render.markdown(report, address)))
        if token.type == "link_open"
    ]
    assert links == [(address, "report.html")]
    assert not [t for t in markdown_tokens(render.markdown(report)) if t.type == "link_open"]
