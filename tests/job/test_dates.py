"""The data date in the names of source and target."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import CannotRun, DatabaseSource, DatabaseTarget, FileSource, Job


def dated(source: str = "in/{date}.csv", target: str = "out/{date:%Y/%m}.csv") -> Job:
    return load(f"name: a\nsource: {{path: '{source}'}}\ntarget: {{path: '{target}'}}\n")


def test_the_date_stands_in_source_and_target() -> None:
    job = dated().at(date(2026, 2, 3))
    assert (str(job.source), str(job.target)) == ("in/2026-02-03.csv", "out/2026/02.csv")
    assert isinstance(job.source, FileSource)
    assert isinstance(job.source.path, Path)
    url = dated(source="s3://lake/{date:%j}/x.parquet").at(date(2026, 2, 3))
    assert str(url.source) == "s3://lake/034/x.parquet"


def test_the_date_stands_in_tables_and_queries() -> None:
    job = load(
        "name: a\n"
        "source: {url: 'sqlite:///a.db', query: 'select * from t where day = ''{date}'';'}\n"
        "target: {url: 'sqlite:///a.db', table: 'day_{date:%Y%m%d}'}\n"
    ).at(date(2026, 2, 3))
    assert isinstance(job.source, DatabaseSource)
    assert job.source.query == "select * from t where day = '2026-02-03'"
    assert isinstance(job.target, DatabaseTarget)
    assert job.target.table == "day_20260203"


def test_a_job_without_a_place_for_the_date_is_the_same_every_day() -> None:
    job = load(MINIMAL)
    assert not job.is_dated
    assert job.at(date(2026, 2, 3)) == job
    assert dated().is_dated


def test_braces_of_others_stay() -> None:
    assert str(dated(source="in/{region}.csv").source) == "in/{region}.csv"


@pytest.mark.parametrize("path", ["in/{date.csv", "in/{date!r}.csv", "in/{dates}.csv"])
def test_what_looks_like_a_date_must_be_one(path: str) -> None:
    assert complaints(f"name: a\nsource: {{path: '{path}'}}\ntarget: {{path: o.csv}}\n") == [
        "2:16: source.path: expected {date}, or a format within, such as {date:%Y-%m-%d}"
    ]


@pytest.mark.parametrize("form", ["", "%H", "%", "%Y%", "%-d", "x"])
def test_a_date_is_written_with_known_parts(form: str) -> None:
    [complaint] = complaints(
        f"name: a\nsource: {{path: 'in/{{date:{form}}}.csv'}}\ntarget: {{path: o.csv}}\n"
    )
    assert complaint.startswith("2:16: source.path: a date is written with %Y, %y, %m, %d")


def test_a_target_that_is_the_source_on_one_day_is_refused() -> None:
    job = dated(source="in/{date}.csv", target="in/2026-02-03.csv")
    assert job.at(date(2026, 2, 4))
    with pytest.raises(CannotRun, match=r":3:9: target: on 2026-02-03 this is the source's own"):
        job.at(date(2026, 2, 3))
