"""Estimates with their standard errors and intervals, and regressions among the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, ndtri

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.inference import MOST_COLUMNS, Precision, Undetermined, precision_of
from em_impute.gaussian.information import parameter_names
from em_impute.gaussian.linalg import solve_definite
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.patterns import PatternSummary, require_unweighted
from em_impute.gaussian.scores import row_scores
from em_impute.gaussian.table import Table, listed
from em_impute.gaussian.triangle import triangle

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-9


@dataclass(frozen=True)
class Regression:
    """A linear regression of one column on others, from the means and covariances of all rows.

    Attributes
    ----------
    response : str
    predictors : tuple of str
    level : float
        Of the intervals.
    coefficients : DataFrame
        A row each for the intercept and the slopes: ``term, estimate, std_error, statistic,
        p_value, conf_low, conf_high, fmi``.
    r_squared, r_squared_error : float
        Share of the response's variance that the predictors explain, and its standard error.
    residual_variance, residual_variance_error : float
        What they leave of it (divisor n), and its standard error.
    n_rows : int
        Rows that took part: all that show anything.
    """

    response: str
    predictors: tuple[str, ...]
    level: float
    coefficients: pd.DataFrame
    r_squared: float
    r_squared_error: float
    residual_variance: float
    residual_variance_error: float
    n_rows: int

    def __str__(self) -> str:
        return "\n".join(
            [
                f"Regression of {self.response} on {', '.join(self.predictors)}, "
                f"{self.n_rows:,} rows",
                self.coefficients.to_string(index=False, float_format="{:.6g}".format),
                self.explained,
            ]
        )

    @property
    def explained(self) -> str:
        """How much the predictors explain, and how much they leave, with standard errors."""
        return (
            f"R^2 {self.r_squared:.4f} (standard error {self.r_squared_error:.4f}), residual "
            f"variance {self.residual_variance:.6g} ({self.residual_variance_error:.3g})"
        )


def estimates(
    summary: PatternSummary,
    model: GaussianModel,
    prior_rows: float,
    level: float,
    columns: Sequence[str] | None,
    rows: Any,
) -> pd.DataFrame:
    """The table that `EMResult.estimates` returns; what it takes is described there."""
    import pandas as pd  # only who asks for a table needs it

    z = _quantile(level)
    found, names = _precision(summary, model, prior_rows, columns, rows)
    p = len(names)
    row, column, _, _ = triangle(p)
    values = np.concatenate([found.mean, found.covariance[row, column]])
    errors, missing = _errors_and_missing(np.eye(len(values)), found)
    low, high = values - z * errors, values + z * errors
    variances = p + np.flatnonzero(row == column)
    spread = np.exp(z * errors[variances] / values[variances])
    low[variances], high[variances] = values[variances] / spread, values[variances] * spread
    table = [values, errors, low, high, missing]
    beside = np.flatnonzero(row != column)
    correlations, gradients = _correlations(found.covariance, row[beside], column[beside])
    of_r, missing_of_r = _errors_and_missing(gradients, found)
    with np.errstate(divide="ignore"):
        middle, half = np.arctanh(correlations), z * of_r / (1.0 - correlations**2)
    ends = np.tanh(middle - half), np.tanh(middle + half)
    for k, more in enumerate((correlations, of_r, *ends, missing_of_r)):
        table[k] = np.concatenate([table[k], more])
    labels = parameter_names(names) + [
        f"correlation of {names[j]} and {names[i]}"
        for i, j in zip(row[beside].tolist(), column[beside].tolist(), strict=True)
    ]
    headings = ("estimate", "std_error", "conf_low", "conf_high", "fmi")
    return pd.DataFrame({"parameter": labels} | dict(zip(headings, table, strict=True)))


def regression(
    summary: PatternSummary,
    model: GaussianModel,
    prior_rows: float,
    response: str,
    predictors: Sequence[str],
    level: float,
    rows: Any,
) -> Regression:
    """What `EMResult.regress` returns; what it takes is described there."""
    import pandas as pd

    z = _quantile(level)
    predictors = _names(predictors, "predictors")
    if not predictors or response in predictors:
        raise ValueError(
            "Expected at least one predictor, and the response not among them, got "
            f"{list(predictors)} for {response!r}."
        )
    found, _ = _precision(summary, model, prior_rows, (response, *predictors), rows)
    values, gradients = _regressed(found)
    errors, missing = _errors_and_missing(gradients, found)
    of_terms = slice(0, len(predictors) + 1)
    estimate, error = values[of_terms], errors[of_terms]
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / error
    coefficients = pd.DataFrame(
        {
            "term": ["(intercept)", *predictors],
            "estimate": estimate,
            "std_error": error,
            "statistic": statistic,
            "p_value": 2.0 * ndtr(-np.abs(statistic)),
            "conf_low": estimate - z * error,
            "conf_high": estimate + z * error,
            "fmi": missing[of_terms],
        }
    )
    return Regression(
        response,
        predictors,
        level,
        coefficients,
        r_squared=float(values[-1]),
        r_squared_error=float(errors[-1]),
        residual_variance=float(values[-2]),
        residual_variance_error=float(errors[-2]),
        n_rows=int(summary.counts[summary.patterns.any(axis=1)].sum()),
    )


def require_level(level: float) -> None:
    """Raise an error if the level of an interval is no share."""
    if not (isinstance(level, float) and 0 < level < 1):
        raise ValueError(f"level must lie between 0 and 1, such as 0.95, got {level!r}.")


def _quantile(level: float) -> float:
    require_level(level)
    return float(ndtri((1.0 + level) / 2.0))


def _names(given: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ValueError(f"Expected a list of {what}, got the text {given!r}.")
    names = tuple(map(str, given))
    if len(set(names)) < len(names):
        raise ValueError(f"The {what} must differ from each other, got {list(names)}.")
    return names


def _precision(
    summary: PatternSummary,
    model: GaussianModel,
    prior_rows: float,
    columns: Sequence[str] | None,
    table: Any,
) -> tuple[Precision, tuple[str, ...]]:
    """How precisely the parameters of some columns are estimated, and which columns these are."""
    require_unweighted(summary, "standard error")
    scaling = Standardisation.of(summary)
    varying = scaling.varying_names
    chosen = varying if columns is None else _names(columns, "columns")
    if unknown := [name for name in chosen if name not in scaling.names]:
        raise ValueError(f"The model has no column {listed(unknown)}; it has {list(varying)}.")
    if constant := [name for name in chosen if name not in varying]:
        raise ValueError(f"Nothing is estimated of what is constant: {listed(constant)}.")
    if columns is None and len(varying) > MOST_COLUMNS:
        raise ValueError(
            f"Of more than {MOST_COLUMNS} columns there are too many parameters for one table; "
            "name some columns, as in columns=['a', 'b']."
        )
    at = scaling.standardise(model)
    rows = WeightedRows.of(summary, scaling.varying, scaling.centre, scaling.scale)
    index = np.array([varying.index(name) for name in chosen], dtype=np.int64)
    try:
        scores = None if table is None else partial(_scores, table, scaling, at)
        found = precision_of(rows, at, prior_rows, index, varying, scores)
    except np.linalg.LinAlgError:
        raise Undetermined(
            f"There are no standard errors: {scaling.dependent_columns(at[1])}. Leave one of them "
            "out."
        ) from None
    of_chosen = scaling.varying[index]
    return found.scaled(scaling.centre[of_chosen], scaling.scale[of_chosen]), chosen


def _scores(table: Any, scaling: Standardisation, at: tuple[Floats, Floats]) -> Floats:
    """Sum over the rows of the outer products of their scores, (q, q)."""
    p = len(at[0])
    X = Table.of(table).in_order_of(scaling.names)
    if len(X) != scaling.n_rows:
        raise ValueError(
            f"Expected the table that the model was fitted to, of {scaling.n_rows:,} rows, got "
            f"{len(X):,}."
        )
    q = p * (p + 3) // 2
    total = np.zeros((q, q))
    for _, scores in row_scores(X, scaling, at):
        total += scores.T @ scores
    return total


def _errors_and_missing(gradients: Floats, found: Precision) -> tuple[Floats, Floats]:
    """Standard errors of functions of the parameters, and their fractions of missing information.

    Parameters
    ----------
    gradients : ndarray of shape (m, q)
    found : Precision
    """
    squares, observed, complete = (
        np.einsum("mi,ij,mj->m", gradients, errors, gradients, optimize=True)
        for errors in (found.errors, found.observed, found.complete)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        missing = 1.0 - complete / observed
        # Where nothing is missing, the two differ by their rounding.
        missing = np.where(missing < ROUNDING, 0.0, missing)
    return np.sqrt(np.maximum(squares, 0.0)), missing


def _correlations(covariance: Floats, row: Ints, column: Ints) -> tuple[Floats, Floats]:
    """Correlations of pairs of columns, and their gradients by the parameters."""
    p = len(covariance)
    number = p + triangle(p).number
    variances = covariance.diagonal()
    sd = np.sqrt(variances[row] * variances[column])
    correlations = covariance[row, column] / sd
    gradients = np.zeros((len(row), p + p * (p + 1) // 2))
    each = np.arange(len(row))
    gradients[each, number[row, column]] = 1.0 / sd
    for one in (row, column):
        gradients[each, number[one, one]] = -0.5 * correlations / variances[one]
    return correlations, gradients


def _regressed(found: Precision) -> tuple[Floats, Floats]:
    """Intercept, slopes, residual variance and R^2 of the first column on the others.

    With their gradients: of the slopes ``b = S_xx^-1 s_xy`` it is ``S_xx^-1 (ds_xy - dS_xx b)``.
    """
    mean, S = found.mean, found.covariance
    p = len(mean)
    inverse = solve_definite(S[1:, 1:], np.eye(p - 1))
    slopes = inverse @ S[1:, 0]
    residual = float(S[0, 0] - slopes @ S[1:, 0])
    values = np.concatenate(
        [[mean[0] - slopes @ mean[1:]], slopes, [residual, 1.0 - residual / S[0, 0]]]
    )
    row, column, _, _ = triangle(p)
    gradients = np.zeros((p + 2, p + len(row)))
    gradients[0, 0], gradients[0, 1:p] = 1.0, -slopes
    contrast = np.concatenate([[1.0], -slopes])
    for k, (i, j) in enumerate(zip(row.tolist(), column.tolist(), strict=True), start=p):
        change = np.zeros((p, p))
        change[i, j] = change[j, i] = 1.0
        of_slopes = inverse @ (change @ contrast)[1:]
        of_residual = contrast @ change @ contrast
        of_share = residual * change[0, 0] / S[0, 0] ** 2 - of_residual / S[0, 0]
        gradients[:, k] = [-of_slopes @ mean[1:], *of_slopes, of_residual, of_share]
    return values, gradients
