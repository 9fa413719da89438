"""Tables with holes, made or read, and how far models of them are apart: what tests share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from em_impute.gaussian import GaussianModel

REFERENCE = Path(__file__).parent / "reference"

# Murray (1977): two maxima, at correlations of plus and minus a half, and a saddle between them.
MURRAY = np.array(
    [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    + 2 * [[2, np.nan], [-2, np.nan], [np.nan, 2], [np.nan, -2]],
    dtype=float,
)


@dataclass(frozen=True)
class Reference:
    """A data set and the maximum-likelihood answer of other programs."""

    name: str
    columns: tuple[str, ...]
    X: NDArray[np.float64]
    mean: NDArray[np.float64] | None
    covariance: NDArray[np.float64] | None
    loglik: float | None


def reference(name: str) -> Reference:
    """Read tests/reference/NAME.csv and NAME.json."""
    answer = json.loads((REFERENCE / f"{name}.json").read_text())
    X = np.genfromtxt(REFERENCE / f"{name}.csv", delimiter=",", skip_header=1)
    known = answer["mean"] is not None
    return Reference(
        name,
        tuple(answer["columns"]),
        X,
        np.array(answer["mean"]) if known else None,
        np.array(answer["cov"]) if known else None,
        answer["loglik"],
    )


def factor_table(
    n: int, p: int, missing: float, seed: int, noise: float = 0.5
) -> NDArray[np.float64]:
    """Rows of a model with p/4 factors, cells missing completely at random."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(p, max(1, p // 4)))
    X = rng.normal(size=(n, loadings.shape[1])) @ loadings.T + noise * rng.normal(size=(n, p))
    X += 5 * rng.normal(size=p)
    X[rng.random(X.shape) < missing] = np.nan
    return X


@st.composite
def tables(draw: st.DrawFn) -> NDArray[np.float64]:
    """Tables with an interior maximum: clearly more rows than columns, at most a third missing."""
    p = draw(st.integers(2, 5))
    n = draw(st.integers(12 * p, 40 * p))
    missing = draw(st.floats(0.0, 0.3))
    return factor_table(n, p, missing, draw(st.integers(0, 2**32 - 1)))


def distance(a: GaussianModel, b: GaussianModel) -> float:
    """Largest difference of a mean in sds of `b`, or of a covariance in correlation units."""
    return max(
        np.abs((a.mean - b.mean) / b.sd).max(),
        np.abs((a.covariance - b.covariance) / np.outer(b.sd, b.sd)).max(),
    )
