"""What all tests share: jobs to run, and servers, which are imported where a test asks for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer
    from servers import PrefectServer

ROOT = Path(__file__).parent.parent
EM_IMPUTE = str(Path(sys.executable).with_name("em-impute"))


def own_environment(home: Path) -> dict[str, str]:
    """This environment without the caller's Prefect, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "DO_NOT_TRACK": "1",
    }


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the engine's loops once, while all workers still collect; else each would."""
    if session.config.getoption("numprocesses", None):
        kernels = Path(__file__).with_name("kernels.py")
        subprocess.Popen([sys.executable, str(kernels)], stdout=subprocess.DEVNULL)


LONGEST = (
    "test_topology.py",
    "test_interruptions.py",
    "test_serve.py",
    "test_field_trial.py",
    "test_whole_job.py",
    "test_ui.py",
    "test_field.py",
    "test_secrets.py",
    "test_run.py",
    "test_after_publishing.py",
    "test_wheel.py",
    "test_records.py",
    "test_page.py",
    "test_backfill.py",
    "test_mixture.py",
    "test_passes.py",
    "test_self_test_pages.py",
    "test_render.py",
    "test_artifacts.py",
    "test_automations.py",
    "test_target_killed.py",
    "test_target.py",
    "test_source.py",
    "test_check.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no core waits for the last of them.

    They go through what is costly to set up step by step, so theirs are kept in their order; all
    others are in that of chance.
    """
    places = {name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> tuple[int, int]:
        at = places.get(item.path.name, len(LONGEST))
        return at, (item.location[1] or 0) if at < len(LONGEST) else 0

    items.sort(key=place)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port, for the session; used by this process too."""
    from servers import running_prefect

    with running_prefect(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session."""
    from servers import running_postgres

    with running_postgres() as server:
        yield server


def write_yaml(path: Path, job: dict[str, Any]) -> None:
    """Write a job's file."""
    from ruamel.yaml import YAML

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
