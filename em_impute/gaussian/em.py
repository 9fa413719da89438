"""Maximum likelihood for a multivariate Gaussian with missing cells, by EM.

`fit_gaussian` standardises the columns, climbs the likelihood in the one loop (`_climb`), and
undoes the standardising. In the loop a column has observed mean 0 and observed sd 1.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from em_impute.gaussian.acceleration import METHODS
from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.completion import complete
from em_impute.gaussian.e_step import ExpectedMoments, WeightedRows, e_step
from em_impute.gaussian.information import MissingInformation, missing_information
from em_impute.gaussian.linalg import cholesky_factor, correlation_of
from em_impute.gaussian.model import GaussianModel, require_model
from em_impute.gaussian.parameters import Parameters, Standardisation
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.relations import Relation, find_relations, make_exact
from em_impute.gaussian.result import (
    ConvergenceWarning,
    EMResult,
    Iteration,
    Missingness,
    Starts,
    Status,
)
from em_impute.gaussian.scoring import scoring_pays, scoring_step
from em_impute.gaussian.threads import at_most, one_blas_thread

# A correlation matrix with a smaller eigenvalue is singular for all purposes.
SINGULAR_EIGENVALUE = 1e-10
# The start's correlations are drawn towards zero until no eigenvalue is below this.
START_EIGENVALUE = 0.01
# What prior_rows="auto" tries when there is no maximum, in pseudo-rows per row. The first is for
# columns that determine each other: it ends soon, or the data are too few, which takes more.
AUTO_PRIORS = (1e-6, 0.001, 0.01, 0.05)
FIRST_PRIOR_EVALUATIONS = 200
# Relative rounding error of a log-likelihood, and absolute one of the EM map.
LOGLIK_ROUNDING = 1e-13
MAP_ROUNDING = 1e-13
# How often the caller of a long fit gets a model to go on from.
CHECKPOINT_SECONDS = 5.0
# After so many evaluations scoring takes over where plain EM's rate looks worse than this.
SCORING_AFTER = 5
SLOW_RATE = 0.8
# Every so many evaluations the method is asked how fast plain EM would be.
RATE_INTERVAL = 4
# Evaluations over which a covariance is watched for creeping towards a singular one, and those at
# the end of them where no proposal is accepted any more; from which smallest eigenvalue on, and by
# which factor that falls in each half at least.
CREEPING_WINDOW = 60
STUCK_WINDOW = 18
CREEPING_EIGENVALUE = 1e-2
CREEPING_FALL = 0.994
# Near a maximum the gain decays faster than this from one half to the next.
CREEPING_GAIN = 0.2
# Nearer to a singular covariance than this, a saddle is not told from the way there.
SADDLE_EIGENVALUE = 1e-6
# In units of the log-likelihood. Where a combination of columns has next to no spread, a step that
# is small for each of them can still be a large one for the likelihood.
NEGLIGIBLE_GAIN = 0.01
# Two endings this many tol apart or less are the same maximum: each may be off by tol.
SAME_MAXIMUM = 10


def fit_gaussian(
    data: PatternSummary | Any,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
    acceleration: Literal["anderson", "squarem", "none"] = "anderson",
    prior_rows: float | Literal["auto"] = 0.0,
    start: GaussianModel | None = None,
    n_starts: int = 1,
    time_limit: float | None = None,
    n_jobs: int = -1,
    diagnostics: bool = True,
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
    diagnostics : bool
        Whether to find, at the maximum, the worst fraction of missing information; it takes up to
        30 more evaluations of the EM map. Without, a few tell a maximum from a saddle point.
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
        summary = data if isinstance(data, PatternSummary) else PatternSummary.from_array(data)
        columns = Standardisation.of(summary)
        keep = None if on_checkpoint is None else _checkpoints(columns, on_checkpoint)
        options = _Options(tol, max_iter, acceleration, deadline, on_iteration, keep)
        result = _fitted(summary, columns, options, start, prior_rows, n_starts, diagnostics)
    if not result.converged:
        warnings.warn(result.message, ConvergenceWarning, stacklevel=2)
    return result


def _fitted(
    summary: PatternSummary,
    columns: Standardisation,
    options: _Options,
    start: GaussianModel | None,
    prior_rows: float | Literal["auto"],
    n_starts: int,
    diagnostics: bool,
) -> EMResult:
    """The fit, in the standardised columns that vary, and the result on the original scale."""
    if not len(columns.varying):
        return _all_constant(columns, summary)
    rows = WeightedRows.of(summary, columns.varying, columns.centre, columns.scale)
    ending, relations, decisions, starts = _highest(
        rows,
        _observed_moments(rows) if start is None else _with_spread(columns.standardise(start)),
        options,
        columns,
        prior_rows,
        n_starts,
    )
    information = _information(rows, ending, columns.varying_names, options, diagnostics)
    decisions += _undetermined(rows.unseen, columns.varying_names, ending.prior_rows)
    if information.at_a_saddle:
        ending = replace(ending, status=Status.SADDLE)
        decisions += (ending.sentence(columns, options),)
    parameters = ending.point.parameters
    if relations:
        parameters = make_exact(parameters, relations, columns)
    return EMResult(
        model=columns.model(parameters),
        status=ending.status,
        message=ending.sentence(columns, options),
        loglik=ending.point.loglik,
        n_iter=ending.n_iter,
        distance=ending.distance,
        prior_rows=ending.prior_rows,
        trace=ending.trace,
        decisions=columns.decisions + decisions,
        missingness=Missingness.of(summary),
        missing_information=information if diagnostics else MissingInformation(np.nan),
        starts=starts,
    )


def m_step(moments: ExpectedMoments, mean: Floats, prior_rows: float) -> Parameters:
    """The mean and covariance under which the expected moments about `mean` are most likely.

    With a ridge prior of `prior_rows` pseudo-rows of independent columns at the observed
    variances (1 here), ``Sigma = (n Sigma_EM + nu I) / (n + nu)``.
    """
    shift = moments.total / moments.n
    cross = moments.cross - moments.n * np.multiply.outer(shift, shift)
    if prior_rows:
        cross.flat[:: len(mean) + 1] += prior_rows
    return mean + shift, (cross + cross.T) / (2 * (moments.n + prior_rows))


@dataclass(frozen=True)
class _Options:
    """What the caller chose for the loop."""

    tol: float
    max_iter: int
    acceleration: str
    deadline: float | None
    on_iteration: Callable[[Iteration], None] | None
    keep: Callable[[Parameters], None] | None

    @property
    def out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline


@dataclass(frozen=True)
class _Point:
    """Parameters, the objective there, and their image under the EM map.

    `position` and `image_position` are the same as unconstrained vectors; the latter is None where
    the image is singular.
    """

    parameters: Parameters
    image: Parameters
    position: Floats
    image_position: Floats | None
    loglik: float
    objective: float
    smallest_eigenvalue: float

    @property
    def rounding(self) -> float:
        """By how much the objective may fall without meaning it."""
        return LOGLIK_ROUNDING * (1.0 + abs(self.objective))


@dataclass(frozen=True)
class _Ending:
    """Where and why the loop stopped."""

    point: _Point
    status: Status
    distance: float
    prior_rows: float
    trace: tuple[Iteration, ...]

    @property
    def n_iter(self) -> int:
        return len(self.trace) - 1

    def sentence(self, columns: Standardisation, options: _Options) -> str:
        """What happened, and what to do."""
        far = (
            f"the estimated distance to the maximum is {self.distance:.1g} "
            "(standard deviations, or correlation units)"
        )
        if self.status is Status.CONVERGED:
            return f"Converged after {self.n_iter} iterations; {far}."
        if self.status is Status.SINGULAR:
            return (
                f"The likelihood has no maximum: {columns.dependent_columns(self.point.image[1])}. "
                f"{self.status.advice}"
            )
        if self.status is Status.SADDLE:
            return (
                f"The fit ended at a saddle point of the likelihood after {self.n_iter} "
                f"iterations, not at a maximum. {self.status.advice}"
            )
        out_of_iterations = self.status is Status.MAX_ITERATIONS
        limit = f"max_iter={options.max_iter}" if out_of_iterations else "the time limit"
        return (
            f"Stopped by {limit} after {self.n_iter} iterations, before the maximum was reached: "
            f"{far}, and tol is {options.tol:g}. {self.status.advice}"
        )


def _climb(rows: WeightedRows, start: Parameters, prior_rows: float, options: _Options) -> _Ending:
    """Go up from `start` until the objective has no further to rise.

    What Anderson accelerates is the EM map first and then, where that pays, Fisher scoring, which
    is given up for good as soon as it leads nowhere.
    """
    method = METHODS[options.acceleration]()
    scores = options.acceleration == "anderson" and not prior_rows and scoring_pays(rows)
    position = _position_if_definite(start)
    point = None if position is None else _evaluate(rows, start, position, prior_rows)
    if point is None:
        raise ValueError("The covariance of the start must be positive definite.")
    trace, step, rate = _Trace(options.on_iteration), "start", np.nan
    while True:
        image, image_position, proposal = point.image, point.image_position, None
        if scores and len(trace.iterations) == SCORING_AFTER:
            scores = method.rate() > SLOW_RATE
            if scores:
                method.restart()
        if scores and len(trace.iterations) >= SCORING_AFTER:
            scored = _scored(rows, point)
            if scored is None:
                scores = False
                method.restart()
            else:
                image, image_position = scored
                proposal = image_position
        if image_position is not None:
            accelerated = method.propose(point.position, image_position)
            proposal = proposal if accelerated is None else accelerated
        # The rate takes as long as a small evaluation, and decides only where the steps are short.
        residual = _largest_difference(image, point.parameters)
        if residual <= options.tol or len(trace.iterations) % RATE_INTERVAL == 0:
            rate = method.rate()
        distance = _distance(residual, rate)
        trace.add(step, distance, point)
        status, following = _status(point, distance, trace, options), None
        if status is None:
            step, following = _advance(rows, point, proposal, prior_rows)
            if step == "rejected":
                trace.add(step, np.inf, following)
                method.restart()
                scores = False
                step, following = _advance(rows, point, None, prior_rows)
        if following is None:
            if status is Status.CONVERGED and not prior_rows:
                point = _completed(rows, point)
            ending = status or Status.SINGULAR
            return _Ending(point, ending, distance, prior_rows, tuple(trace.iterations))
        point = following
        if options.keep is not None:
            options.keep(point.parameters)


def _scored(rows: WeightedRows, point: _Point) -> tuple[Parameters, Floats] | None:
    """Where scoring leads from a point, and the same as a position; None if to no covariance."""
    scored = scoring_step(rows, point.parameters, point.image)
    position = None if scored is None else _position_if_definite(scored)
    return None if scored is None or position is None else (scored, position)


def _completed(rows: WeightedRows, point: _Point) -> _Point:
    """The maximum that assumes least, where the likelihood is flat around `point`."""
    if not rows.unseen.any():
        return point
    mean, covariance = point.parameters[0], complete(point.parameters[1], rows.unseen)
    position = _position_if_definite((mean, covariance))
    completed = None
    if position is not None:
        completed = _evaluate(rows, (mean, covariance), position, 0.0)
    return completed or point


def _checkpoints(
    columns: Standardisation, on_checkpoint: Callable[[GaussianModel], None]
) -> Callable[[Parameters], None]:
    """Hand on the parameters that come in, as a model, every `CHECKPOINT_SECONDS`."""
    due = time.monotonic() + CHECKPOINT_SECONDS

    def keep(parameters: Parameters) -> None:
        nonlocal due
        if time.monotonic() >= due:
            on_checkpoint(columns.model(parameters))
            due = time.monotonic() + CHECKPOINT_SECONDS

    return keep


def _advance(
    rows: WeightedRows, point: _Point, proposal: Floats | None, prior_rows: float
) -> tuple[str, _Point | None]:
    """The step and the point that it leads to: the proposed one, or else that of plain EM."""
    if proposal is None:
        if point.image_position is None:
            return "em", None
        return "em", _evaluate(rows, point.image, point.image_position, prior_rows)
    trial = _evaluate(rows, _parameters(proposal), proposal, prior_rows)
    lower = trial is None or trial.objective < point.objective - point.rounding
    return ("rejected" if lower else "accelerated"), trial


def _with_spread(start: Parameters) -> Parameters:
    """A start whose columns may determine each other, with some spread in every direction."""
    mean, covariance = start
    try:
        smallest = np.linalg.eigvalsh(correlation_of(covariance))[0]
    except np.linalg.LinAlgError:
        return start  # which the climb refuses
    if abs(smallest) > SINGULAR_EIGENVALUE:
        return start
    return mean, covariance + AUTO_PRIORS[0] * np.diag(covariance.diagonal())


def _observed_moments(rows: WeightedRows) -> Parameters:
    """Where to start: no mean moves, and columns correlate as in the rows that show both.

    Such correlations need not be those of any table; then they are drawn towards zero until the
    smallest eigenvalue is `START_EIGENVALUE`. Those that no row shows are `complete`d.
    """
    correlation = rows.pair_means()
    np.fill_diagonal(correlation, 1.0)
    smallest = np.linalg.eigvalsh(correlation)[0]
    drawn = max(0.0, (START_EIGENVALUE - smallest) / (1.0 - smallest)) if smallest < 1 else 0.0
    p = len(correlation)
    return np.zeros(p), complete((1.0 - drawn) * correlation + drawn * np.eye(p), rows.unseen)


def _evaluate(
    rows: WeightedRows, at: Parameters, position: Floats, prior_rows: float
) -> _Point | None:
    """The EM map and the objective at `at`; None where the covariance is as good as singular."""
    try:
        moments = e_step(rows, *at)
    except np.linalg.LinAlgError:
        return None
    if moments.smallest_eigenvalue < SINGULAR_EIGENVALUE or not np.isfinite(moments.loglik):
        return None
    image = m_step(moments, at[0], prior_rows)
    image_position = _position_if_definite(image)
    objective = moments.loglik - _penalty(at[1], prior_rows)
    return _Point(
        at, image, position, image_position, moments.loglik, objective, moments.smallest_eigenvalue
    )


def _penalty(covariance: Floats, prior_rows: float) -> float:
    """What the ridge prior takes off the log-likelihood: ``nu/2 (log|Sigma| + tr Sigma^-1)``."""
    if not prior_rows:
        return 0.0
    log_det = np.linalg.slogdet(covariance)[1]
    return float(prior_rows / 2 * (log_det + np.trace(np.linalg.inv(covariance))))


def _distance(residual: float, rate: float) -> float:
    """Distance left for an iteration that shrinks it by `rate` and last moved by `residual`."""
    if residual < MAP_ROUNDING:
        return residual
    return np.inf if np.isnan(rate) else residual / (1.0 - rate)


def _status(point: _Point, distance: float, trace: _Trace, options: _Options) -> Status | None:
    """How the loop ends here; None if it goes on."""
    if point.image_position is None or trace.creeping():
        return Status.SINGULAR
    if distance <= options.tol and trace.gain() <= NEGLIGIBLE_GAIN:
        return Status.CONVERGED
    if trace.n_iter >= options.max_iter:
        return Status.MAX_ITERATIONS
    if options.out_of_time:
        return Status.TIME_LIMIT
    return None


class _Trace:
    """The iterations so far, and what they tell of where the loop is going."""

    def __init__(self, on_iteration: Callable[[Iteration], None] | None) -> None:
        self.iterations: list[Iteration] = []
        self._on_iteration = on_iteration

    @property
    def n_iter(self) -> int:
        return len(self.iterations) - 1

    def add(self, step: str, distance: float, point: _Point | None) -> None:
        """Keep one evaluation; `point` is None where there was nothing to evaluate."""
        iteration = Iteration(
            number=len(self.iterations),
            loglik=-np.inf if point is None else point.loglik,
            objective=-np.inf if point is None else point.objective,
            distance=distance,
            step=step,
            smallest_eigenvalue=0.0 if point is None else point.smallest_eigenvalue,
        )
        self.iterations.append(iteration)
        if self._on_iteration is not None:
            self._on_iteration(iteration)

    def gain(self) -> float:
        """By how much the objective rose in the last step that was accepted; 0 at the start."""
        before = (r.objective for r in self.iterations[-2::-1] if r.step != "rejected")
        latest = self.iterations[-1].objective
        return latest - next(before, latest)

    def creeping(self) -> bool:
        """Whether the covariance is drifting towards a singular one, however slowly.

        Near a maximum the accelerated steps aim at it and are accepted. Where there is none they
        aim at nothing: over a window a good part is rejected, while the objective rises on and the
        smallest eigenvalue keeps falling in both halves of it. If all are rejected, a short window
        is enough.
        """
        latest = self.iterations[-1]
        if self.n_iter < CREEPING_WINDOW or latest.step == "rejected":
            return False
        if latest.smallest_eigenvalue > CREEPING_EIGENVALUE:
            return False
        recent = self.iterations[-STUCK_WINDOW - 1 :]
        stuck = all(record.step != "accelerated" for record in recent)
        return self._creeps(CREEPING_WINDOW) or (stuck and self._creeps(STUCK_WINDOW))

    def _creeps(self, window: int) -> bool:
        recent = self.iterations[-window - 1 :]
        accepted = [record for record in recent if record.step != "rejected"]
        if len(recent) - len(accepted) < 0.3 * window:
            return False
        first, middle, last = accepted[0], accepted[len(accepted) // 2], accepted[-1]
        falling = all(
            later.smallest_eigenvalue < CREEPING_FALL * earlier.smallest_eigenvalue
            for earlier, later in ((first, middle), (middle, last))
        )
        gains = middle.objective - first.objective, last.objective - middle.objective
        return falling and gains[1] >= CREEPING_GAIN * gains[0]


def _information(
    rows: WeightedRows,
    ending: _Ending,
    columns: tuple[str, ...],
    options: _Options,
    diagnostics: bool,
) -> MissingInformation:
    """What is missing at the maximum: nothing without missing cells, unknown without a maximum.

    Without `diagnostics` only whether it is a maximum is certain.
    """
    if rows.n_cells == rows.n * len(columns):
        return MissingInformation(0.0)
    if ending.status is not Status.CONVERGED:
        return MissingInformation(np.nan)

    def em_map(at: Parameters) -> Parameters:
        return m_step(e_step(rows, *at), at[0], ending.prior_rows)

    def objective(at: Parameters) -> float:
        return (e_step(rows, *at).loglik - _penalty(at[1], ending.prior_rows)) / rows.n

    found = missing_information(
        em_map,
        objective,
        ending.point.parameters,
        ending.point.image,
        ending.prior_rows / rows.n,
        columns,
        lambda: options.out_of_time,
        closely=diagnostics,
    )
    if found.at_a_saddle and ending.point.smallest_eigenvalue < SADDLE_EIGENVALUE:
        return MissingInformation(np.nan, evaluations=found.evaluations)
    return found


def _undetermined(unseen: Bools, names: tuple[str, ...], prior_rows: float) -> tuple[str, ...]:
    """A sentence on the pairs of columns that no row shows together, if there are any."""
    pairs = np.argwhere(np.triu(unseen))
    if not len(pairs):
        return ()
    i, j = pairs[0]
    more = f", nor {len(pairs) - 1} other pairs of columns" if len(pairs) > 1 else ""
    decided = "the prior decides" if prior_rows else "the model takes them to be independent"
    return (
        f"No row shows both '{names[i]}' and '{names[j]}'{more}: how these columns are related, "
        f"given all others, cannot be seen in the data, and {decided}.",
    )


def _all_constant(columns: Standardisation, summary: PatternSummary) -> EMResult:
    return EMResult(
        model=columns.model((np.zeros(0), np.zeros((0, 0)))),
        status=Status.CONVERGED,
        message="Every column is constant; there was nothing to estimate.",
        loglik=0.0,
        n_iter=0,
        distance=0.0,
        prior_rows=0.0,
        trace=(),
        decisions=columns.decisions,
        missingness=Missingness.of(summary),
        missing_information=MissingInformation(0.0),
    )


def _highest(
    rows: WeightedRows,
    start: Parameters,
    options: _Options,
    columns: Standardisation,
    prior_rows: float | Literal["auto"],
    n_starts: int,
) -> tuple[_Ending, tuple[Relation, ...], tuple[str, ...], Starts | None]:
    """Climb with the prior and from the starts that were asked for; say what was decided."""
    relations: tuple[Relation, ...] = ()
    said: tuple[str, ...] = ()
    if prior_rows == "auto":
        ending, relations, said = _climb_with_smallest_prior(rows, start, options, columns)
    else:
        ending = _climb(rows, start, prior_rows, options)
    if n_starts > 1:
        ending, starts = _climb_from_further_starts(rows, ending, n_starts, options)
        return ending, relations, (*said, starts.sentence), starts
    return ending, relations, said, None


def _climb_with_smallest_prior(
    rows: WeightedRows, start: Parameters, options: _Options, columns: Standardisation
) -> tuple[_Ending, tuple[Relation, ...], tuple[str, ...]]:
    """Climb without a prior and, where there is no maximum, with the smallest that makes one.

    And find the relations between columns that are why there is none.
    """
    ending = _climb(rows, start, 0.0, options)
    if ending.status is not Status.SINGULAR:
        return ending, (), ()
    reason = columns.dependent_columns(ending.point.image[1])
    relations: tuple[Relation, ...] = ()
    for share in AUTO_PRIORS[rows.n <= len(columns.varying) :]:
        first = share == AUTO_PRIORS[0]
        most = min(options.max_iter, FIRST_PRIOR_EVALUATIONS) if first else options.max_iter
        ending = _climb(rows, start, share * rows.n, replace(options, max_iter=most))
        if first:
            relations = find_relations(rows, ending.point.parameters[1], columns)
        if ending.status is Status.CONVERGED:
            break
    names = columns.varying_names
    return (
        ending,
        relations,
        (
            f"Without a prior the likelihood has no maximum: {reason}. A ridge prior worth "
            f"{ending.prior_rows:.3g} rows ({100 * share:g}% of {rows.n}) was added.",
            *(relation.sentence(names) for relation in relations),
        ),
    )


def _climb_from_further_starts(
    rows: WeightedRows, first: _Ending, n_starts: int, options: _Options
) -> tuple[_Ending, Starts]:
    """The best of `first` and the endings of the further starts, and how they compare."""
    silent = replace(options, on_iteration=None, keep=None)
    p = len(first.point.parameters[0])
    starts = (_overdispersed(np.random.default_rng([k, rows.n, p]), p) for k in range(1, n_starts))
    endings = [first, *(_climb(rows, start, first.prior_rows, silent) for start in starts)]
    best = max(endings, key=lambda e: (e.status is Status.CONVERGED, e.point.objective))
    others = [ending for ending in endings if ending is not best]
    if any(ending.status is not Status.CONVERGED for ending in endings):
        ends = ", ".join(ending.status.value for ending in endings)
        sentence = f"Not all of the {n_starts} starts ended at a maximum: {ends}."
        return best, Starts(n_starts, False, sentence)
    far = max(_largest_difference(e.point.parameters, best.point.parameters) for e in others)
    if far <= SAME_MAXIMUM * options.tol:
        return best, Starts(
            n_starts,
            True,
            f"All {n_starts} starts reached the same maximum; they differ by at most {far:.1g} "
            "(standard deviations, or correlation units).",
        )
    logliks = ", ".join(f"{ending.point.loglik:.6f}" for ending in endings)
    return best, Starts(
        n_starts,
        False,
        f"The {n_starts} starts reached different maxima, {far:.2g} apart (standard deviations, or "
        f"correlation units), with log-likelihoods {logliks}. The highest was kept.",
    )


def _overdispersed(rng: np.random.Generator, p: int) -> Parameters:
    """A start that is further from the observed moments than the maximum can be expected to be."""
    directions = rng.normal(size=(p, p + 2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    scaled = np.exp(rng.normal(scale=0.5, size=(p, 1))) * directions
    return rng.normal(size=p), scaled @ scaled.T


def _largest_difference(one: Parameters, other: Parameters) -> float:
    """Of a mean in standard deviations of `other`, or of a covariance in correlation units."""
    sd = np.sqrt(other[1].diagonal())
    of_mean = np.abs((one[0] - other[0]) / sd)
    of_covariance = np.abs((one[1] - other[1]) / np.multiply.outer(sd, sd))
    return float(max(of_mean.max(), of_covariance.max()))


def _position_if_definite(parameters: Parameters) -> Floats | None:
    """Mean and covariance as one unconstrained vector: the factor with its diagonal in logs.

    None where the covariance has no factor.
    """
    mean, covariance = parameters
    try:
        lower = cholesky_factor(covariance)
    except np.linalg.LinAlgError:
        return None
    below = _below_diagonal(len(mean))
    return np.concatenate([mean, np.log(lower.diagonal()), lower.take(below)])


def _parameters(position: Floats) -> Parameters:
    """The mean and covariance at a position."""
    p = (int(np.sqrt(9 + 8 * len(position))) - 3) // 2
    lower = np.zeros((p, p))
    lower.put(_below_diagonal(p), position[2 * p :])
    with np.errstate(over="ignore", invalid="ignore"):
        # A wild proposal overflows; the E-step then finds that it is no covariance.
        lower.flat[:: p + 1] = np.exp(position[p : 2 * p])
        return position[:p], lower @ lower.T


@lru_cache(maxsize=8)
def _below_diagonal(p: int) -> Ints:
    """Where a (p, p) matrix is below its diagonal, as flat indices."""
    return np.ravel_multi_index(np.tril_indices(p, -1), (p, p)).astype(np.int64)


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
