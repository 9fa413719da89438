"""The mixture's engine: against a row-by-row EM, and what it must not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian.families import (
    KINDS,
    Components,
    Kind,
    MixtureFit,
    Options,
    Scaling,
    fit_mixture,
)
from em_impute.gaussian.families.climb import Climb, climb
from em_impute.gaussian.families.components import m_step
from em_impute.gaussian.families.e_step import e_step, posteriors
from em_impute.gaussian.families.partition import Sample, k_means, start
from em_impute.gaussian.families.rows import SortedRows

Floats = NDArray[np.float64]


def clusters(n: int, p: int, missing: float, seed: int, k: int = 3) -> Floats:
    """Rows of k Gaussians, some of whose cells are missing; one row shows nothing."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(k, p, p)) / 2 + np.eye(p)
    label = rng.integers(k, size=n)
    X = 3.0 * rng.normal(size=(k, p))[label]
    X += np.einsum("nij,nj->ni", factors[label], rng.normal(size=(n, p)))
    X[rng.random(X.shape) < missing] = np.nan
    X[n // 2] = np.nan
    return X


def fitted(X: Floats, k: int | str, kind: Kind = "full", **options: Any) -> MixtureFit:
    options = {"tol": 1e-10, "max_iter": 5000, "seed": 0, **options}
    return fit_mixture(
        X,
        [f"x{j}" for j in range(X.shape[1])],
        k,  # type: ignore[arg-type]
        kind=kind,
        options=Options(options.pop("tol"), options.pop("max_iter")),
        rng=np.random.default_rng(options.pop("seed")),
        **options,
    )


def began(X: Floats, k: int, kind: Kind, seed: int = 0) -> tuple[SortedRows, Components]:
    """Sorted rows and where a fit to them starts."""
    rng = np.random.default_rng(seed)
    rows = SortedRows.of(X, Scaling.of(X, common=kind == "spherical"))
    return rows, start(Sample.of(rows, rng), k, kind, rng)


def slow_step(
    X: Floats, weights: Floats, means: Floats, covariances: Floats, kind: Kind
) -> tuple[Floats, Floats, Floats, float]:
    """One step of EM, row by row, as the papers write it; and the log-likelihood before it."""
    k, p = means.shape
    masses, sums, squares, loglik = np.zeros(k), np.zeros((k, p)), np.zeros((k, p, p)), 0.0
    for x in X[~np.isnan(X).all(axis=1)]:
        o = ~np.isnan(x)
        density, mean, scatter = np.zeros(k), np.zeros((k, p)), np.zeros((k, p, p))
        for g in range(k):
            S = covariances[g]
            d, inverse = x[o] - means[g, o], np.linalg.inv(S[np.ix_(o, o)])
            root = np.sqrt(np.linalg.det(2 * np.pi * S[np.ix_(o, o)]))
            density[g] = weights[g] * np.exp(-d @ inverse @ d / 2) / root
            slope = S[:, o] @ inverse
            mean[g], scatter[g] = means[g] + slope @ d, S - slope @ S[o]
            mean[g, o] = x[o]
        loglik += np.log(density.sum())
        for g, r in enumerate(density / density.sum()):
            masses[g] += r
            sums[g] += r * mean[g]
            squares[g] += r * (np.outer(mean[g], mean[g]) + scatter[g])
    new = sums / masses[:, None]
    S = squares / masses[:, None, None] - new[:, :, None] * new[:, None]
    weights = masses / masses.sum()
    if kind == "tied":
        S[:] = np.einsum("g,gij->ij", weights, S)
    if kind in ("diag", "spherical"):
        S = np.eye(p) * np.diagonal(S, axis1=1, axis2=2)[:, None]
    if kind == "spherical":
        S = np.eye(p) * np.trace(S, axis1=1, axis2=2)[:, None, None] / p
    return weights, new, S, loglik


@pytest.mark.parametrize(("p", "missing"), [(1, 0.3), (4, 0.3), (12, 0.08), (12, 0.7)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_a_row_by_row_em(kind: Kind, p: int, missing: float) -> None:
    """Few and many missing cells in a row take different roads."""
    X = clusters(120, p, missing, seed=p)
    rows, at = began(X, 3, kind)
    scale, centre = rows.scaling.scale, rows.scaling.centre
    weights, means = at.weights, centre + scale * at.means
    covariances = at.matrices * np.outer(scale, scale)
    for _ in range(5):
        weights, means, covariances, loglik = slow_step(X, weights, means, covariances, kind)
        moments = e_step(rows, at)
        at = m_step(moments, at, 0.0)[0]
        assert moments.loglik - rows.log_jacobian == pytest.approx(loglik, rel=1e-12)
        np.testing.assert_allclose(at.weights, weights, rtol=1e-10)
        np.testing.assert_allclose(centre + scale * at.means, means, rtol=1e-9, atol=1e-10)
        ours = at.matrices * np.outer(scale, scale)
        np.testing.assert_allclose(ours, covariances, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_ends_where_a_row_by_row_em_stays(kind: Kind) -> None:
    X = clusters(150, 3, 0.25, seed=2)
    fit = fitted(X, 2, kind)
    model = fit.model
    again = slow_step(X, model.weights, model.means, model.covariances, kind)
    assert fit.climb.converged
    assert again[3] == pytest.approx(fit.loglik, rel=1e-11)
    np.testing.assert_allclose(again[0], model.weights, rtol=1e-4)
    np.testing.assert_allclose(again[1], model.means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again[2], model.covariances, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    k=st.integers(1, 4),
    p=st.integers(1, 4),
    missing=st.floats(0.0, 0.5),
    prior_rows=st.sampled_from([0.0, 0.5, 5.0]),
    seed=st.integers(0, 10_000),
)
def test_the_likelihood_never_decreases(
    kind: Kind, k: int, p: int, missing: float, prior_rows: float, seed: int
) -> None:
    rows, at = began(clusters(60, p, missing, seed), k, kind, seed)
    climbed = climb(rows, at, prior_rows, Options(tol=1e-9, max_iter=60))
    if not prior_rows:
        assert_never_falls(climbed.logliks)
    for _ in range(20):  # plain EM, too, and by no less than is foreseen
        before = objective(rows, at, prior_rows)
        image, gain = m_step(e_step(rows, at), at, prior_rows)
        if len(image.collapsed()):
            break
        assert gain >= -1e-9
        assert objective(rows, image, prior_rows) >= before + gain - 1e-8
        at = image


def objective(rows: SortedRows, at: Components, prior_rows: float) -> float:
    return e_step(rows, at).loglik - at.penalty(prior_rows)


def assert_never_falls(logliks: tuple[float, ...]) -> None:
    steps = np.diff(logliks)
    assert (steps >= -1e-12 * (1.0 + np.abs(logliks[1:]))).all()


def test_acceleration_ends_where_plain_em_does() -> None:
    rows, at = began(clusters(200, 3, 0.3, seed=5), 3, "full")
    ending = climb(rows, at, 0.0, Options(tol=1e-12, max_iter=2000))
    for _ in range(3000):
        at = m_step(e_step(rows, at), at, 0.0)[0]
    assert ending.point.loglik == pytest.approx(
        e_step(rows, at).loglik - rows.log_jacobian, abs=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_rows_does_not_matter(kind: Kind) -> None:
    X = clusters(200, 3, 0.2, seed=7)
    rows, at = began(X, 3, kind)
    shuffled = SortedRows.of(np.random.default_rng(0).permutation(X), rows.scaling)
    one, other = (climb(some, at, 0.0, Options(1e-10, 2000)).point for some in (rows, shuffled))
    np.testing.assert_allclose(other.components.means, one.components.means, atol=1e-5)
    assert other.loglik == pytest.approx(one.loglik, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_columns_does_not_matter(kind: Kind) -> None:
    X, order = clusters(200, 3, 0.2, seed=7), [2, 0, 1]
    rows, at = began(X, 3, kind)
    across = SortedRows.of(X[:, order], Scaling.of(X[:, order], common=kind == "spherical"))
    for _ in range(10):
        turned = at.covariances[:, :, order]
        turned = turned if turned.shape[1] == 1 else turned[:, order]
        there = Components(kind, at.weights, at.means[:, order], np.ascontiguousarray(turned))
        there = m_step(e_step(across, there), there, 0.0)[0]
        at = m_step(e_step(rows, at), at, 0.0)[0]
        np.testing.assert_allclose(there.means, at.means[:, order], atol=1e-10)
        np.testing.assert_allclose(there.matrices, at.matrices[:, order][:, :, order], atol=1e-10)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_scaling_a_column_scales_its_estimates(kind: Kind) -> None:
    X = clusters(200, 3, 0.2, seed=8)
    factor = np.array([1e6, 1.0, 1e-4])
    one, other = fitted(X, 3, kind), fitted(X * factor + 7.0, 3, kind)
    np.testing.assert_allclose(other.model.means, one.model.means * factor + 7.0, rtol=1e-6)
    back = other.model.covariances / np.outer(factor, factor)
    np.testing.assert_allclose(back, one.model.covariances, rtol=1e-4, atol=1e-5)
    cells = np.count_nonzero(~np.isnan(X), axis=0)
    assert other.loglik == pytest.approx(one.loglik - cells @ np.log(factor), rel=1e-9)


def test_one_component_is_the_gaussian() -> None:
    from em_impute import fit_gaussian

    X = clusters(120, 4, 0.2, seed=1)
    fit, gaussian = fitted(X, 1, tol=1e-12), fit_gaussian(X, tol=1e-9)
    assert fit.loglik == pytest.approx(gaussian.loglik, abs=1e-7)
    np.testing.assert_allclose(fit.model.means[0], gaussian.model.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        fit.model.impute(np.ascontiguousarray(X)), gaussian.model.impute(X), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_does_not_depend_on_threads(kind: Kind) -> None:
    from em_impute.gaussian.threads import at_most

    X = clusters(30_000, 4, 0.1, seed=3)
    results = []
    for n_jobs in (1, 2):
        with at_most(n_jobs):
            rows, at = began(X, 3, kind)
            ending: Climb = climb(rows, at, 0.0, Options(1e-6, 10))
            results.append((ending.point.components.means, *posteriors(rows, at)))
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()


def test_k_means_parts_what_is_apart() -> None:
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(20, 2)) * 0.1 + 10 * g for g in range(4)])
    labels = k_means(points, 4, rng).reshape(4, 20)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == 4
    assert set(k_means(np.ones((5, 2)), 3, rng)) <= {0, 1, 2}


def test_positions_lead_back() -> None:
    for kind in KINDS:
        _, at = began(clusters(60, 3, 0.2, seed=4), 3, kind)
        back = at.at(at.position())
        np.testing.assert_allclose(back.weights, at.weights, rtol=1e-12)
        np.testing.assert_allclose(back.means, at.means, rtol=1e-12)
        np.testing.assert_allclose(back.covariances, at.covariances, rtol=1e-12, atol=1e-14)


def test_means_of_holes_are_those_of_simulated_rows() -> None:
    """Rows drawn from the mixture that agree with what is observed average to what is filled."""
    fit = fitted(clusters(300, 2, 0.1, seed=6), 2)
    rng = np.random.default_rng(0)
    label = rng.choice(2, size=400_000, p=fit.model.weights)
    roots = np.linalg.cholesky(fit.model.covariances)
    drawn = fit.model.means[label]
    drawn += np.einsum("nij,nj->ni", roots[label], rng.normal(size=drawn.shape))
    at = np.median(drawn[:, 0])
    like = np.abs(drawn[:, 0] - at) < 0.05
    filled = fit.model.impute(np.array([[at, np.nan]]))
    spread = drawn[like, 1].std() / np.sqrt(like.sum())
    assert filled[0, 1] == pytest.approx(drawn[like, 1].mean(), abs=5 * spread + 0.02)
    many = np.tile([[at, np.nan]], (20_000, 1))
    draws = fit.model.draw(many, 1, np.arange(20_000, dtype=np.uint64))[:, 1]
    assert draws.mean() == pytest.approx(drawn[like, 1].mean(), abs=0.1)
    assert draws.std() == pytest.approx(drawn[like, 1].std(), rel=0.05)
