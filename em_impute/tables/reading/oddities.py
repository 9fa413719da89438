"""What is odd in a column as it was read: a few cells that are no numbers, numbers of nines.

Cells are named by their rows. What is not data may be quoted: spellings from a list that stand for
no value wherever they occur, and sentinels such as -999.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.tables.reading.digits import CODE, LONG_CODE, NUMBER, is_number, loses_digits
from em_impute.tables.reading.missing import is_blank

SHOWN_ROWS = 3
# A column of so few cells that are no numbers, or of so small a share, is taken for one of numbers.
FEW_CELLS, FEW_SHARE = 10, 0.01
LARGE_SHARE = 0.05
# How programs and people write that there is no value.
NO_VALUE = frozenset(
    [
        *(".", "..", "...", "-", "--", "---", "_", "?", "*", "<na>", "nat", "none", "nil", "n.a."),
        *("n.d.", "n.r.", "missing", "unknown", "not available", "not applicable", "(null)"),
        *("#div/0!", "#ref!", "#value!", "#name?", "#num!", "#null!", "#n/a!", "#error!", "\\n"),
    ]
)
_NINES = re.compile(r"-?(?:99+|9+\.9+)")
# Numbers as people write them: 1.234,5 and 1,234.5.
_DECIMAL_COMMA = r"^\s*[+-]?(?:\d+|\d{1,3}(?:[. ']\d{3})+)(?:,\d+)?\s*$"
_THOUSANDS_COMMA = r"^\s*[+-]?\d{1,3}(?:,\d{3})*(?:\.\d+)?\s*$"
# Rows of a column that are looked at before the rest: most columns of text are recognised by them.
_FIRST_ROWS = 500


@dataclass
class Oddities:
    """The cells of a column of text that are no numbers, as long as they may be few."""

    numbers: int = 0
    odd: int = 0
    rows: tuple[int, ...] = ()
    spellings: set[str] | None = field(default_factory=set)
    is_text: bool = False
    separators: str = ""
    too_precise: bool = False

    def add(self, texts: pa.Array, first_row: int) -> None:
        """Count the next cells, of which the first is in row `first_row`."""
        for start, part in ((0, texts[:_FIRST_ROWS]), (_FIRST_ROWS, texts[_FIRST_ROWS:])):
            if len(part) and not self.is_text:
                self._add(part, first_row + start)

    def _add(self, texts: pa.Array, first_row: int) -> None:
        number = is_number(texts).fill_null(False)
        blank = is_blank(texts)
        at = np.flatnonzero(pc.invert(pc.or_(number, blank)).to_numpy(zero_copy_only=False))
        self.numbers += pc.sum(number).as_py() or 0
        self.odd += len(at)
        self.rows += tuple((at[: SHOWN_ROWS - len(self.rows)] + first_row).tolist())
        self._note({text.strip() for text in texts.take(pa.array(at)).unique().to_pylist()})
        if self.odd and self.numbers + self.odd <= _FIRST_ROWS:
            shown = texts.filter(pc.invert(blank))
            self.separators = self.separators or _separators(shown)
            self.too_precise = self.too_precise or _are_too_precise(shown)
        self.is_text = self.odd > max(FEW_CELLS, self.numbers)

    def _note(self, spellings: set[str]) -> None:
        known = {text for text in spellings if text.lower() in NO_VALUE}
        if self.spellings is not None:
            self.spellings = self.spellings | known if known == spellings else None

    @property
    def are_few(self) -> bool:
        """Whether there are some, and the column is one of numbers but for them."""
        if self.is_text or not self.odd:
            return False
        few = max(FEW_CELLS, FEW_SHARE * (self.odd + self.numbers))
        return (self.odd <= few and 3 * self.odd <= self.numbers) or (
            self.spellings is not None and self.odd <= self.numbers
        )

    @property
    def named(self) -> tuple[str, ...]:
        """What these cells hold, if all of it is known to stand for no value."""
        return tuple(sorted(self.spellings or ()))


def _separators(texts: pa.Array) -> str:
    """How a CSV is to be read for these texts to be numbers; empty if they are none."""
    options = (("thousands", _THOUSANDS_COMMA), ("decimal", _DECIMAL_COMMA))
    has_commas = pc.any(pc.match_substring(texts, ",")).as_py()
    for option, pattern in options if has_commas else ():
        if pc.all(pc.match_substring_regex(texts, pattern)).as_py():
            return f'{option}: ","'
    return ""


def _are_too_precise(texts: pa.Array) -> bool:
    """Whether all of these texts are numbers, of which some have digits that no float keeps."""
    fractions = pc.match_substring_regex(texts, r"\d\.\d")
    number = pc.and_not(
        pc.match_substring_regex(texts, NUMBER),
        pc.match_substring_regex(texts, f"{CODE}|{LONG_CODE}"),
    )
    return bool(pc.all(number).as_py() and pc.any(pc.and_(fractions, loses_digits(texts))).as_py())


@dataclass
class Edge:
    """The lowest number of a column, or the highest, and how many cells hold it."""

    pick: Callable[[Any], Any]
    value: Any = None
    cells: int = 0

    def add(self, values: NDArray[np.number]) -> None:
        """Take in more cells, at least one, of which none is NaN."""
        edge = self.pick(values)
        if self.value is None or self.pick((edge, self.value)) != self.value:
            self.value, self.cells = edge, 0
        if edge == self.value:
            self.cells += int(np.count_nonzero(values == edge))


def nines(edges: Sequence[Edge], observed: int) -> tuple[tuple[str, int], ...]:
    """The edges that are numbers of nines and many of the cells, with the count of these."""
    found = ((f"{edge.value}".removesuffix(".0"), edge.cells) for edge in edges)
    return tuple(
        (text, cells)
        for text, cells in found
        if cells > LARGE_SHARE * observed and _NINES.fullmatch(text) and abs(float(text)) >= 99
    )
