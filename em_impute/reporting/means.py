"""How sure the estimated means are: intervals, and how much of their information went missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian import EMResult, PatternSummary
from em_impute.gaussian.estimates import estimates

MOST_MEANS = 20
# More columns have too many parameters to be worked out in every run; `em-impute estimates` does.
MOST_COLUMNS, MOST_PRODUCTS = 30, 2**32
LEVEL = 0.95


@dataclass(frozen=True)
class MeanEstimate:
    """The mean of a column for all rows, on the model's scale.

    Attributes
    ----------
    column : str
    estimate, std_error, low, high : float
        With the ends of its 95% interval.
    fmi : float
        Fraction of missing information.
    observed, sd : float
        Mean of the observed cells, and the estimated standard deviation.
    """

    column: str
    estimate: float
    std_error: float
    low: float
    high: float
    fmi: float
    observed: float
    sd: float

    def in_sd(self, value: float) -> float:
        """How far a value is from the observed mean, in standard deviations."""
        return (value - self.observed) / self.sd


@dataclass(frozen=True)
class Means:
    """The means about which most is missing, and of how many columns."""

    rows: tuple[MeanEstimate, ...]
    total_columns: int


def estimate_means(
    result: EMResult, summary: PatternSummary, columns: Collection[str]
) -> tuple[MeanEstimate, ...]:
    """Return the means of some columns with missing cells, the least certain first.

    Parameters
    ----------
    result : EMResult
    summary : PatternSummary
        What it was fitted to.
    columns : collection of str
        Columns of numbers.

    Returns
    -------
    tuple of MeanEstimate
        Empty without standard errors: where the fit is not at a maximum, where the data do not
        determine it, or with more than 30 columns.
    """
    p = len(summary.columns)
    products = len(summary.counts) * (p * (p + 1) // 2) ** 2
    if not result.converged or p > MOST_COLUMNS or products > MOST_PRODUCTS:
        return ()
    try:
        table = estimates(summary, result.model, result.prior_rows, LEVEL, None, None)
    except ValueError:  # what the fit has said already
        return ()
    known = table.set_index("parameter").to_dict("index")
    missing = summary.n_rows - summary.observed_counts
    observed = summary.observed_moments()[0]
    found = []
    for j, name in enumerate(summary.columns):
        if missing[j] and name in columns and result.model.sd[j] > 0:
            row = known[f"mean of {name}"]
            found.append(
                MeanEstimate(
                    column=name,
                    estimate=float(row["estimate"]),
                    std_error=float(row["std_error"]),
                    low=float(row["conf_low"]),
                    high=float(row["conf_high"]),
                    fmi=float(row["fmi"]),
                    observed=float(observed[j]),
                    sd=float(result.model.sd[j]),
                )
            )
    if not np.isfinite([[one.low, one.high, one.fmi] for one in found]).all():
        return ()
    return tuple(sorted(found, key=lambda one: -one.fmi))


def describe_means(found: Sequence[MeanEstimate]) -> Means | None:
    """Return the first of the means that `estimate_means` found; None if there are none."""
    return Means(tuple(found[:MOST_MEANS]), len(found)) if found else None
