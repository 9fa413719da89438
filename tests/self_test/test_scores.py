"""The self-test's scores against other ways to compute them, its limits and its warnings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from em_impute.self_test.judge import judge
from em_impute.self_test.limits import Limits
from em_impute.self_test.scores import (
    Errors,
    Forecasts,
    LevelScores,
    NumberScores,
    SelfTest,
    score_levels,
    score_numbers,
)

Floats = NDArray[np.float64]


# Baselines that are off, so that the other columns seem to tell something.
OFF = {"mean": 2.0, "median": 2.0}


def scores_of(
    truth: Floats,
    filled: Floats | float = 0.0,
    sd: Floats | float = 1.0,
    *,
    reach: float = 0.0,
    column: str = "x",
    **changes: Any,
) -> NumberScores:
    """Cells that are filled with the mean of their forecasts, on the column's own scale."""
    n = len(truth)
    forecasts = Forecasts(np.broadcast_to(filled, n).astype(float), np.broadcast_to(sd, n) * 1.0)
    options: dict[str, Any] = {
        "mean": 0.0,
        "median": 0.0,
        "on_scale": truth,
        "published_as": (truth - reach, truth + reach),
        "forecasts": forecasts,
        "usual": Forecasts(np.zeros(n), np.ones(n)),
    }
    return score_numbers(column, truth, forecasts.mean, **(options | changes))


def judged(*numbers: NumberScores, levels: tuple[LevelScores, ...] = (), **limits: Any) -> SelfTest:
    return judge("fill", 10_000, 0, numbers, levels, Limits(**limits))


# --- One column --------------------------------------------------------------------------------


def test_errors_are_those_of_pandas() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"truth": rng.gamma(2.0, size=300), "filled": rng.gamma(2.0, size=300)})
    scores = scores_of(frame.truth.to_numpy(), frame.filled.to_numpy(), mean=2.1, median=1.7)
    for errors, guess in (
        (scores.filled, frame.filled),
        (scores.by_mean, 2.1),
        (scores.by_median, 1.7),
    ):
        off = frame.truth - guess
        assert errors.rmse == pytest.approx((off**2).mean() ** 0.5)
        assert errors.mae == pytest.approx(off.abs().mean())
    assert scores.filled.rmse is not None
    assert scores.by_mean.rmse is not None
    assert scores.rmse_ratio == pytest.approx(scores.filled.rmse / scores.by_mean.rmse)


def test_error_of_the_ratio_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(1)
    several = [
        scores_of(filled + rng.normal(size=400), filled) for filled in rng.normal(size=(400, 400))
    ]
    logarithms = [math.log(scores.rmse_ratio or 0.0) for scores in several]
    errors = [scores.rmse_ratio_error or 0.0 for scores in several]
    assert np.mean(errors) == pytest.approx(np.std(logarithms), rel=0.15)


def test_crps_is_the_integral_over_the_distribution() -> None:
    truth, mean, sd = np.array([0.3, 4.0, -2.0]), np.array([0.0, 1.0, 2.0]), np.array([1, 2.0, 0.5])

    def integral(x: float, m: float, s: float) -> float:
        F = stats.norm(m, s).cdf
        below = integrate.quad(lambda t: F(t) ** 2, -30, x)[0]
        return float(below + integrate.quad(lambda t: (1 - F(t)) ** 2, x, 30)[0])

    expected = [integral(*cell) for cell in zip(truth, mean, sd, strict=True)]
    assert scores_of(truth, mean, sd).crps == pytest.approx(np.mean(expected), rel=1e-6)


def test_crps_of_a_normal_is_the_known_formula() -> None:
    """Gneiting & Raftery (2007), equation 21, and its mean at calibrated forecasts, sd/sqrt(pi)."""
    truth = np.random.default_rng(2).normal(size=200_000)
    phi, Phi = stats.norm.pdf(truth), stats.norm.cdf(truth)
    formula = truth * (2 * Phi - 1) + 2 * phi - 1 / math.sqrt(math.pi)
    crps = scores_of(truth).crps
    assert crps == pytest.approx(formula.mean())
    assert crps == pytest.approx(1 / math.sqrt(math.pi), rel=0.01)


