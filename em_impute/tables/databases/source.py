"""A table or query of a database as a source, read as it was when the transaction began."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from em_impute.job import DatabaseSource, split_table
from em_impute.job.mistakes import nearest
from em_impute.tables.databases.opening import opened
from em_impute.tables.databases.session import DatabaseError, Session, Table


def open_source(
    source: DatabaseSource, batch_rows: int, scanned: bool = False
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a table or query in one transaction, as it was when that began.

    Parameters
    ----------
    source : DatabaseSource
    batch_rows : int
    scanned : bool
        Whether it only goes through a table, which takes little memory.

    Returns
    -------
    schema : Schema
    batches : iterator of RecordBatch
        Streamed; the connection is closed after the last.

    Raises
    ------
    SourceError
        If the login, the table, the SQL or the type of a column is refused.
    DatabaseLostError
        If the database cannot be reached, or is gone.
    """
    stream = _stream(source, batch_rows, scanned)
    return next(stream), stream


def _stream(source: DatabaseSource, batch_rows: int, scanned: bool) -> Iterator[Any]:
    """The schema of a source, then its batches."""
    with opened(source, sparing=scanned) as session:
        if source.query is not None:
            # Drivers put the query in brackets: no semicolon in them, and no comment that swallows
            # one.
            sql = source.query.rstrip().removesuffix(";")
        else:
            assert source.table is not None
            table = session.find(split_table(source.table))
            if not table.exists:
                raise DatabaseError(f"there is no such table{_near(session, table)}")
            sql = f"SELECT * FROM {table.sql}"
        schema, batches = session.stream(f"{sql}\n", batch_rows)
        yield schema
        yield from batches


def _near(session: Session, table: Table) -> str:
    """Names that the user may have meant."""
    names = {".".join(parts): parts for parts in session.tables()}
    wanted = ".".join(table.parts)
    near = nearest(wanted.lower(), [name.lower() for name in names], most=3)
    same = [name for name, parts in names.items() if parts[-1] == table.parts[-1]]
    meant = same or [name for name in names if name.lower() in near]
    return f" (did you mean {' or '.join(sorted(meant))}?)" if meant else ""
