"""How a command ends: its exit code, and a sentence for what a user can mend or has interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

PUBLISHED, REFUSED, CANNOT_RUN, FAILED = range(4)
INTERRUPTED = "interrupted; what was not published will not be."
# How long Prefect may take to write down that a run was interrupted.
LAST_SECONDS = 15.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM, came. Of Prefect's own exception for it, too, the signal is known."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def interrupt(number: int, frame: object) -> None:  # noqa: ARG001
    """Handle a signal: end what goes on, and the process if that takes too long."""
    # At the second signal, and when Prefect tries for minutes to reach a server that is gone.
    signal.signal(number, lambda number, _: _end_now(number))
    last = threading.Timer(LAST_SECONDS, _end_now, [number])
    last.daemon = True
    last.start()
    raise Interrupted(number)


def _end_now(number: int) -> None:
    from em_impute.tables.run_folder import clear_held_folders

    clear_held_folders()
    click.echo(f"em-impute: {INTERRUPTED}", err=True)
    os._exit(128 + number)


@contextmanager
def sentences() -> Iterator[None]:
    """Say in a sentence, with the exit code, what the user can mend; no traceback."""
    from em_impute.job import CannotRun
    from em_impute.job.legible import legible_lines

    try:
        with _interruptions():
            yield
    except CannotRun as mistake:
        click.echo(f"em-impute: {legible_lines(str(mistake))}", err=True)
        sys.exit(CANNOT_RUN)
    except OSError as error:
        click.echo(f"em-impute: {legible_lines(str(error))}", err=True)
        sys.exit(FAILED)


@contextmanager
def _interruptions() -> Iterator[None]:
    """Say in a sentence, with the exit code, that Ctrl-C or SIGTERM came; no traceback."""
    try:
        yield
    except BaseException as error:
        if not (number := signal_of(error)):
            raise
        click.echo(f"em-impute: {INTERRUPTED}", err=True)
        sys.exit(128 + number)


def signal_of(ending: object) -> int | None:
    """The signal that interrupted what ended so; None of what did not end by one."""
    default = signal.SIGINT if isinstance(ending, KeyboardInterrupt) else None
    number: int | None = getattr(ending, "signal", default)
    return number if number in (signal.SIGINT, signal.SIGTERM) else None
