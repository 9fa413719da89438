"""What a run shows in Prefect, as its API gives it away."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas as pd
import pytest
from conftest import PrefectServer
from holed_tables import factor_table
from prefect.artifacts import Artifact
from prefect.exceptions import PrefectException

from em_impute.flows.impute import impute
from em_impute.job import Job

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def job(folder: Path, name: str, columns: int = 4, **changes: object) -> Job:
    """A job on 1,000 rows; half of their cells are missing, so that EM takes long on 60 columns."""
    frame = pd.DataFrame(factor_table(1000, columns, 0.5, seed=1)).rename(columns="x{}".format)
    frame.to_parquet(folder / "in.parquet")
    return Job.model_validate(
        {
            "name": name,
            "source": {"path": str(folder / "in.parquet")},
            "target": {"path": str(folder / "out.parquet")},
        }
        | changes
    )


class Watcher(threading.Thread):
    """Looks at an artifact ten times a second, as a browser might, and keeps what it sees."""

    def __init__(self, server: PrefectServer, key: str) -> None:
        super().__init__()
        self.server, self.key = server, key
        self.over = threading.Event()
        self.seen: list[tuple[float, str]] = []

    def run(self) -> None:
        query = {"artifacts": {"key": {"any_": [self.key]}}}
        while not self.over.wait(0.1):
            for artifact in self.server.ask("artifacts/filter", query):
                state = (artifact["data"], artifact["description"])
                if state not in self.seen[-1:]:
                    self.seen.append(state)


def test_progress_changes_at_least_5_times_in_10_seconds_of_em(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    slow = {"acceleration": "none", "max_iter": 1_000_000, "time_limit": 10, "prior": 0}
    watcher = Watcher(prefect_server, "slow-em")
    watcher.start()
    try:
        state = impute(job(tmp_path, "slow", 60, model=slow), tmp_path / "runs", return_state=True)
    finally:
        watcher.over.set()
        watcher.join()
    assert state.is_completed()
    while_it_worked = [text for _, text in watcher.seen if text.startswith("EM iteration")]
    percents = [percent for percent, _ in watcher.seen]
    assert len(while_it_worked) >= 5
    assert len(set(percents)) > 5
    assert percents == sorted(percents)
    assert percents[-1] < 100.0, "the fit ended before the maximum"
    assert "Stopped by the time limit" in watcher.seen[-1][1]


def test_a_fit_goes_on_when_its_progress_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise PrefectException("no")

    monkeypatch.setattr("em_impute.artifacts.update_progress_artifact", refuse)
    state = impute(job(tmp_path, "unwatched"), tmp_path / "runs", return_state=True)
    assert state.is_completed()
    artifact = Artifact.get("unwatched-em")
    assert artifact is not None
    assert artifact.data == 0
    assert "does not show the progress of EM any more (PrefectException)" in caplog.text
