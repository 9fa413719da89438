"""What sections of a job are made of: `Section`, numbers that are numbers, lists of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from em_impute.job.mistakes import listed


class Section(BaseModel):
    """A mapping of the job file: only the keys that it names are allowed."""

    # A job made in Python must not have its inputs, perhaps a password, quoted by pydantic either.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def for_mapping(key: str, names: Sequence[str], example: str, value: object) -> object:
    """A name alone as the mapping with that key; a mapping as it is.

    Parameters
    ----------
    key : str
    names : sequence of str
        Those that are known.
    example : str
        Such a mapping, for the error.
    value : object
        What the job says.
    """
    if isinstance(value, str) and value in names:
        return {key: value}
    if isinstance(value, str | bool | int | float):
        known = f"{', '.join(names[:-1])} or {names[-1]}"
        raise ValueError(f"expected {known}, or a mapping such as {example}")
    return value


# Strict: `yes`, "1e-6" or true must not pass for a number.
Number = Annotated[float, Strict()]
Count = Annotated[int, Strict()]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{listed(twice)}: named more than once in this list; keep one")
    return names


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected at least one name; leave the key out for the default")
    return names


_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
Names = Annotated[tuple[str, ...], AfterValidator(_distinct), _UNIQUE]
SomeNames = Annotated[
    Names, AfterValidator(_at_least_one), Field(json_schema_extra={"minItems": 1})
]
