"""The distinct patterns of a table, of any width and number."""

from __future__ import annotations

import numpy as np
import pytest

from em_impute.gaussian import distinct
from em_impute.gaussian.distinct import distinct_patterns


@pytest.mark.parametrize("p", [1, 9, 64, 65, 130])
@pytest.mark.parametrize("n", [1, 500, 40_000])
def test_patterns_do_not_collide(n: int, p: int) -> None:
    """Up to 40,000 different patterns, more than a hash can keep apart."""
    mask = np.random.default_rng(7).random((n, p)) < 0.5
    patterns, index = distinct_patterns(mask)
    np.testing.assert_array_equal(patterns[index], mask)
    np.testing.assert_array_equal(patterns, np.unique(mask, axis=0))


def test_patterns_that_fall_into_one_drawer_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With multipliers of 0 every pattern has the same hash, in every trial."""
    monkeypatch.setattr(distinct, "_MULTIPLIERS", np.zeros((3, 8), dtype=np.uint64))
    mask = np.random.default_rng(8).random((2000, 20)) < 0.5
    patterns, index = distinct_patterns(mask)
    np.testing.assert_array_equal(patterns[index], mask)
    np.testing.assert_array_equal(patterns, np.unique(mask, axis=0))
