"""CSV files as a table: what each column is, decided by all its cells, and the rows, streamed.

The type of a column may be decided by its last cell. So a first pass reads every column as text, in
blocks, and crosses off the types that a block does not convert to; a second pass converts. Neither
holds more than a block. Arrow's own messages quote values, so they are not passed on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from em_impute.tables.source_files import (
    SourceError,
    SourceFile,
    check_is_text,
    check_kind,
    check_names,
    check_same_names,
)

CSV_BLOCK_BYTES = 2**24
SHOWN_ROWS = 10

# How a CSV may spell a missing number.
NULL_SPELLINGS: tuple[str, ...] = tuple(pa_csv.ConvertOptions().null_values)

# What a column may be, in the order in which Arrow's own inference tries it.
CANDIDATES: tuple[pa.DataType, ...] = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ns", "UTC"),
    pa.float64(),
    pa.string(),
)

# Digits that are no quantity and would change if they were read as one: with leading zeros, in
# hexadecimal, with the plus sign of a telephone number; and, where they do not fit an integer, too
# many for floating point.
CODE = r"^\s*(?:[+-]?0[\dxX]|\+\d{7,}\s*$)"
LONG_CODE = r"^\s*[+-]?\d{17,}\s*$"


def infer(files: Sequence[SourceFile]) -> pa.Schema:
    """The columns of CSV files that are one table, in the order of the first file's header.

    Raises
    ------
    SourceError
        If a file is no CSV in UTF-8, has rows of other lengths than its header, or other columns
        than the first file.
    """
    columns: dict[str, _Column] = {}
    for file in files:
        header, has_rows = _checked_header(file)
        columns = columns or {name: _Column() for name in header}
        check_same_names(file, header, files[0], list(columns))
        for batch in _stream_text(file, header) if has_rows else ():
            for name, column in columns.items():
                column.add(batch.column(name))
    return pa.schema([(name, column.type) for name, column in columns.items()])


def read(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that `infer` has seen, its columns as in `schema`."""
    header, has_rows = _read_header(file)
    types = {field.name: field.type for field in schema}
    for batch in _stream(file, len(header), column_types=types) if has_rows else ():
        yield batch.select(schema.names)


@dataclass
class _Column:
    """What a column may still be, after the blocks that were seen."""

    candidates: tuple[pa.DataType, ...] = CANDIDATES
    has_code: bool = False
    has_long_code: bool = False
    _numeric: frozenset[pa.DataType] = field(default=frozenset({pa.int64(), pa.float64()}))

    def add(self, spelled: pa.Array) -> None:
        if self.candidates == (pa.string(),):
            return
        block = _as_csv(spelled)
        self.candidates = tuple(t for t in self.candidates if _converts(block, t))
        if self._numeric.intersection(self.candidates):
            self.has_code = self.has_code or _matches(spelled, CODE)
            self.has_long_code = self.has_long_code or _matches(spelled, LONG_CODE)

    @property
    def type(self) -> pa.DataType:
        """The first type that all cells convert to; text if they are codes."""
        first = self.candidates[0]
        code = first in self._numeric and self.has_code
        long_code = first == pa.float64() and self.has_long_code
        return pa.string() if code or long_code else first


def _as_csv(spelled: pa.Array) -> bytes:
    """One column of text as a CSV again, to convert it as Arrow's CSV reader does."""
    stream = io.BytesIO()
    pa_csv.write_csv(
        pa.table({"x": spelled}), stream, pa_csv.WriteOptions(quoting_style="all_valid")
    )
    return stream.getvalue()


def _converts(block: bytes, type_: pa.DataType) -> bool:
    if type_ == pa.string():
        return True
    try:
        pa_csv.read_csv(
            io.BytesIO(block),
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(column_types={"x": type_}),
        )
    except pa.ArrowInvalid:
        return False
    return True


def _matches(spelled: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(spelled, pattern)).as_py())


# --- Is it a CSV? ------------------------------------------------------------------------------


def _checked_header(file: SourceFile) -> tuple[list[str], bool]:
    check_kind(file, "csv")
    if check_is_text(file, "csv") % 2:
        _check_quotes_close(file)
    header, has_rows = _read_header(file)
    check_names(file, header)
    return header, has_rows


def _check_quotes_close(file: SourceFile) -> None:
    """Refuse a file that ends inside a quoted field: Arrow would take the rows in it for text."""
    last: list[str] = []
    begins = ends = 0
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(chain(lines, ["the end"]))
        try:
            for row in reader:
                last, begins, ends = row, ends + 1, reader.line_num
        except csv.Error:  # a field beyond csv's limit of length: a quote that was left open early
            last, begins = [], ends + 1
    if last != ["the end"]:
        raise SourceError(f"{file}: a quote in the row that begins at line {begins} is not closed.")


def _read_header(file: SourceFile) -> tuple[list[str], bool]:
    """The names in the header, and whether any row follows it."""
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        try:
            header = next((row for row in reader if row), [])
        except csv.Error:
            raise SourceError(f"{file} is not a CSV file: its first line is too long.") from None
        has_rows = any(line.strip() or len(header) == 1 for line in lines)
    if not header:
        raise SourceError(f"{file} is empty; expected a header line with the columns' names.")
    if len(header) == 1 and any(separator in header[0] for separator in ";\t|"):
        raise SourceError(
            f"{file}: the header has no comma; columns have to be separated by commas."
        )
    return header, has_rows


# --- The rows ----------------------------------------------------------------------------------


def _stream_text(file: SourceFile, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows with every column as it is spelled; complain of ragged ones at the end."""
    ragged: list[tuple[int, int]] = []

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append((row.number - 1, row.actual_columns))
        return "skip"

    types = dict.fromkeys(header, pa.string())
    yield from _stream(file, len(header), note, column_types=types)
    if ragged:
        raise SourceError(_ragged_rows(file, len(header), ragged))


def _stream(
    file: SourceFile, width: int, on_ragged: Any = None, **conversion: Any
) -> Iterator[pa.RecordBatch]:
    try:
        yield from pa_csv.open_csv(
            file.path,
            # Rows are numbered only without threads.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                newlines_in_values=True,
                # In a table of one column, an empty line is a missing cell.
                ignore_empty_lines=width > 1,
                invalid_row_handler=on_ragged,
            ),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=False, **conversion),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{file} could not be read as CSV: a row is longer than {CSV_BLOCK_BYTES // 2**20} MB, "
            "as it happens when a quote is not closed."
        ) from error


def _ragged_rows(file: SourceFile, width: int, ragged: Sequence[tuple[int, int]]) -> str:
    (number, fields), *others = ragged
    message = (
        f"{file}: row {number} has {fields} "
        f"field{'s' if fields > 1 else ''} where the header has {width}"
    )
    if others:
        rows = [str(row) for row, _ in others[:SHOWN_ROWS]]
        rows += ["..."] if len(others) > SHOWN_ROWS else []
        message += f" (and {len(others)} more such rows: {', '.join(rows)})"
    return f"{message}. A field that holds a comma has to be in quotes."
