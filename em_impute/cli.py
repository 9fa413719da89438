"""The command line: `em-impute run | check | serve | verify | schema`.

Exit codes: 0 published, or verified; 1 refused by its checks, or not equal; 2 the job file, its
source or its target is wrong, or a run cannot be verified; 3 anything else, such as a full disk.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from em_impute.job import CannotRun, Job, job_schema, load_job

if TYPE_CHECKING:
    from em_impute.findings import Outcome
    from em_impute.tables.columns import Roles
    from em_impute.tables.sources import Snapshot

PUBLISHED, REFUSED, CANNOT_RUN, FAILED = range(4)
_VERIFIED = {"equal": 0, "equal to rounding": 0, "not equal": 1, "cannot be verified": 2}

JobFile = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="em-impute")
def main() -> None:
    """Fill the holes in tables: one YAML job, run and watched in Prefect."""
    # Prefect's own default of 20 seconds is short for a first start on a busy machine.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


@main.command()
@click.argument("job", type=JobFile)
@click.option(
    "--runs",
    type=JobFile,
    default=Path("runs"),
    show_default=True,
    envvar="EM_IMPUTE_RUNS",
    help="Where the folders of the runs are made.",
)
def run(job: Path, runs: Path) -> None:
    """Run the job now: exit code 0 if it published, 1 if its checks refused, 2 if JOB is wrong."""
    with _sentences():
        loaded = load_job(job)
        from em_impute.flows.impute import impute

        state = impute(loaded, runs, return_state=True)
        outcome = state.result(raise_on_failure=False)
    if not hasattr(outcome, "verdict"):
        click.echo(f"em-impute: {state.message}", err=True)
        sys.exit(CANNOT_RUN if isinstance(outcome, CannotRun) else FAILED)
    _show_outcome(outcome)
    sys.exit(_exit_code(outcome))


@main.command()
@click.argument("job", type=JobFile)
def check(job: Path) -> None:
    """Say what running the job would do: columns, their parts, missing cells. Runs nothing."""
    from em_impute import validation
    from em_impute.tables.columns import assign_roles, count_blanks
    from em_impute.tables.fill import filled_schema
    from em_impute.tables.misfits import find_misfits
    from em_impute.tables.sources import take_snapshot
    from em_impute.tables.targets import check_schema, check_target

    with _sentences(), tempfile.TemporaryDirectory() as folder:
        loaded = load_job(job)
        validation.verify_checks(loaded)
        check_target(loaded.target)
        snapshot = take_snapshot(loaded.source, Path(folder) / "snapshot.arrow", loaded.batch_rows)
        snapshot = count_blanks(snapshot, loaded)
        roles = assign_roles(snapshot, loaded)
        check_schema(filled_schema(snapshot, roles), loaded.target)
        validation.check_columns(loaded, [column.name for column in snapshot.columns])
        validation.check_rows(loaded, snapshot.rows)

        misfits = find_misfits(snapshot, roles, loaded)
    _show_plan(loaded, snapshot, roles)
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
def schema() -> None:
    """Print the JSON Schema of a job file, for editors: em-impute schema > job.schema.json."""
    click.echo(json.dumps(job_schema(), indent=2))


@main.command()
@click.argument("jobs", type=JobFile, nargs=-1, required=True)
@click.option(
    "--runs", type=JobFile, default=Path("runs"), show_default=True, envvar="EM_IMPUTE_RUNS"
)
def serve(jobs: Sequence[Path], runs: Path) -> None:
    """Stay here and run each of JOBS by its schedule, until interrupted."""
    with _sentences():
        loaded = [load_job(job) for job in jobs]
        names = [job.name for job in loaded]
        if len(set(names)) < len(names):
            raise CannotRun(
                f"Jobs served together need names of their own, got {', '.join(names)}."
            )
        from em_impute.flows.serve import serve_jobs

        serve_jobs([(path.absolute(), job) for path, job in zip(jobs, loaded, strict=True)], runs)


@contextmanager
def _sentences() -> Iterator[None]:
    """Say in a sentence, with the exit code, what the user can mend; no traceback."""
    try:
        yield
    except CannotRun as mistake:
        click.echo(f"em-impute: {mistake}", err=True)
        sys.exit(CANNOT_RUN)
    except OSError as error:
        click.echo(f"em-impute: {error}", err=True)
        sys.exit(FAILED)


def _exit_code(outcome: Outcome) -> int:
    from em_impute.findings import Refused

    match outcome.stopped_by:
        case None:
            return PUBLISHED
        case Refused():
            return REFUSED
        case CannotRun():
            return CANNOT_RUN
    return FAILED


def _show_outcome(outcome: Outcome) -> None:
    """The run in a few lines."""
    click.echo()
    click.echo(f"{outcome.verdict.outcome.capitalize()}: {outcome.verdict.sentence}")
    lines = {
        "fit": outcome.fit,
        "test": outcome.tested,
        "cells": ", ".join(f"{name} {cells:,}" for name, cells in outcome.cells),
        "target": "" if outcome.stopped_by else outcome.target,
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
    cells = sum(snapshot.profile(name).missing for name in roles.impute)
    click.echo(f"A run would fill {cells:,} cells and write {job.target}.")
