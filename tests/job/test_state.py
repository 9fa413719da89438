"""`state` in a job: durations, what it does not go with, and the job of one day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from job_files import complaints, load

from em_impute.job import Job
from em_impute.job.dates import date_in

DATED = "name: air\nsource: {path: 'in/{date}.csv'}\ntarget: {path: 'out/{date}.csv'}\n"
NOT_A_DURATION = (
    "expected a number of days or weeks, up to a hundred years, such as 90 days or 12 weeks"
)


@pytest.mark.parametrize(
    ("written", "days"),
    [("90 days", 90), ("1 day", 1), ("12 weeks", 84), ("P90D", 90), ("2 Weeks", 14)],
)
def test_durations_are_written_in_words(written: str, days: int) -> None:
    job = load(f"{DATED}state: {{path: s, window: {written}, half_life: {written}}}")
    assert job.state is not None
    assert job.state.window == job.state.half_life == timedelta(days=days)
    assert Job.model_validate(job.model_dump(mode="json")) == job


@pytest.mark.parametrize("written", ["90", "0 days", "PT12H", "-3 days", "1.5 days", "a while"])
def test_what_is_no_duration_is_explained(written: str) -> None:
    [complaint] = complaints(f"{DATED}state: {{path: s, window: {written}}}")
    assert complaint == f"4:26: state.window: {NOT_A_DURATION}"


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("state: {path: 's3://a/b'}", "a state at a URL is not supported"),
        ("state: {path: 's/{date}'}", "the state is one for all dates; remove {date} from its"),
        ("state: {path: in}", "the folder of the state and the source are one"),
        ("state: {path: out}", "the folder of the state and the target are one"),
        ("state: {path: s}\ncolumns: {group_by: [a]}", "remove columns.group_by, or the state"),
        (
            "state: {path: s, half_life: 3 days}\nimputation: {method: multiple}",
            "half_life: rows that count less than once have no posterior distribution",
        ),
        (
            "state: {path: s}\nimputation: {method: multiple, posterior: bootstrap}",
            "`posterior: bootstrap` resamples rows, and a state keeps sums of those of other",
        ),
    ],
)
def test_what_a_state_does_not_go_with_is_said(section: str, complaint: str) -> None:
    [found] = complaints(DATED + section)
    assert complaint in found


def test_half_life_goes_with_draws_at_the_estimate() -> None:
    multiple = "imputation: {method: multiple, draws: 5, posterior: ml}"
    assert load(f"{DATED}state: {{path: s, half_life: 3 days}}\n{multiple}").state


def test_a_database_needs_a_date_in_its_query() -> None:
    base = "name: a\nsource: {url: 'sqlite:///a.db', %s}\ntarget: {path: o.csv}\nstate: {path: s}"
    [found] = complaints(base % "table: t")
    assert "the source has the same name on each date" in found
    assert load(base % """query: "select * from t where day = '{date}'" """).state


def test_the_job_of_a_day_gives_that_of_another() -> None:
    job = load(DATED)
    one = job.at(date(2026, 1, 2))
    assert (one.day, job.day) == (date(2026, 1, 2), None)
    assert one.at(date(2026, 1, 3)).source == job.at(date(2026, 1, 3)).source
    assert one.of_any_day is job


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("in/{date}.csv", "2026-01-02"),
        ("in/{date:%Y-%m}.csv", "2026-01"),
        ("in/{date:%Y}/{date:%m}/{date:%d}.csv", "2026 01 02"),
        ("{date:%Y}/{date:%Y}.csv", "2026"),
        ("in.csv", ""),
    ],
)
def test_how_a_source_writes_its_date(path: str, written: str) -> None:
    job = load(DATED.replace("in/{date}.csv", path))
    assert date_in(job.source, date(2026, 1, 2)) == written
