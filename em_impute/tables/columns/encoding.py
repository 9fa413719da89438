"""A column of the table as columns of the model, and the model's answers as cells of the table.

Each kind of column has an `Encoding`: a `Number`, perhaps transformed, bounded or whole; an
`Instant`; a `Nominal` column, one-hot with its first level dropped; an `Ordinal` one, as scores of
a latent normal. Observed cells only ever go one way, into the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import cached_property
from math import ceil, floor, inf
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.truncated import truncated_mean, truncated_moments, truncated_quantile
from em_impute.job import CannotRun
from em_impute.tables.columns.transforms import IDENTITY, Transform

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# Floating point has no more digits than these to round.
MOST_DIGITS = 15


class Encoding(Protocol):
    """How one column takes part in the model, where it has d columns."""

    @property
    def column(self) -> str:
        """Its name."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of its columns in the model."""

    def encode(self, cells: pa.Array) -> Floats:
        """Cells as numbers of shape (n, d), NaN where missing."""


class Filling(Encoding, Protocol):
    """An encoding whose column can be filled.

    What is filled in goes as floats, too: the values themselves, or the codes of levels.
    """

    def expected(self, mean: Floats, sd: Floats, /) -> Floats:
        """What to fill in, given conditional means and sd of shape (n, d): values or codes (n,)."""

    def publish(self, drawn: Floats) -> Floats:
        """What to fill in for a draw of the model's columns, of shape (n, d): values or codes."""

    def filled_type(self, type_: pa.DataType) -> pa.DataType:
        """Arrow type of the filled column."""

    def fill(self, cells: pa.Array, rows: Ints, filling: Floats) -> pa.Array:
        """The cells with those of `rows` replaced by values or codes.

        Parameters
        ----------
        cells : Array
            The column.
        rows : ndarray of int
            Rows of the missing cells, from 0.
        filling : ndarray of float
            What goes into them: values or codes.
        """

    def labels(self, filling: Floats) -> pa.Array:
        """Names of the levels of these codes; nulls for numbers."""


def to_numbers(cells: pa.Array) -> Floats:
    """Numeric cells as floats of shape (n,), NaN where null; integers beyond 2**53 are rounded."""
    numbers: Floats = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def decimals_as_floats(table: pa.Table) -> pa.Table:
    """The table with its decimals, which few programs calculate with, as floats.

    A column of which floats would not keep all digits stays as it is.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            floats = table.column(i).cast(pa.float64(), safe=False)
            if _survives(table.column(i), floats):
                table = table.set_column(i, field.name, floats)
    return table


def _survives(decimals: pa.ChunkedArray, floats: pa.ChunkedArray) -> bool:
    try:
        return bool(floats.cast(decimals.type).equals(decimals))
    except pa.ArrowInvalid:  # rounded up to one digit more than there is room for
        return False


# --- Numbers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
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
        if self.transform is IDENTITY and not self.drawn_first:
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
            return pc.replace_with_mask(cells, _mask(len(cells), rows), pa.array(values, type_))
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
        return pc.if_else(_mask(len(cells), rows), decimals, cells)

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
            low, high = max(low, limits.min), min(high, _largest_float(limits.max))
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


def _largest_float(integer: int) -> float:
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


# --- Categories --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Categories:
    """A column of levels.

    Attributes
    ----------
    column : str
    levels : tuple of str
        As text, whatever the column's type.
    """

    column: str
    levels: tuple[str, ...]

    def codes(self, cells: pa.Array) -> Ints:
        """Number of each cell's level, of shape (n,); -1 where missing."""
        known = pc.index_in(as_labels(cells), pa.array(self.levels, pa.large_string()))
        codes: Ints = known.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def filled_type(self, type_: pa.DataType) -> pa.DataType:
        """Its own."""
        return type_

    def fill(self, cells: pa.Array, rows: Ints, filling: Floats) -> pa.Array:
        """The levels put in.

        Parameters
        ----------
        cells : Array
            The column.
        rows : ndarray of int
            Rows of the missing cells, from 0.
        filling : ndarray of float
            What goes into them: values or codes.
        """
        mask, names, type_ = _mask(len(cells), rows), self.labels(filling), cells.type
        if pa.types.is_dictionary(type_):
            codes = pc.index_in(names.cast(type_.value_type), cells.dictionary)
            indices = pc.replace_with_mask(cells.indices, mask, codes.cast(type_.index_type))
            return pa.DictionaryArray.from_arrays(indices, cells.dictionary, ordered=type_.ordered)
        # Arrow cannot replace views of strings.
        plain = pa.large_string() if pa.types.is_string_view(type_) else type_
        filled = pc.replace_with_mask(cells.cast(plain), mask, names.cast(plain))
        return filled.cast(type_)

    def labels(self, filling: Floats) -> pa.Array:
        """Names of the levels."""
        return pa.array(self.levels, pa.string()).take(pa.array(filling.astype(np.int64)))


