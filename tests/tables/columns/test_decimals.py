"""Decimals take part in the model, and come back as decimals of their scale, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from postgres_server import PostgresServer
from pyarrow import feather

from em_impute.flows.direct import run_directly
from em_impute.gaussian import fit_gaussian
from em_impute.job import CannotRun, FileSource, Job, JobError
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.sources import take_snapshot
from em_impute.tables.summarise import summarise

TYPES = [
    pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(10, 2), pa.decimal128(38, 18),
    pa.decimal256(60, 5), pa.decimal128(10, 0),
]  # fmt: skip


def decimals(values: np.ndarray[Any, Any], scale: int) -> list[Decimal | None]:
    """Numbers with so many decimals; None for NaN."""
    step = Decimal(1).scaleb(-scale)
    return [None if np.isnan(x) else Decimal(repr(x)).quantize(step) for x in values.tolist()]


def money(type_: pa.DataType, n: int = 120) -> pa.Table:
    """Prices and amounts that go together, some of them missing; a key and a rate of decimals."""
    rng = np.random.default_rng(5)
    size = rng.normal(size=n)
    price = 100 + 20 * size + rng.normal(size=n)
    amount = 300 + 50 * size + 5 * rng.normal(size=n)
    price[::5], amount[::7] = np.nan, np.nan
    return pa.table(
        {
            "id": pa.array([Decimal(10**20 + i) for i in range(n)], pa.decimal128(25, 0)),
            "price": pa.array(decimals(price, type_.scale), type_),
            "amount": amount,
            "rate": pa.array(decimals(size, 4), pa.decimal128(8, 4)),
        }
    )


def job_for(source: dict[str, Any], target: dict[str, Any], **sections: Any) -> Job:
    return Job.model_validate(
        {"name": "money", "source": source, "target": target, "columns": {"key": ["id"]}} | sections
    )


def published(job: Job) -> None:
    outcome = run_directly(job)
    assert outcome.verdict.outcome.startswith("published"), outcome.verdict


def check_filled(filled: pa.Table, table: pa.Table) -> None:
    """Observed cells as they were, missing ones filled by what goes with them, of one scale."""
    old, new = table["price"].to_pylist(), filled["price"].to_pylist()
    assert len(old) == len(new)
    assert [n for o, n in zip(old, new, strict=True) if o is not None] == [o for o in old if o]
    assert {n.as_tuple().exponent for n in new} == {-table.schema.field("price").type.scale}
    size = np.array(table["rate"].to_pylist(), dtype=float)
    holes = [o is None for o in old]
    assert np.allclose(np.array(new, dtype=float)[holes], (100 + 20 * size)[holes], atol=6)
    assert filled["rate"].to_pylist() == table["rate"].to_pylist()
    assert filled["id"].to_pylist() == table["id"].to_pylist()


# --- Through every door ------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["parquet", "feather", "csv", "jsonl"])
def test_from_file_to_file(
    file_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = money(pa.decimal128(12, 2))
    pq.write_table(table, "in.parquet")
    checks = {
        "output": [
            {"expect_column_mean_to_be_between": {"column": "price", "min_value": 90}},
            {"expect_column_values_to_be_between": {"column": "price", "min_value": 0.5}},
            {"expect_column_values_to_be_unique": {"column": "id"}},
        ]
    }
    job = job_for({"path": "in.parquet"}, {"path": f"out.{file_format}"}, checks=checks)
    published(job)
    place = tmp_path / f"out.{file_format}"
    match file_format:
        case "parquet":
            filled = pq.read_table(place)
        case "feather":
            filled = feather.read_table(place)
        case "csv":
            types = dict(zip(table.column_names, table.schema.types, strict=True))
            options = pa_csv.ConvertOptions(column_types=types)
            filled = pa_csv.read_csv(place, convert_options=options)
        case _:
            frame = pd.read_json(place, lines=True, dtype=False)
            columns = {
                name: pa.array(map(Decimal, frame[name]), table.schema.field(name).type)
                for name in ("id", "price", "rate")
            }
            filled = pa.table(columns)
    check_filled(filled, table)
    if file_format in ("parquet", "feather"):
        assert filled.schema.types == table.schema.types


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_from_postgresql_to_postgresql(
    mode: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = money(pa.decimal128(10, 2))
    rows = (
        "(" + ", ".join("NULL" if c is None else str(c) for c in row.values()) + ")"
        for row in pa.table(table).to_pylist()
    )
    of = "id numeric(25,0) PRIMARY KEY, price numeric(10,2), amount float8, rate numeric(8,4)"
    text = ", ".join(rows).replace("nan", "NULL")
    for statement in (
        "DROP TABLE IF EXISTS money, money_filled",
        f"CREATE TABLE money ({of})",
        f"INSERT INTO money VALUES {text}",
        f"CREATE TABLE money_filled ({of})",
    ):
        postgres.run(statement)
    target = {"url": postgres.url, "table": "money_filled", "mode": mode}
    published(job_for({"url": postgres.url, "table": "money"}, target))
    with postgres.session() as cursor:
        cursor.execute("SELECT id::text, price::text, rate::text FROM money_filled ORDER BY id")
        got = cursor.fetch_arrow_table()
    columns = {
        name: pa.array(map(Decimal, got[name].to_pylist()), table.schema.field(name).type)
        for name in ("id", "price", "rate")
    }
    check_filled(pa.table(columns), table)


def test_from_duckdb_to_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = money(pa.decimal128(10, 2))
    with duckdb.connect("money.duckdb") as connection:
        connection.register("money_", table)
        connection.execute("CREATE TABLE money AS FROM money_")
        connection.execute("CREATE TABLE filled AS FROM money_ LIMIT 0")
    url = "duckdb:///money.duckdb"
    published(job_for({"url": url, "table": "money"}, {"url": url, "table": "filled"}))
    with duckdb.connect("money.duckdb") as connection:
        filled = connection.sql("FROM filled ORDER BY id").to_arrow_table()
    check_filled(filled, table)


# --- Close by ----------------------------------------------------------------------------------


def filled_by(table: pa.Table, folder: RunFolder, **columns: Any) -> pa.Table:
    path = folder.path / "x.feather"
    feather.write_feather(table, path)
    columns = {"key": ["id"]} | columns
    job = job_for({"path": path}, {"path": folder.path / "y.feather"}, columns=columns)
    snapshot = take_snapshot(FileSource(path=path), folder.snapshot)
    roles = assign_roles(snapshot, job)
    model = fit_gaussian(summarise(snapshot, roles), prior_rows=1.0).model
    staged = fill(snapshot, model, roles, job.target, folder)
    return feather.read_table(staged.path)


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_every_type_of_decimals(type_: pa.DataType, folder: RunFolder) -> None:
    table = money(type_)
    filled = filled_by(table, folder)
    assert filled.schema.types == table.schema.types
    check_filled(filled, table)


def test_digits_that_floating_point_has_not_are_kept(folder: RunFolder) -> None:
    """They predict as floats, and stay what they are."""
    digits = [Decimal(f"{i}.{'123456789' * 3}") for i in range(1, 40)]
    cells = [None if i % 6 == 2 else cell for i, cell in enumerate(digits)]
    table = pa.table(
        {
            "id": range(39),
            "x": pa.array(cells, pa.decimal128(38, 27)),
            "y": pa.array(digits, pa.decimal128(38, 27)),
        }
    )
    filled = filled_by(table, folder)
    assert filled["y"].equals(table["y"])
    kept = [f for f, c in zip(filled["x"].to_pylist(), cells, strict=True) if c is not None]
    assert kept == [c for c in cells if c is not None]
    assert not filled["x"].null_count


def test_filled_cells_keep_within_bounds_on_their_grid(folder: RunFolder) -> None:
    cells = [Decimal("1.1"), None, Decimal("1.2"), Decimal("1.1"), None]
    table = pa.table({"id": range(5), "x": pa.array(cells, pa.decimal128(5, 1))})
    filled = filled_by(table, folder, bounds={"x": [1.15, None]})
    assert filled["x"].to_pylist()[1] == Decimal("1.2")
    with pytest.raises(JobError, match=r"no number of type decimal128\(5, 1\) is between"):
        filled_by(table, folder, bounds={"x": [1.11, 1.19]})


def test_what_is_published_of_a_decimal_lies_half_a_step_around_it() -> None:
    below, above = Numeric("x", scale=2).published_as(np.array([1.5]))
    assert (below[0], above[0]) == (pytest.approx(1.495), pytest.approx(1.505))


def test_a_number_with_more_digits_than_the_type_holds_is_refused(folder: RunFolder) -> None:
    """Never cut: the type's end is no bound that anybody chose."""
    cells = [None if i > 98 else Decimal(i) / 10 for i in range(130)]
    y = np.arange(130) / 10 + 0.01 * np.random.default_rng(1).normal(size=130)
    table = pa.table({"id": range(130), "x": pa.array(cells, pa.decimal128(2, 1)), "y": y})
    with pytest.raises(CannotRun, match=r"Column 'x' cannot be filled: .* decimal128\(2, 1\)"):
        filled_by(table, folder)
    filled = filled_by(table, folder, bounds={"x": [None, 9.9]})
    assert Decimal("9.5") < max(filled["x"].to_pylist()) <= Decimal("9.9")
