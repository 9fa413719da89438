"""The table `em_impute_runs` beside a target: which runs are in that, each of them once.

It is written in the transaction that publishes. What it says of a table that was made anew, or
emptied, since is not true any more.
"""

from __future__ import annotations

from collections.abc import Mapping

from em_impute.tables.databases.session import Session, Table
from em_impute.tables.writing.publications import DAYS_ROWS, Standing
from em_impute.tables.writing.staged import Published, Staged

RUNS = "em_impute_runs"
_COLUMNS = """(
    "run_id" text NOT NULL,
    "target" text NOT NULL,
    "rows" bigint NOT NULL,
    "sha256" text NOT NULL,
    "published_at" timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY ("run_id", "target")
)"""


def prepare(session: Session, table: Table) -> None:
    """Make the table of runs beside a target if it is not there."""
    runs = session.find(table.beside(RUNS).parts)
    if not runs.exists:
        # Two first runs, of other targets, must not make it at once.
        session.lock(runs)
        session.run(f"CREATE TABLE IF NOT EXISTS {runs.sql} {_COLUMNS}")


def recorded(session: Session, table: Table) -> dict[str, Published]:
    """What was published to a table, by name."""
    if not session.find(table.beside(RUNS).parts).exists:
        return {}
    found = session.run(
        f'SELECT "run_id", "rows", "sha256" FROM {table.beside(RUNS).sql} '
        f'WHERE "target" = {session.mark}1',
        table.parts[-1],
    )
    return {run: Published(table.parts[-1], rows, sha256) for run, rows, sha256 in found}


def standing(
    session: Session, table: Table, mode: str, runs: Mapping[str, Published], name: str
) -> Standing:
    """Whether a table holds what was published under a name, by the numbers of its rows.

    Parameters
    ----------
    session : Session
    table : Table
    mode : {"replace", "append", "upsert"}
        How rows are published there.
    runs : mapping of str to Published
        What is recorded.
    name : str
    """
    if name not in runs or _is_emptied(session, table, runs):
        return "gone"
    if mode != "append":
        return "held"
    # Each day's rows were added to those of the others.
    added = sum(one.rows for run, one in runs.items() if DAYS_ROWS.search(run))
    [(rows,)] = session.run(f"SELECT count(*) FROM {table.sql}")
    return "held" if rows >= added else "in doubt"


def forget_what_is_gone(
    session: Session, table: Table, runs: Mapping[str, Published], name: str
) -> dict[str, Published]:
    """Have the record forget what the table does not hold any more.

    Parameters
    ----------
    session : Session
    table : Table
    runs : mapping of str to Published
        What is recorded.
    name : str
        A publication that is gone, recorded or not; all others are too if the table is empty.

    Returns
    -------
    dict of str to Published
        What is left.
    """
    gone = set(runs) if _is_emptied(session, table, runs) else {name} & set(runs)
    for run in gone:
        session.run(
            f"DELETE FROM {table.beside(RUNS).sql} "
            f'WHERE "run_id" = {session.mark}1 AND "target" = {session.mark}2',
            run,
            table.parts[-1],
        )
    return {run: one for run, one in runs.items() if run not in gone}


def _is_emptied(session: Session, table: Table, runs: Mapping[str, Published]) -> bool:
    """Whether a table was made anew, or emptied, since rows were published to it."""
    if not any(one.rows for one in runs.values()):
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


def record(session: Session, table: Table, staged: Staged, run_id: str) -> None:
    """Say that a staged table was published.

    Parameters
    ----------
    session : Session
    table : Table
        Where it is now.
    staged : Staged
    run_id : str
        The name under which it was published.
    """
    marks = ", ".join(f"{session.mark}{i}" for i in range(1, 5))
    session.run(
        f'INSERT INTO {table.beside(RUNS).sql} ("run_id", "target", "rows", "sha256") '
        f"VALUES ({marks})",
        run_id,
        table.parts[-1],
        staged.rows,
        staged.sha256,
    )
