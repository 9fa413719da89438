"""The three kinds of database: how to connect, stream, load in bulk, lock, and say what failed.

`databases.py` does its work through a `Session`: one connection with one transaction. Drivers are
imported when they are needed. Their messages can quote values, and a URL with its password, so only
those are passed on that name tables, columns, constraints and types.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.job import database_file, split_database_url
from em_impute.job.confinement import ROOT, OutsideError, confined, roots
from em_impute.tables.databases import postgresql_catalog
from em_impute.tables.whole_files import reason

# How long a session waits for whoever writes to the same place, in seconds.
PATIENCE = 300.0
STAGING = "em_impute_staging"
_ONE_SELECT = "the query must be one SELECT, which only reads"

Rows = list[tuple[Any, ...]]


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


def _literal(text: str) -> str:
    """Write a text in SQL, for the rare statement that takes no bound parameter."""
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
    """

    dialect: ClassVar[str]
    mark: ClassVar[str] = "$"
    staging: ClassVar[str] = f"temp.{STAGING}"
    typed: ClassVar[bool] = True

    @abstractmethod
    def run(self, sql: str, *values: object) -> Rows:
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
        """The staged rows `new` for a FROM; where need be with `held`, as the table holds them."""
        return f"{self.staging} AS new"

    def index_staged(self, table: Table, key: Mapping[str, int]) -> None:  # noqa: B027
        """Have the staged rows found by their key; most databases join by hashes."""

    def key_column(self, i: int) -> str:
        """The column of the staging table by which column `i` is matched, as part of a key."""
        return f"c{i}"

    def unmatched(self, table: Table, match: str, key: Mapping[str, int]) -> str:  # noqa: ARG002
        """Condition that no row `old` of the table matches the staged row `new`."""
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
        """Make sure that what the staged rows refer to in other tables is there."""

    def settle(self) -> None:  # noqa: B027
        """Check now what would only be checked at the end."""

    def check_privileges(self, table: Table, privileges: Sequence[str]) -> None:  # noqa: B027
        """Make sure that this user may do what is to be done with the table."""

    def lock(self, table: Table) -> None:  # noqa: B027
        """Wait until no other run writes to the table; a database in a file is locked already."""

    def check_replaceable(self, table: Table) -> None:  # noqa: B027
        """Make sure that nothing else is deleted along with the table's rows."""


@contextmanager
def connect(url: str, password: str | None, write: bool) -> Iterator[Session]:
    """Open a database and begin a transaction.

    Raises
    ------
    DatabaseError
    DatabaseLostError
    """
    engine, parts = split_database_url(url)
    session: Session
    match engine:
        case "postgresql":
            session = _PostgreSQL(parts, password, write)
        case "duckdb":
            session = _DuckDB(_file(parts), write)
        case _:
            session = _SQLite(_file(parts), write)
    try:
        yield session
    finally:
        session.close()


def _driver(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise DatabaseError(
            f"its driver is not installed; install it with `pip install 'em-impute[{extra}]'`"
        ) from None


def _file(parts: SplitResult) -> Path:
    try:
        return confined(database_file(parts))
    except OutsideError as outside:
        raise DatabaseError(f"its file {outside}") from None


def _check_there(path: Path, write: bool) -> None:
    """See that a file to read exists, and make the folder of one to write."""
    exists = os.path.exists(path)  # noqa: PTH110, which says no to any wrong name
    if not write and not exists:
        raise DatabaseError(f"there is no file {path} in {Path.cwd()}")
    if exists and not path.is_file():  # a pipe would be waited for without end
        raise DatabaseError(f"{path} is a folder, a device or a pipe, not the file of a database")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"its folder {path.parent} cannot be made ({reason(error)})") from None


def _unreadable(name: str, type_: str) -> DatabaseError:
    return DatabaseError(
        f"column {name!r} is of type {type_}, which has no counterpart in Arrow; use a query that "
        f"casts it, such as `select cast({quoted(name)} as text)`"
    )


def _renamed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the staging table's names for its columns."""
    return batch.rename_columns([f"c{i}" for i in range(batch.num_columns)])


def _cast(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, types: Sequence[pa.DataType]
) -> Iterator[pa.RecordBatch]:
    """The batches of a table in other types, if these hold every value exactly."""
    for batch in batches:
        columns = []
        for column, type_, name in zip(batch.columns, types, schema.names, strict=True):
            try:
                columns.append(column.cast(type_))
            except pa.ArrowException:
                raise DatabaseError(
                    f"column {name!r} of type {column.type} holds a value that {type_}, which "
                    "the database has for it, does not hold exactly; convert it in the source"
                ) from None
        yield _renamed(pa.RecordBatch.from_arrays(columns, names=schema.names))


def _types(schema: pa.Schema, counterpart: Any, engine: str) -> list[pa.DataType]:
    """The types in which the columns of a table are sent to a database."""
    types = [counterpart(field.type) for field in schema]
    homeless = [f for f, type_ in zip(schema, types, strict=True) if type_ is None]
    if homeless:
        columns = ", ".join(f"{field.name!r} of type {field.type}" for field in homeless)
        raise DatabaseError(f"{engine} cannot hold {columns}; convert in the source")
    return types


# --- PostgreSQL --------------------------------------------------------------------------------

