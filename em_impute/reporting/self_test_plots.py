"""The pictures of the self-test, from its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_impute.reporting.style import (
    ALARM,
    GREY,
    IMPUTED,
    INK,
    STYLE,
    WIDTH,
    label,
    number_ticks,
    place_snugly,
    whole_percent,
)
from em_impute.self_test.scores import INTERVALS, NumberScores, SelfTest

MAX_TESTED = 24


@matplotlib.rc_context(STYLE)
def errors(test: SelfTest) -> Figure:
    """Draw the errors on test cells relative to those of the baselines, the worst first."""
    known = [scores for scores in test.numbers if scores.rmse_ratio is not None]
    worst = sorted(known, key=lambda scores: -(scores.rmse_ratio or 0.0))[:MAX_TESTED]
    figure = Figure(figsize=(WIDTH, 0.22 * len(worst) + 0.9), layout="constrained")
    _draw_errors(figure.subplots(), worst)
    return figure


@matplotlib.rc_context(STYLE)
def coverage(test: SelfTest) -> Figure:
    """Draw the share of test cells in their intervals against the expected one."""
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    _draw_coverage(figure.subplots(), test)
    return figure


@matplotlib.rc_context(STYLE)
def pit(scores: NumberScores, misfit: bool) -> Figure:
    """Draw the PIT histogram of one column; where the model does not fit it, in alarm."""
    figure = Figure(figsize=(1.8, 1.0))
    _draw_pit(figure.subplots(), scores, misfit)
    place_snugly(figure)
    return figure


@matplotlib.rc_context(STYLE)
def pits(test: SelfTest, most: int = 12) -> Figure:
    """Draw `pit` for several columns on one sheet, titled with their names.

    Parameters
    ----------
    test : SelfTest
    most : int
        Columns that are drawn, the most uneven ones.
    """
    figure, panels = _sheet(uneven_first(test, most), 1.2)
    for axes, scores in panels:
        _draw_pit(axes, scores, scores.column in test.misfits)
    return figure


@matplotlib.rc_context(STYLE)
def calibration(scores: NumberScores) -> Figure:
    """Draw what the test cells of one column are over what they are predicted to be, in bins."""
    figure = Figure(figsize=(1.8, 1.8))
    _draw_calibration(figure.subplots(), scores)
    place_snugly(figure)
    return figure


@matplotlib.rc_context(STYLE)
def calibrations(shown: Sequence[NumberScores]) -> Figure:
    """Draw `calibration` for several columns on one sheet, titled with their names."""
    figure, panels = _sheet(shown, 1.8)
    for axes, scores in panels:
        _draw_calibration(axes, scores)
    return figure


def _sheet(
    shown: Sequence[NumberScores], height: float, across: int = 3
) -> tuple[Figure, list[tuple[Axes, NumberScores]]]:
    """Axes for several columns, titled with their names."""
    across = min(across, len(shown))
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(WIDTH, height * down), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, scores in zip(grid, shown, strict=False):
        axes.set_title(label(scores.column, 16))
    return figure, list(zip(grid, shown, strict=False))


def uneven_first(test: SelfTest, most: int = MAX_TESTED) -> list[NumberScores]:
    """The columns that have a PIT, the furthest from uniform first, at most so many."""
    known = [scores for scores in test.numbers if scores.pit_distance is not None]
    return sorted(known, key=lambda scores: -(scores.pit_distance or 0.0))[:most]


def calibrated(shown: Sequence[NumberScores]) -> list[NumberScores]:
    """Those of the columns that have two bins or more."""
    return [scores for scores in shown if len(scores.calibration) > 1]


def _draw_errors(axes: Axes, worst: Sequence[NumberScores]) -> None:
    rows = range(len(worst))
    ratios = [scores.rmse_ratio or 0.0 for scores in worst]
    absolute = [
        (row, scores.filled.mae / scores.by_median.mae)
        for row, scores in enumerate(worst)
        if scores.filled.mae is not None and scores.by_median.mae
    ]
    axes.axvline(1.0, color=GREY, linewidth=0.8, dashes=(4, 3))
    axes.plot([x for _, x in absolute], [row for row, _ in absolute], "|", color=INK, markersize=9)
    axes.plot(ratios, rows, "o", color=IMPUTED, markersize=5)
    axes.set_yticks(rows, [label(scores.column) for scores in worst])
    axes.set_ylim(len(worst) - 0.4, -0.6)
    axes.set_xlim(0, max(1.15, *(1.05 * x for x in (*ratios, *(x for _, x in absolute)))))
    axes.set_xlabel("error relative to the baseline (1: no better)")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_coverage(axes: Axes, test: SelfTest) -> None:
    axes.plot([0.4, 1.0], [0.4, 1.0], color=GREY, linewidth=0.8, dashes=(4, 3))
    for scores in test.numbers if len(test.numbers) > 1 else ():
        if shares := scores.coverage.shares:
            axes.plot(
                INTERVALS, shares, "o", color=GREY, alpha=0.45, markersize=4, markeredgewidth=0
            )
    overall = test.coverage.shares
    axes.plot(INTERVALS, overall, "o-", color=IMPUTED, linewidth=1.2, markersize=6)
    for level, share in zip(INTERVALS, overall, strict=True):
        below = share <= level + 0.02
        axes.annotate(
            f"{share:.1%}",
            (level, share),
            xytext=(9, -3) if below else (-9, 3),
            textcoords="offset points",
            ha="left" if below else "right",
            va="top" if below else "bottom",
            color=IMPUTED,
        )
    axes.set_xlim(0.4, 1.08)
    axes.set_xticks(INTERVALS, [f"{level:.0%}" for level in INTERVALS])
    axes.yaxis.set_major_formatter(whole_percent)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("expected in the interval")
    axes.set_ylabel("observed in the interval")


def _draw_pit(axes: Axes, scores: NumberScores, misfit: bool) -> None:
    bins = len(scores.pit)
    heights = [count * bins / scores.spread_cells for count in scores.pit]
    edges = [i / bins for i in range(bins + 1)]
    axes.stairs(heights, edges, fill=True, color=ALARM if misfit else GREY, linewidth=0)
    axes.axhline(1.0, color=INK, linewidth=0.7)
    axes.set_ylim(0, max(2.0, 1.05 * max(heights)))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _draw_calibration(axes: Axes, scores: NumberScores) -> None:
    bins = scores.calibration
    ends = [end for b in bins for end in (b.predicted, b.observed)]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GREY, linewidth=0.8)
    predicted = [b.predicted for b in bins]
    lows, highs = [b.low for b in bins], [b.high for b in bins]
    axes.vlines(predicted, lows, highs, GREY, alpha=0.45, lw=2.5, capstyle="projecting")
    for off, colour in ((False, IMPUTED), (True, ALARM)):
        shown = [b for b in bins if b.too_few_within is off]
        axes.plot(
            [b.predicted for b in shown],
            [b.observed for b in shown],
            "o",
            color=colour,
            markersize=4,
        )
    number_ticks(axes.xaxis, 3)
    number_ticks(axes.yaxis, 3)
    axes.tick_params(labelsize=7)
