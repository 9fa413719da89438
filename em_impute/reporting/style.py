"""How all pictures of the report look: colours, letters, and names that the font can draw.

Colours are Okabe & Ito's, which colour-blind readers tell apart: blue is what was missing and
imputed, vermilion what went wrong, ink and grey all else; of two directions, one is blue and one
orange.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axis import Axis
from matplotlib.font_manager import findfont, get_font
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
    font = get_font(findfont(STYLE["font.family"]))
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
