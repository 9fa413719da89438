"""A table that stays in its database: what is known of all its rows, and a sample of them.

A sample is what the table's columns are decided by, as those of a table that is read; but nothing
is left to chance: how many cells are missing, which levels there are and how many cells are out of
range is asked of the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from em_impute.gaussian import PatternSummary
from em_impute.job import MASK, DatabaseSource, Job, split_table
from em_impute.tables.columns.categories import Nominal
from em_impute.tables.columns.misfits import KEYS, Misfits, ranges
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.options import MOST_LEVELS
from em_impute.tables.columns.roles import Roles
from em_impute.tables.databases.opening import opened
from em_impute.tables.databases.session import DatabaseError, Session, Table, quoted
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.snapshot import ColumnProfile, Snapshot, is_numeric
from em_impute.tables.sources import take_snapshot
from em_impute.tables.sql.cells import Cells, named_blanks
from em_impute.tables.sql.dialects import DOUBLE, Dialect, cast, number
from em_impute.tables.sql.filling import dialect_of, existing, schema_of
from em_impute.tables.sql.summary import Standing

# A query gives at most so many columns in PostgreSQL.
MOST_ASKED = 1500
INFINITY = cast("'Infinity'", DOUBLE)


@dataclass(frozen=True)
class WholeTable:
    """A table where it is.

    Attributes
    ----------
    session : Session
    table : Table
    schema : Schema
        Of its rows as they are read.
    blanks : Missing
        What stands for a missing cell, besides NULL and NaN.
    """

    session: Session
    table: Table
    schema: pa.Schema
    blanks: Missing

    def missing(self, name: str) -> str:
        """Condition that a cell is missing."""
        if is_numeric(self.schema.field(name).type):
            return f"{self._number(name)} IS NULL"
        if name in self.blanks.categories:
            return f"{self._label(name)} IS NULL"
        return f"{quoted(name)} IS NULL"

    def _number(self, name: str) -> str:
        return Cells(Numeric(name), self.blanks.named(name)).as_number

    def _label(self, name: str) -> str:
        return Cells(Nominal(name, ()), self.blanks.named(name)).as_label

    def count(self) -> int:
        """How many rows there are."""
        [(rows,)] = self.session.run(f"SELECT count(*) FROM {self.table.sql}")
        return int(rows)

    def counted(self, conditions: Sequence[str]) -> list[int]:
        """How many rows fulfil each of some conditions."""
        return self.asked([*map(counting, conditions)])

    def asked(self, aggregates: Sequence[str]) -> list[Any]:
        """Aggregates of all rows."""
        return asked(self.session, self.table, aggregates)

    def profiled(self, columns: Sequence[ColumnProfile], job: Job) -> tuple[ColumnProfile, ...]:
        """The profiles of columns, with what is true of all rows in the place of a sample's."""
        found = self._finite(columns)
        found |= self._any([column for column in columns if column.name not in found])
        profiles = []
        for column in columns:
            missing, infinite, same = found[column.name]
            known = replace(
                column,
                missing=missing,
                infinite=infinite,
                first_infinite_row=None,
                constant=same,
                levels=self._levels(column, job),
            )
            profiles.append(known)
        return tuple(profiles)

    def _finite(self, columns: Sequence[ColumnProfile]) -> dict[str, tuple[int, int, bool]]:
        """As `_any`, of columns of finite numbers, and nothing else that is missing than NULL.

        NaN is the largest number in both databases, so that the ends show it as well.
        """
        plain = [c.name for c in columns if c.numeric and not self.blanks.named(c.name)]
        cells = (cast(quoted(name), DOUBLE) for name in plain)
        ends = [f"{what}({x})" for x in cells for what in ("count", "min", "max")]
        rows, *answers = self.asked(["count(*)", *ends])
        return {
            name: (rows - seen, 0, low == high)
            for name, seen, low, high in zip(
                plain, answers[::3], answers[1::3], answers[2::3], strict=True
            )
            if seen and isfinite(low) and isfinite(high)
        }

    def _any(self, columns: Sequence[ColumnProfile]) -> dict[str, tuple[int, int, bool]]:
        """Missing and infinite cells of columns, and whether all others are the same."""
        aggregates = [counting(self.missing(column.name)) for column in columns]
        for x in (self._number(column.name) for column in columns if column.numeric):
            aggregates += [counting(f"abs({x}) = {INFINITY}"), f"min({x}) = max({x})"]
        answers = self.asked(aggregates)
        of_numbers = iter(answers[len(columns) :])
        return {
            column.name: (missing, next(of_numbers), bool(next(of_numbers)))
            if column.numeric
            else (missing, 0, False)
            for column, missing in zip(columns, answers, strict=False)
        }

    def _levels(self, column: ColumnProfile, job: Job) -> tuple[tuple[str, int], ...] | None:
        """The levels of a column of categories, or one more than it may have; None of others."""
        named = job.columns.categories.get(column.name)
        if named is None and column.type != "bool":
            return None
        most = max(MOST_LEVELS, len(named) if isinstance(named, tuple) else 0) + 1
        label = self._label(column.name)
        rows = self.session.run(
            f"SELECT em_level, count(*) FROM (SELECT {label} AS em_level FROM {self.table.sql}) "
            f"AS em_levels WHERE em_level IS NOT NULL GROUP BY em_level ORDER BY 1 LIMIT {most}"
        )
        return tuple((level, int(cells)) for level, cells in rows)

    def misfits(self, roles: Roles, job: Job) -> tuple[Misfits, ...]:
        """Cells that do not fit what the job says of their column."""
        return (*self._key_misfits(roles.key), *self._number_misfits(roles, job))

    def _key_misfits(self, key: Sequence[str]) -> Iterator[Misfits]:
        if not key:
            return
        name, columns = ", ".join(key), ", ".join(map(quoted, key))
        [without] = self.counted([" OR ".join(map(self.missing, key))])
        [(again,)] = self.session.run(
            "SELECT CAST(coalesce(sum(em_rows - 1), 0) AS BIGINT) FROM "
            f"(SELECT count(*) AS em_rows FROM {self.table.sql} GROUP BY {columns}) AS em_keys"
        )
        for expected, cells in zip(KEYS, (without, again), strict=True):
            if cells:
                yield Misfits(name, expected.format(name), int(cells), (), stop=True)

    def _number_misfits(self, roles: Roles, job: Job) -> Iterator[Misfits]:
        tests = list(ranges(roles, job.columns))
        outside = [_outside(self._number(r.column), r.low, r.high, r.closed) for r in tests]
        for one, cells in zip(tests, self.counted(outside), strict=True):
            if cells:
                yield one.misfits(cells)

    def summarise(self, roles: Roles) -> tuple[PatternSummary, str]:
        """Sum the rows up; with why rows were read after all, if they were."""
        cells = tuple(
            cell
            for name in roles.model_columns
            for cell in Cells(roles.encoding(name), self.blanks.named(name)).encoded
        )
        dialect = dialect_of(self.session)
        return Standing(self.session, dialect, self.table.sql, roles.dimensions, cells).summarise()


