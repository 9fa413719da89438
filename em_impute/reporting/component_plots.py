"""The pictures of a mixture's components, and of how many there are, from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.reporting.axes import (
    LETTER,
    LINE,
    Panel,
    Scale,
    room_below,
    room_beside,
    scale_of,
    ticks,
)
from em_impute.reporting.components import Directions
from em_impute.reporting.plots import MARGIN, TITLE, WIDE
from em_impute.reporting.style import IMPUTED, INK, LETTERS, SHADED, label, rgb
from em_impute.reporting.svg import Box, Drawing

# So much of a component lies within its ellipse.
INSIDE = 0.9
LONGEST_AXIS = 60
# Of the numbers of components, in points.
LARGE = 13.0


def bics(points: Sequence[tuple[int, float]], chosen: int, what: str) -> Drawing:
    """Draw BIC by the number of components or factors, the chosen one marked."""
    drawing = Drawing(WIDE, 144.0)
    y = scale_of((bic for _, bic in points), 0.2)
    numbered, most = ticks(y, 4), max(number for number, _ in points)
    least = min(number for number, _ in points)
    foot = drawing.height - room_below(named=True)
    box = Box(MARGIN + room_beside(numbered), TITLE, WIDE - MARGIN, foot)
    panel = Panel(drawing, box, Scale(least, most).wider(0.05), y)
    panel.line(points, INK, 1.2)
    panel.dots(points, INK, 1.7)
    panel.dots([point for point in points if point[0] == chosen], IMPUTED, 3.5)
    panel.title("BIC, lower is better")
    panel.beside(numbered)
    panel.below(ticks(Scale(least, most), 9, whole=True), f"number of {what}")
    return drawing


def directions(item: Directions) -> Drawing:
    """Draw rows, shaded by how many there are, and the ellipses of the components around them."""
    drawing = Drawing(WIDE, 302.0)
    around = [
        ellipse(centre, covariance)
        for centre, covariance in zip(item.centres, item.covariances, strict=True)
    ]
    ends = zip(item.low, item.high, range(2), strict=True)
    x, y = (
        scale_of([low, high, *(end for line in around for end in line[axis])], 0.02)
        for low, high, axis in ends
    )
    numbered = ticks(y, 5)
    left = MARGIN + LINE * LETTERS + room_beside(numbered)
    foot = drawing.height - room_below(named=True)
    panel = Panel(drawing, Box(left, MARGIN, WIDE - MARGIN, foot), x, y)
    counts = np.array(item.counts, dtype=np.float64)[::-1]
    cells = np.zeros((*counts.shape, 4))
    cells[..., :3] = rgb(SHADED)
    # The root lets lone rows be seen beside dense places.
    cells[..., 3] = 0.75 * np.sqrt(counts / max(counts.max(), 1.0))
    drawing.cells(
        Box(*panel.at(item.low[0], item.high[1]), *panel.at(item.high[0], item.low[1])), cells
    )
    for g, (line, centre) in enumerate(zip(around, item.centres, strict=True)):
        panel.line(line.T.tolist(), INK, 1.2)
        across, down = panel.at(*centre)
        at = across, down + LETTER * LARGE
        drawing.text(at, str(g), anchor="middle", size=LARGE, bold=True)
    panel.beside(numbered)
    panel.below(ticks(x, 5), label(item.names[0], LONGEST_AXIS))
    middle = MARGIN + LETTERS, (panel.box.top + foot) / 2
    drawing.text(middle, label(item.names[1], LONGEST_AXIS), anchor="middle", upright=True)
    return drawing


def ellipse(centre: tuple[float, float], covariance: tuple[float, float, float]) -> Floats:
    """Points (2, n) around the part `INSIDE` of a component."""
    angles = np.linspace(0.0, 2.0 * np.pi, 121)
    circle = np.sqrt(-2.0 * np.log(1.0 - INSIDE)) * np.array([np.cos(angles), np.sin(angles)])
    a, b, d = covariance
    factor = np.linalg.cholesky(np.array([[a, b], [b, d]]))
    points: Floats = np.array(centre)[:, None] + factor @ circle
    return points
