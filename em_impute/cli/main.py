"""The command line: `em-impute run | check | serve | deploy | backfill | history | report | ...`.

Exit codes: 0 published, or verified; 1 refused by its checks, or not equal; 2 the job file, its
source or its target is wrong, or a run cannot be read or verified; 3 anything else, such as a full
disk; 130 interrupted, by SIGTERM 143.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import click

from em_impute.job import CannotRun, DatabaseTarget, Job, job_schema, load_job
from em_impute.job.legible import legible, legible_lines
from em_impute.tables.databases.logins import Login, read_blocks_with
from em_impute.tables.progress import Listener

if TYPE_CHECKING:
    from em_impute.runs.run import Outcome, Stop
    from em_impute.tables.columns.hints import Hint
    from em_impute.tables.columns.roles import Roles
    from em_impute.tables.columns.unfilled import Unfilled
    from em_impute.tables.snapshot import Snapshot

PUBLISHED, REFUSED, CANNOT_RUN, FAILED = range(4)
QUIET_SERVER = {"analytics_enabled": "false", "logging_level": "CRITICAL"}
INTERRUPTED = "interrupted; what was not published will not be."
# How long Prefect may take to write down that a run was interrupted.
LAST_SECONDS = 15.0
# A table of very many columns that look alike is not to fill the terminal.
MOST_HINTS = 40
_STOPPED = {None: PUBLISHED, "refused": REFUSED, "cannot run": CANNOT_RUN, "failed": FAILED}
_VERIFIED = {"equal": 0, "equal to rounding": 0, "not equal": 1, "cannot be verified": 2}

JobFile = click.Path(path_type=Path)
DAY = click.DateTime(["%Y-%m-%d"])
runs_folder = click.option(
    "--runs",
    type=JobFile,
    default=Path("runs"),
    show_default=True,
    envvar="EM_IMPUTE_RUNS",
    help="Where the folders of the runs are.",
)
data_date = click.option("--date", "day", type=DAY, help="The data date, for {date} in the job.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="em-impute")
@click.pass_context
def main(context: click.Context) -> None:
    """Fill the holes in tables: one YAML job, run and watched in Prefect."""
    # Prefect's own default of 20 seconds is short for a first start on a busy machine.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    read_blocks_with(_read_block)
    if threading.current_thread() is not threading.main_thread():
        return  # which hears of no signal
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, _interrupt)
        context.call_on_close(functools.partial(signal.signal, number, before))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM, came. Of Prefect's own exception for it, too, the signal is known."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001
    # Told a second time, and when Prefect tries for minutes to reach a server that is gone.
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


def _read_block(name: str) -> str | Login:
    """Start Prefect for a job that names one of its blocks, and for no other."""
    from em_impute.plugin.blocks import read_block

    return read_block(name)


@main.command()
@click.argument("job", type=JobFile)
@runs_folder
@data_date
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict and nothing else.")
@as_json
def run(job: Path, runs: Path, day: datetime | None, quiet: bool, as_json: bool) -> None:
    """Run the job now: exit code 0 if it published, 1 if its checks refused, 2 if JOB is wrong."""
    from em_impute.cli.terminal import run_shown
    from em_impute.runs.run import Outcome
    from em_impute.tables.progress import heard_by

    heard, ending = _Ending(), None
    try:
        loaded = load_job(job)
        with _stdout_for_json(as_json), run_shown(quiet), heard_by(heard):
            ending = _run(loaded, runs, day)
    except BaseException as error:
        if not isinstance(error, Exception) and not _signal_of(error):
            raise
        ending = error
    # What was reported is so, whatever became of Prefect then.
    outcome = ending if isinstance(ending, Outcome) else heard.outcome
    stopped = outcome.stopped if outcome else _stopped(ending)
    sentence = _after(ending, outcome)
    code = 128 + number if (number := _signal_of(ending)) else _STOPPED[stopped]
    if as_json:
        click.echo(json.dumps(_as_json(outcome, ending, sentence, stopped, code)))
    elif outcome and quiet:
        _show_verdict(outcome)
    elif outcome:
        _show_outcome(outcome)
    if sentence and not (as_json and not outcome):
        click.echo(f"em-impute: {legible_lines(sentence)}", err=True)
    sys.exit(code)


class _Ending(Listener):
    """Hears how a run has ended, also of one that Prefect cannot tell it of any more."""

    outcome: Outcome | None = None

    def reported(self, outcome: object) -> None:
        """Take note."""
        self.outcome = cast("Outcome", outcome)


def _run(job: Job, runs: Path, day: datetime | None) -> object:
    """Run a job in Prefect; its outcome, or the error that it ended by."""
    _reach_server()
    from em_impute.flows.impute import impute

    state = impute(job, runs, day and day.date(), return_state=True)
    return state.result(raise_on_failure=False)


@contextmanager
def _stdout_for_json(as_json: bool) -> Iterator[None]:
    """Keep stdout for the one object, whatever a library prints meanwhile."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def _after(ending: object, outcome: Outcome | None) -> str:
    """What is to be said of a run beside its outcome, or without one; empty if nothing."""
    if _signal_of(ending):
        if outcome and outcome.published:
            return f"interrupted; the table had been published to {outcome.target} before."
        return INTERRUPTED
    if isinstance(ending, CannotRun | OSError) and not outcome:
        return str(ending)
    if not isinstance(ending, Exception):
        return ""
    kind = type(ending).__name__
    if outcome:
        return f"Prefect failed when the run had ended ({kind}); its pages may not show how."
    return f"the run failed ({kind}); see its log, or run it with PREFECT_LOGGING_LEVEL=DEBUG."


