"""How many imputations are enough; the chains themselves are tried by tests/test_multiple.py."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from holed_tables import factor_table, reference

from em_impute.gaussian import fit_gaussian, posterior
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.posterior import enough_draws


@pytest.mark.parametrize("name", ["airquality", "cholesterol", "nhanes"])
def test_the_largest_fraction_of_a_parameter_decides(name: str) -> None:
    """By von Hippel's rule, with the fractions that `estimates` tells."""
    result = fit_gaussian(reference(name).X)
    largest = result.estimates()["fmi"].max()
    assert enough_draws(result) == math.ceil(1 + (largest / 0.05) ** 2 / 2)


def test_complete_rows_need_the_fewest() -> None:
    assert enough_draws(fit_gaussian(factor_table(50, 3, 0.0, seed=1))) == 2


def test_of_many_columns_the_worst_combination_decides() -> None:
    result = fit_gaussian(factor_table(400, 31, 0.05, seed=2))
    expected = math.ceil(1 + (result.worst_fraction / 0.05) ** 2 / 2)
    assert enough_draws(result) == expected


def test_what_is_not_known_needs_the_most() -> None:
    copy = pickle.loads(pickle.dumps(fit_gaussian(reference("airquality").X)))
    assert math.isnan(copy.worst_fraction)
    assert enough_draws(copy) == 201


def test_more_holes_need_more() -> None:
    needed = [enough_draws(fit_gaussian(factor_table(300, 4, h, seed=3))) for h in (0.05, 0.2, 0.5)]
    assert np.all(np.diff(needed) > 0)


def test_of_many_columns_the_worst_combination_is_watched() -> None:
    rng = np.random.default_rng(1)
    few, many = ([f"x{j}" for j in range(p)] for p in (3, 13))
    worst = (("covariance of x0 and x1", 1.0), ("mean of x2", 0.5))

    def chains(p: int) -> list[list[tuple[Floats, Floats]]]:
        return [
            [(rng.normal(size=p), np.cov(rng.normal(size=(p, 50)))) for _ in range(6)]
            for _ in range(2)
        ]

    kept = chains(3)
    courses, names = posterior._watched(kept, few, worst)
    assert (courses.shape, len(names)) == ((9, 2, 6), 9)
    kept = chains(13)
    courses, names = posterior._watched(kept, many, worst)
    assert courses.shape == (27, 2, 6)
    assert names[0] == "covariance of x0 and x1, mean of x2 (0.50)"
    assert not [name for name in names[1:] if name.startswith("covariance")]
    mean, covariance = kept[1][4]
    assert courses[0, 1, 4] == pytest.approx(covariance[0, 1] + 0.5 * mean[2])
    courses, names = posterior._watched(kept, many, ())
    assert (courses.shape, names[0]) == ((26, 2, 6), "mean of x0")
