"""Numbers in digits that people read: with thousands set apart, and never as 1.25e+03."""

from __future__ import annotations

SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
# Powers of ten that are written out.
SMALLEST, LARGEST = -4, 12


def significant(value: float | None, digits: int = 4, largest: int = LARGEST) -> str:
    """A number to so many significant digits; a dash where it is not known.

    Parameters
    ----------
    value : float or None
    digits : int
    largest : int
        From this power of ten on it is written as 1.25 × 10¹².
    """
    if value is None:
        return "\u2013"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if SMALLEST <= exponent < largest:
        decimals = max(digits - 1 - exponent, 0)
        text = _without_zeros(f"{float(f'{mantissa}e{power}'):,.{decimals}f}")
    else:
        text = f"{_without_zeros(mantissa)} \u00d7 10{power_of_ten(exponent)}"
    return text.replace("-", "\u2212")


def power_of_ten(exponent: int) -> str:
    """The superscript of an exponent."""
    return str(exponent).translate(SUPERSCRIPTS)


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
