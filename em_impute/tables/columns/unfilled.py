"""Missing cells that a run leaves missing: in which columns, why, and what would fill them.

Where the job says itself what is to be filled, or what else a column is for, its holes are left on
purpose: that is reported, but it is no warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from em_impute.job.columns import Columns
from em_impute.tables.columns.options import MOST_LEVELS, has_few_levels
from em_impute.tables.columns.roles import Roles
from em_impute.tables.snapshot import ColumnProfile, Snapshot, read_schema

MAX_NAMED = 3
QUIET = "or name in columns.impute what is to be filled"


@dataclass(frozen=True)
class Unfilled:
    """The missing cells of a column that is not imputed.

    Attributes
    ----------
    column : str
    cells : int
    why : str
        What keeps them from being filled, in a few words.
    remedy : str
        What would fill them; empty where the job leaves them on purpose.
    """

    column: str
    cells: int
    why: str
    remedy: str = ""

    @property
    def explained(self) -> str:
        """All of it in brief: ``text; list it under categories to fill it``."""
        return f"{self.why}; {self.remedy}" if self.remedy else self.why


def find_unfilled(snapshot: Snapshot, roles: Roles, columns: Columns) -> tuple[Unfilled, ...]:
    """The columns whose missing cells a run leaves, in the table's order.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    columns : Columns
        What the job says of them.
    """
    schema = read_schema(snapshot.path)
    return tuple(
        _unfilled(snapshot, column, schema.field(column.name).type, columns)
        for column in snapshot.columns
        if column.missing and column.name not in roles.impute
    )


def unfilled_in_words(found: Sequence[Unfilled], *, planned: bool = False) -> Iterator[str]:
    """Yield a sentence for each reason; `planned` of a run that is still to come.

    Of what the job leaves on purpose there is none.
    """

    def reason(one: Unfilled) -> tuple[str, str]:
        return one.why, one.remedy

    warned = sorted((one for one in found if one.remedy), key=reason)
    for (why, remedy), several in groupby(warned, key=reason):
        columns = sorted(several, key=lambda one: -one.cells)
        one_cell = sum(one.cells for one in columns) == 1
        were = "would be" if planned else "was" if one_cell else "were"
        yield f"{_listed(columns)} ({why}) {were} left missing; {remedy}, {QUIET}."


def _listed(columns: Sequence[Unfilled]) -> str:
    """Columns with their cells, the first of them by name."""
    first, *others = [f"{one.cells:,} of {one.column}" for one in columns[:MAX_NAMED]]
    if more := columns[MAX_NAMED:]:
        cells, s = sum(one.cells for one in more), "s" if len(more) > 1 else ""
        others.append(f"{cells:,} of {len(more):,} more column{s}")
    first = first.replace(" of ", " cell of " if columns[0].cells == 1 else " cells of ", 1)
    before = ", ".join([first, *others[:-1]])
    return f"{before} and {others[-1]}" if others else before


def _unfilled(
    snapshot: Snapshot, column: ColumnProfile, type_: pa.DataType, columns: Columns
) -> Unfilled:
    name, cells = column.name, column.missing
    if part := _part(name, columns):
        return Unfilled(name, cells, part)
    if columns.impute is not None:
        return Unfilled(name, cells, "not named in columns.impute")
    if column.in_folders:
        return Unfilled(name, cells, "in folders' names", "name it in columns.impute to fill it")
    return Unfilled(name, cells, *_by_type(snapshot, name, type_))


def _part(name: str, columns: Columns) -> str:
    """What the job says that a column is for; empty if it does not say."""
    parts = {"key": "a key", "group_by": "it groups the rows", "predictors": "a predictor"}
    named = (words for part, words in parts.items() if name in (getattr(columns, part) or ()))
    return next(named, "")


def _by_type(snapshot: Snapshot, name: str, type_: pa.DataType) -> tuple[str, str]:
    """What a column is that the model cannot take as it is, and what would change that."""
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_null(plain):
        return "no cell of it is observed", "leave the column out of the source"
    if pa.types.is_temporal(plain):
        return "dates or times", "convert it to a number in the source to fill it"
    is_type = pa.types
    text = (
        is_type.is_string(plain) or is_type.is_large_string(plain) or is_type.is_string_view(plain)
    )
    if not (text or pa.types.is_boolean(plain)):
        return f"of type {type_}", "convert it to numbers or text in the source to fill it"
    kind = "text" if text else "true or false"
    if has_few_levels(snapshot, name):
        return kind, "list it under categories to fill it"
    return (
        f"{kind}, more than {MOST_LEVELS} levels",
        "join the rare levels and list it under categories to fill it",
    )
