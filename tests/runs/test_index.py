"""The page on all jobs: written after each run, from what is remembered of earlier ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import good_rows, run_directly, table
from conftest import WriteJob
from left_runs import RUN, leave, report

from em_impute.runs import history, index


def test_what_was_read_of_a_run_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave(tmp_path / "air" / RUN, report())
    (tmp_path / "air" / "20261123T030000Z-dead0000").mkdir()
    page = index.write_index(tmp_path).read_text()
    assert "It left no report" in page
    read: list[str] = []
    real = history.read_report
    monkeypatch.setattr(history, "read_report", lambda f: read.append(f.path.name) or real(f))
    assert index.write_index(tmp_path).read_text() == page
    assert RUN not in read
    (folder / "report.json").write_text(json.dumps(report(missing=5).to_dict()))
    os.utime(folder / "report.json", ns=(1, 1))
    assert index.write_index(tmp_path).read_text() != page
    assert read.count(RUN) == 1


@pytest.mark.parametrize("content", ["{", '{"air/x": 1}', ""])
def test_a_memory_that_is_damaged_is_made_anew(tmp_path: Path, content: str) -> None:
    leave(tmp_path / "air" / RUN, report())
    page = index.write_index(tmp_path).read_text()
    (tmp_path / index.MEMORY).write_text(content)
    assert index.write_index(tmp_path).read_text() == page
    assert RUN in (tmp_path / index.MEMORY).read_text()


def test_each_run_writes_the_page_and_none_fails_over_it(write_job: WriteJob) -> None:
    job = write_job(table(**good_rows()), name="indexed", self_test="off")
    assert run_directly(job, "-q").exit_code == 0
    page = Path("runs/index.html")
    assert ">indexed</bdi>" in page.read_text()
    page.unlink()
    page.mkdir()
    result = run_directly(job)
    assert result.exit_code == 0
    assert "index.html, could not be written (IsADirectoryError" in result.output
    assert not list(Path("runs").glob(".*.part"))
