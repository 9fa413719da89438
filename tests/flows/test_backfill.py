"""A job for many dates: published ones are left alone, a bad one does not stop the others."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.client.schemas.objects import State

from em_impute.flows.backfill import backfill
from em_impute.flows.impute import impute
from em_impute.job import CannotRun, Job
from em_impute.runs.run import Outcome

pytestmark = pytest.mark.usefixtures("prefect_server")

FIRST, LAST = date(2026, 2, 1), date(2026, 2, 4)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of days, four of which have their file."""
    monkeypatch.chdir(tmp_path)
    for k in range(4):
        write_day(FIRST + timedelta(days=k))
    return dated_job({"path": "out/{date:%m-%d}.parquet"})


def write_day(day: date) -> None:
    rng = np.random.default_rng(day.toordinal())
    frame = pd.DataFrame({"id": range(60), "a": rng.normal(size=60)})
    frame["b"] = np.where(frame["id"] % 7 == 0, np.nan, frame["a"] + rng.normal(size=60))
    Path("in").mkdir(exist_ok=True)
    frame.to_parquet(f"in/{day}.parquet")


def dated_job(target: dict[str, Any]) -> Job:
    return Job.model_validate(
        {
            "name": "days",
            "source": {"path": "in/{date}.parquet"},
            "columns": {"key": ["id"]},
            "target": target,
        }
    )


def run(job: Job, **options: Any) -> tuple[State[Any], dict[str, str]]:
    state = backfill(job, FIRST, LAST, **options, return_state=True)
    verdicts = state.result(raise_on_failure=False)
    return state, {f"{day:%d}": verdict.outcome for day, verdict in verdicts.items()}


def test_what_is_left_is_run_and_the_rest_is_left_alone(job: Job) -> None:
    Path("in/2026-02-03.parquet").rename("late")
    state, outcomes = run(job, parallel=2)
    assert outcomes == {
        "01": "published",
        "02": "published",
        "03": "not published",
        "04": "published",
    }
    assert state.is_failed()
    assert state.message == "Of 4 dates 3 published, 1 not published."
    written = Path("out/02-01.parquet").stat().st_mtime_ns
    assert len(list(Path("runs/days").iterdir())) == 4
    Path("late").rename("in/2026-02-03.parquet")
    Path("out/02-04.parquet").unlink()
    state, outcomes = run(job)
    assert state.is_completed()
    assert set(outcomes.values()) == {"published"}
    assert len(list(Path("runs/days").iterdir())) == 6  # the late day and the one that had gone
    assert Path("out/02-01.parquet").stat().st_mtime_ns == written
    for k in range(1, 5):
        assert pd.read_parquet(f"out/02-0{k}.parquet")["b"].notna().all()


def test_days_at_a_time_have_folders_of_their_own(job: Job) -> None:
    """Started in one second, and told by more than the time."""
    run(job, parallel=4)
    manifests = [json.loads(path.read_text()) for path in Path("runs/days").glob("*/manifest.json")]
    assert sorted(manifest["date"] for manifest in manifests) == [
        f"2026-02-0{k}" for k in range(1, 5)
    ]


def test_a_day_is_appended_once(job: Job) -> None:
    job = dated_job({"path": "out/all.parquet", "mode": "append"})
    assert run(job)[0].is_completed()
    assert len(pd.read_parquet("out/all.parquet")) == 240
    state = impute(job, date=FIRST, return_state=True)
    outcome = state.result(raise_on_failure=False)
    assert isinstance(outcome, Outcome)
    assert outcome.verdict.outcome == "published with warnings"
    assert "had been appended to the target before" in outcome.verdict.sentence
    assert len(pd.read_parquet("out/all.parquet")) == 240


def test_again_runs_what_was_published(job: Job) -> None:
    run(job)
    run(job, again=True)
    assert len(list(Path("runs/days").iterdir())) == 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"first": LAST, "last": FIRST}, "The first date, 2026-02-04, is after the last"),
        ({"parallel": 0}, "At least one date is run at a time, got 0."),
    ],
)
def test_what_makes_no_sense_is_said(job: Job, options: Any, complaint: str) -> None:
    given = {"first": FIRST, "last": LAST, **options}
    state = backfill(job, **given, return_state=True)
    assert isinstance(state.result(raise_on_failure=False), CannotRun)
    assert complaint in str(state.message)


def test_a_job_that_is_the_same_every_day_is_no_backfill(job: Job) -> None:
    same = job.at(FIRST)
    state = backfill(same, FIRST, LAST, return_state=True)
    assert "write {date} in the path of its source and of its target" in str(state.message)


def test_weeks_and_months(job: Job) -> None:
    state = backfill(job, FIRST, date(2026, 2, 28), every="month", return_state=True)
    assert list(state.result(raise_on_failure=False)) == [FIRST]


def test_days_of_a_job_with_a_state_are_run_in_their_order(job: Job) -> None:
    """Each by a model of itself and those before it; so not several at a time."""
    with_state = Job.model_validate(job.model_dump(mode="json") | {"state": {"path": "state"}})
    both = backfill(with_state, FIRST, LAST, parallel=2, return_state=True)
    assert "run them one at a time, without parallel" in (both.message or "")
    state, _ = run(with_state)
    assert state.is_completed()
    manifests = map(json.loads, (p.read_text() for p in Path("runs/days").glob("*/manifest.json")))
    rows = {one["date"][-2:]: one["rows_of_model"]["rows"] for one in manifests}
    assert rows == {"01": 60, "02": 120, "03": 180, "04": 240}
