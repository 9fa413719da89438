"""`PatternSummary`: all that EM needs from the rows, one small block per missingness pattern.

Which patterns there are is found in `distinct`; `condense` makes the few weighted rows that stand
for all rows of a pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.cells import Numbers
from em_impute.gaussian.condense import TYPICAL_ROWS, Condensed, NotFinite, nearest_to_mean
from em_impute.gaussian.distinct import distinct_patterns
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

    @classmethod
    @one_blas_thread()
    def from_moments(
        cls,
        columns: Sequence[str],
        origin: Floats,
        patterns: Bools,
        counts: Ints,
        means: Floats,
        scatters: Floats,
    ) -> Self:
        """Summary of rows that were summed up elsewhere, such as in a database.

        Half of the digits of what nearly determines each other are lost in a scatter, as they are
        in every matrix of cross-products; `from_array` keeps them.

        Parameters
        ----------
        columns : sequence of str
        origin : ndarray of shape (n_columns,)
            What the means are relative to: values near the columns' means, so that a large offset
            costs no digits. NaN for a column that no pattern shows.
        patterns : ndarray of shape (n_patterns, n_columns), bool
            The distinct patterns, True where the cell is observed.
        counts : ndarray of shape (n_patterns,), int64
            Rows per pattern.
        means : ndarray of shape (n_patterns, n_columns)
            Mean of each pattern's rows, less `origin`; of any value where missing.
        scatters : ndarray of shape (n_patterns, n_columns, n_columns)
            Sums of the products of deviations from the pattern's means; likewise.

        Raises
        ------
        ValueError
            If the shapes do not fit each other, a pattern comes twice or without a row, or a number
            that is used is not finite.
        """
        summary, (s, p) = cls(columns), np.shape(patterns)
        shapes = [np.shape(part) for part in (origin, counts, means, scatters)]
        if p != summary.n_columns or shapes != [(p,), (s,), (s, p), (s, p, p)]:
            raise ValueError(
                f"For {s} patterns of {summary.n_columns} columns the origin, counts, means and "
                f"scatters have the shapes {', '.join(map(str, shapes))}, which do not fit."
            )
        distinct, rank = distinct_patterns(patterns)
        if len(distinct) < s or (counts < 1).any():
            raise ValueError("Each pattern comes once, with a count of at least 1.")
        order = np.argsort(rank)
        with np.errstate(invalid="ignore"):
            condensed = Condensed.of_moments(distinct, counts[order], means[order], scatters[order])
        if not (
            np.isfinite(condensed.rows).all() and np.isfinite(origin[patterns.any(axis=0)]).all()
        ):
            raise ValueError("Origin, means and scatters must be finite where cells are observed.")
        summary._shift, summary._condensed = np.array(origin, dtype=np.float64), condensed
        return summary

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
                    condensed = Condensed.together([condensed, Condensed.of(chunk, shift)])
        except NotFinite:
            require_finite(X, self.columns)
            raise ValueError(self._too_large(X)) from None
        self._shift, self._condensed = shift, condensed
        return self

    def _too_large(self, X: Numbers) -> str:
        largest = np.nanmax(np.abs(X), axis=0, initial=0.0)
        involved = np.flatnonzero(largest >= min(LARGEST_SQUARED, largest.max()))
        return too_large([self.columns[j] for j in involved])

    def __add__(self, other: PatternSummary) -> PatternSummary:
        """Summary of the rows of both, exactly (to rounding)."""
        if not isinstance(other, PatternSummary):
            return NotImplemented
        return self.together([self, other])

    @classmethod
    @one_blas_thread()
    def together(cls, summaries: Sequence[PatternSummary]) -> Self:
        """Summary of the rows of one summary or more, as adding them gives it, in one pass.

        Raises
        ------
        ValueError
            If there is none, or they are of other columns.
        """
        if not summaries:
            raise ValueError("There is no summary to put together.")
        total = cls(summaries[0].columns)
        for one in summaries:
            if one.columns != total.columns:
                raise ValueError(
                    "Only summaries of the same columns in the same order can be added, "
                    f"got {list(total.columns)} and {list(one.columns)}."
                )
            total._shift = np.where(np.isnan(total._shift), one._shift, total._shift)
        total._condensed = Condensed.together(
            [one._condensed.moved(np.nan_to_num(total._shift - one._shift)) for one in summaries]
        )
        return total

    def weighted(self, weight: float) -> Self:
        """Summary of the same rows, each of which counts `weight` times in an estimate.

        A fit to it maximises the weighted log-likelihood, the sum over rows of
        ``w log N(x_O; mu_O, Sigma_OO)``. The rows and their number stay what they are.

        Parameters
        ----------
        weight : float
            Above 0; on top of the weights that the rows have already.

        Raises
        ------
        ValueError
            If it is not a number above 0.

        Examples
        --------
        >>> import numpy as np
        >>> old = PatternSummary.from_array(np.array([[1.0], [3.0]]))
        >>> new = PatternSummary.from_array(np.array([[8.0]]))
        >>> (old.weighted(0.25) + new).observed_mean.round(6).tolist()
        [6.0]
        """
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(f"A weight is a number above 0, got {weight!r}.")
        weighted = type(self)(self.columns)
        weighted._shift = self._shift
        weighted._condensed = self._condensed.weighted(float(weight))
        return weighted

    @property
    def patterns(self) -> Bools:
        """The distinct patterns, True where the cell is observed."""
        return self._condensed.patterns

    @property
    def counts(self) -> Ints:
        """Rows per pattern."""
        return self._condensed.counts

    @property
    def masses(self) -> Floats:
        """Sum of the weights of each pattern's rows; their number where rows have no weights."""
        return self._condensed.masses

    @property
    def is_weighted(self) -> bool:
        """Whether a row counts more or less than once."""
        return not np.array_equal(self.masses, self.counts)

    @property
    def n_rows(self) -> int:
        """Rows seen."""
        return int(self.counts.sum())

    @property
    def n_weighted_rows(self) -> int:
        """Weighted rows that stand for them."""
        return len(self._condensed.rows)

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
        masses = self.masses @ self.patterns.astype(np.float64)
        n = np.where(masses > 0, masses, np.nan)
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
            centred = condensed.weights[mine] @ condensed.rows[mine] / self.masses[s]
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
        with Path(path).open("wb") as file:
            write_stored(file, self.columns, self._shift, self._condensed)

    def to_bytes(self) -> bytes:
        """The summary as the bytes of the file that `save` writes, to be sent elsewhere."""
        file = BytesIO()
        write_stored(file, self.columns, self._shift, self._condensed)
        return file.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a summary that `save` wrote.

        Raises
        ------
        ValueError
            If the file was written by a newer version, is no summary, or one that does not hold
            together.
        """
        return cls._read(path, str(path))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The summary that `to_bytes` was called on, bit by bit; errors as of `load`."""
        return cls._read(BytesIO(content), "What was given")

    @classmethod
    def _read(cls, file: str | Path | BinaryIO, name: str) -> Self:
        columns, shift, condensed = read_stored(file, name)
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


def require_unweighted(summary: PatternSummary, what: str) -> None:
    """Raise a ValueError if rows have weights, of which `what` knows nothing."""
    if summary.is_weighted:
        raise ValueError(
            f"The rows have weights, which say how much a row counts and not how many rows there "
            f"are, so there is no {what}. Fit the rows without weights for that."
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
