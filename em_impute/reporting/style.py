"""How all pictures of the report and of notebooks look: colours, letters, and how names are cut.

Colours are Okabe & Ito's, which colour-blind readers tell apart: blue is what was missing and
imputed, vermilion what went wrong, ink and grey all else; of two directions, one is blue and one
orange.
"""

from __future__ import annotations

from typing import Any

from em_impute.job.legible import legible

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
# Of the letters in pictures, in points.
LETTERS = 9.0
# Where a picture has no page around it; the same as in templates/style.css.j2.
FONTS = "-apple-system,Segoe UI,Roboto,Helvetica Neue,Arial,sans-serif"

STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.formatter.use_mathtext": False,
    "axes.labelcolor": INK,
    "axes.labelsize": LETTERS,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": LETTERS,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "font.family": "DejaVu Sans",
    "font.size": LETTERS,
    "text.color": INK,
    # A column may be called "$x": names are never mathematics.
    "text.parse_math": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
"""For matplotlib, which draws for notebooks."""


def label(name: str, longest: int = MAX_LABEL) -> str:
    """Return a name, legible, cut in the middle if it is long."""
    drawn = legible(name)
    if len(drawn) <= longest:
        return drawn
    return f"{drawn[: longest - 7]}\u2026{drawn[-6:]}"


def whole_percent(share: float) -> str:
    """A share at an axis, or in a cell."""
    return f"{share:.0%}"


def rgb(colour: str) -> tuple[float, ...]:
    """The parts of red, green and blue of a colour, each to 1."""
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
