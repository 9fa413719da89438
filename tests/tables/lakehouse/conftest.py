"""Real tables of lakehouses, and a way to read them that is not the one under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from databases import Stage
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from em_impute.job import DeltaSource, DeltaTarget, IcebergSource, IcebergTarget
from em_impute.tables.targets import check_target, publish
from em_impute.tables.writing.staged import Published, Staged

Rows = list[tuple[Any, ...]]
Put = Callable[..., Published]

OLD, NEW = {"k": [1, 2], "x": [0.5, 1.5]}, {"k": [2, 3], "x": [2.5, 3.5]}


def keyed(staged: Staged) -> Staged:
    return replace(staged, key=("k",))


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


class Ice:
    """One Iceberg table, in the catalog of a file."""

    NAME = "nyc.air"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.uri = f"sqlite:///{folder}/catalog.db"

    @property
    def catalog(self) -> SqlCatalog:
        return SqlCatalog("lake", uri=self.uri, warehouse=str(self.folder))

    @property
    def table(self) -> Table:
        return self.catalog.load_table(self.NAME)

    @property
    def versions(self) -> list[int]:
        """The snapshots that have led to the current one, the oldest first."""
        found, snapshot = list[int](), self.table.current_snapshot()
        while snapshot:
            found.append(snapshot.snapshot_id)
            parent = snapshot.parent_snapshot_id
            snapshot = self.table.snapshot_by_id(parent) if parent else None
        return found[::-1]

    def write(self, columns: dict[str, Any] | pa.Table, **overwritten: bool) -> None:
        """Append rows, or overwrite all, as another program does."""
        rows = columns if isinstance(columns, pa.Table) else pa.table(columns)
        with self.catalog as catalog:
            catalog.create_namespace_if_not_exists("nyc")
            table = catalog.create_table_if_not_exists(self.NAME, rows.schema)
            (table.overwrite if overwritten else table.append)(rows)

    def rows(self, version: int | None = None) -> Rows:
        read = self.table.scan(snapshot_id=version).to_arrow()
        names = sorted(read.column_names)
        return sorted(zip(*read.select(names).to_pydict().values(), strict=True))

    @property
    def place(self) -> dict[str, Any]:
        """What a job says of it."""
        catalog = {"name": "lake", "uri": self.uri, "warehouse": str(self.folder)}
        return {"table": self.NAME, "format": "iceberg", "catalog": catalog}

    def source(self, **options: Any) -> IcebergSource:
        return IcebergSource.model_validate({**self.place, **options})

    def target(self, mode: Any = "replace", **options: Any) -> IcebergTarget:
        return IcebergTarget.model_validate({**self.place, "mode": mode, **options})


@pytest.fixture
def ice(tmp_path: Path) -> Ice:
    return Ice(tmp_path / "ice")


@pytest.fixture
def put(ice: Ice, stage: Stage) -> Put:
    """Publish rows to the Iceberg table under a name, as a run does."""

    def put(rows: dict[str, Any], mode: str, run: str, **options: Any) -> Published:
        target = ice.target(mode, **options)
        check_target(target)
        return publish(keyed(stage(rows)), target, run)

    return put


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
