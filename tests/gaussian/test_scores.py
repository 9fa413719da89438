"""Scores of rows: against differences of each row's log-density, written out."""

from __future__ import annotations

import numpy as np
from holed_tables import factor_table
from scipy.stats import multivariate_normal

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.scores import row_scores


def log_densities(X: Floats, parameters: Floats) -> Floats:
    """Of the observed cells of each row, at p means and the covariances of the lower triangle."""
    p = X.shape[1]
    S = np.zeros((p, p))
    S[np.tril_indices(p)] = parameters[p:]
    S = S + np.tril(S, -1).T
    found = np.zeros(len(X))
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        if len(o):
            found[i] = multivariate_normal(parameters[:p][o], S[np.ix_(o, o)]).logpdf(x[o])
    return found


def test_they_are_the_derivatives_of_each_rows_log_density() -> None:
    X = factor_table(40, 3, 0.3, seed=4)
    X[5] = np.nan
    summary = PatternSummary.from_array(X)
    scaling, result = Standardisation.of(summary), fit_gaussian(X)
    at = scaling.standardise(result.model)
    scores = np.empty((40, 9))
    for rows, found in row_scores(X, scaling, at):
        scores[rows] = found
    standardised = (X - scaling.centre) / scaling.scale
    parameters = np.concatenate([at[0], at[1][np.tril_indices(3)]])
    for k, step in enumerate(1e-6 * np.eye(9)):
        ahead, back = (log_densities(standardised, parameters + s * step) for s in (1, -1))
        np.testing.assert_allclose(scores[:, k], (ahead - back) / 2e-6, rtol=1e-6, atol=1e-7)
    assert (scores[5] == 0).all()
    # At the maximum they cancel.
    np.testing.assert_allclose(scores.sum(axis=0), 0.0, atol=1e-3)


def test_a_table_of_many_rows_is_gone_through_in_pieces(monkeypatch: object) -> None:
    X = factor_table(50, 3, 0.2, seed=5)
    scaling = Standardisation.of(PatternSummary.from_array(X))
    at = scaling.standardise(fit_gaussian(X).model)
    whole, pieces = np.empty((50, 9)), np.empty((50, 9))
    for rows, found in row_scores(X, scaling, at):
        whole[rows] = found
    monkeypatch.setattr("em_impute.gaussian.scores.CHUNK_NUMBERS", 7 * 18)  # type: ignore[attr-defined]
    for rows, found in row_scores(X, scaling, at):
        pieces[rows] = found
    np.testing.assert_allclose(pieces, whole, rtol=1e-12)
