"""What is odd in a column: the same in whatever portions it comes, and taken for what it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_impute.tables.reading.oddities import FEW_CELLS, SHOWN_ROWS, Edge, Oddities, nines

ODD = ["-", " n.a.", "x", "Missing"]
TEXTS = st.lists(st.sampled_from(["1", "2.5", "-3e2", "", "NA", None, *ODD]), max_size=FEW_CELLS)


def seen(texts: list[str | None], *cuts: int) -> Oddities:
    """What is known of cells that come in portions, the first of them in row 1."""
    found = Oddities()
    for start, end in pairwise([0, *sorted(cuts), len(texts)]):
        found.add(pa.array(texts[start:end], pa.string()), start + 1)
    return found


@given(TEXTS, st.lists(st.integers(0, FEW_CELLS), max_size=3))
def test_cells_are_counted_one_by_one(texts: list[str | None], cuts: list[int]) -> None:
    found = seen(texts, *(min(cut, len(texts)) for cut in cuts))
    odd = [(row, text) for row, text in enumerate(texts, 1) if text in ODD]
    assert found.numbers == sum(text not in ("", "NA", None, *ODD) for text in texts)
    assert found.odd == len(odd)
    assert found.rows == tuple(row for row, _ in odd)[:SHOWN_ROWS]
    spellings = {str(text).strip() for _, text in odd}
    # What is not known to stand for no value may be data, and is not quoted.
    assert found.named == (() if "x" in spellings else tuple(sorted(spellings)))


@pytest.mark.parametrize(
    ("numbers", "odd", "few"),
    [
        (10, [], False),
        (3, ["x"], True),
        (2, ["x"], False),
        (1, ["-"], True),  # known to stand for no value
        (1, ["-", "n.a."], False),
        (30, ["x"] * 10, True),
        (33, ["x"] * 11, False),
        (1100, ["x"] * 11, True),  # one in a hundred
        (200, ["-"] * 200, True),
        (1, ["x"] * 20, False),
    ],
)
def test_a_few_cells_among_numbers(numbers: int, odd: list[str], few: bool) -> None:
    assert seen(["1"] * numbers + odd).are_few is few


def test_a_column_of_text_is_not_looked_at_to_its_end() -> None:
    found = seen(["x"] * 600, 500)
    assert found.is_text
    assert found.odd == 500
    assert not found.are_few


@pytest.mark.parametrize(
    ("texts", "separators", "too_precise"),
    [
        (["1,5", "2,25", "-3"], 'decimal: ","', False),
        (["1.234,5", "2,25"], 'decimal: ","', False),
        (["1,234.5", "2"], 'thousands: ","', False),
        (["1,234.5", "2,5"], "", False),
        (["1,5", "x"], "", False),
        (["1.5", "0.12345678901234567890"], "", True),
        (["007", "0.12345678901234567890"], "", False),
    ],
)
def test_how_odd_numbers_are_written(texts: list[str], separators: str, too_precise: bool) -> None:
    found = seen(texts)
    assert (found.separators, found.too_precise) == (separators, too_precise)


@given(st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=5), min_size=1, max_size=4))
def test_an_edge_counts_its_cells_over_all_portions(portions: list[list[int]]) -> None:
    cells = [cell for portion in portions for cell in portion]
    for pick, reference in ((np.min, min), (np.max, max)):
        edge = Edge(pick)
        for portion in portions:
            edge.add(np.array(portion, dtype=float))
        assert edge.value == reference(cells)
        assert edge.cells == cells.count(reference(cells))


@pytest.mark.parametrize(
    ("value", "cells", "found"),
    [
        (-999.0, 6, (("-999", 6),)),
        (99, 6, (("99", 6),)),
        (999.9, 6, (("999.9", 6),)),
        (-999.0, 5, ()),  # of 100: not many
        (9.0, 50, ()),
        (9.9, 50, ()),
        (998.0, 50, ()),
        (-9990.0, 50, ()),
    ],
)
def test_numbers_of_nines_at_an_edge(
    value: float, cells: int, found: tuple[tuple[str, int], ...]
) -> None:
    edges = (Edge(np.min, value, cells), Edge(np.max, 3.0, 50))
    assert nines(edges, 100) == found
