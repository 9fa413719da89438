"""Observed against predicted: hidden cells in bins of similar predictions.

Amelia draws every hidden cell over what it was filled with ("overimputation"; Blackwell, Honaker &
King 2017). A report holds no single cell, so what is kept here are means of at least ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.truncated import truncated_mean, truncated_quantile

LEVEL = 0.90
FEWEST_IN_BIN, MOST_BINS = 10, 10
# So unlikely is a share within the intervals that is called too small.
CHANCE = 0.001


@dataclass(frozen=True)
class CalibrationBin:
    """Hidden cells whose predictions are next to each other, on the model's scale.

    Attributes
    ----------
    cells : int
        At least ten.
    predicted, observed : float
        Mean of what the cells are predicted to be, and of what they are.
    low, high : float
        Mean ends of their central 90% intervals.
    within : int
        Cells that lie in theirs.
    """

    cells: int
    predicted: float
    observed: float
    low: float
    high: float
    within: int

    @property
    def too_few_within(self) -> bool:
        """Whether chance does not explain how few cells lie in their intervals."""
        return bool(bdtr(self.within, self.cells, LEVEL) < CHANCE)


def calibrate(
    on_scale: Floats, pit: Floats, mean: Floats, sd: Floats, bounds: tuple[float, float]
) -> tuple[CalibrationBin, ...]:
    """Return the bins of a column, those of the lowest predictions first.

    There are ten, deciles of the predictions, or fewer so that each has ten cells.

    Parameters
    ----------
    on_scale, pit : ndarray of shape (n,)
        The cells on the model's scale, and their PIT.
    mean, sd : ndarray of shape (n,)
        Of the normals that predict them, with sd above 0.
    bounds : (float, float)
        Between which these are cut.
    """
    n_bins = min(MOST_BINS, len(pit) // FEWEST_IN_BIN)
    if not n_bins:
        return ()
    predicted = truncated_mean(mean, sd, *bounds)
    low, high = (
        truncated_quantile(np.full(len(mean), p), mean, sd, *bounds)
        for p in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    within = np.abs(pit - 0.5) <= LEVEL / 2
    with np.errstate(over="ignore", invalid="ignore"):
        bins = [
            CalibrationBin(
                cells=len(part),
                predicted=float(predicted[part].mean()),
                observed=float(on_scale[part].mean()),
                low=float(low[part].mean()),
                high=float(high[part].mean()),
                within=int(np.count_nonzero(within[part])),
            )
            for part in np.array_split(np.argsort(predicted, kind="stable"), n_bins)
        ]
    finite = np.isfinite([[b.predicted, b.observed, b.low, b.high] for b in bins]).all()
    return tuple(bins) if finite else ()
