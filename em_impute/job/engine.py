"""`engine`: where the passes over the table are carried out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from em_impute.job.types import Count, Section


def _engine(value: object) -> object:
    """Turn the name alone into the fields of EngineOptions."""
    if isinstance(value, str) and value in ("local", "dask"):
        return {"name": value}
    if isinstance(value, str | bool | int | float):
        raise ValueError("expected local or dask, or a mapping such as {name: dask, workers: 2}")
    return value


class EngineOptions(Section):
    """Where the table is summed up and filled; the answer is the same.

    Where a cluster is, is not the job's to say: whoever answers there may run programs in the run.
    """

    name: Literal["local", "dask"] = Field(
        "local",
        description="local: in the process of the run; dask: on the workers of the Dask cluster "
        "whose scheduler DASK_SCHEDULER_ADDRESS names, or else of processes on this machine.",
    )
    workers: Count | None = Field(
        None,
        ge=1,
        le=1024,
        description="So many processes of Dask on this machine, whatever cluster there is.",
        examples=[2],
    )

    @model_validator(mode="after")
    def _is_of_dask(self) -> Self:
        if self.name == "local" and self.workers:
            raise ValueError("workers are Dask's: add `name: dask`, or remove them")
        return self


Engine = Annotated[
    EngineOptions,
    BeforeValidator(_engine, json_schema_input_type=Literal["local", "dask"] | EngineOptions),
]
