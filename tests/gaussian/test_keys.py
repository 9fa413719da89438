"""Keys: equal ones have the same number however they are held, others another one."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from em_impute.gaussian.keys import row_words, words_of
from em_impute.tables.row_keys import row_keys

MIDNIGHT = datetime(1973, 5, 1)
TOKYO = timezone(timedelta(hours=9))
TICK = np.datetime64("2026-03-29T01:30:00.123456789")
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")

EQUAL: dict[str, list[Any]] = {
    "whole number": [
        [3, 200], [3.0, 200.0], [Decimal(3), Decimal("200.00")], [np.int8(3), np.uint8(200)],
        *(np.array([3, 200], dtype) for dtype in ("i2", "u1", ">i8", "u8", "f4", "f8")),
        pd.Series([3, 200], dtype="Int16"), pd.Index([3, 200]), pl.Series([3, 200]), [(3,), (200,)],
        *(pa.array([3, 200], kind) for kind in (pa.uint8(), pa.int64(), pa.float32())),
        pa.array([Decimal(3), Decimal(200)], pa.decimal128(12, 2)),
        pa.array([3, 200]).dictionary_encode(),
    ],
    "negative": [[-1, -7], [-1.0, -7.0], np.array([-1, -7], "i1"), pa.array([-1, -7], pa.int16())],
    "large": [[10**30, 2**70], [Decimal(10**30), Decimal(2**70)],
              pa.array([Decimal(10**30), Decimal(2**70)], pa.decimal128(38, 0))],
    "large float": [[1e30, 2.0**70], np.array([1e30, 2.0**70]), [int(1e30), 2**70]],
    "fraction": [
        [0.5, -2.25], [Decimal("0.5"), Decimal("-2.250")], np.array([0.5, -2.25], "f4"),
        pa.array([0.5, -2.25]), pa.array([Decimal("0.5"), Decimal("-2.25")]),
        [np.float32(0.5), -2.25],
    ],
    "boolean": [[False, True], [0, 1], np.array([False, True]), pa.array([False, True]),
                pd.Series([False, True], dtype="boolean"), [np.False_, np.True_]],
    "text": [
        ["é", "more than eight bytes"], np.array(["é", "more than eight bytes"]),
        pd.Series(["é", "more than eight bytes"]),
        pd.Series(["é", "more than eight bytes"]).astype("category"),
        *(pa.array(["é", "more than eight bytes"], kind)
          for kind in (pa.string(), pa.large_string(), pa.string_view())),
        pa.array(["before", "é", "more than eight bytes", "after"])[1:3],
    ],
    "bytes": [[b"ab", b"c"], np.array([b"ab", b"c"]), pa.array([b"ab", b"c"]),
              pa.array([b"ab", b"c"], pa.large_binary())],
    "identifier": [[ID, ID], [ID.bytes, ID.bytes], pa.array([ID.bytes] * 2, pa.binary(16))],
    "day": [
        [MIDNIGHT.date(), date(1969, 12, 31)], [MIDNIGHT, datetime(1969, 12, 31)],
        [MIDNIGHT.replace(tzinfo=UTC), datetime(1969, 12, 31, 9, tzinfo=TOKYO)],
        [pd.Timestamp(MIDNIGHT), pd.Timestamp("1969-12-31T09:00+09:00")],
        *(np.array(["1973-05-01", "1969-12-31"], f"datetime64[{unit}]")
          for unit in ("D", "h", "m", "s", "ms", "us", "ns")),
        pd.DatetimeIndex(["1973-05-01", "1969-12-31"]).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        pd.Series(pd.DatetimeIndex(["1973-05-01", "1969-12-31"])),
        pl.Series([MIDNIGHT.date(), date(1969, 12, 31)]),
        *(pa.array([MIDNIGHT.date(), date(1969, 12, 31)]).cast(kind)
          for kind in (pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns"),
                       pa.timestamp("us", "Europe/Berlin"))),
    ],
    "instant": [
        [TICK], [pd.Timestamp(TICK)], [pd.Timestamp(TICK, tz="UTC").tz_convert("Europe/Berlin")],
        np.array([TICK]), pd.Series([TICK]), pa.array(np.array([TICK])),
        pa.array(np.array([TICK]), pa.timestamp("ns", "UTC")),
        pd.Series([TICK]).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
    ],
    "time of day": [[time(12, 30, 1, 5)], pa.array([time(12, 30, 1, 5)]),
                    pa.array([time(12, 30, 1, 5)], pa.time64("ns"))],
    "span": [[timedelta(days=-1, microseconds=3)], [pd.Timedelta(days=-1, microseconds=3)],
             np.array([timedelta(days=-1, microseconds=3)], "timedelta64[us]"),
             pa.array([timedelta(days=-1, microseconds=3)])],
}  # fmt: skip


def numbers(keys: Any) -> list[int]:
    """As a job has them where they are Arrow's, and as a draw in Python else."""
    if isinstance(keys, pa.Array):
        return row_keys(pa.record_batch({"key": keys}), ("key",), 0).tolist()
    return row_words(keys, len(keys)).tolist()


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_keys_have_the_same_number_however_they_are_held(kind: str) -> None:
    first, *others = EQUAL[kind]
    for keys in others:
        assert numbers(keys) == numbers(first), keys


