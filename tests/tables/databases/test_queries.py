"""That a source's query only reads, whatever is written in its place: on real databases."""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import pytest
from conftest import EM_IMPUTE, own_environment, write_yaml
from postgres_server import PostgresServer
from pydantic import ValidationError

from em_impute.job import DatabaseSource
from em_impute.tables.databases.source import open_source
from em_impute.tables.snapshot import SourceError


def rows(source: DatabaseSource) -> list[dict[str, Any]]:
    _, batches = open_source(source, 1000)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture
def writable() -> Iterator[Path]:
    """A folder in which the server of PostgreSQL, which is another user, could write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    with adbc_driver_postgresql.dbapi.connect(postgres.url, autocommit=True) as connection:
        connection.cursor().execute("CREATE DATABASE queries")
    url = f"{postgres.url.rpartition('/')[0]}/queries"
    run(url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2)", "CREATE SEQUENCE s")
    adding = "CREATE FUNCTION adding() RETURNS int LANGUAGE sql AS '{}'"
    run(url, adding.format("INSERT INTO t VALUES (3) RETURNING a"))
    run(url, "CREATE PROCEDURE emptying() LANGUAGE sql AS 'DELETE FROM t'")
    return url


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with adbc_driver_postgresql.dbapi.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        cursor.close()
        return found


NO_SELECT = [
    "COPY (SELECT 1) TO PROGRAM 'touch {folder}/stolen'",
    "COPY t TO '{folder}/stolen'",
    "/* SELECT */ COPY t TO '{folder}/stolen'",
    "COPY t FROM PROGRAM 'touch {folder}/stolen; echo 3'",
    "COPY t FROM STDIN",
    "COPY t TO STDOUT",
    "SELECT 1; COPY t TO '{folder}/stolen'",
    "SELECT 1; DELETE FROM t",
    "COMMIT; DELETE FROM t",
    "WITH gone AS (DELETE FROM t RETURNING a) SELECT * FROM gone",
    "WITH new AS (INSERT INTO t VALUES (3) RETURNING a) SELECT * FROM new",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "WITH a AS (WITH b AS (UPDATE t SET a = 3 RETURNING a) SELECT * FROM b) SELECT * FROM a",
    "SELECT a INTO stolen FROM t",
    "CREATE TABLE stolen AS SELECT 1 AS a",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR NO KEY UPDATE",
    "SELECT * FROM t FOR SHARE NOWAIT",
    "SELECT * FROM (SELECT * FROM t FOR KEY SHARE) AS locked",
    "INSERT INTO t VALUES (3) RETURNING a",
    "UPDATE t SET a = 3 RETURNING a",
    "DELETE FROM t RETURNING a",
    "MERGE INTO t USING t AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (3) RETURNING t.a",
    "TRUNCATE t",
    "LOCK TABLE t",
    "SET ROLE pg_monitor",
    "SET TRANSACTION READ WRITE",
    "RESET ALL",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "PREPARE p AS SELECT 1",
    "PREPARE TRANSACTION 'x'",
    "EXECUTE p",
    "EXPLAIN ANALYZE DELETE FROM t",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH ALL FROM em_impute_query",
    "NOTIFY x",
    "LISTEN x",
    "CHECKPOINT",
    "VACUUM t",
    "CALL emptying()",
    "DO $$ BEGIN DELETE FROM t; END $$",
    "LOAD 'auto_explain'",
    "SHOW ALL",
    "ALTER SYSTEM SET work_mem = '1MB'",
]  # fmt: skip


@pytest.mark.parametrize("query", NO_SELECT)
def test_postgresql_is_sent_one_select(postgres_url: str, writable: Path, query: str) -> None:
    source = DatabaseSource(url=postgres_url, query=query.replace("{folder}", str(writable)))
    with pytest.raises(SourceError) as caught:
        rows(source)
    assert str(caught.value).endswith(
        (
            "cannot be read: the query must be one SELECT, which only reads.",
            "WITH clause containing a data-modifying statement must be at the top level at line 1, "
            "column 17 of the query (SQLSTATE 0A000).",
        )
    )
    assert not list(writable.iterdir())
    assert run(postgres_url, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    assert run(postgres_url, "SELECT to_regclass('stolen') IS NULL") == [(True,)]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT 1) TO PROGRAM 'touch {folder}/stolen' --", "the SQL has a syntax error at line 1"),
        ("SELECT 1 AS a) TO '{folder}/stolen' WITH (FORMAT csv", "the SQL has a syntax error"),
        ("SELECT 1 /* ", "the SQL has a syntax error"),
        ("SELECT nextval('s')", "or where it would have changed something"),
        ("SELECT adding()", "or where it would have changed something"),
        (
            "SELECT set_config('transaction_read_only', 'off', false)",
            "or where it would have changed something",
        ),
        ("SELECT lo_import('/etc/passwd')::int", "or where it would have changed something"),
        ("SELECT lo_create(5)::int", "or where it would have changed something"),
        (
            "SELECT query_to_xml('DELETE FROM t', true, false, '')::text",
            "or where it would have changed something",
        ),
        ("SELECT $1::int", "the query has a parameter, such as $1, which has no value here"),
    ],
)
def test_a_select_changes_nothing_in_postgresql(
    postgres_url: str, writable: Path, query: str, why: str
) -> None:
    source = DatabaseSource(url=postgres_url, query=query.replace("{folder}", str(writable)))
    with pytest.raises(SourceError) as caught:
        rows(source)
    assert why in str(caught.value)
    assert not list(writable.iterdir())
    assert run(postgres_url, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    assert run(postgres_url, "SELECT is_called FROM s") == [(False,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t ORDER BY a",
        "  -- what is read\n/* and /* why */ */ (SELECT a FROM t ORDER BY a);\n",
        "VALUES (1), (2)",
        "TABLE t ORDER BY a",
        "WITH x AS (SELECT a FROM t) SELECT a FROM x ORDER BY a -- the end",
        "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT a + 1 FROM r AS s(a) WHERE a < 2) TABLE r",
        "SELECT a FROM t WHERE a::text <> 'COPY t TO ''x''; DELETE' ORDER BY a",
        'SELECT a AS "delete; --" FROM t ORDER BY a',
        "SELECT a FROM t WHERE $tag$ '; DELETE FROM t $tag$ <> '' ORDER BY a",
        "SELECT a FROM t EXCEPT SELECT 3 ORDER BY 1",
        "SELECT t.a FROM t, LATERAL (SELECT count(*) OVER () FROM t) AS u GROUP BY t.a ORDER BY 1",
    ],
)
def test_every_select_of_postgresql_is_read(postgres_url: str, query: str) -> None:
    found = rows(DatabaseSource(url=postgres_url, query=query))
    assert [next(iter(row.values())) for row in found] == [1, 2]


def test_check_runs_no_program_on_the_server(
    postgres_url: str, writable: Path, tmp_path: Path
) -> None:
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {writable}/stolen'"
    write_yaml(
        tmp_path / "job.yaml",
        {
            "name": "x",
            "source": {"url": postgres_url, "query": program},
            "target": {"path": "out.csv"},
        },
    )
    done = subprocess.run(
        [EM_IMPUTE, "check", "job.yaml"],
        cwd=tmp_path,
        env=own_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (2, 0)
    assert "cannot be read: the query must be one SELECT, which only reads." in done.stderr
    assert not list(writable.iterdir())


# --- DuckDB and SQLite -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "WITH c AS (COPY t TO 'stolen.csv') FROM c",
        "WITH c AS MATERIALIZED (COPY (SELECT 1) TO 'stolen.csv') SELECT 1",
        "WITH gone AS (DELETE FROM t RETURNING a) FROM gone",
        "WITH new AS (INSERT INTO t VALUES (3) RETURNING a) FROM new",
        "SELECT 1; COPY t TO 'stolen.csv'",
        "FROM enable_logging(storage='file', storage_config={'path': 'stolen'})",
        "FROM enable_profiling(save_location='stolen')",
        "FROM query('FROM enable_profiling(save_location=''stolen'')')",
        "SET python_enable_replacements = true",
        "ATTACH 'stolen.db'",
        "CALL force_checkpoint()",
        "EXPLAIN ANALYZE SELECT 1",
        "SHOW TABLES; DELETE FROM t",
        "LOAD httpfs",
        "USE memory",
        "BEGIN",
        "EXPORT DATABASE 'stolen'",
    ],
)
def test_duckdb_reads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect("x.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(SourceError):
        rows(DatabaseSource(url="duckdb:///x.duckdb", query=query))
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]
    assert rows(DatabaseSource(url="duckdb:///x.duckdb", query="FROM t")) == [{"a": 1}]


@pytest.mark.parametrize(
    "query",
    [
        "PRAGMA journal_mode = wal",
        "PRAGMA writable_schema = on",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT * FROM pragma_journal_mode",
        "ATTACH 'stolen.db' AS s",
        "ATTACH ':memory:' AS s",
        "SELECT load_extension('stolen')",
        "SELECT writefile('stolen', 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT fts3_tokenizer('x', x'00')",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "INSERT INTO t VALUES (3) RETURNING a",
        "CREATE TEMP TABLE s AS SELECT 1",
        "VACUUM INTO 'stolen.db'",
        "QUERY PLAN SELECT 1",
        "SAVEPOINT x",
        "COMMIT",
        "REINDEX",
        "ANALYZE",
        "SELECT 1; DELETE FROM t",
        "SELECT a FROM t) UNION SELECT (2",
    ],
)
def test_sqlite_reads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("x.db", isolation_level=None)
    connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    connection.close()
    with pytest.raises(SourceError):
        rows(DatabaseSource(url="sqlite:///x.db", query=query))
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]
    assert rows(DatabaseSource(url="sqlite:///x.db", query="SELECT a FROM t;")) == [{"a": 1}]


def test_a_url_writes_no_file() -> None:
    """libpq of PostgreSQL 18 would write the keys of a connection to the file that it names."""
    url = "postgresql://h/d?sslmode=require&SSLKEYLOGFILE=/srv/x"
    with pytest.raises(ValidationError, match="remove sslkeylogfile: it writes the keys"):
        DatabaseSource(url=url, table="t")
