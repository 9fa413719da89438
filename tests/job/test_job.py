"""The whole job: its defaults, where its parts are written, YAML, JSON, the schema and the page."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from job_files import FULL, MINIMAL, complaints, load
from pydantic import ValidationError
from ruamel.yaml import YAML

from em_impute.gaussian.families import KINDS
from em_impute.job import Check, Columns, FileSource, FileTarget, Job, job_schema, load_job

DOCS = (ROOT / "docs" / "job.md").read_text(encoding="utf-8")
SCHEMA = jsonschema.Draft202012Validator(job_schema())
SCALARS = (str, int, float)


def test_a_full_job_is_read_as_written() -> None:
    job = load(FULL)
    assert job.source == FileSource(path=Path("data/airquality.txt"), format="csv")
    assert job.columns == Columns(
        impute=("Ozone", "Solar.R"), predictors=("Wind", "Temp"), key=("Month", "Day")
    )
    assert (job.model.tol, job.model.max_iter, job.model.prior) == (1e-8, 50, 2.0)
    assert (job.model.acceleration, job.model.time_limit) == ("none", 600.0)
    assert job.checks.input == (
        Check(expectation="expect_column_values_to_not_be_null", kwargs={"column": "Temp"}),
        Check(
            expectation="expect_column_mean_to_be_between",
            kwargs={"column": "Wind", "min_value": 5},
            severity="warning",
        ),
    )
    [schedule] = job.schedules
    assert (schedule.cron, schedule.timezone) == ("0 3 * * *", "Europe/Paris")


def test_a_minimal_job_has_the_defaults() -> None:
    job = load(MINIMAL)
    assert job.columns == Columns(impute=None, predictors=None, key=())
    assert (job.model.tol, job.model.max_iter, job.model.prior) == (1e-6, 1000, "auto")
    assert job.checks.input == job.checks.output == ()
    assert job.schedule is None


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(MINIMAL).name = "other"  # type: ignore[misc]


def test_a_job_does_not_run_after_itself() -> None:
    assert load(f"{MINIMAL}after: before").after == "before"
    assert complaints(f"{MINIMAL}after: air") == [
        "4:8: after: expected the name of another job; this one would never end"
    ]


# --- A job elsewhere than in its file ----------------------------------------------------------


def test_place_points_into_the_file_or_to_the_nearest_that_is_written() -> None:
    job = load(FULL)
    assert job.place("checks", "input", 0) == "job.yaml:16:7"
    check = ("checks", "input", 1, "expect_column_mean_to_be_between")
    assert job.place(*check, "min_value") == "job.yaml:19:20"
    assert job.place(*check, "max_value") == "job.yaml:18:9"
    assert job.place("columns", "impute", 1) == "job.yaml:4:19"
    assert job.place() == "job.yaml:1:1"


def test_place_is_the_dotted_path_for_a_job_made_in_python() -> None:
    job = Job(
        name="a", source=FileSource(path=Path("a.csv")), target=FileTarget(path=Path("b.csv"))
    )
    assert job.place("checks", "input", 0) == "checks.input.0"


def test_a_job_is_equal_wherever_it_was_written() -> None:
    assert load(MINIMAL) == load("# moved down\n\n" + MINIMAL)


def test_a_job_and_its_places_survive_pickling() -> None:
    job = load(FULL)
    thawed = pickle.loads(pickle.dumps(job))
    assert thawed == job
    assert thawed.place("model", "tol") == job.place("model", "tol") == "job.yaml:8:8"


# --- Properties --------------------------------------------------------------------------------


# ruamel.yaml writes these characters as they are, but reads them as line breaks.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))
names = st.lists(texts, unique=True, max_size=3)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
checks = st.lists(
    st.builds(
        Check,
        expectation=texts,
        kwargs=st.dictionaries(texts.filter("severity".__ne__), json_values, max_size=3),
        severity=st.sampled_from(["critical", "warning", "info"]),
    ),
    max_size=2,
)
rhythms = st.fixed_dictionaries({"cron": st.just("*/5 0 * * 1-5")}) | st.fixed_dictionaries(
    {"interval": st.timedeltas(timedelta(minutes=1), timedelta(days=3660))}
)
schedules = rhythms.flatmap(
    lambda rhythm: st.fixed_dictionaries(
        {
            **{key: st.just(value) for key, value in rhythm.items()},
            "timezone": st.just("Europe/Paris"),
            "offset_days": st.integers(-3660, 3660),
        }
    )
)
families = st.fixed_dictionaries(
    {"acceleration": st.sampled_from(["anderson", "squarem", "none"])}
) | st.fixed_dictionaries(
    {
        "family": st.just("mixture"),
        "components": st.sampled_from([None, "auto", 1, 100]),
        "covariance_type": st.sampled_from([None, *KINDS]),
    }
)
transforms = st.sampled_from(["log", "sqrt", {"logit": (0.0, 1.0)}])
bounds = st.sampled_from([(None, 1.5), (0.0, None), (None, None), (-1e300, 1e-300)])


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Draw any job that the models accept."""
    impute, predictors, key = draw(names), draw(names), draw(names)
    free = [[name for name in others if name not in impute] for others in (predictors, key)]
    folder = draw(texts.filter(lambda text: "\0" not in text and "{date" not in text))
    suffix = draw(st.sampled_from([".csv", ".PQ", ".arrow", ".jsonl"]))
    return Job.model_validate(
        {
            "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True)),
            "source": {"path": f"in/{folder}/a{suffix}"},
            "columns": {
                "impute": impute or None,
                "predictors": free[0],
                "key": free[1],
                "transform": draw(st.dictionaries(texts, transforms, max_size=2)),
                "bounds": draw(st.dictionaries(texts, bounds, max_size=2)),
                "round": draw(st.booleans() | names),
            },
            "imputation": {"method": "draw", "seed": draw(st.integers(min_value=0))},
            "self_test": draw(
                st.sampled_from(["off", "refit", {"max_cells": 10, "max_pit_distance": 0.5}])
            ),
            "model": {
                **draw(families),
                "tol": draw(st.floats(0, 1, exclude_min=True, exclude_max=True)),
                "max_iter": draw(st.integers(min_value=1)),
                "prior": draw(st.just("auto") | st.floats(0, allow_infinity=False)),
                "n_starts": draw(st.none() | st.integers(1, 100)),
                "time_limit": draw(
                    st.none() | st.floats(0, exclude_min=True, allow_infinity=False)
                ),
                "min_group_rows": draw(st.none() | st.integers(min_value=2)),
            },
            "checks": {"input": draw(checks), "output": draw(checks)},
            "target": {
                "path": f"out/{folder}",
                "format": draw(st.sampled_from(["csv", "parquet"])),
            },
            "schedule": draw(st.none() | schedules | st.lists(schedules, max_size=3)),
            "after": draw(st.sampled_from([None, "before"])),
            "notify": draw(st.sampled_from([None, {"slack": {"block": "a"}, "on": ["lost"]}])),
        }
    )


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_survives_yaml(job_file: Path, job: Job) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False  # ruamel.yaml writes a name such as ?0 bare into [ ]
    yaml.dump(job.model_dump(mode="json"), job_file)
    assert load_job(job_file) == job


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_survives_json(job: Job) -> None:
    """As a flow's parameter a job travels as JSON."""
    assert Job.model_validate(json.loads(json.dumps(job.model_dump(mode="json")))) == job
    assert Job.model_validate_json(job.model_dump_json()) == job


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_satisfies_the_schema(job: Job) -> None:
    SCHEMA.validate(job.model_dump(mode="json"))


