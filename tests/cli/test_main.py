"""The command line: what it prints, its exit codes, and that a failed run touches nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pyte
import pytest
from click.testing import CliRunner, Result
from conftest import EM_IMPUTE, ROOT, PrefectServer, WriteJob, own_environment
from postgres_server import GUARDED, PASSWORD, PostgresServer
from prefect.settings import PREFECT_API_URL, temporary_settings

from em_impute.cli import main as cli
from em_impute.tables.writing import formats as staging

pytestmark = pytest.mark.usefixtures("prefect_server")

OLD = b"the table of yesterday\n"


def em_impute(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def table(**columns: list[Any]) -> str:
    return pd.DataFrame(columns).to_csv(index=False)


def good_rows(n: int = 40) -> dict[str, list[Any]]:
    """Two related columns, the second with a hole in every fifth row."""
    rng = np.random.default_rng(1)
    x = rng.normal(10, 2, n).round(3)
    y = (3 * x + rng.normal(0, 1, n)).round(3)
    return {"x": x.tolist(), "y": [None if i % 5 == 0 else v for i, v in enumerate(y.tolist())]}


def skewed_rows(n: int = 600) -> dict[str, list[Any]]:
    """Two related columns, the second log-normal given the first; every fifth row has a hole."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=n)
    y = np.exp(0.5 * x + rng.normal(size=n))
    return {"x": x.tolist(), "y": [None if i % 5 == 0 else v for i, v in enumerate(y.tolist())]}


