"""What a reader asks of each column before the table is used, on one line a column.

Everything here is taken from the rest of a report, so that reports of earlier versions have it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

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
    filled = any(column.imputed.count for column in report.columns)
    found = [
        Glance(
            column,
            column.missing - column.imputed.count if filled or report.published else None,
            panels.get(column.name),
            _error(scores := _scores(report, column.name)),
            scores.coverage.at_95 if isinstance(scores, NumberScores) else None,
            tuple(_notes(report, column, scores)),
        )
        for column in report.columns
        if column.missing and (column.role == "impute" or column.left)
    ]
    return sorted(found, key=lambda one: (not one.notes, -one.column.missing))


def _scores(report: Report, name: str) -> NumberScores | LevelScores | None:
    test = report.self_test
    scores: list[NumberScores | LevelScores] = [*test.numbers, *test.levels] if test else []
    return next((one for one in scores if one.column == name), None)


def _error(scores: NumberScores | LevelScores | None) -> float | None:
    if isinstance(scores, LevelScores):
        by_mode = scores.cells - scores.right_by_mode
        return (scores.cells - scores.right) / by_mode if by_mode else None
    return scores.rmse_ratio if scores else None


def _notes(
    report: Report, column: Column, scores: NumberScores | LevelScores | None
) -> Iterator[str]:
    if column.left:
        yield f"left unfilled: {column.left}"
        return
    if (test := report.self_test) and column.name in test.no_better:
        level = isinstance(scores, LevelScores)
        yield f"no better than the {'most frequent level' if level else 'mean'}"
    elif test and scores is None:
        yield "not tested: too few cells"
    if test and column.name in test.misfits:
        yield "not spread as the model says"
    for cells in (one for one in report.imputed if one.column == column.name):
        if (cells.at_bound or 0) > WORTH_A_NOTE * cells.count:
            yield f"{percent((cells.at_bound or 0) / cells.count)} at a bound"
        if cells.share_beyond > WORTH_A_NOTE:
            yield f"{percent(cells.share_beyond)} beyond the observed range"
    for change in report.drift.columns if report.drift else ():
        if change.column == column.name and change.moved:
            yield f"drifted: {', '.join(change.moved)}"


def miniature(panel: Distribution | LevelCounts | None) -> Markup:
    """A drawing of a line's height: observed cells above, filled ones below, each to its peak."""
    if panel is None:
        return Markup()
    bars = len(panel.observed)
    words = f"{sum(panel.observed):,} observed above {sum(panel.imputed):,} filled cells"
    return Markup(
        '<svg class="miniature" viewBox="0 0 {} 2" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><path class="seen" d="{}"/><path class="filled" d="{}"/></svg>'
    ).format(bars, escape(words), _outline(panel.observed, -1), _outline(panel.imputed, 1))


def _outline(counts: Sequence[int], way: int) -> str:
    """Bars from the middle line, upwards or downwards, as one path."""
    peak = max(counts, default=0) or 1
    return "M0 1" + "".join(f"V{1 + way * count / peak:.3f}h1" for count in counts) + "V1z"
