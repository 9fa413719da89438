"""Cells that a target's types would change: refused, or counted; filled ones may be rounded."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from databases import Database, Stage

from em_impute.tables.databases import filled_marks
from em_impute.tables.databases.target import publish
from em_impute.tables.writing.staged import TargetError

DAY = datetime(2026, 1, 1, 12, 30, 0, 123456)
LONG, SHORT = 10.337281615633593, 10.25


def column(values: list[Any], type_: pa.DataType | None = None) -> pa.Array:
    return pa.array(values, type_)


# The type of the target's column; a cell that it does not hold, and one that it holds.
CHANGED_IN_POSTGRESQL = [
    ("numeric(10,2)", LONG, SHORT, pa.float64()),
    ("numeric(10,2)", Decimal("1.001"), Decimal("1.010"), pa.decimal128(10, 3)),
    ("numeric(10,2)", "1.125", "1.5", pa.string()),
    ("real", LONG, SHORT, pa.float64()),
    ("real", 16777217, 16777216, pa.int64()),
    ("float8", 2**53 + 1, 2**53, pa.int64()),
    ("float8", Decimal("0.12345678901234567890"), Decimal("0.1"), pa.decimal128(30, 20)),
    ("float8", "123456789012345678.01", "0.10", pa.string()),
    ("int", Decimal("1.5"), Decimal("2.0"), pa.decimal128(5, 1)),
    ("timestamp(0)", DAY, DAY.replace(microsecond=0), pa.timestamp("us")),
    ("timestamptz(3)", DAY, DAY.replace(microsecond=123000), pa.timestamp("us", "UTC")),
    ("timestamp(0)", "2026-01-01 12:30:00.5", "2026-01-01 12:30:00", pa.string()),
    ("date", DAY, DAY.replace(hour=0, minute=0, microsecond=0), pa.timestamp("us")),
    ("date", "2026-01-01 12:30", "2026-01-01", pa.string()),
    ("time(0)", DAY.time(), DAY.time().replace(microsecond=0), pa.time64("us")),
    ("char(5)", "ab", "abcde", pa.string()),
    ("varchar(3)", "abc  ", "abc", pa.string()),
    ("name", "x" * 70, "x", pa.string()),
    ("money_like", 1.239, 1.25, pa.float64()),
    ("real[]", [LONG], [SHORT], pa.list_(pa.float64())),
]
CHANGED_IN_DUCKDB = [
    ("decimal(10,2)", LONG, SHORT, pa.float64()),
    ("decimal(10,2)", "1.125", "1.5", pa.string()),
    ("float", LONG, SHORT, pa.float64()),
    ("double", 2**53 + 1, 2**53, pa.int64()),
    ("double", "0.12345678901234567890", "0.5", pa.string()),
    ("integer", Decimal("1.5"), Decimal("2.0"), pa.decimal128(5, 1)),
    ("integer", "12.7", "12", pa.string()),
    ("timestamp_s", DAY, DAY.replace(microsecond=0), pa.timestamp("us")),
    ("date", DAY, DAY.replace(hour=0, minute=0, microsecond=0), pa.timestamp("us")),
    ("date", "2026-01-01 12:30:00", "2026-01-01", pa.string()),
]
CHANGED_IN_SQLITE = [
    ("integer", "007", "7", pa.string()),
    ("real", "1.50", "1.5", pa.string()),
    ("numeric", "1e3", "x1", pa.string()),
    ("real", 2**53 + 1, 2**53, pa.int64()),
    ("text", LONG, SHORT, pa.float64()),
    ("varchar(9)", LONG, SHORT, pa.float64()),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "lost", "kept", "arrow"), CHANGED_IN_POSTGRESQL)
def test_postgresql(
    postgres_database: Database, stage: Stage, type_: str, lost: Any, kept: Any, arrow: pa.DataType
) -> None:
    postgres_database.run("CREATE DOMAIN money_like AS numeric(10,2)")
    refused_then_counted(postgres_database, stage, type_, lost, kept, arrow)


@pytest.mark.parametrize(("type_", "lost", "kept", "arrow"), CHANGED_IN_DUCKDB)
def test_duckdb(
    duckdb_database: Database, stage: Stage, type_: str, lost: Any, kept: Any, arrow: pa.DataType
) -> None:
    refused_then_counted(duckdb_database, stage, type_, lost, kept, arrow)


@pytest.mark.parametrize(("type_", "lost", "kept", "arrow"), CHANGED_IN_SQLITE)
def test_sqlite(
    sqlite_database: Database, stage: Stage, type_: str, lost: Any, kept: Any, arrow: pa.DataType
) -> None:
    refused_then_counted(sqlite_database, stage, type_, lost, kept, arrow)


def refused_then_counted(
    database: Database, stage: Stage, type_: str, lost: Any, kept: Any, arrow: pa.DataType
) -> None:
    """Refused in every mode; counted where allowed; not so where cells fit, or were filled."""
    database.run(f"CREATE TABLE t (k bigint, x {type_});;INSERT INTO t VALUES (0, NULL)")
    cells = {"k": column([1, 2, 3, 4], pa.int64()), "x": column([lost, kept, None, lost], arrow)}
    for mode in ("replace", "append", "upsert"):
        with pytest.raises(TargetError) as caught:
            publish(stage(cells, filled={"x": [3]}), database.target(mode=mode), "run", ["k"])
        assert "its types would change cells that were not filled: 1 of column 'x' (of type " in (
            str(caught.value)
        )
        assert database.run("SELECT count(*) FROM t") == [(1,)]
    fitting = cells | {"x": column([kept, kept, None, lost], arrow)}
    done = publish(stage(fitting, filled={"x": [3]}), database.target(), "run 1", ["k"])
    assert (done.narrowed, done.warning) == ((), None)
    allowed = database.target(narrowing="allow")
    done = publish(stage(cells, filled={"x": [3]}), allowed, "run 2", ["k"])
    assert done.narrowed == (("x", 1),)
    assert done.warning == f"The types of {allowed} changed cells that were not filled: 1 of x."
    assert database.run("SELECT count(*) FROM t") == [(4,)]


@pytest.mark.parametrize(
    ("type_", "cells"),
    [
        ("numeric", column([LONG, -1e-300, 1e300, float("nan")])),
        ("text", column([LONG, 1.0])),
        ("jsonb", column(['{"b": 1,  "a": 2}'])),
        ("uuid", column(["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"])),
        ("bigint", column([1, None], pa.uint8())),
        ("float8", column([1.5, None], pa.float32())),
        ("timestamp", column([DAY])),
        ("numeric(10,2)", column(["1.5", "-0.10", None])),
        ("date", column(["2026-1-2"])),
    ],
)
def test_what_postgresql_holds_is_no_change(
    postgres_database: Database, stage: Stage, type_: str, cells: pa.Array
) -> None:
    postgres_database.run(f"CREATE TABLE t (x {type_})")
    assert publish(stage({"x": cells}), postgres_database.target(), "run").narrowed == ()


def test_a_float_keeps_all_its_digits_in_numeric(postgres_database: Database, stage: Stage) -> None:
    """PostgreSQL's own cast keeps 15 of them."""
    postgres_database.run("CREATE TABLE t (x numeric)")
    publish(stage({"x": [LONG]}), postgres_database.target(), "run")
    assert postgres_database.run("SELECT x::text FROM t") == [(repr(LONG),)]


