"""`EMMixture`: clusters and densities of tables with missing cells, as scikit-learn's mixture."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from em_impute.density import (
    RowDensity,
    require_components,
    require_not_negative,
    require_whole,
)
from em_impute.frames import numbers_of, seed_of
from em_impute.gaussian import ConvergenceWarning
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.families import (
    KINDS,
    Components,
    Kind,
    MixtureFit,
    MixtureModel,
    Options,
    Scaling,
    fit_mixture,
)
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.threads import at_most


class EMMixture(RowDensity, DensityMixin, BaseEstimator):  # type: ignore[misc]  # no types there
    """A mixture of Gaussians, fitted by EM to rows of which any cells may be missing.

    What scikit-learn's `GaussianMixture` does with complete tables, under the names it has there;
    missing is what is NaN, None, NA or masked. A row counts with the cells that it shows, and is
    neither filled first nor left out. Cells must be missing at random given the observed ones.

    Parameters
    ----------
    n_components : int or "bic", default=1
        "bic" counts up from 1 to 9, until two further components have not lowered BIC, and takes
        the number with the lowest.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        What the components' covariances have in common: nothing; all; their columns are
        independent; and have one variance.
    tol : float, default=1e-6
        Stop when the log-likelihood is estimated to rise by less than this for each row, from there
        to the maximum.
    prior_rows : float or "auto", default="auto"
        Pseudo-rows of independent columns with the table's variances in each covariance. "auto" is
        none, unless from every start a component shrinks onto few rows; then 1, with a warning.
    max_iter : int, default=1000
        Evaluations of the EM map after that at the start.
    n_init : int, default=5
        Starts; the highest ending without a collapsed component is kept.
    weights_init : array_like of shape (n_components,), optional
    means_init : array_like of shape (n_components, n_features), optional
    precisions_init : array_like, optional
        What takes the place of a start's weights, means and inverse covariances; the last of the
        shape that `covariances_` has. With all three there is one start.
    random_state : int, RandomState instance or None, default=None
        What the starts and `sample` are drawn with, and, once fitted, ``impute(X, "draw")``.
    n_jobs : int, default=-1
        Threads; -1 for one on each core. The result is the same, to the last bit.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        The largest first, unless a start was given.
    means_ : ndarray of shape (n_components, n_features)
    covariances_ : ndarray
        Of shape (n_components, n_features, n_features) where `covariance_type` is "full",
        (n_features, n_features) where "tied", (n_components, n_features) where "diag" and
        (n_components,) where "spherical".
    converged_ : bool
    n_iter_ : int
        Evaluations of the EM map from the start that was best, that at the start included.
    lower_bound_ : float
        Log-likelihood for each row, as `score` gives it.
    lower_bounds_ : list of float
        The same at each point that was accepted; it never decreases.
    loglik_ : float
        Observed-data log-likelihood, in full.
    n_components_ : int
        The number that was fitted.
    bics_ : dict of int to float
        BIC by number of components, where that was chosen.
    prior_rows_ : float
        Pseudo-rows of the prior that was used.
    seed_ : int
        What ``impute(X, "draw")`` draws with.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where `X` had column names.

    References
    ----------
    Ghahramani, Z. & Jordan, M. I. (1994). Supervised learning from incomplete data via an EM
    approach. Hunt, L. & Jorgensen, M. (2003). Mixture model clustering for mixed data with missing
    information.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.1], [0.2, np.nan], [0.1, 0.3], [5.0, 5.2], [np.nan, 5.1], [5.3, 5.0]])
    >>> mixture = EMMixture(n_components=2, covariance_type="spherical", random_state=0).fit(X)
    >>> labels = mixture.predict(X)
    >>> bool(len(set(labels[:3])) == len(set(labels[3:])) == 1 and labels[0] != labels[3])
    True
    """

    METHODS = ("mean", "component", "draw")
    _model: MixtureModel

    def __init__(
        self,
        n_components: int | Literal["bic"] = 1,
        *,
        covariance_type: Kind = "full",
        tol: float = 1e-6,
        prior_rows: float | Literal["auto"] = "auto",
        max_iter: int = 1000,
        n_init: int = 5,
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int = -1,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.prior_rows = prior_rows
        self.max_iter = max_iter
        self.n_init = n_init
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Estimate weights, means and covariances.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
            Numbers; missing is what is NaN, None, NA or masked.
        y : ignored

        Raises
        ------
        ValueError
            If an option is out of its range, a column is not numeric, has infinite cells or no
            observed one, there are fewer different rows than components, or with
            ``prior_rows=0`` a component shrinks onto few rows from every start.

        Warns
        -----
        ConvergenceWarning
            If it did not end at a maximum of the likelihood, or a prior had to hold a component.
        """
        self._require_options()
        _, matrix = numbers_of(self, X, reset=True)
        given = [self.weights_init, self.means_init, self.precisions_init]
        self.seed_ = seed_of(self.random_state)
        with at_most(self.n_jobs):
            fitted = fit_mixture(
                matrix,
                _check_feature_names_in(self).tolist(),
                self.n_components,
                kind=self.covariance_type,
                prior_rows=self.prior_rows,
                n_init=1 if all(one is not None for one in given) else self.n_init,
                options=Options(self.tol, self.max_iter),
                rng=np.random.default_rng(self.seed_),
                begin=self._begin if any(one is not None for one in given) else None,
            )
        self._show(fitted, len(matrix))
        if fitted.warning:
            warnings.warn(fitted.warning, ConvergenceWarning, stacklevel=2)
        return self

    def fit_predict(self, X: Any, y: object = None) -> Ints:
        """Fit, and the most probable component of each row.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
        y : ignored
        """
        return self.fit(X, y).predict(X)

    def predict(self, X: Any) -> Ints:
        """The most probable component of each row, of shape (n_samples,), from 0.

        A row with nothing observed is of the largest component.
        """
        labels: Ints = np.argmax(self.predict_proba(X), axis=1)
        return labels

    def predict_proba(self, X: Any) -> Floats:
        """Each row's probabilities, given its observed cells, of having come from the components.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return self._posteriors(X)[0]

    def sample(self, n_samples: int = 1) -> tuple[Floats, Ints]:
        """Rows drawn from the mixture, component after component.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
            Their components.
        """
        check_is_fitted(self)
        require_whole("n_samples", n_samples)
        random = check_random_state(self.random_state)
        counts = random.multinomial(n_samples, self.weights_)
        parts = [
            random.multivariate_normal(mean, covariance, int(count))
            for mean, covariance, count in zip(
                self.means_, self._model.covariances, counts, strict=True
            )
        ]
        return np.vstack(parts), np.repeat(np.arange(len(counts)), counts)

    def impute(
        self,
        X: Any,
        method: Literal["mean", "component", "draw"] = "mean",
        *,
        keys: Keys | None = None,
    ) -> Any:
        """Fill the missing cells of `X`.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_samples, n_features)
        method : {"mean", "component", "draw"}, default="mean"
            The mean given the row's observed cells; that under its most probable component; or a
            draw, first of a component and then of the row's cells, jointly.
        keys : sequence of hashable or ndarray of shape (n_samples,), optional
            What identifies the rows; a draw depends only on the model, `seed_`, the row's key and
            observed cells, and the column. The row number, from 0, by default.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            As `X` is. Observed cells are those of `X`, bit by bit.
        """
        return self._imputed(X, method, keys)

    def _fill(self, matrix: Floats, method: str, keys: Keys | None) -> Floats:
        if method == "draw":
            return self._model.draw(matrix, self.seed_, keys)
        if method == "component":
            return self._model.impute_by_component(matrix)
        return self._model.impute(matrix)

    def _show(self, fitted: MixtureFit, n_rows: int) -> None:
        """The fit as attributes, the estimates in scikit-learn's shapes."""
        self._model = fitted.model
        covariances = fitted.model.covariances
        shapes = {
            "full": covariances,
            "tied": covariances[0],
            "diag": np.diagonal(covariances, axis1=1, axis2=2).copy(),
            "spherical": covariances[:, 0, 0].copy(),
        }
        self.weights_, self.means_ = fitted.model.weights.copy(), fitted.model.means
        self.covariances_ = shapes[self.covariance_type]
        self.n_components_ = len(self.weights_)
        self.converged_ = fitted.climb.converged
        self.n_iter_ = fitted.climb.n_iter
        self.prior_rows_ = fitted.climb.prior_rows
        self.loglik_ = fitted.loglik
        self.lower_bound_ = fitted.loglik / n_rows
        self.lower_bounds_ = [loglik / n_rows for loglik in fitted.climb.logliks]
        self.bics_ = dict(fitted.bics)

    def _begin(self, start: Components, scaling: Scaling) -> Components:
        """`start`, with what was given in its place."""
        k, p = start.means.shape
        weights = _given("weights_init", self.weights_init, (k,), start.weights)
        if (weights < 0).any() or not np.isclose(weights.sum(), 1.0):
            raise ValueError("weights_init must not be negative, and must sum to 1.")
        means = _given("means_init", self.means_init, (k, p), np.zeros((k, p)))
        start = replace(start, weights=weights)
        if self.means_init is not None:
            start = replace(start, means=(means - scaling.centre) / scaling.scale)
        if self.precisions_init is None:
            return start
        shapes: dict[str, tuple[int, ...]] = {
            "full": (k, p, p), "tied": (p, p), "diag": (k, p), "spherical": (k,),
        }  # fmt: skip
        shape = shapes[self.covariance_type]
        precisions = _given("precisions_init", self.precisions_init, shape, np.zeros(shape))
        if self.covariance_type in ("full", "tied"):
            scales = np.multiply.outer(scaling.scale, scaling.scale)
            covariances = np.linalg.inv(precisions) / scales
        else:
            covariances = (1.0 / precisions).reshape(k, 1, -1) / scaling.scale**2
        covariances = np.ascontiguousarray(np.broadcast_to(covariances, start.covariances.shape))
        return replace(start, covariances=covariances)

    def _require_options(self) -> None:
        """Raise an error if an option is out of its range."""
        require_components(self.n_components)
        if self.covariance_type not in KINDS:
            raise ValueError(
                f"covariance_type must be one of {', '.join(KINDS)}, got {self.covariance_type!r}."
            )
        for name in ("max_iter", "n_init"):
            require_whole(name, getattr(self, name))
        require_not_negative("tol", self.tol)
        if self.prior_rows != "auto":
            require_not_negative("prior_rows", self.prior_rows)


def _given(name: str, value: ArrayLike | None, shape: tuple[int, ...], otherwise: Floats) -> Floats:
    """What was given, as floats of a shape; `otherwise` where nothing was."""
    if value is None:
        return otherwise
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite and of shape {shape}, for the components and columns that are "
            f"fitted; got shape {array.shape}."
        )
    return array
