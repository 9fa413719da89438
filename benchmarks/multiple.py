"""What multiple imputation costs: a sweep as the rows grow, against R's programs, and in batches.

    python -m benchmarks.multiple sweeps          1e5, 1e6 and 1e7 rows of the same patterns
    python -m benchmarks.multiple peers           100,000 x 20 beside Amelia and mice
    python -m benchmarks.multiple batches         1,000,000 x 10, twenty times, a batch at a time

Times are CPU seconds, of all threads: on busy cores the others compare little.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.cases import CASES, Floats
from benchmarks.peers import missing_reason, write_arrays
from benchmarks.run import conditions, show
from benchmarks.scaling import (
    ROWS,
    forget_peak,
    growing_table,
    peak_megabytes,
    resident_megabytes,
)
from em_impute import PatternSummary, fit_gaussian, multiply_impute
from em_impute.gaussian.augmentation import Prior, augment
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.threads import one_blas_thread

HERE = Path(__file__).parent
IMPUTATIONS, BATCH_ROWS, BLOCKS, SWEEPS = 20, 100_000, 7, 50
# The peers' imputations are so many; they should take so many times as long.
OWN_ROUNDS = 3
PEERS = {"Amelia": 50, "mice": 20}


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def sweeps() -> Iterator[list[object]]:
    """A sweep of data augmentation and an E-step, as the rows grow."""
    first = None
    for n in ROWS:
        summary = PatternSummary.from_array(growing_table(n))
        columns = Standardisation.of(summary)
        rows = WeightedRows.of(summary, columns.varying, columns.centre, columns.scale)
        at = columns.standardise(fit_gaussian(summary).model)
        sweep, expected = timed_in_turns(rows, at)
        first = first or sweep
        yield [
            f"{n:,}",
            len(summary.counts),
            f"{1000 * sweep:.3f}",
            f"{sweep / first:.2f}",
            1.3,
            f"{sweep / expected:.2f}",
            2,
        ]


SWEEPS_HEAD = ["rows", "patterns", "sweep, CPU ms", "relative", "goal", "in E-steps", "goal"]


def timed_in_turns(rows: WeightedRows, at: tuple[Floats, Floats]) -> tuple[float, float]:
    """The least CPU seconds of a sweep and of an E-step, over blocks of many that take turns."""
    with one_blas_thread():
        chain = augment(rows, at, Prior(), [1])
        blocks = [
            (
                cpu_seconds(lambda: [next(chain) for _ in range(SWEEPS)]),
                cpu_seconds(lambda: [e_step(rows, *at) for _ in range(SWEEPS)]),
            )
            for _ in range(BLOCKS + 1)
        ][1:]
    sweep, expected = np.min(blocks, axis=0) / SWEEPS
    return float(sweep), float(expected)


def peers() -> Iterator[list[object]]:
    """Twenty imputations of 100,000 x 20, from the array to the last table, and those of R."""
    [case] = [case for case in CASES if case.key == "100k-20"]
    complete, holes = case.make()
    multiply_impute(holes[:200, :4], 2)  # the first of a process loads the compiled loops

    def own() -> float:
        return float(
            np.median(
                [
                    cpu_seconds(lambda: [None for _ in multiply_impute(holes, IMPUTATIONS)])
                    for _ in range(OWN_ROUNDS)
                ]
            )
        )

    before = own()
    yield ["em_impute, m = 20", f"{before:.2f}", 1, ""]
    with tempfile.TemporaryDirectory() as name:
        write_arrays(Path(name), complete, holes)
        for tool, goal in PEERS.items():
            if reason := missing_reason(tool):
                yield [tool, reason, "", goal]
                continue
            command = ["Rscript", "--vanilla", str(HERE / "multiple.R"), tool, name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
            # A machine that others use is faster and slower by turns: ours on both sides of theirs.
            before, after = own(), before
            ours = (before + after) / 2
            yield [tool, f"{seconds:.2f}", f"{seconds / ours:.1f}", goal]
            yield ["em_impute again", f"{before:.2f}", 1, ""]


PEERS_HEAD = ["tool", "CPU s", "x em_impute", "goal"]


def batches() -> Iterator[list[object]]:
    """Twenty imputations of 1,000,000 x 10, a batch of rows at a time, against one fill."""
    [case] = [case for case in CASES if case.key == "1m-10"]
    table = case.make()[1]
    starts = range(0, len(table), BATCH_ROWS)
    result = fit_gaussian(table)

    def each(fill: Callable[[Floats, Floats], object]) -> float:
        return cpu_seconds(
            lambda: [
                fill(table[at : at + BATCH_ROWS], np.arange(at, at + BATCH_ROWS)) for at in starts
            ]
        )

    model = result.model
    by_mean = min(each(lambda rows, _: model.impute(rows)) for _ in range(2))
    by_draw = min(each(lambda rows, keys: model.draw(rows, 1, keys)) for _ in range(2))
    before = resident_megabytes()
    forget_peak()
    begin = time.process_time()
    imputation = multiply_impute(table, IMPUTATIONS, result=result)
    posterior = time.process_time() - begin
    several = each(lambda rows, keys: [None for _ in imputation.of(rows, keys)])
    yield [
        f"{by_mean:.2f}",
        f"{by_draw:.2f}",
        f"{posterior:.2f}",
        f"{several:.2f}",
        f"{(posterior + several) / by_draw:.1f}",
        f"{(posterior + several) / by_mean:.1f}",
        25,
        f"{peak_megabytes() - before:.0f}",
    ]


BATCHES_HEAD = [
    "one fill by means, CPU s",
    "one by a draw",
    "20 models of the posterior",
    "20 fills",
    "all / one draw",
    "all / one fill by means",
    "goal",
    "peak beyond table, MB",
]

PARTS = {
    "sweeps": ("A sweep of data augmentation", SWEEPS_HEAD, sweeps),
    "peers": ("Twenty imputations of 100,000 x 20, 5%", PEERS_HEAD, peers),
    "batches": ("Twenty imputations of 1,000,000 x 10, 10%, in batches", BATCHES_HEAD, batches),
}

if __name__ == "__main__":
    print("\n".join(conditions()), flush=True)
    for part in sys.argv[1:] or PARTS:
        title, head, lines = PARTS[part]
        show(title, head, lines())
