"""The self-test as a whole: what it says of tables whose truth is known."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT
from holed_tables import factor_table
from numpy.typing import NDArray
from pyarrow import feather
from scipy import stats

from em_impute.gaussian import EMResult, GaussianModel, Status
from em_impute.job import FileTarget, Job
from em_impute.self_test.cells import choose_cells
from em_impute.self_test.run import score_hidden_cells
from em_impute.self_test.scores import NumberScores, SelfTest
from em_impute.tables import groups, summarise
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.groups import Fitted
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot

Floats = NDArray[np.float64]
COLUMNS = tuple("abcde")


def prepared(folder: Path, frame: pd.DataFrame, **options: Any) -> tuple[Snapshot, Job]:
    path = folder / "in.feather"
    feather.write_feather(pa.Table.from_pandas(frame, preserve_index=False), path)
    target = FileTarget(path=folder / "out.parquet")
    job = Job.model_validate({"name": "t", "source": {"path": path}, "target": target, **options})
    purpose = Purpose.of(job)
    return take_snapshot(job.source, folder / "s.arrow", job.batch_rows, purpose), job


def fitted(snapshot: Snapshot, job: Job) -> Fitted:
    roles = assign_roles(snapshot, job)
    if not roles.impute:
        return Fitted(roles, None)
    result = summarise.fit_model(summarise.summarise(snapshot, roles), job.model)
    return Fitted(roles, result, *groups.fit_groups(snapshot, roles, job.model))


def self_tested(folder: Path, frame: pd.DataFrame, **options: Any) -> SelfTest:
    snapshot, job = prepared(folder, frame, **options)
    found = score_hidden_cells(snapshot, fitted(snapshot, job), job.self_test, job.model)
    assert found is not None
    return found


def gaussian_rows(n: int, seed: int, missing: float = 0.1) -> pd.DataFrame:
    """Rows of a Gaussian with known parameters, a tenth of the cells missing at random."""
    rng = np.random.default_rng(seed)
    A = np.random.default_rng(99).normal(size=(5, 5))
    X = rng.normal(size=(n, 5)) @ A + [10, 20, 30, 40, 50]
    X[rng.random(X.shape) < missing] = np.nan
    return pd.DataFrame(X, columns=list(COLUMNS))


def within_chance(share: float | None, of: int, nominal: float) -> bool:
    """Whether a binomial share is as it should be, but for one time in 10,000."""
    assert share is not None
    return bool(stats.binomtest(round(share * of), of, nominal).pvalue > 1e-4)


# --- On data whose distribution is known --------------------------------------------------------


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_intervals_hold_what_they_promise(tmp_path: Path, method: str) -> None:
    """On Gaussian data the coverage is nominal within binomial error, in all and in each column."""
    test = self_tested(
        tmp_path,
        gaussian_rows(30_000, seed=1),
        self_test={"method": method, "max_share": 0.2, "min_coverage_95": 0.9}
        | {"max_rmse_ratio": 1.0, "max_pit_distance": 0.05},
    )
    assert test.method == method
    assert test.cells == sum(s.cells for s in test.numbers) > 26_000
    for scores in (*test.numbers, dataclasses.replace(test.numbers[0], coverage=test.coverage)):
        cells = test.cells if scores.coverage == test.coverage else scores.cells
        for share, nominal in zip(scores.coverage.shares, (0.5, 0.8, 0.95), strict=True):
            assert within_chance(share, cells, nominal)
        assert stats.kstwo.sf(scores.pit_distance, scores.cells) > 1e-4
    assert (test.refusal, test.warnings, test.note) == (None, (), "")


def test_errors_are_those_that_the_parameters_imply(tmp_path: Path) -> None:
    """With complete predictors the RMSE is the residual sd, and the CRPS that over root pi."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=40_000)
    y = 3 * x + 4 * rng.normal(size=40_000)
    y[rng.random(40_000) < 0.3] = np.nan
    (scores,) = self_tested(
        tmp_path, pd.DataFrame({"x": x, "y": y}), self_test={"max_share": 0.5}
    ).numbers
    assert scores.filled.rmse == pytest.approx(4.0, rel=0.02)
    assert scores.filled.mae == pytest.approx(4.0 * np.sqrt(2 / np.pi), rel=0.02)
    assert scores.by_mean.rmse == pytest.approx(5.0, rel=0.02)
    assert scores.rmse_ratio == pytest.approx(0.8, rel=0.02)
    assert scores.crps == pytest.approx(4.0 / np.sqrt(np.pi), rel=0.02)
    assert scores.crps_by_mean == pytest.approx(5.0 / np.sqrt(np.pi), rel=0.02)


