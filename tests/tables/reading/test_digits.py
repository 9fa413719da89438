"""Which texts are numbers, and which digits a float does not keep: by cases, and by arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_impute.tables.reading.digits import LARGEST_EXACT_INTEGER, is_number, loses_digits

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def lost(text: str) -> bool:
    [found] = loses_digits(pa.array([text])).to_pylist()
    return bool(found)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("123456789012345678.01", True),
        ("0.12345678901234567890", True),
        ("-9007199254740993", True),
        ("9007199254740992", False),
        ("12.345678901234567", False),  # as pandas writes JSON
        ("9007199254740993.5", True),
        ("9" * 5000, True),
        (f"0.{'1' * 5000}", True),
        ("0.30000000000000004", False),
        ("1.000000000000000056e-01", False),  # as numpy.savetxt writes 0.1
        ("0.1000000000000000055511151231257827", False),
        ("1.500000000000000000000", False),
        ("0000000000000000.1", False),
        ("a text of many letters", False),
        ("", False),
    ],
)
def test_digits_that_a_float_would_lose(text: str, lost: bool) -> None:
    assert loses_digits(pa.array([text, None])).to_pylist() == [lost, False]


@given(FLOATS)
def test_what_programs_print_of_a_float_comes_back(number: float) -> None:
    printed = [repr(number), f"{number:.17g}", f"{number:.18e}", f"{Decimal(number):f}"]
    assert loses_digits(pa.array(printed)).to_pylist() == [False] * 4


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 20))
def test_fifteen_digits_are_kept_wherever_the_point_is(digits: int, places: int) -> None:
    assert not lost(f"{Decimal(digits).scaleb(-places):f}")


@given(st.integers(0, 10**25), st.sampled_from(["", "-", "+"]))
def test_a_whole_number_is_lost_where_its_float_is_another(number: int, sign: str) -> None:
    assert lost(f"{sign}{number}") == (int(float(number)) != number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[(text, True) for text in ("0", "-0", "+3", " 1 ", "1.", ".5", "1e5", "1.5E-3", "0.5")],
        *[(text, True) for text in ("inf", "-Inf", "infinity", "1234567890123456")],
        *[(text, False) for text in ("", " ", "x", "1,5", "1 000", "1_000", "nan", "--1", ".")],
        *[(text, False) for text in ("1e", "e5", "0x1F", "007", "-01", "12345678901234567")],
        *[(text, False) for text in ("+447700900123", "123456789012345678.01", "\u0661\u0662")],
    ],
)
def test_which_texts_are_numbers(text: str, number: bool) -> None:
    assert is_number(pa.array([text])).to_pylist() == [number]


@given(st.lists(FLOATS, max_size=5))
def test_a_printed_float_is_a_number_with_its_value(numbers: list[float]) -> None:
    texts = pa.array([repr(number) for number in numbers], pa.string())
    assert all(is_number(texts).to_pylist())
    np.testing.assert_array_equal(texts.cast(pa.float64()).to_numpy(), numbers)


def test_what_is_null_is_neither() -> None:
    assert is_number(pa.array([None, "1"], pa.string())).to_pylist() == [None, True]
    assert loses_digits(pa.array([None, "1"], pa.string())).to_pylist() == [False, False]
    assert loses_digits(pa.array([], pa.string())).to_pylist() == []


def test_beyond_the_largest_exact_integer_neighbours_are_one_float() -> None:
    edge = LARGEST_EXACT_INTEGER
    assert float(edge) == float(edge + 1)
    assert math.nextafter(edge, 0) == edge - 1
