"""Passes over a table in its database, against the same passes over the rows that are read."""

from __future__ import annotations

import json
import logging
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from databases import Database, read
from every_kind import JOBS, assert_same, rows_of_every_kind
from holed_tables import factor_table
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute.gaussian import PatternSummary
from em_impute.job import CannotRun, DatabaseTarget, Job
from em_impute.runs import report, steps
from em_impute.runs.recompute import verify
from em_impute.runs.run import Found, Refused, Run, stop_if_refused
from em_impute.tables.databases.duckdb import DuckDB
from em_impute.tables.databases.loading import create
from em_impute.tables.databases.opening import opened
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.snapshot import Snapshot, read_batches
from em_impute.tables.sql import slopes

NUMBERS = count()
LOG = logging.getLogger("steps")


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


def put(database: Database, name: str, table: pa.Table) -> None:
    """Make a table of the database, with its columns' types."""
    with opened(DatabaseTarget(url=database.url, table=name)) as session:
        session.load(table.schema, table.to_batches())
        place = session.find((name,))
        create(session, place, table.schema)
        session.run(f"INSERT INTO {place.sql} SELECT * FROM {session.staging}")
        session.commit()


def job_of(database: Database, table: str = "filled", /, **changes: Any) -> Job:
    made = {
        "name": "passes",
        "source": {"url": database.url, "table": "t"},
        "self_test": "off",
        "engine": "sql",
    }
    place = {"target": {"url": database.url, "table": table}}
    return Job.model_validate(made | place | changes)


def new_run(job: Job, folder: Path) -> Run:
    name = f"20260101T000000Z-{next(NUMBERS):08}"
    return Run(
        name,
        job,
        open_run_folder(folder, job.name, name),
        datetime.now(UTC),
        date(2026, 1, 1),
        name,
    )


def carried_out(run: Run) -> Found:
    """A run through all of its steps, with its report."""
    job, found = run.job, Found()
    table = found.snapshot = steps.load(job, run.folder, LOG)
    found.before = steps.check_input(job, table)
    stop_if_refused(found)
    found.fitted = steps.fit(job, table, run.folder, LOG)
    found.staged = steps.fill(job, table, found.fitted, run.folder, LOG)
    found.tested = steps.self_test(job, table, found.fitted)
    found.after = steps.check_output(job, table, found.fitted, found.staged)
    stop_if_refused(found)
    found.published = steps.publish(run, found.staged, LOG)
    report.report(run, found, LOG)
    return found


def waiting(database: Database) -> list[str]:
    """The staged tables that there are."""
    tables = database.run("SELECT table_name FROM information_schema.tables")
    return [name for (name,) in tables if name.startswith("em_impute_staged")]


@pytest.mark.parametrize("columns", JOBS.values(), ids=JOBS)
def test_the_published_table_is_that_of_the_local_engine(
    database: Database, columns: dict[str, Any], tmp_path: Path
) -> None:
    table = rows_of_every_kind()
    table = table.append_column("id", pa.array(range(len(table)), pa.int32()))
    put(database, "t", table)
    columns = columns | {"key": ["id"], "bounds_violated": "keep"}
    shifted = {"bounded", "whole", "grade"}.intersection(columns["impute"])
    imputation = {"mask": True, "delta": dict.fromkeys(shifted, 0.3)}
    found = {}
    for engine in ("local", "sql"):
        job = job_of(database, engine, columns=columns, imputation=imputation, engine=engine)
        found[engine] = carried_out(new_run(job, tmp_path / engine))
    models = [found[engine].fitted.result.model for engine in ("local", "sql")]
    np.testing.assert_allclose(models[0].mean, models[1].mean, rtol=1e-8, atol=1e-8)
    mine, theirs = (read(database.source(table=name)).sort_by("id") for name in ("sql", "local"))
    assert_same(mine, theirs)
    assert found["sql"].staged.imputed == found["local"].staged.imputed
    assert not waiting(database)


