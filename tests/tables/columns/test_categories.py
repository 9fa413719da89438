"""Categories: levels as numbers of the model, and its answers as levels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import ndtri

from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.snapshot import is_missing


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)[:, None]


LEVELS = ["b", None, "a", "c", None]


DICTIONARY = pa.array(LEVELS).dictionary_encode()


CATEGORIES = [
    pa.array(LEVELS),
    pa.array(LEVELS, pa.large_string()),
    pa.array(LEVELS, pa.string_view()),
    pa.DictionaryArray.from_arrays(DICTIONARY.indices.cast("int8"), ["b", "a", "c"], ordered=True),
    pa.array([2, None, 1, 30, None], pa.int8()),
]


@pytest.mark.parametrize("cells", CATEGORIES, ids=lambda cells: str(cells.type))
def test_levels_of_any_type_come_back(cells: pa.Array) -> None:
    names = tuple("abc") if cells.type != pa.int8() else ("1", "2", "30")
    nominal = Nominal("x", names)
    np.testing.assert_array_equal(nominal.encode(cells)[[0, 2, 3]], [[1, 0], [0, 0], [0, 1]])
    assert is_missing(cells).tolist() == [False, True, False, False, True]
    filled = nominal.fill(cells, np.array([1, 4]), np.array([2.0, 0.0]))
    assert filled.type == cells.type
    b, _, a, c, _ = cells.to_pylist()
    assert filled.to_pylist() == [b, c, a, c, a]


def test_booleans_are_two_levels() -> None:
    cells = pa.array([True, None, False])
    nominal = Nominal("x", ("false", "true"))
    assert nominal.dimensions == ("x=true",)
    filled = nominal.fill(cells, np.array([1]), nominal.expected(column(0.8), column(1)))
    assert filled.to_pylist() == [True, True, False]


def test_nominal_draws_have_the_expected_indicators_as_probabilities() -> None:
    nominal = Nominal("x", tuple("abcd"))
    mean = np.tile([0.3, -0.1, 0.5], (40_000, 1))  # 0.3 is left for a; none for c
    uniform = np.random.default_rng(1).random(len(mean))
    codes = nominal.publish(nominal.draw(uniform, mean, mean))
    shares = np.bincount(codes.astype(int), minlength=4) / len(codes)
    np.testing.assert_allclose(shares, np.array([0.3, 0.3, 0, 0.5]) / 1.1, atol=0.01)
    assert nominal.expected(mean[:1], mean[:1]).tolist() == [3]


def test_ordinal_levels_are_intervals_of_a_latent_normal() -> None:
    ordinal = Ordinal("grade", ("low", "mid", "none", "high"), counts=(50, 30, 0, 20))
    cells = pa.array(["low", "mid", None, "high"])
    expected = [ndtri(0.25), ndtri(0.65), np.nan, ndtri(0.9)]
    np.testing.assert_allclose(ordinal.encode(cells)[:, 0], expected)
    draws = np.random.default_rng(2).normal(size=(40_000, 1))
    shares = np.bincount(ordinal.publish(draws).astype(int), minlength=4) / len(draws)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0, 0.2], atol=0.01)
    means = column(-2, ndtri(0.65), 3)
    assert ordinal.expected(means, column(0.1, 0.1, 0)).tolist() == [0, 1, 3]
