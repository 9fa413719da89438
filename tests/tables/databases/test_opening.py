"""What keeps a database from being opened: files, drivers, addresses and logins."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from databases import read, refusal_of
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute.job import DatabaseSource, DatabaseTarget
from em_impute.tables.databases.session import DatabaseLostError
from em_impute.tables.databases.target import check_target
from em_impute.tables.writing.staged import TargetError


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_file_that_is_no_database(tmp_path: Path, engine: str) -> None:
    (tmp_path / "x").write_text("a,b\n1,2\n" * 1000)
    message = refusal_of(DatabaseSource(url=f"{engine}:///{tmp_path}/x", table="t"))
    expected = {
        "duckdb": f"{tmp_path}/x cannot be opened as a DuckDB file",
        "sqlite": "the file is not an SQLite database, or it is damaged",
    }
    assert expected[engine] in message
    message = refusal_of(DatabaseSource(url=f"{engine}:///{tmp_path}/nope", table="t"))
    assert f"there is no file {tmp_path}/nope in {Path.cwd()}" in message


def test_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    message = refusal_of(DatabaseSource(url=f"duckdb:///{tmp_path}/x", table="t"))
    assert (
        "its driver is not installed; install it with `pip install 'em-impute[duckdb]'`" in message
    )
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    message = refusal_of(DatabaseSource(url="postgresql://h/d", table="t"))
    assert "install it with `pip install 'em-impute[postgresql]'`" in message


def test_a_file_named_like_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To DuckDB, `md:` before a name is MotherDuck, and `sqlite:` an extension to download."""
    monkeypatch.chdir(tmp_path)
    check_target(DatabaseTarget(url="duckdb:///md:x", table="t"))
    assert (tmp_path / "md:x").exists()


def test_server_that_does_not_answer() -> None:
    source = DatabaseSource(url="postgresql://me@127.0.0.1:1/sales", table="t")
    expected = (
        "The table t of postgresql://127.0.0.1:1/sales cannot be {}: "
        "no database server answers at 127.0.0.1:1 (connection refused)."
    )
    with pytest.raises(DatabaseLostError) as caught:
        read(source)
    assert str(caught.value) == expected.format("read")
    with pytest.raises(TargetError) as refused:
        check_target(DatabaseTarget(url=str(source.url), table="t"))
    assert str(refused.value) == expected.format("written")


@pytest.mark.parametrize("in_url", [True, False], ids=["in the URL", "beside it"])
def test_password_opens_and_is_never_told(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, in_url: bool
) -> None:
    wrong = "wr0ng:pass/word"

    def source(password: str) -> DatabaseSource:
        secret = quote(password, safe="")
        url = postgres.guarded_url.replace(GUARDED, f"{GUARDED}:{secret}")
        monkeypatch.setenv("WAREHOUSE", url if in_url else password)
        return DatabaseSource.model_validate(
            {"url": {"env": "WAREHOUSE"}, "query": "SELECT 1 AS a"}
            if in_url
            else {
                "url": postgres.guarded_url,
                "password": {"env": "WAREHOUSE"},
                "query": "SELECT 1 AS a",
            }
        )

    assert read(source(PASSWORD)).to_pylist() == [{"a": 1}]
    message = refusal_of(source(wrong))
    assert (
        f"the server at 127.0.0.1:{postgres.port} refused the login; check the user and" in message
    )
    for told in (message, repr(source(wrong)), str(source(wrong)), source(wrong).model_dump_json()):
        assert "wr0ng" not in told
        assert GUARDED not in message


def test_database_or_user_that_is_not_there(postgres: PostgresServer) -> None:
    place = f"the server at 127.0.0.1:{postgres.port} knows no such database or no such user"
    for url in (f"{postgres.url}x", postgres.url.replace("postgres@", "nobody@")):
        assert place in refusal_of(DatabaseSource(url=url, table="t"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "the environment variable WAREHOUSE is not set"),
        ("", "the environment variable WAREHOUSE is not set"),
        (
            "mysql://me:s3cret@h/d",
            "the environment variable WAREHOUSE: expected the URL of a database, such as ",
        ),
    ],
)
def test_environment_variable_that_is_no_url(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str
) -> None:
    monkeypatch.delenv("WAREHOUSE", raising=False)
    if value is not None:
        monkeypatch.setenv("WAREHOUSE", value)
    message = refusal_of(DatabaseSource.model_validate({"url": {"env": "WAREHOUSE"}, "table": "t"}))
    assert f"The table t of $WAREHOUSE cannot be read: {expected}" in message
    assert "s3cret" not in message
