"""What the command line shows: a run while it goes on, and the history of a job.

A run is shown on stderr, where that is a terminal, by a line for each step. What Prefect logs is
not written over it but taken in. Elsewhere Prefect's log is left as it is.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column, Table
from rich.text import Text

from em_impute.job.legible import legible, legible_lines
from em_impute.tables.progress import Listener, heard_by, in_words

if TYPE_CHECKING:
    from em_impute.gaussian import Iteration
    from em_impute.reporting.brief import Brief
    from em_impute.runs.history import PastRun

PACKAGE = Path(__file__).parents[1]
# What Prefect's engine logs of steps that begin, fail and end is on the steps' lines.
ENGINE = {"prefect.flow_runs", "prefect.task_runs"}
START = "start"
# How a direct run's log looks where no terminal is, as Prefect's does.
LINE = "%(asctime)s.%(msecs)03d | %(levelname)-7s | %(message)s"
DONE, WARNED, FAILED = Text("✓", "green"), Text("!", "yellow"), Text("✗", "red")
# The line of a step changes at most this often, in seconds.
INTERVAL = 0.05

BLOCKS = "▁▂▃▄▅▆▇█"
COLOURS = {"published": "green", "published with warnings": "yellow", "not published": "red"}
# How wide a table is that is not written to a terminal.
WIDTH = 160
# In a narrower terminal a history goes without the sentences of its verdicts.
NARROW = 110


@contextmanager
def run_shown(quiet: bool, direct: bool = False) -> Iterator[None]:
    """Show the run that goes on meanwhile; if `quiet`, only faults of the program.

    Parameters
    ----------
    quiet : bool
    direct : bool
        Whether it goes without Prefect, which would set the log up.
    """
    logged_to = _log_to if direct else _prefects_log_to
    if quiet:
        with logged_to(_FaultsOnly()):
            yield
    elif _can_be_drawn_on(sys.stderr):
        view = RunView(Console(stderr=True), "The job begins." if direct else "Prefect starts.")
        with view.progress, heard_by(view), logged_to(view.log):
            yield
            view.end()
    elif direct:
        lines = logging.StreamHandler()
        lines.setFormatter(logging.Formatter(LINE, "%H:%M:%S"))
        with _log_to(lines):
            yield
    else:
        yield


def _can_be_drawn_on(stream: TextIO) -> bool:
    can_move = stream.isatty() and os.environ.get("TERM") != "dumb"
    return can_move and (stream.encoding or "").lower().startswith("utf")


@contextmanager
def _log_to(handler: logging.Handler) -> Iterator[list[logging.Handler]]:
    """Put `handler` in the place of the root logger's handlers, which are given meanwhile."""
    root = logging.getLogger()
    kept, root.handlers = root.handlers, [handler]
    try:
        yield kept
    finally:
        root.handlers = kept


@contextmanager
def _prefects_log_to(handler: logging.Handler) -> Iterator[None]:
    """The same, where Prefect's handlers write to the terminal."""
    import prefect.main  # noqa: F401 - it sets these handlers up, once

    with _log_to(handler) as kept:
        try:
            yield
        finally:
            # Prefect stops a temporary server, and says so, when the program exits.
            atexit.register(_only_warnings, kept)


def _only_warnings(handlers: Sequence[logging.Handler]) -> None:
    for handler in handlers:
        handler.setLevel(logging.WARNING)


