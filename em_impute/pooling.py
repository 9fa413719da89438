"""One answer from the analyses of several imputed tables: Rubin's rules, and those of ML draws.

`pool` makes the analysis of each table and combines them. Which rules are right depends on where
the tables come from. Imputations of a posterior (each with parameters of their own) are combined by
Rubin's rules; imputations that were all drawn at one estimate lie closer together, and have the
rules of von Hippel & Bartlett (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import exp1, gamma, gammaincc
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.estimates import require_level

Rules = Literal["rubin", "ml"]
# Degrees of freedom of the rules for ML draws are at least these, as their authors have them.
LEAST_DF = 3.0


class Analysis(NamedTuple):
    """What one completed table said: estimates (k,), their covariance (k, k), and their names."""

    estimate: Floats
    covariance: Floats
    terms: tuple[str, ...]
    df: float


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
    rules : {"rubin", "ml"}
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
        Called with each table. It returns ``(estimate, covariance)`` or ``(estimate, covariance,
        terms)``, the result of a fit of statsmodels, or an estimator of scikit-learn that has
        ``coef_`` and their covariance ``sigma_``, such as `BayesianRidge`. A single estimate may
        come as two numbers, itself and its variance.
    imputations : iterable
        Two tables or more, such as `EMImputer.multiply` gives them.
    complete_df : float, optional
        Degrees of freedom that the analysis of a table without holes has: rows less coefficients.
        By default what statsmodels says, and infinitely many elsewhere.
    rules : {"rubin", "ml"}, optional
        By default those that are right for `imputations`; Rubin's for tables of unknown origin.

    Raises
    ------
    ValueError
        If there are fewer than two tables, if the analyses do not fit together, or if Rubin's rules
        are asked for where all tables were drawn at one estimate.

    Examples
    --------
    >>> import numpy as np
    >>> tables = [np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.5, 4.0]), np.array([1.0, 3.0, 4.0])]
    >>> pooled = pool(lambda x: (x.mean(), x.var(ddof=1) / len(x)), tables, complete_df=2)
    >>> pooled.estimate.round(3).tolist(), pooled.m
    ([2.5], 3)
    """
    right: Rules = "ml" if getattr(imputations, "posterior", None) == "ml" else "rubin"
    if rules not in (None, "rubin", "ml"):
        raise ValueError(f'rules must be "rubin", "ml" or None, got {rules!r}.')
    if rules == "rubin" and right == "ml":
        raise ValueError(
            "These tables were drawn at one estimate, the maximum of the likelihood: they lie too "
            "close together for Rubin's rules, whose errors would be too small. Leave `rules` out, "
            "or draw with posterior='augmentation'."
        )
    analyses = tuple(_analysis(fit(table)) for table in imputations)
    _require_alike(analyses)
    known = [analysis.df for analysis in analyses]
    df = min(known) if complete_df is None else float(complete_df)
    if not df > 0:
        raise ValueError(f"complete_df must be above 0, got {complete_df!r}.")
    return combine(analyses, df, rules or right)


def combine(analyses: Sequence[Analysis], complete_df: float, rules: Rules = "rubin") -> Pooled:
    """Combine analyses that were made already; see `pool`.

    Parameters
    ----------
    analyses : sequence of Analysis
    complete_df : float
    rules : {"rubin", "ml"}
    """
    m = len(analyses)
    estimates = np.array([analysis.estimate for analysis in analyses])
    within = np.mean([analysis.covariance for analysis in analyses], axis=0)
    between = np.atleast_2d(np.cov(estimates.T, ddof=1))
    combined = _by_rubin if rules == "rubin" else _by_ml
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


# --- What a fit returned -------------------------------------------------------------------------


def _analysis(found: Any) -> Analysis:
    df, terms = math.inf, None
    if isinstance(found, tuple):
        if len(found) not in (2, 3):
            raise ValueError(
                "Expected (estimate, covariance) or (estimate, covariance, terms) from `fit`, got "
                f"{len(found)} things."
            )
        estimate, covariance, *named = found
        terms = named[0] if named else _index(estimate)
    elif hasattr(found, "params") and hasattr(found, "cov_params"):
        estimate, covariance = found.params, found.cov_params()
        terms = _index(estimate)
        df = float(getattr(found, "df_resid", math.inf))
    elif hasattr(found, "coef_") and hasattr(found, "sigma_"):
        estimate, covariance = found.coef_, found.sigma_
        terms = getattr(found, "feature_names_in_", None)
    else:
        raise ValueError(
            "Expected (estimate, covariance) from `fit`, a result of statsmodels, or an estimator "
            f"of scikit-learn with coef_ and sigma_, got {type(found).__name__}."
        )
    values = np.atleast_1d(np.asarray(estimate, dtype=np.float64))
    errors = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    if values.ndim != 1 or errors.shape != (len(values), len(values)):
        raise ValueError(
            f"Expected estimates (k,) and their covariance (k, k) from `fit`, got the shapes "
            f"{np.shape(estimate)} and {np.shape(covariance)}."
        )
    if not (np.isfinite(values).all() and np.isfinite(errors).all()):
        raise ValueError("An estimate or its covariance is not finite; see what `fit` returns.")
    names = [f"b{j}" for j in range(len(values))] if terms is None else list(map(str, terms))
    if len(names) != len(values):
        raise ValueError(f"Expected a name for each of {len(values)} estimates, got {len(names)}.")
    return Analysis(values, errors, tuple(names), df)


