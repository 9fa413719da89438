"""`em-impute run`: what it prints, its exit codes, and that a failed run touches nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import GOOD, OLD, em_impute, good_rows, run_directly, shown, skewed_rows, table
from conftest import WriteJob
from servers import PrefectServer

from em_impute.tables.writing import formats as staging

pytestmark = pytest.mark.usefixtures("prefect_server")

# One of each kind of ending; the others differ in what the steps say, not in who runs them.
IN_PREFECT = ("a ragged line", "a critical check of the output", "a warning of the input")


def how(case: str) -> tuple[str, ...]:
    """Whether a case is run without Prefect."""
    return () if case in IN_PREFECT else ("--direct",)


def test_a_run_leaves_its_folder_and_nothing_else(write_job: WriteJob, tmp_path: Path) -> None:
    result = em_impute("run", write_job(table(**good_rows())))
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs" / "test").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "manifest.json",
        "model.json",
        "columns.json",
        "summary.npz",
        "cells.parquet",
        "checks.json",
        "report.json",
        "report.html",
    }
    assert shown(tmp_path / "out") == ["filled.csv"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["cells"] == 8
    assert manifest["source"]["rows"] == 40
    assert pq.read_table(folder / "cells.parquet").num_rows == 8


def test_a_sample_is_said_in_the_log_and_the_report(write_job: WriteJob) -> None:
    checks = {
        "input": [
            {"expect_table_row_count_to_equal": {"value": 40}},
            {"expect_column_values_to_be_between": {"column": "x", "min_value": -100}},
        ],
        "max_rows": 12,
    }
    result = run_directly(write_job(table(**good_rows()), checks=checks))
    assert result.exit_code == 0, result.output
    (folder,) = Path("runs/test").iterdir()
    said = "Great Expectations saw a sample of 12 of the 40 rows of the input"
    assert said in (folder / "report.html").read_text()
    results = json.loads((folder / "checks.json").read_text())[0]["results"]
    assert [r["observed"] for r in results[-2:]] == ["40 rows", "0 of 12 rows unexpected (0.0%)"]
    checks["input"].append({"expect_column_values_to_be_unique": {"column": "x"}})
    refused = run_directly(write_job(checks=checks))
    assert "expect_column_values_to_be_unique: this is about all rows together" in refused.output
    assert refused.exit_code == 2


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_a_run_tests_itself_and_tells_no_cell(write_job: WriteJob, method: str) -> None:
    rows = skewed_rows()
    job = write_job(
        table(**rows),
        columns={"transform": {"y": "log"}},
        self_test={"method": method, "max_share": 0.5, "max_pit_distance": 0.1},
    )
    result = run_directly(job)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "test Error " in said
    assert "% lower than filling with the mean, " in said
    assert "; 240 test cells." in said
    (folder,) = Path("runs/test").iterdir()
    page = (folder / "report.html").read_text()
    numbers = json.loads((folder / "report.json").read_text())["self_test"]
    assert (numbers["method"], numbers["cells"], numbers["observed"]) == (method, 240, 480)
    assert numbers["sentence"] in page
    cells = {f"{value:.6g}" for column in rows.values() for value in column if value is not None}
    told = {f"{float(n):.6g}" for n in re.findall(r"\d+\.\d{4,}", json.dumps(numbers))}
    assert told
    assert not told & cells


def test_a_run_without_a_test_says_so(write_job: WriteJob) -> None:
    result = run_directly(write_job(table(**good_rows()), self_test="off"))
    assert result.exit_code == 0, result.output
    (folder,) = Path("runs/test").iterdir()
    assert json.loads((folder / "report.json").read_text())["self_test"] is None
    assert "<h2>The self-test</h2>" not in (folder / "report.html").read_text()


def test_nothing_to_impute_publishes_the_table_as_it_is(write_job: WriteJob) -> None:
    rows = {"name": ["a", "b", "c"], "x": [1, 2, 4]}
    result = run_directly(write_job(table(**rows)))
    assert result.exit_code == 0, result.output
    assert "No cell needed filling" in result.output
    pd.testing.assert_frame_equal(pd.read_csv("out/filled.csv"), pd.DataFrame(rows))


# --- What is wrong with the job, its source or its target: exit code 2 --------------------------


def without_a_table(_: Path) -> None:
    """No in.csv at all."""


def of(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


WRONG_SOURCES = {
    "no such file": (without_a_table, {}, "in.csv: no such file"),
    "a picture": (of(b"\x89PNG\r\n\x1a\n" + bytes(50)), {}, "not a CSV file: it is a PNG picture"),
    "parquet named csv": (of(b"PAR1" + bytes(20) + b"PAR1"), {}, "say `format: parquet`"),
    "an empty file": (of(""), {}, "in.csv is empty"),
    "a ragged line": (of("a,b\n1,2\n3\n4,5\n"), {}, "row 2 has 1 field"),
    "duplicate names": (of("a,b,a\n1,2,3\n"), {}, "'a' names columns 1 and 3"),
    "a column that is not there": (
        of("Ozone,Wind\n1,2\n,3\n"),
        {"columns": {"impute": ["Ozon"]}},
        "job.yaml:2:12: columns.impute: the table has no column 'Ozon'; did you mean 'Ozone'?",
    ),
    "text in a numeric column": (
        of("x,y\n1,2\n2,\nthree,4\n"),
        {"columns": {"impute": ["y"], "predictors": ["x"]}},
        "column 'x' holds text at row 3 (a word of 5 letters)",
    ),
    "an unknown expectation": (
        of(GOOD),
        {"checks": {"input": [{"expect_column_to_exit": {"column": "x"}}]}},
        "has no expectation expect_column_to_exit (did you mean expect_column_to_exist?)",
    ),
    "a bad option of a check": (
        of(GOOD),
        {"checks": {"output": [{"expect_column_to_exist": {"colum": "x"}}]}},
        "there is no option colum (did you mean column?)",
    ),
    "a check of a column that is not there": (
        of(GOOD),
        {"checks": {"input": [{"expect_column_values_to_not_be_null": {"column": "z"}}]}},
        "the table has no column z",
    ),
    "a level that the job does not name": (
        of("x,grade\n1,low\n2,high\n3,\n4,other\n"),
        {"columns": {"categories": {"grade": ["low", "high"]}}},
        "column 'grade' holds at row 4 a level that is not among the 2 that the job names",
    ),
    "an unknown key": (of(GOOD), {"sorce": 1}, "unknown key (did you mean source?)"),
}


@pytest.mark.parametrize("case", WRONG_SOURCES)
def test_what_is_wrong_is_said_with_exit_code_2_and_touches_nothing(
    write_job: WriteJob, old_target: Path, case: str
) -> None:
    write_source, changes, message = WRONG_SOURCES[case]
    path = write_job(**changes)
    write_source(Path("in.csv"))
    result = em_impute("run", path, *how(case))
    assert message in result.output
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "three" not in result.output.replace("a word of 5 letters", "")
    assert old_target.read_bytes() == OLD
    assert shown(old_target.parent) == ["filled.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "job.yaml:1:1: expected a mapping (`key: value`), got a list"),
        ("name: a\n\tsource: b\n", "a tab; indent with spaces only"),
        ("name: !!python/object/apply:os.system [ls]\n", "tags (such as !!python/object)"),
        ("name: x\nname: y\n", "already given on line 1"),
    ],
    ids=["no mapping", "a tab", "a python object", "a key twice"],
)
def test_a_file_that_is_no_job_is_exit_code_2(
    write_job: WriteJob, old_target: Path, text: str, message: str
) -> None:
    write_job(GOOD).write_text(text)
    result = run_directly("job.yaml")
    assert message in result.output
    assert result.exit_code == 2
    assert old_target.read_bytes() == OLD


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_misspelt_check_is_found_before_anything_is_read(
    write_job: WriteJob, old_target: Path, command: str
) -> None:
    """The source would be refused, too, if it were read."""
    misspelt = {"input": [{"expect_column_to_exit": {"column": "a"}}]}
    result = em_impute(command, write_job("a,b,a\n1,2,3\n", checks=misspelt))
    assert result.exit_code == 2
    assert (
        "no expectation expect_column_to_exit (did you mean expect_column_to_exist?)"
    ) in result.output
    assert "names columns 1 and 3" not in result.output
    assert old_target.read_bytes() == OLD


def test_a_target_that_cannot_be_written_is_found_before_the_work(write_job: WriteJob) -> None:
    Path("file").write_text("in the way")
    result = run_directly(write_job(GOOD, target={"path": "file/filled.csv"}))
    assert "The target file/filled.csv cannot be written" in result.output
    assert result.exit_code == 2
    assert not Path("runs").exists()


# --- What the checks refuse: exit code 1 ---------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "an empty table": ("x,y\n", {}, "at least one row (0 rows)"),
    "a column all missing": (
        table(**good_rows(), z=[None] * 40),
        {"columns": {"impute": ["y", "z"]}},
        "z observed in some row (all cells missing",
    ),
    "infinities": (
        table(**{**good_rows(), "x": [float("inf"), *good_rows()["x"][1:]]}),
        {},
        "x finite (1 infinite cell, the first in row 1",
    ),
    "a critical check of the input": (
        GOOD,
        {
            "checks": {
                "input": [{"expect_column_max_to_be_between": {"column": "x", "max_value": 0}}]
            }
        },
        "1 critical check failed on the input",
    ),
    "a critical check of the output": (
        GOOD,
        {
            "checks": {
                "output": [{"expect_column_mean_to_be_between": {"column": "y", "max_value": 0}}]
            }
        },
        "1 critical check failed on the output",
    ),
    "a self-test beyond its limit": (
        table(**skewed_rows()),
        {"self_test": {"max_share": 1.0, "max_pit_distance": 0.1}},
        "The self-test misses max_pit_distance (0.1): the distance of the PIT from uniform",
    ),
    "identical columns without a prior": (
        table(**good_rows(), twin=good_rows()["x"]),
        {"model": {"prior": 0}},
        "'x' and 'twin'",
    ),
    "fewer rows than columns without a prior": (
        "a,b,c,d\n1,2,3,4\n2,1,,3\n5,5,4,1\n",
        {"model": {"prior": 0}},
        "3 rows do not determine the spread of 4 columns",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_exit_code_1_with_a_report_and_touches_nothing(
    write_job: WriteJob, old_target: Path, case: str
) -> None:
    source, changes, message = REFUSED[case]
    result = em_impute("run", write_job(source, **changes), *how(case))
    assert message in result.output
    assert result.exit_code == 1
    assert "Not published: " in result.output
    assert "Traceback" not in result.output
    assert old_target.read_bytes() == OLD
    (folder,) = Path("runs/test").iterdir()
    assert "not published" in (folder / "report.html").read_text().lower()
    assert not (folder / "snapshot.arrow").exists()


# --- What is published with a warning: exit code 0 -----------------------------------------------

WARNED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a constant column": (table(**good_rows(), z=[None] + [7] * 39), {}, "z"),
    "identical columns": (table(**good_rows(), twin=good_rows()["x"]), {}, "'x' and 'twin'"),
    "fewer rows than columns": ("a,b,c,d\n1,2,3,4\n2,1,,3\n5,5,4,1\n", {}, "3 rows"),
    "a warning of the input": (
        GOOD,
        {
            "checks": {
                "input": [
                    {
                        "expect_column_max_to_be_between": {
                            "column": "x",
                            "max_value": 0,
                            "severity": "warning",
                        }
                    }
                ]
            }
        },
        "Not met on the input",
    ),
    "a column that is not normal": (
        table(**skewed_rows()),
        {"self_test": {"max_share": 1.0}},
        "The normal model does not fit the test cells of y",
    ),
    "not converged": (table(**good_rows()), {"model": {"max_iter": 1}}, "max_iter=1"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_is_only_odd_is_published_with_warnings(write_job: WriteJob, case: str) -> None:
    source, changes, message = WARNED[case]
    result = em_impute("run", write_job(source, **changes), *how(case))
    assert result.exit_code == 0, result.output
    assert "Published with warnings" in result.output
    assert message in result.output
    assert not pd.read_csv("out/filled.csv").isna().any(axis=None)


# --- What nobody can help: exit code 3, or no code at all ----------------------------------------


def test_a_full_disk_is_a_sentence_and_touches_nothing(
    write_job: WriteJob,
    old_target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk is full from the moment that the filled table is written."""

    def full(self: object, batch: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staging._SpellingWriter, "write_batch", full)
    result = em_impute("run", write_job(GOOD))
    assert "The disk is full" in result.output
    assert "Traceback" not in result.output
    assert result.exit_code == 3
    assert old_target.read_bytes() == OLD


