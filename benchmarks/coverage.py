"""Do 95% intervals hold the truth 95 times in 100? Simulated tables, missing at random.

``python -m benchmarks.coverage`` makes 1,000 tables of 200 rows and 5 columns, 30% of the cells of
four of them missing by what the fifth shows, and prints for each road how often its interval of a
mean, a correlation and a slope holds the true value, and how wide it is. Listwise deletion, which
is off where cells are missing at random, stands beside them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as t_distribution

from em_impute import fit_gaussian, multiply_impute, pool
from em_impute.gaussian import ConvergenceWarning
from em_impute.multiple import POSTERIORS

Floats = NDArray[np.float64]
Interval = tuple[float, float]

ROWS, COLUMNS, MISSING, IMPUTATIONS = 200, 5, 0.3, 20
TRUE_MEAN = 1.0
QUANTITIES = ("mean", "correlation", "slope")
LEVEL = 0.95


def true_covariance() -> Floats:
    """Correlations between 0.3 and 0.6, and one negative."""
    loadings = np.array([0.8, 0.7, 0.75, 0.6, -0.5])
    covariance = np.outer(loadings, loadings)
    np.fill_diagonal(covariance, 1.0)
    return covariance


def truth() -> dict[str, float]:
    """Of the second column: its mean, its correlation with the third, its slope on the others."""
    S = true_covariance()
    slopes = np.linalg.solve(S[2:4, 2:4], S[2:4, 1])
    return {"mean": TRUE_MEAN, "correlation": S[1, 2], "slope": float(slopes[0])}


def simulated(rng: np.random.Generator) -> Floats:
    """A table whose cells are missing by what the first column shows, which is always seen."""
    X = TRUE_MEAN + rng.standard_normal((ROWS, COLUMNS)) @ np.linalg.cholesky(true_covariance()).T
    steepness, holes = 1.5, np.zeros(X.shape, dtype=bool)
    for j in range(1, COLUMNS):
        sign = 1.0 if j % 2 else -1.0
        odds = steepness * sign * (X[:, 0] - TRUE_MEAN)
        # The constant that makes the share right for a normal first column, on average.
        level = norm.ppf(MISSING) * np.sqrt(1.0 + steepness**2)
        holes[:, j] = rng.random(ROWS) < norm.cdf(odds + level)
    X[holes] = np.nan
    return X


def analysis(table: Floats) -> tuple[Floats, Floats, list[str], Floats]:
    """The three estimates, the correlation as Fisher's z, their covariance, and how rows move them.

    The rules for draws at one estimate need the last.
    """
    n, x, y = len(table), table[:, 1], table[:, 2]
    A = np.column_stack([np.ones(n), table[:, 2:4]])
    inverse = np.linalg.inv(A.T @ A)
    coefficients = inverse @ A.T @ x
    residual = x - A @ coefficients
    u, v = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    r = float((u * v).mean())
    influence = np.column_stack(
        [
            x - x.mean(),
            (u * v - r * (u**2 + v**2) / 2.0) / (1.0 - r**2),
            n * residual * (A @ inverse[1]),
        ]
    )
    estimates = np.array([x.mean(), np.arctanh(r), coefficients[1]])
    covariance = influence.T @ influence / n / (n - 3)
    return estimates, covariance, list(QUANTITIES), influence / n


def by_observed_information(X: Floats) -> Iterator[Interval]:
    """From the fit, without imputing."""
    result = fit_gaussian(X)
    table = result.estimates(LEVEL, columns=["x1", "x2"]).set_index("parameter")
    for parameter in ("mean of x1", "correlation of x1 and x2"):
        yield table.loc[parameter, "conf_low"], table.loc[parameter, "conf_high"]
    slope = result.regress("x1", ["x2", "x3"], LEVEL).coefficients.iloc[1]
    yield slope.conf_low, slope.conf_high


def by_imputation(X: Floats, posterior: str, seed: int) -> Iterator[Interval]:
    """From several tables, pooled by the rules of their road."""
    result = fit_gaussian(X)
    tables = multiply_impute(X, IMPUTATIONS, result=result, posterior=posterior, seed=seed)  # type: ignore[arg-type]
    pooled = pool(analysis, tables, complete_df=ROWS - 3).table(LEVEL)
    for row in pooled.itertuples():
        turned = np.tanh if row.term == "correlation" else float
        yield float(turned(row.conf_low)), float(turned(row.conf_high))


def by_complete_rows(X: Floats) -> Iterator[Interval]:
    """Listwise deletion."""
    table = X[~np.isnan(X).any(axis=1)]
    estimates, covariance, terms, _ = analysis(table)
    for term, estimate, variance in zip(terms, estimates, covariance.diagonal(), strict=True):
        df = np.inf if term == "correlation" else len(table) - (1 if term == "mean" else 3)
        half = t_distribution.ppf((1 + LEVEL) / 2, df) * np.sqrt(variance)
        turned = np.tanh if term == "correlation" else float
        yield float(turned(estimate - half)), float(turned(estimate + half))


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    every = ["observed information", *POSTERIORS, "complete rows"]
    parser.add_argument("--roads", nargs="+", choices=every, default=every, metavar="ROAD")
    options = parser.parse_args()
    roads = options.roads
    held, width, spent = {}, {}, dict.fromkeys(roads, 0.0)
    for road in roads:
        held[road], width[road] = np.zeros(3), np.zeros(3)
    known = truth()
    for number in range(options.tables):
        X = simulated(np.random.default_rng([options.seed, number]))
        for road in roads:
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                if road == "observed information":
                    intervals = list(by_observed_information(X))
                elif road == "complete rows":
                    intervals = list(by_complete_rows(X))
                else:
                    intervals = list(by_imputation(X, road, number))
            spent[road] += time.perf_counter() - began
            for k, (quantity, (low, high)) in enumerate(zip(QUANTITIES, intervals, strict=True)):
                held[road][k] += low <= known[quantity] <= high
                width[road][k] += high - low
    print(f"{options.tables} tables, seed {options.seed}, m = {IMPUTATIONS}; coverage (mean width)")
    print("| road | " + " | ".join(QUANTITIES) + " | ms a table |")
    print("|---|" + "---|" * 4)
    for road in roads:
        shares, widths = held[road] / options.tables, width[road] / options.tables
        cells = (f"{share:.1%} ({w:.3f})" for share, w in zip(shares, widths, strict=True))
        print(f"| {road} | {' | '.join(cells)} | {1e3 * spent[road] / options.tables:.0f} |")


if __name__ == "__main__":
    main()
