"""What tests know of an empty database, of any of the three kinds, and how they read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from em_impute.job import DatabaseSource, DatabaseTarget
from em_impute.tables.databases.source import open_source
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import Staged

Stage = Callable[..., Staged]


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


def read(source: DatabaseSource, batch_rows: int = 1000) -> pa.Table:
    schema, batches = open_source(source, batch_rows)
    return pa.Table.from_batches(list(batches), schema)


def refusal_of(source: DatabaseSource) -> str:
    with pytest.raises(SourceError) as caught:
        read(source)
    return str(caught.value)
