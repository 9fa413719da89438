"""The numbers of runs in tables of a database: once for each run, whatever the database is."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from command_line import GOOD, run_directly, table
from conftest import ROOT, WriteJob
from databases import Database, duckdb_database, postgres_database
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute.job import load_job
from em_impute.reporting.records import Report
from em_impute.runs.history_table import COLUMNS, RUNS, write_history
from em_impute.runs.opening import run_of

__all__ = ["duckdb_database", "postgres_database"]

AIR: dict[str, Any] = {
    "name": "history_air",
    "source": {"path": str(ROOT / "data/airquality.csv")},
    "target": {"path": "filled.parquet"},
    "self_test": {"max_share": 1.0},
}


@pytest.fixture(params=["postgres", "duckdb", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param != "sqlite":
        found: Database = request.getfixturevalue(f"{request.param}_database")
        return found
    file = tmp_path / "history.sqlite"

    def run(sql: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(file) as connection:
            return connection.execute(sql).fetchall()

    return Database(f"sqlite:///{file}", run)


def with_history(write_job: WriteJob, url: Any, name: str = "numbers", **job: Any) -> Path:
    return write_job(**AIR | job, report={"history_table": {"url": url, "table": name}})


def test_each_run_has_a_row_and_one_for_each_column(
    database: Database, write_job: WriteJob
) -> None:
    path = with_history(write_job, database.url)
    for day in ("2026-02-01", "2026-02-02"):
        done = run_directly(path, "--date", day)
        assert done.exit_code == 0, done.output
        assert "history table" not in done.stderr
    runs = database.run(
        "SELECT job, CAST(data_date AS text), outcome, row_count, missing_cells, imputed_cells, "
        "drifted, failed_checks FROM numbers ORDER BY data_date"
    )
    assert [tuple(row[:6]) for row in runs] == [
        ("history_air", day, "published", 153, 44, 44) for day in ("2026-02-01", "2026-02-02")
    ]
    assert [bool(row[6]) for row in runs] == [False, False]
    [ozone] = database.run(
        "SELECT missing_cells, imputed_cells, role, rmse_ratio, coverage_95, mean_change "
        "FROM numbers_columns WHERE column_name = 'Ozone' AND data_date = '2026-02-02'"
    )
    assert ozone[:3] == (37, 37, "impute")
    assert 0.4 < ozone[3] < 0.9
    assert 0.8 < ozone[4] <= 1.0
    assert ozone[5] == pytest.approx(0.0)
    assert database.run("SELECT count(*) FROM numbers_columns") == [(12,)]


def test_a_run_that_is_reported_again_has_one_set_of_rows(
    database: Database, write_job: WriteJob, tmp_path: Path
) -> None:
    path = with_history(write_job, database.url)
    assert run_directly(path).exit_code == 0
    [folder] = (tmp_path / "runs" / "history_air").glob("2*")
    numbers = Report.from_dict(json.loads((folder / "report.json").read_text()))
    job = load_job(path)
    run = run_of(job, tmp_path / "runs", datetime.fromisoformat(numbers.started), "x" * 8)
    assert write_history(run, numbers) == ""
    assert database.run("SELECT count(*) FROM numbers") == [(1,)]
    assert database.run("SELECT count(*) FROM numbers_columns") == [(6,)]


def test_a_refused_run_has_rows_too(write_job: WriteJob) -> None:
    cold = {"expect_column_max_to_be_between": {"column": "Temp", "max_value": 50}}
    path = with_history(write_job, "sqlite:///h.db", checks={"input": [cold]})
    assert run_directly(path).exit_code == 1
    with sqlite3.connect("h.db") as connection:
        [(outcome, failed)] = connection.execute("SELECT outcome, failed_checks FROM numbers")
    assert (outcome, failed) == ("not published", 1)


def test_a_table_of_another_shape_is_a_sentence(write_job: WriteJob) -> None:
    path = with_history(write_job, "sqlite:///h.db")
    with sqlite3.connect("h.db") as connection:
        connection.execute("CREATE TABLE numbers (job text, run_id text)")
    done = run_directly(path)
    assert done.exit_code == 0
    assert "Published with warnings" in done.stdout
    sentence = (
        "The numbers of the run are not in its history table: The table numbers of "
        "sqlite:///h.db cannot be written: it has no column 'started' that can be written"
    )
    assert sentence in done.stdout
    assert sentence in done.stderr
    with sqlite3.connect("h.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("numbers",)]


def test_a_column_more_is_the_users_own(write_job: WriteJob) -> None:
    path = with_history(write_job, "sqlite:///h.db")
    assert run_directly(path).exit_code == 0
    with sqlite3.connect("h.db") as connection:
        connection.execute("ALTER TABLE numbers ADD COLUMN note text")
    done = run_directly(path)
    assert "Published:" in done.stdout
    with sqlite3.connect("h.db") as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (2,)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://nobody@127.0.0.1:1/d", "no database server answers at 127.0.0.1:1"),
        ({"env": "HISTORY_URL"}, "the environment variable HISTORY_URL is not set"),
    ],
)
def test_a_database_that_does_not_answer_is_a_warning(
    url: Any, why: str, write_job: WriteJob
) -> None:
    done = run_directly(with_history(write_job, url))
    assert done.exit_code == 0
    assert "Published with warnings" in done.stdout
    assert why in done.stdout


def test_its_password_is_of_the_environment(
    postgres: PostgresServer, write_job: WriteJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    postgres.run(f"CREATE SCHEMA history AUTHORIZATION {GUARDED}")
    monkeypatch.setenv("HISTORY_PASSWORD", PASSWORD)
    place = {
        "url": postgres.guarded_url,
        "password": {"env": "HISTORY_PASSWORD"},
        "table": "history.numbers",
    }
    done = run_directly(write_job(GOOD, name="guarded_history", report={"history_table": place}))
    assert "Published:" in done.stdout, done.output
    assert postgres.run("SELECT job, outcome FROM history.numbers") == [
        ("guarded_history", "published")
    ]
    left = [done.output, *(f.read_text(errors="replace") for f in tmp_path.rglob("*.*"))]
    assert not [text for text in left if PASSWORD in text]


def test_categories_have_the_share_that_is_right(write_job: WriteJob) -> None:
    rows = {"x": [0.0, 1.0] * 60, "sex": ["f", "m"] * 58 + [None] * 4}
    path = with_history(
        write_job,
        "sqlite:///h.db",
        source={"path": "in.csv"},
        columns={"categories": {"sex": "nominal"}},
    )
    Path("in.csv").write_text(table(**rows))
    assert run_directly(path).exit_code == 0
    with sqlite3.connect("h.db") as connection:
        [found] = connection.execute(
            "SELECT accuracy, accuracy_of_mode, imputed_cells, observed_mean FROM numbers_columns "
            "WHERE column_name = 'sex'"
        )
    assert found[0] > 0.9 > found[1]
    assert found[2:] == (4, None)


def test_the_page_explains_every_column() -> None:
    page = (ROOT / "docs" / "history-table.md").read_text()
    of_runs, of_columns = page.split("## A row for each column")[:2]
    assert [name for name in RUNS.names if f"`{name}`" not in of_runs] == []
    assert [name for name in COLUMNS.names if f"`{name}`" not in of_columns + of_runs] == []
