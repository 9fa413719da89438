"""`target`: the table to write, to files, a database or a lakehouse; never the source itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from em_impute.job.database import Database, TableName
from em_impute.job.lakehouse import DeltaTable, IcebergTable, kind_of_table
from em_impute.job.legible import quoted_if_odd
from em_impute.job.source import DatabaseSource, DeltaSource, FileSource, IcebergSource
from em_impute.job.table_file import Format, Location, TableFile
from em_impute.job.types import Count, Names, Number

Mode = Literal["replace", "append", "upsert"]
Clusters = Annotated[
    bool,
    Field(
        strict=True,
        description="Add the most probable component of each row, by a mixture, and its "
        "probability: em_impute_cluster and em_impute_cluster_probability.",
    ),
]
Scores = Annotated[
    bool,
    Field(
        strict=True,
        description="Add the scores of each row, by a factor model with a number of components: "
        "em_impute_factor_1 and so on.",
    ),
]


class FileTarget(TableFile):
    """The table to write: it is replaced in one step, when all else has gone well."""

    path: Location = Field(
        description="Path of the file, or with partition_by of the folder.",
        examples=["out/table.parquet"],
    )
    mode: Mode = Field(
        "replace",
        description="replace: the new table alone; append: after the rows that are there; "
        "upsert: in place of those with the same columns.key.",
    )
    partition_by: Names | None = Field(
        None,
        description="Columns that name the folders of a folder of files; [] for one file in it; "
        "default: the target is a file.",
        examples=[["year"]],
    )
    keep_versions: Count | None = Field(
        None,
        ge=1,
        description="Versions of a folder that are kept, the published one among them; default: 3.",
        examples=[3],
    )
    lock_timeout: Number = Field(
        60, ge=0, description="Seconds to wait for another run that publishes to the same target."
    )
    clusters: Clusters = False
    scores: Scores = False

    @property
    def is_folder(self) -> bool:
        """Whether the table is a folder of files, in versions."""
        return self.partition_by is not None

    @property
    def staged_format(self) -> Format:
        """Format in which the table waits: lossless where it is written anew to be published."""
        return "feather" if self.is_folder or self.mode != "replace" else self.file_format

    @field_validator("path")
    @classmethod
    def _is_local(cls, path: Path | str) -> Path | str:
        if isinstance(path, str):
            raise ValueError("expected a local path: a target at a URL is not supported")
        return path

    @field_validator("partition_by")
    @classmethod
    def _is_seen_by_readers(cls, names: Names | None) -> Names | None:
        if hidden := [name for name in names or () if name.startswith((".", "_"))]:
            raise ValueError(
                f"{quoted_if_odd(hidden[0])}: readers pass over folders whose names begin with . "
                "or _; rename the column in the source"
            )
        return names

    @model_validator(mode="after")
    def _versions_are_of_folders(self) -> Self:
        if self.keep_versions is not None and not self.is_folder:
            raise ValueError(
                "only folders have versions: add partition_by ([] for one file), or remove "
                "keep_versions"
            )
        return self


class DatabaseTarget(Database):
    """The table of a database to write."""

    table: TableName = Field(
        description="The table, with or without its schema; it is made if it is missing.",
        examples=["sales.orders_filled"],
    )
    mode: Mode = Field(
        "replace",
        description="replace: the table's rows are replaced; append: rows are added; upsert: rows "
        "with the same columns.key are updated, the others added.",
    )
    narrowing: Literal["refuse", "allow"] = Field(
        "refuse",
        description="What to do where the types of the table would change a cell that was not "
        "filled: refuse the table, or count the cells and warn.",
    )
    clusters: Clusters = False
    scores: Scores = False

    @property
    def file_format(self) -> Format:
        """The format in which the table waits for its publication: it loses nothing."""
        return "feather"

    @property
    def staged_format(self) -> Format:
        """The same: a database's table is always loaded anew."""
        return self.file_format

    def __str__(self) -> str:
        return f"the table {self.table} of {self.url_shown}"


class DeltaTarget(DeltaTable):
    """The Delta table to write, in one commit, when all else has gone well."""

    mode: Mode = Field(
        "replace",
        description="replace: the new rows alone are in the new version; append: rows are added; "
        "upsert: rows with the same columns.key are updated, the others added, by MERGE.",
    )
    partition_by: Names = Field(
        (),
        description="Columns by which the table is partitioned, when it is made.",
        examples=[["month"]],
    )
    clusters: Clusters = False
    scores: Scores = False


class IcebergTarget(IcebergTable):
    """The Iceberg table to write, in one snapshot, when all else has gone well."""

    mode: Mode = Field(
        "replace",
        description="replace: the new rows alone are in the new snapshot; append: rows are added; "
        "upsert: rows with the same columns.key are replaced, the others added.",
    )
    partition_by: Names = Field(
        (),
        description="Columns by which the table is partitioned, as they are (identity), when it "
        "is made.",
        examples=[["month"]],
    )
    clusters: Clusters = False
    scores: Scores = False


Target = Annotated[
    Annotated[FileTarget, Tag("file")]
    | Annotated[DatabaseTarget, Tag("database")]
    | Annotated[DeltaTarget, Tag("delta")]
    | Annotated[IcebergTarget, Tag("iceberg")],
    Discriminator(kind_of_table),
]


def require_another_target(source: object, target: Target) -> None:
    """Raise a ValueError if the target is the source, which would be overwritten."""
    match source, target:
        case FileSource() | DeltaSource(), FileTarget() | DeltaTarget():
            if _same_place(source.path, target.path):
                raise ValueError(
                    "this is the source's own file or folder, which would be overwritten; choose "
                    "another path"
                )
        case DatabaseSource() as source, DatabaseTarget():
            if (source.url, source.table) == (target.url, target.table):
                raise ValueError(
                    "this is the source's own table, which would be overwritten; "
                    "choose another table"
                )
        case IcebergSource(), IcebergTarget():
            if (source.catalog, source.table) == (target.catalog, target.table):
                raise ValueError(
                    "this is the source's own table, which would be overwritten; "
                    "choose another table"
                )


def _same_place(one: Path | str, other: Path | str) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return overlap(one, other)
    return str(one).rstrip("/") == str(other).rstrip("/")


def overlap(one: Path, other: Path) -> bool:
    """Whether one is the other, or lies in it."""
    one, other = (Path(os.path.realpath(path)) for path in (one, other))
    return one == other or one in other.parents or other in one.parents
