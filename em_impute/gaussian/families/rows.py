"""The rows of a table in the order of their missingness patterns, found once for all iterations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.threads import spread

# A run has at most so many rows, and a table about so many parts: the cores share them, and the
# sums of the parts are added up in their order, however many cores there are.
RUN_ROWS = 4096
PARTS = 16


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
    def of(cls, X: Floats, *, common: bool) -> Self:
        """Observed means and standard deviations of the columns of `X`.

        Parameters
        ----------
        X : ndarray of shape (n_rows, p)
            With an observed cell in every column.
        common : bool
            Whether all columns get one scale, so that a sphere stays a sphere.
        """
        # Column by column, which takes no second table.
        seen = (column[~np.isnan(column)] for column in X.T)
        with np.errstate(over="ignore", invalid="ignore"):
            moments = np.array([(column.mean(), column.std()) for column in seen])
        centre, sd = moments.T
        if common:
            sd = np.full_like(sd, np.sqrt(np.mean(sd**2)))
        return cls(centre, np.where(sd > 0, sd, 1.0))

    def log_jacobian(self, shown: Bools) -> Floats:
        """What standardising adds to the log-likelihood of a row of each pattern (s, p)."""
        added: Floats = shown.astype(np.float64) @ np.log(self.scale)
        return added


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
    pattern_of_run : ndarray of shape (r,), int64
    starts : ndarray of shape (r + 1,), int64
        The rows of run `r`, all of one pattern, are ``order[starts[r] : starts[r + 1]]``.
    """

    X: Floats
    scaling: Scaling
    order: Ints
    patterns: Bools
    pattern_of_run: Ints
    starts: Ints

    @classmethod
    def of(cls, X: Floats, scaling: Scaling) -> Self:
        """Sort the rows of a matrix."""
        patterns, pattern_of_row = distinct_patterns(~np.isnan(X))
        # Sorting small integers is quicker.
        small = pattern_of_row.astype(np.min_scalar_type(len(patterns)))
        ends = np.concatenate([[0], np.cumsum(np.bincount(small, minlength=len(patterns)))])
        cuts = [np.arange(first, last, RUN_ROWS) for first, last in pairwise(ends.tolist())]
        return cls(
            X=np.ascontiguousarray(X),
            scaling=scaling,
            order=np.argsort(small, kind="stable"),
            patterns=patterns,
            pattern_of_run=np.repeat(np.arange(len(cuts)), list(map(len, cuts))),
            starts=np.concatenate([*cuts, ends[-1:]]),
        )

    @property
    def counts(self) -> Ints:
        """Rows per pattern."""
        lengths = np.diff(self.starts)
        counts: Ints = np.zeros(len(self.patterns), dtype=np.int64)
        np.add.at(counts, self.pattern_of_run, lengths)
        return counts

    @property
    def n_observed(self) -> int:
        """Rows with something observed."""
        return int(self.counts[self.patterns.any(axis=1)].sum())

    @property
    def log_jacobian(self) -> float:
        """What standardising adds to the log-likelihood of all rows."""
        return float(self.counts @ self.scaling.log_jacobian(self.patterns))

    def spread(self, function: Callable[[Ints, Ints], Any], *, empty: bool) -> list[Any]:
        """What `function` returns for the runs and starts of each part; on several cores.

        Parameters
        ----------
        function : callable
            Of `pattern_of_run` and `starts` of some runs.
        empty : bool
            Whether rows with nothing observed are among them.
        """
        runs = len(self.pattern_of_run)
        # In the order of the patterns' bits nothing observed comes first.
        first = 0 if empty else int(np.count_nonzero(~self.patterns[self.pattern_of_run].any(1)))
        share = max(RUN_ROWS, len(self.order) // PARTS)
        ends = np.arange(self.starts[first], len(self.order), share)
        cuts = np.unique([first, *np.searchsorted(self.starts, ends), runs])
        parts = [
            (self.pattern_of_run[start:end], self.starts[start : end + 1])
            for start, end in pairwise(cuts[cuts >= first].tolist())
        ]
        return spread(lambda part: function(*part), parts, self.X.size)
