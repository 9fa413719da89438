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
from pydantic import TypeAdapter, ValidationError

from em_impute.job import BATCH_ROWS, CsvOptions, DatabaseSource, FileSource, FileTarget, Job
from em_impute.tables import spelling
from em_impute.tables.progress import rows_passed
from em_impute.tables.reading import arrow_files, csv_text, json_lines
from em_impute.tables.reading.csv_dialects import plain_files
from em_impute.tables.reading.files import (
    SourceError as SourceError,  # what whoever takes a snapshot has to expect
)
from em_impute.tables.reading.files import (
    SourceFile,
    check_names,
    opened,
    partition_fields,
    with_partition,
)
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.oddities import Edge, Oddities, nines
from em_impute.tables.run_folder import sha256, written_whole


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
    odd : int
        Cells of a column of text that are no numbers, where nearly all are; else 0.
    odd_rows : tuple of int
        The first rows that hold one.
    odd_spellings : tuple of str
        What these cells hold, if that is known to stand for no value; else empty.
    nines : tuple of (str, int)
        Numbers of nines at the edge of a column of numbers, such as -999, and how many cells
        hold them, if these are many.
    separators : str
        The options of a CSV by which a column of text would be one of numbers; empty if none.
    too_precise : bool
        Whether a column is text because its numbers have digits that no float keeps.
    """

    name: str
    type: str
    numeric: bool
    missing: int
    infinite: int
    first_infinite_row: int | None
    constant: bool
    in_folders: bool = False
    odd: int = 0
    odd_rows: tuple[int, ...] = ()
    odd_spellings: tuple[str, ...] = ()
    nines: tuple[tuple[str, int], ...] = ()
    separators: str = ""
    too_precise: bool = False


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
    headless : bool
        Whether what was taken for the names of columns are numbers.
    """

    path: Path
    rows: int
    columns: tuple[ColumnProfile, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()
    headless: bool = False

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
            from em_impute.tables.databases import exchange as databases

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


def spelled_columns(snapshot: Snapshot) -> dict[str, str]:
    """The names of the columns that have the spellings of others, by these; there may be none."""
    schema = arrow_files.read_schema(snapshot.path)
    if not spelling.is_spelled(schema):
        return {}
    return {name: spelling.spelling_of(name) for name in spelling.plain(schema).names}


def read_schema(path: Path) -> pa.Schema:
    """The columns of a snapshot."""
    return spelling.plain(arrow_files.read_schema(path))


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot in the order of its rows; by default with every column."""
    return _read_batches(path, read_schema(path).names if columns is None else list(columns))


def read_spelled(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot with every column, and its spelling where there are any."""
    return _read_batches(path, arrow_files.read_schema(path).names)


def _read_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    # Arrow passes over the bytes of all other columns.
    names = arrow_files.read_schema(path).names
    options = pa.ipc.IpcReadOptions(included_fields=sorted(map(names.index, columns)))
    # Not a memory map: its pages would count as this process's memory, up to the whole file.
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file, options=options)
        rows = 0
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            yield batch.select(columns)
            rows += batch.num_rows
            rows_passed(rows, (i + 1) / reader.num_record_batches)


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
