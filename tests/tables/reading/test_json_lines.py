"""JSON lines: the types are decided by all rows, and what is wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from em_impute.job import FileSource
from em_impute.tables.reading import json_lines
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import SourceError, read_batches, read_schema
from em_impute.tables.sources import take_snapshot


def read(path: Path, folder: RunFolder) -> pa.Table:
    take_snapshot(FileSource(path=path), folder.snapshot)
    return pa.Table.from_batches(list(read_batches(folder.snapshot)), read_schema(folder.snapshot))


@pytest.mark.parametrize("block_bytes", [1, 2**24])
def test_types_are_decided_by_all_rows(
    tmp_path: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", block_bytes)
    (tmp_path / "x.jsonl").write_text(
        '\ufeff{"i": 1, "d": 2, "s": {"u": [1]}, "n": null}\n'
        '\n{"d": 2.5, "i": 3, "s": {"v": "x", "u": []}, "t": "2020-01-02 03:04:05"}\n'
    )
    table = read(tmp_path / "x.jsonl", folder)
    assert table.to_pylist() == [
        {"i": 1, "d": 2.0, "s": {"u": [1], "v": None}, "n": None, "t": None},
        {"i": 3, "d": 2.5, "s": {"u": [], "v": "x"}, "n": None, "t": table["t"][1].as_py()},
    ]
    assert table.schema.field("t").type == pa.timestamp("s")


def test_text_that_looks_like_a_time_in_some_rows_is_text(
    tmp_path: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 1)
    (tmp_path / "x.jsonl").write_text('{"t": ["2020-01-02"]}\n{"t": ["soon"]}\n')
    assert read(tmp_path / "x.jsonl", folder)["t"].to_pylist() == [["2020-01-02"], ["soon"]]


@pytest.mark.parametrize("block_bytes", [1, 2**24])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": secret}\n', "x.jsonl: line 2 is not JSON; expected one object a line."),
        ('{"a": 1}\n\n[1]\n', 'x.jsonl: line 3 is not a JSON object, such as {"a": 1}.'),
        ('{"a": 1}\n{"a": ["secret"]}\n', "x.jsonl: column 'a' holds "),
        # Arrow's reader is taken down by these, and the process with it.
        ("null\n", 'x.jsonl: line 1 is not a JSON object, such as {"a": 1}.'),
        ('\n \nnull\n{"a": 1}\n', 'x.jsonl: line 3 is not a JSON object, such as {"a": 1}.'),
        ('{"a": 1}\nnull\n', 'x.jsonl: line 2 is not a JSON object, such as {"a": 1}.'),
        ("nullnu,ll", "x.jsonl: line 1 is not JSON; expected one object a line."),
        ('{"a": 1, "a": 2}\n', "x.jsonl could not be read as JSON lines; every key may stand once"),
        ("", "x.jsonl has no columns."),
        ("{}\n", "x.jsonl has no columns."),
    ],
)
def test_what_are_no_json_lines(
    tmp_path: Path,
    folder: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    message: str,
    block_bytes: int,
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", block_bytes)
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "x.jsonl", folder)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "secret" not in str(caught.value)


def test_lines_that_are_nested_too_deeply(tmp_path: Path, folder: RunFolder) -> None:
    """For Python, which reads how numbers are spelled, if not for Arrow."""
    deep = "[" * 3000 + "1" + "]" * 3000
    (tmp_path / "x.jsonl").write_text(f'{{"a": 1, "b": {deep}}}\n')
    purpose = Purpose(target_format="jsonl")
    with pytest.raises(SourceError, match=r"x\.jsonl"):
        take_snapshot(FileSource(path=tmp_path / "x.jsonl"), folder.snapshot, purpose=purpose)


def test_json_lines_in_another_encoding(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.jsonl").write_bytes('{"a": "Zürich"}\n'.encode("latin-1"))
    with pytest.raises(SourceError, match="line 1 is not UTF-8 text; save the file as UTF-8"):
        read(tmp_path / "x.jsonl", folder)
