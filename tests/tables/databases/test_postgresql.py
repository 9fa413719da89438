"""PostgreSQL's types and Arrow's, there and back, and those without a counterpart."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from databases import Database, Stage, read, refusal_of

from em_impute.tables.databases.target import publish
from em_impute.tables.sources import take_snapshot
from em_impute.tables.writing.staged import Staged, TargetError

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
            "column 'x' of type timestamp[ns] holds a value that the database's type timestamp[us] "
            "cannot hold exactly",
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
