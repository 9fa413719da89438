"""How databases write the same SQL: names of types, and the little in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import pyarrow as pa
from pyarrow import types

DOUBLE = "DOUBLE PRECISION"


@dataclass(frozen=True)
class Dialect:
    """How a database writes SQL.

    Attributes
    ----------
    name : str
    even : str
        A number rounded to a whole one, ties to the even one as NumPy does, with ``{}`` for it.
    hashed : str
        A whole number of some cells that is another one for others, with ``{}`` for them.
    fence : str
        What keeps a planner from writing a subquery's expressions out wherever they are used.
    integers : dict of str to str
        Types of whole numbers, by Arrow's names.
    product : callable
        The scalar product of some numbers with a list of as many, all of them in SQL.
    """

    name: str
    even: str
    hashed: str
    fence: str
    integers: dict[str, str]
    product: Callable[[Sequence[str], str], str]

    def type_of(self, type_: pa.DataType) -> str:
        """The type of a column that is filled: a number's, a truth value's, or text."""
        if types.is_dictionary(type_):
            return self.type_of(type_.value_type)
        if types.is_integer(type_):
            return self.integers[str(type_)]
        if types.is_decimal(type_):
            return f"DECIMAL({type_.precision}, {type_.scale})"
        if types.is_float32(type_) or types.is_float16(type_):
            return "REAL"
        if types.is_floating(type_):
            return DOUBLE
        return "BOOLEAN" if types.is_boolean(type_) else "VARCHAR"


def _by_list(numbers: Sequence[str], weights: str) -> str:
    return f"list_dot_product([{', '.join(numbers)}], {weights})"


def _term_by_term(numbers: Sequence[str], weights: str) -> str:
    return " + ".join(f"{x} * {weights}[{i}]" for i, x in enumerate(numbers, start=1))


_SIGNED = {"int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT"}
DUCKDB = Dialect(
    "duckdb",
    even="round_even({}, 0)",
    hashed="CAST(hash({}) AS HUGEINT)",
    fence="",
    integers={
        **_SIGNED,
        "int8": "TINYINT",
        "uint8": "UTINYINT",
        "uint16": "USMALLINT",
        "uint32": "UINTEGER",
        "uint64": "UBIGINT",
    },
    product=_by_list,
)
POSTGRESQL = Dialect(
    "postgresql",
    even="round({})",
    hashed="hashtextextended(CAST(ROW({}) AS text), 0)",
    fence="\n  OFFSET 0",
    integers={
        **_SIGNED,
        "int8": "SMALLINT",
        "uint8": "SMALLINT",
        "uint16": "INTEGER",
        "uint32": "BIGINT",
        "uint64": "DECIMAL(20, 0)",
    },
    product=_term_by_term,
)
DIALECTS = {dialect.name: dialect for dialect in (DUCKDB, POSTGRESQL)}


def number(x: float) -> str:
    """A number as SQL takes it, with all its digits, in double precision.

    With an exponent always: without one, DuckDB takes it for a decimal.
    """
    text = repr(float(x))
    text = text if "e" in text else f"{text}e0"
    return f"({text})" if x < 0 else text


def cast(value: str, type_: str) -> str:
    """A value in a type."""
    return f"CAST({value} AS {type_})"


def clipped(value: str, low: float, high: float) -> str:
    """A value between bounds; infinite ones are none."""
    if low != -inf:
        value = f"GREATEST({value}, {number(low)})"
    return value if high == inf else f"LEAST({value}, {number(high)})"
