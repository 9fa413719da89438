"""Whatever kind a target is: what it is asked and told goes to the module of its kind."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from databases import Stage

from em_impute.job import DatabaseTarget, FileTarget
from em_impute.tables.targets import (
    Target,
    check_schema,
    check_target,
    find_published,
    in_doubt,
    publish,
    standing,
)
from em_impute.tables.writing.staged import TargetError

TABLE = {"k": [1, 2], "x": [0.5, 1.5]}


@pytest.fixture(params=["file", "folder", "database"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    match request.param:
        case "file":
            return FileTarget(path=tmp_path / "out" / "y.feather")
        case "folder":
            return FileTarget(path=tmp_path / "out" / "y", format="parquet", partition_by=["k"])
        case _:
            return DatabaseTarget(url=f"sqlite:///{tmp_path}/out/y.sqlite", table="t")


def test_what_a_run_has_published_is_found_there(target: Target, stage: Stage) -> None:
    check_target(target)
    check_schema(pa.table(TABLE).schema, target)
    assert find_published(target, "run-1") is None
    done = publish(stage(TABLE), target, "run-1")
    assert done == find_published(target, "run-1")
    assert (done.rows, done.before) == (2, False)
    assert standing(target, "run-1", done.sha256) == "held"
    assert find_published(target, "run-2") is None


def test_a_run_publishes_once_and_the_next_takes_its_place(target: Target, stage: Stage) -> None:
    check_target(target)
    first = publish(stage(TABLE), target, "run-1")
    again = publish(stage({"k": [9], "x": [9.0]}), target, "run-1")
    assert again == first
    assert again.before
    second = publish(stage({"k": [3], "x": [2.5]}), target, "run-2")
    assert second.rows == 1
    assert standing(target, "run-2", second.sha256) == "held"


def test_a_doubt_names_the_target_and_the_run(target: Target) -> None:
    sentence = in_doubt(target, "run-1")
    assert str(target) in sentence
    assert "run-1" in sentence


def test_a_column_that_the_target_cannot_hold_is_named(target: Target) -> None:
    check_target(target)
    odd = pa.schema([("k", pa.int64()), ("odd", pa.sparse_union([pa.field("a", pa.int64())]))])
    if isinstance(target, FileTarget) and target.file_format == "feather":
        check_schema(odd, target)  # which holds every type
    else:
        with pytest.raises(TargetError, match="'odd'"):
            check_schema(odd, target)


def test_columns_that_name_folders_have_to_be_there(tmp_path: Path) -> None:
    target = FileTarget(path=tmp_path / "y", format="parquet", partition_by=["year"])
    with pytest.raises(TargetError, match="has no column 'year'"):
        check_schema(pa.table(TABLE).schema, target)