@pytest.fixture
def old_target(tmp_path: Path) -> Path:
    """Yesterday's table, at the target of `write_job`."""
    path = tmp_path / "out" / "filled.csv"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def test_quickstart_publishes_the_reference_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """44 cells of New York's air, filled from the maximum that R's norm finds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "quickstart.yaml")
    assert result.exit_code == 0, result.output
    assert "44 missing cells were filled" in result.output
    assert "Ozone 37, Solar.R 7" in result.output
    before = pd.read_csv("data/airquality.csv")
    after = pq.read_table("out/airquality.parquet").to_pandas()
    assert len(after) == 153
    assert list(after.columns) == list(before.columns)
    assert after.notna().all(axis=None)
    for name in before:
        shown = before[name].notna()
        assert before[name][shown].to_numpy(float).tobytes() == (
            after[name][shown].to_numpy(float).tobytes()
        )
    known = json.loads((ROOT / "tests" / "reference" / "airquality.json").read_text())
    mean, covariance = np.array(known["mean"]), np.array(known["cov"])
    row = before[before.Ozone.isna() & before["Solar.R"].isna()].index[0]
    slopes = np.linalg.solve(covariance[2:, 2:], covariance[2:, :2])
    expected = mean[:2] + (before.loc[row, ["Wind", "Temp"]].to_numpy(float) - mean[2:]) @ slopes
    np.testing.assert_allclose(
        after.loc[row, ["Ozone", "Solar.R"]].to_numpy(float), expected, rtol=1e-5
    )


def test_penguins_ride_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "penguins.yaml")
    assert result.exit_code == 0, result.output
    before = pd.read_csv("data/penguins.csv", keep_default_na=False)
    after = pd.read_csv("out/penguins.csv", keep_default_na=False)
    assert len(after) == 344
    pd.testing.assert_frame_equal(
        before[["species", "island", "sex"]], after[["species", "island", "sex"]]
    )
    assert pd.read_csv("out/penguins.csv")["body_mass_g"].notna().all()


def test_postgresql_to_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    """Two runs: the second updates what the first has added. The password is nowhere."""
    monkeypatch.chdir(tmp_path)
    secret = quote(PASSWORD, safe="")
    monkeypatch.setenv(
        "WAREHOUSE_URL", postgres.guarded_url.replace(GUARDED, f"{GUARDED}:{secret}")
    )
    postgres.run(f"CREATE SCHEMA air AUTHORIZATION {GUARDED}")
    before = pd.read_csv(ROOT / "data" / "airquality.csv").astype(float)
    before.columns = [name.lower().replace(".", "_") for name in before.columns]
    with postgres.session() as cursor:
        table = pa.Table.from_pandas(before, preserve_index=False)
        cursor.adbc_ingest("measured", table, mode="create", db_schema_name="air")
        cursor.execute(f"GRANT SELECT ON air.measured TO {GUARDED}")
    for _ in range(2):
        result = em_impute("run", ROOT / "configs" / "postgresql.yaml")
        assert result.exit_code == 0, result.output
        assert "44 missing cells were filled" in result.output
    columns = ", ".join(before.columns)
    after = pd.DataFrame(
        postgres.run(f"SELECT {columns} FROM air.filled ORDER BY month, day"),
        columns=before.columns,
    )
    assert after.notna().all(axis=None)
    pd.testing.assert_frame_equal(after.where(before.notna()), before)
    runs = postgres.run("SELECT target, rows FROM air.em_impute_runs")
    assert runs == [("filled", 153), ("filled", 153)]
    left = [result.output, *(file.read_text(errors="replace") for file in tmp_path.rglob("*.*"))]
    assert not [text for text in left if "s3cret" in text or secret in text]
    manifest = json.loads(next(tmp_path.rglob("manifest.json")).read_text())
    assert manifest["target"]["target"] == "the table air.filled of $WAREHOUSE_URL"


def test_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    csv = ROOT / "data" / "penguins.csv"
    with duckdb.connect("out/penguins.duckdb") as connection:
        connection.execute(f"CREATE TABLE penguins AS FROM read_csv('{csv}', nullstr = 'NA')")
    result = em_impute("run", ROOT / "configs" / "duckdb.yaml")
    assert result.exit_code == 0, result.output
    with duckdb.connect("out/penguins.duckdb") as connection:
        rows = connection.execute("SELECT count(*), count(body_mass_g) FROM penguins_filled")
        assert len(set(rows.fetchall()[0])) == 1


def test_folder_of_csv_to_partitioned_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same cells as in the one file; of three runs, the last two versions are kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    for _ in range(3):
        result = em_impute("run", ROOT / "configs" / "folders.yaml")
        assert result.exit_code == 0, result.output
        assert "44 missing cells were filled" in result.output
    current = Path("out/airquality_months/current")
    assert [folder.name for folder in sorted(current.glob("Month=*"))] == [
        f"Month={month}" for month in range(5, 10)
    ]
    assert len(list(Path("out/airquality_months/versions").iterdir())) == 2
    before = pd.read_csv("data/airquality.csv").sort_values(["Month", "Day"], ignore_index=True)
    after = pa_dataset.dataset(current, partitioning="hive").to_table().to_pandas()
    after = after.sort_values(["Month", "Day"], ignore_index=True)[before.columns]
    assert not after.isna().any(axis=None)
    for name in before:
        shown = before[name].notna()
        assert (after[name][shown] == before[name][shown]).all()


def test_mixed_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sex is filled in as a level, whole numbers stay whole, observed cells are as they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "mixed.yaml")
    assert result.exit_code == 0, result.output
    assert "19 missing cells were filled" in result.output
    before, after = (
        pd.read_csv(path, keep_default_na=False)
        for path in ("data/penguins.csv", "out/penguins_mixed.csv")
    )
    assert after["body_mass_g"].dtype == after["flipper_length_mm"].dtype == np.int64
    for name in before:
        shown = before[name] != "NA"
        cells = before[name][shown].astype(after[name].dtype)
        assert (cells == after[name][shown]).all()
    assert (before["sex"] == "NA").sum() == 11
    assert set(after["sex"]) == {"female", "male"}
    [numbers] = (tmp_path / "runs").glob("penguins_mixed/*/report.json")
    columns = {c["name"]: c for c in json.loads(numbers.read_text())["columns"]}
    assert (columns["sex"]["missing"], columns["sex"]["imputed"]["count"]) == (11, 11)


def test_skewed_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "skewed.yaml")
    assert result.exit_code == 0, result.output
    before = pd.read_csv("data/airquality.csv")
    after = pq.read_table("out/airquality_skewed.parquet").to_pandas()
    assert after["Ozone"].dtype == after["Solar.R"].dtype == np.int64
    assert after["Ozone"].between(1, 200).all()
    assert after["Solar.R"].between(0, 340).all()
    for j, name in enumerate(["Ozone", "Solar.R"]):
        drawn = after["em_impute_mask"].to_numpy() >> j & 1
        assert (drawn == before[name].isna()).all()
        assert (after[name][drawn == 0] == before[name][drawn == 0]).all()
    [numbers] = (tmp_path / "runs").glob("airquality_skewed/*/report.json")
    ozone = json.loads(numbers.read_text())["columns"][0]
    assert ozone["observed"]["mean"] == pytest.approx(before["Ozone"].mean())
    assert 20 < ozone["em"]["mean"] < 80
    assert json.loads(numbers.read_text())["drawn"]
    test = json.loads(numbers.read_text())["self_test"]
    assert (test["method"], test["cells"], test["refusal"]) == ("refit", 34 + 43, None)
    assert test["rmse_ratio"] < 1


def test_a_model_per_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "groups.yaml")
    assert result.exit_code == 0, result.output
    said = "Of 5 groups, 1 with fewer than 50 rows are filled by the model of all rows."
    assert said in " ".join(result.output.split())
    filled = pd.read_csv("out/penguins_by_group.csv", keep_default_na=False)
    empty = pd.read_csv("data/penguins.csv")["body_mass_g"].isna()
    for row in filled[empty].itertuples():
        group = filled[(filled.species == row.species) & (filled.island == row.island) & ~empty]
        assert abs(row.body_mass_g - group.body_mass_g.mean()) < 0.5 * group.body_mass_g.std()
    [folder] = (tmp_path / "runs" / "penguins_by_group").iterdir()
    assert len(json.loads((folder / "groups.json").read_text())) == 4


def test_missingness_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little's test fails as a warning, with naniar's p-value; the draws are like the observed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "missingness.yaml")
    assert result.exit_code == 0, result.output
    assert Path("out/airquality_missingness.parquet").exists()
    [folder] = (tmp_path / "runs" / "airquality_missingness").iterdir()
    before, after = json.loads((folder / "checks.json").read_text())
    mcar, match = before["results"][-1], after["results"][-1]
    assert mcar["expected"] == (
        "cells of all numeric columns missing completely at random (p at least 0.05)"
    )
    assert (mcar["success"], mcar["severity"]) == (False, "warning")
    assert mcar["observed"].startswith("p = 0.00142, Little's test: 35.11 on 14 degrees of freedom")
    assert match["success"]
    assert match["observed"].endswith("37 imputed and 116 observed cells")
    report = (folder / "report.html").read_text()
    for words in (mcar["expected"], match["observed"]):
        assert words in unescape(report)


def shown(folder: Path) -> list[str]:
    """What is in the folder of a target besides its lock and its record, which are hidden."""
    beside = {".filled.csv.em_impute.lock", ".filled.csv.em_impute.json"}
    return sorted({file.name for file in folder.iterdir()} - beside)


def test_a_run_leaves_its_folder_and_nothing_else(write_job: WriteJob, tmp_path: Path) -> None:
    result = em_impute("run", write_job(table(**good_rows())))
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs" / "test").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "manifest.json",
        "model.json",
        "summary.npz",
        "cells.parquet",
        "checks.json",
        "report.json",
        "report.html",
    }
    assert shown(tmp_path / "out") == ["filled.csv"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["cells"] == 8
    assert manifest["source"]["rows"] == 40
    assert pq.read_table(folder / "cells.parquet").num_rows == 8


def test_a_run_is_verified(write_job: WriteJob, tmp_path: Path) -> None:
    """Equal: 0; its ledger is another: 1; its source has changed, or it is no run: 2."""
    assert em_impute("run", write_job(table(**good_rows()))).exit_code == 0
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


def test_a_sample_is_said_in_the_log_and_the_report(write_job: WriteJob) -> None:
    checks = {
        "input": [
            {"expect_table_row_count_to_equal": {"value": 40}},
            {"expect_column_values_to_be_between": {"column": "x", "min_value": -100}},
        ],
        "max_rows": 12,
    }
    result = em_impute("run", write_job(table(**good_rows()), checks=checks))
    assert result.exit_code == 0, result.output
    (folder,) = Path("runs/test").iterdir()
    said = "Great Expectations saw a sample of 12 of the 40 rows of the input"
    assert said in (folder / "report.html").read_text()
    results = json.loads((folder / "checks.json").read_text())[0]["results"]
    assert [r["observed"] for r in results[-2:]] == ["40 rows", "0 of 12 rows unexpected (0.0%)"]
    checks["input"].append({"expect_column_values_to_be_unique": {"column": "x"}})
    refused = em_impute("run", write_job(checks=checks))
    assert "expect_column_values_to_be_unique: this is about all rows together" in refused.output
    assert refused.exit_code == 2


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_a_run_tests_itself_and_tells_no_cell(write_job: WriteJob, method: str) -> None:
    rows = skewed_rows()
    job = write_job(
        table(**rows),
        columns={"transform": {"y": "log"}},
        self_test={"method": method, "max_share": 0.5, "max_pit_distance": 0.1},
    )
    result = em_impute("run", job)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "test Error " in said
    assert "% lower than filling with the mean, " in said
    assert "; 240 test cells." in said
    (folder,) = Path("runs/test").iterdir()
    page = (folder / "report.html").read_text()
    numbers = json.loads((folder / "report.json").read_text())["self_test"]
    assert (numbers["method"], numbers["cells"], numbers["observed"]) == (method, 240, 480)
    assert numbers["sentence"] in page
    cells = {f"{value:.6g}" for column in rows.values() for value in column if value is not None}
    told = {f"{float(n):.6g}" for n in re.findall(r"\d+\.\d{4,}", json.dumps(numbers))}
    assert told
    assert not told & cells


def test_a_run_without_a_test_says_so(write_job: WriteJob) -> None:
    result = em_impute("run", write_job(table(**good_rows()), self_test="off"))
    assert result.exit_code == 0, result.output
    (folder,) = Path("runs/test").iterdir()
    assert json.loads((folder / "report.json").read_text())["self_test"] is None
    assert "<h2>The self-test</h2>" not in (folder / "report.html").read_text()


def test_nothing_to_impute_publishes_the_table_as_it_is(write_job: WriteJob) -> None:
    rows = {"name": ["a", "b", "c"], "x": [1, 2, 4]}
    result = em_impute("run", write_job(table(**rows)))
    assert result.exit_code == 0, result.output
    assert "No cell needed filling" in result.output
    pd.testing.assert_frame_equal(pd.read_csv("out/filled.csv"), pd.DataFrame(rows))


# --- What is wrong with the job, its source or its target: exit code 2 --------------------------


def without_a_table(_: Path) -> None:
    """No in.csv at all."""


def of(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


GOOD = table(**good_rows())
WRONG_SOURCES = {
    "no such file": (without_a_table, {}, "in.csv: no such file"),
    "a picture": (of(b"\x89PNG\r\n\x1a\n" + bytes(50)), {}, "not a CSV file: it is a PNG picture"),
    "parquet named csv": (of(b"PAR1" + bytes(20) + b"PAR1"), {}, "say `format: parquet`"),
    "an empty file": (of(""), {}, "in.csv is empty"),
    "a ragged line": (of("a,b\n1,2\n3\n4,5\n"), {}, "row 2 has 1 field"),
    "duplicate names": (of("a,b,a\n1,2,3\n"), {}, "'a' names columns 1 and 3"),
    "a column that is not there": (
        of("Ozone,Wind\n1,2\n,3\n"),
        {"columns": {"impute": ["Ozon"]}},
        "job.yaml:2:12: columns.impute: the table has no column 'Ozon'; did you mean 'Ozone'?",
    ),
    "text in a numeric column": (
        of("x,y\n1,2\n2,\nthree,4\n"),
        {"columns": {"impute": ["y"], "predictors": ["x"]}},
        "column 'x' holds text at row 3 (a word of 5 letters)",
    ),
    "an unknown expectation": (
        of(GOOD),
        {"checks": {"input": [{"expect_column_to_exit": {"column": "x"}}]}},
        "has no expectation expect_column_to_exit (did you mean expect_column_to_exist?)",
    ),
    "a bad option of a check": (
        of(GOOD),
        {"checks": {"output": [{"expect_column_to_exist": {"colum": "x"}}]}},
        "there is no option colum (did you mean column?)",
    ),
    "a check of a column that is not there": (
        of(GOOD),
        {"checks": {"input": [{"expect_column_values_to_not_be_null": {"column": "z"}}]}},
        "the table has no column z",
    ),
    "a level that the job does not name": (
        of("x,grade\n1,low\n2,high\n3,\n4,other\n"),
        {"columns": {"categories": {"grade": ["low", "high"]}}},
        "column 'grade' holds at row 4 a level that is not among the 2 that the job names",
    ),
    "an unknown key": (of(GOOD), {"sorce": 1}, "unknown key (did you mean source?)"),
}


@pytest.mark.parametrize("case", WRONG_SOURCES)
def test_what_is_wrong_is_said_with_exit_code_2_and_touches_nothing(
    write_job: WriteJob, old_target: Path, case: str
) -> None:
    write_source, changes, message = WRONG_SOURCES[case]
    path = write_job(**changes)
    write_source(Path("in.csv"))
    result = em_impute("run", path)
    assert message in result.output
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "three" not in result.output.replace("a word of 5 letters", "")
    assert old_target.read_bytes() == OLD
    assert shown(old_target.parent) == ["filled.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "job.yaml:1:1: expected a mapping (`key: value`), got a list"),
        ("name: a\n\tsource: b\n", "a tab; indent with spaces only"),
        ("name: !!python/object/apply:os.system [ls]\n", "tags (such as !!python/object)"),
        ("name: x\nname: y\n", "already given on line 1"),
    ],
    ids=["no mapping", "a tab", "a python object", "a key twice"],
)
def test_a_file_that_is_no_job_is_exit_code_2(
    write_job: WriteJob, old_target: Path, text: str, message: str
) -> None:
    write_job(GOOD).write_text(text)
    result = em_impute("run", "job.yaml")
    assert message in result.output
    assert result.exit_code == 2
    assert old_target.read_bytes() == OLD


NEEDS_A_SERVER = (
    ("run", "job.yaml"),
    ("serve", "job.yaml"),
    ("deploy", "job.yaml", "--pool", "night"),
    ("backfill", "job.yaml", "--from", "2026-01-01", "--to", "2026-01-02"),
)


@pytest.mark.parametrize("arguments", NEEDS_A_SERVER, ids=lambda arguments: arguments[0])
def test_a_server_that_does_not_answer_is_said_in_a_sentence(
    write_job: WriteJob, arguments: tuple[str, ...]
) -> None:
    write_job(table(**good_rows()))
    with temporary_settings({PREFECT_API_URL: "http://night:s3cret@127.0.0.1:9/api"}):
        result = em_impute(*arguments)
    assert result.exit_code == 3
    assert result.stderr.startswith(
        "em-impute: The Prefect server at 127.0.0.1:9 does not answer; see that it is running"
    )
    assert "s3cret" not in result.output
    assert not Path("out/filled.csv").exists()


def test_a_server_that_wants_a_password_is_said_in_a_sentence(write_job: WriteJob) -> None:
    class Unwilling(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

    write_job(table(**good_rows()))
    with HTTPServer(("127.0.0.1", 0), Unwilling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            result = em_impute("deploy", "job.yaml", "--pool", "night")
        server.shutdown()
    assert result.exit_code == 3
    assert "does not let us in; set PREFECT_API_AUTH_STRING" in result.stderr


def test_a_target_that_cannot_be_written_is_found_before_the_work(write_job: WriteJob) -> None:
    Path("file").write_text("in the way")
    result = em_impute("run", write_job(GOOD, target={"path": "file/filled.csv"}))
    assert "The target file/filled.csv cannot be written" in result.output
    assert result.exit_code == 2
    assert not Path("runs").exists()


# --- What the checks refuse: exit code 1 ---------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "an empty table": ("x,y\n", {}, "at least one row (0 rows)"),
    "a column all missing": (
        table(**good_rows(), z=[None] * 40),
        {"columns": {"impute": ["y", "z"]}},
        "z observed in some row (all cells missing",
    ),
    "infinities": (
        table(**{**good_rows(), "x": [float("inf"), *good_rows()["x"][1:]]}),
        {},
        "x finite (1 infinite cell, the first in row 1",
    ),
    "a critical check of the input": (
        GOOD,
        {
            "checks": {
                "input": [{"expect_column_max_to_be_between": {"column": "x", "max_value": 0}}]
            }
        },
        "1 critical check failed on the input",
    ),
    "a critical check of the output": (
        GOOD,
        {
            "checks": {
                "output": [{"expect_column_mean_to_be_between": {"column": "y", "max_value": 0}}]
            }
        },
        "1 critical check failed on the output",
    ),
    "a self-test beyond its limit": (
        table(**skewed_rows()),
        {"self_test": {"max_share": 1.0, "max_pit_distance": 0.1}},
        "The self-test misses max_pit_distance (0.1): the distance of the PIT from uniform",
    ),
    "identical columns without a prior": (
        table(**good_rows(), twin=good_rows()["x"]),
        {"model": {"prior": 0}},
        "'x' and 'twin'",
    ),
    "fewer rows than columns without a prior": (
        "a,b,c,d\n1,2,3,4\n2,1,,3\n5,5,4,1\n",
        {"model": {"prior": 0}},
        "3 rows do not determine the spread of 4 columns",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_exit_code_1_with_a_report_and_touches_nothing(
    write_job: WriteJob, old_target: Path, case: str
) -> None:
    source, changes, message = REFUSED[case]
    result = em_impute("run", write_job(source, **changes))
    assert message in result.output
    assert result.exit_code == 1
    assert "Not published: " in result.output
    assert "Traceback" not in result.output
    assert old_target.read_bytes() == OLD
    (folder,) = Path("runs/test").iterdir()
    assert "not published" in (folder / "report.html").read_text().lower()
    assert not (folder / "snapshot.arrow").exists()


# --- What is published with a warning: exit code 0 -----------------------------------------------

WARNED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a constant column": (table(**good_rows(), z=[None] + [7] * 39), {}, "z"),
    "identical columns": (table(**good_rows(), twin=good_rows()["x"]), {}, "'x' and 'twin'"),
    "fewer rows than columns": ("a,b,c,d\n1,2,3,4\n2,1,,3\n5,5,4,1\n", {}, "3 rows"),
    "a warning of the input": (
        GOOD,
        {
            "checks": {
                "input": [
                    {
                        "expect_column_max_to_be_between": {
                            "column": "x",
                            "max_value": 0,
                            "severity": "warning",
                        }
                    }
                ]
            }
        },
        "Not met on the input",
    ),
    "a column that is not normal": (
        table(**skewed_rows()),
        {"self_test": {"max_share": 1.0}},
        "The normal model does not fit the test cells of y",
    ),
    "not converged": (table(**good_rows()), {"model": {"max_iter": 1}}, "max_iter=1"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_is_only_odd_is_published_with_warnings(write_job: WriteJob, case: str) -> None:
    source, changes, message = WARNED[case]
    result = em_impute("run", write_job(source, **changes))
    assert result.exit_code == 0, result.output
    assert "Published with warnings" in result.output
    assert message in result.output
    assert not pd.read_csv("out/filled.csv").isna().any(axis=None)


# --- What nobody can help: exit code 3, or no code at all ----------------------------------------


def test_a_full_disk_is_a_sentence_and_touches_nothing(
    write_job: WriteJob,
    old_target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk is full from the moment that the filled table is written."""

    def full(self: object, batch: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staging._SpellingWriter, "write_batch", full)
    result = em_impute("run", write_job(GOOD))
    assert "The disk is full" in result.output
    assert "Traceback" not in result.output
    assert result.exit_code == 3
    assert old_target.read_bytes() == OLD


