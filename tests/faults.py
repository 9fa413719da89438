"""Faults at random moments of real runs: `make test-faults`, by hand and as root.

It takes an hour, and fills file systems of its own, which it has to mount.

Each round makes a new version of a source, starts a run of a job by a worker, breaks something at
a random moment, and waits for how the run ends. Then the target has to be the old table or the new
one, whole; what is appended is there once or not at all; nothing is left beside it; and the next
run ends well without a person.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from conftest import EM_IMPUTE, write_yaml
from deltalake import DeltaTable
from holed_tables import factor_table
from postgres_server import PostgresServer
from pyiceberg.catalog.sql import SqlCatalog
from stack import ENDED, PUBLISHED, Stack, descendants, kill

ROWS, COLUMNS = 1_000_000, 12
NAMES = [f"x{j}" for j in range(COLUMNS)]
DAY = date(2026, 1, 1)
PATIENCE = 600.0
# What a source holds that another program writes while it is read: this much later a version.
CHANGED = 1000
DISK = "4g"
IN_POSTGRESQL = ("replaced", "inserted")
IN_DELTA = ("delta", "committed")
IN_ICEBERG = ("iceberg", "snapshots")
KINDS = ("file", "appended", "folder", *IN_POSTGRESQL, *IN_DELTA, *IN_ICEBERG)
DATED = ("appended", "inserted", "committed", "snapshots")


class Proxy:
    """A port that leads to another one, whose connections can be cut."""

    def __init__(self, port: int) -> None:
        self._to, self._pairs = port, list[tuple[socket.socket, socket.socket]]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        self._close(one, other)

    def cut(self) -> None:
        """Close every connection, as a cable that is pulled out and in again."""
        pairs, self._pairs = self._pairs, []
        for one, other in pairs:
            self._close(one, other)

    def _close(self, *sockets: socket.socket) -> None:
        for end in sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class World:
    """All that can be broken."""

    folder: Path
    stack: Stack
    tables: PostgresServer
    proxy: Proxy
    dice: random.Random

    def write_source(self, job: str, version: int) -> None:
        """A new version of a job's source; its rows tell which it is."""
        table = source_table(version)
        if job in IN_POSTGRESQL:
            name = f"source_{day(version):%j}" if job in DATED else "source"
            with self.tables.session() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
                cursor.adbc_ingest(name, table.to_reader(), mode="create")
            return
        name = f"{job}-{day(version)}" if job in DATED else job
        path = self.folder / "in" / f"{name}.parquet"
        partial = path.with_suffix(".new")
        pq.write_table(table, partial)
        partial.replace(path)

    def start(self, job: str, version: int) -> str:
        """Start a run by the worker; its id."""
        return self.stack.start_run(job, {"date": f"{day(version)}"} if job in DATED else {})

    def end(self, run: str) -> str:
        """Wait until a run has ended; how it has."""
        state: str = self.stack.wait(
            lambda: (name := self.stack.state(run)) in ENDED and name, PATIENCE
        )
        return state

    def published(self, job: str) -> pd.DataFrame:
        """The rows at a job's target, read by another program than ours; none has a hole."""
        if job in IN_POSTGRESQL:
            if self.tables.run(f"SELECT to_regclass('filled_{job}')") == [(None,)]:
                return pd.DataFrame({"id": [], "version": []})
            holes = " OR ".join(f"{name} IS NULL" for name in NAMES)
            assert self.tables.run(f"SELECT count(*) FROM filled_{job} WHERE {holes}") == [(0,)]
            rows = self.tables.run(f"SELECT id, version FROM filled_{job}")
            return pd.DataFrame(rows, columns=["id", "version"])
        if job in IN_DELTA:
            place = str(self.folder / "out" / job)
            if not DeltaTable.is_deltatable(place):
                return pd.DataFrame({"id": [], "version": []})
            frame = DeltaTable(place).to_pandas()
            assert frame[NAMES].notna().all(axis=None)
            return frame[["id", "version"]]
        if job in IN_ICEBERG:
            with SqlCatalog("lake", uri=catalog_uri(self.tables.port)) as catalog:
                if not catalog.table_exists(f"faults.{job}"):
                    return pd.DataFrame({"id": [], "version": []})
                frame = catalog.load_table(f"faults.{job}").scan().to_pandas()
            assert frame[NAMES].notna().all(axis=None)
            return frame[["id", "version"]]
        path = self.folder / "out" / ("folder/current" if job == "folder" else f"{job}.parquet")
        if not path.exists():
            return pd.DataFrame({"id": [], "version": []})
        frame = ds.dataset(path, partitioning="hive").to_table().to_pandas()
        assert frame[NAMES].notna().all(axis=None)
        return frame[["id", "version"]]

    def versions(self, job: str) -> list[int]:
        """Which versions a job's target holds; each has to be whole, with every row once."""
        frame = self.published(job)
        for version, rows in frame.groupby("version"):
            ids = np.sort(rows["id"].to_numpy())
            assert np.array_equal(ids, np.arange(ROWS)), (
                f"{job}: version {version} has {len(rows)} rows, {len(set(ids))} of them different"
            )
        return sorted(map(int, frame["version"].unique()))

    def left_over(self) -> list[str]:
        """What is at the targets and should not be there."""
        ours = (".em_impute.json", ".em_impute.lock")
        files = {
            path.name for path in (self.folder / "out").iterdir() if not path.name.endswith(ours)
        }
        parts = [path.name for path in (self.folder / "out").rglob("*.part")]
        listed = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace >= 2200"
        tables = {
            name
            for (name,) in self.tables.run(listed)
            if not name.startswith(("source", "pg_", "sql_", "iceberg_"))
        }
        return sorted(
            (files - {"file.parquet", "appended.parquet", "folder", "warehouse", *IN_DELTA})
            | (tables - {"em_impute_runs", "filled_replaced", "filled_inserted"})
            | set(parts)
        )

    def moment(self, job: str, run: str) -> str:
        """Wait until a random moment of a run; which files were in its folder by then."""
        [place] = self.stack.wait(
            lambda: list((self.folder / "runs" / job).glob(f"*{run[-8:]}")), PATIENCE
        )
        time.sleep(self.dice.uniform(0.0, 10.0))
        steps = (step for name, step in STEPS.items() if list(place.glob(name)))
        return next(steps, "loading")


