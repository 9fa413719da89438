"""What the scores of hidden cells mean: a sentence, warnings, and whether the table is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from scipy.special import bdtr, kolmogorov, ndtri, stdtrit

from em_impute.self_test.limits import CHANCE, Limits, listed, missed
from em_impute.self_test.scores import (
    LevelScores,
    NumberScores,
    SelfTest,
    overall_coverage,
    overall_ratio,
)

FEW_CELLS = 100
# The normal model does not fit if the PIT is this far from uniform, or the 95% intervals hold no
# more than this, and chance explains that with less than this probability over all columns.
MISFIT_DISTANCE, MISFIT_COVERAGE, MISFIT_CHANCE = 0.08, 0.90, 0.001
# Columns are filled no better than by their mean if the cells say that the error is at least this
# share of the mean's, and if chance does not hide that it is less than the other (`CHANCE`).
NO_BETTER, NOT_HIDDEN = 0.98, 0.95


def judge(
    method: Literal["fill", "refit"],
    observed: int,
    untested: int,
    numbers: Sequence[NumberScores],
    levels: Sequence[LevelScores],
    limits: Limits,
    doubt: str = "",
) -> SelfTest:
    """Return what the scores of all columns mean together.

    Parameters
    ----------
    method : {"fill", "refit"}
    observed : int
        Observed cells of the tested columns.
    untested : int
        Columns with holes of which no cell was hidden.
    numbers, levels : sequence of NumberScores, of LevelScores
    limits : Limits
    doubt : str
        A further warning; empty for none.

    Notes
    -----
    A limit is held by all columns together and by each. It is missed where the number is beyond it
    by more than chance explains, with so many cells and columns (`CHANCE`); where all columns
    together are beyond it by less, that is a warning.
    """
    cells = sum(s.cells for s in numbers) + sum(s.cells for s in levels)
    coverage, (ratio, _) = overall_coverage(numbers), overall_ratio(numbers)
    refused, doubtful = missed(numbers, levels, limits)
    misfits, usual, frequent = _misfits(numbers), _as_the_mean(numbers), _as_the_mode(levels)
    warnings = (
        doubt,
        *doubtful,
        _no_better(usual, len(numbers), "mean"),
        _no_better(frequent, len(levels), "most frequent level"),
        _advice(misfits),
    )
    return SelfTest(
        method,
        cells,
        observed,
        tuple(numbers),
        tuple(levels),
        ratio,
        coverage,
        _sentence(cells, ratio, coverage.at_95, levels),
        tuple(scores.column for scores in misfits),
        _note(cells, untested),
        " ".join(refused) or None,
        tuple(filter(None, warnings)),
        (*usual, *frequent),
    )


def _sentence(
    cells: int, ratio: float | None, coverage: float | None, levels: Sequence[LevelScores]
) -> str:
    said = []
    if ratio is not None:
        said.append(f"{'better' if ratio <= 1 else 'worse'} than the mean by {abs(1 - ratio):.1%}")
    if coverage is not None:
        said.append(f"95% intervals hold {coverage:.1%}")
    if levels:
        right, by_mode, of = (
            sum(getattr(scores, name) for scores in levels)
            for name in ("right", "right_by_mode", "cells")
        )
        said.append(
            f"levels are right in {right / of:.1%}, the most frequent in {by_mode / of:.1%}"
        )
    if not said:
        return "No hidden cell tells how well cells are filled."
    sentence = f"{', '.join(said)} ({cells:,} hidden {'cell' if cells == 1 else 'cells'})."
    return sentence[0].upper() + sentence[1:]


def _note(cells: int, untested: int) -> str:
    said = []
    if not cells:
        said.append("No cell was hidden, because there are too few.")
    elif cells < FEW_CELLS:
        said.append(f"Only {cells} cells were hidden, which say little.")
    if cells and untested:
        columns = "1 column was" if untested == 1 else f"{untested:,} columns were"
        said.append(f"{columns} not tested for want of cells.")
    if said:
        said.append("A larger self_test.max_share hides more, up to all.")
    return " ".join(said)


def _misfits(numbers: Sequence[NumberScores]) -> list[NumberScores]:
    """The columns that are not spread as the model says, the worst first."""
    chance = MISFIT_CHANCE / max(len(numbers), 1)
    found = [s for s in numbers if s.pit_distance is not None and _is_misfit(s, chance)]
    return sorted(found, key=lambda scores: -(scores.pit_distance or 0.0))


def _as_the_mean(numbers: Sequence[NumberScores]) -> list[str]:
    """The columns that are filled no better than by their mean.

    Where a few large cells make up the error, the absolute one may say that the others are filled
    better all the same.
    """
    chance = CHANCE / max(len(numbers), 1)
    return [s.column for s in numbers if _is_as_the_mean(s, chance)]


def _is_as_the_mean(scores: NumberScores, chance: float) -> bool:
    ratio, error = scores.rmse_ratio, scores.rmse_ratio_error
    mae, by_median = scores.filled.mae, scores.by_median.mae
    if ratio is None or error is None or ratio < NO_BETTER:
        return False
    if mae is not None and by_median is not None and mae < NO_BETTER * by_median:
        return False
    return bool(math.log(ratio / NOT_HIDDEN) > error * stdtrit(scores.cells - 1, 1 - chance))


def _as_the_mode(levels: Sequence[LevelScores]) -> list[str]:
    """The columns of categories that are filled no better than by their most frequent level."""
    quantile = -ndtri(CHANCE / max(len(levels), 1))
    return [
        s.column
        for s in levels
        if s.right - s.right_by_mode <= (1 - NO_BETTER) * (s.cells - s.right_by_mode)
        and s.gain + quantile * s.gain_error < 1 - NOT_HIDDEN
    ]


def _no_better(columns: Sequence[str], of: int, usual: str) -> str:
    if not columns:
        return ""
    if of == 1:
        said = f"{columns[0]} is filled no better than by its {usual}"
    elif len(columns) == 1:
        said = f"1 of {of} columns is filled no better than by its {usual}: {columns[0]}"
    else:
        n = len(columns)
        said = f"{n} of {of} columns are filled no better than by their {usual}: {listed(columns)}"
    it = "them" if len(columns) > 1 else "it"
    return f"{said}. Add predictors that tell of {it}, or leave {it} out of columns.impute."


def _advice(misfits: Sequence[NumberScores]) -> str:
    if not misfits:
        return ""
    columns = [
        f"{s.column} (PIT {s.pit_distance:.2f} from uniform; 50% intervals hold "
        f"{s.coverage.at_50:.0%}, 95% ones {s.coverage.at_95:.0%})"
        for s in misfits
    ]
    another = "another " if any(s.transform != "none" for s in misfits) else ""
    return (
        f"The normal model does not fit the hidden cells of {listed(columns)}: standard "
        f"deviations and draws there are off. Try {another}columns.transform, such as log for a "
        "skewed column above 0."
    )


def _is_misfit(scores: NumberScores, chance: float) -> bool:
    n, distance = scores.spread_cells, scores.pit_distance or 0.0
    coverage = scores.coverage.at_95 or 0.0
    root = math.sqrt(n)
    # Kolmogorov's limit at finite n (Stephens 1970).
    uneven = kolmogorov(distance * (root + 0.12 + 0.11 / root)) < chance
    narrow = bdtr(round(coverage * n), n, 0.95) < chance
    return bool((distance > MISFIT_DISTANCE and uneven) or (coverage < MISFIT_COVERAGE and narrow))
