"""What the scores of hidden cells mean: a sentence, warnings, and whether the table is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from scipy.special import bdtr, kolmogorov, ndtri, stdtrit

from em_impute.job.mistakes import listed
from em_impute.self_test.limits import CHANCE, MAX_NAMED, Limits, missed
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
    findings = []
    if ratio is not None:
        way = "lower" if ratio <= 1 else "higher"
        findings.append(f"error {abs(1 - ratio):.1%} {way} than filling with the mean")
    if coverage is not None:
        findings.append(f"95% intervals contain {coverage:.1%}")
    if levels:
        right, by_mode, of = (
            sum(getattr(scores, name) for scores in levels)
            for name in ("right", "right_by_mode", "cells")
        )
        findings.append(
            f"{right / of:.1%} of levels correct ({by_mode / of:.1%} with the most frequent level)"
        )
    if not findings:
        return "No cell was tested."
    sentence = f"{', '.join(findings)}; {cells:,} test {'cell' if cells == 1 else 'cells'}."
    return sentence[0].upper() + sentence[1:]


def _note(cells: int, untested: int) -> str:
    notes = []
    if not cells:
        notes.append("There are too few observed cells.")
    elif cells < FEW_CELLS:
        notes.append(f"Only {cells} cells were tested, too few for a reliable result.")
    if cells and untested:
        columns = "1 column was" if untested == 1 else f"{untested:,} columns were"
        notes.append(f"{columns} not tested: too few cells.")
    if notes:
        notes.append("Raise self_test.max_share to test more cells.")
    return " ".join(notes)


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
        finding = f"{columns[0]} is filled no better than by its {usual}"
    elif len(columns) == 1:
        finding = f"1 of {of} columns is filled no better than by its {usual}: {columns[0]}"
    else:
        finding = (
            f"{len(columns)} of {of} columns are filled no better than by their {usual}: "
            f"{listed(columns, MAX_NAMED, str)}"
        )
    it = "them" if len(columns) > 1 else "it"
    return f"{finding}. Add predictors related to {it}, or leave {it} out of columns.impute."


def _advice(misfits: Sequence[NumberScores]) -> str:
    if not misfits:
        return ""
    columns = [
        f"{s.column} (PIT {s.pit_distance:.2f} from uniform; 50% intervals contain "
        f"{s.coverage.at_50:.0%}, 95% ones {s.coverage.at_95:.0%})"
        for s in misfits
    ]
    another = "another " if any(s.transform != "none" for s in misfits) else ""
    return (
        f"The normal model does not fit the test cells of {listed(columns, MAX_NAMED, str)}: their "
        f"standard deviations and draws are unreliable. Try {another}columns.transform, such as "
        "log for a skewed column above 0."
    )


def _is_misfit(scores: NumberScores, chance: float) -> bool:
    n, distance = scores.spread_cells, scores.pit_distance or 0.0
    coverage = scores.coverage.at_95 or 0.0
    root = math.sqrt(n)
    # Kolmogorov's limit at finite n (Stephens 1970).
    uneven = kolmogorov(distance * (root + 0.12 + 0.11 / root)) < chance
    narrow = bdtr(round(coverage * n), n, 0.95) < chance
    return bool((distance > MISFIT_DISTANCE and uneven) or (coverage < MISFIT_COVERAGE and narrow))
