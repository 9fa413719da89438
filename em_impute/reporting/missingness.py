"""Where cells are missing: the frequent patterns, and a map of all rows by pattern.

Everything is counted over distinct patterns, in whole arrays: a table may have as many patterns as
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints

MAX_PATTERNS = 25
MAX_PATTERN_COLUMNS = 40
MAP_LINES = 160
MAP_COLUMNS = 200
# What fewer rows share is close to a row of the data, and is not shown.
FEWEST_ROWS = 5
# Patterns are counted up in portions of so many, which bounds the memory that is needed.
PORTION = 2**16


class Counted(Protocol):
    """The distinct patterns of some columns, and how many rows have each, as a summary has them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    @property
    def patterns(self) -> Bools:
        """Of shape (n_patterns, n_columns), True where the cell is observed."""

    @property
    def counts(self) -> Ints:
        """Rows per pattern, of shape (n_patterns,)."""


@dataclass(frozen=True, eq=False)
class PatternCounts:
    """`Counted`, of columns as the table has them."""

    columns: tuple[str, ...]
    patterns: Bools
    counts: Ints


@dataclass(frozen=True)
class Pattern:
    """Rows in which the same columns are observed, and how many there are.

    `means` are those of the rows in each observed column of numbers, None elsewhere; it is empty
    where there are fewer than `FEWEST_ROWS` rows.
    """

    observed: tuple[bool, ...]
    count: int
    means: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Patterns:
    """The most frequent missingness patterns over the columns with the most missing cells.

    `rows` is ordered by count, `columns` by missing cells, both descending; the totals count
    what the table has, shown or not.
    """

    columns: tuple[str, ...]
    rows: tuple[Pattern, ...]
    total_columns: int
    total_patterns: int
    total_rows: int

    @property
    def share_shown(self) -> float:
        """Fraction of the table's rows that the shown patterns hold."""
        return sum(pattern.count for pattern in self.rows) / max(self.total_rows, 1)

    @property
    def with_means(self) -> tuple[Pattern, ...]:
        """The patterns whose means are known."""
        return tuple(pattern for pattern in self.rows if pattern.means)


@dataclass(frozen=True)
class MissingnessMap:
    """All rows by their patterns, as lines of a picture.

    Attributes
    ----------
    columns : tuple of str
        Those with missing cells, the most of them first.
    lines : tuple of str
        For each line a digit for each column, 1 where the cells are missing. Lines are the rows at
        equal steps through all of them, in the order of their patterns: each stands for as many.
    complete_columns : int
        Columns of the model that have no missing cell.
    total_columns : int
        Columns of the model, shown or not.
    total_rows : int
    """

    columns: tuple[str, ...]
    lines: tuple[str, ...]
    complete_columns: int
    total_columns: int
    total_rows: int

    @property
    def rows_a_line(self) -> float:
        """Rows of the table that a line stands for."""
        return self.total_rows / max(len(self.lines), 1)

    def missing(self) -> Bools:
        """Which cells are missing, of shape (n_lines, n_columns)."""
        digits = np.frombuffer("".join(self.lines).encode(), dtype=np.uint8)
        cells: Bools = digits.reshape(len(self.lines), len(self.columns)) == ord("1")
        return cells


@dataclass(frozen=True)
class McarTest:
    """A test of cells missing completely at random, or why there is none.

    Attributes
    ----------
    name : str
        Whose it is: "Little" or "Aleksić".
    statistic, p_value : float or None
        Chi-squared with `df` degrees of freedom, and its p-value; None where there is no test.
    df : int
    left_out : int
        Rows that are alone in their pattern and take no part.
    by_column, by_missing : tuple of (str, float)
        What columns contribute to the statistic by their values, and by their missing cells, the
        largest first.
    why_not : str
        Why the data allow no test, as a sentence; empty where they do.
    """

    name: Literal["Little", "Aleksić"]
    statistic: float | None = None
    df: int = 0
    p_value: float | None = None
    left_out: int = 0
    by_column: tuple[tuple[str, float], ...] = ()
    by_missing: tuple[tuple[str, float], ...] = ()
    why_not: str = ""


