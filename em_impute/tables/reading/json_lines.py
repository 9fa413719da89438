"""JSON lines as a table: one object a line, read and written in blocks.

The types of the columns are decided by all rows, as in a CSV: a first pass infers them block by
block and joins what it finds, a second one converts. Nested values become structs and lists. Arrow
reads the lines, but where they say what Arrow would not keep: how a number is spelled, more digits
than floating point has, text among numbers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from json.encoder import encode_basestring
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from em_impute.tables.reading.digits import loses_digits
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.reading.kinds import check_is_text, check_kind, check_names
from em_impute.tables.reading.missing import NOTHING, Missing
from em_impute.tables.snapshot import SourceError
from em_impute.tables.spelling import csv_fields, spelling_of, with_spellings

BLOCK_BYTES = 2**24
INT64 = range(-(2**63), 2**63)
# Numbers of many digits, wherever they stand.
_LONG = re.compile(rb"-?\d[\d.]{15,}(?:[eE][+-]?\d+)?")


def infer(
    files: Sequence[SourceFile], missing: Missing = NOTHING
) -> tuple[pa.Schema, frozenset[str]]:
    """The columns of JSON lines that are one table; a row without one of them has it missing.

    Numbers that floating point would not keep, and those of a column that has texts, too, are read
    as text.

    Returns
    -------
    schema : Schema
    mixed : frozenset of str
        The columns that hold both numbers and texts.

    Raises
    ------
    SourceError
        If a line is not an object in UTF-8, or a column holds values of kinds that do not join.
    """
    schema, lossy, mixed = pa.schema([]), set[str](), set[str]()
    for file in files:
        check_kind(file, "jsonl")
        check_is_text(file, "jsonl")
        for first_line, block in _blocks(file):
            found, texts = _inferred(file, first_line, block, missing)
            schema = _joined(schema, found, file, mixed)
            mixed |= texts
            lossy |= _lossy(file, first_line, block)
    check_names(files[0], schema.names)
    as_text = mixed | {n for n in lossy if not pa.types.is_integer(schema.field(n).type)}
    fields = [f.with_type(pa.string()) if f.name in as_text else f for f in schema]
    return pa.schema(fields), frozenset(mixed)


def read(
    file: SourceFile,
    schema: pa.Schema,
    missing: Missing = NOTHING,
    target_format: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that `infer` has seen, its columns as in `schema`.

    Where they are read for a target of text, their spellings come with them.

    Parameters
    ----------
    file : SourceFile
    schema : Schema
        As `infer` returned it.
    missing : Missing
        The same as `infer` had.
    target_format : {"csv", "jsonl"}, optional
        The format of text that is to have the cells as they are spelled.
    """
    texts = frozenset(f.name for f in schema if f.type == pa.string())
    for first_line, block in _blocks(file):
        table = None if missing else _parsed(block, schema)
        if table is None:
            again = _again(_rows(file, first_line, block), missing, texts)
            table = _parse(file, first_line, again, schema)
        for batch in table.combine_chunks().to_batches():
            if target_format:
                rows = _rows(file, first_line, block)
                spellings = _spellings(rows, schema, target_format)
                yield with_spellings(batch, spellings)
            else:
                yield batch