def by_hand(
    frame: pd.DataFrame, model: GaussianModel, snapshot: Snapshot, job: Job, roles: Roles
) -> pd.DataFrame:
    """Truth and filling of every hidden cell, one cell after the other, with pandas and NumPy."""
    hidden = choose_cells(snapshot, roles, job.self_test)
    names, rows = [hidden.columns[j] for j in hidden.column], []
    for name, row, shown in zip(names, hidden.row, hidden.shown, strict=True):
        o, j = np.flatnonzero(shown), model.columns.index(name)
        slopes = np.linalg.solve(model.covariance[np.ix_(o, o)], model.covariance[o, j])
        at = frame.iloc[row]
        filled = model.mean[j] + slopes @ (at.to_numpy()[o] - model.mean[o])
        rows.append({"column": name, "truth": at[name], "filled": filled, "row": row})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_errors_are_those_that_pandas_computes(tmp_path: Path, method: str) -> None:
    """Cell by cell; of a refit against a fit to the table without them, and its own baselines."""
    frame = gaussian_rows(1500, seed=3, missing=0.2)
    snapshot, job = prepared(tmp_path, frame, self_test={"method": method, "max_share": 0.1})
    first = fitted(snapshot, job)
    assert first.result is not None
    test = score_hidden_cells(snapshot, first, job.self_test, job.model)
    assert test is not None
    model, seen = first.result.model, frame.copy()
    if method == "refit":
        hidden = choose_cells(snapshot, first.roles, job.self_test)
        values = seen.to_numpy(copy=True)
        values[hidden.row, hidden.column] = np.nan
        seen = pd.DataFrame(values, columns=frame.columns)
        (tmp_path / "again").mkdir()
        again = fitted(*prepared(tmp_path / "again", seen))
        assert again.result is not None
        model = again.result.model
        assert np.abs(model.mean - first.result.model.mean).max() > 1e-4
    cells = by_hand(frame, model, snapshot, job, first.roles)
    for scores in test.numbers:
        mine = cells[cells.column == scores.column]
        assert scores.cells == len(mine)
        mean, median = seen[scores.column].mean(), seen[scores.column].median()
        for errors, guess in (
            (scores.filled, mine.filled),
            (scores.by_mean, mean),
            (scores.by_median, median),
        ):
            off = mine.truth - guess
            assert errors.rmse == pytest.approx((off**2).mean() ** 0.5, rel=1e-5)
            assert errors.mae == pytest.approx(off.abs().mean(), rel=1e-5)
    ratios = np.array([s.rmse_ratio for s in test.numbers])
    weights = [s.cells for s in test.numbers]
    assert test.rmse_ratio == pytest.approx(np.sqrt(np.average(ratios**2, weights=weights)))


def test_the_table_s_model_is_left_alone_by_a_refit(tmp_path: Path) -> None:
    snapshot, job = prepared(tmp_path, gaussian_rows(400, seed=4), self_test="refit")
    first = fitted(snapshot, job)
    assert isinstance(first.result, EMResult)
    before = first.result.model.mean.tobytes(), first.result.model.covariance.tobytes()
    score_hidden_cells(snapshot, first, job.self_test, job.model)
    assert (first.result.model.mean.tobytes(), first.result.model.covariance.tobytes()) == before


