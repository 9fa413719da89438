"""CSV files as they come: read by what they or the job say of them, or told how they may be."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from em_impute.job import FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot, SourceError, read_batches, read_schema
from em_impute.tables.sources import take_snapshot

PLAIN = "id,a,b\n1,1.5,x\n2,,y\n3,2.25,z\n"
GERMAN = 'id;price;city\n1;"1.234,50";Köln\n2;2,5;Bonn\n3;;Ulm\n'


def taken(path: Path, folder: RunFolder, **options: Any) -> tuple[Snapshot, pa.Table]:
    snapshot = take_snapshot(FileSource.model_validate({"path": path, **options}), folder.snapshot)
    batches = list(read_batches(snapshot.path))
    return snapshot, pa.Table.from_batches(batches, read_schema(snapshot.path))


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return compressed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", PLAIN.encode("utf-8-sig")),
        ("x.csv", PLAIN.encode("utf-16")),
        ("x.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
        ("x.csv", PLAIN.encode("utf-32")),
        ("x.csv", b"sep=,\n" + PLAIN.encode()),
        ("x.csv", b"sep=;\r\n" + PLAIN.replace(",", ";").encode()),
        ("x.csv", ("sep=\t\n" + PLAIN.replace(",", "\t")).encode("utf-16")),
        ("x.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        (
            "x.csv.gz",
            gzip.compress(PLAIN[:10].encode(), mtime=0)
            + gzip.compress(PLAIN[10:].encode(), mtime=0),
        ),
        ("x.CSV.GZ", gzip.compress(PLAIN.encode("utf-16"), mtime=0)),
        ("x.csv.zst", zstd(PLAIN.encode())),
        ("x.csv.bz2", bz2.compress(PLAIN.encode())),
    ],
)
def test_what_a_file_says_of_itself_is_done(
    tmp_path: Path, folder: RunFolder, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    _, table = taken(tmp_path / name, folder)
    assert table.to_pydict() == {"id": [1, 2, 3], "a": [1.5, None, 2.25], "b": ["x", "y", "z"]}
    assert [path.name for path in folder.path.iterdir()] == ["snapshot.arrow"]


def test_json_lines_that_are_compressed(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n', mtime=0))
    assert taken(tmp_path / "x.jsonl.gz", folder)[1].to_pydict() == {"a": [1, 2]}


def test_a_folder_of_compressed_files(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.csv.gz").write_bytes(gzip.compress(b"a\n1\n", mtime=0))
    (tmp_path / "in/2.csv").write_bytes(b"a\n2\n")
    assert taken(tmp_path / "in", folder, format="csv")[1].to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            GERMAN.encode(),
            {"delimiter": ";", "decimal": ",", "thousands": "."},
            [1234.5, 2.5, None],
        ),
        (b"id|price\n1|'1|2'\n", {"delimiter": "|", "quote": "'"}, ["1|2"]),
        (b'id,price\n1,5"\n2,6"\n', {"quote": None}, ['5"', '6"']),
        (b'id,price\n1,"1,234.5"\n2,"12"\n', {"thousands": ","}, [1234.5, 12]),
        (
            "id;price\n1;1\u00a0234,5\n".encode(),
            {"delimiter": ";", "decimal": ",", "thousands": "\u00a0"},
            [1234.5],
        ),
        (b"Report\n\nid,price\n1,2\n", {"skip_rows": 2}, [2]),
        (b'# made by x, y\nid,price\n# 1,2\n2,"a\n#b"\n', {"comment": "#"}, ["a\n#b"]),
        (b"1,2\n3,4\n", {"header": ["id", "price"]}, [2, 4]),
    ],
)
def test_what_the_job_says_of_a_csv(
    tmp_path: Path, folder: RunFolder, content: bytes, options: dict[str, Any], expected: list[Any]
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    _, table = taken(tmp_path / "x.csv", folder, csv=options)
    assert table["price"].to_pylist() == expected


def test_columns_without_a_header_are_numbered(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    _, table = taken(tmp_path / "x.csv", folder, csv={"header": False})
    assert table.to_pydict() == {"column_1": [1, 3], "column_2": [2, 4]}


def test_with_a_decimal_comma_a_point_makes_no_number(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("a;b\n1.5;1,5\n2.5;2\n")
    _, table = taken(tmp_path / "x.csv", folder, csv={"delimiter": ";", "decimal": ","})
    assert table.to_pydict() == {"a": ["1.5", "2.5"], "b": [1.5, 2.0]}


@pytest.mark.parametrize(
    ("content", "proposed"),
    [
        (GERMAN.encode(), 'csv: {delimiter: ";", decimal: ",", thousands: "."}'),
        (
            GERMAN.encode("cp1252"),
            'csv: {encoding: cp1252, delimiter: ";", decimal: ",", thousands: "."}',
        ),
        (b"a\tb\n1\t2\n3\t4\n", 'csv: {delimiter: "\\t"}'),
        (b"a|b\n1|2\n3|4\n", 'csv: {delimiter: "|"}'),
        (b"Sales of 2026\n\na,b\n1,2\n3,4\n5,6\n7,8\n", "csv: {skip_rows: 2}"),
        (
            b"Sales;2026\n\na;b;c\n1;2,5;3\n3;4;3\n5;6;3\n",
            'csv: {delimiter: ";", skip_rows: 2, decimal: ","}',
        ),
        (b"# by x, y, z\na,b\n1,2\n3,4\n", 'csv: {comment: "#"}'),
        ("a,b\n1,Zürich\n".encode("cp1252"), "csv: {encoding: cp1252}"),
        (b"a,b\n1,\x81\xe9\n", "csv: {encoding: latin-1}"),
        ("a,b\n1,2\n3,4\n".encode("utf-16-le"), "csv: {encoding: utf-16-le}"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_how_it_may_be(
    tmp_path: Path, folder: RunFolder, content: bytes, proposed: str
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        taken(tmp_path / "x.csv", folder)
    assert str(caught.value).endswith(f"Try `{proposed}` in the job's source.")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n1,2,3\n1,2\n1,2,3\n", b"a,a\n1,2\n"])
def test_nothing_is_proposed_for_what_is_just_wrong(
    tmp_path: Path, folder: RunFolder, content: bytes
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        taken(tmp_path / "x.csv", folder)
    assert "Try" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.csv.gz", PLAIN.encode(), {}, "is not compressed with gzip, as its name says"),
        (
            "x.csv.gz",
            gzip.compress(PLAIN.encode() * 999, mtime=0)[:-20],
            {},
            "is damaged or cut short: it cannot",
        ),
        ("x.csv.zst", zstd(PLAIN.encode() * 999)[:-9], {}, "is damaged or cut short: it cannot"),
        (
            "x.csv",
            gzip.compress(PLAIN.encode(), mtime=0),
            {},
            "is compressed with gzip; a name that ends in .gz",
        ),
        (
            "x.csv",
            b"a,b\n1,\x81\n",
            {"encoding": "cp1252"},
            "is not text in cp1252; say in the job",
        ),
        (
            "x.csv",
            b",a\n1,2\n2,3\n",
            {},
            "may be an index of pandas: write the file with `index=False`",
        ),
    ],
)
def test_files_that_are_not_what_they_say(
    tmp_path: Path, folder: RunFolder, name: str, content: bytes, options: Any, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        taken(tmp_path / name, folder, csv=options)
    assert message in str(caught.value)
    assert list(folder.path.iterdir()) == []


def test_a_header_of_very_many_repeated_names_is_told_in_a_line(
    tmp_path: Path, folder: RunFolder
) -> None:
    names = [f"x{i % 200_000}" for i in range(400_000)]
    (tmp_path / "x.csv").write_text(",".join(names) + "\n")
    with pytest.raises(SourceError) as caught:
        taken(tmp_path / "x.csv", folder)
    assert "'x0' names columns 1 and 200001" in str(caught.value)
    assert "and 199,990 more such names" in str(caught.value)
    assert len(str(caught.value)) < 1000
    (tmp_path / "x.csv").write_text(",".join(["x"] * 100_000) + "\n")
    with pytest.raises(SourceError, match="10 and 99,990 more"):
        taken(tmp_path / "x.csv", folder)


def test_a_folder_whose_files_have_very_many_columns(tmp_path: Path, folder: RunFolder) -> None:
    """The names of two files are compared in no time that grows with their square."""
    (tmp_path / "in").mkdir()
    names = [f"x{i}" for i in range(100_000)]
    (tmp_path / "in/1.csv").write_text(",".join(names) + "\n")
    (tmp_path / "in/2.csv").write_text(",".join([*names[1:], "y"]) + "\n")
    with pytest.raises(SourceError, match=r"2.csv has no column 'x0', which .*1.csv has"):
        taken(tmp_path / "in", folder, format="csv")


def test_a_name_that_is_no_text_is_told_escaped(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "in").mkdir()
    Path(f"{tmp_path}/in/\udcffx.csv").write_text(PLAIN)
    with pytest.raises(SourceError) as caught:
        taken(tmp_path / "in", folder, format="csv")
    assert str(caught.value) == (
        f"{tmp_path}/in/\\udcffx.csv: the name of this file is not UTF-8 text; rename it."
    )
    with pytest.raises(SourceError, match="no such file in"):
        taken(tmp_path / "in/x.csv", folder)