def whole_table(session: Session, job: Job) -> WholeTable:
    """The table of a job's source.

    Raises
    ------
    DatabaseError
        If it is not there, or its database is none in which tables are filled.
    """
    dialect_of(session)
    table = existing(session, split_table(_source(job).table or ""))
    schema = schema_of(session, table.sql)
    if MASK in schema.names:
        raise DatabaseError(f"it has a column {MASK!r}, as filled tables do; rename it")
    return WholeTable(session, table, schema, named_blanks(job))


def take_sample(job: Job, path: Path) -> Snapshot:
    """Read a sample of a job's table, or all of one that is no longer.

    Parameters
    ----------
    job : Job
    path : Path
        Of the snapshot.

    Raises
    ------
    SourceError
        If the table cannot be read.
    DatabaseLostError
        If its database cannot be reached, or is gone.
    """
    source = _source(job)
    with opened(source, sparing=True) as session:
        whole = whole_table(session, job)
        rows = whole.count()
    if rows <= job.engine.sample_rows:
        return take_snapshot(source, path, job.batch_rows, Purpose.of(job))
    key, dialect = [*map(quoted, job.columns.key)], dialect_of(session)
    share = sampled(key, job.engine.sample_rows / rows, dialect)
    query = f"SELECT * FROM {whole.table.sql} WHERE {share}"
    part = source.model_copy(update={"table": None, "query": query})
    purpose = replace(Purpose.of(job), scanned=True)
    read = replace(take_snapshot(part, path, job.batch_rows, purpose), source=str(source))
    # A DuckDB file has one session at a time.
    with opened(source, sparing=True) as session:
        columns = replace(whole, session=session).profiled(read.columns, job)
    return replace(read, rows=rows, columns=columns, sample=read)


def sampled(key: Sequence[str], share: float, dialect: Dialect) -> str:
    """Condition that a row is in a sample: the same rows each time, if there is a key.

    Parameters
    ----------
    key : sequence of str
        Columns that identify a row, in SQL; may be empty.
    share : float
        Of the rows, at most 1.
    dialect : Dialect
    """
    if share >= 1:
        return "1 = 1"
    if not key:
        return f"random() < {number(share)}"
    return f"({dialect.hashed.format(', '.join(key))} & {2**32 - 1}) < {int(share * 2**32)}"


def _source(job: Job) -> DatabaseSource:
    assert isinstance(job.source, DatabaseSource)
    return job.source


def asked(session: Session, table: Table, aggregates: Sequence[str]) -> list[Any]:
    """Aggregates of a table's rows, in as few queries as there can be."""
    answers: list[Any] = []
    for i in range(0, len(aggregates), MOST_ASKED):
        part = ", ".join(aggregates[i : i + MOST_ASKED])
        answers += session.run(f"SELECT {part} FROM {table.sql}")[0]
    return answers


def counting(condition: str) -> str:
    """How many rows fulfil a condition, as an aggregate."""
    return f"count(CASE WHEN {condition} THEN 1 END)"


def _outside(x: str, low: float, high: float, closed: bool) -> str:
    equal = "" if closed else "="
    ends = [f"{x} <{equal} {number(low)}"] if low != -inf else []
    ends += [f"{x} >{equal} {number(high)}"] if high != inf else []
    return " OR ".join(ends) or "1 = 0"