# --- The schema and the page -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "colums: {}",
        "model: {tol: 1}",
        "model: {prior: ridge}",
        "columns: {impute: []}",
        "columns: {key: [a, a]}",
        "checks: {input: [{expect_x: {}, expect_y: {}}]}",
        "checks: {input: [{expectation: expect_x, kwargs: {}}]}",
        "checks: {input: [{expect_x: {severity: fatal}}]}",
        "checks: {input: [{expect_x: 5}]}",
        "schedule: {cron: 0 3 * * *, interval: 60}",
        "schedule: {timezone: UTC}",
        "self_test: maybe",
        "self_test: {max_share: 0}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    data = YAML(typ="safe", pure=True).load(MINIMAL + text)
    assert not SCHEMA.is_valid(data)
    assert complaints(MINIMAL + text)


def test_the_schema_is_valid_and_describes_every_key() -> None:
    schema = job_schema()
    SCHEMA.check_schema(schema)
    assert schema["title"] == "em_impute job"
    for section in [schema, *schema["$defs"].values()]:
        assert section["description"]
        for part in section.get("properties", {}).values():
            assert part.get("description") or part["$ref"]


def keys_of(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """List the dotted keys of the schema, with the default that the page must show (if any)."""
    for key, value in part["properties"].items():
        default = value.get("default")
        required = key in part.get("required", ())
        yield (
            key,
            "required"
            if required
            else f"`{default}`".replace("False", "false").replace("True", "true")
            if isinstance(default, SCALARS)
            else "",
        )
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(value)):
            if "properties" in (section := job_schema()["$defs"][name]):
                yield from ((f"{key}.{below}", shown) for below, shown in keys_of(section))


def test_the_page_describes_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|[^|]+\| ([^|]+) \|[^|]+\|$", DOCS, re.MULTILINE))
    expected = dict(reversed(list(keys_of(job_schema()))))  # of several kinds the first
    assert rows.keys() == expected.keys()
    assert {key: rows[key] for key, default in expected.items() if default} == {
        key: default for key, default in expected.items() if default
    }


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL))
def test_the_examples_of_the_page_load(block: str) -> None:
    """An example that shows a part only is completed to a job."""
    given_keys = re.findall(r"^(\w+):", block, re.MULTILINE)
    rest = [line for line in MINIMAL.splitlines() if line.split(":")[0] not in given_keys]
    assert load("\n".join([*rest, block])).name


def test_the_page_shows_the_real_messages() -> None:
    ((job, messages),) = re.findall(
        r"```yml\n(.*?)```\n\ngives\n\n```text\n(.*?)```", DOCS, re.DOTALL
    )
    assert [f"job.yaml:{complaint}" for complaint in complaints(job)] == messages.splitlines()
