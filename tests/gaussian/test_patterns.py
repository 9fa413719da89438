"""PatternSummary: exact under any split, order and offset."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian import PatternSummary


def scatters_of(summary: PatternSummary) -> list[NDArray[np.float64]]:
    """``sum (x - mean)(x - mean)^T`` of each pattern's rows; zero where cells are missing."""
    centre = np.nan_to_num(summary.observed_mean)
    rows, weights, pattern_of_row = summary.weighted_rows(centre, np.ones(len(centre)))
    scatters = []
    for s, n in enumerate(summary.counts):
        z, c = rows[pattern_of_row == s], weights[pattern_of_row == s]
        centred = z - np.outer(c, c @ z / n)
        scatters.append(centred.T @ centred)
    return scatters


def assert_same(a: PatternSummary, b: PatternSummary) -> None:
    """Same patterns, counts, means and scatters, to rounding."""
    np.testing.assert_array_equal(a.patterns, b.patterns)
    np.testing.assert_array_equal(a.counts, b.counts)
    every = np.arange(len(a.patterns))
    np.testing.assert_allclose(a.means_of(every), b.means_of(every), rtol=1e-12, atol=1e-12)
    for one, other in zip(scatters_of(a), scatters_of(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * max(1.0, one.max()))


@settings(deadline=None)  # a busy machine is not a fault
@given(tables(), st.data())
def test_any_split_merged_in_any_order_gives_the_same_summary(
    X: NDArray[np.float64], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(X)), max_size=5)))
    parts = [PatternSummary.from_array(part) for part in np.split(X, cuts)]
    order = data.draw(st.permutations(range(len(parts))))
    total = PatternSummary(parts[0].columns)
    for k in order:
        total = total + parts[k]
    assert_same(total, PatternSummary.from_array(X))


@settings(deadline=None)  # a busy machine is not a fault
@given(tables(), st.integers(1, 7))
def test_streaming_equals_one_pass(X: NDArray[np.float64], chunks: int) -> None:
    streamed = PatternSummary(PatternSummary.from_array(X).columns)
    for part in np.array_split(X, chunks):
        streamed.update(part)
    assert_same(streamed, PatternSummary.from_array(X))


