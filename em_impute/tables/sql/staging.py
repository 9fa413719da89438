"""A filled table that waits beside its target, in the database, until it is published.

It is made as publishing loads staged rows: its columns are c0, c1, ... in the filled table's order,
and the last has a bit for each cell that was filled. What it has is compared with the table that it
was filled from in one pass over each: the rows, and of every column a sum of hashes of its observed
cells, together with their keys. Such sums do not depend on the order of the rows, and other cells
have the same sum with a chance of about 1 in 2^64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import pyarrow as pa

from em_impute.job import MASK
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.databases.session import DatabaseError, Session, Table, quoted
from em_impute.tables.run_folder import RunFolder, folders_in
from em_impute.tables.sql.cells import NAN
from em_impute.tables.sql.dialects import DOUBLE, cast
from em_impute.tables.sql.filling import dialect_of
from em_impute.tables.sql.select import Filled, inexpressible
from em_impute.tables.sql.whole import INFINITY, MOST_ASKED, WholeTable, sampled

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
            If SQL cannot say what the model fills in, or the database refuses it.
        """
        if reasons := list(inexpressible(self.filled.model)):
            raise DatabaseError(f"SQL cannot fill it: {reasons[0].removesuffix('.')}")
        query = self.filled.marked.select(self.whole.table.sql, dialect_of(self.session))
        columns = ", ".join(f"{quoted(name)} AS {c}" for name, c in self._columns.items())
        self.session.run(f"DROP TABLE IF EXISTS {self.table.sql}")
        self.session.run(
            f"CREATE TABLE {self.table.sql} AS SELECT {columns} FROM (\n{query}\n) AS em_filled"
        )

    def cells(self) -> dict[str, int]:
        """How many cells of each imputed column were filled."""
        impute = self.filled.roles.impute
        return dict(zip(impute, self._counted([*map(self._is_filled, impute)]), strict=True))

    def count(self) -> int:
        """How many rows it has."""
        [(rows,)] = self.session.run(f"SELECT count(*) FROM {self.table.sql}")
        return int(rows)

    def _counted(self, conditions: Sequence[str]) -> list[int]:
        asked = [f"count(CASE WHEN {condition} THEN 1 END)" for condition in conditions]
        if not asked:
            return []
        return list(self.session.run(f"SELECT {', '.join(asked)} FROM {self.table.sql}")[0])

    def left(self) -> dict[str, tuple[int, int]]:
        """Cells of each imputed column that are missing, and infinite ones."""
        impute = self.filled.roles.impute
        missing, infinite = [], []
        for name in impute:
            cell, is_number = self._columns[name], self._is_number(name)
            number = cast(cell, DOUBLE)
            missing.append(f"{cell} IS NULL" + (f" OR {number} = {NAN}" if is_number else ""))
            infinite.append(f"abs({number}) = {INFINITY}" if is_number else "1 = 0")
        counts = self._counted([*missing, *infinite])
        pairs = zip(counts[: len(impute)], counts[len(impute) :], strict=True)
        return dict(zip(impute, pairs, strict=True))

    def _is_number(self, name: str) -> bool:
        return isinstance(self.filled.roles.encoding(name), Numeric)

    def changed(self) -> list[str]:
        """The columns that do not have the cells that were observed, or other columns' cells."""
        types = {name: c.type for name, c in self.session.columns(self.whole.table).items()}
        missing = self.filled.roles.impute

        def before(name: str) -> tuple[str, str]:
            return quoted(name), f"NOT ({self.whole.missing(name)})" if name in missing else ""

        def after(name: str) -> tuple[str, str]:
            cell = cast(self._columns[name], types[name])
            return cell, f"NOT ({self._is_filled(name)})" if name in missing else ""

        then, now = self._sums(self.whole.table, before), self._sums(self.table, after)
        return [name for name in then if then[name] != now[name]]

    def _sums(self, table: Table, cell: Callable[[str], tuple[str, str]]) -> Mapping[str, str]:
        """Of each column, a sum of hashes of its cells that count, with their keys."""
        hashed, asked = dialect_of(self.session).hashed, []
        keys = [cell(name)[0] for name in self.filled.roles.key]
        for name in self.filled.roles.columns:
            value, counts = cell(name)
            sum_ = hashed.format(", ".join([*keys, value]))
            sum_ = f"CASE WHEN {counts} THEN {sum_} END" if counts else sum_
            asked.append(f"CAST(sum({sum_}) AS VARCHAR)")
        answers: list[str] = []
        for i in range(0, len(asked), MOST_ASKED):
            query = f"SELECT {', '.join(asked[i : i + MOST_ASKED])} FROM {table.sql}"
            answers += self.session.run(query)[0]
        return dict(zip(self.filled.roles.columns, answers, strict=True))

    def rows(self, names: Sequence[str], most: int) -> pa.Table:
        """Some columns of a sample of the staged rows, by their names."""
        if not names:
            return pa.table({})
        key = self.filled.roles.key
        share = sampled(key, most / max(self.count(), 1), [self._columns[name] for name in key])
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