def test_composite_keys_are_tuples_and_the_columns_of_a_job() -> None:
    batch = pa.record_batch(
        {"store": pa.array([7, 8], pa.int16()), "day": [MIDNIGHT.date()] * 2, "till": ["a", "b"]}
    )
    expected = row_keys(batch, ("store", "day", "till"), 0).tolist()
    frame = batch.to_pandas()
    assert numbers([(7, MIDNIGHT, "a"), (8, MIDNIGHT.date(), "b")]) == expected
    assert numbers([(7.0, np.datetime64("1973-05-01"), "a"), [8, MIDNIGHT, "b"]]) == expected
    assert numbers(pd.MultiIndex.from_frame(frame)) == expected
    assert numbers(frame) == expected
    assert numbers(np.array([[1, 2], [3, 4]])) == numbers([(1, 2), (3, 4)])
    assert numbers([(1, 2), (3, 4)]) != numbers([(2, 1), (4, 3)])


def test_other_keys_have_other_numbers() -> None:
    keys = [
        1, "1", b"1", (1, 2), (2, 1), (12,), ("1", "2"), 1.5, "1.5", 10**30, -1, "", b"", "\0",
        "\0\0", date(1973, 5, 1), "1973-05-01", time(1, 2), timedelta(1), datetime(1973, 5, 1, 1),
        (1, (2, 3)), (1, 2, 3), ID, str(ID), float("inf"), "x" * 256, "x" * 257, "x" * 300,
    ]  # fmt: skip
    assert len(np.unique(words_of(keys))) == len(keys)


def test_a_text_is_hashed_alike_among_any_others() -> None:
    rng = np.random.default_rng(23)
    texts = ["é" * k + "x" * int(rng.integers(9)) for k in rng.integers(0, 200, size=500).tolist()]
    together = words_of(texts)
    assert together.tolist() == [int(words_of([text])[0]) for text in texts]
    assert len(np.unique(together)) == len(set(texts))
    many = words_of([f"row {i}" for i in range(100_000)])
    assert len(np.unique(many)) == 100_000
    # Each bit is set in half of them, within five errors.
    bits = np.unpackbits(many.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 5 * 0.5 / np.sqrt(100_000)


def test_a_row_without_key_has_its_number_from_0() -> None:
    assert row_words(None, 3).tolist() == [0, 1, 2]
    assert row_keys(pa.record_batch({"x": [5, 5]}), (), 0).tolist() == [0, 1]


def test_the_numbers_are_pinned() -> None:
    """A change of these would change what every user's seed means."""
    keys = ["key", b"key", 0.5, date(2020, 1, 1), ("a", 1), time(1), timedelta(1), 2**64]
    assert words_of(keys).tolist() == PINNED


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
)
def test_a_missing_key_is_refused_with_its_row(missing: Any) -> None:
    for keys in (["a", missing], [("a", 1), ("a", missing)]):
        with pytest.raises(ValueError, match="missing"):
            row_words(keys, 2)
    with pytest.raises(ValueError, match=r"The key of row 1 \(counted from 0\) is missing"):
        row_words(pd.Series([1, missing], dtype=object), 2)


@pytest.mark.parametrize("dtype", ["float64", "Int64", "datetime64[us]", "string", "object"])
def test_a_missing_key_of_a_series_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="The key of row 0 "):
        row_words(pd.Series([None, None], dtype=dtype), 2)


PINNED = [
    12568840111657635442,
    4715740858590756752,
    7889060764990774905,
    3806298121297903869,
    10162346611212757865,
    11601149723915832024,
    7809354673720225896,
    5190313650814327531,
]