def test_every_column_is_counted(postgres_database: Database, stage: Stage) -> None:
    postgres_database.run("CREATE TABLE t (a real, b numeric(3,1), c float8)")
    cells = {name: [0.1, 0.123, 0.25] for name in "abc"}
    with pytest.raises(TargetError) as caught:
        publish(stage(cells, filled={"b": [1], "c": [0]}), postgres_database.target(), "run")
    assert (
        "2 of column 'a' (of type real), 1 of column 'b' (of type numeric(3,1)); widen the columns"
        in str(caught.value)
    )


def test_marks_of_more_columns_than_a_word_has_bits(stage: Stage) -> None:
    names = [f"x{i}" for i in range(130)]
    cells = {"k": list(range(7)), **{name: [0.5] * 7 for name in names}}
    filled = {
        name: [row for row in range(7) if (row * 7 + i) % 3 == 0] for i, name in enumerate(names)
    }
    staged = stage(cells, filled=filled)
    schema, batches = filled_marks.marked(staged)
    table = pa.Table.from_batches(list(batches), schema)
    assert table.select(["k", *names]).equals(pa.table(cells))
    for name, (i, bit) in filled_marks.marks(names, 131).items():
        found = [row for row, word in enumerate(table.column(i).to_pylist()) if word & bit]
        assert found == filled[name]
