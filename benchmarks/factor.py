"""A factor model with missing cells, beside scikit-learn's and beside low-rank completion.

``python -m benchmarks.factor`` prints what a fit of a wide table takes; how well hidden cells are
foreseen, beside singular values that are shrunk (softImpute) and, of 200 columns, beside chained
regressions (IterativeImputer); and the log-likelihoods for each row that scikit-learn's
`FactorAnalysis` and `PCA`, and the one Gaussian, reach.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next one importable
from sklearn.impute import IterativeImputer
from sklearn.preprocessing import scale
from sklearn.utils.extmath import randomized_svd

from benchmarks.cases import SEED
from em_impute import EMFactor, fit_gaussian

Floats = NDArray[np.float64]

MISSING = 0.1
# Of the observed cells, what softImpute chooses its penalty by.
SET_ASIDE = 0.1
PENALTIES = 0.5 ** np.arange(1, 9)
SOFT_STEPS, SOFT_TOL = 200, 1e-5


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.factor", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--columns", type=int, default=3_000)
    parser.add_argument("--parts", default="fit,cells,likelihoods")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    parts = options.parts.split(",")
    if "fit" in parts:
        wide(options.rows, options.columns)
    if "cells" in parts:
        hidden_cells()
    if "likelihoods" in parts:
        likelihoods()


def factor_table(rng: np.random.Generator, n: int, p: int, k: int, noise: float = 1.0) -> Floats:
    """Rows of k factors of unlike strength, columns of unlike noise."""
    loadings = rng.normal(size=(k, p)) * np.linspace(1.0, 0.3, k)[:, None]
    X = rng.normal(size=(n, k)) @ loadings
    return X + noise * rng.normal(size=(n, p)) * rng.uniform(0.5, 1.5, p)


def with_holes(rng: np.random.Generator, X: Floats, share: float) -> Floats:
    """A copy with some of the cells missing, completely at random."""
    return np.where(rng.random(X.shape) < share, np.nan, X)


def wide(n: int, p: int) -> None:
    """Print what fits of a wide table take, and what the process has held at most."""
    rng = np.random.default_rng(SEED)
    X = with_holes(rng, factor_table(rng, n, p, 10), MISSING)
    EMFactor(1).fit(X[:20, :10])  # loads the compiler
    print(f"{n:,} x {p:,}, {MISSING:.0%} missing, 10 factors\n")
    print("| factors | seconds | CPU s | evaluations | peak memory, GB |\n|---|---|---|---|---|")
    for k in (10, "bic"):
        wall, cpu = time.perf_counter(), time.process_time()
        factor = EMFactor(k).fit(X)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found = f"{k}, {factor.n_components_} found" if k == "bic" else k
        print(f"| {found} | {wall:.1f} | {cpu:.1f} | {factor.n_iter_} | {most:.2f} |", flush=True)


def hidden_cells() -> None:
    """Print root mean squared errors of hidden cells, in their columns' standard deviations."""
    rng = np.random.default_rng(SEED)
    tables = {
        "500 x 200, 8 factors": factor_table(rng, 500, 200, 8),
        "300 x 200, t noise": factor_table(rng, 300, 200, 5) + 0.5 * rng.standard_t(3, (300, 200)),
        "breast cancer, 569 x 30": load_breast_cancer().data,
        "200 x 2,000, expression-like": expression(rng, 200, 2_000),
    }
    print("\n| hidden cells of | EMFactor (factors) | isotropic | softImpute | IterativeImputer |")
    print("|---|---|---|---|---|")
    for name, whole in tables.items():
        holed = with_holes(rng, whole, MISSING)
        factor = EMFactor("bic").fit(holed)
        ppca = EMFactor("bic", noise="isotropic")
        spread = np.nanstd(holed, axis=0)
        chained = "-"
        if whole.shape[1] <= 200:
            filled = IterativeImputer(max_iter=10, random_state=0).fit_transform(holed)
            chained = f"{rmse(filled, holed, whole):.4f}"
        ours = rmse(factor.impute(holed), holed, whole)
        alike = rmse(ppca.fit(holed / spread).impute(holed / spread) * spread, holed, whole)
        soft = rmse(soft_impute(np.random.default_rng(0), holed), holed, whole)
        print(
            f"| {name} | {ours:.4f} ({factor.n_components_}) | {alike:.4f} | {soft:.4f} | "
            f"{chained} |",
            flush=True,
        )