def test_a_refit_sees_through_a_fit_to_noise(tmp_path: Path) -> None:
    """60 rows of 20 unrelated columns: the fit has learnt their noise, and the second one tells."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 20))
    X[rng.random(X.shape) < 0.05] = np.nan
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(20)])
    fill = self_tested(tmp_path, frame, self_test={"max_share": 0.2})
    refit = self_tested(tmp_path, frame, self_test={"method": "refit", "max_share": 0.2})
    assert fill.rmse_ratio is not None
    assert refit.rmse_ratio is not None
    assert fill.rmse_ratio < 1 < refit.rmse_ratio


# --- Where the model is wrong ------------------------------------------------------------------

LIMITS = {"max_share": 0.3, "max_rmse_ratio": 1.0, "min_coverage_95": 0.9, "max_pit_distance": 0.1}


def test_log_normal_columns_are_told_and_refused_and_pass_with_their_transform(
    tmp_path: Path,
) -> None:
    frame = np.exp((gaussian_rows(4000, seed=6) - [10, 20, 30, 40, 50]) / 1.5)
    wrong = self_tested(tmp_path, frame, self_test=LIMITS)
    assert set(wrong.misfits) == set(COLUMNS)
    assert wrong.coverage.at_50 is not None
    assert wrong.coverage.at_50 > 0.65
    assert wrong.refusal is not None
    assert wrong.refusal.startswith("The self-test misses max_pit_distance (0.1): ")
    assert "Try columns.transform" in wrong.warnings[0]
    log = {"transform": dict.fromkeys(COLUMNS, "log")}
    right = self_tested(tmp_path, frame, columns=log, self_test=LIMITS)
    assert (right.misfits, right.refusal, right.warnings) == ((), None, ())
    assert right.rmse_ratio is not None
    assert wrong.rmse_ratio is not None
    assert [scores.transform for scores in right.numbers] == ["log"] * 5


def test_a_needless_transform_makes_intervals_too_narrow(tmp_path: Path) -> None:
    """A logarithm of what comes near 0: its far tail is long, and limits refuse."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=6000)
    y = np.abs(x + 0.3 * rng.normal(size=6000))
    y[rng.random(6000) < 0.2] = np.nan
    frame = pd.DataFrame({"x": x, "y": y})
    wrong = self_tested(tmp_path, frame, columns={"transform": {"y": "log"}}, self_test=LIMITS)
    assert wrong.misfits == ("y",)
    assert wrong.refusal is not None
    assert "Try another columns.transform" in " ".join(wrong.warnings)


def test_cells_that_the_others_say_nothing_of_are_no_better_than_the_mean(tmp_path: Path) -> None:
    X = np.random.default_rng(8).normal(size=(20_000, 3))
    X[np.random.default_rng(9).random(X.shape) < 0.1] = np.nan
    frame = pd.DataFrame(X, columns=list("abc"))
    test = self_tested(tmp_path, frame, self_test=LIMITS)
    assert test.rmse_ratio == pytest.approx(1.0, abs=0.01)
    assert test.refusal is None
    assert test.no_better == ("a", "b", "c")
    assert any(w.startswith("3 of 3 columns are filled no better than") for w in test.warnings)
    strict = self_tested(tmp_path, frame, self_test={"max_share": 0.3, "max_rmse_ratio": 0.9})
    assert strict.refusal is not None
    assert "all columns together" in strict.refusal
    one = self_tested(tmp_path, frame, self_test={"max_share": 0.3, "max_rmse_ratio": {"b": 0.9}})
    assert one.refusal is not None
    assert one.refusal.endswith("in b (limit 0.9).")


def test_holes_in_blocks_are_not_flattered(tmp_path: Path) -> None:
    """Rows lack both of two columns that tell each other: alone they would be easy to fill."""
    rng = np.random.default_rng(10)
    x = rng.normal(size=8000)
    frame = pd.DataFrame({"a": x, "b": x + 0.1 * rng.normal(size=8000)})
    frame["c"] = rng.normal(size=8000)
    frame.loc[:1000, ["a", "b"]] = np.nan
    test = self_tested(tmp_path, frame, self_test={"max_share": 0.1})
    assert test.rmse_ratio == pytest.approx(1.0, abs=0.02)


# --- Kinds of columns --------------------------------------------------------------------------


def test_categories_are_better_than_the_most_frequent_level(tmp_path: Path) -> None:
    frame = pd.read_csv(ROOT / "data" / "penguins.csv")
    categories = {"species": "nominal", "island": "nominal", "sex": "nominal"}
    test = self_tested(
        tmp_path, frame, columns={"categories": categories}, self_test={"max_share": 1.0}
    )
    (sex,) = test.levels
    assert (sex.column, sex.cells) == ("sex", frame["sex"].notna().sum())
    assert sex.right_by_mode == frame["sex"].value_counts().max()
    assert sex.right > 1.5 * sex.right_by_mode
    assert {scores.column for scores in test.numbers} == {
        "bill_length_mm",
        "bill_depth_mm",
        "flipper_length_mm",
        "body_mass_g",
    }
    assert re.search(r"8\d\.\d% of levels correct", test.sentence)


