"""How a table is written in each format, batch by batch, and read back with the types it had."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from em_impute.tables import spelling
from em_impute.tables.reading import csv_text, json_lines
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.reading.csv_text import CSV_BLOCK_BYTES
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.reading.kinds import FORMAT_NAMES
from em_impute.tables.snapshot import SourceError, arrow_schema
from em_impute.tables.whole_files import written_whole
from em_impute.tables.writing.counterparts import counterpart
from em_impute.tables.writing.staged import TargetError

# --- What a format can hold --------------------------------------------------------------------


def check_types(schema: pa.Schema, file_format: str) -> None:
    """Make sure that a file format can hold every column of a table.

    Raises
    ------
    TargetError
        Naming the columns that it cannot hold.
    """
    homeless = [field for field in schema if not _can_hold(file_format, field)]
    if homeless:
        columns = ", ".join(f"{field.name!r} of type {field.type}" for field in homeless)
        others = "Feather" if file_format == "parquet" else "Parquet or Feather"
        raise TargetError(
            f"{FORMAT_NAMES[file_format]} cannot hold {columns}; give the target the format "
            f"{others}, or convert in the source."
        )


def _can_hold(file_format: str, field: pa.Field) -> bool:
    if file_format in ("csv", "jsonl"):
        return counterpart(field.type, file_format) is not None
    if file_format == "parquet":
        # With a row, for some types are refused only then.
        row = pa.table([pa.nulls(1, field.type)], pa.schema([field.with_nullable(True)]))
        try:
            pq.write_table(row, pa.BufferOutputStream())
        except (pa.ArrowException, OSError):  # OSError: a decimal of negative scale
            return False
    return True


def stored_columns(path: Path, file_format: str, schema: pa.Schema) -> tuple[pa.Schema, pa.Schema]:
    """The columns that a file has, and those it would have if it held a table of this schema.

    Files of text know only the names of their columns.

    Parameters
    ----------
    path : Path
    file_format : {"csv", "jsonl", "parquet", "feather"}
    schema : Schema
    """
    match file_format:
        case "parquet":
            empty = pa.BufferOutputStream()
            pq.ParquetWriter(empty, schema).close()
            return pq.read_schema(path), pq.read_schema(pa.BufferReader(empty.getvalue()))
        case "feather":
            return arrow_schema(path), schema
        case "csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                names = next(csv.reader(file), [])
        case _:
            with path.open(encoding="utf-8-sig") as file:
                names = list(json.loads(file.readline() or "{}"))
    known = {field.name: field.type for field in schema}
    return pa.schema([(name, known.get(name, pa.string())) for name in names]), schema


# --- Writing and reading back ---------------------------------------------------------------------


class BatchWriter(Protocol):
    """What `open_writer` gives."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write the next rows."""


@contextmanager
def open_writer(path: Path, file_format: str, schema: pa.Schema) -> Iterator[BatchWriter]:
    """Write a table batch by batch.

    Parameters
    ----------
    path : Path
        Where the file is, once it is whole.
    file_format : {"csv", "jsonl", "parquet", "feather"}
    schema : Schema
        Of the table, with spellings or without.

    Raises
    ------
    TargetError
        If the format cannot hold a column, or one of its cells.
    DiskFullError
    """
    check_types(spelling.plain(schema), file_format)
    with written_whole(path) as partial, _new_file(partial, file_format, schema) as writer:
        yield _Explained(writer, file_format)


@dataclass(frozen=True)
class _Explained:
    """Says in a sentence, without the cell, what Arrow says of a cell that cannot be written."""

    writer: BatchWriter
    file_format: str

    def write_batch(self, batch: pa.RecordBatch) -> None:
        try:
            self.writer.write_batch(batch)
        except pa.ArrowException:
            columns = [n for n in batch.schema.names if not self._holds(batch.select([n]))]
            raise TargetError(
                f"{FORMAT_NAMES[self.file_format]} cannot hold every cell of "
                f"{', '.join(map(repr, columns)) or 'a column'}, such as a time too far away; give "
                "the target another format, or convert in the source."
            ) from None

    def _holds(self, column: pa.RecordBatch) -> bool:
        try:
            if self.file_format == "parquet":
                pq.write_table(pa.table(column), pa.BufferOutputStream())
            elif self.file_format in ("csv", "jsonl"):
                _as_plain(column, _plain_schema(column.schema, self.file_format))
        except pa.ArrowException:
            return False
        return True


@contextmanager
def _new_file(path: Path, file_format: str, schema: pa.Schema) -> Iterator[BatchWriter]:
    match file_format:
        case "csv" | "jsonl" if spelling.is_spelled(schema):
            with path.open("wb") as text:
                if file_format == "csv":
                    text.write(spelling.header(spelling.plain(schema).names))
                yield _SpellingWriter(text, file_format)
        case "csv":
            with pa_csv.CSVWriter(path, _plain_schema(schema, "csv")) as writer:
                yield _CsvWriter(writer, schema)
        case "jsonl":
            with path.open("w", encoding="utf-8") as file:
                yield _JsonWriter(file, schema)
        case _:
            with _new_arrow_file(path, file_format, schema) as writer:
                yield writer


