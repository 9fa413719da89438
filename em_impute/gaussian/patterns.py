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

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FORMAT_VERSION = 1
# Rows are taken in chunks of about this many cells, which bounds the memory beyond the input.
CHUNK_CELLS = 2**22
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
        self.columns = tuple(columns)
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"Column names must differ from each other, got {list(self.columns)}.")
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
    def from_array(cls, X: ArrayLike, columns: Sequence[str] | None = None) -> Self:
        """Summarise a whole array.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_columns)
            Numbers, NaN where missing.
        columns : sequence of str, optional
            Names of the columns; ``x0, x1, ...`` by default.

        Raises
        ------
        ValueError
            If `X` is not two-dimensional, has infinite cells, or does not fit `columns`.
        """
        X = as_matrix(X)
        return cls(default_names(X.shape[1]) if columns is None else columns).update(X)

    def update(self, X: ArrayLike) -> Self:
        """Add rows, in place; returns the summary itself.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_columns)
            Numbers, NaN where missing.
        """
        X = as_matrix(X, n_columns=len(self.columns))
        for chunk in _chunks(X):
            observed = ~np.isnan(chunk)
            self._shift = np.where(np.isnan(self._shift), _first_values(chunk), self._shift)
            rows = np.where(observed, chunk - self._shift, 0.0)
            patterns, pattern_of_row = distinct_patterns(observed)
            self._absorb(
                patterns,
                np.bincount(pattern_of_row, minlength=len(patterns)),
                rows,
                np.ones(len(rows)),
                pattern_of_row,
            )
        return self

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
        return self.counts @ self.patterns.astype(np.int64)

    @property
    def observed_mean(self) -> Floats:
        """Mean of each column's observed cells, NaN where there is none."""
        return self._shift + self._observed_moments()[0]

    @property
    def observed_sd(self) -> Floats:
        """Standard deviation (divisor n) of each column's observed cells, NaN where none."""
        return self._observed_moments()[1]

    @property
    def pattern_means(self) -> Floats:
        """Mean of each pattern's rows, of shape (n_patterns, n_columns), NaN where missing."""
        sums = np.zeros(self.patterns.shape)
        np.add.at(sums, self._pattern_of_row, self._weights[:, None] * self._rows)
        means: Floats = np.where(self.patterns, self._shift + sums / self.counts[:, None], np.nan)
        return means

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
        rows = (self._rows - np.outer(self._weights, offset)) / scale
        rows[~self.patterns[self._pattern_of_row]] = 0.0
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
            If the file was written by a newer version, or is no summary.
        """
        with np.load(path, allow_pickle=False) as file:
            if "version" not in file or int(file["version"]) != FORMAT_VERSION:
                raise ValueError(
                    f"{path} is no pattern summary of format version {FORMAT_VERSION}."
                )
            summary = cls([str(name) for name in file["columns"]])
            summary.patterns, summary.counts = file["patterns"], file["counts"]
            summary._shift, summary._rows = file["shift"], file["rows"]
            summary._weights = file["weights"]
            summary._pattern_of_row = file["pattern_of_row"]
        return summary

    def __repr__(self) -> str:
        return (
            f"PatternSummary({self.n_rows} rows, {self.n_columns} columns, "
            f"{len(self.patterns)} patterns)"
        )

    def _observed_moments(self) -> tuple[Floats, Floats]:
        """Mean relative to the shift and sd of each column's observed cells."""
        n = np.where(self.observed_counts > 0, self.observed_counts, np.nan)
        mean = self._weights @ self._rows / n
        observed = self.patterns[self._pattern_of_row]
        centred = np.where(observed, self._rows - np.outer(self._weights, mean), 0.0)
        return mean, np.sqrt((centred**2).sum(axis=0) / n)

    def _absorb(
        self,
        patterns: Bools,
        counts: Ints,
        rows: Floats,
        weights: Floats,
        pattern_of_row: Ints,
    ) -> None:
        """Concatenate weighted rows that are relative to this summary's shift, and condense."""
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


def as_matrix(X: ArrayLike, n_columns: int | None = None) -> Floats:
    """`X` as a float64 matrix without infinities, or an error that says what is wrong."""
    matrix = np.asarray(X, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(
            f"Expected a two-dimensional array of rows and columns, got {matrix.ndim} dimension(s)."
        )
    if n_columns is not None and matrix.shape[1] != n_columns:
        raise ValueError(f"Expected {n_columns} columns, got {matrix.shape[1]}.")
    if np.isinf(matrix).any():
        row, column = np.argwhere(np.isinf(matrix))[0]
        raise ValueError(
            f"Infinite cells cannot be used: the first is in row {row}, column {column} "
            "(counted from 0). Replace them by NaN if they mean missing."
        )
    return matrix


def default_names(n_columns: int) -> tuple[str, ...]:
    """Names for the columns of an array that has none: ``x0, x1, ...``."""
    return tuple(f"x{j}" for j in range(n_columns))


def distinct_patterns(observed: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a boolean matrix and, for each row, which of them it is.

    Rows are compared as packed bits, so no two patterns can be taken for the same.
    """
    n, p = observed.shape
    packed = np.zeros((n, 8 * max(1, -(-p // 64))), dtype=np.uint8)
    packed[:, : -(-p // 8)] = np.packbits(observed, axis=1)
    words = packed.view(">u8")
    keys = words[:, 0] if words.shape[1] == 1 else words.view(f"V{packed.shape[1]}")[:, 0]
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return observed[first], index.astype(np.int64)


def _chunks(X: Floats) -> Iterator[Floats]:
    step = max(1, CHUNK_CELLS // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        yield X[start : start + step]


def _first_values(X: Floats) -> Floats:
    """The first observed value of each column, NaN where there is none."""
    first = np.argmin(np.isnan(X), axis=0)
    values: Floats = X[first, np.arange(X.shape[1])]
    return values


def _condensed(rows: Floats, weights: Floats, n: int) -> tuple[Floats, Floats]:
    """The ``k + 1`` weighted rows, of width ``k``, that stand for these of one pattern."""
    k = rows.shape[1]
    mean = weights @ rows / n
    factor = _scatter_factor(rows - np.outer(weights, mean))
    short = np.vstack([factor, np.sqrt(n) * mean])
    return short, np.append(np.zeros(k), np.sqrt(n))


def _scatter_factor(centred: Floats) -> Floats:
    """Upper triangular ``F`` with ``F^T F = centred^T centred``."""
    gram = centred.T @ centred
    scale = np.sqrt(np.diag(gram))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = gram / np.outer(scale, scale)
    try:
        lower: Floats = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        return _qr_factor(centred)
    if not np.diag(lower).min(initial=1.0) > SMALLEST_PIVOT:
        return _qr_factor(centred)
    upper: Floats = lower.T * scale
    return upper


def _qr_factor(centred: Floats) -> Floats:
    # Slower than the Gram matrix, but it does not square the condition number.
    return np.asarray(np.linalg.qr(centred, mode="r"))
