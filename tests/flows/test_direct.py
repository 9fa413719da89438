"""Runs without Prefect: the same table and ledger, the same exit codes, and nothing of Prefect."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import EM_IMPUTE, ROOT, write_yaml

from em_impute.cli import main as cli
from em_impute.flows import direct

JOB: dict[str, Any] = {
    "name": "direct",
    "source": {"path": str(ROOT / "data/airquality.csv")},
    "target": {"path": "filled.csv"},
}
DRAWN = {
    "source": {"path": str(ROOT / "data/penguins.csv")},
    "columns": {
        "impute": ["body_mass_g", "sex"],
        "categories": {"sex": "nominal"},
        "group_by": ["island"],
    },
    "model": {"min_group_rows": 20},
    "imputation": {"method": "draw", "mask": True},
    "checks": {"output": [{"expect_column_values_to_not_be_null": {"column": "sex"}}]},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def em_impute(*options: str, **job: Any) -> Result:
    write_yaml(Path("job.yaml"), JOB | job)
    return CliRunner().invoke(cli.main, ["run", "job.yaml", *options])


def run_folder(result: Result) -> Path:
    return Path(json.loads(result.stdout)["folder"])


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("job", [{}, DRAWN], ids=["quickstart", "draws by group"])
def test_it_publishes_the_same_bits(job: dict[str, Any]) -> None:
    left = []
    for options in ([], ["--direct"]):
        result = em_impute("--json", *options, **job)
        assert result.exit_code == 0, result.output
        folder = run_folder(result)
        ledger = pd.read_parquet(folder / "cells.parquet")
        model = (folder / "model.json").read_bytes()
        files = sorted(path.name for path in folder.iterdir())
        left.append([Path("filled.csv").read_bytes(), ledger.to_csv(), model, files])
        said = "The run went without Prefect" in (folder / "report.html").read_text()
        assert said == bool(options)
        assert ("/runs/flow-run/" in (folder / "report.html").read_text()) != bool(options)
    assert left[0] == left[1]


def test_it_imports_no_prefect_and_no_great_expectations() -> None:
    write_yaml(Path("job.yaml"), JOB)
    program = """
import sys
from em_impute.cli.main import main
try:
    main(["run", "job.yaml", "--direct", "--quiet"])
except SystemExit as ended:
    print(ended.code, sorted({"prefect", "great_expectations"} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "0 []", ended.stderr
    assert ended.stdout.startswith("Published: 44 missing cells were filled")


@pytest.mark.parametrize(
    ("changed", "code", "outcome", "sentence"),
    [
        (
            {
                "checks": {
                    "input": [
                        {"expect_column_max_to_be_between": {"column": "Temp", "max_value": 50}}
                    ]
                }
            },
            1,
            "not published",
            "Temp",
        ),
        ({"columns": {"impute": ["Ozon"]}}, 2, "not published", "'Ozon'"),
        ({"source": {"path": "nowhere.csv"}}, 2, "not published", "nowhere.csv"),
        ({"target": {"path": "/dev/full", "format": "csv"}}, 2, None, "/dev/full"),
        ({"time_limit": 1e-6}, 3, "not published", "longer than its time limit"),
    ],
    ids=["refused", "no such column", "no such file", "no such target", "time limit"],
)
def test_exit_codes(changed: dict[str, Any], code: int, outcome: str | None, sentence: str) -> None:
    result = em_impute("--direct", "--json", **changed)
    said = json.loads(result.stdout)
    assert (result.exit_code, said["exit_code"], said["published"]) == (code, code, False)
    assert sentence in result.stdout
    assert outcome is None or said["outcome"] == outcome
    assert not Path("filled.csv").exists()
    assert "Traceback" not in result.output


def test_a_fault_of_the_program_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(direct.steps, "fit", fails)
    result = em_impute("--direct")
    assert result.exit_code == 3
    assert "ERROR   | The step fit failed by a fault of the program." in result.stderr
    assert "ZeroDivisionError" in result.stderr
    assert "The run failed by a fault of the program (ZeroDivisionError)." in result.stdout


def test_the_log_says_what_the_steps_do() -> None:
    result = em_impute("--direct")
    assert "INFO    | Read 153 rows and 6 columns from" in result.stderr
    assert "INFO    | Published 153 rows to filled.csv." in result.stderr
    assert "INFO" not in em_impute("--direct", "--quiet").stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_a_report_and_the_old_table(
    number: signal.Signals, code: int
) -> None:
    Path("filled.csv").write_text("old")
    slow = {"model": {"acceleration": "none", "tol": 1e-15, "max_iter": 10**9}}
    write_yaml(Path("job.yaml"), JOB | slow)
    with subprocess.Popen(
        [EM_IMPUTE, "run", "job.yaml", "--direct"], stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "Fitting" in line:
                break
        run.send_signal(number)
        left = run.stderr.read()
    assert run.returncode == code
    assert "interrupted; what was not published will not be." in left
    assert "Traceback" not in left
    assert Path("filled.csv").read_text() == "old"
    [folder] = Path("runs/direct").iterdir()
    assert "interrupted" in (folder / "report.json").read_text()
    assert not (folder / "snapshot.arrow").exists()


def test_the_state_of_a_job_has_its_rows() -> None:
    result = em_impute("--direct", "--json", state={"path": "state/direct"})
    assert result.exit_code == 0, result.output
    assert any(Path("state/direct").iterdir())
