"""A Delta table as it is opened, and what is wrong with one, in sentences.

Messages of the library can quote cells and what stands in the environment, so none is passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from em_impute.job import DeltaSource, DeltaTarget
from em_impute.job.confinement import OutsideError, check_url, confined
from em_impute.tables.lakehouse.versions import capitalised, fault

if TYPE_CHECKING:
    from deltalake import DeltaTable

DeltaPlace = DeltaSource | DeltaTarget

LOG = "_delta_log"
# A store that does not answer is given up after so long; Prefect tries the step again.
_PATIENCE = {"connect_timeout": "5s", "max_retries": "3", "retry_timeout": "30s"}
# What a URL may say of its store, in Arrow's words and in the library's.
_OPTIONS = {"region": "aws_region", "endpoint_override": "aws_endpoint_url"}
_MAPPED = "delta.columnMapping.mode"
# Features of a table that the library would pass over or refuse, and how to be rid of them.
_BEYOND = {
    "deletionVectors": "deletion vectors: set delta.enableDeletionVectors to false and run REORG "
    "TABLE ... APPLY (PURGE)",
    "columnMapping": f"column mapping: write the table again without {_MAPPED}",
}


@contextmanager
def explained(place: DeltaPlace) -> Iterator[None]:
    """Say in a sentence, without its words, what the library says of a table.

    Raises
    ------
    SourceError, TargetError
        If it cannot be read or written as the job says.
    OSError
        If its store does not answer, or has no room.
    """
    try:
        from deltalake import exceptions
    except ImportError:
        raise fault(
            place,
            "the package deltalake is not installed; install it with `pip install "
            "'em-impute[delta]'`",
        ) from None
    try:
        yield
    except exceptions.CommitFailedError:
        raise  # which whoever publishes knows what to make of
    except OutsideError as outside:
        raise fault(place, f"it {outside}") from None
    except FileNotFoundError:
        raise fault(
            place, "files of this version are gone, as VACUUM removes them; name a newer version"
        ) from None
    except OSError as error:
        raise OSError(
            f"{capitalised(place)} cannot be reached ({type(error).__name__}): its store does not "
            "answer, refuses the login or is full. Credentials come from the environment, such as "
            "AWS_ACCESS_KEY_ID."
        ) from None
    except Exception as error:
        # The library raises some of its own errors as plain exceptions.
        if not isinstance(error, exceptions.DeltaError) and type(error) is not Exception:
            raise
        raise fault(
            place,
            f"deltalake refuses it ({type(error).__name__}). Its log may be damaged, it may need a "
            "newer deltalake, or the rows may break one of its constraints",
        ) from None


def find(place: DeltaPlace, version: int | None = None) -> DeltaTable | None:
    """Open a table at a version, by default its newest; None if there is no table.

    Raises
    ------
    SourceError, TargetError, OSError
    """
    with explained(place):
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        address, options = where(place)
        try:
            table = DeltaTable(address, storage_options=options)
        except TableNotFoundError:
            return None
        if version is not None:
            if version > table.version():
                raise fault(place, f"it has no version {version}; its newest is {table.version()}")
            table.load_as_version(version)
        _check_features(place, table)
    return table


def where(place: DeltaPlace) -> tuple[str, dict[str, str] | None]:
    """The address of a table for the library, and the options of its store.

    Raises
    ------
    OutsideError
        If jobs may not go there.
    """
    if isinstance(place.path, Path):
        confined(place.path / LOG)
        return str(confined(place.path).absolute()), None
    check_url(place.path)
    given = dict(parse_qsl(urlsplit(place.path).query))
    options = {_OPTIONS[key]: value for key, value in given.items() if key in _OPTIONS}
    if given.get("scheme") == "http":
        options["aws_allow_http"] = "true"
    if "endpoint_override" in given and "://" not in given["endpoint_override"]:
        options["aws_endpoint_url"] = (
            f"{given.get('scheme', 'https')}://{given['endpoint_override']}"
        )
    return place.path.partition("?")[0], {**_PATIENCE, **options}


def _check_features(place: DeltaPlace, table: DeltaTable) -> None:
    """Refuse a table whose cells the library would not read as they are."""
    features = set(table.protocol().reader_features or ())
    if table.metadata().configuration.get(_MAPPED, "none") != "none":
        features.add("columnMapping")
    for feature, remedy in _BEYOND.items():
        if feature in features:
            raise fault(place, f"it has {remedy}")
