"""From text to text only holes are written to: every other cell is spelled as it was."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from em_impute.job import Job
from em_impute.tables import sources, spelling, summarise, targets
from em_impute.tables.columns import roles as columns
from em_impute.tables.fill import fill
from em_impute.tables.reading import csv_text, json_lines
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.snapshot import Snapshot, read_spelled, spelled_columns
from em_impute.tables.writing import formats
from em_impute.tables.writing.staged import TargetError

Publish = Callable[..., Snapshot]

ODD_CSV = '''id,x,y,long,time,moment,flag,pad,price,note,odd,blank
1,14.08,5.35,123456789012345678.01,12:30,2020-01-01T00:00:00+02:00,True,014.08,1.50,"x, y",1e3, 7
2,8.86,,0.12345678901234567890,12:31,2020-01-01T01:00:00-05:30,False,1.00,2.5,,+5,8
3,5.960,1.50,9007199254740993,12:30:15,2020-01-01T00:00:00Z,TRUE,2,3.00,"",.5,9
4,NA,7.770,1.5,,,,3,NA,"say ""no""",5.,10
5,9.44,4e0,1,12:00,2020-01-01T00:00:00+02:00,true,3,5,NA,-0,11
6,7.5,3.25,2,12:00,2020-01-01T00:00:00+02:00,true,3,5,"two
lines",0.0,11
'''
ODD_JSON = """{"id": 1, "x": 1.50, "y": 2, "n": {"a": 1.1, "b": [1e3]}, "big": 12345678901234567890}
{"id": 2, "x": null, "y": 2.5, "n": {"b": []}, "big": 1.10}
{"id": 3, "x": 2e0, "y": 3.0, "n": null, "big": 2}
{"id": 4, "x": 2.25, "y": -3.00, "n": {"a": 9007199254740993}, "big": -0}
"""


@pytest.fixture
def publish_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Fill x and y of a source in the test's folder, and publish the table."""
    monkeypatch.chdir(tmp_path)

    def run(source: str, target: str, run_id: str = "run-1", /, **options: Any) -> Snapshot:
        job = Job.model_validate(
            {
                "name": "job",
                "source": {"path": source, **options.pop("source", {})},
                "columns": {"impute": ["x", "y"], "predictors": [], **options.pop("columns", {})},
                "target": {"path": target, **options.pop("target", {})},
                **options,
            }
        )
        folder = open_run_folder(tmp_path / "runs", "job", run_id)
        purpose = Purpose.of(job)
        snapshot = sources.take_snapshot(job.source, folder.snapshot, job.batch_rows, purpose)
        roles = columns.assign_roles(snapshot, job)
        model = summarise.fit_model(summarise.summarise(snapshot, roles), job.model).model
        staged = fill(snapshot, model, roles, job.target, folder, job.imputation)
        targets.publish(staged, job.target, run_id)
        return snapshot

    return run


def changed_cells(before: str, after: str) -> set[tuple[int, str]]:
    """Rows (from 1) and columns of the cells that differ between two CSV files."""
    old, new = (list(csv.DictReader(io.StringIO(text))) for text in (before, after))
    assert len(old) == len(new)
    return {
        (i, name)
        for i, (one, other) in enumerate(zip(old, new, strict=True), 1)
        for name in one
        if one[name] != other[name]
    }


@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_a_csv_is_changed_in_its_holes_only(
    publish_to: Publish, tmp_path: Path, batch_rows: int
) -> None:
    (tmp_path / "in.csv").write_text(ODD_CSV)
    publish_to("in.csv", "out.csv", batch_rows=batch_rows)
    after = (tmp_path / "out.csv").read_text()
    assert changed_cells(ODD_CSV, after) == {(2, "y"), (4, "x")}
    lines = zip(ODD_CSV.splitlines(), after.splitlines(), strict=True)
    assert [i for i, (old, new) in enumerate(lines) if old != new] == [2, 4]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_missing_category_that_is_not_filled_is_written_as_it_was(
    publish_to: Publish, tmp_path: Path, suffix: str
) -> None:
    texts = ["NA", "a", "", "b", "null", "?"]
    rows = "".join(f"{i}.5,{i or ''},{text}\n" for i, text in enumerate(texts))
    (tmp_path / "in.csv").write_text(f"x,y,c\n{rows}")
    columns = {"categories": {"c": "nominal"}, "predictors": ["c"]}
    source = {"missing": {"c": ["?", "null", "NA"]}}
    snapshot = publish_to("in.csv", f"out.{suffix}", columns=columns, source=source)
    assert snapshot.profile("c").missing == 4
    written = tmp_path / f"out.{suffix}"
    if suffix == "csv":
        assert [line.split(",")[2] for line in written.read_text().splitlines()[1:]] == texts
    elif suffix == "jsonl":
        assert [json.loads(line)["c"] for line in written.read_text().splitlines()] == texts
    else:
        assert pq.read_table(written)["c"].to_pylist() == texts


def test_json_lines_are_changed_in_their_holes_only(publish_to: Publish, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(ODD_JSON)
    publish_to("in.jsonl", "out.jsonl")
    after = (tmp_path / "out.jsonl").read_text()
    filled = json.loads(after.splitlines()[1])["x"]
    assert after == ODD_JSON.replace('"x": null', f'"x": {filled}')


def test_from_csv_to_json_lines_numbers_are_spelled_as_they_were(
    publish_to: Publish, tmp_path: Path
) -> None:
    table = 'x,y,p,b,t\n1.50,2,1e3,True,007\n,1,+5,,"a ""b"""\n3,4.0,NA,,\n'
    (tmp_path / "in.csv").write_text(table)
    publish_to("in.csv", "out.jsonl")
    first, second, third = (tmp_path / "out.jsonl").read_text().splitlines()
    assert first == '{"x": 1.50, "y": 2, "p": 1e3, "b": true, "t": "007"}'
    assert second.endswith('"y": 1, "p": 5.0, "b": null, "t": "a \\"b\\""}')
    assert third == '{"x": 3, "y": 4.0, "p": null, "b": null, "t": ""}'


def test_from_json_lines_to_csv_numbers_are_spelled_as_they_were(
    publish_to: Publish, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(
        '{"x": 1.50, "y": 2, "t": "a, b", "m": 12}\n{"x": 3, "y": null, "t": "", "m": "oops"}\n'
        '{"x": 2.0, "y": 1e0, "t": null, "m": 13}\n'
    )
    publish_to("in.jsonl", "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [lines[0], lines[1], lines[3]] == ["x,y,t,m", '1.50,2,"a, b",12', "2.0,1e0,,13"]


def test_what_a_type_would_not_keep_is_text_where_types_are_needed(
    publish_to: Publish, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(ODD_CSV)
    publish_to("in.csv", "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["long"].to_pylist()[:3] == [
        "123456789012345678.01",
        "0.12345678901234567890",
        "9007199254740993",
    ]
    assert table["moment"].to_pylist()[1] == "2020-01-01T01:00:00-05:30"
    assert table.schema.field("flag").type == pa.bool_()
    (tmp_path / "in.jsonl").write_text(ODD_JSON)
    publish_to("in.jsonl", "json.parquet", "run-2")
    table = pq.read_table(tmp_path / "json.parquet")
    assert table["big"].to_pylist() == ["12345678901234567890", "1.10", "2", "-0"]


def test_a_database_has_a_type_for_moments(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ODD_CSV)
    target = {"url": f"sqlite:///{tmp_path}/x.db", "table": "t"}
    source = {"path": tmp_path / "in.csv"}
    job = Job.model_validate({"name": "job", "source": source, "target": target})
    snapshot = sources.take_snapshot(job.source, tmp_path / "snapshot", purpose=Purpose.of(job))
    assert snapshot.profile("moment").type == "timestamp[s, tz=UTC]"
    assert spelled_columns(snapshot) == {}


def test_a_time_with_an_offset_may_predict(publish_to: Publish, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ODD_CSV)
    snapshot = publish_to("in.csv", "out.parquet", columns={"predictors": ["moment"]})
    assert snapshot.profile("moment").type == "timestamp[s, tz=UTC]"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_rows_that_are_there_keep_their_spelling(
    publish_to: Publish, tmp_path: Path, suffix: str, mode: str
) -> None:
    """A second table comes after the first one, or takes the place of the rows with its keys."""
    first = {"csv": "id,x,y,p\n1,1.50,2.0,1e3\n2,,1,NA\n3,2,3,7\n"}
    first["jsonl"] = (
        '{"id": 1, "x": 1.50, "y": 2.0, "p": 1e3}\n{"id": 2, "x": null, "y": 1, "p": null}\n'
        '{"id": 3, "x": 2, "y": 3, "p": 7}\n'
    )
    again = {"csv": "id,x,y,p\n3,2.50,1,8.0\n4,5,2.00,9\n5,1,,9\n"}
    again["jsonl"] = (
        '{"id": 3, "x": 2.50, "y": 1, "p": 8.0}\n{"id": 4, "x": 5, "y": 2.00, "p": 9}\n'
        '{"id": 5, "x": 1, "y": null, "p": 9}\n'
    )
    for run, tables in enumerate((first, again)):
        (tmp_path / f"in.{suffix}").write_text(tables[suffix])
        publish_to(
            f"in.{suffix}",
            f"out.{suffix}",
            f"run-{run}",
            columns={"key": ["id"]},
            target={"mode": mode},
        )
    lines = (tmp_path / f"out.{suffix}").read_text().splitlines()
    skip = suffix == "csv"
    expected = [*first[suffix].splitlines()[skip:], *again[suffix].splitlines()[skip:]]
    if mode == "upsert":
        del expected[2]
    holes = {1, len(expected) - 1}
    assert len(lines[skip:]) == len(expected)
    for i, (line, before) in enumerate(zip(lines[skip:], expected, strict=True)):
        assert (line != before) == (i in holes), (line, before)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_folder_in_partitions_keeps_the_spelling(
    publish_to: Publish, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "in.csv").write_text("g,x,y,p\n1,1.50,2.0,1e3\n2,,1,NA\n1,2,3.0,7\n")
    for run in ("run-1", "run-2"):
        publish_to(
            "in.csv",
            "out",
            run,
            target={"format": suffix, "partition_by": ["g"], "mode": "append"},
            columns={"key": ["g"]},
        )
    text = (tmp_path / "out/current/g=1" / f"part-0.{suffix}").read_text()
    row = {"csv": "1.50,2.0,1e3\n", "jsonl": '{"x": 1.50, "y": 2.0, "p": 1e3}\n'}[suffix]
    assert text.count(row) == 2


def test_an_older_table_with_other_keys_is_refused(publish_to: Publish, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,x,y\n1,1.5,2\n2,,1\n3,2,3\n")
    (tmp_path / "out.csv").write_text("id,x,y\nnone,1.5,2\n")
    with pytest.raises(TargetError, match="which is there already, cannot be read"):
        publish_to("in.csv", "out.csv", columns={"key": ["id"]}, target={"mode": "upsert"})
    assert (tmp_path / "out.csv").read_text() == "id,x,y\nnone,1.5,2\n"


def test_numbers_with_a_decimal_comma_are_written_as_others_are(
    publish_to: Publish, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(
        'id;x;y;name;v\n1;"14,080";1.234,50;Zürich, CH;1.5\n2;;2,50;a;b\n3;3;-1.000;"";c\n'.encode(
            "cp1252"
        )
    )
    dialect = {"delimiter": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252"}
    snapshot = publish_to("in.csv", "out.csv", source={"csv": dialect})
    assert [column.type for column in snapshot.columns] == [
        *("int64", "double", "double", "string", "string"),
    ]
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [lines[1], lines[3]] == ['1,14.080,1234.50,"Zürich, CH",1.5', '3,3,-1000,"",c']


@given(
    cells=st.lists(
        st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=1
    )
)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_comes_back(tmp_path: Path, cells: list[str | None]) -> None:
    """In CSV nothing and an empty text are two things, and so are null and "" in JSON lines."""
    texts = pa.array(cells, pa.string())
    for file_format, written in (
        ("csv", spelling.csv_fields(texts)),
        ("jsonl", spelling.render(texts, "jsonl")),
    ):
        path = tmp_path / "y"
        rows = pa.RecordBatch.from_arrays([texts, written], ["a", spelling.spelling_of("a")])
        with formats.open_writer(path, file_format, rows.schema) as writer:
            writer.write_batch(rows)
        [back, *none] = formats.read_texts(path, file_format, rows.schema, ["a"])
        assert not none
        plain = pa.array(["" if c is None and file_format == "csv" else c for c in cells])
        assert back.column(0).to_pylist() == plain.to_pylist()
        assert back.column(1).to_pylist() == written.to_pylist()


def test_the_cells_that_a_file_of_text_spells_are_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_text, "CSV_BLOCK_BYTES", 64)
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 64)
    (tmp_path / "x.csv").write_text("a,b\n" + "1.50,x\n" * 200)
    (tmp_path / "x.jsonl").write_text('{"a": 1.50, "b": "x"}\n' * 200)
    for name, spelled in (("x.csv", "1.50"), ("x.jsonl", "1.50")):
        job = Job.model_validate(
            {"name": "j", "source": {"path": tmp_path / name}, "target": {"path": f"y{name[1:]}"}}
        )
        path = tmp_path / f"{name}.arrow"
        sources.take_snapshot(job.source, path, 7, Purpose.of(job))
        batches = list(read_spelled(path))
        assert {batch.num_rows for batch in batches[:-1]} == {7}
        cells = [c for b in batches for c in b[spelling.spelling_of("a")].to_pylist()]
        assert cells == [spelled] * 200
