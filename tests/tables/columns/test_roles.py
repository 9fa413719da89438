"""The default roles, and cells as numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from em_impute.job import Job
from em_impute.tables.columns.roles import Roles, assign_roles, to_matrix
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


MakeJob = Callable[..., Job]


AIR = "Ozone,Wind,Station,Temp,Day\n41,7.4,a,67,1\n,8,b,,2\n12,12.6,c,74,3\n"


def test_by_default_holes_are_filled_from_every_other_number(take_csv: Take, job: MakeJob) -> None:
    roles = assign_roles(take_csv(AIR), job(key=["Day"]))
    assert roles.impute == ("Ozone", "Temp")
    assert roles.predictors == ("Wind",)
    assert roles.model_columns == ("Ozone", "Wind", "Temp")
    assert roles.passthrough == ("Station",)


def test_named_predictors_are_not_imputed(take_csv: Take, job: MakeJob) -> None:
    roles = assign_roles(take_csv(AIR), job(predictors=["Temp"]))
    assert (roles.impute, roles.predictors) == (("Ozone",), ("Temp",))
    assert roles.passthrough == ("Wind", "Station", "Day")


def test_named_columns_take_the_order_of_the_table(take_csv: Take, job: MakeJob) -> None:
    roles = assign_roles(take_csv(AIR), job(impute=["Temp", "Ozone"], key=["Day", "Station"]))
    assert roles.impute == ("Ozone", "Temp")
    assert roles.predictors == ("Wind",)
    assert roles.key == ("Day", "Station")


def test_a_column_may_be_key_and_predictor(take_csv: Take, job: MakeJob) -> None:
    roles = assign_roles(take_csv(AIR), job(predictors=["Day"], key=["Day"]))
    assert roles.key == roles.predictors == ("Day",)
    assert roles.passthrough == ("Wind", "Station")


@pytest.mark.parametrize("content", ["a,b\n1,x\n2,y\n", "a,b\n"])
def test_a_table_with_nothing_to_impute_is_fine(take_csv: Take, job: MakeJob, content: str) -> None:
    assert assign_roles(take_csv(content), job()).impute == ()


def test_a_named_column_with_no_observed_cell_is_left_to_the_preconditions(
    take_csv: Take, job: MakeJob
) -> None:
    snapshot = take_csv("a,b\n1,\n2,NA\n")
    assert snapshot.profile("b").type == "null"
    assert assign_roles(snapshot, job(impute=["b"])).impute == ("b",)


def test_to_matrix_takes_null_and_nan_for_missing() -> None:
    batch = pa.record_batch(
        {
            "text": ["a", "b", "c"],
            "half": pa.array([0.5, None, float("nan")], pa.float16()),
            "int": pa.array([1, None, 3], pa.uint8()),
            "big": pa.array([2**53 + 1, 0, 2**63], pa.uint64()),
            "none": pa.nulls(3),
        }
    )
    X = to_matrix(batch, ["big", "int", "half", "none"])
    assert X.dtype == np.float64
    nan = np.nan
    np.testing.assert_array_equal(
        X, [[2.0**53, 1, 0.5, nan], [0, nan, nan, nan], [2.0**63, 3, nan, nan]]
    )


def test_to_matrix_of_no_columns() -> None:
    assert to_matrix(pa.record_batch({"x": [1, 2]}), []).shape == (2, 0)


def test_roles_of_the_model_are_in_the_order_of_the_table() -> None:
    roles = Roles(("a", "b", "c", "d"), key=("d",), impute=("c",), predictors=("a",))
    assert (roles.model_columns, roles.passthrough) == (("a", "c"), ("b",))
