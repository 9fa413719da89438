"""Tables that break careless arithmetic, each with the answer known by other means."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute.gaussian import EMResult, GaussianModel, PatternSummary, Status, fit_gaussian

Floats = NDArray[np.float64]


def assert_close(a: GaussianModel, b: GaussianModel, tol: float) -> None:
    """Means within `tol` sds, covariances within `tol` in correlation units."""
    np.testing.assert_allclose((a.mean - b.mean) / b.sd, 0.0, atol=tol)
    np.testing.assert_allclose((a.covariance - b.covariance) / np.outer(b.sd, b.sd), 0.0, atol=tol)


def moments(X: Floats) -> GaussianModel:
    """Sample moments (divisor n) of complete data, which are the maximum-likelihood estimate."""
    covariance = np.cov(X.T, bias=True).reshape(X.shape[1], X.shape[1])
    return GaussianModel(X.mean(axis=0), covariance, tuple(f"x{j}" for j in range(X.shape[1])))


def test_columns_of_1e_minus_12_and_1e12_in_one_table() -> None:
    """The estimates of the table in ordinary units, in the other units."""
    X = factor_table(300, 4, 0.25, seed=1)
    scale = np.array([1e-12, 1e12, 1.0, 1e-6])
    plain, scaled = fit_gaussian(X, tol=1e-10), fit_gaussian(X * scale, tol=1e-10)
    expected = GaussianModel(
        plain.model.mean * scale,
        plain.model.covariance * np.outer(scale, scale),
        plain.model.columns,
    )
    assert_close(scaled.model, expected, 1e-9)
    cells = (~np.isnan(X)).sum(axis=0)
    assert scaled.loglik == pytest.approx(plain.loglik - cells @ np.log(scale), rel=1e-12)
    filled = scaled.model.impute(X * scale)
    np.testing.assert_allclose(filled / scale, plain.model.impute(X), rtol=1e-8)


@pytest.mark.parametrize("tol", [1e-6, 1e-9])
def test_timestamps_of_a_second_apart(tol: float) -> None:
    """Offset 1.7e9 with sd 1: the answer for the shifted data, shifted back."""
    offset = np.array([1.7e9, 0.0, -1.7e9])
    # Rounded to what a float64 near 1.7e9 can hold, so that both tables are the same one.
    X = np.round(factor_table(400, 3, 0.25, seed=2) * 2**20) / 2**20
    near, far = fit_gaussian(X, tol=tol), fit_gaussian(X + offset, tol=tol)
    assert far.status is Status.CONVERGED
    moved = GaussianModel(far.model.mean - offset, far.model.covariance, far.model.columns)
    assert_close(moved, near.model, 1e-6)
    np.testing.assert_allclose(far.model.covariance, near.model.covariance, rtol=1e-8)
    assert far.loglik == pytest.approx(near.loglik, rel=1e-9)
    difference = far.model.impute(X + offset) - offset - near.model.impute(X)
    assert np.abs(difference).max() < 1e-6


def near_duplicates(gap: float) -> Floats:
    """Three columns, the second the first plus noise so that their correlation is 1 - gap.

    Holes only in the third, which is a regression on the difference of the first two.
    """
    rng = np.random.default_rng(3)
    a, b, c = rng.normal(size=(3, 1000))
    a = (a - a.mean()) / a.std()
    b -= b.mean() + a * (a @ b) / (a @ a)
    b /= b.std()
    X = np.column_stack([a, a + np.sqrt(2 * gap) * b, b + 0.5 * c])
    X[::3, 2] = np.nan
    return X


def test_near_duplicates_keep_what_tells_them_apart() -> None:
    """Correlation 1 - 1e-9: the answer in the columns a and (b - a) / sd, which are well apart."""
    gap = 1e-9
    X = near_duplicates(gap)
    result = fit_gaussian(X, tol=1e-9)
    assert result.status is Status.CONVERGED
    turn = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    turn[1] /= np.sqrt(2 * gap)
    apart = X.copy()
    apart[:, 1] = (X[:, 1] - X[:, 0]) / np.sqrt(2 * gap)
    expected = fit_gaussian(apart, tol=1e-11).model
    turned = turn @ result.model.covariance @ turn.T
    np.testing.assert_allclose(turned[2, 1], expected.covariance[2, 1], rtol=1e-5)
    np.testing.assert_allclose(
        result.model.impute(X)[:, 2], expected.impute(apart)[:, 2], atol=1e-4
    )


def test_columns_that_are_the_same_to_13_digits_are_named() -> None:
    with pytest.warns(UserWarning, match="no maximum: .* combination of 'x0' and 'x1'"):
        result = fit_gaussian(near_duplicates(1e-13))
    assert result.status is Status.SINGULAR


def test_auto_prior_fits_columns_that_are_the_same_to_13_digits() -> None:
    X = near_duplicates(1e-13)
    result = fit_gaussian(X, prior_rows="auto")
    assert result.converged
    assert result.prior_rows == pytest.approx(1e-6 * len(X))
    assert "'x0' and 'x1'" in result.decisions[0]
    # The prior drowns their difference; what is left is the regression on either alone.
    alone = monotone(X[:, [0, 2]], 1)
    np.testing.assert_allclose(
        result.model.impute(X)[::3, 2], alone.impute(X[:, [0, 2]])[::3, 1], atol=0.005
    )


def test_billions_of_rows() -> None:
    """A summary doubled 24 times has the estimate of the table, and 2**24 its log-likelihood."""
    X = factor_table(200, 4, 0.25, seed=4)
    one = summary = PatternSummary.from_array(X)
    for _ in range(24):
        summary = summary + summary
    assert summary.n_rows == 200 * 2**24 > 3e9
    many, few = fit_gaussian(summary, tol=1e-10), fit_gaussian(one, tol=1e-10)
    assert_close(many.model, few.model, 1e-8)
    assert many.loglik == pytest.approx(few.loglik * 2**24, rel=1e-10)


def test_one_row_is_its_own_mean_without_spread() -> None:
    result = fit_gaussian(np.array([[3.0, -1e12]]))
    assert result.model.mean.tolist() == [3.0, -1e12]
    assert (result.model.covariance == 0).all()
    assert len(result.decisions) == 2
    assert result.model.impute(np.full((1, 2), np.nan)).tolist() == [[3.0, -1e12]]
    with pytest.raises(ValueError, match="No cell is observed in 'x1'"):
        fit_gaussian(np.array([[3.0, np.nan]]))


def test_one_column_is_its_observed_moments() -> None:
    X = factor_table(500, 1, 0.3, seed=5) * 1e-9 + 1.0
    shown = X[~np.isnan(X)]
    result = fit_gaussian(X)
    assert result.status is Status.CONVERGED
    assert result.model.mean[0] == pytest.approx(shown.mean(), rel=1e-15)
    assert result.model.covariance[0, 0] == pytest.approx(shown.var(), rel=1e-6)
    n, variance = len(shown), shown.var()
    assert result.loglik == pytest.approx(-n / 2 * (np.log(2 * np.pi * variance) + 1), rel=1e-9)


def test_500_columns_of_which_one_block_is_missing_at_times() -> None:
    """Monotone missingness: the complete block and the regression on it, in closed form."""
    n, p, k = 2000, 500, 375
    X = factor_table(n, p, 0.0, seed=6)
    X[::5, k:] = np.nan
    result = fit_gaussian(X)
    assert result.status is Status.CONVERGED
    assert_close(result.model, monotone(X, k), 1e-6)


def monotone(X: Floats, k: int) -> GaussianModel:
    """ML estimate where the columns from `k` on are missing together (Anderson 1957)."""
    whole, shown = moments(X[:, :k]), X[~np.isnan(X[:, k])]
    centred = shown - shown.mean(axis=0)
    slopes = np.linalg.lstsq(centred[:, :k], centred[:, k:], rcond=None)[0]
    residuals = centred[:, k:] - centred[:, :k] @ slopes
    mean = shown.mean(axis=0)[k:] + (whole.mean - shown.mean(axis=0)[:k]) @ slopes
    across = whole.covariance @ slopes
    within = residuals.T @ residuals / len(shown) + slopes.T @ across
    covariance = np.block([[whole.covariance, across], [across.T, (within + within.T) / 2]])
    names = tuple(f"x{j}" for j in range(X.shape[1]))
    return GaussianModel(np.concatenate([whole.mean, mean]), covariance, names)


def test_complete_rows_give_the_sample_moments_at_once() -> None:
    X = factor_table(300, 6, 0.0, seed=7)
    result = fit_gaussian(X)
    assert result.status is Status.CONVERGED
    assert result.n_iter <= 2
    assert_close(result.model, moments(X), 1e-12)


def test_rows_with_nothing_observed_change_nothing() -> None:
    X = factor_table(200, 4, 0.25, seed=8)
    with_empty = np.vstack([X, np.full((50, 4), np.nan)])
    one, other = fit_gaussian(X, tol=1e-9), fit_gaussian(with_empty, tol=1e-9)
    assert_close(other.model, one.model, 1e-8)
    assert other.loglik == pytest.approx(one.loglik, rel=1e-12)
    np.testing.assert_array_equal(
        other.model.impute(with_empty)[200:], np.tile(other.model.mean, (50, 1))
    )


def test_a_column_observed_once_is_a_constant() -> None:
    """It has no spread to estimate; the others are as without it."""
    X = factor_table(200, 3, 0.25, seed=9)
    once = np.full((200, 1), np.nan)
    once[17] = 4.0
    result = fit_gaussian(np.hstack([X, once]), tol=1e-9)
    assert result.model.mean[3] == 4.0
    assert (result.model.covariance[3] == 0).all()
    assert "'x3' is constant" in result.decisions[0]
    without = fit_gaussian(X, tol=1e-9)
    np.testing.assert_allclose(result.model.mean[:3], without.model.mean, rtol=1e-9)
    np.testing.assert_allclose(result.model.covariance[:3, :3], without.model.covariance, rtol=1e-9)


def frozen(X: Floats) -> Floats:
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        lambda X: X[::-1].copy()[::-1],
        frozen,
        lambda X: X.astype(">f8"),
        lambda X: X.tolist(),
    ],
    ids=["fortran", "strided", "reversed", "read-only", "big-endian", "lists"],
)
def test_the_layout_in_memory_does_not_matter(arrange: object) -> None:
    X = factor_table(150, 4, 0.25, seed=10)
    assert callable(arrange)
    same = arrange(X)
    one, other = fit_gaussian(X, tol=1e-9), fit_gaussian(same, tol=1e-9)
    assert_close(other.model, one.model, 1e-9)
    assert one.model.impute(same).tobytes() == one.model.impute(X).tobytes()
    assert one.model.draw(same, seed=1).tobytes() == one.model.draw(X, seed=1).tobytes()


def same_as_float64(X: NDArray[np.generic]) -> EMResult:
    """The fit of `X`, after a look that it is that of the same numbers as float64."""
    result, expected = fit_gaussian(X, tol=1e-9), fit_gaussian(X.astype(np.float64), tol=1e-9)
    assert_close(result.model, expected.model, 1e-9)
    filled = result.model.impute(X)
    assert filled.dtype == np.float64
    np.testing.assert_allclose(filled, result.model.impute(X.astype(np.float64)), rtol=1e-12)
    return result


def test_float32_is_taken_for_the_numbers_it_holds() -> None:
    same_as_float64(factor_table(150, 4, 0.25, seed=11).astype(np.float32))
    # A float32 sum of these would be off by whole units.
    far = (factor_table(5000, 3, 0.1, seed=12) + 60_000).astype(np.float32)
    same_as_float64(far)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16])
def test_integers(dtype: type[np.generic]) -> None:
    X = np.random.default_rng(13).integers(0, 100, size=(80, 3)).astype(dtype)
    assert_close(same_as_float64(X).model, moments(X.astype(np.float64)), 1e-10)


def test_booleans_are_0_and_1() -> None:
    X = np.random.default_rng(14).random((80, 3)) < 0.3
    assert_close(same_as_float64(X).model, moments(X.astype(np.float64)), 1e-10)
