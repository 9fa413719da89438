"""`engine`: the name alone, or a mapping; what goes together."""

from __future__ import annotations

import jsonschema
import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import EngineOptions, job_schema


def test_the_engine_is_local_unless_another_is_named() -> None:
    assert load(MINIMAL).engine == EngineOptions(name="local")
    assert load(f"{MINIMAL}engine: local").engine == EngineOptions()
    assert load(f"{MINIMAL}engine: dask").engine == EngineOptions(name="dask")
    named = load(f"{MINIMAL}engine: {{name: dask, workers: 2}}").engine
    assert (named.name, named.workers) == ("dask", 2)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("spark", "expected local, dask or sql, or a mapping such as"),
        ("{workers: 2}", "workers are Dask's: add `name: dask`"),
        ("{name: dask, workers: 0}", "workers"),
        ("{name: dask, scheduler: tcp://elsewhere:1}", "scheduler: unknown key"),
        ("{name: dask, threads: 2}", "threads"),
        ("{name: sql, workers: 2}", "workers are Dask's: add `name: dask`"),
        ("{name: dask, sample_rows: 5000}", "sample_rows is of `name: sql`"),
        ("{name: sql, sample_rows: 10}", "sample_rows"),
        ("sql", "source and target have to be in a database"),
    ],
)
def test_what_does_not_go_together_is_refused(engine: str, said: str) -> None:
    found = "\n".join(map(str, complaints(f"{MINIMAL}engine: {engine}")))
    assert said in found


IN_PLACE = """
name: in-place
source: {url: "postgresql://host/db", table: t}
target: {url: "postgresql://host/db", table: filled}
engine: sql
"""


def test_a_database_does_what_it_can() -> None:
    job = load(f"{IN_PLACE}imputation: {{mask: true, delta: {{a: 0.5}}}}")
    assert (job.engine.name, job.most_checked) == ("sql", ("engine.sample_rows", 100_000))
    fewer = load(f"{IN_PLACE}checks: {{max_rows: 500}}")
    assert fewer.most_checked == ("checks.max_rows", 500)
    assert load(MINIMAL).most_checked == ("checks.max_rows", 2_000_000)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("host/db", "other/db", "source and target have to be in one database"),
        ("postgresql://host/db", "sqlite:///a.db", "SQLite has not the functions"),
        ("table: t}", "query: select 1 as a}", "make a view of the query, and name it"),
        ("engine", "imputation: {method: draw}\nengine", "`method: draw` is for the other engines"),
        ("engine", "imputation: {method: multiple}\nengine", "draws none: `method: multiple`"),
        ("engine", "columns: {group_by: [g]}\nengine", "remove columns.group_by"),
        (
            "table: t}",
            "table: 't_{date}'}\nstate: {path: state/a}",
            "sums up the whole table each time; remove the state",
        ),
    ],
)
def test_what_a_database_cannot_do_is_refused(was: str, becomes: str, said: str) -> None:
    times = -1 if was.startswith("postgresql") else 1
    text = IN_PLACE.replace(was, becomes, times)
    assert said in "\n".join(map(str, complaints(text)))


@pytest.mark.parametrize("name", ["local", "dask", "sql"])
def test_the_schema_takes_the_name_alone(name: str) -> None:
    minimal = {"name": "x", "source": {"path": "in.csv"}, "target": {"path": "out.csv"}}
    jsonschema.Draft202012Validator(job_schema()).validate(minimal | {"engine": name})
