"""The E-step of a mixture: responsibilities, and the expected moments that they weigh.

A row with observed columns O has the responsibilities

    r_g  proportional to  pi_g N(x_O; mu_g,O, Sigma_g,OO),    which sum to 1 over the components g,

and enters the moments of component g as the weighted row ``(sqrt(r_g), sqrt(r_g) x)``: filled with
the component's conditional mean, beside whose scatter stands the conditional covariance, ``r_g``
times. A pattern's count is the sum of its rows' responsibilities (Ghahramani & Jordan 1994).
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from em_impute.gaussian.arrays import Floats, to_read
from em_impute.gaussian.families.components import Components, Moments
from em_impute.gaussian.families.rows import SortedRows
from em_impute.gaussian.linalg import (
    correlation_of,
    eigenvalues_of,
    inverse_and_log_det,
    well_conditioned,
)
from em_impute.gaussian.threads import one_blas_thread


def e_step(rows: SortedRows, components: Components) -> Moments:
    """The expected moments of all rows with something observed.

    Parameters
    ----------
    rows : SortedRows
    components : Components
        Of the standardised columns.
    """
    # Importing the compiler takes a second, which whoever only reads tables need not wait for.
    from em_impute.gaussian.families import densities

    X, log_weights = to_read(rows.X), to_read(components.log_weights)
    covariances, (precisions, log_dets) = to_read(components.covariances), _inverses(components)

    def expect(begin: int, end: int) -> tuple[Floats, Floats, Floats, float]:
        masses, totals = np.zeros(len(log_weights)), np.zeros_like(components.means)
        crosses = np.zeros_like(components.covariances)
        loglik = densities.expected_moments(
            X, rows.order, rows.scaling.centre, rows.scaling.scale,
            rows.patterns, rows.starts, begin, end,
            log_weights, components.means, covariances, precisions, log_dets,
            masses, totals, crosses,
        )  # fmt: skip
        return masses, totals, crosses, loglik

    parts = rows.spread(expect, empty=False)
    return Moments(*(reduce(np.add, kind) for kind in zip(*parts, strict=True)))


@one_blas_thread()
def posteriors(rows: SortedRows, components: Components) -> tuple[Floats, Floats]:
    """The responsibilities (n, k) and log-likelihoods (n,) of the rows, on the original scale.

    Parameters
    ----------
    rows : SortedRows
    components : Components
        Of the standardised columns.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a covariance is not positive definite.
    """
    from em_impute.gaussian.families import densities

    n, k = len(rows.order), len(components.weights)
    responsibilities, logliks = np.empty((n, k)), np.empty(n)
    X, log_weights = to_read(rows.X), to_read(components.log_weights)
    covariances, (precisions, log_dets) = to_read(components.covariances), _inverses(components)

    def set_some(begin: int, end: int) -> bool:
        definite: bool = densities.posteriors(
            X, rows.order, rows.scaling.centre, rows.scaling.scale,
            rows.patterns, rows.starts, begin, end,
            log_weights, components.means, covariances, precisions, log_dets,
            responsibilities, logliks,
        )  # fmt: skip
        return definite

    if not all(rows.spread(set_some, empty=True)):
        raise np.linalg.LinAlgError("A covariance of the mixture is not positive definite.")
    logliks[rows.order] -= np.repeat(rows.scaling.log_jacobian(rows.patterns), rows.counts)
    return responsibilities, logliks


def _inverses(components: Components) -> tuple[Floats, Floats]:
    """Inverses (k, p, p) and log-determinants (k,) of the covariances.

    NaN where one is ill-conditioned, and for diagonals.
    """
    k, width, p = components.covariances.shape
    precisions, log_dets = np.full((k, width, p), np.nan), np.full(k, np.nan)
    if width == p:
        for g, covariance in enumerate(components.distinct):
            try:
                eigenvalues = eigenvalues_of(correlation_of(covariance))
                if well_conditioned(eigenvalues):
                    precisions[g], log_dets[g] = inverse_and_log_det(covariance)
            except np.linalg.LinAlgError:
                continue
        if components.kind == "tied":
            precisions[:], log_dets[:] = precisions[0], log_dets[0]
    return precisions, log_dets