def expression(rng: np.random.Generator, n: int, p: int) -> Floats:
    """Logarithms of counts of genes, of which programmes that samples follow move some hundreds."""
    programmes = rng.gamma(1.0, 1.0, size=(n, 6))
    loadings = rng.normal(size=(6, p)) * (rng.random((6, p)) < 0.2)
    level = rng.normal(3.0, 1.5, size=p)
    rate = np.exp(np.clip(level + 0.5 * programmes @ loadings, None, 9.0))
    return np.log1p(rng.poisson(rng.gamma(10.0, rate / 10.0)))


def rmse(filled: Floats, holed: Floats, whole: Floats) -> float:
    """Of the hidden cells, each in its column's observed standard deviations."""
    hidden, sd = np.isnan(holed), np.nanstd(holed, axis=0)
    errors = ((filled - whole) / np.where(sd > 0, sd, 1.0))[hidden]
    return float(np.sqrt(np.mean(errors**2)))


def soft_impute(rng: np.random.Generator, holed: Floats) -> Floats:
    """Singular values of the standardised table shrunk until they agree with what is observed.

    Mazumder, Hastie & Tibshirani (2010), from large penalties to small ones, each begun where the
    one before ended; the penalty is that which foresees a tenth of the observed cells best.
    """
    mean, sd = np.nanmean(holed, axis=0), np.nanstd(holed, axis=0)
    Z = (holed - mean) / np.where(sd > 0, sd, 1.0)
    aside = ~np.isnan(Z) & (rng.random(Z.shape) < SET_ASIDE)
    largest = float(np.linalg.norm(np.nan_to_num(Z), 2))
    errors, low_rank = [], np.zeros_like(Z)
    shown = np.where(aside, np.nan, Z)
    for penalty in PENALTIES:
        low_rank = shrunk(shown, low_rank, penalty * largest)
        errors.append(np.mean((low_rank - Z)[aside] ** 2))
    low_rank = np.zeros_like(Z)
    for penalty in PENALTIES[: int(np.argmin(errors)) + 1]:
        low_rank = shrunk(Z, low_rank, penalty * largest)
    return np.where(np.isnan(holed), mean + sd * low_rank, holed)


def shrunk(Z: Floats, low_rank: Floats, penalty: float) -> Floats:
    """The fixed point of filling `Z` by a table of low rank, and shrinking the filled one."""
    most = min(100, *Z.shape)
    for _ in range(SOFT_STEPS):
        filled = np.where(np.isnan(Z), low_rank, Z)
        left, singular, right = randomized_svd(filled, most, n_iter=4, random_state=0)
        following = (left * np.maximum(singular - penalty, 0.0)) @ right
        change = np.linalg.norm(following - low_rank) / max(np.linalg.norm(low_rank), 1e-9)
        low_rank = following
        if change < SOFT_TOL:
            break
    return low_rank


def likelihoods() -> None:
    """Print log-likelihoods for each row of complete tables, and of one with holes."""
    print("\n| log-likelihood for each row | em_impute | the other | higher by |")
    print("|---|---|---|---|")
    digits = load_digits().data
    digits = digits[:, digits.std(axis=0) > 1.0]
    for name, X in (
        ("wine", scale(load_wine().data)),
        ("breast cancer", scale(load_breast_cancer().data)),
        ("digits", scale(digits)),
    ):
        for k in (2, 5):
            theirs = FactorAnalysis(k, tol=1e-8, max_iter=20_000, svd_method="lapack").fit(X)
            ours = EMFactor(k).fit(X)
            held = f", {ours.held_.sum()} held" if ours.held_.any() else ""
            compare(f"{name}, {k} factors, FactorAnalysis{held}", ours.score(X), theirs.score(X))
            ppca = EMFactor(k, noise="isotropic").fit(X)
            compare(f"{name}, {k} factors, PCA", ppca.score(X), PCA(k).fit(X).score(X))
    rng = np.random.default_rng(SEED)
    X = with_holes(rng, factor_table(rng, 1_000, 20, 5), MISSING)
    gaussian = fit_gaussian(X, tol=1e-8).loglik / len(X)
    for noise in ("diagonal", "isotropic"):
        ours = EMFactor(19, noise=noise, tol=1e-8).fit(X)
        compare(
            f"20 columns with holes, 19 factors, {noise}, the Gaussian", ours.score(X), gaussian
        )


def compare(name: str, ours: float, theirs: float) -> None:
    """Print one line of the table."""
    print(f"| {name} | {ours:.6f} | {theirs:.6f} | {ours - theirs:+.1e} |", flush=True)


if __name__ == "__main__":
    main()
