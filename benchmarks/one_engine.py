"""One engine of `benchmarks.scale`, alone in a process: ENGINE SOURCE FOLDER.

Dask's processes are started, and rows are in their database, before the clock is.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.scaling import peak_megabytes
from em_impute.job import Job
from em_impute.runs import steps
from em_impute.tables.engines import ADDRESS
from em_impute.tables.run_folder import open_run_folder


def main(engine: str, source: str, folder: str) -> None:
    """Print seconds of fit and fill, peaks of memory, and a digest of the answer, if it has one."""
    workers = int(engine.split()[0]) if engine.endswith("workers") else None
    places = {"source": {"path": source}, "target": {"path": f"{folder}/out.parquet"}}
    if engine == "sql":
        places = in_duckdb(source, folder)
    name = "dask" if workers else engine
    options = {"name": f"scale_{workers or engine}", "self_test": "off", "engine": name}
    job = Job.model_validate(options | places)
    with ExitStack() as cluster:
        client = None
        if workers:
            from distributed import Client, LocalCluster

            started = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            cluster.enter_context(started)
            client = cluster.enter_context(Client(started))
            os.environ[ADDRESS] = started.scheduler_address
        run = open_run_folder(Path(folder), job.name, "run")
        table = steps.load(job, run)
        begin = time.perf_counter()
        fitted = steps.fit(job, table, run)
        middle, after_fit = time.perf_counter(), peak_megabytes()
        staged = steps.fill(job, table, fitted, run)
        end = time.perf_counter()
        digest = hashlib.sha256(run.model.read_bytes() + staged.sha256.encode()).hexdigest()[:8]
        if engine == "sql":
            digest = "equal_to_rounding"  # its digest is that of a sample
        peaks = client.run(peak_megabytes).values() if client else [0.0]
    memory = (f"{peak:.0f}" for peak in (after_fit, peak_megabytes(), max(peaks)))
    print(middle - begin, end - middle, *memory, digest)


def in_duckdb(source: str, folder: str) -> dict[str, dict[str, str]]:
    """Source and target of a job whose table is in a file of DuckDB, which is made elsewhere."""
    path = f"{folder}/scale.duckdb"
    make = (
        f"import duckdb; duckdb.connect({path!r}).execute("
        f"\"CREATE TABLE holed AS FROM read_parquet('{source}')\")"
    )
    subprocess.run([sys.executable, "-c", make], check=True, stdout=subprocess.DEVNULL)
    url = f"duckdb:///{path}"
    return {"source": {"url": url, "table": "holed"}, "target": {"url": url, "table": "filled"}}


if __name__ == "__main__":
    main(*sys.argv[1:])
