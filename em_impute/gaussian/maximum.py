"""The point that a fit ended at: whether it is a maximum, and how well the data determine it there.

Both follow from the worst fraction of missing information, by its whole matrix where that is small,
and by a few products with vectors elsewhere. The first is looked at in every fit, and so takes less
than half of the time of the loop; the second takes more, and is left until somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from em_impute.gaussian import information
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.em import m_step, penalty
from em_impute.gaussian.inference import (
    is_small,
    keeps_digits,
    missing_information_by_matrix,
)
from em_impute.gaussian.information import MissingInformation
from em_impute.gaussian.parameters import Parameters, Point
from em_impute.gaussian.threads import one_blas_thread

# Nearer to a singular covariance than this, a saddle cannot be told from the way there.
SADDLE_EIGENVALUE = 1e-6
# Up to some 12 columns, and so many products of the patterns, the matrix takes less time than the
# few vectors that tell a maximum from a saddle.
FEW_COVARIANCES, FEW_PRODUCTS = 78, 2**21


def is_saddle(
    rows: WeightedRows, point: Point, prior_rows: float, out_of_time: Callable[[], bool]
) -> bool | None:
    """Whether EM, moved off the point where it ended, would go away from it.

    Parameters
    ----------
    rows : WeightedRows
    point : Point
    prior_rows : float
        Pseudo-rows of the ridge prior.
    out_of_time : callable
        Asked before each evaluation.

    Returns
    -------
    bool or None
        None where the time was over before it was certain.
    """
    if _all_observed(rows) or point.smallest_eigenvalue < SADDLE_EIGENVALUE:
        return False
    if out_of_time():
        return None
    at = point.parameters
    if rows.within(FEW_COVARIANCES, FEW_PRODUCTS) and keeps_digits(at[1]):
        names = [""] * len(at[0])
        return missing_information_by_matrix(rows, at, prior_rows, names).at_a_saddle
    return information.at_a_saddle(
        *_maps(rows, prior_rows), at, point.image, prior_rows / rows.n, out_of_time
    )


@one_blas_thread()
def missing_information(
    rows: WeightedRows, point: Point, prior_rows: float, names: Sequence[str]
) -> MissingInformation:
    """The worst fraction of missing information where a fit ended; 0 without missing cells.

    Parameters
    ----------
    rows : WeightedRows
    point : Point
    prior_rows : float
        Pseudo-rows of the ridge prior.
    names : sequence of str
        Of the p columns.
    """
    if _all_observed(rows):
        return MissingInformation(0.0)
    at = point.parameters
    if is_small(rows) and keeps_digits(at[1]):
        found = missing_information_by_matrix(rows, at, prior_rows, names)
    else:
        found = information.missing_information(
            *_maps(rows, prior_rows), at, point.image, prior_rows / rows.n, names
        )
    if found.at_a_saddle and point.smallest_eigenvalue < SADDLE_EIGENVALUE:
        return MissingInformation(np.nan, evaluations=found.evaluations)
    return found


def _all_observed(rows: WeightedRows) -> bool:
    return rows.n_cells == rows.n * len(rows.pairs)


def _maps(
    rows: WeightedRows, prior_rows: float
) -> tuple[information.Map, Callable[[Parameters], float]]:
    """The EM map, and the objective per row."""

    def em_map(at: Parameters) -> Parameters:
        return m_step(e_step(rows, *at), at[0], prior_rows)

    def objective(at: Parameters) -> float:
        return (e_step(rows, *at).loglik - penalty(at[1], prior_rows)) / rows.n

    return em_map, objective
