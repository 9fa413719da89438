"""The factor model's engine: against a row-by-row EM, and what it must not depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from em_impute import Status, fit_gaussian
from em_impute.gaussian.families import FactorFit, FactorModel, Noise, Scaling, fit_factor
from em_impute.gaussian.families.ascent import ascend
from em_impute.gaussian.families.latent import WeightedTable, e_step
from em_impute.gaussian.families.loadings import Loadings, m_step
from em_impute.gaussian.families.varimax import varimax
from em_impute.gaussian.stopping import Options
from em_impute.gaussian.threads import at_most

Floats = NDArray[np.float64]
NOISES: tuple[Noise, ...] = ("diagonal", "isotropic")


def factor_rows(n: int, p: int, k: int, missing: float, seed: int) -> Floats:
    """Rows of a factor model with noise in each column; some cells are missing, and one row."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, k)) @ rng.normal(size=(k, p)) + 3.0 * rng.normal(size=p)
    X += rng.normal(size=(n, p)) * rng.uniform(0.5, 1.5, p)
    X[rng.random(X.shape) < missing] = np.nan
    X[n // 2] = np.nan
    return X


def options(tol: float = 1e-9, max_iter: int = 5000, **others: Any) -> Options:
    return Options(tol, max_iter, "anderson", **{"deadline": None, **others})


def fitted(X: Floats, k: int | str, noise: Noise = "diagonal", **others: Any) -> FactorFit:
    others = {"options": options(), **others}
    return fit_factor(X, [f"x{j}" for j in range(X.shape[1])], k, noise=noise, **others)  # type: ignore[arg-type]


def some_point(p: int, k: int, noise: Noise, seed: int) -> Loadings:
    """Parameters that are far from any maximum."""
    rng = np.random.default_rng(seed)
    spread = np.full(p, 0.4) if noise == "isotropic" else rng.uniform(0.2, 0.9, p)
    mean, loadings = rng.normal(size=p) / 5, rng.normal(size=(p, k)) / 2
    return Loadings(mean, loadings, spread, noise == "isotropic", 1e-6)


def table_of(X: Floats, noise: Noise, weights: Floats | None = None) -> WeightedTable:
    scaling = Scaling.of(X, common=noise == "isotropic")
    return WeightedTable(X, np.ones(len(X)) if weights is None else weights, scaling)


def slow_step(
    X: Floats, weights: Floats, mean: Floats, loadings: Floats, psi: Floats, *, isotropic: bool
) -> tuple[Floats, Floats, Floats, float]:
    """One step of EM with parameter expansion, row by row; and the log-likelihood before it."""
    p, k = loadings.shape
    crosses, products, squares = np.zeros((p, k + 1, k + 1)), np.zeros((p, k + 1)), np.zeros(p)
    whole, loglik, sigma = np.zeros((k + 1, k + 1)), 0.0, loadings @ loadings.T + np.diag(psi)
    for x, w in zip(X, weights, strict=True):
        o = ~np.isnan(x)
        if not o.any():
            continue
        S, L = sigma[np.ix_(o, o)], loadings[o]
        loglik += w * multivariate_normal(mean[o], S).logpdf(x[o])
        z = L.T @ np.linalg.solve(S, x[o] - mean[o])
        C = np.eye(k) - L.T @ np.linalg.solve(S, L)
        u = np.concatenate([[1.0], z])
        uu = np.outer(u, u)
        uu[1:, 1:] += C
        whole += w * uu
        for j in np.flatnonzero(o):
            crosses[j] += w * uu
            products[j] += w * x[j] * u
            squares[j] += w * x[j] ** 2
    slopes = np.array([np.linalg.solve(A, b) for A, b in zip(crosses, products, strict=True)])
    left, masses = squares - np.sum(slopes * products, axis=1), crosses[:, 0, 0]
    psi = np.full(p, left.sum() / masses.sum()) if isotropic else left / masses
    shift = whole[0, 1:] / whole[0, 0]
    R = whole[1:, 1:] / whole[0, 0] - np.outer(shift, shift)
    mean = slopes[:, 0] + slopes[:, 1:] @ shift
    return mean, slopes[:, 1:] @ np.linalg.cholesky(R), psi, loglik


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("n", "p", "k", "missing"), [(40, 6, 2, 0.3), (30, 50, 3, 0.6)])
def test_a_step_is_that_of_a_row_by_row_em(
    noise: Noise, n: int, p: int, k: int, missing: float
) -> None:
    X = factor_rows(n, p, k, missing, seed=p)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, n)
    table, at = table_of(X, noise, weights), some_point(p, k, noise, seed=1)
    scale, centre = table.scaling.scale, table.scaling.centre
    mean, loadings, psi = (
        centre + scale * at.mean,
        scale[:, None] * at.loadings,
        scale**2 * at.noise,
    )
    for _ in range(4):
        slow = slow_step(X, weights, mean, loadings, psi, isotropic=noise == "isotropic")
        mean, loadings, psi, loglik = slow
        moments = e_step(table, at)
        at = m_step(moments, at)[0]
        assert moments.loglik == pytest.approx(loglik, rel=1e-10)
        np.testing.assert_allclose(centre + scale * at.mean, mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(scale**2 * at.noise, psi, rtol=1e-8)
        ours = scale[:, None] * at.loadings
        np.testing.assert_allclose(ours @ ours.T, loadings @ loadings.T, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("noise", NOISES)
def test_a_fit_ends_where_a_row_by_row_em_stays(noise: Noise) -> None:
    X = factor_rows(120, 7, 2, 0.25, seed=2)
    fit = fitted(X, 2, noise)
    mean, loadings, psi = fit.model.mean, fit.model.loadings, fit.model.noise
    again = slow_step(X, np.ones(len(X)), mean, loadings, psi, isotropic=noise == "isotropic")
    assert fit.status is Status.CONVERGED
    assert again[3] == pytest.approx(fit.loglik, rel=1e-11)
    np.testing.assert_allclose(again[0], mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again[1] @ again[1].T, loadings @ loadings.T, atol=1e-3)
    np.testing.assert_allclose(again[2], psi, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    noise=st.sampled_from(NOISES),
    n=st.integers(5, 40),
    p=st.integers(2, 12),
    k=st.integers(1, 5),
    missing=st.floats(0.0, 0.6),
    seed=st.integers(0, 10_000),
)
def test_the_likelihood_never_decreases(
    noise: Noise, n: int, p: int, k: int, missing: float, seed: int
) -> None:
    X = factor_rows(n, p, 2, missing, seed)
    X = X[:, ~np.isnan(X).all(axis=0)]
    table, at = table_of(X, noise), some_point(X.shape[1], k, noise, seed)
    at = replace(at, floor=1e-3)
    logliks = [
        one.loglik
        for one in ascend(table, at, options(max_iter=60)).trace
        if one.step != "rejected"
    ]
    # The rows' terms cancel in the sum, whose rounding is theirs.
    assert (np.diff(logliks) >= -1e-12 * (X.size + np.abs(logliks[1:]))).all()
    for _ in range(20):  # plain EM, too, and by no less than is foreseen
        before = e_step(table, at)
        image, gain = m_step(before, at)
        assert gain >= -1e-9
        assert e_step(table, image).loglik >= before.loglik + gain - 1e-8
        at = image


@settings(max_examples=25, deadline=None)
@given(
    noise=st.sampled_from(NOISES),
    n=st.integers(4, 30),
    p=st.integers(3, 10),
    missing=st.floats(0.0, 0.5),
    seed=st.integers(0, 10_000),
)
def test_permuted_rows_and_columns_and_other_units_change_a_step_alike(
    noise: Noise, n: int, p: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = factor_rows(n, p, 2, missing, seed)
    X[0] = rng.normal(size=p)
    at = some_point(p, 2, noise, seed)
    rows, columns = rng.permutation(n), rng.permutation(p)
    units = np.full(p, 1e5) if noise == "isotropic" else 10.0 ** rng.uniform(-4, 4, p)
    one = m_step(e_step(table_of(X, noise), at), at)[0]
    there = np.ascontiguousarray((X * units + 7.0 * units)[rows][:, columns])
    turned = replace(
        at, mean=at.mean[columns], loadings=at.loadings[columns], noise=at.noise[columns]
    )
    other = m_step(e_step(table_of(there, noise), turned), turned)[0]
    np.testing.assert_allclose(other.mean, one.mean[columns], atol=1e-8)
    np.testing.assert_allclose(other.loadings, one.loadings[columns], atol=1e-8)
    np.testing.assert_allclose(other.noise, one.noise[columns], rtol=1e-7)


@pytest.mark.parametrize("noise", NOISES)
def test_permuted_rows_and_columns_and_other_units_change_a_fit_alike(noise: Noise) -> None:
    X = factor_rows(150, 12, 2, 0.2, seed=7)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(150), rng.permutation(12)
    units = np.full(12, 1e5) if noise == "isotropic" else 10.0 ** rng.uniform(-6, 6, 12)
    one = fitted(X, 2, noise)
    other = fitted(np.ascontiguousarray((X * units)[rows][:, columns]), 2, noise)
    cells = np.count_nonzero(~np.isnan(X), axis=0)
    assert other.loglik == pytest.approx(one.loglik - cells @ np.log(units), rel=1e-9)
    scale = units[columns]
    np.testing.assert_allclose(other.model.mean / scale, one.model.mean[columns], atol=1e-4)
    back = other.model.loadings / scale[:, None]
    np.testing.assert_allclose(back, one.model.loadings[columns], atol=1e-3)
    np.testing.assert_allclose(other.model.noise / scale**2, one.model.noise[columns], rtol=1e-3)
    filled = other.model.impute(np.ascontiguousarray((X * units)[rows][:, columns])) / scale
    np.testing.assert_allclose(filled, one.model.impute(X)[rows][:, columns], atol=1e-3)


def test_a_weight_of_two_is_a_row_twice() -> None:
    X = factor_rows(60, 6, 2, 0.2, seed=3)
    weights = 1.0 + (np.arange(60) % 2) + (np.arange(60) == 5) * -2.0
    twice = np.repeat(X, weights.astype(int), axis=0)
    one, other = fitted(X, 2, weights=weights), fitted(twice, 2)
    assert one.loglik == pytest.approx(other.loglik, rel=1e-10)
    assert one.n_rows == other.n_rows
    np.testing.assert_allclose(one.model.covariance, other.model.covariance, atol=1e-4)


@pytest.mark.parametrize("noise", NOISES)
def test_with_enough_factors_it_is_the_gaussian(noise: Noise) -> None:
    X = factor_rows(400, 20, 5, 0.1, seed=4)
    gaussian = fit_gaussian(X, tol=1e-8)
    fit = fitted(X, 19, noise)
    assert fit.loglik == pytest.approx(gaussian.loglik, abs=1e-4)
    np.testing.assert_allclose(fit.model.covariance, gaussian.model.covariance, atol=0.02)


def test_acceleration_ends_where_plain_em_does() -> None:
    X = factor_rows(200, 12, 2, 0.2, seed=7)
    table, at = table_of(X, "diagonal"), some_point(12, 2, "diagonal", seed=5)
    ending = ascend(table, at, options(tol=1e-12))
    for _ in range(1000):
        at = m_step(e_step(table, at), at)[0]
    assert ending.point.loglik == pytest.approx(e_step(table, at).loglik, abs=1e-6)


def test_the_estimated_distance_is_that_to_the_maximum() -> None:
    X = factor_rows(150, 8, 2, 0.3, seed=5)
    rough, fine = fitted(X, 2, options=options(tol=1e-4)), fitted(X, 2, options=options(tol=1e-12))
    assert rough.distance <= 1e-4
    assert -1e-9 <= (fine.loglik - rough.loglik) / 149 <= 1e-3


def test_the_result_does_not_depend_on_threads() -> None:
    X = factor_rows(1500, 250, 3, 0.1, seed=6)
    results = []
    for n_jobs in (1, 2):
        with at_most(n_jobs):
            model = fitted(X, 3, options=options(max_iter=3)).model
            found = model.conditional(X)
            results.append(
                (model.loadings, model.noise, *model.posteriors(X), found.mean, found.sd)
            )
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_fit_goes_on_from_another() -> None:
    X = factor_rows(200, 8, 2, 0.3, seed=8)
    whole = fitted(X, 2)
    again = fitted(X + 1.0, 2, start=whole.model, options=options(tol=1e-6))
    assert again.loglik == pytest.approx(whole.loglik, abs=1e-3)
    assert len(fitted(X, 2, start=whole.model, options=options(tol=1e-6)).trace) <= 2


def test_the_loop_reports_and_ends_by_its_limits() -> None:
    X, heard = factor_rows(100, 8, 2, 0.3, seed=9), []
    fit = fitted(X, 4, options=options(max_iter=2, on_iteration=heard.append))
    assert fit.status is Status.MAX_ITERATIONS
    assert fit.trace == tuple(heard)
    assert [one.number for one in heard] == list(range(len(heard)))
    assert fit.message.startswith("Stopped by max_iter after 2 iterations, before a maximum")
    assert fit.n_iter == len(fit.trace) - 1
    assert fit.warning is not None
    late = fitted(X, 4, options=options(deadline=0.0))
    assert late.status is Status.TIME_LIMIT
    assert "Raise the time limit" in late.message


def dense(model: FactorModel, x: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of the missing cells of a row, by the whole covariance matrix."""
    o, sigma = ~np.isnan(x), model.covariance
    slope = np.linalg.solve(sigma[np.ix_(o, o)], sigma[np.ix_(o, ~o)])
    mean = model.mean[~o] + (x[o] - model.mean[o]) @ slope
    return mean, sigma[np.ix_(~o, ~o)] - slope.T @ sigma[np.ix_(o, ~o)]


def test_cells_scores_and_densities_are_those_of_the_covariance() -> None:
    X = factor_rows(80, 9, 3, 0.4, seed=10)
    model = fitted(X, 3).model
    filled, found, (scores, logliks) = model.impute(X), model.conditional(X), model.posteriors(X)
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        mean, covariance = dense(model, x)
        np.testing.assert_allclose(filled[i, ~o], mean, atol=1e-9)
        np.testing.assert_allclose(found.mean[found.rows == i], mean, atol=1e-9)
        np.testing.assert_allclose(found.sd[found.rows == i], np.sqrt(np.diag(covariance)))
        S = model.covariance[np.ix_(o, o)]
        z = model.loadings[o].T @ np.linalg.solve(S, x[o] - model.mean[o])
        np.testing.assert_allclose(scores[i], z, atol=1e-9)
        density = multivariate_normal(model.mean[o], S).logpdf(x[o]) if o.any() else 0.0
        assert logliks[i] == pytest.approx(density, abs=1e-9)
    np.testing.assert_allclose(model.sd, np.sqrt(np.diag(model.covariance)))


def test_draws_have_the_moments_of_the_cells() -> None:
    X = factor_rows(80, 6, 2, 0.3, seed=11)
    model = fitted(X, 2).model
    x = np.array([X[0]])
    x[0, 2:5] = np.nan
    drawn = model.draw(np.repeat(x, 40_000, axis=0), 1)[:, np.isnan(x[0])]
    mean, covariance = dense(model, x[0])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * covariance.max())


def test_factors_stand_in_a_definite_place() -> None:
    fit = fitted(factor_rows(200, 10, 3, 0.1, seed=12), 3)
    at = fit.model.standardised
    precision = at.loadings.T @ (at.loadings / at.noise[:, None])
    np.testing.assert_allclose(precision, np.diag(np.diag(precision)), atol=1e-9 * precision.max())
    assert (np.diff(np.diag(precision)) <= 0).all()
    turned = fit.model.turned("varimax")
    np.testing.assert_allclose(turned.covariance, fit.model.covariance, atol=1e-10)
    for loadings in (at.loadings, turned.standardised.loadings):
        largest = np.argmax(np.abs(loadings), axis=0)
        assert (loadings[largest, range(3)] > 0).all()


def test_varimax_finds_simple_loadings() -> None:
    simple = np.repeat(np.eye(3), 4, axis=0) * np.linspace(1.0, 2.0, 12)[:, None]
    angle = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = simple @ angle @ varimax(simple @ angle)
    np.testing.assert_allclose(
        np.sort(np.abs(turned).max(axis=0)), np.sort(simple.max(axis=0)), atol=1e-6
    )
    assert np.count_nonzero(np.abs(turned) > 1e-4) == 12


def test_bic_finds_the_number_of_factors() -> None:
    fit = fitted(factor_rows(300, 20, 3, 0.2, seed=13), "bic", options=options(tol=1e-6))
    assert fit.model.loadings.shape == (20, 3)
    assert list(fit.bics) == [1, 2, 3, 4, 5]
    assert fit.bics[3] == fit.bic == min(fit.bics.values())
