"""A busy night: 20 jobs, each due twice in ten minutes, two at a time: `make test-nights`, by hand.

The server keeps its runs in PostgreSQL, and one worker carries them out. No run may be lost or
doubled, and no job may run beside itself. A table of what was due, started and ended is printed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from conftest import write_yaml
from holed_tables import factor_table
from postgres_server import PostgresServer
from stack import ENDED, PUBLISHED, Stack

ROWS, COLUMNS = 20_000, 8
WINDOW = 10  # minutes, in which every job is due twice


def write_jobs(folder: Path, count: int, opens: datetime) -> dict[str, list[datetime]]:
    """Jobs and their sources, and when each is due."""
    (folder / "in").mkdir()
    due = {}
    for j in range(count):
        name = f"night-{j + 1:02}"
        X = factor_table(ROWS, COLUMNS, 0.2, seed=j)
        table = pd.DataFrame(X, columns=[f"x{k}" for k in range(COLUMNS)])
        table.to_parquet(folder / "in" / f"{name}.parquet")
        first = opens + timedelta(minutes=j % (WINDOW // 2))
        due[name] = [first, first + timedelta(minutes=WINDOW // 2)]
        minutes = ",".join(str(moment.minute) for moment in due[name])
        job = {
            "name": name,
            "source": {"path": f"in/{name}.parquet"},
            # What is published twice would be there twice.
            "target": {"path": f"out/{name}.parquet", "mode": "append"},
            "schedule": {"cron": f"{minutes} * * * *", "timezone": "UTC"},
        }
        write_yaml(folder / f"{name}.yaml", job)
    return due


def finished(stack: Stack, due: dict[str, list[datetime]]) -> list[dict[str, Any]]:
    """Every run that was due in the window, after all have ended or half an hour has passed."""
    closes = max(itertools.chain(*due.values()))
    deadline = closes + timedelta(minutes=30)
    while True:
        runs = [
            run | {"job": job}
            for job in due
            for run in stack.runs(job)
            if _time(run["expected_start_time"]) <= closes
        ]
        now = datetime.now(UTC)
        if (now > closes and all(run["state_name"] in ENDED for run in runs)) or now > deadline:
            return sorted(runs, key=lambda run: (run["expected_start_time"], run["job"]))
        time.sleep(5)


def faults(stack: Stack, due: dict[str, list[datetime]], runs: list[dict[str, Any]]) -> list[str]:
    """What went wrong, a sentence each."""
    found = [
        f"{run['name']} is {run['state_name']}"
        for run in runs
        if run["state_name"] not in PUBLISHED
    ]
    for job, moments in due.items():
        own = [run for run in runs if run["job"] == job]
        if [_time(run["expected_start_time"]) for run in own] != moments:
            found.append(f"{job} was due at {moments}, and there are {len(own)} runs")
        by_start = sorted(own, key=lambda run: run["start_time"] or "")
        for one, after in itertools.pairwise(by_start):
            if one["end_time"] is None or after["start_time"] < one["end_time"]:
                found.append(f"{one['name']} and {after['name']} overlap")
        target = stack.folder / "out" / f"{job}.parquet"
        rows = pq.read_metadata(target).num_rows if target.exists() else 0
        if rows != ROWS * len(moments):
            found.append(f"{job} has published {rows} rows, not {len(moments)} times {ROWS}")
    return found


def print_runs(runs: list[dict[str, Any]]) -> None:
    """What was due, started and ended, a line for each run."""
    print("| run | due | started | ended | state |\n|---|---|---|---|---|")
    for run in runs:
        moments = (run["expected_start_time"], run["start_time"], run["end_time"])
        cells = [f"{_time(moment):%H:%M:%S}" if moment else "never" for moment in moments]
        print(f"| {run['name']} | {' | '.join(cells)} | {run['state_name']} |")
    taken = [run["total_run_time"] for run in runs]
    late = [
        (_time(run["start_time"]) - _time(run["expected_start_time"])).total_seconds()
        for run in runs
        if run["start_time"]
    ]
    print(
        f"\n{len(runs)} runs; a run takes {min(taken):.0f} to {max(taken):.0f} s, and waits for"
        f" its turn {min(late):.0f} to {max(late):.0f} s"
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> None:
    """Let the night pass; exit code 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=20, help="how many jobs (20)")
    options = parser.parse_args()
    opens = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=4)
    if opens.minute + WINDOW > 60:  # the schedules name minutes of one hour
        sys.exit(f"Begin after {opens:%H}:56, or before {60 - WINDOW - 4} minutes past the hour.")
    with (
        tempfile.TemporaryDirectory(prefix="em_impute_postgres_") as data,
        tempfile.TemporaryDirectory(prefix="nights_") as root,
    ):
        folder = Path(root)
        due = write_jobs(folder, options.jobs, opens)
        postgres = PostgresServer(Path(data) / "data")
        stack = Stack(folder, postgres)
        try:
            stack.start_server()
            stack.deploy([Path(f"{name}.yaml") for name in due])
            stack.start_worker("--limit", "2")
            runs = finished(stack, due)
            wrong = faults(stack, due, runs)
        finally:
            stack.stop()
            postgres.stop()
    print_runs(runs)
    print("\n".join(wrong) or "No run is lost or doubled, and no job ran beside itself.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
