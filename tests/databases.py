"""What tests know of an empty database, of any of the three kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from em_impute.job import DatabaseSource, DatabaseTarget
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
