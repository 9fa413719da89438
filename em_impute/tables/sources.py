"""A source becomes a snapshot: one Arrow file in the run's folder, with a profile per column.

`take_snapshot` is the only reader of sources, and streams them; `hold` takes a table that is in
memory. What is wrong with a source is reported by a `SourceError`, which never quotes a value:
Arrow's own messages do, so they are not passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from em_impute.job import (
    BATCH_ROWS,
    DatabaseSource,
    DeltaSource,
    FileSource,
    IcebergSource,
    Source,
)
from em_impute.tables import spelling
from em_impute.tables.databases import source as databases
from em_impute.tables.lakehouse import delta_source, iceberg_source
from em_impute.tables.progress import rows_passed
from em_impute.tables.reading.folders import OpenSource, open_files
from em_impute.tables.reading.kinds import check_names
from em_impute.tables.reading.missing import NOTHING, Missing
from em_impute.tables.reading.profiles import Tally
from em_impute.tables.reading.purpose import ANY, Purpose
from em_impute.tables.snapshot import HeldSnapshot, Snapshot, SnapshotFile, is_text
from em_impute.tables.whole_files import sha256, written_whole


def take_snapshot(
    source: Source,
    path: Path,
    batch_rows: int = BATCH_ROWS,
    purpose: Purpose = ANY,
) -> Snapshot:
    """Read `source` from end to end into an Arrow file at `path`, in batches of `batch_rows` rows.

    Parameters
    ----------
    source : Source
    path : Path
    batch_rows : int
    purpose : Purpose
        What the source is read for, as `Purpose.of` makes it of a job.

    Raises
    ------
    SourceError
        If the source is not there, is not what its format says, or has no usable header.
    DiskFullError
        If there is no room for the snapshot.
    """
    missing = Missing.of(source, purpose.categories)
    is_csv = isinstance(source, FileSource) and source.file_format == "csv"
    with written_whole(path) as partial, _opened(source, path.parent, batch_rows, purpose) as table:
        tallies = [
            Tally(
                column,
                column.name in table.in_folders,
                column.name in table.loose,
                missing.blanks(column.name) if is_csv and is_text(column.type) else (),
            )
            for column in spelling.plain(table.schema)
        ]
        with pa.ipc.new_file(partial, missing.applied_to(table.schema)) as writer:
            batches = _rebatched(map(missing.applied, table.batches), batch_rows)
            rows = _write(writer, batches, tallies)
        files = _files(table, str(source)) if purpose.by_file else ()
    profiles = tuple(tally.profile() for tally in tallies)
    fingerprint = f"sha256:{sha256(path)}"
    return Snapshot(
        path,
        rows,
        profiles,
        fingerprint,
        str(source),
        table.notes,
        table.headless,
        files,
        version=table.version,
    )


def hold(table: pa.Table, missing: Missing = NOTHING) -> HeldSnapshot:
    """Take a table that is in memory.

    Parameters
    ----------
    table : Table
    missing : Missing
        What stands for a missing cell, besides nulls.
    """
    sink, tallies = pa.BufferOutputStream(), [Tally(column) for column in table.schema]
    with pa.ipc.new_file(sink, missing.applied_to(table.schema)) as writer:
        whole = table.unify_dictionaries().combine_chunks()
        batches = map(missing.applied, whole.to_batches(BATCH_ROWS))
        rows = _write(writer, batches, tallies)
    profiles = tuple(tally.profile() for tally in tallies)
    return HeldSnapshot(sink.getvalue(), rows, profiles, fingerprint="", source="the table")


def _write(
    writer: pa.RecordBatchWriter, batches: Iterable[pa.RecordBatch], tallies: Sequence[Tally]
) -> int:
    """Write batches, and take in their columns; how many rows they have."""
    rows = 0
    for batch in batches:
        writer.write_batch(batch)
        for tally, column in zip(tallies, batch.columns, strict=False):
            tally.add(column, first_row=rows + 1)
        rows += batch.num_rows
        rows_passed(rows)
    return rows


def _files(table: OpenSource, source: str) -> tuple[SnapshotFile, ...]:
    """The files whose rows have been read, in their order, by their names within the source."""
    return tuple(
        SnapshotFile(
            file.name.removeprefix(source).lstrip("/") or file.path.name,
            sha256(file.path),
            table.rows_of[file.name],
        )
        for file in table.files
    )


@contextmanager
def _opened(source: Source, work: Path, batch_rows: int, purpose: Purpose) -> Iterator[OpenSource]:
    """The table of a source; what it keeps meanwhile is in the folder `work`."""
    match source:
        case FileSource():
            with open_files(source, work, purpose) as table:
                yield table
        case DatabaseSource():
            schema, batches = databases.open_source(source, batch_rows, purpose.scanned)
            check_names(source, schema.names)
            yield OpenSource(schema, batches)
        case DeltaSource() | IcebergSource():
            lake = delta_source if isinstance(source, DeltaSource) else iceberg_source
            read = lake.open_source(source)
            check_names(source, read.schema.names)
            yield OpenSource(read.schema, read.batches, version=read.version)


def _rebatched(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`; only the last may have fewer."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        first = rows - sum(part.num_rows for part in waiting)
        while batch.num_rows >= first:
            yield pa.concat_batches([*waiting, batch[:first]])
            waiting, batch, first = [], batch[first:], rows
        if batch.num_rows:
            waiting.append(batch)
    if waiting:
        yield pa.concat_batches(waiting)
