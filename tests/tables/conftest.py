"""What the tests of the table side share: run folders, snapshots, jobs, databases, staged rows."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from databases import Database, Stage, duckdb_database, postgres_database  # noqa: F401
from pyarrow import parquet
from snapshots import folder, job, take_csv, take_table  # noqa: F401

from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Staged

NUMBERS = count()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Database:
    def run(sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(tmp_path / "db.sqlite", isolation_level=None)
        try:
            return [connection.execute(statement).fetchall() for statement in sql.split(";;")][-1]
        finally:
            connection.close()

    return Database(f"sqlite:///{tmp_path}/db.sqlite", run)


@pytest.fixture(params=["postgresql", "duckdb", "sqlite"])
def database(request: pytest.FixtureRequest) -> Database:
    names = {"postgresql": "postgres", "duckdb": "duckdb", "sqlite": "sqlite"}
    found: Database = request.getfixturevalue(f"{names[request.param]}_database")
    return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A table as `fill` leaves it; `filled` has the rows, from 0, of a column's filled cells."""

    def write(
        table: pa.Table | dict[str, Any], filled: dict[str, list[int]] | None = None
    ) -> Staged:
        table = table if isinstance(table, pa.Table) else pa.table(table)
        path = tmp_path / f"staged-{next(NUMBERS)}.feather"
        with open_writer(path, "feather", table.schema) as writer:
            for batch in table.to_batches(max_chunksize=2):
                writer.write_batch(batch)
        cells = sorted((row + 1, name) for name, rows in (filled or {}).items() for row in rows)
        ledger = path.with_suffix(".parquet")
        columns = pa.array([name for _, name in cells], pa.string()).dictionary_encode()
        rows = pa.array([row for row, _ in cells], pa.int64())
        told = {"row": rows, "column": columns, "imputation": pa.repeat(1, len(cells))}
        parquet.write_table(pa.table(told), ledger, row_group_size=3)
        imputed = tuple((name, len(rows)) for name, rows in (filled or {}).items())
        digest = sha256(path)
        return Staged(path, "feather", table.num_rows, len(cells), digest, ledger, imputed)

    return write