def _new_arrow_file(
    path: Path, file_format: str, schema: pa.Schema
) -> pq.ParquetWriter | pa.RecordBatchFileWriter:
    if file_format == "parquet":
        # Looking for repeated numbers takes most of the time and makes a file larger, not smaller.
        repetitive = [f.name for f in schema if not pa.types.is_floating(f.type)]
        return pq.ParquetWriter(path, schema, use_dictionary=repetitive)
    return pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))


def read_staged(path: Path, file_format: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read back what `open_writer` wrote, with exactly the types that it was given.

    A dictionary column holds the same values, perhaps under other codes.

    Parameters
    ----------
    path : Path
    file_format : {"csv", "jsonl", "parquet", "feather"}
    schema : Schema
        Of the table that was written.

    Raises
    ------
    TargetError
        If the file cannot be read back, or holds something else.
    """
    try:
        for batch in _stream(path, file_format, schema):
            if not spelling.is_spelled(schema):
                batch = batch.select(spelling.plain(batch.schema).names)
            if batch.schema.names != schema.names:
                raise TargetError(f"{path} has other columns than were written; run the job again.")
            columns = list(map(restored, batch.columns, schema.types))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    except pa.ArrowException as error:
        raise TargetError(
            f"{path}, just written as {FORMAT_NAMES[file_format]}, cannot be read back with the "
            "types of the table; the target was not changed. Try another format for the target."
        ) from error


def _stream(path: Path, file_format: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    match file_format:
        case "csv":
            return _read_csv(path, schema)
        case "jsonl":
            return _read_json(path, schema)
    return stream_file(path, file_format)


def read_texts(
    path: Path, file_format: str, schema: pa.Schema, typed: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of a file of text as they are spelled there, in a schema with spellings.

    Parameters
    ----------
    path : Path
    file_format : {"csv", "jsonl"}
    schema : Schema
    typed : sequence of str
        The columns that have values, too. Others have nulls: to be written again, they need none.

    Raises
    ------
    TargetError
        If the values of a column of `typed` are not of its type.
    """
    plain = spelling.plain(schema)
    wanted = pa.schema([field for field in plain if field.name in typed])
    file = SourceFile(path, str(path))
    rows = (
        csv_text.read_again(file, wanted)
        if file_format == "csv"
        else json_lines.read_again(file, _plain_schema(wanted, "jsonl"), plain.names)
    )
    try:
        for batch in rows:
            columns = [
                restored(batch.column(field.name), field.type)
                if field.name in typed
                else pa.nulls(batch.num_rows, field.type)
                for field in plain
            ]
            columns += [batch.column(spelling.spelling_of(name)) for name in plain.names]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    except (pa.ArrowException, SourceError, ValueError) as error:
        raise TargetError(
            f"{path}, which is there already, cannot be read with the types of the table; publish "
            "it with `mode: replace`, or to another target."
        ) from error


def _read_csv(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    yield from pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        # Arrow writes "" for an empty text and nothing for a missing cell.
        convert_options=pa_csv.ConvertOptions(
            column_types=_plain_schema(schema, "csv"),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


class _SpellingWriter:
    """Writes batches as their spellings say."""

    def __init__(self, file: BinaryIO, file_format: str) -> None:
        self.file, self.file_format = file, file_format

    def write_batch(self, batch: pa.RecordBatch) -> None:
        spelling.write_rows(self.file, batch, self.file_format)


class _CsvWriter:
    """Writes batches whose types CSV does not know as the plain types that it does."""

    def __init__(self, writer: pa_csv.CSVWriter, schema: pa.Schema) -> None:
        self.writer, self.schema = writer, _plain_schema(schema, "csv")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self.writer.write_batch(_as_plain(batch, self.schema))


class _JsonWriter:
    """Writes batches as JSON lines; what JSON does not know as the text or number it does."""

    def __init__(self, file: TextIO, schema: pa.Schema) -> None:
        self.file, self.schema = file, _plain_schema(schema, "jsonl")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        rows = _as_plain(batch, self.schema).to_pylist()
        self.file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read_json(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        while lines := file.readlines(CSV_BLOCK_BYTES):
            block = b"".join(lines)
            yield from json_lines.read_block(block, _plain_schema(schema, "jsonl")).to_batches()


def _as_plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the plain types that stand for its own in a text format."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    plain = [column.cast(type_) for column, type_ in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(plain, schema=schema)


def _plain_schema(schema: pa.Schema, file_format: str) -> pa.Schema:
    return pa.schema([(field.name, counterpart(field.type, file_format)) for field in schema])


def restored(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """`column` in the type that it had before its file was written."""
    if column.type == type_:
        return column
    if not pa.types.is_dictionary(type_):
        return column.cast(type_)
    encoded = column.cast(type_.value_type).dictionary_encode()
    codes = encoded.indices.cast(type_.index_type)
    return pa.DictionaryArray.from_arrays(codes, encoded.dictionary, ordered=type_.ordered)
