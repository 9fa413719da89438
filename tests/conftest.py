"""A real Prefect server for the tests that need one, and jobs to run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
EM_IMPUTE = str(Path(sys.executable).with_name("em-impute"))


@dataclass(frozen=True)
class PrefectServer:
    """A server of the tests' own: its address, and the environment in which programs find it."""

    url: str
    environment: dict[str, str]

    def ask(self, path: str, query: dict[str, Any]) -> Any:
        """What its API answers."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            data=json.dumps(query).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def own_environment(home: Path) -> dict[str, str]:
    """This environment without the caller's Prefect, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "DO_NOT_TRACK": "1",
    }


LONGEST = (
    "test_topology.py",
    "test_field_trial.py",
    "test_field.py",
    "test_whole_job.py",
    "test_after_publishing.py",
    "test_secrets.py",
    "test_interruptions.py",
    "test_serve.py",
    "test_backfill.py",
    "test_records.py",
    "test_target_killed.py",
    "test_target.py",
    "test_source.py",
    "test_run.py",
    "test_check.py",
    "test_wheel.py",
    "test_ui.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no core waits for the last of them."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port, for the session; used by this process too."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = own_environment(home) | {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
    }
    with (
        (home / "server.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        ) as server,
        temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_HOME: home}),
    ):
        try:
            _wait_until_healthy(f"{url}/api/health", home / "server.log")
            yield PrefectServer(url, environment)
            # What is still queued would be retried in vain, for a minute, when the server is gone.
            EventsWorker.drain_all(timeout=30)
            APILogWorker.drain_all(timeout=30)
        finally:
            server.terminate()


def _wait_until_healthy(url: str, log: Path, patience: float = 240.0) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"The Prefect server did not start within {patience:.0f} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session.

    Its folder is not pytest's, which is for this user only: root's server runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="em_impute_postgres_") as folder:
        server = PostgresServer(Path(folder) / "data")
        try:
            yield server
        finally:
            server.stop()


def write_yaml(path: Path, job: dict[str, Any]) -> None:
    """Write a job's file."""
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(job, file)


WriteJob = Callable[..., Path]


@pytest.fixture
def write_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteJob:
    """Write job.yaml and in.csv into a folder of the test's own, and go there."""
    monkeypatch.chdir(tmp_path)

    def write(table: str | None = None, **changes: Any) -> Path:
        if table is not None:
            Path("in.csv").write_text(table)
        job: dict[str, Any] = {
            "name": "test",
            "source": {"path": "in.csv"},
            "target": {"path": "out/filled.csv"},
        }
        job |= changes
        write_yaml(Path("job.yaml"), job)
        return Path("job.yaml")

    return write
