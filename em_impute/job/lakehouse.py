"""A table of a lakehouse: what `source` and `target` share where they have such a `format`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from em_impute.job.confinement import confined
from em_impute.job.database import (
    database_file,
    file_or_database,
    holds_password,
    split_database_url,
)
from em_impute.job.dates import with_known_dates
from em_impute.job.table_file import Location
from em_impute.job.types import Section

_LAKES = ("delta", "iceberg")


class LakeTable(Section):
    """A table of a lakehouse, which keeps its versions."""

    @property
    def file_format(self) -> Literal["feather"]:
        """The format in which the table waits for its publication: it loses nothing."""
        return "feather"

    @property
    def staged_format(self) -> Literal["feather"]:
        """The same: what is committed is always written anew."""
        return self.file_format


class DeltaTable(LakeTable):
    """A Delta table; a relative path begins in the folder the program is started in."""

    path: Location = Field(
        description="Path or URL of the table: the folder that holds its _delta_log.",
        examples=["lake/air"],
    )
    format: Literal["delta"] = Field(description="delta: a table of Delta Lake.")

    def __str__(self) -> str:
        return f"the Delta table {self.path}"


def _identifier(name: str) -> str:
    parts = name.split(".")
    if len(parts) < 2 or not all(parts) or "\0" in name:
        raise ValueError("expected a table with its namespace, such as nyc.air")
    return with_known_dates(name)


def _catalog_uri(uri: str) -> str:
    engine, parts = split_database_url(uri)
    if engine == "duckdb":
        raise ValueError(
            "expected the database of an SQL catalog, such as sqlite:///lake/catalog.db or "
            "postgresql://host/database"
        )
    if holds_password(parts):
        raise ValueError(
            "a password must not stand in a job; take the uri out, and give it in the environment, "
            "as in PYICEBERG_CATALOG__DEFAULT__URI, or in ~/.pyiceberg.yaml"
        )
    if engine == "sqlite":
        confined(database_file(parts))
    return uri


def _by_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class IcebergCatalog(Section):
    """A catalog of Iceberg tables: by name, as PyIceberg is configured, or as the job says."""

    name: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Name of the catalog. What else it needs, passwords above all, stands in "
        "PyIceberg's own configuration: ~/.pyiceberg.yaml, or PYICEBERG_CATALOG__NAME__URI and the "
        "like in the environment.",
        examples=["lake"],
    )
    uri: Annotated[str, AfterValidator(_catalog_uri)] | None = Field(
        None,
        description="The database of an SQL catalog, without a password; default: as configured.",
        examples=["sqlite:///lake/catalog.db"],
    )
    warehouse: Location | None = Field(
        None,
        description="Path or URL of the folder in which new tables are made; default: as "
        "configured.",
        examples=["lake"],
    )


class IcebergTable(LakeTable):
    """An Iceberg table, which a catalog knows by its name."""

    table: Annotated[str, AfterValidator(_identifier)] = Field(
        description="The table with its namespace.", examples=["nyc.air"]
    )
    format: Literal["iceberg"] = Field(description="iceberg: a table of Apache Iceberg.")
    catalog: Annotated[
        IcebergCatalog,
        BeforeValidator(_by_name, json_schema_input_type=str | IcebergCatalog),
    ] = Field(
        IcebergCatalog(),
        description="The catalog: its name, or a mapping of name, uri and warehouse.",
        examples=["lake", {"uri": "sqlite:///lake/catalog.db", "warehouse": "lake"}],
    )

    def __str__(self) -> str:
        return f"the Iceberg table {self.catalog.name}.{self.table}"


def kind_of_table(value: object) -> str:
    """Return which kind of source or target is meant, by its keys and its format."""
    given = value.get("format") if isinstance(value, dict) else getattr(value, "format", None)
    return given if isinstance(given, str) and given in _LAKES else file_or_database(value)
