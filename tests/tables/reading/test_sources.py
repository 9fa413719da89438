"""Sources: what a snapshot holds, and what is said of a file that cannot be one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from em_impute.job import BATCH_ROWS, FileSource
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.reading.csv_text import CSV_BLOCK_BYTES
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    ColumnProfile,
    Snapshot,
    SourceError,
    read_batches,
    read_schema,
)
from em_impute.tables.sources import take_snapshot
from em_impute.tables.whole_files import DiskFullError

Take = Callable[..., Snapshot]

DATA = Path(__file__).parents[3] / "data"


def table_of(snapshot: Snapshot) -> pa.Table:
    return pa.Table.from_batches(list(read_batches(snapshot.path)), read_schema(snapshot.path))


def refusal(path: Path, folder: RunFolder, file_format: str | None = None) -> str:
    """What is said of a source, which leaves nothing in the run's folder."""
    with pytest.raises(SourceError) as caught:
        take_snapshot(FileSource(path=path, format=file_format), folder.snapshot)
    assert list(folder.path.iterdir()) == []
    return str(caught.value)


# --- What a snapshot holds ---------------------------------------------------------------------


def test_airquality_is_profiled(folder: RunFolder) -> None:
    snapshot = take_snapshot(FileSource(path=DATA / "airquality.csv"), folder.snapshot)
    assert snapshot.rows == 153
    assert {column.name: column.missing for column in snapshot.columns} == {
        "Ozone": 37,
        "Solar.R": 7,
        "Wind": 0,
        "Temp": 0,
        "Month": 0,
        "Day": 0,
    }
    assert snapshot.profile("Wind").type == "double"
    assert all(column.numeric and not column.constant for column in snapshot.columns)


def test_profile_counts_null_nan_and_infinite_cells(take_table: Take) -> None:
    x = pa.array([1.0, None, float("nan"), float("-inf"), float("inf")])
    [profile] = take_table(pa.table({"x": x})).columns
    assert profile == ColumnProfile("x", "double", True, 2, 2, 4, False)


def test_first_infinite_row_is_counted_over_batches(take_table: Take) -> None:
    x = [0.0] * (BATCH_ROWS + 5) + [float("inf")]
    assert take_table(pa.table({"x": x})).profile("x").first_infinite_row == BATCH_ROWS + 6


@pytest.mark.parametrize("read", ["source", "snapshot"])
def test_what_is_read_is_let_go_of(tmp_path: Path, read: str) -> None:
    """A table of 40 batches, of which some are in memory at a time; all would be 21 MB or more."""
    group = pa.table({"a": np.random.default_rng(1).normal(size=BATCH_ROWS)})
    parquet, arrow = tmp_path / "x.parquet", tmp_path / "x.arrow"
    with (
        pq.ParquetWriter(parquet, group.schema) as table,
        pa.ipc.new_file(arrow, group.schema) as snapshot,
    ):
        for _ in range(40):
            table.write_table(group)
            snapshot.write_table(group)
    batches = stream_file(parquet, "parquet") if read == "source" else read_batches(arrow)
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    for batch in batches:
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 40 * BATCH_ROWS
    # Not nothing either: it would be a memory map, whose pages are counted as the process's.
    assert group.nbytes <= most < 20 * group.nbytes


def test_only_the_columns_that_are_asked_for_are_read(take_table: Take) -> None:
    names = pa.array(["p", "q"]).dictionary_encode()
    snapshot = take_table(pa.table({"a": [1, 2], "b": names, "c": [3, 4]}))
    (batch,) = read_batches(snapshot.path, ["c", "b"])
    assert batch.to_pydict() == {"c": [3, 4], "b": ["p", "q"]}


