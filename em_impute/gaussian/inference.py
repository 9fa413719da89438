"""Tests of what a fit assumes, from its summary and its model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.special import chdtrc

from em_impute.gaussian.blocks import cholesky_factor
from em_impute.gaussian.em import SINGULAR_EIGENVALUE, fit_gaussian
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.patterns import Bools, Floats, PatternSummary
from em_impute.gaussian.result import ConvergenceWarning, Status
from em_impute.gaussian.threads import one_blas_thread


@dataclass(frozen=True)
class LittleTest:
    """Little's test of data missing completely at random.

    Attributes
    ----------
    statistic : float
        ``d^2``, chi-squared with `df` degrees of freedom in large samples, if cells are missing
        completely at random.
    df : int
        0 if all patterns together show nothing twice: there is nothing to test then.
    p_value : float
        Probability of a statistic as large as this; NaN without degrees of freedom.
    n_patterns : int
        Missingness patterns that show any column.
    """

    statistic: float
    df: int
    p_value: float
    n_patterns: int


@one_blas_thread()
def little_mcar_test(
    data: PatternSummary | ArrayLike, model: GaussianModel | None = None
) -> LittleTest:
    """Test whether cells are missing completely at random (Little 1988).

    If they are, the means of the rows of each missingness pattern s differ from the model's by
    chance only. Over the patterns, with observed columns O and n_s rows, ::

        d^2 = sum n_s (mean_s - mu_O)^T Sigma_OO^-1 (mean_s - mu_O),   df = sum |O| - n_columns

    A small p-value speaks against *completely* at random. It does not tell missing at random, which
    imputation assumes, from missing not at random, and a large one proves neither. Where patterns
    have few rows, or columns are far from normal, the p-value is only a rough one.

    Parameters
    ----------
    data : PatternSummary or array_like of shape (n_rows, n_columns)
        Numbers, NaN where missing. Rows that show nothing take no part; of a constant column it
        counts only where it is missing.
    model : GaussianModel, optional
        The maximum-likelihood estimate from these data; by default it is fitted. Its covariance has
        divisor n, as in lavaan and naniar; programs with n - 1 print ``(n - 1) / n`` times this
        statistic.

    Returns
    -------
    LittleTest

    Raises
    ------
    ValueError
        If there is no model of the data, if `model` is of other columns, or if among the columns
        that some pattern shows one is determined by the others.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> X = rng.normal(size=(500, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    >>> X[X[:, 0] > 0.5, 1] = np.nan  # missing by what the other column says
    >>> little_mcar_test(X).p_value < 1e-6
    True
    """
    summary = data if isinstance(data, PatternSummary) else PatternSummary.from_array(data)
    model = _fitted(summary) if model is None else model
    if model.columns != summary.columns:
        raise ValueError(
            f"The model has columns {list(model.columns)}, the data {list(summary.columns)}."
        )
    varying = model.sd > 0
    shown = summary.patterns & varying
    distances = _distances(summary, model, shown)
    statistic, df = float(distances.sum()), int(shown.sum() - varying.sum())
    p_value = float(chdtrc(df, statistic)) if df else np.nan
    return LittleTest(statistic, df, p_value, int(shown.any(axis=1).sum()))


def _fitted(summary: PatternSummary) -> GaussianModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an error says it
        result = fit_gaussian(summary, tol=1e-8, max_iter=10_000, diagnostics=False)
    if result.status is not Status.CONVERGED:
        why = result.message.removesuffix(result.status.advice).strip()
        raise ValueError(
            f"Little's test needs the maximum of the likelihood. {why} Leave out one of these "
            "columns, or give the model of a fit of your own."
        )
    return result.model


def _distances(summary: PatternSummary, model: GaussianModel, shown: Bools) -> Floats:
    """Each pattern's part of the statistic, of shape (n_patterns,)."""
    scale = np.where(model.sd > 0, model.sd, 1.0)
    rows, weights, pattern_of_row = summary.weighted_rows(model.mean, scale)
    sums = np.zeros(summary.patterns.shape)
    np.add.at(sums, pattern_of_row, weights[:, None] * rows)
    covariance = model.covariance / np.outer(scale, scale)
    distances = np.zeros(len(sums))
    for s in np.flatnonzero(shown.any(axis=1)):
        observed = np.flatnonzero(shown[s])
        block = covariance[np.ix_(observed, observed)]
        whitened = solve_triangular(
            _definite_factor(block, [model.columns[j] for j in observed]),
            sums[s, observed],
            lower=True,
            check_finite=False,
        )
        distances[s] = whitened @ whitened / summary.counts[s]
    return distances


def _definite_factor(correlation: Floats, names: list[str]) -> Floats:
    """Cholesky factor of a block, or an error that names the columns in which nothing is spread."""
    try:
        factor = cholesky_factor(correlation)
        if factor.diagonal().min() ** 2 > SINGULAR_EIGENVALUE:
            return factor
    except np.linalg.LinAlgError:
        pass
    direction = np.abs(np.linalg.eigh(correlation)[1][:, 0])
    involved = np.flatnonzero(direction > 0.1 * direction.max())
    raise ValueError(
        "Little's test needs columns of which none is determined by the others. One is among "
        f"{', '.join(repr(names[j]) for j in involved)}; leave it out."
    )
