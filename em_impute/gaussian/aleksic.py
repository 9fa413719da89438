"""Aleksić's test of data missing completely at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.gaussian.linalg import SINGULAR_EIGENVALUE
from em_impute.gaussian.little import largest_first
from em_impute.gaussian.patterns import PatternSummary, require_unweighted
from em_impute.gaussian.threads import one_blas_thread

NO_COMPLETE_COLUMN = (
    "Aleksić's test needs a column that is observed in every row and varies, and there is none "
    "among these. Add one, or use Little's test, which needs none."
)
TOO_FEW_ROWS = (
    "Aleksić's test needs more rows than columns: with so few, the complete columns explain any "
    "missingness. Test fewer columns."
)


@dataclass(frozen=True)
class AleksicTest:
    """Aleksić's test of data missing completely at random.

    Attributes
    ----------
    statistic : float
        ``A_n``, chi-squared with `df` degrees of freedom in large samples, if cells are missing
        completely at random.
    df : int
        0 if no cell is missing: there is nothing to test then.
    p_value : float
        Probability of a statistic as large as this; NaN without degrees of freedom.
    by_column : tuple of (str, float)
        What each complete column that varies contributes to the statistic, the largest first; they
        add up to it.
    by_missing : tuple of (str, float)
        The same statistic by the columns whose cells are missing.
    """

    statistic: float
    df: int
    p_value: float
    by_column: tuple[tuple[str, float], ...] = ()
    by_missing: tuple[tuple[str, float], ...] = ()


@one_blas_thread()
def aleksic_mcar_test(data: PatternSummary | Any) -> AleksicTest:
    """Test whether missingness is uncorrelated with the complete columns (Aleksić 2024).

    If cells are missing completely at random, whether they are is uncorrelated with every column X
    that all rows show. With ``R_v`` 1 where column v is observed and 0 elsewhere, and sample
    covariances ``S``, ::

        T_uv = sum_{i != j} X_iu R_jv / (n (n - 1)) - sum_i X_iu R_iv / n = -S(X_u, R_v)
        A_n  = n vec(T)^T (S_X (x) S_R)^-1 vec(T),     df = rank(S_X) rank(S_R)

    which is n times the sum of the squared canonical correlations between X and R. No model is
    fitted, and nothing is assumed of the columns' distribution. With one incomplete column it is
    Little's statistic. Columns that are missing together, or that others determine, count once.

    It sees only what the complete columns tell: where missingness depends on columns with holes
    alone, Little's test may notice and this one does not. A small p-value speaks against
    *completely* at random only, as there.

    `by_column` and `by_missing` divide the statistic: the part of X_u and R_v is n S(X_u, R_v)
    times its entry of ``S_X^-1 S_XR S_R^-1`` (Pratt 1987). So a column that is correlated with
    missingness only by way of another gets about 0, by chance also less.

    Parameters
    ----------
    data : PatternSummary, or array_like or DataFrame of shape (n_rows, n_columns)
        Numbers; missing is what is NaN, None, NA or masked. Rows that show nothing take no part; of
        a constant column it counts only where it is missing.

    Returns
    -------
    AleksicTest

    Raises
    ------
    ValueError
        If cells are missing and no column that varies is complete, or if there are no more rows
        than columns.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> X = rng.normal(size=(500, 3))
    >>> X[X[:, 0] > 1.0, 1] = np.nan  # missing by what the first column says
    >>> test = aleksic_mcar_test(X)
    >>> test.p_value < 1e-6, test.by_column[0][0]
    (True, 'x0')
    """
    summary = data if isinstance(data, PatternSummary) else PatternSummary.from_array(data)
    require_unweighted(summary, "test of missing completely at random")
    n = int(summary.counts[np.logical_or.reduce(summary.patterns, axis=1)].sum())
    observed = summary.observed_counts
    complete = (observed == n) & (summary.observed_sd > 0)
    holed = (observed > 0) & (observed < n)
    if not holed.any():
        return AleksicTest(0.0, 0, np.nan)
    if not complete.any():
        raise ValueError(NO_COMPLETE_COLUMN)
    own, between, indicators = _correlations(summary, n, complete, holed)
    (inverse, rank), (other_inverse, other_rank) = _inverse(own), _inverse(indicators)
    if max(rank, other_rank) >= n - 1:
        raise ValueError(TOO_FEW_ROWS)
    parts = n * between * (inverse @ between @ other_inverse)
    statistic, df = float(parts.sum()), rank * other_rank
    names = np.array(summary.columns, dtype=object)
    return AleksicTest(
        statistic,
        df,
        float(chdtrc(df, statistic)),
        largest_first(names[complete], parts.sum(axis=1)),
        largest_first(names[holed], parts.sum(axis=0)),
    )


def _correlations(
    summary: PatternSummary, n: int, complete: Bools, holed: Bools
) -> tuple[Floats, Floats, Floats]:
    """Correlations of the complete columns, of them with the indicators, and of the indicators."""
    mean, sd = summary.observed_moments()
    rows, weights, pattern_of_row = summary.weighted_rows(mean, np.where(complete, sd, 1.0))
    rows = rows[:, complete]
    share = summary.observed_counts[holed] / n
    indicators = (summary.patterns[:, holed] - share) / np.sqrt(share * (1.0 - share))
    # Rows that show nothing are in no complete column, and do not count.
    counts = np.where(summary.patterns.any(axis=1), summary.counts, 0)
    return (
        rows.T @ rows / n,
        (weights[:, None] * rows).T @ indicators[pattern_of_row] / n,
        (counts[:, None] * indicators).T @ indicators / n,
    )


def _inverse(correlation: Floats) -> tuple[Floats, int]:
    """The inverse where there is any spread, and in how many directions there is."""
    eigenvalues, vectors = np.linalg.eigh(correlation)
    spread = eigenvalues > SINGULAR_EIGENVALUE
    vectors = vectors[:, spread]
    return (vectors / eigenvalues[spread]) @ vectors.T, int(spread.sum())