# The driver reads these as whole numbers, which they are not: cents without their currency, and
# numbers beyond the largest int32.
_MISREAD = {"money", "oid", "_money", "_oid"}
_TEXTUAL = {"numeric", "json", "jsonb"}
"""Types that travel as text, and that a new table gets back."""

_TEXT_LIKE = {"citext", "inet", "cidr", "macaddr", "macaddr8", "ltree", "xml"}
"""Types that are read as text, and that a new table gets back if its database knows them."""

# Classes of SQLSTATE in which the server's words name tables, columns, constraints and types. The
# words of class 22 quote values.
_NAMING = ("0A", "23", "25", "26", "28", "3D", "3F", "42")
_SAYINGS = {
    "42601": "the SQL has a syntax error",
    "53100": "the disk of the database server is full",
    "53200": "the database server has run out of memory",
    "57014": "the server canceled it, perhaps by its statement_timeout",
}
_TRANSIENT = ("08", "40", "53300", "57P")
_UNBOUND = "08P01"
# What the declaration of a cursor is refused with where the query parses: no SELECT; a SELECT that
# changes or locks rows.
_NO_QUERY = ("42601", "0A000", "25006")
_UNREACHABLE = (
    "Connection refused",
    "could not translate host name",
    "timeout expired",
    "No such file or directory",
    "SSL",
    "starting up",
    "shutting down",
    "too many clients",
)