class _FaultsOnly(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes what comes with a traceback; all else is in the verdict."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            super().emit(record)


class RunView(Listener):
    """A line for each step of a run: how it goes, how long it took, what it found.

    Attributes
    ----------
    progress : rich.progress.Progress
        What is on the screen while it is entered.
    log : logging.Handler
        Takes the log in: our own sentences stand beside their step, warnings of others above all.
    """

    def __init__(self, console: Console, beginning: str = "Prefect starts.") -> None:
        self.progress = Progress(
            _Mark(),
            _Name(),
            _Seconds(table_column=Column(justify="right")),
            _Work(table_column=Column(ratio=1)),
            console=console,
            expand=True,
        )
        self.log = _TakenIn(self)
        self._lines = {START: self.progress.add_task(START, total=None, note=beginning)}
        self._step, self._sentence, self._warned, self._changed = START, "", False, 0.0

    def step_began(self, step: str) -> None:
        """Begin its line, anew if it is tried again."""
        if self._step == START:
            self.step_ended(START, None)
        if step in self._lines:
            self.progress.reset(self._lines[step], mark=None, note="")
        else:
            self._lines[step] = self.progress.add_task(step, total=None, note="")
        self._step, self._sentence, self._warned, self._changed = step, "", False, 0.0

    def step_ended(self, step: str, error: BaseException | None) -> None:
        """Leave its line as it is from now on."""
        mark = FAILED if error else WARNED if self._warned else DONE
        line = self._lines[step]
        note = self._sentence if error is None else str(error) or type(error).__name__
        self.progress.stop_task(line)
        self.progress.update(line, mark=mark, note=note)

    def rows_passed(self, rows: int, share: float | None) -> None:
        """Say how many rows are done, by a bar if it is known of how many."""
        self._change(share, f"{rows:,} rows")

    def iterated(self, iteration: Iteration, share: float) -> None:
        """Say how far EM is."""
        if time.monotonic() - self._changed >= INTERVAL:
            self._change(share, in_words(iteration))

    def heard(self, sentence: str, warning: bool = False) -> None:
        """Take in a sentence about the step that is at work; a warning stays."""
        if warning or not self._warned:
            self._sentence, self._warned = sentence, warning
            self.progress.update(self._lines[self._step], note=sentence)

    def end(self) -> None:
        """Leave no line that moves."""
        if self._step == START:
            self.progress.remove_task(self._lines[START])

    def _change(self, share: float | None, note: str) -> None:
        total = None if share is None else 1.0
        line = self._lines[self._step]
        self.progress.update(line, total=total, completed=share or 0.0, note=note)
        self._changed = time.monotonic()


class _TakenIn(logging.Handler):
    """The log, as far as someone at a terminal needs it."""

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # what cannot be shown stops nothing
            self._take_in(record)

    def _take_in(self, record: logging.LogRecord) -> None:
        sentence, warning = record.getMessage(), record.levelno >= logging.WARNING
        if PACKAGE in Path(record.pathname).parents and not record.exc_info:
            self._view.heard(sentence, warning)
        elif record.name in ENGINE and not record.exc_info:
            if sentence.startswith("View at "):
                self._print(sentence)
        elif warning:
            self._print(legible_lines(self.format(record)))

    def _print(self, text: str) -> None:
        # Whole lines, so that an address can be clicked on.
        self._view.progress.console.print(Text(text), soft_wrap=True)


class _Mark(SpinnerColumn):
    def render(self, task: Task) -> RenderableType:
        return task.fields.get("mark") or super().render(task)


class _Name(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.description)


class _Seconds(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0.0:.1f} s", style="dim")


class _Work(ProgressColumn):
    _bar = BarColumn(bar_width=20)

    def render(self, task: Task) -> RenderableType:
        note = Text(legible(task.fields["note"]), no_wrap=True, overflow="ellipsis")
        if task.fields.get("mark") or task.total is None:
            return note
        work = Table.grid(padding=(0, 1))
        work.add_row(self._bar.render(task), note)
        return work


# --- History --------------------------------------------------------------------------------------


def show_history(runs: Sequence[PastRun]) -> None:
    """Print the past runs of a job, the last one at the bottom, and how their numbers went."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    table = _table_of_runs(console, runs)
    trends = [_trends(runs)] if len(runs) > 1 and not console.options.ascii_only else []
    _print(console, table, *trends)


def show_jobs(latest: Sequence[PastRun]) -> None:
    """Print the last run of each job."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    jobs = [legible(run.folder.parent.name) if run.folder else "" for run in latest]
    _print(console, _table_of_runs(console, latest, {"job": jobs}))


def _table_of_runs(
    console: Console, runs: Sequence[PastRun], first: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """A line for each run, after some first columns; with the data dates, where there are any."""
    dates = [(run.brief.date if run.brief else None) or "" for run in runs]
    before = {**(first or {}), **({"data of": dates} if any(dates) else {})}
    verdicts = console.width >= NARROW
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=verdicts)
    for name in (*before, "run (UTC)", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "missing", "imputed", "iter.", "self-test"):
        table.add_column(name, justify="right", no_wrap=True)
    if verdicts:
        table.add_column("verdict", ratio=1, no_wrap=True, overflow="ellipsis")
    for i, run in enumerate(runs):
        line = [*(texts[i] for texts in before.values()), *_history_line(run)]
        table.add_row(*line[: len(table.columns)])
    return table


def _print(console: Console, *shown: RenderableType) -> None:
    with console.capture() as drawn:
        for one in shown:
            console.print(one)
    # A character that the terminal's encoding lacks is no reason to fail.
    text = drawn.get().encode(console.encoding, errors="replace").decode(console.encoding)
    click.echo(text, nl=False)


def _history_line(run: PastRun) -> list[RenderableType]:
    when = f"{datetime.strptime((run.id or '')[:16], '%Y%m%dT%H%M%SZ'):%Y-%m-%d %H:%M}"
    brief, colour = run.brief, COLOURS.get(run.outcome, "dim")
    if brief is None:
        return [when, Text(run.outcome, colour), *[""] * 5, Text(legible(run.trouble), "dim")]
    return [
        when,
        Text(run.outcome.removeprefix("published "), colour),
        f"{brief.rows:,}",
        f"{brief.missing_percent:.2f}%",
        f"{brief.imputed_cells:,}",
        "" if brief.iterations is None else f"{brief.iterations:,}",
        _self_test(brief),
        Text(legible(brief.verdict)),
    ]


def _self_test(brief: Brief) -> str:
    ratio = "" if brief.rmse_ratio is None else f"{brief.rmse_ratio:.2f}"
    coverage = "" if brief.coverage_95 is None else f"{brief.coverage_95:.0%}"
    return f"{ratio} {coverage}".strip()


def _trends(runs: Sequence[PastRun]) -> Table:
    """A sparkline for each number that a history is read for, from the earliest run to the last."""
    trends = Table.grid(padding=(0, 2))
    numbers: dict[str, list[float | None]] = {
        "rows": [run.brief.rows if run.brief else None for run in runs],
        "missing %": [run.brief.missing_percent if run.brief else None for run in runs],
        "iterations": [run.brief.iterations if run.brief else None for run in runs],
        "self-test": [run.brief.rmse_ratio if run.brief else None for run in runs],
    }
    for name, series in numbers.items():
        shown = [number for number in series if number is not None]
        if shown:
            ends = dict.fromkeys(f"{end:,.6g}" for end in (min(shown), max(shown)))
            trends.add_row(name, sparkline(series), Text(" to ".join(ends), "dim"))
    return trends


def sparkline(numbers: Sequence[float | None]) -> str:
    """A block for each number, higher for larger ones; a space where there is none."""
    shown = [number for number in numbers if number is not None]
    low, width = min(shown, default=0.0), max(shown, default=0.0) - min(shown, default=0.0)
    return "".join(
        " "
        if number is None
        else BLOCKS[round((number - low) / width * (len(BLOCKS) - 1)) if width else 0]
        for number in numbers
    )
