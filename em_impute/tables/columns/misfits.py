"""Cells that do not fit what the job says of their column, counted before the fit.

Of numbers, those outside of their transform's domain or their bounds; of a key, those that are
missing or tell no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

import numpy as np
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
    """Look for cells that do not fit, in a few passes over some columns.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    columns : Columns
        What the job says of them.
    """
    return (*_key_misfits(snapshot, roles.key), *_number_misfits(snapshot, roles, columns))


def _key_misfits(snapshot: Snapshot, key: tuple[str, ...]) -> Iterator[Misfits]:
    """Rows without a key, or with that of an earlier row."""
    if not key:
        return
    name, found, rows = ", ".join(key), [np.empty(0, dtype=np.int64)], 0
    for batch in read_batches(snapshot.path, key):
        found.append(rows + np.flatnonzero(np.any([*map(is_missing, batch.columns)], 0)))
        rows += batch.num_rows
    without, again = np.concatenate(found), _repeated(snapshot, key)
    for expected, at in zip(KEYS, (without, again), strict=True):
        if len(at):
            first = tuple((at[:SHOWN_ROWS] + 1).tolist())
            yield Misfits(name, expected.format(name), len(at), first, stop=True)


def _repeated(snapshot: Snapshot, key: tuple[str, ...]) -> NDArray[np.int64]:
    """Rows, from 0, with the key of an earlier row; found in parts, which bounds the memory."""
    parts, repeated = np.uint64(snapshot.rows // MOST_KEYS + 1), []
    for part in range(int(parts)):
        words, rows, start = [], [], 0
        for batch in read_batches(snapshot.path, key):
            keys = row_keys(batch, key, start)
            mine = np.flatnonzero(keys % parts == part)
            words.append(keys[mine])
            rows.append(mine + start)
            start += batch.num_rows
        if start:
            order = np.argsort(np.concatenate(words), kind="stable")
            same = np.diff(np.concatenate(words)[order]) == 0
            repeated.append(np.concatenate(rows)[order][1:][same])
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *repeated]))


def _number_misfits(snapshot: Snapshot, roles: Roles, columns: Columns) -> tuple[Misfits, ...]:
    """Cells outside of their transform's domain or their bounds."""
    tests = [_Test(one) for one in ranges(roles, columns)]
    names, rows = list(dict.fromkeys(test.range.column for test in tests)), 0
    for batch in read_batches(snapshot.path, names) if names else ():
        for test in tests:
            test.add(to_numbers(batch.column(test.range.column)), rows)
        rows += batch.num_rows
    return tuple(test.range.misfits(test.cells, test.rows) for test in tests if test.cells)


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
