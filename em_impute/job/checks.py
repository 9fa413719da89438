"""`checks`: what must hold of the table that is read, and of the filled one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    field_validator,
    model_serializer,
)
from pydantic_core import CoreSchema

from em_impute.job.types import Count, Section

Severity = Literal["critical", "warning", "info"]


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


class Checks(Section):
    """What must hold before anything is filled, and before anything is published."""

    input: CheckList = Field((), description="Checks of the table that was read.")
    output: CheckList = Field((), description="Checks of the filled table, before it is published.")
    max_rows: Count = Field(
        2_000_000,
        ge=1,
        description="Most rows that Great Expectations sees; of a longer table, a sample.",
        examples=[2_000_000],
    )
