"""Which cells a self-test hides, and what the models say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray
from pyarrow import feather

from em_impute.gaussian import GaussianModel
from em_impute.job import FileSource, Job, SelfTestOptions
from em_impute.self_test import cells as cells_of_test
from em_impute.self_test.cells import Hidden, HiddenLevels, HiddenNumbers, HiddenRows, choose_cells
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot

Take = Callable[..., Snapshot]
MakeJob = Callable[..., Job]
Floats = NDArray[np.float64]


def frame_of(X: Floats) -> pd.DataFrame:
    return pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])


def numbers(names: int, *, impute: int | None = None) -> Roles:
    columns = tuple(f"c{j}" for j in range(names))
    impute = names if impute is None else impute
    return Roles(columns, key=(), impute=columns[:impute], predictors=columns[impute:])


@pytest.fixture
def take(take_table: Take) -> Callable[[Floats], Snapshot]:
    return lambda X: take_table(pa.Table.from_pandas(frame_of(X), preserve_index=False))


def cells(hidden: Hidden) -> set[tuple[int, int]]:
    return set(zip(hidden.row.tolist(), hidden.column.tolist(), strict=True))


# --- How many, and which -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "most", "expected"),
    [
        (0.02, 50_000, [18, 16, 14]),
        (0.5, 300, [100, 100, 100]),
        (0.5, 1000, [334, 333, 333]),
        (0.3, 700, [250, 240, 210]),
        (1.0, 10_000, [900, 800, 700]),
        (1.0, 31, [11, 10, 10]),
        (1.0, 29, [15, 14, 0]),
        (1.0, 10, [10, 0, 0]),
        (0.0125, 50_000, [11, 10, 0]),
        (0.001, 50_000, [0, 0, 0]),
    ],
)
def test_sizes_are_exact(
    take: Callable[[Floats], Snapshot], share: float, most: int, expected: list[int]
) -> None:
    """Equal shares, no more than the share of each column's observed cells, and the cap exactly."""
    X = np.random.default_rng(0).normal(size=(1000, 4))
    for j in range(3):
        X[: 100 * (j + 1), j] = np.nan
    options = SelfTestOptions(max_share=share, max_cells=most)
    hidden = choose_cells(take(X), numbers(4, impute=3), options)
    sizes = dict(zip(hidden.columns, np.bincount(hidden.column).tolist(), strict=True))
    observed = {"c0": 900, "c1": 800, "c2": 700}
    assert sorted(sizes.values(), reverse=True) == [size for size in expected if size]
    assert all(10 <= size <= share * observed[name] for name, size in sizes.items())
    assert hidden.observed == sum(observed[name] for name in sizes)
    assert {*sizes, *hidden.untested} == {"c0", "c1", "c2"}
    assert len(cells(hidden)) == len(hidden)
    names = [int(name[1:]) for name in hidden.columns]
    assert not np.isnan(X[hidden.row, np.array(names, dtype=int)[hidden.column]]).any()


def test_columns_with_the_most_holes_are_tested_where_not_all_can_be(
    take: Callable[[Floats], Snapshot],
) -> None:
    X = np.random.default_rng(0).normal(size=(1000, 5))
    for j, holes in enumerate((50, 10, 30, 40, 20)):
        X[:holes, j] = np.nan
    hidden = choose_cells(take(X), numbers(5), SelfTestOptions(max_cells=39))
    assert (hidden.columns, hidden.untested) == (("c0", "c2", "c3"), ("c1", "c4"))


