"""What EM's progress artifact costs a fit: ``python -m benchmarks.progress [--seconds ...]``.

The same fit, of a fixed number of iterations, is made with the artifact and without in turns, by a
task of a flow as in a job. The server is that of `PREFECT_API_URL`, or one that Prefect starts.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from benchmarks.cases import SEED, at_random, factor_table
from em_impute import PatternSummary, fit_gaussian
from em_impute.gaussian import ConvergenceWarning, Iteration
from em_impute.plugin import artifacts
from em_impute.tables import progress

ROWS, COLUMNS, MISSING = 1_000, 60, 0.5
MOST_SHARE = 0.02


def main() -> None:
    """Print seconds and CPU seconds with and without, and the share that the artifact takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a fit takes")
    parser.add_argument("--rounds", type=int, default=5, help="fits of each kind")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    measure(options.seconds, options.rounds)


@flow
def measure(seconds: float, rounds: int) -> None:
    """Find how many iterations fit the time, and make the fits in turns."""
    rng = np.random.default_rng(SEED)
    X = factor_table(rng, ROWS, COLUMNS)
    X[at_random(MISSING)(rng, X)] = np.nan
    summary = PatternSummary.from_array(X)
    few = 50
    fit(summary, few, shown=False)
    iterations = int(few * seconds / fit(summary, few, shown=False)[0])
    taken: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    print(f"| {iterations} iterations | seconds | CPU seconds | called, ms |")
    print("|---|---|---|---|")
    for number in range(rounds):
        for shown in (number % 2 == 0, number % 2 == 1):
            wall, cpu, called = fit(summary, iterations, shown)
            taken[shown].append((wall, cpu))
            name = "with" if shown else "without"
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {1000 * called:.1f} |", flush=True)
    for which, name in enumerate(("time", "CPU time")):
        with_it, without = (statistics.median(t[which] for t in taken[s]) for s in (True, False))
        print(f"{name}: {with_it / without - 1:+.2%} (goal: at most {MOST_SHARE:.0%})")


@task(cache_policy=NO_CACHE)
def fit(summary: PatternSummary, iterations: int, shown: bool) -> tuple[float, float, float]:
    """Seconds and CPU seconds of all threads for one fit, and seconds that its loop was held up."""
    tell, held_up = progress.iterations(1e-6), 0.0

    def timed(iteration: Iteration) -> None:
        nonlocal held_up
        start = time.perf_counter()
        tell(iteration)
        held_up += time.perf_counter() - start

    on_iteration: Callable[[Iteration], None] = timed
    wall, cpu = time.perf_counter(), time.process_time()
    with artifacts.em_progress("benchmark-em") if shown else nullcontext():
        fit_gaussian(
            summary,
            tol=1e-15,
            max_iter=iterations,
            acceleration="none",
            on_iteration=on_iteration,
        )
    return time.perf_counter() - wall, time.process_time() - cpu, held_up


if __name__ == "__main__":
    main()
