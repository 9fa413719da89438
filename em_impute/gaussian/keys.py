"""The keys of rows as one 64-bit number each, on which draws depend, wherever they are made.

Equal keys have equal numbers, however they are held: a whole number of any width, a float or a
Decimal; a date, a datetime of any zone or none (which is UTC) and any unit, if they are the same
instant; text; bytes; times of day; spans of time; and tuples, which are the columns of a composite
key. A key of one column is that column, so a tuple of one is what is in it. A boolean is 0 or 1.
The numbers are the same in every process and in any version of the libraries. The key of a
row without one is its number, from 0.

Whole numbers are themselves. All else is mixed by SplitMix64 (Steele, Lea & Flood 2014), with a
salt for its kind.
"""

from __future__ import annotations

import calendar
import numbers
from collections.abc import Hashable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from em_impute.gaussian.arrays import Ints

Words = NDArray[np.uint64]
Keys = Sequence[Hashable] | NDArray[Any]

NANOSECONDS = 10**9
DAY = 86_400
# Longer texts are hashed one by one.
LONGEST_TEXT = 256
# So many rows at a time fit the cache.
BLOCK_ROWS = 2**14
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def row_words(keys: Keys | None, n_rows: int) -> Words:
    """64 bits for each row.

    Parameters
    ----------
    keys : sequence of hashable, ndarray, or Series, Index or DataFrame, optional
        One for each row; the columns of a two-dimensional one make composite keys.
    n_rows : int

    Raises
    ------
    ValueError
        If there are not as many keys as rows, or one is missing.
    TypeError
        If a key is of a kind that has no stable value.
    """
    if keys is None:
        return np.arange(n_rows, dtype=np.uint64)
    if len(keys) != n_rows:
        raise ValueError(f"Expected one key for each of the {n_rows} rows, got {len(keys)}.")
    return words_of(keys)


def words_of(keys: Any) -> Words:
    """64 bits for each of some keys; parameters and errors as of `row_words`."""
    if hasattr(keys, "columns") and hasattr(keys, "iloc"):
        return joined(words_of(keys.iloc[:, j]) for j in range(keys.shape[1]))
    if getattr(getattr(keys, "dtype", None), "tz", None) is not None:
        keys = np.asarray(keys, dtype=f"datetime64[{keys.dtype.unit}]")
    if hasattr(keys, "__array__"):
        array = np.asarray(keys)
        if array.ndim == 2:
            return joined(words_of(column) for column in array.T)
        if array.dtype.kind in "biufmM":
            return _of_array(array)
        keys = array.tolist()
    return _of_list(list(keys))


def word_of(key: Hashable) -> np.uint64:
    """64 bits of one key, of any kind; alike keys have very different ones."""
    return np.uint64(mixed(words_of([key]))[0])


def joined(parts: Iterable[Words]) -> Words:
    """Numbers of composite keys, in which all parts and their order count."""
    return reduce(lambda words, others: mixed(words) + others, parts)


def whole_words(values: NDArray[Any]) -> Words:
    """Of integers of any width, or booleans: these themselves, modulo 2^64."""
    return values.astype(np.uint64)


def real_words(values: ArrayLike) -> Words:
    """Of floats, none of them missing; whole ones are integers."""
    # Adding nothing makes the negative zero the other one.
    floats = np.asarray(values, dtype=np.float64) + 0.0
    words = mixed(floats.view(np.uint64) ^ _FRACTION)
    whole = np.floor(floats) == floats
    small = whole & (np.abs(floats) < 2.0**63)
    words[small] = floats[small].astype(np.int64).view(np.uint64)
    for i in np.flatnonzero(whole & ~small & np.isfinite(floats)):
        words[i] = _whole_word(int(floats[i]))
    return words


