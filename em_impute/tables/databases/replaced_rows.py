"""Rows of one run in tables that have those of many: put in the place of the run's own."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from em_impute.job import DatabaseTarget, split_table
from em_impute.tables.databases.loading import create, loaded
from em_impute.tables.databases.opening import opened_once
from em_impute.tables.databases.session import Session, quoted


def replace_rows(
    target: DatabaseTarget, tables: Mapping[str, pa.Table], whose: Mapping[str, str]
) -> None:
    """Put rows into a table and into others beside it, in one transaction; made if not there.

    Parameters
    ----------
    target : DatabaseTarget
        The first table.
    tables : mapping of str to Table
        The rows, by what stands behind the first table's name.
    whose : mapping of str to str
        Columns and their values, by which rows that are there already are found, which go.

    Raises
    ------
    TargetError
        If the database cannot be reached, or a table has no place for a column.
    """
    with opened_once(target) as session:
        for suffix, rows in tables.items():
            _replace(session, target, suffix, rows, whose)
        session.settle()
        session.commit()


def _replace(
    session: Session,
    target: DatabaseTarget,
    suffix: str,
    rows: pa.Table,
    whose: Mapping[str, str],
) -> None:
    first = session.find(split_table(target.table))
    beside = first.beside(f"{first.parts[-1]}{suffix}")
    session.lock(beside)  # two jobs must not make it at once
    table = session.find(beside.parts)
    session.load(rows.schema, rows.to_batches())
    if not table.exists:
        create(session, table, rows.schema)
    load = loaded(session, table, rows.schema, target, (), {})
    conditions = (f"{quoted(name)} = {session.mark}{i}" for i, name in enumerate(whose, start=1))
    session.run(f"DELETE FROM {table.sql} WHERE {' AND '.join(conditions)}", *whose.values())
    names, values = ", ".join(map(quoted, load.columns)), ", ".join(map(load.value, load.columns))
    session.run(f"INSERT INTO {table.sql} ({names}) SELECT {values} FROM {session.staging} AS new")
    session.run(f"DROP TABLE {session.staging}")
