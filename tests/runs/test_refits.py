"""Nightly refits with a state: the same estimate as of all rows at once, from one day's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from daily import (
    COLUMNS,
    Nights,
    assert_same_estimate,
    day,
    estimate,
    full_fit,
    gathered,
)
from holed_tables import factor_table

from em_impute.job import Columns, Imputation, Job
from em_impute.runs import steps
from em_impute.runs.history import read_report
from em_impute.runs.manifest import read_manifest
from em_impute.runs.recompute import verify
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.state.gathering import plan


def test_thirty_nights_give_the_estimate_of_all_rows_at_once(tmp_path: Path) -> None:
    """A day that is delivered again counts once, and one that left the window not at all."""
    nights = Nights(tmp_path, {"window": "20 days"})
    tables = {}
    for number in range(30):
        tables[number] = nights.deliver(number)
        found = nights.run(number)
        assert gathered(found).rows_read == 200
        assert not found.not_kept
    last = {number: tables[number] for number in range(10, 30)}
    assert_same_estimate(found, full_fit(last))
    assert gathered(found).rows_kept == 19 * 200
    assert gathered(found).dropped == (day(9).isoformat(),)
    assert gathered(found).start is not None

    last[29] = nights.deliver(29, rows=150, seed=77)
    again = nights.run(29)
    assert_same_estimate(again, full_fit(last))
    [sentence] = gathered(again).sentences
    assert sentence.startswith("2026-03-30 was delivered again with other content")

    last[22] = nights.deliver(22, seed=78)
    nights.run(22)
    del last[10], last[11]
    last[30], last[31] = nights.deliver(30), nights.deliver(31)
    nights.run(30)
    assert_same_estimate(nights.run(31), full_fit(last))


def test_each_row_counts_half_as_much_after_a_half_life(tmp_path: Path) -> None:
    nights = Nights(tmp_path, {"half_life": "5 days"})
    tables = {}
    for number in (0, 1, 2, 4, 5, 6, 7, 8, 9, 12, 16, 17, 18, 23):
        tables[number] = nights.deliver(number, rows=60)
        found = nights.run(number)
    weights = {number: 0.5 ** ((23 - number) / 5) for number in tables}
    assert_same_estimate(found, full_fit(tables, weights))
    assert gathered(found).summary.n_rows == 60 * len(tables)


def test_a_refused_or_killed_run_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.deliver(0)
    nights.run(0)
    before = nights.files()
    nights.deliver(1)
    nights.run(1, publish=False)
    assert nights.files() == before


def test_a_late_day_is_estimated_from_the_days_before_it(tmp_path: Path) -> None:
    """Days after it are not used, and stay; a window of the latest day still rules what is kept."""
    nights = Nights(tmp_path, {"window": "10 days"})
    tables = {number: nights.deliver(number) for number in (0, 1, 2, 3, 5, 6)}
    for number in tables:
        nights.run(number)
    tables[4] = nights.deliver(4)
    assert_same_estimate(nights.run(4), full_fit({k: X for k, X in tables.items() if k <= 4}))
    tables[7] = nights.deliver(7)
    assert_same_estimate(nights.run(7), full_fit(tables))


def test_two_runs_at_once_are_both_kept(tmp_path: Path) -> None:
    """The second has read the state before the first has changed it."""
    nights = Nights(tmp_path)
    tables = {number: nights.deliver(number) for number in range(4)}
    nights.run(0)
    one = nights.run(1, publish=False)
    job = nights.last.job
    nights.run(2)
    assert not steps.update_state(job, one.fitted)
    assert_same_estimate(nights.run(3), full_fit(tables))


def test_a_changed_job_begins_anew_from_the_sources_that_are_there(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    tables = {}
    for number in range(6):
        tables[number] = nights.deliver(number)
        nights.write(number, pd.DataFrame(np.exp(tables[number] / 10), columns=COLUMNS))
        nights.run(number)
    Path(str(nights.job.at(day(2)).source.path)).unlink()
    columns = {"transform": {"b": "log"}}
    changed = nights.job.model_copy(update={"columns": Columns.model_validate(columns)})
    found = nights.run(5, job=changed)
    assert gathered(found).sentences == (
        f"The state {nights.state} begins anew: columns.transform of 'b' changed from none to log. "
        "4 of its 5 other dates were read again.",
    )
    seen = {k: np.exp(X / 10) for k, X in tables.items() if k != 2}
    for X in seen.values():
        X[:, 1] = np.log(X[:, 1])
    assert_same_estimate(found, full_fit(seen))
    assert not gathered(nights.run(5, job=changed)).sentences


def test_a_run_that_a_changed_job_has_overtaken_does_not_touch_the_state(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    for number in range(3):
        nights.write(number, pd.DataFrame(np.exp(nights.deliver(number) / 10), columns=COLUMNS))
    nights.run(0)
    slow = nights.run(1, publish=False)
    job = nights.last.job
    columns = Columns.model_validate({"transform": {"b": "log"}})
    nights.run(2, job=nights.job.model_copy(update={"columns": columns}))
    before = nights.files()
    assert steps.update_state(job, slow.fitted) == (
        f"The rows of this run are not in the state {nights.state}: another run has begun it "
        "anew for other columns or options meanwhile. Run this date again, or the next models do "
        "without them."
    )
    assert nights.files() == before


def test_levels_are_those_that_all_nights_have_shown(tmp_path: Path) -> None:
    """A night without a level changes nothing, one with a new level begins the state anew."""
    columns = {"categories": {"kind": "nominal", "size": ["small", "large"]}}
    nights = Nights(tmp_path, columns=columns)
    kinds = {0: "xyz", 1: "xy", 2: "xyzw"}
    frames = {}
    for number, levels in kinds.items():
        frame = pd.DataFrame(nights.deliver(number), columns=COLUMNS)
        frame["kind"] = np.resize(list(levels), len(frame))
        frame["size"] = np.resize(["large", *["small"] * (number + 1)], len(frame))
        frames[number] = frame
        nights.write(number, frame)
        found = nights.run(number)
        if number == 1:
            assert not gathered(found).sentences
    [sentence] = gathered(found).sentences
    assert "the levels of 'kind' changed from 3 to 4, 1 of them new. 2 of its 2" in sentence
    assert gathered(found).summary.n_rows == 600


@pytest.mark.parametrize("as_written", [str, pd.Categorical])
def test_a_level_that_only_other_nights_have_shown_can_be_filled_in(
    tmp_path: Path, as_written: Callable[..., object]
) -> None:
    """Also in a column of codes, whose dictionary does not have it."""
    nights = Nights(tmp_path, columns={"categories": {"kind": "nominal"}})
    rng = np.random.default_rng(1)
    for number, rows in ((0, 4000), (1, 200)):
        a = 3 * rng.normal(size=rows)
        kinds = pd.Series(np.select([a > 3, a > -3], ["high", "mid"], "low"))
        if number:
            kinds[kinds == "high"] = None
        kind = kinds if as_written is str else pd.Categorical(kinds)
        nights.write(number, pd.DataFrame({"a": a, "b": a + rng.normal(size=rows), "kind": kind}))
        nights.run(number)
    published = pd.read_parquet(Path(str(nights.last.job.target.path)))
    assert published["kind"].notna().all()
    assert (published["kind"] == "high").any()


def test_self_test_refit_hides_cells_of_the_table_among_all_rows_of_the_model(
    tmp_path: Path,
) -> None:
    """What its second fit is made to are the rows of all nights, tonight's with hidden cells."""
    nights = Nights(tmp_path, self_test={"method": "refit", "max_share": 0.5})
    for number in range(3):
        X = nights.deliver(number)
        found = nights.run(number)
    held = gathered(found)
    hidden = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    with_holes = held.with_rows([hidden[:70], hidden[70:]])
    assert with_holes.n_rows == held.summary.n_rows == 600
    lost = held.summary.observed_counts - with_holes.observed_counts
    np.testing.assert_array_equal(
        lost, (~np.isnan(X)).sum(axis=0) - (~np.isnan(hidden)).sum(axis=0)
    )
    assert found.tested is not None
    assert not found.tested.note


