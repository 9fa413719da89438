"""Columns of numbers, perhaps transformed, bounded or whole, and of instants, in the model."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import cached_property
from math import ceil, floor, inf
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.truncated import truncated_mean, truncated_moments, truncated_quantile
from em_impute.job import CannotRun
from em_impute.tables.columns.encoding import mask_of, to_numbers
from em_impute.tables.columns.transforms import IDENTITY, Transform

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# Floating point has no more digits than these to round.
MOST_DIGITS = 15


@dataclass(frozen=True)
class Numeric:
    """A column of numbers.

    Attributes
    ----------
    column : str
    transform : Transform
        What the model sees is the transformed column.
    low, high : float
        Bounds of what is filled in, on the column's own scale.
    whole : bool
        Whether only whole numbers are filled in.
    keeps_type : bool
        Whether an integer column stays one, which needs `whole`; otherwise it becomes double.
    back_transform : {"median", "mean"}
        Whether the expected value is that of the model's scale, transformed back, or that of the
        column's own scale.
    scale : int or None
        Digits after the point of a column of decimals, to which what is filled in is rounded.
    """

    column: str
    transform: Transform = IDENTITY
    low: float = -inf
    high: float = inf
    whole: bool = False
    keeps_type: bool = False
    back_transform: Literal["median", "mean"] = "median"
    scale: int | None = None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Its only column of the model, which has its name."""
        return (self.column,)

    @property
    def drawn_first(self) -> bool:
        """If it is bounded."""
        return self.ends != (-inf, inf)

    @property
    def moves_as_one(self) -> bool:
        """Whether a shift on the model's scale is, but for rounding, that of every cell."""
        return self.transform is IDENTITY and not self.drawn_first

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The bounds on the model's scale."""
        return self.transform.ends(self.low, self.high)

    def encode(self, cells: pa.Array) -> Floats:
        """The transformed numbers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.transform.forward(to_numbers(cells))[:, None]

    def expected(self, mean: Floats, sd: Floats) -> Floats:
        """The mean between the bounds: of the model's scale, transformed back, or of its own."""
        mean, sd = mean[:, 0], sd[:, 0]
        if self.transform is not IDENTITY and self.back_transform == "mean":
            return truncated_moments(self.transform.inverse, mean, sd, *self.ends)[0]
        if self.drawn_first:
            mean = truncated_mean(mean, sd, *self.ends)
        return self._back(mean)

    def draw(self, uniform: Floats, mean: Floats, sd: Floats) -> Floats:
        """A draw from the normal between the bounds, on the model's scale.

        Parameters
        ----------
        uniform : ndarray of shape (n,)
            A number between 0 and 1 for each cell.
        mean, sd : ndarray of shape (n, d)
            Conditional moments on the model's scale.
        """
        return truncated_quantile(uniform, mean[:, 0], sd[:, 0], *self.ends)[:, None]

    def publish(self, drawn: Floats) -> Floats:
        """The draws transformed back."""
        return self._back(drawn[:, 0])

    def spread(self, mean: Floats, sd: Floats) -> Floats:
        """Standard deviation of the value, of shape (n,), given those of the model's scale."""
        if self.moves_as_one:
            return sd[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            return truncated_moments(self.transform.inverse, mean[:, 0], sd[:, 0], *self.ends)[1]

    def own_moments(self, mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
        """Means and sd of whole columns on their own scale, given those of the model's, (n,).

        Not cut at the bounds, which are about what is filled in, but at the ends of the
        transform's domain, beyond which there is no column: `sqrt` has one.
        """
        if self.transform is IDENTITY:
            return mean, sd
        with np.errstate(over="ignore", invalid="ignore"):
            ends = self.transform.ends(-inf, inf)
            return truncated_moments(self.transform.inverse, mean, sd, *ends)

    def published_as(self, values: Floats) -> tuple[Floats, Floats]:
        """Between which two numbers of the model's scale lies what is published as these values.

        They are one and the same unless the column is rounded.
        """
        reach = 0.0 if self.scale is None else 0.5 * 10.0**-self.scale
        reach = max(reach, 0.5) if self.whole else reach
        domain = self.transform.low, self.transform.high
        with np.errstate(divide="ignore"):
            below, above = (
                self.transform.forward(np.clip(values + side, *domain)) for side in (-reach, reach)
            )
        return below, above

    def filled_type(self, type_: pa.DataType) -> pa.DataType:
        """Its own where it is floating point, decimal or kept, else double."""
        is_type = pa.types
        kept = is_type.is_floating(type_) or is_type.is_decimal(type_)
        kept = kept or (self.keeps_type and is_type.is_integer(type_))
        return type_ if kept else pa.float64()

    def fill(self, cells: pa.Array, rows: Ints, filling: Floats) -> pa.Array:
        """The values put in, as near as the type, the bounds and whole numbers allow.

        Parameters
        ----------
        cells : Array
            The column.
        rows : ndarray of int
            Rows of the missing cells, from 0.
        filling : ndarray of float
            What goes into them: values or codes.

        Raises
        ------
        CannotRun
            If a value has more digits than a column of decimals holds.
        """
        type_ = self.filled_type(cells.type)
        values = self.admissible(filling, type_)
        if pa.types.is_decimal(type_):
            return self._fill_decimals(cells, rows, values)
        if pa.types.is_integer(type_):
            return pc.replace_with_mask(cells, mask_of(len(cells), rows), pa.array(values, type_))
        # A copy of the column, null as NaN: what is observed keeps its bits.
        column = np.array(cells.cast(type_).to_numpy(zero_copy_only=False))
        column[rows] = values
        return pa.array(column)

    def labels(self, filling: Floats) -> pa.Array:
        """Nulls: a number has no levels."""
        return pa.nulls(len(filling), pa.string())

    def _back(self, y: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.asarray(self.transform.inverse(y))

    def _fill_decimals(self, cells: pa.Array, rows: Ints, values: NDArray[np.number]) -> pa.Array:
        # Not by way of floats, as other columns are filled: what is observed keeps its digits.
        spread = np.zeros(len(cells))
        spread[rows] = values
        try:
            decimals = pa.array(spread).cast(cells.type)
        except pa.ArrowInvalid:
            raise CannotRun(
                f"Column {self.column!r} cannot be filled: a missing cell would get a number with "
                f"more digits than its type, {cells.type}, holds. Give the column bounds "
                "(columns.bounds), or a wider type in the source."
            ) from None
        return pc.if_else(mask_of(len(cells), rows), decimals, cells)

    def admissible(self, values: Floats, type_: pa.DataType) -> NDArray[np.number]:
        """The nearest numbers that a filled column of this type may hold."""
        low, high = self.low, self.high
        if self.whole:
            low, high = ceil_or_inf(low), floor_or_inf(high)
            values = np.rint(values)
        if pa.types.is_decimal(type_):
            low, high = ends_of_decimals(low, high, type_.scale)
            return np.clip(_rounded(values, type_.scale), low, high)
        numbers = type_.to_pandas_dtype()
        if pa.types.is_integer(type_):
            limits = np.iinfo(numbers)
            low, high = max(low, limits.min), min(high, largest_float(limits.max))
            return np.clip(values, low, high).astype(numbers)
        clipped = np.clip(values, low, high).astype(numbers)
        # A narrow type may have rounded across a bound.
        wide = clipped.astype(np.float64)
        clipped = np.where(wide > high, np.nextafter(clipped, numbers(-inf)), clipped)
        return np.where(wide < low, np.nextafter(clipped, numbers(inf)), clipped)


def ceil_or_inf(x: float) -> float:
    """The next whole number from `x` on; an infinity is its own."""
    return x if abs(x) == inf else float(ceil(x))


def floor_or_inf(x: float) -> float:
    """The next whole number down from `x`; an infinity is its own."""
    return x if abs(x) == inf else float(floor(x))


def ends_of_decimals(low: float, high: float, scale: int) -> tuple[float, float]:
    """The first and the last number of so many decimals that are within bounds.

    Parameters
    ----------
    low, high : float
        The bounds.
    scale : int
        How many decimals.
    """
    step, exact = Decimal(1).scaleb(-scale), Context(prec=1000)
    first, last = (
        end if abs(end) == inf else float(Decimal(repr(end)).quantize(step, rounding, exact))
        for end, rounding in ((low, ROUND_CEILING), (high, ROUND_FLOOR))
    )
    return first, last


def _rounded(values: Floats, scale: int) -> Floats:
    """Numbers rounded to so many decimals, where they have that many."""
    short = np.abs(values) < 2.0**53
    rounded = np.round(np.where(short, values, 0.0), min(scale, MOST_DIGITS))
    return np.asarray(np.where(short, rounded, values), dtype=np.float64)


def largest_float(integer: int) -> float:
    """The largest float that is not above `integer`."""
    nearest = float(integer)
    return float(np.nextafter(nearest, 0.0)) if int(nearest) > integer else nearest


@dataclass(frozen=True)
class Instant:
    """A date or timestamp that predicts, in seconds since 1970. It is never filled."""

    column: str

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Its only column of the model, which has its name."""
        return (self.column,)

    def encode(self, cells: pa.Array) -> Floats:
        """Seconds since 1970, UTC; the model, which centres every column, takes it from there."""
        if pa.types.is_date(cells.type):
            cells = cells.cast(pa.timestamp("ms"))
        return to_numbers(cells.cast(pa.int64()))[:, None] * SECONDS[cells.type.unit]
