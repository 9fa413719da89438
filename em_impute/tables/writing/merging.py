"""The rows of a table that is there and those of a new one, put together: append and upsert."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.job import CannotRun, FileTarget
from em_impute.tables.reading.arrow_files import stream_file, unified
from em_impute.tables.reading.kinds import FORMAT_NAMES
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import Staged, TargetError

SHOWN_ROWS = 10

# A table that can be streamed more than once.
Streamed = Callable[[], Iterator[pa.RecordBatch]]


class MergeError(CannotRun):
    """The new table does not fit the one that is there."""


def merged(staged: Staged, target: FileTarget, old: Streamed) -> Iterator[pa.RecordBatch]:
    """The rows to publish, in their order.

    Parameters
    ----------
    staged : Staged
    target : FileTarget
        Whose mode says what becomes of the rows that are there.
    old : callable
        Gives these.

    Raises
    ------
    MergeError
        If a key is missing in a staged row, or stands in two.
    """

    def new() -> Iterator[pa.RecordBatch]:
        return stream_file(staged.path, staged.format)

    match target.mode:
        case "append":
            return append(old, new)
        case "upsert":
            return upsert(old, new, staged.key)
    return new()


def check_fits(target: FileTarget, columns: Callable[[], tuple[pa.Schema, pa.Schema]]) -> None:
    """Make sure that a table can be added to the one that is there.

    `columns` gives those that the target has, and those that it would have if it held the new
    table.

    Raises
    ------
    TargetError
        If the table that is there cannot be read.
    MergeError
        If it has other columns.
    """
    try:
        found, expected = columns()
    except (pa.ArrowException, csv.Error, SourceError, ValueError, TypeError, RecursionError):
        raise TargetError(
            f"The table at {target}, to which this run would add, cannot be read as "
            f"{FORMAT_NAMES[target.file_format]}; it was damaged or changed by another program. "
            "Bring it back, or publish with `mode: replace`."
        ) from None
    check_same_columns(found, expected, str(target))


def check_same_columns(old: pa.Schema, new: pa.Schema, target: str) -> None:
    """Make sure that two tables have the same columns, of the same types and in the same order.

    Parameters
    ----------
    old, new : Schema
    target : str
        As the message names it.

    Raises
    ------
    MergeError
        Naming the columns that differ.
    """
    differences = [
        *[f"it has {name!r}, which the new table does not have" for name in _without(old, new)],
        *[f"it has no {name!r}" for name in _without(new, old)],
        *[
            f"{field.name!r} is of type {old.field(field.name).type}, now {field.type}"
            for field in new
            if field.name in old.names and old.field(field.name).type != field.type
        ],
    ]
    if not differences and old.names != new.names:
        differences = ["its columns are in another order"]
    if differences:
        raise MergeError(
            f"The table at {target} has other columns than the new one: {'; '.join(differences)}. "
            "Publish it with `mode: replace`, or to another target."
        )


def _without(one: pa.Schema, other: pa.Schema) -> list[str]:
    return [name for name in one.names if name not in other.names]


def append(old: Streamed, new: Streamed) -> Iterator[pa.RecordBatch]:
    """Yield the old rows, then the new ones."""
    return unified(lambda: chain(old(), new()))


def upsert(old: Streamed, new: Streamed, key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the old rows whose key no new row has, then the new ones.

    Parameters
    ----------
    old, new : callable
        Give the rows of a table, as often as they are called.
    key : sequence of str
        Its columns.

    Raises
    ------
    MergeError
        If a key is missing in a new row, or stands in two.
    """
    keys = KeyIndex(key, new())
    return unified(lambda: chain(keys.others(old()), new()))


def check_keys(staged: Staged) -> KeyIndex:
    """The keys of a staged table; every row has one, and none has another one's.

    Raises
    ------
    MergeError
        If a key is missing in a row, or stands in two.
    """
    return KeyIndex(staged.key, stream_file(staged.path, staged.format))


class KeyIndex:
    """The keys of a new table, all of them in memory: what its rows replace.

    Parameters
    ----------
    names : sequence of str
        The key columns.
    batches : iterable of RecordBatch
        The new table.

    Raises
    ------
    MergeError
        If a key is missing in a row, or stands in two.
    """

    def __init__(self, names: Sequence[str], batches: Iterable[pa.RecordBatch]) -> None:
        self.names = list(names)
        table = pa.Table.from_batches([batch.select(self.names) for batch in batches])
        for name in self.names:
            rows = np.flatnonzero(_missing(table[name]))
            if len(rows):
                raise MergeError(
                    f"columns.key: {name!r} is missing in {_rows(rows)}; `mode: upsert` needs a "
                    "key in every row."
                )
        self.index = _index(table)
        if self.index.has_duplicates:
            rows = np.flatnonzero(self.index.duplicated(keep=False))
            raise MergeError(
                f"columns.key: {', '.join(map(repr, self.names))} is not unique, as in "
                f"{_rows(rows)}; `mode: upsert` needs a key that is in one row only."
            )

    def others(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows whose key is not among these; a missing key never is."""
        for batch in batches:
            keys = pa.Table.from_batches([batch.select(self.names)])
            complete = ~np.logical_or.reduce(list(map(_missing, keys.columns)))
            keep = ~complete
            keep[complete] = self.index.get_indexer(_index(keys.filter(complete))) < 0
            yield batch.filter(pa.array(keep))


def _missing(cells: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which cells tell no row: those that are null or NaN."""
    return np.asarray(pc.is_null(_decoded(cells), nan_is_null=True))


def _decoded(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells


def _index(keys: pa.Table) -> pd.Index:
    frame = pa.table(list(map(_decoded, keys.columns)), keys.column_names).to_pandas()
    return pd.Index(frame.iloc[:, 0]) if frame.shape[1] == 1 else pd.MultiIndex.from_frame(frame)


def _rows(positions: NDArray[np.intp]) -> str:
    shown = ", ".join(str(row + 1) for row in positions[:SHOWN_ROWS])
    many = len(positions) > 1
    more = ", ..." if len(positions) > SHOWN_ROWS else ""
    return f"row{'s' if many else ''} {shown}{more}"
