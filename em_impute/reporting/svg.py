"""Drawings as SVG: elements that stand in a page, and images that stand anywhere.

In a page, ink follows the text's colour and others its custom properties, and maps and matrices
let its ground show through, so one drawing reads in light, dark and print. As an image it has the
colours themselves, on a light ground.
"""

from __future__ import annotations

import base64
import struct
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.reporting.style import ALARM, FONTS, IMPUTED, INK, LETTERS, PAPER

PAGE_COLOURS = {
    INK: "currentColor",
    IMPUTED: f"var(--imputed, {IMPUTED})",
    ALARM: f"var(--alarm, {ALARM})",
}
# Widths of characters, in parts of their size; those of all others are by their kind.
SLIM, BROAD = frozenset(" !'(),-./:;I[]fijlrt|"), frozenset("%@MW\u2026\u2212\u00d7mw")

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A part of a drawing, in points from its left upper corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top


class Drawing:
    """What is drawn on a ground of a size, in points.

    Parameters
    ----------
    width, height : float
    ground : str
        The colour of an image's ground; a page's shows through.
    """

    def __init__(self, width: float, height: float, ground: str = PAPER) -> None:
        self.width, self.height = width, height
        self._ground = ground
        self._drawn: list[str] = []

    @property
    def whole(self) -> Box:
        """All of it."""
        return Box(0.0, 0.0, self.width, self.height)

    def fill(self, path: str, colour: str, alpha: float = 1.0) -> None:
        """Fill what a path encloses."""
        self._drawn.append(f'<path d="{path}" style="fill:{_css(colour)}{_opacity(alpha)}"/>')

    def stroke(
        self,
        path: str,
        colour: str,
        width: float = 0.7,
        dashes: str = "",
        alpha: float = 1.0,
    ) -> None:
        """Draw along a path."""
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        self._drawn.append(
            f'<path d="{path}" style="fill:none;stroke:{_css(colour)};stroke-width:{width:g}'
            f'{dashed}{_opacity(alpha)}"/>'
        )

    def dots(self, points: Iterable[Point], colour: str, radius: float, alpha: float = 1.0) -> None:
        """Draw a dot at each point."""
        turn = f"a{radius:g} {radius:g} 0 1 0"
        path = "".join(
            f"M{_in(x - radius)} {_in(y)}{turn} {2 * radius:g} 0{turn} {-2 * radius:g} 0"
            for x, y in points
        )
        if path:
            self.fill(path, colour, alpha)

    def text(
        self,
        at: Point,
        words: str,
        *,
        anchor: str = "start",
        colour: str = INK,
        size: float = LETTERS,
        upright: bool = False,
        bold: bool = False,
    ) -> None:
        """Write words; `at` is the left, middle or right end of their foot, by `anchor`."""
        x, y = map(_in, at)
        turned = f' transform="rotate(-90 {x} {y})"' if upright else ""
        weight = ";font-weight:bold" if bold else ""
        self._drawn.append(
            f'<text x="{x}" y="{y}"{turned} style="font-size:{size:g}px;text-anchor:{anchor};'
            f'fill:{_css(colour)}{weight}">{escape(words)}</text>'
        )

    def cells(self, box: Box, colours: Floats) -> None:
        """Fill a box with cells, of shape (rows, columns, 4): red, green, blue, alpha, to 1."""
        self._drawn.append(
            f'<image x="{_in(box.left)}" y="{_in(box.top)}" width="{_in(box.width)}" '
            f'height="{_in(box.height)}" preserveAspectRatio="none" '
            f'style="image-rendering:pixelated" href="{_data_url("image/png", _png(colours))}"/>'
        )

    def on_page(self, words: str) -> str:
        """Return it as an element of a page.

        Parameters
        ----------
        words : str
            What it shows, for those who cannot see it.
        """
        return self._element(words, "")

    def as_image(self, words: str) -> str:
        """Return it as the address of an image, which has all of it."""
        return _data_url("image/svg+xml", self.alone(words).encode())

    def alone(self, words: str) -> str:
        """Return it as what is in a file of its own."""
        look = f' style="color:{INK};font-family:{FONTS}"'
        return self._element(words, look)

    def _element(self, words: str, look: str) -> str:
        ground = f'<path d="M0 0h{_in(self.width)}v{_in(self.height)}H0z" fill="{self._ground}"/>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_in(self.width)} '
            f'{_in(self.height)}" role="img" aria-label="{escape(words)}"'
            f"{look}>{ground if look else ''}{''.join(self._drawn)}</svg>"
        )


def along(points: Iterable[Point]) -> str:
    """The path from point to point."""
    steps = [f"{_in(x)} {_in(y)}" for x, y in points]
    return f"M{'L'.join(steps)}" if steps else ""


def rectangle(left: float, top: float, width: float, height: float) -> str:
    """The path around a rectangle."""
    return f"M{_in(left)} {_in(top)}h{_in(width)}v{_in(height)}h{_in(-width)}z"


def text_width(words: str, size: float = LETTERS) -> float:
    """About how wide words are, in points; the fonts of pages differ, and this is a wide one's."""
    return size * sum(map(_character_width, words))


def widest(texts: Iterable[str], size: float = LETTERS) -> float:
    """The width of the widest text, in points; 0 if there is none."""
    return max((text_width(text, size) for text in texts), default=0.0)


def _character_width(character: str) -> float:
    if character in SLIM:
        return 0.38
    if character in BROAD or unicodedata.east_asian_width(character) in "WF":
        return 1.0
    return 0.7 if character.isupper() else 0.62


def _in(points: float) -> str:
    """A length in digits, as few as are seen."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _css(colour: str) -> str:
    return PAGE_COLOURS.get(colour, colour)


def _opacity(alpha: float) -> str:
    return f";opacity:{alpha:g}" if alpha < 1.0 else ""


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _png(colours: Floats) -> bytes:
    """A picture with a pixel for each cell, by the standard (ISO/IEC 15948)."""
    pixels = np.round(255 * colours).astype(np.uint8)
    rows, columns, _ = pixels.shape
    # Before each row stands how it is filtered: not at all.
    lines = np.hstack([np.zeros((rows, 1), dtype=np.uint8), pixels.reshape(rows, -1)])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
