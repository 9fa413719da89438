"""A mixture of Gaussians fitted to rows with missing cells: its starts, its prior, its size.

The parameters maximise the observed-data log-likelihood

    sum over rows of  log sum_g pi_g N(x_O; mu_g,O, Sigma_g,OO)

by EM (Dempster, Laird & Rubin 1977; for missing cells Ghahramani & Jordan 1994, Hunt & Jorgensen
2003). With unlike covariances it has no maximum: a component may shrink onto few rows (McLachlan &
Peel 2000, chapter 3.8). A start from which one does is given up; where all do, a prior holds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Self

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families.climb import Climb, climb
from em_impute.gaussian.families.components import Components, Kind
from em_impute.gaussian.families.model import MixtureModel
from em_impute.gaussian.families.partition import Sample, start
from em_impute.gaussian.families.rows import Scaling, SortedRows, require_observed
from em_impute.gaussian.status import Iteration, Status
from em_impute.gaussian.stopping import Options
from em_impute.gaussian.table import listed
from em_impute.gaussian.threads import one_blas_thread

# Pseudo-rows of the prior that holds the components where every start lets one collapse.
AUTO_PRIOR_ROWS = 1.0
# The numbers of components that are tried, and how many without a better BIC end the trial.
MOST_COMPONENTS = 9
WITHOUT_GAIN = 2
# The rows among which different ones are looked for at a time.
DISTINCT_ROWS = 2**10

_ADVICE = (
    "Ask for fewer components, a simpler covariance_type, or a prior of more rows (prior_rows; in "
    "a job, prior), which draws the components towards the whole table."
)

Prior = float | Literal["auto"]


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """A mixture and how it was reached.

    Attributes
    ----------
    model : MixtureModel
    climb : Climb
        The best of all starts.
    n_rows : int
        Rows with something observed.
    held : bool
        Whether a prior that nobody asked for holds the components.
    bics : dict of int to float
        BIC (``-2 loglik + parameters log n``, lower is better) of every number of components that
        was fitted.
    timed_out : bool
        Whether the time limit kept it from more.
    """

    model: MixtureModel
    climb: Climb
    n_rows: int
    held: bool = False
    bics: Mapping[int, float] = field(default_factory=dict)
    timed_out: bool = False

    # --- As `EMResult` has it --------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the best climb ended."""
        if self.climb.converged:
            return Status.CONVERGED
        return Status.TIME_LIMIT if self.timed_out else Status.MAX_ITERATIONS

    @property
    def converged(self) -> bool:
        """Whether it ended at a maximum."""
        return self.climb.converged

    @property
    def message(self) -> str:
        """The same in a sentence, with the components, and what to do."""
        chosen = f", the best BIC of 1 to {max(self.bics)}" if len(self.bics) > 1 else ""
        cut = " (the time limit kept it from more)" if self.bics and self.timed_out else ""
        found = f"{self.in_words}{chosen}{cut}"
        if self.converged:
            return f"Converged after {self.n_iter} iterations, with {found}."
        limit = "the time limit" if self.timed_out else "max_iter"
        return (
            f"Stopped by {limit} after {self.n_iter} iterations, before the maximum was reached, "
            f"with {found}. Raise it, or tol; fewer components, or a prior (prior_rows; in a job, "
            "prior: 1), make the maximum better determined."
        )

    @property
    def n_iter(self) -> int:
        """Evaluations of the EM map after that at the start."""
        return self.climb.n_iter - 1

    @property
    def distance(self) -> float:
        """What the last M-step gained for each row."""
        return self.climb.trace[-1].distance

    @property
    def prior_rows(self) -> float:
        """Pseudo-rows of the prior that was used."""
        return self.climb.prior_rows

    @property
    def trace(self) -> tuple[Iteration, ...]:
        """Every evaluation of the best climb."""
        return self.climb.trace

    @property
    def decisions(self) -> tuple[str, ...]:
        """What a user should know of the components, a sentence each."""
        held = [self.warning] if self.held and self.warning else []
        return (*held, *self._few_rows())

    @property
    def starts(self) -> None:
        """Nothing: that starts end at different maxima is usual here, and the highest is kept."""

    @property
    def worst_fraction(self) -> float:
        """The worst fraction of missing information is not known."""
        return math.nan

    @property
    def worst_combination(self) -> tuple[tuple[str, float], ...]:
        """Nor what it belongs to."""
        return ()

    # --- As only a mixture has it ----------------------------------------------------------------

    @property
    def n_components(self) -> int:
        """How many components it has."""
        return len(self.model.weights)

    @property
    def in_words(self) -> str:
        """How many components it has."""
        return f"{self.n_components} component{'s' if self.n_components > 1 else ''}"

    @property
    def loglik(self) -> float:
        """Observed-data log-likelihood, in full, on the original scale."""
        return self.climb.point.loglik

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978); lower is better."""
        n_parameters = self.climb.point.components.n_parameters
        return n_parameters * math.log(self.n_rows) - 2.0 * self.loglik

    @property
    def warning(self) -> str | None:
        """What a user should know of how the fit ended; None where it ended well."""
        if self.held:
            return (
                "From every start a component lost its rows or its spread, so a prior of "
                f"{self.climb.prior_rows:g} row with the variances of the table holds all of them "
                f"({self._narrow(self.model.components, self._held())}). {_ADVICE}"
            )
        return None if self.converged else self.message

    def require_sound(self) -> Self:
        """The fit itself.

        Raises
        ------
        ValueError
            If a component has collapsed from every start.
        """
        if self.collapsed:
            where = self._narrow(self.climb.point.image, self.climb.collapsed.tolist())
            raise ValueError(
                "From every start a component lost its rows or its spread, where the likelihood "
                f'has no maximum ({where}). Use a prior (prior_rows="auto"). {_ADVICE}'
            )
        return self

    @property
    def collapsed(self) -> bool:
        """Whether a component has, from every start."""
        return len(self.climb.collapsed) > 0

    def _few_rows(self) -> Iterator[str]:
        """A sentence on components that have fewer rows than a covariance has columns."""
        masses, p = self.model.weights * self.n_rows, self.climb.point.components.means.shape[1]
        few = np.flatnonzero(masses < p + 1) if self.model.components.kind == "full" else ()
        for g in () if self.held else few:
            yield (
                f"Component {g} has {masses[g]:.1f} of {self.n_rows} rows for {p} columns, too few "
                f"for a covariance of its own. {_ADVICE}"
            )

    def _held(self) -> list[int]:
        """The components that have half of their spread in some direction from the prior."""
        components, nu = self.model.components, self.climb.prior_rows
        smallest = np.linalg.eigvalsh(components.matrices)[:, 0]
        masses = components.weights * self.n_rows
        if components.kind == "tied":
            masses = np.full_like(masses, self.n_rows)
        return np.flatnonzero(smallest < 2.0 * nu / (masses + nu)).tolist()

    def _narrow(self, components: Components, which: Sequence[int]) -> str:
        """Where some components have next to no spread, as a clause."""
        clauses = []
        for g in which:
            covariance = np.nan_to_num(components.matrices[g])
            direction = np.abs(np.linalg.eigh(covariance)[1][:, 0])
            involved = np.flatnonzero(direction > 0.1 * direction.max())
            clauses.append(
                f"component {g}, with {components.weights[g] * self.n_rows:.1f} of {self.n_rows} "
                f"rows, in {'a combination of ' if len(involved) > 1 else ''}"
                f"{listed([self.model.columns[j] for j in involved])}"
            )
        return "; ".join(clauses) or "none is narrow now"


@one_blas_thread()
def fit_mixture(
    X: Floats,
    columns: Sequence[str],
    n_components: int | Literal["bic"],
    *,
    kind: Kind = "full",
    prior_rows: Prior = "auto",
    n_init: int = 5,
    options: Options,
    rng: np.random.Generator,
    begin: Callable[[Components, Scaling], Components] | None = None,
) -> MixtureFit:
    """Fit a mixture to a table.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        NaN where missing, else finite.
    columns : sequence of str
    n_components : int or "bic"
        "bic" counts up from 1, and takes the number with the best BIC.
    kind : {"full", "tied", "diag", "spherical"}
    prior_rows : float or "auto"
        Pseudo-rows, for each covariance, of independent columns at the table's variances.
    n_init : int
        Starts; the highest ending is kept.
    options : Options
    rng : Generator
        What the starts are drawn from.
    begin : callable, optional
        Puts parameters that are given in the place of those of a start. Without it the components
        come in the order of their weights.

    Raises
    ------
    ValueError
        If a column has no observed cell, there are fewer different rows than components, or with
        ``prior_rows=0`` all starts let a component collapse.
    """
    wanted = None if n_components == "bic" else int(n_components)
    require_observed(X, columns)
    scaling = Scaling.of(X, common=kind == "spherical")
    scaling.require_squares(columns)
    rows = SortedRows.of(X, scaling)
    most = _distinct_rows(X, wanted or MOST_COMPONENTS)
    _require_distinct_rows(most, len(X), wanted)
    sample = Sample.of(rows, rng)

    def fit(k: int) -> MixtureFit:
        starts = [start(sample, k, kind, rng) for _ in range(n_init)]
        starts = [begin(one, scaling) if begin else one for one in starts]
        best = _best(rows, starts, prior_rows, options)
        components = best.point.components if begin else best.point.components.by_weight()
        model = MixtureModel(components, scaling, tuple(columns))
        held = prior_rows == "auto" and best.prior_rows > 0
        return MixtureFit(model, best, rows.n_observed, held, timed_out=options.out_of_time)

    counted = partial(_smallest_bic, fit, most, options)
    return (counted() if wanted is None else fit(wanted)).require_sound()


def _best(
    rows: SortedRows, starts: Sequence[Components], prior_rows: Prior, options: Options
) -> Climb:
    """The highest ending, of those without a collapsed component where there are any."""
    nu = 0.0 if prior_rows == "auto" else float(prior_rows)
    climbs = [climb(rows, one, nu, options) for one in starts]
    if prior_rows == "auto" and all(len(one.collapsed) for one in climbs):
        climbs = [climb(rows, one, AUTO_PRIOR_ROWS, options) for one in starts]
    return max(climbs, key=lambda one: (not len(one.collapsed), one.point.objective))


def _smallest_bic(fit: Callable[[int], MixtureFit], most: int, options: Options) -> MixtureFit:
    """The fit with the best BIC, of 1 component and more, until further ones do not help."""
    fits: list[MixtureFit] = []
    bics: dict[int, float] = {}
    best = 0
    while len(fits) < most and len(fits) - best <= WITHOUT_GAIN:
        if fits and options.out_of_time:
            break
        fits.append(fit(len(fits) + 1))
        bics[len(fits)] = math.inf if fits[-1].collapsed else fits[-1].bic
        best = int(np.argmin(list(bics.values())))
    return replace(fits[best], bics=bics, timed_out=options.out_of_time)


def _distinct_rows(X: Floats, enough: int) -> int:
    """How many different rows there are; `enough`, where there are as many or more."""
    found: set[bytes] = set()
    for first in range(0, len(X), DISTINCT_ROWS):
        # Adding 0 makes the negative zero the other one; NaN are of one kind.
        some = np.where(np.isnan(some := X[first : first + DISTINCT_ROWS]), np.nan, some + 0.0)
        found.update(map(bytes, some))
        if len(found) >= enough:
            return enough
    return len(found)


def _require_distinct_rows(found: int, n_rows: int, wanted: int | None) -> None:
    if wanted is None and found < 2:
        raise ValueError(
            'n_components="bic" (in a job, components: auto) compares fits, for which it needs 2 '
            f"different rows or more; got n_samples = {n_rows}. Give the number of components."
        )
    if wanted is not None and found < wanted:
        raise ValueError(
            f"Expected at least as many different rows as components, got {wanted} "
            f"components for {found} different row{'s' if found != 1 else ''} (n_samples = "
            f"{n_rows}). Ask for fewer components."
        )
