"""A factor model fitted to rows with missing cells: where it starts, how many factors, how it ends.

The parameters maximise the observed-data log-likelihood

    sum over rows of  w log N(x_O; mu_O, (Lambda Lambda^T + Psi)_OO)

by EM with parameter expansion (Rubin & Thayer 1982; Liu, Rubin & Wu 1998). With one noise variance
for all columns it is probabilistic principal component analysis (Tipping & Bishop 1999). A noise
variance may run to zero (Heywood 1931): it is held at a share of its column's variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families.ascent import Ascent, ascend
from em_impute.gaussian.families.factor_model import FactorModel
from em_impute.gaussian.families.latent import WeightedTable
from em_impute.gaussian.families.loadings import Loadings
from em_impute.gaussian.families.rows import Scaling, require_observed
from em_impute.gaussian.status import Iteration, Status
from em_impute.gaussian.stopping import Options
from em_impute.gaussian.table import listed
from em_impute.gaussian.threads import one_blas_thread

Noise = Literal["diagonal", "isotropic"]
# The share of a column's variance below which its noise does not fall; with one noise for all, of
# the mean of their variances, which may be that of few columns.
MIN_NOISE: Mapping[Noise, float] = MappingProxyType({"diagonal": 1e-5, "isotropic": 1e-6})
# How many numbers of factors without a better BIC end the trial.
WITHOUT_GAIN = 2
# Directions that are followed beside the wanted ones, and how often, on the way to a start.
FURTHER, POWERS = 10, 4
# What a start leaves of a column's variance to its noise, and gives to a factor, at least.
START_NOISE, START_FACTOR = 0.05, 0.01


@dataclass(frozen=True, eq=False)
class FactorFit:
    """A factor model and how it was reached.

    Attributes
    ----------
    model : FactorModel
    ascent : Ascent
    options : Options
    bics : dict of int to float
        BIC (``-2 loglik + parameters log n``, lower is better) of every number of factors that was
        fitted.
    timed_out : bool
        Whether the time limit kept it from further numbers of factors.
    """

    model: FactorModel
    ascent: Ascent
    options: Options
    bics: Mapping[int, float] = field(default_factory=dict)
    timed_out: bool = False

    # --- As `EMResult` has it --------------------------------------------------------------------

    @property
    def loglik(self) -> float:
        """Observed-data log-likelihood, in full, on the original scale."""
        return self.ascent.point.loglik

    @property
    def status(self) -> Status:
        """How the fit ended."""
        return self.ascent.status

    @property
    def converged(self) -> bool:
        """Whether it ended at a maximum."""
        return self.status is Status.CONVERGED

    @property
    def trace(self) -> tuple[Iteration, ...]:
        """Every evaluation of the EM map, in order."""
        return self.ascent.trace

    @property
    def n_iter(self) -> int:
        """Evaluations of the EM map after that at the start."""
        return len(self.trace) - 1

    @property
    def distance(self) -> float:
        """What the log-likelihood is estimated to rise by further, for each row."""
        return self.trace[-1].distance

    @property
    def message(self) -> str:
        """How the fit ended, and what to do, in a sentence."""
        far = f"rise by {self.distance:.1g} for each row"
        chosen = f", the best BIC of 1 to {max(self.bics)}" if len(self.bics) > 1 else ""
        cut = " (the time limit kept it from more)" if self.bics and self.timed_out else ""
        found = f"with {self.in_words}{chosen}{cut}"
        if self.converged:
            return (
                f"Converged after {self.n_iter} iterations, {found}; the log-likelihood may yet "
                f"{far}."
            )
        limit = "the time limit" if self.status is Status.TIME_LIMIT else "max_iter"
        return (
            f"Stopped by {limit} after {self.n_iter} iterations, before a maximum was reached, "
            f"{found}: the log-likelihood is estimated to {far}, and tol is {self.options.tol:g}. "
            f"Raise {limit} or tol; fewer factors make the maximum better determined."
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """What the program decided by itself, a sentence each."""
        at = self.model.standardised
        held = [name for name, low in zip(self.model.columns, at.held, strict=True) if low]
        if not held:
            return ()
        if at.isotropic:
            return (
                "The noise would shrink to nothing, because the factors explain all that varies, "
                f"and is held at {at.floor:.3g} of the columns' mean variance (min_noise). Ask for "
                "fewer factors, or choose another min_noise.",
            )
        return (
            f"The noise of {listed(held)} would shrink to nothing (a Heywood case) and is held at "
            f"{at.floor:.3g} of the column's variance (min_noise). Such a column is constant, "
            "determined by others, or a factor by itself: ask for fewer factors, leave out the "
            "column, or choose another min_noise.",
        )

    @property
    def prior_rows(self) -> float:
        """There is no prior."""
        return 0.0

    @property
    def starts(self) -> None:
        """Nothing: there is one start, always the same."""

    @property
    def worst_fraction(self) -> float:
        """The worst fraction of missing information is not known."""
        return math.nan

    @property
    def worst_combination(self) -> tuple[tuple[str, float], ...]:
        """Nor what it belongs to."""
        return ()

    # --- As only a factor model has it -----------------------------------------------------------

    @property
    def n_components(self) -> int:
        """How many factors it has."""
        return self.model.n_factors

    @property
    def in_words(self) -> str:
        """How many factors it has."""
        return f"{self.n_components} factor{'s' if self.n_components > 1 else ''}"

    @property
    def n_rows(self) -> float:
        """Rows with something observed, by weight."""
        return self.ascent.point.mass

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978); lower is better."""
        return self.ascent.point.at.n_parameters * math.log(self.n_rows) - 2.0 * self.loglik

    @property
    def logliks(self) -> list[float]:
        """At the points that were accepted; they never decrease."""
        return [one.loglik for one in self.trace if one.step != "rejected"]

    @property
    def warning(self) -> str | None:
        """What a user should know of how the fit ended; None where it ended well."""
        return " ".join([*self.decisions, *([] if self.converged else [self.message])]) or None


