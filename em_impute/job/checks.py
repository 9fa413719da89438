"""`checks`: what must hold of the table that is read, and of the filled one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from em_impute.job.confinement import OutsideError, holding_code
from em_impute.job.types import Count, Section

Severity = Literal["critical", "warning", "info"]
Stage = Literal["input", "output"]
ResultFormat = Literal["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]


class Check(Section):
    """One expectation of Great Expectations, in YAML `{expect_x: {column: y, severity: info}}`."""

    expectation: str = Field(description="Name of the expectation, in snake case.")
    kwargs: dict[str, JsonValue] = Field({}, description="Its options.")
    severity: Severity = Field(
        "critical", description="critical: a failure stops the job; warning, info: it is shown."
    )

    @field_validator("kwargs")
    @classmethod
    def _severity_stands_alone(cls, kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if "severity" in kwargs:
            raise ValueError("severity is a field of its own, not one of kwargs")
        return kwargs

    @model_serializer
    def _to_yaml(self) -> dict[str, dict[str, JsonValue]]:
        return {self.expectation: {**self.kwargs, "severity": self.severity}}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the YAML form, which is not that of the fields."""
        severity = cls.model_fields["severity"]
        options = {
            "severity": {
                "description": severity.description,
                "enum": list(get_args(Severity)),
                "default": severity.default,
            },
        }
        return {
            "description": "One expectation of Great Expectations, with its options.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": "object", "properties": options},
            "examples": [{"expect_column_values_to_not_be_null": {"column": "Temp"}}],
        }


def _check_from_yaml(value: object) -> object:
    """Turn `{expect_x: {column: y, severity: warning}}` into the fields of a Check."""
    if isinstance(value, Check):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            "expected one expectation with its options, such as "
            "{expect_column_values_to_not_be_null: {column: Temp}}"
        )
    ((expectation, options),) = value.items()
    if not isinstance(options, dict):
        return {"expectation": expectation, "kwargs": options}
    kwargs = {key: option for key, option in options.items() if key != "severity"}
    severity = {"severity": options["severity"]} if "severity" in options else {}
    return {"expectation": expectation, "kwargs": kwargs, **severity}


CheckList = tuple[Annotated[Check, BeforeValidator(_check_from_yaml)], ...]


class OfStage(Section):
    """What of a project of Great Expectations is for which table, by its name there."""

    input: str | None = Field(None, min_length=1, description="For the table that was read.")
    output: str | None = Field(None, min_length=1, description="For the filled table.")


def _of_output(value: object) -> object:
    """A name alone is for the filled table."""
    if isinstance(value, str):
        return {"output": value}
    if value is None or isinstance(value, dict | OfStage):
        return value
    raise ValueError("expected a name, or a mapping such as {input: raw, output: nightly}")


ByStage = Annotated[
    OfStage, BeforeValidator(_of_output, json_schema_input_type=str | OfStage | None)
]


class Checks(Section):
    """What must hold before anything is filled, and before anything is published."""

    input: CheckList = Field((), description="Checks of the table that was read.")
    output: CheckList = Field((), description="Checks of the filled table, before it is published.")
    context: Annotated[Path, PlainSerializer(str)] | None = Field(
        None,
        description="A project of Great Expectations: the folder of its great_expectations.yml.",
        examples=["gx"],
    )
    suite: ByStage = Field(
        OfStage(),
        description="A suite of that project, for the filled table, or one for each table.",
        examples=["nightly", {"input": "raw", "output": "nightly"}],
    )
    checkpoint: ByStage = Field(
        OfStage(),
        description="A checkpoint of that project, whose actions are run; without a suite, its "
        "suites are those of the checkpoint.",
        examples=["nightly", {"input": "raw", "output": "nightly"}],
    )
    results: ResultFormat | None = Field(
        None,
        description="Result format in which Great Expectations' own results of the suites, with "
        "cells, are left in the run's folder; default: not at all.",
        examples=["COMPLETE"],
    )
    max_rows: Count = Field(
        2_000_000,
        ge=1,
        description="Most rows that Great Expectations sees; of a longer table, a sample.",
        examples=[2_000_000],
    )

    @field_validator("context")
    @classmethod
    def _context_may_hold_code(cls, context: Path | None) -> Path | None:
        try:
            return context and holding_code(context)
        except OutsideError as outside:
            raise ValueError(str(outside)) from None

    @model_validator(mode="after")
    def _names_are_of_a_project(self) -> Self:
        named = [key for key in ("suite", "checkpoint") if getattr(self, key) != OfStage()]
        if named and not self.context:
            raise ValueError(
                f"a {named[0]} is of a project of Great Expectations: name its folder, for example "
                "`context: gx`"
            )
        if not named and (self.context or self.results):
            key = "context" if self.context else "results"
            raise ValueError(f"`{key}` is of no use without a suite or a checkpoint; name one")
        return self

    @property
    def of_project(self) -> Iterator[Stage]:
        """The tables for which the job names a suite or a checkpoint."""
        for stage in get_args(Stage):
            if getattr(self.suite, stage) or getattr(self.checkpoint, stage):
                yield stage
