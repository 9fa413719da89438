"""A source becomes a snapshot: one Arrow file in the run's folder, with a profile per column.

`take_snapshot` is the only reader of sources, and streams them. Whatever is wrong with a source is
said in a `SourceError`, which never quotes a value: Arrow's own messages do, so they are not passed
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from em_impute.job import BATCH_ROWS, CsvOptions, DatabaseSource, FileSource, FileTarget, Job
from em_impute.tables import spelling
from em_impute.tables.progress import rows_passed
from em_impute.tables.reading import arrow_files, csv_text, json_lines
from em_impute.tables.reading.csv_dialects import plain_files
from em_impute.tables.reading.files import (
    SourceFile,
    check_names,
    opened,
    partition_fields,
    with_partition,
)
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.oddities import Edge, Oddities, nines
from em_impute.tables.snapshot import ColumnProfile, Snapshot, is_numeric
from em_impute.tables.whole_files import sha256, written_whole


@dataclass(frozen=True)
class Purpose:
    """What a source is read for, as far as this decides what has to be kept of it.

    Attributes
    ----------
    target_format : {"csv", "jsonl"} or None
        The format of a target that is to spell the cells as the source does; None if source or
        target is no file of text.
    moments : tuple of str or None
        Columns of times that count as moments only; None if all do, because their spelling is
        kept, or because a database has a type for moments.
    """

    target_format: str | None = None
    moments: tuple[str, ...] | None = ()

    @classmethod
    def of(cls, job: Job) -> Purpose:
        """What a job reads its source for."""
        source, target = job.source, job.target
        if not isinstance(target, FileTarget):
            return cls(moments=None)
        is_text = isinstance(source, FileSource) and source.is_text
        if is_text and target.file_format in ("csv", "jsonl"):
            return cls(target.file_format, moments=None)
        return cls(moments=job.columns.predictors or ())


ANY = Purpose()


def take_snapshot(
    source: FileSource | DatabaseSource,
    path: Path,
    batch_rows: int = BATCH_ROWS,
    purpose: Purpose = ANY,
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
    missing = Missing.of(source)
    with written_whole(path) as partial, _opened(source, path.parent, batch_rows, purpose) as table:
        tallies = [
            _Tally(f, f.name in table.in_folders, f.name in table.loose)
            for f in spelling.plain(table.schema)
        ]
        with pa.ipc.new_file(partial, missing.applied_to(table.schema)) as writer:
            for batch in _rebatched(map(missing.applied, table.batches), batch_rows):
                writer.write_batch(batch)
                for tally, column in zip(tallies, batch.columns, strict=False):
                    tally.add(column, first_row=rows + 1)
                rows += batch.num_rows
                rows_passed(rows)
    profiles = tuple(tally.profile() for tally in tallies)
    fingerprint = f"sha256:{sha256(path)}"
    return Snapshot(
        path, rows, profiles, fingerprint, str(source), table.notes, headless=table.headless
    )


@dataclass(frozen=True)
class _Table:
    """A source that is open: its schema and rows, and what is to be said of them.

    Attributes
    ----------
    schema : Schema
        With the columns of spellings.
    batches : iterable of RecordBatch
    notes : tuple of str
    in_folders : tuple of str
        Columns that the names of folders give.
    loose : frozenset of str
        Columns that are text because of what is in their cells, not by their type.
    headless : bool
        Whether what was taken for names are numbers.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    notes: tuple[str, ...] = ()
    in_folders: tuple[str, ...] = ()
    loose: frozenset[str] = frozenset()
    headless: bool = False


@contextmanager
def _opened(
    source: FileSource | DatabaseSource, work: Path, batch_rows: int, purpose: Purpose
) -> Iterator[_Table]:
    """The table of a source; what it keeps meanwhile is in the folder `work`."""
    match source:
        case FileSource():
            with opened(source, work) as files, plain_files(files, source, work) as (plain, said):
                yield _read_files(plain, source, said, purpose)
        case DatabaseSource():
            from em_impute.tables.databases import source as databases

            schema, batches = databases.open_source(source, batch_rows)
            check_names(source, schema.names)
            yield _Table(schema, batches)


