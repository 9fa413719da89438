"""A source becomes a snapshot: one Arrow file in the run's folder, with a profile per column.

`take_snapshot` is the only reader of sources, and streams them. Whatever is wrong with a source is
said in a `SourceError`, which never quotes a value: Arrow's own messages do, so they are not passed
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from em_impute.job import BATCH_ROWS, DatabaseSource, FileSource
from em_impute.progress import rows_passed
from em_impute.tables import arrow_files, csv_text, json_lines
from em_impute.tables.arrow_files import read_schema as read_schema
from em_impute.tables.run_folder import sha256, written_whole
from em_impute.tables.source_files import (
    SourceError as SourceError,  # what whoever takes a snapshot has to expect
)
from em_impute.tables.source_files import (
    SourceFile,
    check_names,
    opened,
    partition_fields,
    with_partition,
)


@dataclass(frozen=True)
class ColumnProfile:
    """What a snapshot knows of one column. Rows are counted from 1, the header not counted.

    Attributes
    ----------
    name : str
    type : str
        Name of the Arrow type.
    numeric : bool
        Whether it is an integer, decimal or floating type.
    missing : int
        Cells that are null or NaN.
    infinite : int
    first_infinite_row : int or None
    constant : bool
        Whether at least one cell is observed and all observed ones are equal. False for columns
        that are not numeric.
    in_folders : bool
        Whether it is in the names of folders, not in the files.
    """

    name: str
    type: str
    numeric: bool
    missing: int
    infinite: int
    first_infinite_row: int | None
    constant: bool
    in_folders: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A source as it was when it was read.

    Attributes
    ----------
    path : Path
        The Arrow IPC file.
    rows : int
    columns : tuple of ColumnProfile
    fingerprint : str
        ``"sha256:..."`` of the snapshot's bytes.
    source : str
        What was read, for messages.
    notes : tuple of str
        What was decided in reading it, a sentence each.
    """

    path: Path
    rows: int
    columns: tuple[ColumnProfile, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()

    def profile(self, name: str) -> ColumnProfile:
        """Return the profile of one column.

        Raises
        ------
        KeyError
            If the snapshot has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def save(self, path: Path) -> None:
        """Write what is known of the snapshot as JSON."""
        with written_whole(path) as half_written:
            half_written.write_bytes(_SNAPSHOT.dump_json(self))

    @classmethod
    def load(cls, path: Path) -> Snapshot | None:
        """Read what `save` wrote; None if it, or the snapshot that it is of, is not as it was."""
        try:
            snapshot = _SNAPSHOT.validate_json(path.read_bytes())
            whole = snapshot.fingerprint == f"sha256:{sha256(snapshot.path)}"
        except (OSError, ValidationError):
            return None
        return snapshot if whole else None


_SNAPSHOT = TypeAdapter(Snapshot)


def take_snapshot(
    source: FileSource | DatabaseSource, path: Path, batch_rows: int = BATCH_ROWS
) -> Snapshot:
    """Read `source` from end to end into an Arrow file at `path`, in batches of `batch_rows` rows.

    Raises
    ------
    SourceError
        If the source is not there, is not what its format says, or has no usable header.
    DiskFullError
        If there is no room for the snapshot.
    """
    rows = 0
    work = path.parent
    with written_whole(path) as partial, _opened(source, work, batch_rows) as table:
        tallies = [_Tally(field, field.name in table.in_folders) for field in table.schema]
        with pa.ipc.new_file(partial, table.schema) as writer:
            for batch in _rebatched(table.batches, batch_rows):
                writer.write_batch(batch)
                for tally, column in zip(tallies, batch.columns, strict=True):
                    tally.add(column, first_row=rows + 1)
                rows += batch.num_rows
                rows_passed(rows)
    profiles = tuple(tally.profile() for tally in tallies)
    return Snapshot(path, rows, profiles, f"sha256:{sha256(path)}", str(source), table.notes)


@dataclass(frozen=True)
class _Table:
    """A source that is open: its schema and rows, and what is to be said of them."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    notes: tuple[str, ...] = ()
    in_folders: tuple[str, ...] = ()


@contextmanager
def _opened(source: FileSource | DatabaseSource, work: Path, batch_rows: int) -> Iterator[_Table]:
    """The table of a source; what it keeps meanwhile is in the folder `work`."""
    match source:
        case FileSource():
            with opened(source, work) as files:
                yield _read_files(files, source.file_format)
        case DatabaseSource():
            from em_impute.tables import databases

            schema, batches = databases.open_source(source, batch_rows)
            check_names(source, schema.names)
            yield _Table(schema, batches)


def _read_files(files: Sequence[SourceFile], file_format: str) -> _Table:
    """Files as one table: their rows in the order of their names, their partitions at the end."""
    notes: tuple[str, ...] = ()
    match file_format:
        case "csv":
            schema = csv_text.infer(files)
            rows = _in_turn(files, schema, csv_text.read)
        case "jsonl":
            schema = json_lines.infer(files)
            rows = _in_turn(files, schema, json_lines.read)
        case _:
            unified = arrow_files.infer(files, file_format)
            schema, notes = unified.schema, unified.notes
            rows = arrow_files.read(files, file_format, schema)
    partitions = partition_fields(files, schema.names)
    whole = pa.schema([*schema, *partitions], schema.metadata)
    batches = (with_partition(batch, file, partitions) for file, batch in rows)
    return _Table(whole, batches, notes, tuple(field.name for field in partitions))


def _in_turn(
    files: Sequence[SourceFile],
    schema: pa.Schema,
    read: Callable[[SourceFile, pa.Schema], Iterator[pa.RecordBatch]],
) -> Iterator[tuple[SourceFile, pa.RecordBatch]]:
    for file in files:
        for batch in read(file, schema):
            yield file, batch


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


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot in the order of its rows; by default with every column."""
    # Not a memory map: its pages would count as this process's memory, up to the whole file.
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file, options=_only(path, columns))
        rows = 0
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            yield batch if columns is None else batch.select(list(columns))
            rows += batch.num_rows
            rows_passed(rows, (i + 1) / reader.num_record_batches)


def _only(path: Path, columns: Sequence[str] | None) -> pa.ipc.IpcReadOptions:
    """Have Arrow pass over the bytes of all other columns."""
    if columns is None:
        return pa.ipc.IpcReadOptions()
    names = read_schema(path).names
    return pa.ipc.IpcReadOptions(included_fields=sorted(map(names.index, columns)))


# --- Profiles ----------------------------------------------------------------------------------


def is_numeric(type_: pa.DataType) -> bool:
    """Whether a column of this type can take part in a model: integers, decimals, floats."""
    is_type = pa.types
    numeric = is_type.is_integer(type_) or is_type.is_floating(type_) or is_type.is_decimal(type_)
    return bool(numeric)


@dataclass
class _Tally:
    """The profile of one column, in the making."""

    field: pa.Field
    in_folders: bool = False
    missing: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    lowest: Any = None
    highest: Any = None

    def add(self, column: pa.Array, first_row: int) -> None:
        if not is_numeric(column.type):
            self.missing += column.null_count
            return
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64(), safe=False)
        values = column.drop_null().to_numpy(zero_copy_only=False)
        observed = values[~np.isnan(values)]
        self.missing += len(column) - len(observed)
        if len(observed):
            self._add_observed(observed)
            if self.infinite and self.first_infinite_row is None:
                cells = column.to_numpy(zero_copy_only=False)
                self.first_infinite_row = first_row + int(np.flatnonzero(np.isinf(cells))[0])

    def _add_observed(self, values: NDArray[np.number]) -> None:
        lowest, highest = values.min(), values.max()
        self.lowest = lowest if self.lowest is None else min(lowest, self.lowest)
        self.highest = highest if self.highest is None else max(highest, self.highest)
        self.infinite += int(np.isinf(values).sum())

    def profile(self) -> ColumnProfile:
        return ColumnProfile(
            name=self.field.name,
            type=str(self.field.type),
            numeric=is_numeric(self.field.type),
            missing=self.missing,
            infinite=self.infinite,
            first_infinite_row=self.first_infinite_row,
            constant=self.lowest is not None and bool(self.lowest == self.highest),
            in_folders=self.in_folders,
        )
