"""A nightly refit with a state beside a full one: ``python -m benchmarks.state [--days 365]``.

A year of days is summed up night by night. The last night is then made in turns with a summary and
fit of all rows, from snapshots both: their times, the ratio, and how far apart the estimates are.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import SEED, at_random
from em_impute.gaussian import EMResult
from em_impute.gaussian.parameters import largest_difference
from em_impute.job import FileSource, Job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot
from em_impute.tables.state.gathering import Gathered, gather, remember
from em_impute.tables.summarise import fit_model, summarise

ROWS, COLUMNS, MISSING, TOL = 10_000, 10, 0.1, 1e-10
FIRST = date(2025, 1, 1)
NAMES = [f"x{j}" for j in range(COLUMNS)]


def main() -> None:
    """Print a line for the last night, one for a day delivered again, one for a day that left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=5, help="last nights and full fits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="em_impute-state-") as folder:
        measure(Path(folder), options.days, options.rounds)


def measure(folder: Path, days: int, rounds: int) -> None:
    """Keep all days but the last, then fit the last in turns with a full fit."""
    bench = Bench(folder, days)
    for number in range(days):
        bench.deliver(number, seed=number)
    for number in range(days - 1):
        gathered, _ = bench.night(number, fit=number == days - 2)
        bench.keep(number, gathered)
    headings = ("last day", "rows read", "from the state", "night, ms", "after, ms", "full, ms")
    print("|".join(["", *headings, "ratio", "apart", ""]))
    print("|---" * 8 + "|")
    bench.compare(days - 1, days, rounds)
    again = days // 2
    bench.deliver(again, seed=10_000)
    for number in (again, days - 1):
        gathered, _ = bench.night(number)
        bench.keep(number, gathered)
    bench.compare(days - 1, days, 1)
    bench.deliver(days, seed=days)
    bench.compare(days, days, 1)
    size = sum(file.stat().st_size for file in (folder / "state").iterdir())
    print(f"\nThe state has {size / 2**20:.0f} MB.")


@dataclass
class Bench:
    """A job of days in a folder, with a window of so many."""

    folder: Path
    days: int

    def __post_init__(self) -> None:
        self.job = Job.model_validate(
            {
                "name": "daily",
                "source": {"path": str(self.folder / "in" / "{date}.parquet")},
                "target": {"path": str(self.folder / "out.parquet")},
                "model": {"tol": TOL},
                "state": {"path": str(self.folder / "state"), "window": f"{self.days} days"},
            }
        )
        self.state, self.last = self.folder / "state", None
        for name in ("in", "state", "run"):
            (self.folder / name).mkdir()
        rng = np.random.default_rng(SEED)
        self.loadings = rng.normal(size=(COLUMNS, COLUMNS))

    def file(self, number: int) -> Path:
        """Where the rows of a day are."""
        return self.folder / "in" / f"{FIRST + timedelta(days=number)}.parquet"

    def deliver(self, number: int, seed: int) -> None:
        """Write the rows of a day, all from one population."""
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(ROWS, COLUMNS)) @ self.loadings
        X[at_random(MISSING)(rng, X)] = np.nan
        pq.write_table(pa.table(dict(zip(NAMES, X.T, strict=True))), self.file(number))

    def night(self, number: int, fit: bool = True) -> tuple[Gathered, float]:
        """The rows of a night's model, with its fit, and how long both took."""
        job, run = self.job.at(FIRST + timedelta(days=number)), RunFolder(self.folder / "run")
        snapshot = take_snapshot(job.source, run.snapshot)
        roles = assign_roles(snapshot, job)
        began = time.perf_counter()
        gathered = gather(job, snapshot, roles, run.path)
        if fit:
            self.last = fit_model(gathered.summary, job.model, start=gathered.start)
        return gathered, time.perf_counter() - began

    def keep(self, number: int, gathered: Gathered) -> float:
        """What follows a publication, and how long it took."""
        job = self.job.at(FIRST + timedelta(days=number))
        began = time.perf_counter()
        warning = remember(job, gathered, self.last and self.last.model)
        assert not warning, warning
        return time.perf_counter() - began

    def full(self, snapshot: Snapshot) -> tuple[EMResult, float]:
        """A fit to all rows of a snapshot, and how long it took with their summary."""
        roles = assign_roles(snapshot, self.job)
        began = time.perf_counter()
        result = fit_model(summarise(snapshot, roles), self.job.model)
        return result, time.perf_counter() - began

    def compare(self, number: int, days: int, rounds: int) -> None:
        """Print a line: the night of a day beside a full fit to its window, in turns."""
        window = self.folder / "window"
        window.mkdir()
        for shown in range(number - days + 1, number + 1):
            (window / self.file(shown).name).hardlink_to(self.file(shown))
        source = FileSource(path=window, format="parquet")
        snapshot = take_snapshot(source, self.folder / "all.arrow")
        untouched = shutil.copytree(self.state, self.folder / "untouched")
        nights, keeps, fulls = [], [], []
        for _ in range(rounds):
            shutil.rmtree(self.state)
            shutil.copytree(untouched, self.state)
            gathered, seconds = self.night(number)
            nights.append(seconds)
            keeps.append(self.keep(number, gathered))
            result, seconds = self.full(snapshot)
            fulls.append(seconds)
        assert self.last is not None
        ours, theirs = ((r.model.mean, r.model.covariance) for r in (self.last, result))
        night, keep, full = map(statistics.median, (nights, keeps, fulls))
        print(
            f"| {number + 1} | {gathered.rows_read:,} | {gathered.rows_kept:,} | "
            f"{1000 * night:,.0f} | {1000 * keep:,.0f} | {1000 * full:,.0f} | "
            f"1/{full / night:.0f} | {largest_difference(ours, theirs):.1e} |",
            flush=True,
        )
        shutil.rmtree(window)
        shutil.rmtree(untouched)


if __name__ == "__main__":
    main()
