"""The files of a folder as one table, where their columns differ without loss.

Programs write what is one column to them as several types: a month without holes as integers, one
with holes as floats; text as `string` or `large_string`; times in microseconds or nanoseconds. Such
types are joined by Arrow's own promotion, as far as every cell survives it, and a note says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.tables.reading.files import SourceFile
from em_impute.tables.snapshot import SourceError

# Decimal digits of whole numbers, by their bits; Arrow asks for so many before it casts them.
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_UTC = ("UTC", "Etc/UTC", "+00:00", "Z", "GMT")
Schemas = Sequence[tuple[SourceFile, pa.Schema]]


@dataclass(frozen=True)
class Unified:
    """The schema of several files.

    Attributes
    ----------
    schema : Schema
        The columns in the order in which they come up.
    notes : tuple of str
        A sentence on each column in which the files differ.
    """

    schema: pa.Schema
    notes: tuple[str, ...] = ()


def unify(found: Schemas) -> Unified:
    """Find the schema that holds the columns of all files.

    A file may lack columns that others have; a column may be all null in some, and be nullable in
    only some.

    Raises
    ------
    SourceError
        If a file both lacks a column and has another one, as it does where a column was renamed;
        or if no type holds what two files have in a column.
    """
    first, schema = found[0]
    for file, other in found[1:]:
        _check_is_no_renaming(file, other, first, schema)
        schema = _joined(schema, other, file, first)
    for i, column in enumerate(schema):
        if not all(column.name in other.names for _, other in found):
            schema = schema.set(i, column.with_nullable(True))
    changed = [c.name for c in schema if c.name in found[0][1].names and _has_changed(c, found)]
    metadata = _without_types_in_pandas(found[0][1].metadata, changed)
    return Unified(schema.with_metadata(metadata), tuple(_notes(schema, found)))


def as_type(cells: pa.Array, column: pa.Field, file: SourceFile, rows_before: int) -> pa.Array:
    """Cells of a file in the type that its column has in all files together.

    Parameters
    ----------
    cells : Array
    column : Field
        As all files together have it.
    file : SourceFile
    rows_before : int
        Rows of the file before these cells.

    Raises
    ------
    SourceError
        Naming the first row with a cell that would change.
    """
    if cells.type == column.type:
        return cells
    if _is_empty(cells.type):
        return pa.nulls(len(cells), column.type)
    if (cast := _cast(cells, column.type)) is not None:
        return cast
    row = rows_before + _first_that_is_lost(cells, column.type) + 1
    raise SourceError(
        f"{file}: column {column.name!r} is of type {cells.type} here and becomes {column.type} "
        f"with the other files, in which the cell in row {row} would not be the same. Write the "
        "files with one type."
    )


def _cast(cells: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """The cells in another type; None if that does not hold them."""
    if _may_be_empty(cells.type, type_):
        empty = pc.all(pc.is_null(cells, nan_is_null=True)).as_py()
        return pa.nulls(len(cells), type_) if empty else None
    try:
        if pa.types.is_dictionary(cells.type) and not pa.types.is_dictionary(type_):
            cells = cells.dictionary_decode()
        return cells.cast(type_)
    except pa.ArrowException:
        return None


def _first_that_is_lost(cells: pa.Array, type_: pa.DataType) -> int:
    first, length = 0, len(cells)
    while length > 1:
        half = length // 2
        if _cast(cells.slice(first, half), type_) is None:
            length = half
        else:
            first, length = first + half, length - half
    return first


# --- Which columns -----------------------------------------------------------------------------


def _check_is_no_renaming(
    file: SourceFile, other: pa.Schema, first: SourceFile, schema: pa.Schema
) -> None:
    lacking = [name for name in schema.names if name not in other.names]
    further = [name for name in other.names if name not in schema.names]
    if lacking and further:
        raise SourceError(
            f"{file} has no column {lacking[0]!r}, which {first} or a file after it has, but a "
            f"column {further[0]!r}, which none of these has. A file may have more columns than "
            "others, or fewer, but not both: rename the column if it is one and the same."
        )


def _joined(schema: pa.Schema, other: pa.Schema, file: SourceFile, first: SourceFile) -> pa.Schema:
    for column in other:
        i = schema.get_field_index(column.name)
        if i < 0:
            schema = schema.append(column)
            continue
        known = schema.field(i)
        type_ = _joined_type(known.type, column.type)
        if type_ is None:
            raise SourceError(
                f"{file}: column {column.name!r} is of type {column.type}, but of type "
                f"{known.type} in {first} or a file after it, and no type holds both; all files "
                "need types that can be joined without loss."
            )
        nullable = known.nullable or column.nullable
        schema = schema.set(i, known.with_type(type_).with_nullable(nullable))
    return schema


def _has_changed(column: pa.Field, found: Schemas) -> bool:
    return bool(found[0][1].field(column.name).type != column.type)


def _without_types_in_pandas(
    metadata: Mapping[bytes, bytes] | None, columns: Sequence[str]
) -> dict[bytes, bytes] | None:
    """Have pandas not make of columns again what they were in the first file."""
    kept = dict(metadata or {})
    if columns and b"pandas" in kept:
        try:
            frame = json.loads(kept[b"pandas"])
            frame["columns"] = [c for c in frame["columns"] if c["field_name"] not in columns]
            kept[b"pandas"] = json.dumps(frame).encode()
        except (ValueError, LookupError, TypeError, RecursionError):  # not what pandas writes
            del kept[b"pandas"]
    return kept or None


# --- Which type --------------------------------------------------------------------------------


def _joined_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the cells of both, perhaps not all of them; None if there is none."""
    if one == other or _is_empty(other):
        return one
    if _is_empty(one):
        return other
    if _may_be_empty(one, other):
        return other
    if _may_be_empty(other, one):
        return one
    one, other = _comparable(one, other), _comparable(other, one)
    try:
        fields = [pa.schema([("", type_)]) for type_ in (one, other)]
        joined = pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    if pa.types.is_floating(joined) and one != joined != other:
        joined = pa.float64()
    return joined if _may_become(one, joined) and _may_become(other, joined) else None


