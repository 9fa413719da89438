"""A job beside what it is compared with: by hand in Python, and an empty flow of Prefect.

    python -m benchmarks.whole_job [--rows 1000000] [--rounds 3]

First the steps of a job on a Parquet file of 10 columns, from loading to the report, beside reading
the file, fitting, filling and writing it by hand; both in one process, in turns, after a round that
does not count. Then, as programs from start to end, a job on 10,000 rows with Prefect and with
``--direct``, beside a flow that does nothing; all with a temporary server of their own, where
they have one. Medians, by the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import Case, at_random
from em_impute import fit_gaussian
from em_impute.flows.direct import run_directly
from em_impute.job import load_job
from em_impute.runs.run import Run

COLUMNS, MISSING = 10, 0.1
FEW = 10_000
# The goals: seconds and ratio of the steps; seconds beyond an empty flow, and of a direct run.
MOST_SECONDS, MOST_RATIO, MOST_BEYOND, MOST_DIRECT = 6.0, 2.5, 4.0, 6.0
EMPTY_FLOW = "from prefect import flow\n\n@flow\ndef empty():\n    pass\n\nempty()\n"
JOB = "name: whole\nsource: {path: in.parquet}\ntarget: {path: out.parquet}\n"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_job", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room (default: TMPDIR)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, chdir(name):
        Path("job.yaml").write_text(JOB)
        make(options.rows)
        steps_beside_hand(options.rounds)
        make(FEW)
        programs_beside_an_empty_flow(options.rounds, Path(name))


def make(rows: int) -> None:
    """Write a table with a tenth of its cells missing."""
    _, X = Case("", "", rows, COLUMNS, at_random(MISSING)).make()
    columns = {f"x{j}": pa.array(X[:, j], from_pandas=True) for j in range(COLUMNS)}
    pq.write_table(pa.table(columns), "in.parquet")


def by_hand() -> None:
    """Read, fit, fill and write the table."""
    table = pq.read_table("in.parquet")
    X = np.column_stack([column.to_numpy() for column in table.columns])
    filled = fit_gaussian(X).model.impute(X)
    columns = zip(table.column_names, filled.T, strict=True)
    pq.write_table(pa.table(dict(columns)), "hand.parquet")


def steps_beside_hand(rounds: int) -> None:
    """Print the seconds of each step, of all, and of doing it by hand."""
    job, steps, hand = load_job(Path("job.yaml")), defaultdict[str, list[float]](list), []
    for number in range(rounds + 1):
        with noted() as seconds:
            run_directly(job)
        took = timed(by_hand)
        if number:
            hand.append(took)
            for name, value in seconds.items():
                steps[name].append(value)
    whole = median(map(sum, zip(*steps.values(), strict=True)))
    print("| step | s |\n|---|---|")
    for name, values in steps.items():
        print(f"| {name} | {median(values):.2f} |")
    print(f"| all steps (at most {MOST_SECONDS:g}) | {whole:.2f} |")
    print(f"| by hand | {median(hand):.2f} |")
    print(f"| ratio (at most {MOST_RATIO:g}) | {whole / median(hand):.1f} |\n")


@contextmanager
def noted() -> Iterator[dict[str, float]]:
    """The seconds of the steps of a run."""
    seconds: dict[str, float] = {}
    step = Run.step

    @contextmanager
    def noting(run: Run, name: str) -> Iterator[None]:
        began = time.perf_counter()
        with step(run, name):
            yield
        seconds[name] = time.perf_counter() - began

    with patch.object(Run, "step", noting):
        yield seconds


def timed(function: Callable[[], None]) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def programs_beside_an_empty_flow(rounds: int, home: Path) -> None:
    """Print the seconds of a flow that does nothing, of a job, and of a direct run."""
    job = ["-m", "em_impute", "run", "job.yaml"]
    programs = {"empty flow": ["-c", EMPTY_FLOW], "run": job, "run --direct": [*job, "--direct"]}
    hidden = {"PYTHONDONTWRITEBYTECODE", "PREFECT_API_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PREFECT_HOME"] = str(home / "prefect")
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
    taken = defaultdict[str, list[float]](list)
    for number in range(rounds + 1):
        for name, arguments in programs.items():
            command = [sys.executable, *arguments]

            def program(command: list[str] = command) -> None:
                subprocess.run(command, env=environment, capture_output=True, check=True)

            took = timed(program)
            if number:
                taken[name].append(took)
    empty, run, direct = (median(taken[name]) for name in programs)
    print("| program | s |\n|---|---|")
    print(f"| an empty flow | {empty:.1f} |")
    print(f"| em-impute run (at most {MOST_BEYOND:g} more) | {run:.1f} |")
    print(f"| em-impute run --direct (at most {MOST_DIRECT:g}) | {direct:.1f} |")


if __name__ == "__main__":
    main()
