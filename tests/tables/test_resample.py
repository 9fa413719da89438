"""Resampled tables: each row as often as its key says, and the sums of them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import poisson

from em_impute.gaussian import PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.tables.columns.roles import Roles
from em_impute.tables.resample import AT_MOST, resample, times
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


def holed(n: int) -> Floats:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 2))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def test_rows_are_there_as_often_as_by_the_poisson_distribution() -> None:
    np.testing.assert_allclose(AT_MOST, poisson(1).cdf(np.arange(18)), rtol=1e-12)
    found = times(np.arange(100_000, dtype=np.uint64), 3, 1)
    expected = 100_000 * poisson(1).pmf(np.arange(6))
    counts = np.bincount(found, minlength=6)[:6]
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected) + 1).all()
    other = times(np.arange(100_000, dtype=np.uint64), 3, 2)
    assert abs(np.corrcoef(found, other)[0, 1]) < 0.02


@pytest.mark.parametrize("key", [(), ("id",)])
def test_the_summaries_are_those_of_repeated_rows(take_table: Take, key: tuple[str, ...]) -> None:
    X, n = holed(500), 500
    identifiers = np.random.default_rng(2).permutation(n)
    table = pa.table({"id": identifiers, "a": X[:, 0], "b": X[:, 1]})
    roles = Roles(("id", "a", "b"), key=key, impute=("a", "b"), predictors=())
    found = resample(take_table(table), roles, 3, seed=4)
    words = (identifiers if key else np.arange(n)).astype(np.uint64)
    for number, summary in enumerate(found, start=1):
        rows = np.repeat(X, times(words, 4, number), axis=0)
        whole = PatternSummary.from_array(rows, columns=["a", "b"])
        assert summary.n_rows == whole.n_rows
        np.testing.assert_array_equal(summary.observed_counts, whole.observed_counts)
        np.testing.assert_allclose(summary.observed_mean, whole.observed_mean, rtol=1e-12)
    assert len({summary.n_rows for summary in found}) > 1
