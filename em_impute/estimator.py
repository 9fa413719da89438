"""`EMImputer`: the Gaussian EM as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import estimator_html_repr
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from em_impute.frames import (
    Columns,
    array_in_type,
    columns_in_types,
    framed_like,
    numbers_of,
    one_by_one,
    seed_of,
)
from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.delta import require_delta
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.posterior import MOST_SWEEPS
from em_impute.gaussian.threads import at_most
from em_impute.multiple import Draws, MultipleImputation, Posterior, multiply_impute


class EMImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped scikit-learn
    """Fill missing cells from their distribution under a multivariate Gaussian fitted by EM.

    Each row's missing cells become their mean given its observed cells, or a draw. A DataFrame of
    pandas or polars comes back as one, with its index and labels, and so does a table of Arrow;
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
    n_starts : int, default=1
        Starts to climb the likelihood from; the highest ending is kept. With few rows and many
        missing cells there may be several maxima: ``result_.decisions`` says what was found.
    sample : bool, default=False
        Whether missing cells are drawn, those of a row jointly, instead of filled with their
        means: for tables whose variances and correlations are to be those of the population.
    random_state : int, RandomState instance or None, default=None
        What the draws come from: a whole number is their seed, as in a job (``imputation.seed``)
        and in `GaussianModel.draw`. After `fit` they are fixed: they depend on `seed_`, the row's
        number and the column, so that transforming the same table again gives the same result.
    delta : dict of str to float, optional
        By how many standard deviations (those of the model) the missing cells of a column are
        shifted, by its name: ``{"income": -0.2}`` shows what follows if hidden incomes are lower
        than the other columns predict. The fit is the same.
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
        n_starts: int = 1,
        sample: bool = False,
        random_state: int | np.random.RandomState | None = None,
        delta: Mapping[str, float] | None = None,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        n_jobs: int = -1,
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.prior_rows = prior_rows
        self.n_starts = n_starts
        self.sample = sample
        self.random_state = random_state
        self.delta = delta
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
            Numbers of any type, booleans included; missing is what is NaN, None, NA or masked.
        y : ignored

        Raises
        ------
        ValueError
            If an option is out of its range, `delta` names a column that `X` does not have or that
            has no observed cell, a column is not numeric, or holds infinities or
            integers beyond 2**53, or no cell at all is observed.

        Warns
        -----
        ConvergenceWarning
            If the fit did not end at a maximum of the likelihood, but before one or at a saddle.
        """
        self._require_switches()
        _, matrix = numbers_of(self, X, reset=True)
        self._shown: NDArray[np.bool_] = np.logical_not(np.isnan(matrix).all(axis=0))
        if not self._shown.any():
            raise ValueError("No cell of X is observed, so there is nothing to learn from.")
        self._report_empty_features()
        names = [str(name) for name in _check_feature_names_in(self)[self._shown]]
        if self.delta is not None:
            require_delta(self.delta, names)
        with at_most(self.n_jobs):
            summary = PatternSummary.from_array(_columns(matrix, self._shown), names)
        self.result_ = fit_gaussian(
            summary,
            tol=self.tol,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            prior_rows=self.prior_rows,
            n_starts=self.n_starts,
            n_jobs=self.n_jobs,
        )
        self.seed_ = seed_of(self.random_state)
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
            Observed cells are those of `X`, bit by bit. Floats of 32 bits keep their type, unless a
            number does not fit, and so do the integers of a frame in columns without missing cells.
            All else comes back as float64: nullable types too, as nothing is missing any more.
        """
        check_is_fitted(self)
        table, matrix = numbers_of(self, X, reset=False)
        kept: NDArray[np.bool_] = np.logical_or(self._shown, self.keep_empty_features)
        filled = _columns(self._filled(matrix), kept)
        marks = None if self.indicator_ is None else self.indicator_.transform(matrix)
        if table.names is None:
            array = array_in_type(table, filled)
            return array if marks is None else np.hstack([array, marks])
        columns = columns_in_types(table, filled, kept)
        if marks is not None:
            columns = [*one_by_one(columns), *marks.T.astype(np.float64)]
        return self._framed(X, columns, kept)

    def multiply(
        self,
        X: Any,
        m: Draws = 20,
        *,
        posterior: Posterior = "augmentation",
        keys: Keys | None = None,
        max_sweeps: int = MOST_SWEEPS,
    ) -> MultipleImputation:
        """Fill `X` several times, with parameters drawn anew for each time, and shifted by `delta`.

        What differs between the tables is what is not known: `em_impute.pool` makes one answer of
        what is found in each.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
            The rows that were fitted, or others (but with ``posterior="bootstrap"``).
        m : int or "auto", default 20
            Imputations; ``"auto"`` takes as many as the standard errors need.
        posterior : {"augmentation", "ml", "bootstrap"}, default "augmentation"
            How each imputation gets its parameters, as in `em_impute.multiply_impute`.
        keys : sequence of hashable or ndarray of shape (n_samples,), optional
            What identifies the rows, as in `GaussianModel.draw`.
        max_sweeps : int, default 20000
            Most sweeps of a chain of data augmentation.

        Returns
        -------
        MultipleImputation
            An iterable of m tables, each made when it is asked for.
        """
        check_is_fitted(self)
        _, matrix = numbers_of(self, X, reset=False)
        table = X if isinstance(X, pd.DataFrame) else _columns(matrix, self._shown)
        return multiply_impute(
            table,
            m,
            result=self.result_,
            posterior=posterior,
            seed=self.seed_,
            keys=keys,
            max_sweeps=max_sweeps,
            delta=self.delta,
        )

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
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
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
            if self.sample:
                filled = model.draw(shown, self.seed_, delta=self.delta)
            else:
                filled = model.impute(shown, delta=self.delta)
        if self._shown.all():
            return filled
        whole: Floats = np.where(np.isnan(matrix), 0.0, matrix)
        whole[:, self._shown] = filled
        return whole

    def _framed(self, X: Any, columns: Columns, kept: NDArray[np.bool_]) -> Any:
        """Columns, the indicator's last, as a frame of the library of `X`, or as one of pandas."""
        names = self.get_feature_names_out()
        labels = None
        if isinstance(X, pd.DataFrame):
            labels = X.columns[kept] if self.indicator_ is None else pd.Index(names)
            if hasattr(self, "feature_names_in_"):
                labels = labels.rename(X.columns.name)
        wanted = _get_output_config("transform", self)["dense"]
        return framed_like(X, columns, names, labels=labels, library=wanted)

    def _indicator_names(self, input_features: Any = None) -> NDArray[np.object_]:
        if self.indicator_ is None:
            return np.array([], dtype=object)
        names: NDArray[np.object_] = self.indicator_.get_feature_names_out(
            _check_feature_names_in(self, input_features)
        )
        return names

    def _require_switches(self) -> None:
        for name in ("sample", "add_indicator", "keep_empty_features"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}.")

    def _report_empty_features(self) -> None:
        if self._shown.all():
            return
        fate = "filled with 0" if self.keep_empty_features else "left out of the result"
        empty = _check_feature_names_in(self)[~self._shown].tolist()
        warnings.warn(f"Columns without any observed cell are {fate}: {empty}.", stacklevel=3)


def _columns(matrix: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """The chosen columns; the matrix itself where these are all."""
    return matrix if chosen.all() else matrix.compress(chosen, axis=1)
