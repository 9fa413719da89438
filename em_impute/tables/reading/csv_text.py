"""CSV files as a table: what each column is, decided by all its cells, and the rows, streamed.

The type of a column may be decided by its last cell. So a first pass reads every column as text, in
blocks, and crosses off the types that a block does not convert to; a second pass converts. Neither
holds more than a block. Arrow's own messages quote values, so they are not passed on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from em_impute.job import CsvOptions
from em_impute.tables.reading.csv_dialects import proposal
from em_impute.tables.reading.digits import CODE, LONG_CODE, is_number, loses_digits
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.reading.kinds import check_is_text, check_kind, check_names, check_same_names
from em_impute.tables.reading.missing import NOTHING, Missing
from em_impute.tables.snapshot import SourceError
from em_impute.tables.spelling import (
    csv_fields,
    json_values,
    respelled,
    spelling_of,
    with_spellings,
)

CSV_BLOCK_BYTES = 2**24
SHOWN_ROWS = 10

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
# A time of day with the distance of its place from Greenwich, which no type keeps.
OFFSET = r":\d{2}(?:\.\d+)?\s*[+-](?:0[1-9]|1\d|00:?[1-5]|00:?0[1-9])"


@dataclass(frozen=True)
class Reading:
    """How CSV files are read, and what for.

    Attributes
    ----------
    options : CsvOptions
    missing : Missing
    target_format : {"csv", "jsonl"} or None
        The format of text that is to have the cells as they are spelled; None if there is none.
    moments : tuple of str or None
        Columns whose times count as moments only, so that their offsets need not be kept; None for
        all.
    """

    options: CsvOptions = field(default_factory=CsvOptions)
    missing: Missing = NOTHING
    target_format: str | None = None
    moments: tuple[str, ...] | None = ()

    @property
    def _is_plain(self) -> bool:
        return self.options.decimal == "." and self.options.thousands is None

    def as_numbers(self, texts: pa.Array) -> pa.Array:
        """Texts, of which those that are numbers are written with a point and no separators."""
        decimal, thousands = self.options.decimal, self.options.thousands
        if thousands is not None:
            end = rf"(?:\{decimal}\d*)?\s*$"
            grouped = pc.match_substring_regex(
                texts, rf"^\s*[+-]?\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+{end}"
            )
            texts = pc.if_else(grouped, pc.replace_substring(texts, thousands, ""), texts)
        if decimal == ",":
            # What has a point, which is no number here, has a comma then.
            for old, new in ((".", "\0"), (",", "."), ("\0", ",")):
                texts = pc.replace_substring(texts, old, new)
        return texts

    def converted(self, texts: pa.Array, name: str, type_: pa.DataType) -> pa.Array | None:
        """The cells of a column as a type; None if some are not of it.

        Parameters
        ----------
        texts : Array
        name : str
            Of the column.
        type_ : DataType
        """
        if type_ == pa.string():
            return texts.fill_null("")
        if not self._is_plain and is_number_type(type_):
            texts = self.as_numbers(texts)
        return _convert(_as_csv(texts), type_, self.missing.spellings(name, type_))

    def spelled(self, texts: pa.Array, cells: pa.Array) -> pa.Array:
        """The texts of a column as the target's format writes them."""
        if not self._is_plain and is_number_type(cells.type):
            texts = self.as_numbers(texts)
        if self.target_format == "csv":
            return csv_fields(texts)
        values = pc.if_else(cells.is_null(), "null", json_values(texts, cells.type))
        others = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
        return respelled(values, cells, others, "jsonl")


PLAIN = Reading()


def infer(files: Sequence[SourceFile], reading: Reading = PLAIN) -> pa.Schema:
    """The columns of CSV files that are one table, in the order of the first file's header.

    Raises
    ------
    SourceError
        If a file is no CSV in UTF-8, has rows of other lengths than its header, or other columns
        than the first file.
    """
    columns: dict[str, _Column] = {}
    for file in files:
        with _proposing(file, reading.options):
            header, has_rows = _checked_header(file, reading.options)
            columns = columns or {name: _Column(name, reading) for name in header}
            check_same_names(file, header, files[0], list(columns))
            for batch in _stream_inferred(file, header, reading.options) if has_rows else ():
                for name, column in columns.items():
                    column.add(batch.column(name))
    return pa.schema([(name, column.type) for name, column in columns.items()])


