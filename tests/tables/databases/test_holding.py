"""What a target holds after a publication, against what was sent: counted and compared in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from databases import Database, Stage
from postgres_server import GUARDED, PASSWORD

from em_impute.job import DatabaseTarget
from em_impute.tables.databases.sqlite import SQLite
from em_impute.tables.databases.target import check_target, publish
from em_impute.tables.writing.staged import Staged, TargetError

TABLE = "CREATE TABLE t (k bigint, v bigint, x float8)"
TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;;"
    "CREATE TRIGGER meddling {} ON t FOR EACH ROW EXECUTE FUNCTION f()"
)
SKIPPING = "IF new.k % 2 = 0 THEN RETURN NULL; END IF; RETURN new;"


@pytest.fixture
def rows(stage: Stage) -> Staged:
    return stage({"k": list(range(10)), "v": list(range(10)), "x": [i / 7 for i in range(10)]})


def refusal(staged: Staged, target: DatabaseTarget, *key: str) -> str:
    with pytest.raises(TargetError) as caught:
        publish(staged, target, "run to refuse", key)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setup", "mode", "why"),
    [
        (
            TRIGGER.format(SKIPPING, "BEFORE INSERT"),
            "replace",
            "10 rows were sent to it, and 5 are in it; the reason may be its trigger meddling",
        ),
        (TRIGGER.format(SKIPPING, "BEFORE INSERT"), "append", "10 rows were sent to it, and 5"),
        (TRIGGER.format(SKIPPING, "BEFORE INSERT"), "upsert", "10 rows were sent to it, and 5"),
        (
            TRIGGER.format("DELETE FROM t WHERE k = new.k; RETURN new;", "AFTER INSERT"),
            "append",
            "10 rows were sent to it, and 0 are in it",
        ),
        (
            TRIGGER.format("INSERT INTO t VALUES (99, 0, 0); RETURN new;", "AFTER DELETE")
            + ";;INSERT INTO t VALUES (1, 1, 1)",
            "replace",
            "10 rows were sent to it, and 11 are in it",
        ),
        (
            TRIGGER.format("RETURN NULL;", "BEFORE DELETE") + ";;INSERT INTO t VALUES (1, 1, 1)",
            "replace",
            "10 rows were sent to it, and 11 are in it; the reason may be its trigger meddling",
        ),
        (
            "CREATE RULE nothing AS ON INSERT TO t DO INSTEAD NOTHING",
            "replace",
            "10 rows were sent to it, and 0 are in it; the reason may be its rule nothing",
        ),
        (
            "CREATE TABLE u (k bigint, v bigint, x float8);;"
            "CREATE RULE elsewhere AS ON INSERT TO t WHERE new.k > 6 "
            "DO INSTEAD INSERT INTO u VALUES (new.k, new.v, new.x)",
            "append",
            "10 rows were sent to it, and 7 are in it; the reason may be its rule elsewhere",
        ),
        (
            TRIGGER.format("new.x := round(new.x::numeric, 2); RETURN new;", "BEFORE INSERT"),
            "replace",
            "it holds other cells than were sent to it (8 of x), by its trigger meddling",
        ),
        (
            TRIGGER.format("new.v := -1; RETURN new;", "BEFORE INSERT OR UPDATE")
            + ";;INSERT INTO t VALUES (3, 3, 3)",
            "upsert",
            "it holds other cells than were sent to it (10 of v), by its trigger meddling",
        ),
        (
            TRIGGER.format("UPDATE t SET v = 77 WHERE k = new.k; RETURN new;", "AFTER INSERT"),
            "append",
            "it holds other cells than were sent to it (10 of v), by its trigger meddling",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN DELETE FROM t WHERE k = 1; RETURN NULL; END $$;;"
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION f()",
            "replace",
            "10 rows were sent to it, and 9 are in it; the reason may be its trigger late",
        ),
    ],
)
def test_what_stands_between(
    postgres_database: Database, rows: Staged, setup: str, mode: str, why: str
) -> None:
    postgres_database.run(f"{TABLE};;{setup}")
    before = postgres_database.rows()
    for key in ([], ["k"]) if mode == "replace" else (["k"],):
        assert why in refusal(rows, postgres_database.target(mode=mode), *key)
        assert postgres_database.rows() == before


def test_a_trigger_that_changes_nothing_of_the_table(
    postgres_database: Database, rows: Staged
) -> None:
    """Such as the time of the last change, in a column that is not sent."""
    postgres_database.run(
        f"{TABLE};;ALTER TABLE t ADD changed timestamptz;;"
        + TRIGGER.format("new.changed := now(); RETURN new;", "BEFORE INSERT OR UPDATE")
    )
    for mode in ("replace", "append", "upsert"):
        postgres_database.run("DELETE FROM t") if mode == "append" else None
        assert publish(rows, postgres_database.target(mode=mode), mode, ["k"]).rows == 10
    assert postgres_database.run("SELECT count(*), count(changed) FROM t") == [(10, 10)]


@pytest.mark.parametrize("key", [[], ["k"]])
def test_a_trigger_may_round_what_was_filled(
    postgres_database: Database, stage: Stage, key: list[str]
) -> None:
    rounding = "new.x := round(new.x::numeric, 1); RETURN new;"
    postgres_database.run(f"{TABLE};;{TRIGGER.format(rounding, 'BEFORE INSERT')}")
    staged = stage({"k": [1, 2], "v": [1, 2], "x": [0.5, 1 / 3]}, filled={"x": [1]})
    publish(staged, postgres_database.target(), "run", key)
    assert postgres_database.rows() == [(1, 1, 0.5), (2, 2, 0.3)]


def test_a_trigger_of_a_partition(postgres_database: Database, rows: Staged) -> None:
    postgres_database.run(
        "CREATE TABLE p (k bigint, v bigint, x float8) PARTITION BY RANGE (k);;"
        "CREATE TABLE t PARTITION OF p FOR VALUES FROM (0) TO (100);;"
        + TRIGGER.format(SKIPPING, "BEFORE INSERT")
    )
    assert "10 rows were sent to it, and 5" in refusal(rows, postgres_database.target("p"))


@pytest.mark.parametrize(
    ("seen", "deleted", "first"),
    [("id < 5", "true", "10 rows were sent to it, and 5"), ("true", "false", None)],
)
def test_row_security(
    postgres_database: Database,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    seen: str,
    deleted: str,
    first: str | None,
) -> None:
    """Rows that are not seen, or not deleted: a table that would grow for ever."""
    monkeypatch.setenv("PASSWORD", PASSWORD)
    postgres_database.run(
        f"CREATE TABLE t (id bigint);;GRANT ALL ON t TO {GUARDED};;"
        f"GRANT CREATE ON SCHEMA public TO {GUARDED};;"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY;;"
        f"CREATE POLICY s ON t FOR SELECT USING ({seen});;"
        "CREATE POLICY i ON t FOR INSERT WITH CHECK (true);;"
        f"CREATE POLICY d ON t FOR DELETE USING ({deleted})"
    )
    target = DatabaseTarget(
        url=postgres_database.url.replace("postgres@", f"{GUARDED}@"),
        table="t",
        password={"env": "PASSWORD"},
    )
    staged = stage({"id": list(range(10))})
    if first:
        assert f"{first} are in it; the reason may be its row security" in refusal(staged, target)
        assert postgres_database.rows() == []
        return
    publish(staged, target, "run 1")
    assert "10 rows were sent to it, and 20 are in it; the reason may be its row security" in (
        refusal(staged, target)
    )
    assert len(postgres_database.rows()) == 10


def test_view_with_a_condition(postgres_database: Database, rows: Staged) -> None:
    postgres_database.run(f"{TABLE};;CREATE VIEW w AS SELECT * FROM t WHERE x > 0.5")
    message = refusal(rows, postgres_database.target("w"))
    assert "10 rows were sent to it, and 6 are in it; the reason may be that it is a view" in (
        message
    )
    assert postgres_database.rows() == []
    postgres_database.run("CREATE VIEW every AS SELECT k, v, x FROM t")
    assert publish(rows, postgres_database.target("every"), "run").rows == 10
    assert len(postgres_database.rows()) == 10


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        (
            "CREATE TRIGGER skip BEFORE INSERT ON t WHEN new.k % 2 = 0 "
            "BEGIN SELECT raise(IGNORE); END",
            "10 rows were sent to it, and 5 are in it; the reason may be its trigger skip",
        ),
        (
            "CREATE TRIGGER tidy AFTER INSERT ON t BEGIN UPDATE t SET v = 77 WHERE k = new.k; END",
            "it holds other cells than were sent to it (",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_triggers_of_sqlite(
    sqlite_database: Database, rows: Staged, setup: str, why: str, mode: str
) -> None:
    sqlite_database.run(f"{TABLE};;{setup}")
    assert why in refusal(rows, sqlite_database.target(mode=mode), "k")
    assert sqlite_database.rows() == []


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_a_view_of_sqlite_with_triggers_of_its_own(
    sqlite_database: Database, rows: Staged, mode: str
) -> None:
    sqlite_database.run(
        f"{TABLE};;CREATE VIEW w AS SELECT k, v, x FROM t;;"
        "CREATE TRIGGER i INSTEAD OF INSERT ON w BEGIN INSERT INTO t SELECT new.k, new.v, new.x; "
        "END;;CREATE TRIGGER d INSTEAD OF DELETE ON w BEGIN DELETE FROM t WHERE k = old.k; END"
    )
    publish(rows, sqlite_database.target("w", mode), "run")
    assert len(sqlite_database.rows()) == 10


def test_a_key_that_rows_of_the_target_share(database: Database, stage: Stage) -> None:
    database.run(
        "CREATE TABLE t (k integer, x double precision);;INSERT INTO t VALUES (1, 0), (1, 0)"
    )
    message = refusal(stage({"k": [1, 2], "x": [1.5, 2.5]}), database.target(mode="upsert"), "k")
    assert (
        "2 rows were sent to it, and 3 are in it; its key is not unique: rows with the same k "
        "are in it" in message
    )
    assert database.rows() == [(1, 0), (1, 0)]


# --- What the database fills in itself ---------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_identity_always(postgres_database: Database, stage: Stage, mode: str) -> None:
    run = postgres_database.run
    run("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x float8)")
    run("INSERT INTO t (x) VALUES (1), (2), (3)")
    target = postgres_database.target(mode=mode)
    check_target(target)
    first = 4 if mode == "append" else 2
    publish(stage({"id": [first, first + 5], "x": [2.5, 7.5]}), target, "run", ["id"])
    expected = {
        "replace": [(2, 2.5), (7, 7.5)],
        "append": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 2.5), (9, 7.5)],
        "upsert": [(1, 1.0), (2, 2.5), (3, 3.0), (7, 7.5)],
    }
    assert postgres_database.rows() == expected[mode]


def test_identity_that_is_no_key(postgres_database: Database, stage: Stage) -> None:
    postgres_database.run("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, k int, x float8)")
    message = refusal(
        stage({"id": [1], "k": [1], "x": [1.5]}), postgres_database.target(mode="upsert"), "k"
    )
    assert (
        "its column 'id' is GENERATED ALWAYS AS IDENTITY, which an update cannot set; name it in "
        "columns.key" in message
    )


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_generated_columns_are_left_to_the_database(
    database: Database, stage: Stage, mode: str
) -> None:
    stored = {"postgresql": "STORED", "duckdb": "VIRTUAL", "sqlite": "STORED"}[database.engine]
    database.run(
        "CREATE TABLE t (k integer, x double precision, "
        f"twice double precision GENERATED ALWAYS AS (x * 2) {stored})"
    )
    staged = stage({"k": [1, 2], "x": [1.5, 2.5], "twice": [3.0, None]}, filled={"x": [1]})
    publish(staged, database.target(mode=mode), "run", ["k"])
    assert database.rows() == [(1, 1.5, 3.0), (2, 2.5, 5.0)]


def test_foreign_key_that_is_checked_late(postgres_database: Database, stage: Stage) -> None:
    """Rows that others refer to may be replaced, if they are there again in the end."""
    postgres_database.run(
        "CREATE TABLE t (k int PRIMARY KEY, x float8);;INSERT INTO t VALUES (1, 0), (2, 0);;"
        "CREATE TABLE child (k int REFERENCES t DEFERRABLE);;INSERT INTO child VALUES (1)"
    )
    check_target(postgres_database.target())
    publish(stage({"k": [1], "x": [1.5]}), postgres_database.target(), "run")
    assert "violates foreign key constraint" in refusal(
        stage({"k": [3], "x": [1.5]}), postgres_database.target()
    )
    assert postgres_database.rows() == [(1, 1.5)]


# --- Without an index --------------------------------------------------------------------------


@pytest.mark.parametrize("staged_key", [[1, 2, 3], ["1", "2", "3"], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("declared", ["integer", "text", "numeric", "real", ""])
def test_upsert_into_sqlite_needs_no_index_on_the_key(
    sqlite_database: Database,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    declared: str,
    staged_key: list[Any],
) -> None:
    """No row is looked for by a walk over all of the other table's."""
    plans: list[str] = []
    change = SQLite.change

    def explained(session: Any, sql: str) -> int:
        steps = session.run(f"EXPLAIN QUERY PLAN {sql}")
        plans.append(" | ".join(step[3] for step in steps))
        return change(session, sql)

    monkeypatch.setattr(SQLite, "change", explained)
    sqlite_database.run(f"CREATE TABLE t (k {declared}, g text, x real)")
    staged = stage({"k": staged_key, "g": list("abc"), "x": [0.1, 0.2, 0.3]})
    target = sqlite_database.target(mode="upsert", narrowing="allow")
    for run in ("run 1", "run 2"):
        publish(staged, target, run, ["k", "g"])
    assert len(plans) == 4
    for plan in plans:
        assert re.search(r"SEARCH (new|known) USING (COVERING )?INDEX em_impute_by_key", plan), plan
        nested = plan.split("LIST SUBQUERY")[-1]
        assert len(re.findall(r"SCAN ", nested)) == 1, plan
    rows = sqlite_database.run("SELECT CAST(k AS integer), g, x FROM t ORDER BY 1")
    assert rows == [(1, "a", 0.1), (2, "b", 0.2), (3, "c", 0.3)]
