"""Regression coefficients for the missingness patterns of a table, as a table beside it.

They are computed here, where the patterns are known, and sent to the database: a row for each
pattern, to which the table's rows are joined. So the query that fills them grows with the square of
the columns, not with their third power as `sweep` does; and patterns that would be too many to be
held at once are filled in portions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.conditional import CHUNK_NUMBERS, regressions
from em_impute.gaussian.linalg import (
    is_singular,
    precision_if_accurate,
    runs_of,
    split_columns,
)
from em_impute.gaussian.threads import one_blas_thread
from em_impute.tables.sql.dialects import Dialect

# So many coefficients are sent at a time, in 16 MB.
MOST_SENT = 2**21


@dataclass(frozen=True, eq=False)
class Slopes:
    """The coefficients of some patterns, those that are next to each other as numbers.

    Attributes
    ----------
    correlation : ndarray of shape (p, p)
    imputed, spread : tuple of int
        The columns whose coefficients are needed, and those whose conditional sd is, too.
    patterns : ndarray of shape (n_patterns,), int64
        A bit for each column that they show, the first the lowest; ascending.
    among : str
        Condition that a row's pattern is among them; empty if all are.
    staging : str
        The table in which they are sent, in SQL.
    dialect : Dialect
    """

    correlation: Floats
    imputed: tuple[int, ...]
    spread: tuple[int, ...]
    patterns: Ints
    among: str
    staging: str
    dialect: Dialect

    @property
    def joined(self) -> str:
        """What follows the rows in a FROM; a pattern that is not there has no coefficients."""
        names = [
            "em_pattern",
            *(f"em_slopes{j}" for j in self.imputed),
            *(f"em_spread{j}" for j in self.spread),
        ]
        columns = ", ".join(f"c{i} AS {name}" for i, name in enumerate(names))
        table = f"(SELECT {columns} FROM {self.staging}) AS em_impute_slopes"
        where = f" WHERE {self.among}" if self.among else ""
        return f"LEFT JOIN {table} USING (em_pattern){where}"

    def expected(self, j: int, shown: Sequence[str]) -> str:
        """What is expected of a missing column j in sd, given those that are shown; in SQL.

        Parameters
        ----------
        j : int
        shown : sequence of str
            The cells of all columns in sd, 0 where missing.
        """
        return self.dialect.product(shown, f"em_slopes{j}")

    def sd(self, j: int) -> str:
        """The conditional sd of a missing column j, in sd."""
        return f"em_spread{j}"

    def portions(self) -> Iterator[Slopes]:
        """The same in as many portions as it takes, each with its patterns."""
        p = len(self.correlation)
        hidden = ~_seen(self.patterns, p)[:, list(self.imputed)]
        numbers = hidden.sum(axis=1).cumsum() * p
        inner = np.flatnonzero(np.diff(numbers // MOST_SENT)) + 1
        for start, end in pairwise([0, *inner.tolist(), len(numbers)]):
            # Together they are all numbers, so that a row is in one whatever its pattern is.
            ends = [f"em_pattern >= {self.patterns[start]}"] if start > 0 else []
            ends += [f"em_pattern < {self.patterns[end]}"] if end < len(numbers) else []
            patterns = self.patterns[start:end]
            yield replace(self, patterns=patterns, among=" AND ".join(ends))

    @one_blas_thread()
    def table(self) -> pa.Table:
        """The coefficients, NULL where a column is observed."""
        seen = _seen(self.patterns, len(self.correlation))
        hidden = ~seen[:, list(self.imputed)]
        # Column by column, as they are sent.
        at = np.full(seen.shape, -1)
        columns, rows = np.nonzero(hidden.T)
        at[rows, np.array(self.imputed, dtype=np.int64)[columns]] = np.arange(len(rows))
        values, sds = self._computed(seen, at, len(rows))
        ends = np.append(0, hidden.sum(axis=0).cumsum())
        parts = {j: slice(*ends[i : i + 2]) for i, j in enumerate(self.imputed)}
        sent: list[pa.Array] = [pa.array(self.patterns)]
        sent += [_lists(values[parts[j]], ~seen[:, j]) for j in self.imputed]
        sent += [_numbers(sds[parts[j]], ~seen[:, j]) for j in self.spread]
        return pa.table(sent, names=[f"c{i}" for i in range(len(sent))])

    def _computed(self, seen: Bools, at: Ints, cells: int) -> tuple[Floats, Floats]:
        """Coefficients (cells, p) of missing columns of patterns, and conditional sd (cells,).

        Parameters
        ----------
        seen : ndarray of shape (n_patterns, p), bool
        at : ndarray of shape (n_patterns, p), int64
            The number of each cell; -1 of those that are not needed.
        cells : int
        """
        p = len(self.correlation)
        values, sds = np.zeros((cells, p)), np.zeros(cells)
        if not cells:
            return values, sds
        singular, precision = is_singular(self.correlation), precision_if_accurate(self.correlation)
        missing = p - seen.sum(axis=1)
        for m in np.unique(missing[missing > 0]):
            for block in runs_of(np.flatnonzero(missing == m), CHUNK_NUMBERS // p**2):
                shown, hidden = split_columns(seen[block])
                slopes, residual_sd = regressions(
                    self.correlation, singular, shown, hidden, precision
                )
                s, k = np.nonzero(at[block[:, None], hidden] >= 0)
                cell = at[block[s], hidden[s, k]]
                values[cell[:, None], shown[s]] = slopes[s, :, k]
                sds[cell] = residual_sd[s, k]
        return values, sds


def _seen(patterns: Ints, p: int) -> Bools:
    seen: Bools = (patterns[:, None] >> np.arange(p)) & 1 == 1
    return seen


def _lists(values: Floats, there: Bools) -> pa.Array:
    """A list for each row that has one, from the rows of an array."""
    ends = np.append(0, there.cumsum()) * values.shape[1]
    offsets = pa.array(ends.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()), mask=pa.array(~there))


def _numbers(values: Floats, there: Bools) -> pa.Array:
    numbers = np.zeros(len(there))
    numbers[there] = values
    return pa.array(numbers, mask=~there)
