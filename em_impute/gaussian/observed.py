"""What is known of the observed cells of each column: the part of a summary that stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.patterns import PatternSummary


@dataclass(frozen=True, eq=False)
class Observed:
    """How many cells of each column are observed, with their mean and standard deviation.

    Attributes
    ----------
    columns : tuple of str
    n_rows : int
    observed_counts : ndarray of shape (n_columns,), int64
    observed_mean, observed_sd : ndarray of shape (n_columns,)
        NaN where nothing is observed.
    """

    columns: tuple[str, ...]
    n_rows: int
    observed_counts: Ints
    observed_mean: Floats
    observed_sd: Floats

    @classmethod
    def of(cls, summary: PatternSummary) -> Self:
        """That of a summary."""
        return cls(
            summary.columns, summary.n_rows, summary.observed_counts, *summary.observed_moments()
        )

    @classmethod
    def together(cls, parts: Sequence[Observed]) -> Self:
        """That of the rows of all parts."""
        counts = np.array([part.observed_counts for part in parts])
        n = np.where(counts.any(axis=0), counts.sum(axis=0), np.nan)
        means, sds = (
            np.array([getattr(part, name) for part in parts])
            for name in ("observed_mean", "observed_sd")
        )
        # Relative to one of the means, so that a large offset costs no digits.
        origin = means[np.argmax(counts > 0, axis=0), np.arange(counts.shape[1])]
        off = np.where(counts > 0, means - origin, 0.0)
        mean = (counts * off).sum(axis=0) / n
        squares = np.where(counts > 0, sds, 0.0) ** 2 + (off - mean) ** 2
        return cls(
            parts[0].columns,
            sum(part.n_rows for part in parts),
            counts.sum(axis=0),
            origin + mean,
            np.sqrt((counts * squares).sum(axis=0) / n),
        )

    def observed_moments(self) -> tuple[Floats, Floats]:
        """`observed_mean` and `observed_sd`."""
        return self.observed_mean, self.observed_sd

    def save(self, path: Path) -> None:
        """Write it to a NumPy ``.npz`` file; `load` reads it back bit by bit."""
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            columns, n_rows = tuple(map(str, stored["columns"])), int(stored["n_rows"])
            names = ("observed_counts", "observed_mean", "observed_sd")
            return cls(columns, n_rows, *(stored[name] for name in names))
