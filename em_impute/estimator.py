"""`EMImputer`: the Gaussian EM as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.types import is_float_dtype, is_numeric_dtype
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.patterns import Floats


class EMImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped scikit-learn
    """Fill missing cells with their conditional mean under a multivariate Gaussian fitted by EM.

    A DataFrame comes back as a DataFrame, with its index and, where the values allow, its dtypes;
    anything else as an array.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop when no mean is estimated to be further than this from the maximum in standard
        deviations, and no covariance in correlation units.
    max_iter : int, default=1000
        Evaluations of the EM map.
    acceleration : {"anderson", "none"}, default="anderson"
    prior_rows : float or "auto", default="auto"
        Pseudo-rows of a ridge prior; "auto" uses one only where the likelihood has no maximum.
    keep_empty_features : bool, default=False
        Whether a column without any observed cell in `fit` is kept, and filled with 0, or left
        out of the result, with a warning.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,)
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        NaN in columns that had no observed cell.
    loglik_ : float
        Observed-data log-likelihood.
    n_iter_ : int
    status_ : Status
    result_ : EMResult
        The whole fit: message, trace, decisions.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where `X` had column names.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 5.0], [4.0, 9.0]])
    >>> EMImputer().fit_transform(X).round(2).tolist()
    [[1.0, 2.0], [2.0, 3.86], [3.0, 5.0], [4.0, 9.0]]
    """

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        max_iter: int = 1000,
        acceleration: Literal["anderson", "none"] = "anderson",
        prior_rows: float | Literal["auto"] = "auto",
        keep_empty_features: bool = False,
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.prior_rows = prior_rows
        self.keep_empty_features = keep_empty_features

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Estimate mean and covariance.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
            Numbers; NaN, None or pd.NA where missing.
        y : ignored

        Raises
        ------
        ValueError
            If a column is not numeric or holds infinities, or no cell at all is observed.
        """
        matrix = self._numbers(X, reset=True)
        self._shown: NDArray[np.bool_] = np.logical_not(np.isnan(matrix).all(axis=0))
        if not self._shown.any():
            raise ValueError("No cell of X is observed, so there is nothing to learn from.")
        self._report_empty_features()
        names = _check_feature_names_in(self)[self._shown]
        self.result_ = fit_gaussian(
            PatternSummary.from_array(matrix[:, self._shown], [str(name) for name in names]),
            tol=self.tol,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            prior_rows=self.prior_rows,
        )
        self.mean_ = np.full(len(self._shown), np.nan)
        self.mean_[self._shown] = self.result_.model.mean
        self.covariance_ = np.full((len(self._shown), len(self._shown)), np.nan)
        self.covariance_[np.ix_(self._shown, self._shown)] = self.result_.model.covariance
        self.loglik_ = self.result_.loglik
        self.n_iter_ = self.result_.n_iter
        self.status_ = self.result_.status
        return self

    def transform(self, X: Any) -> Any:
        """Fill the missing cells of `X`.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
            Any pattern of missing cells, also one that `fit` has not seen; one row will do.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features_out)
            Observed cells are bit-identical to those of `X`.
        """
        check_is_fitted(self)
        matrix = self._numbers(X, reset=False)
        filled = np.zeros_like(matrix)
        filled[:, ~self._shown] = np.where(np.isnan(matrix), 0.0, matrix)[:, ~self._shown]
        filled[:, self._shown] = self.result_.model.impute(matrix[:, self._shown])
        kept = np.flatnonzero(self._shown | self.keep_empty_features)
        if isinstance(X, pd.DataFrame):
            return _filled_frame(X.iloc[:, kept], filled[:, kept], np.isnan(matrix)[:, kept])
        return filled[:, kept]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array_like of str, optional
            Names to use where `fit` saw none.
        """
        check_is_fitted(self)
        names: NDArray[np.object_] = _check_feature_names_in(self, input_features)
        return names[self._shown | self.keep_empty_features]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _numbers(self, X: Any, *, reset: bool) -> Floats:
        """`X` as a float64 matrix, checked against what `fit` has seen."""
        if isinstance(X, pd.DataFrame):
            _require_numeric(X)
        matrix: Floats = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        return matrix

    def _report_empty_features(self) -> None:
        if self._shown.all():
            return
        fate = "filled with 0" if self.keep_empty_features else "left out of the result"
        empty = _check_feature_names_in(self)[~self._shown].tolist()
        warnings.warn(f"Columns without any observed cell are {fate}: {empty}.", stacklevel=3)


def _require_numeric(frame: pd.DataFrame) -> None:
    other = [str(name) for name, dtype in frame.dtypes.items() if not is_numeric_dtype(dtype)]
    if other:
        raise ValueError(
            f"Expected numeric columns, got others: {other}. Leave them out (for instance with a "
            "ColumnTransformer) or turn them into numbers first."
        )


def _filled_frame(frame: pd.DataFrame, filled: Floats, missing: NDArray[np.bool_]) -> pd.DataFrame:
    """`frame` with its missing cells filled; columns without any keep their dtype."""
    columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
    for j in np.flatnonzero(missing.any(axis=0)).tolist():
        columns[j] = columns[j].astype(_float_dtype(columns[j].dtype)).copy()
        holes = np.flatnonzero(missing[:, j])
        columns[j].iloc[holes] = pd.array(filled[holes, j]).astype(columns[j].dtype)
    return pd.concat(columns, axis=1) if columns else frame.copy()


def _float_dtype(dtype: Any) -> Any:
    """The dtype that holds conditional means beside cells of `dtype`: they are no integers."""
    if is_float_dtype(dtype):
        return dtype
    return pd.ArrowDtype(pa.float64()) if isinstance(dtype, pd.ArrowDtype) else "Float64"
