"""Tables of text through the command line: dialects, sentinels, odd cells, what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from click.testing import CliRunner, Result
from conftest import WriteJob
from servers import PrefectServer

from em_impute.cli import main as cli


def em_impute(*arguments: object) -> Result:
    """The command's result; a job runs without Prefect."""
    directly = ["--direct"] if arguments[0] == "run" else []
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments] + directly)


def rows(n: int = 60) -> list[list[str]]:
    """Numbers with two digits that hang on each other, one in ten missing."""
    return [
        [str(i), "" if i % 10 == 3 else f"{i % 17 + i / 7:.2f}", f"{i % 17 + 0.5 * (i % 5):.2f}"]
        for i in range(1, n + 1)
    ]


def text(cells: list[list[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(row) + "\n" for row in [["id", "a", "b"], *cells])


KEY: dict[str, Any] = {"columns": {"key": ["id"]}}


def test_a_run_from_csv_to_csv_changes_its_holes_and_nothing_else(write_job: WriteJob) -> None:
    """Verified, too, until the source spells a cell in another way."""
    cells = rows()
    cells[0][1], cells[1][2] = "1.50", "2e0"
    job = write_job(text(cells), **KEY)
    assert em_impute("run", job).exit_code == 0
    before, after = text(cells).splitlines(), Path("out/filled.csv").read_text().splitlines()
    changed = [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert changed == [i for i, row in enumerate(cells, 1) if not row[1]]
    [run] = Path("runs/test").iterdir()
    checks = json.loads((run / "checks.json").read_text())
    assert "spellings" in {check["name"] for check in checks[1]["results"]}
    verified = em_impute("verify", run)
    assert (verified.exit_code, "still is what this run published" in verified.output) == (0, True)
    cells[0][1] = "1.5"
    Path("in.csv").write_text(text(cells))
    assert "The source in.csv has changed since" in em_impute("verify", run).output


def test_one_bad_cell_is_a_warning_with_its_row_or_a_refusal(write_job: WriteJob) -> None:
    cells = rows()
    write_job(text(cells), **KEY)
    assert em_impute("run", "job.yaml").exit_code == 0
    cells[20][1] = "secret"
    write_job(text(cells), **KEY)
    for command in ("check", "run"):
        result = em_impute(command, "job.yaml")
        assert result.exit_code == 0
        words = " ".join(result.output.split())
        assert (
            "the last run that published has filled it, but now 1 cell is no number, in row 21"
            in words
        )
        assert "secret" not in result.output
    assert "with warnings" in result.output.lower()
    write_job(text(cells), columns={"key": ["id"], "strict": True})
    for command in ("check", "run"):
        result = em_impute(command, "job.yaml")
        assert (result.exit_code, "in row 21" in result.output) == (1, True)
    write_job(text(cells), columns={"key": ["id"], "impute": ["a"]})
    for command in ("check", "run"):
        result = em_impute(command, "job.yaml")
        assert (result.exit_code, "holds text at row 21" in result.output) == (2, True)


def test_sentinels_are_warned_about_and_filled_once_they_are_said(write_job: WriteJob) -> None:
    cells = [[i, a or "-999", b] for i, a, b in rows()]
    job = write_job(text(cells), **KEY)
    for command in ("check", "run"):
        result = em_impute(command, job)
        assert result.exit_code == 0
        assert (
            "6 cells hold -999; if that is what it means, say `missing: {a: [-999]}`"
            in " ".join(result.output.split())
        )
    job = write_job(text(cells), source={"path": "in.csv", "missing": {"a": [-999]}}, **KEY)
    assert "fill 6 cells" in em_impute("check", job).output
    assert em_impute("run", job).exit_code == 0
    frame = pd.read_csv("out/filled.csv")
    assert frame["a"].min() > -999
    assert not frame["a"].isna().any()


def test_check_prints_what_to_paste_for_a_dialect(write_job: WriteJob) -> None:
    german = text([[i, a.replace(".", ","), b.replace(".", ",")] for i, a, b in rows()], ";")
    job = write_job(german, **KEY)
    result = em_impute("check", job)
    assert result.exit_code == 2
    assert 'Try `csv: {delimiter: ";", decimal: ","}` in the job\'s source.' in result.output
    job = write_job(
        german, source={"path": "in.csv", "csv": {"delimiter": ";", "decimal": ","}}, **KEY
    )
    assert em_impute("run", job).exit_code == 0
    expected = pd.read_csv("in.csv", sep=";", decimal=",")
    frame = pd.read_csv("out/filled.csv")
    pd.testing.assert_frame_equal(frame.where(expected.notna()), expected, check_dtype=False)


def test_excels_first_line_and_a_compressed_file(
    write_job: WriteJob, prefect_server: PrefectServer
) -> None:
    assert prefect_server.url
    job = write_job("sep=;\n" + text(rows(), ";"), **KEY)
    assert em_impute("run", job).exit_code == 0
    assert Path("out/filled.csv").read_text().startswith("id,a,b\n1,")
    assert not pd.read_csv("out/filled.csv").isna().any().any()
