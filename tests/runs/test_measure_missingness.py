"""Where cells are missing, against pandas on the run's own input."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from measured_runs import MODEL, NUMBERS, Ran

from em_impute.gaussian import PatternSummary, aleksic_mcar_test, little_mcar_test
from em_impute.reporting import render
from em_impute.reporting.missingness import FEWEST_ROWS


def test_patterns_and_their_means_are_those_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    """Transformed columns, too, have the means of the table's own cells."""
    (_, _, report), frame, _ = mixed
    patterns = report.patterns
    assert patterns is not None
    assert set(patterns.columns) == set(MODEL)
    observed = [frame[name].notna() for name in patterns.columns]
    counts = frame.groupby(observed).size()
    means = frame[[*NUMBERS, "steady"]].groupby(observed).mean()
    assert patterns.total_patterns == len(counts)
    for pattern in patterns.rows:
        assert pattern.count == counts.loc[pattern.observed]
        if pattern.count < FEWEST_ROWS:
            assert not pattern.means
            continue
        for name, mean in zip(patterns.columns, pattern.means, strict=True):
            expected = np.nan if name == "grade" else means.loc[pattern.observed, name]
            known = np.nan if mean is None else mean
            assert known == pytest.approx(expected, nan_ok=True), name


def test_both_tests_of_missing_at_random_are_told(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (run, found, report), _, _ = mixed
    assert found.fitted is not None
    assert found.fitted.result is not None
    summary = PatternSummary.load(run.folder.summary)
    tests = little_mcar_test(summary, found.fitted.result.model), aleksic_mcar_test(summary)
    page = unescape(render.html(report))
    assert [told.name for told in report.mcar_tests] == ["Little", "Aleksić"]
    for told, test in zip(report.mcar_tests, tests, strict=True):
        assert (told.statistic, told.df, told.p_value) == (test.statistic, test.df, test.p_value)
        assert told.by_column == test.by_column
        assert told.p_value is not None
        assert told.p_value < 0.001
        name, part = test.by_column[0]
        assert (
            f"{told.name}'s test: χ² {test.statistic:.1f} with {told.df} degrees of freedom, "
            f"p below 0.001. Most of it comes from {name} ({part:.1f})"
        ) in page


def test_why_a_test_was_not_made_is_told(ran: Callable[..., Ran]) -> None:
    """Every row lacks two other columns than all others do."""
    pairs = np.array(list(combinations(range(20), 2)))
    X = np.random.default_rng(14).normal(size=(len(pairs), 20))
    np.put_along_axis(X, pairs, np.nan, axis=1)
    _, _, report = ran(pd.DataFrame(X).rename(columns="c{}".format))
    little, aleksic = report.mcar_tests
    assert little.statistic is aleksic.statistic is None
    assert "nearly every row has a pattern of its own" in little.why_not
    assert "needs a column that is observed in every row" in aleksic.why_not


def test_what_goes_missing_together_is_that_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, _ = mixed
    assert report.together is not None
    missing = frame.isna()[list(report.together.columns)].astype(float)
    assert np.array_equal(report.together.both, missing.T @ missing)
    assert report.together.correlations() == pytest.approx(missing.corr().to_numpy())
    assert report.missingness is not None
    assert report.missingness.complete_columns == 1
