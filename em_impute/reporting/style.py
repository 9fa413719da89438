"""How all pictures of the report look: colours, letters, and names that the font can draw.

Colours are Okabe & Ito's, which colour-blind readers tell apart: blue is what was missing and
imputed, vermilion what went wrong, ink and grey all else; of two directions, one is blue and one
orange.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from em_impute.job.legible import BOX, legible
from em_impute.reporting.numerals import significant

INK, GREY, PAPER = "#24292f", "#8b949e", "#ffffff"
IMPUTED, ALARM, OPPOSITE = "#0072b2", "#d55e00", "#e69f00"
OBSERVED_ALPHA = 0.22
# Of maps and matrices, whose colours do not follow the page's: it reads on white and on black.
SHADED = "#1b7dbd"
VERDICT_COLOURS = {
    "published": "#009e73",
    "published with warnings": "#e69f00",
    "not published": ALARM,
}
WIDTH = 5.2  # inches
MAX_LABEL = 22
# Around the only axes of a small figure, in inches; and what a tick and its gap take, in points.
SNUG, TICK = 0.06, 7.0

STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.formatter.use_mathtext": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "em_impute",
    "text.color": INK,
    # A column may be called "$x": names are never mathematics.
    "text.parse_math": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}


def label(name: str, longest: int = MAX_LABEL) -> str:
    """Return a name, legible, as the font can draw it, cut in the middle if it is long.

    Characters that the font lacks become a box: matplotlib would draw one too, with a warning.
    """
    font = _font()
    drawn = "".join(c if font.get_char_index(ord(c)) else BOX for c in legible(name))
    if len(drawn) <= longest:
        return drawn
    return f"{drawn[: longest - 7]}\u2026{drawn[-6:]}"


def number_ticks(axis: Axis, most: int, whole: bool = False) -> None:
    """Have an axis show at most so many numbers more than one, in digits.

    Parameters
    ----------
    axis : Axis
    most : int
    whole : bool
        Whether they are whole numbers.
    """
    axis.set_major_locator(MaxNLocator(most, integer=whole))
    axis.set_major_formatter(in_digits)


def in_digits(value: float, _position: float = 0) -> str:
    """A number at an axis, without an exponent: 1,250, or 1.25 × 10⁹."""
    return significant(value, 12, largest=7)


def whole_percent(share: float, _position: float = 0) -> str:
    """A share at an axis, or in a cell."""
    return f"{share:.0%}"


def place_snugly(figure: Figure) -> None:
    """Place the only axes of a small figure so that its labels have just the room that they need.

    By the widths of their texts: a layout that draws them to see takes as long as the drawing.
    """
    (axes,), size, pad = figure.axes, 72 * figure.get_size_inches(), 72 * SNUG
    names = [_width(text) for text in axes.get_yticklabels()]
    numbers = axes.get_xticklabels()
    # Those at the ends stand out by a half of them.
    beyond = max((_width(text) for text in numbers), default=0.0) / 2
    line = 1.3 * max((float(text.get_fontsize()) for text in numbers), default=0.0)
    left = pad + (max(names) + TICK if any(names) else beyond)
    bottom = pad + line + TICK
    if axes.get_xlabel():
        bottom += 1.5 * float(axes.xaxis.label.get_fontsize())
    right, top = size[0] - pad - beyond, size[1] - pad
    axes.set_position(
        (left / size[0], bottom / size[1], (right - left) / size[0], (top - bottom) / size[1])
    )


def _font() -> FT2Font:
    return get_font(findfont(STYLE["font.family"]))


def _width(text: Text) -> float:
    """In points."""
    font = _font()
    font.set_size(float(text.get_fontsize()), 72)
    font.set_text(text.get_text(), 0.0)
    return float(font.get_width_height()[0]) / 64
