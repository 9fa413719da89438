"""The types that stand for those of Arrow in formats of text and in databases."""

from __future__ import annotations

import pyarrow as pa
import pytest

from em_impute.tables.writing.counterparts import counterpart

KINDS = ("csv", "jsonl", "postgresql", "sqlite")


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("bool", ["bool", "bool", "bool", "int64"]),
        (pa.uint64(), ["uint64", "uint64", "decimal128(20, 0)", "int64"]),
        (pa.float16(), ["float", "float", "halffloat", "double"]),
        (pa.dictionary(pa.int8(), pa.string()), ["string"] * 4),
        (pa.decimal256(50, 2), ["None", "None", "decimal256(50, 2)", "string"]),
        (
            pa.timestamp("ns", "Europe/Paris"),
            ["timestamp[ns, tz=UTC]", "string", "timestamp[us, tz=Europe/Paris]", "string"],
        ),
        (pa.time32("s"), ["time32[s]", "None", "time32[s]", "string"]),
        (pa.large_list(pa.uint64()), ["None", "None", "list<item: decimal128(20, 0)>", "None"]),
        (pa.list_(pa.struct([("a", pa.int64())])), ["None", "list<item: struct<a: int64>>"]),
        (pa.list_(pa.date32()), ["None", "None", "list<item: date32[day]>", "None"]),
        (pa.uuid(), ["None", "None", "extension<arrow.uuid>", "None"]),
    ],
)
def test_counterparts(type_: pa.DataType | str, expected: list[str]) -> None:
    type_ = pa.field("x", type_).type
    found = [str(counterpart(type_, kind)) for kind in KINDS]
    assert found == expected + ["None"] * (len(KINDS) - len(expected))
