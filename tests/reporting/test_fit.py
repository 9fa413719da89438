"""How EM went, as the report describes it: what is kept of a trace, and no infinite numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from em_impute.gaussian import fit_gaussian
from em_impute.reporting.fit import MAX_EVALUATIONS, describe_fit


def test_fit_keeps_ends_of_a_long_trace_and_counts_every_rejection(
    airquality: pd.DataFrame,
) -> None:
    result = fit_gaussian(airquality.to_numpy(), tol=1e-6)
    one = result.trace[-1]
    long = tuple(
        dataclasses.replace(one, number=i, step="rejected" if i % 7 == 0 else "em")
        for i in range(5000)
    )
    fit = describe_fit(dataclasses.replace(result, trace=long), tol=1e-6)
    assert len(fit.trace) == MAX_EVALUATIONS
    assert (fit.trace[0].number, fit.trace[-1].number) == (0, 4999)
    assert fit.rejected == 715


def test_fit_has_no_infinite_numbers(airquality: pd.DataFrame) -> None:
    """The start's distance is unknown, a rejected step may have no likelihood: both are None."""
    result = fit_gaussian(airquality.to_numpy(), tol=1e-6)
    bad = dataclasses.replace(result.trace[0], loglik=-np.inf, objective=np.nan, distance=np.inf)
    fit = describe_fit(dataclasses.replace(result, trace=(bad,)))
    assert (fit.trace[0].loglik, fit.trace[0].objective, fit.trace[0].distance) == (None,) * 3
