"""Fisher scoring against the formulas written out, and what it does for EM."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import PatternSummary, Status, fit_gaussian
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.em import m_step
from em_impute.gaussian.scoring import SCORING_AFTER, scoring_pays, scoring_step

P = 4


def rows_of(X: Floats) -> WeightedRows:
    summary, p = PatternSummary.from_array(X), X.shape[1]
    return WeightedRows.of(summary, np.arange(p), np.zeros(p), np.ones(p))


def written_out(X: Floats, mean: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """One step of scoring, row by row and covariance by covariance."""
    p = len(mean)
    pairs = [(i, j) for i in range(p) for j in range(i + 1)]
    slopes = []
    for i, j in pairs:
        slope = np.zeros((p, p))
        slope[i, j] = slope[j, i] = 1.0
        slopes.append(slope)
    of_mean, of_covariance = np.zeros((p, p)), np.zeros((len(pairs), len(pairs)))
    up_mean, up_covariance = np.zeros(p), np.zeros(len(pairs))
    for x in X:
        o = np.flatnonzero(~np.isnan(x))
        W = np.zeros((p, p))
        W[np.ix_(o, o)] = np.linalg.inv(covariance[np.ix_(o, o)])
        d = np.where(np.isnan(x), 0.0, x - mean)
        of_mean += W
        up_mean += W @ d
        for a, A in enumerate(slopes):
            up_covariance[a] += 0.5 * (d @ W @ A @ W @ d - np.trace(W @ A))
            for b, B in enumerate(slopes):
                of_covariance[a, b] += 0.5 * np.trace(W @ A @ W @ B)
    change = np.linalg.solve(of_covariance, up_covariance)
    step = sum(one * slope for one, slope in zip(change, slopes, strict=True))
    return mean + np.linalg.solve(of_mean, up_mean), covariance + step


def test_a_step_is_the_formula() -> None:
    X = factor_table(60, P, 0.4, seed=3)
    mean, covariance = np.full(P, 0.1), 0.3 + 0.9 * np.eye(P)
    rows = rows_of(X)
    image = m_step(e_step(rows, mean, covariance), mean, 0.0)
    stepped = scoring_step(rows, (mean, covariance), image)
    assert stepped is not None
    for ours, expected in zip(stepped, written_out(X, mean, covariance), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("n", "p", "share"), [(3000, 8, 0.8), (3000, 8, 0.6), (1000, 10, 0.6)])
def test_little_data_takes_few_steps_to_the_same_maximum(n: int, p: int, share: float) -> None:
    X = factor_table(n, p, share, seed=4)
    plain = fit_gaussian(X, acceleration="squarem", tol=1e-9, max_iter=20_000)
    fit = fit_gaussian(X)
    assert fit.status is Status.CONVERGED
    assert fit.n_iter < plain.n_iter / 3
    np.testing.assert_allclose(fit.model.mean, plain.model.mean, atol=2e-6)
    np.testing.assert_allclose(fit.model.covariance, plain.model.covariance, atol=3e-6)
    assert fit.loglik >= plain.loglik - 1e-7


def test_scoring_is_left_where_it_leads_nowhere() -> None:
    """Two columns that are nearly one: the information is singular, and EM goes on alone."""
    rng = np.random.default_rng(5)
    X = factor_table(40, P, 0.0, seed=5)
    X[:, 1] = X[:, 0] + 1e-9 * rng.normal(size=len(X))
    X[rng.random(X.shape) < 0.5] = np.nan
    with pytest.warns(match="no maximum"):
        fit = fit_gaussian(X)
    assert fit.status is Status.SINGULAR
    logliks = [step.loglik for step in fit.trace if step.step != "rejected"]
    assert np.all(np.diff(logliks) >= -1e-9 * np.abs(logliks[1:]))


def test_it_is_for_small_tables_with_all_pairs() -> None:
    assert scoring_pays(rows_of(factor_table(300, 12, 0.5, seed=6)))
    assert not scoring_pays(rows_of(factor_table(300, 20, 0.5, seed=6)))
    unseen = factor_table(300, P, 0.0, seed=6)
    unseen[:150, 0] = unseen[150:, 1] = np.nan
    assert not scoring_pays(rows_of(unseen))
    assert fit_gaussian(unseen).n_iter > SCORING_AFTER
