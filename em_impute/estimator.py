"""`EMImputer`: the Gaussian EM as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import check_array, estimator_html_repr
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
from em_impute.gaussian import EMResult, PatternSummary, fit_gaussian
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.delta import require_delta
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.posterior import MOST_SWEEPS
from em_impute.gaussian.threads import at_most
from em_impute.multiple import Draws, MultipleImputation, Posterior, multiply_impute

if TYPE_CHECKING:
    from em_impute.fitted_columns import FittedColumns
    from em_impute.tables.groups import GroupFit

NOTHING_OBSERVED = "No cell of X is observed, so there is nothing to learn from."

# Each of these has the columns of a table treated as a job treats them.
COLUMN_OPTIONS = (
    "transforms",
    "bounds",
    "round",
    "categories",
    "group_by",
    "missing_values",
    "impute",
    "predictors",
    "key",
)
# How the models of groups are fitted, too.
FIT_OPTIONS = ("tol", "max_iter", "acceleration", "prior_rows", "n_starts", "min_group_rows")
_WORDS = {"back_transform": ("median", "mean"), "bounds_violated": ("stop", "keep")}


class EMImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped scikit-learn
    """Fill missing cells from their distribution under a multivariate Gaussian fitted by EM.

    Each row's missing cells become their mean given its observed cells, or a draw. A DataFrame of
    pandas or polars comes back as one, with its index and labels, and so does a table of Arrow;
    anything else as an array.

    Without options about columns a table is of numbers. With one of them, from `transforms` to
    `key`, each column plays the part that a job would give it (``columns`` in a job file): text,
    truth values, categories and dates may be there, filled columns keep their types, whole numbers
    stay whole, and what is not filled comes back as it is. ``categories={}`` asks for no more.

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
    transforms : dict of str to {"log", "log1p", "sqrt", "cbrt"} or {"logit": (low, high)}, optional
        Columns that the model sees transformed. What is filled in is transformed back.
    back_transform : {"median", "mean"}, default="median"
        Of transformed columns, whether the model's mean is transformed back, which gives a median,
        or the mean of the column's own scale is filled in.
    bounds : dict of str to (low, high), optional
        Least and largest value to fill a column with; None for no bound.
    bounds_violated : {"stop", "keep"}, default="stop"
        Whether observed cells beyond their bounds are an error, or are kept, with a warning.
    round : bool or list of str, optional
        Columns that are filled with whole numbers; True for all. Columns of integers are, anyway.
    categories : dict of str to "nominal" or list of levels, optional
        Columns of text, truth values or integers that are categories, without an order or with it.
    group_by : list of str, optional
        Columns that divide the rows into groups with a model each. Groups that are too small for
        one, and those that `fit` has not seen, are filled by the model of all rows.
    min_group_rows : int, optional
        Fewest rows of a group that gets a model of its own; by default 50, or 5 for each column of
        the model if that is more.
    missing_values : number, str, list of them, or dict of str to such a list, optional
        What stands for a missing cell besides NaN, None, NA and masks: everywhere, or by column.
    impute, predictors : list of str, optional
        Columns to fill, and those that only help to predict; by default all of numbers and all of
        `categories` are both.
    key : list of str, optional
        Columns that identify a row. They are not in the model, and draws depend on them, in the
        place of the row's number.
    add_indicator : bool, default=False
        Whether a column ``missingindicator_<name>`` follows for every column that had missing
        cells in `fit`, as scikit-learn's `MissingIndicator` makes them.
    keep_empty_features : bool, default=False
        Whether a column without any observed cell in `fit` is kept, and filled with 0, or left
        out of the result, with a warning.
    n_jobs : int or None, default=-1
        Threads; -1 for one on each core, None for one, as in scikit-learn. The result is the same,
        to the last bit.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,)
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        NaN in columns that had no observed cell. With options about columns both are of the model's
        own columns, ``result_.model.columns``: transformed, and several for a nominal one.
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
    groups_ : tuple of GroupFit
        With `group_by`, how the fit of each group went: its label, rows, result and status.
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

    >>> import pandas as pd
    >>> trips = pd.DataFrame({"fare": [5.0, 20.0, None, 80.0], "by": ["bus", "cab", "bus", "cab"]})
    >>> imputer = EMImputer(transforms={"fare": "log"}, categories={"by": "nominal"})
    >>> imputer.fit_transform(trips).round(1).to_dict("list")
    {'fare': [5.0, 20.0, 5.0, 80.0], 'by': ['bus', 'cab', 'bus', 'cab']}
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
        transforms: Mapping[str, Any] | None = None,
        back_transform: Literal["median", "mean"] = "median",
        bounds: Mapping[str, Sequence[float | None]] | None = None,
        bounds_violated: Literal["stop", "keep"] = "stop",
        round: bool | Sequence[str] | None = None,
        categories: Mapping[str, Literal["nominal"] | Sequence[Any]] | None = None,
        group_by: Sequence[str] | None = None,
        min_group_rows: int | None = None,
        missing_values: Any = None,
        impute: Sequence[str] | None = None,
        predictors: Sequence[str] | None = None,
        key: Sequence[str] | None = None,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        n_jobs: int | None = -1,
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.prior_rows = prior_rows
        self.n_starts = n_starts
        self.sample = sample
        self.random_state = random_state
        self.delta = delta
        self.transforms = transforms
        self.back_transform = back_transform
        self.bounds = bounds
        self.bounds_violated = bounds_violated
        self.round = round
        self.categories = categories
        self.group_by = group_by
        self.min_group_rows = min_group_rows
        self.missing_values = missing_values
        self.impute = impute
        self.predictors = predictors
        self.key = key
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
            Numbers of any type, booleans included, and with options about columns any others;
            missing is what is NaN, None, NA or masked.
        y : ignored

        Raises
        ------
        ValueError
            If an option is out of its range, or names a column that `X` does not have or that
            cannot be what the option says; if a column holds infinities or integers beyond 2**53,
            or is not numeric without an option about columns; or if no cell at all is observed.

        Warns
        -----
        ConvergenceWarning
            If the fit did not end at a maximum of the likelihood, but before one or at a saddle.
        """
        self._require_switches()
        self._columns: FittedColumns | None = None
        self.groups_: tuple[GroupFit, ...] = ()
        matrix = self._fit_columns(X) if self._has_column_options() else self._fit_numbers(X)
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
            All else comes back as float64: nullable types too, as nothing is missing any more. With
            options about columns every column keeps its type.
        """
        check_is_fitted(self)
        if self._columns is not None:
            return self._transform_columns(X, self._columns)
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
        if self._columns is not None:
            raise ValueError(
                "multiply fills tables of numbers; with options about columns, run a job with "
                "`imputation: {method: multiple}`."
            )
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

    def _has_column_options(self) -> bool:
        return any(getattr(self, name) is not None for name in COLUMN_OPTIONS)

    def _fit_numbers(self, X: Any) -> Floats:
        """Fit a table of numbers, which is returned."""
        _, matrix = numbers_of(self, X, reset=True)
        self._shown: NDArray[np.bool_] = np.logical_not(np.isnan(matrix).all(axis=0))
        if not self._shown.any():
            raise ValueError(NOTHING_OBSERVED)
        self._report_empty_features()
        names = [str(name) for name in _check_feature_names_in(self)[self._shown]]
        if self.delta is not None:
            require_delta(self.delta, names)
        with at_most(self._threads()):
            summary = PatternSummary.from_array(_columns(matrix, self._shown), names)
        self.result_ = self._fit_summary(summary)
        return matrix

    def _fit_columns(self, X: Any) -> Floats:
        """Fit a table of columns of any kind; NaN for its missing cells, 0 for all others."""
        # What jobs need is not imported for a table of numbers.
        from em_impute.column_options import job_of
        from em_impute.fitted_columns import FittedColumns, held_for, holes_of
        from em_impute.typed_table import typed_table_of

        names = [*COLUMN_OPTIONS, "back_transform", "bounds_violated", "delta"]
        names += FIT_OPTIONS if self.group_by is not None else []
        job = job_of({name: getattr(self, name) for name in names})
        table = typed_table_of(self, X, reset=True)
        held = held_for(job, table.arrow)
        holes = self._checked(holes_of(held))
        with at_most(self._threads()):
            self._columns = FittedColumns.of(held, job, self._fit_summary)
        self.result_, self.groups_ = self._columns.result, self._columns.groups
        self._shown = np.isin(table.names, self._columns.empty, invert=True)
        self._report_empty_features()
        return holes

    def _fit_summary(self, summary: PatternSummary) -> EMResult:
        return fit_gaussian(
            summary,
            tol=self.tol,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            prior_rows=self.prior_rows,
            n_starts=self.n_starts,
            n_jobs=self._threads(),
        )

    def _show_estimates(self) -> None:
        """The fit as attributes, with places for the columns that it left out."""
        model = self.result_.model
        shown = self._shown if self._columns is None else np.ones(len(model.columns), dtype=bool)
        self.mean_ = np.full(len(shown), np.nan)
        self.mean_[shown] = model.mean
        self.covariance_ = np.full((len(shown), len(shown)), np.nan)
        self.covariance_[np.ix_(shown, shown)] = model.covariance
        self.loglik_ = self.result_.loglik
        self.n_iter_ = len(self.result_.trace)
        self.status_ = self.result_.status

    def _transform_columns(self, X: Any, fitted: FittedColumns) -> Any:
        """Fill a table of columns of any kind."""
        from em_impute.fitted_columns import holes_of
        from em_impute.typed_table import typed_table_of

        table = typed_table_of(self, X, reset=False)
        held = fitted.held(table.arrow)
        holes = self._checked(holes_of(held))
        with at_most(self._threads()):
            cells = fitted.fill(held, self.seed_ if self.sample else None, self.delta)
        columns = [
            table.column(j, cells.get(name)) if self._shown[j] else np.zeros(held.rows)
            for j, name in enumerate(table.names)
            if self._shown[j] or self.keep_empty_features
        ]
        if self.indicator_ is not None:
            columns += list(self.indicator_.transform(holes).T.astype(np.float64))
        if table.is_array:
            return np.column_stack(columns)
        return self._framed(X, columns, np.logical_or(self._shown, self.keep_empty_features))

    def _checked(self, matrix: Floats) -> Floats:
        """A matrix that has rows and columns, or scikit-learn's own words for one that has not."""
        checked: Floats = check_array(matrix, ensure_all_finite="allow-nan", estimator=self)
        return checked

    def _threads(self) -> int:
        return 1 if self.n_jobs is None else self.n_jobs

    def _filled(self, matrix: Floats) -> Floats:
        """`matrix` without holes; 0 in those of columns that `fit` has not seen."""
        model, shown = self.result_.model, _columns(matrix, self._shown)
        with at_most(self._threads()):
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
        for name, allowed in _WORDS.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name}: expected {' or '.join(allowed)}, got {value!r}.")

    def _report_empty_features(self) -> None:
        if self._shown.all():
            return
        fate = "filled with 0" if self.keep_empty_features else "left out of the result"
        empty = _check_feature_names_in(self)[~self._shown].tolist()
        warnings.warn(f"Columns without any observed cell are {fate}: {empty}.", stacklevel=4)


def _columns(matrix: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """The chosen columns; the matrix itself where these are all."""
    return matrix if chosen.all() else matrix.compress(chosen, axis=1)
