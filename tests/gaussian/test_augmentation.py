"""Data augmentation: its steps against a sampler that goes row by row, and its calibration."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from holed_tables import factor_table
from scipy.stats import chi2, invwishart

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.augmentation import (
    Prior,
    _impute,
    _Observed,
    augment,
    inverse_wishart_root,
)
from em_impute.gaussian.e_step import WeightedRows


def rows_of(X: Floats) -> WeightedRows:
    p = X.shape[1]
    return WeightedRows.of(PatternSummary.from_array(X), np.arange(p), np.zeros(p), np.ones(p))


def conditionals(X: Floats, S: Floats) -> list[tuple[Ints, Ints, Floats, Floats]]:
    """For each row what it shows and misses, and the missing ones' slopes and noise."""
    found = []
    for x in X:
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        slopes = np.linalg.solve(S[np.ix_(o, o)], S[np.ix_(o, m)])
        left = S[np.ix_(m, m)] - S[np.ix_(m, o)] @ slopes
        found.append((o, m, slopes, np.linalg.cholesky(left) if len(m) else left))
    return found


def drawn_row_by_row(
    X: Floats,
    mean: Floats,
    given: list[tuple[Ints, Ints, Floats, Floats]],
    random: np.random.Generator,
) -> Floats:
    """The moments of the completed rows about the mean, as a vector."""
    D = np.nan_to_num(X - mean)
    for d, (o, m, slopes, root) in zip(D, given, strict=True):
        if len(m):
            d[m] = d[o] @ slopes + root @ random.standard_normal(len(m))
    return np.concatenate([D.sum(axis=0), (D.T @ D)[np.tril_indices(len(mean))]])


def test_the_imputation_step_has_the_moments_of_one_row_by_row() -> None:
    """The first two, with patterns of many rows and of one, and less or more missing than seen."""
    X = factor_table(60, 4, 0.0, seed=6)
    X[:25, 1], X[25:40, [0, 2, 3]], X[40:43, 2], X[43, [0, 1]] = np.nan, np.nan, np.nan, np.nan
    model = fit_gaussian(X).model
    at = model.mean, model.covariance
    rows, random, repeats = rows_of(X), np.random.default_rng(1), 3000
    observed = _Observed.of(rows)
    of_part = {id(part): np.random.default_rng(k) for k, part in enumerate(rows.parts)}
    below = np.tril_indices(4)
    ours = np.empty((repeats, 14))
    for k in range(repeats):
        total, cross = _impute(rows, observed, at, of_part)
        np.testing.assert_array_equal(cross, cross.T)
        ours[k] = np.concatenate([total, cross[below]])
    given = conditionals(X, at[1])
    theirs = np.array([drawn_row_by_row(X, at[0], given, random) for _ in range(repeats)])
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / repeats)
    varying = theirs.std(axis=0) > 1e-9
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * error + 1e-9).all()
    ratio = ours.std(axis=0)[varying] / theirs.std(axis=0)[varying]
    np.testing.assert_allclose(ratio, 1.0, atol=0.08)
    one, other = (np.corrcoef(draws[:, varying].T) for draws in (ours, theirs))
    np.testing.assert_allclose(one, other, atol=0.1)


def test_an_inverse_wishart_has_its_moments() -> None:
    scatter, df, random = np.array([[2.0, 0.5], [0.5, 1.0]]), 9.0, np.random.default_rng(2)
    roots = [inverse_wishart_root(df, scatter, random) for _ in range(20_000)]
    draws = np.array([root @ root.T for root in roots])
    np.testing.assert_allclose(draws.mean(axis=0), scatter / (df - 3), rtol=0.02)
    theirs = invwishart(df, scatter).rvs(20_000, random_state=np.random.default_rng(3))
    np.testing.assert_allclose(draws.std(axis=0), theirs.std(axis=0), rtol=0.1)


def test_it_is_calibrated() -> None:
    """Simulation-based calibration (Talts et al. 2018): ranks of the truth among draws are uniform.

    The covariance comes from its prior; the mean, whose prior is flat, from any point.
    """
    random, p, kept, replications = np.random.default_rng(7), 2, 9, 500
    prior = Prior(rows=6.0, scatter=4.0 * np.eye(p))
    ranks = np.empty((replications, 5), dtype=int)
    for k in range(replications):
        root = inverse_wishart_root(prior.rows, prior.scatter, random)
        mean = random.normal(size=p)
        X = mean + random.standard_normal((25, p)) @ root.T
        # Missing at random: more where the first column is high.
        X[random.random(25) < 1 / (1 + np.exp(-(X[:, 0] - mean[0]) / root[0, 0])), 1] = np.nan
        rows = rows_of(X)
        truth = np.concatenate([mean, (root @ root.T)[np.tril_indices(p)]])
        chain = augment(rows, (mean, root @ root.T), prior, [k])
        # The truth is a draw from the posterior itself, so the chain has nothing to forget.
        states = islice(chain, 3, None, 4)
        draws = np.array(
            [np.concatenate([m, S[np.tril_indices(p)]]) for m, S in islice(states, kept)]
        )
        ranks[k] = (draws < truth).sum(axis=0)
    expected = replications / (kept + 1)
    for column in ranks.T:
        counts = np.bincount(column, minlength=kept + 1)
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert chi2.sf(statistic, kept) > 0.001


def test_in_large_samples_the_posterior_is_as_wide_as_the_estimates_errors() -> None:
    X = factor_table(2000, 3, 0.3, seed=5)
    X = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    result = fit_gaussian(X)
    chain = augment(rows_of(X), (result.model.mean, result.model.covariance), Prior(), [1])
    states = islice(chain, 50, 3050)
    draws = np.array([np.concatenate([m, S[np.tril_indices(3)]]) for m, S in states])
    table = result.estimates().head(9)
    np.testing.assert_allclose(draws.std(axis=0), table.std_error, rtol=0.12)
    assert (np.abs(draws.mean(axis=0) - table.estimate) < 0.25 * table.std_error).all()


def test_the_same_seeds_give_the_same_draws() -> None:
    rows, at = rows_of(factor_table(100, 3, 0.3, seed=5)), (np.zeros(3), np.eye(3))
    one, same, other = (
        next(islice(augment(rows, at, Prior(), seeds), 5, None)) for seeds in ([1], [1], [2])
    )
    np.testing.assert_array_equal(one[1], same[1])
    assert not np.array_equal(one[1], other[1])


def test_a_ridge_prior_pulls_the_covariances_towards_0() -> None:
    X = factor_table(60, 3, 0.2, seed=9)
    X = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    rows, at = rows_of(X), (np.zeros(3), np.eye(3))
    free, tied = (
        np.mean([abs(S[0, 1]) for _, S in islice(augment(rows, at, prior, [1]), 20, 420)])
        for prior in (Prior(), Prior.ridge(200.0, 3))
    )
    assert tied < 0.5 * free


def test_without_enough_rows_there_is_no_posterior() -> None:
    rows = rows_of(factor_table(3, 3, 0.0, seed=1))
    with pytest.raises(ValueError, match="3 rows do not determine the spread of 3 columns"):
        next(augment(rows, (np.zeros(3), np.eye(3)), Prior(), [1]))
