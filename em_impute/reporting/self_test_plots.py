"""The pictures of the self-test, from its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from em_impute.reporting.axes import (
    DASHES,
    LINE,
    Panel,
    Scale,
    room_below,
    room_beside,
    scale_of,
    ticks,
)
from em_impute.reporting.plots import MARGIN, TITLE, WIDE, sheet
from em_impute.reporting.style import ALARM, GREY, IMPUTED, INK, LETTERS, label, whole_percent
from em_impute.reporting.svg import Box, Drawing, along, widest
from em_impute.self_test.scores import INTERVALS, NumberScores, SelfTest

MAX_TESTED = 24
# Small pictures are shown larger than the others: letters, margins and heights in points.
FINE, CLOSE = 7.0, 3.0
PIT_HEIGHT, CALIBRATION_HEIGHT, TILE = 72.0, 130.0, 130.0


def errors(test: SelfTest) -> Drawing:
    """Draw the errors on test cells relative to those of the baselines, the worst first."""
    known = [scores for scores in test.numbers if scores.rmse_ratio is not None]
    worst = sorted(known, key=lambda scores: -(scores.rmse_ratio or 0.0))[:MAX_TESTED]
    ratios = [(scores.rmse_ratio or 0.0, float(i)) for i, scores in enumerate(worst)]
    absolute = [
        (scores.filled.mae / scores.by_median.mae, float(i))
        for i, scores in enumerate(worst)
        if scores.filled.mae is not None and scores.by_median.mae
    ]
    names = [(float(i), label(scores.column)) for i, scores in enumerate(worst)]
    x = Scale(0.0, max(1.15, *(1.05 * ratio for ratio, _ in (*ratios, *absolute))))
    drawing = Drawing(WIDE, 15.8 * len(worst) + 2 * MARGIN + room_below(named=True))
    foot = drawing.height - room_below(named=True)
    box = Box(MARGIN + room_beside(names), MARGIN, WIDE - 2 * MARGIN, foot)
    panel = Panel(drawing, box, x, Scale(len(worst) - 0.4, -0.6))
    panel.upright(1.0)
    for at in absolute:
        across, down = panel.at(*at)
        drawing.stroke(along([(across, down - 4.5), (across, down + 4.5)]), INK, 1.0)
    panel.dots(ratios, IMPUTED, 2.7)
    panel.names(names)
    panel.below(ticks(x, 6), "error relative to the baseline (1: no better)")
    return drawing


def coverage(test: SelfTest) -> Drawing:
    """Draw the share of test cells in their intervals against the expected one."""
    drawing = Drawing(WIDE, 238.0)
    each = [
        point
        for scores in (test.numbers if len(test.numbers) > 1 else ())
        if scores.coverage.shares
        for point in zip(INTERVALS, scores.coverage.shares, strict=True)
    ]
    overall = list(zip(INTERVALS, test.coverage.shares, strict=True))
    y = scale_of([0.4, 1.0, *(share for _, share in (*each, *overall))])
    numbered = [(value, whole_percent(value)) for value, _ in ticks(y, 5) if value <= 1.0]
    left, foot = MARGIN + LINE * LETTERS + room_beside(numbered), 238.0 - room_below(named=True)
    panel = Panel(drawing, Box(left, MARGIN, WIDE - MARGIN, foot), Scale(0.4, 1.08), y)
    drawing.stroke(along([panel.at(0.4, 0.4), panel.at(1.0, 1.0)]), GREY, 0.8, DASHES)
    panel.dots(each, GREY, 2.0, 0.45)
    panel.line(overall, IMPUTED, 1.2)
    panel.dots(overall, IMPUTED, 3.2)
    for level, share in overall:
        across, down = panel.at(level, share)
        below = share <= level + 0.02
        at = (across + 8, down + 12) if below else (across - 8, down - 5)
        drawing.text(at, f"{share:.1%}", anchor="start" if below else "end", colour=IMPUTED)
    panel.beside(numbered)
    panel.below([(level, whole_percent(level)) for level in INTERVALS], "expected in the interval")
    middle = MARGIN + LETTERS, (MARGIN + foot) / 2
    drawing.text(middle, "observed in the interval", anchor="middle", upright=True)
    return drawing


def pit(scores: NumberScores, misfit: bool) -> Drawing:
    """Draw the PIT histogram of one column; where the model does not fit it, in alarm."""
    drawing = Drawing(TILE, PIT_HEIGHT)
    _draw_pit(drawing, drawing.whole, scores, misfit)
    return drawing


def pits(test: SelfTest, most: int = 12) -> Drawing:
    """Draw `pit` for several columns on one sheet, titled with their names.

    Parameters
    ----------
    test : SelfTest
    most : int
        Columns that are drawn, the most uneven ones.
    """

    def draw(drawing: Drawing, box: Box, scores: NumberScores) -> None:
        _draw_pit(drawing, box, scores, scores.column in test.misfits)

    return _sheet(uneven_first(test, most), PIT_HEIGHT, draw)


def calibration(scores: NumberScores) -> Drawing:
    """Draw what the test cells of one column are over what they are predicted to be, in bins."""
    drawing = Drawing(TILE, CALIBRATION_HEIGHT)
    _draw_calibration(drawing, drawing.whole, scores)
    return drawing


def calibrations(shown: Sequence[NumberScores]) -> Drawing:
    """Draw `calibration` for several columns on one sheet, titled with their names."""
    return _sheet(shown, CALIBRATION_HEIGHT, _draw_calibration)


def _sheet(
    shown: Sequence[NumberScores],
    height: float,
    draw: Callable[[Drawing, Box, NumberScores], object],
) -> Drawing:
    return sheet(shown, 3, lambda _: TITLE + height, lambda scores: scores.column, draw)


def uneven_first(test: SelfTest, most: int = MAX_TESTED) -> list[NumberScores]:
    """The columns that have a PIT, the furthest from uniform first, at most so many."""
    known = [scores for scores in test.numbers if scores.pit_distance is not None]
    return sorted(known, key=lambda scores: -(scores.pit_distance or 0.0))[:most]


def calibrated(shown: Sequence[NumberScores]) -> list[NumberScores]:
    """Those of the columns that have two bins or more."""
    return [scores for scores in shown if len(scores.calibration) > 1]


def _draw_pit(drawing: Drawing, box: Box, scores: NumberScores, misfit: bool) -> None:
    bins = len(scores.pit)
    heights = [count * bins / scores.spread_cells for count in scores.pit]
    frame = Box(
        box.left + MARGIN, box.top + MARGIN, box.right - MARGIN, box.bottom - room_below(LETTERS)
    )
    panel = Panel(drawing, frame, Scale(0, 1), Scale(0, max(2.0, 1.05 * max(heights))))
    panel.steps([i / bins for i in range(bins + 1)], heights, ALARM if misfit else GREY)
    panel.level(1.0)
    panel.below([(0, "0"), (0.5, "0.5"), (1, "1")])


def _draw_calibration(drawing: Drawing, box: Box, scores: NumberScores) -> None:
    bins = scores.calibration
    x = scale_of(end for b in bins for end in (b.predicted, b.observed))
    y = scale_of(end for b in bins for end in (b.predicted, b.observed, b.low, b.high))
    numbered, beneath = ticks(y, 3), ticks(x, 3)
    frame = Box(
        box.left + CLOSE + room_beside(numbered, FINE),
        box.top + CLOSE,
        box.right - CLOSE - widest((text for _, text in beneath), FINE) / 2,
        box.bottom - room_below(FINE),
    )
    panel = Panel(drawing, frame, x, y)
    ends = [end for b in bins for end in (b.predicted, b.observed)]
    panel.line([(min(ends), min(ends)), (max(ends), max(ends))], GREY, 0.8)
    for b in bins:
        panel.line([(b.predicted, b.low), (b.predicted, b.high)], GREY, 2.5, 0.45)
    for off, colour in ((False, IMPUTED), (True, ALARM)):
        shown = [(b.predicted, b.observed) for b in bins if b.too_few_within is off]
        panel.dots(shown, colour, 2.1)
    panel.below(beneath, size=FINE)
    panel.beside(numbered, FINE)
