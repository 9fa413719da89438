"""A table of a database as a target: checked before a run, and published in one transaction.

What a run has filled is loaded into a staging table. Then, in the same transaction, the target's
rows are deleted and inserted, or updated, so that its indexes, grants, views and column types stay
and readers see the old rows until they see the new ones. Where nothing hangs on a table, one that
waits beside it may take its place instead. The table `em_impute_runs` beside the
target says, in that transaction too, which runs are in it: a run is published once, unless the
table does not hold its rows any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from em_impute.job import DatabaseTarget, split_table
from em_impute.tables.databases import holding, narrowing, runs_table
from em_impute.tables.databases.loading import Load, columns_to_write, create, loaded
from em_impute.tables.databases.opening import opened, opened_once
from em_impute.tables.databases.session import DatabaseError, Session, Table, quoted
from em_impute.tables.databases.staged_rows import bring, marks_of
from em_impute.tables.snapshot import read_schema
from em_impute.tables.writing import publications
from em_impute.tables.writing.publications import Standing
from em_impute.tables.writing.staged import Published, Staged, TargetError

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
    with opened_once(target) as session:
        table = session.find(split_table(target.table))
        session.check_privileges(table, _PRIVILEGES[target.mode])
        runs = session.find(table.beside(runs_table.RUNS).parts)
        session.check_privileges(runs, ("SELECT", "INSERT"))
        runs_table.prepare(session, table)
        session.run("CREATE TEMPORARY TABLE em_impute_rehearsal (c0 integer)")
        if not table.exists:
            session.run(f"CREATE TABLE {table.sql} (c0 integer)")
        else:
            _rehearse(session, table, target)


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
    """Make sure that the target's table has a place for every column of another.

    Parameters
    ----------
    schema : Schema
        Of the table that is to be published.
    target : DatabaseTarget
    key : sequence of str
        The columns that identify a row; may be empty.

    Raises
    ------
    TargetError
        Naming a column that it lacks, cannot hold, computes by itself, or needs.
    """
    with opened_once(target) as session:
        session.load(schema, ())
        table = session.find(split_table(target.table))
        if table.exists:
            columns_to_write(session, table, schema, target, key)


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
        If the database refuses the table, or would hold other cells or rows; the target is not
        changed.
    DatabaseLostError
        If the database cannot be reached, or is gone; the target is not changed, or published.
    """
    with opened(target, sparing=bool(staged.beside)) as session:
        session.lock(session.find(split_table(target.table)))
        table = session.find(split_table(target.table))
        runs_table.prepare(session, table)
        runs = runs_table.recorded(session, table)
        state = runs_table.standing(session, table, target.mode, runs, run_id)
        is_loaded = state != "gone" and target.mode == "append" and key and staged.path.exists()
        if is_loaded:
            bring(session, table, staged)
            there = loaded(session, table, read_schema(staged.path), target, key, {})
            state = _by_its_keys(there) or state
        if state == "in doubt":
            raise TargetError(in_doubt(target, run_id))
        if state == "held":
            return replace(runs[run_id], target=str(target), before=True)
        runs = runs_table.forget_what_is_gone(session, table, runs, run_id)
        publications.check_not_overtaken(run_id, runs, str(target))
        if not staged.path.exists():
            raise DatabaseError(f"the staged file {staged.path} is gone; run the job again")
        if not is_loaded:
            bring(session, table, staged)
        narrowed = _put(session, table, staged, target, key)
        if staged.beside:
            session.run(f"DROP TABLE IF EXISTS {table.beside(staged.beside).sql}")
        runs_table.record(session, table, staged, run_id)
        session.commit()
    return Published(str(target), staged.rows, staged.sha256, narrowed=tuple(narrowed.items()))


def _put(
    session: Session, table: Table, staged: Staged, target: DatabaseTarget, key: Sequence[str]
) -> dict[str, int]:
    """Put the staged rows into the table; give the cells of columns that its types have changed."""
    schema = read_schema(staged.path)
    if _supplanted(session, table, staged, target, schema.names):
        return {}
    if not table.exists:
        create(session, table, schema)
    load = loaded(session, table, schema, target, key, marks_of(staged, schema))
    narrowed = narrowing.permitted(load, target.narrowing)
    holding.put(load, staged.rows)
    return narrowed


def _supplanted(
    session: Session, table: Table, staged: Staged, target: DatabaseTarget, names: Sequence[str]
) -> bool:
    """Whether staged rows that waited beside the table have taken its place, all of them."""
    is_new = target.mode == "replace" or (target.mode == "append" and not table.exists)
    if not (staged.beside and is_new):
        return False
    beside = table.beside(staged.beside)
    [(rows,)] = session.run(f"SELECT count(*) FROM {beside.sql}")
    return int(rows) == staged.rows and session.supplant(table, beside, names)


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
        runs = runs_table.recorded(session, table)
        match runs_table.standing(session, table, target.mode, runs, run_id):
            case "held":
                return replace(runs[run_id], target=str(target), before=True)
            case "in doubt":
                raise TargetError(in_doubt(target, run_id))
        return None


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


def standing(target: DatabaseTarget, name: str) -> Standing:
    """Whether the table holds what was published under a name; of keys nothing is asked.

    Raises
    ------
    TargetError
    """
    with opened_once(target) as session:
        table = session.find(split_table(target.table))
        runs = runs_table.recorded(session, table)
        return runs_table.standing(session, table, target.mode, runs, name)


def in_doubt(target: DatabaseTarget, name: str) -> str:
    """Say that a target may not hold what was published there, and what to do."""
    return publications.in_doubt(target, name, "its row in em_impute_runs")