# The newest file in a run's folder tells the step that the run is at.
STEPS = {
    "manifest.json": "ended",
    "cells.parquet": "publishing",
    "staged.*": "filling",
    "summary.npz": "fitting",
    "snapshot.json": "checking",
}


def catalog_uri(port: int) -> str:
    """The catalog of the Iceberg tables, in the database of the others."""
    return f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"


def source_table(version: int) -> pa.Table:
    """The table that is version `version` of a source."""
    X = factor_table(ROWS, COLUMNS, 0.1, seed=version)
    columns = {"id": np.arange(ROWS), "version": np.full(ROWS, version)}
    return pa.table(columns | {
        name: pa.array(column, from_pandas=True) for name, column in zip(NAMES, X.T, strict=True)
    })  # fmt: skip


def day(version: int) -> date:
    """The data date of a version."""
    return DAY + timedelta(days=version)


# --- Faults -------------------------------------------------------------------------------------


def kill_worker(world: World) -> None:
    """The machine with the worker goes down, and another one comes up."""
    kill(world.stack.workers.pop())
    world.stack.start_worker()


def stop_worker(world: World) -> None:
    """The worker is told to stop, as by an upgrade, and started again."""
    worker = world.stack.workers.pop()
    worker.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        worker.wait(60)
    kill(worker)
    world.stack.start_worker()