class _PostgreSQL(Session):
    """PostgreSQL through ADBC: binary COPY in both directions."""

    dialect = "postgresql"
    staging = f"pg_temp.{STAGING}"

    def __init__(self, parts: SplitResult, password: str | None, write: bool) -> None:
        driver = _driver("adbc_driver_postgresql.dbapi", "postgresql")
        self._error, self._lost = (
            driver.Error,
            _driver("adbc_driver_manager", "postgresql").AdbcStatusCode.IO,
        )
        self._place = _place(parts)
        try:
            self._connection = driver.connect(_libpq_uri(parts, password))
        except self._error as error:
            raise self._refused(str(error)) from None
        except ValueError:  # text that is not Unicode; Python's own words quote it
            raise DatabaseError("its URL or password is not valid text") from None
        self._cursor = self._connection.cursor()
        # One snapshot for all that is read.
        level = "READ COMMITTED" if write else "REPEATABLE READ READ ONLY"
        self.run(f"SET TRANSACTION ISOLATION LEVEL {level}")
        if write:
            self.run("SET CONSTRAINTS ALL DEFERRED")  # to `settle`
            self.run(f"SET LOCAL lock_timeout = '{PATIENCE:g}s'")

    def _refused(self, message: str) -> Exception:
        """Why there is no connection; libpq's own words could hold parts of the URL."""
        if re.search(r": (invalid|unexpected) ", message):
            return DatabaseError(
                "its URL is not one that PostgreSQL's driver reads; in a password, what is not a "
                "letter or digit is written as in %2F"
            )
        if "password" in message or "authentication" in message:
            return DatabaseError(
                f"the server at {self._place} refused the login; check the user and the password "
                "in the environment variable"
            )
        if "does not exist" in message:
            return DatabaseError(
                f"the server at {self._place} knows no such database or no such user"
            )
        if "pg_hba" in message:
            return DatabaseError(
                f"the server at {self._place} lets this user in from elsewhere only (pg_hba.conf)"
            )
        why = next((words for words in _UNREACHABLE if words in message), "no connection")
        return DatabaseLostError(f"no database server answers at {self._place} ({why.lower()})")

    def close(self) -> None:
        with suppress(self._error):  # a server that is gone
            self._cursor.close()
        with suppress(self._error):
            self._connection.close()

    def commit(self) -> None:
        with self._said():
            self._connection.commit()

    def run(self, sql: str, *values: object) -> Rows:
        with self._said():
            self._cursor.execute(sql, values or None)
            return self._cursor.fetchall() if self._cursor.description else []

    @contextmanager
    def _said(self, query: str = "") -> Iterator[None]:
        """Say what the server reports in our words; of the user's query, where it is wrong."""
        try:
            yield
        except self._error as error:
            raise self._reason(error, query) from None

    def _reason(self, error: Any, query: str) -> Exception:
        state = error.sqlstate or ""
        if not state and error.status_code != self._lost:
            return DatabaseError("the driver cannot send or read these rows")
        if state == _UNBOUND:
            return DatabaseError("the query has a parameter, such as $1, which has no value here")
        if not state or state.startswith(_TRANSIENT):
            what = "a conflict with another transaction at" if state[:2] == "40" else "lost"
            return DatabaseLostError(f"{what} the database server at {self._place}")
        details = {key: value.decode(errors="replace") for key, value in error.details}
        if state == "55P03":
            why = f"another program kept it locked for {PATIENCE:g} s; try again later"
        elif state in _SAYINGS:
            why = _SAYINGS[state]
        elif b"PG_DIAG_CONTEXT" in details:  # whose words are its author's, with values perhaps
            why = "a trigger or function of the database raised an error"
        elif state.startswith(_NAMING):
            why = details.get(b"PG_DIAG_MESSAGE_PRIMARY", "")
        else:
            why = "a value does not fit a type, or is not one that PostgreSQL can hold"
        position = details.get(b"PG_DIAG_STATEMENT_POSITION")
        if query and state == "42601" and not position:  # several statements have no one place
            return DatabaseError(_ONE_SELECT)
        at = f" at {_line_and_column(query, int(position) - 1)} of the query" if position else ""
        return DatabaseError(f"{why}{at if query else ''} (SQLSTATE {state})")

    def change(self, sql: str) -> int:
        with self._said():
            self._cursor.execute(sql)
            return int(self._cursor.rowcount)

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:  # noqa: ARG002
        with self._said(sql):
            described = self._cursor.adbc_execute_schema(sql)  # parses, and runs nothing
        self._check_reads(sql)
        as_text = {i: name for i, field in enumerate(described) if (name := self._text_like(field))}
        lists = [i for i, field in enumerate(described) if pa.types.is_list(field.type)]
        schema = pa.schema(
            [
                _as_text(field, as_text[i]) if i in as_text else self._readable(field)
                for i, field in enumerate(described)
            ]
        )
        sent = _rewritten(sql, described.names, as_text, lists) if as_text or lists else sql
        with self._said(sql if sent == sql else ""):  # or its places would not be the query's
            self._cursor.execute(sent)
            return schema, self._batches(self._cursor.fetch_record_batch(), schema, lists)

    def _check_reads(self, sql: str) -> None:
        """Have the server's own grammar say that it is one query, and its executor that it reads.

        A cursor is declared for one SELECT, VALUES or TABLE, whose WITH changes nothing; for one
        that locks rows not in a transaction that only reads. Declaring computes no row. That the
        driver sends one statement at a time, with the rows' query in the brackets of a COPY, is the
        second lock on the same door.
        """
        try:
            self._cursor.execute(f"DECLARE em_impute_query NO SCROLL CURSOR FOR {sql}")
            self._cursor.execute("CLOSE em_impute_query")
        except self._error as error:
            if error.sqlstate in _NO_QUERY:
                raise DatabaseError(_ONE_SELECT) from None
            raise self._reason(error, "") from None

    def _batches(
        self, reader: Iterable[pa.RecordBatch], schema: pa.Schema, lists: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                for i, nested in zip(lists, batch.columns[len(schema) :], strict=True):
                    _check_flat(nested, schema.field(i))
                columns = list(map(_exact, batch.columns[: len(schema)], schema))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except (OSError, pa.ArrowException) as error:
            # In the middle of the rows the driver passes on words only.
            if "ERROR:" in str(error):
                raise DatabaseError(
                    "the server stopped in the middle of the rows, at one that the query cannot "
                    "compute, or where it would have changed something"
                ) from None
            raise DatabaseLostError(f"lost the database server at {self._place}") from None

    def _readable(self, field: pa.Field) -> pa.Field:
        """The field in which a column is read; raises for a type that Arrow does not have."""
        name = field.metadata[b"POSTGRESQL:type"].decode()
        if name in _TEXTUAL:
            type_ = _decimal(int(field.metadata.get(b"POSTGRESQL:typmod", -1)))
            return pa.field(field.name, type_, metadata={b"POSTGRESQL:type": name.encode()})
        item = field.type.value_type if pa.types.is_list(field.type) else field.type
        unlike = "arrow.opaque" in str(field.type) or pa.types.is_struct(item)
        if name in _MISREAD or unlike:
            raise _unreadable(field.name, self._type_name(name))
        return field.remove_metadata()

    def _text_like(self, field: pa.Field) -> str | None:
        """The name of a type that the driver does not know and that its text says exactly."""
        name = field.metadata[b"POSTGRESQL:type"].decode()
        if not str(field.type).startswith("extension<arrow.opaque"):
            return None
        oid = re.fullmatch(r"unnamed<oid:(\d+)>", name)
        [(type_, like)] = self.run(postgresql_catalog.TEXT_LIKE, int(oid[1]) if oid else 0, name)
        return str(type_) if like or type_ in _TEXT_LIKE else None

    def _type_name(self, name: str) -> str:
        """The name of a type as PostgreSQL shows it."""
        if oid := re.fullmatch(r"unnamed<oid:(\d+)>", name):
            [(name,)] = self.run("SELECT format_type($1::bigint::oid, NULL)", int(oid[1]))
        return f"{name[1:]}[]" if name.startswith("_") else name

    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        types = _types(schema, _type_for_postgresql, "PostgreSQL")
        sent = pa.schema([(f"c{i}", type_) for i, type_ in enumerate(types)])
        mistakes: list[DatabaseError] = []
        rows = _noting(mistakes, _cast(batches, schema, types))
        try:
            with self._said():
                reader = pa.RecordBatchReader.from_batches(sent, rows)
                self._cursor.adbc_ingest(STAGING, reader, mode="create", temporary=True)
        except (DatabaseError, DatabaseLostError) as error:
            # What goes wrong in a batch reaches the driver as a broken stream.
            raise mistakes[0] if mistakes else error from None
        self.run(f"ANALYZE {self.staging}")  # for the plans of what is joined to it

    def find(self, parts: tuple[str, ...]) -> Table:
        name = ".".join(map(quoted, parts))
        found = self.run(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
            name,
        )
        if found:
            return Table(found[0], exists=True)
        [(schema,)] = self.run("SELECT current_schema()::text")
        return Table(parts if len(parts) > 1 else (schema or "public", *parts), exists=False)

    def tables(self) -> list[tuple[str, str]]:
        return self.run(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN "
            "('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        )

    def columns(self, table: Table) -> dict[str, Column]:
        found = self.run(postgresql_catalog.COLUMNS, table.sql)
        return {name: Column(*parts) for name, *parts in found}

    def staged_types(self) -> list[str]:
        found = self.run(postgresql_catalog.COLUMNS, self.staging)
        return [exact for _, _, exact, *_ in found]

    def between(self, table: Table) -> list[str]:
        return postgresql_catalog.between(self.run, table.sql)

    def settle(self) -> None:
        self.run("SET CONSTRAINTS ALL IMMEDIATE")

    def stand_in(self, table: Table) -> Table:
        like = Table(("pg_temp", table.parts[-1]), exists=True)
        self.run(
            f"CREATE TEMPORARY TABLE {quoted(like.parts[-1])} (LIKE {table.sql} INCLUDING ALL)"
        )
        self.run("CREATE TEMPORARY SEQUENCE em_impute_numbers")
        for (column,) in self.run(postgresql_catalog.NUMBERED, table.sql):
            # The table's own sequence would not go back.
            self.run(
                f"ALTER TABLE {like.sql} ALTER COLUMN {quoted(column)} "
                "SET DEFAULT nextval('pg_temp.em_impute_numbers')"
            )
        return like

    def check_references(
        self, table: Table, values: Mapping[str, str], filled: Sequence[str]
    ) -> None:
        for name, other, own, theirs in postgresql_catalog.foreign_keys(self.run, table.sql):
            if not set(own) <= values.keys() - set(filled):
                continue
            given = " AND ".join(f"{values[column]} IS NOT NULL" for column in own)
            found = " AND ".join(
                f"there.{quoted(column)} = {values[mine]}"
                for mine, column in zip(own, theirs, strict=True)
            )
            [(rows,)] = self.run(
                f"SELECT count(*) FROM {self.staging} AS new WHERE {given} "
                f"AND NOT EXISTS (SELECT 1 FROM {other} AS there WHERE {found})"
            )
            if rows:
                raise DatabaseError(
                    f"{rows:,} rows refer by its foreign key {name} to rows that are not in {other}"
                )

    def check_privileges(self, table: Table, privileges: Sequence[str]) -> None:
        if table.exists:
            what, grant = (
                f"table {table.parts[-1]}",
                postgresql_catalog.missing_grants(self.run, table.sql, privileges),
            )
        else:
            what, grant = (
                f"schema {table.parts[0]}",
                postgresql_catalog.missing_in_schema(self.run, table.parts[0]),
            )
        if not grant and (grant := postgresql_catalog.missing_in_database(self.run)):
            what = "temporary tables"
        if grant:
            raise DatabaseError(f"permission denied for {what}; its owner gives it with `{grant}`")

    def new_type(self, field: pa.Field) -> str | None:
        if pa.types.is_decimal(field.type):
            return f"numeric({field.type.precision},{field.type.scale})"
        if pa.types.is_string(field.type):
            # A file can say anything in its metadata, and this becomes SQL.
            kept = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode(errors="replace")
            known = kept in _TEXT_LIKE and self.run("SELECT to_regtype($1)::text", kept)[0][0]
            return kept if kept in _TEXTUAL or known else "text"
        return None

    def lock(self, table: Table) -> None:
        self.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"em_impute {table.sql}")

    def check_replaceable(self, table: Table) -> None:
        for name, child, cascades, refers in postgresql_catalog.references(self.run, table.sql):
            if cascades:
                raise DatabaseError(
                    f"replacing its rows would delete or change rows of other tables, by the "
                    f"foreign key {name} with ON DELETE; use `mode: upsert`"
                )
            may = "SELECT has_table_privilege($1::regclass, 'SELECT')"
            if self.run(may, child)[0][0] and self.run(
                f"SELECT 1 FROM {child} WHERE {refers} LIMIT 1"
            ):
                raise DatabaseError(
                    f"its rows cannot be replaced, because rows of {child} refer to them by the "
                    f"foreign key {name}; use `mode: upsert`, or make the key DEFERRABLE"
                )


def _as_text(field: pa.Field, type_: str) -> pa.Field:
    return pa.field(field.name, pa.string(), metadata={b"POSTGRESQL:type": type_.encode()})


def _rewritten(
    sql: str, names: Sequence[str], as_text: Mapping[int, str], lists: Sequence[int]
) -> str:
    """A query with some columns cast to text; at its end, which arrays are more than a list."""
    cells = [f"q.c{i}" for i in range(len(names))]
    nested = [f"array_ndims({cells[i]}) > 1 OR array_lower({cells[i]}, 1) <> 1" for i in lists]
    for i, more in zip(lists, nested, strict=True):
        cells[i] = f"CASE WHEN {more} THEN NULL ELSE {cells[i]} END"
    for i in as_text:
        cells[i] = f"{cells[i]}::text"
    columns = [f"{cell} AS {quoted(name)}" for cell, name in zip(cells, names, strict=True)]
    aliases = ", ".join(f"c{i}" for i in range(len(names)))
    return f"SELECT {', '.join([*columns, *nested])} FROM (\n{sql}\n) AS q({aliases})"


def _check_flat(nested: pa.Array, field: pa.Field) -> None:
    if pc.any(nested).as_py():
        raise DatabaseError(
            f"column {field.name!r} holds arrays of several dimensions, or whose first element is "
            f"not number 1, which a list does not have; use a query that casts it, such as `select "
            f"cast({quoted(field.name)} as text)`"
        )


def _place(parts: SplitResult) -> str:
    query = dict(parse_qsl(parts.query))
    host, port = parts.hostname or query.get("host"), parts.port or query.get("port")
    return f"{host or 'localhost'}:{port or 5432}"


def _libpq_uri(parts: SplitResult, password: str | None) -> str:
    netloc = parts.netloc
    if password is not None:
        host = netloc.rpartition("@")[2]
        netloc = (
            f"{quote(unquote(parts.username or ''), safe='')}:{quote(password, safe='')}@{host}"
        )
    defaults = {"connect_timeout": "10", "fallback_application_name": "em_impute"}
    query = urlencode(defaults | dict(parse_qsl(parts.query)), quote_via=quote)
    return parts._replace(scheme="postgresql", netloc=netloc, query=query).geturl()


def _line_and_column(sql: str, offset: int) -> str:
    before = sql[:offset]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _decimal(typmod: int) -> pa.DataType:
    """The Arrow type of numeric(precision, scale); text, which is exact, where none is declared."""
    if typmod < 4:
        return pa.string()
    precision, scale = (typmod - 4) >> 16, (((typmod - 4) & 0x7FF) ^ 1024) - 1024
    if precision > 76:
        return pa.string()
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)


