"""Where EM starts, and whether several starts lead to the same maximum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from em_impute.gaussian.completion import complete
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.em import climb
from em_impute.gaussian.linalg import SINGULAR_EIGENVALUE, correlation_of
from em_impute.gaussian.parameters import Parameters, largest_difference
from em_impute.gaussian.result import Starts
from em_impute.gaussian.status import Status
from em_impute.gaussian.stopping import Ending, Options, unheard

# The start's correlations are drawn towards zero until no eigenvalue is below this.
START_EIGENVALUE = 0.01
# The spread that a start without any in some direction gets there, in variances of the columns.
START_SPREAD = 1e-6
# Two endings this many tol apart or less are the same maximum: each may be off by tol.
SAME_MAXIMUM = 10


def observed_moments(rows: WeightedRows) -> Parameters:
    """The start of EM: no mean moves, and columns correlate as in the rows that show both.

    Such correlations need not be those of any table; then they are drawn towards zero until the
    smallest eigenvalue is `START_EIGENVALUE`. Those that no row shows are `complete`d.
    """
    correlation = rows.pair_means()
    np.fill_diagonal(correlation, 1.0)
    smallest = np.linalg.eigvalsh(correlation)[0]
    drawn = max(0.0, (START_EIGENVALUE - smallest) / (1.0 - smallest)) if smallest < 1 else 0.0
    p = len(correlation)
    return np.zeros(p), complete((1.0 - drawn) * correlation + drawn * np.eye(p), rows.unseen)


def with_spread(start: Parameters) -> Parameters:
    """The start of a caller, with some spread in every direction: columns may determine others."""
    mean, covariance = start
    try:
        smallest = np.linalg.eigvalsh(correlation_of(covariance))[0]
    except np.linalg.LinAlgError:
        return start  # which the climb refuses
    if abs(smallest) > SINGULAR_EIGENVALUE:
        return start
    return mean, covariance + START_SPREAD * np.diag(covariance.diagonal())


def climb_from_further_starts(
    rows: WeightedRows, first: Ending, n_starts: int, options: Options
) -> tuple[Ending, Starts]:
    """The best of `first` and the endings of the further starts, and how they compare.

    Parameters
    ----------
    rows : WeightedRows
    first : Ending
        That of the first start, with the prior of all.
    n_starts : int
        The first included.
    options : Options
        Only the first start is reported to those who listen.
    """
    silent = replace(options, on_iteration=unheard, keep=unheard)
    p = len(first.point.parameters[0])
    starts = (
        overdispersed(np.random.default_rng([k, int(rows.n), p]), p) for k in range(1, n_starts)
    )
    endings = [first, *(climb(rows, start, first.prior_rows, silent) for start in starts)]
    best = max(endings, key=lambda e: (e.status is Status.CONVERGED, e.point.objective))
    others = [ending for ending in endings if ending is not best]
    if any(ending.status is not Status.CONVERGED for ending in endings):
        ends = ", ".join(ending.status.value for ending in endings)
        sentence = f"Not all of the {n_starts} starts ended at a maximum: {ends}."
        return best, Starts(n_starts, False, sentence)
    far = max(largest_difference(e.point.parameters, best.point.parameters) for e in others)
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


def overdispersed(rng: np.random.Generator, p: int) -> Parameters:
    """A start that is further from the observed moments than the maximum can be expected to be."""
    directions = rng.normal(size=(p, p + 2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    scaled = np.exp(rng.normal(scale=0.5, size=(p, 1))) * directions
    return rng.normal(size=p), scaled @ scaled.T
