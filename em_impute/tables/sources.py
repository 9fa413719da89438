"""A source file becomes a snapshot: one Arrow file in the run's folder, with a profile per column.

`take_snapshot` is the only reader of sources. Parquet and Feather are streamed; a CSV is read
whole, because the type of a column may be decided by its last cell. Whatever is wrong with the file
is said in a `SourceError`, which never quotes a value: Arrow's own messages do, so they are not
passed on.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
from numpy.typing import NDArray

from em_impute.job import BATCH_ROWS, CannotRun, DatabaseSource, FileSource
from em_impute.tables.run_folder import reason, sha256, written_whole

CSV_BLOCK_BYTES = 2**24
SHOWN_ROWS = 10

# Each format's bytes at the start and at the end of a file.
ENDS = {"parquet": b"PAR1", "feather": b"ARROW1"}
FORMAT_NAMES = {"csv": "CSV", "parquet": "Parquet", "feather": "Feather"}
OTHER_KINDS = {
    b"\x89PNG": "a PNG picture",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
    b"\xff\xfe": "UTF-16 text (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 text (save it as UTF-8)",
    b"FEA1": "of the old Feather version 1 (write it again with a newer program)",
}

# How a CSV may spell a missing number.
NULL_SPELLINGS: tuple[str, ...] = tuple(pa_csv.ConvertOptions().null_values)

# Digits that are no quantity and would change if they were read as one: with leading zeros, in
# hexadecimal, with the plus sign of a telephone number; and, where they do not fit an integer, too
# many for floating point.
CODE = r"^\s*(?:[+-]?0[\dxX]|\+\d{7,}\s*$)"
LONG_CODE = r"^\s*[+-]?\d{17,}\s*$"


class SourceError(CannotRun):
    """The source cannot be read as what the job says it is."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a snapshot knows of one column. Rows are counted from 1, the header not counted.

    Attributes
    ----------
    name : str
    type : str
        Name of the Arrow type.
    numeric : bool
        Whether it is an integer or floating type.
    missing : int
        Cells that are null or NaN.
    infinite : int
    first_infinite_row : int or None
    constant : bool
        Whether at least one cell is observed and all observed ones are equal. False for columns
        that are not numeric.
    """

    name: str
    type: str
    numeric: bool
    missing: int
    infinite: int
    first_infinite_row: int | None
    constant: bool


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
    """

    path: Path
    rows: int
    columns: tuple[ColumnProfile, ...]
    fingerprint: str
    source: str

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
    schema, batches = _open(source, batch_rows)
    tallies = [_Tally(field) for field in schema]
    rows = 0
    with written_whole(path) as partial, pa.ipc.new_file(partial, schema) as writer:
        for batch in _rebatched(batches, batch_rows):
            writer.write_batch(batch)
            for tally, column in zip(tallies, batch.columns, strict=True):
                tally.add(column, first_row=rows + 1)
            rows += batch.num_rows
    profiles = tuple(tally.profile() for tally in tallies)
    return Snapshot(path, rows, profiles, f"sha256:{sha256(path)}", str(source))


def _open(
    source: FileSource | DatabaseSource, batch_rows: int
) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """The schema of a source, and its rows."""
    match source:
        case FileSource(file_format="csv"):
            return _open_csv(source.path)
        case FileSource():
            return _open_binary(source.path, source.file_format)
        case DatabaseSource():
            from em_impute.tables import databases

            schema, batches = databases.open_source(source, batch_rows)
            _check_names(source, schema.names)
            return schema, batches


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


def read_schema(path: Path) -> pa.Schema:
    """Schema of a snapshot, or of another Arrow file."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).schema


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot in the order of its rows; by default with every column."""
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            yield batch if columns is None else batch.select(list(columns))


