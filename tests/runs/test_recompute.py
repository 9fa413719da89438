"""A run computed again: equal, equal to rounding, not equal, or impossible, and what is said."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from holed_tables import factor_table, reference
from threadpoolctl import threadpool_limits

from em_impute.job import CannotRun, Job
from em_impute.runs.manifest import Manifest, read_manifest
from em_impute.runs.recompute import verify
from em_impute.tables import sources, summarise, targets
from em_impute.tables.columns import roles as columns
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.whole_files import sha256


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The folder of a run that filled the boys' growth data: 613 cells of 748 rows."""
    monkeypatch.chdir(tmp_path)
    known = reference("boys")
    pd.DataFrame(known.X, columns=list(known.columns)).to_parquet("boys.parquet")
    return published()


def published(**changes: Any) -> RunFolder:
    """Run a job without Prefect, and leave what a run leaves."""
    job = Job.model_validate(
        {
            "name": "boys",
            "source": {"path": "boys.parquet"},
            "target": {"path": "out/filled.parquet"},
            **changes,
        }
    )
    folder = open_run_folder(Path("runs"), "boys", "run-1")
    targets.check_target(job.target)
    snapshot = sources.take_snapshot(job.source, folder.snapshot)
    roles = columns.assign_roles(snapshot, job)
    summary = summarise.summarise(snapshot, roles)
    summary.save(folder.summary)
    model = summarise.fit_model(summary, job.model).model
    model.save(folder.model)
    staged = fill(snapshot, model, roles, job.target, folder)
    now = datetime.now(UTC)
    manifest = Manifest(
        run="run-1",
        date=date(2026, 1, 1),
        job=job,
        snapshot=snapshot,
        published=targets.publish(staged, job.target, "run-1"),
        cells=staged.cells,
        table=staged.sha256,
        outputs=folder.hashes(),
        started=now,
        finished=now,
        verdict="Published.",
    )
    manifest.save(folder.manifest)
    folder.clear()
    return folder


