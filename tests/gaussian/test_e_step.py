"""The E-step: both forms against 50-digit arithmetic and against row-by-row sums."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute.gaussian import PatternSummary
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.linalg import ILL_CONDITIONED

Floats = NDArray[np.float64]


def row_by_row(X: Floats, mean: Floats, covariance: Floats) -> tuple[Floats, Floats, float]:
    """Expected total, cross-products and log-likelihood, one row at a time, in 50 digits."""
    p = len(mean)
    with mp.workdps(50):
        mu = mp.matrix(mean.tolist())
        sigma = mp.matrix(covariance.tolist())
        total, cross, loglik = mp.zeros(p, 1), mp.zeros(p, p), mp.mpf(0)
        for row in X:
            shown = [j for j in range(p) if not np.isnan(row[j])]
            hidden = [j for j in range(p) if np.isnan(row[j])]
            d = mp.matrix([mp.mpf(row[j]) - mu[j] for j in shown])
            within = mp.matrix([[sigma[i, j] for j in shown] for i in shown])
            z = mp.lu_solve(within, d)
            filled = mp.zeros(p, 1)
            for i, j in enumerate(shown):
                filled[j] = d[i]
            for j in hidden:
                filled[j] = sum(sigma[j, k] * z[i] for i, k in enumerate(shown))
            total += filled
            cross += filled * filled.T
            for i in hidden:
                across = mp.matrix([sigma[i, k] for k in shown])
                solved = mp.lu_solve(within, across)
                for j in hidden:
                    explained = sum(solved[a] * sigma[j, k] for a, k in enumerate(shown))
                    cross[i, j] += sigma[i, j] - explained
            distance = sum(d[i] * z[i] for i in range(len(shown)))
            loglik -= (len(shown) * mp.log(2 * mp.pi) + mp.log(mp.det(within)) + distance) / 2
        numbers = np.array(cross.tolist(), dtype=float).reshape(p, p)
        return np.array(total.tolist(), dtype=float).ravel(), numbers, float(loglik)


def covariance_of_condition(condition: float, p: int, seed: int) -> Floats:
    """A correlation-like matrix with eigenvalues spread evenly in logs."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(p, p)))[0]
    matrix = (basis * np.geomspace(1.0, 1.0 / condition, p)) @ basis.T
    sd = np.sqrt(np.diag(matrix))
    return (matrix / np.outer(sd, sd) + (matrix / np.outer(sd, sd)).T) / 2


@pytest.mark.parametrize("missing", [0.2, 0.7], ids=["few missing", "most missing"])
@pytest.mark.parametrize(
    "condition", [1e1, 1e3, 0.9 * ILL_CONDITIONED, 1.1 * ILL_CONDITIONED, 1e8, 1e9, 1e10]
)
def test_the_chosen_form_agrees_with_50_digits(condition: float, missing: float) -> None:
    """Rows are drawn from the covariance, so that all its directions matter."""
    p = 6
    rng = np.random.default_rng(11)
    covariance = covariance_of_condition(condition, p, seed=12)
    mean = rng.normal(size=p)
    X = rng.multivariate_normal(mean, covariance, size=40, method="eigh")
    X[rng.random(X.shape) < missing] = np.nan
    X = X[~np.isnan(X).all(axis=1)]
    rows = WeightedRows.of(
        PatternSummary.from_array(X), np.arange(p), centre=np.zeros(p), scale=np.ones(p)
    )
    moments = e_step(rows, mean, covariance)
    total, cross, loglik = row_by_row(X, mean, covariance)
    np.testing.assert_allclose(moments.total, total, atol=1e-8 * np.abs(total).max())
    np.testing.assert_allclose(moments.cross, cross, atol=1e-8 * np.abs(cross).max())
    assert moments.loglik == pytest.approx(loglik, rel=1e-8)


def test_condensed_patterns_give_what_the_rows_give() -> None:
    X = factor_table(400, 5, 0.15, seed=13)[:, :4]
    X = X[~np.isnan(X).all(axis=1)]
    mean, covariance = np.nanmean(X, axis=0) + 0.3, np.cov(factor_table(50, 4, 0.0, seed=14).T)
    rows = WeightedRows.of(
        PatternSummary.from_array(X), np.arange(4), centre=np.zeros(4), scale=np.ones(4)
    )
    moments = e_step(rows, mean, covariance)
    total, cross, loglik = row_by_row(X, mean, covariance)
    np.testing.assert_allclose(moments.total, total, rtol=1e-10)
    np.testing.assert_allclose(moments.cross, cross, rtol=1e-10)
    assert moments.loglik == pytest.approx(loglik, rel=1e-12)


def test_rows_with_nothing_observed_do_not_count() -> None:
    X = factor_table(30, 3, 0.2, seed=15)
    X = X[~np.isnan(X).all(axis=1)]
    empty = np.vstack([X, np.full((7, 3), np.nan)])
    one, other = (
        e_step(
            WeightedRows.of(PatternSummary.from_array(data), np.arange(3), np.zeros(3), np.ones(3)),
            np.zeros(3),
            np.eye(3),
        )
        for data in (X, empty)
    )
    assert one.n == other.n == len(X)
    assert one.loglik == pytest.approx(other.loglik, rel=1e-14)
    np.testing.assert_allclose(one.cross, other.cross, rtol=1e-13)


def test_a_covariance_that_is_none_is_an_error() -> None:
    rows = WeightedRows.of(
        PatternSummary.from_array(np.eye(3)), np.arange(3), np.zeros(3), np.ones(3)
    )
    for covariance in (np.ones((3, 3)), -np.eye(3), np.full((3, 3), np.nan)):
        with pytest.raises(np.linalg.LinAlgError):
            e_step(rows, np.zeros(3), covariance)