def test_pit_and_its_distance_are_scipy_s() -> None:
    truth = np.random.default_rng(3).standard_t(3, size=1000)
    scores = scores_of(truth)
    pit = stats.norm.cdf(truth)
    assert scores.pit == tuple(np.histogram(pit, 10, (0, 1))[0])
    assert scores.pit_distance == pytest.approx(stats.kstest(pit, "uniform").statistic)


def test_intervals_are_the_central_ones() -> None:
    truth = np.random.default_rng(4).normal(scale=1.3, size=1000)
    held = [np.mean(np.abs(truth) <= stats.norm.ppf(0.5 + q / 2)) for q in (0.5, 0.8, 0.95)]
    assert scores_of(truth).coverage.shares == tuple(held)


@pytest.mark.parametrize("sd", [0.4, 1.0, 5.0])
def test_rounded_numbers_have_a_uniform_pit(sd: float) -> None:
    """Their distribution has steps; the PIT fills them, so that coarse numbers do not alarm."""
    rng = np.random.default_rng(5)
    mean = rng.uniform(0, 10, size=5000)
    truth = np.rint(rng.normal(mean, sd))
    exact = scores_of(truth, mean, sd)
    rounded = scores_of(truth, mean, sd, reach=0.5)
    assert stats.kstwo.sf(rounded.pit_distance, 5000) > 0.001
    assert rounded.coverage.at_95 == pytest.approx(0.95, abs=0.01)
    if sd < 1:
        assert stats.kstwo.sf(exact.pit_distance, 5000) < 0.001


def test_bounded_numbers_have_a_uniform_pit() -> None:
    rng = np.random.default_rng(6)
    mean, sd = rng.normal(0.5, 1, size=4000), np.full(4000, 1.0)
    a, b = -mean, 2 - mean
    truth = stats.truncnorm.rvs(a, b, loc=mean, random_state=rng)
    bounded = scores_of(truth, forecasts=Forecasts(mean, sd, 0.0, 2.0), **OFF)
    assert stats.kstwo.sf(bounded.pit_distance, 4000) > 0.001
    assert not judged(bounded).warnings
    unbounded = scores_of(truth, forecasts=Forecasts(mean, sd))
    assert judged(unbounded).misfits == ("x",)


def test_certain_cells_have_errors_and_no_spread() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    scores = scores_of(truth, truth, np.array([0.0, 0.0, 0.0, 1.0]))
    assert scores.filled == Errors(0.0, 0.0)
    assert (scores.cells, scores.spread_cells) == (4, 1)
    assert scores.coverage.shares == (1.0, 1.0, 1.0)
    certain = scores_of(truth, truth, 0.0)
    assert certain.pit_distance is None
    assert certain.coverage.shares == ()
    assert certain.crps == 0.0
    assert (
        judged(certain).sentence == "Error 100.0% lower than filling with the mean; 4 test cells."
    )


def test_constant_column_has_no_ratio() -> None:
    scores = scores_of(np.full(5, 7.0), 7.0, 0.0, mean=7.0)
    assert (scores.rmse_ratio, scores.rmse_ratio_error) == (None, None)
    assert judged(scores).rmse_ratio is None


@pytest.mark.parametrize("huge", [1e200, 1e307])
def test_huge_cells_give_numbers_or_none(huge: float) -> None:
    truth = huge * np.array([-1.0, 0.5, 0.2])
    scores = scores_of(truth, sd=huge)
    for number in (*dataclasses.astuple(scores.filled), scores.rmse_ratio, scores.crps):
        assert number is None or math.isfinite(number)
    assert scores.rmse_ratio == pytest.approx(1.0)


def test_levels_are_counted() -> None:
    truth, filled = np.array([0, 0, 1, 2, 1]), np.array([0, 1, 1, 2, 0])
    assert score_levels("sex", truth, filled, mode=1) == LevelScores("sex", 5, 3, 2, mended=2)


# --- All columns -------------------------------------------------------------------------------


