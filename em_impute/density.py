"""What the estimators of rows' distributions share: densities, criteria, filled cells, options."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from em_impute.frames import array_in_type, columns_in_types, framed_like, numbers_of
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.threads import at_most


class DensityModel(Protocol):
    """What a fit leaves: `MixtureModel`, `FactorModel`."""

    @property
    def n_parameters(self) -> int:
        """How many numbers were estimated."""

    def posteriors(self, X: Floats) -> tuple[Floats, Floats]:
        """What is behind each row, and the log-density of its observed cells."""


class RowDensity:
    """What an estimator of the distribution of rows can, of which any cells may be missing.

    A subclass has the option `n_jobs`, leaves its model in `_model`, and fills by `_fill`.
    """

    METHODS: tuple[str, ...] = ("mean", "draw")
    _model: DensityModel
    n_jobs: int

    def score_samples(self, X: Any) -> Floats:
        """Log-density of the observed cells of each row, of shape (n_samples,)."""
        return self._posteriors(X)[1]

    def score(self, X: Any, y: object = None) -> float:  # noqa: ARG002 - scikit-learn's signature
        """Mean log-density of the rows.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
        y : ignored
        """
        return float(self.score_samples(X).mean())

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on `X`, over its rows with something observed.

        ``-2 loglik + n_parameters log(n)``: lower is better.
        """
        logliks, matrix = self.score_samples(X), numbers_of(self, X, reset=False)[1]
        n = np.count_nonzero(~np.isnan(matrix).all(axis=1))
        return float(self._model.n_parameters * np.log(n) - 2.0 * logliks.sum())

    def aic(self, X: Any) -> float:
        """Akaike information criterion on `X`, ``-2 loglik + 2 n_parameters``: lower is better."""
        logliks = self.score_samples(X)
        return float(2.0 * self._model.n_parameters - 2.0 * logliks.sum())

    def __sklearn_tags__(self) -> Any:
        # Of BaseEstimator, which comes behind.
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        return tags

    def _posteriors(self, X: Any) -> tuple[Floats, Floats]:
        check_is_fitted(self)
        _, matrix = numbers_of(self, X, reset=False)
        with at_most(self.n_jobs):
            return self._model.posteriors(np.ascontiguousarray(matrix))

    def _fill(self, matrix: Floats, method: str, keys: Keys | None) -> Floats:
        """A copy of a matrix with its missing cells filled."""
        raise NotImplementedError

    def _imputed(self, X: Any, method: str, keys: Keys | None) -> Any:
        """`X` filled, as it is: a frame or an array, each column of its type."""
        check_is_fitted(self)
        if method not in self.METHODS:
            raise ValueError(f"method must be one of {', '.join(self.METHODS)}, got {method!r}.")
        table, matrix = numbers_of(self, X, reset=False)
        with at_most(self.n_jobs):
            filled = self._fill(np.ascontiguousarray(matrix), method, keys)
        if table.names is None:
            return array_in_type(table, filled)
        columns = columns_in_types(table, filled)
        labels = X.columns if isinstance(X, pd.DataFrame) else None
        return framed_like(X, columns, table.names, labels=labels)


def require_components(value: object) -> None:
    """Raise an error unless an argument is a number of components, or leaves it to BIC."""
    if value != "bic" and not _is_whole(value):
        raise ValueError(f'n_components must be a whole number from 1, or "bic", got {value!r}.')


def require_whole(name: str, value: object) -> None:
    """Raise an error unless an argument is a whole number from 1."""
    if not _is_whole(value):
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")


def require_not_negative(name: str, value: object) -> None:
    """Raise an error unless an argument is a number that is finite and not negative."""
    if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ValueError(f"{name} must be a number that is not negative, got {value!r}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
