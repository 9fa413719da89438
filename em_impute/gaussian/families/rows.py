"""The rows of a table in the order of their missingness patterns, found once for all iterations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.patterns import too_large
from em_impute.gaussian.table import listed
from em_impute.gaussian.threads import spread

# A table is worked on in so many parts at most, of so many rows at least: the cores share them, and
# their sums are added up in their order, however many cores there are.
PARTS = 16
PART_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Scaling:
    """What becomes 0, and what becomes 1, in each column.

    Attributes
    ----------
    centre, scale : ndarray of shape (p,)
    """

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, X: Floats, *, common: bool, weights: Floats | None = None) -> Self:
        """Observed means and standard deviations of the columns of `X`.

        Parameters
        ----------
        X : ndarray of shape (n_rows, p)
            With an observed cell in every column.
        common : bool
            Whether all columns get one scale, so that a sphere stays a sphere.
        weights : ndarray of shape (n_rows,), optional
            How often each row counts; by default once.
        """
        # Column by column, which takes no second table.
        with np.errstate(over="ignore", invalid="ignore"):
            moments = np.array([_mean_and_sd(column, weights) for column in X.T])
        centre, sd = moments.T.copy()
        if common:
            sd = np.full_like(sd, np.sqrt(np.mean(sd**2)))
        return cls(centre, np.where(sd > 0, sd, 1.0))

    def require_squares(self, columns: Sequence[str]) -> None:
        """Raise an error if the numbers in some of these columns are too large to be squared."""
        infinite = np.flatnonzero(~np.isfinite(self.scale**2)).tolist()
        if infinite:
            raise ValueError(too_large([columns[j] for j in infinite]))

    def log_jacobian(self, shown: Bools) -> Floats:
        """What standardising adds to the log-likelihood of a row of each pattern (s, p)."""
        added: Floats = shown.astype(np.float64) @ np.log(self.scale)
        return added


def require_observed(X: Floats, columns: Sequence[str]) -> None:
    """Raise an error if a column has no observed cell."""
    empty = [name for name, column in zip(columns, X.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise ValueError(
            f"No cell is observed in {listed(empty)}, so nothing can be estimated there. Leave "
            "these columns out."
        )


def _mean_and_sd(column: Floats, weights: Floats | None) -> tuple[float, float]:
    shown = ~np.isnan(column)
    cells, counts = column[shown], None if weights is None else weights[shown]
    mean = np.average(cells, weights=counts)
    return float(mean), float(np.sqrt(np.average((cells - mean) ** 2, weights=counts)))


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Where the rows of each pattern are; the table itself stays as it came.

    Attributes
    ----------
    X : ndarray of shape (n_rows, p)
        Row behind row; NaN where missing.
    scaling : Scaling
        How its columns are standardised wherever they are used.
    order : ndarray of shape (n_rows,), int64
        Its rows by pattern.
    patterns : ndarray of shape (s, p), bool
        True where observed.
    starts : ndarray of shape (s + 1,), int64
        The rows of pattern `s` are ``order[starts[s] : starts[s + 1]]``.
    """

    X: Floats
    scaling: Scaling
    order: Ints
    patterns: Bools
    starts: Ints

    @classmethod
    def of(cls, X: Floats, scaling: Scaling) -> Self:
        """Sort the rows of a matrix."""
        patterns, pattern_of_row = distinct_patterns(~np.isnan(X))
        # Sorting small integers is quicker.
        small = pattern_of_row.astype(np.min_scalar_type(len(patterns)))
        counts = np.bincount(small, minlength=len(patterns))
        return cls(
            X=np.ascontiguousarray(X),
            scaling=scaling,
            order=np.argsort(small, kind="stable"),
            patterns=patterns,
            starts=np.concatenate([[0], np.cumsum(counts)]),
        )

    @property
    def counts(self) -> Ints:
        """Rows per pattern."""
        return np.diff(self.starts)

    @property
    def n_observed(self) -> int:
        """Rows with something observed."""
        return int(self.counts[self.patterns.any(axis=1)].sum())

    @property
    def log_jacobian(self) -> float:
        """What standardising adds to the log-likelihood of all rows."""
        return float(self.counts @ self.scaling.log_jacobian(self.patterns))

    def spread(self, function: Callable[[int, int], Any], *, empty: bool) -> list[Any]:
        """What `function` returns for the parts, on several cores.

        Parameters
        ----------
        function : callable
            Of where a part of `order` begins and ends.
        empty : bool
            Whether rows with nothing observed are among them.
        """
        n = len(self.order)
        # In the order of the patterns' bits nothing observed comes first.
        first = 0 if empty else n - self.n_observed
        cuts = [*range(first, n, max(PART_ROWS, -(-n // PARTS))), n]
        return spread(lambda part: function(*part), list(pairwise(cuts)), self.X.size)