def _exact(column: pa.Array, field: pa.Field) -> pa.Array:
    """A column as the driver reads it, in the type of its field."""
    if isinstance(column.type, pa.BaseExtensionType) and not field.type.equals(column.type):
        column = column.storage
    _check_finite(column, field)
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        raise DatabaseError(
            f"column {field.name!r} holds NaN or infinity, which {field.type} does not have; use "
            f"a query that casts it, such as `select cast({quoted(field.name)} as float8)`"
        ) from None


def _check_finite(column: pa.Array, field: pa.Field) -> None:
    """Refuse infinity among dates: the driver makes a day of it, long before PostgreSQL's first."""
    if pa.types.is_list(field.type):
        _check_finite(column.flatten(), pa.field(field.name, field.type.value_type))
        return
    is_date = pa.types.is_date(column.type)
    if is_date or pa.types.is_timestamp(column.type):
        first = pc.min(column.cast(pa.int32() if is_date else pa.int64())).as_py()
        if first is not None and first < -(2**30 if is_date else 2**62):
            raise _infinite(field)


def _infinite(field: pa.Field) -> DatabaseError:
    return DatabaseError(
        f"column {field.name!r} holds infinity or a time beyond Arrow's, which {field.type} does "
        f"not have; use a query that casts it, such as `select cast({quoted(field.name)} as text)`"
    )


