"""How em_impute itself behaves: with more rows, with all patterns distinct, by acceleration method.

Each function measures and yields lines of a table for `run.py`. Growing tables are measured each in
a process of its own, because of the peak memory: ``python -m benchmarks.scaling ROWS`` is one.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import SEED, Bools, Case, Floats, at_random, factor_table
from em_impute import PatternSummary, fit_gaussian
from em_impute.gaussian.acceleration import METHODS
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.threads import one_blas_thread

# Rows of the growing table; its patterns are always the same.
ROWS = (100_000, 1_000_000, 10_000_000)
COLUMNS, PATTERNS = 12, 700
CHUNK_ROWS = 1_000_000
# Plain EM is given as many evaluations as it may need.
PLAIN_EVALUATIONS = 50_000


def by_rows(sizes: Sequence[int]) -> Iterator[list[object]]:
    """Time of a summary and of an E-step, and peak memory, as the rows grow."""
    first: dict[str, float] | None = None
    for n in sizes:
        command = [sys.executable, "-m", "benchmarks.scaling", str(n)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        seen = json.loads(done.stdout)
        first = first or seen
        yield [
            f"{n:,}",
            seen["patterns"],
            f"{seen['summary']:.4f}",
            f"{seen['summary'] / first['summary'] / (n / sizes[0]):.2f}",
            f"{seen['peak']:.0f}",
            f"{1000 * seen['e_step']:.3f}",
            f"{seen['e_step'] / first['e_step']:.2f}",
        ]


BY_ROWS_HEAD = [
    f"rows, of {COLUMNS} columns",
    "patterns",
    "summary, s",
    "per row, relative",
    "peak beyond input, MB",
    "E-step, ms",
    "relative",
]


def all_distinct(n: int, p: int, share: float) -> Iterator[list[object]]:
    """One E-step and a whole fit where nearly every row has a pattern of its own."""
    complete, holes = Case("wide", "", n, p, at_random(share)).make()
    del complete
    fit_gaussian(holes[:100, :2])  # the first fit of a process loads the compiled loops
    summarised, summary = timed(lambda: PatternSummary.from_array(holes))
    fitted, result = timed(lambda: fit_gaussian(summary, tol=1e-6))
    one = e_step_seconds(summary, repeats=5)
    yield [
        f"{n:,} x {p}, {share:.0%}",
        f"{len(summary.counts):,}",
        f"{summarised:.2f}",
        f"{one:.3f}",
        len(result.trace),
        f"{fitted:.2f}",
        f"{fitted / one:.1f}",
        result.status.value,
    ]


ALL_DISTINCT_HEAD = [
    "case",
    "patterns",
    "summary, s",
    "E-step, s",
    "evaluations",
    "fit, s",
    "fit in E-steps",
    "status",
]


def in_products(case: Case, goal: float) -> Iterator[list[object]]:
    """An E-step beside the two matrix products that complete rows would need, in CPU seconds.

    By turns, and the least of seven: those of all threads say more than the clock on busy cores.
    """
    complete, holes = case.make()
    summary = PatternSummary.from_array(holes)
    columns = Standardisation.of(summary)
    rows = WeightedRows.of(summary, columns.varying, columns.centre, columns.scale)
    mean, covariance = np.zeros(case.p), np.eye(case.p)
    seconds = np.empty((8, 2))
    with one_blas_thread():
        for turn in seconds:  # the first one warms up
            begin = time.process_time()
            e_step(rows, mean, covariance)
            stepped = time.process_time()
            _ = complete @ covariance, complete.T @ complete
            turn[:] = stepped - begin, time.process_time() - stepped
    one, products = seconds[1:].min(axis=0)
    yield [
        case.title,
        f"{len(summary.counts):,}",
        f"{one:.4f}",
        f"{products:.4f}",
        f"{one / products:.2f}",
        goal,
    ]


IN_PRODUCTS_HEAD = [
    "case",
    "patterns",
    "E-step, CPU s",
    "X K and X^T X, CPU s",
    "E-step / products",
    "goal",
]


def by_method(case: Case) -> Iterator[list[object]]:
    """Evaluations of the EM map, final log-likelihood and status of each acceleration method."""
    _, holes = case.make()
    summary = PatternSummary.from_array(holes)
    for method in METHODS:
        options: dict[str, Any] = {"tol": 1e-6, "acceleration": method}
        if method == "none":
            options["max_iter"] = PLAIN_EVALUATIONS
        seconds, result = timed(partial(fit_gaussian, summary, **options))
        yield [
            case.title,
            method,
            len(result.trace),
            f"{result.loglik:.6f}",
            result.status.value,
            f"{seconds:.3f}",
            "" if result.converged else result.message,
        ]


BY_METHOD_HEAD = ["case", "method", "evaluations", "log-likelihood", "status", "seconds", "said"]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returned; not reaching a maximum is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        result = function()
        return time.perf_counter() - begin, result


def e_step_seconds(summary: PatternSummary, repeats: int) -> float:
    """Median time of an E-step at the observed means and variances, uncorrelated."""
    columns = Standardisation.of(summary)
    rows = WeightedRows.of(summary, columns.varying, columns.centre, columns.scale)
    mean, covariance = np.zeros(summary.n_columns), np.eye(summary.n_columns)
    return median_seconds(lambda: e_step(rows, mean, covariance), repeats)


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, after one to warm up."""
    return float(np.median([timed(function)[0] for _ in range(repeats + 1)][1:]))


def growing_table(n: int) -> Floats:
    """So many rows with the same patterns, in equal shares, whatever `n` is."""
    rng = np.random.default_rng(SEED)
    patterns: Bools = np.zeros((0, COLUMNS), dtype=bool)
    while len(patterns) < PATTERNS:
        drawn = rng.random((PATTERNS, COLUMNS)) < 0.25
        patterns = np.unique(np.vstack([patterns, drawn[~drawn.all(axis=1)]]), axis=0)
    patterns = rng.permutation(patterns)[:PATTERNS]
    table = np.empty((n, COLUMNS))
    for at in range(0, n, CHUNK_ROWS):
        part = table[at : at + CHUNK_ROWS]
        part[:] = factor_table(np.random.default_rng([SEED, at]), len(part), COLUMNS)
        part[patterns[rng.permutation(len(part)) % PATTERNS]] = np.nan
    return table


def main(n: int) -> None:
    """Measure at `n` rows and print one line of JSON."""
    PatternSummary.from_array(growing_table(5_000))
    table = growing_table(n)
    before = resident_megabytes()
    forget_peak()
    summary = PatternSummary.from_array(table)
    peak = peak_megabytes() - before
    print(
        json.dumps(
            {
                "patterns": len(summary.counts),
                "peak": peak,
                "summary": median_seconds(lambda: PatternSummary.from_array(table), repeats=3),
                "e_step": e_step_seconds(summary, repeats=25),
            }
        )
    )


def resident_megabytes() -> float:
    """Memory of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def forget_peak() -> None:
    """Let the peak begin anew from here (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Largest memory of this process since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main(int(sys.argv[1]))
