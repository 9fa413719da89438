"""A model as one SELECT, which gives a table with its missing cells filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.delta import shifts
from em_impute.gaussian.linalg import correlation_of_varying, is_singular
from em_impute.job import MASK, Job
from em_impute.job.legible import legible
from em_impute.tables.columns.roles import Roles
from em_impute.tables.databases.session import quoted
from em_impute.tables.sql.cells import Cells, named_blanks, pattern
from em_impute.tables.sql.dialects import DOUBLE, Dialect, cast, number
from em_impute.tables.sql.expected import Expected
from em_impute.tables.sql.slopes import Slopes
from em_impute.tables.sql.sweep import Sweep

# The size of the query grows with the third power of the model's columns: 2 MB here.
MOST_COLUMNS = 40


@dataclass(frozen=True, eq=False)
class Filled:
    """A table with its missing cells filled by a model, as a query.

    Every imputed column is what it was where it is observed, and the expected value given what its
    row shows elsewhere: what `em_impute.tables.fill` writes with ``method: mean``.

    Attributes
    ----------
    model : GaussianModel
        Of ``roles.dimensions``.
    roles : Roles
    schema : Schema
        Of the table that the model was fitted to.
    blanks : mapping of str to tuple of str
        What stands for a missing cell in a column, besides NULL and NaN.
    delta : mapping of str to float
        By how many sd the cells of a column are shifted.
    """

    model: GaussianModel
    roles: Roles
    schema: pa.Schema
    blanks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    delta: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def by(cls, job: Job, model: GaussianModel, roles: Roles, schema: pa.Schema) -> Filled:
        """As a job fills its table.

        Parameters
        ----------
        job : Job
        model : GaussianModel
        roles : Roles
        schema : Schema
            Of the table as it was read.
        """
        blanks = named_blanks(job)
        named = {name: blanks.named(name) for name in roles.model_columns}
        return cls(model, roles, schema, named, job.imputation.delta)

    def select(self, table: str, dialect: Dialect, slopes: Slopes | None = None) -> str:
        """The query.

        Parameters
        ----------
        table : str
            The table in SQL, which has the columns of the model's table.
        dialect : Dialect
        slopes : Slopes, optional
            Coefficients that are in the database; by default the query computes them itself.
        """
        levels = list(self._levels(table, dialect, slopes))
        written = ",\n".join(
            f"-- {why}\n{name} AS {kind} (\n  {query}\n)" for name, kind, query, why in levels
        )
        columns = ",\n  ".join(self._columns(dialect))
        return f"WITH\n{written}\nSELECT\n  {columns}\nFROM {levels[-1][0]}\n"

    @property
    def marked(self) -> Filled:
        """The same with the column that tells the filled cells."""
        return replace(self, roles=replace(self.roles, mask=True))

    @property
    def missing(self) -> dict[str, str]:
        """For each imputed column the condition that its cell in a row of the table is missing."""
        cells = ((name, self._cells[name]) for name in self.roles.impute)
        return {name: one.missing(one.encoded[0]) for name, one in cells}

    def patterns(self, table: str) -> str:
        """A query for the patterns of a table, ``em_pattern``: which columns a row shows."""
        seen = [f"{self._encoded[d]} IS NOT NULL" for d in self._varying]
        return f"SELECT DISTINCT {pattern(seen)} AS em_pattern FROM {table}"

    def slopes(self, patterns: Ints, staging: str, dialect: Dialect) -> Slopes:
        """The coefficients of a table's patterns, for a table of their own.

        Parameters
        ----------
        patterns : ndarray of int64
        staging : str
            Where they will be, in SQL.
        dialect : Dialect
        """
        sweep = self._sweep
        return Slopes(
            sweep.correlation,
            tuple(sorted(sweep.imputed)),
            tuple(sorted(sweep.spread)),
            np.sort(patterns),
            "",
            staging,
            dialect,
        )

    def _levels(
        self, table: str, dialect: Dialect, slopes: Slopes | None
    ) -> Iterator[tuple[str, str, str, str]]:
        """The queries of the WITH: name, kind, query, and what it is for."""
        plain = "NOT MATERIALIZED"
        z = [
            f"({x} - {number(self.model.mean[d])}) * {number(1.0 / self._scale[d])} AS em_z{d}"
            for d, x in enumerate(self._encoded)
        ]
        cells = _level(z, table, dialect)
        yield "em_impute_cells", plain, cells, "The model's columns, in sd from their means."
        seen = [f"em_z{d} IS NOT NULL" for d in self._varying]
        known = [f"COALESCE(em_z{d}, 0) AS em_known{d}" for d in self._varying]
        rows = _level([f"{pattern(seen)} AS em_pattern", *known], "em_impute_cells", dialect)
        yield "em_impute_rows", plain, rows, "Which of them a row shows, as bits; 0 for the others."
        if slopes is None:
            yield from self._swept(seen, dialect)
        coefficients = slopes or self._sweep
        joined = f"em_impute_rows {coefficients.joined}"
        means = _level(list(self._moments(coefficients)), joined, dialect)
        yield "em_impute_means", plain, means, "What is expected of missing cells."
        anchors = list(chain.from_iterable(one.anchors() for one in self._expected))
        if anchors:
            query = _level(anchors, "em_impute_means", dialect)
            yield "em_impute_anchors", plain, query, "Their likeliest values, and shares of levels."
        ends = list(chain.from_iterable(one.ends() for one in self._expected))
        if ends:
            query = _level(ends, "em_impute_anchors", dialect)
            yield "em_impute_ends", plain, query, "Between which values to integrate."

    def _swept(self, seen: Sequence[str], dialect: Dialect) -> Iterator[tuple[str, str, str, str]]:
        """The queries for the coefficients of the table's patterns."""
        named = [f"{shown} AS em_seen{i}" for i, shown in enumerate(seen)]
        # There are no more; planners, which cannot know, would hash the rows instead of these.
        most = 2 ** len(seen)
        patterns = (
            f"SELECT DISTINCT {', '.join(['em_pattern', *named])} FROM em_impute_rows LIMIT {most}"
        )
        for j, (name, query) in enumerate(self._sweep.steps(patterns)):
            why = f"swept on {self._varying_names[j - 1]}" if j else "for each pattern of the table"
            # Pattern by pattern through all steps, of which only the last takes memory.
            kind = "MATERIALIZED" if name == self._sweep.name else "NOT MATERIALIZED"
            yield name, kind, f"{query}{dialect.fence}", f"The model's correlations, {why}."

    def _columns(self, dialect: Dialect) -> Iterator[str]:
        """The columns of the answer."""
        values = {
            name: one.value(dialect)
            for name, one in zip(self.roles.impute, self._expected, strict=True)
        }
        for name in self.roles.columns:
            column = quoted(name)
            if name in values:
                value = f"CASE WHEN {self._missing(name)} THEN {values[name]} ELSE {column} END"
                yield f"{value} AS {column}"
            else:
                yield column
        if self.roles.mask:
            yield f"{pattern([*map(self._missing, self.roles.impute)])} AS {quoted(MASK)}"

    def _missing(self, name: str) -> str:
        return self._cells[name].missing(f"em_z{self.roles.at(name).start}")

    def _moments(self, coefficients: Sweep | Slopes) -> Iterator[str]:
        """Mean and, where it is needed, sd of the imputed columns on the model's scale."""
        place = {d: i for i, d in enumerate(self._varying)}
        shift = shifts(self.delta, self.model.columns, self.model.sd)
        for one in self._expected:
            for d in one.at:
                mean = number(self.model.mean[d] + shift[d])
                if d not in place:
                    yield f"{cast(mean, DOUBLE)} AS em_mean{d}"
                    yield f"{cast('0', DOUBLE)} AS em_sd{d}"
                    continue
                i, scale = place[d], number(self._scale[d])
                given = coefficients.expected(i, [f"em_known{e}" for e in self._varying])
                filled = f"{mean} + {scale} * ({given})"
                yield f"CASE WHEN em_z{d} IS NULL THEN {filled} END AS em_mean{d}"
                if one.needs_spread:
                    yield f"{scale} * {coefficients.sd(i)} AS em_sd{d}"

    @cached_property
    def _cells(self) -> dict[str, Cells]:
        roles = self.roles
        return {
            name: Cells(roles.encoding(name), self.blanks.get(name, ()))
            for name in roles.model_columns
        }

    @property
    def _encoded(self) -> list[str]:
        return [x for name in self.roles.model_columns for x in self._cells[name].encoded]

    @cached_property
    def _expected(self) -> list[Expected]:
        roles = self.roles
        return [
            Expected(
                roles.filling(name),
                tuple(range(roles.at(name).start, roles.at(name).stop)),
                self.schema.field(name).type,
            )
            for name in roles.impute
        ]

    @cached_property
    def _standard(self) -> tuple[Ints, Floats, Floats]:
        return correlation_of_varying(self.model.covariance)

    @property
    def _varying(self) -> list[int]:
        """Columns of the model that vary; the others say nothing."""
        return [int(d) for d in self._standard[0]]

    @property
    def _varying_names(self) -> list[str]:
        return [quoted(legible(self.model.columns[d])) for d in self._varying]

    @cached_property
    def _scale(self) -> Floats:
        return np.where(self.model.sd > 0, self.model.sd, 1.0)

    @cached_property
    def _sweep(self) -> Sweep:
        place = {d: i for i, d in enumerate(self._varying)}
        parts = [(place[d], one) for one in self._expected for d in one.at if d in place]
        return Sweep(
            self._standard[2],
            frozenset(i for i, _ in parts),
            frozenset(i for i, one in parts if one.needs_spread),
        )


def _level(columns: Sequence[str], of: str, dialect: Dialect) -> str:
    """A subquery that adds columns."""
    added = "".join(f",\n    {column}" for column in columns)
    return f"SELECT *{added}\n  FROM {of}{dialect.fence}"


def inexpressible(model: GaussianModel) -> Iterator[str]:
    """Why SQL cannot say what a model fills in, a sentence each."""
    if len(model.columns) > MOST_COLUMNS:
        yield (
            f"its model has {len(model.columns)} columns, and the query for more than "
            f"{MOST_COLUMNS} is too long for a database; leave out predictors."
        )
    correlation = correlation_of_varying(model.covariance)[2]
    if correlation.size and is_singular(correlation):
        yield (
            "columns of its model determine each other, so regression coefficients are not "
            "unique; leave one of them out, or fit the model with a small prior."
        )
