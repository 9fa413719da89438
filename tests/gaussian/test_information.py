"""The worst fraction of missing information: against the whole Jacobian, and other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest
from holed_tables import MURRAY, REFERENCE, factor_table, reference
from numpy.typing import NDArray
from scipy.linalg import hadamard

from em_impute.gaussian import (
    ConvergenceWarning,
    PatternSummary,
    Status,
    fit,
    fit_gaussian,
    information,
    maximum,
)
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.em import m_step
from em_impute.gaussian.information import MAX_EVALUATIONS, at_a_saddle
from em_impute.gaussian.parameters import Parameters, Standardisation

Floats = NDArray[np.float64]

WITH_NORM2 = [
    "africa",
    "airquality",
    "airquality6",
    "apple",
    "boys",
    "cholesterol",
    "mammalsleep_nots",
    "missvals",
    "nhanes",
]


def summary_of(name: str) -> PatternSummary:
    known = reference(name)
    return PatternSummary.from_array(known.X, known.columns)


def jacobian(f: Callable[[Floats], Floats], at: Floats, step: float = 1e-5) -> Floats:
    """By central differences, column by column."""
    moves = step * np.eye(len(at))
    return np.array([(f(at + move) - f(at - move)) / (2 * step) for move in moves]).T


def slowest_direction(data: PatternSummary, prior_rows: float) -> tuple[float, Floats]:
    """Largest eigenvalue of the EM map's Jacobian, and its vector: p means, then covariances."""
    model = fit_gaussian(data, tol=1e-10, prior_rows=prior_rows).model
    columns = Standardisation.of(data)
    rows = WeightedRows.of(data, columns.varying, columns.centre, columns.scale)
    p, below = len(model.columns), np.tril_indices(len(model.columns))

    def em_map(theta: Floats) -> Floats:
        covariance = np.zeros((p, p))
        covariance[below] = covariance.T[below] = theta[p:]
        mean, image = m_step(e_step(rows, theta[:p], covariance), theta[:p], prior_rows)
        return np.concatenate([mean, image[below]])

    mean, covariance = columns.standardise(model)
    values, vectors = np.linalg.eig(jacobian(em_map, np.concatenate([mean, covariance[below]])))
    sd = np.sqrt(np.diag(covariance))
    worst = vectors[:, values.real.argmax()].real
    return values.real.max(), worst / np.concatenate([sd, np.outer(sd, sd)[below]])


@pytest.mark.parametrize("prior_rows", [0.0, 3.0])
@pytest.mark.parametrize("name", ["airquality", "apple", "boys", "cholesterol", "nhanes"])
def test_agrees_with_the_numerically_differentiated_map(name: str, prior_rows: float) -> None:
    data = summary_of(name)
    value, vector = slowest_direction(data, prior_rows)
    result = fit_gaussian(data, tol=1e-8, prior_rows=prior_rows)
    assert result.worst_fraction == pytest.approx(value, abs=2e-4)
    loadings = np.sort(np.abs(vector))[::-1]
    found = np.abs([loading for _, loading in result.worst_combination])
    np.testing.assert_allclose(found, loadings[: len(found)] / loadings[0], atol=0.02)