@main.command()
@click.argument("job", type=JobFile)
@runs_folder
@data_date
def check(job: Path, runs: Path, day: datetime | None) -> None:
    """Say what running the job would do: columns, their parts, missing cells. Runs nothing.

    Also what would be left missing, and what columns look like that the model would not guess.
    """
    from em_impute import checks as validation
    from em_impute.runs.run import imputed_before
    from em_impute.self_test.limits import check_limits
    from em_impute.tables.columns.doubts import find_doubts
    from em_impute.tables.columns.hints import find_hints
    from em_impute.tables.columns.misfits import find_misfits
    from em_impute.tables.columns.roles import assign_roles, count_blanks
    from em_impute.tables.columns.unfilled import find_unfilled
    from em_impute.tables.fill import filled_schema
    from em_impute.tables.reading.purpose import Purpose
    from em_impute.tables.sources import take_snapshot
    from em_impute.tables.targets import check_schema, check_target

    with _sentences(), tempfile.TemporaryDirectory() as folder:
        loaded = load_job(job)
        loaded = loaded.at(day.date() if day else loaded.data_date(datetime.now(UTC)))
        validation.verify_checks(loaded)
        check_target(loaded.target)
        snapshot = take_snapshot(
            loaded.source, Path(folder) / "snapshot.arrow", loaded.batch_rows, Purpose.of(loaded)
        )
        snapshot = count_blanks(snapshot, loaded)
        roles = assign_roles(snapshot, loaded)
        check_limits(snapshot, roles, loaded)
        filled = filled_schema(snapshot, roles)
        check_schema(filled, loaded.target, roles.key)
        validation.check_columns(loaded, [column.name for column in snapshot.columns])
        validation.check_rows(loaded, snapshot.rows)
        validation.output_checks(loaded, roles.impute)

        misfits = find_misfits(snapshot, roles, loaded)
        unfilled, hints = find_unfilled(snapshot, roles, loaded), find_hints(snapshot, roles)
        doubts = find_doubts(snapshot, roles, loaded, imputed_before(runs / loaded.name))
        if isinstance(loaded.target, DatabaseTarget):
            from em_impute.tables.databases.rehearsal import rehearse

            rehearse(snapshot, roles, filled, loaded.target)
    _show_plan(loaded, snapshot, roles)
    _show_unfilled(unfilled)
    _show_hints(hints)
    found = (
        *validation.check_preconditions(snapshot.rows, snapshot.columns, roles.model_columns),
        *validation.misfits(misfits, snapshot.rows),
        *validation.doubts(doubts),
    )
    checked = validation.Checked(found)
    for warning in checked.warnings:
        click.echo(legible(warning))
    if checked.refusal:
        click.echo(legible(checked.refusal))
        sys.exit(REFUSED)


