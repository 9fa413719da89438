"""Parquet and Feather files as a table: their schema, and their rows, streamed.

Categories are the one type that takes a pass of its own: a Parquet file may have other categories
in each row group, and each file of a folder its own; a snapshot must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq

from em_impute.job import BATCH_ROWS
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.reading.kinds import FORMAT_NAMES, check_kind, check_names
from em_impute.tables.reading.unified import Unified, as_type, unify
from em_impute.tables.snapshot import SourceError, arrow_schema


def infer(files: Sequence[SourceFile], file_format: str) -> Unified:
    """The schema of files that are one table, and what is to be noted of it.

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
    """Yield the rows of files that `infer` has seen, each batch with its file.

    Parameters
    ----------
    files : sequence of SourceFile
    file_format : {"parquet", "feather"}
    schema : Schema
        As `infer` returned it.
    """
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


def stream_file(
    path: Path, file_format: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a Parquet or Feather file in the order of its rows.

    Parameters
    ----------
    path : Path
    file_format : {"parquet", "feather"}
    columns : sequence of str, optional
        By default all.

    Raises
    ------
    ArrowException
        If the file is damaged. Arrow itself trusts what a file says of its own lengths and offsets,
        and would read beyond the memory that it has.
    """
    batches = _stream_feather if file_format == "feather" else _stream_parquet
    for batch in batches(path, columns):
        check_sound(batch)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _stream_feather(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    # Not by a scanner, which works on a batch before anybody can have a look at it.
    with pa.OSFile(str(path)) as file:
        names = pa.ipc.open_file(file).schema.names
        chosen = names if columns is None else list(columns)
        options = pa.ipc.IpcReadOptions(included_fields=sorted(map(names.index, chosen)))
        reader = pa.ipc.open_file(file, options=options)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i).select(chosen)


def _stream_parquet(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    # By default Arrow keeps what it has read of a Parquet file, up to the whole of it.
    parquet = pa_dataset.ParquetFileFormat(pre_buffer=False)
    scanner = pa_dataset.dataset(path, format=parquet, partitioning=None).scanner(
        columns=None if columns is None else list(columns),
        batch_size=BATCH_ROWS,
        # By default Arrow reads 16 batches ahead: gigabytes when a table is wide.
        batch_readahead=1,
        use_threads=False,
    )
    yield from scanner.to_batches()


def check_sound(batch: pa.RecordBatch) -> None:
    """Refuse rows that do not hold together: what is done with them could end the process."""
    batch.validate(full=True)
    for field, cells in zip(batch.schema, batch.columns, strict=True):
        if not _keeps_promise(field, cells):
            raise pa.ArrowInvalid(field.name)


def _keeps_promise(field: pa.Field, cells: pa.Array, shown: pa.Array | None = None) -> bool:
    """Whether cells that may not be null are not; those within a null, which is not shown, may."""
    if cells.null_count and not field.nullable:
        null = cells.is_null() if shown is None else pc.and_(cells.is_null(), shown)
        if pc.any(null).as_py():
            return False
    if pa.types.is_struct(field.type):
        inner = cells.is_valid() if shown is None else pc.and_(cells.is_valid(), shown)
        return all(_keeps_promise(f, cells.field(i), inner) for i, f in enumerate(field.type))
    if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
        return _keeps_promise(field.type.value_field, cells.flatten())
    return True


def _checked_schema(file: SourceFile, file_format: str) -> pa.Schema:
    check_kind(file, file_format)
    with _damage_reported(file, file_format):
        schema = pq.read_schema(file.path) if file_format == "parquet" else arrow_schema(file.path)
        for field in schema:  # names are decoded only when somebody looks
            str((field.name, field.type))
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
    except (pa.ArrowException, OSError, UnicodeError) as error:
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
    """Columns that hold categories, at any depth; a category that is null is none."""
    types = {column.name: str(column.type) for column in schema}
    empty = "dictionary<values=null"
    return [name for name, type_ in types.items() if "dictionary<" in type_.replace(empty, "")]


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
    except pa.ArrowNotImplementedError:
        raise SourceError(
            f"A column has the type {column.type}: its categories are neither texts nor numbers, "
            "and cannot be read. Write it without categories, or leave it out."
        ) from None
