"""Limits on the scores: columns that they may name, and what they refuse, by more than chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_scores import helped, judged, levels, scores_of

from em_impute.job import Job, JobError
from em_impute.self_test.limits import check_limits, limits_that_apply
from em_impute.self_test.scores import (
    LevelScores,
    score_levels,
)
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
    assert limits_that_apply(snapshot, made.self_test) == {
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


LIMITS = {"max_rmse_ratio": 1.0, "min_coverage_95": 0.9, "max_pit_distance": 0.1}


def test_good_scores_hold_every_limit() -> None:
    rng = np.random.default_rng(10)
    filled = rng.normal(size=(20, 500))
    columns = [
        scores_of(row + 0.5 * rng.normal(size=500), row, 0.5, column=f"c{j}")
        for j, row in enumerate(filled)
    ]
    test = judged(*columns, **LIMITS)
    assert (test.refusal, test.warnings) == (None, ())


@pytest.mark.parametrize(
    ("limit", "factor", "sd", "said"),
    [
        ("max_rmse_ratio", -0.5, 1.0, "max_rmse_ratio (1): the RMSE relative to the mean's is 1.5"),
        ("min_coverage_95", 0.0, 0.6, "min_coverage_95 (0.9): the share of test cells in 95%"),
        ("max_pit_distance", 0.0, 0.3, "max_pit_distance (0.1): the distance of the PIT from"),
    ],
)
def test_limit_refuses_what_is_beyond_it(limit: str, factor: float, sd: float, said: str) -> None:
    truth = np.random.default_rng(11).normal(size=600)
    refusal = judged(scores_of(truth, factor * truth, sd), **{limit: LIMITS[limit]}).refusal
    assert refusal is not None
    assert refusal.startswith(f"The self-test misses {said}")
    assert " in x" in refusal
    assert refusal.endswith(".")


def test_one_bad_column_among_many_is_refused_by_name() -> None:
    rng = np.random.default_rng(12)
    columns = [scores_of(rng.normal(size=500), column=f"c{j}") for j in range(30)]
    columns[17] = scores_of(2 * rng.normal(size=500), column="bad")
    test = judged(*columns, min_coverage_95=0.9)
    assert test.coverage.at_95 is not None
    assert test.coverage.at_95 > 0.9
    assert test.refusal is not None
    assert " in bad." in test.refusal
    assert "all columns" not in test.refusal


def test_many_columns_are_refused_in_a_short_sentence() -> None:
    rng = np.random.default_rng(13)
    columns = [scores_of(3 * rng.normal(size=500), column=f"c{j}") for j in range(30)]
    refusal = judged(*columns, min_coverage_95=0.9).refusal
    assert refusal is not None
    assert " in all columns together, " in refusal
    assert refusal.endswith(" and 28 more.")


def test_noise_does_not_refuse() -> None:
    """Of 200 tables with 10 columns of 40 cells, all as they should be, hardly one is refused."""
    rng = np.random.default_rng(14)
    refused = 0
    for _ in range(200):
        filled = 0.3 * rng.normal(size=(10, 40))
        columns = [
            scores_of(row + rng.normal(size=40), row, 1.0, column=f"c{j}")
            for j, row in enumerate(filled)
        ]
        refused += judged(*columns, **(LIMITS | {"min_coverage_95": 0.95})).refusal is not None
    assert refused <= 8


def test_what_may_be_chance_is_a_warning() -> None:
    truth = np.concatenate([np.full(88, 0.1), np.full(12, 5.0)])
    test = judged(scores_of(truth), min_coverage_95=0.9)
    assert test.refusal is None
    assert any("but within chance" in said for said in test.warnings)
    assert judged(scores_of(np.tile(truth, 20)), min_coverage_95=0.9).refusal is not None


def test_limit_without_a_number_to_hold_it_is_a_warning() -> None:
    test = judged(levels=(LevelScores("sex", 10, 9, 5),), max_rmse_ratio=1.0)
    assert test.refusal is None
    assert test.warnings == ("No column of numbers was tested, so max_rmse_ratio was not checked.",)


def test_a_single_cell_refuses_nothing() -> None:
    assert judged(scores_of(np.array([9.0]), -1.0), **LIMITS).refusal is None


def test_a_limit_of_one_column_leaves_the_others_alone() -> None:
    a, b = helped(600, 1, "a", r2=0.7), helped(600, 2, "b", r2=0.2)
    assert judged(a, b, max_rmse_ratio={"a": 0.8}).refusal is None
    refusal = judged(a, b, max_rmse_ratio={"b": 0.6, "a": 0.8}).refusal
    assert refusal == (
        "The self-test misses max_rmse_ratio: the RMSE relative to the mean's is "
        f"{b.rmse_ratio:.3g} in b (limit 0.6)."
    )


@pytest.mark.parametrize(("limit", "sd"), [("min_coverage_95", 0.6), ("max_pit_distance", 0.3)])
def test_every_limit_can_be_set_by_column(limit: str, sd: float) -> None:
    rng = np.random.default_rng(11)
    bad, good = scores_of(rng.normal(size=600), sd=sd, column="bad"), helped(600, 1, "good")
    refusal = judged(bad, good, **{limit: {"bad": LIMITS[limit]}}).refusal
    assert refusal is not None
    assert f"in bad (limit {LIMITS[limit]:g})." in refusal
    loose = 2 * LIMITS[limit] if limit.startswith("max") else 0.5
    assert judged(bad, good, **{limit: {"good": loose}}).refusal is None


def test_what_may_be_chance_in_a_named_column_is_a_warning() -> None:
    test = judged(helped(40, 5, "a", r2=0.3), max_rmse_ratio={"a": 0.8})
    assert test.refusal is None
    assert "is beyond max_rmse_ratio, but within chance" in test.warnings[0]
    assert "in a (limit 0.8)" in test.warnings[0]


def test_a_named_column_of_which_no_cell_was_hidden_is_a_warning() -> None:
    test = judged(
        helped(500, 5, "a"), max_rmse_ratio={"a": 0.95, "b": 0.9}, min_accuracy={"s": 0.5}
    )
    assert test.warnings == (
        "No cell of b was tested, so max_rmse_ratio was not checked.",
        "No cell of s was tested, so min_accuracy was not checked.",
    )


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("min_accuracy", 0.9, "min_accuracy (0.9): the share of correct levels is 80.0% in"),
        (
            "min_accuracy_gain",
            0.2,
            "min_accuracy_gain (0.2): the gain in correct levels over the most frequent",
        ),
        ("min_accuracy", {"sex": 0.9}, "min_accuracy: the share of correct levels is 80.0%"),
        ("min_accuracy_gain", {"sex": 0.2}, "is 10.0% in sex (limit 0.2)."),
    ],
)
def test_categories_have_limits_of_their_own(limit: str, value: Any, said: str) -> None:
    scores = levels(1000, 800, 700, 120)
    refusal = judged(levels=(scores,), **{limit: value}).refusal
    assert refusal is not None
    assert said in refusal
    lower = {"sex": 0.05} if isinstance(value, dict) else 0.05
    assert judged(levels=(scores,), **{limit: lower}).refusal is None
    few = levels(10, 8, 7, 2)
    assert judged(levels=(few,), **{limit: value}).refusal is None


def test_a_gain_of_no_more_than_chance_is_not_refused() -> None:
    rng, refused = np.random.default_rng(22), 0
    for _ in range(200):
        truth, mode = rng.random(60) < 0.6, np.ones(60, dtype=bool)
        filled = rng.random(60) < 0.9
        scores = score_levels("s", truth.astype(int), np.where(filled, mode, truth).astype(int), 1)
        refused += judged(levels=(scores,), min_accuracy_gain=0.0).refusal is not None
    assert refused == 0
