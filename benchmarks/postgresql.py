"""From PostgreSQL to PostgreSQL: time and memory of reading, imputing and publishing a big table.

    WAREHOUSE_URL=postgresql://... python benchmarks/postgresql.py 1000000

makes the tables em_impute_bench and em_impute_bench_filled in that database, with 10 columns.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import adbc_driver_postgresql.dbapi
import numpy as np
import pyarrow as pa

from em_impute.gaussian import fit_gaussian
from em_impute.job import DatabaseSource, DatabaseTarget, FromEnvironment, Job
from em_impute.tables import sources, summarise, targets
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import open_run_folder

COLUMNS, BATCH = 10, 50_000
Result = TypeVar("Result")


def batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Correlated columns with an id; a tenth of the cells of four of them are missing."""
    rng = np.random.default_rng(1)
    loadings = rng.normal(size=(3, COLUMNS - 1))
    for first in range(0, rows, BATCH):
        n = min(BATCH, rows - first)
        X = rng.normal(size=(n, 3)) @ loadings + rng.normal(size=(n, COLUMNS - 1))
        X[:, :4][rng.random((n, 4)) < 0.1] = np.nan
        columns = {f"x{i}": pa.array(X[:, i], from_pandas=True) for i in range(COLUMNS - 1)}
        yield pa.record_batch({"id": pa.array(range(first, first + n)), **columns})


def timed(what: str, step: Callable[[], Result]) -> Result:
    """Take a step, and print its seconds and the most memory so far."""
    began = time.perf_counter()
    result = step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:<20} {time.perf_counter() - began:7.1f} s   peak {peak:6.0f} MB", flush=True)
    return result


def make(rows: int) -> None:
    """Load the table to read."""
    with (
        adbc_driver_postgresql.dbapi.connect(os.environ["WAREHOUSE_URL"]) as connection,
        connection.cursor() as cursor,
    ):
        stream = batches(rows)
        reader = pa.RecordBatchReader.from_batches(next(batches(1)).schema, stream)
        cursor.adbc_ingest("em_impute_bench", reader, mode="replace")
        connection.commit()


def main(rows: int) -> None:
    """Run the steps of a job one by one."""
    url = FromEnvironment(env="WAREHOUSE_URL")
    job = Job(
        name="bench",
        source=DatabaseSource(url=url, table="em_impute_bench"),
        target=DatabaseTarget(url=url, table="em_impute_bench_filled"),
        columns={"key": ["id"]},
    )
    timed("make", lambda: make(rows))
    with tempfile.TemporaryDirectory() as root:
        folder = open_run_folder(Path(root), job.name, f"{time.time()}")
        snapshot = timed(
            "read", lambda: sources.take_snapshot(job.source, folder.snapshot, job.batch_rows)
        )
        roles = assign_roles(snapshot, job)
        summary = timed("summarise", lambda: summarise.summarise(snapshot, roles.model_columns))
        model = timed("fit", lambda: fit_gaussian(summary)).model
        staged = timed("fill", lambda: fill(snapshot, model, roles, job.target, folder))
        run = folder.path.name
        timed("publish", lambda: targets.publish(staged, job.target, run))
        timed("publish once more", lambda: targets.publish(staged, job.target, run))


if __name__ == "__main__":
    main(int(sys.argv[1]))
