"""One answer from the analyses of several imputed tables: Rubin's rules, and those of ML draws.

`pool` makes the analysis of each table and combines them. Which rules are right depends on where
the tables come from. Imputations of a posterior (each with parameters of their own) are combined by
Rubin's rules; imputations that were all drawn at one estimate lie closer together, and have the
rules of Robins & Wang (2000), or of von Hippel & Bartlett (2021). `analyses` reads what a fit
returned, `rules` has the formulas, `scores` what those of Robins & Wang need of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.estimates import require_level
from em_impute.gaussian.inference import MOST_COLUMNS
from em_impute.pooling.analyses import Analysis, analysis_of, require_alike
from em_impute.pooling.rules import RULES, Rules, by_ml, by_rubin, by_scores
from em_impute.pooling.scores import ScoreSums

__all__ = [
    "Analysis",
    "Pooled",
    "Rules",
    "Test",
    "combine",
    "pool",
    "pool_chi_squares",
    "pool_likelihood_ratios",
]


@dataclass(frozen=True)
class Test:
    """A test of several coefficients together.

    Attributes
    ----------
    statistic : float
        F-distributed with the next two as its degrees of freedom.
    df, df_residual : float
    p_value : float
    riv : float
        Relative increase in variance by what is missing, on average.
    """

    statistic: float
    df: float
    df_residual: float
    p_value: float
    riv: float


@dataclass(frozen=True)
class Pooled:
    """The estimates of several imputed tables, as one.

    Attributes
    ----------
    terms : tuple of str
    estimate : ndarray of shape (k,)
        Mean of the tables' estimates.
    within, between, total : ndarray of shape (k, k)
        Mean of their covariances, covariance of their estimates, and the covariance of `estimate`.
    df : ndarray of shape (k,)
        Degrees of freedom of each estimate's t distribution.
    fmi, riv : ndarray of shape (k,)
        Fraction of missing information, and relative increase in variance.
    m : int
        Tables.
    complete_df : float
        Degrees of freedom that a table without holes would leave.
    rules : {"rubin", "ml", "scores"}
    """

    terms: tuple[str, ...]
    estimate: Floats
    within: Floats
    between: Floats
    total: Floats
    df: Floats
    fmi: Floats
    riv: Floats
    m: int
    complete_df: float
    rules: Rules

    @property
    def std_error(self) -> Floats:
        """Standard errors, (k,)."""
        errors: Floats = np.sqrt(self.total.diagonal())
        return errors

    @property
    def efficiency(self) -> Floats:
        """Efficiency relative to infinitely many tables, ``1 / (1 + fmi / m)``, (k,)."""
        efficiency: Floats = 1.0 / (1.0 + self.fmi / self.m)
        return efficiency

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """The estimates, a row each.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.

        Returns
        -------
        DataFrame
            With the columns ``term, estimate, std_error, statistic, df, p_value, conf_low,
            conf_high, fmi, riv``.
        """
        require_level(level)
        errors = self.std_error
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = self.estimate / errors
        half = t_distribution.ppf((1.0 + level) / 2.0, self.df) * errors
        return pd.DataFrame(
            {
                "term": self.terms,
                "estimate": self.estimate,
                "std_error": errors,
                "statistic": statistic,
                "df": self.df,
                "p_value": 2.0 * t_distribution.sf(np.abs(statistic), self.df),
                "conf_low": self.estimate - half,
                "conf_high": self.estimate + half,
                "fmi": self.fmi,
                "riv": self.riv,
            }
        )

    def test(self, terms: Sequence[str], values: ArrayLike = 0.0) -> Test:
        """Test whether several coefficients have these values: D1 (Li, Raghunathan & Rubin 1991).

        Parameters
        ----------
        terms : sequence of str
        values : float or array_like of shape (len(terms),), default 0
            What they are under the hypothesis.

        Raises
        ------
        ValueError
            If a term is unknown, or the tables were drawn at one estimate.
        """
        if self.rules != "rubin":
            raise ValueError(
                "D1 is for imputations from a posterior; these were drawn at one estimate."
            )
        if unknown := [term for term in terms if term not in self.terms]:
            raise ValueError(f"There is no term {unknown[0]!r}; there are {list(self.terms)}.")
        at = [self.terms.index(term) for term in terms]
        k, within = len(at), self.within[np.ix_(at, at)]
        difference = self.estimate[at] - np.broadcast_to(np.asarray(values, dtype=float), k)
        inverse = np.linalg.inv(within)
        riv = (1.0 + 1.0 / self.m) * float(np.trace(self.between[np.ix_(at, at)] @ inverse)) / k
        statistic = float(difference @ inverse @ difference) / (k * (1.0 + riv))
        # A single coefficient has the test of the table.
        several = _df_of_ratios(k, self.m, riv, self.complete_df)
        return _f_test(statistic, k, float(self.df[at[0]]) if k == 1 else several, riv)

    def __str__(self) -> str:
        return self.table().to_string(index=False, float_format="{:.6g}".format)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def pool(
    fit: Callable[[Any], Any],
    imputations: Iterable[Any],
    *,
    complete_df: float | None = None,
    rules: Rules | None = None,
) -> Pooled:
    """Analyse each imputed table, and combine the answers.

    Parameters
    ----------
    fit : callable
        Called with each table. It returns ``(estimate, covariance)``, ``(estimate, covariance,
        terms)`` or ``(estimate, covariance, terms, influence)``, the result of a fit of
        statsmodels, or an estimator of scikit-learn that has ``coef_`` and their covariance
        ``sigma_``, such as `BayesianRidge`. A single estimate may come as two numbers, itself and
        its variance. The influence (n_rows, k) is by how much each row moves each estimate, as
        ``(x - x.mean()) / n`` of a mean; results of statsmodels bring it along.
    imputations : iterable
        Two tables or more, such as `EMImputer.multiply` gives them.
    complete_df : float, optional
        Degrees of freedom that the analysis of a table without holes has: rows less coefficients.
        By default what statsmodels says, and infinitely many elsewhere.
    rules : {"rubin", "ml", "scores"}, optional
        By default those that are right for `imputations`: Rubin's for those of a posterior, and for
        tables of unknown origin. For draws at one estimate ``"scores"`` (Robins & Wang 2000), where
        the analysis has its influence and the tables their model, and elsewhere ``"ml"``, the
        within-between rule of von Hippel & Bartlett (2021): it is right for an analysis as a whole,
        not for parts of it.

    Raises
    ------
    ValueError
        If there are fewer than two tables, if the analyses do not fit together, or if Rubin's rules
        are asked for where all tables were drawn at one estimate.
    Undetermined
        By the scores, if the data leave a combination of the model's parameters open.

    Examples
    --------
    >>> import numpy as np
    >>> tables = [np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.5, 4.0]), np.array([1.0, 3.0, 4.0])]
    >>> pooled = pool(lambda x: (x.mean(), x.var(ddof=1) / len(x)), tables, complete_df=2)
    >>> pooled.estimate.round(3).tolist(), pooled.m
    ([2.5], 3)
    """
    at_one_estimate = getattr(imputations, "posterior", None) == "ml"
    if rules not in (None, *RULES):
        raise ValueError(f'rules must be "rubin", "ml", "scores" or None, got {rules!r}.')
    if rules == "rubin" and at_one_estimate:
        raise ValueError(
            "These tables were drawn at one estimate, the maximum of the likelihood: they lie too "
            "close together for Rubin's rules, whose errors would be too small. Leave `rules` out, "
            "or draw with posterior='augmentation'."
        )
    by_rows, sums = at_one_estimate and rules in (None, "scores"), None
    analyses = []
    for table in imputations:
        analyses.append(analysis := analysis_of(fit(table)))
        influence = analysis.influence
        # The table is summed up only where the first analysis tells how rows move it.
        if by_rows and influence is not None and len(analyses) == 1:
            sums = _sums_of(imputations)
        if sums is None or influence is None or len(influence) != len(sums):
            sums = None
        else:
            sums.add(table, influence)
    require_alike(analyses)
    if rules == "scores" and sums is None:
        raise ValueError(
            "The rules by scores need tables that multiply_impute drew with posterior='ml' and "
            f"without delta, of at most {MOST_COLUMNS} columns, and the influence of each of their "
            "rows from `fit`."
        )
    known = [analysis.df for analysis in analyses]
    df = min(known) if complete_df is None else float(complete_df)
    if not df > 0:
        raise ValueError(f"complete_df must be above 0, got {complete_df!r}.")
    if sums is not None:
        correction = _correction(len(sums), df)
        within, total = (correction * found for found in sums.covariances())
        return combine(analyses, df, "scores", within, total)
    return combine(analyses, df, rules or ("ml" if at_one_estimate else "rubin"))


def _sums_of(imputations: Any) -> ScoreSums | None:
    """What adds up the scores of draws at one estimate; None where they cannot be had."""
    table = getattr(imputations, "table", None)
    if table is None or imputations.delta:
        return None
    model = imputations.models[0]
    if len(model.columns) > MOST_COLUMNS:
        return None
    return ScoreSums(table, model, imputations.prior_rows)


def _correction(n: int, complete_df: float) -> float:
    """What makes up for the coefficients that were estimated, as in the covariance of residuals."""
    return n / complete_df if complete_df < n else n / (n - 1.0)


def combine(
    analyses: Sequence[Analysis],
    complete_df: float,
    rules: Rules = "rubin",
    within: Floats | None = None,
    total: Floats | None = None,
) -> Pooled:
    """Combine analyses that were made already; see `pool`.

    Parameters
    ----------
    analyses : sequence of Analysis
    complete_df : float
    rules : {"rubin", "ml", "scores"}
    within, total : ndarray of shape (k, k), optional
        Of a complete table and of the pooled estimate, which the rules by scores know from the
        rows.
    """
    m = len(analyses)
    estimates = np.array([analysis.estimate for analysis in analyses])
    between = np.atleast_2d(np.cov(estimates.T, ddof=1))
    if within is not None and total is not None:
        df, fmi, riv = by_scores(within, total, complete_df)
    else:
        within = np.mean([analysis.covariance for analysis in analyses], axis=0)
        combined = by_rubin if rules == "rubin" else by_ml
        total, df, fmi, riv = combined(within, between, m, complete_df)
    return Pooled(
        terms=analyses[0].terms,
        estimate=estimates.mean(axis=0),
        within=within,
        between=between,
        total=total,
        df=df,
        fmi=fmi,
        riv=riv,
        m=m,
        complete_df=complete_df,
        rules=rules,
    )


def pool_chi_squares(statistics: ArrayLike, df: int) -> Test:
    """Combine the chi-squared statistics of the tables: D2 (Li, Meng, Raghunathan & Rubin 1991).

    For where nothing else is at hand: its errors may be off by a factor of two.

    Parameters
    ----------
    statistics : array_like of shape (m,)
    df : int
        Degrees of freedom of each.
    """
    values = _statistics(statistics)
    m = len(values)
    riv = (1.0 + 1.0 / m) * float(np.sqrt(values).var(ddof=1))
    statistic = (float(values.mean()) / df - (m + 1) / (m - 1) * riv) / (1.0 + riv)
    with np.errstate(divide="ignore"):
        residual = df ** (-3.0 / m) * (m - 1) * float(np.square(1.0 + np.divide(1.0, riv)))
    return _f_test(max(statistic, 0.0), df, residual, riv)


def pool_likelihood_ratios(at_own: ArrayLike, at_pooled: ArrayLike, df: int) -> Test:
    """Combine likelihood ratio statistics: D3 (Meng & Rubin 1992).

    Parameters
    ----------
    at_own : array_like of shape (m,)
        Twice the difference of the log-likelihoods of the two models, in each table, at that
        table's own estimates.
    at_pooled : array_like of shape (m,)
        The same at the means of the estimates over all tables.
    df : int
        Coefficients by which the models differ.
    """
    own, pooled = _statistics(at_own), _statistics(at_pooled)
    if len(own) != len(pooled):
        raise ValueError(f"Expected as many of both, got {len(own)} and {len(pooled)}.")
    m, ratio = len(own), float(pooled.mean())
    riv = max(0.0, (m + 1) / (df * (m - 1)) * (float(own.mean()) - ratio))
    return _f_test(ratio / (df * (1.0 + riv)), df, _df_of_ratios(df, m, riv, math.inf), riv)


def _statistics(given: ArrayLike) -> Floats:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError("Expected the statistics of two tables or more.")
    return values


def _df_of_ratios(k: int, m: int, riv: float, complete_df: float) -> float:
    """Residual degrees of freedom of D1 and D3 (Li et al. 1991; Reiter 2007 in small samples)."""
    t = k * (m - 1)
    if not riv:
        return math.inf
    if t <= 4:
        return t * (1.0 + 1.0 / k) * (1.0 + 1.0 / riv) ** 2 / 2.0
    if not math.isfinite(complete_df):
        return 4.0 + (t - 4) * (1.0 + (1.0 - 2.0 / t) / riv) ** 2
    a = riv * t / (t - 2)
    known = (complete_df + 1) / (complete_df + 3) * complete_df
    c0, c1, c2 = 1.0 / (t - 4), known - 2.0 * (1.0 + a), known - 4.0 * (1.0 + a)
    return 4.0 + 1.0 / (
        1.0 / c2
        + c0 * (a**2 * c1 / ((1.0 + a) ** 2 * c2))
        + c0 * (8.0 * a**2 * c1 / ((1.0 + a) * c2**2) + 4.0 * a**2 / ((1.0 + a) * c2))
        + c0 * (4.0 * a**2 / (c2 * c1) + 16.0 * a**2 * c1 / c2**3)
        + c0 * (8.0 * a**2 / c2**2)
    )


def _f_test(statistic: float, df: float, residual: float, riv: float) -> Test:
    p_value = float(f_distribution.sf(statistic, df, residual if residual < 1e10 else 1e10))
    return Test(statistic, float(df), float(residual), p_value, riv)
