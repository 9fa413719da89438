"""The pictures of the report, from its numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.reporting.axes import (
    DASHES,
    GAP,
    LETTER,
    LINE,
    TICK,
    Panel,
    Scale,
    in_digits,
    logarithmic_ticks,
    powers_of_ten,
    room_below,
    room_beside,
    scale_of,
    ticks,
)
from em_impute.reporting.factors import Factors
from em_impute.reporting.imputations import Trace
from em_impute.reporting.matrices import Correlations, Together
from em_impute.reporting.means import Means
from em_impute.reporting.missingness import MissingnessMap, Patterns
from em_impute.reporting.numerals import significant
from em_impute.reporting.records import Distribution, Evaluation, Fit, LevelCounts
from em_impute.reporting.style import (
    ALARM,
    GREY,
    IMPUTED,
    INK,
    LETTERS,
    OBSERVED_ALPHA,
    OPPOSITE,
    PAPER,
    SHADED,
    WIDTH,
    label,
    rgb,
    whole_percent,
)
from em_impute.reporting.svg import Box, Drawing, rectangle, text_width, widest

T = TypeVar("T")

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
# Numbers beyond are drawn here: the height of a bar is a part of their sum.
FARTHEST = 1e300
# Points: the usual width, the margin around, the height of a title, and of names in small letters.
WIDE, MARGIN, TITLE, SMALL = 72.0 * WIDTH, 5.0, 16.0, 8.5


def trace(fit: Fit) -> Drawing:
    """Draw the log-likelihood and the estimated distance by iteration."""
    drawing = Drawing(WIDE, 266.0)
    last = max((e.number for e in fit.trace), default=1)
    x = Scale(0, max(last, 1)).wider(0.03)
    accepted = [e for e in fit.trace if e.step != "rejected" and e.objective is not None]
    heights = [e.objective for e in accepted if e.objective is not None]
    distances = [e for e in fit.trace if e.step != "rejected" and e.distance]
    upper_scale = scale_of(heights or [0.0], 0.2)
    lower_scale = _scale_of_distances([e.distance or 0.0 for e in distances], fit.tol)
    above = ticks(upper_scale, 4) if heights else []
    beneath = powers_of_ten(lower_scale) if distances else []
    left = MARGIN + max(room_beside(above), room_beside(beneath))
    foot = drawing.height - room_below(named=True)
    upper = Panel(drawing, Box(left, TITLE, WIDE - MARGIN, 132.0), x, upper_scale)
    lower = Panel(drawing, Box(left, 132.0 + 14 + TITLE, WIDE - MARGIN, foot), x, lower_scale)
    upper.title("penalised log-likelihood" if fit.prior_rows else "log-likelihood")
    upper.beside(above)
    upper.below([])
    if heights:
        _draw_loglik(upper, fit, accepted, heights)
    lower.title(DISTANCES[fit.family])
    lower.beside(beneath)
    lower.below(ticks(Scale(0, last), 6, whole=True), "iteration (evaluation of the EM map)")
    if distances:
        _draw_distances(lower, fit, distances)
    return drawing


def _draw_loglik(
    panel: Panel, fit: Fit, accepted: Sequence[Evaluation], heights: Sequence[float]
) -> None:
    _draw_line(panel, accepted, heights)
    x, y = panel.at(accepted[-1].number, heights[-1])
    panel.drawing.text((x, y - 6), in_digits(round(heights[-1], 2)), anchor="end")
    # A rejected step can be far below, or nowhere: it is marked, at the foot of the panel if
    # need be, and must not flatten the accepted ones.
    rejected = [e for e in fit.trace if e.step == "rejected"]
    if not rejected:
        return
    floor, top = min(heights), max(heights)
    at = [
        (e.number, floor if e.objective is None else min(max(e.objective, floor), top))
        for e in rejected
    ]
    for x, y in (panel.at(*point) for point in at):
        cross = f"M{x - 2.5:.2f} {y - 2.5:.2f}l5 5m0 -5l-5 5"
        panel.drawing.stroke(cross, ALARM, 1.0)
    x, y = panel.at(*at[-1])
    y += -7 if at[-1][1] == floor else 14
    panel.drawing.text((x, y), f"{fit.rejected:,} rejected", anchor="middle", colour=ALARM)


def _scale_of_distances(distances: Sequence[float], tol: float | None) -> Scale:
    """Logarithmic, with room above the tolerance for words."""
    known = [d for d in (*distances, tol) if d]
    if not known:
        return Scale(0.1, 1.0, log=True)
    low, high = min(known), max(max(known), 10 * tol if tol else 0.0)
    room = (high / low) ** 0.06 if high > low else 2.0
    return Scale(low / room, high * room, log=True)


def _draw_distances(panel: Panel, fit: Fit, points: Sequence[Evaluation]) -> None:
    _draw_line(panel, points, [e.distance for e in points if e.distance is not None])
    if fit.tol is not None:
        panel.level(fit.tol, GREY, DASHES)
        at = panel.box.left + 3, panel.down(fit.tol) - 3
        panel.drawing.text(at, f"tolerance: {significant(fit.tol, 6)}", size=SMALL)


def _draw_line(panel: Panel, points: Sequence[Evaluation], heights: Sequence[float]) -> None:
    places = [(float(e.number), height) for e, height in zip(points, heights, strict=True)]
    panel.line(places, INK, 1.2)
    if len(places) <= MAX_MARKERS:
        panel.dots(places, INK, 1.7)


def patterns(patterns: Patterns) -> Drawing:
    """Draw patterns by columns, missing cells filled, with the rows of each as bars."""
    columns, rows = patterns.columns, patterns.rows
    across = WIDE * min(max(0.09 * len(columns), 0.4), 0.76) - MARGIN
    names = _names_height(columns, across)
    drawing = Drawing(WIDE, 14.4 * len(rows) + names + 2 * MARGIN)
    top, foot = MARGIN + names, drawing.height - MARGIN
    matrix = Panel(
        drawing,
        Box(MARGIN, top, MARGIN + across, foot),
        Scale(0, len(columns)),
        Scale(len(rows), 0),
    )
    observed = np.array([pattern.observed for pattern in rows])
    for cells, colour, alpha in ((observed, GREY, OBSERVED_ALPHA), (~observed, IMPUTED, 1.0)):
        corners = [matrix.at(j + 0.05, i + 0.1) for i, j in np.argwhere(cells)]
        wide, tall = 0.9 * across / len(columns), 0.8 * (foot - top) / len(rows)
        drawing.fill("".join(rectangle(*corner, wide, tall) for corner in corners), colour, alpha)
    _name_columns(matrix, columns)
    counts = [pattern.count for pattern in rows]
    bars = Panel(
        drawing,
        Box(MARGIN + across + 10, top, WIDE - MARGIN, foot),
        Scale(0, 2.1 * max(counts, default=1)),
        Scale(len(rows), 0),
    )
    tall = 0.62 * (foot - top) / len(rows)
    for i, count in enumerate(counts):
        x, y = bars.at(0, i + 0.19)
        wide = bars.across(count) - x
        drawing.fill(rectangle(x, y, wide, tall), GREY, 0.6)
        words = f"{count:,}  ({count / patterns.total_rows:.1%})"
        drawing.text((x + wide + 4, y + tall / 2 + LETTER * LETTERS), words)
    drawing.text((bars.box.left, top - 5), "rows")
    return drawing


def missingness(item: MissingnessMap) -> Drawing:
    """Draw all rows by their patterns, top to bottom, missing cells filled."""
    rows = f"{item.total_rows:,}"
    left = MARGIN + max(text_width(rows), LINE * LETTERS) + GAP
    named = len(item.columns) <= MAX_MAP_NAMES
    names = _names_height(item.columns, WIDE - MARGIN - left) if named else 0.0
    drawing = Drawing(WIDE, 175.0 + names + 2 * MARGIN)
    box = Box(left, MARGIN + names, WIDE - MARGIN, drawing.height - MARGIN)
    drawing.cells(box, map_colours(item))
    panel = Panel(drawing, box, Scale(0, len(item.columns)), Scale(item.total_rows, 0))
    if named:
        _name_columns(panel, item.columns)
    drawing.text((left - GAP, box.top + 2 * LETTER * LETTERS), "0", anchor="end")
    drawing.text((left - GAP, box.bottom), rows, anchor="end")
    middle = left - GAP - 1, (box.top + box.bottom) / 2
    drawing.text(middle, "rows, by pattern", anchor="middle", upright=True)
    return drawing


def map_colours(item: MissingnessMap) -> Floats:
    """The colours of a map's cells, of shape (rows, columns, 4)."""
    missing = item.missing()
    cells = np.full((*missing.shape, 4), (*rgb(GREY), OBSERVED_ALPHA))
    cells[missing] = (*rgb(SHADED), 1.0)
    return cells


