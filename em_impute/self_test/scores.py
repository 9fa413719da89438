"""How well hidden cells were foretold: errors against baselines, intervals, and limits on both.

The cells are observed ones that the model was not shown when it filled them. Scores of values are
in the column's own units. Those of the predictive distribution are on the model's scale, where it
is a normal, perhaps between bounds: the share of cells in its central intervals, its continuous
ranked probability score (CRPS; Gneiting & Raftery 2007), and the probability integral transform
(PIT; Dawid 1984), which is uniform where the cells are spread as the model says. Records hold
aggregates, never the value of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, kolmogorov, ndtri, stdtrit

from em_impute.gaussian.truncated import truncated_crps, truncated_probability
from em_impute.job.mistakes import listed

LEVELS = (0.50, 0.80, 0.95)
PIT_BINS = 10
FEW_CELLS = 100
# A limit is missed if chance explains it with less than this probability, over all columns.
CHANCE = 0.01
# The normal model does not fit if the PIT is this far from uniform, or the 95% intervals hold no
# more than this, and chance explains that with less than this probability over all columns.
MISFIT_DISTANCE, MISFIT_COVERAGE, MISFIT_CHANCE = 0.08, 0.90, 0.001
# Columns are filled no better than by their mean if the cells say that the error is at least this
# share of the mean's, and if chance does not hide that it is less than the other (`CHANCE`).
NO_BETTER, NOT_HIDDEN = 0.98, 0.95
MAX_NAMED = 3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Errors:
    """Root mean squared and mean absolute error of the hidden cells, in the column's units."""

    rmse: float | None = None
    mae: float | None = None


@dataclass(frozen=True)
class Coverage:
    """Share of cells that lie in their central 50, 80 and 95% intervals."""

    at_50: float | None = None
    at_80: float | None = None
    at_95: float | None = None

    @property
    def shares(self) -> tuple[float, ...]:
        """The three; nothing if there is no cell."""
        return tuple(s for s in (self.at_50, self.at_80, self.at_95) if s is not None)


@dataclass(frozen=True)
class NumberScores:
    """Hidden cells of a column of numbers.

    Attributes
    ----------
    column : str
    cells : int
    transform : str
        Of the model's scale; "none" where that is the column's own.
    filled, by_mean, by_median : Errors
        Of the expected values that the model fills in, of the column's mean, and of its median.
    rmse_ratio : float or None
        RMSE of the filled cells over that of the mean; None where that is 0.
    rmse_ratio_error : float or None
        Standard error of its logarithm.
    spread_cells : int
        Cells of which the model is not certain: those that the following numbers are of.
    coverage : Coverage
    crps, crps_by_mean : float or None
        Mean score of the predictive normals, and of the one normal that the model has for all rows
        of the column, on the model's scale.
    pit : tuple of int
        Cells by PIT, in bins of equal width.
    pit_distance : float or None
        Largest distance of the distribution of the PIT from the uniform one (Kolmogorov).
    """

    column: str
    cells: int
    transform: str
    filled: Errors
    by_mean: Errors
    by_median: Errors
    rmse_ratio: float | None
    rmse_ratio_error: float | None
    spread_cells: int
    coverage: Coverage
    crps: float | None
    crps_by_mean: float | None
    pit: tuple[int, ...]
    pit_distance: float | None


@dataclass(frozen=True)
class LevelScores:
    """Hidden cells of a column of levels: how many, and for how many the level was right.

    `right_by_mode` counts those that hold the column's most frequent level, and `mended` those for
    which the level is right and that one is not; None where it was not counted.
    """

    column: str
    cells: int
    right: int
    right_by_mode: int
    mended: int | None = None

    @property
    def gain(self) -> float:
        """The share that is right, less the share that the most frequent level gets right."""
        return (self.right - self.right_by_mode) / self.cells

    @property
    def gain_error(self) -> float:
        """Its standard error: of pairs, with one more that differ, so that it is never 0."""
        better = self.right - self.right_by_mode
        mended = max(better, 0) if self.mended is None else self.mended
        return math.sqrt(2 * mended - better + 1) / self.cells


Limit = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Limits:
    """What must hold for a table to be published, for all columns or by column; None for no limit.

    The last two are of categories, the others of numbers.
    """

    max_rmse_ratio: Limit = None
    min_coverage_95: Limit = None
    max_pit_distance: Limit = None
    min_accuracy: Limit = None
    min_accuracy_gain: Limit = None


