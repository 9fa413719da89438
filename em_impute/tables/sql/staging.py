"""A filled table that waits beside its target, in the database, until it is published.

It is made as publishing loads staged rows: its columns are c0, c1, ... in the filled table's order,
and the last has a bit for each cell that was filled. What it has is compared with the table that it
was filled from in one pass over each: a sum of hashes of the rows, without the cells that were
filled. It does not depend on the order of the rows, and other cells have the same sum with a chance
of about 1 in 2^64. Where the sums differ, those of each column tell which it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import pyarrow as pa

from em_impute.job import MASK
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.databases.session import Session, Table, quoted
from em_impute.tables.run_folder import RunFolder, folders_in
from em_impute.tables.sql.cells import NAN
from em_impute.tables.sql.dialects import DOUBLE, cast
from em_impute.tables.sql.filling import dialect_of, filled_rows
from em_impute.tables.sql.select import Filled
from em_impute.tables.sql.whole import INFINITY, WholeTable, asked, counting, sampled

# Of names, PostgreSQL keeps 63 characters; what is a run's own is at the end of its id.
_LONGEST_ID = 32


def staged_name(folder: RunFolder) -> str:
    """The name of a run's staged table, such as em_impute_staged_7802e179_20260101t030000z_1a2b."""
    run = re.sub(r"[^a-z0-9]", "_", folder.path.name[-_LONGEST_ID:].lower())
    return f"{_of_job(folder)}{run}"


def _of_job(folder: RunFolder) -> str:
    """What the names of a job's staged tables begin with."""
    return f"em_impute_staged_{crc32(folder.path.parent.name.encode()):08x}_"


@dataclass(frozen=True)
class Comparison:
    """What a staged table has, against the table that it was filled from.

    Attributes
    ----------
    rows : int
    changed : tuple of str
        Columns that do not have the cells that were observed, or other columns' cells.
    missing, infinite : tuple of str
        Imputed columns that have a cell of that kind.
    """

    rows: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    infinite: tuple[str, ...]


