"""A table in files: its path, URL and format."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import FileSource, FileTarget, Job


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.feather", "feather"),
        ("a.arrow", "feather"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
    ],
)
def test_the_suffix_tells_the_format(name: str, file_format: str) -> None:
    assert FileTarget(path=Path(name)).file_format == file_format


def test_a_given_format_wins_over_the_suffix() -> None:
    assert FileSource(path=Path("a.csv"), format="parquet").file_format == "parquet"


def test_a_source_may_be_a_url() -> None:
    job = load(MINIMAL.replace("in.csv", '"s3://bucket/a.ndjson?region=eu-west-1"'))
    assert job.source.path == "s3://bucket/a.ndjson?region=eu-west-1"
    assert job.source.file_format == "jsonl"
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_a_file_url_is_a_local_path() -> None:
    job = load(MINIMAL.replace("in.csv", "file:///data/a%20b.csv"))
    assert job.source.path == Path("/data/a b.csv")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/a.csv",
        "s3://hunter2@bucket/a.csv",
        "s3://bucket/a.csv?secret_key=hunter2",
        "https://host/a.csv?sig=hunter2",
        "zip://a.csv::https://hunter2@host/b.zip",
        "zip://a.csv::https://host/b.zip?sig=hunter2",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    (complaint,) = complaints(MINIMAL.replace("in.csv", f'"{url}"'))
    assert complaint.startswith(
        "2:16: source.path: a URL in a job holds no password, key or token; remove it, and give it "
        "in the environment"
    )
    assert "hunter2" not in complaint


@pytest.mark.parametrize("url", ["s3://u:hunter2\u2100@bucket/a.csv", "https://[hunter2/a.csv"])
def test_a_url_that_python_cannot_read_is_not_repeated(url: str) -> None:
    (complaint,) = complaints(MINIMAL.replace("in.csv", f'"{url}"'))
    expected = "2:16: source.path: expected a URL, such as s3://bucket/table.parquet"
    assert complaint == expected
