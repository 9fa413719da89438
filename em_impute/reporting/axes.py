"""Scales, the round numbers on them, and panels of a drawing in which points have coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from em_impute.reporting.numerals import power_of_ten, significant
from em_impute.reporting.style import GREY, INK, LETTERS
from em_impute.reporting.svg import Box, Drawing, Point, along, widest

# A tick, and what is between it and its number, in points.
TICK, GAP = 3.0, 3.5
# Parts of the size of letters: a line of text, half of a digit, and what is below the line.
LINE, LETTER, FOOT = 1.35, 0.36, 0.4
DASHES = "4 3"
# Numbers between which the steps of a scale are chosen.
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Scale:
    """The numbers from one end of an axis to the other, in equal steps or of their logarithms."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a number is, from 0 to 1; the middle where the ends are one."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        # Halves, as the difference of the largest numbers is none.
        span = high / 2 - low / 2
        return (value / 2 - low / 2) / span if span else 0.5

    def wider(self, share: float) -> Scale:
        """Return it with more room at both ends, a share of it each; not of logarithms."""
        more = share * (self.high - self.low) or 0.5 * abs(self.high) or 0.5
        return Scale(self.low - more, self.high + more)


def scale_of(numbers: Iterable[float], room: float = 0.05) -> Scale:
    """A scale for some numbers, with some room at its ends."""
    known = list(numbers)
    return Scale(min(known), max(known)).wider(room)


def ticks(scale: Scale, most: int, whole: bool = False) -> Ticks:
    """Round numbers on a scale in equal steps, at most one more than `most`, in digits.

    Parameters
    ----------
    scale : Scale
    most : int
    whole : bool
        Whether they are whole numbers.
    """
    return _each_once((value, in_digits(value)) for value in round_numbers(scale, most, whole))


def round_numbers(scale: Scale, most: int, whole: bool = False) -> list[float]:
    """Round numbers on a scale, at most one more than `most`."""
    least = (scale.high / 2 - scale.low / 2) / most * 2
    if not least > 1e-300:
        return [scale.low]
    power = 10.0 ** math.floor(math.log10(least))
    if whole:
        power = max(power, 1.0)
    for step in (factor * power for factor in STEPS):
        first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
        if last - first <= most and not (whole and step % 1.0):
            break
    return [k * step for k in range(first, last + 1)]


def logarithmic_ticks(scale: Scale) -> Ticks:
    """Some numbers on a logarithmic scale, however many powers of ten it spans."""
    first, last = math.log10(scale.low), math.log10(scale.high)
    if last - first < 1:
        return ticks(scale, 4)
    factors = (1.0,) if last - first > 3 else (1.0, 3.0)
    powers = _powers(first, last)
    numbers = (factor * 10.0**power for power in powers for factor in factors)
    return [(x, in_digits(x)) for x in numbers if scale.low <= x <= scale.high]


def powers_of_ten(scale: Scale) -> Ticks:
    """Some powers of ten on a logarithmic scale."""
    powers = _powers(math.log10(scale.low), math.log10(scale.high))
    return [
        (10.0**power, f"10{power_of_ten(power)}" if power else "1")
        for power in powers
        if scale.low <= 10.0**power <= scale.high
    ]


def _powers(first: float, last: float, most: int = 5) -> range:
    step = max(math.ceil((last - first) / most), 1)
    return range(step * math.floor(first / step), math.ceil(last) + 1, step)


def _each_once(numbered: Iterable[tuple[float, str]]) -> Ticks:
    """Numbers that differ too little to be told apart have one tick."""
    first: dict[str, float] = {}
    for value, text in numbered:
        first.setdefault(text, value)
    return [(value, text) for text, value in first.items()]


def in_digits(value: float) -> str:
    """A number at an axis, without an exponent: 1,250, or 1.25 × 10⁹."""
    return significant(value, 12, largest=7)


def texts_of(numbered: Ticks) -> list[str]:
    """The texts of ticks."""
    return [text for _, text in numbered]


def room_below(size: float = LETTERS, named: bool = False) -> float:
    """Points that the numbers below a panel take, and the name of its axis."""
    return TICK + GAP + size * (2 * LETTER + (LINE if named else 0.0) + FOOT)


