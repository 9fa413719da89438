"""What a column cannot be used for: with its place in the job, its row, and never its cell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from pathlib import Path

import pyarrow as pa
import pytest

from em_impute.job import Job, JobError, load_job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


MakeJob = Callable[..., Job]


AIR = "Ozone,Wind,Station,Temp,Day\n41,7.4,a,67,1\n,8,b,,2\n12,12.6,c,74,3\n"


def objection(snapshot: Snapshot, job: Job) -> str:
    with pytest.raises(JobError) as caught:
        assign_roles(snapshot, job)
    return str(caught.value)


def test_all_problems_are_found_at_once(take_csv: Take, job: MakeJob) -> None:
    message = objection(
        take_csv(AIR), job(impute=["ozone", "Station"], predictors=["Zinc"], key=["day"])
    )
    assert message.splitlines() == [
        "columns.impute.0: columns.impute: the table has no column 'ozone'; did you mean 'Ozone'? "
        "It has 'Ozone', 'Wind', 'Station', 'Temp', 'Day'.",
        "columns.impute.1: columns.impute: column 'Station' holds text at row 1 (a single letter). "
        "Write a number there, or leave the cell empty if it stands for a missing value, or "
        "name such texts in source.missing; if the "
        "column holds categories, name it in columns.categories.",
        "columns.predictors.0: columns.predictors: the table has no column 'Zinc'. "
        "It has 'Ozone', 'Wind', 'Station', 'Temp', 'Day'.",
        "columns.key.0: columns.key: the table has no column 'day'; did you mean 'Day'? "
        "It has 'Ozone', 'Wind', 'Station', 'Temp', 'Day'.",
    ]


def test_problem_is_at_its_line_of_the_job_file(take_csv: Take, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "name: air\nsource: {path: x.csv}\ncolumns:\n  impute:\n    - Ozone\n    - Wint\n"
        "target: {path: y.csv}\n"
    )
    assert objection(take_csv(AIR), load_job(path)).startswith(f"{path}:6:7: columns.impute: ")


def test_a_wide_table_is_not_listed_in_full(take_csv: Take, job: MakeJob) -> None:
    header = ",".join(f"c{i}" for i in range(30))
    assert objection(take_csv(header), job(impute=["x"])).endswith("'c19' and 10 more.")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("n/k", "a text of 3 characters"),
        ("unknown", "a word of 7 letters"),
        ("?", "a text of 1 character"),
        ("12 mg", "a text of 5 characters"),
        ('"1,234"', "a number with a decimal comma or a separator of thousands"),
        ("0012", "a code of 4 characters, whose zeros, sign or digits a number would not keep"),
    ],
)
def test_text_among_numbers_is_told_by_row_and_kind(
    take_csv: Take, job: MakeJob, text: str, kind: str
) -> None:
    snapshot = take_csv(f"x,y\n1,1\nNA,1\n-2.5e3,1\n,1\n{text},1\n5,1\n")
    message = objection(snapshot, job(impute=["x"]))
    assert f"column 'x' holds text at row 5 ({kind})." in message
    assert text not in message


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
def test_numbers_that_are_stored_as_text(
    take_table: Take, job: MakeJob, type_: pa.DataType
) -> None:
    snapshot = take_table(pa.table({"x": pa.array(["1.5", None, "-2"], type_)}))
    assert "is text, although all that it holds reads as numbers" in objection(
        snapshot, job(predictors=["x"])
    )


@pytest.mark.parametrize("cells", [[time(1), None], [b"1.5"]], ids=["time", "binary"])
def test_types_that_are_no_model_column(
    take_table: Take, job: MakeJob, cells: list[object]
) -> None:
    table = pa.table({"x": cells})
    message = objection(take_table(table), job(impute=["x"]))
    assert f"column 'x' is of type {table['x'].type}; a column of the model has to be" in message


@pytest.mark.parametrize(
    ("integer", "type_"),
    [
        (2**53 + 1, pa.int64()),
        (-(2**53) - 1, pa.int64()),
        (2**63, pa.uint64()),
    ],
)
@pytest.mark.parametrize("columns", [{}, {"impute": ["x"]}], ids=["default", "named"])
def test_integer_that_floating_point_cannot_hold(
    take_table: Take, job: MakeJob, integer: int, type_: pa.DataType, columns: dict[str, list[str]]
) -> None:
    snapshot = take_table(pa.table({"x": pa.array([1, None, integer], type_)}))
    message = objection(snapshot, job(**columns))
    assert message.startswith("columns.impute")
    assert "column 'x' becomes floating point when it is imputed, and row 3 holds an" in message
    assert str(integer) not in message


def test_integers_up_to_2_53_are_imputed(take_table: Take, job: MakeJob) -> None:
    snapshot = take_table(pa.table({"x": [2**53, -(2**53), None]}))
    assert assign_roles(snapshot, job()).impute == ("x",)


TABLE = "x,y,s,k\n1,5,a,1\n0,,b,2\n-3,7,a,3\n,9,,4\n"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"transform": {"z": "log"}}, "columns.transform: the table has no column 'z'."),
        ({"bounds": {"s": [0, 1]}}, "columns.bounds: column 's' is not a column of numbers."),
        (
            {"round": ["k"], "key": ["k"]},
            "columns.round: column 'k' is not in the model; name it in columns.impute or",
        ),
        (
            {"transform": {"x": "log"}, "bounds": {"x": [None, 0]}},
            "no number between the bounds of 'x' is in the domain of log, which is above 0.",
        ),
        (
            {"round": True, "bounds": {"x": [0.2, 0.8]}},
            "there is no whole number between the bounds of 'x'.",
        ),
        (
            {"categories": {"s": ["a", "c"]}},
            "column 's' holds at row 2 a level that is not among the 2 that the job names",
        ),
    ],
)
def test_options_that_a_column_cannot_have(
    take_csv: Take, job: MakeJob, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(JobError) as caught:
        assign_roles(take_csv(TABLE), job(**columns))
    assert message in str(caught.value)


def test_floats_are_no_categories(take_table: Take, job: MakeJob) -> None:
    snapshot = take_table(pa.table({"x": [1.5, None]}))
    with pytest.raises(JobError, match="'x' is of type double; categories are text, booleans or"):
        assign_roles(snapshot, job(categories={"x": "nominal"}))
