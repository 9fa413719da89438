"""`EMImputer`: the Gaussian EM as a scikit-learn transformer."""

from __future__ import annotations

import sys
import warnings
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state, estimator_html_repr
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.patterns import Floats
from em_impute.gaussian.threads import at_most

FLOAT_OF_ARROW = pd.ArrowDtype(pa.float64())


class EMImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped scikit-learn
    """Fill missing cells from their distribution under a multivariate Gaussian fitted by EM.

    Each row's missing cells become their mean given its observed cells, or a draw. A DataFrame of
    pandas or polars comes back as one, with its index and, where the values allow, its dtypes;
    anything else as an array.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop when no mean is estimated to be further than this from the maximum in standard
        deviations, and no covariance in correlation units.
    max_iter : int, default=1000
        Evaluations of the EM map.
    acceleration : {"anderson", "squarem", "none"}, default="anderson"
    prior_rows : float or "auto", default="auto"
        Pseudo-rows of a ridge prior; "auto" uses one only where the likelihood has no maximum.
    sample : bool, default=False
        Whether missing cells are drawn, those of a row jointly, instead of filled with their
        means: for tables whose variances and correlations are to be those of the population.
    random_state : int, RandomState instance or None, default=None
        What the draws come from: a whole number is their seed, as in a job (``imputation.seed``)
        and in `GaussianModel.draw`. After `fit` they are fixed: they depend on `seed_`, the row's
        number and the column, so that transforming the same table again gives the same result.
    add_indicator : bool, default=False
        Whether a column ``missingindicator_<name>`` follows for every column that had missing
        cells in `fit`, as scikit-learn's `MissingIndicator` makes them.
    keep_empty_features : bool, default=False
        Whether a column without any observed cell in `fit` is kept, and filled with 0, or left
        out of the result, with a warning.
    n_jobs : int, default=-1
        Threads; -1 for one on each core. The result is the same, to the last bit.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,)
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        NaN in columns that had no observed cell.
    loglik_ : float
        Observed-data log-likelihood.
    n_iter_ : int
        Evaluations of the EM map, that at the start included.
    status_ : Status
    result_ : EMResult
        The whole fit: message, trace, decisions.
    seed_ : int
        What `sample` draws with: ``result_.model.draw(X, seed_)`` are its draws. Rows that come in
        one by one all have number 0 and would share their noise; `draw` takes keys for them.
    indicator_ : MissingIndicator or None
        Only with `add_indicator`.
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
        acceleration: Literal["anderson", "squarem", "none"] = "anderson",
        prior_rows: float | Literal["auto"] = "auto",
        sample: bool = False,
        random_state: int | np.random.RandomState | None = None,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        n_jobs: int = -1,
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.prior_rows = prior_rows
        self.sample = sample
        self.random_state = random_state
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.n_jobs = n_jobs

    def _html_repr(self) -> str:
        """The diagram of scikit-learn and, once fitted, how the fit ended."""
        fitted: str = self.result_._repr_html_() if hasattr(self, "result_") else ""
        return f"{estimator_html_repr(self)}{fitted}"

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
        matrix = self._numbers(_as_pandas(X), reset=True)
        self._shown: NDArray[np.bool_] = np.logical_not(np.isnan(matrix).all(axis=0))
        if not self._shown.any():
            raise ValueError("No cell of X is observed, so there is nothing to learn from.")
        self._report_empty_features()
        names = _check_feature_names_in(self)[self._shown]
        with at_most(self.n_jobs):
            summary = PatternSummary.from_array(
                _columns(matrix, self._shown), [str(name) for name in names]
            )
        self.result_ = fit_gaussian(
            summary,
            tol=self.tol,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            prior_rows=self.prior_rows,
            n_jobs=self.n_jobs,
            # They cost more than the fit; `fit_gaussian` has them for whoever asks.
            diagnostics=False,
        )
        random = check_random_state(self.random_state)
        own = self.random_state if isinstance(self.random_state, Integral) else None
        self.seed_ = int(random.randint(2**31 - 1) if own is None else own)
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(matrix)
        self._show_estimates()
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
        frame = _as_pandas(X)
        matrix = self._numbers(frame, reset=False)
        kept = self._shown | self.keep_empty_features
        filled = _columns(self._filled(matrix), kept)
        if not isinstance(frame, pd.DataFrame):
            return self._with_indicator(filled, matrix)
        holes = np.isnan(_columns(matrix, kept))
        result = _filled_frame(frame.iloc[:, np.flatnonzero(kept)], filled, holes)
        result = self._with_indicator(result, matrix)
        # Asked for polars, scikit-learn makes it of pandas itself; the other way it cannot.
        wanted = _get_output_config("transform", self)["dense"]
        return result if frame is X or wanted == "pandas" else _as_polars(result)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array_like of str, optional
            Names to use where `fit` saw none.
        """
        check_is_fitted(self)
        names: NDArray[np.object_] = _check_feature_names_in(self, input_features)
        kept = names[self._shown | self.keep_empty_features]
        return np.concatenate([kept, self._indicator_names(input_features)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _show_estimates(self) -> None:
        """The fit as attributes, with places for the columns that it left out."""
        self.mean_ = np.full(len(self._shown), np.nan)
        self.mean_[self._shown] = self.result_.model.mean
        self.covariance_ = np.full((len(self._shown), len(self._shown)), np.nan)
        self.covariance_[np.ix_(self._shown, self._shown)] = self.result_.model.covariance
        self.loglik_ = self.result_.loglik
        self.n_iter_ = len(self.result_.trace)
        self.status_ = self.result_.status

    def _filled(self, matrix: Floats) -> Floats:
        """`matrix` without holes; 0 in those of columns that `fit` has not seen."""
        model, shown = self.result_.model, _columns(matrix, self._shown)
        with at_most(self.n_jobs):
            filled = model.draw(shown, self.seed_) if self.sample else model.impute(shown)
        if self._shown.all():
            return filled
        whole: Floats = np.where(np.isnan(matrix), 0.0, matrix)
        whole[:, self._shown] = filled
        return whole

    def _with_indicator(self, filled: Any, matrix: Floats) -> Any:
        """The array or frame `filled` with the indicator's columns, where there are to be any."""
        if self.indicator_ is None:
            return filled
        marks = self.indicator_.transform(matrix)
        if not isinstance(filled, pd.DataFrame):
            return np.hstack([filled, marks])
        marks = pd.DataFrame(marks, index=filled.index, columns=self._indicator_names())
        return pd.concat([filled, marks], axis=1)

    def _indicator_names(self, input_features: Any = None) -> NDArray[np.object_]:
        if self.indicator_ is None:
            return np.array([], dtype=object)
        names: NDArray[np.object_] = self.indicator_.get_feature_names_out(
            _check_feature_names_in(self, input_features)
        )
        return names

    def _numbers(self, X: Any, *, reset: bool) -> Floats:
        """`X` as a float64 matrix, checked against what `fit` has seen."""
        if isinstance(X, pd.DataFrame):
            _require_numeric(X)
            X = _without_decimals(X)
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


def _columns(matrix: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """The chosen columns; the matrix itself where these are all."""
    return matrix if chosen.all() else matrix.compress(chosen, axis=1)


def _as_pandas(X: Any) -> Any:
    """A polars frame as a pandas one on the same Arrow memory; anything else as it is."""
    polars = sys.modules.get("polars")
    if polars is None or not isinstance(X, polars.DataFrame):
        return X
    return X.to_pandas(use_pyarrow_extension_array=True)


def _as_polars(frame: pd.DataFrame) -> Any:
    import polars as pl

    return pl.from_pandas(frame)


def _require_numeric(frame: pd.DataFrame) -> None:
    other = [
        str(name)
        for name, dtype in frame.dtypes.items()
        # Arrow's booleans are not numeric to pandas, its other ones are.
        if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype))
    ]
    if other:
        raise ValueError(
            f"Expected numeric columns, got others: {other}. Leave them out (for instance with a "
            "ColumnTransformer) or turn them into numbers first."
        )


def _without_decimals(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with Arrow's decimals as floats: NumPy makes none of those with holes."""
    decimals = [
        name
        for name, dtype in frame.dtypes.items()
        if isinstance(dtype, pd.ArrowDtype) and pa.types.is_decimal(dtype.pyarrow_dtype)
    ]
    return frame.astype(dict.fromkeys(decimals, FLOAT_OF_ARROW)) if decimals else frame


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
    return FLOAT_OF_ARROW if isinstance(dtype, pd.ArrowDtype) else "Float64"
