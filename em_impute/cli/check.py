"""`em-impute check`: the first steps of a run, which publish nothing, and what they have found.

With an earlier run, what would change against it, too.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from em_impute.checks import Checked, CheckResult
from em_impute.cli.ending import REFUSED
from em_impute.job import DatabaseTarget, Job, load_job
from em_impute.job.legible import legible, one_line
from em_impute.runs import steps
from em_impute.runs.changes import Change, Changes, changes_since, find_run, read_earlier
from em_impute.runs.history import imputed_before
from em_impute.runs.run import Loaded
from em_impute.runs.treatment import treatment_of
from em_impute.tables.columns.hints import Hint, find_hints
from em_impute.tables.columns.suggestions import Suggestion, find_suggestions
from em_impute.tables.columns.unfilled import Unfilled, find_unfilled, unfilled_in_words
from em_impute.tables.fill import filled_schema
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import ColumnProfile
from em_impute.tables.state.gathering import plan as plan_of_state
from em_impute.tables.targets import check_target

# A table of very many columns that look alike is not to fill the terminal.
MOST_LINES = 40
# How long what a column or an option changes to may be.
_LONGEST = 200
_COLOURS = {"+": "green", "-": "red", "~": "yellow"}


@dataclass(frozen=True)
class Plan:
    """What a run of a job would do.

    Attributes
    ----------
    job : Job
    table : Loaded
    found : tuple of CheckResult
        Preconditions of ours; the job's own checks are left to the run.
    unfilled : tuple of Unfilled
    suggestions : tuple of Suggestion
        What `em-impute init` would have chosen where the job says nothing.
    hints : tuple of Hint
        Of the columns of which nothing is suggested.
    state : str
        What the job's state holds, and what a run would do with it; empty without one.
    changes : Changes or None
        Against an earlier run, if one was named.
    """

    job: Job
    table: Loaded
    found: tuple[CheckResult, ...]
    unfilled: tuple[Unfilled, ...]
    suggestions: tuple[Suggestion, ...]
    hints: tuple[Hint, ...]
    state: str = ""
    changes: Changes | None = None

    @property
    def checked(self) -> Checked:
        """What the preconditions come to."""
        return Checked(self.found)

    def to_dict(self) -> dict[str, Any]:
        """All of it as one object, which has the same keys for every job."""
        job, table, checked = self.job, self.table, self.checked
        return {
            "job": job.name,
            "date": job.day.isoformat() if job.day else None,
            "source": table.source,
            "rows": table.rows,
            "columns": [_column(table, column) for column in table.columns],
            "notes": _notes(table),
            "cells_to_fill": _cells_to_fill(table),
            "times": job.imputation.draws if job.imputation.is_multiple else 1,
            "target": str(job.target),
            "state": self.state or None,
            "left_missing": [asdict(one) for one in self.unfilled],
            "suggestions": [asdict(one) for one in self.suggestions],
            "looks": [asdict(one) for one in self.hints],
            "against": _against(self.changes) if self.changes else None,
            "warnings": list(checked.warnings),
            "refusal": checked.refusal or None,
        }


def _column(table: Loaded, column: ColumnProfile) -> dict[str, Any]:
    """Of levels, which are cells of the table, only how many there are."""
    treatment = treatment_of(table.roles, column.name, column.type)
    return {
        "name": column.name,
        "missing": column.missing,
        **asdict(treatment),
        "levels": len(treatment.levels),
        "treatment": treatment.in_words,
    }


def _against(changes: Changes) -> dict[str, Any]:
    since = changes.since
    return {
        "folder": str(since.folder),
        "job": since.job,
        "date": since.day.isoformat() if since.day else None,
        "published": since.published,
        "options": [asdict(one) for one in changes.options],
        "columns": [asdict(one) for one in changes.columns],
        "cells": [asdict(one) for one in changes.cells],
        "notes": list(changes.notes),
        "same_rows": changes.same_rows,
    }


def plan(path: Path, runs: Path, day: date | None, against: str | None = None) -> Plan:
    """Go the first steps of a run, and see what the later ones would come upon.

    Parameters
    ----------
    path : Path
        The job file.
    runs : Path
        Where earlier runs are.
    day : date or None
        The data date; by default today's.
    against : str, optional
        An earlier run to compare with: its folder, or "last".

    Raises
    ------
    CannotRun
        If the job, its source or its target is wrong, or the earlier run cannot be read.
    """
    job = load_job(path)
    earlier = read_earlier(find_run(against, runs / job.name)) if against else None
    job = job.at(day or job.data_date(datetime.now(UTC)))
    check_target(job.target)
    with tempfile.TemporaryDirectory() as folder:
        table = steps.load(job, RunFolder(Path(folder)))
        found = steps.preconditions(job, table, imputed_before(runs / job.name))
        unfilled = find_unfilled(table, table.roles, job.columns)
        suggestions = find_suggestions(table, table.roles, job)
        suggested = {name for one in suggestions for name in one.columns}
        looks = find_hints(table, table.roles)
        hints = tuple(hint for hint in looks if hint.column not in suggested)
        if isinstance(job.target, DatabaseTarget):
            from em_impute.tables.databases.rehearsal import rehearse

            rehearse(table.at_hand, table.roles, filled_schema(table, table.roles), job.target)
        state = plan_of_state(job, table, table.roles) if job.state else ""
    changes = changes_since(earlier, job, table) if earlier else None
    return Plan(job, table, found, unfilled, suggestions, hints, state, changes)


def show(made: Plan, as_json: bool = False) -> None:
    """Print what a run would do; ends the program with the exit code 1 where it would refuse.

    Parameters
    ----------
    made : Plan
    as_json : bool
        Whether as one object.
    """
    if as_json:
        click.echo(json.dumps(made.to_dict()))
    else:
        _show_lines(made)
    if made.checked.refusal:
        sys.exit(REFUSED)


def _show_lines(made: Plan) -> None:
    _show_columns(made.job, made.table)
    if made.state:
        click.echo(legible(made.state))
    _show_unfilled(made.unfilled)
    _show_list(
        "What em-impute init would have chosen, where the job says nothing:",
        [one.sentence for one in made.suggestions],
    )
    _show_list("What columns look like:", [hint.sentence for hint in made.hints])
    if made.changes:
        _show_changes(made.changes)
    for sentence in (*made.checked.warnings, made.checked.refusal):
        if sentence:
            click.echo(legible(sentence))


def _show_columns(job: Job, table: Loaded) -> None:
    """Each column with its part, its missing cells and what the model sees of it."""
    click.echo(f"{job.name}: {table.rows:,} rows from {legible(table.source)}")
    roles = table.roles
    lines = [("column", "type", "part", "missing", "treatment")]
    for column in table.columns:
        treatment = treatment_of(roles, column.name, column.type)
        missing = f"{column.missing:,} ({column.missing / max(table.rows, 1):.1%})"
        named = legible(column.name)
        lines.append((named, column.type, treatment.part, missing, treatment.in_words))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        click.echo(f"  {'  '.join(padded)}".rstrip())
    for note in _notes(table):
        click.echo(legible(note))
    cells = _cells_to_fill(table)
    click.echo(f"A run would fill {cells:,} cells{_times(job)} and write {job.target}.")


def _notes(table: Loaded) -> list[str]:
    """What there is to know of how the table was read."""
    return [note for note in (table.sample_in_words, *table.notes) if note]


def _cells_to_fill(table: Loaded) -> int:
    return sum(table.profile(name).missing for name in table.roles.impute)


def _times(job: Job) -> str:
    if not job.imputation.is_multiple:
        return ""
    if job.imputation.draws == "auto":
        return ", each as many times as standard errors need,"
    return f" {job.imputation.most_draws} times"


def _show_unfilled(unfilled: Sequence[Unfilled]) -> None:
    """The missing cells that a run would leave, and why."""
    for sentence in unfilled_in_words(unfilled, planned=True):
        click.echo(legible(sentence))
    if chosen := [one for one in unfilled if not one.remedy]:
        listed = ", ".join(f"{one.column} {one.cells:,} ({one.why})" for one in chosen)
        click.echo(legible(f"As the job says, it would leave missing: {listed}."))


def _show_list(heading: str, sentences: Sequence[str]) -> None:
    """Sentences on columns, a line for each."""
    if sentences:
        click.echo(heading)
    for sentence in sentences[:MOST_LINES]:
        click.echo(f"  - {legible(sentence)}")
    if len(sentences) > MOST_LINES:
        click.echo(f"  - There are {len(sentences) - MOST_LINES:,} more such columns.")


def _show_changes(changes: Changes) -> None:
    """What would change against an earlier run: what came, went and is another, part by part."""
    since = changes.since
    ended = "published" if since.published else "not published"
    dated = f", data of {since.day}" if since.day else ""
    click.echo(legible(f"Against the run in {since.folder} ({ended}{dated}):"))
    for heading, part in (
        ("Options of the job", changes.options),
        ("Columns", changes.columns),
        ("Rows and missing cells", changes.cells),
    ):
        if part:
            click.echo(f"  {heading}:")
        for change in part:
            click.echo(f"    {_in_a_line(change)}")
    for note in changes.notes:
        click.echo(legible(f"  {note}"))
    signs = Counter(change.sign for change in changes.every)
    if signs:
        click.echo(f"  {signs['+']:,} added, {signs['-']:,} removed, {signs['~']:,} changed.")
    elif changes.same_rows:
        click.echo("  Nothing changes.")
    else:
        click.echo("  Nothing changes but cells: the rows, or their order, are others by now.")


def _in_a_line(change: Change) -> str:
    sign = click.style(change.sign, fg=_COLOURS[change.sign])
    return f"{sign} {one_line(change.what)}: {one_line(change.text, _LONGEST)}"
