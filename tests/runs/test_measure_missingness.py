"""Where cells are missing, against pandas on the run's own input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from measured_runs import MODEL, NUMBERS, Ran

from em_impute.gaussian import PatternSummary, little_mcar_test
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


def test_little_s_test_is_told(mixed: tuple[Ran, pd.DataFrame, pd.DataFrame]) -> None:
    (run, found, report), _, _ = mixed
    assert found.fitted is not None
    assert found.fitted.result is not None
    test = little_mcar_test(PatternSummary.load(run.folder.summary), found.fitted.result.model)
    told = report.completely_at_random
    assert told is not None
    assert (told.statistic, told.df, told.p_value) == (test.statistic, test.df, test.p_value)
    assert told.p_value < 0.001
    assert "Little&#39;s test" not in (page := render.html(report))
    assert f"χ² {told.statistic:.1f} with {told.df} degrees of freedom, p below 0.001" in page


def test_why_little_s_test_was_not_made_is_told(ran: Callable[..., Ran]) -> None:
    """Every row lacks two other columns than all others do."""
    pairs = np.array(list(combinations(range(20), 2)))
    X = np.random.default_rng(14).normal(size=(len(pairs), 20))
    np.put_along_axis(X, pairs, np.nan, axis=1)
    _, _, report = ran(pd.DataFrame(X).rename(columns="c{}".format))
    assert report.completely_at_random is None
    assert "nearly every row has a pattern of its own" in report.not_tested


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
