"""What a run would change against an earlier one: options of the job, columns, missing cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from em_impute.job import CannotRun, Job
from em_impute.runs.history import last_published, read_report
from em_impute.runs.manifest import read_manifest
from em_impute.runs.recompute import job_of
from em_impute.runs.run import Loaded
from em_impute.runs.treatment import PARTS, Treatment, differences, treatment_of
from em_impute.tables.columns.stored import load_roles
from em_impute.tables.run_folder import RunFolder

LAST = "last"
# Lists of which both together are longer, in characters, are compared item by item.
_SHORT = 100


@dataclass(frozen=True)
class Change:
    """One thing that would not be as it was.

    Attributes
    ----------
    sign : {"+", "-", "~"}
        Whether it came, went or is another one.
    what : str
        An option by its dotted key, or a column.
    text : str
        What came or went, or what was and what is now.
    """

    sign: Literal["+", "-", "~"]
    what: str
    text: str


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has left.

    Attributes
    ----------
    folder : Path
    job : str
        The name of its job.
    day : date or None
        Its data date, where the run recorded one.
    published : bool
    definition : dict
        The job as its manifest has it.
    fingerprint : str
        Of the rows that it read.
    rows : int
    missing : dict of str to int
        Of each column of its table, in their order.
    parts : dict of str to str
        Of each column, as `Treatment` has them.
    treatments : dict of str to Treatment or None
        None of a run that came to no model, or whose job this version does not read.
    """

    folder: Path
    job: str
    day: date | None
    published: bool
    definition: Mapping[str, Any]
    fingerprint: str
    rows: int
    missing: Mapping[str, int]
    parts: Mapping[str, str]
    treatments: Mapping[str, Treatment] | None


@dataclass(frozen=True)
class Changes:
    """What a run would change against an earlier one.

    Attributes
    ----------
    since : Earlier
    options : tuple of Change
        Of the job, that of the earlier run's data date.
    columns : tuple of Change
        Those that came or went, and those that are treated otherwise.
    cells : tuple of Change
        Rows, and missing cells of the columns that both have.
    notes : tuple of str
        What else is to be known of the comparison, a sentence each.
    same_rows : bool
        Whether the table is, cell by cell and in its order, the one that the run read.
    """

    since: Earlier
    options: tuple[Change, ...]
    columns: tuple[Change, ...]
    cells: tuple[Change, ...]
    notes: tuple[str, ...]
    same_rows: bool

    @property
    def every(self) -> tuple[Change, ...]:
        """Those of options, columns and cells."""
        return (*self.options, *self.columns, *self.cells)


# --- The earlier run ---------------------------------------------------------------------------


def find_run(named: str, folder: Path) -> Path:
    """Return the folder of a run that is named by it, or as the last one that published.

    Parameters
    ----------
    named : str
        A path, or "last".
    folder : Path
        Where the folders of the job's runs are.

    Raises
    ------
    CannotRun
        If none has published.
    """
    if named != LAST:
        return Path(named)
    found = last_published(folder)
    if found is None:
        raise CannotRun(
            f"{folder} has no run that published, so there is no last one to compare with; name "
            "the folder of a run, or where the runs are with --runs."
        )
    return found


def read_earlier(path: Path) -> Earlier:
    """Read what a run has left in its folder.

    Raises
    ------
    CannotRun
        If it is not the folder of a run that read its table, or cannot be read.
    """
    folder = RunFolder(path)
    if folder.numbers.exists() and not folder.manifest.exists():
        raise CannotRun(
            f"The run in {path} read no table, so there is nothing to compare with; name another "
            f"run, or `{LAST}` for the last one that published."
        )
    recorded, report = read_manifest(folder), read_report(folder)
    return Earlier(
        folder=path,
        job=report.job,
        day=date.fromisoformat(recorded["date"]) if "date" in recorded else None,
        published=recorded["target"] is not None,
        definition=recorded["definition"],
        fingerprint=recorded["source"]["fingerprint"],
        rows=report.rows,
        missing={column.name: column.missing for column in report.columns},
        parts={column.name: PARTS[column.role] for column in report.columns},
        treatments=_treatments(folder, recorded),
    )


def _treatments(folder: RunFolder, recorded: Mapping[str, Any]) -> dict[str, Treatment] | None:
    try:
        roles, schema = load_roles(folder.columns, job_of(recorded))
    except (CannotRun, OSError, ValueError):
        return None
    return {field.name: treatment_of(roles, field.name, str(field.type)) for field in schema}


