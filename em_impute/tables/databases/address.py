"""Where a URL leads: the file of a database, or a server and its address for the driver."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

from em_impute.job import database_file
from em_impute.job.confinement import OutsideError, confined
from em_impute.tables.databases.session import DatabaseError
from em_impute.tables.whole_files import reason


def file_of(parts: SplitResult) -> Path:
    """The file of a database.

    Raises
    ------
    DatabaseError
        If jobs may not go there.
    """
    try:
        return confined(database_file(parts))
    except OutsideError as outside:
        raise DatabaseError(f"its file {outside}") from None


def check_there(path: Path, write: bool) -> None:
    """See that a file to read exists, and make the folder of one to write."""
    exists = os.path.exists(path)  # noqa: PTH110, which says no to any wrong name
    if not write and not exists:
        raise DatabaseError(f"there is no file {path} in {Path.cwd()}")
    if exists and not path.is_file():  # a pipe would be waited for without end
        raise DatabaseError(f"{path} is a folder, a device or a pipe, not the file of a database")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"its folder {path.parent} cannot be made ({reason(error)})") from None


def server(parts: SplitResult) -> str:
    """The host and port of a server, as PostgreSQL's library finds them."""
    query = dict(parse_qsl(parts.query))
    host, port = parts.hostname or query.get("host"), parts.port or query.get("port")
    return f"{host or 'localhost'}:{port or 5432}"


def libpq_uri(parts: SplitResult, password: str | None) -> str:
    """The URL as PostgreSQL's library reads it, with the password if that is kept elsewhere."""
    netloc = parts.netloc
    if password is not None:
        host = netloc.rpartition("@")[2]
        netloc = (
            f"{quote(unquote(parts.username or ''), safe='')}:{quote(password, safe='')}@{host}"
        )
    defaults = {"connect_timeout": "10", "fallback_application_name": "em_impute"}
    query = urlencode(defaults | dict(parse_qsl(parts.query)), quote_via=quote)
    return parts._replace(scheme="postgresql", netloc=netloc, query=query).geturl()