def kill_flow(world: World) -> None:
    """Out of memory: the flow's process is killed, its worker goes on."""
    for child in descendants(world.stack.workers[-1].pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def kill_server(world: World) -> None:
    """The Prefect server dies and is started again."""
    assert world.stack.server is not None
    kill(world.stack.server)
    time.sleep(world.dice.uniform(0.0, 5.0))
    world.stack.start_server()


def crash_prefects_database(world: World) -> None:
    """PostgreSQL with Prefect's database loses its power and comes back."""
    world.stack.postgres.crash()


def crash_tables(world: World) -> None:
    """PostgreSQL with the tables loses its power and comes back."""
    world.tables.crash()


def cut_network(world: World) -> None:
    """Every connection to the database of the tables is cut."""
    world.proxy.cut()


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Let a folder's file system be full for a while."""
    while True:
        room = shutil.disk_usage(folder).used + 100_000
        shrink = ["mount", "-o", f"remount,size={room}", folder]
        # It fails where more has been written meanwhile.
        if subprocess.run(shrink, capture_output=True, check=False).returncode == 0:
            break
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", f"remount,size={DISK}", folder], check=True)


def fill_runs_disk(world: World) -> None:
    """The disk with the folders of runs is full for a while."""
    with _full(world.folder / "runs"):
        time.sleep(15)


def fill_targets_disk(world: World) -> None:
    """The disk with the targets is full for a while."""
    with _full(world.folder / "out"):
        time.sleep(15)


def change_source(world: World) -> None:
    """Another program writes another table over the files that are read, slowly."""
    for job in ("file", "folder"):
        version = pq.read_table(world.folder / "in" / f"{job}.parquet", columns=["version"])[0][0]
        buffer = pa.BufferOutputStream()
        pq.write_table(source_table(version.as_py() % CHANGED + CHANGED), buffer)
        data = buffer.getvalue().to_pybytes()
        with (world.folder / "in" / f"{job}.parquet").open("wb", buffering=0) as file:
            for start in range(0, len(data), 1 << 20):
                file.write(data[start : start + (1 << 20)])
                time.sleep(0.02)


def truncate_source(world: World) -> None:
    """The files that are read are cut off."""
    for path in (world.folder / "in").glob("f*.parquet"):
        os.truncate(path, world.dice.randrange(path.stat().st_size))


def run_twice(world: World) -> None:
    """The same job is started by hand, too, at the same time: `run_round` says which."""


ANYWHERE = (
    kill_worker, stop_worker, kill_flow, kill_server, crash_prefects_database, fill_runs_disk,
    run_twice,
)  # fmt: skip
FAULTS: dict[str, tuple[Callable[[World], None], ...]] = {
    "file": (*ANYWHERE, fill_targets_disk, change_source, truncate_source),
    "appended": (*ANYWHERE, fill_targets_disk),
    "folder": (*ANYWHERE, fill_targets_disk, change_source),
    "replaced": (*ANYWHERE, crash_tables, cut_network),
    "inserted": (*ANYWHERE, crash_tables, cut_network),
    "delta": (*ANYWHERE, fill_targets_disk),
    "committed": (*ANYWHERE, fill_targets_disk),
    "iceberg": (*ANYWHERE, fill_targets_disk, crash_tables, cut_network),
    "snapshots": (*ANYWHERE, fill_targets_disk, crash_tables, cut_network),
}


def plan(
    count: int, dice: random.Random, kinds: Sequence[str]
) -> list[tuple[str, Callable[[World], None]]]:
    """Which fault strikes which job: each fault once before any strikes twice."""
    pairs = [(job, fault) for job in kinds for fault in FAULTS[job]]
    dice.shuffle(pairs)
    seen: dict[Any, int] = {}
    ranked = []
    for job, fault in pairs:
        seen[fault] = seen.get(fault, 0) + 1
        ranked.append((seen[fault], job, fault))
    ranked.sort(key=lambda one: one[0])
    return [(job, fault) for _, job, fault in ranked[:count]]


def run_by_hand(world: World, job: str, version: int) -> None:
    """Run a job here, whatever its deployment does."""
    date_of = ["--date", f"{day(version)}"] if job in DATED else []
    subprocess.run(
        [EM_IMPUTE, "run", f"{job}.yaml", "--quiet", *date_of],
        cwd=world.folder,
        env=world.stack.environment,
        capture_output=True,
        check=False,
    )


def run_round(world: World, job: str, fault: Callable[[World], None], version: int) -> str:
    """One fault; a line on it. Raises AssertionError where something is broken."""
    before = world.versions(job)
    world.write_source(job, version)
    run = world.start(job, version)
    step = world.moment(job, run)
    if fault is run_twice:
        run_by_hand(world, job, version)
    else:
        fault(world)
    ended = world.end(run)
    now = world.versions(job)
    kept = sorted({*before, version}) if job in DATED else [version]
    allowed = [before, kept] + ([[version + CHANGED]] if fault is change_source else [])
    assert now in allowed, f"{job} holds the versions {now}, and should hold one of {allowed}"
    assert ended not in PUBLISHED or now != before, f"{job} is said to be published, and is not"
    assert not world.left_over(), f"left beside the targets: {world.left_over()}"
    for spoilt in {job, "file", "folder"}:  # some faults strike the source of both
        world.write_source(spoilt, version)
    again = world.end(world.start(job, version))
    assert again in PUBLISHED, f"the next run of {job} is {again}"
    assert world.versions(job) == kept, f"after the next run {job} holds {world.versions(job)}"
    assert not world.left_over(), f"left beside the targets: {world.left_over()}"
    table = "old" if now == before else "new"
    tries = world.stack.run(run)["run_count"]
    return f"| {fault.__name__} | {job} | {step} | {tries} | {ended} | {table} | published |"


def write_jobs(folder: Path, port: int) -> None:
    """A job for each kind of target."""
    database = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    catalog = {"name": "lake", "uri": catalog_uri(port), "warehouse": "out/warehouse"}
    iceberg = {"format": "iceberg", "catalog": catalog}
    folders = {
        "file": ({"path": "in/file.parquet"}, {"path": "out/file.parquet"}),
        "appended": (
            {"path": "in/appended-{date}.parquet"},
            {"path": "out/appended.parquet", "mode": "append"},
        ),
        "folder": (
            {"path": "in/folder.parquet"},
            {"path": "out/folder", "format": "parquet", "partition_by": ["version"]},
        ),
        "replaced": (
            {"url": database, "table": "source"},
            {"url": database, "table": "filled_replaced"},
        ),
        "inserted": (
            {"url": database, "query": "select * from source_{date:%j}"},
            {"url": database, "table": "filled_inserted", "mode": "append"},
        ),
        "delta": ({"path": "in/delta.parquet"}, {"path": "out/delta", "format": "delta"}),
        "committed": (
            {"path": "in/committed-{date}.parquet"},
            {"path": "out/committed", "format": "delta", "mode": "append"},
        ),
        "iceberg": ({"path": "in/iceberg.parquet"}, {"table": "faults.iceberg", **iceberg}),
        "snapshots": (
            {"path": "in/snapshots-{date}.parquet"},
            {"table": "faults.snapshots", "mode": "append", **iceberg},
        ),
    }
    for name, (source, target) in folders.items():
        job = {
            "name": name,
            "source": source,
            "target": target,
            "columns": {"key": ["id"], "impute": NAMES, "predictors": []},
        }
        write_yaml(folder / f"{name}.yaml", job)


def main() -> None:
    """Inject faults; exit code 1 if something is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24, help="how many faults (24)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", choices=KINDS, action="append", help="these kinds of target")
    options = parser.parse_args()
    dice, kinds = random.Random(options.seed), options.only or KINDS
    if os.geteuid() != 0:
        sys.exit("A disk is filled by mounting a small one, which only root can do.")
    print(f"{options.count} faults, seed {options.seed}\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="em_impute_postgres_") as data,
        tempfile.TemporaryDirectory(prefix="faults_") as root,
    ):
        folder = Path(root)
        tables, prefects = (PostgresServer(Path(data) / name) for name in ("tables", "prefect"))
        proxy = Proxy(tables.port)
        stack = Stack(folder, prefects, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
        world = World(folder, stack, tables, proxy, dice)
        (folder / "in").mkdir()
        for name in ("out", "runs"):
            (folder / name).mkdir()
            disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder / name]
            subprocess.run(disk, check=True)
        try:
            write_jobs(folder, proxy.port)
            stack.start_server()
            stack.deploy([Path(f"{job}.yaml") for job in kinds])
            stack.start_worker()
            broken = run_rounds(world, plan(options.count, dice, kinds), kinds)
        finally:
            stack.stop()
            for server in (tables, prefects):
                server.stop()
            for name in ("out", "runs"):
                subprocess.run(["umount", "--lazy", folder / name], check=False)
    print(f"\n{options.count} faults, seed {options.seed}: {broken} broke something")
    sys.exit(broken > 0)


def run_rounds(
    world: World, planned: list[tuple[str, Callable[[World], None]]], kinds: Sequence[str]
) -> int:
    """Publish each job once, then carry the faults out, a line each; how many broke something."""
    for version, job in enumerate(kinds, start=1):
        world.write_source(job, version)
        assert world.end(world.start(job, version)) in PUBLISHED, world.stack.log("worker")
    print("| fault | job | step | tries | ended | table then | next run |")
    print("|---|---|---|---|---|---|---|")
    broken = 0
    for version, (job, fault) in enumerate(planned, start=len(KINDS) + 1):
        try:
            print(run_round(world, job, fault, version), flush=True)
        except (AssertionError, TimeoutError) as error:
            broken += 1
            print(f"| {fault.__name__} | {job} | BROKEN: {str(error)[-3000:]} |", flush=True)
    return broken


if __name__ == "__main__":
    main()
