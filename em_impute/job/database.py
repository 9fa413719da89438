"""A database: what `source` and `target` share where they have a `url`; its URLs and tables."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from em_impute.job.confinement import confined
from em_impute.job.dates import with_known_dates
from em_impute.job.types import Section

_ENGINE_OF_SCHEME = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
}
_DATABASE_URLS = "postgresql://host/database, sqlite:///file.db or duckdb:///file.duckdb"
_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_TABLE = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))?")


def split_database_url(url: str) -> tuple[str, SplitResult]:
    """Return the parts of a database's URL.

    Returns
    -------
    engine : str
        ``"postgresql"``, ``"sqlite"`` or ``"duckdb"``.
    parts : SplitResult

    Raises
    ------
    ValueError
        With a sentence that does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        engine = _ENGINE_OF_SCHEME[parts.scheme.partition("+")[0]]
        _ = parts.port  # a ValueError if it is no number
    except (ValueError, KeyError):
        raise ValueError(f"expected the URL of a database, such as {_DATABASE_URLS}") from None
    if engine == "postgresql":
        # What stands after an unescaped / of a password would be taken for the host, and be shown.
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise ValueError(
                "in the URL of a database, a user or password is written with %2F for /, %3F for "
                "?, %23 for # and %40 for @"
            )
        if "sslkeylogfile" in {key.lower() for key, _ in parse_qsl(parts.query)}:
            raise ValueError("remove sslkeylogfile: it writes the keys of the connection to a file")
    elif parts.netloc or not parts.path.strip("/") or "%00" in parts.path:
        raise ValueError(
            f"expected the path of a file after three slashes, such as {engine}:///data/sales.db "
            f"(four, {engine}:////data/sales.db, begin at the root)"
        )
    elif parts.path == "/:memory:":
        raise ValueError("expected a file: a database in memory ends with the program")
    return engine, parts


def holds_password(url: SplitResult) -> bool:
    """Whether a password stands in the URL of a database."""
    options = {key.lower() for key, _ in parse_qsl(url.query)}
    return url.password is not None or bool(options & {"password", "sslpassword"})


def database_file(parts: SplitResult) -> Path:
    """The file of a URL: relative after three slashes, absolute after four, as in SQLAlchemy."""
    return Path(unquote(parts.path.removeprefix("/")))


def split_table(name: str) -> tuple[str, ...]:
    """Return the parts of a table's name: ``sales.orders``, or ``sales."odd.name"`` in quotes.

    Raises
    ------
    ValueError
        If it is no table's name, with or without a schema's before it.
    """
    if not _TABLE.fullmatch(name) or "\0" in name:
        raise ValueError(
            "expected a table, such as orders or sales.orders; a name that itself has a dot or a "
            "quote stands in double quotes, such as '\"my.table\"'"
        )
    return tuple(
        part[1:-1].replace('""', '"') if part.startswith('"') else part
        for part in _PART.findall(name)
    )


def _table(name: str) -> str:
    split_table(name)
    return with_known_dates(name)


TableName = Annotated[str, AfterValidator(_table)]


def _database_url(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str):
        engine, parts = split_database_url(value)
        if holds_password(parts):
            raise ValueError(
                "a password must not stand in a job; take it out and name the environment variable "
                "that holds it, for example `password: {env: WAREHOUSE_PASSWORD}`"
            )
        if engine != "postgresql":
            confined(database_file(parts))
        return value
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        f"expected the URL of a database, such as {_DATABASE_URLS}, or the environment variable "
        "that holds it, such as {env: WAREHOUSE_URL}, or a block of Prefect, such as "
        "{block: em-impute-database/warehouse}"
    )


def _password(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        "a password must not stand in a job; name the environment variable that holds it, "
        "for example `password: {env: WAREHOUSE_PASSWORD}`, or a block of Prefect, such as "
        "`password: {block: secret/warehouse-password}`"
    )


class FromEnvironment(Section):
    """A value that stands in an environment variable, not in the job."""

    env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable.",
        examples=["WAREHOUSE_PASSWORD"],
    )

    def __str__(self) -> str:
        return f"the environment variable {self.env}"


class FromBlock(Section):
    """A value that a block keeps in Prefect, not in the job."""

    block: str = Field(
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Type and name of the block: secret/... or em-impute-database/...",
        examples=["em-impute-database/warehouse"],
    )

    def __str__(self) -> str:
        return f"the block {self.block}"


class Database(Section):
    """Where a database is, and how to log in; a secret is only named, never written."""

    url: Annotated[str | FromEnvironment | FromBlock, WrapValidator(_database_url)] = Field(
        description="URL of the database, without a password; or {env: NAME} for the environment "
        "variable that holds it, or {block: TYPE/NAME} for the block in Prefect, with or without "
        "one.",
        examples=["postgresql://host/database", {"env": "WAREHOUSE_URL"}],
    )
    password: Annotated[FromEnvironment | FromBlock, WrapValidator(_password)] | None = Field(
        None,
        description="{env: NAME} or {block: TYPE/NAME}: the environment variable, or the block in "
        "Prefect, that holds the password.",
        examples=[{"env": "WAREHOUSE_PASSWORD"}],
    )

    @property
    def url_shown(self) -> str:
        """The database as messages name it: its URL without the user, or who keeps the URL."""
        if isinstance(self.url, FromEnvironment):
            return f"${self.url.env}"
        if isinstance(self.url, FromBlock):
            return f"{self.url}"
        return self.url.partition("?")[0].replace(f"{urlsplit(self.url).username}@", "", 1)


def file_or_database(value: object) -> str:
    """Return which kind of source or target is meant, by its keys."""
    if isinstance(value, Database) or (isinstance(value, dict) and "url" in value):
        return "database"
    return "file"
