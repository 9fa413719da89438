"""Real Delta tables, and a way to read them that is not the one under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from em_impute.job import DeltaSource, DeltaTarget

Rows = list[tuple[Any, ...]]


class Lake:
    """One Delta table."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def table(self) -> DeltaTable:
        return DeltaTable(self.path)

    @property
    def version(self) -> int:
        return self.table.version()

    def write(self, columns: dict[str, Any], mode: Any = "append", **options: Any) -> None:
        write_deltalake(self.path, pa.table(columns), mode=mode, **options)

    def rows(self, version: int | None = None) -> Rows:
        table = DeltaTable(self.path, version=version).to_pyarrow_table()
        return sorted(zip(*table.to_pydict().values(), strict=True))

    def source(self, **options: Any) -> DeltaSource:
        return DeltaSource(path=self.path, format="delta", **options)

    def target(self, mode: Any = "replace", **options: Any) -> DeltaTarget:
        return DeltaTarget(path=self.path, format="delta", mode=mode, **options)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake" / "air")


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A store of S3 at which nobody answers, and a login that must not be shown."""

    def set_up() -> None:
        for name, value in {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "pLant3dKey",
            "AWS_SECRET_ACCESS_KEY": "pLant3dS3cret",
        }.items():
            monkeypatch.setenv(name, value)

    return set_up
