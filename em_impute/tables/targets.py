"""The target: can it be written, how a table is staged for it, and the one step that publishes.

The staged file takes the target's place by a rename, so whoever looks finds either the old file or
the new one, whole, at whatever moment the machine stops.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from em_impute.job import CannotRun, DatabaseTarget, FileTarget
from em_impute.tables.run_folder import reason, sha256, written_whole
from em_impute.tables.sources import CSV_BLOCK_BYTES, FORMAT_NAMES, stream_file

if TYPE_CHECKING:
    from em_impute.tables.fill import Staged


class TargetError(CannotRun):
    """The target cannot be written as the job says."""


@dataclass(frozen=True)
class Published:
    """The table that a run has put at its target.

    Attributes
    ----------
    target : str
        What the job names, in words, never with a password.
    rows : int
    sha256 : str
        Of the table's bytes.
    """

    target: str
    rows: int
    sha256: str


# --- Before the work starts --------------------------------------------------------------------


def check_target(target: FileTarget | DatabaseTarget) -> None:
    """Make sure that the target can be written; make its folder if need be.

    Raises
    ------
    TargetError
        If the target is a folder, its own folder cannot be made or written, or its database cannot
        be reached or does not let the table be written.
    """
    match target:
        case FileTarget():
            _check_place(target)
        case DatabaseTarget():
            from em_impute.tables import databases

            databases.check_target(target)


def _check_place(target: FileTarget) -> None:
    place = _place(target)
    if place.is_dir():
        raise TargetError(f"The target {target.path} is a folder; name a file in it.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".em_impute."):
            pass
    except OSError as error:
        raise _unwritable(target, error) from error


def _place(target: FileTarget) -> Path:
    """The file to replace: what a link points to, not the link."""
    return Path(os.path.realpath(target.path))


def _unwritable(target: FileTarget, error: OSError) -> TargetError:
    return TargetError(
        f"The target {target.path} cannot be written in {_place(target).parent} "
        f"({reason(error)}); choose another folder, or change this one's permissions."
    )


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
    if file_format == "csv":
        return _csv_type(field.type) is not None
    if file_format == "parquet":
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowException:
            return False
    return True


# --- Staging -----------------------------------------------------------------------------------


class BatchWriter(Protocol):
    """What `open_writer` gives."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write the next rows."""


@contextmanager
def open_writer(path: Path, file_format: str, schema: pa.Schema) -> Iterator[BatchWriter]:
    """Write a table batch by batch; the file is at `path` once it is whole.

    Raises
    ------
    TargetError
        If the format cannot hold a column.
    DiskFullError
    """
    check_types(schema, file_format)
    with written_whole(path) as partial, _new_file(partial, file_format, schema) as writer:
        yield _CsvWriter(writer, schema) if file_format == "csv" else writer


def _new_file(
    path: Path, file_format: str, schema: pa.Schema
) -> pa_csv.CSVWriter | pq.ParquetWriter | pa.RecordBatchFileWriter:
    if file_format == "csv":
        return pa_csv.CSVWriter(path, _csv_schema(schema))
    if file_format == "parquet":
        return pq.ParquetWriter(path, schema)
    return pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))


