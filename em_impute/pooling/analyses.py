"""What the analyses of completed tables found, in whatever form `fit` returned it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from em_impute.gaussian.arrays import Floats


class Analysis(NamedTuple):
    """What the analysis of one completed table found.

    Attributes
    ----------
    estimate : ndarray of shape (k,)
    covariance : ndarray of shape (k, k)
    terms : tuple of str
    df : float
        Degrees of freedom that it leaves; infinite where nobody knows.
    influence : ndarray of shape (n_rows, k) or None
        By how much each row moves each estimate: they add up to 0, and the estimates are off by
        about as much as the same would add up to about the truth.
    """

    estimate: Floats
    covariance: Floats
    terms: tuple[str, ...]
    df: float
    influence: Floats | None = None


def analysis_of(found: Any) -> Analysis:
    """Read what a fit returned; an error says what was expected."""
    df, terms, influence = math.inf, None, None
    if isinstance(found, tuple):
        if len(found) not in (2, 3, 4):
            raise ValueError(
                "Expected (estimate, covariance), with terms and influence if there are any, from "
                f"`fit`, got {len(found)} things."
            )
        estimate, covariance, *named = found
        terms = named[0] if named else None
        terms = _index(estimate) if terms is None else terms
        influence = named[1] if len(named) == 2 else None
    elif hasattr(found, "params") and hasattr(found, "cov_params"):
        estimate, covariance = found.params, found.cov_params()
        terms = _index(estimate)
        df = float(getattr(found, "df_resid", math.inf))
        influence = _influence(found, covariance)
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
    return Analysis(values, errors, tuple(names), df, _moves(influence, len(values)))


def _influence(result: Any, covariance: Any) -> Any:
    """By how much each row moves the estimates of a result of statsmodels; None if it hides that.

    That is the row's score times the covariance of the estimates, up to a factor which both have.
    """
    model: Any = getattr(result, "model", None)
    if hasattr(model, "wexog") and hasattr(result, "normalized_cov_params"):
        scores = model.wexog * np.asarray(result.wresid)[:, None]
        return scores @ np.asarray(result.normalized_cov_params)
    if hasattr(model, "score_obs"):
        return np.asarray(model.score_obs(result.params)) @ np.asarray(covariance)
    return None


def _moves(influence: Any, k: int) -> Floats | None:
    if influence is None:
        return None
    moves = np.asarray(influence, dtype=np.float64)
    moves = moves[:, None] if moves.ndim == 1 else moves
    if moves.ndim != 2 or moves.shape[1] != k or not np.isfinite(moves).all():
        raise ValueError(
            "Expected by how much each row moves each estimate, finite and of the shape (rows, "
            f"{k}), as the influence from `fit`, got the shape {np.shape(influence)}."
        )
    return moves


def _index(estimate: Any) -> Any:
    return estimate.index if isinstance(estimate, pd.Series) else None


def require_alike(analyses: Sequence[Analysis]) -> None:
    """Raise an error unless there are several, of the same terms."""
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