def together(item: Together) -> Drawing:
    """Draw, for each column, how much of what it misses is missing in the others, too."""
    shares = item.shares()
    np.fill_diagonal(shares, np.nan)
    return _matrix(shares, item.columns, item.columns, (0.0, 1.0), whole_percent)


def correlations(item: Correlations) -> Drawing:
    """Draw the correlation matrix below its diagonal."""
    matrix = item.matrix()
    matrix[np.triu_indices(len(matrix))] = np.nan
    return _of_correlations(matrix[1:, :-1], item.columns[1:], item.columns[:-1])


def loadings(item: Factors) -> Drawing:
    """Draw the correlations of factors with columns."""
    factors = [f"factor {h}" for h in range(1, item.shown + 1)]
    return _of_correlations(item.matrix.T, factors, [one.column for one in item.loads])


def _of_correlations(values: Floats, rows: Sequence[str], columns: Sequence[str]) -> Drawing:
    return _matrix(values, rows, columns, (-1.0, 1.0), lambda r: f"{r:.2f}".replace("-", "\u2212"))


def means(item: Means) -> Drawing:
    """Draw estimated means and their intervals, in sd from the means of the observed cells."""
    names = [(float(i), label(row.column)) for i, row in enumerate(item.rows)]
    shares = [whole_percent(row.fmi) for row in item.rows]
    drawing = Drawing(WIDE, 18.7 * len(item.rows) + MARGIN + room_below(named=True))
    placed = [tuple(map(row.in_sd, (row.low, row.estimate, row.high))) for row in item.rows]
    box = Box(
        MARGIN + room_beside(names),
        MARGIN,
        WIDE - MARGIN - widest(shares) - TICK - GAP,
        drawing.height - room_below(named=True),
    )
    x = scale_of([0.0, *(end for ends in placed for end in ends)])
    panel = Panel(drawing, box, x, Scale(len(item.rows) - 0.5, -0.5))
    panel.upright(0.0)
    for i, (low, middle, high) in enumerate(placed):
        panel.line([(low, i), (high, i)], IMPUTED, 1.4)
        panel.dots([(middle, i)], IMPUTED, 2.7)
        at = box.right + TICK + GAP, panel.down(i) + LETTER * LETTERS
        drawing.text(at, shares[i])
    panel.names(names)
    panel.below(ticks(x, 6), "mean of all rows, in sd from the mean of the observed cells")
    return drawing


