"""The pictures of a mixture's components, and of how many there are, from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from em_impute.gaussian.arrays import Floats
from em_impute.reporting.components import Directions
from em_impute.reporting.style import IMPUTED, INK, SHADED, STYLE, WIDTH, label, number_ticks

# So much of a component lies within its ellipse.
INSIDE = 0.9
LONGEST_AXIS = 60


@matplotlib.rc_context(STYLE)
def bics(points: Sequence[tuple[int, float]], chosen: int, what: str) -> Figure:
    """Draw BIC by the number of components or factors, the chosen one marked."""
    figure = Figure(figsize=(WIDTH, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), color=INK, lw=1.2, marker="o", markersize=3)
    best = dict(points).get(chosen)
    if best is not None:
        axes.plot([chosen], [best], "o", color=IMPUTED, markersize=7)
    axes.set_title("BIC, lower is better")
    axes.set_xlabel(f"number of {what}")
    number_ticks(axes.xaxis, 9, whole=True)
    number_ticks(axes.yaxis, 4)
    axes.margins(y=0.2)
    return figure


@matplotlib.rc_context(STYLE)
def directions(item: Directions) -> Figure:
    """Draw rows, shaded by how many there are, and the ellipses of the components around them."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    counts = np.array(item.counts, dtype=np.float64)
    cells = np.zeros((*counts.shape, 4))
    cells[..., :3] = to_rgb(SHADED)
    # The root lets lone rows be seen beside dense places.
    cells[..., 3] = 0.75 * np.sqrt(counts / max(counts.max(), 1.0))
    extent = (item.low[0], item.high[0], item.low[1], item.high[1])
    axes.imshow(cells, origin="lower", extent=extent, aspect="auto", interpolation="none")
    for g, (centre, covariance) in enumerate(zip(item.centres, item.covariances, strict=True)):
        axes.plot(*ellipse(centre, covariance), color=INK, linewidth=1.2)
        axes.annotate(str(g), centre, ha="center", va="center", fontsize=13, weight="bold")
    axes.set_xlabel(label(item.names[0], LONGEST_AXIS))
    axes.set_ylabel(label(item.names[1], LONGEST_AXIS))
    number_ticks(axes.xaxis, 5)
    number_ticks(axes.yaxis, 5)
    return figure


def ellipse(centre: tuple[float, float], covariance: tuple[float, float, float]) -> Floats:
    """Points (2, n) around the part `INSIDE` of a component."""
    angles = np.linspace(0.0, 2.0 * np.pi, 121)
    circle = np.sqrt(-2.0 * np.log(1.0 - INSIDE)) * np.array([np.cos(angles), np.sin(angles)])
    a, b, d = covariance
    factor = np.linalg.cholesky(np.array([[a, b], [b, d]]))
    points: Floats = np.array(centre)[:, None] + factor @ circle
    return points
