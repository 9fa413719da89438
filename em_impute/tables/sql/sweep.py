"""Regression coefficients for every missingness pattern of a table, in plain SQL.

Sweeping the correlation matrix R on the columns O that a pattern shows leaves

    R_OO^-1 R_OM   where an observed and a missing column meet: their regression coefficient,
    R_MM - R_MO R_OO^-1 R_OM   among the missing columns: their conditional covariance

(Goodnight 1979). A step sweeps all patterns on one column, if they show it, so p steps serve
patterns that nobody has foreseen as well. They cost the patterns that the table has, not its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from em_impute.gaussian.arrays import Floats
from em_impute.tables.sql.dialects import DOUBLE, cast, number


@dataclass(frozen=True)
class Sweep:
    """The sweep of a correlation matrix on what each pattern shows.

    Attributes
    ----------
    correlation : ndarray of shape (p, p)
    imputed : frozenset of int
        The columns whose coefficients are needed; the others only predict.
    spread : frozenset of int
        Those of them whose conditional variance is needed, too.
    """

    correlation: Floats
    imputed: frozenset[int]
    spread: frozenset[int]

    def steps(self, patterns: str) -> Iterator[tuple[str, str]]:
        """Yield the tables of a WITH, each by its name; the last has the coefficients.

        Parameters
        ----------
        patterns : str
            A query for the patterns: ``em_pattern``, and ``em_seen0`` and so on, a truth value for
            each column.
        """
        p = len(self.correlation)
        seen = [f"em_seen{j}" for j in range(p)]
        start = [
            f"{cast(number(self.correlation[a, b]), DOUBLE)} AS {_entry(a, b)}"
            for a, b in self._needed(-1)
        ]
        factor = f"{_factor(0, number(self.correlation[0, 0]))}" if p else "NULL"
        columns = ["em_pattern", *seen, *start, f"{factor} AS em_factor"]
        yield "em_impute_sweep_0", _select(columns, f"({patterns}) AS em_patterns")
        for j in range(p):
            columns = ["em_pattern", *seen[j + 1 :], *self._swept(j)]
            yield f"em_impute_sweep_{j + 1}", _select(columns, f"em_impute_sweep_{j}")

    @property
    def name(self) -> str:
        """The table of the coefficients, by ``em_pattern``."""
        return f"em_impute_sweep_{len(self.correlation)}"

    @property
    def joined(self) -> str:
        """What follows the rows in a FROM."""
        return f"JOIN {self.name} USING (em_pattern)"

    def expected(self, j: int, shown: Sequence[str]) -> str:
        """What is expected of a missing column j in sd, given those that are shown; in SQL.

        Parameters
        ----------
        j : int
        shown : sequence of str
            The cells of all columns in sd, 0 where missing.
        """
        return " + ".join(f"{z} * {_entry(a, j)}" for a, z in enumerate(shown) if a != j) or "0"

    def sd(self, j: int) -> str:
        """The conditional sd of a missing column j, in sd."""
        return f"sqrt(GREATEST({_entry(j, j)}, 0))"

    def _needed(self, done: int) -> Iterator[tuple[int, int]]:
        """The entries of the upper triangle that later steps or the answer need.

        Two columns that only predict have no more to say to each other when both are swept.
        """
        p = len(self.correlation)
        for a in range(p):
            for b in range(a, p):
                wanted = self.spread if a == b else self.imputed
                if b > done or a in wanted or b in wanted:
                    yield a, b

    def _swept(self, j: int) -> Iterator[str]:
        """The entries after the sweep on column j."""
        for a, b in self._needed(j):
            if j in (a, b):
                swept = (
                    f"CASE WHEN em_seen{j} THEN {_entry(a, b)} * em_factor ELSE {_entry(a, b)} END"
                )
                yield _entry(a, b) if a == b else f"{swept} AS {_entry(a, b)}"
            else:
                yield f"{_eliminated(a, b, j)} AS {_entry(a, b)}"
        if j + 1 < len(self.correlation):
            yield f"{_factor(j + 1, _eliminated(j + 1, j + 1, j))} AS em_factor"


def _entry(a: int, b: int) -> str:
    """The column of an entry of the matrix, which is symmetric."""
    return f"em_{min(a, b)}_{max(a, b)}"


def _eliminated(a: int, b: int, j: int) -> str:
    return f"{_entry(a, b)} - {_entry(a, j)} * {_entry(b, j)} * em_factor"


def _factor(j: int, pivot: str) -> str:
    """One over the pivot; nothing where the column is missing, so that the step changes nothing."""
    return f"CASE WHEN em_seen{j} THEN 1 / ({pivot}) ELSE 0 END"


def _select(columns: Sequence[str], of: str) -> str:
    listed = ",\n    ".join(columns)
    return f"SELECT\n    {listed}\n  FROM {of}"
