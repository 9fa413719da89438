"""CSV in a stream: the types are those that Arrow finds in the whole file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snapshots import Refusal

from em_impute.tables.reading import csv_text
from em_impute.tables.reading.csv_text import CSV_BLOCK_BYTES
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.snapshot import (
    Snapshot,
    read_batches,
    read_schema,
)

CELLS = st.sampled_from(
    [
        "",
        "NA",
        "null",
        "0",
        "1",
        "-7",
        "12345678901234567",
        "1.5",
        "1e5",
        "nan",
        "inf",
        "true",
        "False",
        "2020-01-02",
        "12:30",
        "12:30:15",
        "2020-01-02 03:04:05",
        "2020-01-02T03:04:05.5",
        "2020-01-02T03:04:05Z",
        "2020-01-02T03:04:05+01:00",
        "x",
        " 1",
        "a b",
        "#N/A",
    ]
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows each."""
    monkeypatch.setattr(csv_text, "CSV_BLOCK_BYTES", 64)


@given(cells=st.lists(CELLS, min_size=1, max_size=30))
@example(cells=["1"] * 20 + ["2020-01-02"])
@example(cells=["1"] * 20 + ["true"])
@example(cells=["2020-01-02"] * 20 + ["2020-01-02 03:04:05"])
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_types_and_values_are_those_of_arrow_on_the_whole_file(
    small_blocks: None, tmp_path: Path, cells: list[str]
) -> None:
    content = "c,d\n" + "".join(f'"{cell}",1\n' for cell in cells)
    (tmp_path / "x.csv").write_text(content)
    file = SourceFile(tmp_path / "x.csv", "x.csv")
    reading = csv_text.Reading(moments=("c",))
    schema = csv_text.infer([file], reading)
    whole = pa_csv.read_csv(
        io.BytesIO(content.encode()),
        convert_options=pa_csv.ConvertOptions(strings_can_be_null=False),
    )
    if any(re.match(csv_text.LONG_CODE, cell) for cell in cells):
        schema = schema if schema.field("c").type != pa.string() else whole.schema
    assert schema == whole.schema
    table = pa.Table.from_batches(csv_text.read(file, schema), schema)
    assert str(table.to_pydict()) == str(whole.to_pydict())


def test_file_is_read_in_blocks(small_blocks: None, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n" * 1000)
    file = SourceFile(tmp_path / "x.csv", "x.csv")
    batches = list(csv_text.read(file, csv_text.infer([file])))
    assert sum(batch.num_rows for batch in batches) == 1000
    assert max(batch.num_rows for batch in batches) <= 16


Take = Callable[..., Snapshot]


def table_of(snapshot: Snapshot) -> pa.Table:
    return pa.Table.from_batches(list(read_batches(snapshot.path)), read_schema(snapshot.path))


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
def test_what_is_no_csv(tmp_path: Path, refusal: Refusal, content: bytes, expected: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert expected in refusal(path)


@pytest.mark.parametrize("header", ["x", "x,y"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_empty_lines_above_the_header_are_passed_over(
    tmp_path: Path, take_csv: Take, refusal: Refusal, header: str, newline: str
) -> None:
    row = header.replace("x", "1").replace("y", "2")
    lines = ["", "", header, row, row, ""]
    ragged = newline.join([*lines[:-1], f"{row},7", ""])
    (tmp_path / "ragged.csv").write_bytes(ragged.encode())
    assert "row 3 has" in refusal(tmp_path / "ragged.csv")
    snapshot = take_csv(newline.join(lines))
    assert [column.name for column in snapshot.columns] == header.split(",")
    assert snapshot.rows == 2


def test_ragged_rows_are_named_by_number_and_not_by_content(
    tmp_path: Path, refusal: Refusal
) -> None:
    rows = ["1,2,3,4,5,6"] * 15
    rows[4], rows[8], rows[11] = "secret,2,3,4", "1,2,3,4,5", "1,2,3,4,5,6,7"
    (tmp_path / "x.csv").write_text("a,b,c,d,e,f\n" + "\n".join(rows))
    assert refusal(tmp_path / "x.csv") == (
        f"{tmp_path}/x.csv: row 5 has 4 fields where the header has 6 (and 2 more such rows: "
        "9, 12). A field that holds a comma has to be in quotes."
    )


def test_many_ragged_rows_are_not_all_listed(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1\n" * 100)
    message = refusal(tmp_path / "x.csv")
    assert "row 1 has 1 field where" in message
    assert "(and 99 more such rows: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)" in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,x\ry\n", True),
        (b"a,b\r\n1,x\ry\r\n", True),
        (b'a,b\n"x\r",1\n2,y\rz', True),
        (b"a,b\n1,x\n2\n", False),
        (b"a,b\r\n1,x\r\n2\r\n", False),
        (b'a,b\n1,"x\ry"\n2\n', False),
        (b'a,b\n1,"x\n\ry"\n2\n', False),
        (b"a,b\r1,x\r2\r", False),
        (b'"a\n",b\n1,"x\ry"\n2\n', False),
    ],
)
def test_a_bare_carriage_return_is_told_where_there_is_one(
    tmp_path: Path, refusal: Refusal, content: bytes, told: bool
) -> None:
    """Not within quotes, and not where it ends every line."""
    (tmp_path / "x.csv").write_bytes(content)
    message = refusal(tmp_path / "x.csv")
    assert "where the header has 2" in message
    assert ("carriage return without a line feed" in message) == told


def test_row_too_long_for_arrow(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "x.csv").write_text(f'a,b\n1,"{"x" * 2 * CSV_BLOCK_BYTES}"\n')
    assert "a row is longer than 16 MB" in refusal(tmp_path / "x.csv")
