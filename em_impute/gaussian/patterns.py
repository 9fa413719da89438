"""`PatternSummary`: all that EM needs from the rows, one small block per missingness pattern.

Which patterns there are is found in `distinct`; `condense` makes the few weighted rows that stand
for all rows of a pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.cells import Numbers
from em_impute.gaussian.condense import TYPICAL_ROWS, Condensed, NotFinite, nearest_to_mean
from em_impute.gaussian.stored import read_stored, write_stored
from em_impute.gaussian.table import Table, default_names, listed, require_distinct, require_finite
from em_impute.gaussian.threads import one_blas_thread

# Rows are taken in chunks of at most so many rows and cells, which bounds the memory needed
# beyond the input: some 100 bytes per row and one per cell of a chunk; nine per cell where the
# rows of the input do not lie one behind the other.
CHUNK_ROWS, CHUNK_CELLS = 2**20, 2**26
# A number that is larger has no square.
LARGEST_SQUARED = 1e150


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
            raise TypeError(f"Expected a list of column names, got the text {columns!r}.")
        self.columns = tuple(map(str, columns))
        require_distinct(self.columns)
        # Rows are kept relative to a value of their column: a large offset costs no digits, and
        # a constant column is exactly zero.
        self._shift: Floats = np.full(len(self.columns), np.nan)
        self._condensed = Condensed.empty(len(self.columns))

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
        X, shift, condensed = table.in_order_of(self.columns), self._shift, self._condensed
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                for chunk in _chunks(X):
                    shift = np.where(np.isnan(shift), _typical_values(chunk), shift)
                    condensed = condensed.merged(Condensed.of(chunk, shift))
        except NotFinite:
            require_finite(X, self.columns)
            raise ValueError(self._too_large(X)) from None
        self._shift, self._condensed = shift, condensed
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
        mine, theirs = (
            one._condensed.moved(np.nan_to_num(total._shift - one._shift)) for one in (self, other)
        )
        total._condensed = mine.merged(theirs)
        return total

    @property
    def patterns(self) -> Bools:
        """The distinct patterns, True where the cell is observed."""
        return self._condensed.patterns

    @property
    def counts(self) -> Ints:
        """Rows per pattern."""
        return self._condensed.counts

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
        weights, rows = self._condensed.weights, self._condensed.rows
        mean = weights @ rows / n
        centred = np.multiply.outer(weights, -mean)
        centred += rows
        centred *= self.patterns[self._condensed.pattern_of_row]
        sd = np.sqrt(np.einsum("ij,ij->j", centred, centred) / n)
        return self._shift + mean, sd

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
        condensed = self._condensed
        starts, ends = (
            np.searchsorted(condensed.pattern_of_row, patterns, side) for side in ("left", "right")
        )
        means = np.full((len(patterns), self.n_columns), np.nan)
        for k, s in enumerate(patterns):
            mine, shown = slice(starts[k], ends[k]), self.patterns[s]
            centred = condensed.weights[mine] @ condensed.rows[mine] / self.counts[s]
            means[k, shown] = (self._shift + centred)[shown]
        return means

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
        condensed = self._condensed
        # In place: at a million rows each further copy is a second table.
        rows = np.multiply.outer(condensed.weights, -offset)
        rows += condensed.rows
        rows /= scale
        rows *= self.patterns[condensed.pattern_of_row]
        return rows, condensed.weights, condensed.pattern_of_row

    def save(self, path: str | Path) -> None:
        """Write the summary to a NumPy ``.npz`` file; `load` reads it back bit by bit."""
        write_stored(path, self.columns, self._shift, self._condensed)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a summary that `save` wrote.

        Raises
        ------
        ValueError
            If the file was written by a newer version, is no summary, or one that does not hold
            together.
        """
        columns, shift, condensed = read_stored(path)
        summary = cls(columns)
        summary._shift, summary._condensed = shift, condensed
        return summary

    def __repr__(self) -> str:
        return (
            f"PatternSummary({self.n_rows} rows, {self.n_columns} columns, "
            f"{len(self.patterns)} patterns)"
        )


def too_large(columns: Sequence[str]) -> str:
    """Say that the numbers of some columns cannot be squared."""
    return (
        f"The numbers in {listed(columns)} are so large that their squares, and so the variance, "
        "are beyond floating point. Divide the column by a power of ten, or see whether such a "
        "cell is meant to be missing."
    )


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
            typical[j] = nearest_to_mean(values[:, None])[0]
    return typical
