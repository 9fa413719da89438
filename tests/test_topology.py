"""The services of docker-compose.yml without containers: a schedule fires, a worker dies."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import write_yaml
from holed_tables import factor_table
from postgres_server import PostgresServer
from stack import PUBLISHED, Stack, descendants, kill

pytestmark = pytest.mark.timeout(600)

QUICK, SLOW = 400, 100_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    for name, rows, columns, schedule in (
        ("quick", QUICK, 4, {"cron": "* * * * *"}),
        ("slow", SLOW, 30, None),
        ("idle", QUICK, 4, None),
    ):
        X = factor_table(rows, columns, 0.3, seed=1)
        pd.DataFrame(X, columns=[f"x{j}" for j in range(columns)]).to_parquet(
            folder / f"{name}.parquet"
        )
        job = {
            "name": name,
            "source": {"path": f"{name}.parquet"},
            # What is published twice would be there twice.
            "target": {"path": f"out/{name}.parquet", "mode": "append"},
            # It is the fit that is long: a report on 30 imputed columns would only be drawn.
            "columns": {"impute": ["x0", "x1"]},
        }
        write_yaml(folder / f"{name}.yaml", job | ({"schedule": schedule} if schedule else {}))
    with tempfile.TemporaryDirectory(prefix="em_impute_postgres_") as data:
        postgres = PostgresServer(Path(data) / "data")
        stack = Stack(folder, postgres, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
        try:
            stack.start_server()
            stack.deploy([Path("slow.yaml"), Path("idle.yaml")])
            stack.start_worker()
            yield stack
        finally:
            stack.stop()
            postgres.stop()


def published(stack: Stack, job: str) -> int:
    """Rows at the job's target."""
    target = stack.folder / "out" / f"{job}.parquet"
    return len(pd.read_parquet(target)) if target.exists() else 0


def test_runs_whose_worker_is_killed_are_tried_again_and_publish_once(stack: Stack) -> None:
    """One is at work, another has not begun; Prefect takes minutes to see that they are lost."""
    idle_before = published(stack, "idle")
    slow = stack.start_run("slow")
    stack.wait(lambda: list(stack.folder.glob(f"runs/slow/*{slow[-8:]}/summary.npz")))
    worker = stack.workers.pop()
    for pid in descendants(worker.pid):  # so that it is still at work when the other is to begin
        os.kill(pid, signal.SIGSTOP)
    idle = stack.start_run("idle")
    stack.wait(lambda: stack.run(idle)["state_type"] == "PENDING")
    kill(worker)
    assert published(stack, "slow") == 0
    assert stack.run(idle)["state_type"] == "PENDING"
    # As `docker compose up` does, whatever it is called for.
    stack.deploy([Path("slow.yaml"), Path("idle.yaml")])
    stack.start_worker()
    for run in (slow, idle):
        stack.wait(lambda run=run: stack.state(run) in PUBLISHED, patience=400)
    assert published(stack, "slow") == SLOW
    assert published(stack, "idle") == idle_before + QUICK
    assert f"Going on with the {SLOW:,} rows that were read before." in stack.log("worker")
    [folder] = stack.folder.glob(f"runs/slow/*{slow[-8:]}")
    assert not list(folder.glob("snapshot*"))


def test_a_cancelled_run_leaves_its_folder_and_nothing_else(stack: Stack) -> None:
    before, rows = set(stack.folder.glob("out/.*")), published(stack, "slow")
    run = stack.start_run("slow")
    stack.wait(lambda: list(stack.folder.glob(f"runs/slow/*{run[-8:]}/summary.npz")))
    stack.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    stack.wait(lambda: stack.state(run) == "Cancelled")
    [folder] = stack.folder.glob(f"runs/slow/*{run[-8:]}")
    stack.wait(
        lambda: (folder / "report.html").exists() and not (folder / "snapshot.arrow").exists()
    )
    assert "The run was cancelled." in (folder / "report.html").read_text()
    assert not list(folder.glob(".*"))
    assert published(stack, "slow") == rows
    assert set(stack.folder.glob("out/.*")) == before


def test_a_schedule_fires_by_itself_and_leaves_its_artifacts(stack: Stack) -> None:
    stack.deploy([Path("quick.yaml")])

    def completed() -> dict[str, str] | None:
        done = [run for run in stack.runs("quick") if run["state_name"] in PUBLISHED]
        return done[0] if done else None

    run = stack.wait(completed)
    assert run["auto_scheduled"]
    assert published(stack, "quick") % QUICK == 0
    found = stack.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert {"quick-report", "quick-columns", "quick-em"} <= {one["key"] for one in found}
    [manifest] = stack.folder.glob(f"runs/quick/*{run['id'][-8:]}/manifest.json")
    assert json.loads(manifest.read_text())["verdict"].startswith(run["state"]["message"][:20])
