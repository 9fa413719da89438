"""First jobs for tables: what each column is taken for, and that the job is right as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from field_trial import some_tables, table_with_holes
from postgres_server import PostgresServer

from em_impute.flows.direct import run_directly
from em_impute.job import CannotRun, Job, load_job
from em_impute.runs import steps
from em_impute.runs.draft import Draft, draft
from em_impute.tables.run_folder import RunFolder

N = 400


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def columns(seed: int = 1) -> dict[str, Any]:
    """A column of every kind that is told apart."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=N)
    holes = rng.random((N, 8)) < 0.1
    return {
        "customer_id": rng.permutation(N) + 1000,
        "amount": np.where(holes[:, 0], np.nan, np.exp(2 + score + 0.3 * rng.normal(size=N))),
        "share_pct": np.where(holes[:, 1], np.nan, 100 / (1 + np.exp(-score))),
        "ratio": np.where(holes[:, 2], np.nan, np.clip(rng.normal(0.5, 0.3, N), 0, 1)),
        "items": pd.array(np.where(holes[:, 3], None, rng.poisson(3, N)), dtype="Int64"),
        "wait": np.where(holes[:, 4], np.nan, np.abs(score + rng.normal(size=N))),
        "member": pd.array(np.where(holes[:, 5], None, rng.integers(0, 2, N)), dtype="Int64"),
        "plan": np.where(holes[:, 6], None, rng.choice(["free", "basic", "pro"], N)),
        "region": rng.choice(["north", "south"], N),
        "note": [f"note {i % 190}" for i in range(N)],
        "version": np.ones(N),
        "score": np.where(rng.random(N) < 0.1, -999.0, score.round(3)),
        "no yes": score + rng.normal(size=N),
    }


def made(frame: pd.DataFrame, path: str = "in.csv", **source: Any) -> tuple[Draft, Job]:
    """The draft for a table, and its job as a file gives it."""
    if path.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    drafted = draft({"path": path, **source})
    Path("job.yaml").write_text(drafted.text)
    return drafted, load_job(Path("job.yaml"))


@pytest.mark.parametrize("path", ["in.csv", "in.parquet"])
def test_each_kind_of_column_gets_its_options(path: str) -> None:
    drafted, job = made(pd.DataFrame(columns()), path)
    said = job.columns
    assert said.key == ("customer_id",)
    assert set(said.impute or ()) == {
        "amount", "share_pct", "ratio", "items", "wait", "member", "plan", "score"
    }  # fmt: skip
    assert set(said.predictors or ()) == {"region", "no yes"}
    assert said.transform["amount"] == "log"
    assert said.transform["share_pct"].logit == (0, 100)  # type: ignore[union-attr]
    # No cell of the others would be filled where none is.
    assert said.bounds == {"ratio": (0, 1)}
    assert said.categories == dict.fromkeys(("member", "plan", "region"), "nominal")
    assert said.round == ("items",)
    assert job.source.missing == {"score": ("-999",)}
    assert "plan: nominal                   # 3 levels" in drafted.text
    assert "member: nominal                 # two values" in drafted.text
    for reason in (
        "# Left as it is: note, text of more than 15 levels.",
        "# Left as it is: version, one value only, which predicts nothing.",
        "# no two rows have the same, and none lacks it",
        "skewness",
        "# group_by: [region] would fit a model to each: 2 groups",
    ):
        assert reason in drafted.text
    outcome = run_directly(job)
    assert outcome.verdict.outcome.startswith("published"), outcome.verdict


def test_amounts_with_zeros_and_amounts_that_are_linear_as_they_are_stay() -> None:
    rng = np.random.default_rng(2)
    width = rng.exponential(size=N)
    frame = pd.DataFrame({"width": width, "area": 3 * width + rng.normal(0, 0.01, N)})
    frame["spent"] = np.where(rng.random(N) < 0.4, 0.0, rng.exponential(size=N) * 900)
    frame.loc[::9, ["area", "spent"]] = np.nan
    frame["area"] = frame["area"].abs()
    _, job = made(frame)
    assert "area" not in job.columns.transform
    assert "spent" not in job.columns.transform


