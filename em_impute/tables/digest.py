"""What is known of a column's cells, which come in portions: their moments, and some of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from em_impute.gaussian.arrays import Floats

# So many cells are kept of a column, from which quartiles are estimated.
MAX_KEPT = 100_000


@dataclass(frozen=True)
class Moments:
    """Count, mean and standard deviation (divisor n) of some cells, in the column's own units."""

    count: int
    mean: float | None = None
    sd: float | None = None


@dataclass
class Digest:
    """What is known of a column's cells, which come in portions and are not kept.

    Attributes
    ----------
    count : int
    mean, squares : float
        Mean, and sum of the squared distances from it, merged as Chan, Golub & LeVeque (1983) do.
    low, high : float
    whole : bool
        Whether all are whole numbers.
    kept : ndarray of shape (at most MAX_KEPT,)
        All cells, or every `stride`-th beyond that many, from which quartiles are estimated.
    stride : int
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    kept: Floats = field(default_factory=lambda: np.empty(0))
    stride: int = 1

    def add(self, cells: Floats) -> None:
        """Take in the next cells, an array of shape (n,) of finite numbers."""
        if not cells.size:
            return
        self.kept = np.concatenate([self.kept, cells[-self.count % self.stride :: self.stride]])
        while len(self.kept) > MAX_KEPT:
            self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.low, self.high = min(self.low, cells.min()), max(self.high, cells.max())
        self.whole = self.whole and np.array_equal(cells, np.round(cells))
        with np.errstate(over="ignore", invalid="ignore"):
            self._add_moments(cells.size, cells.mean(), cells.var())

    def _add_moments(self, count: int, mean: np.float64, variance: np.float64) -> None:
        step, total = mean - self.mean, self.count + count
        self.squares += float(count * (variance + step**2 * self.count / total))
        self.mean += float(step * count / total)
        self.count = total

    @property
    def moments(self) -> Moments:
        """Count, mean and sd (divisor n)."""
        if not self.count:
            return Moments(0)
        return Moments(self.count, finite(self.mean), finite(math.sqrt(self.squares / self.count)))


def finite(value: float) -> float | None:
    """Return the number, or None where it is none that JSON knows."""
    return float(value) if math.isfinite(value) else None
