"""What a report says of a run, against pandas on the run's own input and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from holed_tables import MURRAY

from em_impute.gaussian import GaussianModel, PatternSummary, little_mcar_test
from em_impute.job import Job
from em_impute.reporting import render
from em_impute.reporting.brief import in_brief
from em_impute.reporting.missingness import FEWEST_ROWS
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.runs.manifest import read_manifest
from em_impute.runs.measure import report_numbers, with_manifest
from em_impute.runs.run import Found, Refused, Run, manifest
from em_impute.tables import groups, sources, summarise, targets
from em_impute.tables.columns.roles import assign_roles, count_blanks
from em_impute.tables.fill import fill
from em_impute.tables.groups import Fitted
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
            count_blanks(sources.take_snapshot(made.source, folder.snapshot, 64), made),
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


def test_moments_before_and_after_are_those_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, filled = mixed
    for column in report.columns:
        before, missing = frame[column.name], frame[column.name].isna()
        assert column.missing == missing.sum() == column.imputed.count
        assert column.missing_share == pytest.approx(missing.mean())
        assert column.observed.count == before.count()
        if column.name == "grade":
            assert (column.observed.mean, column.imputed.mean) == (None, None)
            continue
        assert column.observed.mean == pytest.approx(before.mean())
        assert column.observed.sd == pytest.approx(before.std(ddof=0))
        after = filled.loc[missing, column.name]
        if len(after):
            assert column.imputed.mean == pytest.approx(after.mean())
            assert column.imputed.sd == pytest.approx(after.std(ddof=0))
    transforms = {column.name: column.transform for column in report.columns}
    assert transforms["amount"] == "log"
    assert transforms["share"] == "logit"
    assert transforms["plain"] == ""


def test_patterns_and_their_means_are_those_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    """Transformed columns, too, have the means of the table's own cells."""
    (_, _, report), frame, _ = mixed
    patterns = report.patterns
    assert patterns is not None
    assert set(patterns.columns) == set(MODEL)
    observed = [frame[name].notna() for name in patterns.columns]
    counts = frame.groupby(observed).size()
    means = frame[[*NUMBERS, "steady"]].groupby(observed).mean()
    assert patterns.total_patterns == len(counts)
    for pattern in patterns.rows:
        assert pattern.count == counts.loc[pattern.observed]
        if pattern.count < FEWEST_ROWS:
            assert not pattern.means
            continue
        for name, mean in zip(patterns.columns, pattern.means, strict=True):
            expected = np.nan if name == "grade" else means.loc[pattern.observed, name]
            known = np.nan if mean is None else mean
            assert known == pytest.approx(expected, nan_ok=True), name


def test_little_s_test_is_told(mixed: tuple[Ran, pd.DataFrame, pd.DataFrame]) -> None:
    (run, found, report), _, _ = mixed
    assert found.fitted is not None
    assert found.fitted.result is not None
    test = little_mcar_test(PatternSummary.load(run.folder.summary), found.fitted.result.model)
    told = report.completely_at_random
    assert told is not None
    assert (told.statistic, told.df, told.p_value) == (test.statistic, test.df, test.p_value)
    assert told.p_value < 0.001
    assert "Little&#39;s test" not in (page := render.html(report))
    assert f"χ² {told.statistic:.1f} with {told.df} degrees of freedom, p below 0.001" in page


def test_why_little_s_test_was_not_made_is_told(ran: Callable[..., Ran]) -> None:
    """Every row lacks two other columns than all others do."""
    pairs = np.array(list(combinations(range(20), 2)))
    X = np.random.default_rng(14).normal(size=(len(pairs), 20))
    np.put_along_axis(X, pairs, np.nan, axis=1)
    _, _, report = ran(pd.DataFrame(X).rename(columns="c{}".format))
    assert report.completely_at_random is None
    assert "nearly every row has a pattern of its own" in report.not_tested


def test_what_goes_missing_together_is_that_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, _ = mixed
    assert report.together is not None
    missing = frame.isna()[list(report.together.columns)].astype(float)
    assert np.array_equal(report.together.both, missing.T @ missing)
    assert report.together.correlations() == pytest.approx(missing.corr().to_numpy())
    assert report.missingness is not None
    assert report.missingness.complete_columns == 1


