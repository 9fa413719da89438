"""An SQLite file. Its columns have no types, its values have; Arrow's come from all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from em_impute.tables.databases.address import check_there
from em_impute.tables.databases.session import (
    ONE_SELECT,
    STAGING,
    Column,
    DatabaseError,
    Fetched,
    Session,
    Table,
    cast_exactly,
    kept_locked,
    quoted,
    types_sent,
)

_TYPES_OF_STORAGE: dict[frozenset[str], pa.DataType] = {
    frozenset(): pa.null(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"real"}): pa.float64(),
    frozenset({"integer", "real"}): pa.float64(),
    frozenset({"text"}): pa.string(),
    frozenset({"blob"}): pa.binary(),
}
_SQLITE_NAMES = {pa.int64(): "INTEGER", pa.float64(): "REAL", pa.binary(): "BLOB"}


class SQLite(Session):
    """An SQLite file. Its columns have no types, its values have; Arrow's come from all of them."""

    dialect = "sqlite"
    mark = "?"
    typed = False

    def __init__(self, path: Path, write: bool) -> None:
        check_there(path, write)
        self._key_columns: dict[int, str] = {}
        mode = "rwc" if write else "ro"
        uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
        with self._reported():
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=self.patience, isolation_level=None
            )
        # No other file is attached, and what a file's own schema calls is harmless.
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self.run("PRAGMA trusted_schema = OFF")
        self.run("BEGIN IMMEDIATE" if write else "BEGIN")
        if not write:
            self._connection.set_authorizer(_only_reads)

    def close(self) -> None:
        self._connection.close()

    def commit(self) -> None:
        self.run("COMMIT")

    def run(self, sql: str, *values: object) -> Fetched:
        with self._reported():
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str) -> int:
        with self._reported():
            return self._connection.execute(sql).rowcount

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:  # Python 3.11 warns of a second statement
            raise _reason(error) from None

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        source = f"(\n{sql}\n)"
        self.run(f"EXPLAIN {sql}")  # it must stand by itself: no bracket of it closes ours
        with self._reported():
            described = self._connection.execute(f"SELECT * FROM {source} LIMIT 0").description
        names = [column[0] for column in described]
        found = ", ".join(f"group_concat(DISTINCT typeof({quoted(name)}))" for name in names)
        [storages] = self.run(f"SELECT {found} FROM {source}")
        for name, kinds in zip(names, storages, strict=True):
            self._check_empty_texts(source, name, set((kinds or "").split(",")) - {"null"})
        schema = pa.schema(list(map(_field_of_storage, names, storages)))
        with self._reported():
            cursor = self._connection.execute(f"SELECT * FROM {source}")
        return schema, self._batches(cursor, batch_rows, schema)

    def _check_empty_texts(self, source: str, name: str, kinds: set[str]) -> None:
        """Say so where what keeps a column from being one of numbers is empty text."""
        if "text" not in kinds or not kinds - {"text"} <= {"integer", "real"} or len(kinds) < 2:
            return
        column = quoted(name)
        texts = f"typeof({column}) = 'text' AND trim({column}) <> ''"
        if not self.run(f"SELECT 1 FROM {source} WHERE {texts} LIMIT 1"):
            raise DatabaseError(
                f"column {name!r} holds empty text among numbers, perhaps for a missing cell; use "
                f"a query that makes it missing, such as `select nullif({column}, '') as {column}`"
            )

    def _batches(
        self, cursor: sqlite3.Cursor, batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        with self._reported():
            while rows := cursor.fetchmany(batch_rows):
                columns = zip(*rows, strict=True)
                yield pa.RecordBatch.from_arrays(list(map(_array, columns, schema)), schema=schema)

    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        types = types_sent(schema, "sqlite", "SQLite")
        columns = ", ".join(
            f"c{i} {_SQLITE_NAMES.get(type_, 'TEXT')}" for i, type_ in enumerate(types)
        )
        self.run(f"CREATE TEMP TABLE {STAGING} ({columns})")
        marks = ", ".join("?" * len(types))
        with self._reported():
            for batch in cast_exactly(batches, schema, types):
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                self._connection.executemany(f"INSERT INTO {self.staging} VALUES ({marks})", rows)

    def find(self, parts: tuple[str, ...]) -> Table:
        *schema, name = parts
        found = self.run(
            "SELECT 'main', name FROM main.sqlite_schema "
            "WHERE type IN ('table', 'view') AND lower(name) = lower(?1)",
            name,
        )
        if found and schema in ([], ["main"]):
            return Table(found[0], exists=True)
        return Table(parts if schema else ("main", name), exists=False)

    def tables(self) -> list[tuple[str, str]]:
        return self.run(
            "SELECT 'main', name FROM main.sqlite_schema WHERE type IN ('table', 'view')"
        )

    def columns(self, table: Table) -> dict[str, Column]:
        # A table's own INTEGER PRIMARY KEY numbers itself.
        found = self.run(
            'SELECT name, type, hidden, "notnull" AND dflt_value IS NULL AND pk = 0 '
            "FROM pragma_table_xinfo(?1) WHERE hidden <> 1",
            table.parts[-1],
        )
        return {
            name: Column(type_, type_, _affinity(type_), hidden > 1, required=bool(required))
            for name, type_, hidden, required in found
        }

    def staged_types(self) -> list[str]:
        return [type_ for (type_,) in self.run(f"SELECT type FROM pragma_table_info('{STAGING}')")]

    def as_held(self, table: Table, names: Sequence[str], schema: pa.Schema) -> str:
        columns = ", ".join(map(quoted, names))
        cells = ", ".join(f"c{schema.get_field_index(name)}" for name in names)
        self.run(f"CREATE TEMP TABLE em_impute_held AS SELECT {columns} FROM {table.sql} WHERE 0")
        self.run(
            f"INSERT INTO temp.em_impute_held SELECT {cells} FROM {self.staging} ORDER BY rowid"
        )
        return f"{self.staging} AS new JOIN temp.em_impute_held AS held ON held.rowid = new.rowid"

    def index_staged(self, table: Table, key: Mapping[str, int]) -> None:
        # What is compared must be of one affinity, or no index is used: text that is compared with
        # a column of numbers gets one more column, in which it becomes what it is there.
        columns, staged = self.columns(table), self.staged_types()
        for name, i in key.items():
            if name in columns and columns[name].base != staged[i] == "TEXT":
                self.run(f"ALTER TABLE {self.staging} ADD COLUMN k{i} {columns[name].base}")
                self.run(f"UPDATE {self.staging} SET k{i} = c{i}")
                self._key_columns[i] = f"k{i}"
        by = ", ".join(map(self.key_column, key.values()))
        self.run(f"CREATE INDEX temp.em_impute_by_key ON {STAGING} ({by})")

    def key_column(self, i: int) -> str:
        return self._key_columns.get(i, f"c{i}")

    def unmatched(self, table: Table, match: str, key: Mapping[str, int]) -> str:  # noqa: ARG002
        # One walk over the table, which may have no index on the key; the staged rows have one.
        known = " AND ".join(
            f"old.{quoted(name)} = known.{self.key_column(i)}" for name, i in key.items()
        )
        return (
            f"new.rowid NOT IN (SELECT known.rowid FROM {table.sql} AS old "
            f"CROSS JOIN {self.staging} AS known WHERE {known})"
        )

    def between(self, table: Table) -> list[str]:
        found = self.run(
            "SELECT CASE type WHEN 'trigger' THEN 'its trigger ' || name ELSE 'that it is a view' "
            "END FROM main.sqlite_schema WHERE lower(tbl_name) = lower(?1) "
            "AND type IN ('trigger', 'view') ORDER BY 1",
            table.parts[-1],
        )
        return [name for (name,) in found]


def _affinity(declared: str) -> str:
    """What a column makes of its values, by SQLite's rules for the words of its type."""
    words = declared.upper()
    if "INT" in words:
        return "INTEGER"
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in words or not words:
        return "BLOB"
    return "REAL" if any(word in words for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


_READING = {
    *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION),
    sqlite3.SQLITE_RECURSIVE,
}


def _only_reads(action: int, *_: object) -> int:
    """What SQLite asks of each part of a statement that it compiles: PRAGMA, ATTACH are none."""
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _reason(error: sqlite3.Error | sqlite3.Warning) -> DatabaseError:
    name, message = getattr(error, "sqlite_errorname", ""), str(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return kept_locked(SQLite.patience)
    if name == "SQLITE_FULL":
        return DatabaseError("the disk is full")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return DatabaseError("the file is not an SQLite database, or it is damaged")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return DatabaseError("the file or its folder cannot be opened or written")
    if "one statement at a time" in message or name == "SQLITE_AUTH":
        return DatabaseError(ONE_SELECT)
    if "syntax error" in message or "incomplete input" in message:
        return DatabaseError("the SQL has a syntax error")
    if name == "SQLITE_CONSTRAINT_TRIGGER":  # whose words are its author's
        return DatabaseError("a trigger of the database raised an error")
    if message.startswith("no such ") or "constraint failed" in message:
        return DatabaseError(message)
    return DatabaseError(f"the statement failed ({name or type(error).__name__})")


def _field_of_storage(name: str, storages: str | None) -> pa.Field:
    kinds = frozenset((storages or "null").split(",")) - {"null"}
    if kinds not in _TYPES_OF_STORAGE:
        raise DatabaseError(
            f"column {name!r} holds values of several types ({', '.join(sorted(kinds))}), which no "
            f"type of Arrow holds; use a query that casts it, such as `select cast({quoted(name)} "
            "as text)`"
        )
    return pa.field(name, _TYPES_OF_STORAGE[kinds])


def _array(column: tuple[Any, ...], field: pa.Field) -> pa.Array:
    try:
        return pa.array(column, field.type)
    except pa.ArrowException:
        raise DatabaseError(
            f"column {field.name!r} holds whole numbers beyond 2**53 among numbers with decimals; "
            f"use a query that casts it, such as `select cast({quoted(field.name)} as text)`"
        ) from None
