"""Whatever Parquet holds rides along: from the source to the target, every type and value."""

from __future__ import annotations

import decimal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from em_impute.gaussian import GaussianModel
from em_impute.job import FileSource, FileTarget
from em_impute.tables.columns.roles import Roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.sources import take_snapshot
from em_impute.tables.targets import publish

UNITS = ["s", "ms", "us", "ns"]
ZONES = [None, "UTC", "Europe/Paris", "+05:30"]
SIMPLE: list[pa.DataType] = [
    pa.null(), pa.bool_(),
    pa.int8(), pa.int16(), pa.int32(), pa.int64(),
    pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(),
    pa.string(), pa.large_string(), pa.string_view(),
    pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3),
    pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *[pa.duration(unit) for unit in UNITS],
    *[pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES],
    pa.decimal32(7, 2), pa.decimal64(15, 3), pa.decimal128(38, 10), pa.decimal256(70, 5),
    pa.decimal128(5, -2), pa.month_day_nano_interval(),
    pa.uuid(), pa.json_(), pa.bool8(),
]  # fmt: skip


def compound(inner: pa.DataType) -> list[pa.DataType]:
    return [
        pa.list_(inner),
        pa.large_list(inner),
        pa.list_view(inner),
        pa.list_(inner, 2),
        pa.struct([("a", inner), ("b", pa.int8())]),
        pa.map_(pa.string(), inner),
        pa.dictionary(pa.int32(), inner),
        pa.run_end_encoded(pa.int32(), inner),
    ]


def value_of(type_: pa.DataType, rng: np.random.Generator) -> Any:
    """Some value of a type, as Python has it; sometimes None."""
    is_type, small = pa.types, int(rng.integers(0, 100))
    if is_type.is_null(type_) or rng.random() < 0.2:
        return None
    if isinstance(type_, pa.UuidType):
        return uuid.UUID(int=small).bytes
    if isinstance(type_, pa.JsonType):
        return f'{{"a": {small}}}'
    if is_type.is_boolean(type_) or isinstance(type_, pa.Bool8Type):
        return small > 50
    if is_type.is_float16(type_):
        return np.float16(small / 8)
    if is_type.is_floating(type_):
        return [small / 3, np.inf, -0.0, np.nan][small % 4]
    if is_type.is_decimal(type_):
        return decimal.Decimal(small).scaleb(-type_.scale)
    if is_type.is_fixed_size_binary(type_):
        return bytes([small] * type_.byte_width)
    if is_type.is_binary(type_) or is_type.is_large_binary(type_) or is_type.is_binary_view(type_):
        return bytes([small, 0, 255])
    if is_type.is_string(type_) or is_type.is_large_string(type_) or is_type.is_string_view(type_):
        return ["", "NA", "é\n\U0001f427", f"t{small}"][small % 4]
    if is_type.is_struct(type_):
        return {"a": value_of(type_.field("a").type, rng), "b": small}
    if is_type.is_map(type_):
        return [(f"k{i}", value_of(type_.item_type, rng)) for i in range(small % 3)]
    if is_type.is_fixed_size_list(type_):
        return [value_of(type_.value_type, rng) for _ in range(2)]
    if is_type.is_nested(type_):
        return [value_of(type_.value_type, rng) for _ in range(small % 3)]
    return small


def column_of(type_: pa.DataType, n: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_dictionary(type_):
        plain = column_of(type_.value_type, n, rng)
        return plain.dictionary_encode().cast(type_)
    if isinstance(type_, pa.BaseExtensionType):
        storage = [value_of(type_, rng) for _ in range(n)]
        return pa.ExtensionArray.from_storage(type_, pa.array(storage, type_.storage_type))
    if pa.types.is_date64(type_):
        return pa.array([value_of(pa.int32(), rng) for _ in range(n)], pa.date32()).cast(type_)
    if pa.types.is_temporal(type_):
        whole = pa.int32() if type_.bit_width == 32 else pa.int64()
        return pa.array([value_of(whole, rng) for _ in range(n)], whole).view(type_)
    return pa.array([value_of(type_, rng) for _ in range(n)], type_)


def rider(type_: pa.DataType, rng: np.random.Generator) -> pa.Array:
    try:
        return column_of(type_, 5, rng)
    except (pa.ArrowException, NotImplementedError, TypeError):
        # What Python cannot make, nulls stand for.
        return pa.nulls(5, type_)


def writable(type_: pa.DataType) -> bool:
    """Whether pyarrow writes the type to Parquet, and reads it as the same."""
    buffer = pa.BufferOutputStream()
    table = pa.table({"y": rider(type_, np.random.default_rng(7))})
    try:
        pq.write_table(table, buffer, row_group_size=2)
        return bool(pq.read_table(pa.BufferReader(buffer.getvalue())).schema.equals(table.schema))
    except (pa.ArrowException, OSError):  # OSError: a decimal of negative scale
        return False


TYPES = [
    type_
    for type_ in [*SIMPLE, *(outer for inner in SIMPLE for outer in compound(inner))]
    if writable(type_)
]


def through(table: pa.Table, folder: Path) -> pa.Table:
    """The table as the job publishes it, its column x filled."""
    pq.write_table(table, folder / "in.parquet", row_group_size=2)
    run = open_run_folder(folder / "runs", "job", "run")
    snapshot = take_snapshot(FileSource(path=folder / "in.parquet"), run.snapshot, batch_rows=2)
    names = tuple(table.column_names)
    roles = Roles(names, key=(), impute=("x",), predictors=())
    model = GaussianModel(np.array([5.0]), np.eye(1), ("x",))
    target = FileTarget(path=folder / "out.parquet")
    publish(fill(snapshot, model, roles, target, run), target, "run")
    return pq.read_table(folder / "out.parquet")


def test_there_are_types_of_all_kinds() -> None:
    """So that `writable` does not leave out what it should not."""
    kinds = {str(type_).split("[")[0].split("<")[0].split("(")[0] for type_ in TYPES}
    assert {
        "bool", "int8", "uint64", "halffloat", "float", "double", "string", "large_string",
        "binary", "fixed_size_binary", "date32", "time64", "timestamp", "duration", "decimal128",
        "decimal256", "list", "large_list", "fixed_size_list", "struct", "map", "dictionary",
    } <= kinds  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6), st.integers(0, 10**6))
def test_every_type_survives(types: list[pa.DataType], seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {f"y{i}": rider(type_, rng) for i, type_ in enumerate(types)}
    table = pa.table({"x": [1.0, None, 3.0, None, 5.0], **columns})
    with tempfile.TemporaryDirectory() as folder:
        filled = through(table, Path(folder))
    expected = table.set_column(0, "x", pa.array([1.0, 5.0, 3.0, 5.0, 5.0]))
    assert filled.schema.equals(expected.schema)
    for name in expected.column_names:
        assert same(filled[name], expected[name]), name


def same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Equal, NaN to NaN."""
    return repr(one.to_pylist()) == repr(other.to_pylist())


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_type_by_itself(type_: pa.DataType, tmp_path: Path) -> None:
    table = pa.table(
        {"x": [1.0, None, 3.0, None, 5.0], "y": rider(type_, np.random.default_rng(7))}
    )
    filled = through(table, tmp_path)
    assert filled.schema.field("y").type == type_
    assert same(filled["y"], table["y"])