@dataclass(frozen=True)
class SelfTest:
    """What hidden cells say of a run.

    Attributes
    ----------
    method : {"fill", "refit"}
        Whether the model was fitted with these cells, or once more without them.
    cells, observed : int
        Hidden cells, of so many observed ones of the tested columns.
    numbers : tuple of NumberScores
    levels : tuple of LevelScores
    rmse_ratio : float or None
        Of all columns of numbers: root of the mean squared ratio, each weighted by its cells.
    coverage : Coverage
        Of all cells of columns of numbers.
    sentence : str
        The verdict.
    misfits : tuple of str
        Columns whose hidden cells are not spread as the model says, the worst first.
    note : str
        What keeps it from meaning much; empty if nothing does.
    refusal : str or None
        Why the table must not be published.
    warnings : tuple of str
    no_better : tuple of str
        Columns that are filled no better than by their mean, or by their most frequent level.
    """

    method: Literal["fill", "refit"]
    cells: int
    observed: int
    numbers: tuple[NumberScores, ...] = ()
    levels: tuple[LevelScores, ...] = ()
    rmse_ratio: float | None = None
    coverage: Coverage = Coverage()
    sentence: str = ""
    misfits: tuple[str, ...] = ()
    note: str = ""
    refusal: str | None = None
    warnings: tuple[str, ...] = ()
    no_better: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Forecasts:
    """A normal for each of n cells on the model's scale, all between the same bounds."""

    mean: Floats
    sd: Floats
    low: float = -math.inf
    high: float = math.inf

    def pit(self, below: Floats, above: Floats, uniform: Floats) -> Floats:
        """Probability up to each cell, of which only an interval is known.

        Within the interval a `uniform` number decides, as Czado, Gneiting & Held (2009) have it:
        so the PIT is uniform for rounded numbers, too.
        """
        first, last = (
            truncated_probability(end, self.mean, self.sd, self.low, self.high)
            for end in (below, above)
        )
        return first + uniform * (last - first)

    def crps(self, outcome: Floats) -> Floats:
        """Score of each cell; the smaller, the better."""
        return truncated_crps(outcome, self.mean, self.sd, self.low, self.high)


# --- Scores of one column ----------------------------------------------------------------------


def score_numbers(
    column: str,
    truth: Floats,
    filled: Floats,
    *,
    mean: float,
    median: float,
    outcome: Floats,
    published_as: tuple[Floats, Floats],
    forecasts: Forecasts,
    usual: Forecasts,
    transform: str = "none",
    seed: int = 1,
) -> NumberScores:
    """Score the hidden cells of a column of numbers.

    Parameters
    ----------
    column : str
    truth, filled : ndarray of shape (n,)
        What the cells hold and what they are filled with, in the column's units.
    mean, median : float
        Of the column's visible cells.
    outcome : ndarray of shape (n,)
        The truth on the model's scale.
    published_as : (ndarray, ndarray) of shape (n,)
        Between which numbers of the model's scale the truth is published as what it is.
    forecasts, usual : Forecasts
        Given what the rows show, and for all rows.
    transform : str
    seed : int
        Of the PIT of rounded numbers.
    """
    ratio, error = _rmse_ratio(filled - truth, mean - truth)
    spread = forecasts.sd > 0
    uniform = np.random.default_rng([seed, crc32(column.encode())]).random(len(truth))
    pit = forecasts.pit(*published_as, uniform)[spread]
    coverage = Coverage(*(_mean(np.abs(pit - 0.5) <= level / 2) for level in LEVELS))
    return NumberScores(
        column,
        len(truth),
        transform,
        _errors(filled - truth),
        _errors(mean - truth),
        _errors(median - truth),
        ratio,
        error,
        len(pit),
        coverage,
        _mean(forecasts.crps(outcome)),
        _mean(usual.crps(outcome)),
        tuple(np.histogram(pit, PIT_BINS, (0.0, 1.0))[0].tolist()),
        _distance_from_uniform(pit),
    )


def score_levels(column: str, truth: Ints, filled: Ints, mode: int) -> LevelScores:
    """Score the hidden cells of a column of levels by their codes; `mode` is the usual one."""
    right, usual = truth == filled, truth == mode
    counts = (int(np.count_nonzero(which)) for which in (right, usual, right & ~usual))
    return LevelScores(column, len(truth), *counts)


def _errors(off: Floats) -> Errors:
    with np.errstate(over="ignore"):
        return Errors(_finite(float(np.sqrt(np.mean(off**2)))), _mean(np.abs(off)))


def _rmse_ratio(off: Floats, off_by_mean: Floats) -> tuple[float | None, float | None]:
    """The ratio and the standard error of its logarithm, by the delta method."""
    unit = np.abs(off_by_mean).max(initial=0.0)
    if not (unit > 0 and np.isfinite(unit)):
        return None, None
    squares, by_mean = (off / unit) ** 2, (off_by_mean / unit) ** 2
    ratio = _finite(float(np.sqrt(squares.mean() / by_mean.mean())))
    if not ratio or len(off) < 2:
        return ratio, None
    influence = (squares / squares.mean() - by_mean / by_mean.mean()) / 2
    return ratio, _finite(float(influence.std(ddof=1) / np.sqrt(len(off))))


