"""What a snapshot keeps beside its columns: how cells are spelled, and texts for missing ones.

A number may be spelled in many ways, and a table of text that is filled is to differ from its
source in the holes only. So where both are text, each column of a snapshot has a second one with
its cells as the target's format writes them. Whoever asks a snapshot for its columns does not see
these; the filled cells are put into both. A text that stands for a missing category is kept, too,
and written again where the column is not filled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# No name in a header holds it.
_MARK, _BLANK = "\x1fspelled ", "\x1fblank "
TEXT = pa.string()
# So many rows are put together at a time.
_SLICE_ROWS = 2**14
_JSON_NUMBER = r"^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$"


def spelling_of(name: str) -> str:
    """The name of the column with a column's spellings."""
    return _MARK + name


def blanks_of(name: str) -> str:
    """The name of the column with the texts that stand for the missing cells of a column."""
    return _BLANK + name


def column_of(name: str) -> str:
    """The name of the column that a column of a snapshot is about: its own, or of one beside it."""
    return name.removeprefix(_MARK).removeprefix(_BLANK)


def is_spelled(schema: pa.Schema) -> bool:
    """Whether a table has spellings."""
    return any(name.startswith(_MARK) for name in schema.names)


def plain(schema: pa.Schema) -> pa.Schema:
    """The columns themselves, without what stands beside them."""
    columns = [field for field in schema if not field.name.startswith((_MARK, _BLANK))]
    return pa.schema(columns, schema.metadata)


def spelled(schema: pa.Schema) -> pa.Schema:
    """The columns, followed by those with their spellings."""
    return pa.schema([*schema, *((spelling_of(name), TEXT) for name in schema.names)])


def with_spellings(batch: pa.RecordBatch, spellings: Sequence[pa.Array]) -> pa.RecordBatch:
    """The batch with the spellings of its columns behind them."""
    return pa.RecordBatch.from_arrays([*batch.columns, *spellings], schema=spelled(batch.schema))


def as_read(batch: pa.RecordBatch, filled: Collection[str] = ()) -> pa.RecordBatch:
    """The batch as the source has it: with the texts that stand for missing cells.

    Parameters
    ----------
    batch : RecordBatch
        From `read_spelled`.
    filled : collection of str
        Columns in which missing cells stay null.
    """
    rows = batch.select([name for name in batch.schema.names if not name.startswith(_BLANK)])
    for name in rows.schema.names:
        beside = batch.schema.get_field_index(blanks_of(name))
        if beside >= 0 and name not in filled:
            at = rows.schema.get_field_index(name)
            field, texts = rows.schema.field(at), rows.column(at).cast(pa.large_string())
            whole = pc.coalesce(texts, batch.column(beside).cast(pa.large_string()))
            rows = rows.set_column(at, field, whole.cast(field.type))
    return rows


