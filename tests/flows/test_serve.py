"""`em-impute serve`: a cron schedule fires by itself, and the run publishes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from conftest import EM_IMPUTE, WriteJob
from holed_tables import factor_table
from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.exceptions import ObjectNotFound
from servers import PrefectServer

pytestmark = pytest.mark.timeout(400)

LOG = Path("serve.log")


@pytest.fixture
def serve(prefect_server: PrefectServer) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Serve job.yaml until the test is over; what is printed is in `LOG`."""
    with ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            output = stack.enter_context(LOG.open("w"))
            server = stack.enter_context(
                subprocess.Popen(
                    [EM_IMPUTE, "serve", "job.yaml"],
                    env=prefect_server.environment,
                    stdout=output,
                    stderr=output,
                )
            )
            stack.callback(_end, server)
            return server

        yield start


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()


def test_a_cron_schedule_fires_by_itself(
    prefect_server: PrefectServer,
    serve: Callable[[], subprocess.Popen[bytes]],
    write_job: WriteJob,
) -> None:
    rows = pd.DataFrame({"x": range(30), "y": [None, *(2.0 * i + i % 3 for i in range(1, 30))]})
    CustomWebhookNotificationBlock(name="served", url="http://127.0.0.1:9").save("served")
    write_job(
        rows.to_csv(index=False),
        schedule={"cron": "* * * * *", "timezone": "UTC"},
        notify={"webhook": {"block": "served"}, "on": ["refused"]},
    )
    target, server = Path("out/filled.csv"), serve()
    _when(lambda: target.exists() or server.poll() is not None)
    assert target.exists(), LOG.read_text()
    assert pd.read_csv(target)["y"].notna().all()
    assert next(Path("runs/test").iterdir()).is_dir()
    begun = {"flow_runs": {"start_time": {"is_null_": False}}}
    deployed = {"deployments": {"name": {"any_": ["test"]}}}
    flow_run = prefect_server.ask("flow_runs/filter", begun | deployed)[0]
    assert flow_run["name"].startswith("test, ")
    assert flow_run["name"].endswith(":00")
    assert {"em_impute", "test"} <= set(flow_run["tags"])
    automations = prefect_server.ask("automations/filter", {})
    assert "em_impute: test was refused" in {one["name"] for one in automations}


def test_sigterm_during_a_run(
    prefect_server: PrefectServer,
    serve: Callable[[], subprocess.Popen[bytes]],
    write_job: WriteJob,
) -> None:
    """The run gets the signal and counts as lost; the deployment is paused; no traceback."""
    X = factor_table(40_000, 30, 0.3, seed=1)
    pd.DataFrame(X, columns=[f"x{j}" for j in range(30)]).to_parquet("slow.parquet")
    target = {"path": "out/slow.parquet"}
    write_job(name="served", source={"path": "slow.parquet"}, target=target)
    server = serve()
    run = _when(lambda: _started("served"))
    _when(lambda: list(Path("runs").glob("served/*/summary.npz")))
    server.terminate()
    assert server.wait(120) == 0, LOG.read_text()
    assert "Traceback" not in LOG.read_text()
    with get_client(sync_client=True) as client:
        assert client.read_deployment_by_name("impute/served").paused
        state = client.read_flow_run(run).state
    assert state is not None
    assert state.name == "Crashed"
    assert not Path("out/slow.parquet").exists()
    # The snapshot stays for the run that is tried again.
    assert list(Path("runs").glob("served/*/snapshot.arrow"))


def _started(job: str) -> UUID | None:
    """Start a run of a job, once it is deployed."""
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"impute/{job}")
        except ObjectNotFound:
            return None
        return client.create_flow_run_from_deployment(deployment.id).id


def _when(what: Callable[[], Any], patience: float = 300.0) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    raise TimeoutError(LOG.read_text())
