"""Tests of missing completely at random: how often they reject where it holds, and where not.

``python -m benchmarks.mcar`` makes tables of 200 rows and 5 columns, three of which have 20% of
their cells missing, and prints how often Little's and Aleksić's test reject at 5%.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from em_impute import aleksic_mcar_test, little_mcar_test

Floats = NDArray[np.float64]

ROWS, COLUMNS, HOLED, MISSING, LEVEL = 200, 5, 3, 0.2, 0.05
DISTRIBUTIONS = ("normal", "log-normal", "t with 5 degrees of freedom")
# What missingness depends on: nothing, a complete column, or a column that has holes itself.
MECHANISMS = ("nothing", "a complete column", "a column with holes")


def simulated(rng: np.random.Generator, distribution: str, mechanism: str) -> Floats:
    """A table with correlations of 0.5; the first two columns are complete."""
    covariance = np.full((COLUMNS, COLUMNS), 0.5) + 0.5 * np.eye(COLUMNS)
    Z = rng.standard_normal((ROWS, COLUMNS)) @ np.linalg.cholesky(covariance).T
    driver = {"nothing": 0.0 * Z[:, 0], "a complete column": Z[:, 0]}.get(mechanism, Z[:, 2])
    slope = 0.4
    chance = ndtr(
        ndtri(MISSING) * np.sqrt(1.0 + slope**2 * (mechanism != "nothing")) + slope * driver
    )
    holes = rng.random((ROWS, HOLED)) < chance[:, None]
    if mechanism == "a column with holes":
        # It is missing itself by chance alone.
        holes[:, 0] = rng.random(ROWS) < MISSING
    X = Z.copy()
    if distribution == "log-normal":
        X = np.exp(Z)
    elif distribution.startswith("t "):
        X = Z / np.sqrt(rng.chisquare(5, (ROWS, 1)) / 5)
    X[:, COLUMNS - HOLED :][holes] = np.nan
    return X


def main() -> None:
    """Print the shares of rejections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000, help="tables of each kind")
    tables = parser.parse_args().tables
    print(f"{tables} tables of each kind, {ROWS} x {COLUMNS}: rejected at {LEVEL:.0%}")
    print("| columns | missing by | Little | Aleksić |\n| :--- | :--- | ---: | ---: |")
    for distribution in DISTRIBUTIONS:
        for mechanism in MECHANISMS:
            rng = np.random.default_rng(1)
            rejected = np.zeros(2)
            for _ in range(tables):
                X = simulated(rng, distribution, mechanism)
                p_values = little_mcar_test(X).p_value, aleksic_mcar_test(X).p_value
                rejected += np.array(p_values) < LEVEL
            little, aleksic = rejected / tables
            print(f"| {distribution} | {mechanism} | {little:.1%} | {aleksic:.1%} |", flush=True)


if __name__ == "__main__":
    main()
