"""An Iceberg table is read at one snapshot, with the same rows in the same order each time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from databases import Database
from pyiceberg.catalog.sql import SqlCatalog

from em_impute.job import IcebergSource
from em_impute.tables.snapshot import Snapshot, SourceError, read_batches
from em_impute.tables.sources import take_snapshot

from .conftest import Ice


def taken(source: IcebergSource, folder: Path) -> Snapshot:
    return take_snapshot(source, folder / "snapshot.arrow")


def rows_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    return pa.Table.from_batches(read_batches(snapshot.path)).to_pylist()


def refusal(source: IcebergSource, folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        taken(source, folder)
    return str(caught.value)


def test_the_current_snapshot_is_read_and_noted(ice: Ice, tmp_path: Path) -> None:
    ice.write({"k": [1, 2], "x": [0.5, None], "Solar.R": ["a b", "é/ü"]})
    ice.write({"k": [3], "x": [1.5], "Solar.R": pa.array([None], pa.string())})
    snapshot = taken(ice.source(), tmp_path)
    assert (snapshot.rows, snapshot.version) == (3, ice.versions[-1])
    assert [row["k"] for row in rows_of(snapshot)] == [1, 2, 3]
    assert [row["Solar.R"] for row in rows_of(snapshot)] == ["a b", "é/ü", None]
    assert snapshot.profile("x").missing == 1
    snapshot.save(tmp_path / "snapshot.json")
    assert Snapshot.load(tmp_path / "snapshot.json") == snapshot


def test_an_older_snapshot_has_its_rows_in_their_order(ice: Ice, tmp_path: Path) -> None:
    for first in range(0, 300, 10):
        ice.write({"k": list(range(first, first + 10))})
    before = taken(ice.source(), tmp_path)
    assert [row["k"] for row in rows_of(before)] == list(range(300))
    then = ice.versions[-1]
    ice.table.delete("k < 15")
    ice.write({"k": [99]})
    again = taken(ice.source(version=then), tmp_path)
    assert (again.version, again.fingerprint) == (then, before.fingerprint)


def test_columns_are_those_of_the_snapshot(ice: Ice, tmp_path: Path) -> None:
    ice.write({"k": [1], "old": ["a"]})
    with ice.table.update_schema() as columns:
        columns.union_by_name(pa.schema([("x", pa.float64())]))
        columns.rename_column("old", "new")
    ice.write({"k": [2], "new": ["b"], "x": [0.5]})
    rows = [{"k": 1, "new": "a", "x": None}, {"k": 2, "new": "b", "x": 0.5}]
    assert rows_of(taken(ice.source(), tmp_path)) == rows
    then = rows_of(taken(ice.source(version=ice.versions[0]), tmp_path))
    assert then == [{"k": 1, "old": "a"}]


def test_types_and_nested_columns_are_read_as_they_are(ice: Ice, tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6)
    table = pa.table({
        "i": pa.array([1, None], pa.int32()),
        "list": pa.array([[1, 2], None]),
        "struct": pa.array([{"a": 1}, None]),
        "when": pa.array([moment, None], pa.timestamp("us")),
    })  # fmt: skip
    ice.write(table)
    assert rows_of(taken(ice.source(), tmp_path)) == table.to_pylist()


def test_a_table_or_a_snapshot_that_is_not_there(ice: Ice, tmp_path: Path) -> None:
    assert "there is no catalog " in refusal(ice.source(), tmp_path)
    assert not (ice.folder / "catalog.db").exists()
    ice.write({"k": [1]})
    assert refusal(ice.source(table="nyc.water"), tmp_path) == (
        "The Iceberg table lake.nyc.water cannot be read: there is no such table in the catalog."
    )
    assert "there is no such table" in refusal(ice.source(table="no.where"), tmp_path)
    assert "it has no snapshot 7: it never had" in refusal(ice.source(version=7), tmp_path)
    with ice.catalog as catalog:
        catalog.create_table("nyc.empty", pa.schema([("k", pa.int64())]))
    assert "has no snapshot yet" in refusal(ice.source(table="nyc.empty"), tmp_path)


def test_a_snapshot_that_expired(ice: Ice, tmp_path: Path) -> None:
    for k in (1, 2):
        ice.write({"k": [k]})
    first = ice.versions[0]
    ice.table.maintenance.expire_snapshots().by_id(first).commit()
    assert "expire_snapshots has removed it" in refusal(ice.source(version=first), tmp_path)


def test_damage_is_a_sentence(ice: Ice, tmp_path: Path) -> None:
    ice.write({"k": [1, 2, 3]})
    [file] = ice.folder.glob("nyc/air/data/*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] + b"x" * 20)
    assert "pyiceberg refuses it" in refusal(ice.source(), tmp_path)
    file.unlink()
    assert "files of this snapshot are gone" in refusal(ice.source(), tmp_path)
    file.write_bytes(whole)
    for metadata in ice.folder.glob("nyc/air/metadata/*.json"):
        metadata.write_text("hunter2")
    sentence = refusal(ice.source(), tmp_path)
    assert "Its metadata may be damaged" in sentence
    assert "hunter2" not in sentence


def test_a_file_elsewhere_is_not_read_for_confined_jobs(
    ice: Ice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ice.write({"k": [1]})
    [file] = ice.folder.glob("nyc/air/data/*.parquet")
    shutil.move(file, tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    source = ice.source()
    assert taken(source, tmp_path).rows == 1
    monkeypatch.setenv("EM_IMPUTE_ROOT", str(ice.folder))
    assert "leads out of the folders that jobs may use" in refusal(source, tmp_path)


# --- The catalog -------------------------------------------------------------------------------


def test_a_catalog_by_its_name_alone(
    ice: Ice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyIceberg is configured: in the environment, or in a file."""
    ice.write({"k": [1]})
    source = ice.source(catalog="lake")
    assert "PyIceberg knows no catalog 'lake'" in refusal(source, tmp_path)
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", ice.uri)
    assert taken(source, tmp_path).rows == 1
    monkeypatch.delenv("PYICEBERG_CATALOG__LAKE__URI")
    (tmp_path / ".pyiceberg.yaml").write_text(f"catalog:\n  lake:\n    uri: {ice.uri}\n")
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    assert taken(source, tmp_path).rows == 1


