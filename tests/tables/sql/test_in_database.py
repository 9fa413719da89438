"""Tables that are summed up and filled in DuckDB and PostgreSQL, against the rows themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from databases import Database
from holed_tables import factor_table
from numpy.typing import NDArray
from postgres_server import GUARDED, PASSWORD, PostgresServer

from em_impute import GaussianModel, PatternSummary, fill_in_database, fit_gaussian
from em_impute import summarise_in_database as summarise
from em_impute.job import CannotRun
from em_impute.tables.sql import slopes
from em_impute.tables.sql import summary as summaries

COLUMNS = list("abcdef")


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


def create(database: Database, name: str, X: NDArray[np.float64], key: bool = True) -> None:
    """Make a table of numbers, the first column a key."""
    columns = COLUMNS[: X.shape[1]]
    rows = ", ".join(
        "({})".format(", ".join([f"{i}", *("NULL" if np.isnan(x) else f"{x!r}" for x in row)]))
        for i, row in enumerate(X.tolist())
    )
    types = ", ".join(f"{column} double precision" for column in columns)
    database.run(f"CREATE TABLE {name} (id integer, {types})")
    database.run(f"INSERT INTO {name} VALUES {rows}")


def assert_same_fit(found: PatternSummary, expected: PatternSummary) -> None:
    """Estimates equal to 1e-8, in standard deviations."""
    mine, theirs = (fit_gaussian(summary, tol=1e-11).model for summary in (found, expected))
    sd = theirs.sd
    np.testing.assert_allclose((mine.mean - theirs.mean) / sd, 0, atol=1e-8)
    covariances = (mine.covariance - theirs.covariance) / np.outer(sd, sd)
    np.testing.assert_allclose(covariances, 0, atol=1e-8)


# --- Summed up ---------------------------------------------------------------------------------


def test_the_fit_is_that_of_the_rows_at_any_offset(database: Database) -> None:
    """1,000 rows in 40 patterns or so, of which many have a row or two; 1e9 costs no digits."""
    X = factor_table(1000, 6, missing=0.15, seed=8) + np.array([1e9, -1e9, 0, 0, 5, 1e6])
    create(database, "t", X)
    summary = summarise(database.url, "t", COLUMNS)
    expected = PatternSummary.from_array(X, COLUMNS)
    np.testing.assert_array_equal(summary.patterns, expected.patterns)
    np.testing.assert_array_equal(summary.counts, expected.counts)
    assert (summary.counts == 1).any()
    assert_same_fit(summary, expected)


def test_what_is_constant_nan_or_never_there_is_as_in_the_rows(database: Database) -> None:
    X = factor_table(300, 4, missing=0.2, seed=4)
    X[:, 2] = np.where(np.isnan(X[:, 2]), np.nan, 0.1)
    X[:, 3] = np.nan
    create(database, "t", X)
    database.run("UPDATE t SET a = CAST('NaN' AS double precision) WHERE a IS NULL")
    summary, expected = (
        summarise(database.url, "t", COLUMNS[:4]),
        PatternSummary.from_array(X, COLUMNS[:4]),
    )
    np.testing.assert_array_equal(summary.patterns, expected.patterns)
    np.testing.assert_allclose(summary.observed_mean, expected.observed_mean, rtol=1e-12)
    assert summary.observed_sd[2] == 0.0
    assert summarise(database.url, "t").columns == ("id", *COLUMNS[:4])


def test_with_too_many_patterns_the_rows_are_read_and_that_is_said(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(summaries, "MOST_HELD", 100)
    X = factor_table(400, 6, missing=0.2, seed=6) + 1e9
    create(database, "t", X)
    summary = summarise(database.url, "t", COLUMNS)
    assert f"missing in {len(summary.patterns)} patterns, too many to be summed up" in caplog.text
    assert_same_fit(summary, PatternSummary.from_array(X, COLUMNS))


def test_sums_are_asked_for_in_portions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = factor_table(200, 4, missing=0.1, seed=6)
    create(database, "t", X)
    whole = summarise(database.url, "t", COLUMNS[:4])
    monkeypatch.setattr(summaries, "MOST_SUMS", 5)
    assert_same_fit(summarise(database.url, "t", COLUMNS[:4]), whole)


def refusal(database: Database, columns: list[str], table: str = "t") -> str:
    with pytest.raises(CannotRun) as caught:
        summarise(database.url, table, columns)
    return str(caught.value)


def test_what_cannot_be_summed_up_is_named(database: Database) -> None:
    many = [f"c{i}" for i in range(64)]
    types = ", ".join(f"{name} double precision" for name in many)
    database.run(f"CREATE TABLE t (name varchar, x double precision, {types})")
    database.run("INSERT INTO t (name, x) VALUES ('a', CAST('Infinity' AS double precision))")
    assert "the model has 64 columns, and a database can tell" in refusal(database, many)
    assert "column 'name' is of type" in refusal(database, ["name"])
    assert "has no arithmetic; leave it out" in refusal(database, ["name"])
    assert "the table has no column 'y'" in refusal(database, ["x", "y"])
    assert "its column 'x' has infinite cells" in refusal(database, ["x"])
    assert "there is no table u" in refusal(database, ["x"], "u")


# --- Filled ------------------------------------------------------------------------------------


@pytest.fixture
def holed(database: Database) -> tuple[GaussianModel, NDArray[np.float64]]:
    """A model of columns in another order than the table's, and the table."""
    X = factor_table(300, 4, missing=0.2, seed=9)
    create(database, "t", X)
    return fit_gaussian(pa.table([*X.T[::-1]], names=COLUMNS[:4][::-1])).model, X


