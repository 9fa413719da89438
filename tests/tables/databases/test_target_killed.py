"""Databases as targets, where a worker or server is killed, and where two want to write."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import adbc_driver_postgresql.dbapi
import pytest
from databases import Database
from postgres_server import PostgresServer

from em_impute.tables.databases.session import Session
from em_impute.tables.databases.target import publish
from em_impute.tables.writing.staged import Staged, TargetError

PUBLISH = """
import sys
from pathlib import Path
from em_impute.job import DatabaseTarget
from em_impute.tables.databases.target import publish
from em_impute.tables.writing.staged import Staged
url, path, rows, run = sys.argv[1:]
staged = Staged(Path(path), "feather", int(rows), 0, "sha", Path(path), ())
try:
    print(publish(staged, DatabaseTarget(url=url, table="t"), run).rows)
except Exception as error:
    print(type(error).__name__, error)
"""


def worker(database: Database, staged: Staged, run: str) -> subprocess.Popen[str]:
    """A process of its own that publishes."""
    arguments = [database.url, str(staged.path), str(staged.rows), run]
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISH, *arguments], stdout=subprocess.PIPE, text=True
    )


@contextmanager
def halted_in_the_middle(database: Database) -> Iterator[Callable[[], None]]:
    """A table t whose second new row, when the old ones are deleted already, waits for us."""
    database.run(
        "CREATE TABLE t AS SELECT 0 AS k, 0.0::float8 AS x;;"
        "CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END';;"
        "CREATE TRIGGER halt BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.k = 2) "
        "EXECUTE FUNCTION halt()"
    )
    connection = adbc_driver_postgresql.dbapi.connect(database.url, autocommit=True)
    cursor = connection.cursor()
    cursor.execute("SELECT pg_advisory_lock(42)")

    def wait() -> None:
        waiting: list[Any] = []
        while not waiting:
            time.sleep(0.01)
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            waiting = cursor.fetchall()

    yield wait
    with suppress(adbc_driver_postgresql.dbapi.Error):  # of a server that was killed
        cursor.close()
        connection.close()


def test_worker_killed_in_the_middle_of_the_load(
    postgres_database: Database, filled: Staged
) -> None:
    with (
        halted_in_the_middle(postgres_database) as wait,
        worker(postgres_database, filled, "run") as killed,
    ):
        wait()
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert postgres_database.rows() == [(0, 0.0)]
    for _ in range(2):
        with worker(postgres_database, filled, "run") as again:
            assert again.communicate()[0] == "3\n"
    assert postgres_database.rows() == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert len(postgres_database.rows("em_impute_runs")) == 1


def test_server_killed_in_the_middle_of_the_load(
    postgres: PostgresServer, postgres_database: Database, filled: Staged
) -> None:
    with (
        halted_in_the_middle(postgres_database) as wait,
        worker(postgres_database, filled, "run") as cut_off,
    ):
        wait()
        postgres.crash()
        said = cut_off.communicate()[0]
    assert said == (
        f"DatabaseLostError The table t of {postgres_database.target().url_shown} cannot be "
        f"written: lost the database server at 127.0.0.1:{postgres.port}.\n"
    )
    assert postgres_database.rows() == [(0, 0.0)]
    assert publish(filled, postgres_database.target(), "run").rows == 3
    assert postgres_database.rows() == [(1, 1.5), (2, 2.5), (3, 3.5)]


def test_two_runs_publish_one_after_the_other(database: Database, filled: Staged) -> None:
    """Into a table that neither has found."""
    with worker(database, filled, "run 1") as one, worker(database, filled, "run 2") as other:
        assert one.communicate()[0] == other.communicate()[0] == "3\n"
    assert database.rows() == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert [run[0] for run in database.rows("em_impute_runs")] == ["run 1", "run 2"]


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Another program that has the table t, or the whole file, to itself."""
    path = database.url.partition(":///")[2]
    if database.engine == "postgresql":
        with adbc_driver_postgresql.dbapi.connect(database.url) as connection:
            connection.cursor().execute("LOCK TABLE t IN EXCLUSIVE MODE")
            yield
    elif database.engine == "sqlite":
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()
    else:
        program = f"import duckdb; c = duckdb.connect({path!r}); print('open', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout
            other.stdout.readline()
            yield
            other.kill()


def test_target_that_stays_locked(
    database: Database, old: Any, filled: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "patience", 0.1)
    with held(database), pytest.raises(TargetError) as caught:
        publish(filled, database.target(), "run")
    who = "program kept it" if database.engine == "postgresql" else "process kept the database"
    assert f"cannot be written: another {who} locked for 0.1 s; try again" in str(caught.value)
    assert database.rows() == old