def stream_file(
    path: Path, file_format: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a Parquet or Feather file in the order of its rows."""
    scanner = pa_dataset.dataset(path, format=file_format).scanner(
        columns=None if columns is None else list(columns),
        batch_size=BATCH_ROWS,
        # By default Arrow reads 16 batches ahead: gigabytes when a table is wide.
        batch_readahead=1,
        use_threads=False,
    )
    yield from scanner.to_batches()


# --- Is it a file, and of which kind? ----------------------------------------------------------


def _check_is_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a folder; a source is one file.")
        if path.exists() and not path.is_file():
            raise SourceError(f"{path} is a device or a pipe; a source is a file.")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: no such file{_where_it_was_looked_for(path)}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {reason(error)}.") from error


def _where_it_was_looked_for(path: Path) -> str:
    folder = path.parent.absolute()
    if not folder.is_dir():
        return f"; the folder {folder} does not exist. The program was started in {Path.cwd()}."
    near: list[str] = []
    with suppress(OSError):  # a folder that may be entered but not listed
        near = difflib.get_close_matches(path.name, [file.name for file in folder.iterdir()])
    return f" in {folder}." + (f" Did you mean {' or '.join(near)}?" if near else "")


def _kind(path: Path) -> str:
    """Tell by its first and last bytes what a file is: a format, other words, or nothing."""
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(-min(8, path.stat().st_size), 2)
        tail = file.read()
    for file_format, magic in ENDS.items():
        if head.startswith(magic) and tail.endswith(magic):
            return file_format
    return next((words for magic, words in OTHER_KINDS.items() if head.startswith(magic)), "")


def _check_kind(path: Path, expected: str) -> None:
    kind = _kind(path)
    if kind in ENDS and kind != expected:
        raise SourceError(
            f"{path} is a {FORMAT_NAMES[kind]} file, not {FORMAT_NAMES[expected]}; "
            f"say `format: {kind}` in the job's source."
        )
    if kind and kind != expected:
        raise SourceError(f"{path} is not a {FORMAT_NAMES[expected]} file: it is {kind}.")
    if not kind and expected in ENDS:
        raise SourceError(
            f"{path} is not a whole {FORMAT_NAMES[expected]} file: {_missing_end(path, expected)}."
        )


def _missing_end(path: Path, expected: str) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        return "it is empty"
    if head.startswith(ENDS[expected]):
        return "its end is missing; it was cut short, so copy or write it again"
    return "it does not begin as one; if it is CSV, say `format: csv` in the job's source"


def _check_names(path: Path | DatabaseSource, names: Sequence[str]) -> None:
    if not names:
        raise SourceError(f"{path} has no columns.")
    positions: dict[str, list[str]] = {}
    for i, name in enumerate(names, 1):
        positions.setdefault(name, []).append(str(i))
    problems = [
        f"{name!r} names columns {_listed(at)}"
        if name.strip()
        else f"column {_listed(at)} has no name"
        for name, at in positions.items()
        if at[1:] or not name.strip()
    ]
    if problems:
        raise SourceError(f"{path}: {'; '.join(problems)}. Every column needs a name of its own.")


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


# --- Parquet and Feather -----------------------------------------------------------------------


def _open_binary(path: Path, file_format: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    _check_is_file(path)
    _check_kind(path, file_format)
    with _damage_reported(path, file_format):
        schema = pq.read_schema(path) if file_format == "parquet" else read_schema(path)
    _check_names(path, schema.names)
    _check_no_nested_dictionary(path, schema)
    return schema, _stream_checked(path, file_format, schema)


def _stream_checked(path: Path, file_format: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with _damage_reported(path, file_format):
        dictionaries = _whole_dictionaries(path, file_format, schema)
        for batch in stream_file(path, file_format):
            yield _with_dictionaries(batch, dictionaries)


@contextmanager
def _damage_reported(path: Path, file_format: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} could not be read as {FORMAT_NAMES[file_format]}: the file is damaged, or "
            "holds a type that pyarrow cannot read. Write it again."
        ) from error


def _whole_dictionaries(path: Path, file_format: str, schema: pa.Schema) -> dict[str, pa.Array]:
    """Every dictionary column's categories, as an array of no rows.

    A Parquet file may have other categories in each row group; an Arrow file must not.
    """
    names = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    whole: dict[str, pa.Array] = {}
    for batch in stream_file(path, file_format, names) if names else ():
        for name in names:
            seen = whole.get(name, batch.column(name)[:0])
            whole[name] = _merge(seen, batch.column(name))[:0]
    return whole


def _check_no_nested_dictionary(path: Path, schema: pa.Schema) -> None:
    for field in schema:
        if "dictionary<" in str(field.type) and not pa.types.is_dictionary(field.type):
            raise SourceError(
                f"{path}: column {field.name!r} holds dictionary-encoded values inside a nested "
                "type; write them as plain values."
            )


def _with_dictionaries(batch: pa.RecordBatch, dictionaries: dict[str, pa.Array]) -> pa.RecordBatch:
    for name, whole in dictionaries.items():
        i = batch.schema.get_field_index(name)
        batch = batch.set_column(i, batch.schema.field(i), _merge(whole, batch.column(i)))
    return batch


def _merge(whole: pa.Array, column: pa.Array) -> pa.Array:
    """`column` with the categories of `whole` first, and its own further ones after them."""
    return pa.chunked_array([whole, column]).unify_dictionaries().chunk(1)


# --- CSV ---------------------------------------------------------------------------------------


def _open_csv(path: Path) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    _check_is_file(path)
    _check_kind(path, "csv")
    _check_is_text(path)
    header, has_rows = _read_header(path)
    _check_names(path, header)
    if not has_rows:
        return pa.schema([(name, pa.null()) for name in header]), ()
    table = _read_csv(path, len(header))
    if codes := _code_columns(path, table):
        table = _read_csv(path, len(header), column_types=dict.fromkeys(codes, pa.string()))
    return table.schema, table.to_batches(max_chunksize=BATCH_ROWS)


def _check_is_text(path: Path) -> None:
    """Refuse what is not UTF-8 text: Arrow would make binary columns of it."""
    quotes = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if b"\0" in line:
                raise SourceError(f"{path} is not a CSV file: line {number} holds a NUL byte.")
            try:
                line.decode()
            except UnicodeDecodeError:
                raise SourceError(
                    f"{path}: line {number} is not UTF-8 text; save the file as UTF-8."
                ) from None
            quotes += line.count(b'"')
    if quotes % 2:
        _check_quotes_close(path)


def _check_quotes_close(path: Path) -> None:
    """Refuse a file that ends inside a quoted field: Arrow would take the rows in it for text."""
    last: list[str] = []
    begins = ends = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(chain(file, ["the end"]))
        try:
            for row in reader:
                last, begins, ends = row, ends + 1, reader.line_num
        except csv.Error:  # a field beyond csv's limit of length: a quote that was left open early
            last, begins = [], ends + 1
    if last != ["the end"]:
        raise SourceError(f"{path}: a quote in the row that begins at line {begins} is not closed.")


def _read_header(path: Path) -> tuple[list[str], bool]:
    """The names in the header, and whether any row follows it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next((row for row in reader if row), [])
        except csv.Error:
            raise SourceError(f"{path} is not a CSV file: its first line is too long.") from None
        has_rows = any(line.strip() or len(header) == 1 for line in file)
    if not header:
        raise SourceError(f"{path} is empty; expected a header line with the columns' names.")
    if len(header) == 1 and any(separator in header[0] for separator in ";\t|"):
        raise SourceError(
            f"{path}: the header has no comma; columns have to be separated by commas."
        )
    return header, has_rows


def _read_csv(path: Path, width: int, **conversion: Any) -> pa.Table:
    ragged: list[pa_csv.InvalidRow] = []

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            path,
            # Rows are numbered only without threads.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                newlines_in_values=True,
                # In a table of one column, an empty line is a missing cell.
                ignore_empty_lines=width > 1,
                invalid_row_handler=note,
            ),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=False, **conversion),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{path} could not be read as CSV: a row is longer than {CSV_BLOCK_BYTES // 2**20} MB, "
            "as it happens when a quote is not closed."
        ) from error
    if ragged:
        raise SourceError(_ragged_rows(path, width, ragged))
    return table


