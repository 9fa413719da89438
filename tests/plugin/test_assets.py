"""The tables of a job as assets: their keys, and tables that have none."""

from __future__ import annotations

from typing import Any

import pytest

from em_impute.job import Job
from em_impute.plugin.assets import Assets, assets_of


def job(**tables: Any) -> Job:
    given = {"source": {"path": "/data/in.csv"}, "target": {"path": "/data/out.csv"}} | tables
    return Job.model_validate({"name": "keyed", **given})


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ({"path": "/data/day one.csv"}, "file:///data/day_one.csv"),
        ({"path": "s3://bucket/day/in.parquet"}, "s3://bucket/day/in.parquet"),
        ({"path": "s3://bucket/in.csv?region=eu-1"}, "s3://bucket/in.csv"),
        (
            {"url": "postgresql://me@db.example/sales", "table": "shop.orders"},
            "postgres://db.example:5432/sales.shop.orders",
        ),
        (
            {"url": "postgresql://db/sales", "query": "select 'Ada' as name"},
            "postgres://db:5432/sales.public.query_of_keyed",
        ),
        (
            {"url": "sqlite:////srv/shop.db", "table": "orders"},
            "sqlite:///srv/shop.db/shop.main.orders",
        ),
    ],
)
def test_the_key_of_a_source(place: dict[str, Any], key: str) -> None:
    assets = assets_of(job(source=place))
    assert assets.source is not None
    assert assets.source.key == key
    assert assets.target is not None
    assert assets.target.key == "file:///data/out.csv"


def test_a_table_without_a_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    long = {"path": f"/{'a/' * 300}out.csv"}
    nameless = job(source={"url": {"env": "NOWHERE"}, "table": "orders"}, target=long)
    assert assets_of(nameless) == Assets()
    assert assets_of(nameless).related() == []
