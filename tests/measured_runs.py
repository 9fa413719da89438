"""Runs that are taken through their steps and measured, without Prefect, for several tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from em_impute.job import Job
from em_impute.reporting import render
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.runs.measure import report_numbers, with_manifest
from em_impute.runs.run import Found, Refused, Run, manifest
from em_impute.tables import groups, sources, summarise, targets
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.groups import Fitted
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import open_run_folder

Ran = tuple[Run, Found, Report]


@pytest.fixture
def ran(tmp_path: Path) -> Callable[..., Ran]:
    """Take a table through the steps of a run, without Prefect and without checks."""
    numbers = iter(range(100))

    def run_on(
        frame: pd.DataFrame,
        *,
        fit: bool = True,
        publish: bool = True,
        day: date = date(2026, 11, 22),
        dated: bool = False,
        **job: Any,
    ) -> Ran:
        frame.to_parquet(tmp_path / "in.parquet")
        whole = {
            "name": "job",
            "source": {"path": str(tmp_path / "in.parquet")},
            "target": {"path": str(tmp_path / "out.parquet")},
        }
        made = Job.model_validate(whole | job)
        started = datetime(2026, 11, 22, 3, next(numbers), tzinfo=UTC)
        folder = open_run_folder(tmp_path / "runs", made.name, f"{started:%Y%m%dT%H%M%SZ}-0a1b2c3d")
        name = folder.path.name
        run = Run(name, made, folder, started, day, name, dated=dated)
        found = Found(
            sources.take_snapshot(made.source, folder.snapshot, 64, Purpose.of(made)),
            stopped_by=None if fit and publish else Refused("It was to be refused."),
        )
        if fit:
            fit_and_fill(run, found)
        if fit and publish:
            assert found.staged is not None
            found.published = targets.publish(found.staged, made.target, run.id)
        return leave(run, found)

    return run_on


def fit_and_fill(run: Run, found: Found) -> None:
    assert found.snapshot is not None
    roles = assign_roles(found.snapshot, run.job)
    if not roles.impute:
        found.fitted = Fitted(roles, None)
    else:
        summary = summarise.summarise(found.snapshot, roles)
        summary.save(run.folder.summary)
        result = summarise.fit_model(summary, run.job.model)
        result.model.save(run.folder.model)
        models, decisions, fits = groups.fit_groups(found.snapshot, roles, run.job.model)
        found.fitted = Fitted(roles, result, models, (*result.decisions, *decisions), fits)
    model = found.fitted.result.model if found.fitted.result else None
    found.staged = fill(
        found.snapshot,
        model,
        roles,
        run.job.target,
        run.folder,
        run.job.imputation,
        found.fitted.groups,
    )


def leave(run: Run, found: Found) -> Ran:
    report = report_numbers(run, found)
    assert found.snapshot is not None
    recorded = manifest(run, found.snapshot, found, report, Parts())
    report = with_manifest(report, recorded)
    run.folder.numbers.write_text(json.dumps(report.to_dict(), allow_nan=False))
    recorded.save(run.folder.manifest)
    return run, found, report


def table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A skewed amount, a percentage, two plain columns and a category, all with holes."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=rows)
    frame = pd.DataFrame(
        {
            "amount": np.exp(common + 0.5 * rng.normal(size=rows)),
            "share": 100 / (1 + np.exp(-common + rng.normal(size=rows))),
            "plain": 5 * common + rng.normal(size=rows) + 50,
            "whole": np.round(3 * common + 2 * rng.normal(size=rows) + 12),
            "grade": pd.cut(common, [-9, -1, 1, 9], labels=["low", "mid", "high"]).astype(str),
            "steady": rng.normal(size=rows),
        }
    )
    # What is missing depends on a column that is always there.
    for name, often in {"amount": 0.3, "share": 0.2, "plain": 0.2, "whole": 0.1}.items():
        frame.loc[rng.random(rows) < often * (1 + np.sign(frame["steady"])), name] = np.nan
    frame.loc[rng.random(rows) < 0.1, "grade"] = None
    frame.loc[frame["amount"].isna() & (rng.random(rows) < 0.5), "share"] = np.nan
    return frame


OPTIONS = {
    "columns": {
        "impute": ["amount", "share", "plain", "whole", "grade"],
        "transform": {"amount": "log", "share": {"logit": [0, 100]}},
        "bounds": {"whole": [11.6, 14], "amount": [0, None]},
        "bounds_violated": "keep",
        "round": ["whole"],
        "categories": {"grade": ["low", "mid", "high"]},
    }
}
NUMBERS = ["amount", "share", "plain", "whole"]
MODEL = [*NUMBERS, "grade", "steady"]


@pytest.fixture
def mixed(ran: Callable[..., Ran], tmp_path: Path) -> tuple[Ran, pd.DataFrame, pd.DataFrame]:
    """The run, what it read and what it published."""
    frame = table()
    outcome = ran(frame, **OPTIONS)
    return outcome, frame, pd.read_parquet(tmp_path / "out.parquet")


def rendered(report: Report) -> str:
    """Both pages, and the columns' table; none may fail."""
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert again == report
    return render.html(report) + render.markdown(report) + json.dumps(render.column_table(report))
