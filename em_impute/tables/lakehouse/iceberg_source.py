"""An Iceberg table as a source: the rows of one snapshot, whatever is committed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from em_impute.job import BATCH_ROWS, IcebergSource
from em_impute.tables.lakehouse.iceberg import (
    IcebergPlace,
    catalog_of,
    check_inside,
    explained,
    find,
)
from em_impute.tables.lakehouse.versions import Version, fault
from em_impute.tables.reading.arrow_files import check_sound

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestEntry
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.snapshots import Snapshot


def open_source(source: IcebergSource) -> Version:
    """Open the snapshot of a table that a job names, or its current one.

    Raises
    ------
    SourceError
        If there is no such table or snapshot, or it has what cannot be read.
    OSError
        If its catalog or its store does not answer.
    """
    with catalog_of(source) as catalog:
        table = find(source, catalog)
        if table is None:
            raise fault(source, "there is no such table in the catalog")
        if source.version is None:
            snapshot = table.current_snapshot()
            if snapshot is None:
                raise fault(source, "it has no snapshot yet, and so no rows")
        else:
            snapshot = snapshot_of(table, source, source.version)
        return opened(table, source, snapshot)


def snapshot_of(table: Table, place: IcebergPlace, version: int) -> Snapshot:
    """The snapshot with an id.

    Raises
    ------
    SourceError, TargetError
        If the table has none, or none any more.
    """
    snapshot = table.snapshot_by_id(version)
    if snapshot is None:
        raise fault(
            place,
            f"it has no snapshot {version}: it never had, or expire_snapshots has removed it",
        )
    return snapshot


def opened(table: Table, place: IcebergPlace, snapshot: Snapshot, added: bool = False) -> Version:
    """The rows of one snapshot of a table.

    Parameters
    ----------
    table : Table
    place : IcebergSource or IcebergTarget
    snapshot : Snapshot
    added : bool
        Whether only of the files that this snapshot has added.
    """
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    version = snapshot.snapshot_id
    # In the order in which they came; that of the library depends on its threads.
    entries = sorted(entries_of(table, snapshot), key=lambda entry: entry.sequence_number or 0)
    wanted = [
        entry.data_file.file_path for entry in entries if not added or entry.snapshot_id == version
    ]
    tasks = {task.file.file_path: task for task in scan_tasks(table, version)}
    schema = schema_to_pyarrow(
        table.scan(snapshot_id=version).projection(), include_field_ids=False
    )
    chosen = [tasks[path] for path in wanted if path in tasks]
    return Version(version, schema, _read(table, place, chosen, schema, version))


def entries_of(table: Table, snapshot: Snapshot) -> list[ManifestEntry]:
    """What the manifests of a snapshot say of its files, in their order."""
    return [
        entry
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    ]


def scan_tasks(table: Table, version: int) -> list[FileScanTask]:
    """The files of a snapshot, each with what was deleted of it."""
    return list(table.scan(snapshot_id=version).plan_files())


def read_file(
    table: Table, task: FileScanTask, version: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one file, which the library holds in memory.

    Parameters
    ----------
    table : Table
    task : FileScanTask
    version : int or None
        The snapshot whose columns they have; by default the table's own.
    """
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    check_inside(task.file.file_path)
    columns = table.scan(snapshot_id=version).projection()
    yield from ArrowScan(table.metadata, table.io, columns, AlwaysTrue()).to_record_batches([task])


def _read(
    table: Table,
    place: IcebergPlace,
    tasks: Sequence[FileScanTask],
    schema: pa.Schema,
    version: int,
) -> Iterator[pa.RecordBatch]:
    with explained(place):
        # One file at a time: the library would read all at once, and keep them.
        for task in tasks:
            for read in read_file(table, task, version):
                for batch in pa.Table.from_batches([read]).cast(schema).to_batches(BATCH_ROWS):
                    check_sound(batch)
                    yield batch