@one_blas_thread()
def fit_factor(
    X: Floats,
    columns: Sequence[str],
    n_components: int | Literal["bic"],
    *,
    noise: Noise = "diagonal",
    rotation: Literal["varimax"] | None = None,
    min_noise: float | None = None,
    weights: Floats | None = None,
    start: FactorModel | None = None,
    options: Options,
) -> FactorFit:
    """Fit a factor model to a table.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        NaN where missing, else finite.
    columns : sequence of str
    n_components : int or "bic"
        "bic" counts up from 1, and takes the number of factors with the best BIC.
    noise : {"diagonal", "isotropic"}
        A noise variance for each column, or one for all.
    rotation : {"varimax"}, optional
    min_noise : float, optional
        The share of a column's variance, or of the mean of these, that is noise at least; by
        default that in `MIN_NOISE`.
    weights : ndarray of shape (n,), optional
        How often each row counts; by default once.
    start : FactorModel, optional
        Where to start with as many factors as it has, for instance an earlier fit.
    options : Options
        Its `tol` is what the log-likelihood may still rise by, for each row.

    Raises
    ------
    ValueError
        If a column has no observed cell, there are as many factors as columns or rows, or the
        weights are none.
    """
    X, weights = _counted(X, weights)
    require_observed(X, columns)
    scaling = Scaling.of(X, common=noise == "isotropic", weights=weights)
    scaling.require_squares(columns)
    _require_few(n_components, X)
    table = WeightedTable(X, weights, scaling)
    floor = MIN_NOISE[noise] if min_noise is None else min_noise

    def fit(k: int) -> FactorFit:
        begin = None if start is None else _standardised(start, scaling, noise, floor)
        if begin is None or begin.loadings.shape[1] != k:
            begin = _start(table, k, noise, floor)
        ascent = ascend(table, begin, options)
        model = FactorModel(ascent.point.at, scaling, tuple(columns)).turned(rotation)
        return FactorFit(model, ascent, options)

    if n_components == "bic":
        return _smallest_bic(fit, _most(X), options)
    return fit(n_components)


