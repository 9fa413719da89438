"""The report's numbers against pandas, and what becomes of numbers that do not exist."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.reporting import missingness, plots
from em_impute.reporting.columns import ImputedDigest, describe_columns
from em_impute.reporting.distributions import (
    MAX_BINS,
    MIN_BINS,
    describe_distributions,
    most_imputed,
)
from em_impute.reporting.fit import MAX_EVALUATIONS, describe_fit
from em_impute.reporting.records import Column, Distribution, Floats, Report
from em_impute.reporting.svg import as_png, as_svg
from em_impute.reporting.verdict import verdict_on
from em_impute.tables.digest import MAX_KEPT, Digest, Moments


def column(report: Report, name: str) -> Column:
    return next(column for column in report.columns if column.name == name)


def distribution(name: str, observed: Floats, imputed: Floats, portions: int = 1) -> Distribution:
    """Describe one column whose cells come in so many portions."""
    split = [
        [{name: cells} for cells in np.array_split(values, portions)]
        for values in (observed, imputed)
    ]
    (shown,) = describe_distributions([name], lambda: split[0], lambda: split[1])
    return shown


def test_table_counts_are_those_of_pandas(report: Report, airquality: pd.DataFrame) -> None:
    assert (report.rows, len(report.columns)) == airquality.shape
    assert report.cells == airquality.size
    assert report.missing_cells == report.imputed_cells == airquality.isna().sum().sum() == 44


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
    patterns = missingness.describe_patterns(summary)
    missing = pd.DataFrame(X, columns=summary.columns).isna().sum()
    assert missing[list(patterns.columns)].is_monotonic_decreasing
    assert missing[list(patterns.columns)].min() >= missing.nlargest(41).iloc[-1]
    assert (len(patterns.rows), len(patterns.columns)) == (25, 40)
    assert (patterns.total_columns, patterns.total_rows) == (50, 500)
    assert patterns.total_patterns == len(np.unique(np.isnan(X), axis=0))
    assert patterns.share_shown == sum(row.count for row in patterns.rows) / 500


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


@pytest.mark.parametrize("portions", [1, 13])
def test_digest_of_more_cells_than_it_keeps(portions: int) -> None:
    """Moments and range are exact, quartiles those of a part of the cells, however they come."""
    cells = np.random.default_rng(1).lognormal(10, 1, size=3 * MAX_KEPT)
    digest = Digest()
    for portion in np.array_split(cells, portions):
        digest.add(portion)
    assert (digest.low, digest.high, digest.whole) == (cells.min(), cells.max(), False)
    assert digest.moments == Moments(
        len(cells), pytest.approx(cells.mean(), rel=1e-13), pytest.approx(cells.std(), rel=1e-12)
    )
    assert digest.kept.tolist() == cells[::4].tolist()
    assert np.percentile(digest.kept, [25, 75]) == pytest.approx(
        np.percentile(cells, [25, 75]), rel=0.02
    )


def test_moments_far_from_zero_keep_their_digits() -> None:
    cells = 1e9 + np.arange(1000.0) % 7
    digest = Digest()
    for portion in np.array_split(cells, 50):
        digest.add(portion)
    assert digest.moments.sd == pytest.approx(np.std(cells - 1e9), rel=1e-9)


def test_distribution_needs_cells() -> None:
    with pytest.raises(ValueError, match="column 'x' has neither observed nor imputed cells"):
        distribution("x", np.array([]), np.array([]))


def test_most_imputed_leaves_out_complete_columns_and_the_least(report: Report) -> None:
    assert most_imputed(report.columns) == ("Ozone", "Solar.R")
    assert most_imputed(report.columns, limit=1) == ("Ozone",)


@pytest.mark.parametrize(
    ("refusal", "warnings", "cells", "outcome", "words"),
    [
        (None, (), 44, "published", "44 missing cells were filled and the table was written to t"),
        (None, (), 1, "published", "1 missing cell was filled"),
        (None, (), 0, "published", "No cell needed filling"),
        (None, ("Wind is constant.",), 3, "published with warnings", "Wind is constant."),
        ("Temp is out of range.", (), 3, "not published", "t was not changed."),
    ],
)
def test_verdict_says_what_became_of_the_run(
    refusal: str | None, warnings: tuple[str, ...], cells: int, outcome: str, words: str
) -> None:
    verdict = verdict_on(refusal=refusal, warnings=warnings, imputed_cells=cells, target="t")
    assert verdict.outcome == outcome
    assert words in verdict.sentence
    assert verdict.sentence.startswith(refusal or "")


def test_report_survives_strict_json(report: Report) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)) == report


def test_report_refused_before_the_fit_survives_strict_json(report: Report) -> None:
    partial = dataclasses.replace(report, fit=None, patterns=None, distributions=(), columns=())
    assert Report.from_dict(json.loads(json.dumps(partial.to_dict()))) == partial


def test_nan_and_infinity_become_null(report: Report) -> None:
    odd = dataclasses.replace(report.columns[0], em=Moments(1, np.nan, np.inf))
    text = json.dumps(dataclasses.replace(report, columns=(odd,)).to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)).columns[0].em == Moments(1, None, None)


def test_report_of_the_wrong_shape_is_refused_by_field(report: Report) -> None:
    values = report.to_dict() | {"rows": "many"}
    with pytest.raises(ValidationError, match="rows"):
        Report.from_dict(values)


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
    assert as_svg(plots.distribution(shown), "x", "x").startswith("<svg")
    assert as_png(plots.distributions([shown]), dpi=40)
