"""One writer at a time: two real processes and one target."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from em_impute.tables.writing.locks import TargetBusyError, one_writer

HOLDER = """
import sys, time
from pathlib import Path
from em_impute.tables.writing.locks import one_writer
with one_writer(Path(sys.argv[1]), "the target", 5):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it gets a line, or dies."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_fails_with_a_sentence(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(TargetBusyError) as caught,
        one_writer(tmp_path / "lock", "out/y.csv", 0.05),
    ):
        pass
    holder.communicate("\n")
    assert str(caught.value) == (
        "Another run has been publishing to out/y.csv for more than 0.05 seconds; run the job "
        "again when it has finished, or raise target.lock_timeout."
    )


def test_the_second_waits_for_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin
    holder.stdin.write("\n")
    holder.stdin.flush()
    with one_writer(tmp_path / "lock", "y", 60):
        assert holder.wait() == 0


def test_no_lock_is_left_by_a_process_that_was_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    with one_writer(tmp_path / "lock", "y", 0.05):
        pass
