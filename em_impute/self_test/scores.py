"""How well hidden cells were filled: errors against baselines, and the predictive distribution.

The cells are observed ones that the model was not shown when it filled them. Scores of values are
in the column's own units. Those of the predictive distribution are on the model's scale, where it
is a normal, perhaps between bounds: the share of cells in its central intervals, its continuous
ranked probability score (CRPS; Gneiting & Raftery 2007), and the probability integral transform
(PIT; Dawid 1984), which is uniform where the cells are spread as the model says. Records hold
aggregates, never the value of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.families.mixed import Part, mixed_crps
from em_impute.gaussian.truncated import truncated_crps, truncated_probability
from em_impute.self_test.calibration import CalibrationBin, calibrate
from em_impute.tables.digest import finite

INTERVALS = (0.50, 0.80, 0.95)
PIT_BINS = 10


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
    calibration : tuple of CalibrationBin
        Observed against predicted; empty with fewer than ten cells.
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
    calibration: tuple[CalibrationBin, ...] = ()


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


@dataclass(frozen=True)
class EnergyScore:
    """The energy-I-score of one column, in standard deviations of its observed cells.

    Attributes
    ----------
    column : str
    observed, missing : int
        Rows that show the column and that do not, of those that were looked at.
    predictors : int
        Columns that it was imputed from.
    score, alone : float
        Of the model's draws, and of its normal for all rows; at most 0, the best.
    weight : float
        ``observed * missing / rows^2``.
    """

    column: str
    observed: int
    missing: int
    predictors: int
    score: float
    alone: float
    weight: float


@dataclass(frozen=True)
class EnergyIScore:
    """The energy-I-score of a model's draws: the weighted mean of those of the columns."""

    score: float
    alone: float
    columns: tuple[EnergyScore, ...] = ()


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
    energy : EnergyIScore or None
        Of the model's draws; None with models of groups, or where too few cells are missing.
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
    energy: EnergyIScore | None = None


@dataclass(frozen=True, eq=False)
class Forecasts:
    """A normal for each of n cells on the model's scale, all between the same bounds.

    Or several, the `parts`, with weights: `mean` and `sd` are then those of all together.
    """

    mean: Floats
    sd: Floats
    low: float = -math.inf
    high: float = math.inf
    parts: tuple[Part, ...] = ()

    def pit(self, below: Floats, above: Floats, uniform: Floats) -> Floats:
        """Return the probability up to each cell, of which only an interval is known.

        Within the interval it is drawn, as Czado, Gneiting & Held (2009) propose: so the PIT is
        uniform for rounded numbers, too.

        Parameters
        ----------
        below, above : ndarray of shape (n,)
            The ends of the intervals.
        uniform : ndarray of shape (n,)
            Uniform random numbers, which choose the place in the interval.
        """
        first, last = self._probability(below), self._probability(above)
        return first + uniform * (last - first)

    def _probability(self, end: Floats) -> Floats:
        if not self.parts:
            return truncated_probability(end, self.mean, self.sd, self.low, self.high)
        share = np.zeros(len(end))
        for weights, mean, sd in self.parts:
            share += weights * truncated_probability(end, mean, sd, self.low, self.high)
        return share

    def crps(self, on_scale: Floats) -> Floats:
        """Return the score of each cell; smaller is better."""
        if self.parts:
            return mixed_crps(on_scale, self.parts, self.low, self.high)
        return truncated_crps(on_scale, self.mean, self.sd, self.low, self.high)


def score_numbers(
    column: str,
    truth: Floats,
    filled: Floats,
    *,
    mean: float,
    median: float,
    on_scale: Floats,
    published_as: tuple[Floats, Floats],
    forecasts: Forecasts,
    usual: Forecasts,
    transform: str = "none",
    seed: int = 1,
) -> NumberScores:
    """Return the scores of the hidden cells of a column of numbers.

    Parameters
    ----------
    column : str
    truth, filled : ndarray of shape (n,)
        What the cells hold and what they are filled with, in the column's units.
    mean, median : float
        Of the column's visible cells.
    on_scale : ndarray of shape (n,)
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
    coverage = Coverage(*(_mean(np.abs(pit - 0.5) <= level / 2) for level in INTERVALS))
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
        _mean(forecasts.crps(on_scale)),
        _mean(usual.crps(on_scale)),
        tuple(np.histogram(pit, PIT_BINS, (0.0, 1.0))[0].tolist()),
        _distance_from_uniform(pit),
        calibrate(
            on_scale[spread],
            pit,
            forecasts.mean[spread],
            forecasts.sd[spread],
            (forecasts.low, forecasts.high),
        ),
    )


def score_levels(column: str, truth: Ints, filled: Ints, mode: int) -> LevelScores:
    """Return the scores of the hidden cells of a column of levels.

    Parameters
    ----------
    column : str
    truth, filled : ndarray of shape (n,)
        The codes that the cells hold, and are filled with.
    mode : int
        The code of the column's most frequent level.
    """
    right, usual = truth == filled, truth == mode
    counts = (int(np.count_nonzero(which)) for which in (right, usual, right & ~usual))
    return LevelScores(column, len(truth), *counts)


def _errors(off: Floats) -> Errors:
    with np.errstate(over="ignore"):
        return Errors(finite(float(np.sqrt(np.mean(off**2)))), _mean(np.abs(off)))


def _rmse_ratio(off: Floats, off_by_mean: Floats) -> tuple[float | None, float | None]:
    """The ratio and the standard error of its logarithm, by the delta method."""
    unit = np.abs(off_by_mean).max(initial=0.0)
    if not (unit > 0 and np.isfinite(unit)):
        return None, None
    squares, by_mean = (off / unit) ** 2, (off_by_mean / unit) ** 2
    ratio = finite(float(np.sqrt(squares.mean() / by_mean.mean())))
    if not ratio or len(off) < 2:
        return ratio, None
    influence = (squares / squares.mean() - by_mean / by_mean.mean()) / 2
    return ratio, finite(float(influence.std(ddof=1) / np.sqrt(len(off))))


def _distance_from_uniform(pit: Floats) -> float | None:
    n = len(pit)
    if not n:
        return None
    steps, ordered = np.arange(n + 1) / n, np.sort(pit)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def _mean(values: NDArray[np.floating | np.bool_]) -> float | None:
    return finite(float(values.mean())) if len(values) else None


def overall_coverage(numbers: Sequence[NumberScores]) -> Coverage:
    """The coverage of the cells of all columns together."""
    total = sum(scores.spread_cells for scores in numbers)
    if not total:
        return Coverage()
    each = [(s.spread_cells, s.coverage.shares) for s in numbers if s.spread_cells]
    held = [sum(round(cells * shares[i]) for cells, shares in each) for i in range(len(INTERVALS))]
    return Coverage(*(cells / total for cells in held))


def overall_ratio(numbers: Sequence[NumberScores]) -> tuple[float | None, float | None]:
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
