"""Observed against imputed cells of columns of numbers: histograms on shared bins."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.reporting.columns import digest
from em_impute.reporting.records import Column, Distribution
from em_impute.tables.digest import Digest

MAX_DISTRIBUTIONS = 24
MIN_BINS, MAX_BINS = 8, 40
# Beyond the one, differences of numbers may overflow; within the other, numbers are one.
LARGE, SMALL = 2.0**1000, 1e-290

Portions = Callable[[], Iterable[Mapping[str, Floats]]]
"""Reads the cells of some columns, from the first, in portions; a cell is a finite number."""


def most_imputed(columns: Sequence[Column], limit: int = MAX_DISTRIBUTIONS) -> tuple[str, ...]:
    """Return the names of the columns with the most imputed cells, at most `limit` of them."""
    imputed = [column for column in columns if column.imputed.count]
    ranked = sorted(imputed, key=lambda column: -column.imputed.count)
    return tuple(column.name for column in ranked[:limit])


def describe_distributions(
    columns: Sequence[str],
    observed: Portions,
    imputed: Portions,
    logged: Collection[str] = (),
) -> tuple[Distribution, ...]:
    """Count observed and imputed cells of each column on shared bins.

    Parameters
    ----------
    columns : sequence of str
    observed, imputed : callable
        Give the cells, twice: for the bins, and to be counted.
    logged : collection of str
        Columns whose bins are equally wide on a logarithmic scale, if all cells are above 0.

    Raises
    ------
    ValueError
        If a column has no cell of either kind.
    """
    seen, filled = digest(observed(), columns), digest(imputed(), columns)
    histograms = Histograms(columns, seen, filled, logged)
    for cells in observed():
        histograms.add_observed(cells)
    for cells in imputed():
        histograms.add_imputed(cells)
    return histograms.distributions()


class Histograms:
    """Counts observed and imputed cells of columns, which come in portions, on shared bins.

    Parameters
    ----------
    columns : sequence of str
    observed, imputed : mapping of str to Digest
        What the bins are made of.
    logged : collection of str
        As `describe_distributions` has it.

    Raises
    ------
    ValueError
        If a column has no cell of either kind.
    """

    def __init__(
        self,
        columns: Sequence[str],
        observed: Mapping[str, Digest],
        imputed: Mapping[str, Digest],
        logged: Collection[str] = (),
    ) -> None:
        self._digests = {name: (observed[name], imputed[name]) for name in columns}
        self._logs = {
            name
            for name in self._digests.keys() & logged
            if min(cells.low for cells in self._digests[name]) > 0
        }
        self._edges = {
            name: _shared_edges(name, *(map(_logarithm, both) if name in self._logs else both))
            for name, both in self._digests.items()
        }
        self._scales = {name: _scale(*edges[[0, -1]]) for name, edges in self._edges.items()}
        self._observed, self._imputed = (
            {name: np.zeros(len(edges) - 1, dtype=np.int64) for name, edges in self._edges.items()}
            for _ in range(2)
        )

    def add_observed(self, cells: Mapping[str, Floats]) -> None:
        """Count observed cells, finite numbers; a portion may lack a column or have others."""
        self._count(cells, self._observed)

    def add_imputed(self, cells: Mapping[str, Floats]) -> None:
        """Count imputed cells, likewise."""
        self._count(cells, self._imputed)

    def _count(self, portion: Mapping[str, Floats], counts: dict[str, Ints]) -> None:
        for name in counts.keys() & portion.keys():
            # With a range, which gives the same edges, NumPy computes the bin and does not search.
            scale = self._scales[name]
            first, last = self._edges[name][[0, -1]] * scale
            cells = np.log(portion[name]) if name in self._logs else portion[name]
            cells = cells if scale == 1.0 else cells * scale
            counts[name] += np.histogram(cells, len(counts[name]), (first, last))[0]

    def distributions(self) -> tuple[Distribution, ...]:
        """Return what has been counted, by column."""
        return tuple(
            Distribution(
                name,
                tuple((np.exp(edges) if name in self._logs else edges).tolist()),
                tuple(self._observed[name].tolist()),
                tuple(self._imputed[name].tolist()),
                whole=(seen := self._digests[name][0]).count > 0 and seen.whole,
                log=name in self._logs,
            )
            for name, edges in self._edges.items()
        )


def _logarithm(cells: Digest) -> Digest:
    """What a digest of numbers above 0 would be of their logarithms, as far as bins need it."""
    if not cells.count:
        return cells
    low, high, kept = np.log(cells.low), np.log(cells.high), np.log(cells.kept)
    return replace(cells, low=float(low), high=float(high), kept=kept, whole=False)


def _scale(low: float, high: float) -> float:
    """A power of two by which numbers of this range are multiplied, so that differences are finite.

    Where they are in any case, that is 1.
    """
    return 1.0 if max(abs(low), abs(high)) <= LARGE else 1.0 / 1024.0


def _shared_edges(column: str, observed: Digest, imputed: Digest) -> Floats:
    """Bins of equal width over both ranges, about as wide as the observed cells ask for.

    They begin and end at multiples of their width, not at the least and the greatest cell.
    """
    if observed.count + imputed.count == 0:
        raise ValueError(f"column {column!r} has neither observed nor imputed cells to count")
    reference = observed if observed.count else imputed
    low, high = float(min(observed.low, imputed.low)), float(max(observed.high, imputed.high))
    scale = _scale(low, high)
    if math.isclose(low, high, rel_tol=1e-12, abs_tol=SMALL):
        edges = _around(low * scale, high * scale)
    else:
        edges = _bins(reference, low * scale, high * scale, scale)
    with np.errstate(over="ignore"):  # the ends may be beyond the largest number there is
        return np.nan_to_num(edges / scale)


def _around(low: float, high: float) -> Floats:
    """One bin for cells that hardly differ."""
    margin = max(abs(low), abs(high)) / 2
    margin = margin if margin > SMALL else 0.5
    return np.array([low - margin, high + margin])


def _bins(cells: Digest, low: float, high: float, scale: float) -> Floats:
    """Bins from `low` to `high`, of a width that `cells`, multiplied by `scale`, ask for."""
    spread = high - low
    width = min(max(_bin_width(cells, scale), spread / MAX_BINS), spread / MIN_BINS)
    if cells.whole and spread >= MIN_BINS and scale == 1.0:
        # Whole numbers counted in bins of a fractional width would look like a comb.
        width, offset = float(max(round(width), math.ceil(spread / MAX_BINS))), 0.5
    else:
        width, offset = float(f"{1.05 * width:.1e}"), 0.0
    first = math.floor((low + offset) / width)
    last = math.ceil((high + offset) / width)
    # The division may have rounded across an edge.
    first -= first * width - offset > low
    last += last * width - offset < high
    return np.linspace(first * width - offset, last * width - offset, last - first + 1)


def _bin_width(cells: Digest, scale: float) -> float:
    """Freedman & Diaconis (1981): twice the interquartile range over the cube root of n."""
    lower, upper = np.percentile(cells.kept * scale, [25, 75])
    return float(2 * (upper - lower) / np.cbrt(cells.count))
