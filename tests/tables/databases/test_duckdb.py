"""DuckDB's types and Arrow's, and the queries that only it knows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from databases import Database, Stage, read, refusal_of

from em_impute.tables.databases import duckdb
from em_impute.tables.databases.session import quoted
from em_impute.tables.databases.target import publish
from em_impute.tables.sources import take_snapshot
from em_impute.tables.writing.staged import Staged

DUCKDB_COLUMNS = """
    i1 tinyint, u1 utinyint, i8 bigint, h hugeint, f4 real, f8 double, d decimal(10,2), t varchar,
    b boolean, bb blob, u uuid, dt date, ts timestamp, tn timestamp_ns, tz timestamptz, ti time,
    iv interval, e enum('glad', 'sad'), l integer[], s struct(a integer, b varchar)
"""
DUCKDB_ROW = """
    1, 2, 9007199254740993, 12345678901234567890, 0.1, 0.1, 1.50, 'x',
    true, 'ab'::blob, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2020-02-29',
    '2020-02-29 12:30:00.123456', '2020-02-29 12:30:00.123456789', '2020-02-29 12:30:00+02',
    '23:59:59.5', INTERVAL 2 DAY, 'glad', [1, NULL], {'a': 1, 'b': 'c'}
"""


def test_types_of_duckdb_come_back_exactly(duckdb_database: Database, tmp_path: Path) -> None:
    run = duckdb_database.run
    run(f"CREATE TABLE t ({DUCKDB_COLUMNS});;CREATE TABLE copied AS FROM t")
    run(f"INSERT INTO t SELECT {DUCKDB_ROW};;INSERT INTO t (i1) VALUES (2)")
    snapshot = take_snapshot(duckdb_database.source(table="t"), tmp_path / "snapshot.arrow")
    staged = Staged(snapshot.path, "feather", 2, 0, snapshot.fingerprint, snapshot.path, ())
    publish(staged, duckdb_database.target("copied"), "run")
    assert run("FROM copied ORDER BY i1") == run("FROM t ORDER BY i1")
    assert run("DESCRIBE copied") == run("DESCRIBE t")


@pytest.mark.parametrize(
    ("value", "type_"), [("'101'::bit", "BIT"), ("'12:00:00+01'::timetz", "TIME WITH TIME ZONE")]
)
def test_type_of_duckdb_without_counterpart(
    duckdb_database: Database, value: str, type_: str
) -> None:
    duckdb_database.run("SELECT 1")
    message = refusal_of(duckdb_database.source(query=f"SELECT {value} AS x"))
    assert (
        f"column 'x' is of type {type_}, which has no counterpart in Arrow; use a query" in message
    )


@pytest.mark.parametrize(
    "value",
    ["date 'infinity'", "date '-infinity'", "timestamp 'infinity'", "timestamptz '-infinity'"],
)
def test_infinity_among_dates_of_duckdb(duckdb_database: Database, value: str) -> None:
    duckdb_database.run("SELECT 1")
    message = refusal_of(duckdb_database.source(query=f"SELECT {value} AS x"))
    assert "column 'x' holds infinity or a time beyond Arrow's, which " in message


@pytest.mark.parametrize("name", ["'), (1); drop table t; --", 'a"b', "a''b"])
def test_types_with_names_in_them(duckdb_database: Database, stage: Stage, name: str) -> None:
    enum = "ENUM ('{}')".format(name.replace("'", "''"))
    duckdb_database.run(
        f"CREATE TABLE t (k integer, e {enum}, s struct({quoted(name)} integer));;"
        f"CREATE TABLE canary (a integer)"
    )
    staged = stage({"k": [1], "e": [name], "s": [{name: 1}]})
    publish(staged, duckdb_database.target(), "run")
    assert duckdb_database.rows() == [(1, name, {name: 1})]
    assert duckdb_database.rows("canary") == []


def test_a_query_sees_no_variable_of_this_program(
    duckdb_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb_database.run("SELECT 1")
    monkeypatch.setattr(duckdb, "secret", pa.table({"x": ["s3cret"]}), raising=False)
    message = refusal_of(duckdb_database.source(query="SELECT * FROM secret"))
    assert "Table with name secret does not exist" in message


def test_a_pivot_is_a_query_too(duckdb_database: Database) -> None:
    duckdb_database.run("CREATE TABLE t AS SELECT * FROM (VALUES ('a', 1), ('b', 2)) AS v(k, x)")
    table = read(duckdb_database.source(query="PIVOT t ON k USING sum(x)"))
    assert table.to_pylist() == [{"a": 1, "b": 2}]
