"""Limits of the self-test by column: which columns they may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from em_impute.job import Job, JobError
from em_impute.self_test.limits import check_limits, limits_that_apply
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.snapshot import Snapshot

TABLE = pa.table(
    {
        "amount": [1.0, None, 3.0, 4.5, 2.5],
        "full": [1.0, 2.0, 4.0, 3.0, 9.0],
        "sex": ["f", None, "m", "m", "f"],
        "note": ["a", None, "c", "d", "e"],
        "id": [1, 2, 3, 4, 5],
    }
)
COLUMNS: dict[str, Any] = {"categories": {"sex": "nominal"}, "key": ["id"]}


def checked(
    take_table: Callable[[pa.Table], Snapshot], job: Callable[..., Job], limits: dict[str, Any]
) -> tuple[Snapshot, Job]:
    snapshot = take_table(TABLE)
    made = Job.model_validate(job(**COLUMNS).model_dump() | {"self_test": limits})
    check_limits(snapshot, assign_roles(snapshot, made), made)
    return snapshot, made


def test_columns_that_are_filled_have_limits(
    take_table: Callable[[pa.Table], Snapshot], job: Callable[..., Job]
) -> None:
    """One that has no hole tonight, too, which is not tested until it has one."""
    limits = {"max_rmse_ratio": {"amount": 0.9, "full": 0.9}, "min_accuracy": {"sex": 0.5}}
    snapshot, made = checked(take_table, job, limits | {"min_coverage_95": 0.9})
    assert limits_that_apply(snapshot, made) == {
        "max_rmse_ratio": {"amount": 0.9},
        "min_coverage_95": 0.9,
        "min_accuracy": {"sex": 0.5},
    }


def test_every_column_that_cannot_be_tested_is_named_at_once(
    take_table: Callable[[pa.Table], Snapshot], job: Callable[..., Job]
) -> None:
    limits = {
        "max_rmse_ratio": {"amuont": 0.9, "amount": 1.0, "note": 0.9, "sex": 0.8},
        "min_accuracy_gain": {"amount": 0.1, "id": 0.1},
    }
    with pytest.raises(JobError) as caught:
        checked(take_table, job, limits)
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 5
    for problem, words in zip(
        said,
        (
            "self_test.max_rmse_ratio: the table has no column 'amuont'; did you mean 'amount'?",
            "self_test.max_rmse_ratio: column 'note' is not filled, so it is not tested",
            "self_test.max_rmse_ratio: column 'sex' holds categories; use limits such as min_acc",
            "self_test.min_accuracy_gain: column 'amount' holds numbers; use limits such as max_",
            "self_test.min_accuracy_gain: column 'id' is not filled",
        ),
        strict=True,
    ):
        assert words in problem
