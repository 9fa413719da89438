"""The services of docker-compose.yml without containers, which tests may kill and start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conftest import EM_IMPUTE, own_environment
from postgres_server import PostgresServer
from servers import own_database

POOL = "night"
PUBLISHED = ("Published", "Published with warnings")
# Not "Crashed": such a run is tried again.
ENDED = (*PUBLISHED, "Completed", "Refused", "Failed", "Cancelled")
SCHEDULED = {"type": "SCHEDULED", "name": "Scheduled"}


class Stack:
    """PostgreSQL with Prefect's database, a Prefect server on it, and process workers of one pool.

    Every program runs in the folder `folder`, in which jobs find their tables, and in a group of
    its own, so that it can be killed with all its children.
    """

    def __init__(self, folder: Path, postgres: PostgresServer, **settings: str) -> None:
        self.folder, self.postgres = folder, postgres
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = own_environment(folder / ".prefect") | {
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_UI_API_URL": f"{self.url}/api",
            **own_database(postgres),
            **settings,
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_server(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        port = str(self.port)
        self.server = self._start("server", ["-m", "prefect", "server", "start", "--port", port])
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise RuntimeError(f"The server did not start:\n{self.log('server')}")

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        command = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        self.workers.append(self._start("worker", [*command, *options]))
        return self.workers[-1]

    def deploy(self, jobs: Sequence[Path], *options: str) -> None:
        """`em-impute deploy` of some jobs."""
        command = [EM_IMPUTE, "deploy", *map(str, jobs), "--pool", POOL, "--create-pool", *options]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            data=json.dumps(body or {}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def runs(self, job: str) -> list[dict[str, Any]]:
        """The flow runs of a job's deployment, in the order in which they are due."""
        query = {"deployments": {"name": {"any_": [job]}}, "sort": "EXPECTED_START_TIME_ASC"}
        runs: list[dict[str, Any]] = self.ask("flow_runs/filter", query)
        return runs

    def start_run(self, job: str, parameters: dict[str, Any] | None = None) -> str:
        """Ask for a run of a job now; its id."""
        name = urllib.parse.quote(f"impute/{job}", safe="/")
        with urllib.request.urlopen(f"{self.url}/api/deployments/name/{name}") as answer:
            deployment = json.load(answer)["id"]
        body = {"state": SCHEDULED, "parameters": parameters or {}}
        run: str = self.ask(f"deployments/{deployment}/create_flow_run", body)["id"]
        return run

    def run(self, run: str) -> dict[str, Any]:
        """What the API says of a run."""
        with urllib.request.urlopen(f"{self.url}/api/flow_runs/{run}") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def state(self, run: str) -> str:
        """The name of a run's state."""
        name: str = self.run(run)["state_name"]
        return name

    def wait(self, what: Callable[[], Any], patience: float = 240.0) -> Any:
        """Wait until there is what is waited for."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := what():
                return found
            time.sleep(0.5)
        raise TimeoutError(f"server:\n{self.log('server')}\nworkers:\n{self.log('worker')}")

    def log(self, program: str) -> str:
        """What the server, or the workers, have said."""
        return (self.folder / f"{program}.log").read_text()

    def stop(self) -> None:
        """Kill what is still running."""
        for process in filter(None, [*self.workers, self.server]):
            kill(process)

    def _start(self, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all its children, as a machine that is gone does."""
    for pid in (process.pid, *descendants(process.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have started."""
    listed = ["ps", "-eo", "pid=,ppid="]
    lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [tuple(map(int, line.split())) for line in lines]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]