@main.command()
@click.argument("run", type=JobFile)
def verify(run: Path) -> None:
    """Compute RUN, the folder of a run, again: exit code 0 if equal, 1 if not, 2 if it cannot be.

    It is started in the folder in which the run was, and reads the source once more.
    """
    from em_impute.runs.recompute import verify as verify_run

    with _sentences():
        verification = verify_run(run)
    click.echo(f"{run}: {verification.outcome}")
    for sentence in verification.sentences:
        click.echo(f"  {legible(sentence)}")
    sys.exit(_VERIFIED[verification.outcome])


@main.command()
@click.argument("run", type=JobFile)
def report(run: Path) -> None:
    """Make report.html of RUN, the folder of a run, again: from its numbers, without its data."""
    from em_impute.runs.history import rebuild_report

    with _sentences():
        page = rebuild_report(run)
    click.echo(f"The report is in {page}.")


@main.command()
@click.argument("job")
@runs_folder
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="Runs.")
@as_json
def history(job: str, runs: Path, last: int, as_json: bool) -> None:
    """Print the past runs of JOB, a job file or the name of a job: verdicts and numbers."""
    from em_impute.cli.terminal import show_history
    from em_impute.runs.history import past_runs

    with _sentences():
        name = load_job(Path(job)).name if Path(job).is_file() else job
        found = past_runs(name, runs)[-last:]
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
    else:
        show_history(found)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a job file, for editors: em-impute schema > job.schema.json."""
    click.echo(json.dumps(job_schema(), indent=2))


@main.command()
@click.argument("jobs", type=JobFile, nargs=-1, required=True)
@runs_folder
def serve(jobs: Sequence[Path], runs: Path) -> None:
    """Stay here and run each of JOBS by its schedule, until interrupted."""
    with _sentences():
        loaded = _load_jobs(jobs)
        _reach_server()
        from em_impute.flows.deployments import ended, serve_jobs

        _show_ended(ended(loaded))
        serve_jobs([(path.absolute(), job) for path, job in loaded], runs)


@main.command()
@click.argument("jobs", type=JobFile, nargs=-1, required=True)
@click.option("--pool", required=True, help="The work pool whose workers run the jobs.")
@click.option("--create-pool", is_flag=True, help="Make the pool, of type process, if need be.")
@click.option("--prune", is_flag=True, help="Remove the pool's deployments of other jobs.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path.cwd,
    show_default="the current folder",
    help="Where the workers start the runs: what relative paths in JOBS are relative to.",
)
@runs_folder
def deploy(
    jobs: Sequence[Path], pool: str, create_pool: bool, prune: bool, folder: Path, runs: Path
) -> None:
    """Deploy each of JOBS with its schedules to a work pool; again, to bring changes there."""
    with _sentences():
        loaded = _load_jobs(jobs)
        _reach_server()
        from em_impute.flows.deployments import deploy_jobs

        done = deploy_jobs(loaded, runs, pool, folder, create_pool=create_pool, prune=prune)
    for name in done.deployed:
        click.echo(f"Deployed {name} to the work pool {pool}.")
    for name in done.removed:
        click.echo(f"Removed {name}.")
    _show_ended(done.ended)


@main.command()
@click.argument("job", type=JobFile)
@click.option("--from", "first", type=DAY, required=True, help="The first data date.")
@click.option("--to", "last", type=DAY, required=True, help="The last data date.")
@click.option(
    "--every",
    type=click.Choice(["day", "week", "month"]),
    default="day",
    show_default=True,
    help="From one date to the next.",
)
@click.option("--parallel", default=1, show_default=True, help="Dates that are run at a time.")
@click.option("--again", is_flag=True, help="Run what was published, too.")
@runs_folder
def backfill(
    job: Path,
    first: datetime,
    last: datetime,
    every: Literal["day", "week", "month"],
    parallel: int,
    again: bool,
    runs: Path,
) -> None:
    """Run JOB for each data date that it has not published: exit code 0 if all are published."""
    with _sentences():
        loaded = load_job(job)
        _reach_server()
        from em_impute.flows.backfill import backfill as run_all

        state = run_all(
            loaded, first.date(), last.date(), every, parallel, again, runs, return_state=True
        )
        verdicts = state.result(raise_on_failure=False)
        if isinstance(verdicts, CannotRun):
            raise verdicts
    if not isinstance(verdicts, dict):
        click.echo(f"em-impute: {legible_lines(str(state.message))}", err=True)
        sys.exit(FAILED)
    for date, verdict in verdicts.items():
        click.echo(f"{date}  {verdict.outcome}: {legible(verdict.sentence)}")
    sys.exit(PUBLISHED if state.is_completed() else REFUSED)


def _show_ended(names: Sequence[str]) -> None:
    for name in names:
        click.echo(f"em-impute: The schedule of {name} has ended; it runs when asked.", err=True)


def _reach_server() -> None:
    """Make sure that Prefect's server answers, where the profile or the environment names one.

    Raises
    ------
    ConnectionError
        If it does not, or lets nobody in without another password.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if not (url := settings.api.url):
        # Prefect starts a server of its own then, which inherits this environment. What it reports
        # to Prefect's makers, and its log, are not for this terminal.
        for name in ("analytics_enabled", "logging_level"):
            if name not in settings.server.model_fields_set:
                os.environ.setdefault(f"PREFECT_SERVER_{name.upper()}", QUIET_SERVER[name])
        return
    place = f"The Prefect server at {urlsplit(url).netloc.rpartition('@')[2] or url}"
    try:
        get_client(sync_client=True).raise_for_api_version_mismatch()
    except PrefectHTTPStatusError:
        raise ConnectionError(
            f"{place} does not let us in; set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY, as it "
            "expects it."
        ) from None
    except RuntimeError as error:
        if "incompatible" in str(error):
            raise ConnectionError(f"{place}: {error}") from None
        raise ConnectionError(
            f"{place} does not answer; see that it is running (`prefect server start`) and that "
            "PREFECT_API_URL is its address, or unset that to run without a server."
        ) from None


