"""Columns that are never observed together: the most that can be said, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from em_impute import GaussianModel, fit_gaussian
from em_impute.gaussian.completion import complete

NAMES = tuple(f"x{j}" for j in range(7))


def random_correlation(p: int, seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(p, p + 2))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    return A @ A.T


def unseen_pairs(p: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    unseen = np.zeros((p, p), dtype=bool)
    for i, j in pairs:
        unseen[i, j] = unseen[j, i] = True
    return unseen


def matched_files(seed: int = 0) -> np.ndarray:
    """Two files with three columns in common and two of its own each."""
    X = factor_table(400, 7, 0.0, seed=seed)
    X[:200, 3:5] = X[200:, 5:] = np.nan
    return X


@given(st.integers(3, 7), st.integers(0, 1000), st.data())
def test_the_inverse_is_zero_where_no_row_shows_both(
    p: int, seed: int, data: st.DataObject
) -> None:
    everything = [(i, j) for i in range(p) for j in range(i)]
    unseen = unseen_pairs(p, data.draw(st.lists(st.sampled_from(everything), unique=True)))
    matrix = random_correlation(p, seed)
    completed = complete(matrix, unseen)
    np.testing.assert_array_equal(completed[~unseen], matrix[~unseen])
    np.testing.assert_array_equal(completed, completed.T)
    precision = np.linalg.inv(completed)
    scale = np.sqrt(np.outer(precision.diagonal(), precision.diagonal()))
    np.testing.assert_allclose((precision / scale)[unseen], 0.0, atol=1e-7)


def test_no_other_completion_has_a_larger_determinant() -> None:
    matrix, unseen = random_correlation(5, 1), unseen_pairs(5, [(0, 3), (1, 4)])

    def negative_log_det(entries: np.ndarray) -> float:
        trial = matrix.copy()
        trial[0, 3] = trial[3, 0] = entries[0]
        trial[1, 4] = trial[4, 1] = entries[1]
        sign, log_det = np.linalg.slogdet(trial)
        return -log_det if sign > 0 else np.inf

    best = minimize(negative_log_det, [matrix[0, 3], matrix[1, 4]], method="Nelder-Mead", tol=1e-12)
    completed = complete(matrix, unseen)
    assert -np.linalg.slogdet(completed)[1] <= best.fun + 1e-12
    np.testing.assert_allclose(completed[[0, 1], [3, 4]], best.x, atol=1e-5)


def test_nothing_unseen_is_nothing_changed() -> None:
    matrix = random_correlation(4, 2)
    np.testing.assert_array_equal(complete(matrix, np.zeros((4, 4), dtype=bool)), matrix)


def test_matched_files_are_independent_given_what_they_share() -> None:
    result = fit_gaussian(matched_files(), tol=1e-9)
    precision = np.linalg.inv(result.model.correlation)
    np.testing.assert_allclose(precision[3:5, 5:], 0.0, atol=1e-9)
    [sentence] = result.decisions
    assert sentence == (
        "'x3' and 'x5' (and 3 other pairs) are never observed together, so the data cannot "
        "determine how they are related; the model takes them to be independent given all others."
    )
    assert result.worst_fraction == pytest.approx(1.0, abs=1e-3)


def test_matched_files_have_one_answer_from_any_start() -> None:
    X = matched_files()
    start = GaussianModel(np.nanmean(X, axis=0) + 1, np.diag(np.nanvar(X, axis=0)), NAMES)
    one, other = fit_gaussian(X, tol=1e-9), fit_gaussian(X, tol=1e-9, start=start)
    np.testing.assert_allclose(one.model.correlation, other.model.correlation, atol=1e-7)
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    assert "same maximum" in fit_gaussian(X, tol=1e-9, n_starts=3).decisions[0]


def test_matched_files_have_the_closed_form() -> None:
    """Common columns from all rows; each file's own from its regression on them (Anderson 1957)."""
    X = matched_files()
    model = fit_gaussian(X, tol=1e-10).model
    common, design = X[:, :3], np.column_stack([np.ones(400), X[:, :3]])
    np.testing.assert_allclose(model.mean[:3], common.mean(axis=0), rtol=1e-10)
    slopes = {}
    for own, rows in (((3, 4), slice(200, None)), ((5, 6), slice(0, 200))):
        beta = np.linalg.lstsq(design[rows], X[rows][:, own], rcond=None)[0]
        slopes[own] = beta[1:]
        np.testing.assert_allclose(model.mean[list(own)], design.mean(axis=0) @ beta, rtol=1e-7)
    spread = np.cov(common, rowvar=False, bias=True)
    across = slopes[3, 4].T @ spread @ slopes[5, 6]
    np.testing.assert_allclose(model.covariance[3:5, 5:], across, atol=1e-7)


def test_a_prior_decides_what_no_row_shows() -> None:
    result = fit_gaussian(matched_files(), prior_rows=5.0)
    assert result.decisions[0].endswith("determine how they are related; the prior decides.")
