"""What a run would change against an earlier one, and the runs that nothing is compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from command_line import good_rows, run_directly, table
from conftest import WriteJob

from em_impute.job import CannotRun, load_job
from em_impute.runs import steps
from em_impute.runs.changes import Changes, changes_since, find_run, read_earlier
from em_impute.runs.treatment import Treatment, differences
from em_impute.tables.run_folder import RunFolder

RUNS = Path("runs/changing")
LEVELS = ["apple", "pear", None, "plum"]


def rows(n: int = 40, **more: list[Any]) -> str:
    return table(id=list(range(n)), **good_rows(n), fruit=(LEVELS * n)[:n], **more)


@pytest.fixture
def compared(write_job: WriteJob, tmp_path: Path) -> Callable[..., Changes]:
    """What a job would change against its last run, or another one."""

    def compare(content: str | None = None, run: Path | None = None, **job: Any) -> Changes:
        options = {"key": ["id"], "categories": {"fruit": "nominal"}}
        whole = {"name": "changing", "columns": options} | job
        made = load_job(write_job(content, **whole))
        folder = RunFolder(tmp_path / "read")
        folder.path.mkdir(exist_ok=True)
        folder.clear()
        earlier = read_earlier(run or find_run("last", RUNS))
        made = made.at(date(2026, 11, 28))
        return changes_since(earlier, made, steps.load(made, folder))

    return compare


@pytest.fixture
def last(write_job: WriteJob) -> Path:
    """The folder of a run that published."""
    columns = {"key": ["id"], "categories": {"fruit": "nominal"}}
    job = write_job(rows(old=list(range(40))), name="changing", columns=columns)
    assert run_directly(job, "-q", "--date", "2026-11-20").exit_code == 0
    return find_run("last", RUNS)


def lines(changes: Changes) -> list[str]:
    return [f"{change.sign} {change.what}: {change.text}" for change in changes.every]


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_nothing_changes_for_the_same_job_and_table(
    last: Path, compared: Callable[..., Changes]
) -> None:
    found = compared()
    assert (found.every, found.notes, found.same_rows) == ((), (), True)
    assert (found.since.folder, found.since.day, found.since.published) == (
        last,
        date(2026, 11, 20),
        True,
    )
    reordered = rows(old=list(range(40))[::-1])
    found = compared(reordered)
    assert (found.every, found.same_rows) == ((), False)


@pytest.mark.usefixtures("last")
def test_options_columns_and_cells_have_their_signs(compared: Callable[..., Changes]) -> None:
    found = compared(
        table(
            id=list(range(50)),
            **good_rows(50),
            fruit=["apple", "pear", "cherry", None, "fig"] * 10,
            new=["a"] * 50,
        ),
        columns={
            "key": ["id"],
            "categories": {"fruit": "nominal"},
            "transform": {"x": {"logit": [0, 100]}},
            "bounds": {"y": [0, None]},
            "round": ["y"],
        },
        model={"tol": 1e-7},
        schedule={"cron": "0 3 * * *"},
    )
    assert lines(found) == [
        "+ columns.transform.x.logit: [0.0, 100.0]",
        "+ columns.bounds.y: [0.0, null]",
        '+ columns.round: ["y"]',
        "~ model.tol: 1e-06 -> 1e-07",
        "+ schedule.cron: 0 3 * * *",
        "~ x: transform none -> logit of 0 to 100",
        "~ y: bounds none -> 0 or more; rounding none -> whole numbers",
        "~ fruit: levels 3 -> 4 (2 new, 1 gone); model columns 2 -> 3",
        "+ new: string, kept as is",
        "- old: int64, predictor",
        "~ rows: 40 -> 50",
        "~ y: missing 8 (20.0%) -> 10 (20.0%)",
    ]


@pytest.mark.usefixtures("last")
def test_a_part_and_a_type_that_changed(compared: Callable[..., Changes]) -> None:
    text = rows(old=[f"no {i}" for i in range(40)])
    found = compared(text, columns={"key": ["id"], "predictors": ["x"]})
    assert lines(found) == [
        '+ columns.predictors: ["x"]',
        "- columns.categories.fruit: nominal",
        "~ fruit: part impute -> kept as is",
        "~ old: type int64 -> string; part predictor -> kept as is",
    ]


@pytest.mark.usefixtures("last")
def test_long_lists_are_compared_item_by_item(
    write_job: WriteJob, compared: Callable[..., Changes]
) -> None:
    def expected(most: int) -> dict[str, Any]:
        between = {"column": "x", "min_value": 0, "max_value": most}
        return {"expect_column_values_to_be_between": between}

    first, second, third = (expected(most) for most in (100, 200, 300))
    columns = {"key": ["id"], "categories": {"fruit": "nominal"}}
    job = write_job(name="changing", columns=columns, checks={"input": [first, second]})
    assert run_directly(job, "-q").exit_code == 0
    found = compared(checks={"input": [third, first]})
    came, gone = found.options
    assert (came.sign, came.what, gone.sign, gone.what) == (
        "+",
        "checks.input",
        "-",
        "checks.input",
    )
    assert '"max_value": 300' in came.text
    assert '"max_value": 200' in gone.text
    (found_order,) = compared(checks={"input": [second, first]}).options
    assert found_order.text == "in another order"


def test_the_date_of_a_dated_job_is_no_change_of_its_options(
    write_job: WriteJob, compared: Callable[..., Changes]
) -> None:
    dated = {"source": {"path": "in-{date}.csv"}, "target": {"path": "out/{date}.csv"}}
    for day in ("2026-11-27", "2026-11-28"):
        Path(f"in-{day}.csv").write_text(rows())
    columns = {"key": ["id"], "categories": {"fruit": "nominal"}}
    job = write_job(name="changing", columns=columns, **dated)
    assert run_directly(job, "-q", "--date", "2026-11-27").exit_code == 0
    found = compared(**dated)
    assert found.every == ()
    assert found.notes == ("It is of the data of 2026-11-27; those of 2026-11-28 are read now.",)


def test_a_run_of_another_job_is_compared_and_named(
    last: Path, compared: Callable[..., Changes]
) -> None:
    found = compared(run=last, name="renamed")
    assert lines(found) == ["~ name: changing -> renamed"]
    assert found.notes == ("It is a run of another job, changing.",)


def test_an_option_that_an_older_version_did_not_have_stood_at_its_default(
    last: Path, compared: Callable[..., Changes]
) -> None:
    def older(manifest: dict[str, Any]) -> None:
        del manifest["definition"]["model"]["tol"]
        del manifest["definition"]["engine"]
        del manifest["date"]
        manifest["definition"]["gone"] = {"option": "on"}

    edit(last / "manifest.json", older)
    found = compared(model={"tol": 1e-7})
    # This version does not read the job any more, so how its columns were taken is not known.
    assert lines(found) == ["+ model.tol: 1e-07", "- gone.option: on"]
    assert found.notes[0].startswith("It does not say how the model took its columns")


def test_without_the_file_of_columns_their_parts_are_compared(
    last: Path, compared: Callable[..., Changes]
) -> None:
    (last / "columns.json").unlink()
    found = compared(columns={"key": ["id"]})
    assert lines(found) == [
        "- columns.categories.fruit: nominal",
        "~ fruit: part impute -> kept as is",
    ]


def test_no_cell_is_in_what_changes(last: Path, compared: Callable[..., Changes]) -> None:
    del last
    found = compared(rows().replace("apple", "secret"))
    assert not [line for line in lines(found) if "secret" in line or "apple" in line]
    assert "~ fruit: levels 3 -> 3 (1 new, 1 gone)" in lines(found)


def test_runs_that_nothing_is_compared_with(last: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="has no run that published, so there is no last one"):
        find_run("last", Path("runs/nobody"))
    with pytest.raises(CannotRun, match=r"has no manifest\.json that can be read"):
        read_earlier(tmp_path / "nowhere")
    edit(last / "manifest.json", lambda manifest: manifest.pop("definition"))
    with pytest.raises(CannotRun, match="does not hold the whole job"):
        read_earlier(last)
    (last / "manifest.json").unlink()
    with pytest.raises(CannotRun, match="read no table, so there is nothing to compare with"):
        read_earlier(last)


def test_the_order_of_levels_is_told_and_the_levels_are_not() -> None:
    then = Treatment("impute", "string", "ordered categories", levels=("low", "high"))
    assert list(differences(then, replace(then, levels=("high", "low")))) == [
        "levels 2 -> 2 (in another order)"
    ]