@pytest.mark.parametrize(
    ("cells", "constant"),
    [
        ([3, None, 3], True),
        ([2**53, 2**53 + 1, None], False),
        ([None, None], False),
        ([-0.0, 0.0], True),
        ([1.0, float("nan")], True),
    ],
)
def test_constant_needs_an_observed_cell_and_no_other_value(
    take_table: Take, cells: list[float | None], constant: bool
) -> None:
    assert take_table(pa.table({"x": cells})).profile("x").constant is constant


def test_half_floats_are_profiled(take_table: Take) -> None:
    x = pa.array([1.5, None, float("inf")], pa.float16())
    assert take_table(pa.table({"x": x})).profile("x").infinite == 1


def test_profile_of_a_column_that_is_not_there(take_csv: Take) -> None:
    with pytest.raises(KeyError, match="b"):
        take_csv("a\n1\n").profile("b")


def test_same_content_has_the_same_fingerprint(take_csv: Take) -> None:
    first, again = take_csv("a,b\n1,x\n,y\n"), take_csv("a,b\n1,x\n,y\n")
    other = take_csv("a,b\n1,x\n2,y\n")
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert re.fullmatch("sha256:[0-9a-f]{64}", first.fingerprint)


def test_batches_keep_the_order_of_the_rows(take_table: Take) -> None:
    snapshot = take_table(
        pa.table({"i": range(3 * BATCH_ROWS + 1), "j": range(3 * BATCH_ROWS + 1)})
    )
    batches = list(read_batches(snapshot.path, ["i"]))
    assert [i for batch in batches for i in batch["i"].to_pylist()] == list(range(snapshot.rows))
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS
    assert batches[0].schema.names == ["i"]


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_batches_have_the_rows_that_the_job_says(
    tmp_path: Path, folder: RunFolder, rows: int
) -> None:
    pq.write_table(pa.table({"i": range(20)}), tmp_path / "x.parquet", row_group_size=6)
    take_snapshot(FileSource(path=tmp_path / "x.parquet"), folder.snapshot, rows)
    batches = list(read_batches(folder.snapshot))
    assert [i for batch in batches for i in batch["i"].to_pylist()] == list(range(20))
    assert {batch.num_rows for batch in batches[:-1]} <= {rows}


def test_parquet_keeps_types_and_metadata(tmp_path: Path, folder: RunFolder) -> None:
    schema = pa.schema(
        [("f", pa.float32()), ("d", pa.decimal128(5, 2)), ("t", pa.timestamp("us", "UTC"))],
        metadata={"pandas": '{"columns": []}'},
    )
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"f": [0.1], "d": [1], "t": [0]}, schema=schema), path)
    take_snapshot(FileSource(path=path), folder.snapshot)
    assert read_schema(folder.snapshot).equals(schema, check_metadata=True)


def test_categories_that_differ_between_row_groups_become_one_dictionary(
    tmp_path: Path, folder: RunFolder
) -> None:
    path = tmp_path / "x.parquet"
    type_ = pa.dictionary(pa.int8(), pa.string())
    groups = [["a", "b"], ["c", None], ["b", "d"]]
    parts = [pa.array(group).dictionary_encode() for group in groups]
    codes = [pa.DictionaryArray.from_arrays(p.indices.cast(pa.int8()), p.dictionary) for p in parts]
    pq.write_table(pa.table({"c": pa.chunked_array(codes)}), path, row_group_size=2)
    column = table_of(take_snapshot(FileSource(path=path), folder.snapshot, 2))["c"]
    assert column.to_pylist() == ["a", "b", "c", None, "b", "d"]
    assert column.type == type_
    assert [chunk.dictionary.to_pylist() for chunk in column.chunks] == [["a", "b", "c", "d"]] * 3


def test_text_of_a_csv_is_kept_as_it_is_written(take_csv: Take) -> None:
    table = table_of(take_csv('country,note\nNA," x"\n,"say ""no"""\nDE,"two\nlines"\n'))
    assert table["country"].to_pylist() == ["NA", "", "DE"]
    assert table["note"].to_pylist() == [" x", 'say "no"', "two\nlines"]


