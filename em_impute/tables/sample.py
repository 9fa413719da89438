"""A sample of a table's rows, for what cannot look at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SEED = 1973


class RowSample:
    """Takes `size` rows of a table at random, or all of them if there are no more.

    The table is cut into `size` parts of as many rows each as can be, and one row of each is
    chosen, so that the sample is spread over the table and in its order. It depends on `rows` and
    `size` only: not on the batches, and not on what they hold.

    Parameters
    ----------
    rows : int
        How many there are in all.
    size : int
    """

    def __init__(self, rows: int, size: int) -> None:
        self._chosen, self._start = spread_ranks(rows, min(rows, size), SEED), 0

    def take(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the chosen rows of the next batch, copied: nothing else of it is kept alive."""
        start, end = self._start, self._start + batch.num_rows
        first, last = np.searchsorted(self._chosen, [start, end])
        self._start = end
        return batch.take(pa.array(self._chosen[first:last] - start))


def sample_rows(
    batches: Iterable[pa.RecordBatch], rows: int, size: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that a `RowSample` takes of each batch.

    Parameters
    ----------
    batches : iterable of RecordBatch
        The table, in the order of its rows.
    rows : int
        How many there are in all.
    size : int
    """
    sample = RowSample(rows, size)
    yield from map(sample.take, batches)


def spread_ranks(n: int, size: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """Numbers below `n`, ascending: one at random out of each of `size` equal parts.

    Parameters
    ----------
    n, size : int
    seed : int or sequence of int
    """
    ends = np.arange(size + 1) * n // max(size, 1)
    return np.random.default_rng(seed).integers(ends[:-1], ends[1:])