def _index(estimate: Any) -> Any:
    return estimate.index if isinstance(estimate, pd.Series) else None


def _require_alike(analyses: Sequence[Analysis]) -> None:
    if len(analyses) < 2:
        raise ValueError(
            f"Expected two imputed tables or more, got {len(analyses)}: what is missing shows in "
            "how their answers differ."
        )
    first = analyses[0].terms
    for number, analysis in enumerate(analyses, start=1):
        if analysis.terms != first:
            raise ValueError(
                f"The analysis of table {number} has the terms {list(analysis.terms)}, that of the "
                f"first {list(first)}. Give `fit` the same design for all tables."
            )


# --- The rules -----------------------------------------------------------------------------------


def _by_rubin(
    within: Floats, between: Floats, m: int, complete_df: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Total covariance, degrees of freedom, FMI and RIV (Rubin 1987; Barnard & Rubin 1999)."""
    total = within + (1.0 + 1.0 / m) * between
    extra = (1.0 + 1.0 / m) * between.diagonal()
    share = extra / total.diagonal()
    with np.errstate(divide="ignore"):
        df = (m - 1) / share**2
        if math.isfinite(complete_df):
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1.0 - share)
            # The harmonic sum, whose first part may be infinite.
            df = 1.0 / (1.0 / df + 1.0 / observed)
        riv = extra / within.diagonal()
        fmi = np.where(np.isfinite(riv), (riv + 2.0 / (df + 3.0)) / (1.0 + riv), 1.0)
    return total, df, fmi, riv


def _by_ml(
    within: Floats, between: Floats, m: int, complete_df: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """The same for tables drawn at one estimate: the within-between rule (von Hippel 2021).

    There the covariance of the estimates tends to ``W (I - W^-1 B)^-1``. A fraction of missing
    information that is estimated from few tables may be above 1, and is shrunk to below it.
    """
    root = np.linalg.cholesky(within)
    inverse = np.linalg.inv(root)
    # W^-1 B has these eigenvalues.
    missing, vectors = np.linalg.eigh(inverse @ between @ inverse.T)
    shrunk = np.array([_shrunk(max(0.0, float(x)), m - 1) for x in missing])
    side = root @ vectors
    at_maximum = (side / (1.0 - shrunk)) @ side.T
    total = at_maximum + between / m
    of_each = within.diagonal() / at_maximum.diagonal()
    fmi = 1.0 - of_each
    with np.errstate(divide="ignore", invalid="ignore"):
        of_maximum = (m - 1) * (of_each / fmi) ** 2 - 4.0
        parts = at_maximum.diagonal() ** 2 / of_maximum + (between.diagonal() / m) ** 2 / (m - 1)
        df = np.where(of_maximum > 0, total.diagonal() ** 2 / parts, 0.0)
        if math.isfinite(complete_df):
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * of_each
            df = 1.0 / (1.0 / df + 1.0 / observed)
    return total, np.maximum(df, LEAST_DF), fmi, total.diagonal() / within.diagonal() - 1.0


def _shrunk(fraction: float, df: int) -> float:
    """A fraction of missing information below 1: the mean of its distribution, truncated there.

    With the upper incomplete gamma function ``G`` it is ``x G(df/2 - 1, x) / G(df/2, x)``,
    ``x = df fraction / 2``.
    """
    x, a = df * fraction / 2.0, df / 2.0
    if not x:
        return 0.0
    upper, lower = (gammaincc(k, x) if a > 1.0 else _upper_gamma(k, x) for k in (a, a - 1.0))
    if not (upper and lower):
        # Far out in the tail, where both are as good as 0.
        return (x - a + 1.0) / (x - a + 2.0)
    return min(x * lower / upper / (a - 1.0 if a > 1.0 else 1.0), 1.0 - 1e-12)


def _upper_gamma(a: float, x: float) -> float:
    """The upper incomplete gamma function, for -1 < a <= 1."""
    if a > 0.0:
        return float(gamma(a) * gammaincc(a, x))
    if a == 0.0:
        return float(exp1(x))
    return float((gamma(a + 1.0) * gammaincc(a + 1.0, x) - x**a * math.exp(-x)) / a)


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
