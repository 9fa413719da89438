"""The types of SQLite's columns, which are those of all their values."""

from __future__ import annotations

from databases import Database, read, refusal_of


def test_types_of_sqlite_are_those_of_all_its_values(sqlite_database: Database) -> None:
    sqlite_database.run("CREATE TABLE t (i, r, m, t, b, n)")
    sqlite_database.run(
        "INSERT INTO t VALUES (NULL, NULL, 1, NULL, NULL, NULL);;"
        "INSERT INTO t VALUES (9007199254740993, 0.5, 2.5, 'x', x'00ff', NULL)"
    )
    table = read(sqlite_database.source(table="t"), batch_rows=1)
    expected = ["int64", "double", "double", "string", "binary", "null"]
    assert list(map(str, table.schema.types)) == expected
    assert list(table.to_pylist()[1].values()) == [2**53 + 1, 0.5, 2.5, "x", b"\x00\xff", None]


def test_sqlite_column_of_several_types(sqlite_database: Database) -> None:
    sqlite_database.run("CREATE TABLE t (a, x);;INSERT INTO t VALUES (1, 1), (2, 'secret')")
    message = refusal_of(sqlite_database.source(table="t"))
    assert (
        "column 'x' holds values of several types (integer, text), which no type of Arrow"
        in message
    )
    assert "secret" not in message
    sqlite_database.run("DELETE FROM t;;INSERT INTO t VALUES (9007199254740993, 1), (0.5, 1)")
    message = refusal_of(sqlite_database.source(table="t"))
    assert "column 'a' holds whole numbers beyond 2**53 among numbers with decimals" in message


def test_empty_text_among_numbers_of_sqlite(sqlite_database: Database) -> None:
    """As a CSV file leaves it that was imported without a word on missing cells."""
    sqlite_database.run("CREATE TABLE t (a, \"the x\");;INSERT INTO t VALUES (1, 0.5), (2, '')")
    message = refusal_of(sqlite_database.source(table="t"))
    hint = 'select nullif("the x", \'\') as "the x"'
    assert (
        f"column 'the x' holds empty text among numbers, perhaps for a missing cell; use a query "
        f"that makes it missing, such as `{hint}`." in message
    )
    rows = read(sqlite_database.source(query=f"{hint} from t")).to_pylist()
    assert rows == [{"the x": 0.5}, {"the x": None}]