def _ragged_rows(path: Path, width: int, ragged: Sequence[pa_csv.InvalidRow]) -> str:
    first, *others = ragged
    message = (
        f"{path}: row {first.number - 1} has {first.actual_columns} "
        f"field{'s' if first.actual_columns > 1 else ''} where the header has {width}"
    )
    if others:
        rows = [str(row.number - 1) for row in others[:SHOWN_ROWS]]
        rows += ["..."] if len(others) > SHOWN_ROWS else []
        message += f" (and {len(others)} more such rows: {', '.join(rows)})"
    return f"{message}. A field that holds a comma has to be in quotes."


def _code_columns(path: Path, table: pa.Table) -> list[str]:
    """Columns of numbers that are really codes, whose spelling a number would not keep."""
    numeric = [field.name for field in table.schema if is_numeric(field.type)]
    if not numeric:
        return []
    spelled = _read_csv(
        path,
        table.num_columns,
        include_columns=numeric,
        column_types=dict.fromkeys(numeric, pa.string()),
    )
    return [name for name in numeric if _holds_code(spelled[name], table.field(name).type)]


def _holds_code(spelled: pa.ChunkedArray, type_: pa.DataType) -> bool:
    pattern = f"{CODE}|{LONG_CODE}" if pa.types.is_floating(type_) else CODE
    return bool(pc.any(pc.match_substring_regex(spelled, pattern)).as_py())


# --- Profiles ----------------------------------------------------------------------------------


def is_numeric(type_: pa.DataType) -> bool:
    """Whether a column of this type can take part in a model: integers and floating point."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


@dataclass
class _Tally:
    """The profile of one column, in the making."""

    field: pa.Field
    missing: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    lowest: Any = None
    highest: Any = None

    def add(self, column: pa.Array, first_row: int) -> None:
        if not is_numeric(column.type):
            self.missing += column.null_count
            return
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
        )
