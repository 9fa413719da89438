"""A run's model as SQL: what DuckDB and PostgreSQL make of it, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from command_line import em_impute
from conftest import ROOT
from every_kind import JOBS, assert_same, rows_of_every_kind
from holed_tables import factor_table
from jinja2 import Environment
from postgres_server import PostgresServer
from ruamel.yaml import YAML

from em_impute import fill_from_run
from em_impute.gaussian import GaussianModel
from em_impute.job import CannotRun, Job, load_job
from em_impute.runs import steps
from em_impute.runs.export import Export, read_export
from em_impute.runs.manifest import Manifest
from em_impute.tables.databases.session import quoted
from em_impute.tables.fill import filled_schema
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import read_batches
from em_impute.tables.writing.formats import read_staged

ROW = "row of the table"
Answer = Callable[[str, pa.Table], pa.Table]


def run_of(job: Job, path: Path) -> tuple[RunFolder, pa.Table, pa.Table]:
    """The folder of a run without Prefect, its table as it was read, and as it was filled."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    table = steps.load(job, folder)
    fitted = steps.fit(job, table, folder)
    staged = steps.fill(job, table, fitted, folder)
    now = datetime.now(UTC)
    manifest = Manifest(
        run=path.name,
        date=date(2026, 1, 1),
        job=job,
        snapshot=table,
        published=None,
        cells=staged.cells,
        table=None,
        outputs={},
        started=now,
        finished=now,
        verdict="Published.",
    )
    manifest.save(folder.manifest)
    schema = filled_schema(table, fitted.roles)
    filled = pa.Table.from_batches(read_staged(staged.path, staged.format, schema), schema)
    return folder, pa.Table.from_batches(read_batches(table.path)), filled


def answer_of_duckdb(query: str, table: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("incoming", table)
        connection.execute('CREATE TABLE "the table" AS FROM incoming')
        return connection.execute(query).to_arrow_table()


@pytest.fixture
def answer_of_postgresql(postgres: PostgresServer) -> Answer:
    def answer(query: str, table: pa.Table) -> pa.Table:
        with postgres.session() as cursor:
            cursor.adbc_ingest("the table", table, mode="create", temporary=True)
            cursor.execute(query)
            return cursor.fetch_arrow_table()

    return answer


def answered(exported: Export, table: pa.Table, dialect: str, answer: Answer) -> pa.Table:
    """What a database answers for a table, in the order of its rows."""
    roles = exported.filled.roles
    numbered = replace(roles, columns=(*roles.columns, ROW))
    exported = replace(exported, filled=replace(exported.filled, roles=numbered))
    query = exported.sql(dialect, '"the table"')
    rows = answer(query, table.append_column(ROW, pa.array(range(len(table)))))
    return rows.sort_by(ROW).drop_columns([ROW])


# --- The jobs in configs/ ----------------------------------------------------------------------

REFUSED = {
    "after.yaml": "it draws its cells (imputation.method: draw)",
    "clusters.yaml": "This run's model is a mixture, and a query has a mean and a covariance",
    "dask.yaml": "it draws its cells (imputation.method: draw)",
    "factors.yaml": "This run's model is a factor model, and a query has a mean and a covariance",
    "groups.yaml": "its groups have models of their own (columns.group_by)",
    "missingness.yaml": "it draws its cells (imputation.method: draw)",
    "skewed.yaml": "it draws its cells (imputation.method: draw)",
    "uncertainty.yaml": "it draws its cells (imputation.method: multiple)",
}
IN_DATABASES = ("duckdb.yaml", "postgresql.yaml", "warehouse.yaml")


@pytest.fixture
def at_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")


def job_at(name: str) -> Job:
    """A job of configs/; one that reads a database or a lakehouse reads its table from a file."""
    job = load_job(ROOT / "configs" / name)
    if name in ("duckdb.yaml", "warehouse.yaml"):
        since = "WHERE year >= 2008" if name == "duckdb.yaml" else ""
        query = f"FROM read_csv('data/penguins.csv', nullstr = 'NA') {since}"
        with duckdb.connect() as connection:
            penguins = connection.execute(f"SELECT row_number() OVER () AS penguin, * {query}")
            penguins.fetchdf().to_parquet("table.parquet")
    if name == "postgresql.yaml":
        table = pd.read_csv("data/airquality.csv").astype(float)
        table.columns = [column.lower().replace(".", "_") for column in table]
        table.to_parquet("table.parquet")
    changed: dict[str, Any] = {"target": {"path": "out/filled.feather"}, "engine": "local"}
    if name == "uncertainty.yaml":
        changed["imputation"] = {"method": "multiple", "draws": 2}
    if name in IN_DATABASES:
        changed["source"] = {"path": "table.parquet"}
    if name in ("lakehouse.yaml", "iceberg.yaml"):
        changed["source"] = {"path": "data/airquality.csv"}
    job = Job.model_validate(job.model_dump(mode="json") | changed)
    return job.at(date(1973, 5, 1)) if job.is_dated else job


@pytest.mark.usefixtures("at_the_data")
@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("configs/*.yaml")))
def test_every_job_of_configs_is_exported_or_refused_with_a_reason(
    name: str, answer_of_postgresql: Answer
) -> None:
    folder, table, filled = run_of(job_at(name), Path("runs/job/run"))
    if name in REFUSED:
        with pytest.raises(CannotRun) as refusal:
            read_export(folder.path)
        assert REFUSED[name] in str(refusal.value)
        return
    exported = read_export(folder.path)
    assert_same(answered(exported, table, "duckdb", answer_of_duckdb), filled)
    assert_same(answered(exported, table, "postgresql", answer_of_postgresql), filled)


