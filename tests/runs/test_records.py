"""What is recorded of a target counts only for the table that it is of."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from em_impute.flows.backfill import backfill
from em_impute.flows.direct import run_directly
from em_impute.job import DatabaseTarget, FileTarget, Job
from em_impute.tables.targets import publish, standing
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Staged, TargetError

pytestmark = pytest.mark.usefixtures("prefect_server")
FIRST, LAST = date(2026, 2, 1), date(2026, 2, 3)
DAYS = [FIRST + timedelta(days=k) for k in range(3)]
ROWS = 60


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own with a source for each day; days have ids of their own."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for k, day in enumerate(DAYS):
        rng = np.random.default_rng(k)
        frame = pd.DataFrame({"id": np.arange(ROWS) + k * ROWS, "a": rng.normal(size=ROWS)})
        frame["b"] = np.where(frame["id"] % 7 == 0, np.nan, frame["a"] + rng.normal(size=ROWS))
        frame["day"] = f"{day}"
        frame.to_csv(f"in/{day}.csv", index=False)


def job(target: dict[str, Any]) -> Job:
    return Job.model_validate(
        {
            "name": "days",
            "source": {"path": "in/{date}.csv"},
            "columns": {"key": ["id"], "impute": ["b"], "predictors": ["a"]},
            "self_test": "off",
            "target": target,
        }
    )


FILE = {"path": "out/all.csv", "mode": "append"}
FOLDER = {"path": "out/all", "format": "parquet", "partition_by": ["day"], "mode": "append"}


def run(a_job: Job, day: date) -> tuple[bool, str]:
    outcome = run_directly(a_job, day=day)
    return outcome.stopped is None, outcome.verdict.sentence


def run_all(a_job: Job, **options: Any) -> list[str]:
    state = backfill(a_job, FIRST, LAST, return_state=True, **options)
    verdicts = state.result(raise_on_failure=False)
    return [f"{verdict.outcome}: {verdict.sentence}" for verdict in verdicts.values()]


def held(days: pd.Series) -> list[str]:
    """Which days a table holds, each as often as it does."""
    counts = days.astype(str).value_counts().sort_index()
    assert (counts % ROWS == 0).all()
    return [day[-2:] for day, n in counts.items() for _ in range(n // ROWS)]


def in_target(target: dict[str, Any]) -> list[str]:
    return held(pd.read_csv(target["path"])["day"])


def test_what_was_deleted_is_appended_again() -> None:
    target = FILE
    for day in DAYS:
        run(job(target), day)
    assert in_target(target) == ["01", "02", "03"]
    Path(target["path"]).unlink()
    assert run(job(target), FIRST)[0]
    assert in_target(target) == ["01"]
    outcomes = run_all(job(target))
    assert outcomes[0] == "published: An earlier run has published it."
    assert all(outcome.startswith("published") for outcome in outcomes)
    assert in_target(target) == ["01", "02", "03"]
    assert "had been appended to the target before" in run(job(target), LAST)[1]
    assert in_target(target) == ["01", "02", "03"]


def test_what_another_program_has_changed_is_not_appended_twice() -> None:
    for day in DAYS[:2]:
        assert run(job(FILE), day)[0]
    table = pd.read_csv("out/all.csv")
    table[table["day"] != "2026-02-02"].iloc[::-1].to_csv("out/all.csv", index=False)
    done, message = run(job(FILE), DAYS[1])
    assert not done
    assert message.startswith("Another program has changed out/all.csv since days-2026-02-02 was")
    assert f"If its rows are gone, remove {Path.cwd()}/out/.all.csv.em_impute.json" in message
    assert in_target(FILE) == ["01"]
    # A day that nobody has appended is; the others are as doubtful as they were.
    outcomes = run_all(job(FILE))
    kinds = [outcome.partition(":")[0] for outcome in outcomes]
    assert kinds == ["not published", "not published", "published"]
    assert in_target(FILE) == ["01", "03"]
    Path("out/.all.csv.em_impute.json").unlink()
    assert run(job(FILE), DAYS[1])[0]
    assert in_target(FILE) == ["01", "02", "03"]


def test_a_file_that_is_put_back_from_a_copy(tmp_path: Path) -> None:
    """What was appended after the copy was made is appended again, and nothing else."""
    run(job(FILE), DAYS[0])
    shutil.copy("out/all.csv", "copy.csv")
    run(job(FILE), DAYS[1])
    shutil.copy("copy.csv", "out/all.csv")
    assert all(outcome.startswith("published") for outcome in run_all(job(FILE)))
    assert in_target(FILE) == ["01", "02", "03"]


def test_a_replaced_file_that_was_changed_is_left_alone_until_it_is_wanted() -> None:
    a_job = job({"path": "out/{date}.csv"})
    for day in DAYS:
        run(a_job, day)
    Path(f"out/{FIRST}.csv").write_text("mine\n1\n")
    Path(f"out/{DAYS[1]}.csv").unlink()
    outcomes = run_all(a_job)
    assert outcomes[0].startswith(f"not published: Another program has changed out/{FIRST}.csv")
    assert "`em-impute backfill --again` publishes it again" in outcomes[0]
    assert [outcome.partition(":")[0] for outcome in outcomes[1:]] == ["published", "published"]
    assert Path(f"out/{FIRST}.csv").read_text() == "mine\n1\n"
    assert all(outcome.startswith("published") for outcome in run_all(a_job, again=True))
    assert in_target({"path": f"out/{FIRST}.csv"}) == ["01"]


@pytest.mark.parametrize(
    "target",
    [{"path": "out/latest.csv"}, {"url": "sqlite:///out/db.sqlite", "table": "latest"}],
    ids=["file", "database"],
)
def test_an_older_day_does_not_take_the_place_of_a_newer_one(target: dict[str, Any]) -> None:
    a_job = job(target)
    assert run(a_job, DAYS[1])[0]
    done, message = run(a_job, FIRST)
    assert not done
    assert "Overtaken: " in message
    assert "holds the table of 2026-02-02, which is newer than that of 2026-02-01" in message
    assert run(a_job, DAYS[1])[0]
    assert run(a_job, LAST)[0]
    # The dates before were published in their time.
    assert run_all(a_job)[1:] == ["published: An earlier run has published it."] * 2


def stage(day: date, file_format: str) -> Staged:
    """The table of a day as it waits to be published."""
    table = pa.Table.from_pandas(pd.read_csv(f"in/{day}.csv"), preserve_index=False)
    path = Path(f"staged-{day}.{file_format}")
    with open_writer(path, file_format, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
    return Staged(path, file_format, ROWS, 0, sha256(path), path, (), ("id",))


def put(target: FileTarget | DatabaseTarget, day: date) -> bool:
    """Append a day; whether its rows were there before."""
    file_format = target.file_format if isinstance(target, DatabaseTarget) else "feather"
    return publish(stage(day, file_format), target, f"days-{day}").before


def in_folder() -> list[str]:
    return held(pd.read_parquet("out/all/current")["day"])


@pytest.fixture
def folder() -> FileTarget:
    """A folder of three days, each with its version."""
    target = FileTarget.model_validate(FOLDER | {"keep_versions": 3})
    assert not any(put(target, day) for day in DAYS)
    assert in_folder() == ["01", "02", "03"]
    return target


def test_a_folder_that_was_deleted(folder: FileTarget) -> None:
    shutil.rmtree("out/all")
    assert not put(folder, FIRST)
    assert in_folder() == ["01"]


def test_a_folder_whose_current_version_was_put_back(folder: FileTarget) -> None:
    Path("out/all/current").unlink()
    Path("out/all/current").symlink_to(f"versions/days-{DAYS[1]}")
    assert put(folder, FIRST)
    assert not put(folder, LAST)
    assert in_folder() == ["01", "02", "03"]


def test_a_folder_of_which_a_partition_was_removed(folder: FileTarget) -> None:
    shutil.rmtree(Path("out/all/current/day=2026-02-02").resolve())
    Path("out/all/current/_SUCCESS").touch()
    for day in DAYS:
        with pytest.raises(TargetError, match=r"changed out/all since days-.*_em_impute.json and"):
            put(folder, day)
    assert in_folder() == ["01", "03"]


def test_a_mark_of_another_program_is_no_change(folder: FileTarget) -> None:
    Path("out/all/current/.DS_Store").touch()
    Path("out/all/current/day=2026-02-02/_SUCCESS").touch()
    assert put(folder, DAYS[1])


def test_what_is_replaced_is_published_anew_if_it_was_changed() -> None:
    """A run that is tried again, after another program has written over what it had published."""
    for target in (
        FileTarget.model_validate({"path": "out/one.feather"}),
        FileTarget.model_validate(FOLDER | {"mode": "replace"}),
    ):
        publish(stage(FIRST, "feather"), target, "run-1")
        path = Path(target.path)
        table = path if path.is_file() else next(path.rglob("*.parquet"))
        content = table.read_bytes()
        table.write_bytes(b"mine")
        assert not publish(stage(FIRST, "feather"), target, "run-1").before
        table = path if path.is_file() else next((path / "current").rglob("*.parquet"))
        assert table.read_bytes() == content
        assert publish(stage(FIRST, "feather"), target, "run-1").before


@pytest.fixture(params=["postgresql", "duckdb", "sqlite"])
def table(request: pytest.FixtureRequest) -> DatabaseTarget:
    """A table of three days."""
    url = f"{request.param}:///{Path.cwd()}/tables.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").url
    target = DatabaseTarget.model_validate({"url": url, "table": "days", "mode": "append"})
    ask(target, "DROP TABLE IF EXISTS days")
    assert not any(put(target, day) for day in DAYS)
    assert put(target, DAYS[1])
    return target


@pytest.mark.parametrize("how", ["DROP TABLE days", "DELETE FROM days"])
def test_rows_of_a_table_that_was_made_anew(table: DatabaseTarget, how: str) -> None:
    ask(table, how)
    assert standing(table, f"days-{FIRST}", "") == "gone"
    assert not put(table, DAYS[1])
    assert days_in(table) == ["02"]
    assert standing(table, f"days-{FIRST}", "") == "gone"
    assert [put(table, day) for day in DAYS] == [False, True, False]
    assert days_in(table) == ["01", "02", "03"]


def test_rows_of_a_table_are_told_by_their_key(table: DatabaseTarget) -> None:
    ask(table, "DELETE FROM days WHERE day = '2026-02-01' OR id = 61")
    assert standing(table, f"days-{LAST}", "") == "in doubt"
    assert not put(table, FIRST)  # none of its rows were there
    with pytest.raises(TargetError, match=r"the table days of .*its row in em_impute_runs and"):
        put(table, DAYS[1])  # some are
    assert put(table, LAST)


def ask(target: DatabaseTarget, sql: str) -> list[tuple[Any, ...]]:
    """Ask a target's database something, by another program's connection."""

    url = str(target.url)
    if url.startswith("postgresql"):
        with (
            adbc_driver_postgresql.dbapi.connect(url, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)
            return cursor.fetchall() if sql.startswith("SELECT") else []
    path = url.partition(":///")[2]
    if url.startswith("duckdb"):
        with duckdb.connect(path) as database:
            return database.execute(sql).fetchall()
    with sqlite3.connect(path) as lite:
        return lite.execute(sql).fetchall()


def days_in(target: DatabaseTarget) -> list[str]:
    return held(pd.Series([day for (day,) in ask(target, "SELECT day FROM days")]))


def test_a_record_of_an_earlier_version_is_read() -> None:
    """It says of no publication onto what it was."""
    for day in DAYS[:2]:
        run(job(FILE), day)
    record = Path("out/.all.csv.em_impute.json")
    content = json.loads(record.read_text())
    for entry in content["published"]:
        del entry["onto"]
    record.write_text(json.dumps(content))
    assert "had been appended to the target before" in run(job(FILE), FIRST)[1]
    assert in_target(FILE) == ["01", "02"]
