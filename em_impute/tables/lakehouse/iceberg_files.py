"""The data files of an Iceberg table that a commit adds, and those whose place they take.

A row is replaced copy-on-write: the files that have one are written again without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from em_impute.tables.lakehouse.iceberg_source import read_file, scan_tasks
from em_impute.tables.writing.merging import KeyIndex

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table, Transaction

# About so many bytes of rows, as Arrow has them, are held in memory and become a file.
_FILE = 2**26


def new_files(transaction: Transaction, batches: Iterable[pa.RecordBatch]) -> Iterator[DataFile]:
    """Write rows into new files, as the table is partitioned; no snapshot names them yet.

    Parameters
    ----------
    transaction : Transaction
        Whose table has the columns of the rows.
    batches : iterable of RecordBatch
    """
    # What the library's own append is made of. That holds all rows of a partitioned table.
    from pyiceberg.io.pyarrow import _dataframe_to_data_files, bin_pack_record_batches

    metadata = transaction.table_metadata
    rows = (batch for batch in batches if batch.num_rows)
    for part in bin_pack_record_batches(rows, _FILE):
        yield from _dataframe_to_data_files(
            metadata, pa.Table.from_batches(part), transaction._table.io
        )


def current_files(table: Table) -> list[DataFile]:
    """The files of a table's current snapshot."""
    return [task.file for task in _current(table)]


def replaced_files(
    transaction: Transaction, table: Table, keys: KeyIndex, schema: pa.Schema
) -> tuple[list[DataFile], list[DataFile]]:
    """Write the files anew that have rows with some keys, without these rows.

    Parameters
    ----------
    transaction : Transaction
    table : Table
    keys : KeyIndex
    schema : Schema
        The columns of the rows, in the types of their keys.

    Returns
    -------
    gone : list of DataFile
        The files that have such rows.
    kept : list of DataFile
        What is left of them.
    """
    gone: list[DataFile] = []
    kept: list[DataFile] = []
    for task in _current(table):
        read = list(read_file(table, task))
        rows = pa.Table.from_batches(read, read[0].schema if read else schema)
        others = list(keys.others(rows.select(schema.names).cast(schema).to_batches()))
        if sum(batch.num_rows for batch in others) < rows.num_rows:
            gone.append(task.file)
            kept += new_files(transaction, others)
    return gone, kept


def _current(table: Table) -> list[FileScanTask]:
    snapshot = table.current_snapshot()
    return scan_tasks(table, snapshot.snapshot_id) if snapshot else []
