"""`engine`: where the passes over the table are carried out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from em_impute.job.columns import Columns
from em_impute.job.options import Imputation
from em_impute.job.source import DatabaseSource, Source
from em_impute.job.target import DatabaseTarget, Target
from em_impute.job.types import Count, Section, for_mapping

SAMPLE_ROWS = 100_000
EngineName = Literal["local", "dask", "sql"]


class EngineOptions(Section):
    """Where the table is summed up and filled; the answer is the same.

    Where a cluster is, is not the job's to say: whoever answers there may run programs in the run.
    """

    name: EngineName = Field(
        "local",
        description="local: in the process of the run; dask: on the workers of the Dask cluster "
        "whose scheduler DASK_SCHEDULER_ADDRESS names, or else of processes on this machine; sql: "
        "in the database that has the source's table and the target's.",
    )
    workers: Count | None = Field(
        None,
        ge=1,
        le=1024,
        description="So many processes of Dask on this machine, whatever cluster there is.",
        examples=[2],
    )
    sample_rows: Count = Field(
        SAMPLE_ROWS,
        ge=1_000,
        le=10_000_000,
        description="With sql: about so many rows of a longer table are read, for the checks, the "
        "self-test and the pictures.",
        examples=[SAMPLE_ROWS],
    )

    @model_validator(mode="after")
    def _options_are_its_own(self) -> Self:
        if self.name != "dask" and self.workers:
            raise ValueError("workers are Dask's: add `name: dask`, or remove them")
        if self.name != "sql" and self.sample_rows != SAMPLE_ROWS:
            raise ValueError("sample_rows is of `name: sql`, as other engines read all rows")
        return self


Engine = Annotated[
    EngineOptions,
    BeforeValidator(
        partial(for_mapping, "name", get_args(EngineName), "{name: dask, workers: 2}"),
        json_schema_input_type=EngineName | EngineOptions,
    ),
]


def beyond_sql(
    source: Source,
    target: Target,
    columns: Columns,
    imputation: Imputation,
) -> Iterator[str]:
    """What of a job a database cannot do by itself, a sentence each.

    Parameters
    ----------
    source : Source
    target : Target
    columns : Columns
    imputation : Imputation
    """
    if not (isinstance(source, DatabaseSource) and isinstance(target, DatabaseTarget)):
        yield "`engine: sql` fills a table where it is: source and target have to be in a database"
        return
    if (source.url, source.password) != (target.url, target.password):
        yield (
            "`engine: sql` moves no rows: source and target have to be in one database, with the "
            "same url and password"
        )
    if isinstance(source.url, str) and source.url.startswith("sqlite"):
        yield "SQLite has not the functions that `engine: sql` needs; DuckDB and PostgreSQL have"
    if source.query is not None:
        yield "`engine: sql` reads a table several times; make a view of the query, and name it"
    if imputation.is_drawn:
        yield (
            "`engine: sql` fills in expected values, and draws none: "
            f"`method: {imputation.method}` is for the other engines"
        )
    if columns.group_by:
        yield "`engine: sql` has one model for all rows; remove columns.group_by"
