"""The tables that are timed: one seeded generator, and ways to hide cells of what it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Hide = Callable[[np.random.Generator, Floats], Bools]

SEED = 20260301
NOISE_SD = 0.7


@dataclass(frozen=True)
class Case:
    """A table and the cells of it that are hidden.

    Attributes
    ----------
    key : str
        What `--cases` selects it by.
    title : str
    n, p : int
        Rows and columns.
    hide : callable
        Which cells of a table are missing.
    spoil : callable, optional
        Changes the table first.
    price_goal : float, optional
        What summary and fit should cost at most, in units of `np.cov` without holes.
    """

    key: str
    title: str
    n: int
    p: int
    hide: Hide
    spoil: Callable[[np.random.Generator, Floats], Floats] | None = None
    price_goal: float | None = None

    def make(self) -> tuple[Floats, Floats]:
        """Return the complete table and the same with holes (n, p)."""
        rng = np.random.default_rng([SEED, self.n, self.p])
        complete = factor_table(rng, self.n, self.p)
        if self.spoil is not None:
            complete = self.spoil(rng, complete)
        return complete, np.where(self.hide(rng, complete), np.nan, complete)


def factor_table(rng: np.random.Generator, n: int, p: int) -> Floats:
    """Rows of a model with p/4 factors, which explain two thirds of the variance."""
    k = max(1, p // 4)
    loadings = rng.normal(size=(k, p)) / np.sqrt(k)
    table: Floats = rng.normal(size=(n, k)) @ loadings
    table += NOISE_SD * rng.standard_normal((n, p))
    table += 5 * rng.normal(size=p)
    return table


def at_random(share: float) -> Hide:
    """Cells missing completely at random."""
    return lambda rng, table: rng.random(table.shape, dtype=np.float32) < share


def by_pattern(patterns: Bools) -> Hide:
    """Each row has one of these patterns (True = missing), all equally likely."""
    return lambda rng, table: patterns[rng.integers(len(patterns), size=len(table))]


def eight_patterns(p: int, missing: int) -> Bools:
    """A complete pattern and seven with so many missing columns each."""
    rng = np.random.default_rng(SEED)
    patterns = np.zeros((8, p), dtype=bool)
    for pattern in patterns[1:]:
        pattern[rng.choice(p, missing, replace=False)] = True
    return patterns


def split_questionnaire(core: int, blocks: int, width: int) -> Bools:
    """Everyone answers the core and two of the blocks; every pair of blocks has its form."""
    forms = list(combinations(range(blocks), 2))
    patterns = np.ones((len(forms), core + blocks * width), dtype=bool)
    patterns[:, :core] = False
    for pattern, form in zip(patterns, forms, strict=True):
        for block in form:
            pattern[core + block * width :][:width] = False
    return patterns


def file_matching(common: int, own: int) -> Bools:
    """Two files share the common columns, and each has columns of its own."""
    patterns = np.zeros((2, common + 2 * own), dtype=bool)
    patterns[0, common : common + own] = patterns[1, common + own :] = True
    return patterns


def half_missing_given_seen(rng: np.random.Generator, table: Floats) -> Bools:
    """Missing at random: the first third is always seen and decides what the rest shows.

    Half the cells of the rest are missing, each column's where a combination of the first columns
    is high.
    """
    seen = table.shape[1] // 3
    shown = (table[:, :seen] - table[:, :seen].mean(axis=0)) / table[:, :seen].std(axis=0)
    directions = rng.normal(size=(seen, table.shape[1] - seen)) / np.sqrt(seen)
    odds = np.exp(-2.0 * shown @ directions)
    missing = np.zeros(table.shape, dtype=bool)
    missing[:, seen:] = rng.random(odds.shape) < 1.0 / (1.0 + odds)
    return missing


def near_duplicates(rng: np.random.Generator, table: Floats) -> Floats:
    """The last two columns nearly repeat the first two, and their sum."""
    table[:, -2] = table[:, 0] + 1e-4 * rng.normal(size=len(table))
    table[:, -1] = table[:, 0] + table[:, 1] + 1e-4 * rng.normal(size=len(table))
    return table


CASES = (
    Case("10k-10", "10,000 x 10, 10%", 10_000, 10, at_random(0.1), price_goal=15),
    Case("100k-20", "100,000 x 20, 5%", 100_000, 20, at_random(0.05), price_goal=6),
    Case("1m-10", "1,000,000 x 10, 10%", 1_000_000, 10, at_random(0.1), price_goal=2),
    Case(
        "1m-20",
        "1,000,000 x 20, 8 patterns",
        1_000_000,
        20,
        by_pattern(eight_patterns(20, 6)),
        price_goal=1.5,
    ),
    Case("10k-50", "10,000 x 50, 20%", 10_000, 50, at_random(0.2), price_goal=60),
    Case("5k-100", "5,000 x 100, 10%", 5_000, 100, at_random(0.1), price_goal=45),
    Case("2k-200", "2,000 x 200, 10%", 2_000, 200, at_random(0.1), price_goal=90),
    Case("2k-15", "2,000 x 15, 50% MAR", 2_000, 15, half_missing_given_seen, price_goal=350),
)

STRESS = (
    Case("missing-60", "500 x 8, 60%", 500, 8, at_random(0.6)),
    Case("missing-80", "5,000 x 8, 80%", 5_000, 8, at_random(0.8)),
    Case(
        "split",
        "3,000 x 12, split questionnaire",
        3_000,
        12,
        by_pattern(split_questionnaire(core=2, blocks=5, width=2)),
    ),
    Case("matching", "2,000 x 8, file matching", 2_000, 8, by_pattern(file_matching(4, 2))),
    Case("collinear", "1,000 x 8, near-collinear", 1_000, 8, at_random(0.2), near_duplicates),
    Case("short", "200 x 20, 40%", 200, 20, at_random(0.4)),
)
