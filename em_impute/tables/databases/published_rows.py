"""Whether a database still holds what a run has published there."""

from __future__ import annotations

from em_impute.job import DatabaseTarget, split_table
from em_impute.tables.databases import holding, runs_table
from em_impute.tables.databases.loading import loaded
from em_impute.tables.databases.opening import opened_once
from em_impute.tables.databases.staged_rows import bring, marks_of
from em_impute.tables.snapshot import read_schema
from em_impute.tables.writing.publications import Comparison, run_of
from em_impute.tables.writing.staged import Staged, TargetError


def compare(staged: Staged, target: DatabaseTarget, run_id: str) -> Comparison:
    """Compare the rows of a run with those of its target, unless others may be among these.

    Filled cells are compared as the target's types hold them.

    Parameters
    ----------
    staged : Staged
        The table of the run.
    target : DatabaseTarget
    run_id : str
    """
    name = f"{target}"[0].upper() + f"{target}"[1:]
    if target.mode == "append":
        return Comparison(f"{name} was appended to: the rows of this run cannot be compared.")
    try:
        with opened_once(target) as session:
            table = session.find(split_table(target.table))
            last = runs_table.last_run(session, table)
            if not table.exists or last is None:
                return Comparison(f"{name} is not there any more.")
            if run_of(last) != run_id:
                return Comparison(f"{name} was written by another run since.")
            schema = read_schema(staged.path)
            bring(session, table, staged)
            bits = marks_of(staged, schema)
            load = loaded(session, table, schema, target, staged.key, bits)
            held, others = holding.held(load), holding.changed(load, filled=True)
    except TargetError as error:
        return Comparison(f"What it has published cannot be compared: {error}")
    if held != staged.rows:
        return Comparison(f"{name} holds {held:,} of the {staged.rows:,} rows by now.", True)
    if others:
        cells = ", ".join(f"{count:,} of {column}" for column, count in others.items())
        return Comparison(f"{name} holds other cells than this run published: {cells}.", True)
    return Comparison(f"{name} still holds what this run published.")
