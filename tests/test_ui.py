"""A run as people see it: Prefect's own server and UI, in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chromium import launched
from conftest import EM_IMPUTE, ROOT, write_yaml
from holed_tables import factor_table
from playwright.sync_api import Browser, Page, expect
from servers import PrefectServer

from em_impute.job.legible import BREAK

PATIENCE = 60_000
# What Prefect's UI says where it could not show something.
ERROR = re.compile("Something went wrong|Failed to load|not found", re.IGNORECASE)


# The browser tests leave pictures of what they saw here.
SEEN = ROOT / "test-output"
WIDTHS = (1280, 1920)


@dataclass(frozen=True)
class Run:
    """A job that was run from the command line: its flow run's id and its folder."""

    id: str
    folder: Path


@dataclass(frozen=True)
class Case:
    """A job and what is to be seen of it."""

    exit_code: int
    state: str
    outcome: str
    verdict: str
    pictures: int


CASES = {
    "penguins_mixed": Case(0, "Published", "published", "19 missing cells were filled", 12),
    "airquality": Case(
        0,
        "Published with warnings",
        "published with warnings",
        "Not met on the output: Ozone at least 0 (3 of 153 rows unexpected)",
        12,
    ),
    "too_hot": Case(
        1,
        "Refused",
        "not published",
        "1 critical check failed on the input: Temp at most 80",
        4,
    ),
}


# In one process, in which Great Expectations is imported once.
RUN_EACH = """
import contextlib, sys
from em_impute.cli.main import main
for job in sys.argv[1:]:
    with contextlib.suppress(SystemExit):
        main(["run", job, "--json"])
"""


class Quietly(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *arguments: object) -> None:
        """Nothing on the tests' stderr."""


