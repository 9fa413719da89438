"""The files of a source as one table: their rows in turn, and the columns of folders' names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from em_impute.job import CsvOptions, FileSource
from em_impute.tables import spelling
from em_impute.tables.reading import arrow_files, csv_text, json_lines
from em_impute.tables.reading.csv_dialects import plain_files
from em_impute.tables.reading.files import SourceFile, opened
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.snapshot import SourceError

# How Hive, and Arrow with it, spells a missing value in a folder's name.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True)
class OpenSource:
    """A source that is open: its schema and rows, and what is to be noted of them.

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
    files : sequence of SourceFile
        The files, as they are in the source.
    rows_of : dict of str to int
        Rows of each file by its name, as far as they have been read.
    version : int or None
        Which version of a table it is, where a lakehouse keeps several.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    notes: tuple[str, ...] = ()
    in_folders: tuple[str, ...] = ()
    loose: frozenset[str] = frozenset()
    headless: bool = False
    files: Sequence[SourceFile] = ()
    rows_of: dict[str, int] = field(default_factory=dict)
    version: int | None = None


@contextmanager
def open_files(source: FileSource, work: Path, purpose: Purpose) -> Iterator[OpenSource]:
    """Yield the table of a source of files.

    Parameters
    ----------
    source : FileSource
    work : Path
        Folder for copies of what is remote, compressed or in another encoding.
    purpose : Purpose

    Raises
    ------
    SourceError
    """
    with opened(source, work) as files, plain_files(files, source, work) as (plain, options):
        yield replace(_read_files(plain, source, options, purpose), files=files)


def _read_files(
    files: Sequence[SourceFile], source: FileSource, options: CsvOptions, purpose: Purpose
) -> OpenSource:
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
    rows_of = {file.name: 0 for file in files}
    batches = _in_folders(rows, partitions, whole, target_format, rows_of)
    in_folders = tuple(field.name for field in partitions)
    return OpenSource(whole, batches, notes, in_folders, loose, headless, rows_of=rows_of)


def _in_folders(
    rows: Iterable[tuple[SourceFile, pa.RecordBatch]],
    partitions: Sequence[pa.Field],
    schema: pa.Schema,
    target_format: str | None,
    rows_of: dict[str, int],
) -> Iterator[pa.RecordBatch]:
    """The rows with the values that their files' folders name, and these as they are written."""
    for file, batch in rows:
        rows_of[file.name] += batch.num_rows
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


# --- The names of folders -----------------------------------------------------------------------


def partition_fields(files: Sequence[SourceFile], names: Sequence[str]) -> list[pa.Field]:
    """The columns that folders' names give: int32 where each value is spelt as one, else text.

    Raises
    ------
    SourceError
        If files lie in folders of other names than the first, or a file has such a column itself.
    """
    keys = list(files[0].partition)
    for file in files:
        if list(file.partition) != keys:
            raise SourceError(
                f"{file}: its folders name {_keys(list(file.partition))}, but those of {files[0]} "
                f"name {_keys(keys)}; all files need the same."
            )
    if both := [key for key in keys if key in names]:
        raise SourceError(
            f"{files[0]}: column {both[0]!r} is in the file and in the name of its folder too; "
            "remove one of them."
        )
    return [pa.field(key, _partition_type([file.partition[key] for file in files])) for key in keys]


def _keys(keys: Sequence[str]) -> str:
    return "/".join(f"{key}=" for key in keys) or "no columns"


def _partition_type(values: Sequence[str]) -> pa.DataType:
    known = [value for value in values if value != HIVE_NULL]
    return pa.int32() if known and all(map(_spells_int32, known)) else pa.string()


def _spells_int32(value: str) -> bool:
    """Whether a value is a number and nothing else: 007 is not 7."""
    number = re.fullmatch(r"-?\d{1,10}", value, re.ASCII)
    return bool(number) and int(value) in INT32 and str(int(value)) == value


def with_partition(
    batch: pa.RecordBatch, file: SourceFile, fields: Sequence[pa.Field]
) -> pa.RecordBatch:
    """Put the values that the file's folders name behind its columns.

    Parameters
    ----------
    batch : RecordBatch
    file : SourceFile
        Where its rows are from.
    fields : sequence of Field
        From `partition_fields`.
    """
    for column in fields:
        text = file.partition[column.name]
        value = pa.scalar(None if text == HIVE_NULL else text, pa.string()).cast(column.type)
        batch = batch.append_column(column, pa.repeat(value, batch.num_rows))
    return batch
