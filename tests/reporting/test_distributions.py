"""Histograms of observed and imputed cells, of any numbers whatever."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from em_impute.gaussian.arrays import Floats
from em_impute.reporting import plots
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.distributions import (
    MAX_BINS,
    MIN_BINS,
    describe_distributions,
    most_imputed,
)
from em_impute.reporting.records import Column, Distribution, Report
from em_impute.tables.digest import Moments


def distribution(name: str, observed: Floats, imputed: Floats, portions: int = 1) -> Distribution:
    """Describe one column whose cells come in so many portions."""
    split = [
        [{name: cells} for cells in np.array_split(values, portions)]
        for values in (observed, imputed)
    ]
    (shown,) = describe_distributions([name], lambda: split[0], lambda: split[1])
    return shown


def test_distribution_counts_every_cell_once_on_shared_bins() -> None:
    rng = np.random.default_rng(0)
    observed, imputed = rng.normal(size=400), rng.normal(3.0, 0.2, size=30)
    shown = distribution("x", observed, imputed)
    assert (sum(shown.observed), sum(shown.imputed)) == (400, 30)
    assert shown.edges[0] < min(observed.min(), imputed.min())
    assert shown.edges[-1] > max(observed.max(), imputed.max())
    assert np.sum(shown.density(shown.imputed) * np.diff(shown.edges)) == pytest.approx(1.0)
    assert MIN_BINS <= len(shown.observed) <= MAX_BINS


def test_whole_numbers_get_bins_of_whole_width() -> None:
    observed = np.random.default_rng(0).integers(0, 60, size=500).astype(float)
    shown = distribution("age", observed, np.array([12.3, 40.1]))
    widths = np.diff(shown.edges)
    assert np.all(widths == round(widths[0]))
    assert np.all(np.mod(shown.edges, 1) == 0.5)
    assert (sum(shown.observed), sum(shown.imputed)) == (500, 2)


def test_bins_are_as_wide_on_a_logarithmic_scale() -> None:
    rng = np.random.default_rng(0)
    observed, imputed = np.exp(rng.normal(size=400) * 2), np.exp(rng.normal(size=30))
    cells = [{"x": observed}], [{"x": imputed}]
    (shown,) = describe_distributions(["x"], lambda: cells[0], lambda: cells[1], logged=["x"])
    assert shown.log
    assert (sum(shown.observed), sum(shown.imputed)) == (400, 30)
    widths = np.diff(np.log(shown.edges))
    np.testing.assert_allclose(widths, widths[0])
    assert np.sum(shown.density(shown.imputed) * widths) == pytest.approx(1.0)
    drawing = plots.distribution(shown).on_page("x")
    assert {"0.01", "1", "100"} <= set(re.findall(">([^<>]+)</text>", drawing))
    cells[1][0]["x"] = np.array([0.0, 1.0])
    (plain,) = describe_distributions(["x"], lambda: cells[0], lambda: cells[1], logged=["x"])
    assert not plain.log


def test_whole_numbers_have_whole_ticks() -> None:
    shown = distribution("items", np.array([0.0, 1.0, 2.0] * 9), np.array([1.0]))
    assert shown.whole
    drawing = plots.distribution(shown).on_page("x")
    assert re.findall(">([^<> ]+)</text>", drawing) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "values", [[5.0], [0.0, 0.0], [-1e9, -1e9], [1e9, 1e9 + 1e-6], [0.0, 1e-300], [-1e300, 1e300]]
)
def test_distribution_of_hardly_differing_or_huge_values_counts_them(values: list[float]) -> None:
    shown = distribution("x", np.array(values), np.array([]))
    assert sum(shown.observed) == len(values)
    assert np.all(np.diff(shown.edges) > 0)
    assert np.all(shown.density(shown.imputed) == 0)


@pytest.mark.parametrize("portions", [2, 7, 430])
def test_distribution_is_the_same_however_the_cells_come(portions: int) -> None:
    rng = np.random.default_rng(0)
    observed, imputed = rng.normal(size=400), rng.normal(3.0, 0.2, size=30)
    whole = distribution("x", observed, imputed)
    assert distribution("x", observed, imputed, portions) == whole
    assert whole.observed == tuple(np.histogram(observed, whole.edges)[0].tolist())


def test_distribution_needs_cells() -> None:
    with pytest.raises(ValueError, match="column 'x' has neither observed nor imputed cells"):
        distribution("x", np.array([]), np.array([]))


def test_most_imputed_leaves_out_complete_columns_and_the_least(report: Report) -> None:
    assert most_imputed(report.columns) == ("Ozone", "Solar.R")
    assert most_imputed(report.columns, limit=1) == ("Ozone",)


# Whole numbers, such as counts and ratings, and numbers of every size, denormal ones included.
counted = st.lists(st.integers(-30, 90).map(float), min_size=1, max_size=60)
any_size = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
alike = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 5), st.floats(-1e-9, 1e-9)
).map(lambda t: [t[0], *[t[0] * (1 + t[2])] * t[1]])
times = st.lists(st.integers(0, 2**62).map(float), min_size=1, max_size=10)
yes_or_no = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=10)
finite = (counted | any_size | times | yes_or_no | alike).map(
    lambda cells: np.array([cell for cell in cells if np.isfinite(cell)] or [0.0])
)
none = st.just(np.array([]))
DAYS = 1 + np.random.default_rng(0).poisson(3, 2000).astype(float)


@settings(deadline=None, max_examples=300)
@given(finite | none, finite | none, st.booleans())
@example(DAYS, DAYS[:200] + 0.3, False)
@example(np.array([0.0, 5e-324]), np.array([0.0]), False)
@example(np.array([-1.7e308, 1.7e308]), np.array([1.0]), False)
@example(np.array([1.7e308]), np.array([1.7e308]), False)
@example(np.array([]), np.array([5.0]), False)
def test_the_cells_of_any_column_are_described(
    observed: Floats, imputed: Floats, bounded: bool
) -> None:
    """Every cell is counted once, in bins that are not empty, and nothing is said that is not."""
    if not len(observed) + len(imputed):
        return
    shown = distribution("x", observed, imputed)
    assert (sum(shown.observed), sum(shown.imputed)) == (len(observed), len(imputed))
    assert 1 <= len(shown.observed) <= MAX_BINS + 2
    assert np.isfinite(shown.edges).all()
    assert all(low < high for low, high in pairwise(shown.edges))
    cells = np.concatenate([observed, imputed])
    assert shown.edges[0] <= cells.min()
    assert cells.max() <= shown.edges[-1]
    assert not np.isnan(shown.density(shown.observed)).any()

    low, high = (observed.min(), observed.max()) if len(observed) else (np.inf, -np.inf)
    digest = ImputedDigest(low, high, (0.0, 1.0) if bounded else None)
    digest.add(imputed, np.abs(imputed))
    told = digest.describe(
        Column("x", "impute", 1, Moments(1), Moments(1, 0.0, 5e-324), digest.cells.moments)
    )
    assert (told.count, told.at_bound is None) == (len(imputed), not bounded)
    for number in (told.sd_mean, told.sd_median, *dataclasses.astuple(digest.cells.moments)):
        assert number is None or np.isfinite(number)


@settings(deadline=None, max_examples=25)
@given(finite, finite | none)
@example(np.array([-1.7e308, 1.7e308]), np.array([1.0]))
@example(np.array([0.0, 1e-300]), np.array([5e-324]))
def test_the_cells_of_any_column_are_drawn(observed: Floats, imputed: Floats) -> None:
    shown = distribution("x", observed, imputed)
    drawn = plots.distribution(shown).on_page("x") + plots.distributions([shown]).on_page("x")
    assert "nan" not in drawn
    assert "inf" not in drawn