def _is_empty(type_: pa.DataType) -> bool:
    """Whether a column of this type holds nulls only, as a categorical of pandas may."""
    return bool(
        pa.types.is_null(type_)
        or (pa.types.is_dictionary(type_) and pa.types.is_null(type_.value_type))
    )


def _may_be_empty(type_: pa.DataType, other: pa.DataType) -> bool:
    """Whether all that a column can share with another is that its cells are missing.

    pandas makes floats, all of them NaN, of a column that is empty in a file.
    """
    is_type = pa.types
    number = is_type.is_floating(other) or is_type.is_integer(other)
    return bool(is_type.is_floating(type_) and not number)


def _comparable(type_: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type as Arrow joins it with another: text that is not coded, and is no view."""
    if pa.types.is_dictionary(type_) and not pa.types.is_dictionary(other) and not type_.ordered:
        type_ = type_.value_type
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    if pa.types.is_timestamp(type_) and type_.tz in _UTC:
        return pa.timestamp(type_.unit, "UTC")
    if pa.types.is_floating(other) and pa.types.is_integer(type_):
        return pa.float64()
    if pa.types.is_decimal(other) and pa.types.is_integer(type_):
        return pa.decimal128(_DIGITS[type_.bit_width], 0)
    return type_


def _may_become(type_: pa.DataType, joined: pa.DataType) -> bool:
    """Whether cells of a type are the same in the other; of numbers and times each is looked at."""
    is_type = pa.types
    if type_ == joined or is_type.is_null(type_):
        return True
    if is_type.is_dictionary(type_) and is_type.is_dictionary(joined):
        same_order = type_.ordered == joined.ordered
        return same_order and _may_become(type_.value_type, joined.value_type)
    if is_type.is_struct(type_) and is_type.is_struct(joined):
        return all(_may_become(f.type, joined.field(f.name).type) for f in type_)
    if _is_list(type_) and _is_list(joined):
        return _may_become(type_.value_type, joined.value_type)
    if is_type.is_timestamp(type_) and is_type.is_timestamp(joined):
        return bool(type_.tz == joined.tz)
    if is_type.is_integer(type_):
        return _is_exact(joined) or joined == pa.float64()
    if is_type.is_decimal(type_):
        return bool(is_type.is_decimal(joined))
    return any(kind(type_) and kind(joined) for kind in _KINDS)


def _is_exact(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_decimal(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


_KINDS = (
    pa.types.is_floating,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_duration,
    _is_text,
    _is_bytes,
)


# --- Notes --------------------------------------------------------------------------------------


def _notes(schema: pa.Schema, found: Schemas) -> list[str]:
    notes = []
    for column in schema:
        types: dict[pa.DataType, list[SourceFile]] = {}
        lacking = [file for file, other in found if column.name not in other.names]
        for file, other in found:
            if column.name in other.names:
                types.setdefault(other.field(column.name).type, []).append(file)
        if len(types) > 1:
            listed = ", ".join(f"{type_} in {_some(files)}" for type_, files in types.items())
            notes.append(f"Column {column.name!r} is {listed}: read as {column.type}.")
        if lacking:
            notes.append(
                f"Column {column.name!r} is not in {_some(lacking)}: its cells are missing there."
            )
    return notes


def _some(files: Sequence[SourceFile]) -> str:
    return f"{files[0]} and {len(files) - 1} more" if files[1:] else str(files[0])
