"""A column's cells as columns of the model, in SQL; which of them are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from em_impute.job import Job
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Encoding
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.transforms import Transform
from em_impute.tables.databases.session import literal, quoted
from em_impute.tables.reading.missing import Missing
from em_impute.tables.sql.dialects import DOUBLE, cast, number

NAN = cast("'NaN'", DOUBLE)


def named_blanks(job: Job) -> Missing:
    """What a job says of missing cells, besides NULL and NaN."""
    return Missing.of(job.source, dict.fromkeys(job.columns.categories, ()))


@dataclass(frozen=True)
class Cells:
    """A column in SQL.

    Attributes
    ----------
    encoding : Encoding
        How it takes part in the model.
    blanks : tuple of str
        What stands for a missing cell, besides NULL and NaN.
    """

    encoding: Encoding
    blanks: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The column's name."""
        return quoted(self.encoding.column)

    def missing(self, standard: str) -> str:
        """Condition that a cell is missing.

        A text that is no level says nothing in the model, and yet is not missing.

        Parameters
        ----------
        standard : str
            The first of the model's columns, as `encoded` has it.
        """
        is_number = isinstance(self.encoding, Numeric | Instant)
        return f"{standard if is_number else self.as_label} IS NULL"

    @property
    def encoded(self) -> tuple[str, ...]:
        """The cell as the model's columns; NULL where missing."""
        match self.encoding:
            case Numeric(transform=transform):
                return (_forward(transform, self.as_number),)
            case Instant():
                return (self.as_number,)
            case Nominal(levels=levels):
                known = f"{self.as_label} IN ({', '.join(map(literal, levels))})"
                indicators = (
                    f"CASE {self.as_label} WHEN {literal(level)} THEN 1 ELSE 0 END"
                    for level in levels[1:]
                )
                return tuple(cast(f"CASE WHEN {known} THEN {i} END", DOUBLE) for i in indicators)
            case Ordinal(levels=levels, scores=scores):
                whens = " ".join(
                    f"WHEN {literal(level)} THEN {number(score)}"
                    for level, score in zip(levels, scores, strict=True)
                    if isfinite(score)
                )
                return (cast(f"CASE {self.as_label} {whens} END", DOUBLE),)
        raise TypeError(type(self.encoding).__name__)

    @property
    def as_number(self) -> str:
        """The cell in double precision, NULL where missing."""
        if isinstance(self.encoding, Instant):
            return cast(f"EXTRACT(EPOCH FROM {self.name})", DOUBLE)
        numbers = [x for x in map(_as_number, self.blanks) if x is not None]
        value = f"NULLIF({cast(self.name, DOUBLE)}, {NAN})"
        for blank in numbers:
            value = f"NULLIF({value}, {number(blank)})"
        return value

    @property
    def as_label(self) -> str:
        """The cell as text, NULL where missing."""
        value = cast(self.name, "VARCHAR")
        for blank in self.blanks:
            value = f"NULLIF({value}, {literal(blank)})"
        return value


def _as_number(blank: str) -> float | None:
    try:
        value = float(blank)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _forward(transform: Transform, x: str) -> str:
    """A transform of a number; outside of its domain the database says that it cannot be."""
    match transform.name:
        case "none":
            return x
        case "log":
            return f"ln({x})"
        case "log1p":
            return f"ln(1 + {x})"
        case "sqrt" | "cbrt":
            return f"{transform.name}({x})"
        case _:
            low, high = number(transform.low), number(transform.high)
            return f"ln(({x} - {low}) / ({high} - {x}))"


def backward(transform: Transform, y: str) -> str:
    """The inverse of a transform of a number, which may be written several times.

    Parameters
    ----------
    transform : Transform
    y : str
    """
    match transform.name:
        case "none":
            return y
        case "log":
            return f"exp({y})"
        case "log1p":
            return f"(exp({y}) - 1)"
        case "sqrt":
            return f"({y} * {y})"
        case "cbrt":
            return f"({y} * {y} * {y})"
        case _:
            low, width = number(transform.low), number(transform.high - transform.low)
            return f"({low} + {width} / (1 + exp(-({y}))))"


def pattern(conditions: Sequence[str]) -> str:
    """Bits in a 64-bit integer, the first the lowest: which conditions hold."""
    bits = [
        f"CASE WHEN {condition} THEN {2**i} ELSE 0 END" for i, condition in enumerate(conditions)
    ]
    return cast(" + ".join(bits) or "0", "BIGINT")
