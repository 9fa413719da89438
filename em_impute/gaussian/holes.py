"""Where the missing cells of a table are, and which rows are worked on together.

Found once, however many models then fill them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.linalg import runs_of


@dataclass(frozen=True, eq=False)
class Holes:
    """The missing cells of a table by the missingness pattern of their rows.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The table, row behind row; NaN where missing.
    rows, columns : ndarray of shape (n_missing,), int64
        Where the missing cells are, in row-major order.
    patterns : ndarray of shape (n_patterns, n_columns), bool
        The distinct patterns, True where observed; those that miss few cells come first.
    pattern_of_row : ndarray of shape (n_rows,), int64
        Index into `patterns`.
    by_pattern : ndarray of shape (n_rows,), int64
        The rows in the order of their patterns.
    ends : ndarray of shape (n_patterns + 1,), int64
        The rows of pattern `s` are ``by_pattern[ends[s] : ends[s + 1]]``.
    first : ndarray of shape (n_rows,), int64
        The number of the first missing cell of each row.
    """

    X: Floats
    rows: Ints
    columns: Ints
    patterns: Bools
    pattern_of_row: Ints
    by_pattern: Ints
    ends: Ints
    first: Ints

    @classmethod
    def of(cls, X: Floats) -> Self:
        """Find the holes of a matrix whose rows lie one behind the other."""
        missing = np.isnan(X)
        rows, columns = np.divmod(np.flatnonzero(missing), X.shape[1])
        patterns, pattern_of_row = distinct_patterns(~missing)
        n_missing = (~patterns).sum(axis=1)
        order = np.argsort(n_missing, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        pattern_of_row = rank[pattern_of_row]
        # Sorting small integers is quicker.
        small = pattern_of_row.astype(np.min_scalar_type(len(order)))
        lengths = n_missing[order][pattern_of_row]
        counts = np.bincount(pattern_of_row, minlength=len(order))
        return cls(
            X,
            rows,
            columns,
            patterns[order],
            pattern_of_row,
            by_pattern=np.argsort(small, kind="stable"),
            ends=np.concatenate([[0], np.cumsum(counts)]),
            first=np.cumsum(lengths) - lengths,
        )

    def among(self, columns: Ints) -> tuple[Self, Bools | slice]:
        """The holes in some of the columns, and which of the missing cells these are."""
        if len(columns) == self.X.shape[1]:
            return self, slice(None)
        return type(self).of(self.X.take(columns, axis=1)), np.isin(self.columns, columns)

    def blocks(self, length: int, first: int = 0) -> list[Ints]:
        """Runs of at most `length` patterns that miss equally many cells, but at least one.

        Parameters
        ----------
        length : int
        first : int, default 0
            The pattern to begin with.
        """
        n_missing = (~self.patterns).sum(axis=1)
        n_missing[:first] = 0
        return [
            block
            for m in np.unique(n_missing[n_missing > 0])
            for block in runs_of(np.flatnonzero(n_missing == m), length)
        ]

    def rows_of(self, block: Ints, length: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield the rows of a block of patterns, at most `length` of them at a time.

        Parameters
        ----------
        block : ndarray of shape (s,), int64
            One of `blocks`.
        length : int

        Yields
        ------
        rows : ndarray of shape (r,), int64
        which : ndarray of shape (r,), int64
            The place of each row's pattern in the block.
        cells : ndarray of shape (r, m), int64
            The numbers of each row's missing cells.
        """
        m = int((~self.patterns[block[0]]).sum())
        for rows in runs_of(
            self.by_pattern[self.ends[block[0]] : self.ends[block[-1] + 1]], length
        ):
            cells = self.first[rows][:, None] + np.arange(m)
            yield rows, self.pattern_of_row[rows] - block[0], cells

    def filled(self, cells: Floats) -> Floats:
        """A copy of the table with the missing cells, in row-major order, filled by these."""
        filled = self.X.copy(order="C")
        filled.reshape(-1)[self.rows * self.X.shape[1] + self.columns] = cells
        return filled
