"""The documents as a site: built without a warning, no link is dead, examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import matplotlib
import pytest
from command_line import em_impute
from conftest import ROOT
from test_docs import blocks

from em_impute.job import job_schema, load_job

PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "keys.md")
matplotlib.use("Agg")


class Page(HTMLParser):
    """What a page links to, loads and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {name for key in ("id", "name") if (name := given.get(key))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "link" and given.get("rel") not in ("search", "next", "prev", "index"):
            self.loaded.append(str(given["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, as `make docs` builds it."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, ROOT / "docs", built], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return built


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_is_built(pages: dict[Path, Page]) -> None:
    assert {path.stem for path in PAGES} <= {path.stem for path in pages}


def test_no_link_within_the_site_is_dead(pages: dict[Path, Page]) -> None:
    dead = [
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not _leads_somewhere(path, link, pages)
    ]
    assert not dead


def _leads_somewhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    url = urlsplit(link)
    if url.scheme:
        return url.scheme in ("http", "https")
    to = (path.parent / unquote(url.path)).resolve() if url.path else path
    anchor = unquote(url.fragment)
    return to.exists() and (not anchor or to not in pages or anchor in pages[to].ids)


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    assert not [link for page in pages.values() for link in page.loaded if "//" in link]
    styles = "".join(path.read_text(errors="ignore") for path in site.rglob("*.css"))
    assert not re.findall(r"url\([\"']?https?:|@import [\"']https?:", styles)


def _keys(section: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key that a job may have, with its path."""
    schema = job_schema()["$defs"]
    if ref := section.get("$ref"):
        section = schema[ref.rpartition("/")[2]]
    for option in (*section.get("anyOf", ()), *section.get("oneOf", ())):
        yield from _keys(option, path)
    if isinstance(section.get("items"), dict):
        yield from _keys(section["items"], path)
    for key, value in section.get("properties", {}).items():
        inner = f"{path}.{key}" if path else key
        yield inner
        yield from _keys(value, inner)


def test_the_reference_has_every_key(site: Path) -> None:
    text = (site / "keys.html").read_text()
    known = set(re.findall(r'<span class="pre">([a-z_.0-9]+)</span>', text))
    missing = set(_keys(job_schema())) - known
    assert not missing


@pytest.mark.parametrize("page", ["quickstart", "notebooks", "columns", "gallery"])
def test_python_examples_run(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code = "\n".join(blocks((ROOT / "docs" / f"{page}.md").read_text(), "python"))
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)\s+# (.*)", code)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_whole_jobs_load(page: Path, tmp_path: Path) -> None:
    for i, block in enumerate(blocks(page.read_text(), "yaml")):
        if re.search(r"^name: ", block, re.MULTILINE) and "source:" in block:
            (tmp_path / f"{i}.yaml").write_text(block)
            load_job(tmp_path / f"{i}.yaml")


@pytest.mark.usefixtures("prefect_server", "pictures_left_out")
@pytest.mark.parametrize("page", ["gates", "categories"])
def test_the_jobs_of_how_to_pages_publish(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [job] = blocks((ROOT / "docs" / f"{page}.md").read_text(), "yaml")
    Path("job.yaml").write_text(job)
    Path("data").symlink_to(ROOT / "data")
    done = em_impute("run", "--quiet", "job.yaml")
    assert done.exit_code == 0, done.output