def chains(traces: Sequence[Trace]) -> Drawing:
    """Draw the course of parameters, a line for each chain."""
    tall = 80.0
    drawing = Drawing(WIDE, tall * len(traces) + room_below(named=True))
    scales = [scale_of(v for values in item.chains for v in values) for item in traces]
    numbered = [ticks(scale, 3) for scale in scales]
    left = MARGIN + max(map(room_beside, numbered))
    sweeps = traces[0].sweeps
    x = Scale(min(sweeps), max(sweeps))
    for i, (item, scale) in enumerate(zip(traces, scales, strict=True)):
        box = Box(left, tall * i + TITLE, WIDE - 2 * MARGIN, tall * (i + 1) - 4)
        panel = Panel(drawing, box, x, scale)
        for values in item.chains:
            panel.line(zip(item.sweeps, values, strict=True), IMPUTED, 0.6, 0.5)
        panel.title(label(item.parameter, LONGEST_TITLE))
        panel.beside(numbered[i])
        is_last = i == len(traces) - 1
        numbers = ticks(x, 6, whole=True) if is_last else []
        panel.below(numbers, "sweep after the burn-in" if is_last else "")
    return drawing


def distribution(item: Distribution | LevelCounts) -> Drawing:
    """Draw one column's observed cells above its imputed ones."""
    drawing = Drawing(252.0, _height(item))
    _draw_distribution(drawing, drawing.whole, item)
    return drawing


def distributions(items: Sequence[Distribution | LevelCounts], across: int = 2) -> Drawing:
    """Draw `distribution` for several columns on one sheet, titled with their names."""
    return sheet(
        items,
        across,
        lambda item: TITLE + _height(item),
        lambda item: item.column,
        _draw_distribution,
    )


