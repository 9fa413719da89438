"""Putting staged rows into a table, and seeing that it holds them, all of them and as they were.

Triggers, rules, row security and views can have a database say that it wrote rows that it did not
write, or write others. So what statements report is added up, and where something stands between
them and the table, what the table then holds is compared with what was sent: within the
transaction, which a difference undoes.
"""

from __future__ import annotations

from em_impute.tables.databases.loading import Load
from em_impute.tables.databases.session import DatabaseError, quoted


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
    raise DatabaseError(f"{rows:,} rows were sent to it, and {held:,} are in it; {why}")


def _either(between: list[str]) -> str:
    return " or ".join(between)


def changed(load: Load, filled: bool = False) -> dict[str, int]:
    """Count the cells of each column that the table does not hold as they were put into it.

    Filled cells count only with `filled`. Without a key, cells differ only by their values:
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
