"""The names of tables by OpenLineage's conventions: a namespace, such as a server, and a name.

No name has a user, a password or a query's text in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from em_impute.job import (
    DatabaseSource,
    DatabaseTarget,
    IcebergSource,
    IcebergTarget,
    Job,
    Source,
    Target,
    database_file,
    split_database_url,
    split_table,
)
from em_impute.tables.databases.address import server
from em_impute.tables.databases.logins import login_to

# Their containers stand where others have a user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
_DEFAULT_SCHEMAS = {"postgresql": "public", "sqlite": "main", "duckdb": "main"}


@dataclass(frozen=True)
class Name:
    """What a table is called in a lineage graph."""

    namespace: str
    name: str

    @property
    def uri(self) -> str:
        """Both in one address."""
        joint = "://" if self.namespace == "file" else "/"
        return f"{self.namespace}{joint}{self.name}"


def source_of(job: Job) -> Name:
    """The name of what a job reads.

    Raises
    ------
    LoginError
        If the URL of its database is not to be had.
    """
    return _name(job.source, f"query of {job.name}")


def target_of(job: Job) -> Name:
    """The name of the table that a job writes.

    Raises
    ------
    LoginError
        If the URL of its database is not to be had.
    """
    return _name(job.target, "")


def _name(place: Source | Target, query: str) -> Name:
    if isinstance(place, DatabaseSource | DatabaseTarget):
        return _name_in_database(place, query)
    if isinstance(place, IcebergSource | IcebergTarget):
        return Name(f"iceberg://{place.catalog.name}", place.table)
    return _name_of_url(place.path) if isinstance(place.path, str) else _name_of(place.path)


def _name_of(path: Path) -> Name:
    return Name("file", path.absolute().as_posix())


def _name_of_url(url: str) -> Name:
    """Name what is in an object store, ``s3://bucket`` and the key in it, or on a server."""
    parts = urlsplit(url.rpartition("::")[2])  # of a chain, the file that is read into
    place = parts.netloc if parts.scheme in _CONTAINERS else parts.netloc.rpartition("@")[2]
    scheme = {"gcs": "gs", "s3a": "s3"}.get(parts.scheme, parts.scheme)
    return Name(f"{scheme}://{place}", unquote(parts.path).strip("/"))


def _name_in_database(place: DatabaseSource | DatabaseTarget, query: str) -> Name:
    engine, parts = split_database_url(login_to(place).url)
    schema, name = _DEFAULT_SCHEMAS[engine], query
    if place.table is not None:
        *schemas, name = split_table(place.table)
        schema = schemas[0] if schemas else schema
    if engine != "postgresql":
        file = database_file(parts).absolute()
        return Name(f"{engine}://{file.as_posix()}", f"{file.stem}.{schema}.{name}")
    database = unquote(parts.path.strip("/") or parts.username or "postgres")
    return Name(f"postgres://{server(parts)}", f"{database}.{schema}.{name}")
