"""Trials on observed cells: which way of taking a column fills it better."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import pyarrow as pa
import pytest

from em_impute.tables.columns.transforms import transform_of
from em_impute.tables.columns.trials import Trial, trial_of
from em_impute.tables.snapshot import Snapshot

N = 500
Take = Callable[[pa.Table], Snapshot]


def taken(take_table: Take, columns: dict[str, np.ndarray], **transforms: str) -> Trial:
    """The first column is to be filled, and lacks some cells."""
    rng = np.random.default_rng(2)
    first, *others = columns
    cells = {name: pa.array(values) for name, values in columns.items()}
    cells[first] = pa.array(columns[first], mask=rng.random(N) < 0.2)
    named = {name: transform_of(option) for name, option in transforms.items()}
    return trial_of(take_table(pa.table(cells)), [first], others, named)


def test_each_cell_is_predicted_without_its_row(take_table: Take) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    y = x + rng.normal(size=N)
    trial = taken(take_table, {"y": y, "x": x})
    shown = np.isfinite(trial.rows["y"])
    y, x = y[shown], x[shown]
    for row in (0, 7):
        others = np.arange(len(y)) != row
        slope, level = np.polyfit(x[others], y[others], 1)
        assert trial.predicted("y").filled[row] == pytest.approx(level + slope * x[row])


@pytest.mark.parametrize("logged", [True, False])
def test_a_logarithm_helps_where_the_relation_is_one_of_logarithms(
    take_table: Take, logged: bool
) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    y = np.exp(1 + x + rng.normal(size=N) / 3) if logged else 30 + 5 * x + rng.normal(size=N)
    trial = taken(take_table, {"y": y, "x": x}, y="log")
    assert (trial.error < trial.without_transform("y").error) == logged


def test_what_the_rows_with_holes_lack_predicts_nothing(take_table: Take) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=N)
    copy = np.where(np.random.default_rng(2).random(N) < 0.2, np.nan, y)
    trial = taken(take_table, {"y": y, "copy": copy, "x": rng.normal(size=N)})
    assert trial.predicted("y").by == {"x"}
    assert trial.error == pytest.approx(1, abs=0.01)


def test_a_column_that_is_left_out_is_missed(take_table: Take) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    trial = taken(take_table, {"y": x + rng.normal(size=N), "x": x})
    assert trial.without("x").error > trial.error + 0.2


def test_bounds_keep_what_is_filled_inside(take_table: Take) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    predicted = taken(take_table, {"y": np.maximum(x, 0), "x": x}).predicted("y")
    assert (predicted.filled < 0).any()
    assert (predicted.between(0, inf).filled >= 0).all()
