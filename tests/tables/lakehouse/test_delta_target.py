"""What has been audited is published to a Delta table in one commit, once for each run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from databases import Stage
from deltalake import DeltaTable

from em_impute.job import DeltaTarget
from em_impute.tables.lakehouse import delta_target
from em_impute.tables.lakehouse.delta_target import publish, standing
from em_impute.tables.lakehouse.published_rows import compare
from em_impute.tables.lakehouse.versions import NO_TABLE
from em_impute.tables.targets import check_schema, check_target, find_published, version
from em_impute.tables.writing.locks import TargetBusyError
from em_impute.tables.writing.merging import MergeError
from em_impute.tables.writing.publications import OvertakenError
from em_impute.tables.writing.staged import TargetError

from .conftest import NEW, OLD, Lake, keyed

# --- Modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("replace", [(2, 2.5), (3, 3.5)]),
        ("append", [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5)]),
        ("upsert", [(1, 0.5), (2, 2.5), (3, 3.5)]),
    ],
)
def test_the_modes(lake: Lake, stage: Stage, mode: str, expected: list[tuple[int, float]]) -> None:
    target = lake.target(mode)
    check_target(target)
    assert version(target) == NO_TABLE
    assert publish(keyed(stage(OLD)), target, "run-1").version == 0
    staged = keyed(stage(NEW))
    published = publish(staged, target, "run-2")
    assert (published.rows, published.version, lake.version) == (2, 1, 1)
    assert not staged.path.exists()
    assert lake.rows() == expected
    assert lake.rows(0) == [(1, 0.5), (2, 1.5)]


def test_a_table_is_partitioned_when_it_is_made(lake: Lake, stage: Stage) -> None:
    target = lake.target(partition_by=["k"])
    publish(stage(OLD), target, "run-1")
    publish(stage(NEW), target, "run-2")
    assert lake.table.metadata().partition_columns == ["k"]
    assert sorted(lake.table.to_pyarrow_table()["k"].to_pylist()) == [2, 3]
    schema = pa.table({**OLD, "y": [1, 2]}).schema
    with pytest.raises(TargetError, match=r"is partitioned by k, and target\.partition_by is y"):
        check_schema(schema, lake.target(partition_by=["y"]))
    with pytest.raises(TargetError, match="partitioned by 'k', which the new table has not"):
        check_schema(schema.remove(0), lake.target())


def test_odd_names_are_keys(lake: Lake, stage: Stage) -> None:
    name = 'Odd "k.x'
    target = lake.target("upsert")
    for run, rows in enumerate((OLD, NEW)):
        staged = stage({name: rows["k"], "x": rows["x"]})
        publish(replace(staged, key=(name,)), target, f"run-{run}")
    assert lake.rows() == [(1, 0.5), (2, 2.5), (3, 3.5)]


def test_a_key_that_is_missing_or_not_unique(lake: Lake, stage: Stage) -> None:
    for rows, words in (([1, 1], "is not unique"), ([1, None], "is missing in row 2")):
        with pytest.raises(MergeError, match=words):
            publish(keyed(stage({"k": rows, "x": [1.0, 2.0]})), lake.target("upsert"), "run")
    assert not lake.path.exists()


# --- Types -------------------------------------------------------------------------------------


def test_each_type_is_held_as_it_is_or_named(lake: Lake, stage: Stage) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6)
    table = pa.table({
        "u8": pa.array([255], pa.uint8()),
        "u64": pa.array([2**64 - 1], pa.uint64()),
        "level": pa.array(["a"]).dictionary_encode(),
        "large": pa.array(["b"], pa.large_string()),
        "price": pa.array([Decimal("1.25")], pa.decimal128(9, 2)),
        "naive": pa.array([moment], pa.timestamp("ns")),
        "none": pa.nulls(1),
        "list": pa.array([[1, 2]]),
    })  # fmt: skip
    check_schema(table.schema, lake.target())
    publish(stage(table), lake.target(), "run")
    assert lake.rows() == [(255, 2**64 - 1, "a", "b", Decimal("1.25"), moment, None, [1, 2])]
    check_schema(table.schema, lake.target("append"))  # the types that it has now
    with pytest.raises(TargetError, match=r"cannot hold 't' of type time32.*; convert"):
        check_schema(pa.schema([("t", pa.time32("s"))]), lake.target())


def test_a_cell_that_does_not_fit_is_not_quoted(lake: Lake, stage: Stage) -> None:
    staged = stage({"k": [1], "when": pa.array([1795890588520123457], pa.timestamp("ns"))})
    with pytest.raises(TargetError, match="cannot hold every cell of 'when'") as caught:
        publish(staged, lake.target(), "run")
    assert "1795890588520123457" not in str(caught.value)
    assert version(lake.target()) == NO_TABLE


def test_other_columns_than_those_that_are_there(lake: Lake, stage: Stage) -> None:
    """They are added to neither; but may take their place."""
    publish(stage(OLD), lake.target(), "run-1")
    other = {"k": [7], "z": ["new"]}
    with pytest.raises(MergeError, match="it has 'x', which the new table does not have"):
        check_schema(pa.table(other).schema, lake.target("append"))
    publish(stage(other), lake.target(), "run-2")
    assert lake.rows() == [(7, "new")]


# --- Once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_a_run_that_comes_again_is_found_in_the_log(lake: Lake, stage: Stage, mode: str) -> None:
    target = lake.target(mode)
    publish(keyed(stage(OLD)), target, "run-1")
    done = publish(keyed(stage(NEW)), target, "run-2")
    rows = lake.rows()
    again = publish(keyed(stage({"k": [9], "x": [9.0]})), target, "run-2")
    assert (again, again.before) == (done, True)
    assert find_published(target, "run-2") == done
    assert (lake.version, lake.rows()) == (1, rows)
    assert lake.table.transaction_version("em_impute/run-2") == 1
    assert lake.table.history(1)[0]["em_impute.run"] == "run-2"
    assert find_published(target, "run-3") is None


def test_of_what_was_restored_it_is_known_what_is_gone(lake: Lake, stage: Stage) -> None:
    target = lake.target("append")
    for run in ("run-1", "run-2"):
        publish(stage(OLD), target, run)
    lake.table.restore(0)
    assert (standing(target, "run-1"), standing(target, "run-2")) == ("held", "gone")
    assert publish(stage(NEW), target, "run-2").version == 3
    assert lake.rows() == [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5)]
    lake.write(NEW, mode="overwrite")
    assert standing(target, "run-2") == "replaced"
    moment = lake.table.history(1)[0]["timestamp"]
    lake.write(NEW)
    lake.table.restore(datetime.fromtimestamp(moment / 1000 + 0.001).astimezone())
    with pytest.raises(TargetError, match="was restored to a moment, so that run-2"):
        publish(stage(NEW), target, "run-2")


def test_an_older_day_does_not_take_the_place_of_a_newer_one(lake: Lake, stage: Stage) -> None:
    publish(stage(NEW), lake.target(), "run-2_2026-01-02")
    with pytest.raises(OvertakenError, match="2026-01-02"):
        publish(stage(OLD), lake.target(), "run-1_2026-01-01")


# --- Two at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_target_that_moved_since_the_audit_is_left_as_it_is(
    lake: Lake, stage: Stage, mode: str
) -> None:
    publish(keyed(stage(OLD)), lake.target(mode), "run-1")
    staged = replace(keyed(stage(NEW)), onto=lake.version)
    lake.write({"k": [8], "x": [8.0]})
    rows = lake.rows()
    with pytest.raises(TargetError, match=r"changed .* it was at version 0, and is at version 1"):
        publish(staged, lake.target(mode), "run-2")
    assert lake.rows() == rows
    lake.table.optimize.compact()
    lake.table.vacuum(retention_hours=200, dry_run=False)
    assert publish(replace(staged, onto=1), lake.target(mode), "run-2").rows == 2


def test_a_table_that_another_has_made_since_the_audit(lake: Lake, stage: Stage) -> None:
    staged = replace(stage(NEW), onto=NO_TABLE)
    lake.write(OLD)
    with pytest.raises(TargetError, match="it was not there, and is at version 0"):
        publish(staged, lake.target(), "run")


@pytest.fixture
def intruding(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has something else done between the look at the table and the commit, so many times."""
    commit = delta_target._commit

    def intrude(act: Callable[[], object], times: int = 1) -> None:
        left = [act] * times

        def committed(*arguments: Any) -> Any:
            if left:
                left.pop()()
            return commit(*arguments)

        monkeypatch.setattr(delta_target, "_commit", committed)

    return intrude