def _distance_from_uniform(pit: Floats) -> float | None:
    n = len(pit)
    if not n:
        return None
    steps, ordered = np.arange(n + 1) / n, np.sort(pit)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def _mean(values: NDArray[np.floating | np.bool_]) -> float | None:
    return _finite(float(values.mean())) if len(values) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- The verdict, the limits, and what the model does not fit -----------------------------------


def judge(
    method: Literal["fill", "refit"],
    observed: int,
    untested: int,
    numbers: Sequence[NumberScores],
    levels: Sequence[LevelScores],
    limits: Limits,
    doubt: str = "",
) -> SelfTest:
    """Put the columns' scores together, and see what they mean.

    So many columns with holes are `untested`; `doubt` is a warning besides.

    A limit is held by all columns together and by each. It is missed where the number is beyond it
    by more than chance explains, with so many cells and columns (`CHANCE`); where all columns
    together are beyond it by less, that is a warning.
    """
    cells = sum(s.cells for s in numbers) + sum(s.cells for s in levels)
    coverage, (ratio, _) = _overall_coverage(numbers), _overall_ratio(numbers)
    refused, doubtful = _held(numbers, levels, limits)
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


def _overall_coverage(numbers: Sequence[NumberScores]) -> Coverage:
    total = sum(scores.spread_cells for scores in numbers)
    if not total:
        return Coverage()
    each = [(s.spread_cells, s.coverage.shares) for s in numbers if s.spread_cells]
    held = [sum(round(cells * shares[i]) for cells, shares in each) for i in range(len(LEVELS))]
    return Coverage(*(cells / total for cells in held))


def _overall_ratio(numbers: Sequence[NumberScores]) -> tuple[float | None, float | None]:
    """The ratio of all columns together, and the standard error of its logarithm."""
    known = [(s.cells, s.rmse_ratio, s.rmse_ratio_error) for s in numbers if s.rmse_ratio]
    total = sum(scores.cells for scores in numbers if scores.rmse_ratio is not None)
    if not known:
        return (0.0, None) if total else (None, None)
    square = sum(cells * ratio**2 for cells, ratio, _ in known) / total
    if any(error is None for _, _, error in known):
        return math.sqrt(square), None
    of_square = (
        math.hypot(*(2 * cells * r**2 * (error or 0.0) for cells, r, error in known)) / total
    )
    return math.sqrt(square), of_square / (2 * square)


@dataclass(frozen=True)
class _Finding:
    """A number beyond a limit: whose it is, by how much, and whether that is more than chance.

    `limit` is that of the column, where it has one of its own.
    """

    column: str
    shown: str
    excess: float
    surely: bool
    limit: float | None = None

    def __str__(self) -> str:
        own = "" if self.limit is None else f" (limit {self.limit:g})"
        return f"{self.shown} in {self.column or 'all columns together'}{own}"


def _held(
    numbers: Sequence[NumberScores], levels: Sequence[LevelScores], limits: Limits
) -> tuple[list[str], list[str]]:
    """What the limits refuse, and what they leave in doubt, in sentences."""
    refused, doubtful = [], []
    for name, find, scores, number in (
        ("max_rmse_ratio", _ratios_above, numbers, "the RMSE over that of the mean"),
        (
            "min_coverage_95",
            _coverages_below,
            numbers,
            "the share of hidden cells in 95% intervals",
        ),
        ("max_pit_distance", _distances_above, numbers, "the distance of the PIT from uniform"),
        ("min_accuracy", _accuracies_below, levels, "the share of levels that are right"),
        (
            "min_accuracy_gain",
            _gains_below,
            levels,
            "the share of levels that are right, less that of the most frequent one,",
        ),
    ):
        limit: Limit = getattr(limits, name)
        if limit is None:
            continue
        what = "levels" if scores is levels else "numbers"
        for untested in _untested(scores, limit, what):
            doubtful.append(f"The self-test hid no {untested}, so {name} was not looked at.")
        found = _beyond(find, scores, limit)
        surely = [finding for finding in found if finding.surely]
        told = [finding for finding in found if not finding.column or finding.limit is not None]
        shown = "" if isinstance(limit, Mapping) else f" ({limit:g})"
        if surely:
            refused.append(
                f"The self-test does not hold {name}{shown}: {number} is {_worst(surely)}."
            )
        elif told:
            doubtful.append(
                f"The self-test is beyond {name}{shown}, though by no more than chance "
                f"explains: {number} is {_worst(told)}."
            )
    return refused, doubtful


