"""Runs that are interrupted or killed: what they leave behind, and who removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import EM_IMPUTE, WriteJob, own_environment
from holed_tables import factor_table
from prefect.exceptions import TerminationSignal
from servers import PrefectServer

from em_impute.plugin.tasks import dropped_signals_sent_again
from em_impute.runs.run import interruption_behind

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(400),
]

# What only a run that goes on needs.
WORKING = ("snapshot*", "staged*", "checkpoint.json", ".source.*", ".*.part")


@pytest.fixture
def slow_job(write_job: WriteJob) -> Path:
    """A job that is long at work, in whose source there is a file at a URL."""
    X = factor_table(30_000, 30, 0.3, seed=1)
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(30)])
    frame.to_parquet("slow.parquet")
    source = {"path": f"file://{Path('slow.parquet').absolute()}"}
    # It is the fit that is long: a report on 30 imputed columns would only be drawn.
    columns = {"impute": ["x0", "x1"]}
    return write_job(
        name="slow", source=source, columns=columns, target={"path": "out/slow.parquet"}
    )


def start(server: PrefectServer, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [EM_IMPUTE, *arguments],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(what: Callable[[], Any], patience: float = 240.0) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise TimeoutError


def left(folder: Path) -> list[str]:
    return sorted(path.name for name in WORKING for path in folder.rglob(name))


@pytest.mark.parametrize(
    ("sent", "code", "moment"),
    [(signal.SIGINT, 130, "summary.npz"), (signal.SIGTERM, 143, "snapshot.json")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_an_interrupted_run_removes_what_only_it_needs(
    prefect_server: PrefectServer, slow_job: Path, sent: signal.Signals, code: int, moment: str
) -> None:
    process = start(prefect_server, "run", "job.yaml")
    wait_for(lambda: list(Path("runs").glob(f"slow/*/{moment}")) or process.poll() is not None)
    process.send_signal(sent)
    assert_nothing_is_left(process, code)


def test_ctrl_c_that_ends_the_temporary_server_too(
    prefect_server: PrefectServer, slow_job: Path, tmp_path: Path
) -> None:
    """A terminal sends it to all processes; nothing can be told to Prefect then."""
    alone = replace(prefect_server, environment=own_environment(tmp_path / "prefect"))
    process = start(alone, "run", "job.yaml")
    wait_for(lambda: list(Path("runs").glob("slow/*/summary.npz")) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    assert_nothing_is_left(process, 130)


def assert_nothing_is_left(process: subprocess.Popen[str], code: int) -> None:
    _, said = process.communicate(timeout=200)
    assert "em-impute: interrupted; what was not published will not be." in said
    assert "Traceback" not in said
    assert process.returncode == code
    assert not Path("out/slow.parquet").exists()
    [folder] = Path("runs/slow").iterdir()
    assert left(folder) == []
    assert "The run was interrupted." in (folder / "report.html").read_text()


def test_what_a_killed_run_has_left_is_removed_by_the_next_one(
    prefect_server: PrefectServer, slow_job: Path
) -> None:
    """But not what a run has that still goes on."""
    going_on = start(prefect_server, "run", "--direct", "job.yaml")
    try:
        wait_for(lambda: len(list(Path("runs").glob("slow/*/summary.npz"))) == 1)
        going_on.send_signal(signal.SIGSTOP)
        killed = start(prefect_server, "run", "--direct", "job.yaml")
        wait_for(lambda: len(list(Path("runs").glob("slow/*/summary.npz"))) == 2)
        killed.kill()
        killed.wait()
        of_killed = max(Path("runs/slow").iterdir(), key=lambda path: path.stat().st_mtime)
        (of_killed / ".source.abc").mkdir()  # as a kill in the middle of the copying leaves it
        before = {path: left(path) for path in Path("runs/slow").iterdir()}
        assert all("snapshot.arrow" in files for files in before.values())
        assert start(prefect_server, "run", "--direct", "job.yaml", "-q").wait(300) == 0
        now = {path: left(path) for path in before}
        assert sorted(map(bool, now.values())) == [False, True]
        going_on.send_signal(signal.SIGCONT)
        assert going_on.wait(300) == 0
        assert left(Path("runs")) == []
    finally:
        going_on.kill()


@pytest.mark.parametrize("sent", [KeyboardInterrupt(), TerminationSignal(signal.SIGTERM)])
def test_a_signal_is_told_from_a_fault_that_came_of_it(sent: BaseException) -> None:
    """Prefect fails in its own words where it is interrupted between two steps."""
    fault = ValueError("clearing up")
    fault.__context__ = sent
    assert interruption_behind(fault) is sent
    assert interruption_behind(ValueError("a fault")) is None


def test_a_signal_that_python_drops_is_sent_again(capfd: pytest.CaptureFixture[str]) -> None:
    """It comes while a callback of a weak reference is called."""

    def as_prefect_does(number: int, _: object) -> None:
        raise TerminationSignal(number)

    class Thing:
        pass

    def work() -> None:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
        del thing
        assert reference() is None  # and the program goes on
        time.sleep(60)

    before = signal.signal(signal.SIGTERM, as_prefect_does)
    try:
        with pytest.raises(TerminationSignal), dropped_signals_sent_again():
            work()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "Exception ignored" not in capfd.readouterr().err
