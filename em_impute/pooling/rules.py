"""How the analyses of several tables become one: Rubin's rules, and those of draws at one estimate.

They take the mean `within` of the covariances, the covariance `between` of the estimates, both
(k, k), the number `m` of tables, and the degrees of freedom that a complete table would leave.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.special import exp1, gamma, gammaincc

from em_impute.gaussian.arrays import Floats

Rules = Literal["rubin", "ml", "scores"]
RULES = ("rubin", "ml", "scores")
# Degrees of freedom of the rules for ML draws are at least these, as their authors have them.
LEAST_DF = 3.0


def by_rubin(
    within: Floats, between: Floats, m: int, complete_df: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Total covariance, degrees of freedom, FMI and RIV (Rubin 1987; Barnard & Rubin 1999)."""
    total = within + (1.0 + 1.0 / m) * between
    extra = (1.0 + 1.0 / m) * between.diagonal()
    share = extra / total.diagonal()
    with np.errstate(divide="ignore"):
        df = (m - 1) / share**2
        if math.isfinite(complete_df):
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1.0 - share)
            # The harmonic sum, whose first part may be infinite.
            df = 1.0 / (1.0 / df + 1.0 / observed)
        riv = extra / within.diagonal()
        fmi = np.where(np.isfinite(riv), (riv + 2.0 / (df + 3.0)) / (1.0 + riv), 1.0)
    return total, df, fmi, riv


def by_ml(
    within: Floats, between: Floats, m: int, complete_df: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """The same for tables drawn at one estimate: the within-between rule (von Hippel 2021).

    There the covariance of the estimates tends to ``W (I - W^-1 B)^-1``. A fraction of missing
    information that is estimated from few tables may be above 1, and is shrunk to below it.
    """
    root = np.linalg.cholesky(within)
    inverse = np.linalg.inv(root)
    # W^-1 B has these eigenvalues.
    missing, vectors = np.linalg.eigh(inverse @ between @ inverse.T)
    shrunk = np.array([_shrunk(max(0.0, float(x)), m - 1) for x in missing])
    side = root @ vectors
    at_maximum = (side / (1.0 - shrunk)) @ side.T
    total = at_maximum + between / m
    of_each = within.diagonal() / at_maximum.diagonal()
    fmi = 1.0 - of_each
    with np.errstate(divide="ignore", invalid="ignore"):
        of_maximum = (m - 1) * (of_each / fmi) ** 2 - 4.0
        parts = at_maximum.diagonal() ** 2 / of_maximum + (between.diagonal() / m) ** 2 / (m - 1)
        df = np.where(of_maximum > 0, total.diagonal() ** 2 / parts, 0.0)
        if math.isfinite(complete_df):
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * of_each
            df = 1.0 / (1.0 / df + 1.0 / observed)
    return total, np.maximum(df, LEAST_DF), fmi, total.diagonal() / within.diagonal() - 1.0


def by_scores(within: Floats, total: Floats, complete_df: float) -> tuple[Floats, Floats, Floats]:
    """Degrees of freedom, FMI and RIV where the total covariance is known from the rows."""
    riv = np.maximum(total.diagonal() / within.diagonal() - 1.0, 0.0)
    fmi = riv / (1.0 + riv)
    df = (complete_df + 1) / (complete_df + 3) * complete_df * (1.0 - fmi)
    if not math.isfinite(complete_df):
        df = np.full(len(fmi), math.inf)
    return np.maximum(df, LEAST_DF), fmi, riv


def _shrunk(fraction: float, df: int) -> float:
    """A fraction of missing information below 1: the mean of its distribution, truncated there.

    With the upper incomplete gamma function ``G`` it is ``x G(df/2 - 1, x) / G(df/2, x)``,
    ``x = df fraction / 2``.
    """
    x, a = df * fraction / 2.0, df / 2.0
    if not x:
        return 0.0
    upper, lower = (gammaincc(k, x) if a > 1.0 else _upper_gamma(k, x) for k in (a, a - 1.0))
    if not (upper and lower):
        # Far out in the tail, where both are as good as 0.
        return (x - a + 1.0) / (x - a + 2.0)
    return min(x * lower / upper / (a - 1.0 if a > 1.0 else 1.0), 1.0 - 1e-12)


def _upper_gamma(a: float, x: float) -> float:
    """The upper incomplete gamma function, for -1 < a <= 1."""
    if a > 0.0:
        return float(gamma(a) * gammaincc(a, x))
    if a == 0.0:
        return float(exp1(x))
    return float((gamma(a + 1.0) * gammaincc(a + 1.0, x) - x**a * math.exp(-x)) / a)
