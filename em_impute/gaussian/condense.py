"""Weighted rows: the few rows that stand for all rows of a missingness pattern.

Rows that show the same columns enter the Gaussian likelihood only through their number, mean and
scatter. These are kept as *weighted rows* ``(c, z)``. A raw row is ``(1, x)``; many rows become
the rows of a triangular factor of their scatter, with ``c = 0``, and one row ``sqrt(n) * mean``
with ``c = sqrt(n)``. Sums of ``c (z - c mu)`` and ``(z - c mu)(z - c mu)^T`` over the weighted
rows equal those over the original rows for every ``mu``. Merging is concatenating weighted rows,
pattern by pattern, and condensing what has become too long (Chan, Golub & LeVeque 1979).
A row that counts ``w`` times is ``(sqrt(w), sqrt(w) x)``; `w` need not be a whole number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.cells import Numbers
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.threads import spread

# Rows of one pattern are gathered in blocks of so many, which fit the cache.
BLOCK_ROWS = 4096
# So many rows show what a typical value of a column is.
TYPICAL_ROWS = 256
# Patterns of up to so many rows are condensed together, in stacks of about so many numbers.
STACKED_ROWS, STACKED_NUMBERS = 512, 2**17
# Parts into which the patterns of a chunk are dealt out to threads.
SHARES = 4
# Below this pivot (in units of the column's own scatter) a Gram matrix has lost half the digits.
SMALLEST_PIVOT = 1e-6


class NotFinite(Exception):
    """A table has an infinite cell, or one whose square is."""


@dataclass(frozen=True, eq=False)
class Condensed:
    """Weighted rows in the order of their patterns, at most ``|O| + 1`` of each pattern.

    Attributes
    ----------
    patterns : ndarray of shape (n_patterns, n_columns), bool
        The distinct patterns, True where the cell is observed.
    counts : ndarray of shape (n_patterns,), int64
        Rows of the table that each pattern stands for.
    rows : ndarray of shape (n_weighted_rows, n_columns)
        ``z``, zero where missing.
    weights : ndarray of shape (n_weighted_rows,)
        ``c``.
    pattern_of_row : ndarray of shape (n_weighted_rows,), int64
        Index into `patterns`.
    masses : ndarray of shape (n_patterns,)
        How often the rows of each pattern count together: `counts`, unless rows have weights.
    """

    patterns: Bools
    counts: Ints
    rows: Floats
    weights: Floats
    pattern_of_row: Ints
    masses: Floats

    @classmethod
    def empty(cls, n_columns: int) -> Self:
        """No rows at all."""
        return cls(
            np.zeros((0, n_columns), dtype=bool),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, n_columns)),
            np.zeros(0),
            np.zeros(0, dtype=np.int64),
            np.zeros(0),
        )

    @classmethod
    def of(cls, X: Numbers, shift: Floats) -> Self:
        """The weighted rows of ``X - shift``.

        Raises
        ------
        NotFinite
            If a cell is infinite, or its square is.
        """
        patterns, pattern_of_row = distinct_patterns(~np.isnan(X))
        counts = np.bincount(pattern_of_row, minlength=len(patterns))
        # Sorting small integers is quicker.
        small = np.min_scalar_type(len(patterns))
        by_pattern = np.argsort(pattern_of_row.astype(small), kind="stable")
        long = counts > patterns.sum(axis=1) + 1
        lengths = np.where(long, patterns.sum(axis=1) + 1, counts)
        rows, weights = np.zeros((lengths.sum(), X.shape[1])), np.ones(lengths.sum())
        owner = np.repeat(np.arange(len(patterns)), lengths)
        kept = by_pattern[np.repeat(~long, counts)]
        rows[~long[owner]] = np.where(patterns[pattern_of_row[kept]], X[kept] - shift, 0.0)
        condensed = cls(patterns, counts, rows, weights, owner, counts.astype(np.float64))
        starts, at = np.cumsum(counts) - counts, np.cumsum(lengths) - lengths
        _Condensing(X, shift, by_pattern, starts, condensed, at).carry_out(long)
        if not np.isfinite(rows).all():
            raise NotFinite
        return condensed

    @classmethod
    def of_moments(cls, patterns: Bools, counts: Ints, means: Floats, scatters: Floats) -> Self:
        """The weighted rows of rows that were summed up elsewhere.

        Parameters
        ----------
        patterns : ndarray of shape (n_patterns, n_columns), bool
            Distinct ones.
        counts : ndarray of shape (n_patterns,), int64
        means : ndarray of shape (n_patterns, n_columns)
        scatters : ndarray of shape (n_patterns, n_columns, n_columns)
            Sums of the products of deviations from these means.
        """
        lengths = patterns.sum(axis=1) + 1
        rows, weights = np.zeros((lengths.sum(), patterns.shape[1])), np.zeros(lengths.sum())
        ends = np.cumsum(lengths)
        for s, shown in enumerate(map(np.flatnonzero, patterns)):
            here = slice(ends[s] - lengths[s], ends[s])
            factor = _moment_factor(scatters[s][np.ix_(shown, shown)])
            rows[here, shown], weights[here] = _weighted(factor, means[s, shown], int(counts[s]))
        owner = np.repeat(np.arange(len(patterns)), lengths)
        return cls(patterns, counts, rows, weights, owner, counts.astype(np.float64))

    def moved(self, by: Floats) -> Self:
        """The weighted rows of the same table less `by`; a copy only where that moves them."""
        if not by.any():
            return self
        moved = self.rows - np.outer(self.weights, by)
        rows = np.where(self.patterns[self.pattern_of_row], moved, 0.0)
        return replace(self, rows=rows)

    def weighted(self, weight: float) -> Self:
        """The weighted rows of the same table, each of whose rows counts `weight` times."""
        root = np.sqrt(weight)
        return replace(
            self, rows=root * self.rows, weights=root * self.weights, masses=weight * self.masses
        )

    @classmethod
    def together(cls, tables: Sequence[Self]) -> Self:
        """The weighted rows of one table or more, as of one."""
        tables = [table for table in tables if len(table.patterns)] or list(tables[:1])
        if len(tables) == 1:
            return tables[0]
        patterns, index = distinct_patterns(np.concatenate([t.patterns for t in tables]))
        counts, masses = np.zeros(len(patterns), dtype=np.int64), np.zeros(len(patterns))
        np.add.at(counts, index, np.concatenate([t.counts for t in tables]))
        np.add.at(masses, index, np.concatenate([t.masses for t in tables]))
        first = np.cumsum([0, *(len(t.patterns) for t in tables[:-1])])
        owner = index[
            np.concatenate([t.pattern_of_row + k for t, k in zip(tables, first, strict=True)])
        ]
        order = np.argsort(owner, kind="stable")
        rows = np.concatenate([t.rows for t in tables])[order]
        weights = np.concatenate([t.weights for t in tables])[order]
        return cls(patterns, counts, rows, weights, owner[order], masses)._shortened()

    def _shortened(self) -> Self:
        """At most ``|O| + 1`` rows of each pattern; the arrays of longer ones are overwritten."""
        lengths = np.bincount(self.pattern_of_row, minlength=len(self.patterns))
        n_observed, starts = self.patterns.sum(axis=1), np.cumsum(lengths) - lengths
        too_long = lengths > n_observed + 1
        if not too_long.any():
            return self
        for members in _stacks(n_observed, np.where(too_long, lengths, 0)):
            if not self._shorten_stack(members, starts, lengths):
                for s in members:
                    self._shorten_one(s, slice(starts[s], starts[s] + lengths[s]))
        place = np.arange(len(self.rows)) - starts[self.pattern_of_row]
        keep = place < (n_observed + 1)[self.pattern_of_row]
        return replace(
            self,
            rows=self.rows[keep],
            weights=self.weights[keep],
            pattern_of_row=self.pattern_of_row[keep],
        )

    def _shorten_one(self, s: int, mine: slice) -> None:
        shown = np.flatnonzero(self.patterns[s])
        short = slice(mine.start, mine.start + len(shown) + 1)
        self.rows[short, shown], self.weights[short] = _of_weighted_rows(
            self.rows[mine][:, shown], self.weights[mine], float(self.masses[s])
        )

    def _shorten_stack(self, members: Ints, starts: Ints, lengths: Ints) -> bool:
        """Shorten patterns that show equally many columns; False if digits would be lost."""
        shown = np.nonzero(self.patterns[members])[1].reshape(len(members), -1)
        n, first, k = lengths[members, None], starts[members, None], shown.shape[1]
        # Shorter patterns are filled up with their last row, which then does not count.
        which = first + np.minimum(np.arange(n.max()), n - 1)
        counts = np.arange(n.max()) < n
        rows = np.where(counts[:, :, None], self.rows[which[:, :, None], shown[:, None, :]], 0.0)
        weights = np.where(counts, self.weights[which], 0.0)[:, None, :]
        masses = self.masses[members, None, None]
        mean = weights @ rows / masses
        rows -= weights.transpose(0, 2, 1) * mean
        factor = _cholesky_factor(rows.transpose(0, 2, 1) @ rows)
        if factor is None:
            return False
        here = first + np.arange(k + 1)
        condensed = np.concatenate([factor, np.sqrt(masses) * mean], axis=1)
        self.rows[here[:, :, None], shown[:, None, :]] = condensed
        self.weights[here] = np.where(np.arange(k + 1) < k, 0.0, np.sqrt(masses[:, 0]))
        return True


def nearest_to_mean(rows: Numbers) -> Floats:
    """Of each column the value nearest to the mean.

    Differences to it are small, and exactly zero in a constant column.
    """
    nearest = np.abs(rows - rows.mean(axis=0)).argmin(axis=0)
    values: Floats = rows[nearest, np.arange(rows.shape[1])].astype(np.float64)
    return values


@dataclass(frozen=True, eq=False)
class _Condensing:
    """Rows of `X` less `shift` on the way `into` weighted rows.

    Those of pattern `s` are ``by_pattern[starts[s]:]``, as many as it has, and go to ``at[s]``.
    """

    X: Numbers
    shift: Floats
    by_pattern: Ints
    starts: Ints
    into: Condensed
    at: Ints

    def carry_out(self, long: Bools) -> None:
        """Condense the patterns that are too `long`, on several cores."""
        n_observed, counts = self.into.patterns.sum(axis=1), self.into.counts
        stacked = np.where(long & (counts <= STACKED_ROWS), counts, 0)
        spread(self._stack, list(_stacks(n_observed, stacked)), self.X.size)
        longest = np.flatnonzero(long & (counts > STACKED_ROWS))
        # Dealt out from the longest on, so that all threads end at about the same time.
        by_size = longest[np.argsort(-counts[longest], kind="stable")]
        spread(self._one_by_one, [by_size[i::SHARES] for i in range(SHARES)], self.X.size)

    def _one_by_one(self, members: Ints) -> None:
        for s in members:
            mine = self.by_pattern[self.starts[s] : self.starts[s] + self.into.counts[s]]
            shown = np.flatnonzero(self.into.patterns[s])
            here = slice(self.at[s], self.at[s] + len(shown) + 1)
            self.into.rows[here, shown], self.into.weights[here] = _of_rows(
                self.X, mine, shown, self.shift
            )

    def _stack(self, members: Ints) -> None:
        n, patterns = self.into.counts[members, None], self.into.patterns[members]
        shown = np.nonzero(patterns)[1].reshape(len(members), -1)
        # Shorter patterns are filled up with their last row, which then does not count.
        position = np.minimum(np.arange(n.max()), n - 1)
        which = self.by_pattern[self.starts[members, None] + position]
        condensed = _of_stack(self.X, which, n, shown, self.shift)
        if condensed is None:
            self._one_by_one(members)
            return
        here = self.at[members, None] + np.arange(shown.shape[1] + 1)
        self.into.rows[here[:, :, None], shown[:, None, :]] = condensed
        of_factor = np.arange(here.shape[1]) < shown.shape[1]
        self.into.weights[here] = np.where(of_factor, 0.0, np.sqrt(n))


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


def _of_stack(X: Numbers, which: Ints, n: Ints, shown: Ints, shift: Floats) -> Floats | None:
    """The weighted rows (s, k + 1, k) of patterns that show equally many columns.

    As `_of_rows` gives them one by one, which is for the caller to do where None is
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


