"""A Delta table as a source: the rows of one version, whatever is committed meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pa_dataset

from em_impute.job import BATCH_ROWS, DeltaSource
from em_impute.job.confinement import confined
from em_impute.tables.lakehouse.delta import DeltaPlace, explained, find
from em_impute.tables.lakehouse.versions import Version, fault
from em_impute.tables.reading.arrow_files import check_sound

if TYPE_CHECKING:
    from deltalake import DeltaTable


def open_source(source: DeltaSource) -> Version:
    """Open the version of a table that a job names, or its newest.

    Raises
    ------
    SourceError
        If there is no such table or version, or it has what cannot be read.
    OSError
        If its store does not answer.
    """
    table = find(source, source.version)
    if table is None:
        raise fault(source, "there is no Delta table; its folder has no _delta_log")
    return opened(table, source)


def opened(table: DeltaTable, place: DeltaPlace, without: Collection[str] = ()) -> Version:
    """The rows of a table that is at a version.

    Parameters
    ----------
    table : DeltaTable
    place : DeltaSource or DeltaTarget
    without : collection of str
        Files of it whose rows are left out.
    """
    with explained(place):
        dataset = table.to_pyarrow_dataset()
        actions = pa.table(table.get_add_actions()).select(["path", "modification_time"])
    written = {
        unquote(action["path"]): action["modification_time"] for action in actions.to_pylist()
    }
    # In the log files have no order, and another one after a checkpoint.
    files = sorted(
        (file for file in dataset.get_fragments() if file.path not in without),
        key=lambda file: (written.get(file.path, 0), file.path),
    )
    chosen = pa_dataset.FileSystemDataset(files, dataset.schema, dataset.format, dataset.filesystem)
    return Version(table.version(), dataset.schema, _read(place, chosen))


def files_of(table: DeltaTable) -> frozenset[str]:
    """The names of a version's files, as `opened` can leave them out."""
    return frozenset(file.path for file in table.to_pyarrow_dataset().get_fragments())


def _read(place: DeltaPlace, dataset: pa_dataset.FileSystemDataset) -> Iterator[pa.RecordBatch]:
    with explained(place):
        for file in dataset.files if isinstance(place.path, Path) else ():
            confined(place.path / file)  # a link in the table may lead elsewhere
        scanner = dataset.scanner(
            batch_size=BATCH_ROWS,
            # By default Arrow reads 16 batches and 4 files ahead, and keeps what it has read.
            batch_readahead=1,
            fragment_readahead=1,
            fragment_scan_options=pa_dataset.ParquetFragmentScanOptions(
                pre_buffer=False, use_buffered_stream=True
            ),
            use_threads=False,
        )
        try:
            for batch in scanner.to_batches():
                check_sound(batch)
                yield batch
        except pa.ArrowException:
            raise fault(
                place, "one of its files is damaged, or has other columns than its log says"
            ) from None
