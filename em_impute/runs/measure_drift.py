"""What has changed since the run of the date before, measured on what that run has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from em_impute.gaussian import (
    GaussianModel,
    Status,
)
from em_impute.gaussian.filling import FillingModel, load_model
from em_impute.reporting import drift
from em_impute.reporting.records import (
    Column,
    Report,
)
from em_impute.runs.manifest import read_manifests
from em_impute.runs.run import Found, Run
from em_impute.tables.columns.hints import Look, columns_that_move_on
from em_impute.tables.columns.roles import Roles
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.whole_files import read_json


def measure_drift(
    run: Run,
    found: Found,
    columns: Sequence[Column],
    looks: Callable[[], Mapping[str, Look]],
) -> drift.Drift | None:
    """Return what has changed since the run of the date before; None if none can be read.

    Parameters
    ----------
    run : Run
    found : Found
    columns : sequence of Column
        As this run's report describes them.
    looks : callable
        Returns what is seen of the columns of numbers, if they have been looked at.
    """
    result = found.fitted.result if found.fitted else None
    if found.snapshot is None or found.fitted is None or result is None:
        return None
    if result.status is Status.SINGULAR:
        return None  # these are no estimates
    earlier, roles = published_before(run), found.fitted.roles
    move_on = columns_that_move_on(found.snapshot, roles, looks()) if earlier else ()
    names = [name for name in roles.model_columns if name not in move_on]
    now = _estimated(
        run.id,
        run.started.isoformat(timespec="seconds"),
        found.snapshot.rows,
        _part_of(result.model, [d for name in names for d in roles.encoding(name).dimensions]),
        roles,
        columns,
    )
    for folder, manifest in earlier:
        # What an older version or a damaged disk left is no reason to have no report.
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            before = _estimated_before(folder, manifest, run, roles, names)
            day = _data_date(manifest)
            return replace(
                drift.describe_drift(before, now, run.job.report.drift),
                date=day if day < run.date.isoformat() else "",
                move_on=move_on,
            )
    return None


def published_before(run: Run) -> list[tuple[RunFolder, dict[str, Any]]]:
    """Return the job's runs that published an earlier data date, the latest one first.

    A job whose table is the same for every date may have no earlier one: then what was published
    of this date comes before.
    """
    runs = [
        (RunFolder(path), manifest)
        for path, manifest in read_manifests(run.folder.path.parent)
        if manifest.get("target") is not None and path.name != run.folder.path.name
    ]
    day = run.date.isoformat()
    earlier = [known for known in runs if _data_date(known[1]) < day]
    if not earlier and not run.dated:
        earlier = [known for known in runs if _data_date(known[1]) == day]
    return sorted(
        earlier,
        key=lambda known: (_data_date(known[1]), str(known[1].get("finished"))),
        reverse=True,
    )


def _data_date(manifest: Mapping[str, Any]) -> str:
    """The day that a run was about; of early versions, the one on which it began."""
    return str(manifest.get("date") or str(manifest.get("started"))[:10])


def _part_of(model: FillingModel, dimensions: Sequence[str]) -> GaussianModel:
    """The model of some of its columns."""
    at = [model.columns.index(dimension) for dimension in dimensions]
    return GaussianModel(model.mean[at], model.covariance[np.ix_(at, at)], tuple(dimensions))


def _estimated_before(
    folder: RunFolder, manifest: Mapping[str, Any], run: Run, roles: Roles, names: Sequence[str]
) -> drift.Estimated:
    """What an earlier run estimated, of the columns that take part in the model as they do now."""
    report = Report.from_dict(read_json(folder.numbers))
    model, known = load_model(folder.model), {column.name for column in report.columns}
    options = run.job.model_dump(mode="json")["columns"], manifest["definition"]["columns"]
    alike = [
        dimension
        for name in names
        if name in known
        and all(
            options[0].get(option, {}).get(name) == options[1].get(option, {}).get(name)
            for option in ("transform", "categories")
        )
        for dimension in roles.encoding(name).dimensions
        if dimension in model.columns
    ]
    kept = _part_of(model, alike)
    return _estimated(report.run, report.started, report.rows, kept, roles, report.columns)


def _estimated(
    run: str,
    started: str,
    rows: int,
    model: GaussianModel,
    roles: Roles,
    columns: Sequence[Column],
) -> drift.Estimated:
    """What a run estimated; the columns of its model are dimensions of the table's columns."""
    known = {column.name: column for column in columns}
    column_of = {d: known[name] for name in known for d in _dimensions(roles, name)}
    of_model = [column_of[name] for name in model.columns]
    return drift.Estimated(
        run,
        started,
        rows,
        model,
        np.array([column.observed.count for column in of_model], dtype=np.int64),
        np.array([3.0 if c.kurtosis is None else c.kurtosis for c in of_model]),
    )


def _dimensions(roles: Roles, name: str) -> tuple[str, ...]:
    return roles.encoding(name).dimensions if name in roles.model_columns else ()
