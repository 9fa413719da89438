"""What a first job would say of columns, where a job says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from em_impute.job import FileSource, Imputation, Job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.columns.suggestions import find_suggestions
from em_impute.tables.snapshot import Snapshot

N = 400
Take = Callable[[pa.Table], Snapshot]
MakeJob = Callable[..., Job]


def cells() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    score = rng.normal(size=N)
    hole = rng.random((N, 4)) < 0.1
    return {
        "customer_id": rng.permutation(N) + 1000,
        "amount": pa.array(np.exp(2 + score + rng.normal(size=N)), mask=hole[:, 0]),
        "items": pa.array(rng.poisson(3, N).astype(float), mask=hole[:, 1]),
        "plan": pa.array(rng.choice(["free", "basic", "pro"], N), mask=hole[:, 2]),
        "region": rng.choice(["north", "south"], N),
        "member": pa.array(rng.integers(0, 2, N), mask=hole[:, 3]),
        "version": np.ones(N),
        "day": pa.array(np.datetime64("2026-01-01") + np.arange(N) // 2),
        "score": score,
        "spent": pa.array(np.maximum(2 * score + rng.normal(size=N), 0), mask=rng.random(N) < 0.1),
    }


EVERY = {
    ("customer_id",): {"key": True},
    ("amount",): {"transform": "log"},
    ("items",): {"round": True},
    ("plan",): {"categories": "nominal"},
    ("region",): {"categories": "nominal"},
    ("member",): {"categories": "nominal"},
    ("version",): {"predictors": False},
    ("day",): {"predictors": True},
    ("spent",): {"bounds": [0, None]},
}


@pytest.mark.parametrize(
    ("columns", "gone", "others"),
    [
        ({}, [], {}),
        ({"key": ["customer_id"]}, ["customer_id"], {}),
        ({"key": ["day"]}, ["day"], {("customer_id",): {"predictors": False}}),
        ({"transform": {"amount": "sqrt"}}, ["amount"], {}),
        ({"bounds": {"amount": [0, None]}}, ["amount"], {}),
        ({"bounds": {"spent": [0, 9], "items": [0, 9]}}, ["spent"], {}),
        ({"round": ["items"]}, ["items"], {}),
        ({"round": True}, ["items"], {}),
        ({"categories": {"plan": "nominal", "member": ["0", "1"]}}, ["plan", "member"], {}),
        ({"impute": ["amount"]}, ["plan", "items", "spent"], {}),
        ({"predictors": ["score", "version"]}, ["region", "version", "day"], {}),
        ({"group_by": ["region"]}, ["region"], {}),
        ({"predictors": ["customer_id"]}, ["customer_id", "region", "version", "day"], {}),
    ],
    ids=str,
)
def test_nothing_is_suggested_of_what_the_job_sets(
    take_table: Take,
    job: MakeJob,
    columns: dict[str, Any],
    gone: list[str],
    others: dict[tuple[str], dict[str, Any] | None],
) -> None:
    source = FileSource(path=Path("x.feather"))
    made = job(**columns).model_copy(update={"source": source})
    table = take_table(pa.table(cells()))
    found = find_suggestions(table, assign_roles(table, made), made)
    expected = {k: v for k, v in EVERY.items() if k[0] not in gone} | others
    assert {one.columns: one.options for one in found} == {k: v for k, v in expected.items() if v}


def test_the_sentences(take_table: Take, job: MakeJob) -> None:
    table, made = take_table(pa.table(cells())), job()
    found = find_suggestions(table, assign_roles(table, made), made)
    assert [one.sentence for one in (*found[:1], *found[2:4], found[-1])] == [
        "customer_id: no two rows have the same, and none lacks it; `key: [customer_id]` would "
        "suit.",
        "items: whole numbers only; `round: [items]` would suit.",
        "plan: 3 levels; `categories: nominal` would suit.",
        "spent: never below 0, where 19.4% of its known cells would be filled; "
        "`bounds: [0, null]` would suit.",
    ]


def test_draws_reach_further_than_expected_values(take_table: Take, job: MakeJob) -> None:
    table, made = take_table(pa.table(cells())), job()
    draws = made.model_copy(update={"imputation": Imputation(method="draw")})
    (items,) = (
        one
        for one in find_suggestions(table, assign_roles(table, draws), draws)
        if one.columns == ("items",)
    )
    assert items.options == {"bounds": [0, None], "round": True}


def test_a_table_for_which_no_first_job_can_be_written(take_table: Take, job: MakeJob) -> None:
    """Whole numbers that floating point cannot hold are no matter to a job that leaves them."""
    large = pa.array([2**60 + 1, None, 3] * 20)
    table = take_table(pa.table({"large": large, "x": [1.0, None, 3.0] * 20, "y": range(60)}))
    made = job(impute=["x"], predictors=["y"])
    assert find_suggestions(table, assign_roles(table, made), made) == ()
