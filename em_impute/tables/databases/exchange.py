"""Databases as sources and targets: a consistent read, and a publication in one transaction.

What a run has filled is loaded into a staging table. Then, in the same transaction, the target's
rows are deleted and inserted, or updated, so that its indexes, grants, views and column types stay
and readers see the old rows until they see the new ones. The table `em_impute_runs` beside the
target says, in that transaction too, which runs are in it: a run is published once, unless the
table does not hold its rows any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from em_impute.job import DatabaseSource, DatabaseTarget, split_table
from em_impute.job.mistakes import nearest
from em_impute.tables.databases import holding, narrowing
from em_impute.tables.databases.engines import connect
from em_impute.tables.databases.filled_marks import filled_columns, marked, marks
from em_impute.tables.databases.loading import Load
from em_impute.tables.databases.logins import LoginError, login_to
from em_impute.tables.databases.session import (
    Column,
    DatabaseError,
    DatabaseLostError,
    Session,
    Table,
    quoted,
)
from em_impute.tables.snapshot import SourceError, read_schema
from em_impute.tables.writing.publications import DAYS_ROWS, Standing, check_not_overtaken
from em_impute.tables.writing.staged import Published, TargetError
from em_impute.tables.writing.targets import in_doubt

if TYPE_CHECKING:
    from em_impute.tables.writing.staged import Staged

RUNS = "em_impute_runs"
_RUNS_COLUMNS = """(
    "run_id" text NOT NULL,
    "target" text NOT NULL,
    "rows" bigint NOT NULL,
    "sha256" text NOT NULL,
    "published_at" timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY ("run_id", "target")
)"""
_WHOLE_NUMBERS = re.compile(r"(small|big|tiny|huge|u|us|ub|ut)*(int|integer)", re.IGNORECASE)


@contextmanager
def opened(place: DatabaseSource | DatabaseTarget) -> Iterator[Session]:
    """A session with a source's or target's database; its refusals as this room's errors."""
    reading = isinstance(place, DatabaseSource)
    fault, done = (SourceError, "read") if reading else (TargetError, "written")
    name = f"{place}"[0].upper() + f"{place}"[1:]
    try:
        login = login_to(place)
        with connect(login.url, login.password, write=not reading) as session:
            yield session
    except (DatabaseError, LoginError) as error:
        raise fault(f"{name} cannot be {done}: {error}.") from None
    except DatabaseLostError as error:
        raise DatabaseLostError(f"{name} cannot be {done}: {error}.") from None


# --- Sources -----------------------------------------------------------------------------------


