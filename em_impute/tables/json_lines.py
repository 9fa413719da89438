"""JSON lines as a table: one object a line, read and written in blocks.

The types of the columns are decided by all rows, as in a CSV: a first pass infers them block by
block and joins what it finds, a second one converts. Nested values become structs and lists.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.json as pa_json

from em_impute.tables.source_files import (
    SourceError,
    SourceFile,
    check_is_text,
    check_kind,
    check_names,
)

BLOCK_BYTES = 2**24


def infer(files: Sequence[SourceFile]) -> pa.Schema:
    """The columns of JSON lines that are one table; a row without one of them has it missing.

    Raises
    ------
    SourceError
        If a line is not an object in UTF-8, or a column holds values of kinds that do not join.
    """
    schema = pa.schema([])
    for file in files:
        check_kind(file, "jsonl")
        check_is_text(file, "jsonl")
        for first_line, block in _blocks(file):
            schema = _joined(schema, _parse(file, first_line, block).schema, file)
    check_names(files[0], schema.names)
    return schema


def read(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that `infer` has seen, its columns as in `schema`."""
    for first_line, block in _blocks(file):
        yield from _parse(file, first_line, block, schema).to_batches()


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


def _parse(
    file: SourceFile, first_line: int, block: bytes, schema: pa.Schema | None = None
) -> pa.Table:
    try:
        return pa_json.read_json(
            io.BytesIO(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(
                explicit_schema=schema,
                unexpected_field_behavior="ignore" if schema else "infer",
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(_complaint(file, first_line, block, str(error))) from None


def _complaint(file: SourceFile, first_line: int, block: bytes, said: str) -> str:
    """Say which line is wrong, and how. Arrow names columns and kinds, but lines only in part."""
    for number, line in enumerate(block.splitlines(), first_line):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f'{file}: line {number} is not a JSON object, such as {{"a": 1}}.'
        except ValueError:
            return f"{file}: line {number} is not JSON; expected one object a line."
    changed = re.search(r"Column\((.*?)\) changed from (\w+) to (\w+)", said)
    if changed:
        return _mixed(file, changed[1].lstrip("/"), f"a {changed[2]} and a {changed[3]}")
    return f"{file} could not be read as JSON lines; every key may stand once in an object."


def _mixed(file: SourceFile, column: str, kinds: str) -> str:
    return (
        f"{file}: column {column!r} holds {kinds} in different rows; a column has values of "
        "one kind."
    )


def _joined(schema: pa.Schema, other: pa.Schema, file: SourceFile) -> pa.Schema:
    for column in other:
        i = schema.get_field_index(column.name)
        if i < 0:
            schema = schema.append(column)
        elif schema.field(i).type != column.type:
            schema = schema.set(i, _joined_field(schema.field(i), column, file))
    return schema


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
