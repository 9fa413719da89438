"""A sample of a table's rows, for what cannot look at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SEED = 1973


def sample_rows(
    batches: Iterable[pa.RecordBatch], rows: int, size: int
) -> Iterator[pa.RecordBatch]:
    """Choose `size` rows of a table at random, or all of them if there are no more.

    The table is cut into `size` parts of as many rows each as can be, and one row of each is
    chosen, so that the sample is spread over the table and in its order. It depends on `rows` and
    `size` only: not on the batches, and not on what they hold.

    Parameters
    ----------
    batches : iterable of RecordBatch
        The table, in the order of its rows.
    rows : int
        How many there are in all.
    size : int

    Yields
    ------
    RecordBatch
        The chosen rows of each batch, copied: nothing else of the batch is kept alive.
    """
    chosen = spread_ranks(rows, min(rows, size), SEED)
    start = 0
    for batch in batches:
        first, last = np.searchsorted(chosen, [start, start + batch.num_rows])
        yield batch.take(pa.array(chosen[first:last] - start))
        start += batch.num_rows


def spread_ranks(n: int, size: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """Numbers below `n`, ascending: one at random out of each of `size` equal parts.

    Parameters
    ----------
    n, size : int
    seed : int or sequence of int
    """
    ends = np.arange(size + 1) * n // max(size, 1)
    return np.random.default_rng(seed).integers(ends[:-1], ends[1:])