def test_missing_numbers_of_a_csv_have_many_spellings(take_csv: Take) -> None:
    snapshot = take_csv('x,y\n1,a\nNA,a\n,a\nNaN,a\nnull,a\n"",a\n2.5,a\n')
    assert snapshot.profile("x").missing == 5


def test_type_of_a_csv_column_is_decided_by_its_last_cell(take_csv: Take) -> None:
    """The file is longer than the block in which Arrow reads it."""
    rows = f"1,{'y' * (CSV_BLOCK_BYTES // 4)}\n" * 5
    assert take_csv(f"x,y\n{rows}1.5,\n").profile("x").type == "double"
    assert take_csv(f"x,y\n{rows}word,\n").profile("x").type == "string"


@pytest.mark.parametrize("code", ["007", "-01", "0x1F", "+447700900123", "12345678901234567890"])
def test_digits_that_a_number_would_not_keep_stay_text(take_csv: Take, code: str) -> None:
    table = table_of(take_csv(f"code,x\n{code},1.50\n12,2\n"))
    assert table["code"].to_pylist() == [code, "12"]
    assert table["x"].to_pylist() == [1.5, 2.0]


@pytest.mark.parametrize("number", ["0", "0.5", "-0.5", "+3", "1234567890123456789", "1e20"])
def test_ordinary_numbers_are_no_codes(take_csv: Take, number: str) -> None:
    assert take_csv(f"x\n{number}\n").profile("x").numeric


def test_byte_order_mark_is_no_part_of_the_first_name(take_csv: Take) -> None:
    assert take_csv("\ufeffa,b\n1,2\n").profile("a").numeric


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "\na,b\r\n\r\n"])
def test_header_alone_is_a_table_of_no_rows(take_csv: Take, content: str) -> None:
    snapshot = take_csv(content)
    assert snapshot.rows == 0
    assert [column.name for column in snapshot.columns] == ["a", "b"]
    assert list(read_batches(snapshot.path)) == []


def test_empty_line_is_a_missing_cell_where_there_is_one_column(take_csv: Take) -> None:
    assert table_of(take_csv("a\n1\n\n2\n"))["a"].to_pylist() == [1, None, 2]
    assert table_of(take_csv("a,b\n1,1\n\n2,2\n"))["a"].to_pylist() == [1, 2]


# --- What cannot be a snapshot -----------------------------------------------------------------


def test_no_such_file_says_where_and_what_is_near(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "airquality.csv").touch()
    message = refusal(tmp_path / "airqualty.csv", folder)
    assert message.endswith(f"no such file in {tmp_path}. Did you mean airquality.csv?")


def test_no_such_folder(tmp_path: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("dat/x.csv"), folder) == (
        f"dat/x.csv: no such file; the folder {tmp_path}/dat does not exist. "
        f"The program was started in {tmp_path}."
    )


