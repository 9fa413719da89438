"""The holes of a table, against a look at every cell."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian.holes import Holes

masks = st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32)).map(
    lambda given: np.random.default_rng(given[2]).random(given[:2]) < 0.4
)


@settings(max_examples=50, deadline=None)
@given(masks, st.integers(1, 5), st.integers(1, 5))
def test_each_missing_cell_is_worked_on_once(
    missing: NDArray[np.bool_], patterns: int, rows: int
) -> None:
    X = np.where(missing, np.nan, 1.0)
    holes = Holes.of(X)
    cells = [(i, j) for i, row in enumerate(missing) for j, cell in enumerate(row) if cell]
    assert list(zip(holes.rows, holes.columns, strict=True)) == cells
    seen = []
    for block in holes.blocks(patterns):
        assert len(block) <= patterns
        for some, which, numbers in holes.rows_of(block, rows):
            assert len(some) <= rows
            for row, pattern, own in zip(some, holes.patterns[block][which], numbers, strict=True):
                assert (pattern == ~missing[row]).all()
                assert [cells[k] for k in own] == [cell for cell in cells if cell[0] == row]
                seen += own.tolist()
    assert sorted(seen) == list(range(len(cells)))


@settings(max_examples=50, deadline=None)
@given(masks)
def test_filling_puts_each_cell_in_its_place(missing: NDArray[np.bool_]) -> None:
    X = np.where(missing, np.nan, 1.0)
    filled = Holes.of(X).filled(np.arange(2.0, 2.0 + missing.sum()))
    assert filled[~missing].tolist() == [1.0] * int((~missing).sum())
    assert filled[missing].tolist() == np.arange(2.0, 2.0 + missing.sum()).tolist()
    assert np.isnan(X).sum() == missing.sum()


@settings(max_examples=50, deadline=None)
@given(masks)
def test_some_columns_have_the_holes_of_a_table_of_these(missing: NDArray[np.bool_]) -> None:
    X = np.where(missing, np.nan, 1.0)
    columns = np.arange(0, X.shape[1], 2)
    among, cells = Holes.of(X).among(columns)
    alone = Holes.of(np.ascontiguousarray(X[:, columns]))
    assert (among.rows == alone.rows).all()
    assert (columns[among.columns] == Holes.of(X).columns[cells]).all()
