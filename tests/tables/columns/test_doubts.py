"""What a table may mean otherwise: said with the rows and what to write, never with a cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from em_impute.job import Job, JobError
from em_impute.tables.columns.doubts import Doubt, find_doubts
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import read_batches
from em_impute.tables.sources import take_snapshot

Doubts = Callable[..., list[Doubt]]


@pytest.fixture
def doubts_of(tmp_path: Path, folder: RunFolder) -> Doubts:
    """What is doubted of a source, a CSV or another, by a job with the given columns."""

    def find(
        content: str | pa.Table,
        before: tuple[str, ...] = (),
        source: dict[str, Any] | None = None,
        name: str = "x.csv",
        **columns: Any,
    ) -> list[Doubt]:
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            pq.write_table(content, tmp_path / name)
        job = Job.model_validate(
            {
                "name": "job",
                "source": {"path": tmp_path / name, **(source or {})},
                "columns": columns,
                "target": {"path": "y.parquet"},
            }
        )
        snapshot = take_snapshot(job.source, folder.snapshot, 1000, Purpose.of(job))
        return list(find_doubts(snapshot, assign_roles(snapshot, job), job, before))

    return find


def column(*cells: object) -> str:
    return "id,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells, 1))


NUMBERS = [i + 0.5 for i in range(40)]


@pytest.mark.parametrize(
    ("cells", "observed"),
    [
        (
            [*NUMBERS, "secret"],
            "1 cell is no number, in row 41, so it is left as text; mend it, leave it empty, or "
            "name in source.missing what stands for a missing cell",
        ),
        ([*NUMBERS, "007"], "1 cell is no number, in row 41, so it is left as text; mend it"),
        (
            ["#DIV/0!", *NUMBERS, "", "NA"],
            '1 cell is no number, in row 1, so it is left as text; `missing: {x: ["#DIV/0!"]}` in '
            "the source reads it as missing",
        ),
        ([*["."] * 30, *NUMBERS], "30 cells are no numbers, in rows 1, 2, 3 and others, so it is"),
        (["a", *NUMBERS, "b", "c"], "3 cells are no numbers, in rows 1, 42, 43, so it is left"),
        (
            [*NUMBERS * 50, *["secret"] * 20],
            "20 cells are no numbers, in rows 2001, 2002, 2003 and",
        ),
        (
            ['"1,234.5"', '"12"'] * 20,
            "its numbers have separators, so it is left as text; say `csv: "
            '{thousands: ","}` in the source',
        ),
        (
            ['"1,5"', '"12"'] * 20,
            "its numbers have separators, so it is left as text; say `csv: "
            '{decimal: ","}` in the source',
        ),
    ],
)
def test_a_column_of_numbers_but_for_a_few_cells(
    doubts_of: Doubts, cells: list[object], observed: str
) -> None:
    [doubt] = doubts_of(column(*cells))
    assert (doubt.column, doubt.expected, doubt.stop) == ("x", "numbers in x", False)
    assert doubt.observed.startswith(observed)
    [doubt] = doubts_of(column(*cells), strict=True)
    assert doubt.stop


def test_numbers_that_are_too_precise(doubts_of: Doubts) -> None:
    """What remains text is said; identifiers of as many digits are not meant as numbers."""
    [doubt] = doubts_of(column(*(f"12.3456789012345{i:05}7" for i in range(40))))
    assert doubt.observed.startswith("its numbers have more digits than floating point keeps, so")
    assert doubts_of(column(*(f"123456789012345{i:05}7" for i in range(40)))) == []


@pytest.mark.parametrize(
    "cells",
    [
        ["a", "b", *range(5)],  # as many texts, for so short a column
        [*["a"] * 11, *NUMBERS],
        ["12a", "b7", *["x"] * 40],
        [f"0{i}" for i in range(20)],
        NUMBERS,
        ["NA", ""],
    ],
)
def test_text_that_is_meant(doubts_of: Doubts, cells: list[object]) -> None:
    assert doubts_of(column(*cells)) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"key": ["x"]},
        {"categories": {"x": ["secret", *map(str, NUMBERS)]}},
        {"impute": ["id"], "predictors": []},
    ],
)
def test_a_column_with_another_part_may_be_text(doubts_of: Doubts, columns: dict[str, Any]) -> None:
    assert doubts_of(column(*NUMBERS, "secret"), ("x",), **columns) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"impute": ["x"]},
        {"predictors": ["x"]},
        {"impute": ["id"], "predictors": ["x"]},
        {"bounds": {"x": [0, None]}},
        {"transform": {"x": "log"}},
        {"round": ["x"]},
    ],
)
def test_a_column_that_the_job_names_is_refused(doubts_of: Doubts, columns: dict[str, Any]) -> None:
    with pytest.raises(JobError) as caught:
        doubts_of(column(*NUMBERS, "secret"), **columns)
    assert "column 'x' holds text at row 41 (a word of 6 letters)" in str(caught.value)
    assert "source.missing" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_column_that_the_last_run_filled(doubts_of: Doubts) -> None:
    table = column(*["secret"] * 20, *NUMBERS[:10])
    assert doubts_of(table) == []
    [doubt] = doubts_of(table, ("x",))
    assert doubt.observed == (
        "the last run that published has filled it, but now it is text, with no number in row 1; "
        "mend it, or name it in columns.categories"
    )
    [doubt] = doubts_of(column(*NUMBERS, "secret"), ("x",))
    assert doubt.observed.startswith("the last run that published has filled it, but now 1 cell is")


def test_json_lines_with_texts_among_numbers(doubts_of: Doubts) -> None:
    rows = [f'{{"id": {i}, "x": {x}, "zip": "{x:.0f}"}}\n' for i, x in enumerate(NUMBERS)]
    rows[20] = '{"id": 20, "x": "secret", "zip": "W1"}\n'
    [doubt] = doubts_of("".join(rows), name="x.jsonl")
    assert (doubt.column, doubt.observed[:36]) == ("x", "1 cell is no number, in row 21, so i")
    with pytest.raises(JobError, match="column 'x' holds text at row 21"):
        doubts_of("".join(rows), name="x.jsonl", impute=["x"])
    assert doubts_of("".join(rows), source={"missing": ["secret"]}, name="x.jsonl") == []


@pytest.mark.parametrize(
    ("sentinel", "shown"),
    [(-999, "-999"), (9999, "9999"), (-99.0, "-99"), ("999.0", "999"), (-999.9, "-999.9")],
)
def test_numbers_of_nines_at_the_edge(doubts_of: Doubts, sentinel: object, shown: str) -> None:
    [doubt] = doubts_of(column(*NUMBERS, *[sentinel] * 5))
    assert doubt.observed == (
        f"5 cells hold {shown}; if that is what it means, say `missing: {{x: [{shown}]}}` in the "
        "source, and if not, `missing: {x: []}`"
    )
    assert not doubt.stop
    for said in ({"x": []}, {"x": [sentinel]}):
        assert doubts_of(column(*NUMBERS, *[sentinel] * 5), source={"missing": said}) == []


@pytest.mark.parametrize(
    "cells",
    [
        [*range(1, 10)] * 5,  # 9 is a mark
        [*NUMBERS, -999],  # one in forty
        [*NUMBERS, *[-999] * 5, -1000.5],  # not at the edge
        [999] * 20,  # nothing else
        [*NUMBERS, *[-9] * 5],
        [*NUMBERS, *[-998] * 5],
    ],
)
def test_nines_that_are_values(doubts_of: Doubts, cells: list[object]) -> None:
    assert doubts_of(column(*cells)) == []


def test_sentinels_of_a_format_with_types(doubts_of: Doubts, folder: RunFolder) -> None:
    table = pa.table(
        {"x": [*NUMBERS, *[-999.0] * 5], "n": pa.array([7] * 40 + [9999] * 5, pa.int16())}
    )
    assert [doubt.column for doubt in doubts_of(table, name="x.parquet")] == ["x", "n"]
    said = {"missing": ["-999", 9999.0]}
    assert doubts_of(table, source=said, name="x.parquet") == []
    read = pa.Table.from_batches(read_batches(folder.snapshot))
    assert (read["x"].null_count, read["n"].null_count) == (5, 5)
    assert read.schema.field("n").type == pa.int16()


def test_a_header_of_numbers_and_an_index_of_pandas(doubts_of: Doubts) -> None:
    [doubt] = doubts_of("1,2.5\n3,4\n5,6\n")
    assert doubt.observed.startswith("all of them are numbers; if it is a row like the others, say")
    assert doubts_of("1,2.5\n3,4\n5,6\n", source={"csv": {"header": False}}) == []
    assert doubts_of("id,2025,2026\n3,4,7\n5,6,8\n") == []
    table = "Unnamed: 0,x\n0,1.5\n1,\n2,3\n"
    assert [doubt.name for doubt in doubts_of(table)] == ["index"]
    assert doubts_of(table, key=["Unnamed: 0"]) == []
