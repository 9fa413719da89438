"""That `em-impute check` finds what a publication to a database would be refused for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import write_yaml
from databases import Database
from postgres_server import GUARDED, PASSWORD

from em_impute.cli.main import main
from em_impute.tables.databases.runs_table import RUNS

ROWS = "k,x,y\n" + "".join(
    f"{i},{'' if i % 5 == 0 else i * 0.31},{i + i % 3 / 7}\n" for i in range(1, 41)
)


class Job:
    """A job from a file to a table of a database, in a folder of its own."""

    def __init__(self, folder: Path, url: str, table: str = ROWS) -> None:
        self.folder, self.url = folder, url
        (folder / "in.csv").write_text(table)

    def check(self, mode: str = "replace", **also: Any) -> tuple[int, str]:
        write_yaml(
            self.folder / "job.yaml",
            {
                "name": "x",
                "source": {"path": "in.csv"},
                "columns": {"key": ["k"]},
                "target": {"url": self.url, "table": "t", "mode": mode, **also},
            },
        )
        done = CliRunner().invoke(main, ["check", "job.yaml"])
        return done.exit_code, done.output


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASSWORD", PASSWORD)


def test_nothing_to_find(database: Database, tmp_path: Path) -> None:
    job = Job(tmp_path, database.url)
    for mode in ("replace", "append", "upsert"):
        assert job.check(mode)[0] == 0
    columns = "k integer PRIMARY KEY, x double precision NOT NULL, y double precision, z integer"
    database.run(f"CREATE TABLE t ({columns});;INSERT INTO t VALUES (99, 1, 1, 1)")
    for mode in ("replace", "append", "upsert"):
        code, said = job.check(mode)
        assert code == 0, said
    assert database.rows() == [(99, 1.0, 1.0, 1)]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (
            "k int, x float8, y numeric(10,2)",
            "would change cells that were not filled: 27 of column",
        ),
        (
            "k int, x real, y float8",
            "change cells that were not filled: 32 of column 'x' (of type",
        ),
        ("k int, x float8, y int", "its column 'y' is of type integer, which would round"),
        ("k int, x float8", "it has no column 'y' that can be written"),
        (
            "k int, x float8, y float8, z int NOT NULL",
            "its column 'z' is NOT NULL and has",
        ),
        ("k int, x float8, y float8 CHECK (y < 40)", 'violates check constraint "t_y_check"'),
        ("k int, x float8, y float8 CHECK (x > 0.5)", 'violates check constraint "t_x_check"'),
        ("k int CHECK (k <> 7), x float8, y float8", 'violates check constraint "t_k_check"'),
        (
            "k int REFERENCES u, x float8, y float8",
            "2 rows refer by its foreign key t_k_fkey to",
        ),
        ("k int, x float8, y bytea", "cannot cast type double precision to bytea"),
    ],
)
@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_table_that_would_refuse_the_rows(
    postgres_database: Database, tmp_path: Path, table: str, why: str, mode: str
) -> None:
    run = postgres_database.run
    run("CREATE TABLE u (k int PRIMARY KEY);;INSERT INTO u SELECT generate_series(1, 38)")
    run(f"CREATE TABLE t ({table})")
    code, said = Job(tmp_path, postgres_database.url).check(mode)
    assert (code, why in " ".join(said.split())) == (2, True), said
    assert postgres_database.rows() == []


def test_rows_that_are_not_unique(postgres_database: Database, tmp_path: Path) -> None:
    postgres_database.run("CREATE TABLE t (k int, x float8, y float8, z text UNIQUE)")
    rows = ROWS.replace("\n", ",same\n").replace("y,same", "y,z")
    code, said = Job(tmp_path, postgres_database.url, rows).check()
    assert (code, 'violates unique constraint "t_z_key"' in said) == (2, True), said


def test_types_of_sqlite_and_duckdb(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for engine, table in [
        ("sqlite", "k integer, x text, y real"),
        ("sqlite", "k integer, x real, y real CHECK (y < 40)"),
        ("duckdb", "k integer, x float, y double"),
        ("duckdb", "k integer, x double, y double CHECK (y < 40)"),
    ]:
        database: Database = request.getfixturevalue(f"{engine}_database")
        database.run(f"DROP TABLE IF EXISTS t;;CREATE TABLE t ({table})")
        code, said = Job(tmp_path, database.url).check()
        assert code == 2, said
        assert database.rows() == []


def test_foreign_keys_that_refer_to_the_target(postgres_database: Database, tmp_path: Path) -> None:
    run = postgres_database.run
    run("CREATE TABLE t (k int PRIMARY KEY, x float8, y float8);;INSERT INTO t VALUES (1, 1, 1)")
    run("CREATE TABLE child (t int REFERENCES t)")
    job = Job(tmp_path, postgres_database.url)
    assert job.check()[0] == 0
    run("INSERT INTO child VALUES (1)")
    code, said = job.check()
    assert (code, job.check("upsert")[0]) == (2, 0)
    assert "because rows of child refer to them by the foreign key child_t_fkey" in said


def test_what_a_check_leaves_of_a_sequence_and_a_trigger(
    postgres_database: Database, tmp_path: Path
) -> None:
    """Neither goes back with a transaction."""
    run = postgres_database.run
    run("CREATE TABLE t (n serial PRIMARY KEY, k int, x float8, y float8)")
    run("ALTER TABLE t ADD m bigint GENERATED ALWAYS AS IDENTITY")
    run("CREATE SEQUENCE heard")
    run(
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM nextval('heard'); RETURN new; END $$;;"
        "CREATE TRIGGER hears BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION hear()"
    )
    for mode in ("replace", "append", "upsert"):
        code, said = Job(tmp_path, postgres_database.url).check(mode)
        assert code == 0, said
    for sequence in ("t_n_seq", "t_m_seq", "heard"):
        assert run(f"SELECT is_called FROM {sequence}") == [(False,)]


def test_view_and_partitions(postgres_database: Database, tmp_path: Path) -> None:
    run = postgres_database.run
    run("CREATE TABLE base (k int, x float8, y float8) PARTITION BY RANGE (k)")
    run("CREATE TABLE part PARTITION OF base DEFAULT")
    job = Job(tmp_path, postgres_database.url)
    for made in ("CREATE VIEW t AS TABLE base", "DROP VIEW t;;ALTER TABLE base RENAME TO t"):
        run(made)
        for mode in ("replace", "append", "upsert"):
            code, said = job.check(mode)
            assert code == 0, said


# --- What this role may do ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "revoked", "grant"),
    [
        ("append", "INSERT ON t", 'GRANT INSERT ON "public"."t" TO guarded'),
        ("append", "SELECT ON t", 'GRANT SELECT ON "public"."t" TO guarded'),
        ("replace", "DELETE ON t", 'GRANT DELETE ON "public"."t" TO guarded'),
        ("upsert", "INSERT, UPDATE ON t", 'GRANT INSERT, UPDATE ON "public"."t" TO guarded'),
        (
            "append",
            "SELECT, INSERT ON em_impute_runs",
            'GRANT SELECT, INSERT ON "public"."em_impute_runs" TO guarded',
        ),
    ],
)
def test_grants(
    postgres_database: Database, tmp_path: Path, mode: str, revoked: str, grant: str
) -> None:
    run = postgres_database.run
    run("CREATE TABLE t (k int, x float8, y float8)")
    run(f"CREATE TABLE {RUNS} (run_id text, target text, rows bigint, sha256 text)")
    run(f"GRANT ALL ON t, em_impute_runs TO {GUARDED};;REVOKE {revoked} FROM {GUARDED}")
    url = postgres_database.url.replace("postgres@", f"{GUARDED}@")
    code, said = Job(tmp_path, url).check(mode, password={"env": "PASSWORD"})
    assert code == 2
    assert f"; its owner gives it with `{grant}`." in " ".join(said.split()), said
    run(grant)
    assert Job(tmp_path, url).check(mode, password={"env": "PASSWORD"})[0] == 0


def test_grants_for_a_new_table(postgres_database: Database, tmp_path: Path) -> None:
    url = postgres_database.url.replace("postgres@", f"{GUARDED}@")
    job = Job(tmp_path, url)
    for grant in ('GRANT USAGE, CREATE ON SCHEMA "public" TO guarded',):
        code, said = job.check(password={"env": "PASSWORD"})
        assert (code, f"`{grant}`" in " ".join(said.split())) == (2, True), said
        postgres_database.run(grant)
    assert job.check(password={"env": "PASSWORD"})[0] == 0
    database = postgres_database.url.rpartition("/")[2]
    postgres_database.run(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    code, said = job.check(password={"env": "PASSWORD"})
    grant = f"GRANT TEMPORARY ON DATABASE {database} TO guarded"
    assert (code, f"`{grant}`" in " ".join(said.split())) == (2, True), said