def test_rows_are_appended_though_others_append_at_the_same_moment(
    lake: Lake, stage: Stage, intruding: Callable[..., None]
) -> None:
    publish(stage(OLD), lake.target("append"), "run-1")
    intruding(lambda: lake.write({"k": [8], "x": [8.0]}), times=2)
    assert publish(stage(NEW), lake.target("append"), "run-2").version == 3
    assert lake.rows() == [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5), (8, 8.0), (8, 8.0)]


def test_a_replacement_never_keeps_rows_that_came_in_between(
    lake: Lake, stage: Stage, intruding: Callable[..., None]
) -> None:
    """The library itself would leave them beside the new ones."""
    publish(stage(OLD), lake.target(), "run-1")
    intruding(lambda: lake.write({"k": [8], "x": [8.0]}))
    with pytest.raises(TargetError, match="was changed by another program"):
        publish(replace(stage(NEW), onto=0), lake.target(), "run-2")
    assert lake.rows() == [(1, 0.5), (2, 1.5), (8, 8.0)]


@pytest.mark.parametrize("there", [True, False])
def test_the_same_run_by_two_workers_at_the_same_moment(
    lake: Lake, stage: Stage, intruding: Callable[..., None], there: bool
) -> None:
    target, other = lake.target(), stage(NEW)
    if there:
        publish(stage(OLD), target, "run-1")
    onto = version(target)
    intruding(lambda: publish(replace(other, onto=onto), target, "run-2"))
    found = publish(replace(stage(NEW), onto=onto), target, "run-2")
    assert (found.before, found.version) == (True, onto + 1)
    assert lake.rows() == [(2, 2.5), (3, 3.5)]


