"""What to do with each column of a table that no job has described yet, and why.

It begins with what columns look like (`hints`) and turns that into the options of a job. Where two
choices are as good, the one is made that changes less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import inf, isinf

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from em_impute.gaussian.arrays import Floats
from em_impute.job import Logit
from em_impute.tables.columns.hints import (
    CAMEL_IDENTIFIER,
    FEWEST,
    FEWEST_OF_SHAPE,
    IDENTIFIER,
    Kind,
    Look,
    hint_of,
    look_at,
)
from em_impute.tables.columns.options import level_counts
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import Transform, transform_of
from em_impute.tables.columns.trials import Predicted, trial_of
from em_impute.tables.reading.missing import is_blank
from em_impute.tables.snapshot import TEXT_TYPES, Snapshot, read_batches, read_schema

# A category of more levels, or of fewer rows for each, is left out of the model.
FEW_LEVELS, ROWS_OF_LEVEL = 15, 10
# A group has at least so many rows, and so many for each column of the model.
ROWS_OF_GROUP, ROWS_OF_GROUP_COLUMN, MOST_GROUPS = 50, 5, 8
# Names of times in parts, which with others tell rows apart.
PARTS_OF_TIME = ("year", "yr", "quarter", "month", "week", "day", "date", "hour", "time", "wave")
MOST_KEY_COLUMNS = 8
# No logarithm is taken of a column with a larger share of zeros.
MOST_ZEROS = 0.05
# Errors relative to the mean's that differ by less are the same. A column to fill is transformed if
# it is filled as well, since its intervals and draws are better; one that predicts, if that helps.
GAIN = 0.01
TWO_VALUES = "two values"
# Bounds are worth an error that is so much larger: what cannot be is not published.
DEARER = 1.1
# A normal of this mean, in standard deviations, is hardly ever below 0.
FAR_FROM_ZERO = 3.0


@dataclass(frozen=True)
class Choice:
    """What a job says of a column, in YAML's values, and why."""

    value: object
    reason: str


@dataclass(frozen=True)
class Proposal:
    """What a job may say of the columns of a table.

    Attributes
    ----------
    key : tuple of str
    impute, predictors : dict of str to str
        With the reason of those that need one; empty for the others.
    transform, bounds, categories, round : dict of str to Choice
    unbounded : dict of str to Choice
        Bounds that would cost too much.
    left : dict of str to str
        Columns that take no part, and why.
    groups : dict of str to str
        Columns by which the table might be divided, and why.
    """

    key: tuple[str, ...] = ()
    impute: dict[str, str] = field(default_factory=dict)
    predictors: dict[str, str] = field(default_factory=dict)
    transform: dict[str, Choice] = field(default_factory=dict)
    bounds: dict[str, Choice] = field(default_factory=dict)
    round: dict[str, Choice] = field(default_factory=dict)
    categories: dict[str, Choice] = field(default_factory=dict)
    unbounded: dict[str, Choice] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Column:
    """One column as it was seen."""

    name: str
    type: pa.DataType
    missing: int
    kind: Kind | None
    look: Look | None
    levels: Mapping[str, int] | None

    @property
    def is_time(self) -> bool:
        return bool(pa.types.is_temporal(self.type))

    @property
    def is_named_like_a_key(self) -> bool:
        return bool(IDENTIFIER.search(self.name) or CAMEL_IDENTIFIER.search(self.name))

    @property
    def is_part_of_time(self) -> bool:
        return self.is_time or any(part in self.name.lower() for part in PARTS_OF_TIME)

    @property
    def may_be_a_trend(self) -> bool:
        return self.is_part_of_time and (self.is_time or self.look is not None)

    @property
    def may_tell_rows_apart(self) -> bool:
        number = self.look is not None and not (self.look.whole and self.kind != "share")
        return not (self.missing or number or pa.types.is_boolean(self.type))


def propose(
    table: Snapshot, roles: Roles, key: tuple[str, ...] = (), draws: bool = False
) -> Proposal:
    """Propose what a job says of a table's columns.

    Parameters
    ----------
    table : Snapshot
    roles : Roles
        Those of a job that says nothing: every column of numbers is in the model.
    key : tuple of str, optional
        Columns that are known to identify a row; by default they are looked for.
    draws : bool, optional
        Whether cells are filled with draws, which reach further than expected values.
    """
    columns = list(_columns(table, roles))
    key = key or _key(table, columns)
    made = Proposal(key=key)
    for column in columns:
        if column.name not in key:
            _treat(column, table.rows, made)
    _try_out(table, {column.name: column for column in columns}, made, draws)
    model = len(made.impute) + len(made.predictors)
    made.groups.update(_groups(columns, made, model))
    return made


