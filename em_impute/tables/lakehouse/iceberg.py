"""An Iceberg table as its catalog gives it, and what is wrong with one, in sentences.

Messages of the library, and of the databases that hold catalogs, can quote cells and logins, so
none is passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa

from em_impute.job import (
    CannotRun,
    IcebergSource,
    IcebergTarget,
    database_file,
    split_database_url,
)
from em_impute.job.confinement import OutsideError, check_url, confined
from em_impute.tables.lakehouse.versions import capitalised, fault

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

IcebergPlace = IcebergSource | IcebergTarget

# A store or a database that does not answer is given up after so long; the step is tried again.
_PATIENCE = {"s3.connect-timeout": "5", "s3.request-timeout": "30"}
_SECONDS = "10"
# What the library raises of what it cannot do, besides errors of its own.
_REFUSALS = (
    ImportError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    pa.ArrowException,
)
# The drivers of PostgreSQL that are told so by this option.
_LIBPQ = ("postgresql", "postgresql+psycopg2", "postgresql+psycopg")


@contextmanager
def explained(place: IcebergPlace) -> Iterator[None]:
    """Say in a sentence, without its words, what the library says of a table.

    Raises
    ------
    SourceError, TargetError
        If it cannot be read or written as the job says.
    OSError
        If its catalog or its store does not answer, or has no room.
    """
    try:
        import pyiceberg.exceptions
        import sqlalchemy.exc
    except ImportError:
        raise fault(
            place,
            "the package pyiceberg is not installed; install it with `pip install "
            "'em-impute[iceberg]'`",
        ) from None
    try:
        yield
    except (CannotRun, pyiceberg.exceptions.CommitFailedException):
        raise  # of the latter whoever publishes knows what to make
    except OutsideError as outside:
        raise fault(place, f"it {outside}") from None
    except FileNotFoundError:
        raise fault(
            place,
            "files of this snapshot are gone, as expire_snapshots and remove_orphan_files remove "
            "them; name a newer one",
        ) from None
    except (OSError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError) as error:
        raise OSError(
            f"{capitalised(place)} cannot be reached ({type(error).__name__}): its catalog or its "
            "store does not answer, refuses the login or is full. Credentials come from "
            "~/.pyiceberg.yaml or the environment, such as "
            f"{_uri_variable(place)} and AWS_ACCESS_KEY_ID."
        ) from None
    except Exception as error:
        libraries = (*_REFUSALS, sqlalchemy.exc.SQLAlchemyError)
        own = type(error).__module__ == pyiceberg.exceptions.__name__
        if not own and not isinstance(error, libraries):
            raise
        raise fault(
            place,
            f"pyiceberg refuses it ({type(error).__name__}). Its metadata may be damaged, its "
            "catalog may be configured in another way, or it may have what needs a newer "
            "pyiceberg, such as equality deletes",
        ) from None


@contextmanager
def catalog_of(place: IcebergPlace) -> Iterator[Catalog]:
    """The catalog of a table, open; what goes wrong meanwhile is `explained`.

    Raises
    ------
    SourceError, TargetError, OSError
    """
    with explained(place):
        from pyiceberg.catalog import load_catalog

        with load_catalog(place.catalog.name, **_properties(place)) as catalog:
            yield catalog


def find(place: IcebergPlace, catalog: Catalog) -> Table | None:
    """Look a table up; None if there is none."""
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        table = catalog.load_table(place.table)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None
    written = table.location_provider()
    for location in (table.metadata_location, written.data_path, written.metadata_path):
        check_inside(location)
    return table


def check_inside(location: str) -> None:
    """Refuse a file that a table names, if jobs may not go there.

    Raises
    ------
    OutsideError
    """
    if (path := local_path(location)) is not None:
        confined(path)
    else:
        check_url(location)


def local_path(location: str) -> Path | None:
    """The path of what is on this machine; None of what is in a store."""
    if urlsplit(location).scheme not in ("", "file"):
        return None
    return Path(location.removeprefix("file://"))  # of which the library escapes nothing


# --- How its catalog is found ------------------------------------------------------------------


def _properties(place: IcebergPlace) -> dict[str, str]:
    """What the library is told of a catalog: its own configuration, and before it the job's."""
    from pyiceberg.utils.config import Config

    # Read now: the library itself reads its configuration once, when it is imported.
    known = Config().get_catalog_config(place.catalog.name) or {}
    properties = {**_PATIENCE, **{key: str(value) for key, value in known.items()}}
    if place.catalog.uri is not None:
        _check_catalog_file(place, place.catalog.uri)
        properties["uri"] = place.catalog.uri
    if place.catalog.warehouse is not None:
        properties["warehouse"] = _warehouse(place.catalog.warehouse)
    if "uri" not in properties and "type" not in properties:
        raise fault(
            place,
            f"PyIceberg knows no catalog {place.catalog.name!r}; give its uri in the job, in "
            f"~/.pyiceberg.yaml or in {_uri_variable(place)}",
        )
    if "uri" in properties:
        properties["uri"] = _impatient(properties["uri"])
    return properties


def _check_catalog_file(place: IcebergPlace, uri: str) -> None:
    """See that there is a file to read, as SQLite would make one; or a folder for a new one."""
    engine, parts = split_database_url(uri)
    if engine != "sqlite":
        return
    file = confined(database_file(parts))
    if isinstance(place, IcebergSource) and not file.exists():
        raise fault(place, f"there is no catalog {file}")
    file.parent.mkdir(parents=True, exist_ok=True)


def _warehouse(place: Path | str) -> str:
    """Where new tables are made, in words that are the same wherever they are read."""
    if isinstance(place, Path):
        return str(confined(place).absolute())
    check_url(place)
    return place


def _impatient(uri: str) -> str:
    from sqlalchemy import make_url

    if not uri.startswith("postgresql"):
        return uri
    url = make_url(uri)
    if url.drivername in _LIBPQ and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": _SECONDS})
    return url.render_as_string(hide_password=False)


def _uri_variable(place: IcebergPlace) -> str:
    """The environment variable in which PyIceberg looks for the address of a catalog."""
    name = place.catalog.name.upper().replace("-", "_")
    return f"PYICEBERG_CATALOG__{name}__URI"
