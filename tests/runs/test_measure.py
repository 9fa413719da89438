"""What a report says of a run, against pandas on the run's own input and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from holed_tables import MURRAY
from measured_runs import NUMBERS, OPTIONS, Ran, rendered, table

from em_impute.gaussian import GaussianModel
from em_impute.job import Job
from em_impute.reporting import render
from em_impute.reporting.brief import in_brief
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.runs.manifest import read_manifest
from em_impute.runs.measure import report_numbers
from em_impute.runs.run import Found, Refused, Run
from em_impute.tables.run_folder import open_run_folder


def test_the_fit_and_the_correlations_are_the_models(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (run, found, report), _, _ = mixed
    model = GaussianModel.load(run.folder.model)
    assert found.fitted is not None
    result = found.fitted.result
    assert result is not None
    assert report.fit is not None
    assert report.fit.worst_fraction == result.worst_fraction
    assert report.fit.worst_combination == result.worst_combination
    assert report.fit.condition == pytest.approx(np.linalg.cond(model.correlation))
    assert report.correlations is not None
    at = [model.columns.index(name) for name in report.correlations.columns]
    assert report.correlations.matrix() == pytest.approx(model.correlation[np.ix_(at, at)])


def test_the_manifest_is_told(mixed: tuple[Ran, pd.DataFrame, pd.DataFrame]) -> None:
    (run, found, report), _, _ = mixed
    told, recorded = dict(report.manifest), read_manifest(run.folder)
    assert found.snapshot is not None
    assert told["source, fingerprint"] == found.snapshot.fingerprint
    assert told["filled table, SHA-256"] == recorded["table"]
    assert told["model.json, SHA-256"] == recorded["outputs"]["model.json"]
    assert told["numpy"] == np.__version__
    assert "seed of the draws" not in told
    assert report.runtime is not None
    assert (report.runtime.peak_memory or 0) > 50_000_000


def test_a_draws_seed_is_told(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table()[["plain", "steady"]], imputation={"method": "draw", "seed": 31})
    assert dict(report.manifest)["seed of the draws"] == "31"
    assert report.drawn


def test_groups_are_told_from_the_largest_on(ran: Callable[..., Ran]) -> None:
    frame = table(330)[["plain", "steady"]]
    frame["site"] = ["north"] * 200 + ["south"] * 100 + [None] * 20 + ["a", "a", "b"] + ["c"] * 7
    _, _, report = ran(frame, columns={"group_by": ["site"]})
    assert report.groups is not None
    assert (report.groups.total, report.groups.own_models) == (6, 2)
    rows = [(row.label, row.rows, row.own_model, row.status) for row in report.groups.rows]
    assert rows == [
        ("north", 200, True, "converged"),
        ("south", 100, True, "converged"),
        ("(missing)", 20, False, "too few rows"),
        ("c", 7, False, "too few rows"),
    ]
    iterations = [row.iterations for row in report.groups.rows]
    assert all(n is not None and n > 0 for n in iterations[:2])
    assert iterations[2:] == [None, None]


def test_several_starts_that_agree_are_no_warning(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table()[["plain", "steady", "share"]], model={"n_starts": 3})
    assert report.fit is not None
    assert (report.fit.starts, report.fit.starts_agree) == (3, True)
    assert report.decisions[0].startswith("All 3 starts reached the same maximum")
    assert report.verdict.outcome == "published"


def test_nothing_missing_at_all(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table().dropna()[[*NUMBERS, "steady"]])
    assert (report.fit, report.patterns, report.missingness, report.together) == (None,) * 4
    assert "No model was fitted: no cell needed filling." in rendered(report)


def test_everything_missing_in_a_column_that_is_refused(ran: Callable[..., Ran]) -> None:
    """Before the fit, too, the report shows what is missing where."""
    frame = table()[["plain", "steady"]].assign(empty=np.nan)
    _, _, report = ran(frame, fit=False)
    assert report.missingness is not None
    assert report.missingness.columns[0] == "empty"
    assert report.missingness.missing()[:, 0].all()
    assert report.patterns is not None
    counts = frame.isna().groupby(list(frame)).size()
    assert sorted(row.count for row in report.patterns.rows) == sorted(counts)
    assert not report.patterns.with_means
    assert report.together is not None
    assert report.together.pairs == ()
    text = rendered(report)
    assert "It was to be refused." in text
    assert "None" not in text


def test_one_row(ran: Callable[..., Ran]) -> None:
    frame = pd.DataFrame({"a": [1.0], "b": [np.nan], "c": [3.0]})
    _, _, report = ran(frame, fit=False)
    assert report.missingness is not None
    assert report.missingness.lines == ("1",)
    rendered(report)
    two = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, np.nan]})
    _, _, report = ran(two)
    assert report.imputed_cells == 1
    rendered(report)


def test_a_table_that_cannot_be_read_has_a_report(tmp_path: Path) -> None:
    job = Job.model_validate(
        {
            "name": "job",
            "source": {"path": "nowhere.csv"},
            "target": {"path": str(tmp_path / "out.csv")},
        }
    )
    folder, now = open_run_folder(tmp_path / "runs", "job", "x"), datetime.now(UTC)
    run = Run("x", job, folder, now, now.date(), "x")
    report = report_numbers(run, Found(stopped_by=Refused("No such file.")))
    assert report.columns == ()
    rendered(report)


def test_five_hundred_columns(ran: Callable[..., Ran]) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 5)) @ rng.normal(size=(5, 500)) + rng.normal(size=(700, 500))
    X[:, ::5][rng.random((700, 100)) < 0.02] = np.nan
    frame = pd.DataFrame(X, columns=[f"a_column_with_a_long_name_{j}" for j in range(500)])
    _, _, report = ran(frame, model={"max_iter": 2})
    assert len(report.columns) == 500
    assert len(report.imputed) == 100
    parts = Parts()
    assert len(render.html(report, parts).encode()) < 3_000_000
    assert len(render.markdown(report, parts=parts).encode()) < 300_000


def test_no_page_shows_a_single_cell(ran: Callable[..., Ran]) -> None:
    """Neither the ends of a column nor the row of a rare pattern."""
    frame = table(300)[["plain", "share", "steady"]]
    frame.loc[:299, "plain"] += 1000
    low, high = 13.579111, 98765.4321
    frame.loc[7, "plain"], frame.loc[9, "plain"] = low, high
    frame.loc[11] = [np.nan, np.nan, 2.718281]
    frame.loc[(frame["plain"].isna() & frame["share"].isna()) & (frame.index != 11), "share"] = 50.0
    run, _, report = ran(frame, columns={"impute": ["plain", "share"]})
    assert report.patterns is not None
    assert report.patterns.rows[-1].count == 1
    text = rendered(report) + run.folder.numbers.read_text()
    for cell in ("13.579", "98765", "98,765", "2.7182", "2.718"):
        assert cell not in text.replace("data:image", "\n"), cell


def test_the_numbers_of_an_older_version_can_be_read(report_of_an_older_version: Report) -> None:
    old = report_of_an_older_version
    assert old.drift is None
    assert old.patterns is not None
    assert old.patterns.with_means == ()
    assert "44 missing cells were filled" in rendered(old)
    assert rendered(replace(old, columns=()))


@pytest.fixture
def report_of_an_older_version() -> Report:
    path = Path(__file__).parents[1] / "reporting" / "report_of_0.1.0.json"
    return Report.from_dict(json.loads(path.read_text()))


def with_notes(rows: int = 400) -> pd.DataFrame:
    """A table that also has text with holes, which the default job does not fill."""
    frame = table(rows)[["plain", "steady"]]
    frame["sex"] = np.where(np.arange(rows) % 4 == 0, None, "f")
    frame["note"] = [None if i % 8 == 0 else f"note {i}" for i in range(rows)]
    return frame


def test_cells_that_are_left_missing_are_a_warning(ran: Callable[..., Ran]) -> None:
    frame = with_notes()
    _, _, report = ran(frame)
    filled = int(frame["plain"].isna().sum())
    assert report.verdict.outcome == "published with warnings"
    assert report.verdict.sentence.startswith(
        f"{filled} missing cells were filled, 150 were left missing, and the table was written to"
    )
    assert report.warnings == (
        "100 cells of sex (text) were left missing; list it under categories to fill it, or name "
        "in columns.impute what is to be filled.",
        "50 cells of note (text, more than 50 levels) were left missing; join the rare levels and "
        "list it under categories to fill it, or name in columns.impute what is to be filled.",
    )
    assert [column.name for column in report.left] == ["sex", "note"]
    assert (report.left_cells, in_brief(report).left_cells) == (150, 150)
    assert report.left_cells + report.imputed_cells == report.missing_cells
    for page in (render.html(report), render.markdown(report)):
        assert "100 of " in page
        assert "text; list it under categories to fill it" in page
    assert "published with warnings, 150 cells left missing\n" in render.markdown(report)
    left = '<dt>Left missing</dt><dd><a href="#meaning-of-left-missing">150</a></dd>'
    assert left in render.html(report)


def test_cells_that_the_job_leaves_are_told_quietly(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(with_notes(), columns={"impute": ["plain"]})
    assert report.warnings == ()
    assert report.verdict.outcome == "published"
    assert ", 150 were left missing, and the table" in report.verdict.sentence
    assert report.verdict.sentence.endswith("; no check warned.")
    for page in (render.html(report), render.markdown(report)):
        assert "not named in columns.impute" in page


def test_nothing_is_said_of_what_is_filled(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table(), **OPTIONS)
    assert report.left == ()
    assert "left missing" not in rendered(report).lower()


def test_a_refused_run_says_what_would_be_left(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(with_notes(), fit=False)
    assert report.warnings[0].startswith("100 cells of sex (text) would be left missing;")
    assert "left missing" not in report.verdict.sentence


def test_very_many_columns_that_are_left_are_counted(ran: Callable[..., Ran]) -> None:
    frame = table()[["plain", "steady"]]
    for j in range(60):
        frame[f"t{j}"] = np.where(np.arange(400) % 100 == 0, None, "a")
    _, _, report = ran(frame)
    assert len(report.warnings) == 1
    assert "and 228 of 57 more columns (text) were left missing" in report.warnings[0]
    for page in (render.html(report), render.markdown(report)):
        assert "and 160 of 40 more columns" in page


def test_a_fit_that_ended_at_a_saddle_is_a_warning_said_once(ran: Callable[..., Ran]) -> None:
    murray = pd.DataFrame(MURRAY, columns=["a", "b"])
    _, found, report = ran(murray, model={"prior": 0.0})
    assert sum("saddle point" in sentence for sentence in found.warnings) == 1
    assert any("n_starts: 5" in sentence for sentence in found.decisions)
    assert report.fit is not None
    assert report.fit.status == "saddle"
    assert "saddle point" in report.verdict.sentence
    _, found, report = ran(murray, model={"prior": 0.0, "n_starts": 5})
    assert not any("saddle point" in sentence for sentence in found.warnings)
    assert report.fit is not None
    assert report.fit.status == "converged"


def test_the_means_by_delta_are_those_of_tables_filled_with_it(ran: Callable[..., Ran]) -> None:
    frame = table()
    for delta in (-1.0, 0.5):
        run, _, report = ran(frame, imputation={"delta": {"plain": delta}}, **OPTIONS)
        filled = pd.read_parquet(run.job.target.path)
        shown = report.sensitivity
        assert shown is not None
        # Three of the columns of numbers are transformed or bounded.
        assert ([row.column for row in shown.rows], shown.left_out) == (["plain"], 3)
        [row] = shown.rows
        expected = filled["plain"].mean()
        assert row.means[shown.deltas.index(delta)] == pytest.approx(expected, rel=1e-5)


def test_means_of_groups_move_without_an_interval(ran: Callable[..., Ran]) -> None:
    frame = table(330)[["plain", "steady"]].assign(site=["north"] * 200 + ["south"] * 130)
    run, _, report = ran(frame, columns={"group_by": ["site"]}, imputation={"delta": {"plain": 1}})
    assert report.sensitivity is not None
    [row] = report.sensitivity.rows
    filled = pd.read_parquet(run.job.target.path)
    assert row.means[-1] == pytest.approx(filled["plain"].mean(), rel=1e-5)
    assert row.tipping is None
    assert report.sensitivity.sentences == ()
