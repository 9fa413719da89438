"""Groups: told apart by their columns, summed up and filled each by its own model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from em_impute.gaussian import GaussianModel
from em_impute.job import CannotRun, FileTarget, ModelOptions
from em_impute.tables.columns.roles import Roles
from em_impute.tables.fill import fill, filled_schema
from em_impute.tables.groups import save_models, summarise_groups
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.writing.formats import read_staged

Take = Callable[..., Snapshot]

ROLES = Roles(("g", "h", "x"), key=(), impute=("x",), predictors=(), group_by=("g", "h"))
TABLE = pa.table(
    {"g": ["a", "a", "b", None, "a"], "h": [1, 1, 1, 2, 2], "x": [1.0, None, 5.0, None, None]}
)


def model(mean: float) -> GaussianModel:
    return GaussianModel(np.array([mean]), np.eye(1), ("x",))


def test_each_group_is_filled_by_its_own_model(
    take_table: Take, folder: RunFolder, tmp_path: Path
) -> None:
    snapshot = take_table(TABLE)
    summaries = summarise_groups(snapshot, ROLES, ModelOptions())
    assert sorted(summary.n_rows for summary in summaries.values()) == [1, 1, 1, 2]
    first = next(label for label, summary in summaries.items() if summary.n_rows == 2)
    save_models({first: model(1 / 3)}, folder.groups)
    kept = json.loads(folder.groups.read_text())
    assert kept == {first: {"mean": [1 / 3], "covariance": [[1.0]]}}
    groups = {label: model(*kept[label]["mean"]) for label in kept}
    target = FileTarget(path=tmp_path / "y.feather")
    staged = fill(snapshot, model(9.0), ROLES, target, folder, groups=groups)
    schema = filled_schema(snapshot, ROLES)
    [batch] = read_staged(staged.path, staged.format, schema)
    assert batch.column("x").to_pylist() == [1.0, 1 / 3, 5.0, 9.0, 9.0]


def test_too_many_groups(take_table: Take) -> None:
    n = 1001
    table = pa.table({"g": [str(i) for i in range(n)], "h": [1] * n, "x": [1.0] * n})
    with pytest.raises(CannotRun, match=r"columns\.group_by: g, h makes more than 1,000 groups;"):
        summarise_groups(take_table(table), ROLES, ModelOptions())
