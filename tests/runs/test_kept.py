"""Which folders of old runs are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from em_impute.job import KeptRuns
from em_impute.runs.kept import prune
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def leave_run(folder: Path, days_ago: float, published: bool | None) -> str:
    """A run's folder; without a manifest if it is not known whether it published."""
    started = NOW - timedelta(days=days_ago)
    run = folder / f"{started:%Y%m%dT%H%M%SZ}-abcdefgh"
    run.mkdir(parents=True)
    (run / "report.html").touch()
    if published is not None:
        target = {"target": "out.csv", "sha256": "..."} if published else None
        content = {
            "run": run.name,
            "definition": {"target": {}, "columns": {}},
            "source": {"path": "in.csv", "fingerprint": "sha256:..."},
            "target": target,
            "outputs": {},
            "versions": {},
            "machine": {},
            "started": started.isoformat(),
        }
        (run / "manifest.json").write_text(json.dumps(content))
    os.utime(run / "report.html", (started.timestamp(), started.timestamp()))
    os.utime(run, (started.timestamp(), started.timestamp()))
    return run.name


def test_without_a_policy_every_run_is_kept(tmp_path: Path) -> None:
    leave_run(tmp_path, 3000, published=True)
    leave_run(tmp_path, 2000, published=None)
    assert prune(tmp_path, KeptRuns(), NOW) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_runs_are_kept_by_count_and_by_age(tmp_path: Path) -> None:
    for days_ago in (40, 30, 20, 10, 5):
        leave_run(tmp_path, days_ago, published=True)
    assert prune(tmp_path, KeptRuns(days=25), NOW) == 2
    assert prune(tmp_path, KeptRuns(count=2), NOW) == 1
    assert prune(tmp_path, KeptRuns(count=2, days=7), NOW) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_latest_that_published_is_kept(tmp_path: Path) -> None:
    kept = {leave_run(tmp_path, 400, published=True), leave_run(tmp_path, 1, published=False)}
    leave_run(tmp_path, 500, published=True)
    leave_run(tmp_path, 399, published=False)
    assert prune(tmp_path, KeptRuns(count=1, days=30), NOW) == 2
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_run_that_may_still_be_going_on_is_kept(tmp_path: Path) -> None:
    going_on = leave_run(tmp_path, 1, published=None)
    leave_run(tmp_path, 8, published=None)
    (tmp_path / "notes.txt").touch()
    assert prune(tmp_path, KeptRuns(days=1), NOW) == 1
    assert {path.name for path in tmp_path.iterdir()} == {going_on, "notes.txt"}
