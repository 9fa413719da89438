"""Cells that do not fit what the job says of their column, counted before the fit.

Of numbers, those outside of their transform's domain or their bounds; of a key, those that are
missing or tell no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from em_impute.job.columns import Columns
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.row_keys import row_keys
from em_impute.tables.snapshot import Snapshot, is_missing, read_batches

SHOWN_ROWS = 3
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
        The first rows that hold one, counted from 1.
    stop : bool
        Whether the job must not go on.
    """

    column: str
    expected: str
    cells: int
    rows: tuple[int, ...]
    stop: bool


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
    for expected, at in ((f"key {name} in every row", without), (f"key {name} unique", again)):
        if len(at):
            first = tuple((at[:SHOWN_ROWS] + 1).tolist())
            yield Misfits(name, expected, len(at), first, stop=True)


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
    numbers = [e for e in roles.encodings if isinstance(e, Numeric) and _limited(e)]
    names = [number.column for number in numbers]
    tests = [test for number in numbers for test in _tests(number, columns)]
    rows = 0
    for batch in read_batches(snapshot.path, names) if names else ():
        for test in tests:
            test.add(to_numbers(batch.column(test.column)), rows)
        rows += batch.num_rows
    return tuple(test.misfits() for test in tests if test.cells)


def _limited(number: Numeric) -> bool:
    return number.transform is not IDENTITY or (number.low, number.high) != (-inf, inf)


@dataclass
class _Test:
    """A test that every observed cell of a column should pass, and those that have not."""

    column: str
    expected: str
    passes: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
    stop: bool
    cells: int = 0
    rows: tuple[int, ...] = ()

    def add(self, x: NDArray[np.float64], rows_before: int) -> None:
        failed = np.flatnonzero(~self.passes(x))
        self.cells += len(failed)
        self.rows += tuple((failed[: SHOWN_ROWS - len(self.rows)] + rows_before + 1).tolist())

    def misfits(self) -> Misfits:
        return Misfits(self.column, self.expected, self.cells, self.rows, self.stop)


def _tests(number: Numeric, columns: Columns) -> Iterator[_Test]:
    name, transform, low, high = number.column, number.transform, number.low, number.high
    if transform is not IDENTITY:
        words = f"{name} {transform.domain}, as {transform.name} needs it"
        yield _Test(name, words, transform.accepts, stop=True)
    if (low, high) != (-inf, inf):
        stop = columns.bounds_violated == "stop"
        yield _Test(
            name,
            f"observed {name} {_interval(low, high)}",
            lambda x: ~((x < low) | (x > high)),
            stop,
        )


def _interval(low: float, high: float) -> str:
    if high == inf:
        return f"at least {low:g}"
    return f"at most {high:g}" if low == -inf else f"between {low:g} and {high:g}"
