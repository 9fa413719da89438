"""Databases as sources and targets: real PostgreSQL, DuckDB and SQLite, killed ones too."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pytest
from databases import Database, Stage
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute.job import DatabaseSource, DatabaseTarget
from em_impute.tables.databases import duckdb
from em_impute.tables.databases.session import DatabaseLostError, Session, quoted
from em_impute.tables.databases.source import open_source
from em_impute.tables.databases.target import check_target, publish
from em_impute.tables.reading.sources import take_snapshot
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import Published, Staged, TargetError
from em_impute.tables.writing.targets import Published

ODD_NAMES = [
    *("a b", 'say "x"', "ünï.çødé", "x; drop table t --", "Select", "o'clock", "$1 ?1"),
    *('"); drop table t; --', "new\nline", "back\\slash", "%s %(x)s {0} :x @x", "*/ /*", "\u202e"),
]


def read(source: DatabaseSource, batch_rows: int = 1000) -> pa.Table:
    schema, batches = open_source(source, batch_rows)
    return pa.Table.from_batches(list(batches), schema)


def refusal_of(source: DatabaseSource) -> str:
    with pytest.raises(SourceError) as caught:
        read(source)
    return str(caught.value)


# --- Reading -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_quoted_never_pasted(database: Database, stage: Stage, name: str) -> None:
    table = quoted(name)
    publish(stage({name: [1, 2], "k": ["x", "y"]}), database.target(table), "run")
    publish(stage({name: [3], "k": ["y"]}), database.target(table, "upsert"), "run 2", ["k"])
    assert sorted(database.run(f"SELECT {table} FROM {table}")) == [(1,), (3,)]
    assert read(database.source(table=table)).column_names == [name, "k"]
    check_target(database.target(table))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_name_reaches_another_table(database: Database, stage: Stage, name: str) -> None:
    """As the schema, the table, the key and the column at once, in the modes that differ."""
    database.run("CREATE TABLE t (a integer);;INSERT INTO t VALUES (1)")
    prefix = ""
    if database.engine != "sqlite":
        prefix = f"{quoted(f'schema {name}')}."
        database.run(f"CREATE SCHEMA {prefix.removesuffix('.')}")
    table = f"{prefix}{quoted(f'table {name}')}"
    other = f"key {name}"
    for mode in ("append", "upsert", "replace"):
        staged = stage({name: ["x"], other: [name]})
        publish(staged, database.target(table, mode), f"{mode} {name}", [other])
        assert database.rows(table) == [("x", name)]
        database.run(f"DELETE FROM {table}") if mode == "append" else None
    with pytest.raises(SourceError, match="there is no such table"):
        read(database.source(table=quoted(f"no {name}")))
    assert database.rows("t") == [(1,)]


def test_metadata_of_a_file_become_no_sql(postgres_database: Database, stage: Stage) -> None:
    """They tell the type of PostgreSQL that a text had, and come from whoever wrote the file."""
    postgres_database.run("CREATE TABLE t (a integer)")
    hostile = {b"POSTGRESQL:type": b"text) AS x; DROP TABLE t; --"}
    kept = {b"POSTGRESQL:type": b"jsonb"}
    schema = pa.schema(
        [pa.field("x", pa.string(), metadata=hostile), pa.field("y", pa.string(), metadata=kept)]
    )
    publish(stage(pa.table([["a"], ["{}"]], schema)), postgres_database.target("made"), "run")
    types = dict(postgres_database.run(COLUMN_TYPES.format("made")))
    assert types == {"x": "text", "y": "jsonb"}
    assert postgres_database.rows("t") == []


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


def test_table_of_another_schema(postgres_database: Database, stage: Stage) -> None:
    postgres_database.run('CREATE SCHEMA "my sales";;CREATE TABLE "my sales".t (a int)')
    target = postgres_database.target('"my sales".t')
    publish(stage({"a": pa.array([1], pa.int32())}), target, "run")
    assert read(postgres_database.source(table='"my sales".t')).to_pylist() == [{"a": 1}]
    assert postgres_database.rows('"my sales".em_impute_runs')[0][:3] == ("run", "t", 1)


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


def test_a_file_named_like_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To DuckDB, `md:` before a name is MotherDuck, and `sqlite:` an extension to download."""
    monkeypatch.chdir(tmp_path)
    check_target(DatabaseTarget(url="duckdb:///md:x", table="t"))
    assert (tmp_path / "md:x").exists()


