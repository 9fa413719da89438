"""Where a database is opened: what a job says of a place becomes a session of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from em_impute.job import DatabaseSource, DatabaseTarget, split_database_url
from em_impute.tables.databases.address import file_of
from em_impute.tables.databases.duckdb import DuckDB
from em_impute.tables.databases.logins import LoginError, login_to
from em_impute.tables.databases.postgresql import PostgreSQL
from em_impute.tables.databases.session import DatabaseError, DatabaseLostError, Session
from em_impute.tables.databases.sqlite import SQLite
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import TargetError


@contextmanager
def opened(place: DatabaseSource | DatabaseTarget, sparing: bool = False) -> Iterator[Session]:
    """A session with a source's or target's database; its refusals as this room's errors.

    A `sparing` one leaves this process most of its memory, where the database is in it.
    """
    reading = isinstance(place, DatabaseSource)
    fault, done = (SourceError, "read") if reading else (TargetError, "written")
    name = f"{place}"[0].upper() + f"{place}"[1:]
    try:
        login = login_to(place)
        with _connect(login.url, login.password, not reading, sparing) as session:
            yield session
    except (DatabaseError, LoginError) as error:
        raise fault(f"{name} cannot be {done}: {error}.") from None
    except DatabaseLostError as error:
        raise DatabaseLostError(f"{name} cannot be {done}: {error}.") from None


@contextmanager
def opened_once(target: DatabaseTarget) -> Iterator[Session]:
    """A session for what nobody tries again: a database that is gone is a TargetError, too."""
    try:
        with opened(target) as session:
            yield session
    except DatabaseLostError as error:
        raise TargetError(str(error)) from None


@contextmanager
def _connect(url: str, password: str | None, write: bool, sparing: bool) -> Iterator[Session]:
    """Open a database and begin a transaction.

    Raises
    ------
    DatabaseError
    DatabaseLostError
    """
    engine, parts = split_database_url(url)
    session: Session
    match engine:
        case "postgresql":
            session = PostgreSQL(parts, password, write)
        case "duckdb":
            session = DuckDB(file_of(parts), write, sparing)
        case _:
            session = SQLite(file_of(parts), write)
    try:
        yield session
    finally:
        session.close()
