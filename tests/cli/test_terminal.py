"""What is on the screen: a run as it goes on, and a job's history."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import struct
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import pyte
import pytest
from command_line import GOOD
from conftest import EM_IMPUTE, WriteJob
from rich.console import Console
from servers import PrefectServer

from em_impute.cli import terminal
from em_impute.cli.terminal import RunView
from em_impute.gaussian import Iteration
from em_impute.reporting.brief import Brief
from em_impute.runs.history import PastRun
from em_impute.tables import progress

COLUMNS, LINES = 80, 24


class Screen:
    """A terminal of 80 x 24 characters."""

    def __init__(self) -> None:
        self.written = io.StringIO()
        self.console = Console(
            file=self.written, force_terminal=True, width=COLUMNS, height=LINES, _environ={}
        )

    @property
    def lines(self) -> list[str]:
        """What stands on it now."""
        screen = pyte.Screen(COLUMNS, LINES)
        # A terminal's driver adds what StringIO does not: the way back to the first column.
        pyte.Stream(screen).feed(self.written.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]


@pytest.fixture
def screen() -> Screen:
    return Screen()


def hear(view: RunView, sentence: str, level: int = logging.INFO) -> None:
    path = str(terminal.PACKAGE / "tasks.py")
    view.log.handle(logging.LogRecord("prefect.task_runs", level, path, 1, sentence, (), None))


def iteration(number: int) -> Iteration:
    return Iteration(number, -2326.7, -2326.7, 3e-4, "em", 0.1)


def test_each_step_has_a_line_that_says_how_it_went(screen: Screen) -> None:
    view = RunView(screen.console)
    with view.progress, progress.heard_by(view):
        with progress.step("load"):
            hear(view, "Read 153 rows.")
        with progress.step("fit"):
            hear(view, "Prior raised: 'x' and 'y' are collinear.", logging.WARNING)
            hear(view, "Converged after 5 iterations.")
        with pytest.raises(OSError, match="full"), progress.step("fill"):
            raise OSError("The disk is full.")
        view.end()
    assert [line.split(maxsplit=4) for line in screen.lines] == [
        ["✓", "start", "0.0", "s"],
        ["✓", "load", "0.0", "s", "Read 153 rows."],
        ["!", "fit", "0.0", "s", "Prior raised: 'x' and 'y' are collinear."],
        ["✗", "fill", "0.0", "s", "The disk is full."],
    ]


def test_rows_and_iterations_are_seen_while_a_step_works(screen: Screen) -> None:
    view = RunView(screen.console)
    with view.progress, progress.heard_by(view), progress.step("fit"):
        progress.rows_passed(60_000, 0.6)
        view.progress.refresh()
        assert "60,000 rows" in screen.lines[-1]
        assert "━" in screen.lines[-1]
        view._changed = 0.0
        progress.iterations(1e-6)(iteration(12))
        view.progress.refresh()
        assert "EM iteration 12: log-likelihood -2326.7" in screen.lines[-1]


def test_a_step_that_is_tried_again_has_one_line(screen: Screen) -> None:
    view = RunView(screen.console)
    with view.progress, progress.heard_by(view):
        for _ in range(2):
            with pytest.raises(OSError, match="once"), progress.step("load"):
                raise OSError("once")
        with progress.step("load"):
            hear(view, "Read 153 rows.")
    assert len(screen.lines) == 2
    assert screen.lines[1].startswith("✓ load")
    assert screen.lines[1].endswith("Read 153 rows.")


def test_what_others_log_stands_above_and_no_name_acts_upon_the_terminal(screen: Screen) -> None:
    view = RunView(screen.console)
    with view.progress, progress.heard_by(view), progress.step("load"):
        logger = logging.Logger("great_expectations")
        logger.addHandler(view.log)
        logger.info("Nobody needs to know.")
        logger.warning("This is [bold]deprecated[/bold].")
        engine = logging.Logger("prefect.flow_runs")
        engine.addHandler(view.log)
        engine.info(
            "View at http://prefect.example.org:4200/runs/flow-run/5f1c9a2e-0000-0000-0000-0123456789"
        )
        engine.error("Finished in state Failed()")
        hear(view, "Read \x1b[31mred\x07\nrows of [bold]x[/bold].")
    assert screen.lines[0] == "This is [bold]deprecated[/bold]."
    assert "".join(screen.lines[1:3]).endswith("5f1c9a2e-0000-0000-0000-0123456789")
    assert screen.lines[-1].endswith("Read □[31mred□ rows of [bold]x[/bold].")
    assert len(screen.lines) == 5


def past(run: str, **known: object) -> PastRun:
    values = {
        "job": "air",
        "run": run,
        "started": "2026-11-22T03:00:00+00:00",
        "outcome": "published",
        "verdict": "44 missing cells were filled and the table was written to out/air.parquet.",
        "source": "in.csv",
        "target": "out/air.parquet",
        "rows": 999_999,
        "columns": 6,
        "missing_cells": 44,
        "missing_percent": 4.793,
        "imputed_cells": 1_234_567,
        "patterns": 4,
        "iterations": 1000,
        "fit": "converged",
        "checks": 9,
        "failed_checks": 0,
        "warned_checks": 0,
    }
    return PastRun(run, Path("runs/air") / run, Brief(**values | known), "", None)  # type: ignore[arg-type]


RUNS = (
    past("20261121T030000Z-aaaaaaaa", missing_percent=1.0, rmse_ratio=0.69, coverage_95=0.94),
    past("20261122T030000Z-bbbbbbbb", outcome="published with warnings", missing_percent=2.0),
    PastRun("20261123T030000Z-cccccccc", Path("runs"), None, "It left no report.", None),
    past("20261124T030000Z-dddddddd", outcome="not published", iterations=None),
)


@pytest.mark.parametrize("width", [80, 120])
def test_a_history_is_whole_in_any_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(
        terminal, "Console", lambda **_: Console(width=width, color_system=None, _environ={})
    )
    terminal.show_history(RUNS)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    [last] = [line for line in lines if line.startswith("2026-11-24")]
    assert last.startswith("2026-11-24 03:00  not published  999,999    4.79%  1,234,567")
    [tested] = [line for line in lines if line.startswith("2026-11-21")]
    assert "0.69 94%" in tested
    [killed] = [line for line in lines if line.startswith("2026-11-23")]
    assert killed.startswith("2026-11-23 03:00  no report")
    assert ("44 missing cells" in last) == ("no report." in killed) == (width == 120)
    assert lines[-3:] == [
        "missing %   ▁▃ █  1 to 4.793",
        "iterations  ▁▁    1,000",
        "self-test   ▁     0.69",
    ]


def test_a_history_has_the_data_date_where_there_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.show_history(RUNS[:2])
    assert "data of" not in capsys.readouterr().out
    terminal.show_history([past("20261121T030000Z-aaaaaaaa", date="2026-11-20"), *RUNS])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["2026-11-20", "2026-11-21"] for line in lines)


def test_a_history_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_history(RUNS)
    written = capsys.readouterr().out
    assert "\x1b" not in written
    assert written.count("44 missing cells were filled and the table was written") == 3


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([5.0, 5.0], "▁▁"),
        ([1.0, None, 2.0], "▁ █"),
        ([None], " "),
        ([], ""),
    ],
)
def test_sparklines(numbers: list[float | None], line: str) -> None:
    assert terminal.sparkline(numbers) == line


def test_a_terminal_shows_the_steps_and_no_log_line(
    prefect_server: PrefectServer, write_job: WriteJob
) -> None:
    """Stderr is a terminal of 100 columns, stdout is a pipe."""
    write_job(GOOD)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environment = prefect_server.environment | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        [EM_IMPUTE, "run", "--json", "job.yaml"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        screen = pyte.Screen(100, 24)
        stream = pyte.ByteStream(screen)
        with suppress(OSError):  # the end of a terminal
            while written := os.read(ours, 65536):
                stream.feed(written)
        assert running.stdout is not None
        assert json.loads(running.stdout.read())["imputed_cells"] == 8
    os.close(ours)
    assert running.returncode == 0
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert lines[0].startswith(f"View at {prefect_server.url}/runs/flow-run/")
    before = ["start", "load", "check input", "fit", "fill"]
    steps = [*before, "self-test", "check output", "publish", "report"]
    assert [line[:15].strip() for line in lines[1:]] == [f"✓ {step}" for step in steps]
    assert lines[2].endswith("Read 40 rows and 2 columns from in.csv.")
    assert screen.cursor.hidden is False
