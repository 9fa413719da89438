"""Numbers in digits that people read."""

from __future__ import annotations

import pytest

from em_impute.reporting.numerals import significant


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, "–"),
        (0.0, 4, "0"),
        (1250.0, 3, "1,250"),
        (1234567.0, 4, "1,235,000"),
        (-0.00012345, 3, "−0.000123"),
        (9.9996, 4, "10"),
        (0.1 + 0.2, 12, "0.3"),
        (1.25e-7, 4, "1.25 × 10⁻⁷"),
        (-3e15, 4, "−3 × 10¹⁵"),
        (150.0, 2, "150"),
    ],
)
def test_numbers_have_no_exponents(value: float | None, digits: int, text: str) -> None:
    assert significant(value, digits) == text


def test_a_narrow_place_writes_powers_sooner() -> None:
    assert significant(12_500_000.0, 12, largest=7) == "1.25 × 10⁷"
