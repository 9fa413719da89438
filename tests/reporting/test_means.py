"""The estimated means of the report: what they are, and where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import ConvergenceWarning, fit_gaussian
from em_impute.reporting import means, plots
from em_impute.reporting.means import Means, describe_means, estimate_means

X = factor_table(200, 4, 0.2, seed=3)
X[:, 3] = np.nan_to_num(X[:, 3])
NAMES = {"x0", "x1", "x2", "x3"}


def found(columns: set[str] = NAMES) -> Means | None:
    fit = fit_gaussian(X)
    assert fit.data is not None
    return describe_means(estimate_means(fit, fit.data, columns))


def test_they_are_those_of_the_columns_with_missing_cells() -> None:
    known = fit_gaussian(X).estimates().set_index("parameter")
    shown = found()
    assert shown is not None
    assert shown.total_columns == 3
    assert {row.column for row in shown.rows} == {"x0", "x1", "x2"}
    assert [row.fmi for row in shown.rows] == sorted((r.fmi for r in shown.rows), reverse=True)
    for row in shown.rows:
        expected = known.loc[f"mean of {row.column}"]
        assert row.estimate == pytest.approx(expected.estimate)
        assert (row.low, row.high) == pytest.approx((expected.conf_low, expected.conf_high))
        assert row.observed == pytest.approx(np.nanmean(X[:, int(row.column[1])]))
        assert row.in_sd(row.observed + row.sd) == pytest.approx(1.0)


def test_columns_that_are_no_numbers_are_left_out() -> None:
    shown = found({"x1"})
    assert shown is not None
    assert [row.column for row in shown.rows] == ["x1"]
    assert found({"grade"}) is None


def test_there_are_none_without_a_maximum_or_of_many_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.warns(ConvergenceWarning):
        stopped = fit_gaussian(X, max_iter=1)
    assert stopped.data is not None
    assert estimate_means(stopped, stopped.data, NAMES) == ()
    monkeypatch.setattr(means, "MOST_COLUMNS", 3)
    assert found() is None


def test_only_the_least_certain_are_shown_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(means, "MOST_MEANS", 2)
    shown = found()
    assert shown is not None
    assert (len(shown.rows), shown.total_columns) == (2, 3)


def test_columns_that_determine_each_other_have_none() -> None:
    Y = np.column_stack([X[:, :2], X[:, 0] + X[:, 1]])
    fit = fit_gaussian(Y, prior_rows="auto")
    assert fit.data is not None
    assert estimate_means(fit, fit.data, NAMES) == ()


def test_they_can_be_drawn() -> None:
    shown = found()
    assert shown is not None
    drawing = plots.means(shown).on_page("Means.")
    assert all(row.column in drawing for row in shown.rows)