def room_beside(numbered: Ticks, size: float = LETTERS) -> float:
    """Points that the numbers beside a panel take."""
    return widest(texts_of(numbered), size) + TICK + GAP


class Panel:
    """A box of a drawing in which points have coordinates.

    Parameters
    ----------
    drawing : Drawing
    box : Box
    x, y : Scale
    """

    def __init__(self, drawing: Drawing, box: Box, x: Scale, y: Scale) -> None:
        self.drawing, self.box, self._x, self._y = drawing, box, x, y

    def at(self, x: float, y: float) -> Point:
        """Where a point is in the drawing."""
        return self.across(x), self.down(y)

    def across(self, x: float) -> float:
        """How far from the drawing's left edge."""
        return self.box.left + self._x.share(x) * self.box.width

    def down(self, y: float) -> float:
        """How far from the drawing's top."""
        return self.box.bottom - self._y.share(y) * self.box.height

    def title(self, words: str) -> None:
        """Write words above."""
        self.drawing.text((self.box.left, self.box.top - 5.0), words)

    def line(self, points: Iterable[Point], colour: str, width: float, alpha: float = 1.0) -> None:
        """Draw from point to point."""
        if path := along(self.at(*point) for point in points):
            self.drawing.stroke(path, colour, width, alpha=alpha)

    def dots(self, points: Iterable[Point], colour: str, radius: float, alpha: float = 1.0) -> None:
        """Draw a dot at each point."""
        self.drawing.dots([self.at(*point) for point in points], colour, radius, alpha)

    def steps(self, edges: Sequence[float], heights: Sequence[float], colour: str) -> None:
        """Fill bars that stand, or hang, on 0."""
        foot, path = self.down(0.0), list[Point]()
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            top = self.down(height)
            path += [(self.across(left), top), (self.across(right), top)]
        ends = (self.across(edges[0]), foot), (self.across(edges[-1]), foot)
        self.drawing.fill(f"{along([ends[0], *path, ends[1]])}z", colour)

    def level(self, y: float, colour: str = INK, dashes: str = "") -> None:
        """Draw a line at a height, from side to side."""
        ends = (self.box.left, self.down(y)), (self.box.right, self.down(y))
        self.drawing.stroke(along(ends), colour, dashes=dashes)

    def upright(self, x: float, colour: str = GREY, dashes: str = DASHES) -> None:
        """Draw a line from top to bottom."""
        ends = (self.across(x), self.box.top), (self.across(x), self.box.bottom)
        self.drawing.stroke(along(ends), colour, dashes=dashes)

    def below(self, numbered: Ticks, name: str = "", size: float = LETTERS) -> None:
        """Draw the lower axis, with numbers and perhaps its name."""
        box, foot = self.box, self.box.bottom + TICK + GAP + 2 * LETTER * size
        path = along([(box.left, box.bottom), (box.right, box.bottom)])
        for value, text in numbered:
            x = self.across(value)
            path += along([(x, box.bottom), (x, box.bottom + TICK)])
            self.drawing.text((x, foot), text, anchor="middle", size=size)
        self.drawing.stroke(path, GREY)
        if name:
            middle = (box.left + box.right) / 2
            self.drawing.text((middle, foot + LINE * size), name, anchor="middle", size=size)

    def beside(self, numbered: Ticks, size: float = LETTERS) -> None:
        """Draw the left axis, with numbers."""
        box = self.box
        path = along([(box.left, box.top), (box.left, box.bottom)])
        for value, text in numbered:
            y = self.down(value)
            path += along([(box.left - TICK, y), (box.left, y)])
            at = box.left - TICK - GAP, y + LETTER * size
            self.drawing.text(at, text, anchor="end", size=size)
        self.drawing.stroke(path, GREY)

    def names(self, numbered: Ticks, size: float = LETTERS, colour: str = INK) -> None:
        """Write names at the left, without an axis."""
        for value, text in numbered:
            at = self.box.left - TICK - GAP, self.down(value) + LETTER * size
            self.drawing.text(at, text, anchor="end", size=size, colour=colour)
