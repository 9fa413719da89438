"""`PatternSummary`: all that EM needs from the rows, one small block per missingness pattern.

Rows that show the same columns enter the Gaussian likelihood only through their number, mean and
scatter. A summary keeps them as *weighted rows* ``(c, z)``. A raw row is ``(1, x)``; many rows
become the rows of a triangular factor of their scatter, with ``c = 0``, and one row
``sqrt(n) * mean`` with ``c = sqrt(n)``. Sums of ``c (z - c mu)`` and ``(z - c mu)(z - c mu)^T``
over the weighted rows equal those over the original rows for every ``mu``. Adding summaries is
concatenating weighted rows, pattern by pattern, and condensing what has become too long (Chan,
Golub & LeVeque 1979).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.cells import Numbers
from em_impute.gaussian.stored import read_stored
from em_impute.gaussian.table import Table, default_names, listed, require_distinct, require_finite
from em_impute.gaussian.threads import one_blas_thread, spread

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FORMAT_VERSION = 1
# Rows are taken in chunks of at most so many rows and cells, which bounds the memory needed
# beyond the input: some 100 bytes per row and one per cell of a chunk; nine per cell where the
# rows of the input do not lie one behind the other.
CHUNK_ROWS, CHUNK_CELLS = 2**20, 2**26
# Rows of one pattern are gathered in blocks of so many, which fit the cache.
BLOCK_ROWS = 4096
# So many rows tell what a typical value of a column is.
TYPICAL_ROWS = 256
# A table of all patterns is quicker than hashing up to so many columns (a table of 2^16).
FEW_COLUMNS = 16
# The patterns of so many rows are packed at a time, which fits the cache.
PACKED_ROWS = 2**14
# Patterns of up to so many rows are condensed together, in stacks of about so many numbers.
STACKED_ROWS, STACKED_NUMBERS = 512, 2**17
# Parts into which the patterns of a chunk are dealt out to threads.
SHARES = 4
# A number that is larger has no square.
LARGEST_SQUARED = 1e150
# Below this pivot (in units of the column's own scatter) a Gram matrix has lost half the digits.
SMALLEST_PIVOT = 1e-6


class PatternSummary:
    """Counts, means and scatters of a table, by missingness pattern.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns, in the order of the arrays to come.

    Attributes
    ----------
    n_rows : int
        Rows seen, those with nothing observed included.
    patterns : ndarray of shape (n_patterns, n_columns), bool
        The distinct patterns, True where the cell is observed.
    counts : ndarray of shape (n_patterns,), int64
        Rows per pattern.

    Examples
    --------
    >>> import numpy as np
    >>> summary = PatternSummary.from_array(np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]]))
    >>> summary.n_rows, summary.counts.tolist()
    (3, [1, 2])
    >>> (summary + summary).n_rows
    6
    """

    def __init__(self, columns: Sequence[str]) -> None:
        if isinstance(columns, str):
            raise TypeError(f"Expected a list of columns' names, got the text {columns!r}.")
        self.columns = tuple(map(str, columns))
        require_distinct(self.columns)
        p = len(self.columns)
        self.patterns: Bools = np.zeros((0, p), dtype=bool)
        self.counts: Ints = np.zeros(0, dtype=np.int64)
        # Rows are kept relative to a value of their column: a large offset costs no digits, and
        # a constant column is exactly zero.
        self._shift: Floats = np.full(p, np.nan)
        self._rows: Floats = np.zeros((0, p))
        self._weights: Floats = np.zeros(0)
        self._pattern_of_row: Ints = np.zeros(0, dtype=np.int64)

    @classmethod
    def from_array(cls, X: Any, columns: Sequence[str] | None = None) -> Self:
        """Summarise a whole table.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_rows, n_columns)
            Numbers, as for `update`.
        columns : sequence of str, optional
            Names of the columns, by which those of a frame are found; by default the frame's own,
            or ``x0, x1, ...``.

        Raises
        ------
        ValueError
            If `X` is not two-dimensional, a column is not of numbers or has infinite cells, or it
            does not fit `columns`.
        """
        table = Table.of(X)
        names = table.names or default_names(table.values.shape[1])
        return cls(names if columns is None else columns)._add(table)

    def update(self, X: Any) -> Self:
        """Add rows, in place; returns the summary itself.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_rows, n_columns)
            Numbers; missing is what is NaN, None, NA or masked. The columns of a frame of pandas or
            polars, or of a table of Arrow, are found by name.

        Raises
        ------
        ValueError
            As `from_array` does; the summary is then as it was.
        """
        return self._add(Table.of(X))

    @one_blas_thread()
    def _add(self, table: Table) -> Self:
        X, before = table.in_order_of(self.columns), dict(vars(self))
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                for chunk in _chunks(X):
                    unset = np.isnan(self._shift)
                    self._shift = np.where(unset, _typical_values(chunk), self._shift)
                    self._absorb(*_summarised(chunk, self._shift))
        except _NotFinite:
            vars(self).update(before)
            require_finite(X, self.columns)
            raise ValueError(self._too_large(X)) from None
        except BaseException:
            vars(self).update(before)
            raise
        return self

    def _too_large(self, X: Numbers) -> str:
        largest = np.nanmax(np.abs(X), axis=0, initial=0.0)
        involved = np.flatnonzero(largest >= min(LARGEST_SQUARED, largest.max()))
        return too_large([self.columns[j] for j in involved])

    @one_blas_thread()
    def __add__(self, other: PatternSummary) -> PatternSummary:
        """Summary of the rows of both, exactly (to rounding)."""
        if not isinstance(other, PatternSummary):
            return NotImplemented
        if self.columns != other.columns:
            raise ValueError(
                "Only summaries of the same columns in the same order can be added, "
                f"got {list(self.columns)} and {list(other.columns)}."
            )
        total = PatternSummary(self.columns)
        total._shift = np.where(np.isnan(self._shift), other._shift, self._shift)
        for part in (self, other):
            moved = part._rows - np.outer(part._weights, np.nan_to_num(total._shift - part._shift))
            rows = np.where(part.patterns[part._pattern_of_row], moved, 0.0)
            total._absorb(part.patterns, part.counts, rows, part._weights, part._pattern_of_row)
        return total

    @property
    def n_rows(self) -> int:
        """Rows seen."""
        return int(self.counts.sum())

    @property
    def n_columns(self) -> int:
        """Columns of the table."""
        return len(self.columns)

    @property
    def observed_counts(self) -> Ints:
        """Observed cells per column, of shape (n_columns,)."""
        # As floating point, which BLAS adds up; whole numbers up to 2^53 stay exact.
        counts = self.counts.astype(np.float64) @ self.patterns.astype(np.float64)
        return counts.astype(np.int64)

    @property
    def observed_mean(self) -> Floats:
        """Mean of each column's observed cells, NaN where there is none."""
        return self.observed_moments()[0]

    @property
    def observed_sd(self) -> Floats:
        """Standard deviation (divisor n) of each column's observed cells, NaN where none."""
        return self.observed_moments()[1]

    @one_blas_thread()
    def observed_moments(self) -> tuple[Floats, Floats]:
        """`observed_mean` and `observed_sd`, in one pass over the summary."""
        counts = self.observed_counts
        n = np.where(counts > 0, counts, np.nan)
        mean = self._weights @ self._rows / n
        centred = np.multiply.outer(self._weights, -mean)
        centred += self._rows
        centred *= self.patterns[self._pattern_of_row]
        sd = np.sqrt(np.einsum("ij,ij->j", centred, centred) / n)
        return self._shift + mean, sd

    @property
    def pattern_means(self) -> Floats:
        """Mean of each pattern's rows, of shape (n_patterns, n_columns), NaN where missing."""
        sums = np.zeros(self.patterns.shape)
        np.add.at(sums, self._pattern_of_row, self._weights[:, None] * self._rows)
        means: Floats = np.where(self.patterns, self._shift + sums / self.counts[:, None], np.nan)
        return means

    @one_blas_thread()
    def means_of(self, patterns: Ints) -> Floats:
        """Mean of the rows of some patterns.

        Parameters
        ----------
        patterns : ndarray of shape (k,)
            Indices into `patterns`.

        Returns
        -------
        ndarray of shape (k, n_columns)
            NaN where missing.
        """
        starts, ends = (
            np.searchsorted(self._pattern_of_row, patterns, side) for side in ("left", "right")
        )
        means = np.full((len(patterns), self.n_columns), np.nan)
        for k, s in enumerate(patterns):
            mine, shown = slice(starts[k], ends[k]), self.patterns[s]
            centred = self._weights[mine] @ self._rows[mine] / self.counts[s]
            means[k, shown] = (self._shift + centred)[shown]
        return means

    @one_blas_thread()
    def pattern_scatter(self, pattern: int) -> Floats:
        """Scatter of one pattern's rows about their mean.

        Parameters
        ----------
        pattern : int
            Index into `patterns`.

        Returns
        -------
        ndarray of shape (n_columns, n_columns)
            ``sum (x - mean)(x - mean)^T``; zero in the rows and columns of missing cells.
        """
        mine = self._pattern_of_row == pattern
        rows, weights = self._rows[mine], self._weights[mine]
        centred = rows - np.outer(weights, weights @ rows / self.counts[pattern])
        scatter: Floats = centred.T @ centred
        return scatter

    def weighted_rows(self, centre: Floats, scale: Floats) -> tuple[Floats, Floats, Ints]:
        """Standardised weighted rows, sorted by pattern.

        Parameters
        ----------
        centre, scale : ndarray of shape (n_columns,)
            What becomes 0, and what becomes 1.

        Returns
        -------
        rows : ndarray of shape (n_weighted_rows, n_columns)
            ``z``, zero where missing.
        weights : ndarray of shape (n_weighted_rows,)
            ``c``.
        pattern_of_row : ndarray of shape (n_weighted_rows,), int64
            Index into `patterns`.
        """
        offset = np.nan_to_num(centre - self._shift)
        rows = np.multiply.outer(self._weights, -offset)
        rows += self._rows
        rows /= scale
        rows *= self.patterns[self._pattern_of_row]
        return rows, self._weights, self._pattern_of_row

    def save(self, path: str | Path) -> None:
        """Write the summary to a NumPy ``.npz`` file; `load` reads it back bit by bit."""
        with Path(path).open("wb") as file:
            np.savez(
                file,
                version=np.array(FORMAT_VERSION),
                columns=np.array(self.columns, dtype=str),
                patterns=self.patterns,
                counts=self.counts,
                shift=self._shift,
                rows=self._rows,
                weights=self._weights,
                pattern_of_row=self._pattern_of_row,
            )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a summary that `save` wrote.

        Raises
        ------
        ValueError
            If the file was written by a newer version, is no summary, or one that does not hold
            together.
        """
        stored = read_stored(path, FORMAT_VERSION)
        summary = cls(stored.columns)
        summary.patterns, summary.counts = stored.patterns, stored.counts
        summary._shift, summary._rows = stored.shift, stored.rows
        summary._weights, summary._pattern_of_row = stored.weights, stored.pattern_of_row
        return summary

    def __repr__(self) -> str:
        return (
            f"PatternSummary({self.n_rows} rows, {self.n_columns} columns, "
            f"{len(self.patterns)} patterns)"
        )

    def _absorb(
        self,
        patterns: Bools,
        counts: Ints,
        rows: Floats,
        weights: Floats,
        pattern_of_row: Ints,
    ) -> None:
        """Concatenate weighted rows that are relative to this summary's shift, and condense."""
        if not len(self.patterns):
            self.patterns, self.counts = patterns, counts
            self._rows, self._weights, self._pattern_of_row = rows, weights, pattern_of_row
            return
        merged, index = distinct_patterns(np.vstack([self.patterns, patterns]))
        all_counts = np.zeros(len(merged), dtype=np.int64)
        np.add.at(all_counts, index, np.concatenate([self.counts, counts]))
        owner = index[np.concatenate([self._pattern_of_row, pattern_of_row + len(self.patterns)])]
        order = np.argsort(owner, kind="stable")
        self.patterns, self.counts = merged, all_counts
        self._rows = np.vstack([self._rows, rows])[order]
        self._weights = np.concatenate([self._weights, weights])[order]
        self._pattern_of_row = owner[order]
        self._condense()

    def _condense(self) -> None:
        """Replace the rows of each pattern that has more than ``|O| + 1`` by so many."""
        lengths = np.bincount(self._pattern_of_row, minlength=len(self.patterns))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        too_long = np.flatnonzero(lengths > self.patterns.sum(axis=1) + 1)
        if not len(too_long):
            return
        keep = np.ones(len(self._rows), dtype=bool)
        for s in too_long:
            observed = np.flatnonzero(self.patterns[s])
            mine = slice(starts[s], starts[s + 1])
            short = slice(starts[s], starts[s] + len(observed) + 1)
            rows, weights = _condensed(
                self._rows[mine][:, observed], self._weights[mine], int(self.counts[s])
            )
            self._rows[short, observed] = rows
            self._weights[short] = weights
            keep[short.stop : mine.stop] = False
        self._rows, self._weights = self._rows[keep], self._weights[keep]
        self._pattern_of_row = self._pattern_of_row[keep]