def _read_files(
    files: Sequence[SourceFile], source: FileSource, options: CsvOptions, purpose: Purpose
) -> _Table:
    """Files as one table: their rows in the order of their names, their partitions at the end."""
    missing, target_format = Missing.of(source), purpose.target_format
    notes: tuple[str, ...] = ()
    loose, headless = frozenset[str](), False
    match source.file_format:
        case "csv":
            reading = csv_text.Reading(options, missing, target_format, purpose.moments)
            schema = csv_text.infer(files, reading)
            rows = _in_turn(files, lambda file: csv_text.read(file, schema, reading))
            loose = frozenset(f.name for f in schema if f.type == pa.string())
            headless = options.header is True and csv_text.are_numbers(schema.names)
        case "jsonl":
            schema, loose = json_lines.infer(files, missing)
            rows = _in_turn(
                files, lambda file: json_lines.read(file, schema, missing, target_format)
            )
        case _:
            unified = arrow_files.infer(files, source.file_format)
            schema, notes = unified.schema, unified.notes
            rows = arrow_files.read(files, source.file_format, schema)
    partitions = partition_fields(files, schema.names)
    whole = pa.schema([*schema, *partitions], schema.metadata)
    whole = spelling.spelled(whole) if target_format else whole
    batches = _in_folders(rows, partitions, whole, target_format)
    in_folders = tuple(field.name for field in partitions)
    return _Table(whole, batches, notes, in_folders, loose, headless)


def _in_folders(
    rows: Iterable[tuple[SourceFile, pa.RecordBatch]],
    partitions: Sequence[pa.Field],
    schema: pa.Schema,
    target_format: str | None,
) -> Iterator[pa.RecordBatch]:
    """The rows with the values that their files' folders name, and these as they are written."""
    for file, batch in rows:
        batch = with_partition(batch, file, partitions)
        for column in partitions if target_format else ():
            cells = spelling.render(batch.column(column.name), str(target_format))
            batch = batch.append_column(spelling.spelling_of(column.name), cells)
        yield batch.select(schema.names)


def _in_turn(
    files: Sequence[SourceFile], read: Callable[[SourceFile], Iterator[pa.RecordBatch]]
) -> Iterator[tuple[SourceFile, pa.RecordBatch]]:
    for file in files:
        for batch in read(file):
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


# --- Profiles ----------------------------------------------------------------------------------


@dataclass
class _Tally:
    """The profile of one column, in the making."""

    field: pa.Field
    in_folders: bool = False
    is_loose: bool = False
    missing: int = 0
    observed: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    lowest: Edge = field(default_factory=lambda: Edge(np.min))
    highest: Edge = field(default_factory=lambda: Edge(np.max))
    oddities: Oddities = field(default_factory=Oddities)

    def add(self, column: pa.Array, first_row: int) -> None:
        if self.is_loose:
            self.oddities.add(column, first_row)
        if not is_numeric(column.type):
            self.missing += column.null_count
            return
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64(), safe=False)
        values = column.drop_null().to_numpy(zero_copy_only=False)
        observed = values[~np.isnan(values)]
        self.missing += len(column) - len(observed)
        self.observed += len(observed)
        if len(observed):
            self.lowest.add(observed)
            self.highest.add(observed)
            self.infinite += int(np.isinf(observed).sum())
            if self.infinite and self.first_infinite_row is None:
                cells = column.to_numpy(zero_copy_only=False)
                self.first_infinite_row = first_row + int(np.flatnonzero(np.isinf(cells))[0])

    def profile(self) -> ColumnProfile:
        constant = self.lowest.value is not None and self.lowest.value == self.highest.value
        few = self.oddities if self.oddities.are_few else Oddities()
        return ColumnProfile(
            name=self.field.name,
            type=str(self.field.type),
            numeric=is_numeric(self.field.type),
            missing=self.missing,
            infinite=self.infinite,
            first_infinite_row=self.first_infinite_row,
            constant=bool(constant),
            in_folders=self.in_folders,
            odd=few.odd,
            odd_rows=few.rows,
            odd_spellings=few.named,
            nines=() if constant else nines((self.lowest, self.highest), self.observed),
            separators=self.oddities.separators,
            too_precise=self.oddities.too_precise,
        )