def _start(table: WeightedTable, k: int, noise: Noise, floor: float) -> Loadings:
    """The main directions of the standardised table, with 0, its mean, in missing cells."""
    scaling = table.scaling
    Z = np.nan_to_num((table.X - scaling.centre) / scaling.scale, copy=False)
    Z *= np.sqrt(table.weights / table.weights.sum())[:, None]
    directions, variances = _main_directions(Z, k)
    each = np.sum(Z**2, axis=0)
    rest = max(each.sum() - variances.sum(), 0.0) / (len(each) - k)
    loadings = directions * np.sqrt(np.maximum(variances - rest, START_FACTOR))
    left = np.maximum(1.0 - np.sum(loadings**2, axis=1), START_NOISE)
    if noise == "isotropic":
        left[:] = max(rest, floor)
    return Loadings(
        np.zeros(len(each)), loadings, np.maximum(left, floor), noise == "isotropic", floor
    )


def _main_directions(Z: Floats, k: int) -> tuple[Floats, Floats]:
    """The first right singular vectors (p, k) of `Z`, and their squared singular values.

    They are found among random directions, always the same, that powers of ``Z^T Z`` turn towards
    them (Halko, Martinsson & Tropp 2011).
    """
    p = Z.shape[1]
    basis = np.random.default_rng(0).normal(size=(p, min(k + FURTHER, p)))
    for _ in range(POWERS):
        basis = np.linalg.qr(Z.T @ (Z @ basis))[0]
    _, singular, right = np.linalg.svd(Z @ basis, full_matrices=False)
    return basis @ right[:k].T, singular[:k] ** 2


def _standardised(model: FactorModel, scaling: Scaling, noise: Noise, floor: float) -> Loadings:
    """A model's parameters in the units of other standardised columns."""
    variances = np.maximum(model.noise / scaling.scale**2, floor)
    if noise == "isotropic":
        variances[:] = variances.mean()
    mean = (model.mean - scaling.centre) / scaling.scale
    loadings = model.loadings / scaling.scale[:, None]
    return Loadings(mean, loadings, variances, noise == "isotropic", floor)


def _smallest_bic(fit: Callable[[int], FactorFit], most: int, options: Options) -> FactorFit:
    """The fit with the best BIC, of 1 factor and more, until further ones do not help."""
    fits: list[FactorFit] = []
    best = 0
    while len(fits) < most and len(fits) - best <= WITHOUT_GAIN:
        if fits and options.out_of_time:
            break
        fits.append(fit(len(fits) + 1))
        best = int(np.argmin([one.bic for one in fits]))
    bics = {k: one.bic for k, one in enumerate(fits, start=1)}
    return replace(fits[best], bics=bics, timed_out=options.out_of_time)


def _most(X: Floats) -> int:
    """So many factors have fewer parameters than a covariance (Ledermann 1937), and rows."""
    n, p = X.shape
    ledermann = int((2 * p + 1 - math.sqrt(8 * p + 1)) / 2)
    return int(max(1, min(ledermann, n - 1)))


def _counted(X: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """The rows that count and show anything, and their weights."""
    if weights is None:
        weights = np.ones(len(X))
    elif weights.shape != (len(X),) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"Expected a weight for each of the {len(X)} rows, a number that is not negative."
        )
    kept = (weights > 0) & ~np.isnan(X).all(axis=1)
    if not kept.all():
        X, weights = X[kept], weights[kept]
    return np.ascontiguousarray(X), weights


def _require_few(n_components: int | Literal["bic"], X: Floats) -> None:
    n, p = X.shape
    k = 1 if n_components == "bic" else n_components
    if k < min(n, p):
        return
    asked = f"n_components = {n_components!r} with n_samples = {n}, n_features = {p}"
    if n <= p or k < p:
        raise ValueError(
            f"Expected fewer factors than rows that show anything, got {asked}. Ask for fewer "
            "factors, or give more rows."
        )
    raise ValueError(
        f"Expected fewer factors than columns, got {asked}. Ask for fewer factors; EMImputer and "
        "fit_gaussian (in a job, family: gaussian) estimate a whole covariance."
    )
