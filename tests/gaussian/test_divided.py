"""Fits to a summary in blocks, which are asked for sums only: the same as to all rows together."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute.gaussian import DividedSummary, Observed, PatternSummary, fit_gaussian
from em_impute.gaussian.posterior import posterior_draws


@dataclass
class Sent:
    """Blocks that functions reach as bytes, as they do in another process."""

    objects: list[Any]

    def map(self, function: Callable[[Any], Any]) -> list[Any]:
        return [function(one) for one in self.objects]

    def turned(self, function: Callable[[Any], Any]) -> Sent:
        turned = Sent([pickle.loads(pickle.dumps(function(one))) for one in self.objects])
        self.objects.clear()
        return turned


def divided(X: NDArray[np.float64]) -> DividedSummary:
    pieces = [X[:30], X[30:31], X[31:]]
    return DividedSummary(Sent([PatternSummary.from_array(piece) for piece in pieces]))


def a_table(offset: float = 0.0) -> NDArray[np.float64]:
    X = factor_table(200, 6, missing=0.2, seed=3)
    X[:40, 5] = np.nan  # of which the first blocks show nothing
    return np.column_stack([X + offset, np.full(len(X), 7.0)])


@pytest.mark.parametrize(
    "options",
    [{}, {"n_starts": 2}, {"prior_rows": 5.0}, {"acceleration": "squarem"}],
    ids=["as it is", "several starts", "a prior", "squarem"],
)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_fit_is_that_of_all_rows(options: dict[str, Any], offset: float) -> None:
    X = a_table(offset)
    whole, far = fit_gaussian(X, tol=1e-9, **options), fit_gaussian(divided(X), tol=1e-9, **options)
    assert far.converged
    np.testing.assert_allclose(far.model.mean - offset, whole.model.mean - offset, atol=1e-8)
    np.testing.assert_allclose(far.model.covariance, whole.model.covariance, atol=1e-8)
    assert far.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert far.missingness.n_missing == whole.missingness.n_missing
    assert far.worst_fraction == pytest.approx(whole.worst_fraction, abs=1e-3)
    assert far.data is None


def test_columns_that_determine_each_other() -> None:
    X = a_table()
    X[:, 2] = X[:, 0] + X[:, 1]
    whole = fit_gaussian(X, prior_rows="auto")
    far = fit_gaussian(divided(X), prior_rows="auto")
    assert far.decisions == whole.decisions
    assert any("in each of the" in sentence for sentence in far.decisions)
    np.testing.assert_allclose(far.model.mean, whole.model.mean, atol=1e-6)


def test_what_needs_the_rows_says_where_they_are() -> None:
    far = fit_gaussian(divided(a_table()))
    for asks in (far.estimates, lambda: posterior_draws(far, 2, 1)):
        with pytest.raises(ValueError, match="rows stayed on Dask's workers"):
            asks()


def test_observed_cells_in_parts(tmp_path: Path) -> None:
    X = a_table(1e9)
    X[:, 4] = np.nan
    whole = PatternSummary.from_array(X)
    found = divided(X).observed
    np.testing.assert_array_equal(found.observed_counts, whole.observed_counts)
    np.testing.assert_allclose(found.observed_mean, whole.observed_mean, rtol=1e-15)
    np.testing.assert_allclose(found.observed_sd, whole.observed_sd, rtol=1e-6)
    found.save(tmp_path / "observed.npz")
    again = Observed.load(tmp_path / "observed.npz")
    assert (again.columns, again.n_rows) == (whole.columns, whole.n_rows)
    np.testing.assert_array_equal(again.observed_sd, found.observed_sd)