def open_source(
    source: DatabaseSource, batch_rows: int
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a table or query in one transaction, as it was when that began.

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
    stream = _stream(source, batch_rows)
    return next(stream), stream


def _stream(source: DatabaseSource, batch_rows: int) -> Iterator[Any]:
    """The schema of a source, then its batches."""
    with opened(source) as session:
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


# --- Targets -----------------------------------------------------------------------------------


_PRIVILEGES = {
    "replace": ("SELECT", "INSERT", "DELETE"),
    "append": ("SELECT", "INSERT"),
    "upsert": ("SELECT", "INSERT", "UPDATE"),
}


def check_target(target: DatabaseTarget) -> None:
    """Rehearse the publication, without rows, and undo it.

    Raises
    ------
    TargetError
        If the database cannot be reached, or does not let this user write the table.
    """
    try:
        with opened(target) as session:
            table = session.find(split_table(target.table))
            session.check_privileges(table, _PRIVILEGES[target.mode])
            runs = session.find(table.beside(RUNS).parts)
            session.check_privileges(runs, ("SELECT", "INSERT"))
            _prepare_runs(session, table)
            session.run("CREATE TEMPORARY TABLE em_impute_rehearsal (c0 integer)")
            if not table.exists:
                session.run(f"CREATE TABLE {table.sql} (c0 integer)")
            else:
                _rehearse(session, table, target)
    except DatabaseLostError as error:
        raise TargetError(str(error)) from None


def _rehearse(session: Session, table: Table, target: DatabaseTarget) -> None:
    columns = [
        quoted(name)
        for name, column in session.columns(table).items()
        if not (column.generated or column.identity)
    ]
    if columns:
        names = ", ".join(columns)
        session.run(
            f"INSERT INTO {table.sql} ({names}) SELECT {names} FROM {table.sql} WHERE 1 = 0"
        )
    if target.mode == "replace":
        session.check_replaceable(table)
        session.run(f"DELETE FROM {table.sql} WHERE 1 = 0")
    if target.mode == "upsert" and columns:
        assignments = ", ".join(f"{name} = {name}" for name in columns)
        session.run(f"UPDATE {table.sql} SET {assignments} WHERE 1 = 0")


def check_schema(schema: pa.Schema, target: DatabaseTarget, key: Sequence[str]) -> None:
    """Make sure that the target's table has a place for every column of one of `schema`.

    Raises
    ------
    TargetError
        Naming a column that it lacks, cannot hold, computes by itself, or needs.
    """
    try:
        with opened(target) as session:
            session.load(schema, ())
            table = session.find(split_table(target.table))
            if table.exists:
                _columns_to_write(session, table, schema, target, key)
    except DatabaseLostError as error:
        raise TargetError(str(error)) from None


def publish(
    staged: Staged, target: DatabaseTarget, run_id: str, key: Sequence[str] = ()
) -> Published:
    """Load a staged table into the target, in one transaction; once, however often it is called.

    Parameters
    ----------
    staged : Staged
        A Feather file.
    target : DatabaseTarget
    run_id : str
        What is published is recorded under this name; the same again changes nothing.
    key : sequence of str
        The columns by which ``mode: upsert`` finds the rows to update.

    Raises
    ------
    TargetError
        If the database refuses the table, or would hold other cells or rows; the target is as it
        was.
    DatabaseLostError
        If the database cannot be reached, or is gone; the target is as it was, or published.
    """
    with opened(target) as session:
        session.lock(session.find(split_table(target.table)))
        table = session.find(split_table(target.table))
        _prepare_runs(session, table)
        recorded = _recorded(session, table)
        state = _standing(session, table, target, recorded, run_id)
        staged_rows = False
        if state != "gone" and target.mode == "append" and key and staged.path.exists():
            session.load(*marked(staged))
            staged_rows = True
            there = loaded(session, table, read_schema(staged.path), target, key, {})
            state = _by_its_keys(there) or state
        if state == "in doubt":
            raise TargetError(in_doubt(target, run_id))
        if state == "held":
            return replace(recorded[run_id], target=str(target), before=True)
        recorded = _without_what_is_gone(session, table, recorded, run_id)
        check_not_overtaken(run_id, recorded, str(target))
        if not staged.path.exists():
            raise DatabaseError(f"the staged file {staged.path} is gone; run the job again")
        schema = read_schema(staged.path)
        if not staged_rows:
            session.load(*marked(staged))
        if not table.exists:
            create(session, table, schema)
        load = loaded(
            session, table, schema, target, key, marks(filled_columns(staged), len(schema))
        )
        narrowed = narrowing.changed_cells(load)
        if narrowed and target.narrowing == "refuse":
            raise DatabaseError(narrowing.refusal(load, narrowed))
        holding.put(load, staged.rows)
        _record(session, table, staged, run_id)
        session.commit()
    return Published(str(target), staged.rows, staged.sha256, narrowed=tuple(narrowed.items()))


def find_published(target: DatabaseTarget, run_id: str) -> Published | None:
    """What the database says that a run has published to the target; None if nothing.

    Raises
    ------
    TargetError
        If it cannot be asked.
    DatabaseLostError
        If the database cannot be reached.
    """
    with opened(target) as session:
        table = session.find(split_table(target.table))
        if not session.find(table.beside(RUNS).parts).exists:
            return None
        recorded = _recorded(session, table)
        match _standing(session, table, target, recorded, run_id):
            case "held":
                return replace(recorded[run_id], target=str(target), before=True)
            case "in doubt":
                raise TargetError(in_doubt(target, run_id))
        return None


def loaded(
    session: Session,
    table: Table,
    schema: pa.Schema,
    target: DatabaseTarget,
    key: Sequence[str],
    marks: Mapping[str, tuple[int, int]],
) -> Load:
    """What is in the staging table, and how it goes into the target's."""
    if target.mode == "upsert":
        session.index_staged(table, {name: schema.get_field_index(name) for name in key})
        _check_key(session, schema, key)
    columns = _columns_to_write(session, table, schema, target, key)
    return Load(session, table, schema, columns, target.mode, tuple(key), marks)


def create(session: Session, table: Table, schema: pa.Schema) -> None:
    """Make the target's table."""
    columns = []
    for i, field in enumerate(schema):
        type_ = session.new_type(field)
        value = f"CAST(c{i} AS {type_})" if type_ else f"c{i}"
        columns.append(f"{value} AS {quoted(field.name)}")
    session.run(
        f"CREATE TABLE {table.sql} AS SELECT {', '.join(columns)} FROM {session.staging} "
        "WHERE 1 = 0"
    )


def _columns_to_write(
    session: Session,
    table: Table,
    schema: pa.Schema,
    target: DatabaseTarget,
    key: Sequence[str],
) -> dict[str, Column]:
    """The target's columns that the table has, and that the database does not compute itself."""
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
                f"its column {field.name!r} is of type {column.type}, to which the table's, of "
                f"type {field.type}, would be rounded"
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
    nulls = " OR ".join(f"{column} IS NULL" for column in columns)
    [(rows,)] = session.run(f"SELECT count(*) FROM {session.staging} WHERE {nulls}")
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
            f"`mode: upsert` needs a key of its own for every row; {keys:,} keys are those of "
            f"several rows (columns.key: {', '.join(key)})"
        )