# --- Columns of every kind ---------------------------------------------------------------------


Ran = tuple[RunFolder, pa.Table, pa.Table]


def run_with(columns: dict[str, Any]) -> Ran:
    feather.write_feather(rows_of_every_kind(), "in.feather")
    shifted = {"bounded", "whole", "grade"}.intersection(columns["impute"])
    job = {
        "name": "every-kind",
        "source": {"path": "in.feather"},
        "columns": columns,
        "imputation": {"mask": True, "delta": dict.fromkeys(shifted, 0.3)},
        "target": {"path": "out.feather"},
    }
    return run_of(Job.model_validate(job), Path("runs/every-kind/run"))


@pytest.mark.parametrize("columns", JOBS.values(), ids=JOBS)
def test_columns_of_every_kind_are_filled_as_the_run_fills_them(
    columns: dict[str, Any],
    answer_of_postgresql: Answer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, table, filled = run_with(columns)
    exported = read_export(folder.path)
    assert_same(answered(exported, table, "duckdb", answer_of_duckdb), filled)
    assert_same(answered(exported, table, "postgresql", answer_of_postgresql), filled)


# --- Rows that the run has not seen ------------------------------------------------------------


@pytest.fixture
def plain_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Of six columns, of which two have holes, far from 0, in a table that is read from a file."""
    monkeypatch.chdir(tmp_path)
    X = factor_table(200, 6, missing=0.0, seed=5) + 1e9
    X[::3, 0] = X[::5, 1] = np.nan
    pd.DataFrame(X, columns=list("abcdef")).to_parquet("in.parquet")
    job = {"name": "plain", "source": {"path": "in.parquet"}, "target": {"path": "out.parquet"}}
    return run_of(Job.model_validate(job | {"columns": {"impute": list("abc")}}), tmp_path / "run")[
        0
    ]


@pytest.mark.parametrize("dialect", ["duckdb", "postgresql"])
def test_patterns_that_the_run_has_not_seen_are_filled_as_the_model_does(
    plain_run: RunFolder, answer_of_postgresql: Answer, dialect: str
) -> None:
    """All 64 patterns of six columns, with NULL and with NaN for what is missing."""
    patterns = np.array(list(product([True, False], repeat=6)))
    rows = np.random.default_rng(3).normal(1e9, 2, size=(len(patterns), 6))
    rows[~patterns] = np.nan
    expected = GaussianModel.load(plain_run.model).impute(rows)
    answer = answer_of_duckdb if dialect == "duckdb" else answer_of_postgresql
    for from_pandas in (True, False):
        columns = [pa.array(column, from_pandas=from_pandas) for column in rows.T]
        table = pa.table(columns, names=list("abcdef"))
        found = answered(read_export(plain_run.path), table, dialect, answer)
        for j, name in enumerate("abc"):
            cells = found[name].to_numpy()
            np.testing.assert_allclose(cells - 1e9, expected[:, j] - 1e9, rtol=1e-9, atol=1e-6)
            assert (cells[patterns[:, j]] == rows[patterns[:, j], j]).all()


def test_a_table_without_one_of_the_columns_is_the_databases_to_refuse(
    plain_run: RunFolder, answer_of_postgresql: Answer
) -> None:
    exported, table = read_export(plain_run.path), pa.table({"a": [1.0], "b": [1.0]})
    assert '-- The table needs the columns "a", "b", "c", "d", "e", "f".' in exported.sql(
        "duckdb", '"the table"'
    )
    with pytest.raises(duckdb.BinderException, match='"c" not found'):
        answer_of_duckdb(exported.sql("duckdb", '"the table"'), table)
    with pytest.raises(Exception, match='column "c" does not exist'):
        answer_of_postgresql(exported.sql("postgresql", '"the table"'), table)


# --- dbt ---------------------------------------------------------------------------------------


def test_a_model_of_dbt_keeps_what_its_tests_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendered as dbt does it, with levels and columns that look like its templates."""
    monkeypatch.chdir(tmp_path)
    impute = ['say "hi"', "kind", "grade"]
    categories = {"kind": "nominal", "grade": ["low", "mid", "high"]}
    folder, table, filled = run_with({"impute": impute, "predictors": [], "categories": categories})
    files = read_export(folder.path).dbt("duckdb", "every_kind")
    home = Path("models/every_kind_imputed")
    assert set(files) == {home / "every_kind_imputed.sql", home / "schema.yml", home / "README.md"}
    [model] = YAML(typ="safe").load(files[home / "schema.yml"])["models"]
    assert model["name"] == "every_kind_imputed"
    rendered = Environment().from_string(files[home / "every_kind_imputed.sql"])
    query = rendered.render(config=lambda **_: "", ref=quoted)
    with duckdb.connect() as connection:
        connection.register("every_kind", table)
        connection.execute(f"CREATE TABLE answer AS {query}")
        assert connection.sql("FROM answer").columns == filled.column_names
        for column in model["columns"]:
            assert column["data_tests"] == ["not_null"]
            name = quoted(column["name"])
            missing = connection.execute(f"SELECT count(*) FROM answer WHERE {name} IS NULL")
            assert missing.fetchall() == [(0,)]
    assert [column["name"] for column in model["columns"]] == impute


@pytest.mark.usefixtures("at_the_data")
def test_a_key_is_tested_in_dbt() -> None:
    """One column by dbt's own test, several by a query; a name with a dot is one of its sources."""
    folder, _, _ = run_of(job_at("quickstart.yaml"), Path("runs/job/run"))
    exported = read_export(folder.path)
    files = exported.dbt("duckdb", "raw.air")
    home = Path("models/airquality_imputed")
    assert "FROM {{ source('raw', 'air') }}" in files[home / "airquality_imputed.sql"]
    assert files[Path("tests/airquality_imputed_key_is_unique.sql")] == (
        'SELECT "Month", "Day", count(*) AS rows_of_key\n'
        "FROM {{ ref('airquality_imputed') }}\n"
        'GROUP BY "Month", "Day"\n'
        "HAVING count(*) > 1\n"
    )
    keyed = replace(exported.filled.roles, key=("Day",))
    one = replace(exported, filled=replace(exported.filled, roles=keyed)).dbt("duckdb", "air")
    [model] = YAML(typ="safe").load(one[home / "schema.yml"])["models"]
    assert model["columns"][0] == {
        "name": "Day",
        "quote": True,
        "data_tests": ["unique", "not_null"],
    }


# --- What is refused ---------------------------------------------------------------------------


def test_a_run_without_a_model_and_a_folder_that_is_none(plain_run: RunFolder) -> None:
    with pytest.raises(CannotRun, match=r"has no manifest\.json that can be read"):
        read_export(plain_run.path.parent)
    exported = read_export(plain_run.path)
    with pytest.raises(CannotRun, match=r"Name the table to fill \(--table\)"):
        exported.sql("duckdb")
    with pytest.raises(CannotRun, match="The table to fill: expected a table, such as orders"):
        exported.sql("duckdb", "a.b.c.d")
    other = GaussianModel(np.zeros(2), np.eye(2), ("a", "x"))
    kept = plain_run.model.read_bytes()
    other.save(plain_run.model)
    with pytest.raises(CannotRun, match=r"it has other columns than columns\.json says"):
        read_export(plain_run.path)
    plain_run.model.write_bytes(kept)
    plain_run.columns.write_text("{}")
    with pytest.raises(CannotRun, match="The model of the run cannot be read"):
        read_export(plain_run.path)
    plain_run.columns.unlink()
    with pytest.raises(CannotRun, match="says how each column takes part in the model"):
        read_export(plain_run.path)
    plain_run.model.unlink()
    with pytest.raises(CannotRun, match="fitted no model, so there is nothing to export"):
        read_export(plain_run.path)


def test_a_model_that_sql_cannot_hold_is_refused(
    plain_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("em_impute.tables.sql.select.MOST_COLUMNS", 5)
    with pytest.raises(CannotRun, match="its model has 6 columns, and the query for more than 5"):
        read_export(plain_run.path)
    monkeypatch.undo()
    GaussianModel(np.zeros(6), np.ones((6, 6)), tuple("abcdef")).save(plain_run.model)
    with pytest.raises(CannotRun, match="columns of its model determine each other"):
        read_export(plain_run.path)


# --- The command, and its page -----------------------------------------------------------------


@pytest.mark.usefixtures("at_the_data")
def test_the_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "sql.md").read_text()
    _, table, _ = run_of(job_at("quickstart.yaml"), Path("runs/airquality/RUN"))
    with duckdb.connect("air.duckdb") as connection:
        connection.register("incoming", table)
        connection.execute("CREATE TABLE airquality AS FROM incoming")
    commands = re.findall(r"^em-impute (export .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    written = [em_impute(*command.split()).output for command in commands]
    assert written[0] == "Wrote fill.sql.\n"
    for path in re.findall(r"^((?:models|tests)/\S+)", text, re.MULTILINE):
        assert f"Wrote {path}." in written[1].splitlines()
        assert Path(path).exists()
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)\s+# (.*)", text)


@pytest.mark.usefixtures("at_the_data")
def test_the_command_prints_a_query_or_says_why_not() -> None:
    folder, _, _ = run_of(job_at("quickstart.yaml"), Path("runs/airquality/RUN"))
    printed = em_impute("export", folder.path, "--to", "sql", "--table", "air")
    assert printed.exit_code == 0
    assert printed.output.startswith("-- The model of the run RUN of airquality, by em_impute")
    without = em_impute("export", folder.path, "--to", "sql")
    assert without.exit_code == 2
    assert "em-impute: Name the table to fill (--table)" in without.output
    nowhere = em_impute("export", folder.path, "--to", "dbt", "--table", "air")
    assert nowhere.exit_code == 2
    assert "--to dbt needs --out, the folder of a dbt project." in nowhere.output
    nothing = em_impute("export", "data", "--to", "sql", "--table", "air")
    assert nothing.exit_code == 2
    assert "data has no manifest.json that can be read" in nothing.output


def test_a_run_fills_the_table_that_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its transforms, bounds and categories; a run that read a file has no such table."""
    monkeypatch.chdir(tmp_path)
    table = rows_of_every_kind().append_column("id", pa.array(range(300)))
    with duckdb.connect("db.duckdb") as connection:
        connection.register("incoming", table)
        connection.execute("CREATE TABLE rows_there AS FROM incoming")
    job = {
        "name": "there",
        "source": {"url": "duckdb:///db.duckdb", "table": "rows_there"},
        "columns": {
            "impute": ["log", "bounded", "whole", "grade"],
            "predictors": ["cbrt"],
            "key": ["id"],
            "transform": {"log": "log"},
            "bounds": {"bounded": [-1, 1.5]},
            "categories": {"grade": ["low", "mid", "high"]},
        },
        "target": {"path": "out.feather"},
    }
    folder, _, filled = run_of(Job.model_validate(job), Path("runs/there/run"))
    answer = fill_from_run(folder.path, into="filled")
    assert answer.cells == {
        name: table[name].null_count for name in ("log", "whole", "bounded", "grade")
    }
    with duckdb.connect("db.duckdb") as connection:
        found = connection.sql("FROM filled ORDER BY id").to_arrow_table()
    assert_same(found, filled)
    with pytest.raises(CannotRun, match="there is no table elsewhere"):
        fill_from_run(folder.path, into="filled", table="elsewhere")
    read_a_file = job | {"source": {"path": "in.feather"}, "name": "here"}
    feather.write_feather(table, "in.feather")
    folder, _, _ = run_of(Job.model_validate(read_a_file), Path("runs/here/run"))
    with pytest.raises(CannotRun, match="This run has read no database"):
        fill_from_run(folder.path, into="filled")
