"""A run reads its rows few times: what later steps ask of them is found while they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from measured_runs import OPTIONS, table

from em_impute.flows.direct import run_directly
from em_impute.job import FileSource, Job
from em_impute.reporting.records import Report
from em_impute.runs.measure import report_numbers
from em_impute.runs.run import Found, Run
from em_impute.runs.survey import Guarded, Pass
from em_impute.tables import snapshot
from em_impute.tables.digest import Digest
from em_impute.tables.sources import take_snapshot
from em_impute.tables.writing import formats

PLAIN = {"columns": {"impute": ["plain", "whole"], "predictors": ["steady"]}}


@dataclass(frozen=True)
class Surveyed:
    """What a run's report was made of, the report, and what it is without the run's survey."""

    found: Found
    report: Report
    again: Report


Surveys = Callable[..., Surveyed]


@pytest.fixture
def surveyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surveys:
    """Run a job on a table and look on while its report is made."""

    def run_on(twice: bool = False, **job: Any) -> Surveyed:
        table().to_parquet(tmp_path / "in.parquet")
        made: list[Surveyed] = []

        def noting(run: Run, found: Found, *more: Any) -> Report:
            report = report_numbers(run, found, *more)
            # What is read is not there any more when the run is over.
            again = report_numbers(run, replace(found, survey=None)) if twice else report
            made.append(Surveyed(found, report, again))
            return report

        monkeypatch.setattr("em_impute.runs.report.report_numbers", noting)
        whole = {
            "name": "surveyed",
            "source": {"path": str(tmp_path / "in.parquet")},
            "target": {"path": str(tmp_path / "out.parquet")},
            "self_test": {"max_share": 1.0},
            "batch_rows": 64,
        }
        run_directly(Job.model_validate(whole | job), tmp_path / "runs")
        return made[-1]

    return run_on


REFIT = OPTIONS | {"self_test": {"method": "refit", "max_share": 0.5}}
NO_TEST = OPTIONS | {"self_test": {"method": "off"}}
DRAWN = PLAIN | {"imputation": {"method": "draw", "seed": 4}}
CHECKED = PLAIN | {
    "checks": {"output": [{"expect_column_mean_to_be_between": {"column": "plain"}}]}
}
CHECKED["checks"]["output"][0]["expect_column_mean_to_be_between"]["max_value"] = 1e6


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        (PLAIN, 4),
        (DRAWN, 4),
        (CHECKED, 4),
        # One more where bounds, domains or keys are checked before the fit.
        (OPTIONS, 5),
        (REFIT, 5),
        (NO_TEST, 5),
    ],
    ids=["plain", "drawn", "checked", "options", "refit", "without self-test"],
)
def test_passes_over_the_rows_are_counted(
    surveyed: Surveys,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    reads: int,
) -> None:
    """The snapshot to sum up, fill, test and compare; the staged table to compare and check."""
    passed: Counter[str] = Counter()
    read, stream = snapshot._read_batches, formats._stream

    def noting_read(path: Any, columns: list[str], part: Any) -> Iterator[pa.RecordBatch]:
        # Levels of a category are looked for in its own column.
        passed["snapshot"] += len(columns) > 1 and (part is None or part.first == 0)
        return read(path, columns, part)

    def noting_stream(*more: Any) -> Iterator[pa.RecordBatch]:
        passed["staged"] += 1
        return stream(*more)

    monkeypatch.setattr(snapshot, "_read_batches", noting_read)
    monkeypatch.setattr(formats, "_stream", noting_stream)
    report = surveyed(**options).report
    assert not report.failures
    assert report.distributions
    assert passed["snapshot"] == reads
    assert passed["staged"] <= 2


@pytest.mark.parametrize("options", [OPTIONS, REFIT, NO_TEST], ids=["fill", "refit", "off"])
def test_the_report_is_the_same_whoever_reads_the_rows(
    surveyed: Surveys, options: dict[str, Any]
) -> None:
    surveyed(**options)  # compared with an earlier run, columns are looked at once more
    one = surveyed(twice=True, **options)
    assert one.found.survey is not None
    assert one.report.drift is not None
    assert replace(one.again, runtime=one.report.runtime) == one.report


class Broken:
    """A watcher that fails at its second batch."""

    watched = ("x",)
    found = "nothing"

    def __init__(self) -> None:
        self.seen = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.seen += 1
        if self.seen == 2:
            raise ArithmeticError


class Summing:
    """A watcher that adds up its column."""

    watched = ("x",)
    found = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.found += sum(batch.column("x").to_pylist())


def test_a_watcher_that_fails_stops_neither_the_pass_nor_others(
    take_table: Callable[[pa.Table], snapshot.Snapshot],
) -> None:
    broken, summing = Broken(), Summing()
    never = Guarded[str](lambda: fails())
    guarded = Guarded(lambda: broken), Guarded(lambda: summing), never
    looked = Pass(take_table(pa.table({"x": [1, 2, 3, 4, 5]})), *guarded)
    looked.read()
    assert looked.is_whole
    assert guarded[1].found == 15
    assert broken.seen == 2
    for one in (guarded[0], never):
        with pytest.raises(ArithmeticError):
            _ = one.found


def fails() -> Any:
    raise ArithmeticError


@pytest.fixture
def take_table(tmp_path: Path) -> Callable[[pa.Table], snapshot.Snapshot]:
    def take(rows: pa.Table) -> snapshot.Snapshot:
        path = tmp_path / "rows.parquet"
        pd.DataFrame(rows.to_pandas()).to_parquet(path)
        return take_snapshot(FileSource(path=str(path)), tmp_path / "rows.arrow", 2)

    return take


def test_a_fault_in_what_is_measured_fails_its_section_and_not_the_run(
    surveyed: Surveys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digest, "add", lambda *_: fails())
    one = surveyed(**PLAIN | {"self_test": {"method": "off"}})
    assert one.found.published is not None
    assert "moments of the cells" in {failure.part for failure in one.report.failures}
