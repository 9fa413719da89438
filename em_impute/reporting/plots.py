"""The pictures of the report, from its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from em_impute.gaussian.arrays import Floats
from em_impute.reporting.factors import Factors
from em_impute.reporting.imputations import Trace
from em_impute.reporting.matrices import Correlations, Together
from em_impute.reporting.means import Means
from em_impute.reporting.missingness import MissingnessMap, Patterns
from em_impute.reporting.numerals import power_of_ten, significant
from em_impute.reporting.records import Distribution, Evaluation, Fit, LevelCounts
from em_impute.reporting.style import (
    ALARM,
    GREY,
    IMPUTED,
    INK,
    OBSERVED_ALPHA,
    OPPOSITE,
    PAPER,
    SHADED,
    STYLE,
    WIDTH,
    in_digits,
    label,
    number_ticks,
    place_snugly,
    whole_percent,
)

DISTANCES = {
    "gaussian": "estimated distance to the maximum (sd / correlation units)",
    "mixture": "gain of the log-likelihood by a step, for each row",
    "factor": "estimated gain that is left of the log-likelihood, for each row",
}
MAX_MARKERS = 60
LONGEST_TITLE = 60
# In more columns than these, a matrix has no numbers and a map no names.
MAX_NUMBERED = 10
MAX_MAP_NAMES = 50
MAX_LEVELS = 12
SHADES = 10
# The corners of a pattern's cell, from its left upper one.
CELL = np.array([[0.0, 0.0], [0.9, 0.0], [0.9, 0.8], [0.0, 0.8]])
# Numbers beyond are drawn here: matplotlib adds up what is on an axis.
FARTHEST = 1e300


@matplotlib.rc_context(STYLE)
def trace(fit: Fit) -> Figure:
    """Draw the log-likelihood and the estimated distance by iteration."""
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    draw_loglik(upper, fit)
    _draw_distance(lower, fit)
    lower.set_xlabel("iteration (evaluation of the EM map)")
    number_ticks(lower.xaxis, 6, whole=True)
    return figure


@matplotlib.rc_context(STYLE)
def patterns(patterns: Patterns) -> Figure:
    """Draw patterns by columns, missing cells filled, with the rows of each as bars."""
    share = min(max(0.09 * len(patterns.columns), 0.4), 0.76)
    height = 0.2 * len(patterns.rows) + _names_height(patterns.columns, WIDTH * share) + 0.4
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    matrix, bars = figure.subplots(1, 2, sharey=True, width_ratios=(share, 1 - share))
    _draw_patterns(matrix, patterns)
    _name_columns(matrix, patterns.columns, WIDTH * share)
    _draw_counts(bars, patterns)
    return figure


@matplotlib.rc_context(STYLE)
def missingness(item: MissingnessMap) -> Figure:
    """Draw all rows by their patterns, top to bottom, missing cells filled."""
    named = len(item.columns) <= MAX_MAP_NAMES
    height = 2.6 + (_names_height(item.columns, WIDTH) if named else 0.0)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    draw_missingness(figure.subplots(), item)
    return figure


@matplotlib.rc_context(STYLE)
def together(item: Together) -> Figure:
    """Draw, for each column, how much of what it misses is missing in the others, too."""
    blues = [(*to_rgb(SHADED), (shade + 0.5) / SHADES) for shade in range(SHADES)]
    shares = item.shares()
    np.fill_diagonal(shares, np.nan)
    return _matrix(
        shares, item.columns, item.columns, ListedColormap(blues), Normalize(0, 1), whole_percent
    )


@matplotlib.rc_context(STYLE)
def correlations(item: Correlations) -> Figure:
    """Draw the correlation matrix below its diagonal."""
    matrix = item.matrix()
    matrix[np.triu_indices(len(matrix))] = np.nan
    return _of_correlations(matrix[1:, :-1], item.columns[1:], item.columns[:-1])


@matplotlib.rc_context(STYLE)
def loadings(item: Factors) -> Figure:
    """Draw the correlations of factors with columns."""
    factors = [f"factor {h}" for h in range(1, item.shown + 1)]
    return _of_correlations(item.matrix.T, factors, [one.column for one in item.loads])


def _of_correlations(values: Floats, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    steps = np.linspace(-1, 1, 2 * SHADES + 1)
    colours = [(*to_rgb(SHADED if r > 0 else OPPOSITE), abs(r)) for r in steps]
    return _matrix(
        values,
        rows,
        columns,
        ListedColormap(colours),
        Normalize(-1, 1),
        lambda r, _: f"{r:.2f}".replace("-", "\u2212"),
    )


@matplotlib.rc_context(STYLE)
def means(item: Means) -> Figure:
    """Draw estimated means and their intervals, in sd from the means of the observed cells."""
    figure = Figure(figsize=(WIDTH, 0.26 * len(item.rows) + 0.75), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.0, color=GREY, linewidth=0.8, dashes=(4, 3))
    for place, row in enumerate(item.rows):
        low, middle, high = map(row.in_sd, (row.low, row.estimate, row.high))
        axes.plot([low, high], [place, place], color=IMPUTED, linewidth=1.4, solid_capstyle="butt")
        axes.plot([middle], [place], "o", color=IMPUTED, markersize=5)
    places = range(len(item.rows))
    axes.set_yticks(places, [label(row.column) for row in item.rows])
    axes.set_ylim(len(item.rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean of all rows, in sd from the mean of the observed cells")
    axes.spines["left"].set_visible(False)
    shares = axes.secondary_yaxis("right")
    shares.set_yticks(places, [whole_percent(row.fmi) for row in item.rows])
    shares.tick_params(length=0)
    shares.spines["right"].set_visible(False)
    return figure


@matplotlib.rc_context(STYLE)
def chains(traces: Sequence[Trace]) -> Figure:
    """Draw the course of parameters, a line for each chain."""
    figure = Figure(figsize=(WIDTH, 1.15 * len(traces) + 0.5), layout="constrained")
    panels = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
    for axes, item in zip(panels, traces, strict=True):
        for values in item.chains:
            axes.plot(item.sweeps, values, color=IMPUTED, linewidth=0.6, alpha=0.5)
        axes.set_title(label(item.parameter, LONGEST_TITLE))
        number_ticks(axes.yaxis, 3)
    panels[-1].set_xlabel("sweep after the burn-in")
    number_ticks(panels[-1].xaxis, 6, whole=True)
    return figure


@matplotlib.rc_context(STYLE)
def distribution(item: Distribution | LevelCounts) -> Figure:
    """Draw one column's observed cells above its imputed ones."""
    figure = Figure(figsize=(3.5, _height(item)))
    draw_distribution(figure.subplots(), item)
    place_snugly(figure)
    return figure


