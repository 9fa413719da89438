"""Folders of runs as they are left, as far as the history of runs goes."""

from __future__ import annotations

import json
from pathlib import Path

from em_impute.reporting.records import Column, Report
from em_impute.reporting.verdict import verdict_on
from em_impute.tables.digest import Moments

RUN = "20261122T030000Z-5f1c9a2e"


def report(run: str = RUN, missing: int = 1) -> Report:
    column = Column("x", "impute", missing, Moments(10 - missing, 1.0, 1.0), Moments(0), Moments(0))
    return Report(
        job="air",
        run=run,
        started="2026-11-22T03:00:00+00:00",
        source="in.csv",
        target="out.csv",
        verdict=verdict_on(refusal="No.", warnings=(), imputed_cells=0, target="out.csv"),
        rows=10,
        columns=(column,),
    )


def leave(folder: Path, numbers: Report, **manifest: object) -> Path:
    """A run's folder as a run leaves it, as far as history goes."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(numbers.to_dict()))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
