"""Which texts are numbers, and which of these a floating-point number would not keep."""

from __future__ import annotations

import re
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

# Digits that are no quantity and would change if they were read as one: with leading zeros, in
# hexadecimal, with the plus sign of a telephone number; and, where they do not fit an integer, too
# many for floating point.
CODE = r"^\s*(?:[+-]?0[\dxX]|\+\d{7,}\s*$)"
LONG_CODE = r"^\s*[+-]?\d{17,}\s*$"
NUMBER = r"^\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI]nf(?:inity)?)\s*$"

# Every decimal of so many digits has a float of its own; no float has more digits than these.
SAFE_DIGITS, MOST_DIGITS = 15, 17
LARGEST_EXACT_INTEGER = 2**53
"""Beyond this, floating point cannot tell every integer from its neighbours."""
_DECIMAL = re.compile(r"\s*[+-]?(\d*)\.?(\d*)(?:[eE][+-]?\d+)?\s*")


def is_number(texts: pa.Array) -> pa.Array:
    """Which texts are numbers that floating point keeps."""
    number = pc.match_substring_regex(texts, NUMBER)
    code = pc.match_substring_regex(texts, f"{CODE}|{LONG_CODE}")
    return pc.and_not(pc.and_not(number, code), loses_digits(texts))


def loses_digits(texts: pa.Array) -> pa.Array:
    """Which texts are numbers of more digits than floating point keeps.

    They do not come back when a float is written with as many digits.

    What a program has printed of a float does come back, with however many digits.
    """
    long = pc.greater(pc.utf8_length(texts), SAFE_DIGITS).fill_null(False)
    if not pc.any(long).as_py():
        return pa.repeat(pa.scalar(False), len(texts))
    shown = pc.if_else(long, texts, None)
    # The shortest digits that tell a float, as most programs print it, come back by themselves.
    with suppress(pa.ArrowInvalid):
        same = pc.equal(shown.cast(pa.float64()).cast(shown.type), shown)
        shown = pc.if_else(same, None, shown)
    lost = [text is not None and not _comes_back(text) for text in shown.to_pylist()]
    return pa.array(lost, pa.bool_())


def _comes_back(text: str) -> bool:
    """Whether a text, if it is a number, is what its float is written as.

    The last digits of a fraction may differ from it as far as floats differ from each other.
    """
    found = _DECIMAL.fullmatch(text)
    digits = (found[1] + found[2]).lstrip("0") if found else ""
    whole = found[1].lstrip("0") if found else ""
    is_large = len(whole) > MOST_DIGITS or int(whole or 0) > LARGEST_EXACT_INTEGER
    if len(digits) <= SAFE_DIGITS or (len(digits) <= MOST_DIGITS and not is_large):
        return True
    written = f"{float(text):.{len(digits) - 1}e}".partition("e")[0]
    return written.replace(".", "").lstrip("-") == digits