def read(file: SourceFile, schema: pa.Schema, reading: Reading = PLAIN) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that `infer` has seen, its columns as in `schema`.

    Where they are read for a target of text, their spellings come with them.

    Parameters
    ----------
    file : SourceFile
    schema : Schema
        As `infer` returned it.
    reading : Reading
        The same as `infer` had.
    """
    header, has_rows = _read_header(file, reading.options)
    for batch in _stream(file, header, reading.options) if has_rows else ():
        texts = [batch.column(name) for name in schema.names]
        cells = [
            reading.converted(column, f.name, f.type)
            for column, f in zip(texts, schema, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(cells, schema=schema)
        if reading.target_format:
            rows = with_spellings(rows, list(map(reading.spelled, texts, cells)))
        yield rows


def read_again(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that this program wrote: some columns, and all spellings.

    Raises
    ------
    ValueError
        If a column is not of the type that `schema` has for it.
    """
    header, has_rows = _read_header(file, PLAIN.options)
    for batch in _stream(file, header, PLAIN.options) if has_rows else ():
        cells = [PLAIN.converted(batch.column(f.name), f.name, f.type) for f in schema]
        if any(column is None for column in cells):
            raise ValueError
        names = [*schema.names, *map(spelling_of, header)]
        yield pa.RecordBatch.from_arrays([*cells, *map(csv_fields, batch.columns)], names)


@dataclass
class _Column:
    """What a column may still be, after the blocks that were seen."""

    name: str
    reading: Reading
    candidates: tuple[pa.DataType, ...] = CANDIDATES
    has_code: bool = False
    has_long_code: bool = False
    has_offset: bool = False

    def add(self, texts: pa.Array) -> None:
        if self.candidates == (pa.string(),):
            return
        self.candidates = tuple(
            t for t in self.candidates if self.reading.converted(texts, self.name, t) is not None
        )
        if any(map(is_number_type, self.candidates)):
            numbers = self.reading.as_numbers(texts)
            self.has_code = self.has_code or _matches(numbers, CODE)
            self.has_long_code = (
                self.has_long_code
                or _matches(numbers, LONG_CODE)
                or bool(pc.any(loses_digits(numbers)).as_py())
            )
        if any(map(pa.types.is_timestamp, self.candidates)):
            self.has_offset = self.has_offset or _matches(texts, OFFSET)

    @property
    def type(self) -> pa.DataType:
        """The first type that all cells convert to; text if it would not keep what they say."""
        first = self.candidates[0]
        code = is_number_type(first) and self.has_code
        long_code = first == pa.float64() and self.has_long_code
        offset = pa.types.is_timestamp(first) and self._offset_counts and self.has_offset
        return pa.string() if code or long_code or offset else first

    @property
    def _offset_counts(self) -> bool:
        moments = self.reading.moments
        return moments is not None and self.name not in moments


def are_numbers(names: Sequence[str]) -> bool:
    """Whether all names of columns are numbers, as where the header is missing."""
    return bool(pc.all(is_number(pa.array(names, pa.string()))).as_py())


def is_number_type(type_: pa.DataType) -> bool:
    """Whether it is one of the types that a column of numbers may have."""
    return type_ in (pa.int64(), pa.float64())


def _as_csv(texts: pa.Array) -> bytes:
    """One column of text as a CSV again, to convert it as Arrow's CSV reader does."""
    stream = io.BytesIO()
    pa_csv.write_csv(pa.table({"x": texts}), stream, pa_csv.WriteOptions(quoting_style="all_valid"))
    return stream.getvalue()


