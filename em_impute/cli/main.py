"""The command line: `em-impute init | run | check | serve | deploy | history | estimates | ...`.

Exit codes: 0 published, or verified; 1 refused by its checks, or not equal; 2 the job file, its
source or its target is wrong, or a run cannot be read or verified; 3 anything else, such as a full
disk; 130 interrupted, by SIGTERM 143.

Only click is imported at the top, for `--help` and for each key that completes a command; the
commands import what they need.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

from em_impute.cli.ending import FAILED, PUBLISHED, REFUSED, interrupt, sentences
from em_impute.cli.server import reach_server

if TYPE_CHECKING:
    from em_impute.job import Job
    from em_impute.tables.databases.logins import Login

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


def _files(_context: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """Have a shell complete a file, where it is one of several things that an argument may be."""
    return [CompletionItem(begun, type="file")]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="em-impute")
@click.pass_context
def main(context: click.Context) -> None:
    """Fill the holes in tables: one YAML job, run and watched in Prefect."""
    from em_impute.tables.databases.logins import read_blocks_with

    # Prefect's own default of 20 seconds is short for a first start on a busy machine.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    read_blocks_with(_read_block)
    if threading.current_thread() is not threading.main_thread():
        return  # which hears of no signal
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, interrupt)
        context.call_on_close(functools.partial(signal.signal, number, before))


def _read_block(name: str) -> str | Login:
    """Start Prefect for a job that names one of its blocks, and for no other."""
    from em_impute.plugin.blocks import read_block

    return read_block(name)


@main.command()
@click.argument("table", required=False, shell_complete=_files)
@click.option("--table", "name", metavar="NAME", help="The table, where TABLE is a database's URL.")
@click.option("--password-env", metavar="VARIABLE", help="Holds the password of the database.")
@click.option("--out", type=JobFile, default=Path("job.yaml"), show_default=True, help="The job.")
@click.option("--example", is_flag=True, help="Write a table to try it with, too.")
def init(
    table: str | None, name: str | None, password_env: str | None, out: Path, example: bool
) -> None:
    """Write a first job for TABLE: a file, a folder or the URL of a database.

    Every column is looked at: key, categories, skewed amounts, shares, whole numbers, identifiers.
    Each choice stands in the job with its reason.
    """
    from em_impute.cli import init as command
    from em_impute.job.legible import legible

    with sentences():
        if (table is None) != example:
            raise click.UsageError("Name a TABLE, or write the example with --example.")
        if table is None:
            said = command.write_example(out)
        else:
            said = command.write_job(command.source_of(table, name, password_env), out)
    for line in said:
        click.echo(legible(line))


@main.command()
@click.argument("job", type=JobFile)
@runs_folder
@data_date
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict and nothing else.")
@click.option(
    "--direct", is_flag=True, help="Without Prefect: no artifacts, events or retries; quicker."
)
@as_json
def run(
    job: Path, runs: Path, day: datetime | None, quiet: bool, direct: bool, as_json: bool
) -> None:
    """Run the job now: exit code 0 if it published, 1 if its checks refused, 2 if JOB is wrong."""
    from em_impute.cli import run as command

    ended = command.run(job, runs, day and day.date(), quiet, as_json, direct)
    ended.show(quiet, as_json)
    sys.exit(ended.exit_code)


@main.command()
@click.argument("job", type=JobFile)
@runs_folder
@data_date
@click.option(
    "--against",
    metavar="RUN",
    help="Also what would change against this run: its folder, or `last` for the last published.",
)
@as_json
def check(job: Path, runs: Path, day: datetime | None, against: str | None, as_json: bool) -> None:
    """Say what running the job would do: columns, their parts, missing cells. Runs nothing.

    Also what would be left missing, what init would have chosen where the job says nothing, and
    what columns look like that the model would not guess. Exit code 1 where a run would refuse.
    With --against a plan: options, columns and cells that came (+), went (-) or changed (~).
    """
    from em_impute.cli import check as command

    with sentences():
        made = command.plan(job, runs, day and day.date(), against)
    command.show(made, as_json)


@main.command()
@click.argument("run", type=JobFile)
def verify(run: Path) -> None:
    """Compute RUN, the folder of a run, again: exit code 0 if equal, 1 if not, 2 if it cannot be.

    It is started in the folder in which the run was, and reads the source once more.
    """
    from em_impute.job.legible import legible
    from em_impute.runs.recompute import verify as verify_run

    with sentences():
        verification = verify_run(run)
    click.echo(f"{run}: {verification.agreement}")
    for sentence in verification.sentences:
        click.echo(f"  {legible(sentence)}")
    sys.exit(_VERIFIED[verification.agreement])


@main.command()
@click.argument("run", type=JobFile)
def report(run: Path) -> None:
    """Make report.html of RUN, the folder of a run, again: from its numbers, without its data."""
    from em_impute.runs.history import rebuild_report

    with sentences():
        page = rebuild_report(run)
    click.echo(f"The report is in {page}.")


@main.command()
@click.argument("run", type=JobFile)
@click.option("--column", "columns", multiple=True, help="Parameters of this column; repeatable.")
@click.option("--regress", "response", metavar="COLUMN", help="Regress this column instead.")
@click.option("--on", "predictors", multiple=True, metavar="COLUMN", help="On this; repeatable.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the intervals.",
)
@as_json
def estimates(
    run: Path,
    columns: Sequence[str],
    response: str | None,
    predictors: Sequence[str],
    level: float,
    as_json: bool,
) -> None:
    """Print the estimates of RUN, the folder of a run, with their standard errors.

    Means, variances, covariances and correlations as the model has them: of transformed columns on
    the transformed scale. With --regress and --on, a regression among the columns.
    """
    from em_impute.job.legible import legible
    from em_impute.runs.estimates import estimates_of, regression_of

    with sentences():
        if (response is None) != (not predictors):
            raise click.UsageError("--regress and --on go together.")
        if response is None:
            table, below = estimates_of(run, level, columns or None), ""
        else:
            found = regression_of(run, response, predictors, level)
            table, below = found.coefficients, f"\n{found.explained}"
    if as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        click.echo(json.dumps(rows, indent=2))
    else:
        named = table.columns[0]
        shown = table.assign(**{named: table[named].map(legible)})
        click.echo(shown.to_string(index=False, float_format="{:.6g}".format) + below)


@main.command()
@click.argument("run", type=JobFile)
@click.option(
    "--to", "kind", type=click.Choice(["sql", "dbt"]), required=True, help="What to make."
)
@click.option(
    "--dialect",
    type=click.Choice(["duckdb", "postgresql"]),
    default="duckdb",
    show_default=True,
    help="Of which database.",
)
@click.option("--table", metavar="NAME", help="To fill; by default what the run has read.")
@click.option("--out", type=JobFile, help="The file for sql; the folder of a dbt project for dbt.")
def export(
    run: Path, kind: Literal["sql", "dbt"], dialect: str, table: str | None, out: Path | None
) -> None:
    """Write the model of RUN, the folder of a run, as SQL: for a database that fills by itself.

    The query gives the table with its missing cells filled, those of new rows too. With --to dbt it
    is a model of dbt with its tests; NAME is then a model or a seed, or SOURCE.TABLE.
    """
    from em_impute.cli.export import write

    with sentences():
        for line in write(run, kind, dialect, table, out):
            click.echo(line)


@main.command()
@click.argument("job", required=False, shell_complete=_files)
@runs_folder
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="Runs.")
@click.option("--page", is_flag=True, help="Of all jobs: write index.html into the runs' folder.")
@as_json
def history(job: str | None, runs: Path, last: int, page: bool, as_json: bool) -> None:
    """Print the past runs of JOB, a job file or the name of a job: verdicts and numbers.

    Without JOB, the last run of each job.
    """
    from em_impute.cli.terminal import show_history, show_jobs
    from em_impute.job import load_job
    from em_impute.runs.history import past_runs, past_runs_of_all

    with sentences():
        if page:
            if job is not None:
                raise click.UsageError("--page is on all jobs; leave JOB out.")
            from em_impute.runs.index import write_index

            click.echo(f"The page is {write_index(runs, last)}.")
            return
        if job is None:
            latest = [of_job[-1] for of_job in past_runs_of_all(runs, last=1).values()]
            if as_json:
                click.echo(json.dumps([one.to_dict() for one in latest], indent=2))
            else:
                show_jobs(latest)
            return
        name = load_job(Path(job)).name if Path(job).is_file() else job
        found = past_runs(name, runs)[-last:]
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
    else:
        show_history(found)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a job file, for editors: em-impute schema > job.schema.json."""
    from em_impute.job import job_schema

    click.echo(json.dumps(job_schema(), indent=2))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes commands, options and files."""
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(main, {}, "em-impute", "_EM_IMPUTE_COMPLETE").source())


@main.command()
@click.argument("jobs", type=JobFile, nargs=-1, required=True)
@runs_folder
def serve(jobs: Sequence[Path], runs: Path) -> None:
    """Stay here and run each of JOBS by its schedule, until interrupted."""
    with sentences():
        loaded = _load_jobs(jobs)
        reach_server()
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
    with sentences():
        loaded = _load_jobs(jobs)
        reach_server()
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
    from em_impute.job import CannotRun, load_job
    from em_impute.job.legible import legible, legible_lines

    with sentences():
        loaded = load_job(job)
        reach_server()
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


def _load_jobs(paths: Sequence[Path]) -> list[tuple[Path, Job]]:
    from em_impute.job import CannotRun, load_job

    loaded = [(path, load_job(path)) for path in paths]
    names = [job.name for _, job in loaded]
    if len(set(names)) < len(names):
        raise CannotRun(f"Each job needs a name of its own, got {', '.join(names)}.")
    return loaded
