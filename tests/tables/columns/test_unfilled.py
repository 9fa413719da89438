"""Missing cells that are left missing: which, why, and what would fill them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from em_impute.job import FileSource, Job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.columns.unfilled import Unfilled, find_unfilled, unfilled_in_words
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot

ROWS = 60
QUIET = "or name in columns.impute what is to be filled."

Take = Callable[[Any], Snapshot]
MakeJob = Callable[..., Job]


def holed(cells: list[Any]) -> list[Any]:
    """Every third of them missing."""
    return [None if i % 3 == 0 else cell for i, cell in enumerate(cells)]


def found(snapshot: Snapshot, job: Job) -> tuple[Unfilled, ...]:
    return find_unfilled(snapshot, assign_roles(snapshot, job), job.columns)


def typed(job: Job) -> Job:
    return job.model_copy(update={"source": FileSource(path=Path("x.feather"))})


COLUMNS: dict[str, tuple[pa.Array, str]] = {
    "text": (pa.array(holed(["a", "b"] * 30)), "text; list it under categories to fill it"),
    "dictionary": (
        pa.array(holed(["a", "b"] * 30)).dictionary_encode(),
        "text; list it under categories to fill it",
    ),
    "note": (
        pa.array(holed([f"note {i}" for i in range(80)])),
        "text, more than 50 levels; join the rare levels and list it under categories to fill it",
    ),
    "flag": (
        pa.array(holed([True, False] * 30)),
        "true or false; list it under categories to fill it",
    ),
    "day": (
        pa.array(holed([date(2026, 1, 1)] * ROWS)),
        "dates or times; convert it to a number in the source to fill it",
    ),
    "bytes": (
        pa.array(holed([b"x"] * ROWS)),
        "of type binary; convert it to numbers or text in the source to fill it",
    ),
    "list": (
        pa.array(holed([[1, 2]] * ROWS)),
        "of type list<item: int64>; convert it to numbers or text in the source to fill it",
    ),
    "texts": (
        pa.array(holed([["a"]] * ROWS)),
        "of type list<item: string>; convert it to numbers or text in the source to fill it",
    ),
    "struct": (
        pa.array(holed([{"a": "b"}] * ROWS)),
        "of type struct<a: string>; convert it to numbers or text in the source to fill it",
    ),
    "nothing": (
        pa.nulls(ROWS),
        "no cell of it is observed; leave the column out of the source",
    ),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_what_the_model_cannot_take_is_told_with_its_remedy(
    take_table: Take, job: MakeJob, kind: str
) -> None:
    cells, told = COLUMNS[kind]
    table = pa.table({"x": holed([*range(len(cells))]), "other": cells})
    [one] = found(take_table(table), typed(job()))
    assert (one.column, one.cells, one.explained) == ("other", cells.null_count, told)


def test_what_folders_names_do_not_say_is_told(tmp_path: Path, folder: RunFolder) -> None:
    for year in ("1", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"in/year={year}").mkdir(parents=True)
        (tmp_path / f"in/year={year}/x.csv").write_text("v\n1\n")
    source = {"path": tmp_path / "in", "format": "csv"}
    job = Job.model_validate({"name": "x", "source": source, "target": {"path": "out.csv"}})
    [one] = found(take_snapshot(job.source, folder.snapshot), job)
    assert one.explained == "in folders' names; name it in columns.impute to fill it"


def test_what_is_filled_or_has_no_holes_is_not_told(take_table: Take, job: MakeJob) -> None:
    table = pa.table(
        {"x": holed([*range(ROWS)]), "sex": holed(["f", "m"] * 30), "whole": ["a"] * ROWS}
    )
    assert found(take_table(table), typed(job(categories={"sex": "nominal"}))) == ()


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"impute": ["y"]}, "not named in columns.impute"),
        ({"predictors": ["x"]}, "a predictor"),
        ({"key": ["x"]}, "a key"),
        ({"group_by": ["x"]}, "it groups the rows"),
    ],
)
def test_what_the_job_leaves_on_purpose_is_told_without_a_warning(
    take_table: Take, job: MakeJob, columns: dict[str, Any], why: str
) -> None:
    table = pa.table({"x": holed([*range(ROWS)]), "y": holed([*range(ROWS)])})
    left = found(take_table(table), typed(job(**columns)))
    assert left == (Unfilled("x", 20, why),)
    assert list(unfilled_in_words(left)) == []


def test_empty_cells_of_text_in_a_csv_are_missing(take_csv: Take, job: MakeJob) -> None:
    """A CSV has no other way to say it; they are spelled as missing numbers are."""
    [one] = found(take_csv("x,sex\n1,f\n,m\n3,\n4,NA\n"), job())
    assert (one.column, one.cells, one.why) == ("sex", 2, "text")


def test_an_empty_text_is_a_text_where_there_are_nulls(take_table: Take, job: MakeJob) -> None:
    table = pa.table({"x": [1.0, None, 3.0], "note": ["", "NA", "a"]})
    assert found(take_table(table), typed(job())) == ()
