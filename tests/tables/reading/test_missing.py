"""What the job says of missing cells: in text, in numbers, times and categories."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from em_impute.job import Job, JobError
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot, read_batches, read_schema, read_spelled
from em_impute.tables.sources import take_snapshot
from em_impute.tables.spelling import as_read


def taken(
    source: dict[str, Any], folder: RunFolder, **columns: Any
) -> tuple[Snapshot, Roles, dict[str, list[Any]]]:
    job = Job.model_validate(
        {"name": "j", "source": source, "columns": columns, "target": {"path": "y.parquet"}}
    )
    snapshot = take_snapshot(job.source, folder.snapshot, 2, Purpose.of(job))
    cells = pa.Table.from_batches(read_batches(snapshot.path)).to_pydict()
    return snapshot, assign_roles(snapshot, job), cells


def test_spellings_and_sentinels_of_a_csv(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text(
        "n,x,day,flag,note\n1,1.5,2020-01-01,true,.\n-999,.,.,.,-999\n3,-999.0,1900-01-01,false,a\n"
        "NA,2,,NA,NA\n"
    )
    source = {"path": tmp_path / "x.csv", "missing": [-999, ".", "1900-01-01"]}
    snapshot, roles, cells = taken(source, folder)
    assert [column.type for column in snapshot.columns] == [
        *("int64", "double", "date32[day]", "bool", "string"),
    ]
    assert cells["n"] == [1, None, 3, None]
    assert cells["x"] == [1.5, None, None, 2]
    assert [day is None for day in cells["day"]] == [False, True, True, True]
    assert cells["flag"] == [True, None, False, None]
    assert cells["note"] == [".", "-999", "a", "NA"]
    assert roles.impute == ("n", "x")


def test_sentinels_of_some_columns(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("x,y\n-999,-999\n-99,1\nNA,NA\n")
    source = {"path": tmp_path / "x.csv", "missing": {"x": ["-999", "-99"]}}
    _, _, cells = taken(source, folder)
    assert cells == {"x": [None, None, None], "y": [-999, 1, None]}


def test_namibia(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("country,x\nNA,1\nDE,2\n,3\nNA,\nnull,5\n-,6\n")
    source = {"path": tmp_path / "x.csv"}
    categories = {"categories": {"country": "nominal"}}
    for missing, levels, holes in (
        ([], ("-", "DE"), 4),
        ({"country": []}, ("-", "DE", "NA", "null"), 1),
        ({"country": ["-", "null"]}, ("DE", "NA"), 3),
        (["-"], ("DE",), 5),
    ):
        snapshot, roles, _ = taken({**source, "missing": missing}, folder, **categories)
        assert roles.encoding("country").levels == levels  # type: ignore[attr-defined]
        assert snapshot.profile("country").missing == holes


def test_categories_of_a_format_with_types(tmp_path: Path, folder: RunFolder) -> None:
    pq.write_table(
        pa.table({"c": ["a", "?", None, "NA"], "x": [1, 2, 3, 4]}), tmp_path / "x.parquet"
    )
    source = {"path": tmp_path / "x.parquet", "missing": {"c": ["?"]}}
    snapshot, roles, _ = taken(source, folder, categories={"c": "nominal"})
    assert roles.encoding("c").levels == ("NA", "a")  # type: ignore[attr-defined]
    assert snapshot.profile("c").missing == 2


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_missing_category_is_null_and_its_text_is_kept(
    tmp_path: Path, folder: RunFolder, type_: pa.DataType
) -> None:
    texts = ["a", "?", None, "NA", ""]
    table = pa.table({"c": pa.array(texts, type_), "d": pa.array(texts, type_)})
    pq.write_table(table, tmp_path / "x.parquet")
    source = {"path": tmp_path / "x.parquet", "missing": ["?", "NA"]}
    snapshot, _, cells = taken(source, folder, categories={"c": "nominal"}, predictors=["c"])
    assert cells == {"c": ["a", None, None, None, ""], "d": texts}
    read = pa.Table.from_batches(map(as_read, read_spelled(snapshot.path)))
    assert read.equals(table)
    kept = pa.Table.from_batches(as_read(b, ["c"]) for b in read_spelled(snapshot.path, ["c"]))
    assert kept.to_pydict() == {"c": cells["c"]}


def test_what_counts_as_missing_in_a_csv_stays_text(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("t,k\nNA,a\n,b\nx,\n")
    snapshot, _, cells = taken({"path": tmp_path / "x.csv"}, folder, key=["k"])
    assert [column.missing for column in snapshot.columns] == [2, 1]
    assert cells == {"t": ["NA", "", "x"], "k": ["a", "b", ""]}


def test_a_column_without_nulls_gets_some(tmp_path: Path, folder: RunFolder) -> None:
    schema = pa.schema([pa.field("x", pa.int32(), nullable=False)])
    pq.write_table(pa.table({"x": pa.array([1, -999], pa.int32())}, schema), tmp_path / "x.parquet")
    assert taken({"path": tmp_path / "x.parquet", "missing": [-999]}, folder)[2] == {"x": [1, None]}
    assert read_schema(folder.snapshot).field("x").nullable


def test_sentinels_of_a_database(tmp_path: Path, folder: RunFolder) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.executescript(
            "CREATE TABLE t (x, y); INSERT INTO t VALUES (-999, 1.5), (2, -999.0);"
        )
    source = {"url": f"sqlite:///{tmp_path}/x.db", "table": "t", "missing": ["-999"]}
    assert taken(source, folder)[2] == {"x": [None, 2], "y": [1.5, None]}


def test_json_lines(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.jsonl").write_text('{"x": 1.5, "t": "."}\n{"x": ".", "t": "a"}\n{"x": -999}\n')
    source = {"path": tmp_path / "x.jsonl", "missing": ["-999", "."]}
    assert taken(source, folder)[2] == {"x": [1.5, None, None], "t": [".", "a", None]}


def test_a_column_that_is_not_there(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "x.csv").write_text("Ozone\n1\n")
    source = {"path": tmp_path / "x.csv", "missing": {"ozone": ["-"]}}
    with pytest.raises(JobError, match=r"source.missing: the table has no column 'ozone'; did you"):
        taken(source, folder)
