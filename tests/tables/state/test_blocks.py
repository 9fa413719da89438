"""Blocks of days: with few reads the same sum as of every day by itself."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.tables.state.blocks import Blocks, weight
from em_impute.tables.state.kept import Index, Kept, Partition
from em_impute.tables.state.shape import ColumnShape, Shape

COLUMNS = ("a", "b", "c")
SHAPE = Shape(tuple(ColumnShape(name, "numbers") for name in COLUMNS), {})
FIRST = date(2026, 1, 5)


def partition(number: int, content: str = "") -> Partition:
    day = FIRST + timedelta(days=number)
    return Partition(day.isoformat(), day, content or str(number), 20)


def put(folder: Path, one: Partition, seed: int) -> PatternSummary:
    summary = PatternSummary.from_array(factor_table(20, 3, 0.2, seed=seed), COLUMNS)
    summary.save(folder / one.file(SHAPE))
    return summary


@pytest.mark.parametrize("half_life", [None, timedelta(days=11)])
def test_blocks_add_up_to_what_the_days_add_up_to(
    tmp_path: Path, half_life: timedelta | None
) -> None:
    """Night after night, with gaps, with days that leave and one that is delivered again."""
    days = [n for n in range(90) if n % 7 != 5]
    kept = {partition(n): put(tmp_path, partition(n), n) for n in days}
    reads = []
    for last in range(60, 90, 3):
        if last == 72:
            del kept[partition(41)]
            kept[partition(41, "again")] = put(tmp_path, partition(41, "again"), 400)
        index = Index(1, "job", SHAPE, tuple(p for p in sorted(kept, key=lambda p: p.name)))
        blocks = Blocks(Kept(tmp_path), index, COLUMNS, half_life)
        today = FIRST + timedelta(days=last)
        shown = [p for p in kept if p.day and today - timedelta(days=50) < p.day <= today]
        pieces = blocks.pieces(shown)
        reads.append(len(pieces))
        total = PatternSummary.together(
            [summary.weighted(weight(day, today, half_life)) for summary, day in pieces]
        )
        # Added up ahead, it is one sum, and the same.
        file = blocks.add_ahead(sorted(shown, key=lambda p: p.order))
        [(ahead, day)] = blocks.pieces(shown)
        ahead = ahead.weighted(weight(day, today, half_life))
        np.testing.assert_allclose(ahead.observed_mean, total.observed_mean, rtol=1e-12)
        (tmp_path / file).unlink()
        expected = PatternSummary.together(
            [kept[p].weighted(weight(p.day, today, half_life)) for p in shown]
        )
        assert total.n_rows == expected.n_rows
        np.testing.assert_allclose(total.masses.sum(), expected.masses.sum(), rtol=1e-12)
        ours, theirs = (fit_gaussian(s, tol=1e-10).model for s in (total, expected))
        np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-8)
        np.testing.assert_allclose(ours.covariance, theirs.covariance, atol=1e-8)
    assert max(reads) < 20


def test_a_block_that_has_come_to_harm_is_made_again(tmp_path: Path) -> None:
    kept = {partition(n): put(tmp_path, partition(n), n) for n in range(40)}
    blocks = Blocks(Kept(tmp_path), Index(1, "job", SHAPE, tuple(kept)), COLUMNS)
    total = PatternSummary.together([s for s, _ in blocks.pieces(list(kept))])
    files = list(tmp_path.glob("block-*"))
    assert files
    assert {file.name for file in files} < set(blocks.files)
    for file in files:
        file.write_bytes(b"")
    again = PatternSummary.together([s for s, _ in blocks.pieces(list(kept))])
    np.testing.assert_array_equal(again.observed_mean, total.observed_mean)


def test_the_weight_of_a_row_halves_with_each_half_life() -> None:
    week = timedelta(days=7)
    assert weight(FIRST, FIRST, week) == 1.0
    assert weight(FIRST, FIRST + 2 * week, week) == 0.25
    assert weight(FIRST, FIRST + week, None) == weight(None, FIRST, week) == 1.0