def _type_for_postgresql(type_: pa.DataType) -> pa.DataType | None:
    """The type that the driver writes exactly; None if there is none."""
    is_type = pa.types
    if is_type.is_dictionary(type_):
        return _type_for_postgresql(type_.value_type)
    if is_type.is_uint64(type_):
        return pa.decimal128(20, 0)
    if is_type.is_date64(type_):
        return pa.date32()
    if is_type.is_timestamp(type_) and type_.unit == "ns":
        return pa.timestamp("us", type_.tz)
    if is_type.is_time64(type_):
        return pa.time64("us")
    if is_type.is_duration(type_):
        return pa.duration("us")
    if is_type.is_list(type_) or is_type.is_large_list(type_):
        item = _type_for_postgresql(type_.value_type)
        return None if item is None else pa.list_(item)
    return None if is_type.is_nested(type_) or is_type.is_run_end_encoded(type_) else type_


def _noting(
    mistakes: list[DatabaseError], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except DatabaseError as mistake:
        mistakes.append(mistake)
        raise


# --- DuckDB ------------------------------------------------------------------------------------


def _check_ends(column: pa.Array, field: pa.Field) -> None:
    """Refuse infinity among DuckDB's dates and times, which are the last numbers that there are."""
    is_date = pa.types.is_date32(column.type)
    if is_date or pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int32() if is_date else pa.int64())
        last = 2**31 - 1 if is_date else 2**63 - 1
        ends = pc.min_max(numbers).as_py()
        if ends["max"] == last or ends["min"] == -last:
            raise _infinite(field)


# Types whose Arrow form has lost something: the length of a BIT, the offset of a TIMETZ.
_LOSSY_IN_DUCKDB = re.compile(r"BIT\b|TIME WITH TIME ZONE|UNION\b|BIGNUM|UHUGEINT|VARIANT|GEOMETRY")