def sheet(
    items: Sequence[T],
    across: int,
    height: Callable[[T], float],
    name: Callable[[T], str],
    draw: Callable[[Drawing, Box, T], object],
) -> Drawing:
    """Draw several items in so many columns, each in a box of its own below its name."""
    rows = [items[start : start + across] for start in range(0, len(items), across)]
    heights = [max(map(height, row)) for row in rows]
    drawing, top, wide = Drawing(WIDE, sum(heights)), 0.0, WIDE / across
    for row, tall in zip(rows, heights, strict=True):
        for j, item in enumerate(row):
            left = wide * j
            drawing.text((left + MARGIN, top + TITLE - 4), label(name(item), int(wide / 7)))
            draw(drawing, Box(left, top + TITLE, left + wide, top + tall), item)
        top += tall
    return drawing


def bar(colour: str) -> Drawing:
    """Make a thin bar of one colour, for pages that cannot colour their own text."""
    return Drawing(WIDE, 5.8, colour)


def _matrix(
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    ends: tuple[float, float],
    number: Callable[[float], str],
) -> Drawing:
    """Columns by columns, shaded, with numbers in the cells of a small matrix; NaN is empty."""
    longer = max(len(rows), len(columns))
    pitch = 72.0 * max(0.9, min(0.42 * longer, 3.7), 0.16 * longer) / longer
    size = min(SMALL, 0.9 * pitch)
    names = [(i + 0.5, label(name)) for i, name in enumerate(rows)]
    left = MARGIN + room_beside(names, size)
    across, down = pitch * len(columns), pitch * len(rows)
    above = MARGIN + _names_height(columns, across)
    drawing = Drawing(max(WIDE, left + across + 70), above + down + MARGIN)
    box = Box(left, above, left + across, above + down)
    panel = Panel(drawing, box, Scale(0, len(columns)), Scale(len(rows), 0))
    places = np.argwhere(np.isfinite(values))
    shaded = defaultdict[tuple[str, float], str](str)
    for i, j in places:
        shaded[_shade(values[i, j], ends)] += rectangle(*panel.at(j, i), pitch, pitch)
    for (colour, alpha), squares in shaded.items():
        drawing.fill(squares, colour, alpha)
    if longer <= MAX_NUMBERED:
        for i, j in places:
            x, y = panel.at(j + 0.5, i + 0.5)
            drawing.text(
                (x, y + LETTER * 7.5),
                number(values[i, j]),
                anchor="middle",
                size=7.5,
                colour=PAPER if values[i, j] > 0.6 else INK,
            )
    panel.names(names, size)
    _name_columns(panel, columns)
    if longer > MAX_NUMBERED:
        _draw_shades(drawing, box, ends, number)
    return drawing


def _shade(value: float, ends: tuple[float, float]) -> tuple[str, float]:
    """The colour of a number between two ends, and how much of it; in as many steps as are seen."""
    least = ends[0]
    step = (
        min(int(abs(value) * SHADES), SHADES - 1) + 0.5
        if least == 0
        else round(abs(value) * SHADES)
    )
    return SHADED if value > 0 or least == 0 else OPPOSITE, step / SHADES


def _draw_shades(
    drawing: Drawing, matrix: Box, ends: tuple[float, float], number: Callable[[float], str]
) -> None:
    """What the shades of a matrix stand for, beside it."""
    tall = matrix.height * (0.6 if matrix.height > 150 else 1.0)
    top = matrix.top + (matrix.height - tall) / 2
    box = Box(matrix.right + 14, top, matrix.right + 24, top + tall)
    panel = Panel(drawing, box, Scale(0, 1), Scale(*ends))
    step = 0.1
    for k in range(round((ends[1] - ends[0]) / step)):
        low = ends[0] + k * step
        colour, alpha = _shade(low + step / 2, ends)
        high = panel.down(low + step)
        drawing.fill(rectangle(box.left, high, 10, panel.down(low) - high), colour, alpha)
    numbers = (ends[0], (ends[0] + ends[1]) / 2, ends[1])
    for value in numbers:
        at = box.right + GAP, panel.down(value) + LETTER * SMALL
        drawing.text(at, number(value), size=SMALL)


def _names_height(columns: Sequence[str], width: float) -> float:
    """Points that the names of columns take above a picture so wide."""
    names = [label(name) for name in columns]
    size = _names_size(columns, width)
    return TICK + GAP + (widest(names, size) if _upright(columns, width) else LINE * size)


