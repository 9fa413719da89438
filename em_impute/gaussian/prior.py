"""``prior_rows="auto"``: the smallest ridge prior under which the likelihood has a maximum."""

from __future__ import annotations

from dataclasses import replace

from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.em import climb
from em_impute.gaussian.parameters import Parameters, Standardisation
from em_impute.gaussian.relations import Relation, find_relations
from em_impute.gaussian.status import Status
from em_impute.gaussian.stopping import Ending, Options

# What prior_rows="auto" tries when there is no maximum, in pseudo-rows per row. The first is for
# columns that determine each other: it ends soon, or the data are too few, which takes more.
AUTO_PRIORS = (1e-6, 0.001, 0.01, 0.05)
FIRST_PRIOR_EVALUATIONS = 200


def climb_with_smallest_prior(
    rows: WeightedRows, start: Parameters, options: Options, scaling: Standardisation
) -> tuple[Ending, tuple[Relation, ...], tuple[str, ...]]:
    """The ending with the smallest prior that makes a maximum, and with none if there is one.

    Parameters
    ----------
    rows : WeightedRows
    start : tuple of ndarray
        Mean (p,) and covariance (p, p).
    options : Options
    scaling : Standardisation
        For the names and the original scale of the columns.

    Returns
    -------
    ending : Ending
    relations : tuple of Relation
        Between columns, found where there is no maximum without a prior: they may be why.
    decisions : tuple of str
        What was decided, a sentence each.
    """
    ending = climb(rows, start, 0.0, options)
    if ending.status is not Status.SINGULAR:
        return ending, (), ()
    reason = scaling.dependent_columns(ending.point.image[1])
    relations: tuple[Relation, ...] = ()
    for share in AUTO_PRIORS[rows.n <= len(scaling.varying) :]:
        first = share == AUTO_PRIORS[0]
        most = min(options.max_iter, FIRST_PRIOR_EVALUATIONS) if first else options.max_iter
        ending = climb(rows, start, share * rows.n, replace(options, max_iter=most))
        if first:
            relations = find_relations(rows, ending.point.parameters[1], scaling)
        if ending.status is Status.CONVERGED:
            break
    names = scaling.varying_names
    return (
        ending,
        relations,
        (
            f"Without a prior the likelihood has no maximum: {reason}. A ridge prior worth "
            f"{ending.prior_rows:.3g} rows ({100 * share:g}% of {rows.n:.10g}) was added.",
            *(relation.sentence(names) for relation in relations),
        ),
    )