Holed = tuple[GaussianModel, NDArray[np.float64]]


def test_a_table_is_filled_as_the_model_fills_it_again_and_again(
    database: Database, holed: Holed
) -> None:
    """What was there is replaced, in a table that is the same: its privileges and indexes stay."""
    model, X = holed
    expected = model.in_order_of(COLUMNS[:4]).impute(X)
    for key in ([], ["id"]):
        filled = fill_in_database(database.url, "t", model, into="filled", key=key)
        assert (filled.table.split(".")[-1], filled.rows) == ("filled", 300)
        assert filled.cells == dict(zip(COLUMNS, np.isnan(X).sum(axis=0), strict=False))
        rows = np.array(database.run("SELECT * FROM filled ORDER BY id"), dtype=np.float64)
        np.testing.assert_allclose(rows[:, 1:], expected, rtol=1e-9, atol=1e-12)
        assert (rows[:, 1:][~np.isnan(X)] == X[~np.isnan(X)]).all()


def test_many_patterns_are_filled_in_portions(
    database: Database, holed: Holed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 15 patterns, each by itself: into a new table, and into one that is there."""
    model, X = holed
    monkeypatch.setattr(slopes, "MOST_SENT", 4)
    expected = model.in_order_of(COLUMNS[:4]).impute(X)
    for _ in range(2):
        assert fill_in_database(database.url, "t", model, "filled", key=["id"]).rows == 300
        rows = np.array(database.run("SELECT * FROM filled ORDER BY id"), dtype=np.float64)
        np.testing.assert_allclose(rows[:, 1:], expected, rtol=1e-9, atol=1e-12)


def test_a_model_may_have_63_columns(database: Database) -> None:
    X = factor_table(70, 63, missing=0.1, seed=5)
    names = [f"x{j}" for j in range(63)]
    rows = (", ".join("NULL" if np.isnan(x) else f"{x!r}" for x in row) for row in X.tolist())
    database.run(f"CREATE TABLE t ({', '.join(f'{name} double precision' for name in names)})")
    database.run(f"INSERT INTO t VALUES {', '.join(f'({row})' for row in rows)}")
    model = GaussianModel(
        np.zeros(63), np.cov(factor_table(400, 63, missing=0, seed=6).T), tuple(names)
    )
    fill_in_database(database.url, "t", model, "filled")
    filled = np.array(sorted(database.run("SELECT * FROM filled")), dtype=np.float64)
    np.testing.assert_allclose(filled, np.array(sorted(model.impute(X).tolist())), rtol=1e-9)


def test_only_some_columns_are_filled(database: Database, holed: Holed) -> None:
    model, X = holed
    filled = fill_in_database(database.url, "t", model, "filled", impute=["b"])
    assert filled.cells == {"b": np.isnan(X[:, 1]).sum()}
    missing = database.run("SELECT count(*) - count(a), count(*) - count(b) FROM filled")
    assert missing == [(np.isnan(X[:, 0]).sum(), 0)]


@pytest.mark.parametrize(
    ("into", "key", "message"),
    [
        ("t", [], "it is the table to be filled itself; name another"),
        ("narrow", [], "its column 'b' is of type float, and the filled one of type double"),
        ("other", [], "it has no column 'id'"),
        ("filled", ["same"], "the key (same) does not tell the rows apart, or is missing in some"),
    ],
)
def test_a_table_that_is_refused_is_as_it_was(
    database: Database, holed: Holed, into: str, key: list[str], message: str
) -> None:
    model, _ = holed
    database.run("ALTER TABLE t ADD COLUMN same integer")
    database.run("UPDATE t SET same = 1")
    columns = "a double precision, b real, c double precision, d double precision, same integer"
    database.run(f"CREATE TABLE narrow (id integer, {columns})")
    database.run("INSERT INTO narrow (id) VALUES (1)")
    database.run("CREATE TABLE other (x integer)")
    with pytest.raises(CannotRun) as caught:
        fill_in_database(database.url, "t", model, into, key=key)
    assert message in str(caught.value)
    assert database.run("SELECT count(*) FROM narrow") == [(1,)]
    with pytest.raises(Exception, match="filled"):
        database.run("SELECT * FROM filled")


def test_columns_and_privileges_that_are_not_there(database: Database, holed: Holed) -> None:
    model, _ = holed
    database.run("ALTER TABLE t DROP COLUMN c")
    with pytest.raises(CannotRun, match="the table has no column 'c'"):
        fill_in_database(database.url, "t", model, "filled")


def test_a_missing_privilege_is_named(
    postgres: PostgresServer, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_database.run("CREATE TABLE t (a double precision, b double precision)")
    postgres_database.run("INSERT INTO t VALUES (1, 2)")
    place = postgres_database.url.rpartition("@")[2]
    url = f"postgresql://{GUARDED}@{place}"
    monkeypatch.setenv("SECRET", PASSWORD)
    login = {"password": {"env": "SECRET"}}
    with pytest.raises(CannotRun, match="permission denied for table t"):
        summarise(url, "t", ["a", "b"], **login)
    postgres_database.run(f"GRANT SELECT ON t TO {GUARDED}")
    assert summarise(url, "t", ["a", "b"], **login).n_rows == 1
    model = GaussianModel(np.zeros(2), np.eye(2), ("a", "b"))
    with pytest.raises(CannotRun, match="permission denied for schema public"):
        fill_in_database(url, "t", model, "filled", **login)


def test_names_that_look_like_sql_are_names(database: Database) -> None:
    odd = '"a""; drop table t; --"'
    database.run(f"CREATE TABLE {odd} ({odd} double precision, b integer)")
    database.run(f"INSERT INTO {odd} VALUES (1, 2), (2, NULL), (4, 3), (NULL, 1)")
    summary = summarise(database.url, odd)
    assert summary.columns == ('a"; drop table t; --', "b")
    model = GaussianModel(np.zeros(2), np.eye(2), summary.columns)
    filled = fill_in_database(database.url, odd, model, "filled")
    assert filled.cells == {'a"; drop table t; --': 1, "b": 1}


def test_a_table_without_rows(database: Database) -> None:
    database.run("CREATE TABLE t (a double precision, b double precision)")
    assert summarise(database.url, "t").n_rows == 0
    model = GaussianModel(np.zeros(2), np.eye(2), ("a", "b"))
    assert fill_in_database(database.url, "t", model, "filled").cells == {"a": 0, "b": 0}


def test_constant_columns_are_filled_with_what_they_are(database: Database) -> None:
    database.run("CREATE TABLE t (a double precision, b double precision)")
    database.run("INSERT INTO t VALUES (3, NULL), (NULL, 5), (NULL, NULL)")
    for variance in (0.0, 1.0):
        model = GaussianModel(np.array([3.0, 4.0]), np.diag([0.0, variance]), ("a", "b"))
        fill_in_database(database.url, "t", model, "filled")
        assert sorted(database.run("SELECT * FROM filled")) == [(3, 4), (3, 4), (3, 5)]
