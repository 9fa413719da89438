"""A table of DuckDB filled where it is, against load, fit, fill, check, publish by a job's steps.

    python -m benchmarks.in_database [--rows 1000000 10000000] [--folder ...]

Each way is a process of its own, on the same file of 10 columns; its memory is the most that it
held beyond its imports, and DuckDB's, which is part of the process. The filled tables are compared
in the database.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.scaling import peak_megabytes

ROWS, COLUMNS, FACTORS = (1_000_000,), 10, 3
NAMES = [f"x{j}" for j in range(COLUMNS)]
# The goals: how many times as fast, and memory beyond imports in MB.
LEAST_RATIO, MOST_MEGABYTES = 3.0, 500


def main() -> None:
    """Fill tables of each size in both ways and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_database", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--folder", type=Path, help="where there is room (default: TMPDIR)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.way, options.folder)))
        return
    print("| rows | way | steps, s | in all, s | of processors, s | memory beyond imports, MB |")
    print("|---|---|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            make(Path(folder), rows)
            seconds = [show(rows, way, Path(folder)) for way in WAYS]
            print(f"\n{rows:,} rows, against engine: local:")
            for way, took in zip(WAYS, seconds, strict=True):
                most = apart(Path(folder), way)
                print(f"{way}: {seconds[0] / took:.1f} times as fast, cells apart by {most:.1e}")
            print(flush=True)
    print(f"Goals: {LEAST_RATIO:g} times as fast; below {MOST_MEGABYTES} MB.")


def make(folder: Path, rows: int) -> None:
    """A factor model's table, a tenth of its cells missing."""
    factors = ", ".join(
        f"sqrt(-2 * ln(1 - random())) * cos(6.2832 * random()) AS f{k}" for k in range(FACTORS)
    )
    cells = ", ".join(
        f"CASE WHEN random() > 0.1 THEN f{j % FACTORS} + 0.5 * f{(j + 1) % FACTORS} + "
        f"0.8 * (random() + random() + random() - 1.5) + {j} END AS x{j}"
        for j in range(COLUMNS)
    )
    with duckdb.connect(str(folder / "bench.duckdb")) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            f"CREATE TABLE holed AS SELECT id, {cells} "
            f"FROM (SELECT range AS id, {factors} FROM range({rows}))"
        )


def show(rows: int, way: str, folder: Path) -> float:
    """Run one way in a process of its own; print its line, and return its seconds."""
    command = [sys.executable, "-m", "benchmarks.in_database", "--way", way, "--folder", folder]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    steps, seconds = seen["steps"], sum(seen["steps"].values())
    words = ", ".join(f"{name} {took:.1f}" for name, took in steps.items())
    took = f"{seconds:.1f} | {seen['cpu']:.1f}"
    print(f"| {rows:,} | {way} | {words} | {took} | {seen['memory']:,.0f} |", flush=True)
    return float(seconds)


def measured(way: str, folder: Path) -> dict[str, object]:
    """Seconds of each step, and megabytes beyond what the imports took."""
    steps = WAYS[way](f"duckdb:///{folder.absolute()}/bench.duckdb", folder, way)
    next(steps)
    held, before, seconds, began = peak_megabytes(), time.perf_counter(), {}, time.process_time()
    for name in steps:
        now = time.perf_counter()
        seconds[name], before = now - before, now
    cpu = time.process_time() - began
    return {"steps": seconds, "cpu": cpu, "memory": peak_megabytes() - held}


def in_database(url: str, _: Path, way: str) -> Iterator[str]:
    """Sum up, fit and fill without a row on the way."""
    from em_impute import fill_in_database, fit_gaussian, summarise_in_database

    yield "imports"
    summary = summarise_in_database(url, "holed", NAMES)
    yield "summarise"
    model = fit_gaussian(summary).model
    yield "fit"
    fill_in_database(url, "holed", model, into=way)
    yield "fill"


def by_steps(url: str, folder: Path, way: str) -> Iterator[str]:
    """Load, fit, fill, check and publish, as a run does; without self-test and report."""
    from em_impute.job import Job
    from em_impute.runs import steps
    from em_impute.tables import targets
    from em_impute.tables.run_folder import RunFolder

    yield "imports"
    job = Job.model_validate(
        {
            "name": "bench",
            "source": {"url": url, "table": "holed"},
            "columns": {"impute": NAMES, "predictors": [], "key": ["id"]},
            "target": {"url": url, "table": way},
            "engine": way,
        }
    )
    run = RunFolder(folder / way / "run")
    run.path.mkdir(parents=True)
    table = steps.load(job, run)
    yield "load"
    fitted = steps.fit(job, table, run)
    yield "fit"
    staged = steps.fill(job, table, fitted, run)
    yield "fill"
    refusal = steps.check_output(job, table, fitted, staged).refusal
    assert refusal is None, refusal
    yield "check"
    targets.publish(staged, job.target, "run")
    yield "publish"


WAYS = {"local": by_steps, "sql": by_steps, "functions": in_database}


def apart(folder: Path, way: str) -> float:
    """The largest difference of a cell of a filled table and that of the local engine."""
    other = ", ".join(f"abs(h.{x} - t.{x})" for x in NAMES)
    query = f"SELECT max(greatest({other})) FROM local h JOIN {way} t USING (id)"
    with duckdb.connect(str(folder / "bench.duckdb"), read_only=True) as connection:
        [(difference,)] = connection.execute(query).fetchall()
    return float(difference)


if __name__ == "__main__":
    main()
