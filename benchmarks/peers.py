"""The tools that are compared, each run alone in a process of its own on the same arrays.

`measure` starts such a process; ``python -m benchmarks.peers TOOL FOLDER SECONDS`` is one. It
loads the arrays, fits a small table to warm up, then fits until so many seconds are spent, and
prints the median time of a fit as one line of JSON. `peers.R` does the same for the tools in R.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.cases import Floats

HERE = Path(__file__).parent
R_TOOLS = ("Amelia", "mice", "norm", "lavaan")
TOOLS = ("em_impute", "np.cov", "EMImputer", "IterativeImputer", *R_TOOLS)
# Short fits are repeated within a process until this many seconds are spent, or nine times.
ENOUGH_SECONDS, MOST_FITS = 1.0, 9
# BLAS threads fight where small products meet busy cores: two threads made IterativeImputer ten
# times slower. So every tool but ours is tried with one thread and with its default (None).
BLAS_THREADS = (1, None)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Run:
    """One process of a tool: median seconds of its fits, or why there are none."""

    seconds: float | None
    note: str
    threads: int | None = None


@dataclass(frozen=True)
class Fitted:
    """What a Python tool made, and the seconds it took; the filled table if it makes one itself."""

    seconds: float
    mean: Floats
    covariance: Floats
    note: str = ""
    filled: Floats | None = None


def write_arrays(folder: Path, complete: Floats, holes: Floats) -> None:
    """Put the arrays where the processes find them, as doubles, row after row."""
    complete.tofile(folder / "complete.f64")
    holes.tofile(folder / "holes.f64")
    (folder / "shape.txt").write_text("{} {}\n".format(*holes.shape))


def read_estimate(folder: Path, tool: str, p: int) -> tuple[Floats, Floats]:
    """The mean (p,) and covariance (p, p) that a tool left behind."""
    numbers = np.fromfile(folder / f"{tool}.f64")
    return numbers[:p], numbers[p:].reshape(p, p)


@cache
def missing_reason(tool: str) -> str | None:
    """Why a tool cannot be run here, or None."""
    if tool in FITS:
        return None
    if shutil.which("Rscript") is None:
        return "not installed: no Rscript"
    found = subprocess.run(["Rscript", "-e", f"packageVersion('{tool}')"], capture_output=True)
    # Debian has packages of all but norm.
    where = "CRAN" if tool == "norm" else f"Debian: r-cran-{tool.lower()}"
    return None if found.returncode == 0 else f"not installed: no {tool} in R ({where})"


def thread_settings(tool: str) -> tuple[int | None, ...]:
    """Numbers of BLAS threads that a tool is tried with; ours as its users get it."""
    return (None,) if tool in ("em_impute", "EMImputer") else BLAS_THREADS


def measure(tool: str, folder: Path, limit: float, threads: int | None) -> Run:
    """Run a tool in a process of its own, for at most `limit` seconds."""
    command = (
        ["Rscript", "--vanilla", str(HERE / "peers.R")]
        if tool in R_TOOLS
        else [sys.executable, "-m", "benchmarks.peers"]
    )
    command += [tool, str(folder), str(ENOUGH_SECONDS)]
    environment = dict(os.environ)
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit,
            cwd=HERE.parent,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Run(None, f"> {limit:g} s", threads)
    if done.returncode:
        return Run(None, f"failed: {_last_line(done.stderr)}", threads)
    said = json.loads(_last_line(done.stdout))
    return Run(said["seconds"], said["note"], threads)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def fit_em_impute(holes: Floats) -> Fitted:
    """Summary and fit, nothing beyond the estimate."""
    from em_impute import PatternSummary, fit_gaussian

    begin = time.perf_counter()
    summary = PatternSummary.from_array(holes)
    summarised = time.perf_counter() - begin
    result = fit_gaussian(summary, tol=1e-6)
    seconds = time.perf_counter() - begin
    note = f"{result.status.value}, {len(result.trace)} evaluations; summary {summarised:.3g} s"
    return Fitted(seconds, result.model.mean, result.model.covariance, note)


def fit_iterative_imputer(holes: Floats) -> Fitted:
    """scikit-learn's defaults: ten rounds of BayesianRidge; its estimate is its filled table's."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    imputer = IterativeImputer()
    begin = time.perf_counter()
    filled = imputer.fit_transform(holes)
    seconds = time.perf_counter() - begin
    return Fitted(
        seconds,
        filled.mean(axis=0),
        np.cov(filled, rowvar=False, bias=True),
        f"{imputer.n_iter_} rounds; of the filled table",
        filled,
    )


def fill_by_em_imputer(holes: Floats) -> Fitted:
    """What users call: fitted and filled, at the defaults, with the check for a saddle."""
    from em_impute import EMImputer

    imputer = EMImputer()
    begin = time.perf_counter()
    filled = imputer.fit_transform(holes)
    seconds = time.perf_counter() - begin
    model = imputer.result_.model
    return Fitted(seconds, model.mean, model.covariance, "fit_transform", filled)


def fit_complete(complete: Floats) -> Fitted:
    """The covariance without holes: the unit of what missingness costs."""
    begin = time.perf_counter()
    covariance = np.cov(complete, rowvar=False)
    seconds = time.perf_counter() - begin
    return Fitted(seconds, complete.mean(axis=0), covariance, "no holes")


FITS: dict[str, Callable[[Floats], Fitted]] = {
    "em_impute": fit_em_impute,
    "EMImputer": fill_by_em_imputer,
    "IterativeImputer": fit_iterative_imputer,
    "np.cov": fit_complete,
}


def main(tool: str, folder: Path, enough: float) -> None:
    """Fit, time, leave the estimate behind."""
    warnings.simplefilter("ignore")
    n, p = (int(number) for number in (folder / "shape.txt").read_text().split())
    table = "complete.f64" if tool == "np.cov" else "holes.f64"
    X = np.fromfile(folder / table).reshape(n, p)
    fit = FITS[tool]
    small = np.random.default_rng(2).normal(size=(60, 3))
    small[:10, 1] = 0.0 if tool == "np.cov" else np.nan
    fit(small)
    seconds: list[float] = []
    while not seconds or (sum(seconds) < enough and len(seconds) < MOST_FITS):
        fitted = fit(X)
        seconds.append(fitted.seconds)
    np.concatenate([fitted.mean, fitted.covariance.ravel()]).tofile(folder / f"{tool}.f64")
    if fitted.filled is not None:
        fitted.filled.tofile(folder / f"{tool}.filled.f64")
    print(json.dumps({"seconds": float(np.median(seconds)), "note": fitted.note}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