def read_again(
    file: SourceFile, schema: pa.Schema, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that this program wrote: some columns, and all spellings.

    Parameters
    ----------
    file : SourceFile
    schema : Schema
        Of the columns whose values are wanted.
    names : sequence of str
        The columns whose spellings are wanted.
    """
    for first_line, block in _blocks(file):
        rows = _rows(file, first_line, block)
        columns = (
            [column.combine_chunks() for column in _parse(file, first_line, block, schema).columns]
            if schema.names
            else []
        )
        columns += [pa.array([_written(r.get(n)) for r in rows], pa.string()) for n in names]
        yield pa.RecordBatch.from_arrays(columns, [*schema.names, *map(spelling_of, names)])


# --- What Arrow does not keep ------------------------------------------------------------------


class _SpelledNumber(str):
    """A number as it is spelled."""

    __slots__ = ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


_AS_SPELLED: dict[str, Any] = dict.fromkeys(
    ("parse_float", "parse_int", "parse_constant"), _SpelledNumber
)
_NULL_LINE = re.compile(rb"^[ \t\r]*null", re.MULTILINE)
_DECODER = json.JSONDecoder(strict=False, **_AS_SPELLED)
_STRICT_DECODER = json.JSONDecoder(object_pairs_hook=_once, **_AS_SPELLED)


def _objects(block: bytes, decoder: json.JSONDecoder = _DECODER) -> list[dict[str, Any]]:
    """The objects of a block, with numbers as they are spelled."""
    lines = [line for line in block.decode().split("\n") if line.strip()]
    # As one array they are read twice as fast as one by one.
    rows: list[dict[str, Any]] = decoder.decode(f"[{','.join(lines)}]")
    if len(rows) != len(lines) or not all(type(row) is dict for row in rows):
        raise ValueError
    return rows


def _rows(file: SourceFile, first_line: int, block: bytes) -> list[dict[str, Any]]:
    """The objects of a block that Arrow has read."""
    try:
        return _objects(block)
    except (ValueError, RecursionError):
        raise SourceError(_complaint(file, first_line, block, "")) from None


def _written(value: Any) -> str:
    """A value as JSON, its numbers as they are spelled."""
    if isinstance(value, str):
        return str(value) if type(value) is _SpelledNumber else encode_basestring(value)
    if isinstance(value, dict):
        pairs = (f"{encode_basestring(key)}: {_written(one)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return {None: "null", True: "true", False: "false"}[value]


def _again(rows: Sequence[Mapping[str, Any]], missing: Missing, texts: Collection[str]) -> bytes:
    """The lines of a block as Arrow can read them.

    The columns of `texts` hold texts only, others null for what is missing by its spelling.
    """
    missing_texts = {name: frozenset(missing.named(name)) for row in rows for name in row}
    lines = []
    for row in rows:
        changed: dict[str, Any] = {}
        for name, value in row.items():
            if name in texts:
                is_text = value is None or (isinstance(value, str) and type(value) is str)
                changed[name] = value if is_text else _text_of(value)
            else:
                changed[name] = (
                    None if type(value) is str and value in missing_texts[name] else value
                )
        lines.append(_written(changed))
    return "\n".join(lines).encode()


def _text_of(value: Any) -> str:
    return str(value) if isinstance(value, str) else _written(value)


def _inferred(
    file: SourceFile, first_line: int, block: bytes, missing: Missing
) -> tuple[pa.Schema, set[str]]:
    """The schema of a block, and its columns that hold both numbers and texts."""
    table = None if missing else _parsed(block)
    if table is not None:
        return table.schema, set()
    with suppress(ValueError, RecursionError):  # which are reported below
        rows = _objects(block, _STRICT_DECODER)
        mixed = _mixed_columns(rows, missing)
        again = _again(rows, missing, mixed)
        return _parse(file, first_line, again, of=block).schema, mixed
    return _parse(file, first_line, block).schema, set()


def _mixed_columns(rows: Sequence[Mapping[str, Any]], missing: Missing) -> set[str]:
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if not (type(value) is str and value in missing.named(name)):
                kinds.setdefault(name, set()).add(type(value))
    return {name for name, found in kinds.items() if {_SpelledNumber, str} <= found <= _PLAIN_KINDS}


_PLAIN_KINDS = {_SpelledNumber, str, type(None)}


def _lossy(file: SourceFile, first_line: int, block: bytes) -> set[str]:
    """The columns that hold a number that neither an integer nor a float keeps."""
    long = pa.array({number.decode() for number in _LONG.findall(block)}, pa.string())
    if not pc.any(loses_digits(long)).as_py():
        return set()
    numbers: dict[str, list[str]] = {}
    for row in _rows(file, first_line, block):
        for name, value in row.items():
            numbers.setdefault(name, []).extend(_long_numbers(value))
    return {
        name
        for name, found in numbers.items()
        if found and any(loses_digits(pa.array(found, pa.string())).to_pylist())
    }


def _long_numbers(value: Any, nested: bool = False) -> Iterator[str]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _long_numbers(one, nested=True)
    elif isinstance(value, _SpelledNumber) and not (nested and _is_int64(value)):
        yield value


def _is_int64(number: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,19}", number)) and int(number) in INT64


def _spellings(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, target_format: str
) -> list[pa.Array]:
    """The cells of each column as the target's format writes them."""
    spellings = []
    for name in schema.names:
        cells = [row.get(name) for row in rows]
        if target_format == "csv":
            texts = [None if cell is None else _text_of(cell) for cell in cells]
            spellings.append(csv_fields(pa.array(texts, pa.string())))
        else:
            written = [cell if type(cell) is _SpelledNumber else _written(cell) for cell in cells]
            spellings.append(pa.array(written, pa.string()))
    return spellings


# --- Arrow -------------------------------------------------------------------------------------


def _blocks(file: SourceFile) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines of about 16 MB together, with the number of the first."""
    number = 1
    with file.path.open("rb") as lines:
        while block := lines.readlines(BLOCK_BYTES):
            text = b"".join(block)
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text.strip():
                yield number, text
            number += len(block)


def _parsed(block: bytes, schema: pa.Schema | None = None) -> pa.Table | None:
    """The table of a block; None if Arrow cannot read it."""
    with suppress(pa.ArrowInvalid):
        return _read_json(block, schema)
    return None


def _parse(
    file: SourceFile,
    first_line: int,
    block: bytes,
    schema: pa.Schema | None = None,
    of: bytes | None = None,
) -> pa.Table:
    try:
        return _read_json(block, schema)
    except pa.ArrowInvalid as error:
        raise SourceError(_complaint(file, first_line, of or block, str(error))) from None


def read_block(
    block: bytes, schema: pa.Schema | None = None, others: Literal["ignore", "infer"] = "infer"
) -> pa.Table:
    """Read whole lines, an object each.

    Parameters
    ----------
    block : bytes
    schema : Schema, optional
        Columns whose types are known.
    others : {"ignore", "infer"}
        What becomes of keys that it lacks.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a line is no object, or the lines do not go together.
    """
    # A null in the first line, instead of an object, takes Arrow's reader down, and the process.
    text = block.lstrip(b" \t\r\n")
    if text and not text.startswith(b"{"):
        raise pa.ArrowInvalid("The first line is no object.")
    table = pa_json.read_json(
        io.BytesIO(block),
        read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pa_json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=others
        ),
    )
    # Elsewhere it is a row without any cell.
    if all(column.null_count for column in table.columns) and _NULL_LINE.search(block):
        raise pa.ArrowInvalid("A line is no object.")
    return table


def _read_json(block: bytes, schema: pa.Schema | None) -> pa.Table:
    return read_block(block, schema, "ignore" if schema else "infer")


def _complaint(file: SourceFile, first_line: int, block: bytes, reason: str) -> str:
    """Say which line is wrong, and how. Arrow names columns and kinds, but lines only in part."""
    for number, line in enumerate(block.splitlines(), first_line):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f'{file}: line {number} is not a JSON object, such as {{"a": 1}}.'
        except (ValueError, RecursionError):
            return f"{file}: line {number} is not JSON; expected one object a line."
    changed = re.search(r"Column\((.*?)\) changed from (\w+) to (\w+)", reason)
    if changed:
        return _mixed(file, changed[1].lstrip("/"), f"a {changed[2]} and a {changed[3]}")
    return f"{file} could not be read as JSON lines; every key may stand once in an object."


def _mixed(file: SourceFile, column: str, kinds: str) -> str:
    return (
        f"{file}: column {column!r} holds {kinds} in different rows; a column has values of "
        "one kind."
    )


def _joined(schema: pa.Schema, other: pa.Schema, file: SourceFile, mixed: set[str]) -> pa.Schema:
    for column in other:
        i = schema.get_field_index(column.name)
        if i < 0:
            schema = schema.append(column)
        elif _is_mixed(schema.field(i).type, column.type):
            mixed.add(column.name)
            schema = schema.set(i, column.with_type(pa.string()))
        elif schema.field(i).type != column.type:
            schema = schema.set(i, _joined_field(schema.field(i), column, file))
    return schema


def _is_mixed(one: pa.DataType, other: pa.DataType) -> bool:
    types = (one, other)
    numbers = any(pa.types.is_integer(t) or pa.types.is_floating(t) for t in types)
    texts = any(pa.types.is_string(t) or pa.types.is_timestamp(t) for t in types)
    return numbers and texts


def _joined_field(one: pa.Field, other: pa.Field, file: SourceFile) -> pa.Field:
    as_text = [f.with_type(_as_text(f.type)) for f in (one, other)]
    for pair in ([one, other], as_text):
        try:
            joined = pa.unify_schemas([pa.schema([f]) for f in pair], promote_options="permissive")
            return joined.field(0)
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            continue
    raise SourceError(_mixed(file, one.name, f"{one.type} and {other.type}"))


def _as_text(type_: pa.DataType) -> pa.DataType:
    """The type with texts that looked like times as texts."""
    if pa.types.is_timestamp(type_):
        return pa.string()
    if pa.types.is_list(type_):
        return pa.list_(_as_text(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([f.with_type(_as_text(f.type)) for f in type_])
    return type_
