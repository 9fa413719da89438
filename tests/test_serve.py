"""`em-impute serve`: a cron schedule fires by itself, and the run publishes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import EM_IMPUTE, PrefectServer, WriteJob

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.timeout(400)
def test_a_cron_schedule_fires_by_itself(
    prefect_server: PrefectServer, write_job: WriteJob, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"x": range(30), "y": [None, *(2.0 * i + i % 3 for i in range(1, 30))]})
    write_job(rows.to_csv(index=False), schedule={"cron": "* * * * *", "timezone": "UTC"})
    target = tmp_path / "out" / "filled.csv"
    log = tmp_path / "serve.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [EM_IMPUTE, "serve", "job.yaml"],
            env=prefect_server.environment,
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + 300
            while not target.exists() and server.poll() is None and time.monotonic() < deadline:
                time.sleep(1)
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
    assert target.exists(), log.read_text()
    assert pd.read_csv(target)["y"].notna().all()
    assert next((tmp_path / "runs" / "test").iterdir()).is_dir()
    begun = {"flow_runs": {"start_time": {"is_null_": False}}}
    deployed = {"deployments": {"name": {"any_": ["test"]}}}
    flow_run = prefect_server.ask("flow_runs/filter", begun | deployed)[0]
    assert flow_run["name"].startswith("test, ")
    assert flow_run["name"].endswith(":00")
    assert {"em_impute", "test"} <= set(flow_run["tags"])
