"""The names of tables, by OpenLineage's conventions, without a login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from em_impute.job import Job
from em_impute.runs.lineage.datasets import Name, source_of, target_of
from em_impute.tables.databases.logins import LoginError

HERE = Path.cwd().as_posix()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ({"path": "/data/in.csv"}, ("file", "/data/in.csv")),
        ({"path": "data/in.csv"}, ("file", f"{HERE}/data/in.csv")),
        ({"path": "s3://bucket/day/in.parquet"}, ("s3://bucket", "day/in.parquet")),
        ({"path": "gcs://bucket/in.csv"}, ("gs://bucket", "in.csv")),
        ({"path": "s3://bucket/in.csv?region=eu-1"}, ("s3://bucket", "in.csv")),
        ({"path": "zip://in.csv::https://h:8/all.csv"}, ("https://h:8", "all.csv")),
        ({"path": "s3://lake/air", "format": "delta", "version": 3}, ("s3://lake", "air")),
        (
            {"url": "postgresql://me@db.example/sales", "table": "shop.orders"},
            ("postgres://db.example:5432", "sales.shop.orders"),
        ),
        (
            {"url": "postgresql://db:6543/sales?sslmode=require", "table": "orders"},
            ("postgres://db:6543", "sales.public.orders"),
        ),
        (
            {"url": "postgresql://db/sales", "query": "select 'Ada' as name"},
            ("postgres://db:5432", "sales.public.query of named"),
        ),
        (
            {"url": "duckdb:////srv/shop.duckdb", "table": "orders"},
            ("duckdb:///srv/shop.duckdb", "shop.main.orders"),
        ),
        (
            {"url": "sqlite:///shop.db", "table": "orders"},
            (f"sqlite://{HERE}/shop.db", "shop.main.orders"),
        ),
    ],
)
def test_a_source(place: dict[str, Any], name: tuple[str, str]) -> None:
    assert source_of(job(source=place)) == Name(*name)


def job(**places: Any) -> Job:
    given = {"source": {"path": "in.csv"}, "target": {"path": "out.csv"}} | places
    return Job.model_validate({"name": "named", **given})


def test_a_target_in_a_database_whose_url_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(target={"url": {"env": "LINEAGE_DB"}, "table": "filled"})
    monkeypatch.setenv("LINEAGE_DB", "postgresql://me:s3cret@db/sales?password=s3cret")
    assert target_of(one) == Name("postgres://db:5432", "sales.public.filled")
    monkeypatch.delenv("LINEAGE_DB")
    with pytest.raises(LoginError):
        target_of(one)