def _load_jobs(paths: Sequence[Path]) -> list[tuple[Path, Job]]:
    loaded = [(path, load_job(path)) for path in paths]
    names = [job.name for _, job in loaded]
    if len(set(names)) < len(names):
        raise CannotRun(f"Each job needs a name of its own, got {', '.join(names)}.")
    return loaded


@contextmanager
def _sentences() -> Iterator[None]:
    """Say in a sentence, with the exit code, what the user can mend; no traceback."""
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
        if not (number := _signal_of(error)):
            raise
        click.echo(f"em-impute: {INTERRUPTED}", err=True)
        sys.exit(128 + number)


def _signal_of(ending: object) -> int | None:
    """The signal that interrupted what ended so; None of what did not end by one."""
    default = signal.SIGINT if isinstance(ending, KeyboardInterrupt) else None
    number: int | None = getattr(ending, "signal", default)
    return number if number in (signal.SIGINT, signal.SIGTERM) else None


def _stopped(ending: object) -> Stop:
    """What kind of thing stopped a run that ended in an error."""
    return "cannot run" if isinstance(ending, CannotRun) else "failed"


def _as_json(
    outcome: Outcome | None, ending: object, sentence: str, stopped: Stop | None, code: int
) -> dict[str, Any]:
    """The run as one object, which has the same keys however it ended."""
    from em_impute.runs.history import run_that_ended, run_without_folder

    ended = {"stopped_by": stopped, "exit_code": code}
    if outcome is None:
        # What is not said by a sentence of ours may have come at whatever moment.
        known = {} if isinstance(ending, CannotRun | OSError) else {"published": None}
        return run_without_folder(sentence).to_dict() | known | ended
    verdict = {
        "outcome": outcome.verdict.outcome,
        "verdict": outcome.verdict.sentence,
        "published": outcome.published,
    }
    return run_that_ended(outcome.report.parent, outcome.brief).to_dict() | verdict | ended