def _names_size(columns: Sequence[str], width: float) -> float:
    if not _upright(columns, width):
        return LETTERS
    return min(SMALL, 0.9 * width / len(columns))


def _upright(columns: Sequence[str], width: float) -> bool:
    """Whether the names are too long to stand next to each other."""
    widths = [text_width(label(name)) for name in columns]
    room = width / max(len(columns), 1)
    return any((a + b) / 2 + LETTERS / 2 > room for a, b in pairwise(widths))


def _name_columns(panel: Panel, columns: Sequence[str]) -> None:
    """Write the names above their columns, upright if there is no room, so that all are legible."""
    width = panel.box.width
    size, upright = _names_size(columns, width), _upright(columns, width)
    for j, name in enumerate(columns):
        x, y = panel.across(j + 0.5), panel.box.top - GAP
        if upright:
            panel.drawing.text((x + LETTER * size, y), label(name), size=size, upright=True)
        else:
            panel.drawing.text((x, y), label(name), anchor="middle", size=size)


def _height(item: Distribution | LevelCounts) -> float:
    if isinstance(item, Distribution):
        return 126.0
    return 36.0 + 18.7 * min(len(item.levels), MAX_LEVELS + 1)


def _draw_distribution(drawing: Drawing, box: Box, item: Distribution | LevelCounts) -> None:
    if isinstance(item, Distribution):
        _draw_halves(drawing, box, item)
    else:
        _draw_levels(drawing, box, item)


def _draw_levels(drawing: Drawing, box: Box, item: LevelCounts) -> None:
    order = sorted(range(len(item.levels)), key=lambda i: -item.observed[i])
    shown = sorted(order[:MAX_LEVELS])
    names = [label(item.levels[i], 14) for i in shown]
    if len(order) > MAX_LEVELS:
        names.append(f"{len(order) - MAX_LEVELS} others")
    named = [(float(i), name) for i, name in enumerate(names)]
    shares = []
    for counts in (item.observed, item.imputed):
        shares.append([counts[i] / max(sum(counts), 1) for i in shown])
        if len(order) > MAX_LEVELS:
            shares[-1].append(1.0 - sum(shares[-1]))
    x = Scale(0.0, max(map(max, shares)) * 1.05 or 1.0)
    frame = Box(
        box.left + MARGIN + room_beside(named),
        box.top + MARGIN,
        box.right - 3 * MARGIN,
        box.bottom - room_below(named=True),
    )
    panel = Panel(drawing, frame, x, Scale(len(names) - 0.4, -0.6))
    tall = panel.down(0.36) - panel.down(0.0)
    for values, place, colour in zip(shares, (-0.37, 0.01), (GREY, IMPUTED), strict=True):
        bars = (
            rectangle(*panel.at(0.0, i + place), panel.across(value) - frame.left, tall)
            for i, value in enumerate(values)
        )
        drawing.fill("".join(bars), colour)
    panel.names(named)
    numbers = [(value, whole_percent(value)) for value, _ in ticks(x, 3)]
    panel.below(numbers, f"{sum(item.observed):,} observed, {sum(item.imputed):,} imputed")


def _draw_halves(drawing: Drawing, box: Box, item: Distribution) -> None:
    # Conditional means crowd together, and there may be few of them: on one density scale they
    # would flatten the observed cells, so each half is scaled to its own peak.
    edges = np.clip(item.edges, -FARTHEST, FARTHEST).tolist()
    x = Scale(edges[0], edges[-1], item.log)
    x = x if item.log else x.wider(0.03)
    labels = f"{sum(item.observed):,} observed", f"{sum(item.imputed):,} imputed"
    numbered = logarithmic_ticks(x) if item.log else ticks(x, 4, item.whole)
    frame = Box(
        box.left + MARGIN + widest(labels) + TICK + GAP,
        box.top + MARGIN,
        box.right - MARGIN - widest((text for _, text in numbered)) / 2,
        box.bottom - room_below(),
    )
    panel = Panel(drawing, frame, x, Scale(-1.08, 1.08))
    for counts, side, colour in ((item.observed, 1, GREY), (item.imputed, -1, IMPUTED)):
        density = item.density(counts)
        panel.steps(edges, (side * density / (density.max() or 1.0)).tolist(), colour)
    panel.level(0.0)
    for place, text, colour in zip((0.5, -0.5), labels, (INK, IMPUTED), strict=True):
        panel.names([(place, text)], colour=colour)
    panel.below(numbered)
