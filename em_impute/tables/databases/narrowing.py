"""Which cells a target's types would change: numbers that are rounded, times, texts that are cut.

For each column whose type differs from that of the staged rows, the database is asked in one pass
over these how many cells do not come back as they were: the value, in the type of the target's
column, against the value itself. Filled cells are not counted, they may be rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

from em_impute.tables.databases.loading import Load
from em_impute.tables.databases.session import Column, DatabaseError, quoted

Kind = Literal["float", "exact", "text", "other"]

_NUMBER = re.compile(
    r"(small|big|tiny|huge|u|us|ub|ut)*int(eger)?\b|numeric|decimal|real|double|float", re.I
)
_TEXT = re.compile(
    r'varchar|character varying|bpchar|character\b|text|(\w+\.)?citext|name\b|"char"|bit\b', re.I
)
_TIME = re.compile(r"(timestamp|date)\b", re.I)


def kind_of(type_: pa.DataType) -> Kind:
    """What a column holds, as far as it matters for what becomes of it in another type."""
    is_type = pa.types
    if is_type.is_dictionary(type_):
        return kind_of(type_.value_type)
    if is_type.is_floating(type_):
        return "float"
    if is_type.is_integer(type_) or is_type.is_decimal(type_):
        return "exact"
    if is_type.is_string(type_) or is_type.is_large_string(type_) or is_type.is_string_view(type_):
        return "text"
    return "other"


def permitted(load: Load, narrowing: Literal["refuse", "allow"]) -> dict[str, int]:
    """Count the cells that the target's types would change, of each column that has any.

    Raises
    ------
    DatabaseError
        If there are some, and the job does not allow it.
    """
    cells = _changed_cells(load)
    if cells and narrowing == "refuse":
        raise DatabaseError(_refusal(load, cells))
    return cells


def _changed_cells(load: Load) -> dict[str, int]:
    session = load.session
    staged = session.staged_types()
    tests = {}
    for name in load.columns:
        i = load.schema.get_field_index(name)
        if test := _test(load, name, staged[i]):
            tests[name] = f"({test}) AND {load.observed(name)}"
    if not tests:
        return {}
    counts = ", ".join(f"count(CASE WHEN {test} THEN 1 END)" for test in tests.values())
    rows = session.as_held(load.table, list(tests), load.schema)
    [row] = session.run(f"SELECT {counts} FROM {rows}")
    return {name: cells for name, cells in zip(tests, row, strict=True) if cells}


def _refusal(load: Load, cells: Mapping[str, int]) -> str:
    columns = ", ".join(
        f"{count:,} of column {name!r} (of type {load.columns[name].exact or 'none'})"
        for name, count in cells.items()
    )
    return (
        f"its types would change cells that were not filled: {columns}; widen the columns, cast "
        "in the source, or allow it with `target.narrowing: allow`"
    )


def _test(load: Load, name: str, staged: str) -> str | None:
    """Condition in SQL that a cell is changed by the type of its column; None if it cannot be."""
    kind, column, cell = kind_of(load.schema.field(name).type), load.columns[name], load.cell(name)
    held = f"CAST({load.value(name)} AS {column.exact})"
    match load.session.dialect:
        case "postgresql":
            return _in_postgresql(kind, staged, column, held, cell)
        case "duckdb":
            return _in_duckdb(kind, staged, column, held, cell)
    return _in_sqlite(staged, column, f"held.{quoted(name)}", cell)


def _in_postgresql(kind: Kind, staged: str, column: Column, held: str, cell: str) -> str | None:
    if column.exact == staged:
        return None
    number, time = _NUMBER.match(column.base), _TIME.match(column.base)
    if kind in ("exact", "text") and number:
        # By its text a float is compared as it is shown: 0.1 is 0.1.
        return f"CAST(CAST({held} AS text) AS numeric) IS DISTINCT FROM CAST({cell} AS numeric)"
    if kind == "text":
        if time:
            zone = "timestamptz" if "with time zone" in column.base else "timestamp"
            return f"CAST({held} AS {zone}) IS DISTINCT FROM CAST({cell} AS {zone})"
        if re.match(r"time\b|interval", column.base):
            return f"{held} IS DISTINCT FROM CAST({cell} AS {column.base})"
        if column.base in ("bpchar", "character"):  # with its blanks, as it will be read
            return f"CASE WHEN {cell} IS NOT NULL THEN concat({held}) END IS DISTINCT FROM {cell}"
        return f"CAST({held} AS text) IS DISTINCT FROM {cell}" if _TEXT.match(column.base) else None
    if staged in ("json", "xml") or column.base in ("json", "xml"):
        return None
    return f"CAST({held} AS {staged}) IS DISTINCT FROM {cell}"


def _in_duckdb(kind: Kind, staged: str, column: Column, held: str, cell: str) -> str | None:
    if column.exact == staged:
        return None
    number = _NUMBER.match(column.base)
    if kind == "text":
        if number:
            shown, wide = f"CAST({held} AS VARCHAR)", "DECIMAL(38, 18)"
            return f"TRY_CAST({shown} AS {wide}) IS DISTINCT FROM TRY_CAST({cell} AS {wide})"
        if _TIME.match(column.base):
            return f"CAST({held} AS TIMESTAMP) IS DISTINCT FROM CAST({cell} AS TIMESTAMP)"
        return None
    if kind == "exact" and number:
        return f"TRY_CAST(CAST({held} AS VARCHAR) AS {staged}) IS DISTINCT FROM {cell}"
    return f"TRY_CAST({held} AS {staged}) IS DISTINCT FROM {cell}"


def _in_sqlite(staged: str, column: Column, held: str, cell: str) -> str | None:
    """What a column's affinity does: SQLite turns digits into numbers, and numbers into text."""
    if column.base in (staged, "BLOB") or staged == "BLOB":
        return None
    if staged == "TEXT":
        return f"typeof({held}) <> 'text' AND CAST({held} AS TEXT) IS NOT {cell}"
    if (staged, column.base) in {("INTEGER", "REAL"), ("REAL", "TEXT")}:
        return f"CAST({held} AS {staged}) IS NOT {cell}"
    return None