_Find = Callable[[Sequence[Any], float, float], Iterator[_Finding]]


def _untested(
    scores: Sequence[NumberScores] | Sequence[LevelScores], limit: Limit, what: str
) -> Iterator[str]:
    """What a limit is about of which no cell was hidden."""
    if not isinstance(limit, Mapping):
        yield from () if scores else (what,)
        return
    tested = {one.column for one in scores}
    if lacking := [column for column in limit if column not in tested]:
        yield f"cell of {_first(lacking)}"


def _beyond(
    find: _Find, scores: Sequence[NumberScores] | Sequence[LevelScores], limit: Limit
) -> list[_Finding]:
    """What is beyond a limit: of all columns together and of each, or of those that it names."""
    if not isinstance(limit, Mapping):
        return list(find(scores, limit or 0.0, CHANCE / max(len(scores), 1)))
    return [
        replace(finding, limit=limit[one.column])
        for one in scores
        if one.column in limit
        for finding in find([one], limit[one.column], CHANCE / len(limit))
        if finding.column
    ]


def _ratios_above(numbers: Sequence[NumberScores], limit: float, each: float) -> Iterator[_Finding]:
    total = sum(scores.cells for scores in numbers)
    ratios = [("", total, *_overall_ratio(numbers), CHANCE)]
    ratios += [(s.column, s.cells, s.rmse_ratio, s.rmse_ratio_error, each) for s in numbers]
    for column, cells, ratio, error, chance in ratios:
        if ratio is not None and ratio > limit:
            off = math.log(ratio / limit)
            surely = error is not None and off > error * stdtrit(cells - 1, 1 - chance)
            yield _Finding(column, f"{ratio:.3g}", off, surely)


def _coverages_below(
    numbers: Sequence[NumberScores], limit: float, each: float
) -> Iterator[_Finding]:
    total = sum(scores.spread_cells for scores in numbers)
    coverages = [("", total, _overall_coverage(numbers).at_95, CHANCE)]
    coverages += [(s.column, s.spread_cells, s.coverage.at_95, each) for s in numbers]
    for column, cells, coverage, chance in coverages:
        if coverage is not None and coverage < limit:
            surely = bdtr(round(coverage * cells), cells, limit) < chance
            yield _Finding(column, f"{coverage:.1%}", limit - coverage, bool(surely))


def _distances_above(
    numbers: Sequence[NumberScores], limit: float, each: float
) -> Iterator[_Finding]:
    for s in numbers:
        if s.pit_distance is not None and s.pit_distance > limit:
            # Dvoretzky, Kiefer & Wolfowitz (1956), with Massart's (1990) constant.
            by_chance = math.sqrt(math.log(2 / each) / (2 * s.spread_cells))
            off = s.pit_distance - limit
            yield _Finding(s.column, f"{s.pit_distance:.2g}", off, off > by_chance)


def _accuracies_below(
    levels: Sequence[LevelScores], limit: float, each: float
) -> Iterator[_Finding]:
    for s, chance in _with_all(levels, each):
        if s.right / s.cells < limit:
            surely = bdtr(s.right, s.cells, limit) < chance
            off = limit - s.right / s.cells
            yield _Finding(s.column, f"{s.right / s.cells:.1%}", off, bool(surely))


def _gains_below(levels: Sequence[LevelScores], limit: float, each: float) -> Iterator[_Finding]:
    for s, chance in _with_all(levels, each):
        if s.gain < limit:
            off = limit - s.gain
            surely = off > s.gain_error * -ndtri(chance)
            yield _Finding(s.column, f"{s.gain:.1%}", off, bool(surely))


def _with_all(levels: Sequence[LevelScores], each: float) -> Iterator[tuple[LevelScores, float]]:
    """All columns together, and each of them, with the probability that chance may have."""
    if levels:
        cells, right, usual = (
            sum(getattr(s, name) for s in levels) for name in ("cells", "right", "right_by_mode")
        )
        mended = sum(
            max(s.right - s.right_by_mode, 0) if s.mended is None else s.mended for s in levels
        )
        yield LevelScores("", cells, right, usual, mended), CHANCE
    yield from ((s, each) for s in levels)


def _worst(findings: Sequence[_Finding]) -> str:
    ranked = sorted(findings, key=lambda finding: (finding.column != "", -finding.excess))
    return _first([str(finding) for finding in ranked])


def _first(texts: Sequence[str]) -> str:
    return listed(texts, MAX_NAMED, str)


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
        said = f"{n} of {of} columns are filled no better than by their {usual}: {_first(columns)}"
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
        f"The normal model does not fit the hidden cells of {_first(columns)}: standard "
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
