"""What a reader asks of each column before the table is used, on one line a column.

Everything here is taken from the rest of a report, so that reports of earlier versions have it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from em_impute.reporting.formatting import percent
from em_impute.reporting.records import Column, Distribution, LevelCounts, Report
from em_impute.self_test.scores import LevelScores, NumberScores

# Below this share of a column's filled cells, those at a bound or beyond the range are no news.
WORTH_A_NOTE = 0.05


@dataclass(frozen=True)
class Glance:
    """A column with missing cells, and what became of them.

    Attributes
    ----------
    column : Column
    left : int or None
        Cells that are still missing; None where nothing was filled because the run was refused.
    panel : Distribution or LevelCounts or None
        Its observed and its filled cells.
    error : float or None
        Error of the self-test's cells over that of filling with the mean, or with the most frequent
        level; None where it was not tested.
    coverage : float or None
        Share of these cells within their 95% intervals.
    notes : tuple of str
        What to know of it; empty if it is as it should be.
    """

    column: Column
    left: int | None
    panel: Distribution | LevelCounts | None
    error: float | None
    coverage: float | None
    notes: tuple[str, ...]


def glances(report: Report) -> list[Glance]:
    """Return the columns with missing cells: those with notes first, then by missing cells."""
    panels = {panel.column: panel for panel in report.panels}
    test = report.self_test
    numbers = {scores.column: scores for scores in test.numbers} if test else {}
    levels = {scores.column: scores for scores in test.levels} if test else {}
    notes_of = _notes_of(report, numbers.keys() | levels.keys())
    filled = any(column.imputed.count for column in report.columns)
    found = [
        Glance(
            column,
            column.missing - column.imputed.count if filled or report.published else None,
            panels.get(column.name),
            _error(numbers.get(column.name), levels.get(column.name)),
            numbers[column.name].coverage.at_95 if column.name in numbers else None,
            (f"left unfilled: {column.left}",) if column.left else tuple(notes_of(column.name)),
        )
        for column in report.columns
        if column.missing and (column.role == "impute" or column.left)
    ]
    return sorted(found, key=lambda one: (not one.notes, -one.column.missing))


def _error(numbers: NumberScores | None, levels: LevelScores | None) -> float | None:
    if levels:
        by_mode = levels.cells - levels.right_by_mode
        return (levels.cells - levels.right) / by_mode if by_mode else None
    return numbers.rmse_ratio if numbers else None


def _notes_of(report: Report, tested: Set[str]) -> Callable[[str], Iterator[str]]:
    """What is to be known of a column that is filled, by its name."""
    test = report.self_test
    of_levels = {scores.column for scores in test.levels} if test else set()
    no_better, misfits = (set(test.no_better), set(test.misfits)) if test else (set(), set())
    imputed = {cells.column: cells for cells in report.imputed}
    moved = {c.column: c.moved for c in report.drift.columns} if report.drift else {}

    def notes(name: str) -> Iterator[str]:
        if name in no_better:
            yield f"no better than the {'most frequent level' if name in of_levels else 'mean'}"
        elif test and name not in tested:
            yield "not tested: too few cells"
        if name in misfits:
            yield "not spread as the model says"
        if cells := imputed.get(name):
            if (cells.at_bound or 0) > WORTH_A_NOTE * cells.count:
                yield f"{percent((cells.at_bound or 0) / cells.count)} at a bound"
            if cells.share_beyond > WORTH_A_NOTE:
                yield f"{percent(cells.share_beyond)} beyond the observed range"
        if what := moved.get(name):
            yield f"drifted: {', '.join(what)}"

    return notes