def _convert(block: bytes, type_: pa.DataType, missing: Sequence[str]) -> pa.Array | None:
    try:
        table = pa_csv.read_csv(
            io.BytesIO(block),
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                column_types={"x": type_}, null_values=list(missing)
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table.column("x").combine_chunks()


def _matches(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


# --- Is it a CSV? ------------------------------------------------------------------------------


@contextmanager
def _proposing(file: SourceFile, options: CsvOptions) -> Iterator[None]:
    """Add to what is wrong with a file how it may be written."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{error}{proposal(file, options)}") from None


def _checked_header(file: SourceFile, options: CsvOptions) -> tuple[list[str], bool]:
    check_kind(file, "csv")
    quotes = check_is_text(file, "csv", (options.quote or "").encode())
    if quotes % 2:
        _check_quotes_close(file, options)
    header, has_rows = _read_header(file, options)
    if len(header) == 1 and any(other in header[0] for other in ",;\t|"):
        raise SourceError(
            f"{file}: the header has no {_named(options.delimiter)}; columns have to be separated "
            f"by {_named(options.delimiter)}s, or by what source.csv.delimiter says."
        )
    try:
        check_names(file, header)
    except SourceError as error:
        raise SourceError(f"{error}{_of_pandas(header)}") from None
    return header, has_rows


def _named(character: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}.get(character, repr(character))


def _of_pandas(header: Sequence[str]) -> str:
    """A sentence on an index that pandas has written without a name."""
    if not header or header[0].strip() or not all(name.strip() for name in header[1:]):
        return ""
    return (
        " The first column may be an index of pandas: write the file with `index=False`, or name "
        "all columns in the job, with `csv: {skip_rows: 1, header: [row, ...]}`."
    )


def _check_quotes_close(file: SourceFile, options: CsvOptions) -> None:
    """Refuse a file that ends inside a quoted field: Arrow would take the rows in it for text."""
    last: list[str] = []
    begins = ends = 0
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        reader = _reader(chain(lines, ["the end"]), options)
        try:
            for row in reader:
                last, begins, ends = row, ends + 1, reader.line_num
        except csv.Error:  # a field beyond csv's limit of length: a quote that was left open early
            last, begins = [], ends + 1
    if last != ["the end"]:
        raise SourceError(f"{file}: a quote in the row that begins at line {begins} is not closed.")


def _reader(lines: Iterable[str], options: CsvOptions) -> Any:
    if options.quote is None:
        return csv.reader(lines, delimiter=options.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=options.delimiter, quotechar=options.quote)


def _read_header(file: SourceFile, options: CsvOptions) -> tuple[list[str], bool]:
    """The names of the columns, and whether there is any row."""
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            first: list[str] = next((row for row in _reader(lines, options) if row), [])
        except csv.Error:
            raise SourceError(f"{file} is not a CSV file: its first line is too long.") from None
        has_rows = any(line.strip() or len(first) == 1 for line in lines)
    if not first:
        raise SourceError(f"{file} is empty; expected a header line with the columns' names.")
    if options.header is True:
        return first, has_rows
    if options.header is False:
        return [f"column_{i}" for i in range(1, len(first) + 1)], True
    return list(options.header), True


# --- The rows ----------------------------------------------------------------------------------


def _stream_inferred(
    file: SourceFile, header: Sequence[str], options: CsvOptions
) -> Iterator[pa.RecordBatch]:
    """Yield the rows with every column as it is spelled; complain of ragged ones at the end."""
    ragged: list[tuple[int, int]] = []
    above = 1 + _empty_lines_before(file) if options.header is True else 0

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append((row.number - above, row.actual_columns))
        return "skip"

    yield from _stream(file, header, options, note)
    if ragged:
        hint = _of_carriage_returns(file, options)
        raise SourceError(f"{_ragged_rows(file, len(header), ragged)}{hint}")


def _stream(
    file: SourceFile, header: Sequence[str], options: CsvOptions, on_ragged: Any = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows as texts; null is a field of no character, not even quotes."""
    try:
        yield from pa_csv.open_csv(
            file.path,
            # Rows are numbered only without threads.
            read_options=pa_csv.ReadOptions(
                use_threads=False,
                block_size=CSV_BLOCK_BYTES,
                column_names=None if options.header is True else list(header),
                skip_rows=_empty_lines_before(file) if options.header is True else 0,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote or False,
                newlines_in_values=True,
                # In a table of one column, an empty line is a missing cell.
                ignore_empty_lines=len(header) > 1,
                invalid_row_handler=on_ragged,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{file} could not be read as CSV: a row is longer than {CSV_BLOCK_BYTES // 2**20} MB, "
            "as it happens when a quote is not closed."
        ) from error


def _empty_lines_before(file: SourceFile) -> int:
    """The empty lines above the header, of which Arrow takes the first for a header of its own."""
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        return sum(1 for _ in takewhile(lambda line: not line.rstrip("\r\n"), lines))


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


def _of_carriage_returns(file: SourceFile, options: CsvOptions) -> str:
    """A sentence on a carriage return that ends a row beside line feeds; empty if there is none."""
    quote = (options.quote or "\0").encode()  # no text has a NUL
    quote_or_return, quoted = re.compile(re.escape(quote) + rb"|\r(?=[^\n])"), False
    with file.path.open("rb") as lines:
        first = next(lines)
        if not first.endswith(b"\n"):
            return ""  # carriage returns end all of its rows
        for found in chain.from_iterable(map(quote_or_return.finditer, chain([first], lines))):
            if found[0] == quote:
                quoted = not quoted
            elif not quoted:
                return (
                    " The file also has a carriage return without a line feed, which ends a row: "
                    "put the field that holds it in quotes, or take it out."
                )
    return ""
