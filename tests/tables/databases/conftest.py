"""Rows to publish, and a table to publish them to."""

from __future__ import annotations

from typing import Any

import pytest
from databases import Database, Stage

from em_impute.tables.writing.staged import Staged


@pytest.fixture
def filled(stage: Stage) -> Staged:
    return stage({"k": [1, 2, 3], "x": [1.5, 2.5, 3.5]})


@pytest.fixture
def old(database: Database) -> list[tuple[Any, ...]]:
    """What the table t holds before."""
    columns = "k integer PRIMARY KEY, x double precision, note text DEFAULT 'new'"
    database.run(f"CREATE TABLE t ({columns})")
    database.run("INSERT INTO t VALUES (0, 0.0, 'old'), (1, 0.0, 'old')")
    return database.rows()
