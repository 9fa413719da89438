"""A table as a folder of files in hive partitions: ``year=2024/month=5/part-0.parquet``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from em_impute.tables import spelling
from em_impute.tables.reading.files import SourceFile, members
from em_impute.tables.reading.folders import HIVE_NULL
from em_impute.tables.writing.formats import (
    BatchWriter,
    open_writer,
    read_staged,
    read_texts,
    restored,
)
from em_impute.tables.writing.formats import stored_columns as stored_columns_of_file
from em_impute.tables.writing.staged import TargetError

# What Hive escapes, and nothing else: folders that were read are written by the same names.
_SPECIAL = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{\[\]^]""")
# Of a file or folder, on nearly every file system.
LONGEST_NAME = 255
# Beyond this, files are closed, and further rows of their partitions begin others.
MOST_OPEN_FILES = 200


def check_columns(schema: pa.Schema, partition_by: Sequence[str]) -> None:
    """Make sure that a table can be partitioned by some of its columns.

    Raises
    ------
    TargetError
        Naming a column that is not there or of no use, or if no other column is left.
    """
    for name in partition_by:
        if name not in schema.names:
            raise TargetError(f"target.partition_by: the table has no column {name!r}.")
        if not _names_folders(schema.field(name).type):
            raise TargetError(
                f"target.partition_by: {name!r} is of type {schema.field(name).type}; folders are "
                "named by integers, text, dates or true and false."
            )
    if len(partition_by) == len(schema):
        raise TargetError("target.partition_by names every column; leave one for the files.")


def _names_folders(type_: pa.DataType) -> bool:
    is_type = pa.types
    if is_type.is_dictionary(type_):
        return _names_folders(type_.value_type)
    return bool(
        is_type.is_integer(type_)
        or is_type.is_string(type_)
        or is_type.is_large_string(type_)
        or is_type.is_date32(type_)
        or is_type.is_boolean(type_)
    )


def write(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    folder: Path,
    file_format: str,
    partition_by: Sequence[str],
) -> int:
    """Write a table into a new folder; return the number of its rows.

    Rows of one partition keep their order.

    Parameters
    ----------
    batches : iterable of RecordBatch
    schema : Schema
        Of the batches.
    folder : Path
        Is made.
    file_format : {"csv", "jsonl", "parquet", "feather"}
    partition_by : sequence of str
        The columns by which folders are named, the outermost first; may be empty.
    """
    folder.mkdir()
    rows = 0
    with _Files(folder, file_format, _rest(schema, partition_by)) as files:
        for batch in batches:
            rows += batch.num_rows
            for name, part in _parts(batch, partition_by):
                files.writer(name).write_batch(part)
    return rows


def read(
    folder: Path, file_format: str, schema: pa.Schema, key: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of such a folder with exactly the types of `schema`, in the files' order.

    Parameters
    ----------
    folder : Path
    file_format : {"csv", "jsonl", "parquet", "feather"}
    schema : Schema
    key : sequence of str
        Where rows have spellings, the only columns that have values too.
    """
    for file in members(folder):
        rest = _rest(schema, list(file.partition))
        rows = (
            read_texts(file.path, file_format, rest, key)
            if spelling.is_spelled(schema)
            else read_staged(file.path, file_format, rest)
        )
        for batch in rows:
            named = _named_columns(schema, file, batch.num_rows, file_format)
            columns = [
                named[field.name] if field.name in named else batch.column(field.name)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def stored_columns(
    folder: Path, file_format: str, schema: pa.Schema
) -> tuple[pa.Schema, pa.Schema]:
    """The columns that a folder has, and those it would have if it held a table of this schema.

    Parameters
    ----------
    folder : Path
    file_format : {"csv", "jsonl", "parquet", "feather"}
    schema : Schema

    Raises
    ------
    TargetError
        If it has no files.
    """
    files = members(folder)
    if not files:
        raise TargetError(
            f"The table at {folder}, to which this run would add, has no files any more; bring "
            "them back, or publish with `mode: replace`."
        )
    file = files[0]
    found, expected = stored_columns_of_file(
        file.path, file_format, _rest(schema, list(file.partition))
    )
    # What the folders name has the type that the table gives it.
    named = [field for field in schema if field.name in file.partition]
    unknown = [pa.field(name, pa.string()) for name in file.partition if name not in schema.names]
    return pa.schema([*found, *named, *unknown]), pa.schema([*expected, *named])


def _rest(schema: pa.Schema, partition_by: Sequence[str]) -> pa.Schema:
    names = {*partition_by, *map(spelling.spelling_of, partition_by)}
    fields = [field for field in schema if field.name not in names]
    return pa.schema(fields)


def _named_columns(
    schema: pa.Schema, file: SourceFile, rows: int, file_format: str
) -> dict[str, pa.Array]:
    """The columns that the folders of a file name, with their spellings if there are any."""
    columns = {
        name: _partition_cells(text, schema.field(name).type, rows)
        for name, text in file.partition.items()
        if name in schema.names
    }
    if spelling.is_spelled(schema):
        columns |= {
            spelling.spelling_of(name): spelling.render(cells, file_format)
            for name, cells in columns.items()
        }
    return columns


def _partition_cells(text: str, type_: pa.DataType, rows: int) -> pa.Array:
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    value = pa.scalar(None if text == HIVE_NULL else text, pa.string()).cast(plain)
    return restored(pa.repeat(value, rows), type_)


def _parts(
    batch: pa.RecordBatch, partition_by: Sequence[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Split a batch by its partitions; each part with the name of its folder."""
    if not partition_by:
        yield "", batch
        return
    rest = batch.select(_rest(batch.schema, partition_by).names)
    names = [_texts(batch.column(name)) for name in partition_by]
    keys = pa.table([*names, pa.array(range(batch.num_rows))], [*partition_by, ""])
    groups = keys.group_by(list(partition_by), use_threads=False).aggregate([("", "list")])
    for group in groups.to_pylist():
        folders = (_folder(name, group[name]) for name in partition_by)
        yield "/".join(folders), rest.take(pa.array(group["_list"]))


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def _escaped(text: str) -> str:
    """A text as Hive and Spark spell it in a folder's name."""
    return _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _folder(name: str, value: str | None) -> str:
    folder = f"{_escaped(name)}={HIVE_NULL if value is None else _escaped(value)}"
    if len(folder.encode()) > LONGEST_NAME:
        raise TargetError(
            f"target.partition_by: a text of {name!r} is too long to name a folder; partition by "
            "another column."
        )
    return folder


class _Files(ExitStack):
    """The files that are being written, by the partition they are in."""

    def __init__(self, folder: Path, file_format: str, schema: pa.Schema) -> None:
        super().__init__()
        self.folder, self.file_format, self.schema = folder, file_format, schema
        self.writers: dict[str, BatchWriter] = {}
        self.number = 0

    def writer(self, partition: str) -> BatchWriter:
        """The writer for a partition, whose file is begun if need be."""
        if partition not in self.writers:
            if len(self.writers) == MOST_OPEN_FILES:
                self.close()
                self.writers, self.number = {}, self.number + 1
            path = self.folder / partition / f"part-{self.number}.{self.file_format}"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = open_writer(path, self.file_format, self.schema)
            self.writers[partition] = self.enter_context(writer)
        return self.writers[partition]