def test_a_report_that_cannot_be_written_does_not_hide_what_was_published(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("em_impute.plugin.tasks._write", full)
    result = em_impute("run", write_job(GOOD))
    assert result.exit_code == 0
    assert "Published with warnings: 8 missing cells were filled" in result.output
    assert "file report.html (OSError, no space left on device" in result.output
    assert "Traceback" not in result.stderr
    assert not pd.read_csv("out/filled.csv").isna().any(axis=None)


KILLED = """
import os, signal, sys
from pathlib import Path
from em_impute.cli.main import main

def die(point):
    if point == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

replace = os.replace
def replace_and_die(source, target, **options):
    if Path(target).name == "filled.csv":
        die("before")
        replace(source, target, **options)
        die("after")
    else:
        replace(source, target, **options)

os.replace = replace_and_die
Path.replace = lambda self, target: (replace_and_die(self, target), Path(target))[1]
main(["run", "job.yaml"])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_9_during_publish_leaves_the_old_table_or_the_new_one(
    prefect_server: PrefectServer, write_job: WriteJob, old_target: Path, moment: str
) -> None:
    write_job(GOOD)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, moment],
        env=prefect_server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if moment == "before":
        assert old_target.read_bytes() == OLD
    else:
        assert not pd.read_csv(old_target).isna().any(axis=None)
    assert shown(old_target.parent) == ["filled.csv"]
    assert em_impute("run", "job.yaml").exit_code == 0
    assert not pd.read_csv(old_target).isna().any(axis=None)


# --- The other commands --------------------------------------------------------------------------


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


def test_a_run_says_what_it_left_missing(write_job: WriteJob) -> None:
    rows = good_rows()
    rows["sex"] = ["f", "m", None, "m"] * 10
    result = em_impute("run", write_job(table(**rows)), "--json")
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)
    assert run["outcome"] == "published with warnings"
    assert run["verdict"].startswith("8 missing cells were filled, 10 were left missing, and the ")
    assert "10 cells of sex (text) were left missing; list it under" in run["verdict"]
    assert (run["missing_cells"], run["imputed_cells"], run["left_cells"]) == (18, 8, 10)


def test_drift_is_since_the_date_before_and_not_of_dates(write_job: WriteJob) -> None:
    """Dates are run out of turn, and one of them again; a day and a number of rows predict."""
    rng, began = np.random.default_rng(4), {}
    for n in (1, 2, 3):
        x = rng.normal(size=400)
        y = np.where(rng.random(400) < 0.1, np.nan, x + rng.normal(size=400) + 10 * (n == 3))
        days = [f"2026-0{n}-1{i % 9}" for i in range(400)]
        frame = pd.DataFrame({"x": x, "y": y, "day": days, "n": np.arange(400) + 400 * n})
        frame.to_csv(f"in-2026-01-0{n}.csv", index=False)
    job = write_job(
        source={"path": "in-{date}.csv"},
        target={"path": "out-{date}.csv"},
        columns={"impute": ["y"], "predictors": ["x", "day", "n"]},
    )
    for n in (1, 3, 2, 2):
        result = em_impute("run", job, "--date", f"2026-01-0{n}", "--json")
        assert result.exit_code == 0, result.output
        run = json.loads(result.stdout)
        report = json.loads((Path(run["folder"]) / "report.json").read_text())
        began.setdefault(n, run["run"])
        drift = report["drift"]
        if n == 1:
            assert drift is None
            continue
        assert (drift["run"], drift["date"]) == (began[1], "2026-01-01")
        assert drift["move_on"] == ["day", "n"]
        assert (run["outcome"] == "published") == (n == 2), run["verdict"]
        if n == 3:
            assert "Drift since the run of 2026-01-01, " in run["verdict"]
            assert "The mean of 'y' rose" in run["verdict"]


def test_schema_is_json_and_describes_a_job() -> None:
    schema = json.loads(em_impute("schema").output)
    assert {"name", "source", "target", "checks"} <= set(schema["properties"])


# --- What a run says, and to whom ----------------------------------------------------------------


@pytest.mark.parametrize("case", ["published", "refused", "wrong"])
def test_json_is_one_object_whatever_the_ending(write_job: WriteJob, case: str) -> None:
    never = {"input": [{"expect_table_row_count_to_equal": {"value": 0}}]}
    changes: dict[str, Any] = {"refused": {"checks": never}, "wrong": {"sorce": 1}}.get(case, {})
    result = em_impute("run", "--json", write_job(GOOD, **changes))
    said = json.loads(result.stdout)
    assert result.exit_code == said["exit_code"] == {"published": 0, "refused": 1, "wrong": 2}[case]
    if case == "wrong":
        assert (said["outcome"], said["stopped_by"]) == ("not published", "cannot run")
        assert "unknown key (did you mean source?)" in said["verdict"]
        assert said["folder"] is None
        return
    [folder] = Path("runs/test").iterdir()
    assert (said["folder"], said["report"]) == (str(folder), str(folder / "report.html"))
    assert (said["rows"], said["missing_cells"]) == (40, 8)
    assert said["imputed_cells"] == {"published": 8, "refused": 0}[case]
    assert said["stopped_by"] == {"published": None, "refused": "refused"}[case]
    assert said["verdict"] in (folder / "report.json").read_text()
    [listed] = json.loads(em_impute("history", "test", "--json").stdout)
    assert listed == {name: said[name] for name in listed}


def test_quiet_is_the_verdict_and_nothing_else(write_job: WriteJob) -> None:
    result = em_impute("run", "--quiet", write_job(GOOD))
    assert result.output == (
        "Published: 8 missing cells were filled and the table was written to out/filled.csv; "
        "no check warned.\n"
    )


def test_quiet_does_not_hide_a_fault_of_the_program(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("em_impute.tables.summarise.summarise", broken)
    result = em_impute("run", "--quiet", write_job(GOOD))
    assert result.exit_code == 3
    assert "Traceback" in result.stderr
    assert "The run failed by a fault of the program (ZeroDivisionError)." in result.stdout


def test_a_terminal_shows_the_steps_and_no_log_line(
    prefect_server: PrefectServer, write_job: WriteJob
) -> None:
    """Stderr is a terminal of 100 columns, stdout is a pipe."""
    write_job(GOOD)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environment = prefect_server.environment | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        [EM_IMPUTE, "run", "--json", "job.yaml"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        screen = pyte.Screen(100, 24)
        stream = pyte.ByteStream(screen)
        with suppress(OSError):  # the end of a terminal
            while written := os.read(ours, 65536):
                stream.feed(written)
        assert running.stdout is not None
        assert json.loads(running.stdout.read())["imputed_cells"] == 8
    os.close(ours)
    assert running.returncode == 0
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert lines[0].startswith(f"View at {prefect_server.url}/runs/flow-run/")
    before = ["start", "load", "check input", "fit", "fill"]
    steps = [*before, "self-test", "check output", "publish", "report"]
    assert [line[:15].strip() for line in lines[1:]] == [f"✓ {step}" for step in steps]
    assert lines[2].endswith("Read 40 rows and 2 columns from in.csv.")
    assert screen.cursor.hidden is False


@pytest.mark.parametrize("asked_for", [None, "true"])
def test_a_server_for_one_run_reports_to_nobody_unless_asked(
    tmp_path: Path, asked_for: str | None
) -> None:
    """Its telemetry fails on a loaded machine, and would write a traceback on the terminal."""
    environment = own_environment(tmp_path)
    del environment["PREFECT_SERVER_ANALYTICS_ENABLED"]
    if asked_for:
        environment["PREFECT_SERVER_ANALYTICS_ENABLED"] = asked_for
    program = (
        "import os; from em_impute import cli; cli._reach_server(); "
        "print(os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == (asked_for or "false")


def test_an_interrupted_run_has_an_exit_code_of_its_own(
    write_job: WriteJob, old_target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("em_impute.tables.summarise.summarise", interrupt)
    result = em_impute("run", write_job(GOOD))
    assert result.exit_code == 130
    assert "em-impute: interrupted" in result.output
    assert old_target.read_bytes() == OLD


def test_a_report_is_made_again_without_the_data(write_job: WriteJob) -> None:
    assert em_impute("run", write_job(GOOD)).exit_code == 0
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
        assert em_impute("run", job).exit_code == 0
    by_name = em_impute("history", "test")
    assert by_name.output == em_impute("history", job).output
    assert by_name.output.count("8 missing cells were filled") == 2
    assert em_impute("history", job, "--last", 1).output.count("8 missing cells were filled") == 1
    unknown = em_impute("history", "tset")
    assert "runs has no run of the job 'tset'; there are runs of test." in unknown.output
    assert unknown.exit_code == 2


def test_a_terminal_without_unicode_is_no_reason_to_fail(write_job: WriteJob) -> None:
    for _ in range(2):
        assert em_impute("run", write_job(GOOD)).exit_code == 0
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
