"""A Delta table is read at one version, with the same rows in the same order each time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from em_impute.job import DeltaSource, FileSource
from em_impute.tables.snapshot import Snapshot, SourceError, read_batches
from em_impute.tables.sources import take_snapshot

from .conftest import Lake


def taken(source: DeltaSource | FileSource, folder: Path) -> Snapshot:
    return take_snapshot(source, folder / "snapshot.arrow")


def rows_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    return pa.Table.from_batches(read_batches(snapshot.path)).to_pylist()


def refusal(source: DeltaSource | FileSource, folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        taken(source, folder)
    return str(caught.value)


def test_the_newest_version_is_read_and_noted(lake: Lake, tmp_path: Path) -> None:
    lake.write({"k": [1, 2], "x": [0.5, None], "month": ["a b", "é/ü"]}, partition_by=["month"])
    lake.write({"k": [3], "x": [1.5], "month": ["a b"]})
    snapshot = taken(lake.source(), tmp_path)
    assert (snapshot.rows, snapshot.version) == (3, 1)
    assert sorted(row["k"] for row in rows_of(snapshot)) == [1, 2, 3]
    assert {row["k"]: row["month"] for row in rows_of(snapshot)} == {1: "a b", 2: "é/ü", 3: "a b"}
    assert snapshot.profile("x").missing == 1
    snapshot.save(tmp_path / "snapshot.json")
    assert Snapshot.load(tmp_path / "snapshot.json") == snapshot


def test_an_older_version_has_its_rows_in_their_order(lake: Lake, tmp_path: Path) -> None:
    """Also after a checkpoint, and when files of it were put together in a newer version."""
    for first in range(0, 30, 10):
        lake.write({"k": list(range(first, first + 10))})
    before = taken(lake.source(), tmp_path)
    assert [row["k"] for row in rows_of(before)] == list(range(30))
    lake.table.optimize.compact()
    lake.write({"k": [99]})
    lake.table.create_checkpoint()
    again = taken(lake.source(version=2), tmp_path)
    assert (again.version, again.fingerprint) == (2, before.fingerprint)


def test_columns_that_came_later_are_missing_before(lake: Lake, tmp_path: Path) -> None:
    lake.write({"k": [1]})
    lake.write({"k": [2], "x": [0.5]}, schema_mode="merge")
    rows = rows_of(taken(lake.source(), tmp_path))
    assert rows == [{"k": 1, "x": None}, {"k": 2, "x": 0.5}]


def test_a_version_or_a_table_that_is_not_there(lake: Lake, tmp_path: Path) -> None:
    assert refusal(lake.source(), tmp_path) == (
        f"The Delta table {lake.path} cannot be read: there is no Delta table; its folder has no "
        "_delta_log."
    )
    lake.write({"k": [1]})
    assert "it has no version 7; its newest is 0" in refusal(lake.source(version=7), tmp_path)


def test_a_version_whose_files_were_vacuumed(lake: Lake, tmp_path: Path) -> None:
    lake.write({"k": [1]})
    lake.write({"k": [2]}, mode="overwrite")
    lake.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert "as VACUUM removes them" in refusal(lake.source(version=0), tmp_path)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"delta.enableDeletionVectors": "true"}, "it has deletion vectors: set"),
        ({"delta.columnMapping.mode": "name"}, "it has column mapping: write the table again"),
    ],
)
def test_what_would_be_read_as_it_is_not(
    lake: Lake, tmp_path: Path, configuration: dict[str, str], words: str
) -> None:
    """Of a table with mapped columns Arrow would read nothing but nulls."""
    lake.write({"k": [1]}, configuration=configuration)
    assert words in refusal(lake.source(), tmp_path)


def test_damage_is_a_sentence(lake: Lake, tmp_path: Path) -> None:
    lake.write({"k": [1, 2, 3]})
    [file] = lake.path.glob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] + b"x" * 20)
    assert "one of its files is damaged" in refusal(lake.source(), tmp_path)
    file.write_bytes(whole)
    log = lake.path / "_delta_log" / f"{0:020}.json"
    log.write_text("hunter2")
    sentence = refusal(lake.source(), tmp_path)
    assert "Its log may be damaged" in sentence
    assert "hunter2" not in sentence


def test_a_link_in_the_table_does_not_lead_out(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write({"k": [1]})
    [file] = lake.path.glob("*.parquet")
    shutil.move(file, tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    assert taken(lake.source(), tmp_path).rows == 1
    monkeypatch.setenv("EM_IMPUTE_ROOT", str(lake.path.parent))
    assert "leads out of the folders that jobs may use" in refusal(lake.source(), tmp_path)


def test_the_folder_of_a_delta_table_is_no_folder_of_parquet(lake: Lake, tmp_path: Path) -> None:
    """Its files of older versions would be read, too."""
    lake.write({"k": [1]})
    lake.write({"k": [2]}, mode="overwrite")
    assert "say `format: delta`" in refusal(FileSource(path=lake.path, format="parquet"), tmp_path)


def test_a_store_that_does_not_answer_is_named_without_its_login(
    tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    unreachable()
    source = DeltaSource(path="s3://bucket/air", format="delta")
    with pytest.raises(OSError, match="s3://bucket/air cannot be reached") as caught:
        taken(source, tmp_path)
    assert "pLant3d" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_nobody_else_is_kept_from_writing(lake: Lake, tmp_path: Path) -> None:
    """A table that moves under a reader is read to the end as it was."""
    lake.write({"k": list(range(1000))})
    source = lake.source(version=0)
    lake.write({"k": [-1]}, mode="overwrite")
    assert taken(source, tmp_path).rows == 1000
    assert DeltaTable(lake.path).version() == 1
