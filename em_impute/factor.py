"""`EMFactor`: few factors behind the columns of tables with missing cells, and their scores."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_array,
    check_is_fitted,
)

from em_impute.density import (
    RowDensity,
    require_components,
    require_not_negative,
    require_whole,
)
from em_impute.frames import numbers_of, seed_of
from em_impute.gaussian import ConvergenceWarning
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families import FactorFit, FactorModel, Noise, Options, fit_factor
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.threads import at_most


class EMFactor(
    RowDensity,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # untyped scikit-learn
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Factor analysis and probabilistic PCA by EM, of rows of which any cells may be missing.

    What scikit-learn's `FactorAnalysis` and `PCA` do with complete tables, under the names they
    have there; missing is what is NaN, None, NA or masked. A row counts with the cells that it
    shows, and is neither filled first nor left out. Cells must be missing at random given the
    observed ones. Columns may be thousands, and more than rows: a step costs each observed cell
    the square of the number of factors.

    Parameters
    ----------
    n_components : int or "bic", default=1
        Factors. "bic" counts up from 1, until two further ones have not lowered BIC, and takes the
        number with the lowest.
    noise : {"diagonal", "isotropic"}, default="diagonal"
        A noise variance for each column, which is factor analysis; or one for all, which is
        probabilistic principal component analysis.
    rotation : {"varimax"}, optional
        How the factors are turned, which changes nothing else. By default their scores are
        uncorrelated given a whole row.
    min_noise : float, optional
        The share of its column's variance that a noise variance does not fall below, by default
        1e-5; where `noise` is "isotropic" that of the mean of all columns' variances, by default
        1e-6. If it would, a warning names the columns.
    tol : float, default=1e-6
        Stop when the log-likelihood is estimated to rise by less than this for each row, from there
        to the maximum.
    max_iter : int, default=1000
        Evaluations of the EM map after that at the start.
    random_state : int, RandomState instance or None, default=None
        What `sample` draws with, and, once fitted, ``impute(X, "draw")``. The fit is deterministic.
    n_jobs : int, default=-1
        Threads; -1 for one on each core. The result is the same, to the last bit.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Loadings, in the units of the columns. The factors come in the order of the variance that
        they explain in standardised columns, and the largest loading of each there is positive.
    noise_variance_ : ndarray of shape (n_features,), or float where `noise` is "isotropic"
    mean_ : ndarray of shape (n_features,)
    held_ : ndarray of shape (n_features,), bool
        Whether the noise variance of a column is at `min_noise`.
    converged_ : bool
    n_iter_ : int
        Evaluations of the EM map, that at the start included.
    loglik_ : float
        Observed-data log-likelihood, in full.
    logliks_ : list of float
        The same at each point that was accepted; it never decreases.
    n_components_ : int
        The number that was fitted.
    bics_ : dict of int to float
        BIC by number of factors, where that was chosen.
    seed_ : int
        What ``impute(X, "draw")`` draws with.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where `X` had column names.

    References
    ----------
    Rubin, D. B. & Thayer, D. T. (1982). EM algorithms for ML factor analysis. Tipping, M. E. &
    Bishop, C. M. (1999). Probabilistic principal component analysis. Liu, C., Rubin, D. B. & Wu,
    Y. N. (1998). Parameter expansion to accelerate EM.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.1, 2.9], [2.0, np.nan, 6.1], [3.0, 5.8, np.nan], [4.0, 8.1, 12.2]])
    >>> factor = EMFactor(noise="isotropic").fit(X)
    >>> factor.transform(X).shape
    (4, 1)
    >>> factor.impute(X)[1].round(1).tolist()
    [2.0, 4.1, 6.1]
    """

    _model: FactorModel

    def __init__(
        self,
        n_components: int | Literal["bic"] = 1,
        *,
        noise: Noise = "diagonal",
        rotation: Literal["varimax"] | None = None,
        min_noise: float | None = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int = -1,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.rotation = rotation
        self.min_noise = min_noise
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Any,
        y: object = None,  # noqa: ARG002 - scikit-learn's signature
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Estimate means, loadings and noise.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
            Numbers; missing is what is NaN, None, NA or masked.
        y : ignored
        sample_weight : array_like of shape (n_samples,), optional
            How often each row counts.

        Raises
        ------
        ValueError
            If an option is out of its range, a column is not numeric, has infinite cells or no
            observed one, or there are as many factors as columns or rows.

        Warns
        -----
        ConvergenceWarning
            If it did not end at a maximum of the likelihood, or a noise variance had to be held.
        """
        self._require_options()
        _, matrix = numbers_of(self, X, reset=True)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, matrix, dtype=np.float64)
        self.seed_ = seed_of(self.random_state)
        with at_most(self.n_jobs):
            fitted = fit_factor(
                matrix,
                _check_feature_names_in(self).tolist(),
                "bic" if self.n_components == "bic" else int(self.n_components),
                noise=self.noise,
                rotation=self.rotation,
                min_noise=self.min_noise,
                weights=weights,
                options=Options(self.tol, self.max_iter),
            )
        self._show(fitted)
        if fitted.warning:
            warnings.warn(fitted.warning, ConvergenceWarning, stacklevel=2)
        return self

    def transform(self, X: Any) -> Floats:
        """The scores of each row: their expected values given the cells that it shows.

        A row with nothing observed has scores of 0.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return self._posteriors(X)[0]

    def inverse_transform(self, X: Any) -> Floats:
        """The columns that rows with these scores are expected to have.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        scores = check_array(X, dtype=np.float64, input_name="X")
        if scores.shape[1] != self.n_components_:
            raise ValueError(
                f"Expected the scores of {self.n_components_} factors, got {scores.shape[1]} "
                "columns. Scores are what transform returns."
            )
        rows: Floats = self.mean_ + scores @ self.components_
        return rows

    def get_covariance(self) -> Floats:
        """``components_.T @ components_`` and the noise: made anew at each call.

        Returns
        -------
        ndarray of shape (n_features, n_features)
        """
        check_is_fitted(self)
        return self._model.covariance

    def sample(self, n_samples: int = 1) -> Floats:
        """Rows drawn from the model.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        require_whole("n_samples", n_samples)
        random = check_random_state(self.random_state)
        scores = random.normal(size=(n_samples, self.n_components_))
        noise = random.normal(size=(n_samples, self.n_features_in_)) * np.sqrt(self._model.noise)
        rows: Floats = self.inverse_transform(scores) + noise
        return rows

    def impute(
        self, X: Any, method: Literal["mean", "draw"] = "mean", *, keys: Keys | None = None
    ) -> Any:
        """Fill the missing cells of `X`.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
        method : {"mean", "draw"}, default="mean"
            The mean given the row's observed cells; or a draw of all its missing cells, jointly.
        keys : sequence of hashable or ndarray of shape (n_samples,), optional
            What identifies the rows; a draw depends only on the model, `seed_`, the row's key and
            observed cells, and the column. The row number, from 0, by default.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            As `X` is. Observed cells are those of `X`, bit by bit.
        """
        return self._imputed(X, method, keys)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _fill(self, matrix: Floats, method: str, keys: Keys | None) -> Floats:
        if method == "draw":
            return self._model.draw(matrix, self.seed_, keys)
        return self._model.impute(matrix)

    def _show(self, fitted: FactorFit) -> None:
        """The fit as attributes, the estimates in scikit-learn's shapes."""
        self._model = fitted.model
        self.mean_, self.components_ = fitted.model.mean, fitted.model.loadings.T
        noise = fitted.model.noise
        self.noise_variance_ = float(noise[0]) if self.noise == "isotropic" else noise
        self.held_ = fitted.model.standardised.held
        self.n_components_ = len(self.components_)
        self.converged_ = fitted.converged
        self.n_iter_ = len(fitted.trace)
        self.loglik_, self.logliks_ = fitted.loglik, fitted.logliks
        self.bics_ = dict(fitted.bics)

    def _require_options(self) -> None:
        """Raise an error if an option is out of its range."""
        require_components(self.n_components)
        for name, known in (("noise", ("diagonal", "isotropic")), ("rotation", ("varimax", None))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(str, known))}, got "
                    f"{getattr(self, name)!r}."
                )
        require_whole("max_iter", self.max_iter)
        require_not_negative("tol", self.tol)
        share = 0.5 if self.min_noise is None else self.min_noise
        if not isinstance(share, Real) or not 0 < float(share) < 1:
            raise ValueError(f"min_noise must be a share between 0 and 1, got {share!r}.")