def test_a_level_and_holes_are_one_level() -> None:
    frame = pd.DataFrame({"a": np.arange(60) / 7, "flag": np.where(np.arange(60) % 3, "yes", None)})
    frame.loc[::7, "a"] = np.nan
    drafted, _ = made(frame)
    assert "# Left as it is: flag, one level only." in drafted.text


def test_a_key_of_several_columns_has_a_time() -> None:
    frame = pd.DataFrame(
        {
            "country": np.repeat(["A", "B", "C"], 20),
            "year": np.tile(np.arange(2001, 2021), 3),
            "gdp": np.random.default_rng(3).normal(size=60),
        }
    )
    frame.loc[::7, "gdp"] = np.nan
    assert made(frame)[1].columns.key == ("country", "year")
    assert made(frame.drop(columns="year"))[1].columns.key == ()


def test_a_table_without_holes_and_a_dialect() -> None:
    frame = pd.DataFrame({"a": np.arange(50) / 7, "b": np.arange(50) % 11 / 3})
    frame.to_csv("in.csv", index=False, sep=";", decimal=",")
    drafted = draft({"path": "in.csv"})
    Path("job.yaml").write_text(drafted.text)
    job = load_job(Path("job.yaml"))
    assert "No column has missing cells that can be filled" in drafted.text
    assert job.source.csv.delimiter == ";"  # type: ignore[union-attr]
    assert job.columns.impute is None


def test_hostile_names_are_quoted() -> None:
    frame = pd.DataFrame(columns())[["amount", "score"]]
    names = ["a: b # c", 'say "x"\n', "no", "1e3", "- x", "{y}", "ü", "a\x1b[31m"]
    for name in names:
        frame[name] = frame["amount"] + np.random.default_rng(len(name)).normal(size=N)
    drafted, job = made(frame, "in.parquet")
    assert set(names) < {*(job.columns.impute or ()), *(job.columns.predictors or ())}
    assert "\x1b" not in drafted.text


SEED = 20261128


def test_jobs_for_real_tables_are_right() -> None:
    """Each is accepted as `check` does it; what is refused is no table that could be filled."""
    print(f"SEED={SEED}")
    for i, name in enumerate(some_tables(SEED, 12)):
        frame = table_with_holes(name, np.random.default_rng([SEED, *name.encode()]))
        try:
            _, job = made(frame)
        except CannotRun:  # as a run would, for instance of a file without a header
            continue
        (folder := RunFolder(Path(f"run{i}"))).path.mkdir()
        table = steps.load(job, folder)
        failed = [c for c in steps.preconditions(job, table) if not c.success]
        assert not [c for c in failed if c.severity == "critical"], (name, failed)


def test_tables_in_databases(postgres: PostgresServer) -> None:
    frame = pd.DataFrame(columns()).drop(columns=["note", "version"])
    with duckdb.connect("w.duckdb") as connection:
        connection.register("frame", frame)
        connection.execute("CREATE TABLE sold AS SELECT * FROM frame")
    postgres.run(
        "create table draft_sold as select i as id, case when i % 5 > 0 then exp(sin(i) * 3) end "
        "as amount, sin(i) + cos(7 * i) / 5 as b from generate_series(1, 200) i"
    )
    for source, key in (
        ({"url": "duckdb:///w.duckdb", "table": "sold"}, "customer_id"),
        ({"url": postgres.url, "table": "draft_sold"}, "id"),
    ):
        Path("job.yaml").write_text(draft(source).text)
        job = load_job(Path("job.yaml"))
        assert job.columns.key == (key,)
        assert job.columns.transform["amount"] == "log"
        outcome = run_directly(job)
        assert outcome.verdict.outcome.startswith("published"), outcome.verdict
        assert f"the table {source['table']}_filled of" in str(job.target)
        report = json.loads((outcome.report.parent / "report.json").read_text())
        assert report["failures"] == []
