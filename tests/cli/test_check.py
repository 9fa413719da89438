"""`em-impute check`: what it prints, and that it finds what a run would refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import em_impute, good_rows, table
from conftest import ROOT, WriteJob

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_check_says_what_would_happen_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("check", ROOT / "configs" / "quickstart.yaml")
    assert result.exit_code == 0, result.output
    assert "airquality: 153 rows from data/airquality.csv" in result.output
    lines = {line.split()[0]: line.split() for line in result.output.splitlines() if line.strip()}
    assert lines["Ozone"] == ["Ozone", "int64", "impute", "37", "(24.2%)"]
    assert lines["Wind"] == ["Wind", "double", "predictor", "0", "(0.0%)"]
    assert lines["Month"][2] == "key"
    assert "would fill 44 cells and write out/airquality.parquet" in result.output
    assert not Path("out/airquality.parquet").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("draws", "words"), [(None, "20 times"), (5, "5 times"), ("auto", "as standard errors need")]
)
def test_check_says_how_often_cells_would_be_filled(
    write_job: WriteJob, draws: object, words: str
) -> None:
    several = {"method": "multiple"} | ({"draws": draws} if draws else {})
    result = em_impute("check", write_job(table(**good_rows()), imputation=several))
    assert result.exit_code == 0, result.output
    assert words in result.output


def test_check_finds_what_a_run_would_refuse(write_job: WriteJob) -> None:
    result = em_impute("check", write_job("x,y\n"))
    assert result.exit_code == 1
    assert "at least one row" in result.output
    result = em_impute("check", write_job("x,y\n1,2\n,3\n", columns={"impute": ["z"]}))
    assert result.exit_code == 2
    assert "the table has no column 'z'" in result.output


def test_check_says_what_would_be_left_and_what_columns_look_like(write_job: WriteJob) -> None:
    rows = good_rows()
    rows["order_id"] = list(range(100, 140))
    rows["sex"] = ["f", "m", None, "m"] * 10
    rows["note"] = [f"a {i}" if i % 8 else None for i in range(40)]
    result = em_impute("check", write_job(table(**rows)))
    assert result.exit_code == 0, result.output
    assert (
        "10 cells of sex and 5 of note (text) would be left missing; list it under categories to "
        "fill it, or name in columns.impute what is to be filled.\n"
    ) in result.output
    assert "  - order_id seems to number the rows, taken for a predictor;" in result.output
    chosen = em_impute("check", write_job(columns={"impute": ["y"], "key": ["order_id"]}))
    assert "would be left" not in chosen.output
    assert (
        "As the job says, it would leave missing: sex 10 (not named in columns.impute), "
        "note 5 (not named in columns.impute).\n"
    ) in chosen.output
    assert "look like" not in chosen.output
