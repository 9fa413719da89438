"""Several imputations of one table: the models that each of them is drawn with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from em_impute.gaussian import EMResult, Mixing, PatternSummary
from em_impute.gaussian.filling import FillingModel
from em_impute.gaussian.posterior import (
    MOST_SWEEPS,
    enough_draws,
    posterior_draws,
    resampled_model,
)
from em_impute.job import Imputation

FEWEST_DRAWS = 2


class Models(NamedTuple):
    """What the rows of a table are filled with.

    Attributes
    ----------
    of_all : FillingModel or None
        None if nothing is imputed.
    of_groups : mapping of str to FillingModel
        The models of groups of rows, by label; that of all rows is for the others.
    """

    of_all: FillingModel | None
    of_groups: Mapping[str, FillingModel]


@dataclass(frozen=True)
class Drawn:
    """The models of several imputations.

    Attributes
    ----------
    models : tuple of Models
        One for each imputation.
    mixing : Mixing or None
        How the chains ended that drew the models of all rows; None without chains.
    warnings : tuple of str
        Sentences on chains that have not mixed.
    refusal : str
        Why there are no models; empty if there are.
    """

    models: tuple[Models, ...] = ()
    mixing: Mixing | None = None
    warnings: tuple[str, ...] = ()
    refusal: str = ""


def draw_models(
    result: EMResult | None,
    groups: Mapping[str, EMResult],
    options: Imputation,
    resample: Callable[[int], Sequence[PatternSummary]],
) -> Drawn:
    """Draw the models of each imputation, or take the estimate for all of them.

    Parameters
    ----------
    result : EMResult or None
        The fit to all rows; None if nothing is imputed, and the rows are only repeated.
    groups : mapping of str to EMResult
        The fits of the groups that have a model of their own, by label.
    options : Imputation
    resample : callable
        Gives so many resampled tables, summed up; called where `options` ask for a bootstrap.
    """
    if result is None:
        m = FEWEST_DRAWS if options.draws == "auto" else options.most_draws
        return Drawn((Models(None, {}),) * m)
    if not result.converged:
        return Drawn(refusal=f"Several imputations are drawn about a maximum. {result.message}")
    results = [result, *groups.values()]
    m = max(map(enough_draws, results)) if options.draws == "auto" else options.most_draws
    if options.posterior == "ml":
        estimated = {label: fit.model for label, fit in groups.items()}
        return Drawn((Models(result.model, estimated),) * m)
    try:
        if options.posterior == "bootstrap":
            refitted = (resampled_model(summary, result) for summary in resample(m))
            return Drawn(tuple(Models(model, {}) for model in refitted))
        sweeps = options.max_sweeps or MOST_SWEEPS
        drawn = [posterior_draws(fit, m, options.seed, sweeps) for fit in results]
    except ValueError as error:
        return Drawn(refusal=f"Several imputations cannot be drawn. {error}")
    models = [of_all for of_all, _ in drawn]
    return Drawn(
        tuple(
            Models(of_all, dict(zip(groups, of_groups, strict=True)))
            for of_all, *of_groups in zip(*models, strict=True)
        ),
        drawn[0][1],
        tuple(_unmixed([mixing for _, mixing in drawn])),
    )


def _unmixed(mixings: Sequence[Mixing]) -> list[str]:
    of_all, *of_groups = mixings
    sentences = [] if of_all.mixed else [of_all.sentence]
    if slow := sum(not mixing.mixed for mixing in of_groups):
        sentences.append(f"The chains of {slow} of {len(of_groups)} groups have not mixed.")
    return sentences