def test_only_categories(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=1000)
    level = np.where(x + 0.3 * rng.normal(size=1000) > 0, "high", "low").astype(object)
    level[::5] = None
    frame = pd.DataFrame({"x": x, "level": level})
    columns = {"categories": {"level": ["low", "high"]}}
    test = self_tested(tmp_path, frame, columns=columns, self_test=LIMITS)
    assert test.numbers == ()
    assert re.match(r"9\d\.\d% of levels correct", test.sentence)
    assert [said for said in test.warnings if "No column of numbers was tested" in said]
    assert test.refusal is None


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_groups_are_filled_by_their_models(tmp_path: Path, method: str) -> None:
    """Two groups with opposite slopes: one model of all rows would see no relation."""
    rng = np.random.default_rng(12)
    group, x = np.array(["up", "down"])[np.arange(3000) % 2], rng.normal(size=3000)
    y = np.where(group == "up", x, -x) + 0.2 * rng.normal(size=3000)
    y[rng.random(3000) < 0.2] = np.nan
    frame = pd.DataFrame({"g": group, "x": x, "y": y})
    options = {"method": method, "max_share": 0.3}
    grouped = self_tested(tmp_path, frame, columns={"group_by": ["g"]}, self_test=options)
    assert grouped.rmse_ratio == pytest.approx(0.2, abs=0.02)
    assert within_chance(grouped.coverage.at_95, grouped.cells, 0.95)
    alone = self_tested(tmp_path, frame, columns={"predictors": ["x"]}, self_test=options)
    assert alone.rmse_ratio == pytest.approx(1.0, abs=0.05)


def test_draws_are_scored_by_their_distribution(tmp_path: Path) -> None:
    """A draw is off by its spread; the errors are those of the expected values all the same."""
    frame = gaussian_rows(2000, seed=13)
    means = self_tested(tmp_path, frame)
    assert self_tested(tmp_path, frame, imputation={"method": "draw", "seed": 3}) == means


def test_whole_and_bounded_numbers_are_scored_as_published(tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    x = rng.normal(size=4000)
    y = np.clip(np.rint(2 + x + rng.normal(size=4000)), -1, 5)
    frame = pd.DataFrame({"x": x, "y": y.astype("int64")}).astype({"y": "Int64"})
    frame.loc[rng.random(4000) < 0.2, "y"] = pd.NA
    test = self_tested(
        tmp_path, frame, columns={"bounds": {"y": [-1, 5]}}, self_test={"max_share": 0.5}
    )
    (scores,) = test.numbers
    assert scores.filled.mae is not None
    # The mean absolute error of whole numbers is a whole number over their count.
    assert scores.filled.mae * scores.cells == pytest.approx(
        round(scores.filled.mae * scores.cells)
    )


# --- Small, empty, wide ------------------------------------------------------------------------


def test_nothing_to_impute_is_not_tested(tmp_path: Path) -> None:
    complete = pd.DataFrame({"a": [1.0, 2, 4], "b": [2.0, 1, 5]})
    for columns in ({}, {"impute": ["a"]}):
        snapshot, job = prepared(tmp_path, complete, columns=columns)
        assert score_hidden_cells(snapshot, fitted(snapshot, job), job.self_test, job.model) is None
    snapshot, job = prepared(tmp_path, gaussian_rows(50, seed=15), self_test="off")
    assert score_hidden_cells(snapshot, fitted(snapshot, job), job.self_test, job.model) is None


def test_columns_without_holes_are_left_out(tmp_path: Path) -> None:
    frame = gaussian_rows(500, seed=16)
    frame["a"] = frame["a"].fillna(0.0)
    test = self_tested(
        tmp_path, frame, columns={"impute": ["a", "b"]}, self_test={"max_share": 0.5}
    )
    assert [scores.column for scores in test.numbers] == ["b"]


@pytest.mark.parametrize("method", ["fill", "refit"])
@pytest.mark.parametrize(
    "rows", [[[1.0, np.nan], [2.0, 3.0]], [[1.0, np.nan], [np.nan, 2.0], [3.0, np.nan]]]
)
def test_tiny_table_has_no_cell_to_hide(
    tmp_path: Path, rows: list[list[float]], method: str
) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b"])
    limits = LIMITS | {"method": method}
    test = self_tested(tmp_path, frame, model={"prior": 1.0}, self_test=limits)
    assert (test.cells, test.numbers, test.refusal) == (0, (), None)
    assert test.note.startswith("There are too few observed cells.")
    assert len(test.warnings) == 3


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_table_without_a_complete_row(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(17)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80)})
    frame.loc[::2, "a"] = frame.loc[1::2, "b"] = np.nan
    options = {"method": method, "max_share": 0.5}
    test = self_tested(tmp_path, frame, model={"prior": 1.0}, self_test=options)
    assert test.cells == 40
    assert test.rmse_ratio == pytest.approx(1.0, abs=0.1)
    assert test.note.startswith("Only 40 cells were tested")


