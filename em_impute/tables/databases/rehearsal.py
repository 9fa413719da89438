"""Before a run: what publishing the rows that were read would meet in the target's database.

The rows, with an observed value in the place of each hole, are put where the target's types and
constraints hold and where nobody sees them: in SQLite and DuckDB into the target itself, in
PostgreSQL, where triggers and locks would be felt, into a temporary table made like it. All of it
is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from em_impute.job import IMPUTATION, DatabaseTarget, split_table
from em_impute.tables import spelling
from em_impute.tables.columns.roles import Roles
from em_impute.tables.databases import filled_marks, holding, narrowing
from em_impute.tables.databases.loading import create, loaded
from em_impute.tables.databases.opening import opened_once
from em_impute.tables.snapshot import Snapshot, is_missing, read_batches, read_spelled


def rehearse(snapshot: Snapshot, roles: Roles, schema: pa.Schema, target: DatabaseTarget) -> None:
    """Publish the rows of a snapshot without a trace.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    schema : Schema
        Of the filled table.
    target : DatabaseTarget

    Raises
    ------
    TargetError
        If the target would refuse them.
    """
    with opened_once(target) as session:
        wider = filled_marks.with_words(schema, roles.impute)
        session.load(wider, _with_stand_ins(snapshot, roles, schema, wider))
        table = session.find(split_table(target.table))
        if not table.exists:
            create(session, table, schema)
        bits = filled_marks.marks(roles.impute, len(schema))
        load = loaded(session, table, schema, target, roles.filled_key, bits)
        narrowing.permitted(load, target.narrowing)
        session.check_references(table, {n: load.value(n) for n in load.columns}, roles.impute)
        place = session.stand_in(table)
        mode = load.mode if place is table else "append"
        holding.put(replace(load, table=place, mode=mode), snapshot.rows)


def _with_stand_ins(
    snapshot: Snapshot, roles: Roles, schema: pa.Schema, wider: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows with a cell of its column in the place of each hole, and marks of these."""
    stand_ins = {name: _observed(snapshot, name) for name in roles.impute}
    for read in read_spelled(snapshot.path):
        batch = spelling.as_read(read, roles.impute)
        columns, words = [], filled_marks.no_marks(roles.impute, batch.num_rows)
        for field in schema:
            if field.name in roles.added:
                columns.append(_added(field, batch.num_rows))
                continue
            column = batch.column(batch.schema.get_field_index(field.name))
            if field.name in stand_ins:
                holes = np.flatnonzero(is_missing(column))
                filled_marks.mark(words, roles.impute.index(field.name), holes)
                there = np.arange(len(column))
                there[holes] = len(column)
                one = pa.array([stand_ins[field.name]], column.type)
                column = pa.concat_arrays([column, one]).take(pa.array(there))
            columns.append(column.cast(field.type))
        yield pa.RecordBatch.from_arrays([*columns, *map(pa.array, words)], schema=wider)


def _added(field: pa.Field, rows: int) -> pa.Array:
    """A column that only the filled table has: of the first imputation, with no mask yet."""
    if field.name == IMPUTATION:
        return pa.repeat(pa.scalar(1, field.type), rows)
    return pa.nulls(rows, field.type)


def _observed(snapshot: Snapshot, name: str) -> object:
    """An observed cell of a column; None if there is none."""
    for batch in read_batches(snapshot.path, [name]):
        column = batch.column(0)
        observed = np.flatnonzero(~is_missing(column))
        if len(observed):
            return column[int(observed[0])].as_py()
    return None
