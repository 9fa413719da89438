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
)
from em_impute.tables.unified import Unified, as_type, unify


def infer(files: Sequence[SourceFile], file_format: str) -> Unified:
    """The schema of files that are one table, and what is to be said of it.

    Raises
    ------
    SourceError
        If a file is not whole, or its columns cannot be joined with those of the others.
    """
    found = [(file, _checked_schema(file, file_format)) for file in files]
    if len(files) == 1:
        return Unified(found[0][1])
    return unify([(file, _with_wide_codes(schema)) for file, schema in found])


def read(
    files: Sequence[SourceFile], file_format: str, schema: pa.Schema
) -> Iterator[tuple[SourceFile, pa.RecordBatch]]:
    """Yield the rows of files that `infer` has seen, each batch with its file."""
    names = _categorical(schema)
    categories = pa.schema([schema.field(name) for name in names])
    dictionaries = _whole_dictionaries(
        (
            batch
            for file in (files if names else ())
            for batch in _typed(file, file_format, categories)
        ),
        names,
    )
    for file in files:
        for batch in _typed(file, file_format, schema):
            yield file, _with_dictionaries(batch, dictionaries)


def unified(rows: Callable[[], Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a table that can be streamed twice, all with the same categories."""
    dictionaries: dict[str, pa.Array] | None = None
    for batch in rows():
        if dictionaries is None:
            names = _categorical(batch.schema)
            dictionaries = _whole_dictionaries(rows(), names) if names else {}
        yield _with_dictionaries(batch, dictionaries)


def _typed(file: SourceFile, file_format: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a file with the columns of `schema`, as all files together have them."""
    own = _checked_schema(file, file_format).names
    rows = 0
    for batch in _stream_checked(file, file_format, [name for name in schema.names if name in own]):
        columns = [
            as_type(batch.column(column.name), column, file, rows)
            if column.name in own
            else pa.nulls(batch.num_rows, column.type)
            for column in schema
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        rows += batch.num_rows


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


def _stream_checked(
    file: SourceFile, file_format: str, columns: Sequence[str]
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


def _with_wide_codes(schema: pa.Schema) -> pa.Schema:
    """The columns with codes that tell the categories of several files apart."""
    fields = [field.with_type(_with_wide_code(field.type)) for field in schema]
    return pa.schema(fields, schema.metadata)


def _with_wide_code(type_: pa.DataType) -> pa.DataType:
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
