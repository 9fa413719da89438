"""What a job reads its source for, by the kinds of its source and target."""

from __future__ import annotations

from typing import Any

import pytest

from em_impute.job import Job
from em_impute.tables.reading.purpose import ANY, Purpose

CSV, JSON, PARQUET = {"path": "x.csv"}, {"path": "x.jsonl"}, {"path": "x.parquet"}
DATABASE = {"url": "sqlite:///x.sqlite", "table": "t"}
IN_FOLDERS = {"path": "out", "format": "csv", "partition_by": []}


def purpose(source: dict[str, Any], target: dict[str, Any], **columns: Any) -> Purpose:
    return Purpose.of(
        Job.model_validate({"name": "j", "source": source, "target": target, "columns": columns})
    )


@pytest.mark.parametrize("source", [CSV, JSON], ids=["csv", "jsonl"])
@pytest.mark.parametrize(
    ("target", "file_format"),
    [({"path": "y.csv"}, "csv"), ({"path": "y.jsonl"}, "jsonl"), (IN_FOLDERS, "csv")],
)
def test_from_text_to_text_spellings_are_kept_and_all_times_are_moments(
    source: dict[str, Any], target: dict[str, Any], file_format: str
) -> None:
    assert purpose(source, target, predictors=["t"]) == Purpose(file_format, None)


@pytest.mark.parametrize(
    ("source", "target"),
    [(CSV, {"path": "y.parquet"}), (PARQUET, {"path": "y.csv"}), (DATABASE, {"path": "y.csv"})],
)
def test_elsewhere_only_times_that_predict_are_moments(
    source: dict[str, Any], target: dict[str, Any]
) -> None:
    assert purpose(source, target, predictors=["t"]) == Purpose(None, ("t",))
    assert purpose(source, target) == Purpose(None, ()) == ANY


@pytest.mark.parametrize("source", [CSV, PARQUET], ids=["csv", "parquet"])
def test_a_database_has_a_type_for_moments(source: dict[str, Any]) -> None:
    assert purpose(source, DATABASE, predictors=["t"]) == Purpose(None, None)


@pytest.mark.parametrize("target", [{"path": "y.csv"}, {"path": "y.feather"}, DATABASE])
def test_categories_come_with_the_levels_that_the_job_names(target: dict[str, Any]) -> None:
    found = purpose(CSV, target, categories={"kind": "nominal", "size": ["small", "large"]})
    assert found.categories == {"kind": (), "size": ("small", "large")}