@dataclass(frozen=True)
class Nominal(_Categories):
    """Levels without an order: an indicator for each but the first."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """One for each level but the first: ``Species=Gentoo``."""
        return tuple(f"{self.column}={level}" for level in self.levels[1:])

    @property
    def drawn_first(self) -> bool:
        """Yes: a level is drawn, not a number."""
        return True

    def encode(self, cells: pa.Array) -> Floats:
        """Zeros and ones."""
        codes = self.codes(cells)
        return self._indicators(codes)

    def expected(self, mean: Floats, _sd: Floats, /) -> Floats:
        """The level with the highest expected indicator."""
        return self.publish(mean)

    def draw(self, uniform: Floats, mean: Floats, _sd: Floats, /) -> Floats:
        """Indicators of a level drawn with the expected indicators, cut at 0, as probabilities.

        Parameters
        ----------
        uniform : ndarray of shape (n,)
            A number between 0 and 1 for each cell.
        mean : ndarray of shape (n, d)
            The expected indicators.
        """
        cumulated = np.cumsum(np.maximum(_with_first(mean), 0.0), axis=1)
        codes = (uniform[:, None] * cumulated[:, -1:] >= cumulated).sum(axis=1)
        return self._indicators(np.minimum(codes, len(self.levels) - 1))

    def publish(self, drawn: Floats) -> Floats:
        """The level whose indicator is the largest."""
        return np.asarray(_with_first(drawn).argmax(axis=1), dtype=np.float64)

    def _indicators(self, codes: Ints) -> Floats:
        indicators = (codes[:, None] == np.arange(1, len(self.levels))).astype(np.float64)
        indicators[codes < 0] = np.nan
        return np.asarray(indicators)


def _with_first(indicators: Floats) -> Floats:
    """The indicators of all levels: with the first, dropped one, they sum to 1."""
    first = 1.0 - indicators.sum(axis=1, keepdims=True)
    return np.concatenate([first, indicators], axis=1)


@dataclass(frozen=True)
class Ordinal(_Categories):
    """Levels in an order, as scores of a latent normal.

    Attributes
    ----------
    counts : tuple of int
        Observed cells of each level. A level is the interval of a standard normal that has its
        share, and its score the quantile of the middle of that share.
    """

    counts: tuple[int, ...] = ()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Its only column of the model, which has its name."""
        return (self.column,)

    @cached_property
    def _shares(self) -> Floats:
        """Share of the cells up to and with each level."""
        return np.cumsum(self.counts) / max(sum(self.counts), 1)

    @cached_property
    def _scores(self) -> Floats:
        before = np.concatenate([[0.0], self._shares[:-1]])
        scores: Floats = ndtri((before + self._shares) / 2.0)
        return scores

    @cached_property
    def _thresholds(self) -> Floats:
        """Where one level ends and the next begins, infinite ends included."""
        inner: Floats = ndtri(self._shares[:-1])
        return np.concatenate([[-inf], inner, [inf]])

    def encode(self, cells: pa.Array) -> Floats:
        """The scores."""
        codes = self.codes(cells)
        return np.where(codes < 0, np.nan, self._scores[codes])[:, None]

    def expected(self, mean: Floats, sd: Floats) -> Floats:
        """The level that is most probable under the conditional of the latent normal."""
        unit = np.maximum(sd, np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            below = ndtr((self._thresholds - mean) / unit)
        return np.asarray(np.diff(below, axis=1).argmax(axis=1), dtype=np.float64)

    def publish(self, drawn: Floats) -> Floats:
        """The level in whose interval the latent normal was drawn."""
        codes = np.searchsorted(self._thresholds[1:-1], drawn[:, 0], side="right")
        return np.asarray(codes, dtype=np.float64)


def as_labels(cells: pa.Array) -> pa.Array:
    """Cells of text, booleans, integers or a dictionary of these as text, null where missing."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    return cells.cast(pa.large_string())


def _mask(n: int, rows: Ints) -> pa.Array:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return pa.array(mask)
