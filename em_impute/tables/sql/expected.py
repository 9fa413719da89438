"""What is filled in for a missing cell, in SQL, given its mean and sd on the model's scale.

As the encodings of `em_impute.tables.columns` have it: transformed back, between bounds, rounded,
or a level. An expectation that has no closed form is a sum over the nodes of
`em_impute.gaussian.truncated`, written out: databases have no normal distribution in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import pyarrow as pa

from em_impute.gaussian.truncated import FARTHEST, NODES, WEIGHTS
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Filling
from em_impute.tables.columns.numbers import (
    Numeric,
    ceil_or_inf,
    ends_of_decimals,
    floor_or_inf,
    largest_float,
)
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.databases.session import literal
from em_impute.tables.sql.cells import backward
from em_impute.tables.sql.dialects import Dialect, cast, clipped, number

# Nodes between 0 and 1, and weights that sum to 1.
_NODES = [((1.0 + float(h)) / 2.0, float(w) / 2.0) for h, w in zip(NODES, WEIGHTS, strict=True)]
# Beyond so many sd a normal has nothing that counts against what it has within.
FARTHEST_LEVEL = 12.0


@dataclass(frozen=True)
class Expected:
    """The expected value of a column's missing cells.

    Attributes
    ----------
    encoding : Filling
    at : tuple of int
        Its columns in the model; their means are ``em_mean3`` and the like.
    type : DataType
        Of the column.
    """

    encoding: Filling
    at: tuple[int, ...]
    type: pa.DataType

    @property
    def needs_spread(self) -> bool:
        """Whether the value depends on the conditional sd, ``em_sd3``, too."""
        return isinstance(self.encoding, Ordinal) or self._is_integral

    @property
    def _is_integral(self) -> bool:
        """Whether it is a mean between bounds, or of another scale than the model's."""
        if not isinstance(self.encoding, Numeric):
            return False
        return self._has_own_mean or self.encoding.drawn_first

    @property
    def _has_own_mean(self) -> bool:
        """Whether it is the mean on the scale of a column that is transformed."""
        if not isinstance(self.encoding, Numeric):
            return False
        return self.encoding.transform is not IDENTITY and self.encoding.back_transform == "mean"

    @property
    def _unit(self) -> str:
        sd = f"em_sd{self.at[0]}"
        return f"CASE WHEN {sd} > 0 THEN {sd} ELSE 1 END"

    def anchors(self) -> list[str]:
        """What has to be computed of mean and sd: columns of a subquery."""
        d, encoding = self.at[0], self.encoding
        if isinstance(encoding, Nominal):
            shares = " - ".join(["1", *(f"em_mean{i}" for i in self.at)])
            return [f"{shares} AS em_rest{d}"]
        if isinstance(encoding, Ordinal):
            return [
                f"{_probability(f'em_mean{d}', self._unit, low, high)} AS em_level{d}_{i}"
                for i, (low, high) in enumerate(
                    zip(encoding.thresholds[:-1], encoding.thresholds[1:], strict=True)
                )
            ]
        if isinstance(encoding, Numeric) and self._is_integral:
            anchor = clipped(f"em_mean{d}", *encoding.ends)
            pull = f"({anchor} - em_mean{d}) / ({self._unit})"
            return [f"{anchor} AS em_anchor{d}", f"{pull} AS em_pull{d}"]
        return []

    def ends(self) -> list[str]:
        """What has to be computed of that: columns of a subquery around it."""
        if not (isinstance(self.encoding, Numeric) and self._is_integral):
            return []
        d, (low, high) = self.at[0], self.encoding.ends
        far = number(2.0 * FARTHEST)
        pull = f"em_pull{d}"
        reach = f"{far} / (sqrt({pull} * {pull} + {far}) + abs({pull}))"
        first, last = f"-{reach}", reach
        if low != -inf:
            first = f"GREATEST({first}, ({number(low)} - em_anchor{d}) / ({self._unit}))"
        if high != inf:
            last = f"LEAST({last}, ({number(high)} - em_anchor{d}) / ({self._unit}))"
        return [f"{first} AS em_first{d}", f"{last} AS em_last{d}"]

    def value(self, dialect: Dialect) -> str:
        """What is filled in."""
        encoding = self.encoding
        if isinstance(encoding, Nominal):
            names = [f"em_rest{self.at[0]}", *(f"em_mean{i}" for i in self.at)]
            return self._largest(names, encoding.levels, dialect)
        if isinstance(encoding, Ordinal):
            names = [f"em_level{self.at[0]}_{i}" for i in range(len(encoding.levels))]
            return self._largest(names, encoding.levels, dialect)
        assert isinstance(encoding, Numeric)
        if self._is_integral:
            return self._admissible(self._integral(encoding), encoding, dialect)
        return self._admissible(
            backward(encoding.transform, f"em_mean{self.at[0]}"), encoding, dialect
        )

    def _largest(self, names: Sequence[str], levels: Sequence[str], dialect: Dialect) -> str:
        """The level whose column is the largest, the first of equal ones."""
        whens = []
        for i, (name, level) in enumerate(zip(names, levels, strict=True)):
            beaten = " AND ".join(f"{name} >= {other}" for other in names[i + 1 :]) or "TRUE"
            whens.append(f"WHEN {beaten} THEN {literal(level)}")
        return cast(f"CASE {' '.join(whens)} END", dialect.type_of(self.type))

    def _integral(self, encoding: Numeric) -> str:
        """The mean of the back-transformed normal between the bounds, by its nodes."""
        d, own = self.at[0], self._has_own_mean
        weights, values = [], []
        for h, w in _NODES:
            t = f"(em_first{d} + (em_last{d} - em_first{d}) * {number(h)})"
            weight = f"{number(w)} * exp(-{t} * ({t} / 2 + em_pull{d}))"
            point = f"(em_anchor{d} + em_sd{d} * {t})"
            weights.append(weight)
            values.append(f"{weight} * {backward(encoding.transform, point) if own else point}")
        integral = f"({' + '.join(values)}) / ({' + '.join(weights)})"
        if own:
            return clipped(integral, encoding.low, encoding.high)
        between = clipped(integral, *encoding.ends)
        return backward(encoding.transform, between)

    def _admissible(self, value: str, encoding: Numeric, dialect: Dialect) -> str:
        """The nearest number that a filled column of its type may hold."""
        type_, low, high = encoding.filled_type(self.type), encoding.low, encoding.high
        if encoding.whole:
            low, high = ceil_or_inf(low), floor_or_inf(high)
            value = dialect.even.format(value)
        if pa.types.is_decimal(type_):
            low, high = ends_of_decimals(low, high, type_.scale)
            unit = number(10.0**type_.scale)
            value = f"{dialect.even.format(f'{value} * {unit}')} / {unit}"
        elif pa.types.is_integer(type_):
            limits = np.iinfo(type_.to_pandas_dtype())
            low, high = max(low, limits.min), min(high, largest_float(limits.max))
        elif type_.bit_width < 64:
            low, high = _narrow_ends(low, high, type_.to_pandas_dtype())
        value = clipped(value, low, high)
        return value if type_ == pa.float64() else cast(value, dialect.type_of(type_))


def _probability(mean: str, unit: str, low: float, high: float) -> str:
    """Of an interval under a normal, but for a factor that is the same for all of them."""
    ends = [
        clipped(f"({number(end)} - {mean}) / ({unit})", -FARTHEST_LEVEL, FARTHEST_LEVEL)
        if abs(end) != inf
        else number(np.copysign(FARTHEST_LEVEL, end))
        for end in (low, high)
    ]
    first, width = ends[0], f"({ends[1]} - {ends[0]})"
    terms = []
    for h, w in _NODES:
        t = f"({first} + {width} * {number(h)})"
        terms.append(f"{number(w)} * exp(-{t} * {t} / 2)")
    return f"{width} * ({' + '.join(terms)})"


def _narrow_ends(low: float, high: float, numbers: type[np.floating]) -> tuple[float, float]:
    """The first and the last number of a narrow type that are within bounds."""
    first, last = numbers(low), numbers(high)
    if float(first) < low:
        first = np.nextafter(first, numbers(inf))
    if float(last) > high:
        last = np.nextafter(last, numbers(-inf))
    return float(first), float(last)