def test_of_a_wide_table_fewer_cells_are_hidden(
    take: Callable[[Floats], Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as have room in memory with their rows."""
    X = np.random.default_rng(0).normal(size=(1000, 5))
    for j, holes in enumerate((50, 10, 30, 40, 20)):
        X[:holes, j] = np.nan
    monkeypatch.setattr(cells_of_test, "MOST_NUMBERS", 5 * 39)
    hidden = choose_cells(take(X), numbers(5), SelfTestOptions())
    assert hidden.columns == ("c0", "c2", "c3")
    assert len(hidden) == 39


def test_columns_without_holes_and_predictors_are_not_tested(
    take: Callable[[Floats], Snapshot],
) -> None:
    X = np.random.default_rng(1).normal(size=(500, 4))
    X[::7, 1] = X[::5, 3] = np.nan
    hidden = choose_cells(take(X), numbers(4, impute=3), SelfTestOptions(max_share=0.5))
    assert hidden.columns == ("c1",)
    assert set(hidden.column) == {0}


@pytest.mark.parametrize("batch_rows", [1, 17, 999, 5000])
def test_cells_do_not_hang_on_batches(
    tmp_path: Path, take: Callable[[Floats], Snapshot], batch_rows: int
) -> None:
    X = factor_table(1003, 6, 0.2, seed=2)
    options = SelfTestOptions(max_share=0.1)
    whole = choose_cells(take(X), numbers(6), options)
    snapshot = take_snapshot(
        FileSource(path=tmp_path / "x.feather"), tmp_path / "again.arrow", batch_rows
    )
    again = choose_cells(snapshot, numbers(6), options)
    for name in ("column", "row", "shown"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_cells_hang_on_the_seed_and_not_on_other_columns_or_values(
    take: Callable[[Floats], Snapshot],
) -> None:
    X = factor_table(800, 5, 0.2, seed=3)
    options = SelfTestOptions(max_share=0.05)
    hidden = choose_cells(take(X), numbers(5), options)
    assert cells(choose_cells(take(X), numbers(5), options)) == cells(hidden)
    assert cells(choose_cells(take(3 - X**2), numbers(5), options)) == cells(hidden)
    other = SelfTestOptions(max_share=0.05, seed=2)
    assert cells(choose_cells(take(X), numbers(5), other)) != cells(hidden)
    fewer = choose_cells(take(X), numbers(5, impute=2), options)
    assert cells(fewer) == {(row, column) for row, column in cells(hidden) if column < 2}


def test_cells_are_spread_over_the_table(take: Callable[[Floats], Snapshot]) -> None:
    X = factor_table(4000, 3, 0.3, seed=4)
    hidden = choose_cells(take(X), numbers(3), SelfTestOptions(max_share=0.1))
    quarters = np.bincount(hidden.row // 1000)
    assert quarters.min() > 0.8 * len(hidden) / 4


# --- What their rows are left to show ----------------------------------------------------------


def test_rows_show_what_they_showed_at_most_and_never_the_cell(
    take: Callable[[Floats], Snapshot],
) -> None:
    X = factor_table(2000, 7, 0.3, seed=5)
    hidden = choose_cells(take(X), numbers(7), SelfTestOptions(max_share=0.2))
    assert not (hidden.shown & np.isnan(X[hidden.row])).any()
    assert not hidden.shown[np.arange(len(hidden)), hidden.column].any()


def test_holes_that_come_in_blocks_are_hidden_in_blocks(
    take: Callable[[Floats], Snapshot],
) -> None:
    """A block of four columns, and single holes in one of them, two of three times."""
    X = np.random.default_rng(6).normal(size=(6000, 5))
    X[:300, :4] = np.nan
    X[300:900, 0] = np.nan
    hidden = choose_cells(take(X), numbers(5), SelfTestOptions(max_share=0.1))
    first = hidden.shown[hidden.column == 0].sum(axis=1)
    assert set(first) == {1, 4}
    assert np.mean(first == 1) == pytest.approx(1 / 3, abs=0.01)
    assert set(hidden.shown[hidden.column == 1].sum(axis=1)) == {1}


def test_scattered_holes_are_filled_from_as_much_as_real_ones(
    take: Callable[[Floats], Snapshot],
) -> None:
    """What is left to show is distributed over the columns as it is in rows with a hole."""
    X = np.random.default_rng(7).normal(size=(20_000, 6))
    X[np.random.default_rng(8).random(X.shape) < 0.2] = np.nan
    hidden = choose_cells(take(X), numbers(6), SelfTestOptions())
    real = np.isnan(X[:, 0])
    patterns = Counter(map(bytes, ~np.isnan(X[real])))
    moved = Counter(map(bytes, hidden.shown[hidden.column == 0]))
    for pattern, count in patterns.most_common(6):
        share = moved[pattern] / moved.total()
        assert share == pytest.approx(count / patterns.total(), abs=0.06)


def test_single_row_and_columns_without_a_cell(take: Callable[[Floats], Snapshot]) -> None:
    for X in ([[1.0, np.nan]], [[np.nan, np.nan]] * 3, [[1.0, np.nan], [np.nan, 2.0]]):
        hidden = choose_cells(take(np.array(X)), numbers(2), SelfTestOptions(max_share=1.0))
        assert len(hidden) == 0
        assert hidden.shown.shape == (0, 2)


def test_table_without_a_complete_row(take: Callable[[Floats], Snapshot]) -> None:
    X = np.array([[1.0, np.nan], [np.nan, 2.0]] * 10)
    hidden = choose_cells(take(X), numbers(2), SelfTestOptions(max_share=1.0))
    assert len(cells(hidden)) == 20
    assert not hidden.shown.any()


# --- What the models say -----------------------------------------------------------------------


def predicted(
    snapshot: Snapshot,
    roles: Roles,
    hidden: Hidden,
    model: GaussianModel,
    groups: dict[str, GaussianModel] | None = None,
) -> dict[str, HiddenNumbers | HiddenLevels]:
    rows = HiddenRows(snapshot, roles, hidden, lambda *_: None)
    rows.gather()
    return {found.column: found for found in rows.predicted(model, groups or {})}


def some_model(p: int, **changes: Any) -> GaussianModel:
    A = np.random.default_rng(9).normal(size=(p, p))
    columns = tuple(f"c{j}" for j in range(p))
    return GaussianModel(np.arange(p, dtype=float), A @ A.T + np.eye(p), columns)


def test_forecasts_are_those_of_the_model_given_what_is_shown(
    take: Callable[[Floats], Snapshot],
) -> None:
    X, model = factor_table(700, 5, 0.2, seed=10), some_model(5)
    snapshot, roles = take(X), numbers(5)
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=0.3))
    found = predicted(snapshot, roles, hidden, model)
    assert list(found) == list(roles.columns)
    for j, name in enumerate(roles.columns):
        one, mine = found[name], hidden.column == j
        assert isinstance(one, HiddenNumbers)
        np.testing.assert_array_equal(one.truth, X[hidden.row[mine], j])
        left = np.where(hidden.shown[mine], X[hidden.row[mine]], np.nan)
        given = model.conditional(left)
        np.testing.assert_allclose(one.mean, given.mean[given.columns == j], rtol=1e-9)
        np.testing.assert_allclose(one.sd, given.sd[given.columns == j], rtol=1e-9)
        np.testing.assert_array_equal(one.filled, one.mean)
        np.testing.assert_array_equal(one.on_scale, one.truth)
        assert one.usual == ((1.0, model.mean[j], model.sd[j]),)
        assert one.parts == ()


def test_hidden_cells_are_left_out_of_a_table_and_nothing_else(
    take: Callable[[Floats], Snapshot],
) -> None:
    X = factor_table(900, 4, 0.2, seed=11)
    snapshot, roles = take(X), numbers(4)
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=0.1))
    visible: dict[str, list[float]] = {name: [] for name in roles.columns}
    rows = HiddenRows(snapshot, roles, hidden, lambda name, cells: visible[name].extend(cells))
    without = np.concatenate([X for _, X in rows.gather_hiding()])
    expected = X.copy()
    expected[hidden.row, hidden.column] = np.nan
    np.testing.assert_array_equal(without, expected)
    for j, name in enumerate(roles.columns):
        np.testing.assert_array_equal(visible[name], expected[~np.isnan(expected[:, j]), j])


def test_transforms_bounds_and_whole_numbers(
    take_table: Take, job: MakeJob, folder: RunFolder
) -> None:
    rng = np.random.default_rng(12)
    count = np.rint(np.exp(rng.normal(2, 0.5, size=400))).astype(object)
    share = rng.random(400).astype(object)
    count[::9] = share[::7] = None
    table = pa.table({"count": pa.array(count, pa.int32()), "share": pa.array(share, pa.float32())})
    snapshot = take_table(table)
    roles = assign_roles(
        snapshot, job(transform={"count": "log"}, bounds={"share": [0, 1]}, round=["count"])
    )
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=0.5))
    model = GaussianModel(
        np.array([2.0, 0.5]), np.array([[0.25, 0.05], [0.05, 0.1]]), roles.columns
    )
    found = predicted(snapshot, roles, hidden, model)
    counts, shares = found["count"], found["share"]
    assert isinstance(counts, HiddenNumbers)
    assert isinstance(shares, HiddenNumbers)
    assert counts.transform == "log"
    np.testing.assert_allclose(counts.on_scale, np.log(counts.truth))
    np.testing.assert_allclose(np.exp(counts.below), counts.truth - 0.5)
    np.testing.assert_allclose(np.exp(counts.above), counts.truth + 0.5)
    np.testing.assert_array_equal(counts.filled, np.rint(np.exp(counts.mean)))
    assert (shares.low, shares.high) == (0.0, 1.0)
    assert ((shares.filled > 0) & (shares.filled < 1)).all()
    np.testing.assert_array_equal(shares.filled, shares.filled.astype(np.float32))


def test_levels_are_told_by_their_codes(take_table: Take, job: MakeJob) -> None:
    frame = pd.DataFrame({"size": np.random.default_rng(13).normal(size=300)})
    frame["sex"] = np.where(frame["size"] > 0, "male", "female")
    frame["grade"] = pd.cut(frame["size"], [-9, -1, 1, 9], labels=["low", "mid", "high"]).astype(
        str
    )
    frame.loc[::6, "sex"] = frame.loc[::5, "grade"] = None
    snapshot = take_table(pa.Table.from_pandas(frame, preserve_index=False))
    categories = {"sex": "nominal", "grade": ["low", "mid", "high"]}
    roles = assign_roles(snapshot, job(categories=categories))
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=0.5))
    model = GaussianModel(
        np.array([0.0, 0.5, 0.0]),
        np.array([[1, 0.4, 0.9], [0.4, 0.25, 0.36], [0.9, 0.36, 1]]),
        roles.dimensions,
    )
    found = predicted(snapshot, roles, hidden, model)
    for name, levels in (("sex", ["female", "male"]), ("grade", ["low", "mid", "high"])):
        one, rows = found[name], hidden.row[hidden.column == hidden.columns.index(name)]
        assert isinstance(one, HiddenLevels)
        assert [levels[code] for code in one.truth] == frame[name].iloc[rows].tolist()
        assert np.mean(one.truth == one.filled) > 0.7


def test_groups_are_predicted_by_their_models(folder: RunFolder, take_table: Take) -> None:
    """Also where a group's label is missing; a group without a model has that of all rows."""
    rng = np.random.default_rng(14)
    group = np.array(["a", "b", None, "d"], dtype=object)[np.arange(400) % 4]
    x = rng.normal(size=400)
    x[rng.random(400) < 0.2] = np.nan
    snapshot = take_table(pa.table({"g": group, "x": x}))
    roles = Roles(("g", "x"), key=(), impute=("x",), predictors=(), group_by=("g",))
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=0.5))

    def model(mean: float) -> GaussianModel:
        return GaussianModel(np.array([mean]), np.eye(1), ("x",))

    groups = {"a": model(1.0), "b": model(2.0), "\0": model(3.0)}
    one = predicted(snapshot, roles, hidden, model(9.0), groups)["x"]
    assert isinstance(one, HiddenNumbers)
    expected = {"a": 1.0, "b": 2.0, None: 3.0, "d": 9.0}
    assert one.mean.tolist() == [expected[group[row]] for row in hidden.row]