def test_a_table_of_many_patterns_is_filled_in_portions(
    small: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = []
    for most in (2**21, 10):
        monkeypatch.setattr(slopes, "MOST_SENT", most)
        carried_out(new_run(job_of(small, **KEYED), tmp_path / f"{most}"))
        published.append(sorted(small.rows("filled")))
    assert published[0] == published[1]


# --- A sample of a table -----------------------------------------------------------------------

BETWEEN = "expect_column_values_to_be_between"
COLUMNS = ("a", "b", "c")
ROWS = 5000


def long_table() -> pa.Table:
    """Correlated columns with holes, a key, and a level that one row has."""
    X = factor_table(ROWS, 3, missing=0.1, seed=3) + 50
    kind = np.where(X[:, 0] > 50, "high", "low").astype(object)
    kind[17], kind[40:60] = "single", None
    columns = {name: pa.array(X[:, j], from_pandas=True) for j, name in enumerate(COLUMNS)}
    return pa.table({"id": pa.array(range(ROWS)), "kind": pa.array(kind), **columns})


SAMPLED: dict[str, Any] = {
    "columns": {"impute": [*COLUMNS, "kind"], "key": ["id"], "categories": {"kind": "nominal"}},
    "engine": {"name": "sql", "sample_rows": 1000},
    "self_test": "fill",
    "checks": {
        "output": [{"expect_column_values_to_be_between": {"column": "a", "max_value": 99}}]
    },
}


def test_a_long_table_is_decided_by_all_of_its_rows_and_a_sample_is_read(
    database: Database, tmp_path: Path
) -> None:
    table = long_table()
    put(database, "t", table)
    local = carried_out(
        new_run(job_of(database, "local", **SAMPLED | {"engine": "local"}), tmp_path)
    )
    run = new_run(job_of(database, "sql", **SAMPLED), tmp_path)
    found = carried_out(run)
    snapshot, staged, tested = found.snapshot, found.staged, found.tested
    assert snapshot
    assert snapshot.sample
    assert staged
    assert tested
    assert local.staged
    assert 800 < snapshot.sample.rows < 1200
    assert snapshot.rows == staged.rows == ROWS
    assert staged.imputed == local.staged.imputed
    assert_same(
        read(database.source(table="sql")).sort_by("id"),
        read(database.source(table="local")).sort_by("id"),
    )
    manifest, numbers = (
        json.loads(path.read_text()) for path in (run.folder.manifest, run.folder.numbers)
    )
    source = manifest["source"]
    assert (source["rows"], source["rows_read"]) == (ROWS, snapshot.sample.rows)
    assert manifest["imputed"] == dict(staged.imputed)
    columns = {column["name"]: column for column in numbers["columns"]}
    for name, cells in staged.imputed:
        assert columns[name]["missing"] == cells == table[name].null_count
        assert columns[name]["imputed"]["count"] == cells
    sample = f"a sample of {snapshot.sample.rows:,} of"
    assert tested.note.startswith(f"Of {sample} the table's 5,000 rows.")
    page = run.folder.report.read_text()
    assert f"{sample} its 5,000 rows was read" in page
    assert "(engine.sample_rows). Counts of rows" in page
    summary = PatternSummary.load(run.folder.summary)
    assert summary.n_rows == ROWS
    assert "kind=single" in summary.columns
    assert not numbers["failures"]


def rows_of(snapshot: Snapshot) -> pa.Table:
    return pa.Table.from_batches(read_batches(snapshot.path))


def test_the_sample_has_the_same_rows_each_time_if_there_is_a_key(
    database: Database, tmp_path: Path
) -> None:
    put(database, "t", long_table())
    with_key, without = (
        job_of(database, **SAMPLED | {"columns": {"impute": [*COLUMNS], "key": key}})
        for key in (["id"], [])
    )
    runs = [new_run(with_key, tmp_path) for _ in range(2)]
    first, again = (steps.read(with_key, run.folder) for run in runs)
    ids = [sorted(rows_of(one)["id"].to_pylist()) for one in (first, again)]
    assert ids[0] == ids[1]
    assert steps.read(with_key, runs[0].folder) == first, "a run that is tried again goes on"
    other = steps.load(without, new_run(without, tmp_path).folder)
    assert other.sample
    assert 800 < other.sample.rows < 1200


def test_a_sample_is_read_with_little_memory(
    duckdb_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By itself DuckDB keeps what it has read of a file, as long as the machine has memory."""
    put(duckdb_database, "t", long_table())
    sparing = []
    initialised = DuckDB.__init__

    def init(self: DuckDB, path: Path, write: bool, spare: bool = False) -> None:
        sparing.append(spare)
        initialised(self, path, write, spare)

    monkeypatch.setattr(DuckDB, "__init__", init)
    job = job_of(duckdb_database, **SAMPLED)
    assert steps.load(job, new_run(job, tmp_path).folder).sample
    assert len(sparing) > 2
    assert all(sparing)


def test_what_the_whole_table_contradicts_is_refused(database: Database, tmp_path: Path) -> None:
    """A number out of range, a key of two rows, a level that is not named: in one row each."""
    put(database, "t", long_table())
    database.run("UPDATE t SET a = -1, id = 18 WHERE id = 17")
    columns = SAMPLED["columns"] | {"transform": {"a": "log"}, "bounds": {"b": [0, 100]}}
    job = job_of(database, **SAMPLED | {"columns": columns})
    with pytest.raises(Refused) as refusal:
        carried_out(new_run(job, tmp_path))
    for words in (
        "key id unique (1 of 5000 rows are not)",
        "a above 0, as log needs it (1 of 5000 rows are not)",
    ):
        assert words in str(refusal.value)
    ordered = SAMPLED["columns"] | {"categories": {"kind": ["low", "high"]}}
    job = job_of(database, **SAMPLED | {"columns": ordered})
    with pytest.raises(CannotRun, match="column 'kind' holds a level that is not among the 2"):
        carried_out(new_run(job, tmp_path))
    database.run("UPDATE t SET a = CAST('Infinity' AS double precision) WHERE a = -1")
    job = job_of(database, **SAMPLED)
    with pytest.raises(Refused, match="1 infinite cell; mend them"):
        carried_out(new_run(job, tmp_path))


# --- What may go wrong -------------------------------------------------------------------------


@pytest.fixture
def small(database: Database) -> Database:
    """A database with a table t of 300 rows and the table that an earlier run has filled."""
    X = factor_table(300, 3, missing=0.2, seed=9)
    columns = {name: pa.array(X[:, j], from_pandas=True) for j, name in enumerate(COLUMNS)}
    put(database, "t", pa.table({"id": pa.array(range(300)), **columns}))
    database.run("CREATE TABLE filled AS SELECT * FROM t")
    database.run("UPDATE filled SET a = 0, b = 0, c = 0")
    return database


KEYED: dict[str, Any] = {"columns": {"key": ["id"]}}


def test_a_run_that_is_refused_or_killed_leaves_the_target_and_the_next_clears_up(
    small: Database, tmp_path: Path
) -> None:
    before = small.rows("filled")
    job = job_of(small, **KEYED)
    killed = new_run(job, tmp_path)
    table = steps.load(job, killed.folder)
    staged = steps.fill(job, table, steps.fit(job, table, killed.folder), killed.folder)
    assert waiting(small) == [staged.beside]
    assert small.rows("filled") == before
    alive = new_run(job, tmp_path)
    alive.folder.hold()
    steps.fill(job, table, steps.fit(job, table, alive.folder), alive.folder)
    assert len(waiting(small)) == 1, "that of the killed run is gone"
    unlucky = job_of(
        small,
        **KEYED,
        checks={
            "output": [{"expect_column_values_to_be_between": {"column": "a", "max_value": -9}}]
        },
    )
    with pytest.raises(Refused):
        carried_out(run := new_run(unlucky, tmp_path))
    assert len(waiting(small)) == 2, "that of a run that goes on is left"
    report.leave_report(run, Refused("No."))
    report.clear(run)
    report.clear(alive)
    assert not waiting(small)
    assert small.rows("filled") == before


def test_a_run_is_published_once_and_the_target_stays_the_same_table(
    small: Database, tmp_path: Path
) -> None:
    job = job_of(small, **KEYED)
    run = new_run(job, tmp_path)
    found = carried_out(run)
    assert found.published
    assert found.staged
    assert steps.publish(run, found.staged).rows == 300
    assert small.run("SELECT count(*) FROM em_impute_runs") == [(1,)]
    assert small.run("SELECT count(*), count(a) FROM filled") == [(300, 300)]
    assert not waiting(small)


def test_what_hangs_on_a_target_stays(small: Database, tmp_path: Path) -> None:
    small.run("CREATE UNIQUE INDEX filled_id ON filled (id)")
    carried_out(new_run(job_of(small, **KEYED), tmp_path))
    assert small.run("SELECT indexname FROM pg_catalog.pg_indexes WHERE tablename = 'filled'")
    small.run("DROP INDEX filled_id")
    small.run("ALTER TABLE filled ALTER COLUMN b SET DEFAULT 7")
    carried_out(new_run(job_of(small, **KEYED), tmp_path))
    small.run("INSERT INTO filled (id) VALUES (1000)")
    assert small.run("SELECT b FROM filled WHERE id = 1000") == [(7,)]


@pytest.mark.parametrize("names", [["A", "b b", "c"], ["c2", "c0", "c4"]], ids=", ".join)
def test_a_new_target_has_the_tables_columns(
    small: Database, tmp_path: Path, names: list[str]
) -> None:
    """Also where they are called as those of a table that waits to be published."""
    columns = ", ".join(f'{old} AS "{new}"' for old, new in zip(COLUMNS, names, strict=True))
    small.run(f"CREATE TABLE named AS SELECT id, {columns} FROM t")
    job = job_of(small, "new", **KEYED, source={"url": small.url, "table": "named"})
    before = read(small.source(table="named")).sort_by("id")
    for _ in range(2):
        carried_out(new_run(job, tmp_path))
        rows = read(small.source(table="new")).sort_by("id")
        assert rows.column_names == ["id", *names]
        for name in names:
            assert rows[name].null_count == 0
            assert rows[name].filter(before[name].is_valid()) == before[name].drop_null()
    assert not waiting(small)


def test_columns_that_determine_each_other_are_filled_as_by_the_local_engine(
    small: Database, tmp_path: Path
) -> None:
    small.run("ALTER TABLE t ADD COLUMN twice double precision")
    small.run("UPDATE t SET twice = 2 * a")
    columns = {"key": ["id"], "impute": ["a", "b"]}
    for engine in ("local", "sql"):
        job = job_of(small, engine, columns=columns, engine=engine)
        carried_out(new_run(job, tmp_path / engine))
    mine, theirs = (read(small.source(table=name)).sort_by("id") for name in ("sql", "local"))
    assert_same(mine, theirs)


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_rows_are_added_or_updated(small: Database, tmp_path: Path, mode: str) -> None:
    small.run("UPDATE filled SET id = id + 100")
    target = {"url": small.url, "table": "filled", "mode": mode}
    found = carried_out(new_run(job_of(small, **KEYED, target=target), tmp_path))
    assert found.published
    rows, missing = small.run("SELECT count(*), count(*) - count(a) FROM filled")[0]
    assert (rows, missing) == ({"append": 600, "upsert": 400}[mode], 0)


def test_a_target_with_other_columns_is_as_it_was(small: Database, tmp_path: Path) -> None:
    small.run("ALTER TABLE filled RENAME COLUMN c TO other")
    before = small.rows("filled")
    with pytest.raises(CannotRun, match="it has no column 'c' that can be written"):
        carried_out(new_run(job_of(small, **KEYED), tmp_path))
    job = job_of(small, "new", **KEYED)
    run = new_run(job, tmp_path)
    table = steps.load(job, run.folder)
    staged = steps.fill(job, table, steps.fit(job, table, run.folder), run.folder)
    small.run("CREATE TABLE new (id integer)")
    with pytest.raises(CannotRun, match="it has no column 'a' that can be written"):
        steps.publish(run, staged)
    small.run(f"DROP TABLE {staged.beside}")
    small.run("DROP TABLE new")
    with pytest.raises(CannotRun, match="in which its rows waited, is gone; run the job again"):
        steps.publish(run, staged)
    assert small.rows("filled") == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM t WHERE id = 1", "it had 300 rows, and has 299 now"),
        ("UPDATE t SET a = NULL", "column 'a' lacked"),
    ],
)
def test_a_table_that_changes_during_a_run_is_refused(
    small: Database, tmp_path: Path, change: str, said: str
) -> None:
    job = job_of(small, **KEYED)
    run = new_run(job, tmp_path)
    table = steps.load(job, run.folder)
    fitted = steps.fit(job, table, run.folder)
    small.run(change)
    for step in (
        lambda: steps.fit(job, table, run.folder),
        lambda: steps.fill(job, table, fitted, run.folder),
    ):
        with pytest.raises(CannotRun, match=said):
            step()


def test_cells_that_change_are_found(small: Database, tmp_path: Path) -> None:
    """Of an imputed column and of another, in one row, with a key and without."""
    for key in (["id"], []):
        job = job_of(small, columns={"key": key, "impute": ["a", "b"], "predictors": []})
        run = new_run(job, tmp_path)
        table = steps.load(job, run.folder)
        fitted = steps.fit(job, table, run.folder)
        staged = steps.fill(job, table, fitted, run.folder)
        assert steps.check_output(job, table, fitted, staged).refusal is None
        small.run(f"UPDATE {staged.beside} SET c3 = 7, c1 = NULL WHERE c0 = 5")
        small.run(f"UPDATE {staged.beside} SET c2 = CAST('NaN' AS double precision) WHERE c0 = 6")
        refusal = steps.check_output(job, table, fitted, staged).refusal
        assert refusal
        for words in (
            "every cell of the other columns kept (not so in column c)",
            "observed cells of a, b kept (not so in column",
            "no missing cell in a, b (not so in column a)",
        ):
            assert words in refusal
        report.clear(run)


def test_a_job_without_anything_to_fill_copies_its_table(small: Database, tmp_path: Path) -> None:
    job = job_of(small, columns={"key": ["id"], "predictors": list(COLUMNS)})
    found = carried_out(new_run(job, tmp_path))
    assert found.staged
    assert found.staged.cells == 0
    assert small.rows("filled") == small.rows("t")


def test_a_model_that_is_too_wide_is_refused(database: Database, tmp_path: Path) -> None:
    names = [f"x{i}" for i in range(64)]
    database.run(f"CREATE TABLE t ({', '.join(f'{name} double precision' for name in names)})")
    database.run(f"INSERT INTO t VALUES {', '.join(['(' + ', '.join(['1'] * 64) + ')'] * 2)}")
    with pytest.raises(CannotRun, match=r"would have 64 columns, and `engine: sql` has 63 at"):
        carried_out(new_run(job_of(database, columns={"impute": ["x0"]}), tmp_path))


def test_a_missing_privilege_is_named_before_anything_is_read(
    postgres: PostgresServer,
    postgres_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    postgres_database.run("CREATE TABLE t AS SELECT 1 AS id, 2.0::float8 AS a")
    postgres_database.run("CREATE TABLE filled AS SELECT * FROM t")
    postgres_database.run(f"GRANT SELECT ON t TO {GUARDED};;GRANT ALL ON filled TO {GUARDED}")
    place = postgres_database.url.rpartition("@")[2]
    monkeypatch.setenv("SECRET", PASSWORD)
    login = {"url": f"postgresql://{GUARDED}@{place}", "password": {"env": "SECRET"}}
    job = job_of(
        postgres_database, source=login | {"table": "t"}, target=login | {"table": "filled"}
    )
    with pytest.raises(CannotRun, match="its owner gives it with `GRANT USAGE, CREATE ON SCHEMA"):
        steps.load(job, new_run(job, tmp_path).folder)


def test_a_table_that_was_filled_before_is_told_by_its_mask(
    small: Database, tmp_path: Path
) -> None:
    small.run("ALTER TABLE t ADD COLUMN em_impute_mask bigint")
    with pytest.raises(CannotRun, match="it has a column 'em_impute_mask', as filled tables do"):
        carried_out(new_run(job_of(small, **KEYED), tmp_path))


# --- Verified ----------------------------------------------------------------------------------


def test_a_run_is_verified_where_its_table_is(small: Database, tmp_path: Path) -> None:
    run = new_run(job_of(small, **KEYED), tmp_path)
    carried_out(run)
    found = verify(run.folder.path)
    assert found.agreement in ("equal", "equal to rounding")
    assert found.sentences[0].startswith("The model, fitted again to the table where it is, is")
    assert found.sentences[-1].endswith("still holds what this run published.")
    assert not waiting(small)
    small.run("UPDATE filled SET a = 17 WHERE id = 3")
    assert verify(run.folder.path).agreement == "not equal"
    small.run("UPDATE t SET a = a + 1")
    found = verify(run.folder.path)
    assert found.agreement == "cannot be verified"
    assert "its rows do not add up to what the run has kept of them" in found.sentences[0]
