"""A whole job on tables beyond memory: ``python -m benchmarks.large [--rows ...] [--folder ...]``.

Each size is generated in portions, run by the real flow in a process of its own, and timed by the
start and end of its Prefect tasks. The smallest size's target is compared, bit by bit, with
`GaussianModel.impute` on the whole table in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import NOISE_SD, SEED, Floats
from benchmarks.scaling import peak_megabytes

ROWS = (1_000_000, 10_000_000)
COLUMNS, FACTORS, MISSING = 20, 5, 0.05
ROW_GROUP = 250_000
NAMES = [f"x{j:02}" for j in range(COLUMNS)]
# The goals: peak resident memory, and time per row against the smallest size.
MOST_MEGABYTES, MOST_PER_ROW = 1_500, 1.3


def main() -> None:
    """Run the job at each size and print a table of steps, times and memory."""
    options = parse()
    print("| rows | file, MB | steps, s | in all, s | us per row | relative | peak, MB |")
    print("|---|---|---|---|---|---|---|")
    first = 0.0
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="em_impute-large-") as name:
        for number, rows in enumerate(sorted(options.rows)):
            folder = Path(name, str(rows))
            size = write_table(folder / "in.parquet", rows)
            seen = run_job(folder)
            per_row = seen["seconds"] / rows * 1e6
            first = first or per_row
            print(
                f"| {rows:,} | {size / 1e6:,.0f} | {steps_in_words(seen['steps'])} "
                f"| {seen['seconds']:.1f} | {per_row:.1f} | {per_row / first:.2f} "
                f"| {seen['peak']:,.0f} |",
                flush=True,
            )
            if number == 0:
                print(compared_in_memory(folder), file=sys.stderr, flush=True)
            for table in folder.glob("*.parquet"):
                table.unlink()
    print(f"\nGoals: a peak below {MOST_MEGABYTES:,} MB; relative time at most {MOST_PER_ROW}.")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="sizes, smallest first")
    parser.add_argument("--folder", type=Path, help="where there is room (default: TMPDIR)")
    return parser.parse_args()


def write_table(path: Path, rows: int) -> int:
    """Write a factor model's table with cells missing at random; return the file's bytes."""
    path.parent.mkdir()
    loadings = np.random.default_rng(SEED).normal(size=(FACTORS, COLUMNS)) / np.sqrt(FACTORS)
    schema = pa.schema([("id", pa.int64()), *((name, pa.float64()) for name in NAMES)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROW_GROUP):
            part = portion(start, min(ROW_GROUP, rows - start), loadings)
            columns = [pa.array(column, from_pandas=True) for column in part.T]
            number = pa.array(np.arange(start, start + len(part)))
            writer.write_batch(pa.RecordBatch.from_arrays([number, *columns], schema=schema))
    return path.stat().st_size


def portion(start: int, rows: int, loadings: Floats) -> Floats:
    """The rows from number `start` on, NaN where missing."""
    rng = np.random.default_rng([SEED, start])
    table: Floats = rng.normal(size=(rows, FACTORS)) @ loadings + np.arange(COLUMNS)
    table += NOISE_SD * rng.normal(size=table.shape)
    table[rng.random(table.shape) < MISSING] = np.nan
    return table


def run_job(folder: Path) -> dict[str, Any]:
    """Run the job of `folder` in a process of its own, with a Prefect home of its own."""
    between = {"column": NAMES[0], "min_value": -1000, "max_value": 1000}
    checks = [
        {"expect_table_row_count_to_be_between": {"min_value": 1}},
        {"expect_column_values_to_be_between": between},
    ]
    job = {
        "name": "large",
        "source": {"path": str(folder / "in.parquet")},
        "columns": {"key": ["id"]},
        "checks": {"input": checks, "output": checks},
        "target": {"path": str(folder / "out.parquet")},
    }
    (folder / "job.yaml").write_text(json.dumps(job))  # JSON is YAML
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
    }
    command = [sys.executable, "-c", "from benchmarks.large import flow; flow()", str(folder)]
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        )
    if done.returncode:
        sys.exit(f"The job failed:\n{(folder / 'log').read_text()[-4000:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def flow() -> None:
    """Run the job of a folder as `em-impute run` does; print its steps and memory as JSON."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    from em_impute.flows.impute import impute
    from em_impute.job import load_job

    folder = Path(sys.argv[-1])
    state = impute(load_job(folder / "job.yaml"), folder / "runs", return_state=True)
    peak = peak_megabytes()
    flow_run = state.state_details.flow_run_id
    if not state.is_completed() or flow_run is None:
        sys.exit(state.message)
    with get_client(sync_client=True) as client:
        of_this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        tasks = client.read_task_runs(flow_run_filter=of_this)
    steps = [
        (task.task_key.split("-")[0], task.total_run_time.total_seconds())
        for task in sorted(tasks, key=lambda task: task.start_time or task.expected_start_time)
    ]
    seconds = sum(seconds for _, seconds in steps)
    print(json.dumps({"peak": peak, "steps": steps, "seconds": seconds}))


def steps_in_words(steps: Sequence[tuple[str, float]]) -> str:
    """Each step with its seconds."""
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps)


def compared_in_memory(folder: Path) -> str:
    """Say whether the target is, to the bit, what the same model makes of the table in memory."""
    from em_impute import GaussianModel

    (model,) = folder.glob("runs/large/*/model.json")
    before, after = (
        np.column_stack([pq.read_table(folder / name, columns=[x])[x].to_numpy() for x in NAMES])
        for name in ("in.parquet", "out.parquet")
    )
    expected = GaussianModel.load(model).impute(before)
    same = np.array_equal(expected.view(np.int64), np.ascontiguousarray(after).view(np.int64))
    return (
        f"{len(before):,} rows: {'equal, bit by bit, to' if same else 'NOT'} the answer in memory"
    )


if __name__ == "__main__":
    main()
