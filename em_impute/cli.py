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
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from em_impute.job import CannotRun, DatabaseTarget, Job, job_schema, load_job
from em_impute.logins import Login, read_blocks_with

if TYPE_CHECKING:
    from em_impute.findings import Outcome, Stop
    from em_impute.tables.columns import Roles
    from em_impute.tables.hints import Hint
    from em_impute.tables.sources import Snapshot
    from em_impute.tables.unfilled import Unfilled

PUBLISHED, REFUSED, CANNOT_RUN, FAILED = range(4)
INTERRUPTED = "em-impute: interrupted; what was not published will not be."
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
    click.echo(INTERRUPTED, err=True)
    os._exit(128 + number)


def _read_block(name: str) -> str | Login:
    """Start Prefect for a job that names one of its blocks, and for no other."""
    from em_impute.blocks import read_block

    return read_block(name)


@main.command()
@click.argument("job", type=JobFile)
@runs_folder
@data_date
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict and nothing else.")
@as_json
def run(job: Path, runs: Path, day: datetime | None, quiet: bool, as_json: bool) -> None:
    """Run the job now: exit code 0 if it published, 1 if its checks refused, 2 if JOB is wrong."""
    from em_impute.terminal import run_shown

    try:
        with _interruptions():
            loaded = load_job(job)
            with run_shown(quiet):
                _reach_server()
                from em_impute.flows.impute import impute

                state = impute(loaded, runs, day and day.date(), return_state=True)
                ending = state.result(raise_on_failure=False)
            stopped, sentence = _stopped(ending), str(state.message)
    except (CannotRun, OSError) as mistake:
        ending, stopped, sentence = mistake, _stopped(mistake), str(mistake)
    outcome = ending if hasattr(ending, "verdict") else None
    if as_json:
        click.echo(json.dumps(_as_json(outcome, stopped, sentence)))
    elif outcome is None:
        click.echo(f"em-impute: {sentence}", err=True)
    elif quiet:
        _show_verdict(outcome)
    else:
        _show_outcome(outcome)
    sys.exit(_STOPPED[stopped])


@main.command()
@click.argument("job", type=JobFile)
@data_date
def check(job: Path, day: datetime | None) -> None:
    """Say what running the job would do: columns, their parts, missing cells. Runs nothing.

    Also what would be left missing, and what columns look like that the model would not guess.
    """
    from em_impute import validation
    from em_impute.tables.columns import assign_roles, count_blanks
    from em_impute.tables.fill import filled_schema
    from em_impute.tables.hints import find_hints
    from em_impute.tables.limits import check_limits
    from em_impute.tables.misfits import find_misfits
    from em_impute.tables.sources import take_snapshot
    from em_impute.tables.targets import check_schema, check_target
    from em_impute.tables.unfilled import find_unfilled

    with _sentences(), tempfile.TemporaryDirectory() as folder:
        loaded = load_job(job)
        loaded = loaded.at(day.date() if day else loaded.data_date(datetime.now(UTC)))
        validation.verify_checks(loaded)
        check_target(loaded.target)
        snapshot = take_snapshot(loaded.source, Path(folder) / "snapshot.arrow", loaded.batch_rows)
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
        if isinstance(loaded.target, DatabaseTarget):
            from em_impute.tables.rehearsal import rehearse

            rehearse(snapshot, roles, filled, loaded.target)
    _show_plan(loaded, snapshot, roles)
    _show_unfilled(unfilled)
    _show_hints(hints)
    found = (
        *validation.preconditions(snapshot.rows, snapshot.columns, roles.model_columns),
        *validation.misfits(misfits, snapshot.rows),
    )
    refusal = validation.Checked(found).refusal
    if refusal:
        click.echo(refusal)
        sys.exit(REFUSED)


@main.command()
@click.argument("run", type=JobFile)
def verify(run: Path) -> None:
    """Compute RUN, the folder of a run, again: exit code 0 if equal, 1 if not, 2 if it cannot be.

    It is started in the folder in which the run was, and reads the source once more.
    """
    from em_impute.verification import verify as verify_run

    with _sentences():
        verification = verify_run(run)
    click.echo(f"{run}: {verification.outcome}")
    for sentence in verification.sentences:
        click.echo(f"  {sentence}")
    sys.exit(_VERIFIED[verification.outcome])