def _show_verdict(outcome: Outcome) -> None:
    from em_impute.cli.terminal import COLOURS

    kind = outcome.verdict.outcome
    click.echo(
        f"{click.style(kind.capitalize(), COLOURS[kind])}: {legible(outcome.verdict.sentence)}"
    )


def _show_outcome(outcome: Outcome) -> None:
    """The run in a few lines."""
    click.echo()
    _show_verdict(outcome)
    lines = {
        "fit": outcome.fit,
        "test": outcome.tested,
        "cells": ", ".join(f"{name} {cells:,}" for name, cells in outcome.cells),
        "target": "" if outcome.stopped else outcome.target,
        "report": str(outcome.report),
    }
    for name, text in lines.items():
        if text:
            click.echo(f"  {name:<8}{legible(text)}")


def _show_plan(job: Job, snapshot: Snapshot, roles: Roles) -> None:
    """What a run would do, column by column."""
    click.echo(f"{job.name}: {snapshot.rows:,} rows from {legible(snapshot.source)}")
    parts = {
        **dict.fromkeys(roles.passthrough, "kept as is"),
        **dict.fromkeys(roles.key, "key"),
        **dict.fromkeys(roles.impute, "impute"),
        **dict.fromkeys(roles.predictors, "predictor"),
    }
    names = {column.name: legible(column.name) for column in snapshot.columns}
    width = max(len("column"), *map(len, names.values()))
    click.echo(f"  {'column':<{width}}  {'type':<10}  {'part':<10}  missing")
    for column in snapshot.columns:
        share = column.missing / max(snapshot.rows, 1)
        click.echo(
            f"  {names[column.name]:<{width}}  {column.type:<10}  {parts[column.name]:<10}  "
            f"{column.missing:,} ({share:.1%})"
        )
    for note in snapshot.notes:
        click.echo(legible(note))
    cells = sum(snapshot.profile(name).missing for name in roles.impute)
    click.echo(f"A run would fill {cells:,} cells and write {job.target}.")


def _show_unfilled(unfilled: Sequence[Unfilled]) -> None:
    """The missing cells that a run would leave, and why."""
    from em_impute.tables.columns.unfilled import unfilled_in_words

    for sentence in unfilled_in_words(unfilled, planned=True):
        click.echo(legible(sentence))
    if chosen := [one for one in unfilled if not one.remedy]:
        listed = ", ".join(f"{one.column} {one.cells:,} ({one.why})" for one in chosen)
        click.echo(legible(f"As the job says, it would leave missing: {listed}."))


def _show_hints(hints: Sequence[Hint]) -> None:
    """What columns look like, a line for each."""

    if hints:
        click.echo("What columns look like:")
    for hint in hints[:MOST_HINTS]:
        click.echo(f"  - {legible(hint.sentence)}")
    if len(hints) > MOST_HINTS:
        click.echo(f"  - There are {len(hints) - MOST_HINTS:,} more such columns.")
