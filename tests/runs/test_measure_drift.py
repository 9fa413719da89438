"""What has changed since the last run that published: which run that is, and what is compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from measured_runs import MODEL, OPTIONS, Ran, rendered, table

from em_impute.gaussian import GaussianModel
from em_impute.reporting import render


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
            assert "Not compared, because they differ in every table: " in page


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
