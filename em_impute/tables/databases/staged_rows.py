"""Staged rows in a session: loaded from their file, or from where they wait beside the target."""

from __future__ import annotations

import pyarrow as pa

from em_impute.job import MASK
from em_impute.tables.databases.filled_marks import filled_columns, marked, marks
from em_impute.tables.databases.session import DatabaseError, Session, Table
from em_impute.tables.writing.staged import Staged


def bring(session: Session, table: Table, staged: Staged) -> None:
    """Have the staged rows in the session's staging table, with marks of the filled cells."""
    if not staged.beside:
        session.load(*marked(staged))
        return
    beside = session.find(table.beside(staged.beside).parts)
    if not beside.exists:
        raise DatabaseError(
            f"the table {staged.beside}, in which its rows waited, is gone; run the job again"
        )
    session.adopt(beside)


def marks_of(staged: Staged, schema: pa.Schema) -> dict[str, tuple[int, int]]:
    """Where the staged rows have the mark of each column; beside the target it is their mask."""
    if not staged.beside:
        return marks(filled_columns(staged), len(schema))
    return marks([name for name, _ in staged.imputed], len(set(schema.names) - {MASK}))
