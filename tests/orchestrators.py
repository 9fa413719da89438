"""The examples of docs/orchestrators.md in a real Dagster and Airflow: `make test-orchestrators`.

Not one of the tests of `make test`: these programs are larger than all that em_impute installs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster
import pytest

ROOT = Path(__file__).parents[1]
DAGSTER, AIRFLOW = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/orchestrators.md").read_text(), re.MULTILINE | re.DOTALL
)
REFUSED = """\
name: refused
source: {path: data/airquality.csv}
columns: {key: [Month, Day]}
checks: {input: [expect_column_max_to_be_between: {column: Temp, max_value: 1}]}
target: {path: OUT}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # em_impute has an environment of its own, as the page says.
    programs = Path(sys.executable).parent, ROOT / ".venv/bin"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", ":".join(map(str, (*programs, os.environ["PATH"]))))
    monkeypatch.setenv("EM_IMPUTE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "false")


@pytest.fixture
def refused(tmp_path: Path) -> str:
    job = tmp_path / "refused.yaml"
    job.write_text(REFUSED.replace("OUT", str(tmp_path / "out.parquet")))
    return str(job)


def of_job(code: str, job: str) -> str:
    return re.sub(r'^JOB = ".*"$', f'JOB = "{job}"', code, flags=re.MULTILINE)


# --- Dagster -----------------------------------------------------------------------------------


def materialized(code: str) -> dagster.ExecuteInProcessResult:
    found: dict[str, Any] = {"__name__": "example"}
    exec(code, found)
    assets = [found["air"], found["air_filled"], found["air_can_be_filled"]]
    return dagster.materialize(assets, raise_on_error=False)


def test_dagster_checks_and_fills() -> None:
    done = materialized(DAGSTER)
    assert done.success
    [check] = done.get_asset_check_evaluations()
    assert check.passed
    [filled] = done.asset_materializations_for_node("air_filled")
    assert filled.metadata["imputed_cells"].value == 44
    assert Path(filled.metadata["report"].value).exists()


def test_dagster_makes_nothing_of_a_table_that_would_be_refused(refused: str) -> None:
    done = materialized(of_job(DAGSTER, refused))
    assert not done.success
    assert not done.asset_materializations_for_node("air_filled")


# --- Airflow -----------------------------------------------------------------------------------


def printed_by(code: str, tmp_path: Path) -> str:
    """What a real run of the DAG prints."""
    (tmp_path / "airflow/dags").mkdir(parents=True)
    (tmp_path / "airflow/dags/air.py").write_text(code)
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        subprocess.run(["airflow", *command], check=True, capture_output=True)
    command = ["airflow", "dags", "test", "air", "2026-02-03"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_airflow_fills_for_the_day(tmp_path: Path) -> None:
    assert "state=success" in printed_by(AIRFLOW, tmp_path)
    [report] = tmp_path.glob("runs/airquality/*/report.json")
    numbers = json.loads(report.read_text())
    assert numbers["verdict"]["outcome"].startswith("published")


def test_airflow_does_not_try_a_refused_table_again(refused: str, tmp_path: Path) -> None:
    said = printed_by(of_job(AIRFLOW, refused), tmp_path)
    assert "AirflowFailException" in said
    assert "1 critical check failed on the input" in said
    assert "state=failed" in said
    assert "up_for_retry" not in said
