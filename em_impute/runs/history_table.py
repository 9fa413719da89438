"""The numbers of a run in a table of a database, for charts: a row for it, and one for each column.

`RUNS` and `COLUMNS` are the tables' columns; docs/history-table.md explains them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from em_impute.job import CannotRun, DatabaseTarget
from em_impute.job.dates import on_day
from em_impute.reporting.brief import in_brief
from em_impute.reporting.parts import kind_and_place
from em_impute.reporting.records import Report
from em_impute.runs.run import Run
from em_impute.self_test.scores import LevelScores, NumberScores
from em_impute.tables.databases.replaced_rows import replace_rows

BESIDE = "_columns"
"""What stands behind the name of the table of runs, in that of their columns."""
_EACH = [
    ("job", pa.string()),
    ("run_id", pa.string()),
    ("started", pa.timestamp("us", "UTC")),
    ("data_date", pa.date32()),
]
RUNS = pa.schema(
    [
        *_EACH,
        ("outcome", pa.string()),
        ("verdict", pa.string()),
        ("source", pa.string()),
        ("target", pa.string()),
        ("row_count", pa.int64()),
        ("column_count", pa.int64()),
        ("missing_cells", pa.int64()),
        ("missing_percent", pa.float64()),
        ("imputed_cells", pa.int64()),
        ("left_cells", pa.int64()),
        ("patterns", pa.int64()),
        ("iterations", pa.int64()),
        ("fit", pa.string()),
        ("checks", pa.int64()),
        ("failed_checks", pa.int64()),
        ("warned_checks", pa.int64()),
        ("rmse_ratio", pa.float64()),
        ("coverage_95", pa.float64()),
        ("drifted", pa.bool_()),
        ("seconds", pa.float64()),
        ("peak_memory", pa.int64()),
        ("em_impute_version", pa.string()),
    ]
)
COLUMNS = pa.schema(
    [
        *_EACH,
        ("column_name", pa.string()),
        ("column_number", pa.int64()),
        ("role", pa.string()),
        ("observed_cells", pa.int64()),
        ("missing_cells", pa.int64()),
        ("missing_percent", pa.float64()),
        ("imputed_cells", pa.int64()),
        ("observed_mean", pa.float64()),
        ("observed_sd", pa.float64()),
        ("estimated_mean", pa.float64()),
        ("estimated_sd", pa.float64()),
        ("imputed_mean", pa.float64()),
        ("imputed_sd", pa.float64()),
        ("tested_cells", pa.int64()),
        ("rmse", pa.float64()),
        ("rmse_ratio", pa.float64()),
        ("coverage_95", pa.float64()),
        ("accuracy", pa.float64()),
        ("accuracy_of_mode", pa.float64()),
        ("mean_change", pa.float64()),
        ("sd_ratio", pa.float64()),
        ("drifted", pa.bool_()),
    ]
)


def write_history(run: Run, numbers: Report) -> str:
    """Write the numbers of a run to the history table of its job, if it has one.

    Returns
    -------
    str
        Why that could not be, a sentence; empty if it was, or the job has none.
    """
    place = run.job.report.history_table
    if place is None:
        return ""
    target = DatabaseTarget(
        url=place.url, password=place.password, table=place.table, mode="append"
    )
    try:
        target = on_day(target, run.date)
        each = {
            "job": numbers.job,
            "run_id": numbers.run,
            "started": run.started,
            "data_date": run.date,
        }
        tables = {
            "": pa.Table.from_pylist([_of_run(numbers) | each], RUNS),
            BESIDE: pa.Table.from_pylist([row | each for row in _of_columns(numbers)], COLUMNS),
        }
        replace_rows(target, tables, {"job": numbers.job, "run_id": numbers.run})
    except (CannotRun, OSError) as error:
        why = str(error)
    except Exception as fault:
        why = f"{kind_and_place(fault)}."
    else:
        return ""
    return f"The numbers of the run are not in its history table: {why}"


Row = dict[str, str | int | float | bool | date | datetime | None]


def _of_run(numbers: Report) -> Row:
    brief, runtime = vars(in_brief(numbers)), numbers.runtime
    of_itself: dict[str, Any] = {
        "row_count": numbers.rows,
        "column_count": len(numbers.columns),
        "drifted": numbers.drift.drifted if numbers.drift else None,
        "seconds": runtime.seconds if runtime else None,
        "peak_memory": runtime.peak_memory if runtime else None,
        "em_impute_version": version("em_impute"),
    }
    return {name: brief[name] for name in RUNS.names if name in brief} | of_itself


def _of_columns(numbers: Report) -> Iterator[Row]:
    tested = numbers.self_test
    of_both: tuple[NumberScores | LevelScores, ...] = ()
    if tested:
        of_both = (*tested.numbers, *tested.levels)
    scores = {one.column: one for one in of_both}
    changes = {change.column: change for change in numbers.drift.columns} if numbers.drift else {}
    for i, column in enumerate(numbers.columns, start=1):
        change = changes.get(column.name)
        yield {
            "column_name": column.name,
            "column_number": i,
            "role": column.role,
            "observed_cells": column.observed.count,
            "missing_cells": column.missing,
            "missing_percent": round(100 * column.missing_share, 4),
            "imputed_cells": column.imputed.count,
            "observed_mean": column.observed.mean,
            "observed_sd": column.observed.sd,
            "estimated_mean": column.em.mean,
            "estimated_sd": column.em.sd,
            "imputed_mean": column.imputed.mean,
            "imputed_sd": column.imputed.sd,
            **_scored(scores.get(column.name)),
            "mean_change": change.mean if change else None,
            "sd_ratio": change.sd_ratio if change else None,
            "drifted": bool(change.moved) if change else None,
        }


def _scored(scores: NumberScores | LevelScores | None) -> Row:
    """How well hidden cells of a column were filled."""
    match scores:
        case NumberScores():
            return {
                "tested_cells": scores.cells,
                "rmse": scores.filled.rmse,
                "rmse_ratio": scores.rmse_ratio,
                "coverage_95": scores.coverage.at_95,
            }
        case LevelScores():
            return {
                "tested_cells": scores.cells,
                "accuracy": scores.right / max(scores.cells, 1),
                "accuracy_of_mode": scores.right_by_mode / max(scores.cells, 1),
            }
    return {}
