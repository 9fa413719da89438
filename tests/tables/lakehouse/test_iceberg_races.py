"""Two programs at once at an Iceberg table, and runs that are killed: published once, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from databases import Stage

from em_impute.tables.lakehouse import iceberg_target
from em_impute.tables.lakehouse.iceberg_target import publish
from em_impute.tables.lakehouse.versions import NO_TABLE
from em_impute.tables.targets import check_target, version
from em_impute.tables.writing.locks import TargetBusyError
from em_impute.tables.writing.staged import TargetError

from .conftest import NEW, OLD, Ice, Put, keyed

# --- Two at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_target_that_moved_since_the_audit_is_left_as_it_is(
    ice: Ice, stage: Stage, put: Put, mode: str
) -> None:
    onto = put(OLD, mode, "run-1").version
    staged = replace(keyed(stage(NEW)), onto=onto)
    ice.write({"k": [8], "x": [8.0]})
    rows, now = ice.rows(), ice.versions[-1]
    words = f"changed .* it was at snapshot {onto}, and is at snapshot {now}"
    with pytest.raises(TargetError, match=words):
        publish(staged, ice.target(mode), "run-2")
    assert ice.rows() == rows
    compact(ice)
    assert ice.versions[-1] != now
    assert publish(replace(staged, onto=now), ice.target(mode), "run-2").rows == 2


def compact(ice: Ice) -> None:
    """Leave behind what Spark's rewrite_data_files does, which PyIceberg has not."""
    table = ice.table
    table.overwrite(table.scan().to_arrow())
    file = Path(ice.table.metadata_location)
    metadata = json.loads(file.read_text())
    for snapshot in metadata["snapshots"][-2:]:
        snapshot["summary"]["operation"] = "replace"
    file.write_text(json.dumps(metadata))


def test_a_table_that_another_has_made_since_the_audit(ice: Ice, stage: Stage) -> None:
    staged = replace(stage(NEW), onto=NO_TABLE)
    ice.write(OLD)
    with pytest.raises(TargetError, match="it was not there, and is at snapshot"):
        publish(staged, ice.target(), "run")


@pytest.fixture
def intruding(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has something else done between the look at the table and the commit, so many times."""
    write = iceberg_target.new_files

    def intrude(act: Callable[[], object], times: int = 1) -> None:
        left = [act] * times

        def written(*arguments: Any) -> Any:
            if left:
                left.pop()()
            return write(*arguments)

        monkeypatch.setattr(iceberg_target, "new_files", written)

    return intrude


def test_rows_are_appended_though_others_append_at_the_same_moment(
    ice: Ice, put: Put, intruding: Callable[..., None]
) -> None:
    put(OLD, "append", "run-1")
    intruding(lambda: ice.write({"k": [8], "x": [8.0]}), times=2)
    assert put(NEW, "append", "run-2").version == ice.versions[3]
    assert ice.rows() == [(1, 0.5), (2, 1.5), (2, 2.5), (3, 3.5), (8, 8.0), (8, 8.0)]


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_replacement_never_keeps_rows_that_came_in_between(
    ice: Ice, stage: Stage, put: Put, intruding: Callable[..., None], mode: str
) -> None:
    onto = put(OLD, mode, "run-1").version
    intruding(lambda: ice.write({"k": [8], "x": [8.0]}))
    with pytest.raises(TargetError, match="was changed by another program"):
        publish(replace(keyed(stage(NEW)), onto=onto), ice.target(mode), "run-2")
    assert ice.rows() == [(1, 0.5), (2, 1.5), (8, 8.0)]


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
@pytest.mark.parametrize("there", [True, False])
def test_the_same_run_by_two_workers_at_the_same_moment(
    ice: Ice, stage: Stage, put: Put, intruding: Callable[..., None], there: bool, mode: str
) -> None:
    target, other = ice.target(mode), keyed(stage(NEW))
    check_target(target)
    if there:
        put(OLD, mode, "run-1")
    onto = version(target)
    intruding(lambda: publish(replace(other, onto=onto), target, "run-2"))
    found = publish(replace(keyed(stage(NEW)), onto=onto), target, "run-2")
    assert (found.before, found.version) == (True, ice.versions[-1])
    assert len(ice.versions) == 1 + there
    assert ice.rows()[-2:] == [(2, 2.5), (3, 3.5)]


def test_many_writers_at_once_all_publish_once(ice: Ice, stage: Stage) -> None:
    target = ice.target("append")
    check_target(target)
    publish(stage(OLD), target, "run")
    runs = [f"run-{i % 4}" for i in range(8)]  # each by two workers
    staged = [stage({"k": [10 + i % 4], "x": [1.0]}) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one, run: publish(one, target, run), staged, runs))
    assert [k for k, _ in ice.rows()] == [1, 2, 10, 11, 12, 13]


def test_who_never_comes_to_a_commit_gives_up(
    ice: Ice, put: Put, intruding: Callable[..., None]
) -> None:
    put(OLD, "append", "run-1")
    intruding(lambda: ice.write({"k": [8], "x": [8.0]}), times=100)
    with pytest.raises(TargetBusyError, match="10 times"):
        put(NEW, "append", "run-2")


# --- Killed ------------------------------------------------------------------------------------

PUBLISH = """
import json, os, signal, sys
from pathlib import Path
from em_impute.job import IcebergTarget
from em_impute.tables.lakehouse import iceberg_target
from em_impute.tables.writing.staged import Staged
place, staged, at = sys.argv[1:]
staged = Staged(Path(staged), "feather", 6, 0, "sha", Path(staged), (), key=("k",))
def stop(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if at == "half":
    batches = iceberg_target.Rows.batches
    def half(rows):
        yield next(batches(rows))
        stop()
    iceberg_target.Rows.batches = half
elif at == "before the commit":
    from pyiceberg.catalog.sql import SqlCatalog
    SqlCatalog.commit_table = stop
else:
    iceberg_target.Published = stop
iceberg_target.publish(staged, IcebergTarget.model_validate_json(place), "run-2")
"""


@pytest.mark.parametrize(
    ("mode", "at", "there"),
    [
        ("replace", "half", True),
        ("upsert", "half", False),
        ("upsert", "before the commit", True),
        ("append", "before the commit", False),
        ("append", "behind the commit", True),
        ("replace", "behind the commit", False),
    ],
)
def test_a_run_that_is_killed_publishes_once(
    ice: Ice, stage: Stage, put: Put, mode: str, at: str, there: bool
) -> None:
    """`kill -9` when half of the rows are written, and before and after the commit is made."""
    target = ice.target(mode)
    check_target(target)
    if there:
        put(OLD, mode, "run-1")
    new = {"k": list(range(2, 8)), "x": [2.5] * 6}
    staged, copy = keyed(stage(new)), stage(new)
    before, place = version(target), target.model_dump_json()
    killed = subprocess.run([sys.executable, "-c", PUBLISH, place, copy.path, at], check=False)
    assert killed.returncode == -9
    done = at == "behind the commit"
    assert (version(target) != before) == done
    check_target(target)
    published = publish(staged, target, "run-2")
    assert (published.before, published.rows) == (done, 6)
    kept = {"replace": 0, "append": 2, "upsert": 1}[mode] if there else 0
    assert (len(ice.versions), len(ice.rows())) == (1 + there, 6 + kept)