def _columns(table: Snapshot, roles: Roles) -> Iterator[_Column]:
    schema, looks = read_schema(table.path), look_at(table, roles)
    for profile in table.columns:
        type_, look = schema.field(profile.name).type, looks.get(profile.name)
        hint = hint_of(profile.name, type_, roles, look)
        few = look is not None and look.whole and len(look.values) <= FEW_LEVELS
        counted = _may_be_levels(type_) and (look is None or few)
        levels = _levels(table, profile.name) if counted else None
        kind = hint.kind if hint else None
        yield _Column(profile.name, type_, profile.missing, kind, look, levels)


def _may_be_levels(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _may_be_levels(type_.value_type)
    return str(type_) in TEXT_TYPES or bool(
        pa.types.is_boolean(type_) or pa.types.is_integer(type_)
    )


def _levels(table: Snapshot, name: str) -> dict[str, int] | None:
    """The levels of a column with their rows; None if they are too many."""
    counts = level_counts(table, name, is_blank)
    return dict(counts) if len(counts) <= FEW_LEVELS else None


# --- The key -----------------------------------------------------------------------------------


def _key(table: Snapshot, columns: Sequence[_Column]) -> tuple[str, ...]:
    """Columns by which no two rows are the same; none if they do not look like a key."""
    able = [c for c in columns if c.may_tell_rows_apart]
    alone = [c for c in able if c.kind in ("counter", "identifier") or c.look is None]
    named_first = sorted(alone, key=lambda c: not c.is_named_like_a_key)
    for column in named_first[:MOST_KEY_COLUMNS]:
        if _tell_apart(table, [column.name]):
            return (column.name,)
    for number in (2, 3):
        for several in combinations(able[:MOST_KEY_COLUMNS], number):
            times = sum(c.is_part_of_time for c in several)
            others = all(
                c.is_part_of_time or c.look is None or c.is_named_like_a_key for c in several
            )
            names = [c.name for c in several]
            if times and others and table.rows > FEWEST and _tell_apart(table, names):
                return tuple(names)
    return ()


def _tell_apart(table: Snapshot, names: Sequence[str]) -> bool:
    if not table.rows:
        return False
    cells = pa.Table.from_batches(read_batches(table.path, names))
    if len(names) == 1:
        return bool(pc.count_distinct(cells[names[0]]).as_py() == table.rows)
    return bool(cells.group_by(list(names)).aggregate([]).num_rows == table.rows)


# --- The others --------------------------------------------------------------------------------


def _treat(column: _Column, rows: int, made: Proposal) -> None:
    """Write into the proposal what is to be done with one column."""
    if column.look is not None and not _is_code(column):
        _treat_numbers(column, made)
    elif column.is_time:
        if column.missing:
            made.left[column.name] = "dates with missing cells"
        else:
            made.predictors[column.name] = "dates predict by their distance in time"
    elif column.levels is not None or column.look is not None:
        _treat_levels(column, rows, made)
    else:
        made.left[column.name] = (
            f"text of more than {FEW_LEVELS} levels"
            if _may_be_levels(column.type)
            else f"of type {column.type}"
        )


def _is_code(column: _Column) -> bool:
    return column.kind == "code" and pa.types.is_integer(column.type)


def _treat_levels(column: _Column, rows: int, made: Proposal) -> None:
    name, levels = column.name, column.levels
    if levels is None:
        made.left[name] = f"a code of more than {FEW_LEVELS} levels"
    elif len(levels) < 2:
        made.left[name] = "one level only"
    elif rows < ROWS_OF_LEVEL * len(levels):
        made.left[name] = f"{len(levels)} levels, too many for {rows:,} rows"
    else:
        made.categories[name] = Choice("nominal", f"{len(levels)} levels")
        (made.impute if column.missing else made.predictors)[name] = ""


def _treat_numbers(column: _Column, made: Proposal) -> None:
    name, look, kind = column.name, column.look, column.kind
    assert look is not None
    if not look.count:
        made.left[name] = "no cell is observed"
    elif kind == "constant":
        made.left[name] = "one value only, which predicts nothing"
    elif kind == "counter":
        made.left[name] = "seems to number the rows"
    elif kind == "identifier":
        made.left[name] = "looks like an identifier"
    elif column.missing and column.levels is not None and len(column.levels) == 2:
        made.impute[name] = ""
        made.categories[name] = Choice("nominal", "two values")
    elif column.missing:
        made.impute[name] = ""
        _shape(name, look, kind, made)
        if look.whole and look.count >= FEWEST:
            made.round[name] = Choice(None, "")
    else:
        made.predictors[name] = "predicts as a trend" if kind == "time" else ""
        if kind == "skewed":
            _shape(name, look, kind, made)


def _shape(name: str, look: Look, kind: Kind | None, made: Proposal) -> None:
    """How the model might see a column, if that fills better."""
    if kind == "skewed" and np.mean(look.kept == 0) <= MOST_ZEROS:
        made.transform[name] = _logarithm(look)
    elif kind == "share" and look.low > 0 and look.high < (top := _top(look)):
        made.transform[name] = Choice({"logit": [0, top]}, f"shares inside of 0 and {top}")


def _top(look: Look) -> int:
    """The end of a share's scale."""
    return 1 if look.high <= 1 else 100


def _logarithm(look: Look) -> Choice:
    option = "log" if look.low > 0 else "log1p"
    zeros = "" if look.low > 0 else ", with zeros"
    return Choice(option, f"never below 0{zeros}, skewness {look.skewness:.1f}")


# --- What the observed cells say ---------------------------------------------------------------


def _try_out(table: Snapshot, columns: Mapping[str, _Column], made: Proposal, draws: bool) -> None:
    """Keep of the transforms what fills well, and bound what would be filled where no cell is."""
    fill = [name for name in made.impute if name not in made.categories]
    predictors = [name for name in made.predictors if name not in made.categories]
    times = [name for name in made.key if len(made.key) == 1 and columns[name].may_be_a_trend]
    trial = trial_of(table, fill, [*predictors, *times], _transforms(made))
    for name in list(made.transform):
        plain = trial.without_transform(name)
        if name in trial.fill:
            worse = plain.predicted(name).error < trial.predicted(name).error - GAIN
        else:
            worse = plain.error < trial.error + GAIN
        if worse:
            del made.transform[name]
            trial = plain
    for name in times:
        without = trial.without(name)
        if without.error - trial.error > GAIN:
            made.predictors[name] = "the key is a time, and predicts as a trend"
        else:
            trial = without
    for name in trial.fill:
        _bound(columns[name], trial.predicted(name), made, draws)


def _transforms(made: Proposal) -> dict[str, Transform]:
    options = {name: choice.value for name, choice in made.transform.items()}
    return {
        name: transform_of(value if isinstance(value, str) else Logit.model_validate(value))
        for name, value in options.items()
    }


def _bound(column: _Column, predicted: Predicted, made: Proposal, draws: bool) -> None:
    """Bound what is filled, unless the cells between the bounds would be filled much worse."""
    name, look = column.name, column.look
    assert look is not None
    if name in made.transform and made.transform[name].value != "log1p":
        return
    ends, reason = _ends(column, look, predicted.filled, draws)
    if not reason:
        return
    choice = Choice([None if isinf(end) else int(end) for end in ends], reason)
    error = predicted.between(*ends).error
    if reason == TWO_VALUES or error <= DEARER * predicted.error:
        made.bounds[name] = choice
    else:
        made.unbounded[name] = choice


def _ends(
    column: _Column, look: Look, filled: Floats, draws: bool
) -> tuple[tuple[float, float], str]:
    """The bounds of a column, and why it needs them; no reason where it does not."""
    if column.kind == "share":
        return (0.0, _top(look)), f"shares from 0 to {_top(look)}"
    if look.whole and look.high == look.low + 1:
        return (look.low, look.high), TWO_VALUES
    reason = ""
    if look.low >= 0 and look.count >= FEWEST_OF_SHAPE:
        below = float(np.mean(filled < 0))
        if below > 0:
            share = f"{below:.1%}" if below >= 0.001 else "some"
            reason = f"never below 0, where {share} of its known cells would be filled"
        elif draws and _near_zero(look):
            reason = "never below 0, but near it"
    return (0.0, inf), reason


def _near_zero(look: Look) -> bool:
    return bool(look.kept.mean() < FAR_FROM_ZERO * look.kept.std())


def _groups(columns: Sequence[_Column], made: Proposal, model: int) -> Iterator[tuple[str, str]]:
    """Categories of few levels, each of which has rows enough for a model of its own."""
    least = max(ROWS_OF_GROUP, ROWS_OF_GROUP_COLUMN * model)
    for column in columns:
        levels = column.levels
        if column.name in made.categories and levels and not column.missing:
            fewest = min(levels.values())
            if len(levels) <= MOST_GROUPS and fewest >= least:
                yield column.name, f"{len(levels)} groups, the smallest of {fewest:,} rows"
