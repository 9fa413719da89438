"""The flow from Python: what it returns, what it retries, and what it leaves in Prefect."""

from __future__ import annotations

import errno
import json
import os
import time
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from holed_tables import reference
from prefect import Flow, flow
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed
from prefect.types import DateTime
from receivers import NEVER, receiving

from em_impute import GaussianModel, fit_gaussian
from em_impute.flows.backfill import backfill
from em_impute.flows.impute import _run_name, impute
from em_impute.gaussian import PatternSummary
from em_impute.job import Job, KeptRuns, SelfTestOptions
from em_impute.plugin.tasks import fill, fit, load, open_run, publish, report_cancelled, report_lost
from em_impute.reporting.records import Report
from em_impute.runs.manifest import read_manifest
from em_impute.runs.run import Outcome, Run
from em_impute.tables import progress, sources, summarise, targets
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot

DAY = date(2026, 1, 1)

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job on the boys' growth data: 748 rows, 613 cells missing in 9 patterns."""
    monkeypatch.chdir(tmp_path)
    known = reference("boys")
    pd.DataFrame(known.X, columns=list(known.columns)).to_parquet("boys.parquet")
    return Job.model_validate(
        {
            "name": "Boys_growth",
            "source": {"path": "boys.parquet"},
            "target": {"path": "boys-filled.feather"},
        }
    )


def run(job: Job) -> tuple[Any, Outcome]:
    state = impute(job, return_state=True)
    outcome = state.result(raise_on_failure=False)
    assert isinstance(outcome, Outcome), outcome
    return state, outcome


def test_a_job_made_in_python_is_run(job: Job) -> None:
    state, outcome = run(job)
    assert state.is_completed()
    assert state.message == outcome.verdict.sentence
    known = reference("boys")
    filled = pd.read_feather("boys-filled.feather")
    missing = np.isnan(known.X)
    assert filled.to_numpy()[~missing].tobytes() == known.X[~missing].tobytes()
    folder = outcome.report.parent
    model = GaussianModel.load(folder / "model.json")
    assert filled.to_numpy().tobytes() == model.impute(known.X).tobytes()
    assert fit_gaussian(PatternSummary.load(folder / "summary.npz")).loglik == pytest.approx(
        known.loglik, abs=1e-6
    )


def test_the_ledger_accounts_for_every_imputed_cell(job: Job) -> None:
    _, outcome = run(job)
    known = reference("boys")
    ledger = pd.read_parquet(outcome.report.parent / "cells.parquet")
    assert len(ledger) == np.isnan(known.X).sum() == sum(cells for _, cells in outcome.cells)
    filled = pd.read_feather("boys-filled.feather")
    values = [filled.loc[r - 1, c] for r, c in zip(ledger["row"], ledger["column"], strict=True)]
    assert ledger["value"].tolist() == values
    assert (ledger["sd"] > 0).all()


def test_artifacts_have_the_jobs_name_and_the_report_can_be_made_again(job: Job) -> None:
    _, outcome = run(job)
    markdown = Artifact.get("boys-growth-report")
    table = Artifact.get("boys-growth-columns")
    progress = Artifact.get("boys-growth-em")
    assert markdown is not None
    assert table is not None
    assert progress is not None
    assert "613 missing cells were filled" in str(markdown.data).replace("&#", "")
    rows = json.loads(str(table.data))
    assert [row["column"] for row in rows] == list(reference("boys").columns)
    assert float(str(progress.data)) == 100.0
    numbers = Report.from_dict(json.loads((outcome.report.parent / "report.json").read_text()))
    assert numbers.imputed_cells == 613
    assert numbers.fit is not None
    assert numbers.fit.status == "converged"


def test_a_receiver_of_lineage_that_never_answers_is_a_warning(job: Job) -> None:
    with receiving(lambda event: 200 if event["eventType"] == "START" else NEVER) as receiver:
        transport = f"{{type: http, url: '{receiver.url}', timeout: 0.5, retry: {{total: 0}}}}"
        Path("openlineage.yml").write_text(f"transport: {transport}\n")
        state, outcome = run(job.model_copy(update={"self_test": SelfTestOptions(method="off")}))
    assert state.name == "Published with warnings"
    sentence = "The lineage of the run could not be sent by OpenLineage"
    assert sentence in outcome.verdict.sentence
    assert receiver.states == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in receiver.events}) == 1
    shown = Artifact.get("boys-growth-report")
    assert sentence in str(shown and shown.data)


def test_the_tasks_run_outside_of_a_flow(job: Job) -> None:
    """Each call of open_run is then a run of its own, which publishes."""
    for _ in range(2):
        run = open_run(job)
        snapshot = load(run)
        published = publish(run, fill(run, snapshot, fit(run, snapshot)))
        assert published.rows == 748
    record = json.loads(Path(".boys-filled.feather.em_impute.json").read_text())
    assert len({entry["run"] for entry in record["published"]}) == 2