@pytest.mark.parametrize("prior_rows", [0.0, 3.0])
@pytest.mark.parametrize("name", WITH_NORM2)
def test_the_matrix_and_its_products_with_vectors_say_the_same(
    name: str, prior_rows: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_matrix = fit_gaussian(summary_of(name), prior_rows=prior_rows, max_iter=10_000)
    by_vectors = fit_gaussian(summary_of(name), prior_rows=prior_rows, max_iter=10_000)
    assert by_matrix.missing_information.evaluations == 0
    monkeypatch.setattr(maximum, "is_small", lambda rows: False)
    assert by_vectors.missing_information.evaluations > 0
    assert by_matrix.worst_fraction == pytest.approx(by_vectors.worst_fraction, abs=2e-3)


@pytest.mark.parametrize("name", WITH_NORM2)
def test_agrees_with_norm2(name: str) -> None:
    """To 0.015, for norm2 stops its power iteration early where two eigenvalues are close."""
    norm2 = json.loads((REFERENCE / f"{name}.json").read_text())
    result = fit_gaussian(summary_of(name))
    assert result.worst_fraction == pytest.approx(
        norm2["worst_fraction_missing_info_norm2"], abs=0.015
    )


def test_agrees_with_what_norm2_prints_on_cholesterol() -> None:
    """0.4617 at its default criterion; the map has 0.4658."""
    assert fit_gaussian(summary_of("cholesterol")).worst_fraction == pytest.approx(
        0.4617, abs=0.005
    )


def test_a_quarter_of_the_rows_is_a_quarter_of_the_information() -> None:
    """Where the column without holes says nothing about the other, up to sampling."""
    rng = np.random.default_rng(31)
    X = rng.normal(size=(4000, 2))
    X[:1000, 1] = np.nan
    found = fit_gaussian(X)
    assert found.worst_fraction == pytest.approx(0.25, abs=0.03)
    assert "x0" not in found.worst_combination[0][0].split()[-1]


def test_columns_are_named_and_the_largest_loading_is_one() -> None:
    combination = fit_gaussian(summary_of("apple")).worst_combination
    assert combination[0] == ("variance of worms", 1.0)
    assert {name for name, _ in combination} <= {
        "mean of worms", "variance of worms", "covariance of size and worms",
    }  # fmt: skip


def test_it_does_not_depend_on_the_columns_scale() -> None:
    X = reference("nhanes").X
    one, other = fit_gaussian(X), fit_gaussian(1e6 * X + 5.0)
    assert other.worst_fraction == pytest.approx(one.worst_fraction, abs=1e-5)
    for (name, loading), (same, close) in zip(
        one.worst_combination, other.worst_combination, strict=True
    ):
        assert (name, loading) == (same, pytest.approx(close, abs=1e-3))


def test_a_prior_is_information() -> None:
    fractions = [
        fit_gaussian(summary_of("missvals"), prior_rows=rows).worst_fraction for rows in (0, 1, 5)
    ]
    assert fractions[0] > fractions[1] > fractions[2]


def test_nothing_is_missing_without_missing_cells() -> None:
    result = fit_gaussian(factor_table(50, 3, 0.0, seed=32))
    assert (result.worst_fraction, result.worst_combination) == (0.0, ())
    empty_row = np.vstack([factor_table(50, 3, 0.0, seed=32), np.full(3, np.nan)])
    assert fit_gaussian(empty_row).worst_fraction == 0.0
    assert result.missing_information.evaluations == 0


def test_it_is_not_known_where_there_is_no_maximum_or_the_data_are_gone() -> None:
    with pytest.warns(ConvergenceWarning):
        stopped = fit_gaussian(summary_of("boys"), max_iter=2)
    copied = copy(fit_gaussian(summary_of("boys")))
    for result in (stopped, copied):
        assert np.isnan(result.worst_fraction)
        assert result.missing_information.evaluations == 0


def test_a_copy_knows_what_was_asked_before() -> None:
    result = fit_gaussian(summary_of("boys"))
    known = result.worst_fraction
    assert copy(result).worst_fraction == known


def test_it_is_sought_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sought: list[int] = []

    def seek(*given: Any) -> Any:
        sought.append(1)
        return original(*given)

    original = information.missing_information
    monkeypatch.setattr(maximum, "is_small", lambda rows: False)
    monkeypatch.setattr(maximum.information, "missing_information", seek)
    result = fit_gaussian(factor_table(300, 6, 0.3, seed=33))
    assert not sought
    assert 0 < result.missing_information.evaluations <= MAX_EVALUATIONS
    assert 0 < result.worst_fraction < 1
    assert sought == [1]


def test_a_saddle_point_is_no_maximum_and_says_so() -> None:
    """The default start, without correlation, is on the saddle, and EM does not leave it."""
    with pytest.warns(ConvergenceWarning, match="saddle point"):
        result = fit_gaussian(MURRAY)
    assert result.worst_fraction > 1.01
    assert result.status is Status.SADDLE
    assert not result.converged
    assert result.message == result.decisions[-1] == result.remarks[0]
    assert "ended at a saddle point" in result.message
    assert result.summary().count("saddle point") == result._repr_html_().count("saddle point") == 1
    further = fit_gaussian(MURRAY, n_starts=4)
    assert abs(further.model.correlation[0, 1]) == pytest.approx(0.5, abs=1e-5)
    assert further.worst_fraction < 1.0


@pytest.mark.parametrize("by_matrix", [True, False])
@pytest.mark.parametrize("k", [0, 3, 12])
@pytest.mark.parametrize("prior_rows", [0.0, 0.01])
def test_every_fit_finds_out_whether_it_is_at_a_saddle(
    k: int, prior_rows: float, by_matrix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also among further columns that say nothing about the two."""
    signs = hadamard(16)[:, 1 : k + 1].astype(float)
    X = np.vstack([np.hstack([np.tile(row, (16, 1)), signs]) for row in MURRAY])
    monkeypatch.setattr(WeightedRows, "within", lambda *limits: by_matrix)
    with pytest.warns(ConvergenceWarning, match="saddle point"):
        result = fit_gaussian(X, prior_rows=prior_rows)
    assert result.status is Status.SADDLE
    best = fit_gaussian(X, n_starts=5)
    assert best.status is Status.CONVERGED
    assert abs(best.model.correlation[0, 1]) == pytest.approx(0.5, abs=1e-4)
    assert best.loglik > result.loglik


@pytest.mark.parametrize("name", WITH_NORM2)
def test_a_maximum_is_not_taken_for_a_saddle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit_gaussian(summary_of(name), max_iter=10_000).converged
    monkeypatch.setattr(maximum, "FEW_COVARIANCES", 0)
    assert fit_gaussian(summary_of(name), max_iter=10_000).converged


class Linear:
    """A stand-in for the EM map: linear about 0, with a Jacobian that is known."""

    def __init__(self, p: int, others: float, hidden: float) -> None:
        self.p, self.evaluations, self.edge = p, 0, others
        # Every eigenvalue is between 0 and `others`, but for one covariance.
        self.rates = np.linspace(0.0, others, p * p).reshape(p, p)
        self.rates = (self.rates + self.rates.T) / 2
        self.rates[0, 1] = self.rates[1, 0] = hidden
        self.point = np.zeros(p), np.eye(p)

    def __call__(self, at: Parameters) -> Parameters:
        self.evaluations += 1
        return self.edge / 2 * at[0], np.eye(self.p) + self.rates * (at[1] - np.eye(self.p))

    def objective(self, at: Parameters) -> float:
        moved = at[1] - np.eye(self.p)
        return float(
            np.sum((self.rates - 1.0) * moved**2) / 4 - (1 - self.edge / 2) * at[0] @ at[0]
        )

    def is_saddle(self) -> bool | None:
        return at_a_saddle(self, self.objective, self.point, self.point, 0.0, lambda: False)


@pytest.mark.parametrize("hidden", [1.02, 1.2, 2.0])
@pytest.mark.parametrize("others", [0.1, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("p", [5, 20, 60])
def test_one_direction_of_many_is_found_to_lead_away(p: int, others: float, hidden: float) -> None:
    assert Linear(p, others, hidden).is_saddle() is True


@pytest.mark.parametrize("p", [5, 20, 60])
def test_which_side_of_1_takes_few_evaluations_where_little_is_missing(p: int) -> None:
    spent = []
    for others in (0.1, 0.35, 0.6, 0.9):
        em_map = Linear(p, others, others)
        assert em_map.is_saddle() is False
        spent.append(em_map.evaluations)
    assert spent == sorted(spent)
    assert spent[1] <= 3
    assert spent[-1] <= MAX_EVALUATIONS


def test_without_time_nothing_more_is_evaluated() -> None:
    em_map = Linear(20, 0.9, 1.2)
    found = at_a_saddle(em_map, em_map.objective, em_map.point, em_map.point, 0.0, lambda: True)
    assert (found, em_map.evaluations) == (None, 1)


def test_a_fit_says_that_the_time_was_over_before_it_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "is_saddle", lambda *given: None)
    result = fit_gaussian(summary_of("boys"))
    assert result.converged
    assert result.decisions[-1] == fit.NO_TIME_TO_LOOK


@pytest.mark.parametrize("noise", [1e-4, 1e-5, 1e-6])
def test_the_way_to_a_singular_covariance_is_not_taken_for_a_saddle(noise: float) -> None:
    """A column that is a sum of others but for some noise: the map's differences say little."""
    rng = np.random.default_rng(17)
    X = np.array([20.0, 30.0, 5.0]) + rng.normal(scale=[5, 7, 1], size=(400, 3))
    X = np.column_stack([X, X.sum(axis=1) + noise * rng.normal(size=400)])
    X[rng.random(X.shape) < 0.1] = np.nan
    result = fit_gaussian(X, prior_rows="auto")
    assert result.status is Status.CONVERGED
    assert not result.worst_fraction > 1.0
