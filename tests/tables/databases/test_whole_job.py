"""Many rows from PostgreSQL to PostgreSQL by the whole job, whatever is killed meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import WriteJob
from holed_tables import factor_table
from postgres_server import PostgresServer
from servers import PrefectServer

ROWS, COLUMNS = 300_000, 10
LOADING = (
    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' "
    "AND (query LIKE 'COPY%' OR query LIKE 'INSERT INTO %')"
)
# What of the table may not change, and what has to: sums of observed cells, and holes.
OBSERVED = (
    "SELECT count(*), " + ", ".join(f"sum(s.x{j} - f.x{j})" for j in range(COLUMNS)) + " "
    "FROM source s JOIN filled f USING (id)"
)
HOLES = "SELECT count(*) FROM filled WHERE " + " OR ".join(f"x{j} IS NULL" for j in range(COLUMNS))


@pytest.mark.timeout(600)
def test_many_rows_are_published_once(
    prefect_server: PrefectServer, postgres: PostgresServer, write_job: WriteJob
) -> None:
    """First the worker is killed in the middle of the load, then, under the next, the server."""
    cells = enumerate(factor_table(ROWS, COLUMNS, 0.1, seed=1).T)
    holed = {f"x{j}": pa.array(column, from_pandas=True) for j, column in cells}
    table = pa.table({"id": np.arange(ROWS), **holed})
    with postgres.session() as cursor:
        cursor.adbc_ingest("source", table.to_reader(), mode="create")
        cursor.execute("CREATE TABLE filled AS SELECT * FROM source WHERE id < 3")
    job = write_job(
        source={"url": postgres.url, "table": "source"},
        columns={"key": ["id"]},
        target={"url": postgres.url, "table": "filled"},
    )

    worker = start(job, prefect_server)
    wait_for_load(postgres, worker)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert postgres.run("SELECT id FROM filled ORDER BY id") == [(0,), (1,), (2,)]

    worker = start(job, prefect_server)
    wait_for_load(postgres, worker)
    postgres.crash()
    assert postgres.run("SELECT id FROM filled ORDER BY id") == [(0,), (1,), (2,)]
    said, _ = worker.communicate(timeout=300)
    assert worker.returncode == 0, said

    assert postgres.run(HOLES) == [(0,)]
    [(rows, *differences)] = postgres.run(OBSERVED)
    assert (rows, set(differences)) == (ROWS, {0.0})
    recorded = "SELECT target, rows FROM em_impute_runs WHERE target = 'filled'"
    assert postgres.run(recorded) == [("filled", ROWS)]


def start(job: Path, server: PrefectServer) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from em_impute.cli.main import main; main()", "run", job],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_load(postgres: PostgresServer, worker: subprocess.Popen[str]) -> None:
    """Return while the rows are being loaded."""
    while postgres.run(LOADING) == [(0,)]:
        assert worker.poll() is None, worker.communicate()[0]
        time.sleep(0.02)
