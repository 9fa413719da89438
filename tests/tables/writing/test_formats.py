"""What formats hold: each table comes back from its file as it was, or is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from em_impute.tables.writing.formats import check_types, open_writer, read_staged
from em_impute.tables.writing.staged import TargetError


def write(path: Path, file_format: str, table: pa.Table) -> None:
    with open_writer(path, file_format, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)


def read(path: Path, file_format: str, schema: pa.Schema) -> list[dict[str, object]]:
    return pa.Table.from_batches(list(read_staged(path, file_format, schema)), schema).to_pylist()


def test_csv_tells_an_empty_text_from_a_missing_one(tmp_path: Path) -> None:
    table = pa.table({"t": ["", None, "NA", '"'], "x": [None, 1.0, float("nan"), float("inf")]})
    write(tmp_path / "y", "csv", table)
    assert (tmp_path / "y").read_text() == '"t","x"\n"",\n,1\n"NA",nan\n"""",inf\n'
    rows = read(tmp_path / "y", "csv", table.schema)
    assert [row["t"] for row in rows] == ["", None, "NA", '"']
    assert [str(row["x"]) for row in rows] == ["None", "1.0", "nan", "inf"]


def test_csv_of_one_column_keeps_its_missing_cells(tmp_path: Path) -> None:
    table = pa.table({"x": [None, 1, None]})
    write(tmp_path / "y", "csv", table)
    assert read(tmp_path / "y", "csv", table.schema) == [{"x": None}, {"x": 1}, {"x": None}]


def test_csv_keeps_a_moment_whose_offset_has_seconds(tmp_path: Path) -> None:
    """Paris was 9 minutes and 21 seconds ahead of Greenwich until 1911."""
    table = pa.table({"t": pa.array([-2_208_988_800], pa.timestamp("s", "Europe/Paris"))})
    write(tmp_path / "y", "csv", table)
    assert read(tmp_path / "y", "csv", table.schema) == table.to_pylist()


@pytest.mark.parametrize("file_format", ["csv", "parquet", "feather"])
def test_table_of_no_rows_has_its_columns(tmp_path: Path, file_format: str) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    write(tmp_path / "y", file_format, schema.empty_table())
    assert read(tmp_path / "y", file_format, schema) == []


def test_parquet_keeps_what_pandas_needs(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["x", None]), "i": pd.array([1, None], "Int8")})
    table = pa.Table.from_pandas(frame)
    write(tmp_path / "y", "parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "y"), frame)


def test_feather_is_compressed_and_parquet_too(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0] * 100_000})
    for file_format in ("feather", "parquet"):
        write(tmp_path / "y", file_format, table)
        assert (tmp_path / "y").stat().st_size < table.nbytes / 10


@pytest.mark.parametrize(
    ("file_format", "type_", "advice"),
    [
        ("csv", pa.list_(pa.int64()), "Parquet or Feather"),
        ("csv", pa.struct([("a", pa.int64())]), "Parquet or Feather"),
        ("csv", pa.binary(), "Parquet or Feather"),
        ("csv", pa.decimal256(50, 2), "Parquet or Feather"),
        ("parquet", pa.month_day_nano_interval(), "Feather"),
        ("parquet", pa.struct([]), "Feather"),
    ],
)
def test_type_that_a_format_cannot_hold(
    tmp_path: Path, file_format: str, type_: pa.DataType, advice: str
) -> None:
    schema = pa.schema([("x", pa.int64()), ("y", type_)])
    with pytest.raises(TargetError) as caught:
        write(tmp_path / "y", file_format, schema.empty_table())
    assert f"cannot hold 'y' of type {type_}; give the target the format {advice}" in str(
        caught.value
    )
    assert list(tmp_path.iterdir()) == []
    check_types(schema, "feather")


def test_staged_file_that_cannot_be_read_back(tmp_path: Path) -> None:
    """The year 12000 is no date to a CSV reader; no cell of it is told."""
    table = pa.table({"d": pa.array([3_663_500], pa.date32())})
    write(tmp_path / "y", "csv", table)
    with pytest.raises(TargetError, match="cannot be read back") as caught:
        read(tmp_path / "y", "csv", table.schema)
    assert "12000" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["csv", "parquet", "feather"])
def test_staged_file_of_other_columns(tmp_path: Path, file_format: str) -> None:
    write(tmp_path / "y", file_format, pa.table({"a": [1], "b": [2]}))
    schema = pa.schema([("b", pa.int64()), ("a", pa.int64())])
    with pytest.raises(TargetError, match="has other columns than were written"):
        read(tmp_path / "y", file_format, schema)


def test_json_lines_hold_no_times_of_day() -> None:
    with pytest.raises(TargetError, match=r"cannot hold 't' of type time64\[us\]"):
        check_types(pa.schema([("t", pa.time64("us"))]), "jsonl")