def test_snapshot_is_streamed(tmp_path: Path) -> None:
    """Cells of the last row of many small batches are found as those of the first."""
    x = np.arange(1000.0)
    x[1::2] = np.nan
    feather.write_feather(pa.table({"c0": x}), tmp_path / "x.feather")
    snapshot = take_snapshot(FileSource(path=tmp_path / "x.feather"), tmp_path / "s.arrow", 3)
    roles = numbers(1)
    hidden = choose_cells(snapshot, roles, SelfTestOptions(max_share=1.0))
    np.testing.assert_array_equal(hidden.row, np.arange(0, 1000, 2))
    model = GaussianModel(np.zeros(1), np.eye(1), ("c0",))
    one = predicted(snapshot, roles, hidden, model)["c0"]
    np.testing.assert_array_equal(one.truth, np.arange(0.0, 1000.0, 2))


@pytest.mark.parametrize(
    ("method", "observed", "columns", "most"),
    [
        ("fill", 9, 1, 9),
        ("fill", 400, 10, 400),
        ("fill", 5_000, 10, 500),
        ("fill", 5_000, 100, 100),
        ("fill", 2_000, 100, 50),
        ("fill", 1_000_000, 1, 20_000),
        ("refit", 99, 1, 9),
        ("refit", 2_000, 1, 200),
        ("refit", 20_000, 1, 500),
        ("refit", 1_000_000, 1, 20_000),
    ],
)
def test_small_tables_are_tested_too(method: Any, observed: int, columns: int, most: int) -> None:
    assert SelfTestOptions(method=method).most_cells_of(observed, columns) == most