def test_who_never_comes_to_a_commit_gives_up(
    lake: Lake, stage: Stage, intruding: Callable[..., None]
) -> None:
    publish(stage(OLD), lake.target("append"), "run-1")
    intruding(lambda: lake.write({"k": [8], "x": [8.0]}), times=100)
    with pytest.raises(TargetBusyError, match="10 times"):
        publish(stage(NEW), lake.target("append"), "run-2")


# --- Killed ------------------------------------------------------------------------------------

PUBLISH = """
import os, signal, sys
from pathlib import Path
from em_impute.job import DeltaTarget
from em_impute.tables.lakehouse import delta_target
from em_impute.tables.writing.staged import Staged
path, staged, mode, at = sys.argv[1:]
staged = Staged(Path(staged), "feather", 6, 0, "sha", Path(staged), (), key=("k",))
def stop(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if at == "half":
    batches = delta_target.Rows.batches
    def half(rows):
        yield next(batches(rows))
        stop()
    delta_target.Rows.batches = half
else:
    find, calls = delta_target.find, []
    def found(*where):
        calls.append(1)
        return stop() if len(calls) == 2 else find(*where)
    delta_target.find = found
delta_target.publish(staged, DeltaTarget(path=path, format="delta", mode=mode), "run-2")
"""


@pytest.mark.parametrize(
    ("mode", "at"),
    [("replace", "half"), ("append", "behind the commit"), ("upsert", "half")],
)
def test_a_run_that_is_killed_publishes_once(lake: Lake, stage: Stage, mode: str, at: str) -> None:
    """`kill -9` when half of the rows are written, and when the commit is made."""
    publish(keyed(stage(OLD)), lake.target(mode), "run-1")
    new = {"k": list(range(2, 8)), "x": [2.5] * 6}
    staged, copy = keyed(stage(new)), stage(new)
    killed = subprocess.run(
        [sys.executable, "-c", PUBLISH, lake.path, copy.path, mode, at], check=False
    )
    assert killed.returncode == -9
    half = at == "half"
    assert lake.version == (0 if half else 1)
    if half:
        assert lake.rows() == [(1, 0.5), (2, 1.5)]
    published = publish(staged, lake.target(mode), "run-2")
    assert (published.version, published.before, published.rows) == (1, not half, 6)
    kept = {"replace": 0, "append": 2, "upsert": 1}[mode]
    assert (lake.version, len(lake.rows())) == (1, 6 + kept)