class _DuckDB(Session):
    """A DuckDB file, which exchanges Arrow batches without copies."""

    dialect = "duckdb"

    def __init__(self, path: Path, write: bool) -> None:
        self._duckdb = _driver("duckdb", "duckdb")
        _check_there(path, write)
        self._connection = self._opened(path, write)
        self.run("SET TimeZone = 'UTC'")
        self._restrict()
        self.run("BEGIN TRANSACTION")

    def _opened(self, path: Path, write: bool) -> Any:
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                # From the root on, so that no name before a colon is taken for a service's.
                return self._duckdb.connect(str(path.absolute()), read_only=not write)
            except (self._duckdb.IOException, self._duckdb.ConnectionException) as error:
                locked = "lock" in str(error) or "different configuration" in str(error)
                if not locked:
                    raise DatabaseError(f"{path} cannot be opened as a DuckDB file") from None
                if time.monotonic() > give_up:
                    raise _kept_locked() from None
            time.sleep(0.1)

    def _restrict(self) -> None:
        """Keep SQL from this program's variables, its settings, and files where jobs may not go."""
        self.run("SET python_enable_replacements = false")
        [(free,)] = self.run("SELECT current_setting('enable_external_access')")
        if free and (allowed := roots()):
            folders = ", ".join(_literal(str(folder)) for folder in allowed)
            self.run(f"SET allowed_directories = [{folders}]")
            self.run("SET enable_external_access = false")
        self.run("SET lock_configuration = true")  # a SELECT can switch on a log in any file

    def close(self) -> None:
        self._connection.close()

    def commit(self) -> None:
        self.run("COMMIT")

    def run(self, sql: str, *values: object) -> Rows:
        with self._said():
            rows: Rows = self._connection.execute(sql, list(values)).fetchall()
            return rows

    def change(self, sql: str) -> int:
        [(rows,)] = self.run(sql)
        return int(rows)

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except self._duckdb.TransactionException:
            raise DatabaseLostError("a conflict with another transaction") from None
        except self._duckdb.Error as error:
            raise DatabaseError(self._reason(error)) from None

    def _reason(self, error: Exception) -> str:
        message = str(error)
        line = re.search(r"^LINE (\d+):", message, re.MULTILINE)
        at = f" at line {line[1]} of the query" if line else ""
        if isinstance(error, self._duckdb.ParserException):
            return f"the SQL has a syntax error{at}"
        if isinstance(error, self._duckdb.CatalogException | self._duckdb.BinderException):
            return message.splitlines()[0].partition(": ")[2].rstrip("!.") + at
        if isinstance(error, self._duckdb.ConstraintException):
            return "a row violates a constraint of the table, such as its primary key"
        if "read-only mode" in message or "configuration has been locked" in message:
            return f"{_ONE_SELECT}{at}"
        if isinstance(error, self._duckdb.PermissionException):
            return f"it reads a file outside of the folders that jobs may use ({ROOT}){at}"
        return f"a value does not fit, or the file is damaged ({type(error).__name__}){at}"

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        with self._said():
            self._check_reads(sql)
            relation = self._connection.sql(sql)
            if relation is None:
                raise DatabaseError("the query gives no rows")
            for name, type_ in zip(relation.columns, map(str, relation.types), strict=True):
                if _LOSSY_IN_DUCKDB.match(type_):
                    raise _unreadable(name, type_)
            reader = relation.to_arrow_reader(batch_rows)
            return reader.schema, self._batches(reader)

    def _check_reads(self, sql: str) -> None:
        """Refuse what a read-only file does not: a second statement, COPY to a file, INSTALL.

        A query that copies in its WITH is a SELECT too, but cannot be part of another one.
        """
        kinds = [statement.type.name for statement in self._connection.extract_statements(sql)]
        pivots = kinds == ["MULTI"] and re.match(r"\s*pivot\b", sql, re.IGNORECASE)
        if kinds != ["SELECT"] and not pivots:
            raise DatabaseError(_ONE_SELECT)
        if not pivots:
            self._connection.execute(f"EXPLAIN {sql}")  # its own mistakes are told
            try:
                self._connection.execute(f"EXPLAIN SELECT 1 FROM (\n{sql}\n)")
            except self._duckdb.Error:
                raise DatabaseError(_ONE_SELECT) from None

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            with self._said():
                for batch in reader:
                    for column, field in zip(batch.columns, reader.schema, strict=True):
                        _check_ends(column, field)
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise DatabaseError("a value of the query cannot be computed") from error

    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        sent = _renamed(schema.empty_table()).schema
        reader = pa.RecordBatchReader.from_batches(sent, map(_renamed, batches))
        self._connection.register("em_impute_incoming", reader)
        self.run(f"CREATE TEMPORARY TABLE {STAGING} AS SELECT * FROM em_impute_incoming")

    def find(self, parts: tuple[str, ...]) -> Table:
        *schema, name = parts
        found = self.run(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_database() AND lower(table_name) = lower($1) "
            "AND lower(table_schema) = lower(coalesce($2, current_schema()))",
            name,
            schema[0] if schema else None,
        )
        if found:
            return Table(found[0], exists=True)
        [(default,)] = self.run("SELECT current_schema()")
        return Table(parts if schema else (default, name), exists=False)

    def tables(self) -> list[tuple[str, str]]:
        return self.run(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_database()"
        )

    def columns(self, table: Table) -> dict[str, Column]:
        found = self.run(
            "SELECT column_name, data_type, is_generated = 'ALWAYS', "
            "is_nullable = 'NO' AND column_default IS NULL FROM information_schema.columns WHERE "
            "table_catalog = current_database() AND table_schema = $1 AND table_name = $2 "
            "ORDER BY ordinal_position",
            *table.parts,
        )
        return {
            name: Column(type_, type_, type_, bool(generated), required=required)
            for name, type_, generated, required in found
        }

    def staged_types(self) -> list[str]:
        return [row[1] for row in self.run(f"DESCRIBE {self.staging}")]


def _kept_locked() -> DatabaseError:
    return DatabaseError(
        f"another process kept the database locked for {PATIENCE:g} s; try again when it is done"
    )