# --- What was published already ----------------------------------------------------------------


def _prepare_runs(session: Session, table: Table) -> None:
    runs = session.find(table.beside(RUNS).parts)
    if not runs.exists:
        # Two first runs, of other targets, must not make it at once.
        session.lock(runs)
        session.run(f"CREATE TABLE IF NOT EXISTS {runs.sql} {_RUNS_COLUMNS}")


def standing(target: DatabaseTarget, name: str) -> Standing:
    """Whether the table holds what was published under a name; of keys nothing is asked.

    Raises
    ------
    TargetError
    """
    try:
        with opened(target) as session:
            table = session.find(split_table(target.table))
            if not session.find(table.beside(RUNS).parts).exists:
                return "gone"
            return _standing(session, table, target, _recorded(session, table), name)
    except DatabaseLostError as error:
        raise TargetError(str(error)) from None


def _recorded(session: Session, table: Table) -> dict[str, Published]:
    """What was published to a table, by name."""
    found = session.run(
        f'SELECT "run_id", "rows", "sha256" FROM {table.beside(RUNS).sql} '
        f'WHERE "target" = {session.mark}1',
        table.parts[-1],
    )
    return {run: Published(table.parts[-1], rows, sha256) for run, rows, sha256 in found}


def _standing(
    session: Session,
    table: Table,
    target: DatabaseTarget,
    recorded: Mapping[str, Published],
    name: str,
) -> Standing:
    if name not in recorded or _is_emptied(session, table, recorded):
        return "gone"
    if target.mode != "append":
        return "held"
    # Each day's rows were added to those of the others.
    added = sum(one.rows for run, one in recorded.items() if DAYS_ROWS.search(run))
    [(rows,)] = session.run(f"SELECT count(*) FROM {table.sql}")
    return "held" if rows >= added else "in doubt"


def _by_its_keys(load: Load) -> Standing | None:
    """Whether the rows that are staged are in a table; None where the key tells no row there."""
    session, table = load.session, load.table
    names = ", ".join(map(quoted, load.key))
    there = f"SELECT DISTINCT {names} FROM {table.sql}"
    new_names = ", ".join(
        load.value(name) if name in load.columns else load.cell(name) for name in load.key
    )
    staged = f"SELECT DISTINCT {new_names} FROM {session.staging} AS new"
    [(rows,)] = session.run(f"SELECT count(*) FROM {table.sql}")
    keys, new, shared = (
        session.run(f"SELECT count(*) FROM ({query}) AS keys")[0][0]
        for query in (there, staged, f"{staged} INTERSECT {there}")
    )
    if keys < rows:
        return None
    return "held" if shared == new else "in doubt" if shared else "gone"


def _without_what_is_gone(
    session: Session, table: Table, recorded: dict[str, Published], name: str
) -> dict[str, Published]:
    """Have the record forget what the table does not hold any more."""
    gone = set(recorded) if _is_emptied(session, table, recorded) else {name} & set(recorded)
    for run in gone:
        session.run(
            f"DELETE FROM {table.beside(RUNS).sql} "
            f'WHERE "run_id" = {session.mark}1 AND "target" = {session.mark}2',
            run,
            table.parts[-1],
        )
    return {run: one for run, one in recorded.items() if run not in gone}


def _is_emptied(session: Session, table: Table, recorded: Mapping[str, Published]) -> bool:
    """Whether a table was made anew, or emptied, since rows were published to it."""
    if not any(one.rows for one in recorded.values()):
        return False
    return not table.exists or not session.run(f"SELECT 1 FROM {table.sql} LIMIT 1")


def last_run(session: Session, table: Table) -> str | None:
    """The run that has published to a table last; None if none has."""
    runs = session.find(table.beside(RUNS).parts)
    if not runs.exists:
        return None
    found = session.run(
        f'SELECT "run_id" FROM {runs.sql} WHERE "target" = {session.mark}1 '
        'ORDER BY "published_at" DESC LIMIT 1',
        table.parts[-1],
    )
    return str(found[0][0]) if found else None


def _record(session: Session, table: Table, staged: Staged, run_id: str) -> None:
    marks = ", ".join(f"{session.mark}{i}" for i in range(1, 5))
    session.run(
        f'INSERT INTO {table.beside(RUNS).sql} ("run_id", "target", "rows", "sha256") '
        f"VALUES ({marks})",
        run_id,
        table.parts[-1],
        staged.rows,
        staged.sha256,
    )
