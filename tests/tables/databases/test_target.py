"""Databases as targets: checked before a run, published in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pytest
from databases import Database, Stage, read
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute.job import DatabaseTarget
from em_impute.tables.databases.session import quoted
from em_impute.tables.databases.target import check_target, publish
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import Published, Staged, TargetError

ODD_NAMES = [
    *("a b", 'say "x"', "ünï.çødé", "x; drop table t --", "Select", "o'clock", "$1 ?1"),
    *('"); drop table t; --', "new\nline", "back\\slash", "%s %(x)s {0} :x @x", "*/ /*", "\u202e"),
]


def test_check_leaves_no_trace(database: Database, old: Any) -> None:
    for table in ("t", "another"):
        for mode in ("replace", "append", "upsert"):
            check_target(database.target(table, mode))
    assert database.rows() == old
    listed = {
        "postgresql": "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        "duckdb": "SELECT table_name FROM duckdb_tables()",
        "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table'",
    }
    assert database.run(listed[database.engine]) == [("t",)]


def test_target_that_may_not_be_written(
    postgres: PostgresServer, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    run = postgres_database.run
    url = postgres_database.url.replace("postgres@", f"{GUARDED}@")

    def check(table: str, mode: Any = "replace") -> None:
        check_target(DatabaseTarget(url=url, table=table, mode=mode, password={"env": "PASSWORD"}))

    with pytest.raises(TargetError, match="permission denied for schema public"):
        check("t")
    run(f"GRANT CREATE ON SCHEMA public TO {GUARDED};;CREATE TABLE t (a int)")
    run(f"GRANT SELECT, INSERT ON t TO {GUARDED}")
    check("t", "append")
    with pytest.raises(TargetError, match="permission denied for table t"):
        check("t", "replace")
    with pytest.raises(TargetError, match='schema "nope" does not exist'):
        check("nope.t")


def test_rows_that_would_take_others_with_them(postgres_database: Database) -> None:
    postgres_database.run(
        "CREATE TABLE t (k int PRIMARY KEY);;"
        "CREATE TABLE child (k int REFERENCES t ON DELETE CASCADE);;INSERT INTO t VALUES (1)"
    )
    expected = "by the foreign key child_k_fkey with ON DELETE; use `mode: upsert`"
    with pytest.raises(TargetError, match=expected):
        check_target(postgres_database.target())
    check_target(postgres_database.target(mode="upsert"))


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_folder_of_a_target_is_made(tmp_path: Path, engine: str) -> None:
    check_target(DatabaseTarget(url=f"{engine}:///{tmp_path}/a/b/x", table="t"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match=f"its folder {tmp_path}/file/a cannot be made"):
        check_target(DatabaseTarget(url=f"{engine}:///{tmp_path}/file/a/x", table="t"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_quoted_never_pasted(database: Database, stage: Stage, name: str) -> None:
    table = quoted(name)
    publish(stage({name: [1, 2], "k": ["x", "y"]}), database.target(table), "run")
    publish(stage({name: [3], "k": ["y"]}), database.target(table, "upsert"), "run 2", ["k"])
    assert sorted(database.run(f"SELECT {table} FROM {table}")) == [(1,), (3,)]
    assert read(database.source(table=table)).column_names == [name, "k"]
    check_target(database.target(table))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_name_reaches_another_table(database: Database, stage: Stage, name: str) -> None:
    """As the schema, the table, the key and the column at once, in the modes that differ."""
    database.run("CREATE TABLE t (a integer);;INSERT INTO t VALUES (1)")
    prefix = ""
    if database.engine != "sqlite":
        prefix = f"{quoted(f'schema {name}')}."
        database.run(f"CREATE SCHEMA {prefix.removesuffix('.')}")
    table = f"{prefix}{quoted(f'table {name}')}"
    other = f"key {name}"
    for mode in ("append", "upsert", "replace"):
        staged = stage({name: ["x"], other: [name]})
        publish(staged, database.target(table, mode), f"{mode} {name}", [other])
        assert database.rows(table) == [("x", name)]
        database.run(f"DELETE FROM {table}") if mode == "append" else None
    with pytest.raises(SourceError, match="there is no such table"):
        read(database.source(table=quoted(f"no {name}")))
    assert database.rows("t") == [(1,)]


def test_table_of_another_schema(postgres_database: Database, stage: Stage) -> None:
    postgres_database.run('CREATE SCHEMA "my sales";;CREATE TABLE "my sales".t (a int)')
    target = postgres_database.target('"my sales".t')
    publish(stage({"a": pa.array([1], pa.int32())}), target, "run")
    assert read(postgres_database.source(table='"my sales".t')).to_pylist() == [{"a": 1}]
    assert postgres_database.rows('"my sales".em_impute_runs')[0][:3] == ("run", "t", 1)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("replace", [(1, 1.5, "new"), (2, 2.5, "new"), (3, 3.5, "new")]),
        (
            "upsert",
            [(0, 0.0, "old"), (1, 1.5, "old"), (2, 2.5, "new"), (3, 3.5, "new")],
        ),
    ],
)
def test_modes(
    database: Database, old: Any, filled: Staged, mode: str, expected: list[tuple[Any, ...]]
) -> None:
    target = database.target(mode=mode)
    assert publish(filled, target, "run", ["k"]) == Published(str(target), 3, filled.sha256)
    assert database.rows() == expected


def test_append(database: Database, filled: Staged) -> None:
    """Once per run, also into a table that is not there yet."""
    for run in ("run 1", "run 1", "run 2"):
        publish(filled, database.target(mode="append"), run)
    assert database.rows() == sorted([(1, 1.5), (2, 2.5), (3, 3.5)] * 2)


def test_upsert_into_a_table_of_keys_only(database: Database, stage: Stage) -> None:
    publish(stage({"k": [1, 2]}), database.target(mode="upsert"), "run 1", ["k"])
    publish(stage({"k": [2, 3]}), database.target(mode="upsert"), "run 2", ["k"])
    assert database.rows() == [(1,), (2,), (3,)]


def test_a_run_is_published_once(database: Database, filled: Staged, stage: Stage) -> None:
    first = publish(filled, database.target(), "run 1")
    publish(stage({"k": [9], "x": [9.0]}), database.target(), "run 2")
    filled.path.unlink()  # a retry on another machine does not even need it
    assert publish(filled, database.target(), "run 1") == first
    assert database.rows() == [(9, 9.0)]
    runs = database.run('SELECT "run_id", "target", "rows", "sha256" FROM em_impute_runs')
    assert runs[0] == ("run 1", "t", 3, filled.sha256)
    assert [run[0] for run in runs] == ["run 1", "run 2"]
    with pytest.raises(TargetError, match=r"the staged file .* is gone; run the job again"):
        publish(filled, database.target(), "run 3")


def test_what_a_dba_gave_the_table_survives(postgres_database: Database, stage: Stage) -> None:
    run = postgres_database.run
    doubled = "doubled float8 GENERATED ALWAYS AS (x * 2) STORED"
    run(f"CREATE TABLE t (k int PRIMARY KEY, x numeric(6,1) NOT NULL, {doubled})")
    run(f"CREATE INDEX by_x ON t (x);;GRANT SELECT ON t TO {GUARDED}")
    run("CREATE VIEW v AS SELECT k, x FROM t")
    catalog = (
        "SELECT relname, relacl::text, relfilenode FROM pg_class "
        "WHERE relname IN ('t', 'by_x', 'v') ORDER BY 1"
    )
    before = run(catalog)
    publish(stage({"k": [1], "x": [0.5]}), postgres_database.target(), "run")
    assert run(catalog) == before
    assert run("SELECT k, x::text FROM v") == [(1, "0.5")]


def test_readers_see_old_rows_and_are_not_blocked(
    postgres_database: Database, filled: Staged
) -> None:
    """A long transaction with an old snapshot goes on seeing it, after the publication too."""
    postgres_database.run("CREATE TABLE t AS SELECT 0 AS k, 0.0::float8 AS x")
    with (
        adbc_driver_postgresql.dbapi.connect(postgres_database.url) as reader,
        reader.cursor() as cursor,
    ):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == [(0, 0.0)]
        publish(filled, postgres_database.target(), "run")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == [(0, 0.0)]
    assert len(postgres_database.rows()) == 3


@pytest.mark.parametrize(
    ("table", "mode", "problem"),
    [
        (
            {"k": [1, None], "x": [1.0, 2.0]},
            "upsert",
            "`mode: upsert` needs a key in every row; it is missing in 1 rows (columns.key: k)",
        ),
        (
            {"k": [1.0, float("nan")], "x": [1.0, 2.0]},
            "upsert",
            "`mode: upsert` needs a key in every row; it is missing in 1 rows (columns.key: k)",
        ),
        (
            {"k": [1, 2, 2, 2], "x": [1.0] * 4},
            "upsert",
            "`mode: upsert` needs a key that is in one row only; 1 keys are in several rows "
            "(columns.key: k)",
        ),
        (
            {"k": [1], "xx": [1.0]},
            "replace",
            "it has no column 'xx' that can be written (did you mean 'x'?)",
        ),
    ],
    ids=["no key", "NaN as key", "key twice", "no such column"],
)
def test_table_that_the_target_refuses(
    database: Database,
    old: Any,
    stage: Stage,
    table: Any,
    mode: str,
    problem: str,
) -> None:
    with pytest.raises(TargetError) as caught:
        publish(stage(table), database.target(mode=mode), "run", ["k"])
    assert str(caught.value) == (
        f"The table t of {database.target().url_shown} cannot be written: {problem}."
    )
    assert database.rows() == old
    with pytest.raises(Exception, match="em_impute_runs"):
        database.rows("em_impute_runs")


def test_constraint_that_is_violated(database: Database, old: Any, filled: Staged) -> None:
    with pytest.raises(TargetError) as caught:
        publish(filled, database.target(mode="append"), "run")
    expected = {
        "postgresql": 'duplicate key value violates unique constraint "t_pkey" (SQLSTATE 23505)',
        "duckdb": "a row violates a constraint of the table, such as its primary key",
        "sqlite": "UNIQUE constraint failed: t.k",
    }
    assert str(caught.value).endswith(f"cannot be written: {expected[database.engine]}.")
    assert database.rows() == old


@pytest.mark.parametrize("engine", ["postgres", "duckdb"])
def test_fractions_are_not_rounded_to_whole_numbers(
    request: pytest.FixtureRequest, stage: Stage, engine: str
) -> None:
    database: Database = request.getfixturevalue(f"{engine}_database")
    database.run("CREATE TABLE t (k bigint, x integer)")
    with pytest.raises(TargetError) as caught:
        publish(stage({"k": [1], "x": [1.5]}), database.target(), "run")
    assert (
        "its column 'x' is of type integer, which would round the table's values of type double"
    ) in str(caught.value).replace("INTEGER", "integer")


@pytest.mark.parametrize("type_", ["varchar(5)", "char(5)"])
def test_text_that_is_too_long_is_not_cut(
    postgres_database: Database, stage: Stage, type_: str
) -> None:
    postgres_database.run(f"CREATE TABLE t (k bigint, x {type_})")
    with pytest.raises(TargetError, match="its types would change cells that were not filled: 1 "):
        publish(stage({"k": [1], "x": ["abcdef"]}), postgres_database.target(), "run")
    publish(stage({"k": [1], "x": ["abcde"]}), postgres_database.target(), "run")
    assert postgres_database.rows() == [(1, "abcde")]
