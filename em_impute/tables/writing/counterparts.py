"""Arrow's types in texts, databases and lakehouses: one table of what stands for which.

Each holds every value of the type exactly. Parquet, Feather and DuckDB need none: they hold Arrow's
own types, or refuse them themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import types


def counterpart(type_: pa.DataType, kind: str) -> pa.DataType | None:
    """The type that stands for one of Arrow's; None if none does.

    `kind` is "csv", "jsonl", "postgresql", "sqlite", "delta" or "iceberg".
    """
    if types.is_dictionary(type_):
        return counterpart(type_.value_type, kind)
    for row in _TABLE:
        if row.is_such(type_):
            found = getattr(row, kind)
            return found(type_) if callable(found) else found
    return type_ if kind == "postgresql" else None  # among them UUIDs


class _Row(NamedTuple):
    """A type for each kind, None, or a function that makes it from Arrow's."""

    is_such: Callable[[pa.DataType], bool]
    csv: Any
    jsonl: Any
    postgresql: Any
    sqlite: Any
    delta: Any
    iceberg: Any


def _same(type_: pa.DataType) -> pa.DataType:
    return type_


def _narrow(type_: pa.DataType) -> pa.DataType | None:
    return pa.decimal128(type_.precision, type_.scale) if type_.precision <= 38 else None


def _narrow_text(type_: pa.DataType) -> pa.DataType | None:
    return _TEXT if type_.precision <= 38 else None


def _utc(type_: pa.DataType) -> pa.DataType:
    return pa.timestamp(type_.unit, "UTC") if type_.tz else type_


def _micros(type_: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", type_.tz) if type_.unit == "ns" else type_


def _list(type_: pa.DataType) -> pa.DataType | None:
    return type_ if counterpart(type_.value_type, "jsonl") == type_.value_type else None


def _struct(type_: pa.DataType) -> pa.DataType | None:
    return type_ if all(counterpart(f.type, "jsonl") == f.type for f in type_) else None


def _array(type_: pa.DataType) -> pa.DataType | None:
    item = counterpart(type_.value_type, "postgresql")
    return None if item is None else pa.list_(item)


def _signed(type_: pa.DataType) -> pa.DataType:
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
    return wider.get(type_, type_)


def _moment(type_: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC" if type_.tz else None)


def _listed(type_: pa.DataType) -> pa.DataType | None:
    return type_ if counterpart(type_.value_type, "delta") == type_.value_type else None


def _fields(type_: pa.DataType) -> pa.DataType | None:
    return type_ if all(counterpart(f.type, "delta") == f.type for f in type_) else None


def _whole(type_: pa.DataType) -> pa.DataType:
    """Iceberg's whole numbers have a sign, and 32 or 64 bits."""
    bits = type_.bit_width if types.is_signed_integer(type_) else 2 * type_.bit_width
    return pa.int32() if bits <= 32 else pa.int64()


def _elements(type_: pa.DataType) -> pa.DataType | None:
    item = counterpart(type_.value_type, "iceberg")
    return None if item is None else pa.list_(item)


def _members(type_: pa.DataType) -> pa.DataType | None:
    found = [(field.name, counterpart(field.type, "iceberg")) for field in type_]
    return pa.struct(found) if all(member for _, member in found) else None


_TEXT, _INT, _FLOAT, _BYTES = pa.string(), pa.int64(), pa.float64(), pa.binary()
_SINGLE, _WIDE, _DATE = pa.float32(), pa.decimal128(20, 0), pa.date32()
_TIME, _SPAN = pa.time64("us"), pa.duration("us")
# The first row that is true of a type counts. Of a time of day Arrow reads none in JSON.
_TABLE = (
    # Arrow                        CSV      JSON lines    Postgres SQLite  Delta    Iceberg
    _Row(types.is_null,            _same,   _same,        _same,   _same,  _TEXT,   _TEXT),
    _Row(types.is_boolean,         _same,   _same,        _same,   _INT,   _same,   _same),
    _Row(types.is_uint64,          _same,   _same,        _WIDE,   _INT,   _WIDE,   _WIDE),
    _Row(types.is_integer,         _same,   _same,        _same,   _INT,   _signed, _whole),
    _Row(types.is_float16,         _SINGLE, _SINGLE,      _same,   _FLOAT, _SINGLE, _SINGLE),
    _Row(types.is_floating,        _same,   _same,        _same,   _FLOAT, _same,   _same),
    _Row(types.is_decimal,         _narrow, _narrow_text, _same,   _TEXT,  _narrow, _narrow),
    _Row(types.is_string,          _same,   _same,        _same,   _TEXT,  _same,   _same),
    _Row(types.is_large_string,    _same,   _TEXT,        _same,   _TEXT,  _TEXT,   _TEXT),
    _Row(types.is_string_view,     _TEXT,   _TEXT,        _same,   _TEXT,  _TEXT,   _TEXT),
    _Row(types.is_binary,          None,    None,         _same,   _BYTES, _same,   _same),
    _Row(types.is_large_binary,    None,    None,         _same,   _BYTES, _BYTES,  _BYTES),
    _Row(types.is_date32,          _same,   _TEXT,        _same,   _TEXT,  _same,   _same),
    _Row(types.is_date64,          _same,   _TEXT,        _DATE,   _TEXT,  _DATE,   _DATE),
    _Row(types.is_time32,          _same,   None,         _same,   _TEXT,  None,    _TIME),
    _Row(types.is_time64,          _same,   None,         _TIME,   _TEXT,  None,    _TIME),
    _Row(types.is_timestamp,       _utc,    _TEXT,        _micros, _TEXT,  _moment, _moment),
    _Row(types.is_duration,        _same,   _INT,         _SPAN,   None,   None,    None),
    _Row(types.is_list,            None,    _list,        _array,  None,   _listed, _elements),
    _Row(types.is_large_list,      None,    None,         _array,  None,   None,    _elements),
    _Row(types.is_struct,          None,    _struct,      None,    None,   _fields, _members),
    _Row(types.is_nested,          None,    None,         None,    None,   None,    None),
    _Row(types.is_run_end_encoded, None,    None,         None,    None,   None,    None),
)  # fmt: skip
