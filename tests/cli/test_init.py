"""`em-impute init`: the files that it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import em_impute
from conftest import ROOT


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_example_is_written_checked_and_run() -> None:
    said = em_impute("init", "--example")
    assert said.exit_code == 0, said.output
    assert "2 columns to fill, 2 that predict" in said.output
    assert Path("airquality.csv").read_bytes() == (ROOT / "data/airquality.csv").read_bytes()
    assert em_impute("check", "job.yaml").exit_code == 0
    run = em_impute("run", "--direct", "--json", "job.yaml")
    assert json.loads(run.stdout)["imputed_cells"] == 44


def test_a_job_for_a_table_of_ones_own() -> None:
    said = em_impute("init", ROOT / "data/penguins.csv", "--out", "penguins.yaml")
    assert said.exit_code == 0, said.output
    assert "Read it, then: em-impute check penguins.yaml" in said.output
    assert "sex: nominal" in Path("penguins.yaml").read_text()


def test_nothing_is_overwritten() -> None:
    Path("job.yaml").write_text("mine")
    for arguments in (["--example"], [ROOT / "data/penguins.csv"]):
        said = em_impute("init", *arguments)
        assert said.exit_code == 2
        assert "job.yaml is there already; name another file with --out." in said.output
    assert Path("job.yaml").read_text() == "mine"
    assert not Path("airquality.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["duckdb:///w.duckdb"], "A database needs --table NAME beside its URL."),
        (["in.csv", "--table", "t"], "--table is for databases, whose URL begins with"),
        ([], "Name a TABLE, or write the example with --example."),
        (["in.csv", "--example"], "Name a TABLE, or write the example with --example."),
        (["postgresql://me:s3cret@host/db", "--table", "t"], "password"),
        (["env:NO_SUCH_VARIABLE", "--table", "t"], "NO_SUCH_VARIABLE"),
    ],
)
def test_what_is_refused(arguments: list[str], sentence: str) -> None:
    said = em_impute("init", *arguments)
    assert said.exit_code == 2
    assert sentence in said.output
    assert "s3cret" not in said.output
    assert "Traceback" not in said.output
    assert not Path("job.yaml").exists()