def test_a_report_that_cannot_be_written_does_not_hide_what_was_published(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("em_impute.runs.report._write", full)
    result = em_impute("run", write_job(GOOD))
    assert result.exit_code == 0
    assert "Published with warnings: 8 missing cells were filled" in result.output
    assert "file report.html (OSError, no space left on device" in result.output
    assert "Traceback" not in result.stderr
    assert not pd.read_csv("out/filled.csv").isna().any(axis=None)


KILLED = """
import os, signal, sys
from pathlib import Path
from em_impute.cli.main import main

def die(point):
    if point == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

replace = os.replace
def replace_and_die(source, target, **options):
    if Path(target).name == "filled.csv":
        die("before")
        replace(source, target, **options)
        die("after")
    else:
        replace(source, target, **options)

os.replace = replace_and_die
Path.replace = lambda self, target: (replace_and_die(self, target), Path(target))[1]
main(["run", "job.yaml"])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_9_during_publish_leaves_the_old_table_or_the_new_one(
    prefect_server: PrefectServer, write_job: WriteJob, old_target: Path, moment: str
) -> None:
    write_job(GOOD)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, moment],
        env=prefect_server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if moment == "before":
        assert old_target.read_bytes() == OLD
    else:
        assert not pd.read_csv(old_target).isna().any(axis=None)
    assert shown(old_target.parent) == ["filled.csv"]
    assert em_impute("run", "job.yaml").exit_code == 0
    assert not pd.read_csv(old_target).isna().any(axis=None)


def test_a_run_says_what_it_left_missing(write_job: WriteJob) -> None:
    rows = good_rows()
    rows["sex"] = ["f", "m", None, "m"] * 10
    result = run_directly(write_job(table(**rows)), "--json")
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)
    assert run["outcome"] == "published with warnings"
    assert run["verdict"].startswith("8 missing cells were filled, 10 were left missing, and the ")
    assert "10 cells of sex (text) were left missing; list it under" in run["verdict"]
    assert (run["missing_cells"], run["imputed_cells"], run["left_cells"]) == (18, 8, 10)


def test_drift_is_since_the_date_before_and_not_of_dates(write_job: WriteJob) -> None:
    """Dates are run out of turn, and one of them again; a day and a number of rows predict."""
    rng, began = np.random.default_rng(4), {}
    for n in (1, 2, 3):
        x = rng.normal(size=400)
        y = np.where(rng.random(400) < 0.1, np.nan, x + rng.normal(size=400) + 10 * (n == 3))
        days = [f"2026-0{n}-1{i % 9}" for i in range(400)]
        frame = pd.DataFrame({"x": x, "y": y, "day": days, "n": np.arange(400) + 400 * n})
        frame.to_csv(f"in-2026-01-0{n}.csv", index=False)
    job = write_job(
        source={"path": "in-{date}.csv"},
        target={"path": "out-{date}.csv"},
        columns={"impute": ["y"], "predictors": ["x", "day", "n"]},
    )
    for n in (1, 3, 2, 2):
        result = run_directly(job, "--date", f"2026-01-0{n}", "--json")
        assert result.exit_code == 0, result.output
        run = json.loads(result.stdout)
        report = json.loads((Path(run["folder"]) / "report.json").read_text())
        began.setdefault(n, run["run"])
        drift = report["drift"]
        if n == 1:
            assert drift is None
            continue
        assert (drift["run"], drift["date"]) == (began[1], "2026-01-01")
        assert drift["move_on"] == ["day", "n"]
        assert (run["outcome"] == "published") == (n == 2), run["verdict"]
        if n == 3:
            assert "Drift since the run of 2026-01-01, " in run["verdict"]
            assert "The mean of 'y' rose" in run["verdict"]


# --- What a run says, and to whom ----------------------------------------------------------------


@pytest.mark.parametrize("case", ["published", "refused", "wrong"])
def test_json_is_one_object_whatever_the_ending(write_job: WriteJob, case: str) -> None:
    never = {"input": [{"expect_table_row_count_to_equal": {"value": 0}}]}
    changes: dict[str, Any] = {"refused": {"checks": never}, "wrong": {"sorce": 1}}.get(case, {})
    result = em_impute("run", "--json", write_job(GOOD, **changes))
    said = json.loads(result.stdout)
    assert result.exit_code == said["exit_code"] == {"published": 0, "refused": 1, "wrong": 2}[case]
    if case == "wrong":
        assert (said["outcome"], said["stopped_by"]) == ("not published", "cannot run")
        assert "unknown key (did you mean source?)" in said["verdict"]
        assert said["folder"] is None
        return
    [folder] = Path("runs/test").iterdir()
    assert (said["folder"], said["report"]) == (str(folder), str(folder / "report.html"))
    assert (said["rows"], said["missing_cells"]) == (40, 8)
    assert said["imputed_cells"] == {"published": 8, "refused": 0}[case]
    assert said["stopped_by"] == {"published": None, "refused": "refused"}[case]
    assert said["verdict"] in (folder / "report.json").read_text()
    [listed] = json.loads(em_impute("history", "test", "--json").stdout)
    assert listed == {name: said[name] for name in listed}


def test_quiet_is_the_verdict_and_nothing_else(write_job: WriteJob) -> None:
    result = em_impute("run", "--quiet", write_job(GOOD))
    assert result.output == (
        "Published: 8 missing cells were filled and the table was written to out/filled.csv; "
        "no check warned.\n"
    )


def test_quiet_does_not_hide_a_fault_of_the_program(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("em_impute.tables.summarise.summarise", broken)
    result = em_impute("run", "--quiet", write_job(GOOD))
    assert result.exit_code == 3
    assert "Traceback" in result.stderr
    assert "The run failed by a fault of the program (ZeroDivisionError)." in result.stdout