@matplotlib.rc_context(STYLE)
def distributions(items: Sequence[Distribution | LevelCounts], across: int = 2) -> Figure:
    """Draw `distribution` for several columns on one sheet, titled with their names."""
    down = math.ceil(len(items) / across)
    heights = [max(map(_height, items[i * across : (i + 1) * across])) for i in range(down)]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, height_ratios=heights).flat
    for axes, item in zip(grid, items, strict=False):
        draw_distribution(axes, item)
        axes.set_title(label(item.column))
    for axes in list(figure.axes)[len(items) :]:
        axes.set_axis_off()
    return figure


@matplotlib.rc_context(STYLE)
def bar(colour: str) -> Figure:
    """Make a thin bar of one colour, for pages that cannot colour their own text."""
    return Figure(figsize=(WIDTH, 0.08), facecolor=colour)


def draw_missingness(axes: Axes, item: MissingnessMap) -> None:
    """Draw on axes what `missingness` draws."""
    cells = np.full((*item.missing().shape, 4), (*to_rgb(GREY), OBSERVED_ALPHA))
    cells[item.missing()] = (*to_rgb(SHADED), 1.0)
    axes.imshow(cells, aspect="auto", interpolation="none", extent=(0, cells.shape[1], 1, 0))
    if len(item.columns) <= MAX_MAP_NAMES:
        _name_columns(axes, item.columns, WIDTH, offset=0.5)
    else:
        axes.set_xticks([])
    axes.set_yticks([0, 1], ["0", f"{item.total_rows:,}"])
    axes.set_ylabel("rows, by pattern", labelpad=-8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_loglik(axes: Axes, fit: Fit) -> None:
    """Draw on axes the log-likelihood by iteration, rejected steps marked."""
    accepted = [e for e in fit.trace if e.step != "rejected" and e.objective is not None]
    title = "penalised log-likelihood" if fit.prior_rows else "log-likelihood"
    axes.set_title(title)
    if not accepted:
        return
    heights = [e.objective for e in accepted if e.objective is not None]
    _draw_line(axes, accepted, heights)
    axes.margins(y=0.2)
    number_ticks(axes.yaxis, 4)
    axes.annotate(
        in_digits(round(heights[-1], 2)),
        (accepted[-1].number, heights[-1]),
        xytext=(0, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
    )
    _mark_rejected(axes, fit, floor=min(heights))


def _mark_rejected(axes: Axes, fit: Fit, floor: float) -> None:
    # A rejected step can be far below, or nowhere: it is marked, at the foot of the panel if
    # need be, and must not flatten the accepted ones.
    rejected = [e for e in fit.trace if e.step == "rejected"]
    if not rejected:
        return
    heights = [floor if e.objective is None else max(e.objective, floor) for e in rejected]
    axes.plot([e.number for e in rejected], heights, "x", color=ALARM, markersize=5)
    axes.annotate(
        f"{fit.rejected:,} rejected",
        (rejected[-1].number, heights[-1]),
        xytext=(0, 6) if heights[-1] == floor else (0, -6),
        textcoords="offset points",
        ha="center",
        va="bottom" if heights[-1] == floor else "top",
        color=ALARM,
    )


def _draw_distance(axes: Axes, fit: Fit) -> None:
    points = [e for e in fit.trace if e.step != "rejected" and e.distance]
    axes.set_title(DISTANCES[fit.family])
    if not points:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_power_of_ten)
    axes.minorticks_off()
    _draw_line(axes, points, [e.distance for e in points if e.distance is not None])
    if fit.tol is not None:
        # Room for the words above the line.
        axes.set_ylim(top=max(axes.get_ylim()[1], 10 * fit.tol))
        axes.axhline(fit.tol, color=GREY, linewidth=0.8, dashes=(4, 3))
        axes.annotate(
            f"tolerance: {significant(fit.tol, 6)}",
            (0, fit.tol),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=8.5,
        )


def _draw_line(axes: Axes, points: Sequence[Evaluation], heights: Sequence[float]) -> None:
    marker = "o" if len(points) <= MAX_MARKERS else ""
    axes.plot([e.number for e in points], heights, color=INK, lw=1.2, marker=marker, markersize=3)


def _draw_patterns(axes: Axes, patterns: Patterns) -> None:
    observed = np.array([pattern.observed for pattern in patterns.rows])
    for cells, colour, alpha in ((observed, GREY, OBSERVED_ALPHA), (~observed, IMPUTED, 1.0)):
        # Their left upper corners, and from there all four.
        corners = (np.argwhere(cells)[:, ::-1] - (0.45, 0.4))[:, None] + CELL
        axes.add_collection(PolyCollection(corners, color=colour, alpha=alpha, lw=0), autolim=False)
    axes.set_xlim(-0.5, len(patterns.columns) - 0.5)
    axes.set_ylim(len(patterns.rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_counts(axes: Axes, patterns: Patterns) -> None:
    counts = [pattern.count for pattern in patterns.rows]
    axes.barh(range(len(counts)), counts, height=0.62, color=GREY, alpha=0.6)
    for row, count in enumerate(counts):
        share = f"{count / patterns.total_rows:.1%}"
        written = axes.annotate(
            f"{count:,}  ({share})",
            (count, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
        written.set_in_layout(False)  # as there is room for it in the axes
    axes.set_xlim(0, 2.1 * max(counts, default=1))
    axes.set_xticks([0], ["rows"], ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _matrix(
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: ListedColormap,
    scale: Normalize,
    number: Callable[[float, float], str],
) -> Figure:
    """Columns by columns, shaded, with numbers in the cells of a small matrix; NaN is empty."""
    names = [label(name) for name in rows]
    longer = max(len(rows), len(columns))
    pitch = max(0.9, min(0.42 * longer, 3.7), 0.16 * longer) / longer
    across, down = pitch * len(columns), pitch * len(rows)
    above = _names_height(columns, across)
    figure = Figure(figsize=(max(WIDTH, across + 2.3), down + above + 0.15), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, colours, scale, aspect="equal", interpolation="none")
    axes.set_anchor("NW")
    _name_columns(axes, columns, across)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelsize=min(8.5, 0.9 * 72 * pitch))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if longer <= MAX_NUMBERED:
        for i, j in np.argwhere(np.isfinite(values)):
            colour = PAPER if values[i, j] > 0.6 else INK
            text = number(values[i, j], 0)
            written = axes.text(j, i, text, ha="center", va="center", color=colour, size=7.5)
            # It is within the axes: the layout need not measure it.
            written.set_in_layout(False)
    else:
        tall = len(names) > MAX_NUMBERED
        bar = figure.colorbar(
            ScalarMappable(scale, colours), ax=axes, shrink=0.6 if tall else 1.0, aspect=14
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4 if tall else 2))
        bar.ax.yaxis.set_major_formatter(number)
    return figure


def _names_height(columns: Sequence[str], width: float) -> float:
    """Inches that the names of columns take above a picture so wide."""
    longest = max((len(label(name)) for name in columns), default=0)
    return 0.08 * longest if _upright(columns, width) else 0.0


def _upright(columns: Sequence[str], width: float) -> bool:
    """Whether the names are too long to stand next to each other."""
    lengths = [len(label(name)) for name in columns]
    room = 14 * width / max(len(columns), 1)
    return any((a + b) / 2 + 1 > room for a, b in pairwise(lengths))


def _name_columns(axes: Axes, columns: Sequence[str], width: float, offset: float = 0.0) -> None:
    """Write the names above their columns, upright if there is no room, so that all are legible."""
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(columns)) + offset, [label(name) for name in columns])
    if _upright(columns, width):
        pitch = 72 * width / len(columns)
        axes.tick_params(axis="x", labelsize=min(8.5, 0.9 * pitch), labelrotation=90)


def _height(item: Distribution | LevelCounts) -> float:
    if isinstance(item, Distribution):
        return 1.75
    return 0.8 + 0.26 * min(len(item.levels), MAX_LEVELS + 1)


def draw_distribution(axes: Axes, item: Distribution | LevelCounts) -> None:
    """Draw on axes what `distribution` draws."""
    if isinstance(item, Distribution):
        _draw_halves(axes, item)
    else:
        _draw_levels(axes, item)


def _draw_levels(axes: Axes, item: LevelCounts) -> None:
    order = sorted(range(len(item.levels)), key=lambda i: -item.observed[i])
    shown = sorted(order[:MAX_LEVELS])
    names = [label(item.levels[i], 14) for i in shown]
    if len(order) > MAX_LEVELS:
        names.append(f"{len(order) - MAX_LEVELS} others")
    for counts, side, colour in ((item.observed, -1, GREY), (item.imputed, 1, IMPUTED)):
        shares = [counts[i] / max(sum(counts), 1) for i in shown]
        if len(order) > MAX_LEVELS:
            shares.append(1.0 - sum(shares))
        places = np.arange(len(names)) + 0.19 * side
        axes.barh(places, shares, height=0.36, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(whole_percent)
    axes.set_xlabel(f"{sum(item.observed):,} observed, {sum(item.imputed):,} imputed")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_halves(axes: Axes, item: Distribution) -> None:
    # Conditional means crowd together, and there may be few of them: on one density scale they
    # would flatten the observed cells, so each half is scaled to its own peak.
    halves = ((item.observed, 1, GREY), (item.imputed, -1, IMPUTED))
    edges = np.clip(item.edges, -FARTHEST, FARTHEST)
    for counts, side, colour in halves:
        density = item.density(counts)
        height = side * density / (density.max() or 1.0)
        axes.stairs(height, edges, fill=True, color=colour, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.set_ylim(-1.08, 1.08)
    labels = f"{sum(item.observed):,} observed", f"{sum(item.imputed):,} imputed"
    axes.set_yticks([0.5, -0.5], labels)
    axes.yaxis.get_ticklabels()[1].set_color(IMPUTED)
    if item.log:
        _log_ticks(axes, edges[0], edges[-1])
    else:
        number_ticks(axes.xaxis, 4, item.whole)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis with some numbers on it, however many powers of ten it spans."""
    axes.set_xscale("log")
    decades = math.log10(high / low)
    if decades >= 1:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 3.0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(in_digits)
    axes.minorticks_off()


def _power_of_ten(value: float, _position: float = 0) -> str:
    exponent = math.log10(value)
    if not math.isclose(exponent, round(exponent), abs_tol=1e-9):
        return in_digits(value)
    return f"10{power_of_ten(round(exponent))}" if round(exponent) else "1"
