"""A table that is filled where it is, in one transaction: no row leaves the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from em_impute.job.mistakes import nearest
from em_impute.tables.databases.session import DatabaseError, Session, Table, quoted
from em_impute.tables.sql.dialects import DIALECTS, Dialect
from em_impute.tables.sql.select import Filled

NO_PATTERNS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class FilledTable:
    """What was filled in a database.

    Attributes
    ----------
    table : str
        The filled table.
    rows : int
    cells : dict of str to int
        Filled cells of each imputed column.
    """

    table: str
    rows: int
    cells: Mapping[str, int]


def dialect_of(session: Session) -> Dialect:
    """The SQL that a session's database understands.

    Raises
    ------
    DatabaseError
        If it is none for which a model can be written.
    """
    if session.dialect not in DIALECTS:
        raise DatabaseError(f"{session.dialect} does not fill tables; DuckDB and PostgreSQL do")
    return DIALECTS[session.dialect]


def existing(session: Session, parts: tuple[str, ...]) -> Table:
    """A table that has to be there.

    Raises
    ------
    DatabaseError
        If it is not.
    """
    table = session.find(parts)
    if not table.exists:
        raise DatabaseError(f"there is no table {'.'.join(parts)}")
    return table


def schema_of(session: Session, rows: str) -> pa.Schema:
    """The columns of a table, or of a query in brackets with its name."""
    schema, batches = session.stream(f"SELECT * FROM {rows} WHERE 1 = 0", 1)
    list(batches)
    return schema


def filled_rows(session: Session, filled: Filled, source: Table) -> Iterator[str]:
    """Yield queries that together give a table's rows, filled; each holds until the next one.

    Mostly there is one. Where the patterns are so many that their coefficients would be more than
    the database should hold at once, each has the rows of some patterns.

    Parameters
    ----------
    session : Session
        Which may make temporary tables.
    filled : Filled
    source : Table
    """
    dialect = dialect_of(session)
    _, batches = session.stream(filled.patterns(source.sql), 2**16)
    patterns = np.concatenate([NO_PATTERNS, *(batch.column(0).to_numpy() for batch in batches)])
    for portion in filled.slopes(patterns, session.staging, dialect).portions():
        sent = portion.table()
        session.load(sent.schema, sent.to_batches())
        yield filled.select(source.sql, dialect, portion)
        session.run(f"DROP TABLE {session.staging}")


def put_filled(
    session: Session, filled: Filled, source: Table, target: Table, key: Sequence[str]
) -> FilledTable:
    """Put the filled rows of one table in the place of another's, and commit that.

    What stands there then is compared with the source before: the number of rows, missing cells of
    imputed columns, and, where there is a key, the observed cells.

    Parameters
    ----------
    session : Session
        To write.
    filled : Filled
    source, target : Table
        The target is made if it is missing.
    key : sequence of str
        Columns that identify a row; may be empty.

    Raises
    ------
    DatabaseError
        If the database refuses a query, the target's columns are others, or it would hold other
        rows or cells than it should; the target is as it was.
    DatabaseLostError
    """
    if source.parts == target.parts:
        raise DatabaseError("it is the table to be filled itself; name another")
    session.lock(target)
    columns = ", ".join(map(quoted, [*filled.roles.columns, *filled.roles.added]))
    insert = f"INSERT INTO {target.sql} ({columns})"
    into = insert if target.exists else f"CREATE TABLE {target.sql} AS"
    for i, query in enumerate(filled_rows(session, filled, source)):
        if i == 0 and target.exists:
            _make_room(session, target, query)
        session.run(f"{insert if i else into}\n{query}")
    answer = _verified(session, filled, source, target, key)
    session.commit()
    return answer


def _make_room(session: Session, target: Table, query: str) -> None:
    """Delete a table's rows, if its columns are those of a query."""
    _check_columns(schema_of(session, target.sql), schema_of(session, f"(\n{query}\n) AS em_rows"))
    session.check_replaceable(target)
    session.run(f"DELETE FROM {target.sql}")


def _check_columns(held: pa.Schema, new: pa.Schema) -> None:
    """Refuse a table that does not have the columns of the filled rows, in their types."""
    for field in new:
        if field.name not in held.names:
            near = nearest(field.name, held.names)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DatabaseError(f"it has no column {field.name!r}{hint}")
        if (type_ := held.field(field.name).type) != field.type:
            raise DatabaseError(
                f"its column {field.name!r} is of type {type_}, and the filled one of type "
                f"{field.type}; drop the table, or name another"
            )


def _verified(
    session: Session, filled: Filled, source: Table, target: Table, key: Sequence[str]
) -> FilledTable:
    """What was filled, after a comparison of both tables."""
    (rows, before), (held, after) = (_missing(session, filled, table) for table in (source, target))
    if held != rows:
        raise DatabaseError(f"it would hold {held:,} rows, and the table to be filled {rows:,}")
    if left := [name for name, cells in after.items() if cells]:
        raise DatabaseError(
            f"{after[left[0]]:,} cells of its column {left[0]!r} would still be missing"
        )
    if key:
        _check_observed(session, filled, (source, target), key, rows)
    return FilledTable(".".join(target.parts), rows, before)


def _missing(session: Session, filled: Filled, table: Table) -> tuple[int, dict[str, int]]:
    """How many rows a table has, and missing cells in each imputed column."""
    missing = filled.missing
    counted = [f"count(CASE WHEN {condition} THEN 1 END)" for condition in missing.values()]
    [(rows, *cells)] = session.run(f"SELECT {', '.join(['count(*)', *counted])} FROM {table.sql}")
    return rows, dict(zip(missing, cells, strict=True))


def _check_observed(
    session: Session,
    filled: Filled,
    tables: tuple[Table, Table],
    key: Sequence[str],
    rows: int,
) -> None:
    """Compare the observed cells of the model's columns, row by row."""
    before, after = (table.sql for table in tables)
    missing, names = filled.missing, filled.roles.model_columns
    matched = " AND ".join(f"old.{quoted(name)} = new.{quoted(name)}" for name in key)
    seen = ", ".join(
        f"NOT ({missing.get(name, 'FALSE')}) AS em_seen{i}" for i, name in enumerate(names)
    )
    other = " OR ".join(
        f"(em_seen{i} AND old.{quoted(name)} IS DISTINCT FROM new.{quoted(name)})"
        for i, name in enumerate(names)
    )
    [(pairs, changed)] = session.run(
        f"SELECT count(*), count(CASE WHEN {other} THEN 1 END) "
        f"FROM (SELECT *, {seen} FROM {before}) AS old JOIN {after} AS new ON {matched}"
    )
    if pairs != rows:
        raise DatabaseError(
            f"the key ({', '.join(key)}) does not tell the rows apart, or is missing in some: it "
            f"makes {pairs:,} pairs of {rows:,} rows; name another, or none"
        )
    if changed:
        raise DatabaseError(f"observed cells would change in {changed:,} rows")