def test_a_run_that_is_killed_before_the_first_commit_finds_its_folder_again(
    lake: Lake, stage: Stage
) -> None:
    check_target(lake.target())
    copy = stage({"k": list(range(6)), "x": [2.5] * 6})
    subprocess.run(
        [sys.executable, "-c", PUBLISH, lake.path, copy.path, "replace", "half"], check=False
    )
    (lake.path / "part-00000-left.parquet").write_bytes(b"half a file")
    assert version(lake.target()) == NO_TABLE
    check_target(lake.target())
    assert publish(stage(NEW), lake.target(), "run-2").version == 0
    assert lake.rows() == [(2, 2.5), (3, 3.5)]


# --- What is in the way ------------------------------------------------------------------------


def test_a_folder_of_others_is_no_target(lake: Lake) -> None:
    lake.path.mkdir(parents=True)
    (lake.path / "notes.txt").write_text("x")
    with pytest.raises(TargetError, match="holds other files and no _delta_log"):
        check_target(lake.target())


def test_a_file_in_the_way(lake: Lake) -> None:
    lake.path.parent.mkdir(parents=True)
    lake.path.write_text("x")
    with pytest.raises(TargetError, match="cannot be written"):
        check_target(lake.target())


def test_a_constraint_that_does_not_hold_is_a_sentence_without_cells(
    lake: Lake, stage: Stage
) -> None:
    publish(stage(OLD), lake.target("append"), "run-1")
    lake.table.alter.add_constraint({"small": "x < 2"})
    with pytest.raises(TargetError, match="may break one of its constraints") as caught:
        publish(stage({"k": [3], "x": [86420.5]}), lake.target("append"), "run-2")
    assert "86420" not in str(caught.value)


def test_mapped_columns_are_not_written(lake: Lake) -> None:
    lake.write(OLD, configuration={"delta.columnMapping.mode": "name"})
    with pytest.raises(TargetError, match="it has column mapping"):
        check_target(lake.target())


def test_a_store_that_does_not_answer(unreachable: Callable[[], None]) -> None:
    unreachable()
    target = DeltaTarget(path="s3://bucket/air", format="delta")
    with pytest.raises(OSError, match="s3://bucket/air cannot be reached") as caught:
        check_target(target)
    assert "pLant3d" not in str(caught.value)


def test_without_the_library_its_extra_is_named(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(TargetError, match=r"pip install 'em-impute\[delta\]'"):
        check_target(lake.target())


# --- Compared ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_the_version_of_a_run_is_compared_by_time_travel(
    lake: Lake, stage: Stage, mode: str
) -> None:
    target = lake.target(mode)
    publish(keyed(stage(OLD)), target, "run-1")
    at = publish(keyed(stage(NEW)), target, "run-2").version
    lake.write({"k": [8], "x": [8.0]}, mode="overwrite")
    same = compare(keyed(stage(NEW)), target, at)
    assert same.sentence.endswith("holds what this run published; its newest is 2.")
    assert not same.differs
    other = compare(keyed(stage({"k": [2, 3], "x": [2.5, 4.5]})), target, at)
    assert other.differs
    assert "lacks 1 of the 2 rows" in other.sentence


def test_what_cannot_be_compared_is_said(lake: Lake, stage: Stage, tmp_path: Path) -> None:
    staged = stage(NEW)
    assert "does not know its version" in compare(staged, lake.target(), None).sentence
    assert "is not there any more" in compare(staged, lake.target(), 0).sentence
    publish(stage(NEW), lake.target(), "run-1")
    publish(stage(OLD), lake.target(), "run-2")
    DeltaTable(lake.path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    sentence = compare(staged, lake.target(), 0).sentence
    assert sentence.startswith("What it has published cannot be compared")