@pytest.mark.parametrize("step", ["load", "publish"])
def test_input_and_output_are_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A file system that fails once, as network shares do."""
    module, name = (sources, "take_snapshot") if step == "load" else (targets, "publish")
    real, calls = getattr(module, name), []

    def fails_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(module, name, fails_once)
    state, _ = run(job)
    assert state.is_completed()
    assert len(calls) == 2


def test_a_run_that_is_tried_again_goes_on_with_what_it_has_read(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try fails in the fit, the source changes, the second try is the same run."""
    snapshots: list[Snapshot] = []

    def fails(*_: Any) -> Any:
        raise KeyError("no such luck")

    monkeypatch.setattr(summarise, "summarise", fails)
    monkeypatch.setattr("em_impute.tables.run_folder.RunFolder.clear", lambda _: None)
    _, outcome = run(job)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    Path("boys.parquet").unlink()
    again = Run("run-1", job, RunFolder(outcome.report.parent), datetime.now(UTC), DAY, "run-1")

    @flow
    def second_try() -> None:
        snapshots.append(load(again))

    second_try()
    assert snapshots[0].rows == 748


def test_what_was_read_before_another_run_ended_is_read_again(job: Job) -> None:
    """Else its table would take the place of a newer one."""
    _, outcome = run(job)
    folder = RunFolder(outcome.report.parent.with_name("earlier"))
    folder.path.mkdir()
    snapshots: list[Snapshot] = []
    earlier = Run("earlier", job, folder, datetime.now(UTC), DAY, "earlier")

    @flow
    def twice() -> None:
        snapshots.extend([load(earlier), load(earlier)])
        Path("boys.parquet").unlink()
        snapshots.append(load(earlier))
        RunFolder(outcome.report.parent).manifest.touch()
        load(earlier)

    assert twice(return_state=True).is_failed()
    assert [snapshot.rows for snapshot in snapshots] == [748] * 3