def missing_cells(counted: Counted) -> Ints:
    """Missing cells of each column, of shape (n_columns,)."""
    observed = np.zeros(len(counted.columns))
    for start in range(0, len(counted.counts), PORTION):
        portion = slice(start, start + PORTION)
        # As floating point, which BLAS adds up; whole numbers up to 2^53 stay exact.
        observed += counted.counts[portion].astype(float) @ counted.patterns[portion].astype(float)
    missing: Ints = counted.counts.sum() - observed.astype(np.int64)
    return missing


def most_frequent(counted: Counted, limit: int = MAX_PATTERNS) -> Ints:
    """The most frequent patterns, first those that miss less, as indices; at most `limit`."""
    counts = counted.counts
    least = np.partition(counts, -limit)[-limit] if len(counts) > limit else 0
    candidates = np.flatnonzero(counts >= least)
    lacking = (~counted.patterns[candidates]).sum(axis=1)
    order = np.lexsort((lacking, -counts[candidates]))
    shown: Ints = candidates[order][:limit]
    return shown


def describe_patterns(
    counted: Counted,
    *,
    means: Mapping[str, Floats] | None = None,
    max_patterns: int = MAX_PATTERNS,
    max_columns: int = MAX_PATTERN_COLUMNS,
) -> Patterns:
    """Pick the most frequent patterns and the columns with the most missing cells.

    Parameters
    ----------
    counted : PatternSummary or PatternCounts
    means : mapping of str to ndarray of shape (n_shown,), optional
        Of columns of numbers, the means of the rows of each pattern of `most_frequent`; NaN where
        it misses the column.
    max_patterns, max_columns : int
    """
    by_column = np.argsort(-missing_cells(counted), kind="stable")[:max_columns]
    by_count = most_frequent(counted, max_patterns)
    columns = tuple(counted.columns[j] for j in by_column)
    return Patterns(
        columns=columns,
        rows=tuple(
            Pattern(
                tuple(counted.patterns[i, by_column].tolist()),
                int(counted.counts[i]),
                _means(means, columns, k) if means and counted.counts[i] >= FEWEST_ROWS else (),
            )
            for k, i in enumerate(by_count)
        ),
        total_columns=len(counted.columns),
        total_patterns=len(counted.counts),
        total_rows=int(counted.counts.sum()),
    )


def describe_map(counted: Counted) -> MissingnessMap | None:
    """Lay the rows out by their patterns; None where no cell is missing."""
    missing = missing_cells(counted)
    columns = np.argsort(-missing, kind="stable")[: np.count_nonzero(missing)]
    shown = columns[:MAP_COLUMNS]
    if not len(shown):
        return None
    order = _by_bits(~counted.patterns[:, shown])
    ends = np.cumsum(counted.counts[order])
    rows = int(ends[-1])
    lines = min(MAP_LINES, rows)
    # The middle row of each of so many equal shares.
    at = np.searchsorted(ends, ((2 * np.arange(lines) + 1) * rows) // (2 * lines), side="right")
    return MissingnessMap(
        columns=tuple(counted.columns[j] for j in shown),
        lines=tuple(_digits(~counted.patterns[order[at]][:, shown])),
        complete_columns=len(missing) - len(columns),
        total_columns=len(missing),
        total_rows=rows,
    )


def _means(
    means: Mapping[str, Floats], columns: Iterable[str], pattern: int
) -> tuple[float | None, ...]:
    values = (float(means[name][pattern]) if name in means else np.nan for name in columns)
    return tuple(value if np.isfinite(value) else None for value in values)


def _by_bits(missing: Bools) -> Ints:
    """The order in which the rows of a matrix count up as binary numbers."""
    width = 8 * -(-missing.shape[1] // 64)
    packed = np.zeros((len(missing), width), dtype=np.uint8)
    bits = np.packbits(missing, axis=1)
    packed[:, : bits.shape[1]] = bits
    words = packed.view(">u8").astype(np.uint64)
    order: Ints = np.lexsort(words.T[::-1])
    return order


def _digits(missing: Bools) -> Iterable[str]:
    return (row.tobytes().decode() for row in np.where(missing, b"1", b"0"))
