"""What columns look like that a model of normals would not guess."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike

from em_impute.job import FileSource, Job
from em_impute.tables.columns.hints import Hint, Look, columns_that_move_on, find_hints
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.snapshot import Snapshot

N = 2_000
RNG = np.random.default_rng(3)
NORMAL = RNG.normal(size=N)

Take = Callable[[pa.Table], Snapshot]
MakeJob = Callable[..., Job]


def hints(
    take_table: Take, job: MakeJob, name: str, cells: ArrayLike | pa.Array, **columns: Any
) -> tuple[Hint, ...]:
    holes = [None if i % 5 == 0 else x for i, x in enumerate(RNG.normal(size=len(cells)).tolist())]
    table = pa.table({name: cells, "z": holes})
    made = job(**columns).model_copy(update={"source": FileSource(path=Path("x.feather"))})
    snapshot = take_table(table)
    return find_hints(snapshot, assign_roles(snapshot, made))


LOOKS: dict[str, tuple[str, ArrayLike, str, str]] = {
    "a row counter": ("n", np.arange(N), "counter", "key: [n]"),
    "a counter in another order": ("n", RNG.permutation(N) + 500, "counter", "key: [n]"),
    "a counter with gaps": ("n", np.cumsum(RNG.integers(1, 99, N)), "counter", "key: [n]"),
    "a falling counter": ("n", np.arange(N)[::-1], "counter", "key: [n]"),
    "whole numbers as floats": ("n", np.arange(N) * 1.0, "counter", "key: [n]"),
    "an identifier": ("ref", RNG.permutation(10**9 // N * np.arange(N)), "identifier", "[ref]"),
    "an identifier of few rows": (
        "orderId",
        RNG.permutation(10**7 * np.arange(40)),
        "identifier",
        "[orderId]",
    ),
    "a repeated identifier": ("store_id", RNG.integers(1, 50, N), "code", "categories"),
    "a postcode": ("zip", RNG.integers(10000, 99999, N), "code", "categories"),
    "dates as numbers": ("d", 20260100 + RNG.integers(1, 32, N), "time", "dates written as"),
    "years": ("birth_year", RNG.integers(1930, 2010, N), "time", "years"),
    "seconds": ("created_at", 1.7e9 + RNG.random(N) * 1e7, "time", "seconds since 1970"),
    "milliseconds": ("ts", 1.7e12 + RNG.random(N) * 1e9, "time", "milliseconds since 1970"),
    "an amount": ("price", np.exp(NORMAL), "skewed", "transform: {price: log}"),
    "whole amounts that differ": (
        "revenue",
        np.round(1e9 * np.exp(NORMAL)),
        "skewed",
        "transform: {revenue: log}",
    ),
    "whole amounts that the table is sorted by": (
        "population",
        np.sort(np.round(1e9 * np.exp(NORMAL)))[::-1],
        "skewed",
        "transform: {population: log}",
    ),
    "an amount with zeros": (
        "price",
        np.where(RNG.random(N) < 0.1, 0, np.exp(NORMAL + 1)),
        "skewed",
        "transform: {price: log1p}",
    ),
    "a constant": ("c", np.full(N, 7.0), "constant", "one value only"),
}


@pytest.mark.parametrize("case", LOOKS)
def test_what_a_column_looks_like(take_table: Take, job: MakeJob, case: str) -> None:
    name, cells, kind, said = LOOKS[case]
    [hint] = hints(take_table, job, name, cells)
    assert (hint.column, hint.kind) == (name, kind), hint
    assert said in hint.sentence


NOTHING: dict[str, tuple[str, ArrayLike]] = {
    "a normal": ("x", NORMAL),
    "a normal far from 0": ("x", 1000 + NORMAL),
    "counts": ("days", RNG.poisson(3, N)),
    "ages": ("age", RNG.integers(18, 90, N)),
    "a scale of grades": (
        "satisfaction",
        RNG.choice([1, 2, 3, 4, 5], N, p=[0.8, 0.1, 0.05, 0.03, 0.02]),
    ),
    "paid, which ends as an identifier does": ("paid", RNG.integers(0, 90, N)),
    "a sorted column of numbers with decimals": ("x", np.sort(NORMAL)),
    "a sorted column of whole numbers": ("x", np.sort(RNG.integers(0, 900, N))),
    "an indicator": ("yes", RNG.integers(0, 2, N)),
    "a few rows": ("x", np.array([3, 1, 4, 15, 9, 2, 6])),
    "large whole numbers that differ": ("population", RNG.integers(0, 10**9, 200)),
    "large whole numbers of which many differ": ("gain", np.round(1e9 * NORMAL)),
    "whole numbers that the table is sorted by": ("gain", np.sort(np.round(1e9 * NORMAL))[::-1]),
    "negative skewed numbers": ("x", -np.exp(NORMAL)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_looks_like_a_number_is_one(take_table: Take, job: MakeJob, case: str) -> None:
    assert hints(take_table, job, *NOTHING[case]) == ()


@pytest.mark.parametrize(
    ("name", "top", "end", "said"),
    [
        ("x", 1, False, "transform: {x: {logit: [0, 1]}}"),
        ("x", 1, True, "bounds: {x: [0, 1]}"),
        ("fat_pct", 100, False, "transform: {fat_pct: {logit: [0, 100]}}"),
        ("fat", 100, True, "bounds: {fat: [0, 100]}"),
    ],
)
def test_shares_are_told_with_what_keeps_them_in_their_ends(
    take_table: Take, job: MakeJob, name: str, top: int, end: bool, said: str
) -> None:
    cells = top / (1 + np.exp(-NORMAL))
    cells[1] = top if end else np.nan
    cells[2::7] = np.nan
    [hint] = hints(take_table, job, name, pa.array(cells, from_pandas=True))
    assert hint.kind == "share"
    assert said in hint.sentence


def test_a_column_that_has_its_option_needs_no_hint(take_table: Take, job: MakeJob) -> None:
    price, share = np.exp(NORMAL), 1 / (1 + np.exp(-NORMAL))
    assert hints(take_table, job, "price", price, transform={"price": "log"}) == ()
    assert hints(take_table, job, "share", share, bounds={"share": [0, 1]}) == ()
    assert hints(take_table, job, "id", np.arange(N), key=["id"]) == ()


@pytest.mark.parametrize(
    "start", [date(2026, 1, 1), datetime(2026, 1, 1)], ids=["dates", "timestamps"]
)
def test_dates_are_told_with_their_part(take_table: Take, job: MakeJob, start: date) -> None:
    days = pa.array([start + timedelta(days=i) for i in range(50)])
    [kept] = hints(take_table, job, "day", days)
    [predicts] = hints(take_table, job, "day", days, predictors=["day"])
    assert kept.kind == predicts.kind == "time"
    assert "kept as is" in kept.sentence
    assert "seconds since 1970" in predicts.sentence


def test_what_goes_on_from_table_to_table(take_table: Take, job: MakeJob) -> None:
    days = pa.array([datetime(2026, 1, 1) + timedelta(hours=i) for i in range(N)])
    table = pa.table(
        {
            "day": days,
            "order": np.arange(N),
            "year": RNG.integers(2000, 2026, N),
            "price": np.exp(NORMAL),
            "store_id": RNG.integers(1, 50, N),
            "z": [None, *NORMAL[1:]],
        }
    )
    names = ["day", "order", "year", "price", "store_id"]
    made = job(predictors=names).model_copy(update={"source": FileSource(path=Path("x.feather"))})
    snapshot = take_table(table)
    assert columns_that_move_on(snapshot, assign_roles(snapshot, made)) == ("day", "order", "year")


@pytest.mark.parametrize("portion", [1, 7, 1000])
def test_a_look_does_not_hang_on_portions(portion: int) -> None:
    whole, parts = Look(), Look()
    cells = np.where(np.arange(300) % 4 == 1, np.nan, np.arange(300.0))
    whole.add(cells)
    for start in range(0, 300, portion):
        parts.add(cells[start : start + portion])
    assert whole.is_counter
    assert parts.is_counter
    assert np.array_equal(whole.kept, parts.kept)
    parts.add(np.array([5.0]))
    assert not parts.rising


def test_a_long_column_is_looked_at_by_every_kth_cell() -> None:
    look = Look()
    for start in range(0, 400_000, 50_000):
        look.add(np.arange(start, start + 50_000, dtype=float))
    assert look.count == 400_000
    assert len(look.kept) <= 50_000
    assert np.array_equal(look.kept, np.arange(0, 400_000, look.stride))
