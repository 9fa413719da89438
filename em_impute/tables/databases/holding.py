"""Putting staged rows into a table, and seeing that it holds them, all of them and as they were.

Triggers, rules, row security and views can have a database say that it wrote rows that it did not
write, or write others. So what statements report is added up, and where something stands between
them and the table, what the table then holds is compared with what was sent: within the
transaction, which a difference undoes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from em_impute.tables.databases.session import Column, DatabaseError, Session, Table, quoted

Marks = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Load:
    """Staged rows, and the table that they are for.

    Attributes
    ----------
    session : Session
        With the rows in its staging table.
    table : Table
    schema : Schema
        Of the staged rows.
    columns : dict of str to Column
        The columns of the table that are written.
    mode : {"replace", "append", "upsert"}
    key : tuple of str
        The columns that identify a row; may be empty unless rows are upserted.
    marks : mapping of str to (int, int)
        For each filled column the staging table's column in which a bit tells its filled cells, and
        the bit.
    """

    session: Session
    table: Table
    schema: pa.Schema
    columns: Mapping[str, Column]
    mode: Literal["replace", "append", "upsert"]
    key: tuple[str, ...]
    marks: Marks

    def cell(self, name: str) -> str:
        """A staged cell of a column, in SQL."""
        return f"new.c{self.schema.get_field_index(name)}"

    def value(self, name: str) -> str:
        """What is put into a column, in SQL: the staged cell in its type."""
        cell, column = self.cell(name), self.columns[name]
        if not self.session.typed:
            return cell
        floating = pa.types.is_floating(self.schema.field(name).type)
        if self.session.dialect == "postgresql" and floating and column.base == "numeric":
            cell = f"CAST({cell} AS text)"  # the cast from a float keeps 15 digits of the 17
        return f"CAST({cell} AS {column.type})"

    def observed(self, name: str) -> str:
        """Condition that a staged cell was not filled."""
        if name not in self.marks:
            return "TRUE"
        column, bit = self.marks[name]
        return f"(new.c{column} & {bit}) = 0"

    @cached_property
    def match(self) -> str:
        """Condition that a row `old` of the table has the key of the staged row `new`."""
        return " AND ".join(f"old.{quoted(name)} = {self._key(name)}" for name in self.key)

    def _key(self, name: str) -> str:
        # A generated column is matched, though it is not written.
        if self.session.typed and name in self.columns:
            return self.value(name)
        return f"new.{self.session.key_column(self.schema.get_field_index(name))}"


def put(load: Load, rows: int) -> None:
    """Put the staged rows, `rows` of them, into the table.

    Raises
    ------
    DatabaseError
        If the table then holds other rows or cells than were sent.
    """
    session, table = load.session, load.table
    between = session.between(table)
    before = held(load) if between and load.mode == "append" else 0
    reported = _write(load)
    session.settle()
    if not between:
        _check(reported == rows, reported, rows, load, between)
        return
    there = held(load) - before
    _check(there == rows, there, rows, load, between)
    if others := changed(load):
        cells = ", ".join(f"{count:,} of {name}" for name, count in others.items())
        raise DatabaseError(
            f"it holds other cells than were sent to it ({cells}), by {_either(between)}"
        )


def _write(load: Load) -> int:
    """Write the rows; give how many the database says that it has written."""
    session, table = load.session, load.table
    names = ", ".join(map(quoted, load.columns))
    values = ", ".join(map(load.value, load.columns))
    given = " OVERRIDING SYSTEM VALUE" if any(c.identity for c in load.columns.values()) else ""
    insert = (
        f"INSERT INTO {table.sql} ({names}){given} SELECT {values} FROM {session.staging} AS new"
    )
    updated = 0
    if load.mode == "upsert":
        updated = _update(load)
        key = {name: load.schema.get_field_index(name) for name in load.key}
        insert += f" WHERE {session.unmatched(table, load.match, key)}"
    if load.mode == "replace":
        session.check_replaceable(table)
        session.change(f"DELETE FROM {table.sql}")
    return updated + session.change(insert)


def _update(load: Load) -> int:
    session, table = load.session, load.table
    others = [name for name in load.columns if name not in load.key]
    if not others:
        return _matched(load)
    assignments = ", ".join(f"{quoted(name)} = {load.value(name)}" for name in others)
    return session.change(
        f"UPDATE {table.sql} AS old SET {assignments} FROM {session.staging} AS new "
        f"WHERE {load.match}"
    )


def held(load: Load) -> int:
    """How many rows the table has; of upserted ones, those with the key of a staged row."""
    if load.mode == "upsert":
        return _matched(load)
    [(rows,)] = load.session.run(f"SELECT count(*) FROM {load.table.sql}")
    return int(rows)


def _matched(load: Load) -> int:
    [(rows,)] = load.session.run(
        f"SELECT count(*) FROM {load.table.sql} AS old, {load.session.staging} AS new "
        f"WHERE {load.match}"
    )
    return int(rows)


def _check(right: bool, held: int, rows: int, load: Load, between: list[str]) -> None:
    if right:
        return
    if between:
        why = f"the reason may be {_either(between)}"
    else:
        why = f"its key is not unique: rows with the same {', '.join(load.key)} are in it"
    raise DatabaseError(f"of {rows:,} rows that were sent to it {held:,} are in it; {why}")


def _either(between: list[str]) -> str:
    return " or ".join(between)


def changed(load: Load, filled: bool = False) -> dict[str, int]:
    """Count the cells of each column that the table does not hold as they were put into it.

    Filled cells count only with `filled`. Without a key, cells are told apart only by their values:
    how many values are sent more often than they are there.
    """
    found = {}
    for name in load.columns:
        kept = "TRUE" if filled else load.observed(name)
        if cells := _changed(load, name, kept):
            found[name] = cells
    return found


def _changed(load: Load, name: str, kept: str) -> int:
    session = load.session
    sent, held = load.value(name), f"old.{quoted(name)}"
    if session.typed:
        sent = f"CAST({sent} AS {load.columns[name].exact})"
    if session.dialect == "postgresql":
        # As text, because not every type can be compared.
        sent, held = f"CAST({sent} AS text)", f"CAST({held} AS text)"
    differs = f"{held} IS {'NOT' if session.dialect == 'sqlite' else 'DISTINCT FROM'} {sent}"
    staging, table = session.staging, load.table.sql
    if load.key and load.mode != "append":
        if name in load.key:
            return 0
        sql = f"FROM {table} AS old, {staging} AS new WHERE {load.match} AND {kept} AND {differs}"
    else:
        every = "" if session.dialect == "sqlite" else " ALL"
        sql = (
            f"FROM (SELECT {sent} FROM {staging} AS new WHERE {kept} "
            f"EXCEPT{every} SELECT {held} FROM {table} AS old) AS missing"
        )
    [(cells,)] = session.run(f"SELECT count(*) {sql}")
    return int(cells)
