"""A mixture with missing cells, beside scikit-learn's and beside the one Gaussian.

``python -m benchmarks.mixture`` prints, measured in turns in one process: what an iteration takes
beside scikit-learn's on the table without holes; what a fit takes beside scikit-learn's on the
table filled with means; the memory beyond the table; how well hidden cells are foreseen, by the
continuous ranked probability score of a mixture, of 1 Gaussian; and how often BIC takes Gaussian
rows for one component.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from benchmarks.cases import SEED
from em_impute import EMMixture

Floats = NDArray[np.float64]

ROWS, COLUMNS, COMPONENTS, MISSING = 100_000, 10, 3, 0.1
ITERATIONS = 10
HIDDEN = 0.2


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixture", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5, help="turns, of which medians are shown")
    parser.add_argument("--seeds", type=int, default=20, help="tables on which BIC is tried")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    whole = grouped(np.random.default_rng(SEED), options.rows, COLUMNS, COMPONENTS)
    holed = with_holes(np.random.default_rng(SEED), whole, MISSING)
    print("| | em_impute, CPU s | scikit-learn, CPU s | ratio | goal |\n|---|---|---|---|---|")
    compare("an iteration", 0.6, options.rounds, *iterations(holed, whole))
    for tol in (1e-3, 1e-6):
        compare(f"a fit, tol={tol:g}", 1.0, options.rounds, *fits(holed, tol))
    memory(holed)
    print("\n| hidden cells of | mixture, CRPS | one Gaussian | lower by | goal |")
    print("|---|---|---|---|---|")
    for name, table in tables():
        foreseen(name, table)
    one_component(options.seeds)


def grouped(rng: np.random.Generator, n: int, p: int, k: int) -> Floats:
    """Rows of k Gaussians with covariances of their own."""
    label = rng.integers(k, size=n)
    factors = rng.normal(size=(k, p, p)) / 2 + np.eye(p)
    X = 1.5 * rng.normal(size=(k, p))[label]
    for g in range(k):
        X[label == g] += rng.normal(size=(np.count_nonzero(label == g), p)) @ factors[g].T
    return X


def with_holes(rng: np.random.Generator, X: Floats, share: float) -> Floats:
    """A copy with some of the cells missing, completely at random."""
    return np.where(rng.random(X.shape) < share, np.nan, X)


def compare(
    name: str, goal: float, rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> None:
    """Print the medians of two that take turns, after each has been called once."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    one, other = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    print(f"| {name} | {one:.3f} | {other:.3f} | {one / other:.2f} | {goal} |", flush=True)


def iterations(holed: Floats, whole: Floats) -> tuple[Callable[[], float], Callable[[], float]]:
    """CPU seconds of one iteration, as the difference of two fits of which one takes more."""

    def ours() -> float:
        few, many = (EMMixture(COMPONENTS, tol=0, max_iter=1 + n, **START) for n in (0, ITERATIONS))
        return (_cpu(many, holed) - _cpu(few, holed)) / (many.n_iter_ - few.n_iter_)

    def theirs() -> float:
        few, many = (
            GaussianMixture(COMPONENTS, tol=0, max_iter=1 + n, **START_OF_SCIKIT_LEARN)
            for n in (0, ITERATIONS)
        )
        return (_cpu(many, whole) - _cpu(few, whole)) / (many.n_iter_ - few.n_iter_)

    rng = np.random.default_rng(SEED)
    means = whole[rng.choice(len(whole), COMPONENTS, replace=False)]
    START = {
        "means_init": means,
        "weights_init": np.full(COMPONENTS, 1 / COMPONENTS),
        "precisions_init": np.array([np.diag(1 / whole.var(axis=0))] * COMPONENTS),
    }
    START_OF_SCIKIT_LEARN = {**START, "init_params": "random_from_data"}
    return ours, theirs


def fits(holed: Floats, tol: float) -> tuple[Callable[[], float], Callable[[], float]]:
    """CPU seconds of a whole fit from one start, scikit-learn's on the table filled with means."""
    filled = np.where(np.isnan(holed), np.nanmean(holed, axis=0), holed)
    options: dict[str, Any] = {"tol": tol, "n_init": 1, "max_iter": 10_000, "random_state": 0}
    return (
        lambda: _cpu(EMMixture(COMPONENTS, **options), holed),
        lambda: _cpu(GaussianMixture(COMPONENTS, **options), filled),
    )