# --- What would change -------------------------------------------------------------------------


def changes_since(earlier: Earlier, job: Job, table: Loaded) -> Changes:
    """Return what a run of a job on a table would change against an earlier run.

    Parameters
    ----------
    earlier : Earlier
    job : Job
    table : Loaded
        As the job reads it.
    """
    then = job.at(earlier.day) if earlier.day else job
    return Changes(
        since=earlier,
        options=tuple(_options(earlier.definition, then)),
        columns=tuple(_columns(earlier, table)),
        cells=tuple(_cells(earlier, table)),
        notes=tuple(_notes(earlier, job)),
        same_rows=earlier.fingerprint == table.fingerprint,
    )


def _notes(earlier: Earlier, job: Job) -> Iterator[str]:
    if earlier.job != job.name:
        yield f"It is a run of another job, {earlier.job}."
    if job.of_any_day.source_is_dated and earlier.day and earlier.day != job.day:
        yield f"It is of the data of {earlier.day}; those of {job.day} are read now."
    if earlier.treatments is None:
        yield (
            "It does not say how the model took its columns, so types, transforms, bounds and "
            "levels are not compared."
        )


def _columns(earlier: Earlier, table: Loaded) -> Iterator[Change]:
    types = {column.name: column.type for column in table.columns}
    now = {name: treatment_of(table.roles, name, type_) for name, type_ in types.items()}
    known = earlier.treatments or {}
    for name, treatment in now.items():
        if name not in earlier.parts:
            words = (treatment.type, treatment.part, treatment.in_words)
            yield Change("+", name, ", ".join(filter(None, words)))
        elif name in known:
            if clauses := list(differences(known[name], treatment)):
                yield Change("~", name, "; ".join(clauses))
        elif earlier.parts[name] != treatment.part:
            yield Change("~", name, f"part {earlier.parts[name]} -> {treatment.part}")
    for name in earlier.parts:
        if name not in now:
            type_ = f"{known[name].type}, " if name in known else ""
            yield Change("-", name, type_ + earlier.parts[name])


def _cells(earlier: Earlier, table: Loaded) -> Iterator[Change]:
    if earlier.rows != table.rows:
        yield Change("~", "rows", f"{earlier.rows:,} -> {table.rows:,}")
    for column in table.columns:
        before = earlier.missing.get(column.name)
        if before is not None and before != column.missing:
            then, now = _share(before, earlier.rows), _share(column.missing, table.rows)
            yield Change("~", column.name, f"missing {then} -> {now}")


def _share(missing: int, rows: int) -> str:
    return f"{missing:,} ({missing / max(rows, 1):.1%})"


# --- Options of the job ------------------------------------------------------------------------


def _options(definition: Mapping[str, Any], job: Job) -> Iterator[Change]:
    """What of a job is not as it was; an option that the run did not know stood at its default."""
    then, now = dict(_flat(definition)), dict(_flat(job.model_dump(mode="json")))
    chosen = dict(_flat(job.model_dump(mode="json", exclude_defaults=True)))
    known = set(_keys(definition))
    for key, value in now.items():
        if key in then:
            yield from _changed(key, then[key], value)
        elif key in known or key in chosen:
            yield Change("+", key, _text(value))
    for key, value in then.items():
        if key not in now:
            yield Change("-", key, _text(value))


def _flat(options: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each option that is set, by its dotted key."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif value is not None and value != []:
            yield before + key, value


def _keys(options: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted key of each option, set or not."""
    for key, value in options.items():
        yield before + key
        if isinstance(value, Mapping):
            yield from _keys(value, f"{before}{key}.")


def _changed(key: str, then: Any, now: Any) -> Iterator[Change]:
    if then == now:
        return
    old, new = _text(then), _text(now)
    if not (isinstance(then, list) and isinstance(now, list)) or len(old + new) <= _SHORT:
        yield Change("~", key, f"{old} -> {new}")
        return
    came, gone = _not_in(now, then), _not_in(then, now)
    yield from (Change("+", key, _text(item)) for item in came)
    yield from (Change("-", key, _text(item)) for item in gone)
    if not (came or gone):
        yield Change("~", key, "in another order")


def _not_in(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    return [item for item in items if item not in others]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