def test_five_hundred_columns(tmp_path: Path) -> None:
    X = factor_table(300, 500, 0.05, seed=17)
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(500)])
    test = self_tested(
        tmp_path,
        frame,
        model={"prior": 30, "max_iter": 3},
        self_test={"max_cells": 2000, "max_share": 0.1, "min_coverage_95": 0.5},
    )
    assert test.cells == 2000
    assert [scores.cells for scores in test.numbers] == [10] * 200
    assert test.note == (
        "300 columns were not tested: too few cells. Raise self_test.max_share to test more cells."
    )
    assert test.rmse_ratio is not None
    assert test.rmse_ratio < 0.8


def test_constant_column(tmp_path: Path) -> None:
    frame = gaussian_rows(300, seed=18)
    frame["e"] = frame["e"].where(frame["e"].isna(), 7.0)
    test = self_tested(tmp_path, frame, self_test={"max_share": 0.5})
    constant = test.numbers[-1]
    assert (constant.column, constant.filled.rmse, constant.rmse_ratio) == ("e", 0.0, None)
    assert constant.coverage.shares == ()


def test_second_fit_that_does_not_end_is_a_warning(tmp_path: Path) -> None:
    frame = gaussian_rows(300, seed=19)
    snapshot, job = prepared(
        tmp_path, frame, self_test={"method": "refit", "max_share": 0.2}, model={"max_iter": 1}
    )
    first = fitted(snapshot, job)
    assert first.result is not None
    assert first.result.status is Status.MAX_ITERATIONS
    test = score_hidden_cells(snapshot, first, job.self_test, job.model)
    assert test is not None
    assert test.warnings[0].startswith("The self-test's fit without the test cells: ")
    assert test.cells > 0


# --- The same for everyone ---------------------------------------------------------------------


def close(one: NumberScores, other: NumberScores) -> bool:
    numbers = [
        [*dataclasses.astuple(s.filled), *dataclasses.astuple(s.by_mean), s.crps, s.pit_distance]
        for s in (one, other)
    ]
    return np.allclose(*numbers, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("method", ["fill", "refit"])
def test_scores_do_not_hang_on_batches(tmp_path: Path, method: str) -> None:
    frame = gaussian_rows(3000, seed=20)
    options = {"method": method, "max_share": 0.1}
    tests = [
        self_tested(tmp_path, frame, batch_rows=rows, self_test=options) for rows in (65_536, 701)
    ]
    assert tests[0].cells == tests[1].cells
    assert all(close(*pair) for pair in zip(tests[0].numbers, tests[1].numbers, strict=True))


def test_scores_do_not_hang_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from em_impute.gaussian import threads

    snapshot, job = prepared(tmp_path, gaussian_rows(3000, seed=21), self_test={"max_share": 0.3})
    model = fitted(snapshot, job)
    first = score_hidden_cells(snapshot, model, job.self_test, job.model)
    monkeypatch.setattr(threads, "_cores", lambda: 7)
    monkeypatch.setattr(threads, "WORTH_THREADS", 0)
    assert score_hidden_cells(snapshot, model, job.self_test, job.model) == first


def test_the_energy_score_is_there_without_groups(tmp_path: Path) -> None:
    frame = gaussian_rows(2_000, seed=12, missing=0.0)
    holes = np.random.default_rng(13).random(frame.shape) < [0.0, 0.1, 0.1, 0.1, 0.1]
    frame = frame.mask(holes)
    energy = self_tested(tmp_path, frame).energy
    assert energy is not None
    assert [one.column for one in energy.columns] == list("bcde")
    assert energy.alone < energy.score < 0
    frame["group"] = pd.Series(["x", "y"] * 1_000)
    assert self_tested(tmp_path, frame, columns={"group_by": ["group"]}).energy is None
