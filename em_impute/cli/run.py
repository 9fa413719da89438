"""`em-impute run`: a job run, in Prefect or without.

What a run needs is imported while Prefect's temporary server starts, which takes as long.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from em_impute.cli.ending import signal_of
from em_impute.cli.server import server_reached
from em_impute.cli.terminal import run_shown
from em_impute.job import Job, load_job
from em_impute.tables.progress import Listener, heard_by

if TYPE_CHECKING:
    from em_impute.cli.ended import Ended


def run(
    path: Path, runs: Path, day: date | None, quiet: bool, as_json: bool, direct: bool = False
) -> Ended:
    """Run a job now, and show it meanwhile.

    Parameters
    ----------
    path : Path
        The job file.
    runs : Path
        Where the run's folder is made.
    day : date or None
        The data date; by default today's.
    quiet : bool
        Whether only faults of the program are shown.
    as_json : bool
        Whether stdout is kept for one object.
    direct : bool
        Whether it goes without Prefect.
    """
    heard, ending = _Reported(), None
    try:
        job = load_job(path)
        with _stdout_for_json(as_json), run_shown(quiet, direct), heard_by(heard):
            ending = (_run_directly if direct else _run)(job, runs, day)
    except BaseException as error:
        if not isinstance(error, Exception) and not signal_of(error):
            raise
        ending = error
    from em_impute.cli.ended import Ended

    return Ended.of(heard.outcome, ending)


class _Reported(Listener):
    """Hears how a run has ended, also where Prefect cannot hand it on any more."""

    outcome: object = None

    def reported(self, outcome: object) -> None:
        """Take note."""
        self.outcome = outcome


def _run(job: Job, runs: Path, day: date | None) -> object:
    """Run a job in Prefect; its outcome, or the error that it ended by."""
    with server_reached():
        from em_impute.checks import make_ready
        from em_impute.flows.impute import impute

        make_ready(job)
    state: Any = impute(job, runs, day, return_state=True)
    return state.result(raise_on_failure=False)


def _run_directly(job: Job, runs: Path, day: date | None) -> object:
    from em_impute.flows.direct import run_directly

    return run_directly(job, runs, day)


@contextmanager
def _stdout_for_json(as_json: bool) -> Iterator[None]:
    """Keep stdout for the one object, whatever a library prints meanwhile."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield
