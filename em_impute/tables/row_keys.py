"""The keys of a table's rows, from Arrow's columns: what `em_impute.gaussian.keys` makes of them.

So a draw of a job is that of `GaussianModel.draw` with the same seed and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian.keys import (
    DAY,
    NANOSECONDS,
    NO_KEY,
    Words,
    bytes_words,
    clock_words,
    instant_words,
    joined,
    real_words,
    span_words,
    text_words,
    whole_words,
    words_of,
)

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def row_keys(batch: pa.RecordBatch, key: Sequence[str], first_row: int) -> Words:
    """One number for each row.

    Parameters
    ----------
    batch : RecordBatch
    key : sequence of str
        The key's columns; if there are none, a row is identified by its number.
    first_row : int
        Number of the batch's first row, from 0.

    Returns
    -------
    ndarray of shape (n_rows,), uint64
        Cells that are missing, which no key may have, all have the same.
    """
    if not key:
        return np.arange(first_row, first_row + batch.num_rows, dtype=np.uint64)
    return joined(_words(batch.column(name)) for name in key)


def _words(column: pa.Array) -> Words:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_floating(column.type):
        floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return _where(~np.isnan(floats), lambda shown: real_words(floats[shown]))
    if column.null_count:
        shown = column.is_valid().to_numpy(zero_copy_only=False)
        return _where(shown, lambda _: _of_kind(column.drop_null()))
    return _of_kind(column)


def _where(shown: NDArray[np.bool_], words: Callable[[NDArray[np.bool_]], Words]) -> Words:
    all_words = np.full(len(shown), NO_KEY)
    all_words[shown] = words(shown)
    return all_words


def _of_kind(column: pa.Array) -> Words:
    """The numbers of a column without missing cells."""
    kind, types = column.type, pa.types
    if types.is_integer(kind):
        return whole_words(column.to_numpy(zero_copy_only=False))
    if types.is_boolean(kind):
        return whole_words(column.cast(pa.uint8()).to_numpy())
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return text_words(*_laid_out(column.cast(pa.large_string())))
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return bytes_words(*_laid_out(column.cast(pa.large_binary())))
    if types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64)
        return instant_words(days * DAY, 1)
    if types.is_timestamp(kind):
        return instant_words(_ticks(column), _PER_SECOND[kind.unit])
    if types.is_time(kind):
        ticks = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_numpy()
        return clock_words(ticks.astype(np.int64) * (NANOSECONDS // _PER_SECOND[kind.unit]))
    if types.is_duration(kind):
        return span_words(_ticks(column) * (NANOSECONDS // _PER_SECOND[kind.unit]))
    if types.is_decimal(kind):
        return _of_decimals(column)
    return words_of(column.to_pylist())


def _ticks(column: pa.Array) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy())


def _of_decimals(column: pa.Array) -> Words:
    try:
        return whole_words(column.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid:  # fractions, or numbers of more than 64 bits
        return words_of(column.to_pylist())


def _laid_out(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of large strings, and where each of them ends."""
    _, ends, content = column.buffers()
    first = column.offset
    return (
        np.frombuffer(content or b"", dtype=np.uint8),
        np.frombuffer(ends, dtype=np.int64)[first : first + len(column) + 1],
    )