@pytest.fixture(scope="module")
def runs(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Run]]:
    """The three jobs, run by the command line: healthy, with a warning, refused.

    The folder of their runs is served by a web server.
    """
    folder = tmp_path_factory.mktemp("runs")
    (folder / "data").symlink_to(ROOT / "data")
    quickstart = (ROOT / "configs" / "quickstart.yaml").read_text()
    (folder / "too_hot.yaml").write_text(
        quickstart.replace("name: airquality", "name: too_hot").replace(
            "{column: Temp, min_value: -60, max_value: 140}", "{column: Temp, max_value: 80}"
        )
    )
    configs = ROOT / "configs"
    files = (configs / "mixed.yaml", configs / "quickstart.yaml", folder / "too_hot.yaml")
    pages = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quietly, directory=str(folder)))
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{pages.server_port}/runs"
    finished = subprocess.run(
        [sys.executable, "-c", RUN_EACH, *map(str, files)],
        cwd=folder,
        env=prefect_server.environment | {"EM_IMPUTE_RUNS_URL": address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    done: dict[str, Run] = {}
    for said in map(json.loads, finished.stdout.splitlines()):
        assert said["exit_code"] == CASES[said["job"]].exit_code, said
        query = {"flow_runs": {"tags": {"all_": ["em_impute", said["job"]]}}}
        flow_run = prefect_server.ask("flow_runs/filter", query | {"sort": "START_TIME_DESC"})[0]
        done[said["job"]] = Run(flow_run["id"], folder / said["folder"])
    yield done
    pages.shutdown()
    pages.server_close()


@pytest.fixture(scope="module")
def run(runs: dict[str, Run]) -> Run:
    """The quickstart."""
    return runs["airquality"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    # Nothing moves: a browser without a graphics card computes each frame.
    page = browser.new_page(viewport={"width": 1280, "height": 1600}, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield page
    page.close()


def artifacts(server: PrefectServer, run: Run) -> dict[str, dict[str, Any]]:
    """The run's artifacts, by key."""
    query = {"artifacts": {"flow_run_id": {"any_": [run.id]}}}
    return {artifact["key"]: artifact for artifact in server.ask("artifacts/filter", query)}


def test_the_run_and_its_steps_are_seen(
    prefect_server: PrefectServer, run: Run, page: Page
) -> None:
    page.goto(f"{prefect_server.url}/v2/runs/flow-run/{run.id}")
    expect(page.get_by_text("Published with warnings").first).to_be_visible()
    expect(
        page.get_by_text("Read 153 rows and 6 columns from data/airquality.csv.")
    ).to_be_visible()
    page.get_by_role("tab", name="Task Runs").click()
    for step in (
        "load",
        "check input",
        "fit",
        "fill",
        "self-test",
        "check output",
        "publish",
        "report",
    ):
        expect(page.get_by_text(f"{step}-").first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    for key in ("airquality-report", "airquality-columns", "airquality-em"):
        expect(page.get_by_text(key).first).to_be_visible()


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_understood_in_the_ui(
    prefect_server: PrefectServer, runs: dict[str, Run], page: Page, name: str
) -> None:
    """From the flow run to its artifacts, the report and the tables, at two widths."""
    case, url, key = CASES[name], f"{prefect_server.url}/v2", name.replace("_", "-")
    left = artifacts(prefect_server, runs[name])
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))

    page.goto(f"{url}/runs/flow-run/{runs[name].id}?tab=Details")
    expect(page.get_by_text(case.state, exact=True).first).to_be_visible()
    expect(page.get_by_text(case.verdict).first).to_be_visible()
    look(page, f"{name}-run")
    page.get_by_role("tab", name="Artifacts").click()
    for artifact in left:
        expect(page.get_by_role("link", name=artifact).first).to_be_visible()
    look(page, f"{name}-artifacts")
    page.get_by_role("link", name=f"{key}-report").first.click()
    expect(page.get_by_text(f"{case.outcome.capitalize()}: ").first).to_be_visible()
    look(page, f"{name}-history")
    page.get_by_role("link", name=left[f"{key}-report"]["id"][:8]).first.click()
    expect(page.get_by_role("heading", name=f"{name}: {case.outcome}")).to_be_visible()
    expect(page.get_by_text(case.verdict).first).to_be_visible()
    pictures = page.locator("img[src^='data:image/svg+xml']")
    expect(pictures).to_have_count(case.pictures)
    for picture in pictures.all():
        assert picture.evaluate("image => image.naturalWidth") > 0
    look(page, f"{name}-report")
    for table, texts in {
        "columns": ("missing %", "body_mass_g" if name == "penguins_mixed" else "Ozone"),
        "checks": ("expected", "passed", "at least one row"),
    }.items():
        page.goto(f"{url}/artifacts/artifact/{left[f'{key}-{table}']['id']}")
        for text in texts:
            expect(page.get_by_text(text).first).to_be_visible()
        look(page, f"{name}-{table}")
    assert not mistakes


def test_the_page_is_a_click_away_where_it_is_served(
    prefect_server: PrefectServer, run: Run, page: Page
) -> None:
    left = artifacts(prefect_server, run)
    for artifact, link in {"report": "report.html", "page": "The report of airquality"}.items():
        page.goto(
            f"{prefect_server.url}/v2/artifacts/artifact/{left[f'airquality-{artifact}']['id']}"
        )
        page.get_by_role("link", name=link).click()
        expect(page).to_have_title("airquality: published with warnings")


# How far to the right a table or picture is seen, in a frame that scrolls or without one.
RIGHT_ENDS = """() => [...document.querySelectorAll("table, img")].map(element => {
    let right = element.getBoundingClientRect().right
    for (let frame = element.parentElement; frame; frame = frame.parentElement)
        if (getComputedStyle(frame).overflowX === "auto")
            right = Math.min(right, frame.getBoundingClientRect().right)
    return right
})"""


def look(page: Page, name: str) -> None:
    """See at each width that there is no error and nothing runs over, and keep a picture."""
    SEEN.mkdir(exist_ok=True)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_load_state("networkidle")
        expect(page.get_by_text(ERROR)).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if "/artifacts/artifact/" in page.url:
            beside = page.get_by_text("Flow Run", exact=True).first.bounding_box()
            assert beside is not None
            assert max(page.evaluate(RIGHT_ENDS), default=0) <= beside["x"], f"{name} at {width}"
        page.screenshot(path=SEEN / f"{name}-{width}.png", full_page="/runs/" not in page.url)


def test_progress_of_em_ends_at_100_percent(prefect_server: PrefectServer, run: Run) -> None:
    assert artifacts(prefect_server, run)["airquality-em"]["data"] == 100.0


def test_no_artifact_is_large_or_shows_a_row(prefect_server: PrefectServer, run: Run) -> None:
    """The largest Ozone value, 168, and Solar.R's, 334, are nobody's aggregates."""
    for artifact in artifacts(prefect_server, run).values():
        text = json.dumps(artifact["data"])
        assert len(text) < 1_000_000
        words = text.split("data:image")[0].replace("|", " ").replace(",", " ").split()
        assert "168" not in words
        assert "334" not in words


def test_the_page_opens_without_network_and_fits(
    prefect_server: PrefectServer, run: Run, page: Page
) -> None:
    report = run.folder / "report.html"
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="airquality")).to_be_visible()
    assert requests == [report.as_uri()]
    assert page.locator("svg").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# Names of columns that a page must show and not follow: pictures, links, elements, forms.
HOSTILE = (
    "![x](http://127.0.0.1:9/leak.png)",
    "<img src=http://127.0.0.1:9/pix.gif>",
    "[click](javascript:alert(1))",
    "www.evil.example",
    "http://evil.example/a",
    "mail@evil.example",
    "<form action=http://127.0.0.1:9/><input name=password>",
    "<style>body{display:none}</style>",
    "red \x1b[31m",
)
# Whether a page shows all names by now; long tables appear piece by piece.
SHOWN = """([names, gap]) => {
    const text = document.body.innerText.replaceAll(gap, "");
    return names.every((name) => text.includes(name));
}"""
# The two UIs that Prefect brings along.
PAGES = ("v2/artifacts/artifact", "artifacts/artifact")


def test_no_name_of_a_column_is_followed_in_the_ui(
    prefect_server: PrefectServer, page: Page, tmp_path: Path
) -> None:
    values = factor_table(60, len(HOSTILE), 0.1, seed=1)
    pd.DataFrame(values, columns=list(HOSTILE)).to_csv(tmp_path / "in.csv", index=False)
    places = {"source": {"path": "in.csv"}, "target": {"path": "out.csv"}}
    write_yaml(tmp_path / "job.yaml", {"name": "hostile", **places})
    finished = subprocess.run(
        [EM_IMPUTE, "run", "job.yaml", "--json"],
        cwd=tmp_path,
        env=prefect_server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "\x1b" not in finished.stdout + finished.stderr
    query = {"flow_runs": {"tags": {"all_": ["em_impute", "hostile"]}}}
    [flow_run] = prefect_server.ask("flow_runs/filter", query)
    left = artifacts(prefect_server, Run(flow_run["id"], tmp_path))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    SEEN.mkdir(exist_ok=True)
    for pages in PAGES:
        for table in ("columns", "checks", "report"):
            page.goto(f"{prefect_server.url}/{pages}/{left[f'hostile-{table}']['id']}")
            names = HOSTILE[:6] if table == "columns" else ("www.evil.example",)
            page.wait_for_function(SHOWN, arg=[names, BREAK], polling=500)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=SEEN / f"hostile-{table}-{pages[:2]}.png")
            assert page.locator("[href*='evil'], [href^='javascript']").count() == 0
            assert page.locator("form[action], input[name=password], main style").count() == 0
    here = (prefect_server.url, "data:", "blob:")
    assert not [url for url in asked if not url.startswith(here) and "127.0.0.1:9/" in url]
    assert not [url for url in asked if "evil" in url]