def observed_spellings(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """The batch with nulls for the spellings of the cells that some columns lack."""
    for name in columns:
        at = batch.schema.get_field_index(spelling_of(name))
        missing = pc.is_null(batch.column(name), nan_is_null=True)
        shown = pc.if_else(missing, pa.scalar(None, TEXT), batch.column(at))
        batch = batch.set_column(at, batch.schema.field(at), shown)
    return batch


def respelled(
    spellings: pa.Array, cells: pa.Array, rows: NDArray[np.int64], file_format: str
) -> pa.Array:
    """The spellings of a column of which some rows have been filled.

    Parameters
    ----------
    spellings : Array
    cells : Array
        The column with its filled cells.
    rows : ndarray of int
        Rows of the filled cells, from 0.
    file_format : {"csv", "jsonl"}
    """
    filled = np.zeros(len(cells), dtype=bool)
    filled[rows] = True
    return pc.replace_with_mask(
        spellings, pa.array(filled), render(cells.take(pa.array(rows)), file_format)
    )


# --- As CSV writes it --------------------------------------------------------------------------


def csv_fields(texts: pa.Array) -> pa.Array:
    """Texts as fields of a CSV: in quotes where need be, nothing where null."""
    fields = pc.if_else(pc.equal(texts, ""), '""', texts)
    if _holds_any(texts, b'",\r\n'):
        special = pc.match_substring_regex(texts, r'[",\r\n]')
        doubled = pc.replace_substring(texts, '"', '""')
        fields = pc.if_else(special, _joined('"', doubled, '"').cast(TEXT), fields)
    return fields.fill_null("")


def _holds_any(texts: pa.Array, characters: bytes) -> bool:
    """Whether one of the characters is anywhere, by a look at the bytes of all texts at once."""
    data = texts.buffers()[2]
    held = memoryview(data).tobytes() if data else b""
    return any(character in held for character in map(bytes, zip(characters, strict=True)))


# --- As JSON writes it -------------------------------------------------------------------------


def json_values(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Texts of a CSV as the values of JSON that a column of this type has.

    Numbers that are none in JSON (``+5``, ``.5``) are written as Python writes them.
    """
    if pa.types.is_string(type_):
        return _strings(texts.fill_null(""))
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        number = pc.match_substring_regex(texts, _JSON_NUMBER)
        return pc.if_else(number, texts, None)
    return _strings(texts) if pa.types.is_temporal(type_) else pa.nulls(len(texts), TEXT)


def _strings(texts: pa.Array) -> pa.Array:
    written = [None if t is None else json.dumps(t, ensure_ascii=False) for t in texts.to_pylist()]
    return pa.array(written, TEXT)


# --- Rendered ----------------------------------------------------------------------------------


def render(cells: pa.Array, file_format: str) -> pa.Array:
    """Cells that have no spelling of their own, as a format writes them; nothing for a hole."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if file_format == "csv":
        return csv_fields(cells.cast(TEXT))
    written = [json.dumps(cell, ensure_ascii=False) for cell in cells.to_pylist()]
    return pa.array(written, TEXT)


def write_rows(file: BinaryIO, batch: pa.RecordBatch, file_format: str) -> None:
    """Write the rows of a batch as their spellings say.

    Parameters
    ----------
    file : file opened in binary mode
    batch : RecordBatch
        With spellings.
    file_format : {"csv", "jsonl"}
    """
    names = plain(batch.schema).names
    for start in range(0, batch.num_rows, _SLICE_ROWS):
        part = batch.slice(start, _SLICE_ROWS)
        cells = [part.column(spelling_of(name)).cast(pa.large_string()) for name in names]
        rows = _csv_rows(cells) if file_format == "csv" else _json_rows(names, cells)
        file.write(_bytes_of(rows))


def header(names: Sequence[str]) -> bytes:
    """The first line of a CSV."""
    return ",".join(csv_fields(pa.array(names, TEXT)).to_pylist()).encode() + b"\n"


def _csv_rows(fields: Sequence[pa.Array]) -> pa.Array:
    return _joined(pc.binary_join_element_wise(*fields, _large(",")), "\n")


def _json_rows(names: Sequence[str], values: Sequence[pa.Array]) -> pa.Array:
    quoted = [json.dumps(name, ensure_ascii=False) for name in names]
    keys = [f"{', ' if i else '{'}{name}: " for i, name in enumerate(quoted)]
    pairs = [part for key, value in zip(keys, values, strict=True) for part in (key, value)]
    return _joined(*pairs, "}\n")


def _joined(*parts: pa.Array | str) -> pa.Array:
    large = [_large(p) if isinstance(p, str) else p.cast(pa.large_string()) for p in parts]
    return pc.binary_join_element_wise(*large, _large(""))


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _bytes_of(rows: pa.Array) -> memoryview:
    """The bytes of texts, which stand one after the other."""
    offsets = np.frombuffer(rows.buffers()[1], np.int64)
    return memoryview(rows.buffers()[2])[offsets[rows.offset] : offsets[rows.offset + len(rows)]]
