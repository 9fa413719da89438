"""The ridge prior, and the one that is found by itself."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table, reference
from numpy.typing import NDArray

from em_impute.gaussian import (
    PatternSummary,
    Status,
    fit_gaussian,
)

Floats = NDArray[np.float64]


def test_auto_prior_rescues_marijuana_and_says_what_it_did() -> None:
    known = reference("marijuana")
    result = fit_gaussian(PatternSummary.from_array(known.X, known.columns), prior_rows="auto")
    assert result.status is Status.CONVERGED
    assert result.prior_rows == pytest.approx(9e-6)
    assert len(result.decisions) == 1
    assert "'Plac.15'" in result.decisions[0]
    assert "0.0001% of 9" in result.decisions[0]


def test_auto_prior_leaves_data_with_a_maximum_alone() -> None:
    X = reference("airquality").X
    one, other = fit_gaussian(X, prior_rows="auto"), fit_gaussian(X)
    assert one.prior_rows == 0.0
    assert one.decisions == ()
    np.testing.assert_array_equal(one.model.covariance, other.model.covariance)


def test_ridge_prior_is_that_many_pseudo_rows() -> None:
    X = factor_table(60, 3, 0.0, seed=21)
    sample = np.cov(X.T, bias=True)
    result = fit_gaussian(X, prior_rows=6.0)
    expected = (60 * sample + 6.0 * np.diag(np.diag(sample))) / 66
    np.testing.assert_allclose(result.model.covariance, expected, rtol=1e-10)
