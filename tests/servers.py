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
from adbc_driver_postgresql.dbapi import connect
from conftest import own_environment
from postgres_server import PostgresServer
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

DATABASE = "prefect"
# They look every few seconds for runs that are late, paused or abandoned, of which no test of this
# server knows; tests/stack.py has them.
IDLE_SERVICES = ("LATE_RUNS", "PAUSE_EXPIRATIONS", "CLEANUP_RECONCILER", "FOREMAN", "REPOSSESSOR")


@dataclass(frozen=True)
class PrefectServer:
    """A server of the tests' own.

    Attributes
    ----------
    url : str
    environment : dict
        In which programs find it.
    database : PostgresServer
        Where it keeps its state.
    """

    url: str
    environment: dict[str, str]
    database: PostgresServer

    def kept(self) -> dict[str, bytes]:
        """Every file in its home, and every cell of every table of its database."""
        home = Path(self.environment["PREFECT_HOME"])
        kept = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
        with connect(self.database.url_of(DATABASE)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (name,) in cursor.fetchall():
                cursor.execute(f'SELECT t::text FROM "{name}" t')
                rows = [row for (row,) in cursor.fetchall()]
                kept[f"the table {name}"] = "\n".join(rows).encode()
        return kept

    def ask(self, path: str, query: dict[str, Any]) -> Any:
        """What its API answers."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            data=json.dumps(query).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def own_database(postgres: PostgresServer) -> dict[str, str]:
    """Make a database for a Prefect server, and return the setting that has it kept there."""
    with connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}").close()
    url = postgres.url_of(DATABASE).replace("postgresql:", "postgresql+asyncpg:", 1)
    return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}


@contextmanager
def running_prefect(home: Path) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port, with its home; used by this process too.

    It keeps its state in a PostgreSQL, as docker-compose.yml has it: on SQLite its writes wait for
    each other now and then, for up to a minute, in which no artifact changes and events are sent
    twice.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = own_environment(home) | {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
    }
    services = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES}
    with (
        running_postgres() as postgres,
        (home / "server.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=environment | services | own_database(postgres),
            stdout=log,
            stderr=log,
        ) as server,
        temporary_settings(
            {
                PREFECT_API_URL: f"{url}/api",
                PREFECT_HOME: home,
                # A run would wait for the thread that sends them, for up to a second.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
        ),
    ):
        try:
            _wait_until_healthy(f"{url}/api/health", home / "server.log")
            yield PrefectServer(url, environment, postgres)
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
            time.sleep(0.1)
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
