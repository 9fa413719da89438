"""What a table as it was read may mean otherwise: numbers taken for text, values for missing cells.

None of it is wrong for certain, so it is reported and not mended: which column, which rows, and
what to write into the job so that it is read as it is meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from em_impute.job import Job
from em_impute.tables.columns.objections import first_text
from em_impute.tables.columns.roles import Roles
from em_impute.tables.reading.missing import Missing
from em_impute.tables.snapshot import ColumnProfile, Snapshot

_INDEX_OF_PANDAS = re.compile(r"Unnamed: \d+")


@dataclass(frozen=True)
class Doubt:
    """Something about a table that is most likely not as it was meant.

    Attributes
    ----------
    name : str
        Of the check that it fails.
    column : str or None
    expected, observed : str
        In words.
    stop : bool
        Whether the job must not go on.
    """

    name: str
    column: str | None
    expected: str
    observed: str
    stop: bool = False


def find_doubts(
    snapshot: Snapshot, roles: Roles, job: Job, imputed_before: Collection[str] = ()
) -> tuple[Doubt, ...]:
    """Look for what may be meant otherwise.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    job : Job
    imputed_before : collection of str
        The columns that the job's last run that published has filled.
    """
    return (
        *_of_header(snapshot, roles),
        *(d for c in snapshot.columns for d in _of_text(snapshot, c, job, imputed_before)),
        *(d for c in snapshot.columns for d in _of_numbers(c, roles, job)),
    )


def _of_header(snapshot: Snapshot, roles: Roles) -> Iterator[Doubt]:
    if snapshot.headless:
        yield Doubt(
            "header",
            None,
            "names in the first line of the source",
            "all of them are numbers; if it is a row like the others, say `csv: {header: false}` "
            "in the source",
        )
    first = snapshot.columns[0].name
    if _INDEX_OF_PANDAS.fullmatch(first) and first in roles.model_columns:
        yield Doubt(
            "index",
            first,
            f"{first} no index of pandas",
            "it takes part in the model; name it in columns.key if it is one, or write the file "
            "with `index=False`",
        )


def _of_text(
    snapshot: Snapshot, column: ColumnProfile, job: Job, imputed_before: Collection[str]
) -> Iterator[Doubt]:
    columns = job.columns
    named = {*columns.key, *columns.group_by, *columns.categories}
    # Where the job names all columns of the model, no other one is looked for.
    if column.name in named or None not in (columns.impute, columns.predictors):
        return
    name, was_filled = column.name, column.name in imputed_before
    if column.separators:
        observed = (
            "its numbers have separators, so it is left as text; say "
            f"`csv: {{{column.separators}}}` in the source"
        )
    elif column.too_precise:
        observed = (
            "its numbers have more digits than floating point keeps, so it is left as text; round "
            "them in the source if it is to take part"
        )
    elif column.odd:
        observed = f"{_odd_cells(column)}, so it is left as text; {_remedy(column)}"
    elif was_filled and column.is_text:
        row = first_text(snapshot, name)
        where = "" if row is None else f", with no number in row {row}"
        observed = f"it is text{where}; mend it, or name it in columns.categories"
    else:
        return
    before = "the last run that published has filled it, but now " if was_filled else ""
    yield Doubt("numbers", name, f"numbers in {name}", before + observed, columns.strict)


def _odd_cells(column: ColumnProfile) -> str:
    cells = "1 cell is no number" if column.odd == 1 else f"{column.odd} cells are no numbers"
    more = " and others" if column.odd > len(column.odd_rows) else ""
    rows = ", ".join(map(str, column.odd_rows))
    return f"{cells}, in row{'s' if column.odd > 1 else ''} {rows}{more}"


def _remedy(column: ColumnProfile) -> str:
    if not column.odd_spellings:
        return "mend it, leave it empty, or name in source.missing what stands for a missing cell"
    spellings = ", ".join(map(json.dumps, column.odd_spellings))
    return f"{_missing(column.name, spellings)} in the source reads it as missing"


def _missing(name: str, spellings: str) -> str:
    """What the job says of missing cells, as it is written in YAML."""
    plain = re.fullmatch(r"[A-Za-z][\w.-]*", name)
    return f"`missing: {{{name if plain else json.dumps(name)}: [{spellings}]}}`"


def _of_numbers(column: ColumnProfile, roles: Roles, job: Job) -> Iterator[Doubt]:
    name, missing = column.name, Missing.of(job.source)
    if name not in roles.model_columns or name in missing.columns:
        return
    for nines, cells in column.nines:
        many = f"{cells:,} cells hold {nines}"
        yield Doubt(
            "nines",
            name,
            f"no value of {name} that stands for a missing cell",
            f"{many}; if that is what it means, say {_missing(name, nines)} in the source, and if "
            f"not, {_missing(name, '')}",
        )
