"""Reports of tables taken through fit and fill, as a run would do it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from em_impute.gaussian import PatternSummary, fit_gaussian
from em_impute.reporting import drift, matrices, missingness
from em_impute.reporting.columns import ImputedDigest, describe_columns, digest
from em_impute.reporting.distributions import describe_distributions, most_imputed
from em_impute.reporting.fit import describe_fit, describe_groups
from em_impute.reporting.records import CheckRow, GroupRow, Report, Runtime
from em_impute.reporting.verdict import verdict_on

ReportOn = Callable[[pd.DataFrame], Report]
TARGET = "out/airquality.parquet"
TOL = 1e-6


def report_on(frame: pd.DataFrame) -> Report:
    """Report on a run that filled every column of `frame` that has holes."""
    summary = PatternSummary.from_array(frame.to_numpy(float), list(frame.columns))
    result = fit_gaussian(summary, tol=TOL, prior_rows=1.0)
    whole = result.model.impute(frame.to_numpy(float))
    holes = frame.isna().to_numpy()
    imputed = {name: whole[holes[:, j], j] for j, name in enumerate(frame.columns)}
    columns = describe_columns(
        {name: "impute" if len(imputed[name]) else "predictor" for name in frame.columns},
        {name: len(imputed[name]) for name in frame.columns},
        len(frame),
        summary=summary,
        model=result.model,
        imputed={name: cells.moments for name, cells in digest([imputed], imputed).items()},
    )
    digests = {name: ImputedDigest(*frame[name].agg(["min", "max"])) for name in frame}
    given = result.model.conditional(frame.to_numpy(float))
    for j, name in enumerate(frame):
        digests[name].add(given.mean[given.columns == j], given.sd[given.columns == j])
    missing = summary.n_rows - summary.observed_counts
    now = drift.Estimated(
        "calm-otter", "2026-11-22 03:00 UTC", len(frame), result.model, summary.observed_counts
    )
    return Report(
        job="airquality",
        run="calm-otter",
        started="2026-11-22 03:00 UTC",
        source="data/airquality.csv",
        target=TARGET,
        verdict=verdict_on(
            refusal=None, warnings=(), imputed_cells=int(holes.sum()), target=TARGET
        ),
        rows=len(frame),
        columns=columns,
        fit=describe_fit(result, TOL),
        patterns=missingness.describe_patterns(
            summary,
            means=dict(
                zip(frame, summary.means_of(missingness.most_frequent(summary)).T, strict=True)
            ),
        ),
        distributions=describe_distributions(
            most_imputed(columns),
            lambda: [{name: frame[name].dropna().to_numpy() for name in frame.columns}],
            lambda: [imputed],
        ),
        checks=tuple(
            CheckRow("input", "not_constant", "two values or more", "many", "warning", True, name)
            for name in frame.columns
        ),
        decisions=result.decisions,
        missingness=missingness.describe_map(summary),
        together=matrices.describe_together(summary),
        groups=describe_groups(
            [
                GroupRow("May", len(frame), True, "converged", 7),
                GroupRow("June", 30, False, "too few rows"),
            ]
        ),
        correlations=matrices.describe_correlations(result.model, missing.tolist()),
        drift=drift.describe_drift(dataclasses.replace(now, run="wise-owl"), now, 0.25),
        imputed=tuple(digests[c.name].describe(c) for c in columns if c.imputed.count),
        runtime=Runtime((("load", 0.5), ("fit", 2.5)), 123_000_000),
        manifest=(("source, fingerprint", "sha256:0f3a"), ("numpy", "2.4.6")),
    )


@pytest.fixture(scope="session", name="report_on")
def report_on_fixture() -> ReportOn:
    """Give the function that fits, fills and reports on a table."""
    return report_on


@pytest.fixture(scope="session")
def airquality() -> pd.DataFrame:
    """153 days of New York air; 44 cells of Ozone and Solar.R are missing."""
    path = Path(__file__).parents[1] / "reference" / "airquality.csv"
    return pd.read_csv(path).astype(float)


@pytest.fixture(scope="session")
def report(airquality: pd.DataFrame) -> Report:
    """Report on airquality, all in order."""
    return report_on(airquality)


@pytest.fixture(scope="session")
def imputed(airquality: pd.DataFrame) -> pd.DataFrame:
    """Hold the cells that `report` says were filled, and nothing else."""
    values = airquality.to_numpy()
    fit = fit_gaussian(PatternSummary.from_array(values), tol=TOL, prior_rows=1.0)
    whole = pd.DataFrame(fit.model.impute(values), columns=airquality.columns)
    return whole.where(airquality.isna())
