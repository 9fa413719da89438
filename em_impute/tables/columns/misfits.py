"""Cells that do not fit what the job says of their column, counted before the fit.

Of numbers, those outside of their transform's domain or their bounds; of a key, those that are
missing or tell no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.job.columns import Columns
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.row_keys import row_keys
from em_impute.tables.snapshot import Snapshot, is_missing, read_batches

SHOWN_ROWS = 3
KEYS = ("key {} in every row", "key {} unique")
"""What is expected of a key, with ``{}`` for its columns."""
# So many keys are compared at a time.
MOST_KEYS = 2**22


@dataclass(frozen=True)
class Misfits:
    """Cells of a column that are not as they should be.

    Attributes
    ----------
    column : str
    expected : str
        Where they should be, in words.
    cells : int
        How many are not.
    rows : tuple of int
        The first rows that hold one, counted from 1; none where rows have no numbers.
    stop : bool
        Whether the job must not go on.
    option : str
        What of the job's `columns` expects it.
    """

    column: str
    expected: str
    cells: int
    rows: tuple[int, ...]
    stop: bool
    option: str = field(default="key", compare=False)


def find_misfits(snapshot: Snapshot, roles: Roles, columns: Columns) -> tuple[Misfits, ...]:
    """Look for cells that do not fit, in one pass over some columns; of many keys, in some more.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    columns : Columns
        What the job says of them.
    """
    keys, tests = _Keys(roles.key, snapshot.rows), [_Test(one) for one in ranges(roles, columns)]
    names, rows = list(dict.fromkeys([*roles.key, *(test.range.column for test in tests)])), 0
    for batch in read_batches(snapshot.path, names) if names else ():
        keys.add(batch, rows)
        for test in tests:
            test.add(to_numbers(batch.column(test.range.column)), rows)
        rows += batch.num_rows
    keys.end_part()
    while keys.has_more:
        rows = 0
        for batch in read_batches(snapshot.path, roles.key):
            keys.add(batch, rows)
            rows += batch.num_rows
        keys.end_part()
    return (
        *keys.misfits(),
        *(test.range.misfits(test.cells, test.rows) for test in tests if test.cells),
    )


class _Keys:
    """Looks for rows without a key, or with that of an earlier row.

    The keys are compared in parts, a pass each, which bounds the memory.

    Parameters
    ----------
    key : tuple of str
    rows : int
        Of the table.
    """

    def __init__(self, key: tuple[str, ...], rows: int) -> None:
        self._key, self._part, self._parts = key, 0, rows // MOST_KEYS + 1 if key else 0
        self._without, self._again = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        self._words, self._rows = list[NDArray[np.uint64]](), list[NDArray[np.int64]]()

    @property
    def has_more(self) -> bool:
        """Whether there are parts that have not been compared."""
        return self._part < self._parts

    def add(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Look at the next rows."""
        if not self.has_more:
            return
        if not self._part:
            missing = np.any([is_missing(batch.column(name)) for name in self._key], 0)
            self._without.append(first_row + np.flatnonzero(missing))
        keys = row_keys(batch, self._key, first_row)
        mine = np.flatnonzero(keys % np.uint64(self._parts) == self._part)
        self._words.append(keys[mine])
        self._rows.append(mine + first_row)

    def end_part(self) -> None:
        """Compare the keys of a part, of which all rows have been looked at."""
        if self._words:
            words, rows = np.concatenate(self._words), np.concatenate(self._rows)
            order = np.argsort(words, kind="stable")
            self._again.append(rows[order][1:][np.diff(words[order]) == 0])
        self._words, self._rows, self._part = [], [], self._part + 1

    def misfits(self) -> Iterator[Misfits]:
        name = ", ".join(self._key)
        found = np.concatenate(self._without), np.sort(np.concatenate(self._again))
        for expected, at in zip(KEYS, found, strict=True):
            if len(at):
                first = tuple((at[:SHOWN_ROWS] + 1).tolist())
                yield Misfits(name, expected.format(name), len(at), first, stop=True)


@dataclass(frozen=True)
class Range:
    """Where every observed cell of a column should be.

    Attributes
    ----------
    column : str
    expected : str
        In words.
    low, high : float
    closed : bool
        Whether the ends are in it.
    stop : bool
        Whether the job must not go on with a cell outside.
    option : str
        What of the job's `columns` says so.
    """

    column: str
    expected: str
    low: float
    high: float
    closed: bool
    stop: bool
    option: str = "bounds"

    def outside(self, x: Floats) -> Bools:
        """Whether each value is not in it; NaN is."""
        if self.closed:
            return (x < self.low) | (x > self.high)
        return (x <= self.low) | (x >= self.high)

    def misfits(self, cells: int, rows: tuple[int, ...] = ()) -> Misfits:
        """So many cells that are outside, the first of them in these rows."""
        return Misfits(self.column, self.expected, cells, rows, self.stop, self.option)


def ranges(roles: Roles, columns: Columns) -> Iterator[Range]:
    """Yield where the columns of numbers should be: in their transforms' domains and bounds."""
    for number in roles.encodings:
        if isinstance(number, Numeric):
            yield from _ranges(number, columns)


def _ranges(number: Numeric, columns: Columns) -> Iterator[Range]:
    name, transform, low, high = number.column, number.transform, number.low, number.high
    if transform is not IDENTITY:
        words = f"{name} {transform.domain}, as {transform.name} needs it"
        ends = transform.low, transform.high
        yield Range(name, words, *ends, transform.closed, stop=True, option="transform")
    if (low, high) != (-inf, inf):
        stop = columns.bounds_violated == "stop"
        yield Range(name, f"observed {name} {_interval(low, high)}", low, high, True, stop)


@dataclass
class _Test:
    """A range, and the cells outside of it."""

    range: Range
    cells: int = 0
    rows: tuple[int, ...] = ()

    def add(self, x: Floats, rows_before: int) -> None:
        failed = np.flatnonzero(self.range.outside(x))
        self.cells += len(failed)
        self.rows += tuple((failed[: SHOWN_ROWS - len(self.rows)] + rows_before + 1).tolist())


def _interval(low: float, high: float) -> str:
    if high == inf:
        return f"at least {low:g}"
    return f"at most {high:g}" if low == -inf else f"between {low:g} and {high:g}"
