"""The documents as a site: built without a warning, no link is dead, examples run."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import matplotlib
import pytest
from chromium import launched
from command_line import em_impute
from conftest import ROOT
from test_docs import blocks

import em_impute as package
from em_impute.cli.main import main
from em_impute.job import job_schema, load_job

MADE = {"commands.md", "errors.md", "keys.md"}  # by conf.py
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in MADE)
SCHEMA = job_schema()
matplotlib.use("Agg")


class Page(HTMLParser):
    """What a page links to, loads and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.images: dict[str, str] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {name for key in ("id", "name") if (name := given.get(key))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "img":
            self.images[str(given["src"])] = given.get("alt") or ""
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
    assert {path.stem for path in (*PAGES, *map(Path, MADE))} <= {path.stem for path in pages}


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


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.stem
)
def test_links_say_where_they_lead(page: Path) -> None:
    """And are not the name of a file, which says it to nobody."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    named = re.findall(r"\[`?[^\]` ]*\.(?:md|py|ya?ml|html|png|csv|json|toml)`?\]\([^)]*\)", text)
    assert not named


def test_images_have_text(pages: dict[Path, Page]) -> None:
    described = {image: text for page in pages.values() for image, text in page.images.items()}
    assert len(described) > 5
    assert not [image for image, text in described.items() if len(text.split()) < 5]


def test_every_message_has_a_page_that_its_words_find(site: Path) -> None:
    made = runpy.run_path(str(ROOT / "docs" / "error_pages.py"))
    entries = list(made["entries"]((ROOT / "docs" / "troubleshooting.md").read_text()))
    assert len(list((site / "errors").glob("*.html"))) == len(entries) > 200
    index = json.loads((site / "searchindex.js").read_text()[len("Search.setIndex(") : -1])
    found = {index["docnames"][i] for i in index["titleterms"]["spread"]}
    assert "errors/the-table-has-no-column" in found
    assert "troubleshooting" not in found


def test_a_phone_has_room_for_each_page_and_finds_a_message(site: Path) -> None:
    with launched() as browser:
        page = browser.new_page(viewport={"width": 400, "height": 800})
        for name in ("index", "job", "commands", "troubleshooting", "api"):
            page.goto(f"file://{site}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
        page.goto(f"file://{site}/search.html?q=have+no+spread+to+compare+with")
        page.locator("#search-results li a").first.wait_for()
        found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
        # A page on much has all of these words, too.
        assert any(str(at).startswith("errors/the-table-has-no-column.html") for at in found[:3])


def test_every_command_and_option_is_on_its_page(site: Path) -> None:
    text = (site / "commands.html").read_text()
    options = {
        name
        for command in main.commands.values()
        for one in command.params
        for name in one.opts
        if name[0] == "-"
    }
    shown = set(re.findall(r'<span class="pre">(-[-a-z]+),?</span>', text))
    assert options <= shown
    assert all(f'id="{name}"' in text for name in main.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_in_examples_can_be_given(page: Path) -> None:
    for line in "\n".join(blocks(page.read_text(), "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)
        if words[:1] == ["em-impute"] and not words[1].startswith("-"):
            command = main.commands[words[1]]
            command.make_parser(click.Context(command)).parse_args(words[2:])


def test_public_names_have_their_public_paths(pages: dict[Path, Page], site: Path) -> None:
    ids = pages[site / "api.html"].ids
    assert {f"em_impute.{name}" for name in package.__all__} <= ids
    assert {f"em_impute.EMImputer.{name}" for name in ("mean_", "covariance_", "result_")} <= ids
    assert "\\_" not in (site / "api.html").read_text()


def _keys(section: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key that a job may have, with its path."""
    schema = SCHEMA["$defs"]
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
    missing = set(_keys(SCHEMA)) - known
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


@pytest.mark.usefixtures("prefect_server")
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


def test_the_lines_of_the_first_page_fill_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(ROOT / "data")
    [lines] = blocks((ROOT / "docs" / "index.md").read_text(), "sh")
    assert len(lines.splitlines()) == 10
    before, job, after = re.split(r"cat > job.yaml <<END\n|^END\n", lines, flags=re.MULTILINE)
    assert before == "pip install .\n"
    Path("job.yaml").write_text(job)
    for line in after.splitlines():
        if line.startswith("em-impute "):
            done = em_impute(*line.split()[1:])
            assert done.exit_code == 0, done.output
    assert Path("out/airquality.parquet").exists()
