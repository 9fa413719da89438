"""Databases as sources: real PostgreSQL, DuckDB and SQLite, killed ones too."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from databases import Database, read, refusal_of
from postgres_server import PostgresServer

from em_impute.tables.databases.session import DatabaseLostError
from em_impute.tables.databases.source import open_source
from em_impute.tables.snapshot import SourceError
from em_impute.tables.sources import take_snapshot


def test_table_and_query_are_read(database: Database) -> None:
    database.run("CREATE TABLE t (a integer, b double precision, c text)")
    database.run("INSERT INTO t VALUES (1, 2.5, 'x'), (2, NULL, NULL), (3, 0.5, '')")
    rows = [
        {"a": 1, "b": 2.5, "c": "x"},
        {"a": 2, "b": None, "c": None},
        {"a": 3, "b": 0.5, "c": ""},
    ]
    assert read(database.source(table="t")).to_pylist() == rows
    query = "SELECT c, a + 1 AS n FROM t\nWHERE b > 0 ORDER BY a DESC -- the last first"
    assert read(database.source(query=query)).to_pylist() == [
        {"c": "", "n": 4},
        {"c": "x", "n": 2},
    ]


@pytest.mark.parametrize("engine", ["postgres", "duckdb"])
def test_rows_are_streamed(request: pytest.FixtureRequest, engine: str) -> None:
    """A billion rows would not end, were they gathered before the first is given."""
    database: Database = request.getfixturevalue(f"{engine}_database")
    database.run("SELECT 1")
    query = {
        "postgres": "SELECT generate_series(1, 1000000000000) AS i",
        "duckdb": "SELECT i FROM range(1000000000000) AS r(i)",
    }[engine]
    _, batches = open_source(database.source(query=query), 1000)
    assert next(batches)["i"][0].as_py() in (0, 1)
    batches.close()  # type: ignore[attr-defined]


def test_batches_have_the_rows_that_the_job_says(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (a integer)")
    database.run(f"INSERT INTO t VALUES {', '.join(f'({i})' for i in range(25))}")
    snapshot = take_snapshot(database.source(table="t"), tmp_path / "snapshot.arrow", 10)
    with pa.memory_map(str(snapshot.path)) as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    assert (snapshot.rows, batches) == (25, [10, 10, 5])
    assert snapshot.source == f"the table t of {database.source(table='t').url_shown}"


def test_source_that_changes_while_it_is_read(postgres_database: Database) -> None:
    """All comes from the moment in which the reading began."""
    postgres_database.run(
        "CREATE TABLE t AS SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) AS i"
    )
    _, batches = open_source(postgres_database.source(table="t"), 1000)
    first = next(batches).num_rows
    postgres_database.run("DELETE FROM t")
    assert first + sum(batch.num_rows for batch in batches) == 50_000


def test_a_query_cannot_write(database: Database) -> None:
    database.run("CREATE TABLE t (a integer)")
    message = refusal_of(database.source(query="DELETE FROM t RETURNING a"))
    assert message.startswith(f"A query of {database.source(table='t').url_shown} cannot be read")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t; DELETE FROM t",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "COPY t TO 'stolen.csv'",
        "ATTACH 'stolen.db' AS stolen",
        "INSTALL httpfs",
        "PRAGMA database_list",
        "CREATE TABLE stolen AS SELECT 1",
        "SELECT a FROM t) UNION SELECT (2",
        "EXPORT DATABASE 'stolen'",
        "VACUUM INTO 'stolen.db'",
    ],
)
def test_a_query_is_one_select(
    database: Database, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database.run("CREATE TABLE t (a integer);;INSERT INTO t VALUES (1)")
    refusal_of(database.source(query=query))
    assert database.rows() == [(1,)]
    assert not list(tmp_path.glob("stolen*"))


def test_table_that_is_not_there(database: Database) -> None:
    database.run("CREATE TABLE customer_orders (a integer)")
    message = refusal_of(database.source(table="customer_order"))
    schema = {"postgresql": "public", "duckdb": "main", "sqlite": "main"}[database.engine]
    assert message == (
        f"The table customer_order of {database.source(table='t').url_shown} cannot be read: "
        f"there is no such table (did you mean {schema}.customer_orders?)."
    )


@pytest.mark.parametrize(
    ("query", "postgresql", "duckdb", "sqlite"),
    [
        (
            "SELECT a,\n  FROM t",
            "the SQL has a syntax error at line 2, column 3 of the query (SQLSTATE 42601)",
            None,
            "the SQL has a syntax error",
        ),
        (
            "SELECT a\nFROM nope",
            'relation "nope" does not exist at line 2, column 6 of the query (SQLSTATE 42P01)',
            "Table with name nope does not exist at line 2 of the query",
            "no such table: nope",
        ),
        (
            "SELECT nope FROM t",
            'column "nope" does not exist at line 1, column 8 of the query (SQLSTATE 42703)',
            'Referenced column "nope" not found in FROM clause at line 1 of the query',
            "no such column: nope",
        ),
        (
            "SELECT CAST('se3cret' AS date) AS x",
            "a value does not fit a type, or is not one that PostgreSQL can hold at line 1, "
            "column 13 of the query (SQLSTATE 22007)",
            "a value does not fit, or the file is damaged (ConversionException) at "
            "line 1 of the query",
            None,
        ),
        (
            "SELECT 1 / (a - 2) AS x FROM t",
            "the server stopped in the middle of the rows, at one that the query cannot compute, "
            "or where it would have changed something",
            None,
            None,
        ),
    ],
)
def test_wrong_query(
    database: Database, query: str, postgresql: str, duckdb: str | None, sqlite: str | None
) -> None:
    database.run("CREATE TABLE t (a integer);;INSERT INTO t VALUES (1), (2), (3)")
    expected = {"postgresql": postgresql, "duckdb": duckdb, "sqlite": sqlite}[database.engine]
    if expected is None:
        open_source(database.source(query=query), 10)
        return
    message = refusal_of(database.source(query=query))
    assert message.endswith(f" cannot be read: {expected}.")
    assert "se3cret" not in message


def test_columns_of_one_name(postgres_database: Database, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'a' names columns 1 and 2"):
        take_snapshot(postgres_database.source(query="SELECT 1 AS a, 2 AS a"), tmp_path / "x")


def test_server_killed_while_it_is_read(
    postgres: PostgresServer, postgres_database: Database
) -> None:
    query = "SELECT generate_series(1, 1000000000) AS i"
    _, batches = open_source(postgres_database.source(query=query), 1000)
    next(batches)
    postgres.crash()
    with pytest.raises(
        DatabaseLostError, match=f"lost the database server at 127.0.0.1:{postgres.port}"
    ):
        list(batches)