def test_a_fault_of_the_program_has_a_report_too(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("secret-cell-4711")

    monkeypatch.setattr(summarise, "summarise", fails)
    state, outcome = run(job)
    assert state.is_failed()
    assert outcome.verdict.outcome == "not published"
    assert outcome.verdict.sentence.startswith("The run failed by a fault of the program (KeyError")
    assert "4711" not in outcome.report.read_text()
    assert not Path("boys-filled.feather").exists()


def test_a_long_step_is_heard_of_in_the_log(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = sources.take_snapshot

    def slow(*arguments: Any) -> Any:
        progress.rows_passed(1_500, 0.5)
        time.sleep(0.5)
        return real(*arguments)

    monkeypatch.setattr(sources, "take_snapshot", slow)
    monkeypatch.setattr("em_impute.plugin.artifacts.HEARTBEAT", 0.1)
    with caplog.at_level("INFO", logger="prefect.task_runs"):
        run(job)
    beats = [line for line in caplog.messages if line.startswith("Still at load after")]
    # One more may come just when the rows are read.
    assert len(beats) >= 2
    assert all(line.endswith(" s: 1,500 rows, 50%.") for line in beats[:2])


def test_a_run_has_its_time_limit(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    real = summarise.summarise

    def slow(*arguments: Any) -> Any:
        # In pieces: the limit is raised between them.
        for _ in range(600):
            time.sleep(0.05)
        return real(*arguments)

    monkeypatch.setattr(summarise, "summarise", slow)
    state, outcome = run(job.model_copy(update={"time_limit": 8.0}))
    assert state.is_failed()
    assert outcome.verdict.sentence.startswith(
        "The run took longer than its time limit of 8 seconds; raise time_limit"
    )
    assert not Path("boys-filled.feather").exists()


def test_a_cancelled_run_and_a_lost_one_leave_a_report(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect calls the hooks in a process of its own, with the flow run as it was stored."""
    started = DateTime.now("UTC")
    hooks = {"cancelled": report_cancelled, "process of this run was lost": report_lost}
    for says, hook in hooks.items():
        flow_run = FlowRun(
            flow_id=uuid4(),
            expected_start_time=started,
            deployment_id=uuid4(),
            parameters={"job": job.model_dump(mode="json"), "runs": str(tmp_path / "runs")},
        )
        folder = RunFolder(
            tmp_path / "runs" / job.name / f"{started:%Y%m%dT%H%M%SZ}-{str(flow_run.id)[-8:]}"
        )
        hook(impute, flow_run, Crashed())
        assert not folder.path.exists()  # a run that has not begun leaves nothing
        folder.path.mkdir(parents=True)
        sources.take_snapshot(job.source, folder.snapshot).save(folder.read)
        hook(impute, flow_run, Crashed())
        numbers = Report.from_dict(json.loads(folder.numbers.read_text()))
        assert says in numbers.verdict.sentence
        assert numbers.rows == 748
        assert folder.report.exists()
        assert folder.snapshot.exists() is (hook is report_lost)


def test_old_folders_of_runs_are_removed_by_policy(job: Job) -> None:
    kept = job.model_copy(update={"keep_runs": KeptRuns(count=2)})
    outcomes = [run(kept)[1] for _ in range(3)]
    folders = {outcome.report.parent for outcome in outcomes}
    assert {folder for folder in folders if folder.exists()} <= folders
    assert len(list(Path("runs/Boys_growth").iterdir())) == 2


def test_what_trying_again_does_not_mend_is_not_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = sources.take_snapshot, []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(sources, "take_snapshot", counted)
    Path("boys.parquet").unlink()
    state, outcome = run(job)
    assert state.is_failed()
    assert "no such file" in outcome.verdict.sentence
    assert len(calls) == 1


def test_a_misspelt_check_is_what_is_reported_and_no_snapshot_is_taken(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that would be refused if it were read."""
    Path("boys.parquet").write_bytes(b"no Parquet")
    read: list[Any] = []
    monkeypatch.setattr(sources, "take_snapshot", lambda *arguments: read.append(arguments))
    checks = {"output": [{"expect_column_to_exit": {"column": "hgt"}}]}
    state, outcome = run(Job.model_validate(job.model_dump(mode="json") | {"checks": checks}))
    assert state.is_failed()
    assert outcome.stopped == "cannot run"
    assert "no expectation expect_column_to_exit (did you mean" in outcome.verdict.sentence
    assert outcome.verdict.sentence in outcome.report.read_text()
    assert not read
    assert not (outcome.report.parent / "manifest.json").exists()


def test_a_run_that_was_stopped_over_its_columns_reports_what_it_has_read(job: Job) -> None:
    columns = {"impute": ["height"]}
    state, outcome = run(Job.model_validate(job.model_dump(mode="json") | {"columns": columns}))
    assert state.is_failed()
    assert outcome.stopped == "cannot run"
    numbers = Report.from_dict(json.loads((outcome.report.parent / "report.json").read_text()))
    assert numbers.rows == 748
    assert {column.role for column in numbers.columns} == {"passthrough"}
    manifest = read_manifest(RunFolder(outcome.report.parent))
    assert (manifest["source"]["rows"], manifest["target"]) == (748, None)


def test_a_secret_value_is_nowhere_but_in_the_table(job: Job) -> None:
    """A refused run, whose report, log and artifacts speak of the column that holds the value."""
    frame = pd.read_parquet("boys.parquet")
    frame.loc[3, "hgt"] = 123456.789
    frame["note"] = "Xanadu-42"
    frame.to_parquet("boys.parquet")
    checks = {
        "input": [{"expect_column_values_to_be_between": {"column": "hgt", "max_value": 300}}]
    }
    refused = Job.model_validate(job.model_dump(mode="json") | {"checks": checks})
    state, outcome = run(refused)
    assert state.is_failed()
    numbers = Report.from_dict(json.loads((outcome.report.parent / "report.json").read_text()))
    assert {column.name: column.role for column in numbers.columns}["hgt"] == "impute"
    report = Artifact.get("boys-growth-report")
    assert report is not None
    left = [
        str(report.data),
        state.message,
        *(path.read_bytes().decode(errors="replace") for path in outcome.report.parent.iterdir()),
    ]
    for text in left:
        assert "123456" not in text.replace(",", "")
        assert "Xanadu" not in text


@pytest.mark.parametrize("made", [impute, backfill], ids=lambda f: f.name)
def test_the_form_in_prefect_says_what_each_parameter_is(made: Flow[..., Any]) -> None:
    described = made.parameters.properties
    assert described
    assert all(one["description"].endswith(".") for one in described.values())


@pytest.mark.parametrize(
    ("dated", "name"),
    [(False, "Boys_growth, 2026-11-28 03:00:00"), (True, "Boys_growth of 2026-11-27, 03:00:00")],
)
def test_the_name_of_a_run_has_one_date(
    job: Job, monkeypatch: pytest.MonkeyPatch, dated: bool, name: str
) -> None:
    given = {"job": job, "date": date(2026, 11, 27) if dated else None}
    flow_run = SimpleNamespace(
        parameters=given, scheduled_start_time=datetime(2026, 11, 28, 3, tzinfo=UTC)
    )
    monkeypatch.setitem(_run_name.__globals__, "runtime", SimpleNamespace(flow_run=flow_run))
    assert _run_name() == name
