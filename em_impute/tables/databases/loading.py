"""Staged rows in a session, and how they go into the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Literal

import pyarrow as pa

from em_impute.job import DatabaseTarget
from em_impute.job.mistakes import nearest
from em_impute.tables.databases.session import Column, DatabaseError, Session, Table, quoted

_WHOLE_NUMBERS = re.compile(r"(small|big|tiny|huge|u|us|ub|ut)*(int|integer)", re.IGNORECASE)
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


def loaded(
    session: Session,
    table: Table,
    schema: pa.Schema,
    target: DatabaseTarget,
    key: Sequence[str],
    marks: Mapping[str, tuple[int, int]],
) -> Load:
    """What is in the staging table, and how it goes into the target's.

    Parameters
    ----------
    session : Session
    table : Table
        The target's, which is there.
    schema : Schema
        Of the staged rows.
    target : DatabaseTarget
    key : sequence of str
        The columns that identify a row; may be empty unless rows are upserted.
    marks : mapping of str to (int, int)
        As `Load` has them.

    Raises
    ------
    DatabaseError
        If the table has no place for a column, or a key does not identify one row.
    """
    if target.mode == "upsert":
        session.index_staged(table, {name: schema.get_field_index(name) for name in key})
        _check_key(session, schema, key)
    columns = columns_to_write(session, table, schema, target, key)
    return Load(session, table, schema, columns, target.mode, tuple(key), marks)


def create(session: Session, table: Table, schema: pa.Schema) -> None:
    """Make the target's table.

    Parameters
    ----------
    session : Session
        With rows in its staging table.
    table : Table
    schema : Schema
        Of the staged rows.
    """
    columns = []
    for i, field in enumerate(schema):
        type_ = session.new_type(field)
        value = f"CAST(c{i} AS {type_})" if type_ else f"c{i}"
        columns.append(f"{value} AS {quoted(field.name)}")
    session.run(
        f"CREATE TABLE {table.sql} AS SELECT {', '.join(columns)} FROM {session.staging} "
        "WHERE 1 = 0"
    )


def columns_to_write(
    session: Session,
    table: Table,
    schema: pa.Schema,
    target: DatabaseTarget,
    key: Sequence[str],
) -> dict[str, Column]:
    """The target's columns that the table has, and that the database does not compute itself.

    Parameters
    ----------
    session : Session
    table : Table
        The target's, which is there.
    schema : Schema
        Of what is to be written.
    target : DatabaseTarget
    key : sequence of str
        The columns that identify a row; may be empty.

    Raises
    ------
    DatabaseError
        Naming a column that the target lacks, would round, or needs.
    """
    columns = session.columns(table)
    for field in schema:
        if field.name not in columns:
            near = nearest(field.name, columns)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DatabaseError(f"it has no column {field.name!r} that can be written{hint}")
        column = columns[field.name]
        if (
            session.typed
            and pa.types.is_floating(field.type)
            and _WHOLE_NUMBERS.fullmatch(column.type)
        ):
            raise DatabaseError(
                f"its column {field.name!r} is of type {column.type}, which would round the "
                f"table's values of type {field.type}"
            )
        if column.identity and target.mode == "upsert" and field.name not in key:
            raise DatabaseError(
                f"its column {field.name!r} is GENERATED ALWAYS AS IDENTITY, which an update "
                "cannot set; name it in columns.key"
            )
    if needed := [n for n, c in columns.items() if c.required and n not in schema.names]:
        raise DatabaseError(
            f"its column {needed[0]!r} is NOT NULL and has no default, and the table has no such "
            "column; add it to the source, or give it a default"
        )
    return {name: columns[name] for name in schema.names if not columns[name].generated}


def _check_key(session: Session, schema: pa.Schema, key: Sequence[str]) -> None:
    columns = [f"c{schema.get_field_index(name)}" for name in key]
    missing = [f"{column} IS NULL" for column in columns]
    if session.typed:
        floats = [pa.types.is_floating(schema.field(name).type) for name in key]
        missing += [f"{column} = CAST('NaN' AS float8)" for column in compress(columns, floats)]
    [(rows,)] = session.run(f"SELECT count(*) FROM {session.staging} WHERE {' OR '.join(missing)}")
    if rows:
        raise DatabaseError(
            f"`mode: upsert` needs a key in every row; it is missing in {rows:,} rows "
            f"(columns.key: {', '.join(key)})"
        )
    [(keys,)] = session.run(
        f"SELECT count(*) FROM (SELECT 1 FROM {session.staging} GROUP BY {', '.join(columns)} "
        "HAVING count(*) > 1) AS repeated"
    )
    if keys:
        raise DatabaseError(
            f"`mode: upsert` needs a key that is in one row only; {keys:,} keys are in several "
            f"rows (columns.key: {', '.join(key)})"
        )
