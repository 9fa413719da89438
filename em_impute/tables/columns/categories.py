"""Columns of categories in the model: nominal ones one-hot, ordinal ones as scores of a normal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr, ndtri

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.tables.columns.encoding import as_labels, mask_of


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
        mask, names, type_ = mask_of(len(cells), rows), self.labels(filling), cells.type
        if pa.types.is_dictionary(type_):
            dictionary = self._with_levels(cells.dictionary)
            codes = pc.index_in(names.cast(type_.value_type), dictionary)
            indices = pc.replace_with_mask(cells.indices, mask, codes.cast(type_.index_type))
            return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=type_.ordered)
        # Arrow cannot replace views of strings.
        plain = pa.large_string() if pa.types.is_string_view(type_) else type_
        filled = pc.replace_with_mask(cells.cast(plain), mask, names.cast(plain))
        return filled.cast(type_)

    def _with_levels(self, dictionary: pa.Array) -> pa.Array:
        """The dictionary, and behind it the levels that only tables of other nights have shown."""
        levels = pa.array(self.shown_levels, pa.large_string()).cast(dictionary.type)
        missing = levels.filter(pc.is_null(pc.index_in(levels, dictionary)))
        return pa.concat_arrays([dictionary, missing]) if len(missing) else dictionary

    @property
    def shown_levels(self) -> tuple[str, ...]:
        """Those that a cell has shown, and that can be filled in."""
        return self.levels

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

    @property
    def shown_levels(self) -> tuple[str, ...]:
        """Those that a cell has shown."""
        return tuple(level for level, n in zip(self.levels, self.counts, strict=False) if n)

    @cached_property
    def _shares(self) -> Floats:
        """Share of the cells up to and with each level."""
        return np.cumsum(self.counts) / max(sum(self.counts), 1)

    @cached_property
    def scores(self) -> Floats:
        """Of each level; of one without a cell, it may be infinite."""
        before = np.concatenate([[0.0], self._shares[:-1]])
        scores: Floats = ndtri((before + self._shares) / 2.0)
        return scores

    @cached_property
    def thresholds(self) -> Floats:
        """Where one level ends and the next begins, infinite ends included."""
        inner: Floats = ndtri(self._shares[:-1])
        return np.concatenate([[-inf], inner, [inf]])

    def encode(self, cells: pa.Array) -> Floats:
        """The scores."""
        codes = self.codes(cells)
        return np.where(codes < 0, np.nan, self.scores[codes])[:, None]

    def expected(self, mean: Floats, sd: Floats) -> Floats:
        """The level that is most probable under the conditional of the latent normal."""
        unit = np.maximum(sd, np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            below = ndtr((self.thresholds - mean) / unit)
        return np.asarray(np.diff(below, axis=1).argmax(axis=1), dtype=np.float64)

    def publish(self, drawn: Floats) -> Floats:
        """The level in whose interval the latent normal was drawn."""
        codes = np.searchsorted(self.thresholds[1:-1], drawn[:, 0], side="right")
        return np.asarray(codes, dtype=np.float64)
