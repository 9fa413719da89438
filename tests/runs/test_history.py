"""Past runs: their reports are made again, and what is broken or foreign does no harm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from left_runs import RUN, leave, report

from em_impute.job import CannotRun
from em_impute.reporting import render
from em_impute.reporting.records import Report
from em_impute.runs.history import past_runs, read_report, rebuild_report
from em_impute.tables.run_folder import RunFolder


def test_a_report_is_made_again_from_its_numbers(tmp_path: Path) -> None:
    folder = leave(tmp_path / RUN, report())
    page = rebuild_report(folder)
    assert page.read_text() == render.html(report())
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "report.html",
        "report.json",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no report.json; expected the folder of a finished run"),
        ("{", "report.json is not JSON"),
        ("[1]", "does not hold a report that this version of em_impute can read (the whole: "),
        ('{"job": 1}', "does not hold a report that this version of em_impute can read (job: "),
        (b"\xff\xfe", "report.json is not JSON"),
    ],
)
def test_what_is_no_report_is_said(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "report.json").write_bytes(data)
    with pytest.raises(CannotRun) as said:
        read_report(RunFolder(tmp_path))
    assert message in str(said.value)


def test_runs_come_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    late = leave(
        tmp_path / "air" / "20261123T030000Z-0a0b0c0d",
        report("late", missing=3),
        finished="2026-11-23T03:00:09+00:00",
    )
    early = leave(tmp_path / "air" / RUN, report("early"))
    leave(tmp_path / "water" / RUN, report())
    first, last = past_runs("air", tmp_path)
    assert (first.folder, last.folder) == (early, late)
    assert first.brief is not None
    assert first.brief.missing_percent == 10.0
    assert (first.finished, last.finished) == (None, "2026-11-23T03:00:09+00:00")
    assert last.to_dict()["missing_cells"] == 3
    assert last.to_dict()["outcome"] == "not published"


def test_half_written_and_foreign_folders_do_no_harm(tmp_path: Path) -> None:
    runs = tmp_path / "air"
    leave(runs / RUN, report())
    killed = runs / "20261123T030000Z-dead0000"
    killed.mkdir()
    (killed / "snapshot.arrow").write_bytes(b"ARROW1")
    broken = leave(runs / "20261124T030000Z-beef0000", report())
    (broken / "report.json").write_text('{"job": "air", "ru')
    (broken / "manifest.json").write_text("[")
    leave(runs / "notes", report())
    (runs / "20261125T030000Z-f11e0000").write_text("a file")
    known, dead, beef = past_runs("air", tmp_path)
    assert known.brief is not None
    assert dead.brief is beef.brief is None
    assert dead.outcome == beef.outcome == "no report"
    assert dead.trouble == "It left no report: it was killed, or still goes on."
    assert "is not JSON" in beef.trouble
    assert known.to_dict().keys() == dead.to_dict().keys() == beef.to_dict().keys()


@pytest.mark.parametrize("job", ["wind", "../air", "air/..", "*", ""])
def test_a_job_without_runs_is_said_with_those_that_have_some(tmp_path: Path, job: str) -> None:
    runs = tmp_path / "runs"
    leave(runs / "air" / RUN, report())
    leave(tmp_path / "air" / RUN, report())
    with pytest.raises(CannotRun) as said:
        past_runs(job, runs)
    assert f"has no run of the job {job!r}; there are runs of air." in str(said.value)


def test_numbers_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """What has been added to the report since has a default."""
    values = report().to_dict()
    for field in dataclasses.fields(Report):
        if field.default is not dataclasses.MISSING:
            del values[field.name]
    folder = leave(tmp_path / RUN, report())
    (folder / "report.json").write_text(json.dumps(values | {"of_a_later_version": 1}))
    assert read_report(RunFolder(folder)) == report()