def test_a_night_without_holes_is_kept_too(tmp_path: Path) -> None:
    """And verified, though it has no model."""
    nights = Nights(tmp_path)
    X = factor_table(50, 4, 0.0, seed=5)
    nights.write(0, pd.DataFrame(X, columns=COLUMNS))
    nights.reported(0)
    assert verify(nights.last.folder.path).agreement == "equal"
    tables = {0: X, 1: nights.deliver(1)}
    assert_same_estimate(nights.run(1), full_fit(tables))


def test_a_run_with_a_state_is_verified_from_what_its_folder_keeps(tmp_path: Path) -> None:
    nights = Nights(tmp_path, {"half_life": "3 days"})
    for number in range(3):
        nights.deliver(number)
        nights.reported(number)
    run = nights.last
    nights.deliver(3)
    nights.reported(3)
    found = verify(run.folder.path)
    assert found.agreement == "equal"
    assert found.sentences[1] == (
        "The model is of 600 rows, as summary.npz has them; only the table's 200 were read again."
    )
    nights.deliver(2, seed=9)
    assert verify(run.folder.path).agreement == "cannot be verified"


def test_two_dates_with_one_source_count_once(tmp_path: Path) -> None:
    """A month's file that is run on several days: the last delivery counts, at its last date."""
    nights = Nights(tmp_path, source={"path": str(tmp_path / "in" / "{date:%Y-%m}.parquet")})
    tables = {30: nights.deliver(30), 31: nights.deliver(31)}
    nights.run(30)
    found = nights.run(31)
    assert [p.name for p in gathered(found).partitions] == ["2026-03", "2026-04"]
    again = nights.run(35)
    assert not gathered(again).sentences
    assert_same_estimate(again, full_fit(tables))
    assert [p.day for p in gathered(again).partitions] == [day(30), day(35)]