@given(tables())
def test_moments_of_each_pattern_are_those_of_its_rows(X: NDArray[np.float64]) -> None:
    summary = PatternSummary.from_array(X)
    assert summary.n_rows == len(X)
    means, scatters = summary.means_of(np.arange(len(summary.counts))), scatters_of(summary)
    for s, pattern in enumerate(summary.patterns):
        rows = X[(~np.isnan(X) == pattern).all(axis=1)]
        centred = np.where(pattern, rows - rows.mean(axis=0), 0.0)
        assert summary.counts[s] == len(rows)
        np.testing.assert_allclose(means[s], rows.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(scatters[s], centred.T @ centred, atol=1e-9)


def test_never_keeps_more_than_one_weighted_row_more_than_columns() -> None:
    summary = PatternSummary.from_array(factor_table(5000, 4, 0.2, seed=1))
    rows, _, pattern_of_row = summary.weighted_rows(np.zeros(4), np.ones(4))
    assert (np.bincount(pattern_of_row) <= summary.patterns.sum(axis=1) + 1).all()
    assert len(rows) < 100


def test_weighted_rows_have_the_sums_of_the_rows_about_any_mean() -> None:
    X = factor_table(300, 3, 0.0, seed=2)
    mu = np.array([1.0, -2.0, 0.5])
    Z, c, _ = PatternSummary.from_array(X).weighted_rows(np.zeros(3), np.ones(3))
    centred = Z - np.outer(c, mu)
    np.testing.assert_allclose(c @ centred, (X - mu).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(centred.T @ centred, (X - mu).T @ (X - mu), rtol=1e-12)


def test_large_offset_costs_no_digits() -> None:
    """Timestamps: 1.7e9 with a standard deviation of 1, in exactly representable steps."""
    X = np.round(factor_table(2000, 3, 0.1, seed=3) * 2**20) / 2**20
    shifted = PatternSummary.from_array(X + 2.0**31)
    np.testing.assert_allclose(
        shifted.observed_sd, PatternSummary.from_array(X).observed_sd, rtol=1e-13
    )


def test_two_equal_columns_in_one_pattern_keep_their_scatter() -> None:
    """The Gram matrix is singular there, and the QR factor takes over."""
    x = np.random.default_rng(4).normal(size=50)
    summary = PatternSummary.from_array(np.column_stack([x, x]))
    [scatter] = scatters_of(summary)
    np.testing.assert_allclose(scatter, np.full((2, 2), 50 * x.var()), rtol=1e-12)


def test_nearly_equal_columns_keep_the_difference_that_the_gram_matrix_loses() -> None:
    rng = np.random.default_rng(5)
    x, difference = rng.normal(size=200), 1e-9 * rng.normal(size=200)
    X = np.column_stack([x, x + difference])
    Z, c, _ = PatternSummary.from_array(X).weighted_rows(np.zeros(2), np.ones(2))
    spread = Z[c == 0] @ np.array([-1.0, 1.0])
    np.testing.assert_allclose(spread @ spread, 200 * (X[:, 1] - X[:, 0]).var(), rtol=1e-5)


def test_counts_of_billions_stay_exact() -> None:
    summary = PatternSummary.from_array(factor_table(1000, 3, 0.2, seed=6))
    n, mean, sd = summary.n_rows, summary.observed_mean, summary.observed_sd
    for _ in range(30):
        summary = summary + summary
    assert summary.n_rows == n * 2**30
    np.testing.assert_allclose(summary.observed_mean, mean, rtol=1e-13)
    np.testing.assert_allclose(summary.observed_sd, sd, rtol=1e-12)


def test_float32_is_summarised_as_what_it_holds() -> None:
    X = factor_table(3000, 4, 0.2, seed=9).astype(np.float32)
    assert_same(PatternSummary.from_array(X), PatternSummary.from_array(X.astype(np.float64)))


def test_observed_moments_are_per_column() -> None:
    X = np.array([[1.0, np.nan, 4.0], [2.0, np.nan, np.nan], [6.0, np.nan, 8.0]])
    summary = PatternSummary.from_array(X)
    assert summary.observed_counts.tolist() == [3, 0, 2]
    np.testing.assert_allclose(summary.observed_mean, [3.0, np.nan, 6.0])
    np.testing.assert_allclose(summary.observed_sd, [np.sqrt(14 / 3), np.nan, 2.0])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), "two-dimensional"),
        (np.array([[1.0, np.inf]]), "first is in row 0, column 1"),
    ],
)
def test_input_that_is_no_table_of_numbers_is_refused(X: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatternSummary.from_array(X)


def test_summaries_of_other_columns_are_not_added() -> None:
    a = PatternSummary.from_array(np.ones((2, 2)), ["a", "b"])
    b = PatternSummary.from_array(np.ones((2, 2)), ["b", "a"])
    with pytest.raises(ValueError, match="same columns in the same order"):
        a + b
    with pytest.raises(ValueError, match="Expected 2 columns, got 3"):
        a.update(np.ones((1, 3)))
    with pytest.raises(ValueError, match="differ from each other"):
        PatternSummary(["a", "a"])


Moments = tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def moments_of(X: NDArray[np.float64], origin: NDArray[np.float64]) -> Moments:
    """Patterns, counts, means and scatters, the slow way."""
    shown = ~np.isnan(X)
    patterns = np.unique(shown, axis=0)
    parts = [X[(shown == pattern).all(axis=1)] - origin for pattern in patterns]
    means = [rows.mean(axis=0) for rows in parts]
    scatters = [(rows - m).T @ (rows - m) for rows, m in zip(parts, means, strict=True)]
    return patterns, np.array([len(rows) for rows in parts]), np.array(means), np.array(scatters)


def test_moments_that_were_summed_up_elsewhere_are_the_same_summary() -> None:
    """At an offset of 1e9, with a constant column and one that is another's double."""
    X = factor_table(400, 6, missing=0.2, seed=12) + 1e9
    X[:, 4] = np.where(np.isnan(X[:, 4]), np.nan, 7.0)
    X[:, 5] = 2 * (X[:, 3] - 1e9)
    origin = np.nanmedian(X, axis=0)
    columns = list("abcdef")
    summary = PatternSummary.from_moments(columns, origin, *moments_of(X, origin))
    assert_same(summary, PatternSummary.from_array(X, columns))
    assert summary.observed_sd[4] == 0.0


def test_rows_are_added_to_moments() -> None:
    X, origin, columns = factor_table(300, 4, missing=0.2, seed=2), np.zeros(4), list("abcd")
    summary = PatternSummary.from_moments(columns, origin, *moments_of(X[:200], origin))
    assert_same(summary.update(X[200:]), PatternSummary.from_array(X, columns))


def test_moments_that_do_not_hold_together_are_refused() -> None:
    origin, columns = np.zeros(3), list("abc")
    moments = moments_of(factor_table(50, 3, missing=0.2, seed=3), origin)
    patterns, counts, means, scatters = moments
    from_moments = PatternSummary.from_moments
    with pytest.raises(ValueError, match="scatters have the shapes"):
        from_moments(columns, origin, patterns, counts, means, scatters[:, :2])
    with pytest.raises(ValueError, match="Each pattern comes once"):
        from_moments(columns, origin, patterns, counts * 0, means, scatters)
    with pytest.raises(ValueError, match="must be finite where cells are observed"):
        from_moments(columns, origin, patterns, counts, means, scatters * np.nan)