def _of_rows(X: Numbers, mine: Ints, shown: Ints, shift: Floats) -> tuple[Floats, Floats]:
    """The weighted rows, and their weights, of one pattern: rows `mine` and columns `shown`."""
    n, k = len(mine), len(shown)

    def block(start: int) -> Floats:
        rows = X.take(mine[start : start + BLOCK_ROWS], axis=0)
        return (rows if k == X.shape[1] else rows[:, shown]).astype(np.float64, copy=False)

    centre = nearest_to_mean(block(0)[:TYPICAL_ROWS])
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


def _of_weighted_rows(rows: Floats, weights: Floats, n: float) -> tuple[Floats, Floats]:
    """The ``k + 1`` weighted rows, of width ``k``, that stand for these of one pattern."""
    mean = weights @ rows / n
    factor = _scatter_factor(rows - np.outer(weights, mean))
    return _weighted(factor, mean, n)


def _weighted(factor: Floats, mean: Floats, n: float) -> tuple[Floats, Floats]:
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


def _moment_factor(scatter: Floats) -> Floats:
    """``F`` with ``F^T F = scatter``, which has lost digits that nobody can bring back."""
    factor = _cholesky_factor(scatter)
    if factor is not None:
        return factor
    sd = np.sqrt(np.maximum(np.diagonal(scatter), 0.0))
    unit = np.where(sd > 0, sd, 1.0)
    eigenvalues, vectors = np.linalg.eigh(scatter / np.multiply.outer(unit, unit))
    return np.asarray(np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * vectors.T * sd)


def _qr_factor(centred: Floats) -> Floats:
    # Slower than the Gram matrix, but it does not square the condition number.
    return np.asarray(np.linalg.qr(centred, mode="r"))
