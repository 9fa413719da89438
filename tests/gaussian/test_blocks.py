"""Blocks of a matrix: several inverted side by side, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import PatternSummary, kernels
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.blocks import place_in_triangle, sweep_side_by_side
from em_impute.gaussian.e_step import WeightedRows, e_step


@pytest.mark.parametrize("m", [0, 1, 4, 9])
def test_blocks_side_by_side_are_minus_the_inverses(m: int) -> None:
    rng = np.random.default_rng(m)
    matrix = np.cov(rng.normal(size=(60, 12)).T) * 1e3
    columns = np.array([np.sort(rng.permutation(12)[:m]) for _ in range(7)], dtype=np.int64)
    # Wider than is needed, as the last of several batches leaves it.
    blocks, vectors, log_dets = (np.full((k, 9), 7.0) for k in (m * (m + 1) // 2, m + 3, 1))
    sweep_side_by_side(matrix, columns, blocks, vectors, log_dets[0])
    for lane, those in enumerate(columns):
        inverse = np.linalg.inv(matrix[np.ix_(those, those)])
        for i in range(m):
            for j in range(i + 1):
                assert blocks[place_in_triangle(i, j), lane] == pytest.approx(-inverse[i, j])
        assert log_dets[0, lane] == pytest.approx(
            np.linalg.slogdet(matrix[np.ix_(those, those)])[1], abs=1e-12
        )


def test_a_block_that_is_not_positive_definite_leaves_the_others_as_they_are() -> None:
    matrix = np.diag([2.0, -1.0, -3.0, 5.0])
    columns = np.array([[0, 3], [1, 2], [2, 3]], dtype=np.int64)
    blocks, vectors, log_dets = np.empty((3, 3)), np.empty((5, 3)), np.empty(3)
    sweep_side_by_side(matrix, columns, blocks, vectors, log_dets)
    assert log_dets[0] == pytest.approx(np.log(10))
    assert np.isnan(log_dets[1:]).all()


@pytest.mark.parametrize(("p", "missing"), [(12, 0.25), (90, 0.4)], ids=["narrow", "wide"])
def test_what_is_filled_side_by_side_is_what_is_filled_row_by_row(p: int, missing: float) -> None:
    """More patterns than one batch; of 90 columns some miss too many to be inverted so."""
    X = factor_table(400, p, missing, seed=p)
    assert len(X) > 10 * kernels.SIDE_BY_SIDE
    assert (np.isnan(X).sum(axis=1).max() > kernels.MOST_COLUMNS) == (p == 90)
    rows = WeightedRows.of(PatternSummary.from_array(X), np.arange(p), np.zeros(p), np.ones(p))
    covariance = np.cov(factor_table(4 * p, p, 0.0, seed=1).T) + np.eye(p)
    moments = e_step(rows, np.zeros(p), covariance)
    mean, cross = slow_moments(X, covariance)
    np.testing.assert_allclose(moments.total, mean, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(moments.cross, cross, rtol=1e-10, atol=1e-9)


def slow_moments(X: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Sum and cross-products of the completed rows, row by row."""
    total, cross = np.zeros(X.shape[1]), np.zeros_like(covariance)
    for row in X:
        hidden = np.isnan(row)
        inner = covariance[np.ix_(~hidden, ~hidden)]
        slopes = np.linalg.solve(inner, covariance[np.ix_(~hidden, hidden)]).T
        filled = row.copy()
        filled[hidden] = slopes @ row[~hidden]
        total += filled
        cross += np.outer(filled, filled)
        cross[np.ix_(hidden, hidden)] += (
            covariance[np.ix_(hidden, hidden)] - slopes @ covariance[np.ix_(~hidden, hidden)]
        )
    return total, cross
