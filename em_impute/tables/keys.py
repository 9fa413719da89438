"""What tells the rows of a table apart, as one 64-bit number each: the key's columns, hashed.

Draws hang on these numbers, so they are the same for a row in any batch, order and process, and in
any version of the libraries: integers are taken as they are, floats by their bits, all else as
text, hashed by SipHash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pandas.util import hash_array

Words = NDArray[np.uint64]

# Odd, with no pattern in its bits (Steele, Lea & Flood 2014).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def row_keys(batch: pa.RecordBatch, key: Sequence[str], first_row: int) -> Words:
    """One number for each row.

    Parameters
    ----------
    batch : RecordBatch
    key : sequence of str
        The key's columns; if there are none, a row is told by its number.
    first_row : int
        Number of the batch's first row.

    Returns
    -------
    ndarray of shape (n_rows,), uint64
    """
    if not key:
        return np.arange(first_row, first_row + batch.num_rows, dtype=np.uint64)
    return reduce(_joined, (_words(batch.column(name)) for name in key))


def _joined(words: Words, others: Words) -> Words:
    """A number for each pair, in which both and their order count."""
    mixed = (words ^ (words >> np.uint64(32))) * _MULTIPLIER
    joined: Words = (mixed ^ (mixed >> np.uint64(29))) + others
    return joined


def _words(column: pa.Array) -> Words:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        integers = column.fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(integers.astype(np.uint64))
    if pa.types.is_floating(column.type):
        # Adding nothing makes the negative zero the other one.
        floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0
        return np.asarray(floats.view(np.uint64))
    texts = column.cast(pa.large_string()).to_numpy(zero_copy_only=False)
    return hash_array(texts, categorize=False)
