"""What has been audited is published to an Iceberg table in one snapshot, once for each run."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from databases import Stage

from em_impute.job import IcebergTarget
from em_impute.tables.lakehouse.iceberg_target import publish, standing
from em_impute.tables.lakehouse.published_rows import compare
from em_impute.tables.lakehouse.versions import NO_TABLE
from em_impute.tables.targets import check_schema, check_target, find_published, version
from em_impute.tables.writing.merging import MergeError
from em_impute.tables.writing.publications import OvertakenError
from em_impute.tables.writing.staged import TargetError

from .conftest import NEW, OLD, Ice, Put, keyed

# --- Modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("partition_by", [[], ["k"]])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("replace", [(2, 2.5), (3, 3.5)]),
        ("append", [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5)]),
        ("upsert", [(1, 0.5), (2, 2.5), (3, 3.5)]),
    ],
)
def test_the_modes(
    ice: Ice,
    stage: Stage,
    mode: str,
    expected: list[tuple[int, float]],
    partition_by: list[str],
) -> None:
    target = ice.target(mode, partition_by=partition_by)
    check_target(target)
    assert version(target) == NO_TABLE
    first = publish(keyed(stage(OLD)), target, "run-1").version
    assert version(target) == first
    staged = keyed(stage(NEW))
    published = publish(staged, target, "run-2")
    assert published.rows == 2
    assert not staged.path.exists()
    assert ice.versions == [first, published.version]  # one snapshot a run
    assert ice.rows() == expected
    assert ice.rows(first) == [(1, 0.5), (2, 1.5)]
    assert [field.name for field in ice.table.spec().fields] == partition_by
    assert "commit.retry.num-retries" not in ice.table.properties


def test_a_table_keeps_its_partitions(ice: Ice, put: Put) -> None:
    put(OLD, "replace", "run-1", partition_by=["k"])
    put(NEW, "replace", "run-2")
    assert len(list(ice.folder.glob("nyc/air/data/k=3/*.parquet"))) == 1
    schema = pa.table({**OLD, "y": [1, 2]}).schema
    with pytest.raises(TargetError, match=r"is partitioned by k, and target\.partition_by is y"):
        check_schema(schema, ice.target(partition_by=["y"]))
    with pytest.raises(TargetError, match="partitioned by 'k', which the new table has not"):
        check_schema(schema.remove(0), ice.target())
    with pytest.raises(TargetError, match=r"'k', which is of type int64 there and of string in"):
        check_schema(pa.table({"k": ["a"], "x": [1.0]}).schema, ice.target())


def test_a_table_that_is_partitioned_by_what_another_program_makes_of_a_column(
    ice: Ice, put: Put
) -> None:
    """As by a bucket of its key."""
    from pyiceberg.transforms import BucketTransform

    ice.write(OLD)
    with ice.table.update_spec() as partitions:
        partitions.add_field("k", BucketTransform(4), "bucket")
    put(NEW, "upsert", "run-1")
    put({"k": [4], "x": [4.5]}, "append", "run-2")
    assert ice.rows() == [(1, 0.5), (2, 2.5), (3, 3.5), (4, 4.5)]
    put(OLD, "replace", "run-3")
    assert ice.rows() == [(1, 0.5), (2, 1.5)]


def test_an_upsert_writes_only_those_files_anew_that_have_rows_of_it(ice: Ice, put: Put) -> None:
    ice.write({"k": [7, 8], "x": [7.0, 8.0]})
    ice.write({"k": [1, 2, 3], "x": [0.5, 1.5, 1.0]})
    put({"k": [2, 9], "x": [2.5, 9.5]}, "upsert", "run-1")
    assert ice.rows() == [(1, 0.5), (2, 2.5), (3, 1.0), (7, 7.0), (8, 8.0), (9, 9.5)]
    summary = ice.table.current_snapshot().summary
    assert summary["deleted-data-files"] == "1"
    assert summary["total-data-files"] == "3"


def test_odd_names_are_keys(ice: Ice, stage: Stage) -> None:
    name = 'Odd "k.x'
    target = ice.target("upsert")
    check_target(target)
    for run, rows in enumerate((OLD, NEW)):
        staged = stage({name: rows["k"], "x": rows["x"]})
        publish(replace(staged, key=(name,)), target, f"run-{run}")
    assert ice.rows() == [(1, 0.5), (2, 2.5), (3, 3.5)]


def test_a_key_that_is_missing_or_not_unique(ice: Ice, put: Put) -> None:
    for rows, words in (([1, 1], "is not unique"), ([1, None], "is missing in row 2")):
        with pytest.raises(MergeError, match=words):
            put({"k": rows, "x": [1.0, 2.0]}, "upsert", "run")
    assert version(ice.target()) == NO_TABLE


def test_a_large_table_becomes_several_files(
    ice: Ice, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("em_impute.tables.lakehouse.iceberg_files._FILE", 64)
    rows = {"k": list(range(20)), "x": [0.5] * 20}
    put(rows, "replace", "run")
    assert len(list(ice.folder.glob("nyc/air/data/*.parquet"))) > 1
    assert [k for k, _ in ice.rows()] == rows["k"]


# --- Types -------------------------------------------------------------------------------------


def test_each_type_is_held_as_it_is_or_named(ice: Ice, stage: Stage) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6)
    table = pa.table({
        "a_u8": pa.array([255], pa.uint8()),
        "b_u64": pa.array([2**64 - 1], pa.uint64()),
        "c_level": pa.array(["a"]).dictionary_encode(),
        "d_large": pa.array(["b"], pa.large_string()),
        "e_price": pa.array([Decimal("1.25")], pa.decimal128(9, 2)),
        "f_naive": pa.array([moment], pa.timestamp("ns")),
        "g_none": pa.nulls(1),
        "h_list": pa.array([[1, 2]]),
        "i_time": pa.array([time(1, 2)], pa.time32("s")),
        "j_struct": pa.array([{"a": 1}]),
        "k.dot": pa.array([1], pa.int8()),
    })  # fmt: skip
    check_target(ice.target())
    check_schema(table.schema, ice.target())
    publish(stage(table), ice.target(), "run")
    row = (255, 2**64 - 1, "a", "b", Decimal("1.25"), moment, None, [1, 2], time(1, 2), {"a": 1}, 1)
    assert ice.rows() == [row]
    check_schema(table.schema, ice.target("append"))  # the types that it has now
    assert not compare(stage(table), ice.target(), ice.versions[0]).differs
    with pytest.raises(TargetError, match=r"Iceberg cannot hold 't' of type duration.*; convert"):
        check_schema(pa.schema([("t", pa.duration("s"))]), ice.target())


def test_a_cell_that_does_not_fit_is_not_quoted(ice: Ice, put: Put) -> None:
    when = pa.array([1795890588520123457], pa.timestamp("ns"))
    with pytest.raises(TargetError, match="cannot hold every cell of 'when'") as caught:
        put({"k": [1], "when": when}, "replace", "run")
    assert "1795890588520123457" not in str(caught.value)
    assert version(ice.target()) == NO_TABLE


def test_other_columns_than_those_that_are_there(ice: Ice, put: Put) -> None:
    """They are added to neither; but may take their place, in whatever order they come."""
    first = put(OLD, "replace", "run-1").version
    other = {"z": ["new"], "k": [7]}
    with pytest.raises(MergeError, match="it has 'x', which the new table does not have"):
        check_schema(pa.table(other).schema, ice.target("append"))
    put(other, "replace", "run-2")
    assert ice.rows() == [(7, "new")]
    put({"k": ["text"], "z": ["new"]}, "replace", "run-3")
    put({"z": ["newer"], "k": ["text"]}, "append", "run-4")
    assert ice.rows() == [("text", "new"), ("text", "newer")]
    put({"q": [1]}, "replace", "run-5")
    assert ice.rows() == [(1,)]
    assert ice.rows(first) == [(1, 0.5), (2, 1.5)]


# --- Once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_a_run_that_comes_again_is_found_in_the_snapshots(ice: Ice, put: Put, mode: str) -> None:
    put(OLD, mode, "run-1")
    done = put(NEW, mode, "run-2")
    rows = ice.rows()
    again = put({"k": [9], "x": [9.0]}, mode, "run-2")
    assert (again, again.before) == (done, True)
    assert find_published(ice.target(mode), "run-2") == done
    assert (ice.versions[-1], ice.rows()) == (done.version, rows)
    assert ice.table.current_snapshot().summary["em_impute.run"] == "run-2"
    assert find_published(ice.target(mode), "run-3") is None


def test_of_what_was_rolled_back_it_is_known_that_it_is_gone(ice: Ice, put: Put) -> None:
    first, _ = (put(OLD, "append", run).version for run in ("run-1", "run-2"))
    ice.table.manage_snapshots().rollback_to_snapshot(first).commit()
    target = ice.target("append")
    assert (standing(target, "run-1"), standing(target, "run-2")) == ("held", "gone")
    assert not put(NEW, "append", "run-2").before
    assert ice.rows() == [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5)]


def test_rows_are_not_appended_again_when_their_snapshot_has_expired(ice: Ice, put: Put) -> None:
    at = put(OLD, "append", "night-2026-01-01").version
    put(NEW, "append", "night-2026-01-02")
    ice.table.maintenance.expire_snapshots().by_id(at).commit()
    assert put(OLD, "append", "night-2026-01-01").before
    assert len(ice.rows()) == 4


def test_what_others_have_overwritten_since(ice: Ice, put: Put) -> None:
    put(OLD, "append", "run-1")
    target = ice.target("append")
    ice.table.delete("k == 1")
    assert standing(target, "run-1") == "in doubt"  # the file was written anew
    with pytest.raises(TargetError, match="was overwritten by another program since run-1"):
        put(OLD, "append", "run-1")
    assert not put(OLD, "upsert", "run-1").before
    ice.write(NEW, overwrite=True)
    assert standing(target, "run-1") == "replaced"
    put(OLD, "replace", "run-2")
    ice.write(NEW)
    assert standing(target, "run-2") == "held"
    put(NEW, "replace", "run-3")
    assert standing(target, "run-2") == "replaced"
    assert put(OLD, "replace", "run-2").before


def test_an_older_day_does_not_take_the_place_of_a_newer_one(put: Put) -> None:
    put(NEW, "replace", "run-2_2026-01-02")
    with pytest.raises(OvertakenError, match="2026-01-02"):
        put(OLD, "replace", "run-1_2026-01-01")


# --- What is in the way ------------------------------------------------------------------------


def test_a_catalog_without_a_warehouse_has_no_place_for_a_new_table(ice: Ice) -> None:
    place = {"name": "lake", "uri": ice.uri}
    with pytest.raises(TargetError, match="its catalog has no warehouse"):
        check_target(ice.target(catalog=place))
    ice.write(OLD)
    check_target(ice.target(catalog=place))


def test_a_warehouse_that_is_a_file(ice: Ice) -> None:
    (ice.folder / "file").write_text("x")
    place = {"name": "lake", "uri": ice.uri, "warehouse": str(ice.folder / "file")}
    with pytest.raises(TargetError, match="its folder refuses"):
        check_target(ice.target(catalog=place))


def test_a_table_that_would_be_written_elsewhere_is_refused_to_confined_jobs(
    ice: Ice, put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(OLD, "append", "run-1")
    with ice.table.transaction() as transaction:
        transaction.set_properties({"write.data.path": str(tmp_path / "elsewhere")})
    monkeypatch.setenv("EM_IMPUTE_ROOT", str(ice.folder))
    with pytest.raises(TargetError, match="leads out of the folders that jobs may use"):
        put(NEW, "append", "run-2")


def test_a_column_that_may_not_be_missing_is_a_sentence(ice: Ice, put: Put) -> None:
    required = pa.schema([pa.field("k", pa.int64(), nullable=False), ("x", pa.float64())])
    ice.write(pa.table(OLD, schema=required))
    with pytest.raises(TargetError, match="pyiceberg refuses it"):
        put({"k": [86420, None], "x": [1.0, 2.0]}, "append", "run-1")
    assert ice.rows() == [(1, 0.5), (2, 1.5)]


def test_a_catalog_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql://me:pLant3dS3cret@127.0.0.1:1/lake"
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", uri)
    target = IcebergTarget(table="nyc.air", format="iceberg", catalog="lake")
    with pytest.raises(OSError, match=r"lake\.nyc\.air cannot be reached") as caught:
        check_target(target)
    assert "pLant3d" not in str(caught.value)


def test_without_the_library_its_extra_is_named(ice: Ice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    with pytest.raises(TargetError, match=r"pip install 'em-impute\[iceberg\]'"):
        check_target(ice.target())


# --- Compared ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_the_snapshot_of_a_run_is_compared_by_time_travel(
    ice: Ice, stage: Stage, put: Put, mode: str
) -> None:
    target = ice.target(mode)
    put(OLD, mode, "run-1")
    at = put(NEW, mode, "run-2").version
    ice.write({"k": [8], "x": [8.0]}, overwrite=True)
    same = compare(keyed(stage(NEW)), target, at)
    now = f"; its newest is {version(target)}."
    assert same.sentence.endswith(f"holds what this run published{now}")
    assert not same.differs
    other = compare(keyed(stage({"k": [2, 3], "x": [2.5, 4.5]})), target, at)
    assert other.differs
    assert "lacks 1 of the 2 rows" in other.sentence


def test_what_cannot_be_compared_is_said(ice: Ice, stage: Stage, put: Put) -> None:
    staged = stage(NEW)
    assert "does not know its version" in compare(staged, ice.target(), None).sentence
    assert "is not there any more" in compare(staged, ice.target(), 7).sentence
    at = put(NEW, "replace", "run-1").version
    put(OLD, "replace", "run-2")
    ice.table.maintenance.expire_snapshots().by_id(at).commit()
    sentence = compare(staged, ice.target(), at).sentence
    assert sentence.startswith("What it has published cannot be compared")
    assert "expire_snapshots has removed it" in sentence


def test_a_relative_warehouse_is_found_from_wherever_it_is_read(
    ice: Ice, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {"name": "lake", "uri": "sqlite:///ice/catalog.db", "warehouse": "ice"}
    target = ice.target(catalog=place)
    check_target(target)
    publish(stage(OLD), target, "run-1")
    monkeypatch.chdir("/")
    assert ice.rows() == [(1, 0.5), (2, 1.5)]
