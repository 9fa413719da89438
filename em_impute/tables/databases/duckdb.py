"""A DuckDB file, which exchanges Arrow batches without copies."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.job.confinement import ROOT, roots
from em_impute.tables.databases.address import check_there
from em_impute.tables.databases.session import (
    ONE_SELECT,
    STAGING,
    Column,
    DatabaseError,
    DatabaseLostError,
    Fetched,
    Session,
    Table,
    driver,
    infinite,
    kept_locked,
    literal,
    quoted,
    renamed,
    unreadable,
)


def _check_ends(column: pa.Array, field: pa.Field) -> None:
    """Refuse infinity among DuckDB's dates and times, which are the last numbers that there are."""
    is_date = pa.types.is_date32(column.type)
    if is_date or pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int32() if is_date else pa.int64())
        last = 2**31 - 1 if is_date else 2**63 - 1
        ends = pc.min_max(numbers).as_py()
        if ends["max"] == last or ends["min"] == -last:
            raise infinite(field)


# Types whose Arrow form has lost something: the length of a BIT, the offset of a TIMETZ.
_LOSSY_IN_DUCKDB = re.compile(r"BIT\b|TIME WITH TIME ZONE|UNION\b|BIGNUM|UHUGEINT|VARIANT|GEOMETRY")


# By itself it takes most of the machine's. A thread that makes a table needs some 125.
SPARING_MEGABYTES = 140


class DuckDB(Session):
    """A DuckDB file, which exchanges Arrow batches without copies."""

    dialect = "duckdb"

    def __init__(self, path: Path, write: bool, sparing: bool = False) -> None:
        self._duckdb = driver("duckdb", "duckdb")
        check_there(path, write)
        self._connection = self._opened(path, write)
        self.run("SET TimeZone = 'UTC'")
        if sparing:
            [(threads,)] = self.run("SELECT current_setting('threads')")
            self.run(f"SET memory_limit = '{SPARING_MEGABYTES * int(threads)}MB'")
        self._restrict()
        self.run("BEGIN TRANSACTION")

    def _opened(self, path: Path, write: bool) -> Any:
        give_up = time.monotonic() + self.patience
        while True:
            try:
                # From the root on, so that no name before a colon is taken for a service's.
                return self._duckdb.connect(str(path.absolute()), read_only=not write)
            except (self._duckdb.IOException, self._duckdb.ConnectionException) as error:
                locked = "lock" in str(error) or "different configuration" in str(error)
                if not locked:
                    raise DatabaseError(f"{path} cannot be opened as a DuckDB file") from None
                if time.monotonic() > give_up:
                    raise kept_locked(self.patience) from None
            time.sleep(0.1)

    def _restrict(self) -> None:
        """Keep SQL from this program's variables, its settings, and files where jobs may not go."""
        self.run("SET python_enable_replacements = false")
        [(free,)] = self.run("SELECT current_setting('enable_external_access')")
        if free and (allowed := roots()):
            folders = ", ".join(literal(str(folder)) for folder in allowed)
            self.run(f"SET allowed_directories = [{folders}]")
            self.run("SET enable_external_access = false")
        self.run("SET lock_configuration = true")  # a SELECT can switch on a log in any file

    def close(self) -> None:
        self._connection.close()

    def commit(self) -> None:
        self.run("COMMIT")

    def run(self, sql: str, *values: object) -> Fetched:
        with self._reported():
            rows: Fetched = self._connection.execute(sql, list(values)).fetchall()
            return rows

    def change(self, sql: str) -> int:
        [(rows,)] = self.run(sql)
        return int(rows)

    @contextmanager
    def _reported(self) -> Iterator[None]:
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
            return f"{ONE_SELECT}{at}"
        if isinstance(error, self._duckdb.OutOfMemoryException):
            return "DuckDB came to the end of its memory; fill fewer columns, or on more cores"
        if isinstance(error, self._duckdb.PermissionException):
            return f"it reads a file outside of the folders that jobs may use ({ROOT}){at}"
        return f"a value does not fit, or the file is damaged ({type(error).__name__}){at}"

    def stream(self, sql: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        with self._reported():
            self._check_reads(sql)
            relation = self._connection.sql(sql)
            if relation is None:
                raise DatabaseError("the query gives no rows")
            for name, type_ in zip(relation.columns, map(str, relation.types), strict=True):
                if _LOSSY_IN_DUCKDB.match(type_):
                    raise unreadable(name, type_)
            reader = relation.to_arrow_reader(batch_rows)
            return reader.schema, self._batches(reader)

    def _check_reads(self, sql: str) -> None:
        """Refuse what a read-only file does not: a second statement, COPY to a file, INSTALL.

        A query that copies in its WITH is a SELECT too, but cannot be part of another one.
        """
        kinds = [statement.type.name for statement in self._connection.extract_statements(sql)]
        pivots = kinds == ["MULTI"] and re.match(r"\s*pivot\b", sql, re.IGNORECASE)
        if kinds != ["SELECT"] and not pivots:
            raise DatabaseError(ONE_SELECT)
        if not pivots:
            self._connection.execute(f"EXPLAIN {sql}")  # what is wrong with it is reported
            try:
                self._connection.execute(f"EXPLAIN SELECT 1 FROM (\n{sql}\n)")
            except self._duckdb.Error:
                raise DatabaseError(ONE_SELECT) from None

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            with self._reported():
                for batch in reader:
                    for column, field in zip(batch.columns, reader.schema, strict=True):
                        _check_ends(column, field)
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise DatabaseError("a value of the query cannot be computed") from error

    def load(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        sent = renamed(schema.empty_table()).schema
        reader = pa.RecordBatchReader.from_batches(sent, map(renamed, batches))
        self._connection.register("em_impute_incoming", reader)
        self.run(f"CREATE TEMPORARY TABLE {STAGING} AS SELECT * FROM em_impute_incoming")

    def supplant(self, table: Table, staged: Table, names: Sequence[str]) -> bool:
        held = list(self.columns(staged))
        if {name.lower() for name in names} & set(held):
            return False  # a column cannot be called what another one still is
        if table.exists:
            if not self._is_bare(table, names, staged):
                return False
            self.run(f"DROP TABLE {table.sql}")
        for name in held[len(names) :]:
            self.run(f"ALTER TABLE {staged.sql} DROP COLUMN {name}")
        for name, new in zip(held, names, strict=False):
            self.run(f"ALTER TABLE {staged.sql} RENAME COLUMN {name} TO {quoted(new)}")
        self.run(f"ALTER TABLE {staged.sql} RENAME TO {quoted(table.parts[-1])}")
        return True

    def _is_bare(self, table: Table, names: Sequence[str], staged: Table) -> bool:
        """Whether a table is its rows and no more: no index, constraint, default or comment."""
        of_table = "database_name = current_database() AND schema_name = $1 AND table_name = $2"
        [(bare,)] = self.run(
            "SELECT index_count = 0 AND comment IS NULL AND NOT contains(sql, 'COLLATE') "
            f"FROM duckdb_tables() WHERE {of_table}",
            *table.parts,
        )
        bound = self.run(f"SELECT 1 FROM duckdb_constraints() WHERE {of_table}", *table.parts)
        columns = self.run(
            "SELECT column_name, data_type, column_default, comment, is_generated "
            f"FROM duckdb_columns() WHERE {of_table} ORDER BY column_index",
            *table.parts,
        )
        types = [column.type for column in self.columns(staged).values()]
        new = [(name, type_, None, None, False) for name, type_ in zip(names, types, strict=False)]
        return bare and not bound and columns == new

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
