"""What a snapshot knows of each column: missing, infinite and constant cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from em_impute.job import BATCH_ROWS, FileSource
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    ColumnProfile,
    Snapshot,
)
from em_impute.tables.sources import take_snapshot

Take = Callable[..., Snapshot]


DATA = Path(__file__).parents[3] / "data"


def test_airquality_is_profiled(folder: RunFolder) -> None:
    snapshot = take_snapshot(FileSource(path=DATA / "airquality.csv"), folder.snapshot)
    assert snapshot.rows == 153
    assert {column.name: column.missing for column in snapshot.columns} == {
        "Ozone": 37,
        "Solar.R": 7,
        "Wind": 0,
        "Temp": 0,
        "Month": 0,
        "Day": 0,
    }
    assert snapshot.profile("Wind").type == "double"
    assert all(column.numeric and not column.constant for column in snapshot.columns)


def test_profile_counts_null_nan_and_infinite_cells(take_table: Take) -> None:
    x = pa.array([1.0, None, float("nan"), float("-inf"), float("inf")])
    [profile] = take_table(pa.table({"x": x})).columns
    assert profile == ColumnProfile("x", "double", True, 2, 2, 4, False)


def test_first_infinite_row_is_counted_over_batches(take_table: Take) -> None:
    x = [0.0] * (BATCH_ROWS + 5) + [float("inf")]
    assert take_table(pa.table({"x": x})).profile("x").first_infinite_row == BATCH_ROWS + 6


@pytest.mark.parametrize(
    ("cells", "constant"),
    [
        ([3, None, 3], True),
        ([2**53, 2**53 + 1, None], False),
        ([None, None], False),
        ([-0.0, 0.0], True),
        ([1.0, float("nan")], True),
    ],
)
def test_constant_needs_an_observed_cell_and_no_other_value(
    take_table: Take, cells: list[float | None], constant: bool
) -> None:
    assert take_table(pa.table({"x": cells})).profile("x").constant is constant


def test_half_floats_are_profiled(take_table: Take) -> None:
    x = pa.array([1.5, None, float("inf")], pa.float16())
    assert take_table(pa.table({"x": x})).profile("x").infinite == 1
