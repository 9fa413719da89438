"""A table that is summed up where it is: counts, means and scatters per missingness pattern.

A value near each column's mean is taken off first, so that a large offset costs no digits. One
`GROUP BY` sums the patterns up; of those that have no more rows than they show columns, the rows
are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
import pyarrow as pa

from em_impute.gaussian import PatternSummary
from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.databases.session import DatabaseError, Session
from em_impute.tables.sql.cells import pattern
from em_impute.tables.sql.dialects import Dialect, number
from em_impute.tables.summarise import sum_up

# A pattern is one bit for each column, in an integer of 64 bits.
MOST_COLUMNS = 63
# So many sums of patterns are held at a time, in 128 MB.
MOST_HELD = 2**24
# So many rows show what a typical value of a column is.
HEAD_ROWS = 10_000
# A query gives at most so many columns in PostgreSQL, less the pattern and its count.
MOST_SUMS = 1600
BATCH_ROWS = 2**16


@dataclass(frozen=True)
class Standing:
    """A table in a database, with the model's columns of its rows.

    Attributes
    ----------
    session : Session
    dialect : Dialect
    table : str
        In SQL.
    columns : tuple of str
        The names of the model's columns.
    cells : tuple of str
        What they are of a row, in SQL; NULL where missing.
    """

    session: Session
    dialect: Dialect
    table: str
    columns: tuple[str, ...]
    cells: tuple[str, ...]

    def summarise(self) -> tuple[PatternSummary, str]:
        """Sum the rows up in the database.

        Returns
        -------
        summary : PatternSummary
        note : str
            Why rows were read after all; empty if they were not.

        Raises
        ------
        DatabaseError
            If the database refuses a query, there are more columns than an integer has bits, or a
            cell is infinite.
        DatabaseLostError
        """
        if len(self.columns) > MOST_COLUMNS:
            raise DatabaseError(
                f"the model has {len(self.columns)} columns, and a database can tell the "
                f"missingness patterns of {MOST_COLUMNS} at most; leave out predictors"
            )
        origin = self._origin()
        each = len(self._sums)
        if 2 ** len(self.columns) * each > MOST_HELD:
            n = self._stream("count(*) AS em_rows", origin, "GROUP BY em_pattern")[0].to_numpy()
            if len(n) * each > min(MOST_HELD, n.sum() * len(self.columns)):
                return self._read(), (
                    f"The cells are missing in {len(n):,} patterns, too many to be summed up in "
                    "the database, so the rows were read."
                )
        return self._summed(origin), ""

    @cached_property
    def _centred(self) -> list[str]:
        return [f"em_x{d}" for d in range(len(self.columns))]

    @cached_property
    def _known(self) -> list[str]:
        """0 where missing, which is what the sums need, and quicker to add up than NULL."""
        return [f"em_known{d}" for d in range(len(self.columns))]

    def _origin(self) -> Floats:
        """A cell of each column that is near its mean, NaN of a column without cells.

        The median of the first rows: over N rows it is sqrt(N / HEAD_ROWS) sd from the mean at
        most, which costs less than the digits that a sum of N terms has lost.
        """
        median = "percentile_disc(0.5) WITHIN GROUP (ORDER BY {0})"
        origin = self._asked(median, f"{self._cells(None)} LIMIT {HEAD_ROWS}")
        if np.isnan(origin).any():
            anywhere = self._asked("min({0})", self._cells(None))
            origin = np.where(np.isnan(origin), anywhere, origin)
        self._check_finite(~np.isnan(origin)[None], origin[None])
        return origin

    def _asked(self, aggregate: str, cells: str) -> Floats:
        """An aggregate of each of the model's columns."""
        asked = ", ".join(map(aggregate.format, self._centred))
        rows = self.session.run(f"SELECT {asked} FROM (\n{cells}\n) AS em_impute_cells")
        return np.array(rows[0], dtype=np.float64)

    def _cells(self, origin: Floats | None) -> str:
        """A query for the model's columns, less a value of each."""
        less = [""] * len(self.cells)
        if origin is not None:
            less = [f" - {number(x)}" for x in np.nan_to_num(origin)]
        columns = ", ".join(
            f"{x}{y} AS {name}" for x, y, name in zip(self.cells, less, self._centred, strict=True)
        )
        return f"SELECT {columns} FROM {self.table}{self.dialect.fence}"

    def _stream(self, asked: str, origin: Floats, of: str) -> pa.Table:
        """What a query gives of the rows with their patterns."""
        seen = pattern([f"{x} IS NOT NULL" for x in self._centred])
        known = ", ".join(
            f"COALESCE({x}, 0) AS {y}" for x, y in zip(self._centred, self._known, strict=True)
        )
        rows = f"SELECT *, {seen} AS em_pattern, {known}\nFROM em_impute_cells{self.dialect.fence}"
        query = (
            f"WITH em_impute_cells AS NOT MATERIALIZED (\n{self._cells(origin)}\n),\n"
            f"em_impute_rows AS NOT MATERIALIZED (\n{rows}\n)\n"
            f"SELECT {asked}\nFROM em_impute_rows\n{of}"
        )
        schema, batches = self.session.stream(query, BATCH_ROWS)
        return pa.Table.from_batches(batches, schema)

    def _patterns(self, bits: Ints) -> Bools:
        shown: Bools = (bits[:, None] >> np.arange(len(self.columns))) & 1 == 1
        return shown

    @cached_property
    def _sums(self) -> list[str]:
        """What is asked of each pattern: sums, then the cross-products of the upper triangle."""
        pairs = combinations_with_replacement(self._known, 2)
        return [
            f"sum({x}) AS em_sum{i}"
            for i, x in enumerate([*self._known, *(f"{a} * {b}" for a, b in pairs)])
        ]

    def _summed(self, origin: Floats) -> PatternSummary:
        """The sums of patterns with many rows, and the rows of the others."""
        bits, n, sums = self._grouped(origin)
        rare = n <= self._patterns(bits).sum(axis=1) + 1
        summary = self._of_sums(origin, bits[~rare], n[~rare], sums[~rare])
        if not rare.any():
            return summary
        few = ", ".join(map(str, bits[rare].tolist()))
        rows = self._stream(", ".join(self._centred), origin, f"WHERE em_pattern IN ({few})")
        return summary.update(self._finite(rows) + np.nan_to_num(origin))

    def _grouped(self, origin: Floats) -> tuple[Ints, Ints, Floats]:
        """Each pattern's bits, rows and sums."""
        parts = [
            self._stream(
                ", ".join(["em_pattern", "count(*) AS em_rows", *self._sums[i : i + MOST_SUMS]]),
                origin,
                "GROUP BY em_pattern",
            ).sort_by("em_pattern")
            for i in range(0, len(self._sums), MOST_SUMS)
        ]
        numbers = [part.drop_columns(["em_pattern", "em_rows"]) for part in parts]
        bits, n = (parts[0][name].to_numpy() for name in ("em_pattern", "em_rows"))
        return bits, n, np.concatenate([*map(_matrix, numbers)], axis=1)

    def _of_sums(self, origin: Floats, bits: Ints, n: Ints, sums: Floats) -> PatternSummary:
        patterns, p = self._patterns(bits), len(self.columns)
        self._check_finite(patterns, sums[:, :p])
        means = sums[:, :p] / n[:, None]
        scatters = np.empty((len(n), p, p))
        for i, (a, b) in enumerate(combinations_with_replacement(range(p), 2), start=p):
            scatters[:, a, b] = scatters[:, b, a] = sums[:, i] - n * means[:, a] * means[:, b]
        return PatternSummary.from_moments(self.columns, origin, patterns, n, means, scatters)

    def _read(self) -> PatternSummary:
        """The summary of rows that are read."""
        _, batches = self.session.stream(self._cells(None), BATCH_ROWS)
        return sum_up(map(self._finite, batches), self.columns)

    def _finite(self, cells: pa.Table | pa.RecordBatch) -> Floats:
        X = _matrix(cells)
        self._check_finite(~np.isnan(X), X)
        return X

    def _check_finite(self, seen: Bools, numbers: Floats) -> None:
        infinite = (seen & ~np.isfinite(numbers)).any(axis=0)
        if infinite.any():
            name = self.columns[int(infinite.argmax())]
            raise DatabaseError(
                f"its column {name!r} has infinite cells; replace them, or leave the column out"
            )


def _matrix(cells: pa.Table | pa.RecordBatch) -> Floats:
    """Numbers, NaN where NULL, of shape (n_rows, n_columns)."""
    X = np.empty((cells.num_rows, cells.num_columns))
    for j, column in enumerate(cells.columns):
        X[:, j] = to_numbers(column)
    return X