def test_all_columns_are_put_together_by_their_cells() -> None:
    rng = np.random.default_rng(7)
    small, large = rng.normal(size=300), 1000 * rng.normal(size=900)
    a = scores_of(small, 0.6 * small, 0.4, column="a")
    b = scores_of(large, 0.2 * large, 900.0, column="b")
    test = judged(a, b, levels=(LevelScores("sex", 100, 90, 50),))
    assert test.rmse_ratio == pytest.approx(math.sqrt((300 * 0.4**2 + 900 * 0.8**2) / 1200))
    assert test.cells == 1300
    held = [(a.coverage.shares[i] * 300 + b.coverage.shares[i] * 900) / 1200 for i in range(3)]
    assert test.coverage.shares == pytest.approx(held)
    assert test.sentence == (
        f"Error {1 - (test.rmse_ratio or 0):.1%} lower than filling with the mean, 95% intervals "
        f"contain {held[2]:.1%}, 90.0% of levels correct (50.0% with the most frequent level); "
        "1,300 test cells."
    )


def test_worse_than_the_mean_is_called_so() -> None:
    truth = np.random.default_rng(8).normal(size=500)
    assert judged(scores_of(truth, -0.5 * truth)).sentence.startswith("Error 50.0% higher than")


@pytest.mark.parametrize(("cells", "said"), [(50, "Only 50 cells were tested"), (100, "")])
def test_few_cells_are_said_to_be_few(cells: int, said: str) -> None:
    note = judged(scores_of(np.random.default_rng(9).normal(size=cells))).note
    assert note.startswith(said)
    assert bool(note) == bool(said)


@pytest.mark.parametrize(("untested", "said"), [(1, "1 column was"), (12, "12 columns were")])
def test_columns_that_could_not_be_tested_are_counted(untested: int, said: str) -> None:
    scores = scores_of(np.random.default_rng(9).normal(size=200))
    note = judge("fill", 10_000, untested, [scores], (), Limits()).note
    assert note.startswith(f"{said} not tested: too few cells.")


def test_nothing_hidden_is_said() -> None:
    test = judged()
    assert test.sentence == "No cell was tested."
    assert test.note.startswith("There are too few observed cells.")
    assert "max_share" in test.note
    assert (test.rmse_ratio, test.coverage.shares, test.refusal) == (None, (), None)


# --- Limits ------------------------------------------------------------------------------------

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


# --- The warning -------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [20, 300, 50_000])
def test_normal_cells_do_not_alarm(cells: int) -> None:
    assert judged(scores_of(np.random.default_rng(15).normal(size=cells), **OFF)).warnings == ()


def test_many_cells_do_not_alarm_over_little() -> None:
    """With 50,000 cells a t distribution is told from a normal, where it does not matter."""
    truth = stats.t.rvs(8, size=50_000, random_state=16) / stats.t(8).std()
    scores = scores_of(truth, **OFF)
    assert stats.kstwo.sf(scores.pit_distance, 50_000) < 1e-6
    assert judged(scores).warnings == ()


@pytest.mark.parametrize("cells", [400, 50_000])
def test_skewed_cells_alarm_though_their_intervals_hold(cells: int) -> None:
    truth = np.exp(np.random.default_rng(17).normal(size=cells))
    truth = (truth - truth.mean()) / truth.std()
    test = judged(scores_of(truth, column="price", **OFF), min_coverage_95=0.9)
    assert test.refusal is None
    assert test.misfits == ("price",)
    (warning,) = test.warnings
    assert "does not fit the test cells of price (PIT 0.2" in warning
    assert "Try columns.transform, such as log" in warning
    other = judged(scores_of(truth, transform="sqrt", **OFF))
    assert "Try another columns.transform" in other.warnings[0]


def test_too_narrow_intervals_alarm() -> None:
    truth = stats.t.rvs(2, size=5000, random_state=18)
    assert judged(scores_of(truth, sd=1.3)).misfits == ("x",)


def test_doubt_comes_first() -> None:
    test = judge("refit", 10, 0, (), (), Limits(max_rmse_ratio=1.0), "The second fit ended early.")
    assert test.warnings[0] == "The second fit ended early."


# --- No better than the mean -------------------------------------------------------------------


