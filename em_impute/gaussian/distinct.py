"""The distinct patterns of a table, and which of them each row has.

Up to 16 columns a pattern is a number below 2^16, and a table of all of them sorts the rows. Wider
patterns are words of 64 bits, which are hashed; equal hashes are compared bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Bools, Ints
from em_impute.gaussian.threads import spread

# A table of all patterns is quicker than hashing up to so many columns (a table of 2^16).
FEW_COLUMNS = 16
# The patterns of so many rows are packed at a time, which fits the cache.
PACKED_ROWS = 2**14


def distinct_patterns(observed: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a boolean matrix and, for each row, which of them it is.

    Rows are compared as packed bits, so no two patterns can be taken for the same. The patterns
    come in the order of their bits.
    """
    p = observed.shape[1]
    packed = _packed(observed)
    keys: NDArray[np.unsignedinteger[Any]]
    if p <= FEW_COLUMNS:
        keys, index = _distinct_codes(packed.view(">u2")[:, 0])
    else:
        # The bytes of a word in the order that makes its number compare like the bits.
        keys, index = _distinct_words(packed.view(">u8").astype(np.uint64))
    kept = keys.astype(">u2" if p <= FEW_COLUMNS else ">u8").view(np.uint8)
    shown = np.unpackbits(kept.reshape(len(keys), packed.shape[1]), axis=1)
    return shown[:, :p].astype(bool), index


def _packed(observed: Bools) -> NDArray[np.uint8]:
    """The bits of each row, filled up to 2 bytes or to a multiple of 8."""
    n, p = observed.shape
    width = 2 if p <= FEW_COLUMNS else 8 * -(-p // 64)
    packed = np.empty((n, width), dtype=np.uint8)

    def pack(start: int) -> None:
        # Whole rows are packed many times as fast as each by itself.
        rows = observed[start : start + PACKED_ROWS]
        filled_up = np.zeros((len(rows), 8 * width), dtype=bool)
        filled_up[:, :p] = rows
        packed[start : start + len(rows)] = np.packbits(filled_up).reshape(-1, width)

    spread(pack, range(0, n, PACKED_ROWS), observed.size)
    return packed


def _distinct_codes(codes: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], Ints]:
    """Distinct numbers, in order, and which of them each is, by a table of all of them."""
    native = codes.astype(np.uint16)
    present = np.flatnonzero(np.bincount(native))
    rank = np.zeros(2**16, dtype=np.int64)
    rank[present] = np.arange(len(present))
    return present.astype(np.uint16), rank.take(native)


def _distinct_words(words: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], Ints]:
    """Distinct rows of a matrix of words, in order, and which of them each row is.

    A hash puts each row into a drawer. Rows like the one that was put in last are done; the others
    (few, as long as there are more drawers than patterns) go into other drawers, or are sorted.
    """
    n, width = words.shape
    like, left = np.empty(n, dtype=np.int64), np.arange(n)
    bits = np.uint64(64 - min(max(int(n).bit_length() + 2, 8), 20))
    for multipliers in _MULTIPLIERS:
        mixed = (words[left] * multipliers[:width]).sum(axis=1, dtype=np.uint64)
        drawer = (mixed >> bits).astype(np.int64)
        last = np.zeros(2 ** int(64 - bits), dtype=np.int64)
        last[drawer] = left
        found = last[drawer]
        same = (words[found] == words[left]).all(axis=1)
        like[left[same]] = found[same]
        left = left[~same]
        if not len(left):
            break
    if len(left):
        _, first, index = np.unique(words[left], axis=0, return_index=True, return_inverse=True)
        like[left] = left[first][index.reshape(-1)]
    is_one = np.zeros(n, dtype=bool)
    is_one[like] = True
    ones = np.flatnonzero(is_one)
    order = np.lexsort(words[ones].T[::-1])
    rank = np.empty(n, dtype=np.int64)
    rank[ones[order]] = np.arange(len(ones))
    return words[ones[order]], rank[like]


# Odd numbers with no pattern in their bits, for each trial one for each word of 64 columns.
_MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=(3, 2**10), dtype=np.uint64) * 2 + 1