# --- Types -------------------------------------------------------------------------------------

POSTGRES_COLUMNS = """
    i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(12,2), n5 numeric(50,3),
    tx text, vc varchar(10), ch char(3), b bool, by bytea, u uuid, j json, jb jsonb, d date,
    ts timestamp, tz timestamptz, ti time, iv interval, e mood, ai int[], at text[], nm name,
    "di" positive
"""
POSTGRES_ROW = """
    1, 2, 9007199254740993, 0.1, 0.1, 12345678901234567890.123456789, 1.50, -7.125,
    'x', 'y', 'z', true, '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b":  1}', '{"a": 1}',
    '2020-02-29', '2020-02-29 12:30:00.123456', '2020-02-29 12:30:00+02', '23:59:59.5',
    '1 month 2 days 3 hours', 'glad', '{1,NULL}', '{a,"b c"}', 'n', 5
"""
EXTREMES = "('NaN', 'NaN', '4713-11-24 BC', '290000-12-31', '4713-11-24 00:00:00 BC')"
COLUMN_TYPES = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attnum > 0 AND attrelid = '{}'::regclass
"""


def test_types_of_postgresql_come_back_exactly(postgres_database: Database, tmp_path: Path) -> None:
    run = postgres_database.run
    run("CREATE TYPE mood AS ENUM ('glad', 'sad');;CREATE DOMAIN positive AS int CHECK (value > 0)")
    run(f"CREATE TABLE t ({POSTGRES_COLUMNS});;CREATE TABLE copied (LIKE t)")
    run(f"INSERT INTO t VALUES ({POSTGRES_ROW});;INSERT INTO t DEFAULT VALUES")
    run(f"INSERT INTO t (n, f8, d, ts, tz) VALUES {EXTREMES}")
    snapshot = take_snapshot(postgres_database.source(table="t"), tmp_path / "snapshot.arrow")
    types = {column.name: column.type for column in snapshot.columns}
    assert types["n"] == "string"
    assert types["n2"] == "decimal128(12, 2)"
    assert types["n5"] == "decimal256(50, 3)"
    assert types["u"] == "extension<arrow.uuid>"
    staged = Staged(snapshot.path, "feather", 3, 0, snapshot.fingerprint, snapshot.path, ())
    for table in ("copied", "made"):
        publish(staged, postgres_database.target(table), "run")
        rows = "SELECT x::text FROM {} AS x ORDER BY 1"
        assert run(rows.format(table)) == run(rows.format("t"))
    described = COLUMN_TYPES
    assert run(described.format("copied")) == run(described.format("t"))
    made = dict(run(described.format("made")))
    expected = {"n": "numeric", "n2": "numeric(12,2)", "u": "uuid", "jb": "jsonb", "e": "text"}
    assert {name: made[name] for name in expected} == expected


def test_numerics_of_a_query_have_their_precision(postgres_database: Database) -> None:
    table = read(
        postgres_database.source(query="SELECT 1.5::numeric(6,-2) a, 2.5::numeric(4,3) b, 1.5 c")
    )
    assert list(map(str, table.schema.types)) == ["decimal128(6, -2)", "decimal128(4, 3)", "string"]
    assert table.to_pylist() == [{"a": Decimal("0E+2"), "b": Decimal("2.500"), "c": "1.5"}]


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("'{1.2.3.4}'::inet[]", "inet[]"),
        ("row(1, 2)", "record"),
        ("('x', 1)::pair", "pair"),
        ("array[('x', 1)::pair]", "pair[]"),
        ("'{[1,2)}'::int4multirange", "int4multirange"),
        ("point(1, 2)", "point"),
        ("'a'::tsvector", "tsvector"),
        ("5::money", "money"),
        ("'{5}'::money[]", "money[]"),
        ("5::oid", "oid"),
        ("'[1,2)'::int4range", "int4range"),
        ("'12:00+01'::timetz", "timetz"),
        ("'{1.5}'::numeric[]", "numeric[]"),
    ],
)
def test_type_of_postgresql_without_counterpart(
    postgres_database: Database, value: str, type_: str
) -> None:
    postgres_database.run("CREATE TYPE pair AS (a text, b int)")
    message = refusal_of(postgres_database.source(query=f'SELECT 1 AS a, {value} AS "my col"'))
    assert message.endswith(
        f"cannot be read: column 'my col' is of type {type_}, which has no counterpart in Arrow; "
        'use a query that casts it, such as `select cast("my col" as text)`.'
    )


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


def test_types_that_are_like_text(
    postgres_database: Database, stage: Stage, tmp_path: Path
) -> None:
    run = postgres_database.run
    run("CREATE EXTENSION citext;;CREATE EXTENSION ltree;;CREATE TYPE mood AS ENUM ('glad')")
    run("CREATE DOMAIN mail AS citext CHECK (value LIKE '%@%')")
    columns = (
        "id int, c citext, m mail, e mood, i inet, n cidr, ma macaddr, b bit(3), vb varbit(5), "
        "l ltree"
    )
    run(f"CREATE TABLE t ({columns});;CREATE TABLE copied (LIKE t)")
    run(
        "INSERT INTO t VALUES (1, 'Ab ', 'X@y', 'glad', '1.2.3.4/8', '10.0.0.0/8', "
        "'08:00:2b:01:02:03', B'101', B'1', 'a.b')"
    )
    run("INSERT INTO t (id) VALUES (2)")
    snapshot = take_snapshot(postgres_database.source(table="t"), tmp_path / "snapshot.arrow")
    assert {column.type for column in snapshot.columns[1:]} == {"string"}
    staged = Staged(snapshot.path, "feather", 2, 0, snapshot.fingerprint, snapshot.path, ())
    rows = "SELECT x::text FROM {} AS x ORDER BY id"
    for table, mode in (("copied", "replace"), ("copied", "upsert"), ("made", "replace")):
        publish(staged, postgres_database.target(table, mode), f"run {mode}", ["id"])
        assert run(rows.format(table)) == run(rows.format("t"))
    made = dict(run(COLUMN_TYPES.format("made")))
    assert [made[name] for name in ("c", "i", "n", "l")] == ["citext", "inet", "cidr", "ltree"]


def test_extension_in_a_schema_of_its_own(postgres_database: Database) -> None:
    postgres_database.run("CREATE SCHEMA e;;CREATE EXTENSION citext SCHEMA e")
    postgres_database.run("CREATE TABLE t AS SELECT 'A'::e.citext AS c")
    assert read(postgres_database.source(table="t")).to_pylist() == [{"c": "A"}]


@pytest.mark.parametrize(
    "value", ["'{{1,2},{3,4}}'::int[]", "'[5:6]={1,2}'::int[]", "'{{a}}'::text[]"]
)
def test_arrays_that_are_no_lists(postgres_database: Database, value: str) -> None:
    """Never flattened."""
    message = refusal_of(postgres_database.source(query=f'SELECT 1 AS a, {value} AS "my col"'))
    assert (
        "column 'my col' holds arrays of several dimensions, or whose first element is not number 1"
        in message
    )
    assert 'such as `select cast("my col" as text)`' in message
    query = f"SELECT {value}::text AS x, '{{}}'::int[] AS y, '{{1}}'::int[] AS z, null::int[] AS n"
    [row] = read(postgres_database.source(query=query)).to_pylist()
    assert (row["y"], row["z"], row["n"]) == ([], [1], None)


@pytest.mark.parametrize("value", ["array['infinity'::date]", "array['-infinity'::timestamp]"])
def test_infinity_in_arrays(postgres_database: Database, value: str) -> None:
    message = refusal_of(postgres_database.source(query=f"SELECT {value} AS x"))
    assert "column 'x' holds infinity or a time beyond Arrow's, which " in message


def test_types_of_sqlite_are_those_of_all_its_values(sqlite_database: Database) -> None:
    sqlite_database.run("CREATE TABLE t (i, r, m, t, b, n)")
    sqlite_database.run(
        "INSERT INTO t VALUES (NULL, NULL, 1, NULL, NULL, NULL);;"
        "INSERT INTO t VALUES (9007199254740993, 0.5, 2.5, 'x', x'00ff', NULL)"
    )
    table = read(sqlite_database.source(table="t"), batch_rows=1)
    expected = ["int64", "double", "double", "string", "binary", "null"]
    assert list(map(str, table.schema.types)) == expected
    assert list(table.to_pylist()[1].values()) == [2**53 + 1, 0.5, 2.5, "x", b"\x00\xff", None]


def test_sqlite_column_of_several_types(sqlite_database: Database) -> None:
    sqlite_database.run("CREATE TABLE t (a, x);;INSERT INTO t VALUES (1, 1), (2, 'secret')")
    message = refusal_of(sqlite_database.source(table="t"))
    assert (
        "column 'x' holds values of several types (integer, text), which no type of Arrow"
        in message
    )
    assert "secret" not in message
    sqlite_database.run("DELETE FROM t;;INSERT INTO t VALUES (9007199254740993, 1), (0.5, 1)")
    message = refusal_of(sqlite_database.source(table="t"))
    assert "column 'a' holds whole numbers beyond 2**53 among numbers with decimals" in message


def test_empty_text_among_numbers_of_sqlite(sqlite_database: Database) -> None:
    """As a CSV file leaves it that was imported without a word on missing cells."""
    sqlite_database.run("CREATE TABLE t (a, \"the x\");;INSERT INTO t VALUES (1, 0.5), (2, '')")
    message = refusal_of(sqlite_database.source(table="t"))
    hint = 'select nullif("the x", \'\') as "the x"'
    assert (
        f"column 'the x' holds empty text among numbers, perhaps for a missing cell; use a query "
        f"that makes it missing, such as `{hint}`." in message
    )
    rows = read(sqlite_database.source(query=f"{hint} from t")).to_pylist()
    assert rows == [{"the x": 0.5}, {"the x": None}]


def test_nan_of_a_declared_numeric(postgres_database: Database) -> None:
    message = refusal_of(postgres_database.source(query="SELECT 'NaN'::numeric(5,2) AS x"))
    assert "column 'x' holds NaN or infinity, which decimal128(5, 2) does not have" in message


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_infinity_among_dates(postgres_database: Database, type_: str, sign: str) -> None:
    message = refusal_of(postgres_database.source(query=f"SELECT '{sign}infinity'::{type_} AS x"))
    assert "column 'x' holds infinity or a time beyond Arrow's, which " in message
    assert 'use a query that casts it, such as `select cast("x" as text)`' in message


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([{"a": 1}]), "PostgreSQL cannot hold 'x' of type struct<a: int64>"),
        (
            pa.array([1], pa.timestamp("ns")),
            "column 'x' of type timestamp[ns] holds a value that timestamp[us], which the "
            "database has for it, does not hold exactly",
        ),
    ],
    ids=["struct", "nanoseconds"],
)
def test_column_that_postgresql_cannot_hold(
    postgres_database: Database, stage: Stage, column: pa.Array, problem: str
) -> None:
    with pytest.raises(TargetError) as caught:
        publish(stage({"x": column}), postgres_database.target(), "run")
    assert problem in str(caught.value)
    assert postgres_database.run("SELECT to_regclass('t') IS NULL") == [(True,)]


def test_arrow_types_that_postgresql_holds_under_other_names(
    postgres_database: Database, stage: Stage
) -> None:
    day = datetime(2020, 2, 29, 12, 30, tzinfo=UTC)
    table = {
        "u": pa.array([2**64 - 1], pa.uint64()),
        "d": pa.array([date(2020, 2, 29)], pa.date64()),
        "t": pa.array([day], pa.timestamp("ns", "Europe/Paris")),
        "c": pa.array(["a"]).dictionary_encode(),
        "h": pa.array([1.5], pa.float16()),
        "l": pa.array([["x"]], pa.large_list(pa.large_string())),
        "n": pa.nulls(1),
    }
    publish(stage(table), postgres_database.target(), "run")
    row = (Decimal(2**64 - 1), date(2020, 2, 29), day, "a", 1.5, ["x"], None)
    assert postgres_database.run("SELECT u::text, d, t, c, h, l, n FROM t") == [
        (str(row[0]), *row[1:])
    ]


# --- What is wrong with a source ---------------------------------------------------------------


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


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_file_that_is_no_database(tmp_path: Path, engine: str) -> None:
    (tmp_path / "x").write_text("a,b\n1,2\n" * 1000)
    message = refusal_of(DatabaseSource(url=f"{engine}:///{tmp_path}/x", table="t"))
    expected = {
        "duckdb": f"{tmp_path}/x cannot be opened as a DuckDB file",
        "sqlite": "the file is not an SQLite database, or it is damaged",
    }
    assert expected[engine] in message
    message = refusal_of(DatabaseSource(url=f"{engine}:///{tmp_path}/nope", table="t"))
    assert f"there is no file {tmp_path}/nope in {Path.cwd()}" in message


def test_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    message = refusal_of(DatabaseSource(url=f"duckdb:///{tmp_path}/x", table="t"))
    assert (
        "its driver is not installed; install it with `pip install 'em-impute[duckdb]'`" in message
    )
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    message = refusal_of(DatabaseSource(url="postgresql://h/d", table="t"))
    assert "install it with `pip install 'em-impute[postgresql]'`" in message


# --- Logging in --------------------------------------------------------------------------------


def test_server_that_does_not_answer() -> None:
    source = DatabaseSource(url="postgresql://me@127.0.0.1:1/sales", table="t")
    expected = (
        "The table t of postgresql://127.0.0.1:1/sales cannot be {}: "
        "no database server answers at 127.0.0.1:1 (connection refused)."
    )
    with pytest.raises(DatabaseLostError) as caught:
        read(source)
    assert str(caught.value) == expected.format("read")
    with pytest.raises(TargetError) as refused:
        check_target(DatabaseTarget(url=str(source.url), table="t"))
    assert str(refused.value) == expected.format("written")


@pytest.mark.parametrize("in_url", [True, False], ids=["in the URL", "beside it"])
def test_password_opens_and_is_never_told(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, in_url: bool
) -> None:
    wrong = "wr0ng:pass/word"

    def source(password: str) -> DatabaseSource:
        secret = quote(password, safe="")
        url = postgres.guarded_url.replace(GUARDED, f"{GUARDED}:{secret}")
        monkeypatch.setenv("WAREHOUSE", url if in_url else password)
        return DatabaseSource.model_validate(
            {"url": {"env": "WAREHOUSE"}, "query": "SELECT 1 AS a"}
            if in_url
            else {
                "url": postgres.guarded_url,
                "password": {"env": "WAREHOUSE"},
                "query": "SELECT 1 AS a",
            }
        )

    assert read(source(PASSWORD)).to_pylist() == [{"a": 1}]
    message = refusal_of(source(wrong))
    assert (
        f"the server at 127.0.0.1:{postgres.port} refused the login; check the user and" in message
    )
    for told in (message, repr(source(wrong)), str(source(wrong)), source(wrong).model_dump_json()):
        assert "wr0ng" not in told
        assert GUARDED not in message


def test_database_or_user_that_is_not_there(postgres: PostgresServer) -> None:
    place = f"the server at 127.0.0.1:{postgres.port} knows no such database or no such user"
    for url in (f"{postgres.url}x", postgres.url.replace("postgres@", "nobody@")):
        assert place in refusal_of(DatabaseSource(url=url, table="t"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "the environment variable WAREHOUSE is not set"),
        ("", "the environment variable WAREHOUSE is not set"),
        (
            "mysql://me:s3cret@h/d",
            "the environment variable WAREHOUSE: expected the URL of a database, such as ",
        ),
    ],
)
def test_environment_variable_that_is_no_url(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str
) -> None:
    monkeypatch.delenv("WAREHOUSE", raising=False)
    if value is not None:
        monkeypatch.setenv("WAREHOUSE", value)
    message = refusal_of(DatabaseSource.model_validate({"url": {"env": "WAREHOUSE"}, "table": "t"}))
    assert f"The table t of $WAREHOUSE cannot be read: {expected}" in message
    assert "s3cret" not in message


# --- Writing -----------------------------------------------------------------------------------


@pytest.fixture
def filled(stage: Stage) -> Staged:
    return stage({"k": [1, 2, 3], "x": [1.5, 2.5, 3.5]})


@pytest.fixture
def old(database: Database) -> list[tuple[Any, ...]]:
    """What the table t holds before."""
    columns = "k integer PRIMARY KEY, x double precision, note text DEFAULT 'new'"
    database.run(f"CREATE TABLE t ({columns})")
    database.run("INSERT INTO t VALUES (0, 0.0, 'old'), (1, 0.0, 'old')")
    return database.rows()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("replace", [(1, 1.5, "new"), (2, 2.5, "new"), (3, 3.5, "new")]),
        (
            "upsert",
            [(0, 0.0, "old"), (1, 1.5, "old"), (2, 2.5, "new"), (3, 3.5, "new")],
        ),
    ],
)
def test_modes(
    database: Database, old: Any, filled: Staged, mode: str, expected: list[tuple[Any, ...]]
) -> None:
    target = database.target(mode=mode)
    assert publish(filled, target, "run", ["k"]) == Published(str(target), 3, filled.sha256)
    assert database.rows() == expected


def test_append(database: Database, filled: Staged) -> None:
    """Once per run, also into a table that is not there yet."""
    for run in ("run 1", "run 1", "run 2"):
        publish(filled, database.target(mode="append"), run)
    assert database.rows() == sorted([(1, 1.5), (2, 2.5), (3, 3.5)] * 2)


def test_upsert_into_a_table_of_keys_only(database: Database, stage: Stage) -> None:
    publish(stage({"k": [1, 2]}), database.target(mode="upsert"), "run 1", ["k"])
    publish(stage({"k": [2, 3]}), database.target(mode="upsert"), "run 2", ["k"])
    assert database.rows() == [(1,), (2,), (3,)]


def test_a_run_is_published_once(database: Database, filled: Staged, stage: Stage) -> None:
    first = publish(filled, database.target(), "run 1")
    publish(stage({"k": [9], "x": [9.0]}), database.target(), "run 2")
    filled.path.unlink()  # a retry on another machine does not even need it
    assert publish(filled, database.target(), "run 1") == first
    assert database.rows() == [(9, 9.0)]
    runs = database.run('SELECT "run_id", "target", "rows", "sha256" FROM em_impute_runs')
    assert runs[0] == ("run 1", "t", 3, filled.sha256)
    assert [run[0] for run in runs] == ["run 1", "run 2"]
    with pytest.raises(TargetError, match=r"the staged file .* is gone; run the job again"):
        publish(filled, database.target(), "run 3")


def test_what_a_dba_gave_the_table_survives(postgres_database: Database, stage: Stage) -> None:
    run = postgres_database.run
    doubled = "doubled float8 GENERATED ALWAYS AS (x * 2) STORED"
    run(f"CREATE TABLE t (k int PRIMARY KEY, x numeric(6,1) NOT NULL, {doubled})")
    run(f"CREATE INDEX by_x ON t (x);;GRANT SELECT ON t TO {GUARDED}")
    run("CREATE VIEW v AS SELECT k, x FROM t")
    catalog = (
        "SELECT relname, relacl::text, relfilenode FROM pg_class "
        "WHERE relname IN ('t', 'by_x', 'v') ORDER BY 1"
    )
    before = run(catalog)
    publish(stage({"k": [1], "x": [0.5]}), postgres_database.target(), "run")
    assert run(catalog) == before
    assert run("SELECT k, x::text FROM v") == [(1, "0.5")]


def test_readers_see_old_rows_and_are_not_blocked(
    postgres_database: Database, filled: Staged
) -> None:
    """A long transaction with an old snapshot goes on seeing it, after the publication too."""
    postgres_database.run("CREATE TABLE t AS SELECT 0 AS k, 0.0::float8 AS x")
    with (
        adbc_driver_postgresql.dbapi.connect(postgres_database.url) as reader,
        reader.cursor() as cursor,
    ):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == [(0, 0.0)]
        publish(filled, postgres_database.target(), "run")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == [(0, 0.0)]
    assert len(postgres_database.rows()) == 3


@pytest.mark.parametrize(
    ("table", "mode", "problem"),
    [
        (
            {"k": [1, None], "x": [1.0, 2.0]},
            "upsert",
            "`mode: upsert` needs a key in every row; it is missing in 1 rows (columns.key: k)",
        ),
        (
            {"k": [1.0, float("nan")], "x": [1.0, 2.0]},
            "upsert",
            "`mode: upsert` needs a key in every row; it is missing in 1 rows (columns.key: k)",
        ),
        (
            {"k": [1, 2, 2, 2], "x": [1.0] * 4},
            "upsert",
            "`mode: upsert` needs a key of its own for every row; 1 keys are those of several rows "
            "(columns.key: k)",
        ),
        (
            {"k": [1], "xx": [1.0]},
            "replace",
            "it has no column 'xx' that can be written (did you mean 'x'?)",
        ),
    ],
    ids=["no key", "NaN as key", "key twice", "no such column"],
)
def test_table_that_the_target_refuses(
    database: Database,
    old: Any,
    stage: Stage,
    table: Any,
    mode: str,
    problem: str,
) -> None:
    with pytest.raises(TargetError) as caught:
        publish(stage(table), database.target(mode=mode), "run", ["k"])
    assert str(caught.value) == (
        f"The table t of {database.target().url_shown} cannot be written: {problem}."
    )
    assert database.rows() == old
    with pytest.raises(Exception, match="em_impute_runs"):
        database.rows("em_impute_runs")


def test_constraint_that_is_violated(database: Database, old: Any, filled: Staged) -> None:
    with pytest.raises(TargetError) as caught:
        publish(filled, database.target(mode="append"), "run")
    expected = {
        "postgresql": 'duplicate key value violates unique constraint "t_pkey" (SQLSTATE 23505)',
        "duckdb": "a row violates a constraint of the table, such as its primary key",
        "sqlite": "UNIQUE constraint failed: t.k",
    }
    assert str(caught.value).endswith(f"cannot be written: {expected[database.engine]}.")
    assert database.rows() == old


@pytest.mark.parametrize("engine", ["postgres", "duckdb"])
def test_fractions_are_not_rounded_to_whole_numbers(
    request: pytest.FixtureRequest, stage: Stage, engine: str
) -> None:
    database: Database = request.getfixturevalue(f"{engine}_database")
    database.run("CREATE TABLE t (k bigint, x integer)")
    with pytest.raises(TargetError) as caught:
        publish(stage({"k": [1], "x": [1.5]}), database.target(), "run")
    assert (
        "its column 'x' is of type integer, to which the table's, of type double, would be rounded"
    ) in str(caught.value).replace("INTEGER", "integer")


@pytest.mark.parametrize("type_", ["varchar(5)", "char(5)"])
def test_text_that_is_too_long_is_not_cut(
    postgres_database: Database, stage: Stage, type_: str
) -> None:
    postgres_database.run(f"CREATE TABLE t (k bigint, x {type_})")
    with pytest.raises(TargetError, match="its types would change cells that were not filled: 1 "):
        publish(stage({"k": [1], "x": ["abcdef"]}), postgres_database.target(), "run")
    publish(stage({"k": [1], "x": ["abcde"]}), postgres_database.target(), "run")
    assert postgres_database.rows() == [(1, "abcde")]


# --- Before the work starts --------------------------------------------------------------------


def test_check_leaves_no_trace(database: Database, old: Any) -> None:
    for table in ("t", "another"):
        for mode in ("replace", "append", "upsert"):
            check_target(database.target(table, mode))
    assert database.rows() == old
    listed = {
        "postgresql": "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        "duckdb": "SELECT table_name FROM duckdb_tables()",
        "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table'",
    }
    assert database.run(listed[database.engine]) == [("t",)]


def test_target_that_may_not_be_written(
    postgres: PostgresServer, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    run = postgres_database.run
    url = postgres_database.url.replace("postgres@", f"{GUARDED}@")

    def check(table: str, mode: Any = "replace") -> None:
        check_target(DatabaseTarget(url=url, table=table, mode=mode, password={"env": "PASSWORD"}))

    with pytest.raises(TargetError, match="permission denied for schema public"):
        check("t")
    run(f"GRANT CREATE ON SCHEMA public TO {GUARDED};;CREATE TABLE t (a int)")
    run(f"GRANT SELECT, INSERT ON t TO {GUARDED}")
    check("t", "append")
    with pytest.raises(TargetError, match="permission denied for table t"):
        check("t", "replace")
    with pytest.raises(TargetError, match='schema "nope" does not exist'):
        check("nope.t")


def test_rows_that_would_take_others_with_them(postgres_database: Database) -> None:
    postgres_database.run(
        "CREATE TABLE t (k int PRIMARY KEY);;"
        "CREATE TABLE child (k int REFERENCES t ON DELETE CASCADE);;INSERT INTO t VALUES (1)"
    )
    expected = "by the foreign key child_k_fkey with ON DELETE; use `mode: upsert`"
    with pytest.raises(TargetError, match=expected):
        check_target(postgres_database.target())
    check_target(postgres_database.target(mode="upsert"))


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_folder_of_a_target_is_made(tmp_path: Path, engine: str) -> None:
    check_target(DatabaseTarget(url=f"{engine}:///{tmp_path}/a/b/x", table="t"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match=f"its folder {tmp_path}/file/a cannot be made"):
        check_target(DatabaseTarget(url=f"{engine}:///{tmp_path}/file/a/x", table="t"))


# --- Killed, and two at once -------------------------------------------------------------------

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