def test_a_catalog_in_postgresql(postgres_database: Database, tmp_path: Path) -> None:
    uri = postgres_database.url
    with SqlCatalog("lake", uri=uri, warehouse=str(tmp_path)) as catalog:
        catalog.create_namespace("nyc")
        rows = pa.table({"k": [1, 2]})
        catalog.create_table("nyc.air", rows.schema).append(rows)
    place = {"table": "nyc.air", "format": "iceberg", "catalog": {"name": "lake", "uri": uri}}
    assert taken(IcebergSource.model_validate(place), tmp_path).rows == 2


def test_a_catalog_that_does_not_answer_is_named_without_its_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql+psycopg2://me:pLant3dS3cret@127.0.0.1:1/lake"
    monkeypatch.setenv("PYICEBERG_CATALOG__MY_LAKE__URI", uri)
    place = {"table": "nyc.air", "format": "iceberg", "catalog": "my-lake"}
    with pytest.raises(OSError, match=r"my-lake\.nyc\.air cannot be reached") as caught:
        taken(IcebergSource.model_validate(place), tmp_path)
    assert "PYICEBERG_CATALOG__MY_LAKE__URI" in str(caught.value)
    assert "pLant3d" not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize("uri", ["postgresql://a b:pLant3d@", "pLant3d", "postgresql+no://x/y"])
def test_an_address_that_is_none_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", uri)
    place = {"table": "nyc.air", "format": "iceberg", "catalog": "lake"}
    with pytest.raises((SourceError, OSError)) as caught:
        taken(IcebergSource.model_validate(place), tmp_path)
    assert "pLant3d" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_store_that_does_not_answer(
    ice: Ice, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    """The catalog is here, and says that its table is there."""
    unreachable()
    ice.write({"k": [1]})
    with ice.catalog as catalog:
        from sqlalchemy import text

        with catalog.engine.begin() as connection:
            to = "s3://bucket/nyc/air/metadata/1.metadata.json"
            connection.execute(text(f"UPDATE iceberg_tables SET metadata_location = '{to}'"))
    with pytest.raises(OSError, match=r"lake\.nyc\.air cannot be reached") as caught:
        taken(ice.source(), tmp_path)
    assert "pLant3d" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_nobody_else_is_kept_from_writing(ice: Ice, tmp_path: Path) -> None:
    """A table that moves under a reader is read to the end as it was."""
    ice.write({"k": list(range(1000))})
    source = ice.source(version=ice.versions[0])
    ice.write({"k": [-1]}, overwrite=True)
    assert taken(source, tmp_path).rows == 1000
    assert ice.rows() == [(-1,)]
