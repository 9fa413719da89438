"""A session: one connection with one transaction, in which everything with a database is done.

Each kind of database has its own. Drivers are imported when they are needed. Their messages can
quote values, and a URL with its password, so only those are passed on that name tables, columns,
constraints and types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import pyarrow as pa

from em_impute.tables.writing.counterparts import counterpart

STAGING = "em_impute_staging"
ONE_SELECT = "the query must be one SELECT, which only reads"

Fetched = list[tuple[Any, ...]]
"""What a statement gives back, row by row."""


class DatabaseError(Exception):
    """What a database refuses, or cannot exchange with Arrow: the reason, without a full stop."""


class DatabaseLostError(ConnectionError):
    """A database that cannot be reached, or that is gone; trying again may help."""


@dataclass(frozen=True)
class Table:
    """A table by the parts of its name, and whether the database has it."""

    parts: tuple[str, ...]
    exists: bool

    @property
    def sql(self) -> str:
        """The name in SQL."""
        return ".".join(map(quoted, self.parts))

    def beside(self, name: str) -> Table:
        """Another table in the same schema, which may exist or not."""
        return Table((*self.parts[:-1], name), exists=False)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    type : str
        To cast a value to before it is inserted: without a length, which an insert checks.
    exact : str
        With its length or precision.
    base : str
        That under a domain; the affinity in SQLite.
    generated : bool
        Whether the database computes it from others.
    identity : bool
        Whether the database numbers it, GENERATED ALWAYS AS IDENTITY.
    required : bool
        Whether a row needs a value there: NOT NULL without a default.
    """

    type: str
    exact: str
    base: str
    generated: bool = False
    identity: bool = False
    required: bool = False


def quoted(name: str) -> str:
    """Write an identifier so that SQL takes it as it is."""
    return '"{}"'.format(name.replace('"', '""'))


def literal(text: str) -> str:
    """Write a text in SQL, where it cannot be a bound parameter."""
    return "'{}'".format(text.replace("'", "''"))


class Session(ABC):
    """A connection with a transaction, which only `commit` makes last.

    Attributes
    ----------
    mark : str
        What stands before the number of a bound parameter.
    staging : str
        The staging table in SQL; its columns are c0, c1, ...
    dialect : str
        Of its SQL.
    typed : bool
        Whether a column holds values of its declared type only.
    patience : float
        How long it waits for whoever writes to the same place, in seconds.
    """

    dialect: ClassVar[str]
    mark: ClassVar[str] = "$"
    staging: str = f"temp.{STAGING}"
    typed: ClassVar[bool] = True
    patience: ClassVar[float] = 300.0

    @abstractmethod
    def run(self, sql: str, *values: object) -> Fetched:
        """Run one statement; give its rows, if it has any."""

    @abstractmethod
    def change(self, sql: str) -> int:
        """Run a statement that changes rows; give how many the database says they were."""

    @abstractmethod
    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a query; give its rows as they come."""

    @abstractmethod
    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Make the staging table and load it in bulk."""

    def adopt(self, table: Table) -> None:
        """Have a table of the database for the staging table, which is as `load` makes one."""
        self.staging = table.sql

    def supplant(self, table: Table, staged: Table, names: Sequence[str]) -> bool:  # noqa: ARG002
        """Have a staged table take the place of another without a copy, if nothing is lost by it.

        Parameters
        ----------
        table : Table
            That may be there or not; most databases keep it, for what hangs on it.
        staged : Table
            As `load` makes one.
        names : sequence of str
            What its columns are to be called; those beyond these go.

        Returns
        -------
        bool
            Whether it was done.
        """
        return False

    @abstractmethod
    def find(self, parts: tuple[str, ...]) -> Table:
        """Look a table up; without a schema, give it the one where it is or would be made."""

    @abstractmethod
    def tables(self) -> list[tuple[str, str]]:
        """All tables, as schema and name."""

    @abstractmethod
    def columns(self, table: Table) -> dict[str, Column]:
        """The columns of a table by name."""

    @abstractmethod
    def staged_types(self) -> list[str]:
        """The types of the staging table's columns."""

    @abstractmethod
    def commit(self) -> None:
        """Make what was done last."""

    @abstractmethod
    def close(self) -> None:
        """Undo what was not committed, and leave."""

    def new_type(self, field: pa.Field) -> str | None:  # noqa: ARG002
        """Type of a column in a new table; None for that of the staging table."""
        return None

    def as_held(self, table: Table, names: Sequence[str], schema: pa.Schema) -> str:  # noqa: ARG002
        """The staged rows `new` for a FROM; where need be with `held`, as the table holds them.

        Parameters
        ----------
        table : Table
        names : sequence of str
            The columns that are looked at.
        schema : Schema
            Of the staged rows.
        """
        return f"{self.staging} AS new"

    def index_staged(self, table: Table, key: Mapping[str, int]) -> None:  # noqa: B027
        """Have the staged rows found by their key; most databases join by hashes."""

    def key_column(self, i: int) -> str:
        """The column of the staging table by which column `i` is matched, as part of a key."""
        return f"c{i}"

    def unmatched(self, table: Table, match: str, key: Mapping[str, int]) -> str:  # noqa: ARG002
        """Condition that no row `old` of the table matches the staged row `new`.

        Parameters
        ----------
        table : Table
        match : str
            Condition that the two match.
        key : mapping of str to int
            The key's columns, and their numbers in the staging table.
        """
        return f"NOT EXISTS (SELECT 1 FROM {table.sql} AS old WHERE {match})"

    def between(self, table: Table) -> list[str]:  # noqa: ARG002
        """What may have other rows in the table than are sent to it: triggers and the like."""
        return []

    def stand_in(self, table: Table) -> Table:
        """A table in which rows can be tried out, unseen: a file's own, which nobody else sees."""
        return table

    def check_references(  # noqa: B027
        self, table: Table, values: Mapping[str, str], filled: Sequence[str]
    ) -> None:
        """Make sure that what the staged rows refer to in other tables is there.

        Parameters
        ----------
        table : Table
        values : mapping of str to str
            The table's columns that are written, and their staged values in SQL.
        filled : sequence of str
            Columns whose cells are not known yet.
        """

    def settle(self) -> None:  # noqa: B027
        """Check now what would only be checked at the end."""

    def check_privileges(self, table: Table, privileges: Sequence[str]) -> None:  # noqa: B027
        """Make sure that this user may do what is to be done with the table."""

    def lock(self, table: Table) -> None:  # noqa: B027
        """Wait until no other run writes to the table; a database in a file is locked already."""

    def check_replaceable(self, table: Table) -> None:  # noqa: B027
        """Make sure that nothing else is deleted along with the table's rows."""


