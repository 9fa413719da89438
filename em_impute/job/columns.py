"""`columns`: the part that each column plays, and how it is transformed, bounded and rounded."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from em_impute.job.mistakes import listed
from em_impute.job.types import Names, Number, Section, SomeNames

_PLAIN_TRANSFORMS = ("log", "log1p", "sqrt", "cbrt")


class Logit(Section):
    """The logit of where a value stands in an interval, in YAML `{logit: [low, high]}`."""

    logit: tuple[Number, Number] = Field(description="The ends of the interval.")


def _transform(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        transform: TransformOption = handler(value)
        if isinstance(transform, str) or transform.logit[0] < transform.logit[1]:
            return transform
    raise ValueError(f"expected {', '.join(_PLAIN_TRANSFORMS)}, or for example {{logit: [0, 100]}}")


def _bounds(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        bounds: tuple[float | None, float | None] = handler(value)
        low, high = bounds
        if low is not None and high is not None and low > high:
            raise ValueError("the lower bound is above the upper one; write [low, high]")
        return bounds
    raise ValueError("expected [low, high], each a number, or null where there is no bound")


def _rounded(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError("expected true for every imputed column, or a list of columns, each once")


def _categories(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        "expected nominal, or the levels in their order, such as [low, mid, high]: "
        "two or more texts, each once"
    )


def _at_least_two(levels: tuple[str, ...]) -> tuple[str, ...]:
    if len(levels) < 2:
        raise ValueError("expected at least two levels")
    return levels


TransformOption = Annotated[
    Literal["log", "log1p", "sqrt", "cbrt"] | Logit, WrapValidator(_transform)
]
Bounds = Annotated[tuple[Number | None, Number | None], WrapValidator(_bounds)]
Rounded = Annotated[Annotated[bool, Strict()] | Names, WrapValidator(_rounded)]
Levels = Annotated[Names, AfterValidator(_at_least_two), Field(json_schema_extra={"minItems": 2})]
Categories = Annotated[Literal["nominal"] | Levels, WrapValidator(_categories)]


class Columns(Section):
    """The part that each column plays."""

    impute: SomeNames | None = Field(
        None,
        description="Columns to fill; default: every numeric column with missing cells.",
        examples=[["Ozone", "Solar.R"]],
    )
    predictors: Names | None = Field(
        None,
        description="Columns that only help to predict; default: every other numeric column.",
        examples=[["Wind", "Temp"]],
    )
    key: Names = Field(
        (),
        description="Columns that identify a row; default: the row number.",
        examples=[["Month", "Day"]],
    )
    group_by: Names = Field(
        (),
        description="Columns that divide the rows into groups, each with a model of its own.",
        examples=[["station"]],
    )
    transform: dict[str, TransformOption] = Field(
        {},
        description="Columns that the model sees transformed: by log, log1p, sqrt, cbrt or logit.",
        examples=[{"Ozone": "log", "humidity": {"logit": [0, 100]}}],
    )
    back_transform: Literal["median", "mean"] = Field(
        "median",
        description="What a transformed column is filled with: the transformed-back conditional "
        "mean of the model's scale, which is a median, or the conditional mean of its own scale.",
    )
    bounds: dict[str, Bounds] = Field(
        {},
        description="Lowest and highest value that a cell may be filled with; null for none.",
        examples=[{"Ozone": [0, None]}],
    )
    bounds_violated: Literal["stop", "keep"] = Field(
        "stop",
        description="What observed cells outside of their bounds mean: the job stops, or they are "
        "kept with a warning.",
    )
    strict: bool = Field(
        False,
        strict=True,
        description="Whether a column that is numbers but for a few cells stops the job, as it "
        "does where the job names the column.",
    )
    round: Rounded = Field(
        (),
        description="Columns that are filled with whole numbers: true for all. Integer columns of "
        "sources that have types (all but CSV) are, in any case.",
        examples=[["Ozone"]],
    )
    categories: dict[str, Categories] = Field(
        {},
        description="Columns of categories: nominal, or the levels in their order.",
        examples=[{"Species": "nominal", "grade": ["low", "mid", "high"]}],
    )

    @field_validator("categories")
    @classmethod
    def _no_numbers(
        cls, categories: dict[str, Categories], info: ValidationInfo
    ) -> dict[str, Categories]:
        numeric = {*info.data.get("transform", ()), *info.data.get("bounds", ())}
        if both := [name for name in categories if name in numeric]:
            raise ValueError(
                f"{listed(both)}: categories have no transform and no bounds; "
                "remove the column from one of them"
            )
        return categories

    @field_validator("predictors", "key", "group_by")
    @classmethod
    def _not_imputed(cls, names: Names | None, info: ValidationInfo) -> Names | None:
        imputed = set(info.data.get("impute") or ())
        if both := [name for name in names or () if name in imputed]:
            raise ValueError(f"{listed(both)}: also in columns.impute; remove it from one of them")
        return names
