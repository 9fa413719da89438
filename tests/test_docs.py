"""The documents: their examples run, and they name what exists."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

from em_impute import cli, estimator
from em_impute.gaussian import em, patterns
from em_impute.job import load_job

README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_python_examples_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, object] = {}
    code = "\n".join(blocks(README, "python"))
    exec(code, namespace)
    assert not namespace["filled"].isna().any(axis=None)  # type: ignore[attr-defined]
    said = re.findall(r"print\(.*\)\s+# (.*)", code)
    assert capsys.readouterr().out.splitlines() == said


def test_job_examples_of_the_readme_load(tmp_path: Path) -> None:
    for i, block in enumerate(blocks(README, "yaml")):
        path = tmp_path / f"{i}.yaml"
        path.write_text(block)
        assert load_job(path).name == "airquality"


def test_the_readme_says_what_it_is_in_its_first_20_lines() -> None:
    head = "\n".join(README.splitlines()[:20])
    for part in ("make demo", "make test", "docs/report.png", "from em_impute import EMImputer"):
        assert part in head


def test_commands_and_files_that_the_readme_names_exist() -> None:
    for command in re.findall(r"^em-impute (\w+)", README, re.MULTILINE):
        assert command in cli.main.commands
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ["method.md", "security.md"])
def test_tests_that_a_page_names_exist(page: str) -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", (ROOT / "docs" / page).read_text())
    assert named
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_every_job_in_configs_is_run_by_a_test() -> None:
    tests = (ROOT / "tests" / "test_cli.py").read_text()
    for config in (ROOT / "configs").glob("*.yaml"):
        assert f'"{config.name}"' in tests


@pytest.mark.parametrize("module", [estimator, em, patterns], ids=lambda m: m.__name__)
def test_examples_in_docstrings_run(module: ModuleType) -> None:
    failures, tried = doctest.testmod(module)
    assert tried
    assert not failures