def driver(name: str, extra: str) -> Any:
    """Import the module of a driver, which an extra of this package installs."""
    try:
        return import_module(name)
    except ImportError:
        raise DatabaseError(
            f"its driver is not installed; install it with `pip install 'em-impute[{extra}]'`"
        ) from None


def kept_locked(seconds: float) -> DatabaseError:
    """What is raised where the file of a database stays locked."""
    return DatabaseError(
        f"another process kept the database locked for {seconds:g} s; try again when it is done"
    )


# --- Columns on their way from and to a database -----------------------------------------------


def unreadable(name: str, type_: str) -> DatabaseError:
    """What is raised for a column whose type Arrow does not have."""
    return DatabaseError(
        f"column {name!r} is of type {type_}, which has no counterpart in Arrow; use a query that "
        f"casts it, such as `select cast({quoted(name)} as text)`"
    )


def renamed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the staging table's names for its columns."""
    return batch.rename_columns([f"c{i}" for i in range(batch.num_columns)])


def cast_exactly(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, types: Sequence[pa.DataType]
) -> Iterator[pa.RecordBatch]:
    """The batches of a table in other types, with the staging table's names.

    Parameters
    ----------
    batches : iterable of RecordBatch
    schema : Schema
        Of the batches.
    types : sequence of DataType
        One for each column.

    Raises
    ------
    DatabaseError
        If a type does not hold a value exactly.
    """
    for batch in batches:
        columns = []
        for column, type_, name in zip(batch.columns, types, schema.names, strict=True):
            try:
                columns.append(column.cast(type_))
            except pa.ArrowException:
                raise DatabaseError(
                    f"column {name!r} of type {column.type} holds a value that the database's "
                    f"type {type_} cannot hold exactly; convert it in the source"
                ) from None
        yield renamed(pa.RecordBatch.from_arrays(columns, names=schema.names))


def types_sent(schema: pa.Schema, kind: str, engine: str) -> list[pa.DataType]:
    """The types in which the columns of a table are sent to a database.

    Parameters
    ----------
    schema : Schema
    kind : {"postgresql", "sqlite"}
    engine : str
        Its name for users.

    Raises
    ------
    DatabaseError
        Naming the columns for which it has no type.
    """
    types = [counterpart(field.type, kind) for field in schema]
    homeless = [f for f, type_ in zip(schema, types, strict=True) if type_ is None]
    if homeless:
        columns = ", ".join(f"{field.name!r} of type {field.type}" for field in homeless)
        raise DatabaseError(f"{engine} cannot hold {columns}; convert in the source")
    return types


def infinite(field: pa.Field) -> DatabaseError:
    """What is raised for a column of times that holds one that Arrow's type does not have."""
    return DatabaseError(
        f"column {field.name!r} holds infinity or a time beyond Arrow's, which {field.type} does "
        f"not have; use a query that casts it, such as `select cast({quoted(field.name)} as text)`"
    )