@dataclass(frozen=True)
class StagedTable:
    """A filled table beside its target.

    Attributes
    ----------
    whole : WholeTable
        The table that it was filled from.
    filled : Filled
    table : Table
    """

    whole: WholeTable
    filled: Filled
    table: Table

    @property
    def session(self) -> Session:
        """The session in which both are."""
        return self.whole.session

    @property
    def _columns(self) -> dict[str, str]:
        """The columns of the filled table, as the staged one calls them; the marks are the last."""
        names = (*self.filled.roles.columns, MASK)
        return {name: f"c{i}" for i, name in enumerate(names)}

    def _is_filled(self, name: str) -> str:
        """Condition that a staged cell was filled."""
        bit = 1 << self.filled.roles.impute.index(name)
        return f"({self._columns[MASK]} & {bit}) <> 0"

    def make(self) -> None:
        """Fill the table.

        Raises
        ------
        DatabaseError
            If the database refuses it.
        """
        columns = ", ".join(f"{quoted(name)} AS {c}" for name, c in self._columns.items())
        self.session.run(f"DROP TABLE IF EXISTS {self.table.sql}")
        for i, query in enumerate(filled_rows(self.session, self.filled.marked, self.whole.table)):
            into = f"INSERT INTO {self.table.sql}" if i else f"CREATE TABLE {self.table.sql} AS"
            self.session.run(f"{into} SELECT {columns} FROM (\n{query}\n) AS em_filled")

    def counted(self) -> tuple[int, dict[str, int]]:
        """How many rows it has, and filled cells of each imputed column."""
        impute = self.filled.roles.impute
        filled = map(counting, map(self._is_filled, impute))
        rows, *cells = self._asked(["count(*)", *filled])
        return rows, dict(zip(impute, cells, strict=True))

    def count(self) -> int:
        """How many rows it has."""
        [rows] = self._asked(["count(*)"])
        return int(rows)

    def compared(self) -> Comparison:
        """What it has, against the table that it was filled from."""
        impute = self.filled.roles.impute
        whole = [counting(self._is_whole(name)) for name in impute]
        rows, now, *cells = self._asked(["count(*)", self._sum_of_rows(self._after), *whole])
        wanting = [name for name, n in zip(impute, cells, strict=True) if n < rows]
        [then] = self.whole.asked([self._sum_of_rows(self._before)])
        changed = () if then == now else tuple(self._changed())
        return Comparison(int(rows), changed, *self._missing_and_infinite(wanting))

    def _asked(self, aggregates: Sequence[str]) -> list[Any]:
        return asked(self.session, self.table, aggregates)

    def _is_whole(self, name: str) -> str:
        """Condition that a staged cell is there, and is finite: NaN is the largest number."""
        cell = self._columns[name]
        if self._is_number(name):
            return f"abs({cast(cell, DOUBLE)}) < {INFINITY}"
        return f"{cell} IS NOT NULL"

    def _missing_and_infinite(
        self, wanting: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which of some columns have a missing cell, and which an infinite one."""
        conditions = []
        for name in wanting:
            cell, is_number = self._columns[name], self._is_number(name)
            number = cast(cell, DOUBLE)
            conditions.append(f"{cell} IS NULL" + (f" OR {number} = {NAN}" if is_number else ""))
            conditions.append(f"abs({number}) = {INFINITY}" if is_number else "1 = 0")
        counts = self._asked([*map(counting, conditions)])
        missing, infinite = (
            tuple(name for name, cells in zip(wanting, counts[i::2], strict=True) if cells)
            for i in (0, 1)
        )
        return missing, infinite

    def _is_number(self, name: str) -> bool:
        return isinstance(self.filled.roles.encoding(name), Numeric)

    def _before(self, name: str) -> str:
        """A cell of the source, NULL where it was to be filled."""
        cell = quoted(name)
        if name not in self.filled.roles.impute:
            return cell
        return f"CASE WHEN NOT ({self.whole.missing(name)}) THEN {cell} END"

    def _after(self, name: str) -> str:
        """A staged cell as the source has it, NULL where it was filled."""
        cell = cast(self._columns[name], self._types[name])
        if name not in self.filled.roles.impute:
            return cell
        return f"CASE WHEN NOT ({self._is_filled(name)}) THEN {cell} END"

    @cached_property
    def _types(self) -> dict[str, str]:
        columns = self.session.columns(self.whole.table)
        return {name: column.type for name, column in columns.items()}

    def _sum_of_rows(self, cell: Callable[[str], str]) -> str:
        return self._sum(map(cell, self.filled.roles.columns))

    def _sum(self, cells: Iterable[str]) -> str:
        """A sum of hashes, as text."""
        hashed = dialect_of(self.session).hashed.format(", ".join(cells))
        return f"CAST(sum({hashed}) AS VARCHAR)"

    def _changed(self) -> Iterator[str]:
        """The columns whose cells, together with their keys, are others than they were."""
        names, key = self.filled.roles.columns, self.filled.roles.key
        then, now = (
            ask([self._sum(map(cell, [*key, name])) for name in names])
            for ask, cell in ((self.whole.asked, self._before), (self._asked, self._after))
        )
        found = [name for name, *sums in zip(names, then, now, strict=True) if len(set(sums)) > 1]
        # Cells that only changed places, where there is no key, may be of any column.
        yield from found or names

    def rows(self, names: Sequence[str], most: int) -> pa.Table:
        """Some columns of a sample of the staged rows, by their names."""
        if not names:
            return pa.table({})
        key = self.filled.roles.key
        cells, dialect = [self._columns[name] for name in key], dialect_of(self.session)
        share = sampled(cells, most / max(self.count(), 1), dialect)
        columns = ", ".join(f"{self._columns[name]} AS {quoted(name)}" for name in names)
        query = f"SELECT {columns} FROM {self.table.sql} WHERE {share}"
        schema, batches = self.session.stream(query, 2**16)
        return pa.Table.from_batches(batches, schema)


def drop_what_is_left(session: Session, beside: Table, folder: RunFolder) -> None:
    """Drop the staged tables of a job's runs that were killed.

    Parameters
    ----------
    session : Session
    beside : Table
        The job's target.
    folder : RunFolder
        Of the run that goes on; the others are beside it.
    """
    held = [run for run in map(RunFolder, folders_in(folder.path.parent)) if run.is_held]
    alive = {staged_name(run) for run in held}
    for schema, name in session.tables():
        table = Table((schema, name), exists=True)
        ours = name.startswith(_of_job(folder)) and table.parts[:-1] == beside.parts[:-1]
        if ours and name not in alive:
            session.run(f"DROP TABLE {table.sql}")
