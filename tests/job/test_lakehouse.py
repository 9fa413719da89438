"""Iceberg tables in a job: their names, and how a catalog is named without its secrets."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from job_files import complaints, load

from em_impute.job import IcebergSource, IcebergTarget

NAMED = "name: air\ntarget: {path: out.csv}\n"


def test_a_catalog_is_a_name_or_what_a_job_says_of_it() -> None:
    job = load(
        "name: air\n"
        "source: {table: nyc.air, format: iceberg, catalog: lake, version: 6505842283650261963}\n"
        "target:\n"
        "  table: nyc.filled\n"
        "  format: iceberg\n"
        "  catalog: {uri: 'sqlite:///lake/catalog.db', warehouse: lake}\n"
        "  partition_by: [Month]\n"
    )
    assert isinstance(job.source, IcebergSource)
    assert (job.source.catalog.name, job.source.catalog.uri) == ("lake", None)
    assert job.source.version == 6505842283650261963
    assert isinstance(job.target, IcebergTarget)
    assert job.target.catalog.name == "default"
    assert job.target.catalog.warehouse == Path("lake")
    assert f"{job.source} {job.target}" == (
        "the Iceberg table lake.nyc.air the Iceberg table default.nyc.filled"
    )


def test_a_table_has_a_name_for_each_day() -> None:
    job = load(
        NAMED + "source: {table: 'nyc.air_{date:%Y%m%d}', format: iceberg}\nstate: {path: s}"
    )
    assert job.at(date(2026, 1, 2)).source.table == "nyc.air_20260102"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (
            "{table: air, format: iceberg}",
            "source.table: expected a table with its namespace, such as nyc.air",
        ),
        (
            "{path: lake/air, format: iceberg}",
            "source.table: this key is missing; for example `table: nyc.air`",
        ),
        (
            "{table: nyc.air, format: iceberg, catalog: {uri: 'postgresql://u:pLant3d@h/d'}}",
            "source.catalog.uri: a password must not stand in a job; take the uri out, and give it "
            "in the environment, as in PYICEBERG_CATALOG__DEFAULT__URI, or in ~/.pyiceberg.yaml",
        ),
        (
            "{table: nyc.air, format: iceberg, catalog: {uri: 'postgresql://h/d?password=pLant3d'}}",
            "source.catalog.uri: a password must not stand in a job",
        ),
        (
            "{table: nyc.air, format: iceberg, catalog: {uri: 'duckdb:///lake/catalog.db'}}",
            "source.catalog.uri: expected the database of an SQL catalog",
        ),
        (
            "{table: nyc.air, format: iceberg, catalog: {token: pLant3d}}",
            "source.catalog.token: unknown key; allowed here: name, uri, warehouse",
        ),
        ("{table: nyc.air, format: iceberg, catalog: 'a b'}", "source.catalog.name: expected"),
    ],
)
def test_mistakes(source: str, complaint: str) -> None:
    found = complaints(f"{NAMED}source: {source}\n")
    assert [one for one in found if complaint in one], found
    assert "pLant3d" not in "".join(found)


def test_a_table_is_not_filled_in_place() -> None:
    place = "{table: nyc.air, format: iceberg, catalog: lake}"
    [found] = complaints(f"name: air\nsource: {place}\ntarget: {place}\n")
    assert "this is the source's own table, which would be overwritten" in found


def test_a_state_needs_a_table_of_the_day() -> None:
    [found] = complaints(NAMED + "source: {table: nyc.air, format: iceberg}\nstate: {path: s}")
    assert "write {date} in its table, such as sales.of_{date:%Y%m%d}" in found


def test_jobs_that_are_confined_name_no_catalog_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EM_IMPUTE_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for catalog in ("uri: 'sqlite:////etc/catalog.db'", "warehouse: /etc/lake"):
        found = complaints(
            f"{NAMED}source: {{table: a.b, format: iceberg, catalog: {{{catalog}}}}}"
        )
        assert "leads out of the folders that jobs may use" in "".join(found)
