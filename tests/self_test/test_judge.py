"""What the scores of hidden cells mean together, and what they warn of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_scores import OFF, helped, judged, levels, scores_of, useless
from scipy import stats

from em_impute.self_test.judge import judge
from em_impute.self_test.limits import Limits
from em_impute.self_test.scores import (
    LevelScores,
)


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
