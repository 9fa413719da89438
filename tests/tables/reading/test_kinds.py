"""Whether a file is of its kind, and its columns have names of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from snapshots import Refusal


def parquet_bytes(tmp_path: Path) -> bytes:
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "good.parquet")
    return (tmp_path / "good.parquet").read_bytes()


def test_format_is_suggested_when_the_suffix_lies(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "x.csv").write_bytes(parquet_bytes(tmp_path))
    feather.write_feather(pa.table({"x": [1]}), tmp_path / "x.parquet")
    (tmp_path / "x.feather").write_text("a,b\n1,2\n")
    for suffix, suggestion in {"csv": "parquet", "parquet": "feather", "feather": "csv"}.items():
        path = tmp_path / f"x.{suffix}"
        assert f"say `format: {suggestion}` in the job's source" in refusal(path)


@pytest.mark.parametrize("damage", ["cut", "footer", "pages", "empty"])
def test_parquet_that_is_not_whole(tmp_path: Path, refusal: Refusal, damage: str) -> None:
    content = bytearray(parquet_bytes(tmp_path))
    if damage == "cut":
        del content[-100:]
    elif damage == "footer":
        content[-200:-8] = b"\x01" * 192
    elif damage == "pages":
        content[4:200] = b"\x01" * 196
    else:
        content.clear()
    (tmp_path / "x.parquet").write_bytes(content)
    expected = {"cut": "it was cut short", "empty": "it is empty"}
    message = refusal(tmp_path / "x.parquet")
    assert expected.get(damage, "the file is damaged, or") in message


def test_feather_that_was_cut_short(tmp_path: Path, refusal: Refusal) -> None:
    feather.write_feather(pa.table({"x": range(1000)}), tmp_path / "x.feather")
    os.truncate(tmp_path / "x.feather", 500)
    assert "it was cut short" in refusal(tmp_path / "x.feather")


def test_repeated_names_in_parquet(tmp_path: Path, refusal: Refusal) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert "'x' names columns 1 and 2" in refusal(tmp_path / "x.parquet")


def test_table_without_columns(tmp_path: Path, refusal: Refusal) -> None:
    feather.write_feather(pa.table({}), tmp_path / "x.feather")
    assert "has no columns" in refusal(tmp_path / "x.feather")