class _NotFinite(Exception):
    """A chunk has an infinite cell, or one whose square is."""


def too_large(columns: Sequence[str]) -> str:
    """Say that the numbers of some columns cannot be squared."""
    return (
        f"The numbers in {listed(columns)} are so large that their squares, and so the variance, "
        "are beyond floating point. Divide the column by a power of ten, or see whether such a "
        "cell is meant to be missing."
    )


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


def _chunks(X: Numbers) -> Iterator[Numbers]:
    step = min(CHUNK_ROWS, max(1, CHUNK_CELLS // max(1, X.shape[1])))
    for start in range(0, len(X), step):
        chunk = X[start : start + step]
        # Rows are gathered again and again, which copies the whole of any other layout each time.
        yield chunk if chunk.flags.c_contiguous else chunk.copy()


def _typical_values(X: Numbers) -> Floats:
    """A typical value of each column's observed cells, NaN where there is none."""
    typical = np.full(X.shape[1], np.nan)
    for j in range(X.shape[1]):
        head = X[:TYPICAL_ROWS, j]
        values = head[~np.isnan(head)]
        if not len(values):
            values = X[~np.isnan(X[:, j]), j][:TYPICAL_ROWS]
        if len(values):
            typical[j] = _nearest_to_mean(values[:, None])[0]
    return typical


def _nearest_to_mean(rows: Numbers) -> Floats:
    """Of each column the value nearest to the mean.

    Differences to it are small, and exactly zero in a constant column.
    """
    nearest = np.abs(rows - rows.mean(axis=0)).argmin(axis=0)
    values: Floats = rows[nearest, np.arange(rows.shape[1])].astype(np.float64)
    return values


def _summarised(X: Numbers, shift: Floats) -> tuple[Bools, Ints, Floats, Floats, Ints]:
    """Patterns, counts, weighted rows relative to `shift`, weights and pattern of each row."""
    patterns, pattern_of_row = distinct_patterns(~np.isnan(X))
    counts = np.bincount(pattern_of_row, minlength=len(patterns))
    small = np.min_scalar_type(len(patterns))
    by_pattern = np.argsort(pattern_of_row.astype(small), kind="stable")
    starts = np.cumsum(counts) - counts
    long = counts > patterns.sum(axis=1) + 1
    lengths = np.where(long, patterns.sum(axis=1) + 1, counts)
    at = np.cumsum(lengths) - lengths
    rows, weights = np.zeros((lengths.sum(), X.shape[1])), np.ones(lengths.sum())
    owner = np.repeat(np.arange(len(patterns)), lengths)

    kept = by_pattern[np.repeat(~long, counts)]
    rows[~long[owner]] = np.where(patterns[pattern_of_row[kept]], X[kept] - shift, 0.0)

    def condense(members: Iterable[int]) -> None:
        for s in members:
            mine = by_pattern[starts[s] : starts[s] + counts[s]]
            here = slice(at[s], at[s] + lengths[s])
            shown = np.flatnonzero(patterns[s])
            rows[here, shown], weights[here] = _condensed_rows(X, mine, shown, shift)

    def condense_stack(members: Ints) -> None:
        n, shown = counts[members, None], np.nonzero(patterns[members])[1].reshape(len(members), -1)
        position = np.minimum(np.arange(n.max()), n - 1)
        condensed = _condensed_stack(
            X, by_pattern[starts[members, None] + position], n, shown, shift
        )
        if condensed is None:
            condense(members)
            return
        here = at[members, None] + np.arange(shown.shape[1] + 1)
        rows[here[:, :, None], shown[:, None, :]] = condensed
        weights[here] = np.where(np.arange(here.shape[1]) < shown.shape[1], 0.0, np.sqrt(n))

    stacked = np.where(long & (counts <= STACKED_ROWS), counts, 0)
    spread(condense_stack, list(_stacks(patterns.sum(axis=1), stacked)), X.size)
    longest = np.flatnonzero(long & (counts > STACKED_ROWS))
    by_size = longest[np.argsort(-counts[longest], kind="stable")]
    spread(condense, [by_size[i::SHARES] for i in range(SHARES)], X.size)
    if not np.isfinite(rows).all():
        raise _NotFinite
    return patterns, counts, rows, weights, owner


def _stacks(n_observed: Ints, counts: Ints) -> Iterator[Ints]:
    """Yield indices of patterns to be condensed together; those of count 0 are left out.

    They show equally many columns, and the shortest has half the rows of the longest or more.
    """
    for k in np.unique(n_observed[counts > 0]):
        members = np.flatnonzero((n_observed == k) & (counts > 0))
        size = np.ceil(np.log2(counts[members]))
        for one in np.unique(size):
            alike = members[size == one]
            step = max(1, STACKED_NUMBERS // int(2**one * max(k, 1)))
            for first in range(0, len(alike), step):
                yield alike[first : first + step]


def _condensed_stack(X: Numbers, which: Ints, n: Ints, shown: Ints, shift: Floats) -> Floats | None:
    """The weighted rows (s, k + 1, k) of patterns that show equally many columns.

    As `_condensed_rows` gives them one by one, which is for the caller to do where None is
    returned: a Gram matrix there has lost too many digits. Pattern `s` has rows ``which[s]`` of
    `X`, of which ``n[s]`` count, and columns ``shown[s]``.
    """
    rows = X[which[:, :, None], shown[:, None, :]].astype(np.float64, copy=False)
    rows -= shift[shown][:, None]
    filler = np.arange(rows.shape[1]) >= n
    rows[filler] = 0.0
    mean = rows.sum(axis=1) / n
    rows -= mean[:, None]
    rows[filler] = 0.0
    factor = _cholesky_factor(rows.transpose(0, 2, 1) @ rows)
    if factor is None:
        return None
    return np.concatenate([factor, (np.sqrt(n) * mean)[:, None]], axis=1)


def _condensed_rows(X: Numbers, mine: Ints, shown: Ints, shift: Floats) -> tuple[Floats, Floats]:
    """The weighted rows of one pattern: rows `mine` of `X`, columns `shown`; as `_condensed`."""
    n, k = len(mine), len(shown)

    def block(start: int) -> Floats:
        rows = X.take(mine[start : start + BLOCK_ROWS], axis=0)
        return (rows if k == X.shape[1] else rows[:, shown]).astype(np.float64, copy=False)

    centre = _nearest_to_mean(block(0)[:TYPICAL_ROWS])
    total, gram = np.zeros(k), np.zeros((k, k))
    for start in range(0, n, BLOCK_ROWS):
        centred = block(start) - centre
        total += centred.sum(axis=0)
        gram += centred.T @ centred
    mean = total / n
    factor = _cholesky_factor(gram - np.multiply.outer(total, mean))
    if factor is None:
        factor = _qr_factor(X[np.ix_(mine, shown)] - centre - mean)
    return _weighted(factor, centre - shift[shown] + mean, n)


def _condensed(rows: Floats, weights: Floats, n: int) -> tuple[Floats, Floats]:
    """The ``k + 1`` weighted rows, of width ``k``, that stand for these of one pattern."""
    mean = weights @ rows / n
    factor = _scatter_factor(rows - np.outer(weights, mean))
    return _weighted(factor, mean, n)


def _weighted(factor: Floats, mean: Floats, n: int) -> tuple[Floats, Floats]:
    """The weighted rows, and their weights, of a scatter's `factor` and a `mean` of `n` rows."""
    root = np.sqrt(n)
    weights = np.zeros(len(mean) + 1)
    weights[-1] = root
    return np.concatenate([factor, root * mean[None]]), weights


def _scatter_factor(centred: Floats) -> Floats:
    """Upper triangular ``F`` with ``F^T F = centred^T centred``."""
    factor = _cholesky_factor(centred.T @ centred)
    return _qr_factor(centred) if factor is None else factor


def _cholesky_factor(gram: Floats) -> Floats | None:
    """Upper triangular ``F`` with ``F^T F = gram``; None where half the digits would be lost.

    Of a stack of matrices, a stack of factors, or None where one of them would lose so much.
    """
    try:
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    sd = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    lost = np.diagonal(lower, axis1=-2, axis2=-1) <= SMALLEST_PIVOT * sd
    return None if lost.any() else np.asarray(np.swapaxes(lower, -1, -2))


def _qr_factor(centred: Floats) -> Floats:
    # Slower than the Gram matrix, but it does not square the condition number.
    return np.asarray(np.linalg.qr(centred, mode="r"))
