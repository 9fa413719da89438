"""Little's test of data missing completely at random."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve
from scipy.special import chdtrc

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.gaussian.fit import fit_gaussian
from em_impute.gaussian.linalg import SINGULAR_EIGENVALUE, cholesky_factor, in_own_units
from em_impute.gaussian.model import GaussianModel, require_model
from em_impute.gaussian.patterns import PatternSummary, require_unweighted
from em_impute.gaussian.status import ConvergenceWarning, Status
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
    by_column : tuple of (str, float)
        What each column that varies contributes to the statistic, the largest first; they add up to
        it.
    """

    statistic: float
    df: int
    p_value: float
    n_patterns: int
    left_out: int = 0
    by_column: tuple[tuple[str, float], ...] = ()


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

    `by_column` divides the statistic: a column's part is the sum over the patterns of n_s times
    its difference times its entry of ``Sigma_OO^-1 (mean_s - mu_O)`` (Pratt 1987). So a column
    that differs only because a related one does gets about 0, by chance also less.

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
    require_unweighted(summary, "test of missing completely at random")
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
    contributions = _contributions(summary, model, shown, compared, afresh=n_alone > 0)
    statistic = float(contributions.sum())
    seen = shown[compared].any(axis=0).sum() if n_alone else varying.sum()
    df = int(shown[compared].sum() - seen)
    return LittleTest(
        statistic,
        df,
        float(chdtrc(df, statistic)) if df else np.nan,
        int(compared.sum()),
        n_alone,
        largest_first(np.array(model.columns, dtype=object)[varying], contributions[varying]),
    )


def largest_first(columns: Iterable[str], contributions: Floats) -> tuple[tuple[str, float], ...]:
    """Names of columns with what each contributes, the largest first."""
    named = zip(columns, contributions.tolist(), strict=True)
    return tuple(sorted(named, key=lambda one: -one[1]))


def _fitted(summary: PatternSummary) -> GaussianModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an error says it
        result = fit_gaussian(summary, tol=1e-8, max_iter=10_000)
    if result.status is not Status.CONVERGED:
        why = result.message.removesuffix(result.status.advice).strip()
        raise ValueError(
            f"Little's test needs the maximum of the likelihood. {why} Leave out one of these "
            "columns, or give the model of a fit of your own."
        )
    return result.model


def _contributions(
    summary: PatternSummary, model: GaussianModel, shown: Bools, compared: Bools, afresh: bool
) -> Floats:
    """What each column adds to the squared distance of the patterns' means from the model's mean.

    Or, `afresh`, from the mean that is nearest to them.
    """
    scale, correlation = in_own_units(model.covariance)
    rows, weights, pattern_of_row = summary.weighted_rows(model.mean, scale)
    sums = np.zeros(summary.patterns.shape)
    np.add.at(sums, pattern_of_row, weights[:, None] * rows)
    p = len(scale)
    contributions, score = np.zeros(p), np.zeros(p)
    information, by_sums = np.zeros((p, p)), np.zeros((p, p))
    for s in np.flatnonzero(compared):
        observed = np.flatnonzero(shown[s])
        block = correlation[np.ix_(observed, observed)]
        factor = _definite_factor(block, [model.columns[j] for j in observed])
        own = sums[s, observed]
        solved = cho_solve((factor, True), own, check_finite=False)
        contributions[observed] += own * solved / summary.counts[s]
        if afresh:
            precision = cho_solve((factor, True), np.eye(len(observed)), check_finite=False)
            information[np.ix_(observed, observed)] += summary.counts[s] * precision
            by_sums[np.ix_(observed, observed)] += own[:, None] * precision
            score[observed] += solved
    if afresh:
        seen = np.flatnonzero(information.diagonal())
        nearest = np.linalg.solve(information[np.ix_(seen, seen)], score[seen])
        contributions -= by_sums[:, seen] @ nearest
    return contributions


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
