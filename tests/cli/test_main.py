"""The commands beside `run` and `check`: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import GOOD, em_impute, good_rows, table
from conftest import EM_IMPUTE, WriteJob

from em_impute import __version__
from em_impute.cli.main import main


def test_a_run_is_verified(write_job: WriteJob, tmp_path: Path) -> None:
    """Equal: 0; its ledger is another: 1; its source has changed, or it is no run: 2."""
    assert em_impute("run", "--direct", write_job(table(**good_rows()))).exit_code == 0
    (folder,) = Path("runs/test").iterdir()
    equal = em_impute("verify", folder)
    assert equal.output.startswith(f"{folder}: equal\n  Equal bit by bit: the table, summary.npz")
    assert equal.exit_code == 0
    Path("in.csv").write_text(table(**good_rows(41)))
    changed = em_impute("verify", folder)
    assert changed.output.startswith(f"{folder}: cannot be verified\n  The source in.csv has")
    assert changed.exit_code == 2
    (folder / "cells.parquet").unlink()
    other = em_impute("verify", folder)
    assert f"{folder / 'cells.parquet'} is gone." in other.output
    assert other.exit_code == 1
    nothing = em_impute("verify", "in.csv")
    assert "em-impute: in.csv has no manifest.json" in nothing.output
    assert nothing.exit_code == 2


def test_a_report_is_made_again_without_the_data(write_job: WriteJob) -> None:
    assert em_impute("run", "--direct", write_job(GOOD)).exit_code == 0
    [folder] = Path("runs/test").iterdir()
    page = (folder / "report.html").read_text()
    for file in (Path("in.csv"), Path("out/filled.csv"), folder / "report.html"):
        file.unlink()
    result = em_impute("report", folder)
    assert result.output == f"The report is in {folder}/report.html.\n"
    assert (folder / "report.html").read_text() == page
    nothing = em_impute("report", "runs")
    assert "em-impute: runs has no report.json" in nothing.output
    assert nothing.exit_code == 2


def test_history_takes_the_name_of_a_job_or_its_file(write_job: WriteJob) -> None:
    job = write_job(GOOD)
    for _ in range(2):
        assert em_impute("run", "--direct", job).exit_code == 0
    by_name = em_impute("history", "test")
    assert by_name.output == em_impute("history", job).output
    assert by_name.output.count("8 missing cells were filled") == 2
    assert em_impute("history", job, "--last", 1).output.count("8 missing cells were filled") == 1
    unknown = em_impute("history", "tset")
    assert "runs has no run of the job 'tset'; there are runs of test." in unknown.output
    assert unknown.exit_code == 2


def test_history_without_a_job_is_that_of_all_jobs(write_job: WriteJob) -> None:
    nothing = em_impute("history")
    assert "runs has no run of any job; name another folder with --runs." in nothing.output
    assert nothing.exit_code == 2
    for name in ("air", "water", "water"):
        assert em_impute("run", "--direct", write_job(GOOD, name=name)).exit_code == 0
    latest = em_impute("history").output
    assert latest.count("8 missing cells were filled") == 2
    assert {"air", "water"} <= set(latest.split())
    of_jobs = json.loads(em_impute("history", "--json").output)
    assert [one["job"] for one in of_jobs] == ["air", "water"]
    assert "The page is runs/index.html." in em_impute("history", "--page").output
    page = Path("runs/index.html").read_text()
    for one in of_jobs:
        assert f'href="{one["job"]}/{one["run"]}/report.html"' in page
    assert "leave JOB out" in em_impute("history", "air", "--page").output


def test_a_terminal_without_unicode_is_no_reason_to_fail(write_job: WriteJob) -> None:
    for _ in range(2):
        assert em_impute("run", "--direct", write_job(GOOD)).exit_code == 0
    plain = subprocess.run(
        [EM_IMPUTE, "history", "test"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.count(b"8 missing cells were filled") == 2
    assert plain.stdout.isascii()


def test_serving_two_jobs_of_one_name_is_refused(write_job: WriteJob) -> None:
    job = write_job(GOOD)
    result = em_impute("serve", job, job)
    assert result.exit_code == 2
    assert "Each job needs a name of its own" in result.output


def test_schema_is_json_and_describes_a_job() -> None:
    schema = json.loads(em_impute("schema").output)
    assert {"name", "source", "target", "checks"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("begun", "completed"),
    [
        ("che", ["plain,check"]),
        ("run --di", ["plain,--direct"]),
        ("export runs/a/b --to d", ["plain,dbt"]),
        ("run jo", ["file,jo"]),
        ("deploy a.yaml jo", ["file,jo"]),
        ("history jo", ["file,jo"]),
        ("init sal", ["file,sal"]),
    ],
)
def test_shells_complete_commands_options_and_job_files(begun: str, completed: list[str]) -> None:
    words = ["em-impute", *begun.split()]
    asked = {
        "_EM_IMPUTE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    answer = CliRunner().invoke(main, [], prog_name="em-impute", env=asked)
    assert answer.output.splitlines() == completed


def test_the_script_for_bash_completes() -> None:
    script = em_impute("completion", "bash").output
    asked = "COMP_WORDS=(em-impute hist); COMP_CWORD=1; _em_impute_completion em-impute"
    path = f"{Path(EM_IMPUTE).parent}:{os.environ['PATH']}"
    answer = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}\necho $COMPREPLY"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.stdout, answer.stderr) == ("history\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_are_scripts_for_other_shells(shell: str) -> None:
    assert f"_EM_IMPUTE_COMPLETE={shell}_complete" in em_impute("completion", shell).output


def test_the_package_is_a_program() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "em_impute", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout == f"python -m em_impute, version {__version__}\n"
