"""An Iceberg table as a target: what has been written and audited is published in one snapshot.

The snapshot has the run's name in its summary, by which a run that comes again finds it and commits
nothing. Snapshots expire; of rows that were appended the table's properties have the name, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from em_impute.job import IcebergTarget
from em_impute.tables.lakehouse import commits
from em_impute.tables.lakehouse.commits import ROWS, RUN, SHA256, Rows, in_types
from em_impute.tables.lakehouse.iceberg import catalog_of, find, local_path
from em_impute.tables.lakehouse.iceberg_files import (
    current_files,
    new_files,
    replaced_files,
)
from em_impute.tables.lakehouse.iceberg_source import opened, snapshot_of
from em_impute.tables.lakehouse.versions import NO_TABLE, Brought, capitalised, fault
from em_impute.tables.whole_files import reason
from em_impute.tables.writing import merging, publications
from em_impute.tables.writing.places import check_writable
from em_impute.tables.writing.publications import Standing
from em_impute.tables.writing.staged import Published, Staged, TargetError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

# The version of a table that has no snapshot yet.
_EMPTY = 0
# What a snapshot says of itself besides what all commits do.
_MODE = "em_impute.mode"


def version(target: IcebergTarget) -> int:
    """The id of a target's current snapshot; `NO_TABLE` where there is no table.

    Raises
    ------
    TargetError, OSError
    """
    with catalog_of(target) as catalog:
        return _version_of(find(target, catalog))


def _version_of(table: Table | None) -> int:
    if table is None:
        return NO_TABLE
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot else _EMPTY


def check_target(target: IcebergTarget) -> None:
    """Make sure that a target can be written; make its namespace, and its folder, if need be.

    Raises
    ------
    TargetError
        If there is no place for a new table, or it cannot be made or written.
    OSError
        If its catalog or its store does not answer.
    """
    with catalog_of(target) as catalog:
        from sqlalchemy.exc import IntegrityError

        with suppress(IntegrityError):  # another run makes it at the same moment
            catalog.create_namespace_if_not_exists(catalog.namespace_from(target.table))
        table = find(target, catalog)
        warehouse = catalog.properties.get("warehouse")
    location = warehouse if table is None else table.location()
    if location is None:
        raise fault(
            target,
            "its catalog has no warehouse, in which a new table would be made; name a folder as "
            "the warehouse in the job's catalog or in ~/.pyiceberg.yaml",
        )
    if folder := local_path(location):
        try:
            check_writable(folder)
        except OSError as error:
            raise fault(target, f"its folder refuses ({reason(error)})") from None


def check_schema(schema: pa.Schema, target: IcebergTarget) -> None:
    """Make sure that a target can hold every column of a table.

    Raises
    ------
    TargetError
        Naming the columns that it cannot hold, or those of its partitions.
    MergeError
        If the table that is there, to which rows are to be added, has other columns.
    """
    commits.check_columns(schema, target)
    with catalog_of(target) as catalog:
        if table := find(target, catalog):
            _check_fits(table, target, in_types(schema, target))


def _check_fits(table: Table, target: IcebergTarget, schema: pa.Schema) -> None:
    """Refuse a table that is there with other partitions, or other columns to add to."""
    commits.check_partitions([field.name for field in table.spec().fields], target)
    there = _columns_of(table, target)
    if target.mode != "replace":
        # Iceberg knows columns by their ids, in whatever order.
        if set(schema.names) == set(there.names):
            schema = pa.schema([schema.field(name) for name in there.names])
        merging.check_same_columns(there, schema, target.table)
        return
    by = [table.schema().find_column_name(field.source_id) or "" for field in table.spec().fields]
    commits.check_partitions_stay(by, target, schema)
    for name in by:
        if name in there.names and there.field(name).type != schema.field(name).type:
            raise fault(
                target,
                f"it is partitioned by {name!r}, which is of type {there.field(name).type} there "
                f"and of {schema.field(name).type} in the new table; name another table",
            )


def _columns_of(table: Table, target: IcebergTarget) -> pa.Schema:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return in_types(schema_to_pyarrow(table.schema(), include_field_ids=False), target)


# --- Publishing --------------------------------------------------------------------------------


def publish(staged: Staged, target: IcebergTarget, run_id: str) -> Published:
    """Commit a staged table to a target, once, however often and from wherever it is called.

    Parameters
    ----------
    staged : Staged
    target : IcebergTarget
    run_id : str
        What is published is recorded under this name; the same again changes nothing.

    Raises
    ------
    TargetError
        If the table cannot be written, or another program has changed it since the audit.
    TargetBusyError
        If others commit to it again and again.
    MergeError
        If the table that is there has other columns, or a key is missing or not unique.
    OSError
        If its catalog or its store does not answer.
    """
    return commits.once(partial(_attempt, staged, target, run_id), target)


def _attempt(staged: Staged, target: IcebergTarget, run_id: str) -> Published | None:
    with catalog_of(target) as catalog:
        from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

        table = find(target, catalog)
        if found := _found(table, target, run_id):
            return found
        commits.check_staged(staged, target)
        _check_as_audited(table, staged, target)
        _check_not_overtaken(table, target, run_id)
        try:
            at = _commit(catalog, table, staged, target, run_id)
        except (CommitFailedException, TableAlreadyExistsError):
            return None  # another commit came first; perhaps it was this run's, by another worker
    staged.path.unlink(missing_ok=True)
    return Published(str(target), staged.rows, staged.sha256, version=at)


def _check_as_audited(table: Table | None, staged: Staged, target: IcebergTarget) -> None:
    """Refuse a target that has moved since its rows were audited; appended rows go with any."""
    from pyiceberg.table.snapshots import Operation

    now = _version_of(table)
    if staged.onto in (None, now) or target.mode == "append":
        return
    for snapshot in _lineage(table):
        if snapshot.snapshot_id == staged.onto:
            return
        # As of a compaction, after which a table has the same rows as before.
        if _operation(snapshot) is not Operation.REPLACE:
            break
    raise commits.moved(target, staged.onto, now)


def _check_not_overtaken(table: Table | None, target: IcebergTarget, run_id: str) -> None:
    if publications.data_date(run_id) is None:
        return
    latest = next((said[RUN] for one in _lineage(table) if RUN in (said := _said(one))), None)
    publications.check_not_overtaken(run_id, [latest] if latest else [], str(target))


def _commit(
    catalog: Catalog, table: Table | None, staged: Staged, target: IcebergTarget, run_id: str
) -> int:
    """Write the files, then the one snapshot that names them; its id."""
    from pyiceberg.table import TableProperties

    rows = Rows(staged, target)
    keys = merging.check_keys(staged) if target.mode == "upsert" else None
    if table is None:
        transaction = _created(catalog, target, rows.schema)
    else:
        _check_fits(table, target, rows.schema)
        # The library would put its commit on top of others'; of those it has to be looked at first.
        table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        transaction = table.transaction()
        if target.mode == "replace":
            _evolve(transaction, _columns_of(table, target), rows.schema)
    gone: list[DataFile] = []
    kept: list[DataFile] = []
    if table is not None and target.mode == "replace":
        gone = current_files(table)
    elif table is not None and keys is not None:
        gone, kept = replaced_files(transaction, table, keys, rows.schema)
    added = [*kept, *new_files(transaction, rows.batches())]
    update = transaction.update_snapshot(
        {**commits.properties_of(staged, run_id), _MODE: target.mode}
    )
    with update.overwrite() if gone else update.fast_append() as snapshot:
        for file in gone:
            snapshot.delete_data_file(file)
        for file in added:
            snapshot.append_data_file(file)
    at: int = snapshot.snapshot_id
    if target.mode == "append":
        transaction.set_properties({_property(run_id): str(at)})
    transaction.commit_transaction()
    return at


def _created(catalog: Catalog, target: IcebergTarget, schema: pa.Schema) -> Transaction:
    transaction = catalog.create_table_transaction(target.table, schema)
    if target.partition_by:
        with transaction.update_spec() as partitions:
            for name in target.partition_by:
                partitions.add_identity(name)
    return transaction


def _evolve(transaction: Transaction, old: pa.Schema, new: pa.Schema) -> None:
    """Let a table have the columns of the one that takes its place."""
    gone = [
        field.name
        for field in old
        if field.name not in new.names or new.field(field.name).type != field.type
    ]
    if gone:
        with transaction.update_schema(allow_incompatible_changes=True) as columns:
            for name in gone:
                columns.delete_column(name)
    if gone or old.names != new.names:
        with transaction.update_schema() as columns:
            columns.union_by_name(new)


# --- What was published ------------------------------------------------------------------------


def find_published(target: IcebergTarget, run_id: str) -> Published | None:
    """What the table's own snapshots say that a run has published there; None if nothing.

    Raises
    ------
    TargetError, OSError
    """
    with catalog_of(target) as catalog:
        return _found(find(target, catalog), target, run_id)


def _found(table: Table | None, target: IcebergTarget, run_id: str) -> Published | None:
    state, snapshot = _standing(table, run_id)
    if state == "in doubt" and target.mode == "append":
        raise TargetError(in_doubt(target, run_id))
    # A snapshot that has taken the place of this run's is newer.
    if state != "held" and not (state != "gone" and target.mode == "replace"):
        return None
    said = _said(snapshot) if snapshot else {}
    return Published(
        str(target),
        int(said.get(ROWS, 0)),
        said.get(SHA256, ""),
        before=True,
        version=snapshot.snapshot_id if snapshot else None,
    )


def standing(target: IcebergTarget, name: str) -> Standing:
    """Whether the current snapshot holds what was published under a name.

    Raises
    ------
    TargetError, OSError
    """
    with catalog_of(target) as catalog:
        return _standing(find(target, catalog), name)[0]


def _standing(table: Table | None, name: str) -> tuple[Standing, Snapshot | None]:
    """The same, and the snapshot, where the table still has it.

    Snapshots that a rollback has undone do not count: of their rows none is left.
    """
    if table is None:
        return "gone", None
    state: Standing = "held"
    for snapshot in _lineage(table):
        if _said(snapshot).get(RUN) == name:
            return state, snapshot
        if state != "replaced":
            state = _after(snapshot, state)
    noted = table.properties.get(_property(name))
    expired = noted is not None and table.snapshot_by_id(int(noted)) is None
    return (state if expired else "gone"), None


def _after(snapshot: Snapshot, state: Standing) -> Standing:
    """How rows stand that were there before a snapshot and stood so after it."""
    from pyiceberg.table.snapshots import Operation

    said, operation = _said(snapshot), _operation(snapshot)
    if RUN in said:
        return "replaced" if said.get(_MODE) == "replace" else state
    left_nothing = said.get("total-records") == said.get("added-records", "0")
    if not left_nothing or operation not in (Operation.OVERWRITE, Operation.DELETE):
        return state
    # An overwrite may have written the same rows anew, as a MERGE does.
    return "replaced" if operation is Operation.DELETE else "in doubt"


def in_doubt(target: IcebergTarget, name: str) -> str:
    """Say that a target may not hold what was published there, and what to do."""
    return (
        f"{capitalised(target)} was overwritten by another program since {name} was published "
        "there, so that its rows may no longer be in it; nothing was done. If they are there, "
        "there is nothing to do; if they are gone, `mode: upsert` adds them again."
    )


def brought(target: IcebergTarget, version: int) -> Brought | None:
    """The rows that a snapshot has brought; None if the table is not there any more.

    Raises
    ------
    TargetError, OSError
    """
    with catalog_of(target) as catalog:
        table = find(target, catalog)
        if table is None:
            return None
        snapshot = snapshot_of(table, target, version)
        read = opened(table, target, snapshot, added=True)
        return Brought(read.batches, _version_of(table))


def _lineage(table: Table | None) -> Iterable[Snapshot]:
    """The snapshots that have led to what a table holds, the current one first."""
    from pyiceberg.table.snapshots import ancestors_of

    return ancestors_of(table.current_snapshot(), table.metadata) if table else ()


def _said(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}


def _operation(snapshot: Snapshot) -> object:
    return snapshot.summary.operation if snapshot.summary else None


def _property(name: str) -> str:
    return f"em_impute/{name}"