def instant_words(ticks: Ints, per_second: int) -> Words:
    """Of points in time: `ticks` since 1970 in UTC, so many a second."""
    seconds, rest = np.divmod(ticks.astype(np.int64), per_second)
    nanoseconds = (rest * (NANOSECONDS // per_second)).astype(np.uint64)
    return mixed(mixed(seconds.astype(np.uint64) ^ _INSTANT) + nanoseconds)


def span_words(nanoseconds: Ints) -> Words:
    """Of spans of time."""
    return mixed(nanoseconds.astype(np.uint64) ^ _SPAN)


def clock_words(nanoseconds: Ints) -> Words:
    """Of times of day, since midnight."""
    return mixed(nanoseconds.astype(np.uint64) ^ _CLOCK)


def text_words(content: NDArray[np.uint8], ends: Ints) -> Words:
    """Of texts in UTF-8 that lie one behind the other.

    Parameters
    ----------
    content : ndarray of shape (n_bytes,), uint8
    ends : ndarray of shape (n + 1,), int64
        Where the first begins, and where each ends.
    """
    return _hashed(content, ends, _TEXT)


def bytes_words(content: NDArray[np.uint8], ends: Ints) -> Words:
    """Of bytes that lie one behind the other; parameters as of `text_words`."""
    return _hashed(content, ends, _BYTES)


def mixed(words: Words) -> Words:
    """SplitMix64: each bit of the argument changes each bit of the result half of the time."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    done: Words = z ^ (z >> np.uint64(31))
    return done


def _salt(kind: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(kind.encode(), digest_size=8).digest(), "big"))


_TEXT, _BYTES, _FRACTION, _INSTANT, _SPAN, _CLOCK, _LARGE, _MISSING = map(
    _salt, ("text", "bytes", "fraction", "instant", "span", "clock", "large number", "missing")
)
NO_KEY = _MISSING


def _of_array(array: NDArray[Any]) -> Words:
    if array.dtype.kind in "biu":
        return whole_words(array)
    missing = np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array)
    if missing.any():
        raise _missing(int(missing.argmax()))
    if array.dtype.kind == "f":
        return real_words(array)
    unit = np.datetime_data(array.dtype)[0]
    if array.dtype.kind == "m":
        return span_words(array.astype("timedelta64[ns]").astype(np.int64))
    # A unit of several is one of one, and days are seconds.
    unit = unit if unit in _PER_SECOND else "ns" if unit in ("ps", "fs", "as") else "s"
    ticks = array.astype(f"datetime64[{unit}]").astype(np.int64)
    return instant_words(ticks, _PER_SECOND[unit])


def _of_list(keys: list[Any]) -> Words:
    """Keys of Python's own kinds: all at once where they are of one kind."""
    if keys and all(isinstance(key, str) for key in keys):
        return text_words(*_laid_out([_encoded(key) for key in keys]))
    if keys and all(type(key) is tuple and len(key) == len(keys[0]) > 0 for key in keys):
        return joined(_of_list(list(part)) for part in zip(*keys, strict=True))
    words = np.empty(len(keys), dtype=np.uint64)
    for i, key in enumerate(keys):
        if _is_missing(key):
            raise _missing(i)
        words[i] = _word(key)
    return words


def _word(key: Any) -> np.uint64:
    if isinstance(key, tuple | list) and key:
        return np.uint64(joined(np.array([_word(part)]) for part in key)[0])
    if isinstance(key, str):
        return np.uint64(text_words(*_laid_out([_encoded(key)]))[0])
    if isinstance(key, bytes | UUID):
        content = key.bytes if isinstance(key, UUID) else key
        return np.uint64(bytes_words(*_laid_out([content]))[0])
    if isinstance(key, numbers.Integral | np.bool_):
        return _whole_word(int(key))
    if isinstance(key, Decimal):
        return _decimal_word(key)
    if isinstance(key, numbers.Real):
        return np.uint64(real_words([float(key)])[0])
    if (of_time := _time_words(key)) is not None:
        return np.uint64(of_time[0])
    raise TypeError(
        f"Keys must be numbers, text, dates or tuples of these, got {type(key).__name__}."
    )


def _whole_word(key: int) -> np.uint64:
    if -(2**63) <= key < 2**64:
        return np.uint64(key % 2**64)
    return np.uint64(_hashed(*_laid_out([str(key).encode()]), _LARGE)[0])


def _decimal_word(key: Decimal) -> np.uint64:
    """A float that is exactly as much is the same key."""
    if key == key.to_integral_value():
        return _whole_word(int(key))
    if Decimal(float(key)) == key:
        return np.uint64(real_words([float(key)])[0])
    return np.uint64(_hashed(*_laid_out([str(key.normalize()).encode()]), _FRACTION)[0])


def _time_words(key: Any) -> Words | None:
    if isinstance(key, np.datetime64 | np.timedelta64):
        return _of_array(np.array([key]))
    if isinstance(key, datetime):
        seconds = np.array([calendar.timegm(key.utctimetuple())])
        rest = key.microsecond * 1000 + getattr(key, "nanosecond", 0)
        return mixed(mixed(seconds.astype(np.uint64) ^ _INSTANT) + np.uint64(rest))
    if isinstance(key, date):
        return instant_words(np.array([key.toordinal() - date(1970, 1, 1).toordinal()]) * DAY, 1)
    if isinstance(key, time):
        seconds_of_day = (key.hour * 60 + key.minute) * 60 + key.second
        return clock_words(np.array([seconds_of_day * NANOSECONDS + key.microsecond * 1000]))
    if isinstance(key, timedelta):
        rest = key.microseconds * 1000 + getattr(key, "nanoseconds", 0)
        return span_words(np.array([(key.days * DAY + key.seconds) * NANOSECONDS + rest]))
    return None


def _is_missing(key: Any) -> bool:
    """None, NaN, NaT and pandas' NA; also as a part of a composite key."""
    if isinstance(key, tuple | list):
        return any(map(_is_missing, key))
    if key is None or type(key).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(key, np.datetime64 | np.timedelta64):
        return bool(np.isnat(key))
    return isinstance(key, numbers.Real | Decimal) and bool(key != key)


def _missing(row: int) -> ValueError:
    return ValueError(f"The key of row {row} (counted from 0) is missing. Every row needs one.")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _laid_out(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], Ints]:
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(b"".join(parts), dtype=np.uint8), ends


def _hashed(content: NDArray[np.uint8], ends: Ints, salt: np.uint64) -> Words:
    """Eight bytes after eight are mixed into a number that begins with the length."""
    starts, lengths = ends[:-1], np.diff(ends)
    words = mixed(lengths.astype(np.uint64) ^ salt)
    padded = np.concatenate([content, np.zeros(8, dtype=np.uint8)])
    # Eight bytes from anywhere on, the first the lowest.
    eights: Words = np.ndarray(len(content) + 1, "<u8", padded.data, strides=(1,))
    short = np.where(lengths <= LONGEST_TEXT, lengths, 0)
    for first in range(0, len(words), BLOCK_ROWS):
        left = first + np.flatnonzero(short[first : first + BLOCK_ROWS])
        done = 0
        while len(left):
            unread = short[left] - done
            shift = (8 * (8 - np.minimum(unread, 8))).astype(np.uint64)
            # What is behind a text belongs to the next one.
            eight = (eights[starts[left] + done] << shift) >> shift
            words[left] = mixed(words[left] ^ eight)
            done += 8
            left = left[unread > 8]
    for i in np.flatnonzero(lengths > LONGEST_TEXT):
        digest = blake2b(content[starts[i] : ends[i + 1]].tobytes(), digest_size=8).digest()
        words[i] = mixed(words[i : i + 1] ^ np.uint64(int.from_bytes(digest, "big")))[0]
    return words