def test_what_a_run_would_do_is_told_without_doing_it(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    job = nights.job.at(day(1))

    def told(made: Job) -> str:
        folder = open_run_folder(tmp_path / "runs", "plan", "plan")
        table = steps.load(made, folder)
        folder.clear()
        return plan(made, table, table.roles)

    for number in (0, 1):
        frame = pd.DataFrame(np.exp(nights.deliver(number) / 10), columns=COLUMNS)
        nights.write(number, frame)
    assert told(job) == f"A run would begin the state {nights.state} with 200 rows."
    nights.run(0)
    before = nights.files()
    assert told(job) == (
        f"The state {nights.state} holds 200 rows in 1 partition, {day(0)} to {day(0)}; a run "
        "would sum up 200 rows and take the others from there."
    )
    columns = Columns.model_validate({"transform": {"b": "log"}})
    assert told(job.model_copy(update={"columns": columns})) == (
        f"A run would begin the state {nights.state} anew: columns.transform of 'b' changed from "
        "none to log."
    )
    assert nights.files() == before


def test_the_report_tells_rows_of_the_table_from_those_of_the_model(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    for number in range(3):
        X = nights.deliver(number, rows=100 + number)
        nights.reported(number)
    report = read_report(nights.last.folder)
    assert report.rows == 102
    assert report.missing_cells == int(np.isnan(X).sum())
    assert report.patterns is not None
    assert report.patterns.total_rows == 102
    for name, column in zip(COLUMNS, X.T, strict=True):
        [described] = [c for c in report.columns if c.name == name]
        assert described.observed.mean == pytest.approx(np.nanmean(column))
        assert described.observed.count == (~np.isnan(column)).sum()
    rows = report.rows_of_model
    assert rows is not None
    assert (rows.rows, rows.read, rows.kept, rows.partitions) == (303, 102, 201, 3)
    assert rows.sentences == (
        f"The model is of 303 rows in 3 partitions, {day(0)} to {day(2)}: 102 rows were summed up "
        f"in this run, 201 came from the state {nights.state}.",
    )
    assert rows.sentences[0] in unescape(nights.last.folder.report.read_text())
    assert read_manifest(nights.last.folder)["rows_of_model"]["kept"] == 201


def test_a_rolling_estimate_has_no_standard_errors_and_says_why(tmp_path: Path) -> None:
    imputation = {"method": "multiple", "draws": 3, "posterior": "ml"}
    nights = Nights(tmp_path, {"half_life": "2 days"}, imputation=imputation)
    for number in range(2):
        nights.deliver(number)
        nights.reported(number)
    report = read_report(nights.last.folder)
    assert report.means is None
    assert report.mcar_tests
    assert all("The rows have weights" in test.why_not for test in report.mcar_tests)
    assert report.rows_of_model is not None
    assert report.rows_of_model.sentences[1] == "A row counts half as much after 2 days."
    published = pd.read_parquet(Path(str(nights.last.job.target.path)))
    assert len(published) == 600


def test_models_of_several_imputations_are_drawn_from_all_rows(tmp_path: Path) -> None:
    """Their spread is that of an estimate from three nights, not from one."""
    imputation = {"method": "multiple", "draws": 40}
    nights = Nights(tmp_path, imputation=imputation)
    alone = nights.job.model_copy(update={"imputation": Imputation()})
    for number in range(3):
        nights.deliver(number, seed=7)
        found = nights.run(number, job=nights.job if number == 2 else alone)
    assert found.fitted is not None
    assert found.fitted.drawn is not None
    means = np.array([m.of_all.mean for m in found.fitted.drawn.models if m.of_all])
    errors = estimate(found).estimates().set_index("parameter")["std_error"]
    expected = [errors[f"mean of {name}"] for name in COLUMNS]
    np.testing.assert_allclose(means.std(axis=0), expected, rtol=0.4)


def test_nights_of_a_query_are_told_by_the_date_in_it(tmp_path: Path) -> None:
    tables = {}
    with sqlite3.connect(tmp_path / "in.db") as connection:
        for number in range(3):
            tables[number] = factor_table(200, len(COLUMNS), 0.2, seed=number)
            frame = pd.DataFrame(tables[number], columns=COLUMNS).assign(day=str(day(number)))
            frame.to_sql("measured", connection, if_exists="append", index=False)
    query = "select a, b, c, d from measured where day = '{date}'"
    source = {"url": f"sqlite:///{tmp_path / 'in.db'}", "query": query}
    nights = Nights(tmp_path, source=source)
    for number in range(3):
        found = nights.run(number)
        assert not gathered(found).sentences
    assert_same_estimate(found, full_fit(tables))
