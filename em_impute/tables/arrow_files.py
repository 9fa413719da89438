"""Parquet and Feather files as a table: their schema, and their rows, streamed.

Categories are the one type that takes a pass of its own: a Parquet file may have other categories
in each row group, and each file of a folder its own; a snapshot must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq

from em_impute.job import BATCH_ROWS
from em_impute.tables.source_files import (
    FORMAT_NAMES,
    SourceError,
    SourceFile,
    check_kind,
    check_names,
    check_same_names,
)


def infer(files: Sequence[SourceFile], file_format: str) -> pa.Schema:
    """The schema of files that are one table, in the order of the first file's columns.

    Raises
    ------
    SourceError
        If a file is not whole, or has other columns or types than the first one. A column may
        hold nothing but nulls in some files, and be nullable in only some.
    """
    schema = pa.schema([])
    for file in files:
        found = _checked_schema(file, file_format)
        if len(files) > 1:
            found = pa.schema([field.with_type(_with_wide_codes(field.type)) for field in found])
        if file is files[0]:
            schema = found
        check_same_names(file, found.names, files[0], schema.names)
        for i, column in enumerate(schema):
            schema = schema.set(i, _joined(column, found.field(column.name), file, files[0]))
    return schema


def read(
    files: Sequence[SourceFile], file_format: str, schema: pa.Schema
) -> Iterator[tuple[SourceFile, pa.RecordBatch]]:
    """Yield the rows of files that `infer` has seen, each batch with its file."""
    names = _categorical(schema)
    categories = pa.schema([schema.field(name) for name in names])
    dictionaries = _whole_dictionaries(
        (
            _typed(batch, categories)
            for file in (files if names else ())
            for batch in _stream_checked(file, file_format, names)
        ),
        names,
    )
    for file in files:
        for batch in _stream_checked(file, file_format):
            yield file, _with_dictionaries(_typed(batch, schema), dictionaries)


def unified(rows: Callable[[], Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a table that can be streamed twice, all with the same categories."""
    dictionaries: dict[str, pa.Array] | None = None
    for batch in rows():
        if dictionaries is None:
            names = _categorical(batch.schema)
            dictionaries = _whole_dictionaries(rows(), names) if names else {}
        yield _with_dictionaries(batch, dictionaries)


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of `schema`, of which some may have narrower codes or be all null."""
    columns = []
    for column in schema:
        cells = batch.column(column.name)
        if cells.type != column.type:
            empty = pa.types.is_null(cells.type)
            cells = pa.nulls(len(cells), column.type) if empty else cells.cast(column.type)
        columns.append(cells)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def read_schema(path: Path) -> pa.Schema:
    """Schema of an Arrow file, such as a snapshot."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).schema


def stream_file(
    path: Path, file_format: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a Parquet or Feather file in the order of its rows."""
    # By default Arrow keeps what it has read of a Parquet file, up to the whole of it.
    parquet = pa_dataset.ParquetFileFormat(pre_buffer=False)
    format_ = parquet if file_format == "parquet" else file_format
    scanner = pa_dataset.dataset(path, format=format_, partitioning=None).scanner(
        columns=None if columns is None else list(columns),
        batch_size=BATCH_ROWS,
        # By default Arrow reads 16 batches ahead: gigabytes when a table is wide.
        batch_readahead=1,
        use_threads=False,
    )
    yield from scanner.to_batches()


def _checked_schema(file: SourceFile, file_format: str) -> pa.Schema:
    check_kind(file, file_format)
    with _damage_reported(file, file_format):
        schema = pq.read_schema(file.path) if file_format == "parquet" else read_schema(file.path)
    check_names(file, schema.names)
    return schema


def _joined(column: pa.Field, other: pa.Field, file: SourceFile, first: SourceFile) -> pa.Field:
    nullable = column.with_nullable(column.nullable or other.nullable)
    if column.type == other.type or pa.types.is_null(other.type):
        return nullable
    if pa.types.is_null(column.type):
        return nullable.with_type(other.type)
    raise SourceError(
        f"{file}: column {column.name!r} is of type {other.type}, but of type {column.type} in "
        f"{first}; all files need the same types."
    )


def _stream_checked(
    file: SourceFile, file_format: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    with _damage_reported(file, file_format):
        yield from stream_file(file.path, file_format, columns)


@contextmanager
def _damage_reported(file: SourceFile, file_format: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{file} could not be read as {FORMAT_NAMES[file_format]}: the file is damaged, or "
            "holds a type that pyarrow cannot read. Write it again."
        ) from error


# --- Categories --------------------------------------------------------------------------------


def _with_wide_codes(type_: pa.DataType) -> pa.DataType:
    """A type whose codes tell the categories of several files apart."""
    if not pa.types.is_dictionary(type_) or type_.index_type.bit_width >= 32:
        return type_
    return pa.dictionary(pa.int32(), type_.value_type, type_.ordered)


def _categorical(schema: pa.Schema) -> list[str]:
    """Columns that hold categories, at any depth."""
    return [column.name for column in schema if "dictionary<" in str(column.type)]


def _whole_dictionaries(
    batches: Iterable[pa.RecordBatch], names: Sequence[str]
) -> dict[str, pa.Array]:
    """Each of the columns as an array of no rows that has all of its categories."""
    whole: dict[str, pa.Array] = {}
    for batch in batches:
        for name in names:
            column = batch.column(name)
            if not pa.types.is_null(column.type):
                whole[name] = _merge(whole.get(name, column[:0]), column)[:0]
    return whole


def _with_dictionaries(batch: pa.RecordBatch, dictionaries: dict[str, pa.Array]) -> pa.RecordBatch:
    for name, whole in dictionaries.items():
        i = batch.schema.get_field_index(name)
        batch = batch.set_column(i, batch.schema.field(i), _merge(whole, batch.column(i)))
    return batch


def _merge(whole: pa.Array, column: pa.Array) -> pa.Array:
    """`column` with the categories of `whole` first, and its own further ones after them."""
    try:
        return pa.chunked_array([whole, column]).unify_dictionaries().chunk(1)
    except pa.ArrowInvalid:
        raise SourceError(
            f"A column of type {column.type} has, in all rows together, more categories than such "
            "codes can tell apart; write it as text, or with wider codes."
        ) from None