def change_manifest(run: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    content = read_manifest(run)
    change(content)
    run.manifest.write_text(json.dumps(content))


def change_ledger(run: RunFolder, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the ledger and have the manifest agree: as if the run had filled other cells."""
    pq.write_table(change(pq.read_table(run.cells)), run.cells)
    hashes = {run.cells.name: sha256(run.cells)}
    change_manifest(run, lambda content: content["outputs"].update(hashes))


def shifted(by: float) -> Callable[[pa.Table], pa.Table]:
    """Another value in the 11th cell, in absolute terms."""

    def change(ledger: pa.Table) -> pa.Table:
        values = ledger["value"].to_numpy().copy()
        values[10] += by
        return ledger.set_column(ledger.schema.get_field_index("value"), "value", pa.array(values))

    return change


def test_a_run_is_equal_bit_by_bit(run: RunFolder) -> None:
    found = verify(run.path)
    assert found.agreement == "equal"
    assert found.sentences == (
        "Equal bit by bit: the table, summary.npz, model.json, cells.parquet.",
        "The target out/filled.parquet still is what this run published.",
    )
    assert not run.snapshot.exists()


def test_a_run_is_equal_on_another_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X = factor_table(3000, 260, missing=0.004, seed=24)
    pd.DataFrame(X).rename(columns="c{}".format).to_parquet("boys.parquet")
    with threadpool_limits(1, user_api="blas"):
        run = published()
    with threadpool_limits(2, user_api="blas"):
        found = verify(run.path)
    assert (found.agreement, found.sentences[0]) == (
        "equal",
        "Equal bit by bit: the table, summary.npz, model.json, cells.parquet.",
    )


def test_a_target_that_a_later_run_replaced_is_not_needed(run: RunFolder) -> None:
    Path("out/filled.parquet").write_text("another table")
    found = verify(run.path)
    assert found.agreement == "equal"
    assert found.sentences[-1] == "The target out/filled.parquet holds another table by now."
    Path("out/filled.parquet").unlink()
    assert verify(run.path).sentences[-1] == (
        "The target out/filled.parquet is not there any more."
    )


def test_another_machine_is_named_with_the_largest_difference(run: RunFolder) -> None:
    change_ledger(run, shifted(1e-9))
    blas = {"BLAS": "mkl 2026.1 AVX512, 64 threads"}
    change_manifest(run, lambda content: content["machine"].update(blas))
    change_manifest(run, lambda content: content["versions"].update(numpy="1.0"))
    found = verify(run.path)
    assert found.agreement == "equal to rounding"
    apart, files, differences, _ = found.sentences
    assert apart.startswith("1 of 613 filled cells differ, by up to ")
    largest = float(apart.split("up to ")[1].split(" ")[0])
    assert 1e-12 < largest < 1e-8
    assert files == "Other bytes than then: cells.parquet."
    assert f"numpy 1.0 then, {np.__version__} now" in differences
    assert "BLAS mkl 2026.1 AVX512, 64 threads then, " in differences


def test_other_cells_are_named_by_file_row_and_column(run: RunFolder) -> None:
    ledger = pq.read_table(run.cells)
    row, column = ledger["row"][10].as_py(), ledger["column"][10].as_py()
    change_ledger(run, shifted(1.0))
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert found.sentences[0].startswith(
        f"1 of 613 cells in cells.parquet differ, the first in row {row}, column {column}, by up "
    )


def test_a_cell_that_was_not_filled_then_is_a_difference(run: RunFolder) -> None:
    change_ledger(run, lambda ledger: ledger.slice(0, ledger.num_rows - 1))
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert "the first in cell 613 of the ledger" in found.sentences[0]


def test_a_cell_in_another_row_is_a_difference(run: RunFolder) -> None:
    change_ledger(
        run, lambda ledger: ledger.set_column(0, "row", pc.add(ledger["row"], pa.scalar(1)))
    )
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert found.sentences[0].startswith("613 of 613 cells in cells.parquet differ")


def test_a_target_with_other_bytes_is_a_difference(run: RunFolder) -> None:
    change_manifest(run, lambda content: content.update(table="ab12"))
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert found.sentences[:2] == (
        "The filled cells are equal bit by bit, and yet the files are not.",
        "Other bytes than then: the table.",
    )


def test_files_of_the_run_that_were_changed_since(run: RunFolder) -> None:
    run.model.write_text("{}")
    run.cells.unlink()
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert found.sentences == (
        f"{run.model} is another file than the run wrote.",
        f"{run.cells} is gone.",
    )


def test_a_source_that_has_changed_leaves_the_model(run: RunFolder) -> None:
    frame = pd.read_parquet("boys.parquet")
    frame.loc[3, "hgt"] = 123456.789
    frame.to_parquet("boys.parquet")
    found = verify(run.path)
    assert found.agreement == "cannot be verified"
    assert found.sentences == (
        "The source boys.parquet has changed since: it does not have the fingerprint that the run "
        "recorded, so the table cannot be computed again.",
        "The model, fitted again to the run's summary.npz, is equal bit by bit.",
    )


def test_a_model_that_is_not_that_of_its_summary(run: RunFolder) -> None:
    Path("boys.parquet").unlink()
    pd.DataFrame({"hgt": [1.0]}).to_parquet("boys.parquet")
    content = json.loads(run.model.read_text())
    content["mean"][0] += 1.0
    run.model.write_text(json.dumps(content))
    hashes = {run.model.name: sha256(run.model)}
    change_manifest(run, lambda manifest: manifest["outputs"].update(hashes))
    found = verify(run.path)
    assert found.agreement == "not equal"
    assert "sd in its means" in found.sentences[-1]


def test_what_cannot_be_verified_at_all(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"has no manifest\.json that can be read"):
        verify(tmp_path)
    Path("boys.parquet").unlink()
    with pytest.raises(CannotRun, match="no such file"):
        verify(run.path)
    change_manifest(run, lambda content: content["definition"].update(sorce=1))
    with pytest.raises(CannotRun, match="not one that this version of em_impute"):
        verify(run.path)


def test_a_run_that_published_nothing(run: RunFolder) -> None:
    change_manifest(run, lambda content: content.update(target=None))
    with pytest.raises(CannotRun, match="published nothing, so there is nothing to verify"):
        verify(run.path)


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_rows_in_a_database_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.chdir(tmp_path)
    known = reference("boys")
    frame = pd.DataFrame(known.X, columns=list(known.columns))
    frame.insert(0, "k", range(len(frame)))
    frame.to_parquet("boys.parquet")
    target = {"url": "sqlite:///x.db", "table": "t", "mode": mode}
    folder = published(target=target, columns={"key": ["k"]})
    name = "The table t of sqlite:///x.db"

    def told() -> tuple[str, str]:
        found = verify(folder.path)
        return found.agreement, found.sentences[-1]

    def run(sql: str) -> None:
        connection = sqlite3.connect("x.db", isolation_level=None)
        connection.execute(sql)
        connection.close()

    assert told() == ("equal", f"{name} still holds what this run published.")
    run("UPDATE t SET age = age + 1 WHERE k IN (3, 4)")
    assert told() == ("not equal", f"{name} holds other cells than this run published: 2 of age.")
    run("DELETE FROM t WHERE k = 7")
    assert told() == ("not equal", f"{name} holds 747 of the 748 rows by now.")
    run("INSERT INTO em_impute_runs VALUES ('run-2', 't', 1, '', '9999-01-01')")
    assert told() == ("equal", f"{name} was written by another run since.")
    run("DROP TABLE t")
    assert told() == ("equal", f"{name} is not there any more.")
    Path("x.db").write_text("no database")
    outcome, sentence = told()
    assert outcome == "equal"
    assert sentence.startswith(f"What it has published cannot be compared: {name} cannot be")


def test_appended_rows_are_not_told_from_others(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"url": "sqlite:///x.db", "table": "t", "mode": "append"}
    found = verify(published(target=target, name="other").path)
    assert (found.agreement, found.sentences[-1]) == (
        "equal",
        "The table t of sqlite:///x.db was appended to: the rows of this run cannot be compared.",
    )
