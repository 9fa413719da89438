"""How EM went, on all rows and by group, as the report describes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from em_impute.gaussian import EMResult
from em_impute.gaussian.families import MixtureFit
from em_impute.gaussian.filling import FillingModel, FittedModel
from em_impute.gaussian.linalg import NO_SPREAD
from em_impute.gaussian.threads import one_blas_thread
from em_impute.job.options import Family
from em_impute.reporting.missingness import FEWEST_ROWS
from em_impute.reporting.records import Evaluation, Fit, GroupRow, Groups
from em_impute.tables.digest import finite

MAX_EVALUATIONS = 500
MAX_GROUPS = 40


def describe_fit(result: FittedModel, tol: float | None = None) -> Fit:
    """Return how EM went; `tol` is the tolerance that the job sets."""
    kept = np.linspace(0, len(result.trace) - 1, min(len(result.trace), MAX_EVALUATIONS))
    return Fit(
        status=result.status.value,
        message=result.message,
        evaluations=result.n_iter,
        rejected=sum(iteration.step == "rejected" for iteration in result.trace),
        loglik=finite(result.loglik),
        distance=finite(result.distance),
        tol=tol,
        prior_rows=float(result.prior_rows),
        trace=tuple(
            Evaluation(
                number=iteration.number,
                loglik=finite(iteration.loglik),
                objective=finite(iteration.objective),
                distance=finite(iteration.distance),
                step=iteration.step,
            )
            for iteration in (result.trace[round(i)] for i in kept)
        ),
        worst_fraction=finite(result.worst_fraction),
        worst_combination=result.worst_combination,
        condition=_condition(result.model) if isinstance(result, EMResult) else None,
        starts=result.starts.n if result.starts else 1,
        starts_agree=result.starts.agree if result.starts else None,
        family=_family(result),
    )


def _family(result: FittedModel) -> Family:
    if isinstance(result, EMResult):
        return "gaussian"
    return "mixture" if isinstance(result, MixtureFit) else "factor"


@one_blas_thread()
def _condition(model: FillingModel) -> float | None:
    varying = model.sd > 0
    if not varying.any():
        return None
    correlation = model.correlation[np.ix_(varying, varying)]
    if not np.isfinite(correlation).all():  # of spreads whose product is no number any more
        return None
    eigenvalues = np.linalg.eigvalsh(correlation)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > NO_SPREAD else None


def describe_groups(groups: Sequence[GroupRow]) -> Groups | None:
    """Pick the largest groups, at most `MAX_GROUPS`; None without any."""
    if not groups:
        return None
    large = [group for group in groups if group.rows >= FEWEST_ROWS]
    ranked = sorted(large, key=lambda group: -group.rows)[:MAX_GROUPS]
    return Groups(tuple(ranked), len(groups), sum(group.own_model for group in groups))
