"""The report's page in a real browser: light, dark, narrow, on paper, and with hostile names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from chromium import launched
from conftest import ROOT
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, Page, expect
from reports import BROKEN, HOSTILE, holed_frame, refused_before_the_fit, with_names
from tinyhtml5.parser import HTMLParser

from em_impute.reporting import render
from em_impute.reporting.records import Report
from em_impute.reporting.verdict import verdict_on

# Pictures of what was seen are left here.
SEEN = ROOT / "test-output"
# The width of A4 less its margins, at 96 dots per inch.
PAPER = 680
# In milliseconds: a long page is painted without a graphics card, on cores that others use, too.
PATIENCE = 120_000
KINDS = ("healthy", "warned", "refused", "hostile", "wide")
NOT_LOADED = """async () => {
    const broken = []
    for (const element of document.querySelectorAll("svg image, img")) {
        const picture = new Image()
        picture.src = element.getAttribute("href") ?? element.src
        await picture.decode().catch(() => broken.push(picture.src.slice(0, 80)))
        if (!picture.naturalWidth) broken.push(picture.src.slice(0, 80))
    }
    return broken
}"""


@pytest.fixture(scope="module")
def reports(report: Report, report_on: Callable[[pd.DataFrame], Report]) -> dict[str, Report]:
    warnings = (report.fit.message if report.fit else "", "Not met on the output: x at least 0.")
    return {
        "healthy": report,
        "warned": dataclasses.replace(
            report,
            verdict=verdict_on(
                refusal=None, warnings=warnings, imputed_cells=44, target="out/air.csv"
            ),
            warnings=warnings,
        ),
        "refused": dataclasses.replace(
            refused_before_the_fit(report),
            verdict=verdict_on(
                refusal="Temp is out of range.", warnings=(), imputed_cells=0, target="out/air.csv"
            ),
        ),
        "hostile": with_names(report, HOSTILE + BROKEN),
        "wide": report_on(holed_frame([f"a_column_with_a_long_name_{i}" for i in range(200)], 400)),
    }


@pytest.fixture(scope="module")
def pages(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    SEEN.mkdir(exist_ok=True)
    paths = {kind: folder / f"{kind}.html" for kind in KINDS}
    for kind, path in paths.items():
        path.write_text(render.html(reports[kind]), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_valid_html(pages: dict[str, Path], kind: str) -> None:
    """By the parser of the HTML standard, whose errors are those of the standard."""
    parser = HTMLParser()
    parser.parse(pages[kind].read_text())
    assert parser.errors == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_one_file_that_needs_no_network(
    pages: dict[str, Path], page: Page, kind: str
) -> None:
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(pages[kind].as_uri())
    assert page.evaluate(NOT_LOADED) == []
    for summary in page.locator("summary").all():
        summary.click()
    loaded = [url for url in requests if not url.startswith("data:")]
    assert loaded == [pages[kind].as_uri()]
    assert complaints == []
    assert pages[kind].stat().st_size < 3_000_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs_over(
    pages: dict[str, Path], browser: Browser, kind: str, scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE)
    page.goto(pages[kind].as_uri())
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width > 390:
            page.screenshot(path=SEEN / f"report-{kind}-{scheme}-{width}.png", full_page=True)
    for picture in page.locator("figure svg").all():
        box = picture.bounding_box()
        assert box
        assert min(box["width"], box["height"]) > 20
    page.close()


@pytest.mark.parametrize("kind", KINDS)
def test_on_paper_nothing_is_folded_or_cut(pages: dict[str, Path], page: Page, kind: str) -> None:
    page.goto(pages[kind].as_uri())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    for fold in page.locator("details > :not(summary, .search)").all():
        assert fold.bounding_box()
    margin = "15mm"
    page.pdf(
        path=SEEN / f"report-{kind}.pdf",
        format="A4",
        margin={"top": margin, "bottom": margin, "left": margin, "right": margin},
    )


def column_names(page: Page) -> list[str]:
    cells = page.locator("#the-columns table.columns").first.locator("tbody th:visible")
    return cells.all_text_contents()


def test_a_table_is_sorted_by_its_headers(pages: dict[str, Path], page: Page) -> None:
    """From the keyboard, and by what numbers are worth, not by how they are spelled."""
    page.goto(pages["healthy"].as_uri())
    head = page.locator("#the-columns thead th", has_text="missing")
    as_made = column_names(page)
    assert head.get_attribute("aria-sort") == "none"
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column_names(page)[:2] == ["Ozone", "Solar.R"]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column_names(page)[-2:] == ["Solar.R", "Ozone"]
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert column_names(page) == as_made
    page.locator("#the-columns thead th", has_text="Column").get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert column_names(page) == sorted(as_made, key=str.lower)
    for mean in page.locator("#the-columns thead th", has_text="mean").all()[:1]:
        mean.get_by_role("button").click()
    means = page.locator("#the-columns tbody td:nth-child(6)").all_text_contents()
    numbers = [float(text.replace(",", "").replace("\u2212", "-")) for text in means]
    assert numbers == sorted(numbers, reverse=True)


def test_a_table_is_searched_with_what_is_folded(pages: dict[str, Path], page: Page) -> None:
    page.goto(pages["wide"].as_uri())
    assert len(column_names(page)) == 40
    box = page.get_by_role("searchbox", name="Search in the table: The columns")
    box.fill("name_17")
    assert len(column_names(page)) == 11
    assert page.locator("#the-columns output").text_content() == "11 of 200 rows"
    page.emulate_media(media="print")
    assert not box.is_visible()
    assert len(column_names(page)) == 200
    page.emulate_media(media="screen")
    box.fill("")
    assert len(column_names(page)) == 200


def test_without_script_the_page_reads_as_it_is(pages: dict[str, Path], browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["wide"].as_uri())
    assert page.locator("thead button, .search").count() == 0
    assert page.locator("details.more summary").is_visible()
    context.close()


def test_numbers_at_the_top_lead_to_what_they_mean(pages: dict[str, Path], page: Page) -> None:
    page.goto(pages["healthy"].as_uri())
    links = page.locator("header dl").first.locator("a")
    assert links.count() >= 6
    for link in links.all():
        link.click()
        assert page.locator(":target").count() == 1


def harmless(page: Page) -> None:
    """Nothing has been run, and no name has become an element."""
    page.wait_for_timeout(200)
    harmful = "img[src='x'], a:not([href^='#']), iframe, object, base, form, input:not(.search *)"
    assert page.locator(harmful).count() == 0
    scripts = page.locator("script").all_text_contents()
    assert set(scripts) <= {render.SCRIPT}
    assert page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        ".filter(name => name.startsWith('on'))"
    ) == ([])


def test_hostile_names_are_harmless_in_the_page(pages: dict[str, Path], page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(pages["hostile"].as_uri())
    shown = page.get_by_text("<img src=x onerror=alert(1)>", exact=True).locator("visible=true")
    expect(shown.first).to_be_visible()
    harmless(page)
    assert dialogs == []


def test_hostile_names_are_harmless_in_markdown(reports: dict[str, Report], page: Page) -> None:
    """In a viewer that lets through all HTML that it is given."""
    dialogs: list[str] = []
    requests: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    viewer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page.set_content(viewer.render(render.markdown(reports["hostile"])))
    expect(page.get_by_text("<img src=x onerror=alert(1)>", exact=True).first).to_be_visible()
    harmless(page)
    assert dialogs == []
    assert all(url.startswith("data:image/") for url in requests)
    assert page.evaluate(NOT_LOADED) == []


def test_the_viewer_of_the_test_before_would_run_a_script(page: Page) -> None:
    """So that it means something that nothing was run."""
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.set_content(MarkdownIt("commonmark", {"html": True}).render(HOSTILE[0]))
    page.wait_for_timeout(500)
    assert dialogs == ["1"]
