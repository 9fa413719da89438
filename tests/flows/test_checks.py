"""Runs of jobs whose checks are the suites of a project of Great Expectations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import ROOT, write_yaml
from gx_projects import HOOK, content, make_project
from receivers import Receiver, receiving

from em_impute.cli import main as cli


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, "gx"))


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv(HOOK, f"{receiver.url}/secretPath")
        yield receiver


def run(*options: str, source: Path = ROOT / "data/airquality.csv", **checks: Any) -> Result:
    job = {
        "name": "suites",
        "source": {"path": str(source)},
        "columns": {"impute": ["Ozone", "Solar.R"], "key": ["Month", "Day"]},
        "imputation": {"mask": True},
        "checks": {"context": "gx/", **checks},
        "target": {"path": "filled.csv"},
    }
    write_yaml(Path("job.yaml"), job)
    return CliRunner().invoke(cli.main, ["run", "job.yaml", *options])


def folder() -> Path:
    [folder] = Path("runs/suites").iterdir()
    return folder


def site(project: Path) -> list[str]:
    pages = (project / "uncommitted/data_docs/local_site/validations").rglob("*.html")
    return sorted(page.name for page in pages)


def test_a_suite_and_a_checkpoint_of_the_filled_table(project: Path, slack: Receiver) -> None:
    before = content(project)
    result = run("--direct", checkpoint="nightly", results="COMPLETE")
    assert result.exit_code == 0, result.output
    assert "Not met on the output: Temp at least 60.0 (8 of 153 rows unexpected)" in result.output
    [message] = slack.bodies
    assert b"nightly - Failure" in message
    assert b"*4* of *5* Expectations were met" in message
    assert site(project) == ["em_impute-suites-output.html"]
    assert content(project) == before
    found = json.loads((folder() / "checks.json").read_text())[1]["results"]
    [imputed] = [each for each in found if each["name"].startswith("expect_imputed")]
    assert imputed["observed"].endswith("7 imputed and 146 observed cells")
    [suite] = json.loads((folder() / "great_expectations-output.json").read_text())
    assert suite["results"][2]["result"]["unexpected_list"] == [56, 59, 58, 57, 59, 57, 58, 57]
    assert (project / "uncommitted/validations/nightly" / folder().name).is_dir()
    everything = b"".join(file.read_bytes() for file in Path().rglob("*") if file.is_file())
    assert b"secretPath" not in everything
    assert "secretPath" not in result.output


@pytest.mark.usefixtures("prefect_server")
def test_a_suite_of_the_input_stops_a_run_in_prefect_and_the_actions_are_run_all_the_same(
    project: Path, slack: Receiver
) -> None:
    result = run(checkpoint={"input": "raw"}, suite="nightly")
    assert result.exit_code == 1
    assert "1 critical check failed on the input: Temp: max between 0.0 and 90.0" in result.output
    assert len(slack.bodies) == 1
    assert site(project) == ["em_impute-suites-input.html"]
    assert not Path("filled.csv").exists()


@pytest.mark.usefixtures("project")
def test_what_is_not_there_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    for checks, words in [
        ({"context": "gxx", "suite": "nightly"}, "no project of Great Expectations"),
        ({"suite": "nihgtly"}, "has no suite nihgtly (did you mean nightly?)"),
        ({"checkpoint": {"input": "rwa"}}, "has no checkpoint rwa (did you mean raw?)"),
    ]:
        result = run("--direct", source=tmp_path / "absent.csv", **checks)
        assert result.exit_code == 2
        assert words in " ".join(result.output.split())
        assert "absent.csv" not in result.output
        check = CliRunner().invoke(cli.main, ["check", "job.yaml"])
        assert check.exit_code == 2
        assert words in " ".join(check.output.split())


@pytest.mark.usefixtures("project")
def test_an_action_that_fails_is_a_warning_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOOK, "http://127.0.0.1:9/secretPath")
    result = run("--direct", checkpoint="nightly")
    assert result.exit_code == 0
    words = "The action alert of the checkpoint nightly failed on the output (not delivered)"
    assert words in (folder() / "report.html").read_text()
    everything = b"".join(file.read_bytes() for file in folder().rglob("*") if file.is_file())
    assert b"secretPath" not in everything
    assert "secretPath" not in result.output
