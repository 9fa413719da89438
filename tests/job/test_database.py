"""A database: its URL without a secret, its tables."""

from __future__ import annotations

import pytest
from job_files import complaints
from pydantic import ValidationError

from em_impute.job import Job

NO_PASSWORD = "a password must not stand in a job; "
BY_VARIABLE = "for example `password: {env: WAREHOUSE_PASSWORD}`"
BY_BLOCK = "or a block of Prefect, such as `password: {block: secret/warehouse-password}`"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (
            "{url: 'postgresql://u:geheim@h/d', table: a}",
            "{url: duckdb:///x.duckdb, table: a.b, mode: upsert}",
            [
                f"2:15: source.url: {NO_PASSWORD}take it out and name the environment variable "
                f"that holds it, {BY_VARIABLE}",
                "3:9: target: `mode: upsert` finds the rows to replace by columns.key, which is "
                "empty; name the columns that identify a row there",
            ],
        ),
        (
            "{url: postgresql://h/d}",
            "{url: 'postgresql://h/d?password=geheim', tabel: x, table: x, password: geheim}",
            [
                "2:9: source: expected either table or query, got neither",
                f"3:15: target.url: {NO_PASSWORD}take it out and name the environment variable "
                f"that holds it, {BY_VARIABLE}",
                "3:51: target.tabel: unknown key (did you mean table?); "
                "allowed here: url, password, table, mode, narrowing, clusters, scores",
                f"3:81: target.password: {NO_PASSWORD}name the environment variable that holds "
                f"it, {BY_VARIABLE}, {BY_BLOCK}",
            ],
        ),
        (
            "{url: {block: Warehouse}, table: a}",
            "{url: {block: secret/url}, table: x, password: {block: secret/a, env: B}}",
            [
                "2:15: source.url: expected the URL of a database, such as "
                "postgresql://host/database, sqlite:///file.db or duckdb:///file.duckdb, or the "
                "environment variable that holds it, such as {env: WAREHOUSE_URL}, or a block of "
                "Prefect, such as {block: em-impute-database/warehouse}",
                f"3:56: target.password: {NO_PASSWORD}name the environment variable that holds "
                f"it, {BY_VARIABLE}, {BY_BLOCK}",
            ],
        ),
        (
            "{url: {env: X}, table: a}",
            "{url: {env: X}, table: a}",
            [
                "3:9: target: this is the source's own table, which would be overwritten; "
                "choose another table"
            ],
        ),
    ],
)
def test_mistakes_in_a_database(source: str, target: str, expected: list[str]) -> None:
    found = complaints(f"name: x\nsource: {source}\ntarget: {target}\n")
    assert found == expected
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlite:///:memory:", "expected a file: a database in memory ends with the program"),
        ("duckdb:///:memory:", "expected a file: a database in memory ends with the program"),
        ("sqlite:///a%00b", "expected the path of a file after three slashes"),
        (
            "postgresql://u:x@hunter2/y@h/d",
            "in the URL of a database, a user or password is written with %2F for /",
        ),
    ],
)
def test_a_database_that_is_no_place(url: str, complaint: str) -> None:
    found = complaints(f"name: x\nsource: {{url: '{url}', table: t}}\ntarget: {{path: x.csv}}\n")
    assert found[0].startswith(f"2:15: source.url: {complaint}")
    assert "hunter2" not in str(found)


def test_a_password_is_not_quoted_by_pydantic() -> None:
    source = {"url": "postgresql://u:geheim@h/d", "table": "x"}
    with pytest.raises(ValidationError) as caught:
        Job.model_validate({"name": "x", "source": source, "target": {"path": "x.csv"}})
    assert "a password must not stand in a job" in str(caught.value)
    assert "geheim" not in str(caught.value)
