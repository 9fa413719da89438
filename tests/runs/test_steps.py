"""The steps of a run without Prefect, in the order that the flow has them."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from holed_tables import factor_table

from em_impute.job import Job, JobError
from em_impute.reporting import render
from em_impute.runs import report, steps
from em_impute.runs.history import past_run
from em_impute.runs.measure import report_numbers
from em_impute.runs.run import Found, Run, stop_if_refused
from em_impute.tables.columns import roles as columns
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.snapshot import Snapshot


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on 300 rows of four numbers, a fifth of them missing."""
    frame = pd.DataFrame(factor_table(300, 4, 0.2, seed=1)).rename(columns="x{}".format)
    frame.to_parquet(tmp_path / "in.parquet")
    return Job.model_validate(
        {
            "name": "plain",
            "source": {"path": str(tmp_path / "in.parquet")},
            "target": {"path": str(tmp_path / "out.parquet")},
        }
    )


@pytest.fixture
def run(job: Job, tmp_path: Path) -> Run:
    name = "20260101T000000Z-abcdefgh"
    folder = open_run_folder(tmp_path / "runs", job.name, name)
    return Run(name, job, folder, datetime.now(UTC), date(2026, 1, 1), name)


def test_a_job_is_run_and_reported_by_plain_functions(
    job: Job, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    log, found = logging.getLogger("steps"), Found()
    with caplog.at_level("INFO", logger="steps"):
        table = found.snapshot = steps.load(job, run.folder, log)
        found.before = steps.check_input(job, table, log=log)
        found.fitted = steps.fit(job, table, run.folder, log)
        found.staged = steps.fill(job, table, found.fitted, run.folder, log)
        found.tested = steps.self_test(job, table, found.fitted, log)
        found.after = steps.check_output(job, table, found.fitted, found.staged, log)
        stop_if_refused(found)
        found.published = steps.publish(run, found.staged, log)
        outcome = report.report(run, found, log)
    assert outcome.published
    assert pd.read_parquet(job.target.path).notna().all(axis=None)
    assert caplog.messages[0] == f"Read 300 rows and 4 columns from {job.source}."
    assert caplog.messages[-1] == f"The report is in {outcome.report}."
    brief = past_run(run.folder.path).brief
    assert brief is not None
    assert brief.outcome == outcome.verdict.outcome


def test_a_delta_is_told_and_the_self_test_is_of_the_model_without_it(
    job: Job, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"self_test": {"max_share": 1.0}, "imputation": {"delta": {"x1": -0.2}}}
    shifting = Job.model_validate(job.model_dump(mode="json") | options)
    table, log = steps.load(shifting, run.folder), logging.getLogger("steps")
    fitted = steps.fit(shifting, table, run.folder)
    found = Found(table, fitted=fitted)
    with caplog.at_level("INFO", logger="steps"):
        found.staged = steps.fill(shifting, table, fitted, run.folder, log)
        found.tested = steps.self_test(shifting, table, fitted, log)
    sentence = "x1: imputed cells are shifted by -0.2 sd."
    assert sentence in caplog.messages
    plain = steps.self_test(
        shifting.model_copy(update={"imputation": job.imputation}), table, fitted
    )
    assert plain is not None
    note = "Test cells are filled by the model as it is, without imputation.delta."
    assert found.tested == replace(plain, note=note)
    numbers = report_numbers(replace(run, job=shifting), found)
    assert sentence in numbers.decisions
    assert sentence not in numbers.warnings
    assert sentence in render.html(numbers)
    assert note in render.html(numbers)


def test_steps_without_a_log_print_nothing(
    job: Job, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    short = job.model_copy(update={"model": job.model.model_copy(update={"max_iter": 1})})
    fitted = steps.fit(short, steps.load(job, run.folder), run.folder)
    assert fitted.result is not None
    assert not fitted.result.converged  # of which a log would warn
    assert capfd.readouterr() == ("", "")


def test_the_parts_of_the_columns_are_made_once(
    job: Job, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = columns.assign_roles, []

    def counted(snapshot: Snapshot, job: Job) -> Any:
        made.append(real(snapshot, job))
        return made[-1]

    monkeypatch.setattr(columns, "assign_roles", counted)
    table = steps.load(job, run.folder)
    steps.check_input(job, table)
    fitted = steps.fit(job, table, run.folder)
    assert [id(roles) for roles in made] == [id(table.roles)] == [id(fitted.roles)]


def test_what_was_read_is_kept_for_the_report_where_the_columns_are_wrong(
    job: Job, run: Run
) -> None:
    wrong = Job.model_validate(job.model_dump(mode="json") | {"columns": {"impute": ["y"]}})
    with pytest.raises(JobError, match="the table has no column 'y'"):
        steps.load(wrong, run.folder)
    snapshot = Snapshot.load(run.folder.read)
    assert snapshot is not None
    assert snapshot.rows == 300


def test_a_snapshot_that_is_too_old_is_gone_before_the_source_is_read_again(
    job: Job, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that cannot read it any more would report the old one."""
    steps.load(job, run.folder)
    monkeypatch.setattr(steps, "is_overtaken", lambda _: True)
    Path(job.source.path).unlink()
    with pytest.raises(Exception, match="no such file"):
        steps.load(job, run.folder)
    assert not run.folder.read.exists()