def _cpu(estimator: Any, X: Floats) -> float:
    # More BLAS threads than idle cores would only spin.
    with threadpool_limits(1):
        before = time.process_time()
        estimator.fit(X)
        return time.process_time() - before


def memory(holed: Floats) -> None:
    """Print the most that a fit holds beyond the table, in numbers of 8 bytes."""
    tracemalloc.start()
    EMMixture(COMPONENTS, n_init=1, max_iter=5, random_state=0).fit(holed)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    share = most / 8 / (len(holed) * COMPONENTS)
    print(f"\nmemory beyond the table: {share:.2f} x rows x components numbers (goal: 4)")


def tables() -> Iterator[tuple[str, Floats]]:
    """Penguins without their species, three groups, and a banana."""
    rng = np.random.default_rng(SEED)
    measures = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    yield "penguins", pd.read_csv("data/penguins.csv")[measures].dropna().to_numpy()
    yield "three groups", grouped(rng, 1_000, 5, 3)
    x = 1.5 * rng.normal(size=1_000)
    yield "banana", np.column_stack([x, x**2 + 0.5 * rng.normal(size=1_000)])


def foreseen(name: str, whole: Floats) -> None:
    """Print the mean CRPS of hidden cells over ten ways to hide a fifth of them, in sds."""
    scores = []
    for seed in range(10):
        holed = with_holes(np.random.default_rng(seed), whole, HIDDEN)
        holed = holed[~np.isnan(holed).all(axis=1)]
        kept = whole[~np.isnan(with_holes(np.random.default_rng(seed), whole, HIDDEN)).all(axis=1)]
        scores.append(
            [crps(EMMixture(k, random_state=seed).fit(holed), holed, kept) for k in ("bic", 1)]
        )
    mixture, one = np.mean(scores, axis=0)
    print(f"| {name} | {mixture:.4f} | {one:.4f} | {1 - mixture / one:.1%} | 10% |", flush=True)


def crps(mixture: EMMixture, holed: Floats, whole: Floats) -> float:
    """Mean continuous ranked probability score of the hidden cells, in their columns' sds."""
    share, scores = mixture.predict_proba(holed), []
    sd = whole.std(axis=0)
    for x, shown, r, truth in zip(holed, ~np.isnan(holed), share, whole, strict=True):
        for j in np.flatnonzero(~shown):
            means, sds = [], []
            for mean, S in zip(mixture.means_, mixture.covariances_, strict=True):
                slope = np.linalg.solve(S[np.ix_(shown, shown)], S[shown, j])
                means.append(mean[j] + slope @ (x[shown] - mean[shown]))
                sds.append(np.sqrt(S[j, j] - slope @ S[shown, j]))
            scores.append(crps_of_mixture(truth[j], r, np.array(means), np.array(sds)) / sd[j])
    return float(np.mean(scores))


def crps_of_mixture(y: float, weights: Floats, means: Floats, sds: Floats) -> float:
    """``E|X - y| - E|X - X'| / 2`` of a mixture of normals (Grimit et al. 2006)."""

    def expected(mean: Floats, sd: Floats) -> Floats:
        z = mean / sd
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        distance: Floats = 2 * sd * density + mean * (2 * ndtr(z) - 1)
        return distance

    apart = expected(means[:, None] - means, np.hypot(sds[:, None], sds))
    return float(weights @ expected(y - means, sds) - weights @ apart @ weights / 2)


def one_component(seeds: int) -> None:
    """Print in how many tables of one Gaussian, a fifth of its cells missing, BIC finds one."""
    found = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        X = with_holes(rng, grouped(rng, 300, 4, 1), HIDDEN)
        found += EMMixture("bic", random_state=seed).fit(X).n_components_ == 1
    print(f"\nBIC finds one component in {found} of {seeds} Gaussian tables (goal: 19 of 20)")


if __name__ == "__main__":
    main()
