"""Servers that tests bring up: Prefect's own, and a PostgreSQL."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import own_environment
from postgres_server import PostgresServer
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings


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


@contextmanager
def running_prefect(home: Path) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port, with its home; used by this process too."""
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


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server.

    Its folder is not pytest's, which is for this user only: root's server runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="em_impute_postgres_") as folder:
        server = PostgresServer(Path(folder) / "data")
        try:
            yield server
        finally:
            server.stop()