@main.command()
@click.argument("run", type=JobFile)
def report(run: Path) -> None:
    """Make report.html of RUN, the folder of a run, again: from its numbers, without its data."""
    from em_impute.history import rebuild_report

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
    from em_impute.history import past_runs
    from em_impute.terminal import show_history

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
        click.echo(f"em-impute: {state.message}", err=True)
        sys.exit(FAILED)
    for date, verdict in verdicts.items():
        click.echo(f"{date}  {verdict.outcome}: {verdict.sentence}")
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

    if not (url := get_current_settings().api.url):
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
        click.echo(f"em-impute: {mistake}", err=True)
        sys.exit(CANNOT_RUN)
    except OSError as error:
        click.echo(f"em-impute: {error}", err=True)
        sys.exit(FAILED)


@contextmanager
def _interruptions() -> Iterator[None]:
    """Say in a sentence, with the exit code, that Ctrl-C or SIGTERM came; no traceback."""
    try:
        yield
    except BaseException as error:
        default = signal.SIGINT if isinstance(error, KeyboardInterrupt) else None
        number = getattr(error, "signal", default)
        if number not in (signal.SIGINT, signal.SIGTERM):
            raise
        click.echo(INTERRUPTED, err=True)
        sys.exit(128 + number)


def _stopped(ending: object) -> Stop | None:
    """What kind of thing stopped a run that ended in an outcome or an error."""
    from em_impute.findings import Outcome

    match ending:
        case Outcome():
            return ending.stopped
        case CannotRun():
            return "cannot run"
    return "failed"


def _as_json(outcome: Outcome | None, stopped: Stop | None, sentence: str) -> dict[str, Any]:
    """The run as one object, which has the same keys however it ended."""
    from em_impute.history import past_run, run_without_folder

    run = past_run(outcome.report.parent) if outcome else run_without_folder(sentence)
    return run.to_dict() | {"stopped_by": stopped, "exit_code": _STOPPED[stopped]}


def _show_verdict(outcome: Outcome) -> None:
    from em_impute.terminal import COLOURS

    kind = outcome.verdict.outcome
    click.echo(f"{click.style(kind.capitalize(), COLOURS[kind])}: {outcome.verdict.sentence}")


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
            click.echo(f"  {name:<8}{text}")


def _show_plan(job: Job, snapshot: Snapshot, roles: Roles) -> None:
    """What a run would do, column by column."""
    click.echo(f"{job.name}: {snapshot.rows:,} rows from {snapshot.source}")
    parts = {
        **dict.fromkeys(roles.passthrough, "kept as is"),
        **dict.fromkeys(roles.key, "key"),
        **dict.fromkeys(roles.impute, "impute"),
        **dict.fromkeys(roles.predictors, "predictor"),
    }
    width = max(len("column"), *(len(column.name) for column in snapshot.columns))
    click.echo(f"  {'column':<{width}}  {'type':<10}  {'part':<10}  missing")
    for column in snapshot.columns:
        share = column.missing / max(snapshot.rows, 1)
        click.echo(
            f"  {column.name:<{width}}  {column.type:<10}  {parts[column.name]:<10}  "
            f"{column.missing:,} ({share:.1%})"
        )
    for note in snapshot.notes:
        click.echo(note)
    cells = sum(snapshot.profile(name).missing for name in roles.impute)
    click.echo(f"A run would fill {cells:,} cells and write {job.target}.")


def _show_unfilled(unfilled: Sequence[Unfilled]) -> None:
    """The missing cells that a run would leave, and why."""
    from em_impute.tables.unfilled import unfilled_in_words
    from em_impute.terminal import printable

    for sentence in unfilled_in_words(unfilled, planned=True):
        click.echo(printable(sentence))
    if chosen := [one for one in unfilled if not one.remedy]:
        listed = ", ".join(f"{one.column} {one.cells:,} ({one.why})" for one in chosen)
        click.echo(printable(f"As the job says, it would leave missing: {listed}."))


def _show_hints(hints: Sequence[Hint]) -> None:
    """What columns look like, a line for each."""
    from em_impute.terminal import printable

    if hints:
        click.echo("What columns look like:")
    for hint in hints[:MOST_HINTS]:
        click.echo(f"  - {printable(hint.sentence)}")
    if len(hints) > MOST_HINTS:
        click.echo(f"  - There are {len(hints) - MOST_HINTS:,} more such columns.")
