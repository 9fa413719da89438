"""What the columns of a table look like: identifiers, times, shares, skewed amounts, constants.

The model takes every column of numbers for one that is spread about as a normal is. These are the
columns that are likely to mean something else. A hint may be wrong, so it changes nothing of what
is filled; but columns that go on from run to run (times, counters, identifiers) are no sign of
drift.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Floats
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.snapshot import Snapshot, read_batches, read_schema

Kind = Literal["constant", "time", "counter", "identifier", "code", "share", "skewed"]
MOVES_ON: tuple[Kind, ...] = ("time", "counter", "identifier")
"""What is another stretch of the same line in every table."""

# So many cells of a column are looked at; a longer one gives every k-th.
MOST_KEPT = 50_000
# Fewer cells than this look like anything, fewer than that have no shape; and so many whole numbers
# that differ look like identifiers.
FEWEST, FEWEST_OF_SHAPE, MANY = 10, 30, 1_000
# A scale of grades has no more values than this.
MOST_GRADES = 10
# Numbers that are given out one after another have their quartiles at most so far from the quarters
# of their range.
QUARTERS, UNEVEN = np.array([0.25, 0.5, 0.75]), 0.1
# From this skewness on a logarithm is worth a try, where it at least halves it.
SKEWED = 1.0
IDENTIFIER = re.compile(r"(?:^|[^a-z])(?:id|ids|key|nr|no|number|code|zip|zipcode|postcode)$", re.I)
CAMEL_IDENTIFIER = re.compile(r"[a-z0-9](?:Id|ID|Key|Nr|No)$")
YEAR = re.compile(r"(?:^|[^a-z])(?:year|yr|jahr)(?:[^a-z]|$)", re.I)
TIME = re.compile(r"time|date|epoch|stamp|_(?:at|ts)$|^ts$", re.I)
SHARE = re.compile(r"pct|percent|perc(?:[^a-z]|$)|share|ratio|proportion|humidity|%", re.I)
SECONDS, MILLISECONDS = (3e8, 4.2e9), (3e11, 4.2e12)


@dataclass(frozen=True)
class Hint:
    """What a column looks like.

    Attributes
    ----------
    column : str
    kind : str
    sentence : str
        What it is taken for, and what would change that.
    """

    column: str
    kind: Kind
    sentence: str


def find_hints(
    snapshot: Snapshot, roles: Roles, looks: Mapping[str, Look] | None = None
) -> tuple[Hint, ...]:
    """Tell what the columns of a table look like.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    looks : mapping of str to Look, optional
        What is seen of the columns of numbers; by default they are looked at, in one pass.
    """
    schema, looks = read_schema(snapshot.path), looks or look_at(snapshot, roles)
    return tuple(
        hint
        for name in roles.columns
        if (hint := hint_of(name, schema.field(name).type, roles, looks.get(name)))
    )


def columns_that_move_on(
    snapshot: Snapshot, roles: Roles, looks: Mapping[str, Look] | None = None
) -> tuple[str, ...]:
    """Columns of the model in which another table is expected to hold other cells.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    looks : mapping of str to Look, optional
        As `find_hints` takes them.
    """
    hints = {hint.column: hint.kind for hint in find_hints(snapshot, roles, looks)}
    return tuple(
        name
        for name in roles.model_columns
        if isinstance(roles.encoding(name), Instant) or hints.get(name) in MOVES_ON
    )


# --- One column --------------------------------------------------------------------------------


@dataclass
class Look:
    """What is seen of a column's observed numbers, which come in portions.

    Attributes
    ----------
    count : int
    low, high : float
    whole, rising, falling : bool
        Whether all are whole numbers, and whether each is above, or below, the one before.
    kept : ndarray
        All of them, or every `stride`-th beyond `MOST_KEPT`.
    """

    count: int = 0
    low: float = inf
    high: float = -inf
    whole: bool = True
    rising: bool = True
    falling: bool = True
    last: float | None = None
    kept: Floats = field(default_factory=lambda: np.empty(0))
    stride: int = 1

    def add(self, cells: Floats) -> None:
        """Take in the next cells, NaN where missing."""
        cells = cells[np.isfinite(cells)]
        if not cells.size:
            return
        self.kept = np.concatenate([self.kept, cells[-self.count % self.stride :: self.stride]])
        while len(self.kept) > MOST_KEPT:
            self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.low, self.high = min(self.low, cells.min()), max(self.high, cells.max())
        self.whole = self.whole and np.array_equal(cells, np.round(cells))
        if self.whole and (self.rising or self.falling):
            joined = cells if self.last is None else np.concatenate([[self.last], cells])
            steps = np.diff(joined)
            self.rising = self.rising and bool((steps > 0).all())
            self.falling = self.falling and bool((steps < 0).all())
        self.count, self.last = self.count + cells.size, float(cells[-1])

    @property
    def values(self) -> Floats:
        """The different ones of those that were kept."""
        return np.unique(self.kept)

    @property
    def differ(self) -> bool:
        """Whether no two of them are the same."""
        return len(self.values) == len(self.kept)

    @property
    def is_counter(self) -> bool:
        """Whether they number rows: whole numbers in a row, or all of a stretch in any order.

        Evenly, for a table may be sorted by an amount.
        """
        if not self.whole or self.count < FEWEST or not self.is_even:
            return False
        dense = self.count >= FEWEST_OF_SHAPE and self.high - self.low < 2 * self.count
        return self.rising or self.falling or (dense and self.differ)

    @property
    def is_even(self) -> bool:
        """Whether their quarters are about equally wide, as those of amounts hardly ever are."""
        width = self.high - self.low
        if not (self.count and 0 < width < inf):
            return False
        places = (np.quantile(self.kept, QUARTERS) - self.low) / width
        return bool(np.all(np.abs(places - QUARTERS) < UNEVEN))

    @property
    def skewness(self) -> float:
        """Third standardised moment of those that were kept; 0 where they do not vary."""
        return _skewness(self.kept)


def _skewness(x: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        z = (x - x.mean()) / x.std()
        skewness = float(np.mean(z**3))
    return skewness if np.isfinite(skewness) else 0.0


def numbers_of(roles: Roles) -> list[str]:
    """The columns of numbers in the model."""
    return [n for n in roles.model_columns if isinstance(roles.encoding(n), Numeric)]


class Looks:
    """Looks at columns of numbers."""

    def __init__(self, names: Sequence[str]) -> None:
        self.watched, self.found = names, {name: Look() for name in names}

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        for name, look in self.found.items():
            look.add(to_numbers(batch.column(name)))


def look_at(snapshot: Snapshot, roles: Roles) -> dict[str, Look]:
    """What is seen of each column of numbers in the model, in one pass."""
    looks = Looks(numbers_of(roles))
    for batch in read_batches(snapshot.path, looks.watched) if looks.watched else ():
        looks.add(batch)
    return looks.found


def hint_of(name: str, type_: pa.DataType, roles: Roles, look: Look | None) -> Hint | None:
    """What one column looks like.

    Parameters
    ----------
    name : str
    type_ : DataType
    roles : Roles
    look : Look or None
        None of a column that is not one of numbers.
    """
    if pa.types.is_temporal(type_):
        taken = (
            "taken as seconds since 1970"
            if name in roles.model_columns
            else "kept as is; name it in columns.predictors if the others hang on it"
        )
        return Hint(name, "time", f"{name} holds dates or times, {taken}.")
    if look is None or not look.count:
        return None
    encoding = roles.encoding(name)
    assert isinstance(encoding, Numeric)
    as_given = encoding.transform is IDENTITY and (encoding.low, encoding.high) == (-inf, inf)
    predicts = name in roles.predictors
    tests = (_constant, _time, _counter, _identifier, *((_share, _skewed) if as_given else ()))
    return next((hint for test in tests if (hint := test(name, look, predicts))), None)


def _taken(predicts: bool) -> str:
    return "taken for a predictor" if predicts else "taken for numbers to fill"


def _constant(name: str, look: Look, predicts: bool) -> Hint | None:
    if look.low < look.high:
        return None
    return Hint(
        name, "constant", f"{name} holds one value only, {_taken(predicts)}: it predicts nothing."
    )


def _time(name: str, look: Look, predicts: bool) -> Hint | None:
    what = _kind_of_time(name, look)
    if not what:
        return None
    return Hint(
        name,
        "time",
        f"{name} looks like {what}, {_taken(predicts)}; if it predicts nothing, name in "
        "columns.predictors what does.",
    )


def _kind_of_time(name: str, look: Look) -> str:
    if look.whole and look.low >= 19_000_101 and look.high <= 21_001_231:
        month, day = look.kept // 100 % 100, look.kept % 100
        if np.all((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)):
            return "dates written as whole numbers"
    if look.whole and YEAR.search(name) and look.low >= 1000 and look.high <= 3000:
        return "years"
    if TIME.search(name):
        for (low, high), unit in ((SECONDS, "seconds"), (MILLISECONDS, "milliseconds")):
            if low <= look.low and look.high <= high:
                return f"{unit} since 1970"
    return ""


def _counter(name: str, look: Look, predicts: bool) -> Hint | None:
    if not look.is_counter:
        return None
    return Hint(
        name, "counter", f"{name} seems to number the rows, {_taken(predicts)}; {_to_key(name)}"
    )


def _identifier(name: str, look: Look, predicts: bool) -> Hint | None:
    named = IDENTIFIER.search(name) or CAMEL_IDENTIFIER.search(name)
    if not look.whole or look.count < FEWEST:
        return None
    if look.differ and (named or (look.count >= MANY and look.is_even)):
        what = "looks like an identifier, of which no two are the same"
        return Hint(name, "identifier", f"{name} {what}, {_taken(predicts)}; {_to_key(name)}")
    if not named:
        return None
    return Hint(
        name,
        "code",
        f"{name} is named like an identifier or a code, {_taken(predicts)}; if its numbers only "
        "tell things apart, list it under categories, or name in columns.predictors what predicts.",
    )


def _to_key(name: str) -> str:
    return f"if so, write key: [{name}] under columns, or name in columns.predictors what predicts."


def _share(name: str, look: Look, predicts: bool) -> Hint | None:
    if look.count < FEWEST or look.low < 0 or len(look.values) <= 2:
        return None
    top = 1 if look.high <= 1 else 100
    certain = look.high <= 1 or SHARE.search(name) or (look.high == 100 and not look.whole)
    if look.high > top or not certain:
        return None
    what = "shares between 0 and 1" if top == 1 else "percentages"
    if predicts:
        return Hint(name, "share", f"{name} looks like {what}, {_taken(predicts)} as they are.")
    option = f"transform: {{{name}: {{logit: [0, {top}]}}}}"
    if look.low == 0 or look.high == top:
        option = f"bounds: {{{name}: [0, {top}]}}"
    return Hint(
        name,
        "share",
        f"{name} looks like {what}, and may be filled beyond their ends; write {option} under "
        "columns.",
    )


def _skewed(name: str, look: Look, _predicts: bool) -> Hint | None:
    if look.count < FEWEST_OF_SHAPE or look.low < 0 or len(look.values) <= MOST_GRADES:
        return None
    transform, logarithm = ("log", np.log) if look.low > 0 else ("log1p", np.log1p)
    skewness = look.skewness
    if skewness < SKEWED or abs(_skewness(logarithm(look.kept))) > skewness / 2:
        return None
    return Hint(
        name,
        "skewed",
        f"{name} is skewed (skewness {skewness:.1f}) and never below 0; try "
        f"transform: {{{name}: {transform}}} under columns.",
    )
