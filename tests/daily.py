"""A job with a state, night after night, through the steps of a run without Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute.gaussian import EMResult, PatternSummary, fit_gaussian
from em_impute.job import Job
from em_impute.runs import report, steps
from em_impute.runs.history import read_report
from em_impute.runs.run import Found, Run, stop_if_refused
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.state.gathering import Gathered

FIRST = date(2026, 3, 1)
COLUMNS = ("a", "b", "c", "d")
TOL = 1e-10


def day(number: int) -> date:
    """A day by its number, from 0."""
    return FIRST + timedelta(days=number)


class Nights:
    """A dated job in a folder, and what is delivered to it."""

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None, **job: Any) -> None:
        self.folder, self.number = folder, 0
        self.job = Job.model_validate(
            {
                "name": "daily",
                "source": {"path": str(folder / "in" / "{date}.parquet")},
                "target": {"path": str(folder / "out" / "{date}.parquet")},
                "model": {"tol": TOL},
                "self_test": "off",
                "state": {"path": str(folder / "state"), **(state or {})},
            }
            | job
        )

    def deliver(self, number: int, rows: int = 200, seed: int | None = None) -> NDArray[np.float64]:
        """Write the file of a day."""
        X = factor_table(rows, len(COLUMNS), 0.2, seed=number if seed is None else seed)
        self.write(number, pd.DataFrame(X, columns=COLUMNS))
        return X

    def write(self, number: int, frame: pd.DataFrame) -> None:
        path = Path(str(self.job.at(day(number)).source.path))
        path.parent.mkdir(exist_ok=True)
        frame.to_parquet(path)

    def run(self, number: int, *, publish: bool = True, job: Job | None = None) -> Found:
        """The run of a day, through all of its steps."""
        self.number += 1
        moment = datetime.combine(day(number), time(3, 0, self.number % 60), UTC)
        name = f"{moment:%Y%m%dT%H%M%SZ}-{self.number:08}"
        made = (job or self.job).at(day(number))
        folder = open_run_folder(self.folder / "runs", made.name, name)
        run = Run(name, made, folder, moment, day(number), name, dated=True)
        found = Found()
        table = found.snapshot = steps.load(made, folder)
        found.before = steps.check_input(made, table)
        found.fitted = steps.fit(made, table, folder)
        found.staged = steps.fill(made, table, found.fitted, folder)
        found.tested = steps.self_test(made, table, found.fitted)
        found.after = steps.check_output(made, table, found.fitted, found.staged)
        stop_if_refused(found)
        if publish:
            found.published = steps.publish(run, found.staged)
            found.not_kept = steps.update_state(made, found.fitted)
        self.last = run
        return found

    def reported(self, number: int) -> Found:
        """The run of a day with its report."""
        found = self.run(number)
        report.report(self.last, found)
        assert not read_report(self.last.folder).failures
        return found

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def files(self) -> dict[str, bytes]:
        """What the folder of the state holds."""
        return {p.name: p.read_bytes() for p in sorted(self.state.glob("[!.]*"))}


def gathered(found: Found) -> Gathered:
    assert found.fitted is not None
    assert found.fitted.gathered is not None
    return found.fitted.gathered


def estimate(found: Found) -> EMResult:
    assert found.fitted is not None
    assert found.fitted.result is not None
    return found.fitted.result


def full_fit(
    tables: Mapping[int, NDArray[np.float64]], weights: Mapping[int, float] | None = None
) -> EMResult:
    """The fit of all rows at once, by no way that a state goes."""
    if weights is None:
        return fit_gaussian(
            PatternSummary.from_array(np.concatenate(list(tables.values())), COLUMNS), tol=TOL
        )
    parts = [PatternSummary.from_array(X, COLUMNS).weighted(weights[k]) for k, X in tables.items()]
    return fit_gaussian(PatternSummary.together(parts), tol=TOL)


def assert_same_estimate(found: Found, expected: EMResult, within: float = 1e-8) -> None:
    """Means and covariances agree."""
    model = estimate(found).model
    assert model.columns == expected.model.columns
    np.testing.assert_allclose(model.mean, expected.model.mean, rtol=0, atol=within)
    np.testing.assert_allclose(model.covariance, expected.model.covariance, rtol=0, atol=within)
