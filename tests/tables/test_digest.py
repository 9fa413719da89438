"""Digests of cells that come in portions, against NumPy on all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_impute.tables.digest import MAX_KEPT, Digest, Moments, finite

CELLS = st.lists(st.floats(-1e6, 1e6), max_size=12)


@given(st.lists(CELLS, max_size=5))
def test_portions_are_as_good_as_all_cells_at_once(portions: list[list[float]]) -> None:
    digest = Digest()
    for portion in portions:
        digest.add(np.array(portion, dtype=float))
    cells = np.array([cell for portion in portions for cell in portion])
    assert digest.kept.tolist() == cells.tolist()
    assert digest.whole == all(cell.is_integer() for cell in cells.tolist())
    if not cells.size:
        assert digest.moments == Moments(0)
        assert (digest.low, digest.high) == (math.inf, -math.inf)
        return
    assert (digest.low, digest.high) == (cells.min(), cells.max())
    assert digest.moments == Moments(
        len(cells),
        pytest.approx(cells.mean(), rel=1e-9, abs=1e-6),
        pytest.approx(cells.std(), rel=1e-6, abs=1e-6),
    )


@pytest.mark.parametrize("portions", [1, 13])
def test_digest_of_more_cells_than_it_keeps(portions: int) -> None:
    """Moments and range are exact, quartiles those of a part of the cells, however they come."""
    cells = np.random.default_rng(1).lognormal(10, 1, size=3 * MAX_KEPT)
    digest = Digest()
    for portion in np.array_split(cells, portions):
        digest.add(portion)
    assert (digest.low, digest.high, digest.whole) == (cells.min(), cells.max(), False)
    assert digest.moments == Moments(
        len(cells), pytest.approx(cells.mean(), rel=1e-13), pytest.approx(cells.std(), rel=1e-12)
    )
    assert digest.kept.tolist() == cells[::4].tolist()
    assert np.percentile(digest.kept, [25, 75]) == pytest.approx(
        np.percentile(cells, [25, 75]), rel=0.02
    )


def test_moments_far_from_zero_keep_their_digits() -> None:
    cells = 1e9 + np.arange(1000.0) % 7
    digest = Digest()
    for portion in np.array_split(cells, 50):
        digest.add(portion)
    assert digest.moments.sd == pytest.approx(np.std(cells - 1e9), rel=1e-9)


def test_moments_beyond_floating_point_are_not_known() -> None:
    digest = Digest()
    digest.add(np.array([1.7e308, 1.7e308, -1.7e308]))
    assert digest.moments == Moments(3, None, None)
    assert (digest.low, digest.high) == (-1.7e308, 1.7e308)


@pytest.mark.parametrize(
    ("value", "known"), [(1.5, 1.5), (math.nan, None), (math.inf, None), (-math.inf, None)]
)
def test_what_json_has_no_number_for_is_none(value: float, known: float | None) -> None:
    assert finite(value) == known
