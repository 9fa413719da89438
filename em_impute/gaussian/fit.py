"""`fit_gaussian`: maximum likelihood for a multivariate Gaussian with missing cells.

It standardises the columns, climbs the likelihood (`em.climb`, the loop of EM) with the prior and
from the starts that were asked for, and undoes the standardising.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from em_impute.gaussian.acceleration import METHODS
from em_impute.gaussian.completion import undetermined
from em_impute.gaussian.divided import DividedSummary, rows_of
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.em import climb
from em_impute.gaussian.maximum import is_saddle, missing_information
from em_impute.gaussian.model import GaussianModel, require_model
from em_impute.gaussian.parameters import Parameters, Standardisation
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.prior import climb_with_smallest_prior
from em_impute.gaussian.relations import Relation, make_exact
from em_impute.gaussian.result import EMResult, Missingness, Starts
from em_impute.gaussian.starts import climb_from_further_starts, observed_moments, with_spread
from em_impute.gaussian.status import ConvergenceWarning, Iteration, Status
from em_impute.gaussian.stopping import Ending, Options, unheard
from em_impute.gaussian.threads import at_most, one_blas_thread

# How often the caller of a long fit gets a model to go on from.
CHECKPOINT_SECONDS = 5.0
SUMMARIES = (PatternSummary, DividedSummary)
NO_TIME_TO_LOOK = (
    "The time limit was over before it was seen whether the fit ended at a maximum of the "
    "likelihood or at a saddle point."
)


def fit_gaussian(
    data: PatternSummary | DividedSummary | Any,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
    acceleration: Literal["anderson", "squarem", "none"] = "anderson",
    prior_rows: float | Literal["auto"] = 0.0,
    start: GaussianModel | None = None,
    n_starts: int = 1,
    time_limit: float | None = None,
    n_jobs: int = -1,
    on_iteration: Callable[[Iteration], None] | None = None,
    on_checkpoint: Callable[[GaussianModel], None] | None = None,
) -> EMResult:
    """Fit the mean and covariance of a multivariate Gaussian to data with missing cells.

    Maximises the observed-data log-likelihood, the sum over rows of
    ``log N(x_O; mu_O, Sigma_OO)``, by EM (Dempster, Laird & Rubin 1977; Little & Rubin 2019,
    ch. 11) with Anderson acceleration. The start is deterministic: the observed means and
    variances, and the correlations of the rows that show both columns. Columns that no row shows
    together are taken to be independent given the others, and named in `decisions`.

    Parameters
    ----------
    data : PatternSummary, or array_like or DataFrame of shape (n_rows, n_columns)
        Numbers; missing is what is NaN, None, NA or masked. The model has a frame's names.
    tol : float
        Stop when no mean is estimated to be further than this from the maximum in standard
        deviations, and no covariance in correlation units.
    max_iter : int
        Evaluations of the EM map after the one at the start; one more if the last was rejected.
    acceleration : {"anderson", "squarem", "none"}
        How EM is sped up; the answer is the same. "anderson" changes to Fisher scoring where EM is
        slow and a step of scoring is cheap.
    prior_rows : float or "auto"
        Pseudo-rows of a ridge prior towards independent columns at the observed variances. "auto"
        is none unless the likelihood has no maximum; then the smallest of 0.0001%, 0.1%, 1% and 5%
        of the rows that ends well. Linear relations that hold in every row (a total and its parts)
        are then found, named in `decisions`, and kept to by whatever the model fills.
    start : GaussianModel, optional
        Where to start instead, for instance the model of an earlier result.
    n_starts : int
        Further starts are drawn, always the same for data of one shape, far out: means a standard
        deviation off, columns correlated at random. The best ending is kept, and `decisions` says
        whether the others were the same. Only the first start is reported to `on_iteration`.
    time_limit : float, optional
        Seconds for the whole fit.
    n_jobs : int
        Threads; -1 for one on each core that the process may use. The answer is the same, to the
        last bit.
    on_iteration : callable, optional
        Called with the `Iteration` after each evaluation.
    on_checkpoint : callable, optional
        Called every few seconds with the model so far, from which `start` goes on.

    Returns
    -------
    EMResult

    Raises
    ------
    ValueError
        If an option is out of its range, there is no row, or a column has no observed cell.

    Warns
    -----
    ConvergenceWarning
        Once, after the fit, if it did not end at a maximum.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 5.0], [4.0, 9.0]])
    >>> result = fit_gaussian(X)
    >>> result.status.value, result.model.mean.round(3).tolist()
    ('converged', [2.5, 4.964])
    """
    _require_options(tol, max_iter, acceleration, prior_rows, start, n_starts, time_limit)
    _require_callables(on_iteration=on_iteration, on_checkpoint=on_checkpoint)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    with at_most(n_jobs), one_blas_thread():
        summary = data if isinstance(data, SUMMARIES) else PatternSummary.from_array(data)
        seen = summary.observed if isinstance(summary, DividedSummary) else summary
        scaling = Standardisation.of(seen)
        keep = unheard if on_checkpoint is None else _checkpoints(scaling, on_checkpoint)
        options = Options(tol, max_iter, acceleration, deadline, on_iteration or unheard, keep)
        result = _fitted(summary, scaling, options, start, prior_rows, n_starts)
    if not result.converged:
        warnings.warn(result.message, ConvergenceWarning, stacklevel=2)
    return result


def _fitted(
    summary: PatternSummary | DividedSummary,
    scaling: Standardisation,
    options: Options,
    start: GaussianModel | None,
    prior_rows: float | Literal["auto"],
    n_starts: int,
) -> EMResult:
    """The fit, in the standardised columns that vary, and the result on the original scale."""
    if not len(scaling.varying):
        return _all_constant(scaling, summary)
    rows = rows_of(summary, scaling)
    ending, relations, decisions, starts = _highest(
        rows,
        observed_moments(rows) if start is None else with_spread(scaling.standardise(start)),
        options,
        scaling,
        prior_rows,
        n_starts,
    )
    decisions += undetermined(rows.unseen, scaling.varying_names, ending.prior_rows)
    if ending.status is Status.CONVERGED:
        ending, doubts = _looked_at(rows, ending, options, scaling)
        decisions += doubts
    parameters = ending.point.parameters
    if relations:
        parameters = make_exact(parameters, relations, scaling)
    result = EMResult(
        model=scaling.model(parameters),
        status=ending.status,
        message=ending.sentence(scaling, options),
        loglik=ending.point.loglik,
        n_iter=ending.n_iter,
        distance=ending.distance,
        prior_rows=ending.prior_rows,
        trace=ending.trace,
        decisions=scaling.decisions + decisions,
        missingness=Missingness.of(summary),
        starts=starts,
        point=ending.point,
        data=summary if isinstance(summary, PatternSummary) else None,
    )
    if result.data is None and result.is_at_rest and result.missingness.n_missing:
        # Later nobody can ask the rows any more.
        vars(result)["missing_information"] = missing_information(
            rows, ending.point, ending.prior_rows, scaling.varying_names
        )
    return result


def _looked_at(
    rows: WeightedRows, ending: Ending, options: Options, scaling: Standardisation
) -> tuple[Ending, tuple[str, ...]]:
    """The ending, which may be at a saddle point, and what to say of that."""
    saddle = is_saddle(rows, ending.point, ending.prior_rows, lambda: options.out_of_time)
    if saddle:
        ending = replace(ending, status=Status.SADDLE)
        return ending, (ending.sentence(scaling, options),)
    return ending, (NO_TIME_TO_LOOK,) if saddle is None else ()


def _checkpoints(
    scaling: Standardisation, on_checkpoint: Callable[[GaussianModel], None]
) -> Callable[[Parameters], None]:
    """Hand on the parameters that come in, as a model, every `CHECKPOINT_SECONDS`."""
    due = time.monotonic() + CHECKPOINT_SECONDS

    def keep(parameters: Parameters) -> None:
        nonlocal due
        if time.monotonic() >= due:
            on_checkpoint(scaling.model(parameters))
            due = time.monotonic() + CHECKPOINT_SECONDS

    return keep


def _all_constant(scaling: Standardisation, summary: PatternSummary | DividedSummary) -> EMResult:
    return EMResult(
        model=scaling.model((np.zeros(0), np.zeros((0, 0)))),
        status=Status.CONVERGED,
        message="Every column is constant; there was nothing to estimate.",
        loglik=0.0,
        n_iter=0,
        distance=0.0,
        prior_rows=0.0,
        trace=(),
        decisions=scaling.decisions,
        missingness=Missingness.of(summary),
        data=summary if isinstance(summary, PatternSummary) else None,
    )


def _highest(
    rows: WeightedRows,
    start: Parameters,
    options: Options,
    scaling: Standardisation,
    prior_rows: float | Literal["auto"],
    n_starts: int,
) -> tuple[Ending, tuple[Relation, ...], tuple[str, ...], Starts | None]:
    """Climb with the prior and from the starts that were asked for; say what was decided."""
    relations: tuple[Relation, ...] = ()
    decisions: tuple[str, ...] = ()
    if prior_rows == "auto":
        ending, relations, decisions = climb_with_smallest_prior(rows, start, options, scaling)
    else:
        ending = climb(rows, start, prior_rows, options)
    if n_starts > 1:
        ending, starts = climb_from_further_starts(rows, ending, n_starts, options)
        return ending, relations, (*decisions, starts.sentence), starts
    return ending, relations, decisions, None


def _require_options(
    tol: Any,
    max_iter: Any,
    acceleration: Any,
    prior_rows: Any,
    start: Any,
    n_starts: Any,
    time_limit: Any,
) -> None:
    if not (_is_number(tol) and 0 < tol < 1):
        raise ValueError(f"tol must lie between 0 and 1, got {tol!r}.")
    for name, number in (("max_iter", max_iter), ("n_starts", n_starts)):
        if not _is_number(number, Integral):
            raise ValueError(f"{name} must be a whole number, got {number!r}.")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number!r}.")
    if not (isinstance(acceleration, str) and acceleration in METHODS):
        raise ValueError(f"acceleration must be one of {list(METHODS)}, got {acceleration!r}.")
    if not _is_number(prior_rows):
        if not (isinstance(prior_rows, str) and prior_rows == "auto"):
            raise ValueError(f'prior_rows must be a number or "auto", got {prior_rows!r}.')
    elif not (0 <= prior_rows < np.inf):
        raise ValueError(f"prior_rows must not be negative, got {prior_rows!r}.")
    if start is not None:
        require_model("start", start)
    if not (time_limit is None or (_is_number(time_limit) and time_limit >= 0)):
        raise ValueError(f"time_limit must be a number of seconds or None, got {time_limit!r}.")


def _require_callables(**given: object) -> None:
    for name, function in given.items():
        if not (function is None or callable(function)):
            raise ValueError(f"{name} must be a function or None, got {function!r}.")


def _is_number(value: object, kind: type[Real] | type[Integral] = Real) -> bool:
    # True is a number to Python, and a mistake here.
    return isinstance(value, kind) and not isinstance(value, bool)
