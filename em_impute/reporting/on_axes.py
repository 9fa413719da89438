"""What a notebook draws, on matplotlib axes, in the look of the report's pictures."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

from em_impute.job.legible import BOX
from em_impute.reporting import axes, style
from em_impute.reporting.missingness import MissingnessMap
from em_impute.reporting.plots import FARTHEST, MAX_MAP_NAMES, MAX_MARKERS, map_colours
from em_impute.reporting.records import Distribution, Fit

# Names longer than so many characters, together, stand upright.
ROOM = 70


def drawable(name: str) -> str:
    """Return a name as the report has it, as far as the font can draw it.

    Characters that the font lacks become a box: matplotlib would draw one too, with a warning.
    """
    font = get_font(findfont(style.STYLE["font.family"]))
    return "".join(c if font.get_char_index(ord(c)) else BOX for c in style.label(name))


def draw_loglik(ax: Axes, fit: Fit) -> None:
    """Draw the log-likelihood by iteration, rejected steps marked."""
    accepted = [e for e in fit.trace if e.step != "rejected" and e.objective is not None]
    ax.set_title("penalised log-likelihood" if fit.prior_rows else "log-likelihood")
    if not accepted:
        return
    heights = [e.objective for e in accepted if e.objective is not None]
    marker = "o" if len(accepted) <= MAX_MARKERS else ""
    numbers = [e.number for e in accepted]
    ax.plot(numbers, heights, color=style.INK, lw=1.2, marker=marker, markersize=3)
    ax.margins(y=0.2)
    _number_ticks(ax.yaxis, 4)
    ax.annotate(
        axes.in_digits(round(heights[-1], 2)),
        (accepted[-1].number, heights[-1]),
        xytext=(0, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
    )
    _mark_rejected(ax, fit, floor=min(heights))


def _mark_rejected(ax: Axes, fit: Fit, floor: float) -> None:
    # A rejected step can be far below, or nowhere: it is marked, at the foot of the axes if need
    # be, and must not flatten the accepted ones.
    rejected = [e for e in fit.trace if e.step == "rejected"]
    if not rejected:
        return
    heights = [floor if e.objective is None else max(e.objective, floor) for e in rejected]
    ax.plot([e.number for e in rejected], heights, "x", color=style.ALARM, markersize=5)
    ax.annotate(
        f"{fit.rejected:,} rejected",
        (rejected[-1].number, heights[-1]),
        xytext=(0, 6) if heights[-1] == floor else (0, -6),
        textcoords="offset points",
        ha="center",
        va="bottom" if heights[-1] == floor else "top",
        color=style.ALARM,
    )


def draw_missingness(ax: Axes, item: MissingnessMap) -> None:
    """Draw all rows by their patterns, top to bottom, missing cells filled."""
    cells = map_colours(item)
    ax.imshow(cells, aspect="auto", interpolation="none", extent=(0, cells.shape[1], 1, 0))
    names = [drawable(name) for name in item.columns]
    if len(names) <= MAX_MAP_NAMES:
        ax.xaxis.tick_top()
        ax.set_xticks(np.arange(len(names)) + 0.5, names)
        if sum(map(len, names)) + len(names) > ROOM:
            size = min(8.5, 0.9 * 72 * style.WIDTH / len(names))
            ax.tick_params(axis="x", labelsize=size, labelrotation=90)
    else:
        ax.set_xticks([])
    ax.set_yticks([0, 1], ["0", f"{item.total_rows:,}"])
    ax.set_ylabel("rows, by pattern", labelpad=-8)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def draw_distribution(ax: Axes, item: Distribution) -> None:
    """Draw a column's observed cells above its imputed ones, each half scaled to its own peak."""
    halves = ((item.observed, 1, style.GREY), (item.imputed, -1, style.IMPUTED))
    edges = np.clip(item.edges, -FARTHEST, FARTHEST)
    for counts, side, colour in halves:
        density = item.density(counts)
        height = side * density / (density.max() or 1.0)
        ax.stairs(height, edges, fill=True, color=colour, linewidth=0)
    ax.axhline(0, color=style.INK, linewidth=0.7)
    ax.set_ylim(-1.08, 1.08)
    labels = f"{sum(item.observed):,} observed", f"{sum(item.imputed):,} imputed"
    ax.set_yticks([0.5, -0.5], labels)
    ax.yaxis.get_ticklabels()[1].set_color(style.IMPUTED)
    _number_ticks(ax.xaxis, 4, item.whole)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _number_ticks(axis: Axis, most: int, whole: bool = False) -> None:
    axis.set_major_locator(MaxNLocator(most, integer=whole))
    axis.set_major_formatter(_in_digits)


def _in_digits(value: float, _position: float = 0) -> str:
    return axes.in_digits(value)