def test_a_folder_without_files_is_no_source(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_SUCCESS").touch()
    assert "in is a folder without files; names that" in refusal(tmp_path / "in", folder, "csv")


def test_a_pipe_is_no_source(tmp_path: Path, folder: RunFolder) -> None:
    os.mkfifo(tmp_path / "x.csv")
    assert "is a device or a pipe" in refusal(tmp_path / "x.csv", folder)


def parquet_bytes(tmp_path: Path) -> bytes:
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "good.parquet")
    return (tmp_path / "good.parquet").read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x.csv is empty; expected a header"),
        (b"\n \n"[:1], "x.csv is empty; expected a header"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "x.csv is not a CSV file: it is a PNG picture."),
        (b"PK\x03\x04\0", "it is a zip archive or an Excel workbook."),
        (b"a,b\n1,2\n3,\0\n", "x.csv is not a CSV file: line 3 holds a NUL byte."),
        (b"a,b\n1,Z\xfcrich\n", "x.csv: line 2 is not UTF-8 text; save the file as UTF-8."),
        (b"a;b\n1;2\n", "the header has no comma"),
        (b"a,b,a,a\n", "x.csv: 'a' names columns 1, 3 and 4. Every column needs a name"),
        (b"a,,b, \n", "x.csv: column 2 has no name; column 4 has no name. Every column"),
        (
            b'a,b\n1,"x\n3,4\n5,6\n',
            "x.csv: a quote in the row that begins at line 2 is not closed.",
        ),
        (b'a,b\n1,"' + b"x,\n" * 100_000, "the row that begins at line 2 is not closed."),
        (b"x" * 200_000, "x.csv is not a CSV file: its first line is too long."),
    ],
    ids=lambda value: value[:12].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_what_is_no_csv(tmp_path: Path, folder: RunFolder, content: bytes, expected: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert expected in refusal(path, folder)


def test_ragged_rows_are_named_by_number_and_not_by_content(
    tmp_path: Path, folder: RunFolder
) -> None:
    rows = ["1,2,3,4,5,6"] * 15
    rows[4], rows[8], rows[11] = "secret,2,3,4", "1,2,3,4,5", "1,2,3,4,5,6,7"
    (tmp_path / "x.csv").write_text("a,b,c,d,e,f\n" + "\n".join(rows))
    assert refusal(tmp_path / "x.csv", folder) == (
        f"{tmp_path}/x.csv: row 5 has 4 fields where the header has 6 (and 2 more such rows: "
        "9, 12). A field that holds a comma has to be in quotes."
    )


def test_many_ragged_rows_are_not_all_listed(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1\n" * 100)
    message = refusal(tmp_path / "x.csv", folder)
    assert "row 1 has 1 field where" in message
    assert "(and 99 more such rows: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)" in message


def test_row_too_long_for_arrow(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text(f'a,b\n1,"{"x" * 2 * CSV_BLOCK_BYTES}"\n')
    assert "a row is longer than 16 MB" in refusal(tmp_path / "x.csv", folder)


def test_format_is_suggested_when_the_suffix_lies(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_bytes(parquet_bytes(tmp_path))
    feather.write_feather(pa.table({"x": [1]}), tmp_path / "x.parquet")
    (tmp_path / "x.feather").write_text("a,b\n1,2\n")
    for suffix, suggestion in {"csv": "parquet", "parquet": "feather", "feather": "csv"}.items():
        path = tmp_path / f"x.{suffix}"
        assert f"say `format: {suggestion}` in the job's source" in refusal(path, folder)


@pytest.mark.parametrize("damage", ["cut", "footer", "pages", "empty"])
def test_parquet_that_is_not_whole(tmp_path: Path, folder: RunFolder, damage: str) -> None:
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
    message = refusal(tmp_path / "x.parquet", folder)
    assert expected.get(damage, "the file is damaged, or") in message


def test_feather_that_was_cut_short(tmp_path: Path, folder: RunFolder) -> None:
    feather.write_feather(pa.table({"x": range(1000)}), tmp_path / "x.feather")
    os.truncate(tmp_path / "x.feather", 500)
    assert "it was cut short" in refusal(tmp_path / "x.feather", folder)


def test_repeated_names_in_parquet(tmp_path: Path, folder: RunFolder) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert "'x' names columns 1 and 2" in refusal(tmp_path / "x.parquet", folder)


def test_table_without_columns(tmp_path: Path, folder: RunFolder) -> None:
    feather.write_feather(pa.table({}), tmp_path / "x.feather")
    assert "has no columns" in refusal(tmp_path / "x.feather", folder)


def test_full_disk_leaves_no_half_snapshot(take_csv: Take, folder: RunFolder) -> None:
    """/dev/full takes no byte, as a disk without room."""
    folder.snapshot.with_name(".snapshot.arrow.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"The disk is full: .*/snapshot\.arrow could not be"):
        take_csv("a\n" + "1\n" * 100_000)
    assert list(folder.path.iterdir()) == []
