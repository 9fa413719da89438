"""Parameters drawn from their posterior, by data augmentation, and how many are enough.

Several chains begin at overdispersed starts. They go on until they have come to one distribution,
and until their draws are apart. Or the parameters are those of resampled rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.augmentation import Prior, augment
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.estimates import estimates
from em_impute.gaussian.fit import fit_gaussian
from em_impute.gaussian.inference import Undetermined
from em_impute.gaussian.information import in_words, parameter_names
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.parameters import Parameters, Standardisation
from em_impute.gaussian.patterns import PatternSummary, require_unweighted
from em_impute.gaussian.result import EMResult, data_of
from em_impute.gaussian.starts import overdispersed
from em_impute.gaussian.status import ConvergenceWarning
from em_impute.gaussian.threads import at_most, one_blas_thread, spread
from em_impute.gaussian.triangle import triangle

CHAINS = 4
MOST_SWEEPS = 20_000
# What a chain still remembers of its start, and of the draw before, along its slowest direction.
FORGOTTEN, APART = 1e-3, 0.05
# Where the worst fraction of missing information is not known, and the largest that is believed.
UNKNOWN_FRACTION, LARGEST_FRACTION = 0.9, 0.999
# A chain has mixed with R-hat below this, and so many independent draws in each chain, in the bulk
# and in the tails (Vehtari et al. 2021).
LARGEST_RHAT, LEAST_DRAWS = 1.01, 100
FIRST_SWEEPS = 200
# Of more columns only means, variances and the worst combination are watched.
WATCHED_COLUMNS = 12
# How much a standard error may vary with the draws, as a share of itself.
VARIATION = 0.05
# The parameters of more columns take too long to be looked at one by one.
MOST_COLUMNS = 30

Combination = Sequence[tuple[str, float]]
"""Parameters and their loadings, as in `MissingInformation`."""


@dataclass(frozen=True)
class Mixing:
    """Whether the chains of data augmentation have come to one distribution.

    Attributes
    ----------
    chains, burn_in, sweeps, spacing : int
        Chains, sweeps of each that were dropped at its begin, sweeps that were kept, and sweeps
        between two imputations.
    rhat : float
        The largest rank-normalised split R-hat of a parameter.
    draws : float
        The smallest effective sample size of a parameter, in the bulk or in the tails.
    slowest : str
        The parameter with the largest R-hat.
    mixed : bool
    traces : dict of str to ndarray of shape (chains, sweeps)
        Of the slowest parameters.
    """

    chains: int
    burn_in: int
    sweeps: int
    spacing: int
    rhat: float
    draws: float
    slowest: str
    mixed: bool
    traces: dict[str, Floats] = field(repr=False, compare=False, default_factory=dict)

    @property
    def sentence(self) -> str:
        """How the chains ended."""
        how = (
            f"{self.chains} chains of {self.sweeps:,} sweeps: R-hat at most {self.rhat:.3f}, "
            f"{self.draws:,.0f} independent draws or more of every parameter"
        )
        if self.mixed:
            return f"{how}."
        return (
            f"The chains have not mixed: {how}; the slowest is the {self.slowest}. Allow more "
            "sweeps (max_sweeps), leave out columns that are hardly ever observed together, or use "
            "a prior (prior_rows)."
        )


def enough_draws(result: EMResult) -> int:
    """How many imputations keep a standard error within 5% of what many more would give.

    That are ``1 + (fmi / 0.05)^2 / 2`` (von Hippel 2020), with the largest fraction of missing
    information of a mean, variance, covariance or correlation. It is known from the observed
    information, so no pilot is needed; where that has no inverse, and of more than 30 columns, the
    worst fraction of any combination of parameters takes its place.

    Parameters
    ----------
    result : EMResult
        With its data.

    Returns
    -------
    int
        From 2 to 201.
    """
    fraction = _largest_fraction(result)
    fraction = 1.0 if math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
    return max(2, math.ceil(1.0 + (fraction / VARIATION) ** 2 / 2.0))


def _largest_fraction(result: EMResult) -> float:
    """The largest fraction of missing information of a parameter, where that is quickly known."""
    if result.data is not None and len(result.model.columns) <= MOST_COLUMNS:
        with suppress(Undetermined):
            table = estimates(result.data, result.model, result.prior_rows, 0.95, None, None)
            return float(table["fmi"].max())
    return result.worst_fraction


@one_blas_thread()
def posterior_draws(
    result: EMResult, m: int, seed: int, max_sweeps: int = MOST_SWEEPS
) -> tuple[list[GaussianModel], Mixing]:
    """Draw models from the posterior, in several chains, and tell how these ended.

    Parameters
    ----------
    result : EMResult
        A fit that ended at a maximum, with its data.
    m : int
        How many models.
    seed : int
    max_sweeps : int
        Most sweeps of a chain.

    Raises
    ------
    ValueError
        If the result is a copy without its data, or there is no posterior: of rows with weights, or
        of too few.
    """
    data = data_of(result)
    require_unweighted(data, "posterior distribution")
    scaling = Standardisation.of(data)
    rows = WeightedRows.of(data, scaling.varying, scaling.centre, scaling.scale)
    p = len(scaling.varying)
    prior = Prior.ridge(result.prior_rows, p)
    chains = [
        augment(rows, overdispersed(np.random.default_rng([seed, chain]), p), prior, [seed, chain])
        for chain in range(CHAINS)
    ]
    burn_in, spacing = _pace(result.worst_fraction)
    burn_in, of_each = min(burn_in, max_sweeps), -(-m // CHAINS)
    kept: list[list[Parameters]] = [[] for _ in chains]
    skipped, wanted = burn_in, min(max(FIRST_SWEEPS, spacing * of_each), max_sweeps)
    while True:
        further = _sweeps(chains, skipped, wanted - len(kept[0]), rows.size)
        for states, more in zip(kept, further, strict=True):
            states.extend(more)
        skipped = 0
        mixing = _judged(kept, burn_in, spacing, scaling.varying_names, result.worst_combination)
        if mixing.mixed or wanted >= max_sweeps:
            break
        wanted = min(wanted + wanted // 2, max_sweeps)
    places = np.linspace(0, wanted - 1, of_each).round().astype(int)
    chosen = [kept[k % CHAINS][places[k // CHAINS]] for k in range(m)]
    return [scaling.model(parameters) for parameters in chosen], mixing


def resampled_model(summary: PatternSummary, result: EMResult) -> GaussianModel:
    """The model of resampled rows, a draw from about its sampling distribution (Efron 1994).

    Parameters
    ----------
    summary : PatternSummary
        Of the rows that were drawn with replacement.
    result : EMResult
        The fit to the rows themselves, where the search begins.

    Raises
    ------
    ValueError
        If a column shows nothing in the resampled rows.
    """
    with warnings.catch_warnings():
        # A resample may lack what makes its maximum unique; the next ones do not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = fit_gaussian(summary, start=result.model, prior_rows=result.prior_rows or "auto")
    return fit.model


def _sweeps(
    chains: Sequence[Iterator[Parameters]], skipped: int, kept: int, size: int
) -> list[list[Parameters]]:
    """The next parameters of each chain, after some that are skipped; the chains side by side."""

    def advance(chain: Iterator[Parameters]) -> list[Parameters]:
        # The chains take all cores, and the parts of their rows would wait for them.
        with at_most(1):
            return list(islice(chain, skipped, skipped + kept))

    return spread(advance, chains, len(chains) * size)


def _pace(worst_fraction: float) -> tuple[int, int]:
    """Sweeps until a chain has forgotten its start, and between two imputations.

    Along the slowest direction a chain remembers the worst fraction of missing information from
    one sweep to the next (Schafer 1997, section 4.4).
    """
    fraction = UNKNOWN_FRACTION if math.isnan(worst_fraction) else worst_fraction
    memory = math.log(min(max(fraction, 1e-3), LARGEST_FRACTION))
    return 11 + math.ceil(math.log(FORGOTTEN) / memory), math.ceil(math.log(APART) / memory)


def _judged(
    kept: Sequence[Sequence[Parameters]],
    burn_in: int,
    spacing: int,
    columns: Sequence[str],
    worst: Combination,
) -> Mixing:
    # It brings scipy.stats, which takes half a second.
    from arviz_stats.base.array import array_stats

    watched, names = _watched(kept, columns, worst)
    rhats = np.array([array_stats.rhat(one, chain_axis=0, draw_axis=1) for one in watched])
    draws = np.array(
        [
            min(
                array_stats.ess(one, chain_axis=0, draw_axis=1, method="bulk"),
                array_stats.ess(one, chain_axis=0, draw_axis=1, method="tail", prob=0.95),
            )
            for one in watched
        ]
    )
    order = np.argsort(-rhats, kind="stable")
    rhat, least = float(rhats.max(initial=1.0)), float(draws.min(initial=np.inf))
    return Mixing(
        chains=len(kept),
        burn_in=burn_in,
        sweeps=len(kept[0]),
        spacing=spacing,
        rhat=rhat,
        draws=least,
        slowest=names[order[0]] if len(order) else "",
        mixed=rhat < LARGEST_RHAT and least >= LEAST_DRAWS * len(kept),
        traces={names[k]: watched[k] for k in order[:4]},
    )


def _watched(
    kept: Sequence[Sequence[Parameters]], columns: Sequence[str], worst: Combination
) -> tuple[Floats, list[str]]:
    """What is judged of the chains, (parameters, chains, sweeps), and its names.

    Of few columns that are all means and covariances. Of many, what is estimated worst of all takes
    the place of the covariances (Schafer 1997, section 4.4): no other combination is slower.
    """
    row, column, _, _ = triangle(len(columns))
    courses = np.array(
        [[np.concatenate([mean, S[row, column]]) for mean, S in states] for states in kept]
    )
    courses, names = np.moveaxis(courses, 2, 0), parameter_names(columns)
    if len(columns) <= WATCHED_COLUMNS:
        return courses, names
    loadings = {name: loading for name, loading in worst if name in names}
    along = sum(load * courses[names.index(name)] for name, load in loadings.items())
    few = [k for k, name in enumerate(names) if not name.startswith("covariance of ")]
    names, courses = [names[k] for k in few], courses[few]
    if not loadings:
        return courses, names
    return np.concatenate([[along], courses]), [in_words(list(loadings.items())), *names]
