"""What the events of a run say, and that they have the form that the specification gives them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import typing
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any
from uuid import UUID

import attr
import pandas as pd
import pytest
from command_line import GOOD, run_directly, table
from conftest import ROOT, WriteJob
from deltalake import write_deltalake
from jsonschema import Draft202012Validator
from openlineage.client import generated
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated.base import BaseFacet
from pyiceberg.catalog.sql import SqlCatalog
from receivers import Event, Receiver, receiving

from em_impute.job import Job
from em_impute.runs import lineage
from em_impute.runs.lineage import events, facets
from em_impute.runs.lineage.datasets import Name
from em_impute.runs.opening import begin, run_of
from em_impute.runs.report import leave_report
from em_impute.runs.run import Refused
from em_impute.tables.columns.roles import Roles

AIR: dict[str, Any] = {
    "name": "lineage_air",
    "description": "Fills the air.",
    "source": {"path": str(ROOT / "data/airquality.csv")},
    "target": {"path": "out/filled.parquet"},
    "columns": {"key": ["Month", "Day"]},
    "checks": {
        "input": [{"expect_column_values_to_be_between": {"column": "Temp", "max_value": 140}}],
        "output": [
            {
                "expect_column_max_to_be_between": {
                    "column": "Wind",
                    "max_value": 1,
                    "severity": "warning",
                }
            }
        ],
    },
}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        yield receiver


# --- The form -----------------------------------------------------------------------------------


def facet_classes() -> list[type]:
    for module in pkgutil.iter_modules(generated.__path__):
        importlib.import_module(f"{generated.__name__}.{module.name}")

    def below(cls: type) -> list[type]:
        return [cls, *(found for sub in cls.__subclasses__() for found in below(sub))]

    return below(BaseFacet)


def schema_of(hint: Any) -> dict[str, Any]:
    """JSON Schema of a class of OpenLineage's client, which was generated from the specification.

    It is stricter than that: no field is allowed that the specification does not name.
    """
    simple = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if hint in simple:
        return {"type": simple[hint]}
    if hint is Any or hint is type(None):
        return {} if hint is Any else {"type": "null"}
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(inner)}
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        return {"anyOf": [schema_of(one) for one in inner]}
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if issubclass(hint, BaseFacet) and len(hint.__subclasses__()) > 1:  # whichever facet it is
        return {"$ref": "#/$defs/facet"}
    return of_class(hint)


DEFINITIONS: dict[str, Any] = {}


def of_class(cls: type) -> dict[str, Any]:
    name = f"{cls.__module__}.{cls.__name__}"
    if name not in DEFINITIONS:
        DEFINITIONS[name] = {}  # of a class that has fields of its own kind
        DEFINITIONS[name] = fields_of(cls)
    return {"$ref": f"#/$defs/{name}"}


def fields_of(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in attr.fields(cls)}
    found = {name: schema_of(hints[name]) for name in fields}
    if "_schemaURL" in found:
        found["_schemaURL"] = {"const": cls._get_schema()}  # type: ignore[attr-defined]
    return {
        "type": "object",
        "properties": found,
        "required": [name for name, field in fields.items() if field.default is attr.NOTHING],
        "additionalProperties": False,
    }


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    concrete = [cls for cls in facet_classes() if not cls.__subclasses__()]
    event, facet = of_class(RunEvent), {"anyOf": [of_class(cls) for cls in concrete]}
    return Draft202012Validator(event | {"$defs": DEFINITIONS | {"facet": facet}})


def assert_well_formed(event: Event, validator: Draft202012Validator) -> None:
    validator.validate(event)
    UUID(event["run"]["runId"])
    assert datetime.fromisoformat(event["eventTime"]).tzinfo
    assert event["producer"].startswith("https://pypi.org/project/em-impute/")


def test_what_has_another_form_is_seen(validator: Draft202012Validator) -> None:
    good = {"eventTime": "t", "run": {"runId": "r"}, "job": {"namespace": "n", "name": "j"}}
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"run": {}})
    assert not validator.is_valid(good | {"inputs": [{"namespace": "n"}]})
    facet = {"_schemaURL": "https://nowhere", "processingType": "BATCH"}
    assert not validator.is_valid(good | {"job": good["job"] | {"facets": {"jobType": facet}}})


# --- What they say ------------------------------------------------------------------------------


def test_a_run_that_publishes(
    receiver: Receiver, write_job: WriteJob, validator: Draft202012Validator
) -> None:
    done = run_directly(write_job(**AIR), "--date", "2026-02-03")
    assert done.exit_code == 0, done.output
    start, complete = receiver.events
    for event in (start, complete):
        assert_well_formed(event, validator)
    assert receiver.states == ["START", "COMPLETE"]
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert (start["job"]["namespace"], start["job"]["name"]) == ("default", "lineage_air")
    assert start["job"]["facets"]["jobType"]["processingType"] == "BATCH"
    assert start["job"]["facets"]["documentation"]["description"] == "Fills the air."
    assert "sourceCodeLocation" not in start["job"]["facets"]
    nominal = start["run"]["facets"]["nominalTime"]
    assert nominal["nominalStartTime"] == "2026-02-03T00:00:00+00:00"
    assert nominal["nominalEndTime"] == "2026-02-04T00:00:00+00:00"
    assert start["run"]["facets"]["processing_engine"]["name"] == "em_impute"
    [source], [target] = complete["inputs"], complete["outputs"]
    assert (source["namespace"], source["name"]) == ("file", AIR["source"]["path"])
    assert target["name"] == str(Path("out/filled.parquet").absolute())
    assert [(d["namespace"], d["name"]) for d in (*start["inputs"], *start["outputs"])] == [
        ("file", source["name"]),
        ("file", target["name"]),
    ]


def test_the_tables_of_a_run_that_publishes(receiver: Receiver, write_job: WriteJob) -> None:
    run_directly(write_job(**AIR))
    [source], [target] = (receiver.events[1][which] for which in ("inputs", "outputs"))
    names = ["Ozone", "Solar.R", "Wind", "Temp", "Month", "Day"]
    for dataset, types in ((source, "int64"), (target, "double")):
        fields = dataset["facets"]["schema"]["fields"]
        assert [field["name"] for field in fields] == names
        assert fields[0]["type"] == types
    counts = source["inputFacets"]["dataQualityMetrics"]
    assert counts["rowCount"] == 153
    missing = {name: column["nullCount"] for name, column in counts["columnMetrics"].items()}
    assert missing == dict.fromkeys(names, 0) | {"Ozone": 37, "Solar.R": 7}
    left = target["facets"]["dataQualityMetrics"]["columnMetrics"]
    assert {column["nullCount"] for column in left.values()} == {0}
    assert target["outputFacets"]["outputStatistics"]["rowCount"] == 153
    # Of numbers there are no others than counts: not the least, the greatest or a sum.
    assert {
        key for column in (*counts["columnMetrics"].values(), *left.values()) for key in column
    } <= {"nullCount", "quantiles"}


def test_versions_of_delta_tables(receiver: Receiver, write_job: WriteJob) -> None:
    write_deltalake("lake/in", pd.read_csv(AIR["source"]["path"]))
    lake = {"format": "delta"}
    places = {"source": {"path": "lake/in"} | lake, "target": {"path": "lake/out"} | lake}
    done = run_directly(write_job(**AIR | places))
    assert done.exit_code == 0, done.output
    [source], [target] = receiver.events[-1]["inputs"], receiver.events[-1]["outputs"]
    assert source["facets"]["version"]["datasetVersion"] == "0"
    assert target["facets"]["version"]["datasetVersion"] == "0"
    assert target["name"] == str(Path("lake/out").absolute())


def test_snapshots_of_iceberg_tables(receiver: Receiver, write_job: WriteJob) -> None:
    Path("lake").mkdir()
    place = {"uri": "sqlite:///lake/catalog.db", "warehouse": "lake"}
    target = {"table": "nyc.filled", "format": "iceberg", "catalog": {"name": "lake", **place}}
    done = run_directly(write_job(**AIR | {"target": target}))
    assert done.exit_code == 0, done.output
    [written] = receiver.events[-1]["outputs"]
    with SqlCatalog("lake", uri=place["uri"]) as catalog:
        snapshot = catalog.load_table("nyc.filled").current_snapshot()
    assert written["facets"]["version"]["datasetVersion"] == str(snapshot.snapshot_id)
    assert (written["namespace"], written["name"]) == ("iceberg://lake", "nyc.filled")


def test_the_checks_have_their_severities(receiver: Receiver, write_job: WriteJob) -> None:
    run_directly(write_job(**AIR))
    [source], [target] = (receiver.events[1][which] for which in ("inputs", "outputs"))
    before = source["inputFacets"]["dataQualityAssertions"]["assertions"]
    after = target["facets"]["dataQualityAssertions"]["assertions"]
    kept = json.loads(next(Path("runs").rglob("checks.json")).read_text())
    assert [len(before), len(after)] == [len(stage["results"]) for stage in kept]
    [temp] = [one for one in before if one.get("column") == "Temp"]
    assert (temp["assertion"], temp["success"], temp["severity"]) == (
        "expect_column_values_to_be_between",
        True,
        "error",
    )
    [wind] = [one for one in after if one["assertion"].startswith("expect_column_max")]
    assert (wind["success"], wind["severity"], wind["column"]) == (False, "warn", "Wind")


def test_a_filled_column_is_of_its_own_cells_and_of_its_predictors(
    receiver: Receiver, write_job: WriteJob
) -> None:
    run_directly(write_job(**AIR))
    [target] = receiver.events[1]["outputs"]
    fields = target["facets"]["columnLineage"]["fields"]
    ways = {
        name: {
            one["field"]: [t["type"] for t in one["transformations"]]
            for one in field["inputFields"]
        }
        for name, field in fields.items()
    }
    assert ways["Day"] == {"Day": ["DIRECT"]}
    assert ways["Wind"] == {"Wind": ["DIRECT"]}
    assert ways["Ozone"] == {
        "Ozone": ["DIRECT"],
        "Solar.R": ["INDIRECT"],
        "Wind": ["INDIRECT"],
        "Temp": ["INDIRECT"],
    }
    assert list(fields) == [*sorted(["Ozone", "Solar.R", "Wind", "Temp", "Month", "Day"])]


def test_many_columns_have_their_predictors_named_once() -> None:
    names = tuple(f"x{i}" for i in range(200))
    lineage_of = facets.columns_from(Name("file", "/t"), Roles((*names, "k"), ("k",), names, ()))
    assert {len(field.inputFields) for field in lineage_of.fields.values()} == {1}
    assert [one.field for one in lineage_of.dataset or ()] == list(names)


def test_added_columns_and_groups() -> None:
    roles = Roles(
        ("g", "x", "y"),
        (),
        ("y",),
        ("x",),
        group_by=("g",),
        mask=True,
        multiple=True,
        clusters=True,
    )
    fields = facets.columns_from(Name("file", "/t"), roles).fields
    ways = {
        name: {one.field: (one.transformations or [])[0].subtype for one in field.inputFields}
        for name, field in fields.items()
    }
    assert ways["y"] == {"x": "CONDITIONAL", "y": "TRANSFORMATION", "g": "GROUP_BY"}
    assert ways["em_impute_mask"] == {"y": "CONDITIONAL"}
    assert "imputation" not in ways
    assert ways["em_impute_cluster"] == {"x": "TRANSFORMATION", "y": "TRANSFORMATION"}


def test_a_refused_run_fails_with_its_reason(
    receiver: Receiver, write_job: WriteJob, validator: Draft202012Validator
) -> None:
    cold = {"expect_column_max_to_be_between": {"column": "Temp", "max_value": 50}}
    done = run_directly(write_job(**AIR | {"checks": {"input": [cold]}}))
    assert done.exit_code == 1
    assert receiver.states == ["START", "FAIL"]
    fail = receiver.events[1]
    assert_well_formed(fail, validator)
    error = fail["run"]["facets"]["errorMessage"]
    assert "1 critical check failed on the input" in error["message"]
    assert "97" not in error["message"]
    assert "stackTrace" not in error
    [source], [target] = fail["inputs"], fail["outputs"]
    failed = [
        a for a in source["inputFacets"]["dataQualityAssertions"]["assertions"] if not a["success"]
    ]
    assert [one["severity"] for one in failed] == ["error"]
    assert target["facets"] == target["outputFacets"] == {}


def test_a_run_without_a_source_fails(receiver: Receiver, write_job: WriteJob) -> None:
    done = run_directly(write_job(source={"path": "nowhere.csv"}))
    assert done.exit_code == 2
    assert receiver.states == ["START", "FAIL"]
    assert "nowhere.csv" in receiver.events[1]["run"]["facets"]["errorMessage"]["message"]


def test_an_interrupted_run_is_aborted(
    receiver: Receiver, write_job: WriteJob, tmp_path: Path, validator: Draft202012Validator
) -> None:
    write_job(GOOD)
    job = Job.model_validate(
        {"name": "cut", "source": {"path": "in.csv"}, "target": {"path": "o.csv"}}
    )
    run = run_of(job, tmp_path / "runs", datetime.now().astimezone(), "abcdefgh")
    begin(run, tmp_path / "runs")
    lineage.tell_start(run)
    leave_report(run, Refused("The run was interrupted."))
    assert receiver.states == ["START", "ABORT"]
    assert_well_formed(receiver.events[1], validator)


def test_each_run_has_an_id_of_its_own(write_job: WriteJob, tmp_path: Path) -> None:
    write_job(GOOD)
    job = Job.model_validate(
        {"name": "ids", "source": {"path": "in.csv"}, "target": {"path": "o.csv"}}
    )
    now = datetime.now().astimezone()
    first, same, other = (
        run_of(job, tmp_path, now, key) for key in ("aaaaaaaa", "aaaaaaaa", "b" * 8)
    )
    assert events.run_id(first) == events.run_id(same) != events.run_id(other)


def test_whoever_has_started_the_run_is_its_parent(
    receiver: Receiver, write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = "01a22363-9f0c-7f1d-85d7-9e3a49d22703"
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"airflow/dag.task/{parent}")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "warehouse")
    run_directly(write_job(table(a=[1.0, None, 3.0, 4.0], b=[1.0, 2.0, 3.0, 5.0])))
    event = receiver.events[0]
    assert event["job"]["namespace"] == "warehouse"
    told = event["run"]["facets"]["parent"]
    assert (told["run"]["runId"], told["job"]["namespace"], told["job"]["name"]) == (
        parent,
        "airflow",
        "dag.task",
    )
