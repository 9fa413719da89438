"""What tests know of an empty database, of any of the three kinds, and how they read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import pyarrow as pa
import pytest
from postgres_server import PostgresServer

from em_impute.job import DatabaseSource, DatabaseTarget
from em_impute.tables.databases.source import open_source
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import Staged

Stage = Callable[..., Staged]
NUMBERS = count()
NEW_TYPES = re.compile("CREATE (DOMAIN|EXTENSION|TYPE)")


class Database:
    """An empty database, and a way to run SQL in it that is not the one under test."""

    def __init__(self, url: str, run: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.url, self.run, self.engine = url, run, url.partition(":")[0]

    def source(self, **what: str) -> DatabaseSource:
        return DatabaseSource(url=self.url, **what)

    def target(self, table: str = "t", mode: Any = "replace", **also: Any) -> DatabaseTarget:
        return DatabaseTarget(url=self.url, table=table, mode=mode, **also)

    def rows(self, table: str = "t") -> list[tuple[Any, ...]]:
        return sorted(self.run(f"SELECT * FROM {table}"))


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[Database]:
    """A database of the server, whose reader stays connected: the driver looks all types up first.

    It connects again where there are new ones, and when the server was started again.
    """
    name = f"test_{next(NUMBERS)}"
    with adbc_driver_postgresql.dbapi.connect(postgres.url, autocommit=True) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name}")
    url = f"{postgres.url.rpartition('/')[0]}/{name}"

    kept: dict[int, adbc_driver_postgresql.dbapi.Connection] = {}

    def run(sql: str) -> list[tuple[Any, ...]]:
        if postgres.starts not in kept:
            kept[postgres.starts] = adbc_driver_postgresql.dbapi.connect(url, autocommit=True)
        with kept[postgres.starts].cursor() as cursor:
            for statement in sql.split(";;"):
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        if NEW_TYPES.search(sql):
            kept.pop(postgres.starts).close()
        return rows

    yield Database(url, run)
    for connection in kept.values():
        connection.close()


@pytest.fixture
def duckdb_database(tmp_path: Path) -> Database:
    def run(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(tmp_path / "db.duckdb")) as connection:
            return [connection.execute(statement).fetchall() for statement in sql.split(";;")][-1]

    return Database(f"duckdb:///{tmp_path}/db.duckdb", run)


def read(source: DatabaseSource, batch_rows: int = 1000) -> pa.Table:
    schema, batches = open_source(source, batch_rows)
    return pa.Table.from_batches(list(batches), schema)


def refusal_of(source: DatabaseSource) -> str:
    with pytest.raises(SourceError) as caught:
        read(source)
    return str(caught.value)
