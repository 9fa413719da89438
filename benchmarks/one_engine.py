"""One engine of `benchmarks.scale`, alone in a process: ENGINE SOURCE FOLDER.

Dask's processes are started before the clock is.
"""

from __future__ import annotations

import hashlib
import os
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
    """Print seconds of fit and fill, peaks of memory, and a digest of the answer."""
    workers = None if engine == "local" else int(engine.split()[0])
    job = Job.model_validate(
        {
            "name": f"scale_{workers or 'local'}",
            "source": {"path": source},
            "target": {"path": f"{folder}/out.parquet"},
            "self_test": "off",
            "engine": "dask" if workers else "local",
        }
    )
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
        middle = time.perf_counter()
        staged = steps.fill(job, table, fitted, run)
        end = time.perf_counter()
        digest = hashlib.sha256(run.model.read_bytes() + staged.sha256.encode()).hexdigest()[:8]
        peaks = client.run(peak_megabytes).values() if client else [0.0]
    print(middle - begin, end - middle, f"{peak_megabytes():.0f}", f"{max(peaks):.0f}", digest)


if __name__ == "__main__":
    main(*sys.argv[1:])
