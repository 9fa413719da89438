"""Little's test of data missing completely at random."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import chdtrc

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.gaussian.fit import fit_gaussian
from em_impute.gaussian.linalg import SINGULAR_EIGENVALUE, cholesky_factor, in_own_units
from em_impute.gaussian.model import GaussianModel, require_model
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.result import ConvergenceWarning, Status
from em_impute.gaussian.table import listed
from em_impute.gaussian.threads import one_blas_thread

# Rows that are alone in their pattern are compared with others up to so many, or this share of all.
FEW_ALONE, SHARE_ALONE = 10, 0.05
TOO_SPARSE = (
    "Little's test compares the means of patterns of several rows, and here nearly every row has "
    "a pattern of its own: the statistic would be the number of observed cells, whatever the "
    "truth. Test fewer columns."
)


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
        Missingness patterns that were compared.
    left_out : int
        Rows that are alone in their pattern and were left out; 0 where they were compared, too.
    """

    statistic: float
    df: int
    p_value: float
    n_patterns: int
    left_out: int = 0


@one_blas_thread()
def little_mcar_test(data: PatternSummary | Any, model: GaussianModel | None = None) -> LittleTest:
    """Test whether cells are missing completely at random (Little 1988).

    If they are, the means of the rows of each missingness pattern s differ from the model's by
    chance only. Over the patterns, with observed columns O and n_s rows, ::

        d^2 = sum n_s (mean_s - mu_O)^T Sigma_OO^-1 (mean_s - mu_O),   df = sum |O| - n_columns

    A small p-value speaks against *completely* at random. It cannot separate missing at random,
    which imputation assumes, from missing not at random, and a large one proves neither. Where
    patterns have few rows, or columns are far from normal, the p-value is only a rough one.

    A row that is alone in its pattern has no scatter to compare its distance with: were all rows
    alone, ``d^2`` would be the number of observed cells, whatever the truth. Where more than 10
    rows and 5% of them, or more than half, are alone, they are left out, the mean of the others is
    estimated afresh given the model's covariance, and ``df = sum |O| - (columns that are shown)``.

    Parameters
    ----------
    data : PatternSummary, or array_like or DataFrame of shape (n_rows, n_columns)
        Numbers; missing is what is NaN, None, NA or masked. Rows that show nothing take no part; of
        a constant column it counts only where it is missing.
    model : GaussianModel, optional
        The maximum-likelihood estimate from these data; by default it is fitted. The columns of a
        frame or a summary are found by name. Its covariance has
        divisor n, as in lavaan and naniar; programs with n - 1 print ``(n - 1) / n`` times this
        statistic.

    Returns
    -------
    LittleTest

    Raises
    ------
    ValueError
        If there is no model of the data, if `model` is of other columns, if among the columns
        that some pattern shows one is determined by the others, or if there are no two patterns of
        several rows to compare.

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
    if model is None:
        model = _fitted(summary)
    require_model("model", model)
    model = model.in_order_of(summary.columns)
    varying = model.sd > 0
    shown = summary.patterns & varying
    compared: Bools = np.logical_or.reduce(shown, axis=1)
    alone: Bools = compared & (summary.counts == 1)
    n_alone, n_rows = int(alone.sum()), int(summary.counts[compared].sum())
    if n_alone > min(max(FEW_ALONE, SHARE_ALONE * n_rows), n_rows / 2):
        compared = compared & ~alone
        if len(np.unique(shown[compared], axis=0)) < 2:
            raise ValueError(TOO_SPARSE)
    else:
        n_alone = 0
    statistic = _statistic(summary, model, shown, compared, afresh=n_alone > 0)
    seen = shown[compared].any(axis=0).sum() if n_alone else varying.sum()
    df = int(shown[compared].sum() - seen)
    p_value = float(chdtrc(df, statistic)) if df else np.nan
    return LittleTest(statistic, df, p_value, int(compared.sum()), n_alone)


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


def _statistic(
    summary: PatternSummary, model: GaussianModel, shown: Bools, compared: Bools, afresh: bool
) -> float:
    """The squared distance of the means of the patterns that are compared from the model's mean.

    Or, `afresh`, from the mean that is nearest to them.
    """
    scale, correlation = in_own_units(model.covariance)
    rows, weights, pattern_of_row = summary.weighted_rows(model.mean, scale)
    sums = np.zeros(summary.patterns.shape)
    np.add.at(sums, pattern_of_row, weights[:, None] * rows)
    p, total = len(scale), 0.0
    information, score = np.zeros((p, p)), np.zeros(p)
    for s in np.flatnonzero(compared):
        observed = np.flatnonzero(shown[s])
        block = correlation[np.ix_(observed, observed)]
        factor = _definite_factor(block, [model.columns[j] for j in observed])
        whitened = solve_triangular(factor, sums[s, observed], lower=True, check_finite=False)
        total += float(whitened @ whitened) / summary.counts[s]
        if afresh:
            root = solve_triangular(factor, np.eye(len(observed)), lower=True, check_finite=False)
            information[np.ix_(observed, observed)] += summary.counts[s] * (root.T @ root)
            score[observed] += root.T @ whitened
    if afresh:
        seen = np.flatnonzero(information.diagonal())
        nearest = np.linalg.solve(information[np.ix_(seen, seen)], score[seen])
        total -= float(nearest @ score[seen])
    return total


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
        "Little's test needs columns that do not determine each other. Leave out one of "
        f"{listed([names[j] for j in involved], len(involved))}."
    )
