"""PostgreSQL through ADBC: binary COPY in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.tables.databases import postgresql_catalog
from em_impute.tables.databases.address import libpq_uri, server
from em_impute.tables.databases.session import (
    ONE_SELECT,
    STAGING,
    Column,
    DatabaseError,
    DatabaseLostError,
    Fetched,
    Session,
    Table,
    cast_exactly,
    driver,
    infinite,
    quoted,
    types_sent,
    unreadable,
)

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
_REASONS = {
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


class PostgreSQL(Session):
    """PostgreSQL through ADBC: binary COPY in both directions."""

    dialect = "postgresql"
    staging = f"pg_temp.{STAGING}"

    def __init__(self, parts: SplitResult, password: str | None, write: bool) -> None:
        adbc = driver("adbc_driver_postgresql.dbapi", "postgresql")
        self._error = adbc.Error
        self._lost = driver("adbc_driver_manager", "postgresql").AdbcStatusCode.IO
        self._place = server(parts)
        try:
            self._connection = adbc.connect(libpq_uri(parts, password))
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
            self.run(f"SET LOCAL lock_timeout = '{self.patience:g}s'")

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
                f"the server at {self._place} does not let this user in from here (pg_hba.conf)"
            )
        why = next((words for words in _UNREACHABLE if words in message), "no connection")
        return DatabaseLostError(f"no database server answers at {self._place} ({why.lower()})")

    def close(self) -> None:
        with suppress(self._error):  # a server that is gone
            self._cursor.close()
        with suppress(self._error):
            self._connection.close()

    def commit(self) -> None:
        with self._reported():
            self._connection.commit()

    def run(self, sql: str, *values: object) -> Fetched:
        with self._reported():
            self._cursor.execute(sql, values or None)
            return self._cursor.fetchall() if self._cursor.description else []

    @contextmanager
    def _reported(self, query: str = "") -> Iterator[None]:
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
            why = f"another program kept it locked for {self.patience:g} s; try again later"
        elif state in _REASONS:
            why = _REASONS[state]
        elif b"PG_DIAG_CONTEXT" in details:  # whose words are its author's, with values perhaps
            why = "a trigger or function of the database raised an error"
        elif state.startswith(_NAMING):
            why = details.get(b"PG_DIAG_MESSAGE_PRIMARY", "")
        else:
            why = "a value does not fit a type, or is not one that PostgreSQL can hold"
        position = details.get(b"PG_DIAG_STATEMENT_POSITION")
        if query and state == "42601" and not position:  # several statements have no one place
            return DatabaseError(ONE_SELECT)
        at = f" at {_line_and_column(query, int(position) - 1)} of the query" if position else ""
        return DatabaseError(f"{why}{at if query else ''} (SQLSTATE {state})")

    def change(self, sql: str) -> int:
        with self._reported():
            self._cursor.execute(sql)
            return int(self._cursor.rowcount)

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:  # noqa: ARG002
        with self._reported(sql):
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
        with self._reported(sql if sent == sql else ""):  # or its places would not be the query's
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
                raise DatabaseError(ONE_SELECT) from None
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
            raise unreadable(field.name, self._type_name(name))
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
        types = types_sent(schema, "postgresql", "PostgreSQL")
        sent = pa.schema([(f"c{i}", type_) for i, type_ in enumerate(types)])
        mistakes: list[DatabaseError] = []
        rows = _noting(mistakes, cast_exactly(batches, schema, types))
        try:
            with self._reported():
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
            raise infinite(field)


def _noting(
    mistakes: list[DatabaseError], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except DatabaseError as mistake:
        mistakes.append(mistake)
        raise