def test_imputed_cells_are_those_of_the_ledger(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (run, _, report), frame, filled = mixed
    ledger = pd.read_parquet(run.folder.cells)
    assert {cells.column for cells in report.imputed} == set(NUMBERS)
    for cells in report.imputed:
        name = cells.column
        mine = ledger[ledger["column"] == name]
        sd = next(c.em.sd for c in report.columns if c.name == name)
        assert cells.count == len(mine)
        assert cells.sd_mean == pytest.approx((mine["sd"] / sd).mean())
        assert cells.sd_median == pytest.approx((mine["sd"] / sd).median())
        after = filled.loc[frame[name].isna(), name]
        beyond = (after < frame[name].min()) | (after > frame[name].max())
        assert cells.beyond == beyond.sum()
        assert cells.share_beyond == pytest.approx(beyond.mean())
        if name == "whole":
            assert cells.at_bound == after.isin([12, 14]).sum() > 0
        else:
            assert cells.at_bound == (0 if name == "amount" else None)


def test_levels_are_counted_as_pandas_counts_them(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, filled = mixed
    [levels] = report.levels
    assert (levels.column, levels.levels) == ("grade", ("low", "mid", "high"))
    before, after = frame["grade"].value_counts(), filled["grade"].value_counts()
    assert levels.observed == tuple(before[list(levels.levels)])
    assert levels.imputed == tuple((after - before)[list(levels.levels)])


def test_histograms_count_every_cell(mixed: tuple[Ran, pd.DataFrame, pd.DataFrame]) -> None:
    (_, _, report), frame, filled = mixed
    assert {item.column for item in report.distributions} == set(NUMBERS)
    for item in report.distributions:
        missing = frame[item.column].isna()
        for counts, cells in (
            (item.observed, frame.loc[~missing, item.column]),
            (item.imputed, filled.loc[missing, item.column]),
        ):
            assert list(counts) == np.histogram(cells, item.edges)[0].tolist()


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


# --- Tables at the edge ------------------------------------------------------------------------


def rendered(report: Report) -> str:
    """Both pages, and the columns' table; none may fail."""
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert again == report
    return render.html(report) + render.markdown(report) + json.dumps(render.column_table(report))


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
    assert len(render.html(report).encode()) < 3_000_000
    assert len(render.markdown(report).encode()) < 300_000


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


# --- Since the last published run --------------------------------------------------------------


def test_the_first_run_has_nothing_to_compare_with(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table(), **OPTIONS)
    assert report.drift is None


def test_a_run_is_compared_with_the_last_that_published(ran: Callable[..., Ran]) -> None:
    first, _, _ = ran(table(seed=1), **OPTIONS)
    moved = table(seed=2)
    moved["plain"] += 100
    ran(moved, publish=False, **OPTIONS)
    _, _, report = ran(table(seed=3), **OPTIONS)
    assert report.drift is not None
    assert report.drift.run == first.id
    assert [change.column for change in report.drift.columns] == MODEL
    assert not report.drift.drifted
    assert report.verdict.outcome == "published"


def test_drift_is_a_warning_with_its_changes(ran: Callable[..., Ran]) -> None:
    before, _, _ = ran(table(seed=1), **OPTIONS)
    moved = table(seed=2)
    moved["plain"] += 20
    moved.loc[::2, "share"] = np.nan
    _, _, report = ran(moved, **OPTIONS)
    assert report.drift is not None
    assert report.drift.drifted
    model = GaussianModel.load(before.folder.model)
    [plain] = [change for change in report.drift.columns if change.column == "plain"]
    now = next(column.em.mean for column in report.columns if column.name == "plain")
    at = model.columns.index("plain")
    assert now is not None
    assert plain.mean == pytest.approx((now - model.mean[at]) / model.sd[at])
    assert plain.moved == ("mean",)
    assert report.verdict.outcome == "published with warnings"
    assert report.warnings == (report.drift.warning,)
    text = rendered(report)
    for sentence in report.drift.sentences:
        assert render.html(report).count(sentence.replace("'", "&#39;")) >= 1, sentence
    assert "Since the last published run" in text


def test_no_drift_is_warned_of_when_the_job_says_so(ran: Callable[..., Ran]) -> None:
    ran(table(seed=1), **OPTIONS)
    moved = table(seed=2)
    moved["plain"] += 20
    _, _, report = ran(moved, report={"drift": None}, **OPTIONS)
    assert report.drift is not None
    assert not report.drift.drifted
    assert max(abs(change.mean or 0) for change in report.drift.columns) > 2


def test_a_column_that_takes_part_in_another_way_is_not_compared(ran: Callable[..., Ran]) -> None:
    ran(table(seed=1), **OPTIONS)
    other = dict(OPTIONS["columns"], transform={"share": {"logit": [0, 100]}})
    _, _, report = ran(table(seed=2), columns=other)
    assert report.drift is not None
    assert report.drift.new_columns == ("amount",)
    assert "amount" not in {change.column for change in report.drift.columns}


def night(day: date, *, predictor: str = "day", rows: int = 400) -> pd.DataFrame:
    """A table of one night: what predicts goes on from night to night, all else is as it was."""
    frame = table(rows, seed=day.toordinal())[["plain", "steady"]]
    since, hours = (day - date(2026, 1, 1)).days, np.arange(rows) % 24
    places = np.random.default_rng(0).permutation(rows)
    stamps = pd.Timestamp(day) + pd.to_timedelta(hours, "h")
    return frame.assign(
        **{
            "day": {"day": stamps},
            "date": {"date": [day - timedelta(days=i % 3) for i in range(rows)]},
            "counter": {"counter": since * rows + np.arange(rows)},
            "shuffled": {"shuffled": since * rows + places},
            "order_id": {
                "order_id": 10**6 * since + 17 * np.random.default_rng(0).permutation(rows)
            },
            "epoch": {"created_at": stamps.as_unit("s").astype("int64")},
            "whole": {"at": [20260000 + day.month * 100 + 1 + i % 5 for i in range(rows)]},
        }[predictor]
    )


@pytest.mark.parametrize(
    "predictor", ["day", "date", "counter", "shuffled", "order_id", "epoch", "whole"]
)
def test_a_predictor_that_goes_on_is_no_drift(ran: Callable[..., Ran], predictor: str) -> None:
    name = {"epoch": "created_at", "whole": "at"}.get(predictor, predictor)
    columns = {"predictors": [name, "steady"]}
    reports = [
        ran(night(day, predictor=predictor), day=day, columns=columns)[2]
        for day in (date(2026, 3, 1), date(2026, 4, 2), date(2026, 5, 3))
    ]
    for report in reports[1:]:
        assert report.drift is not None
        assert report.drift.move_on == (name,)
        assert [change.column for change in report.drift.columns] == ["plain", "steady"]
        assert not report.drift.drifted
        assert report.verdict.outcome == "published"
        for page in (render.html(report), render.markdown(report)):
            assert "Not compared, because every table holds others: " in page


def test_a_model_of_nothing_but_what_goes_on_has_nothing_to_compare(
    ran: Callable[..., Ran],
) -> None:
    for n in range(2):
        frame = pd.DataFrame({"n": np.arange(60.0) + 100 * n})
        frame.loc[5, "n"] = np.nan
        _, _, report = ran(frame, day=date(2026, 3, 1 + n))
    assert report.drift is not None
    assert (report.drift.columns, report.drift.drifted) == ((), False)
    rendered(report)


DAYS = [date(2026, 3, n) for n in range(1, 6)]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_a_date_is_compared_with_the_date_before_in_whatever_order(
    ran: Callable[..., Ran], order: list[int]
) -> None:
    """As in a backfill; what ran in between does not count."""
    published: dict[int, str] = {}
    for n in order:
        frame = night(DAYS[n])[["plain", "steady"]]
        frame["plain"] += 0.5 * n
        run, _, report = ran(frame, day=DAYS[n], dated=True)
        before = max((m for m in published if m < n), default=None)
        if before is None:
            assert report.drift is None
        else:
            assert report.drift is not None
            assert report.drift.run == published[before]
            assert report.drift.date == DAYS[before].isoformat()
            assert f"Since the run of {DAYS[before]}" in render.markdown(report)
        published[n] = run.id


def test_a_date_that_is_run_again_is_compared_with_the_date_before(
    ran: Callable[..., Ran],
) -> None:
    def moved(by: float) -> pd.DataFrame:
        frame = table(seed=1)[["plain", "steady"]]
        frame["plain"] += by
        return frame

    first, _, _ = ran(moved(0), day=DAYS[0], dated=True)
    ran(moved(0), day=DAYS[0], dated=True, publish=False)
    ran(moved(100), day=DAYS[3], dated=True)
    ran(moved(50), day=DAYS[1], dated=True)
    _, _, again = ran(moved(0), day=DAYS[1], dated=True)
    assert again.drift is not None
    assert again.drift.run == first.id
    assert not again.drift.drifted
    _, _, once_more = ran(moved(80), day=DAYS[0], dated=True)
    assert once_more.drift is None
    _, _, later = ran(moved(200), day=DAYS[4], dated=True)
    assert later.drift is not None
    assert later.drift.warning.startswith("Drift since the run of 2026-03-04, ")


def test_a_run_of_an_early_version_has_the_date_on_which_it_began(ran: Callable[..., Ran]) -> None:
    first, _, _ = ran(table(seed=1), day=date(2026, 11, 22), **OPTIONS)
    content = json.loads(first.folder.manifest.read_text())
    del content["date"]
    first.folder.manifest.write_text(json.dumps(content))
    _, _, report = ran(table(seed=3), day=date(2026, 11, 23), dated=True, **OPTIONS)
    assert report.drift is not None
    assert (report.drift.run, report.drift.date) == (first.id, "2026-11-22")


@pytest.mark.parametrize("harm", ["", "{}", '{"format": "em_impute.gaussian"', "not JSON"])
@pytest.mark.parametrize("file", ["model", "numbers"])
def test_a_run_that_cannot_be_read_is_passed_over(
    ran: Callable[..., Ran], harm: str, file: str
) -> None:
    first, _, _ = ran(table(seed=1), **OPTIONS)
    second, _, _ = ran(table(seed=2), **OPTIONS)
    getattr(second.folder, file).write_text(harm)
    _, _, report = ran(table(seed=3), **OPTIONS)
    assert report.drift is not None
    assert report.drift.run == first.id


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


# --- What the models say of whole columns -------------------------------------------------------


def in_groups(rows: int = 900) -> pd.DataFrame:
    """Amounts that are of another size in each group, one of them too small for a model."""
    frame = table(rows)[["amount", "plain", "share", "steady"]]
    frame["site"] = np.where(np.arange(rows) < 30, "few", np.where(np.arange(rows) % 3, "a", "b"))
    frame.loc[frame["site"] == "b", "amount"] *= 6
    frame.loc[frame["site"] == "b", "plain"] += 40
    return frame


def test_estimates_of_columns_are_those_of_the_models_that_fill_them(
    ran: Callable[..., Ran],
) -> None:
    """By simulation: each group's rows from its model, the others from that of all rows."""
    frame = in_groups()
    transform = {"amount": "log", "share": {"logit": [0, 100]}}
    _, found, report = ran(frame, columns={"group_by": ["site"], "transform": transform})
    assert found.fitted is not None
    assert found.fitted.result is not None
    assert set(found.fitted.groups) == {"a", "b"}
    rng, parts = np.random.default_rng(0), []
    for site, rows in frame["site"].value_counts().items():
        model = found.fitted.groups.get(str(site), found.fitted.result.model)
        drawn = rng.multivariate_normal(model.mean, model.covariance, 500_000)
        parts.append(pd.DataFrame(drawn, columns=list(model.columns)).assign(weight=rows))
    cells = pd.concat(parts)
    cells["amount"] = np.exp(cells["amount"])
    cells["share"] = 100 / (1 + np.exp(-cells["share"]))
    columns = {column.name: column for column in report.columns}
    for name in ("plain", "steady", "share", "amount"):
        em, tolerance = columns[name].em, 0.03 if name == "amount" else 0.01
        mean = np.average(cells[name], weights=cells["weight"])
        sd = np.sqrt(np.average((cells[name] - mean) ** 2, weights=cells["weight"]))
        assert em.count == len(frame)
        assert em.mean == pytest.approx(mean, rel=tolerance, abs=0.01)
        assert em.sd == pytest.approx(sd, rel=tolerance)
    # The model of all rows, which takes the groups' distance for spread, says something else.
    alone = found.fitted.result.model
    at = alone.columns.index("amount")
    by_all = np.exp(alone.mean[at] + alone.covariance[at, at] / 2)
    assert columns["amount"].em.mean != pytest.approx(by_all, rel=0.05)
    assert "models of the groups estimate" in render.html(report)
    rendered(report)


def test_a_root_has_an_estimate_on_the_column_s_own_scale(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table()[["amount", "steady"]], columns={"transform": {"amount": "sqrt"}})
    amount = next(column for column in report.columns if column.name == "amount")
    assert amount.em.mean == pytest.approx(amount.observed.mean, rel=0.2)
    assert amount.em.sd == pytest.approx(amount.observed.sd, rel=0.5)


# --- What is left missing ----------------------------------------------------------------------


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
    assert "<dt>Left missing</dt><dd>150</dd>" in render.html(report)


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