# --- SQLite ------------------------------------------------------------------------------------

_TYPES_OF_STORAGE: dict[frozenset[str], pa.DataType] = {
    frozenset(): pa.null(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"real"}): pa.float64(),
    frozenset({"integer", "real"}): pa.float64(),
    frozenset({"text"}): pa.string(),
    frozenset({"blob"}): pa.binary(),
}
_SQLITE_NAMES = {pa.int64(): "INTEGER", pa.float64(): "REAL", pa.binary(): "BLOB"}


class _SQLite(Session):
    """An SQLite file. Its columns have no types, its values have; Arrow's come from all of them."""

    dialect = "sqlite"
    mark = "?"
    typed = False

    def __init__(self, path: Path, write: bool) -> None:
        _check_there(path, write)
        self._key_columns: dict[int, str] = {}
        mode = "rwc" if write else "ro"
        uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
        with self._said():
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=PATIENCE, isolation_level=None
            )
        # No other file is attached, and what a file's own schema calls is harmless.
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self.run("PRAGMA trusted_schema = OFF")
        self.run("BEGIN IMMEDIATE" if write else "BEGIN")
        if not write:
            self._connection.set_authorizer(_only_reads)

    def close(self) -> None:
        self._connection.close()

    def commit(self) -> None:
        self.run("COMMIT")

    def run(self, sql: str, *values: object) -> Rows:
        with self._said():
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str) -> int:
        with self._said():
            return self._connection.execute(sql).rowcount

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:  # Python 3.11 warns of a second statement
            raise _sqlite_reason(error) from None

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        source = f"(\n{sql}\n)"
        self.run(f"EXPLAIN {sql}")  # it must stand by itself: no bracket of it closes ours
        with self._said():
            described = self._connection.execute(f"SELECT * FROM {source} LIMIT 0").description
        names = [column[0] for column in described]
        found = ", ".join(f"group_concat(DISTINCT typeof({quoted(name)}))" for name in names)
        [storages] = self.run(f"SELECT {found} FROM {source}")
        for name, kinds in zip(names, storages, strict=True):
            self._check_empty_texts(source, name, set((kinds or "").split(",")) - {"null"})
        schema = pa.schema(list(map(_field_of_storage, names, storages)))
        with self._said():
            cursor = self._connection.execute(f"SELECT * FROM {source}")
        return schema, self._batches(cursor, batch_rows, schema)

    def _check_empty_texts(self, source: str, name: str, kinds: set[str]) -> None:
        """Say so where what keeps a column from being one of numbers is empty text."""
        if "text" not in kinds or not kinds - {"text"} <= {"integer", "real"} or len(kinds) < 2:
            return
        column = quoted(name)
        texts = f"typeof({column}) = 'text' AND trim({column}) <> ''"
        if not self.run(f"SELECT 1 FROM {source} WHERE {texts} LIMIT 1"):
            raise DatabaseError(
                f"column {name!r} holds empty text among numbers, perhaps for a missing cell; use "
                f"a query that makes it missing, such as `select nullif({column}, '') as {column}`"
            )

    def _batches(
        self, cursor: sqlite3.Cursor, batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        with self._said():
            while rows := cursor.fetchmany(batch_rows):
                columns = zip(*rows, strict=True)
                yield pa.RecordBatch.from_arrays(list(map(_array, columns, schema)), schema=schema)

    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        types = _types(schema, _type_for_sqlite, "SQLite")
        columns = ", ".join(
            f"c{i} {_SQLITE_NAMES.get(type_, 'TEXT')}" for i, type_ in enumerate(types)
        )
        self.run(f"CREATE TEMP TABLE {STAGING} ({columns})")
        marks = ", ".join("?" * len(types))
        with self._said():
            for batch in _cast(batches, schema, types):
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                self._connection.executemany(f"INSERT INTO {self.staging} VALUES ({marks})", rows)

    def find(self, parts: tuple[str, ...]) -> Table:
        *schema, name = parts
        found = self.run(
            "SELECT 'main', name FROM main.sqlite_schema "
            "WHERE type IN ('table', 'view') AND lower(name) = lower(?1)",
            name,
        )
        if found and schema in ([], ["main"]):
            return Table(found[0], exists=True)
        return Table(parts if schema else ("main", name), exists=False)

    def tables(self) -> list[tuple[str, str]]:
        return self.run(
            "SELECT 'main', name FROM main.sqlite_schema WHERE type IN ('table', 'view')"
        )

    def columns(self, table: Table) -> dict[str, Column]:
        # A table's own INTEGER PRIMARY KEY numbers itself.
        found = self.run(
            'SELECT name, type, hidden, "notnull" AND dflt_value IS NULL AND pk = 0 '
            "FROM pragma_table_xinfo(?1) WHERE hidden <> 1",
            table.parts[-1],
        )
        return {
            name: Column(type_, type_, _affinity(type_), hidden > 1, required=bool(required))
            for name, type_, hidden, required in found
        }

    def staged_types(self) -> list[str]:
        return [type_ for (type_,) in self.run(f"SELECT type FROM pragma_table_info('{STAGING}')")]

    def as_held(self, table: Table, names: Sequence[str], schema: pa.Schema) -> str:
        columns = ", ".join(map(quoted, names))
        cells = ", ".join(f"c{schema.get_field_index(name)}" for name in names)
        self.run(f"CREATE TEMP TABLE em_impute_held AS SELECT {columns} FROM {table.sql} WHERE 0")
        self.run(
            f"INSERT INTO temp.em_impute_held SELECT {cells} FROM {self.staging} ORDER BY rowid"
        )
        return f"{self.staging} AS new JOIN temp.em_impute_held AS held ON held.rowid = new.rowid"

    def index_staged(self, table: Table, key: Mapping[str, int]) -> None:
        # What is compared must be of one affinity, or no index is used: text that is compared with
        # a column of numbers gets one more column, in which it becomes what it is there.
        columns, staged = self.columns(table), self.staged_types()
        for name, i in key.items():
            if name in columns and columns[name].base != staged[i] == "TEXT":
                self.run(f"ALTER TABLE {self.staging} ADD COLUMN k{i} {columns[name].base}")
                self.run(f"UPDATE {self.staging} SET k{i} = c{i}")
                self._key_columns[i] = f"k{i}"
        by = ", ".join(map(self.key_column, key.values()))
        self.run(f"CREATE INDEX temp.em_impute_by_key ON {STAGING} ({by})")

    def key_column(self, i: int) -> str:
        return self._key_columns.get(i, f"c{i}")

    def unmatched(self, table: Table, match: str, key: Mapping[str, int]) -> str:  # noqa: ARG002
        # One walk over the table, which may have no index on the key; the staged rows have one.
        known = " AND ".join(
            f"old.{quoted(name)} = known.{self.key_column(i)}" for name, i in key.items()
        )
        return (
            f"new.rowid NOT IN (SELECT known.rowid FROM {table.sql} AS old "
            f"CROSS JOIN {self.staging} AS known WHERE {known})"
        )

    def between(self, table: Table) -> list[str]:
        found = self.run(
            "SELECT CASE type WHEN 'trigger' THEN 'its trigger ' || name ELSE 'that it is a view' "
            "END FROM main.sqlite_schema WHERE lower(tbl_name) = lower(?1) "
            "AND type IN ('trigger', 'view') ORDER BY 1",
            table.parts[-1],
        )
        return [name for (name,) in found]


def _affinity(declared: str) -> str:
    """What a column makes of its values, by SQLite's rules for the words of its type."""
    words = declared.upper()
    if "INT" in words:
        return "INTEGER"
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in words or not words:
        return "BLOB"
    return "REAL" if any(word in words for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


_READING = {
    *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION),
    sqlite3.SQLITE_RECURSIVE,
}


def _only_reads(action: int, *_: object) -> int:
    """What SQLite asks of each part of a statement that it compiles: PRAGMA, ATTACH are none."""
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _sqlite_reason(error: sqlite3.Error | sqlite3.Warning) -> DatabaseError:
    name, message = getattr(error, "sqlite_errorname", ""), str(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _kept_locked()
    if name == "SQLITE_FULL":
        return DatabaseError("the disk is full")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return DatabaseError("the file is not an SQLite database, or it is damaged")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return DatabaseError("the file or its folder cannot be opened or written")
    if "one statement at a time" in message or name == "SQLITE_AUTH":
        return DatabaseError(_ONE_SELECT)
    if "syntax error" in message or "incomplete input" in message:
        return DatabaseError("the SQL has a syntax error")
    if name == "SQLITE_CONSTRAINT_TRIGGER":  # whose words are its author's
        return DatabaseError("a trigger of the database raised an error")
    if message.startswith("no such ") or "constraint failed" in message:
        return DatabaseError(message)
    return DatabaseError(f"the statement failed ({name or type(error).__name__})")


def _field_of_storage(name: str, storages: str | None) -> pa.Field:
    kinds = frozenset((storages or "null").split(",")) - {"null"}
    if kinds not in _TYPES_OF_STORAGE:
        raise DatabaseError(
            f"column {name!r} holds values of several types ({', '.join(sorted(kinds))}), which no "
            f"type of Arrow holds; use a query that casts it, such as `select cast({quoted(name)} "
            "as text)`"
        )
    return pa.field(name, _TYPES_OF_STORAGE[kinds])


def _array(column: tuple[Any, ...], field: pa.Field) -> pa.Array:
    try:
        return pa.array(column, field.type)
    except pa.ArrowException:
        raise DatabaseError(
            f"column {field.name!r} holds whole numbers beyond 2**53 among numbers with decimals; "
            f"use a query that casts it, such as `select cast({quoted(field.name)} as text)`"
        ) from None


def _type_for_sqlite(type_: pa.DataType) -> pa.DataType | None:
    """What SQLite stores: whole numbers, floating point, text and bytes; dates as ISO text."""
    is_type = pa.types
    if is_type.is_dictionary(type_):
        return _type_for_sqlite(type_.value_type)
    if is_type.is_integer(type_) or is_type.is_boolean(type_):
        return pa.int64()
    if is_type.is_floating(type_):
        return pa.float64()
    if is_type.is_null(type_):
        return type_
    if is_type.is_binary(type_) or is_type.is_large_binary(type_):
        return pa.binary()
    textual = (
        is_type.is_string(type_)
        or is_type.is_large_string(type_)
        or is_type.is_string_view(type_)
        or is_type.is_decimal(type_)
        or is_type.is_date(type_)
        or is_type.is_time(type_)
        or is_type.is_timestamp(type_)
    )
    return pa.string() if textual else None
