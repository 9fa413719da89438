"""Scores of made cells, as tests of the self-test and of its limits need them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from em_impute.self_test.judge import judge
from em_impute.self_test.limits import Limits
from em_impute.self_test.scores import (
    Forecasts,
    LevelScores,
    NumberScores,
    SelfTest,
    score_numbers,
)

Floats = NDArray[np.float64]
# Baselines that are off, so that the other columns seem to tell something.
OFF = {"mean": 2.0, "median": 2.0}


def scores_of(
    truth: Floats,
    filled: Floats | float = 0.0,
    sd: Floats | float = 1.0,
    *,
    reach: float = 0.0,
    column: str = "x",
    **changes: Any,
) -> NumberScores:
    """Cells that are filled with the mean of their forecasts, on the column's own scale."""
    n = len(truth)
    forecasts = Forecasts(np.broadcast_to(filled, n).astype(float), np.broadcast_to(sd, n) * 1.0)
    options: dict[str, Any] = {
        "mean": 0.0,
        "median": 0.0,
        "on_scale": truth,
        "published_as": (truth - reach, truth + reach),
        "forecasts": forecasts,
        "usual": Forecasts(np.zeros(n), np.ones(n)),
    }
    return score_numbers(column, truth, forecasts.mean, **(options | changes))


def judged(*numbers: NumberScores, levels: tuple[LevelScores, ...] = (), **limits: Any) -> SelfTest:
    return judge("fill", 10_000, 0, numbers, levels, Limits(**limits))


def useless(cells: int, seed: int, column: str = "x", noise: float = 0.05) -> NumberScores:
    """Cells of which the others tell nothing: the fit to few rows moves them a little."""
    rng = np.random.default_rng(seed)
    return scores_of(rng.normal(size=cells), noise * rng.normal(size=cells), column=column)


def helped(cells: int, seed: int, column: str = "x", r2: float = 0.3) -> NumberScores:
    """Cells of which the others tell this share of the variance."""
    rng = np.random.default_rng(seed)
    told = math.sqrt(r2) * rng.normal(size=cells)
    return scores_of(told + math.sqrt(1 - r2) * rng.normal(size=cells), told, column=column)


def levels(cells: int, right: int, by_mode: int, mended: int, column: str = "sex") -> LevelScores:
    return LevelScores(column, cells, right, by_mode, mended)
