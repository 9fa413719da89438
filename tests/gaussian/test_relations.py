"""Exact linear relations between columns: found where there are any, named, and kept to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute import EMImputer, GaussianModel, PatternSummary, fit_gaussian

Floats = NDArray[np.float64]
Made = Callable[[np.random.Generator], Floats]

N = 800


def normal(rng: np.random.Generator, k: int) -> Floats:
    return rng.normal(10, 3, size=(N, k)) @ (np.eye(k) + 0.3)


def total(rng: np.random.Generator) -> Floats:
    parts = normal(rng, 3)
    return np.column_stack([parts, parts.sum(axis=1)])


def counts(rng: np.random.Generator) -> Floats:
    parts = rng.poisson(30, size=(N, 3)).astype(float)
    return np.column_stack([parts, parts.sum(axis=1)])


def cents(rng: np.random.Generator) -> Floats:
    parts = rng.lognormal(6, 1, size=(N, 3)).round(2)
    return np.column_stack([parts, parts.sum(axis=1).round(2)])


def twice(rng: np.random.Generator) -> Floats:
    X = normal(rng, 3)
    return np.column_stack([X, X[:, 1]])


def degrees(rng: np.random.Generator) -> Floats:
    X = normal(rng, 2)
    return np.column_stack([X, 1.8 * X[:, 0] + 32])


def shares(rng: np.random.Generator) -> Floats:
    return 100 * rng.dirichlet([2, 3, 4, 1], size=N)


def steps(rng: np.random.Generator) -> Floats:
    a, b, c, d = normal(rng, 4).T
    return np.column_stack([a, b, a + b, c, d, c + d, a + b + c + d])


def wide(rng: np.random.Generator) -> Floats:
    """No row in fifty is complete, and two relations among 40 columns."""
    X = rng.normal(size=(N, 40))
    X[:, 39] = X[:, :4].sum(axis=1)
    X[:, 38] = 2.5 * X[:, 11] - X[:, 10]
    return X


KINDS: dict[str, tuple[Made, tuple[str, ...]]] = {
    "total": (total, ("'x3' = 'x0' + 'x1' + 'x2'",)),
    "counts": (counts, ("'x3' = 'x0' + 'x1' + 'x2'",)),
    "cents": (cents, ("'x3' = 'x0' + 'x1' + 'x2'",)),
    "far from 0": (lambda rng: total(rng) + 1e7, ("'x3' = 'x0' + 'x1' + 'x2' - 2e+07",)),
    "tiny": (lambda rng: 1e-9 * total(rng), ("'x3' = 'x0' + 'x1' + 'x2'",)),
    "twice": (twice, ("'x1' = 'x3'",)),
    "degrees": (degrees, ("'x2' = 1.8 'x0' + 32",)),
    "shares": (shares, ("'x0' + 'x1' + 'x2' + 'x3' = 100",)),
    "wide": (wide, ("'x39' = 'x0' + 'x1' + 'x2' + 'x3'", "'x10' = 2.5 'x11' - 'x38'")),
}


def holed(make: Made, share: float = 0.1) -> tuple[Floats, Floats]:
    """A table of a kind, whole and with holes."""
    rng = np.random.default_rng(15)
    X = make(rng)
    return X, np.where(rng.random(X.shape) < share, np.nan, X)


def null_space(X: Floats) -> Floats:
    """Directions in which the table has no spread, per standard deviation of its columns."""
    values, vectors = np.linalg.eigh(np.corrcoef(X.T))
    return vectors[:, values < 1e-12]


@pytest.mark.parametrize("kind", KINDS)
def test_a_relation_is_named_and_kept(kind: str) -> None:
    make, equations = KINDS[kind]
    X, holes = holed(make)
    result = fit_gaussian(holes, prior_rows="auto")
    assert result.converged
    said = [sentence for sentence in result.decisions if "filled cells keep to it" in sentence]
    assert sorted(s.partition(" in each of the ")[0] for s in said) == sorted(equations)
    sd = X.std(axis=0)
    for filled in (result.model.impute(holes), result.model.draw(holes, seed=1)):
        off = (filled - X) / sd @ null_space(X)
        assert np.abs(off).max() < 1e-8 if kind != "far from 0" else 1e-6
        np.testing.assert_array_equal(filled[~np.isnan(holes)], X[~np.isnan(holes)])


@pytest.mark.parametrize("kind", ["total", "counts", "cents", "shares"])
def test_a_missing_part_of_a_known_total_is_the_difference(kind: str) -> None:
    X, holes = holed(KINDS[kind][0])
    one = np.isnan(holes) & (np.isnan(holes).sum(axis=1) == 1)[:, None]
    assert one.sum() > 100
    imputer = EMImputer().fit(holes)
    off = (np.abs(imputer.transform(holes) - X) / X.std(axis=0))[one]
    assert off.max() < 1e-10
    given = imputer.result_.model.conditional(holes)
    assert (given.sd[one[given.rows, given.columns]] == 0).all()


def test_counts_add_up_once_they_are_rounded() -> None:
    X, holes = holed(counts)
    one = (np.isnan(holes).sum(axis=1) == 1)[:, None]
    filled = EMImputer().fit_transform(holes)
    np.testing.assert_array_equal(np.where(one, filled.round(), X), X)


def test_relations_on_relations() -> None:
    X, holes = holed(steps, share=0.2)
    result = fit_gaussian(holes, prior_rows="auto")
    assert len([d for d in result.decisions if "keep to it" in d]) == 3
    off = (result.model.draw(holes, seed=2) - X) / X.std(axis=0) @ null_space(X)
    assert np.abs(off).max() < 1e-8


def test_what_the_total_says_of_two_missing_parts_is_used() -> None:
    """Parts that are missing when the total is large are none the less estimated well."""
    rng = np.random.default_rng(16)
    parts = rng.normal(10, 3, size=(4000, 3))
    X = np.column_stack([parts, parts.sum(axis=1)])
    holes = X.copy()
    holes[np.ix_(X[:, 3] > 33, [0, 1])] = np.nan
    model = fit_gaussian(holes, prior_rows="auto").model
    np.testing.assert_allclose(model.mean, X.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(model.correlation, np.corrcoef(X.T), atol=0.06)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X, rng: X + rng.normal(scale=1e-3, size=X.shape),
        lambda X, rng: X + 1e-5 * rng.normal(size=X.shape) * [0, 0, 0, 1],
        lambda X, rng: X + (np.arange(N) == 400)[:, None] * [0.0, 0.0, 0.0, 0.5],
    ],
    ids=["noise", "hardly any noise", "one wrong row"],
)
def test_noise_is_no_relation(spoil: Callable[[Floats, np.random.Generator], Floats]) -> None:
    X = spoil(total(np.random.default_rng(17)), np.random.default_rng(18))
    holes = np.where(np.random.default_rng(19).random(X.shape) < 0.1, np.nan, X)
    holes[400] = X[400]
    result = fit_gaussian(holes, prior_rows="auto")
    assert "keep to it" not in " ".join(result.decisions)


@pytest.mark.parametrize(("n", "p", "share"), [(30, 50, 0.1), (200, 20, 0.4), (25, 20, 0.2)])
def test_too_few_rows_are_no_relation(n: int, p: int, share: float) -> None:
    result = fit_gaussian(factor_table(n, p, share, seed=20), prior_rows="auto")
    assert result.prior_rows > 0
    assert "keep to it" not in " ".join(result.decisions)


def test_a_model_with_a_relation_is_saved_and_started_from(tmp_path: object) -> None:
    _, holes = holed(total)
    summary = PatternSummary.from_array(holes)
    result = fit_gaussian(summary, prior_rows="auto")
    path = f"{tmp_path}/model.json"
    result.model.save(path)
    again = GaussianModel.load(path)
    assert again.impute(holes).tobytes() == result.model.impute(holes).tobytes()
    resumed = fit_gaussian(summary, prior_rows="auto", start=again)
    np.testing.assert_allclose(resumed.model.covariance, result.model.covariance, rtol=1e-4)


def test_no_row_changes_with_its_company() -> None:
    _, holes = holed(steps, share=0.3)
    model = fit_gaussian(holes, prior_rows="auto").model
    filled, drawn = model.impute(holes), model.draw(holes, seed=3)
    for rows in (slice(0, 1), slice(5, 90)):
        assert model.impute(holes[rows]).tobytes() == filled[rows].tobytes()
    assert model.draw(holes[:50], seed=3).tobytes() == drawn[:50].tobytes()
