"""Where cells are missing, against pandas; and that a million patterns are no trouble."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from em_impute.gaussian import PatternSummary
from em_impute.reporting import plots
from em_impute.reporting.matrices import describe_together
from em_impute.reporting.missingness import (
    FEWEST_ROWS,
    MAP_COLUMNS,
    MAP_LINES,
    PatternCounts,
    describe_map,
    describe_patterns,
    missing_cells,
    most_frequent,
)
from em_impute.reporting.records import Report


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """600 rows in which a, b and c, d go missing together, and e never."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(600, 5)) + 10, columns=list("abcde"))
    for pair, share in (("ab", 0.3), ("cd", 0.1)):
        frame.loc[rng.random(600) < share, list(pair)] = np.nan
    frame.loc[:2, "a"] = np.nan
    return frame


@pytest.fixture(scope="module")
def summary(frame: pd.DataFrame) -> PatternSummary:
    return PatternSummary.from_array(frame.to_numpy(), list(frame))


def test_missing_cells_are_those_of_pandas(frame: pd.DataFrame, summary: PatternSummary) -> None:
    assert missing_cells(summary).tolist() == frame.isna().sum().tolist()


def test_means_by_pattern_are_those_of_pandas(frame: pd.DataFrame, summary: PatternSummary) -> None:
    """As PROC MI prints them: group means of what the rows of a pattern show."""
    means = dict(zip(frame, summary.means_of(most_frequent(summary)).T, strict=True))
    patterns = describe_patterns(summary, means=means)
    groups = frame.groupby([frame[name].notna() for name in patterns.columns])
    expected = groups.mean()[list(patterns.columns)]
    assert len(patterns.rows) == len(expected)
    for pattern in patterns.rows:
        if pattern.count < FEWEST_ROWS:
            assert pattern.means == ()
            continue
        known = [np.nan if mean is None else mean for mean in pattern.means]
        assert known == pytest.approx(
            expected.loc[pattern.observed].tolist(), rel=1e-12, nan_ok=True
        )
    assert patterns.with_means == tuple(p for p in patterns.rows if p.count >= FEWEST_ROWS)
    assert 0 < len(patterns.with_means) < len(patterns.rows)


def test_the_map_shows_the_rows_sorted_by_what_they_miss(
    frame: pd.DataFrame, summary: PatternSummary
) -> None:
    shown = describe_map(summary)
    assert shown is not None
    assert shown.complete_columns == 1
    assert (shown.total_columns, shown.total_rows) == (5, 600)
    assert shown.rows_a_line == 600 / MAP_LINES
    missing = frame.isna()
    assert missing.sum()[list(shown.columns)].is_monotonic_decreasing
    rows = sorted(map(tuple, missing[list(shown.columns)].to_numpy().tolist()))
    middles = [(2 * line + 1) * 600 // (2 * MAP_LINES) for line in range(MAP_LINES)]
    assert [tuple(line) for line in shown.missing().tolist()] == [rows[at] for at in middles]


def test_the_map_of_few_rows_has_a_line_for_each() -> None:
    X = np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, 4.0]])
    shown = describe_map(PatternSummary.from_array(X, ["x", "y"]))
    assert shown is not None
    assert shown.lines == ("00", "01", "10")


def test_a_table_without_holes_has_no_map() -> None:
    assert describe_map(PatternSummary.from_array(np.ones((3, 2)))) is None
    assert describe_map(PatternSummary(["a", "b"])) is None


def test_a_column_that_is_missing_throughout_is_in_the_map() -> None:
    counted = PatternCounts(("a", "b"), np.array([[True, False]]), np.array([7]))
    shown = describe_map(counted)
    assert shown is not None
    assert (shown.columns, set(shown.lines), len(shown.lines)) == (("b",), {"1"}, 7)
    assert "data:image/png" in plots.missingness(shown).on_page("Map.")


def test_a_map_of_very_many_columns_shows_those_with_the_most_missing_cells() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.random((50, 500)) > np.linspace(0.0, 0.5, 500)
    counted = PatternCounts(
        tuple(f"c{j}" for j in range(500)), patterns, np.ones(50, dtype=np.int64)
    )
    shown = describe_map(counted)
    assert shown is not None
    assert len(shown.columns) == MAP_COLUMNS
    least = min(missing_cells(counted)[int(name[1:])] for name in shown.columns)
    assert least >= np.sort(missing_cells(counted))[-MAP_COLUMNS]
    assert "data:image/png" in plots.missingness(shown).on_page("Map.")


def test_a_million_patterns_are_counted_without_a_loop_over_them() -> None:
    """Of 30 columns, each row misses others; a loop in Python would take minutes."""
    n, p = 1_000_000, 30
    patterns = np.random.default_rng(1).random((n, p)) > np.linspace(0.0, 0.9, p)
    counts = np.ones(n, dtype=np.int64)
    counts[123_456] = 2
    counted = PatternCounts(tuple(f"c{j}" for j in range(p)), patterns, counts)
    frequent = describe_patterns(counted)
    assert (frequent.total_patterns, frequent.total_rows) == (n, n + 1)
    assert [row.count for row in frequent.rows[:2]] == [2, 1]
    fewest = np.sort((~patterns[counts == 1]).sum(axis=1))[:24].tolist()
    order = [int(name[1:]) for name in frequent.columns]
    assert [p - sum(row.observed) for row in frequent.rows[1:]] == fewest
    assert missing_cells(counted)[order].tolist() == sorted(
        ((~patterns) * counts[:, None]).sum(axis=0).tolist(), reverse=True
    )
    shown, together = describe_map(counted), describe_together(counted)
    assert shown is not None
    assert together is not None
    assert shown.missing().mean(axis=0) == pytest.approx(
        missing_cells(counted)[[int(name[1:]) for name in shown.columns]] / (n + 1), abs=0.2
    )
    i, j = (int(name[1:]) for name in together.columns[:2])
    assert together.both[0][1] == counts[~patterns[:, i] & ~patterns[:, j]].sum()
    for figure in (plots.missingness(shown), plots.together(together), plots.patterns(frequent)):
        assert figure.on_page("Patterns.")


def test_patterns_are_counted_as_pandas_counts_them(
    report: Report, airquality: pd.DataFrame
) -> None:
    patterns = report.patterns
    assert patterns is not None
    expected = airquality.notna().value_counts(subset=list(patterns.columns))
    assert {row.observed: row.count for row in patterns.rows} == expected.to_dict()
    counts = [row.count for row in patterns.rows]
    assert counts == sorted(counts, reverse=True)
    assert patterns.share_shown == 1.0


def test_patterns_rank_columns_by_missing_cells_and_say_what_is_left_out() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(500, 50))
    X[rng.random(X.shape) < np.linspace(0, 0.3, 50)] = np.nan
    summary = PatternSummary.from_array(X)
    patterns = describe_patterns(summary)
    missing = pd.DataFrame(X, columns=summary.columns).isna().sum()
    assert missing[list(patterns.columns)].is_monotonic_decreasing
    assert missing[list(patterns.columns)].min() >= missing.nlargest(41).iloc[-1]
    assert (len(patterns.rows), len(patterns.columns)) == (25, 40)
    assert (patterns.total_columns, patterns.total_rows) == (50, 500)
    assert patterns.total_patterns == len(np.unique(np.isnan(X), axis=0))
    assert patterns.share_shown == sum(row.count for row in patterns.rows) / 500
