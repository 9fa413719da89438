"""`em-impute check`: what it prints, and that it finds what a run would refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import em_impute, good_rows, run_directly, table
from conftest import ROOT, WriteJob

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_check_says_what_would_happen_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("check", ROOT / "configs" / "quickstart.yaml")
    assert result.exit_code == 0, result.output
    assert "airquality: 153 rows from data/airquality.csv" in result.output
    lines = {line.split()[0]: line.split() for line in result.output.splitlines() if line.strip()}
    assert lines["Ozone"] == ["Ozone", "int64", "impute", "37", "(24.2%)"]
    assert lines["Wind"] == ["Wind", "double", "predictor", "0", "(0.0%)"]
    assert lines["Month"][2] == "key"
    assert "would fill 44 cells and write out/airquality.parquet" in result.output
    assert not Path("out/airquality.parquet").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("draws", "words"), [(None, "20 times"), (5, "5 times"), ("auto", "as standard errors need")]
)
def test_check_says_how_often_cells_would_be_filled(
    write_job: WriteJob, draws: object, words: str
) -> None:
    several = {"method": "multiple"} | ({"draws": draws} if draws else {})
    result = em_impute("check", write_job(table(**good_rows()), imputation=several))
    assert result.exit_code == 0, result.output
    assert words in result.output


def test_check_finds_what_a_run_would_refuse(write_job: WriteJob) -> None:
    result = em_impute("check", write_job("x,y\n"))
    assert result.exit_code == 1
    assert "at least one row" in result.output
    result = em_impute("check", write_job("x,y\n1,2\n,3\n", columns={"impute": ["z"]}))
    assert result.exit_code == 2
    assert "the table has no column 'z'" in result.output


def test_check_says_what_would_be_left_and_what_columns_look_like(write_job: WriteJob) -> None:
    rows = good_rows()
    rows["order_id"] = list(range(100, 140))
    rows["sex"] = ["f", "m", None, "m"] * 10
    rows["note"] = [f"a {i}" if i % 8 else None for i in range(40)]
    result = em_impute("check", write_job(table(**rows)))
    assert result.exit_code == 0, result.output
    assert (
        "10 cells of sex and 5 of note (text) would be left missing; list it under categories to "
        "fill it, or name in columns.impute what is to be filled.\n"
    ) in result.output
    assert (
        "What em-impute init would have chosen, where the job says nothing:\n"
        "  - order_id: no two rows have the same, and none lacks it; `key: [order_id]` would "
        "suit.\n"
        "  - sex: 2 levels; `categories: nominal` would suit.\n"
    ) in result.output
    assert "look like" not in result.output
    chosen = em_impute("check", write_job(columns={"impute": ["y"], "key": ["order_id"]}))
    assert "would be left" not in chosen.output
    assert (
        "As the job says, it would leave missing: sex 10 (not named in columns.impute), "
        "note 5 (not named in columns.impute).\n"
    ) in chosen.output
    assert "init would" not in chosen.output


def test_check_says_what_columns_look_like_of_which_nothing_is_suggested(
    write_job: WriteJob,
) -> None:
    rows = good_rows(60)
    rows["year"] = [1990 + i % 20 for i in range(60)]
    result = em_impute("check", write_job(table(**rows)))
    assert "What columns look like:\n  - year looks like years, taken for a pred" in result.output
    assert "init would" not in result.output


def test_check_says_how_columns_take_part(write_job: WriteJob) -> None:
    rows = {**good_rows(), "fruit": ["apple", "pear", None, "plum"] * 10}
    columns = {
        "categories": {"fruit": "nominal"},
        "transform": {"x": "log"},
        "bounds": {"y": [0, None]},
        "round": ["y"],
    }
    result = em_impute("check", write_job(table(**rows), columns=columns))
    assert result.exit_code == 0, result.output
    assert [line.rstrip() for line in result.output.splitlines()[1:5]] == [
        "  column  type    part       missing     treatment",
        "  x       double  predictor  0 (0.0%)    log",
        "  y       double  impute     8 (20.0%)   0 or more, whole numbers",
        "  fruit   string  impute     10 (25.0%)  categories, 3 levels, 2 model columns",
    ]


def test_check_compares_with_an_earlier_run(write_job: WriteJob) -> None:
    job = write_job(table(**good_rows()), name="compared")
    missing = em_impute("check", job, "--against", "last")
    assert missing.exit_code == 2
    assert "em-impute: runs/compared has no run that published" in missing.output
    assert run_directly(job, "-q").exit_code == 0
    (folder,) = Path("runs/compared").iterdir()
    same = em_impute("check", job, "--against", "last")
    assert same.exit_code == 0, same.output
    assert f"Against the run in {folder} (published, data of " in same.output
    assert same.output.endswith("):\n  Nothing changes.\n")
    rows = good_rows()
    rows["x"] = rows["x"][::-1]
    others = em_impute("check", write_job(table(**rows), name="compared"), "--against", folder)
    assert others.output.endswith(
        "  Nothing changes but cells: the rows, or their order, are others by now.\n"
    )
    rows["y"][1] = None
    job = write_job(table(**rows, new=rows["x"]), name="compared", model={"tol": 1e-7})
    changed = em_impute("check", job, "--against", "last")
    assert changed.exit_code == 0, changed.output
    against = json.loads(em_impute("check", job, "--against", "last", "--json").stdout)["against"]
    assert against["folder"] == str(folder)
    assert against["columns"] == [{"sign": "+", "what": "new", "text": "double, predictor"}]
    assert (against["published"], against["same_rows"]) == (True, False)
    assert changed.output.partition("):\n")[2] == (
        "  Options of the job:\n"
        "    ~ model.tol: 1e-06 -> 1e-07\n"
        "  Columns:\n"
        "    + new: double, predictor\n"
        "  Rows and missing cells:\n"
        "    ~ y: missing 8 (20.0%) -> 9 (22.5%)\n"
        "  1 added, 0 removed, 2 changed.\n"
    )


def test_a_plan_of_hostile_names_is_on_lines_of_its_own(write_job: WriteJob) -> None:
    job = write_job(table(**good_rows()), name="named")
    assert run_directly(job, "-q").exit_code == 0
    hostile = {**good_rows(), "a\x1b[2Jb": good_rows()["x"]}
    job = write_job(table(**hostile), name="named", description="one\n+ two\x1b[31m")
    result = em_impute("check", job, "--against", "last")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "    + description: one + two□[31m\n" in result.output


def test_the_plan_on_the_page_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    page = (ROOT / "docs" / "job.md").read_text(encoding="utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    Path("job.yaml").write_text(text)
    assert run_directly("job.yaml", "-q").exit_code == 0
    others = "  predictors: [Wind]\n  transform: {Ozone: log}\n  bounds: {Solar.R: [0, null]}\n"
    Path("job.yaml").write_text(text.replace("  predictors: [Wind, Temp]\n", others))
    result = em_impute("check", "job.yaml", "--against", "last")
    assert result.exit_code == 0, result.output
    printed = result.output.partition("Against the run in ")[2].partition("\n")[2]
    shown = page.partition("Against the run in ")[2].partition("\n")[2]
    assert shown.startswith(printed)


def test_what_check_prints_as_json(write_job: WriteJob) -> None:
    """Every key is explained on the page, and always there."""
    rows = {**good_rows(60), "grade": ["low", "mid", None] * 20, "cat": ["SECRET"] * 59 + ["b"]}
    columns = {"categories": {"cat": "nominal"}}
    job = write_job(table(**rows), name="as_json", columns=columns)
    result = em_impute("check", job, "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert (made["job"], made["rows"], made["cells_to_fill"], made["times"]) == (
        "as_json",
        60,
        12,
        1,
    )
    assert [one["name"] for one in made["columns"]] == ["x", "y", "grade", "cat"]
    assert made["columns"][1]["part"] == "impute"
    assert made["columns"][3]["levels"] == 2
    assert made["left_missing"][0]["cells"] == 20
    suggested = {"columns": ["grade"], "reason": "2 levels", "options": {"categories": "nominal"}}
    assert made["suggestions"] == [suggested]
    assert (made["against"], made["refusal"]) == (None, None)
    assert "SECRET" not in result.stdout
    page = (ROOT / "docs" / "job.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (`.*?) \|", page.partition("## `check` for programs")[2], re.MULTILINE)
    assert {key for line in lines for key in re.findall(r"`(\w+)`", line)} == made.keys()
    refused = em_impute("check", write_job("x,y\n"), "--json")
    assert refused.exit_code == 1
    assert "at least one row" in json.loads(refused.stdout)["refusal"]
    assert json.loads(refused.stdout).keys() == made.keys()
    wrong = em_impute("check", write_job("x,y\n1,2\n", columns={"impute": ["z"]}), "--json")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "the table has no column 'z'" in wrong.stderr
