"""The compiled loop over rows: against the formulas of one row, and its bits in any company."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import fit_gaussian
from em_impute.gaussian.conditional import conditional, quick_patterns
from em_impute.gaussian.draws import conditional_draws
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.linalg import precision_if_accurate


def test_means_sds_and_draws_are_those_of_each_row() -> None:
    """With rows of more missing than observed cells among them, which go another way."""
    X = factor_table(200, 5, 0.4, seed=3)
    X[7] = np.nan
    model, holes = fit_gaussian(X).model, Holes.of(X)
    normals = np.random.default_rng(1).standard_normal(len(holes.rows))
    found = conditional(holes, model.mean, model.covariance)
    drawn = conditional_draws(holes, model.mean, model.covariance, normals)
    S, at = model.covariance, 0
    for x in X:
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        slopes = np.linalg.solve(S[np.ix_(o, o)], S[np.ix_(o, m)])
        mean = model.mean[m] + (x[o] - model.mean[o]) @ slopes
        left = S[np.ix_(m, m)] - S[np.ix_(m, o)] @ slopes
        mine = slice(at, at := at + len(m))
        np.testing.assert_allclose(found.mean[mine], mean, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.sd[mine], np.sqrt(left.diagonal()), rtol=1e-9)
        if len(m):
            expected = mean + np.linalg.cholesky(left) @ normals[mine]
            np.testing.assert_allclose(drawn[mine], expected, rtol=1e-9, atol=1e-11)
    assert at == len(normals)


def test_a_row_has_the_same_bits_in_any_company() -> None:
    X = factor_table(500, 6, 0.3, seed=4)
    model = fit_gaussian(X).model
    whole = model.impute(X)
    for rows in (slice(0, 1), slice(3, 10), slice(None, None, -1), slice(1, None, 7)):
        np.testing.assert_array_equal(model.impute(X[rows]), whole[rows])


def test_patterns_that_miss_half_or_less_go_through_the_loop() -> None:
    X = factor_table(300, 5, 0.4, seed=5)
    holes, correlation = Holes.of(X), np.eye(5)
    n_missing = (~holes.patterns).sum(axis=1)
    first, last = quick_patterns(holes, precision_if_accurate(correlation))
    assert set(n_missing[first:last]) == {1, 2}
    assert (n_missing[last:] > 2).all()
    assert quick_patterns(holes, None) == (first, first)


def test_a_covariance_that_is_none_is_an_error() -> None:
    X = np.array([[1.0, np.nan, 2.0]])
    indefinite = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    with pytest.raises(ValueError, match="covariance"):
        conditional(Holes.of(X), np.zeros(3), indefinite)
