"""The columns of a report against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.reporting.columns import describe_columns
from em_impute.reporting.records import Column, Report
from em_impute.tables.digest import Moments


def column(report: Report, name: str) -> Column:
    return next(column for column in report.columns if column.name == name)


@pytest.mark.parametrize("name", ["Ozone", "Solar.R", "Wind", "Temp"])
def test_column_moments_are_those_of_pandas(
    report: Report, airquality: pd.DataFrame, imputed: pd.DataFrame, name: str
) -> None:
    seen, filled, described = airquality[name], imputed[name], column(report, name)
    assert described.missing == seen.isna().sum()
    assert described.missing_share == pytest.approx(seen.isna().mean())
    assert described.observed.count == seen.count()
    assert described.observed.mean == pytest.approx(seen.mean())
    assert described.observed.sd == pytest.approx(seen.std(ddof=0))
    assert described.imputed.count == filled.count()
    if filled.count():
        assert described.imputed.mean == pytest.approx(filled.mean())
        assert described.imputed.sd == pytest.approx(filled.std(ddof=0))
    else:
        assert described.imputed == Moments(0)


def test_em_moments_are_those_of_the_model(airquality: pd.DataFrame, report: Report) -> None:
    summary = PatternSummary.from_array(airquality.to_numpy(), list(airquality))
    model = fit_gaussian(summary, tol=1e-6, prior_rows=1.0).model
    assert [c.em.mean for c in report.columns] == pytest.approx(model.mean)
    assert [c.em.sd for c in report.columns] == pytest.approx(np.sqrt(np.diag(model.covariance)))


def test_columns_outside_the_model_are_counted_only() -> None:
    key, kept = describe_columns({"id": "key", "note": "passthrough"}, {"id": 0, "note": 3}, 10)
    assert key == Column("id", "key", 0, Moments(10), Moments(0), Moments(0))
    assert kept.observed == Moments(7)
    assert kept.missing_share == 0.3


def test_column_without_observed_cells_has_no_moments() -> None:
    summary = PatternSummary.from_array(np.array([[1.0, np.nan], [2.0, np.nan]]), ["a", "b"])
    _, empty = describe_columns(
        {"a": "impute", "b": "impute"}, {"a": 0, "b": 2}, 2, summary=summary
    )
    assert empty.observed == Moments(0, None, None)
