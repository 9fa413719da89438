"""A job whose table is in DuckDB: carried out there, against read, filled here and published.

    python -m benchmarks.in_database [--rows 1000000 10000000] [--columns 10] [--folder ...]

The job is a run's steps, from loading to the report, by `engine: local` and by `engine: sql`, on
the same file; the functions sum up, fit and fill without a job. Each way is a process
of its own, which has done the same with a small table before, so that all is imported; its memory
is the most that it held beyond that, and DuckDB's, which is part of the process. The filled tables
are compared in the database.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import duckdb

from benchmarks.scaling import peak_megabytes

ROWS, COLUMNS, FACTORS = (1_000_000,), 10, 3
# What a table needs at least: the run's other steps look at what it was and has become.
MOVING = ("load", "fit", "fill", "check", "publish")
FEW = 20_000
# The goals: how many times as fast, and memory beyond imports in MB.
LEAST_RATIO, MOST_MEGABYTES = 3.0, 500


class Seen(TypedDict):
    """What was seen of a way: time of each step by the clock and of processors, and megabytes."""

    steps: dict[str, tuple[float, float]]
    memory: float


def main() -> None:
    """Fill tables of each size in both ways and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_database", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--folder", type=Path, help="where there is room (default: TMPDIR)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.way, options.folder, options.columns)))
        return
    print("| rows | way | steps, s of processors | time, s | memory beyond imports, MB |")
    print("|---|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            make(folder, "holed", rows, options.columns)
            make(folder, "few", FEW, options.columns)
            seen = {way: show(rows, way, folder, options.columns) for way in WAYS}
            print(f"\n{rows:,} rows, against engine: local:")
            for way in ("sql", "functions"):
                print(f"{way}: {'; '.join(compared(seen['local'], seen[way]))}; ", end="")
                print(f"cells apart by {apart(folder, way, options.columns):.1e} at most")
            print(flush=True)
    print(f"Goals: {LEAST_RATIO:g} times as fast; below {MOST_MEGABYTES} MB.")


def names_of(columns: int) -> list[str]:
    """The names of so many columns of numbers; the key is beside them."""
    return [f"x{j}" for j in range(columns)]


def make(folder: Path, name: str, rows: int, columns: int) -> None:
    """A factor model's table, a tenth of its cells missing."""
    factors = ", ".join(
        f"sqrt(-2 * ln(1 - random())) * cos(6.2832 * random()) AS f{k}" for k in range(FACTORS)
    )
    cells = ", ".join(
        f"CASE WHEN random() > 0.1 THEN f{j % FACTORS} + 0.5 * f{(j + 1) % FACTORS} + "
        f"0.8 * (random() + random() + random() - 1.5) + {j} END AS x{j}"
        for j in range(columns)
    )
    with duckdb.connect(str(folder / "bench.duckdb")) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            f"CREATE TABLE {name} AS SELECT id, {cells} "
            f"FROM (SELECT range AS id, {factors} FROM range({rows}))"
        )


def show(rows: int, way: str, folder: Path, columns: int) -> Seen:
    """Carry out one way in a process of its own, print its line, and return what was seen."""
    command = [sys.executable, "-m", "benchmarks.in_database", "--way", way]
    command += ["--folder", str(folder), "--columns", str(columns)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seen: Seen = json.loads(done.stdout.splitlines()[-1])
    words = ", ".join(f"{step} {cpu:.1f}" for step, (_, cpu) in seen["steps"].items())
    wall, cpu = seconds(seen, tuple(seen["steps"]))
    print(
        f"| {rows:,} | {way} | {words}: {cpu:.1f} | {wall:.1f} | {seen['memory']:,.0f} |",
        flush=True,
    )
    return seen


def seconds(seen: Seen, steps: Sequence[str]) -> tuple[float, float]:
    """Time of some steps, by the clock and of processors."""
    wall, cpu = (
        sum(two[i] for step, two in seen["steps"].items() if step in steps) for i in (0, 1)
    )
    return wall, cpu


def compared(local: Seen, other: Seen) -> Iterator[str]:
    """How many times as fast another way is, in a sentence for each choice of steps."""
    choices = {"+".join(MOVING): MOVING, "all steps": tuple(local["steps"])}
    for name, steps in choices.items():
        pairs = zip(seconds(local, steps), seconds(other, steps), strict=True)
        wall, cpu = (mine / theirs for mine, theirs in pairs)
        yield f"{name} {wall:.1f} times as fast, {cpu:.1f} times by processors"


def measured(way: str, folder: Path, columns: int) -> Seen:
    """Seconds of each step, by the clock and of processors, and megabytes beyond the imports."""
    url = f"duckdb:///{folder.absolute()}/bench.duckdb"
    names = names_of(columns)
    for _ in WAYS[way](url, folder, names, "few", f"few_{way}"):
        pass
    held, steps = peak_megabytes(), {}
    wall, cpu = time.perf_counter(), time.process_time()
    for name in WAYS[way](url, folder, names, "holed", way):
        now = time.perf_counter(), time.process_time()
        steps[name] = now[0] - wall, now[1] - cpu
        wall, cpu = now
    return {"steps": steps, "memory": peak_megabytes() - held}


def in_database(url: str, _: Path, names: Sequence[str], table: str, into: str) -> Iterator[str]:
    """Sum up, fit and fill without a row on the way."""
    from em_impute import fill_in_database, fit_gaussian, summarise_in_database

    summary = summarise_in_database(url, table, names)
    yield "load"
    model = fit_gaussian(summary).model
    yield "fit"
    fill_in_database(url, table, model, into=into)
    yield "fill"


def by_steps(url: str, folder: Path, names: Sequence[str], table: str, into: str) -> Iterator[str]:
    """The steps of a run; its engine is the end of the name of the table that it makes."""
    from em_impute.job import Job
    from em_impute.runs import report, steps
    from em_impute.runs.run import Found, Run
    from em_impute.tables.run_folder import open_run_folder

    job = Job.model_validate(
        {
            "name": f"bench_{into}",
            "source": {"url": url, "table": table},
            "columns": {"impute": names, "predictors": [], "key": ["id"]},
            "target": {"url": url, "table": into},
            "engine": into.removeprefix("few_"),
        }
    )
    now, found = datetime.now(UTC), Found()
    run = Run("run", job, open_run_folder(folder, job.name, "run"), now, now.date(), "run")
    read = found.snapshot = steps.load(job, run.folder)
    yield "load"
    found.before = steps.check_input(job, read)
    yield "check input"
    found.fitted = steps.fit(job, read, run.folder)
    yield "fit"
    found.staged = steps.fill(job, read, found.fitted, run.folder)
    yield "fill"
    found.tested = steps.self_test(job, read, found.fitted)
    yield "self-test"
    found.after = steps.check_output(job, read, found.fitted, found.staged)
    assert found.after.refusal is None, found.after.refusal
    yield "check"
    found.published = steps.publish(run, found.staged)
    yield "publish"
    report.report(run, found)
    yield "report"


WAYS = {"local": by_steps, "sql": by_steps, "functions": in_database}


def apart(folder: Path, way: str, columns: int) -> float:
    """The largest difference of a cell of a filled table and that of the local engine."""
    other = ", ".join(f"abs(h.{x} - t.{x})" for x in names_of(columns))
    query = f"SELECT max(greatest({other})) FROM local h JOIN {way} t USING (id)"
    with duckdb.connect(str(folder / "bench.duckdb"), read_only=True) as connection:
        [(difference,)] = connection.execute(query).fetchall()
    return float(difference)


if __name__ == "__main__":
    main()
