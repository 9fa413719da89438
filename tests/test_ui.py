"""A run as people see it: Prefect's own server and UI, in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import EM_IMPUTE, ROOT, PrefectServer
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.xdist_group("prefect")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000


@dataclass(frozen=True)
class Quickstart:
    """The quickstart, run from the command line: its flow run's id and its folder."""

    id: str
    folder: Path


@pytest.fixture(scope="module")
def run(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "data").symlink_to(ROOT / "data")
    command = [EM_IMPUTE, "run", str(ROOT / "configs" / "quickstart.yaml")]
    finished = subprocess.run(
        command,
        cwd=folder,
        env=prefect_server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (flow_run,) = ask(
        prefect_server,
        "flow_runs/filter",
        {"flow_runs": {"name": {"like_": "airquality"}}, "sort": "START_TIME_DESC", "limit": 1},
    )
    return Quickstart(flow_run["id"], folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"None of {', '.join(BROWSERS)} is installed; `make test` installs Chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


def ask(server: PrefectServer, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{server.url}/api/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        rows: list[dict[str, Any]] = json.load(answer)
    return rows


def artifacts(server: PrefectServer, run: Quickstart) -> dict[str, dict[str, Any]]:
    """The run's artifacts, by key."""
    query = {"artifacts": {"flow_run_id": {"any_": [run.id]}}}
    return {artifact["key"]: artifact for artifact in ask(server, "artifacts/filter", query)}


def test_the_run_and_its_steps_are_seen(
    prefect_server: PrefectServer, run: Quickstart, page: Page
) -> None:
    page.goto(f"{prefect_server.url}/v2/runs/flow-run/{run.id}")
    expect(page.get_by_text("Completed").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Read 153 rows and 6 columns from data/airquality.csv.")).to_be_visible(
        timeout=PATIENCE
    )
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
        expect(page.get_by_text(f"{step}-").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tab", name="Artifacts").click()
    for key in ("airquality-report", "airquality-columns", "airquality-em"):
        expect(page.get_by_text(key).first).to_be_visible(timeout=PATIENCE)


def test_the_report_is_shown_with_its_pictures(
    prefect_server: PrefectServer, run: Quickstart, page: Page, tmp_path: Path
) -> None:
    report = artifacts(prefect_server, run)["airquality-report"]
    page.goto(f"{prefect_server.url}/v2/artifacts/artifact/{report['id']}")
    expect(page.get_by_text("44 missing cells were filled").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Converged after").first).to_be_visible()
    pictures = page.locator("img[src^='data:image/png']")
    expect(pictures).to_have_count(7)
    for i in range(7):
        assert pictures.nth(i).evaluate("image => image.naturalWidth") > 0
    expect(page.get_by_text("Better than the mean by").first).to_be_visible()
    page.screenshot(path=tmp_path / "report.png", full_page=True)


def test_the_columns_are_shown_as_a_table(
    prefect_server: PrefectServer, run: Quickstart, page: Page
) -> None:
    columns = artifacts(prefect_server, run)["airquality-columns"]
    page.goto(f"{prefect_server.url}/v2/artifacts/artifact/{columns['id']}")
    for text in ("Ozone", "Solar.R", "EM mean", "41.8712"):
        expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE)


def test_progress_of_em_ends_at_100_percent(prefect_server: PrefectServer, run: Quickstart) -> None:
    assert artifacts(prefect_server, run)["airquality-em"]["data"] == 100.0


def test_no_artifact_is_large_or_shows_a_row(
    prefect_server: PrefectServer, run: Quickstart
) -> None:
    """The largest Ozone value, 168, and Solar.R's, 334, are nobody's aggregates."""
    for artifact in artifacts(prefect_server, run).values():
        text = json.dumps(artifact["data"])
        assert len(text) < 1_000_000
        words = text.split("data:image")[0].replace("|", " ").replace(",", " ").split()
        assert "168" not in words
        assert "334" not in words


def test_the_page_opens_without_network_and_fits(
    prefect_server: PrefectServer, run: Quickstart, page: Page
) -> None:
    (report,) = run.folder.glob("runs/*/*/report.html")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="airquality")).to_be_visible()
    assert requests == [report.as_uri()]
    assert page.locator("svg").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