def useless(cells: int, seed: int, column: str = "x", noise: float = 0.05) -> NumberScores:
    """Cells of which the others tell nothing: the fit to few rows moves them a little."""
    rng = np.random.default_rng(seed)
    return scores_of(rng.normal(size=cells), noise * rng.normal(size=cells), column=column)


def helped(cells: int, seed: int, column: str = "x", r2: float = 0.3) -> NumberScores:
    """Cells of which the others tell this share of the variance."""
    rng = np.random.default_rng(seed)
    told = math.sqrt(r2) * rng.normal(size=cells)
    return scores_of(told + math.sqrt(1 - r2) * rng.normal(size=cells), told, column=column)


def test_columns_that_are_filled_with_the_mean_are_named() -> None:
    bad = ["member", "satisfaction", "customer_age"]
    columns = [useless(500, j, name) for j, name in enumerate(bad)]
    columns += [helped(500, 10 + j, f"c{j}") for j in range(8)]
    test = judged(*columns)
    assert test.no_better == tuple(bad)
    assert test.warnings == (
        "3 of 11 columns are filled no better than by their mean: member, satisfaction, "
        "customer_age. Add predictors related to them, or leave them out of columns.impute.",
    )
    assert test.refusal is None


@pytest.mark.parametrize(
    ("names", "of", "said"),
    [
        ("a", 1, "a is filled no better than by its mean. Add predictors related to it,"),
        ("a", 2, "1 of 2 columns is filled no better than by its mean: a. Add"),
        ("abcde", 5, "5 of 5 columns are filled no better than by their mean: a, b, c and 2 more."),
    ],
)
def test_the_warning_is_short_whatever_their_number(names: str, of: int, said: str) -> None:
    columns = [useless(500, 3, name) for name in names]
    columns += [helped(500, 4, f"c{j}") for j in range(of - len(names))]
    (warning,) = judged(*columns).warnings
    assert warning.startswith(said)


@pytest.mark.parametrize("cells", [10, 20, 50, 200, 1000])
def test_columns_that_are_helped_a_little_are_hardly_ever_named(cells: int) -> None:
    """A tenth of the error less: chance may hide it, and then nothing is said."""
    columns = [helped(cells, 1000 + seed, f"c{seed}", r2=0.19) for seed in range(300)]
    named = sum(bool(judged(*columns[i : i + 3]).no_better) for i in range(0, 300, 3))
    assert named <= 4


def test_worse_than_the_mean_is_no_better() -> None:
    truth = np.random.default_rng(20).normal(size=500)
    assert judged(scores_of(truth, -0.5 * truth)).no_better == ("x",)


def test_a_few_large_cells_do_not_hide_that_the_others_are_filled_well() -> None:
    """Their squares make up the RMSE; the absolute error tells the rest."""
    rng = np.random.default_rng(21)
    told = rng.normal(size=2000)
    truth = told + 0.3 * rng.normal(size=2000)
    truth[:4] = 500.0
    scores = scores_of(truth, told)
    assert scores.rmse_ratio is not None
    assert scores.rmse_ratio > 0.99
    assert judged(scores).no_better == ()


def levels(cells: int, right: int, by_mode: int, mended: int, column: str = "sex") -> LevelScores:
    return LevelScores(column, cells, right, by_mode, mended)


@pytest.mark.parametrize(
    ("scores", "named"),
    [
        (levels(500, 400, 400, 0), True),  # always the most frequent one
        (levels(500, 390, 400, 10), True),
        (levels(500, 430, 400, 35), False),
        (levels(2000, 1968, 1960, 10), False),  # a rare level, a fifth of which is found
        (levels(20, 16, 16, 0), False),  # too few to say it
        (levels(500, 250, 250, 120), False),  # neither: chance could hide much
    ],
)
def test_categories_are_held_against_their_most_frequent_level(
    scores: LevelScores, named: bool
) -> None:
    test = judged(levels=(scores,))
    assert test.no_better == (("sex",) if named else ())
    assert any("no better than by its most frequent level" in w for w in test.warnings) == named


# --- Limits by column, and of categories --------------------------------------------------------


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