def read_staged(path: Path, file_format: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read back what `open_writer` wrote, with exactly the types that it was given.

    A dictionary column holds the same values, perhaps under other codes.

    Raises
    ------
    TargetError
        If the file cannot be read back, or holds something else.
    """
    batches = _read_csv(path, schema) if file_format == "csv" else stream_file(path, file_format)
    try:
        for batch in batches:
            if batch.schema.names != schema.names:
                raise TargetError(f"{path} has other columns than were written; run the job again.")
            columns = list(map(_restored, batch.columns, schema.types))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    except pa.ArrowException as error:
        raise TargetError(
            f"{path}, just written as {FORMAT_NAMES[file_format]}, cannot be read back with the "
            "types of the table; the target is as it was. Try another format for the target."
        ) from error


def _read_csv(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    yield from pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        # Arrow writes "" for an empty text and nothing for a missing cell.
        convert_options=pa_csv.ConvertOptions(
            column_types=_csv_schema(schema),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


class _CsvWriter:
    """Writes batches whose types CSV does not know as the plain types that it does."""

    def __init__(self, writer: pa_csv.CSVWriter, schema: pa.Schema) -> None:
        self.writer, self.schema = writer, _csv_schema(schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [
            column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            for column in batch.columns
        ]
        plain = [
            column.cast(type_) for column, type_ in zip(columns, self.schema.types, strict=True)
        ]
        self.writer.write_batch(pa.RecordBatch.from_arrays(plain, schema=self.schema))


def _csv_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, _csv_type(field.type)) for field in schema])


def _csv_type(type_: pa.DataType) -> pa.DataType | None:
    """The type that stands for `type_` in a CSV without loss; None if there is none."""
    is_type = pa.types
    if is_type.is_dictionary(type_):
        return _csv_type(type_.value_type)
    if is_type.is_string_view(type_):
        return pa.string()
    if is_type.is_float16(type_):
        return pa.float32()
    if is_type.is_decimal(type_):
        return pa.decimal128(type_.precision, type_.scale) if type_.precision <= 38 else None
    if is_type.is_timestamp(type_) and type_.tz:
        return pa.timestamp(type_.unit, "UTC")
    plain = (
        is_type.is_null(type_)
        or is_type.is_boolean(type_)
        or is_type.is_integer(type_)
        or is_type.is_floating(type_)
        or is_type.is_string(type_)
        or is_type.is_large_string(type_)
        or is_type.is_date(type_)
        or is_type.is_time(type_)
        or is_type.is_timestamp(type_)
        or is_type.is_duration(type_)
    )
    return type_ if plain else None


def _restored(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """`column` in the type that it had before its file was written."""
    if column.type == type_:
        return column
    if not pa.types.is_dictionary(type_):
        return column.cast(type_)
    encoded = column.cast(type_.value_type).dictionary_encode()
    codes = encoded.indices.cast(type_.index_type)
    return pa.DictionaryArray.from_arrays(codes, encoded.dictionary, ordered=type_.ordered)


# --- Publishing --------------------------------------------------------------------------------


def publish(
    staged: Staged,
    target: FileTarget | DatabaseTarget,
    run_id: str,
    key: Sequence[str] = (),
) -> Published:
    """Put the staged table in the target's place, in one step and once per run.

    It may be called again, after a crash at whatever moment: what is published already stays. By
    the columns of `key`, ``mode: upsert`` finds the rows of a database to update.

    Raises
    ------
    TargetError
        If the target cannot be written, or the staged file is gone and the target is another.
    DiskFullError
        If the target is on another device, which is full.
    """
    match target:
        case FileTarget():
            return _publish_file(staged, target)
        case DatabaseTarget():
            from em_impute.tables import databases

            return databases.publish(staged, target, run_id, key)


def _publish_file(staged: Staged, target: FileTarget) -> Published:
    place = _place(target)
    try:
        if staged.path.exists():
            _put(staged.path, place)
        elif not (place.is_file() and sha256(place) == staged.sha256):
            raise TargetError(
                f"The staged file {staged.path} is gone, and {target.path} does not hold what it "
                "held; run the job again."
            )
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _unwritable(target, error) from error
    return Published(str(target), staged.rows, staged.sha256)


def _put(staged: Path, place: Path) -> None:
    if place.exists():
        shutil.copymode(place, staged)
    _flush(staged)
    try:
        staged.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _put_across_devices(staged, place)
    _flush_folder(place.parent)


def _put_across_devices(staged: Path, place: Path) -> None:
    # Named after the run: two runs that publish at once must not write into one file.
    partial = place.with_name(f".{place.name}.{staged.parent.name}.part")
    with written_whole(place, partial):
        shutil.copyfile(staged, partial)
        shutil.copymode(staged, partial)
        _flush(partial)
    _flush_folder(place.parent)
    staged.unlink()


def _flush(path: Path) -> None:
    """Have the file's bytes on the disk before its name is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # Some network file systems cannot do this for a folder; then the rename is theirs to keep.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
