"""The jobs in configs/, each run by the command line: what their targets hold then."""

from __future__ import annotations

import json
import re
from html import unescape
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest
from command_line import em_impute
from conftest import ROOT
from databases import read
from deltalake import DeltaTable, write_deltalake
from every_kind import assert_same
from postgres_server import GUARDED, PASSWORD, PostgresServer
from pyiceberg.catalog.sql import SqlCatalog
from test_docs import blocks

from em_impute.job import DatabaseSource, EngineOptions, load_job
from em_impute.runs import steps
from em_impute.tables import targets
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.whole_files import sha256

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_quickstart_publishes_the_reference_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """44 cells of New York's air, filled from the maximum that R's norm finds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "quickstart.yaml")
    assert result.exit_code == 0, result.output
    assert "44 missing cells were filled" in result.output
    assert "Ozone 37, Solar.R 7" in result.output
    before = pd.read_csv("data/airquality.csv")
    after = pq.read_table("out/airquality.parquet").to_pandas()
    assert len(after) == 153
    assert list(after.columns) == list(before.columns)
    assert after.notna().all(axis=None)
    for name in before:
        shown = before[name].notna()
        assert before[name][shown].to_numpy(float).tobytes() == (
            after[name][shown].to_numpy(float).tobytes()
        )
    known = json.loads((ROOT / "tests" / "reference" / "airquality.json").read_text())
    mean, covariance = np.array(known["mean"]), np.array(known["cov"])
    row = before[before.Ozone.isna() & before["Solar.R"].isna()].index[0]
    slopes = np.linalg.solve(covariance[2:, 2:], covariance[2:, :2])
    expected = mean[:2] + (before.loc[row, ["Wind", "Temp"]].to_numpy(float) - mean[2:]) @ slopes
    np.testing.assert_allclose(
        after.loc[row, ["Ozone", "Solar.R"]].to_numpy(float), expected, rtol=1e-5
    )


def test_penguins_ride_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "penguins.yaml")
    assert result.exit_code == 0, result.output
    before = pd.read_csv("data/penguins.csv", keep_default_na=False)
    after = pd.read_csv("out/penguins.csv", keep_default_na=False)
    assert len(after) == 344
    pd.testing.assert_frame_equal(
        before[["species", "island", "sex"]], after[["species", "island", "sex"]]
    )
    assert pd.read_csv("out/penguins.csv")["body_mass_g"].notna().all()


def test_postgresql_to_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    """Two runs: the second updates what the first has added. The password is nowhere."""
    monkeypatch.chdir(tmp_path)
    secret = quote(PASSWORD, safe="")
    monkeypatch.setenv(
        "WAREHOUSE_URL", postgres.guarded_url.replace(GUARDED, f"{GUARDED}:{secret}")
    )
    postgres.run(f"CREATE SCHEMA air AUTHORIZATION {GUARDED}")
    before = pd.read_csv(ROOT / "data" / "airquality.csv").astype(float)
    before.columns = [name.lower().replace(".", "_") for name in before.columns]
    with postgres.session() as cursor:
        table = pa.Table.from_pandas(before, preserve_index=False)
        cursor.adbc_ingest("measured", table, mode="create", db_schema_name="air")
        cursor.execute(f"GRANT SELECT ON air.measured TO {GUARDED}")
    for _ in range(2):
        result = em_impute("run", ROOT / "configs" / "postgresql.yaml")
        assert result.exit_code == 0, result.output
        assert "44 missing cells were filled" in result.output
    columns = ", ".join(before.columns)
    after = pd.DataFrame(
        postgres.run(f"SELECT {columns} FROM air.filled ORDER BY month, day"),
        columns=before.columns,
    )
    assert after.notna().all(axis=None)
    pd.testing.assert_frame_equal(after.where(before.notna()), before)
    runs = postgres.run("SELECT target, rows FROM air.em_impute_runs")
    assert runs == [("filled", 153), ("filled", 153)]
    left = [result.output, *(file.read_text(errors="replace") for file in tmp_path.rglob("*.*"))]
    assert not [text for text in left if "s3cret" in text or secret in text]
    manifest = json.loads(next(tmp_path.rglob("manifest.json")).read_text())
    assert manifest["target"]["target"] == "the table air.filled of $WAREHOUSE_URL"


def test_delta_to_delta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused table makes no version, and of each run verify travels to its own."""
    monkeypatch.chdir(tmp_path)
    air = pd.read_csv(ROOT / "data" / "airquality.csv")
    write_deltalake("lake/air", air, partition_by=["Month"])
    job, runs = ROOT / "configs" / "lakehouse.yaml", tmp_path / "runs" / "airquality_lakehouse"
    result = em_impute("run", job)
    assert result.exit_code == 0, result.output
    assert "44 missing cells were filled" in result.output
    code, _ = blocks((ROOT / "docs" / "lakehouse.md").read_text(), "python")
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"# (.*)", code)

    write_deltalake("lake/air", air.assign(Ozone=air.Ozone * 100), mode="overwrite")
    assert em_impute("run", job).exit_code == 1
    assert DeltaTable("lake/filled").version() == 0

    write_deltalake("lake/air", air.assign(Ozone=air.Ozone / 2), mode="overwrite")
    assert em_impute("run", job).exit_code == 0
    filled = DeltaTable("lake/filled")
    assert (filled.version(), filled.metadata().partition_columns) == (1, ["Month"])
    table = filled.to_pandas().sort_values(["Month", "Day"], ignore_index=True)
    assert table.notna().all(axis=None)
    shown = air.Ozone.notna()
    assert (table.Ozone[shown] == (air.Ozone / 2)[shown]).all()
    first, refused, last = sorted(
        (json.loads(path.read_text()) for path in runs.glob("*/manifest.json")),
        key=itemgetter("finished"),
    )
    assert (refused["source"]["version"], refused["target"]) == (1, None)
    for manifest, source, target in ((first, 0, 0), (last, 2, 1)):
        assert (manifest["source"]["version"], manifest["target"]["version"]) == (source, target)
        verified = em_impute("verify", runs / manifest["run"])
        assert verified.exit_code == 0, verified.output
        assert f"Version {target} of the Delta table lake/filled holds" in verified.output


def test_iceberg_to_iceberg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused table makes no snapshot, and of each run verify travels to its own."""
    monkeypatch.chdir(tmp_path)
    Path("lake").mkdir()
    air = pa_csv.read_csv(ROOT / "data" / "airquality.csv")
    catalog = SqlCatalog(
        "lake", uri="sqlite:///lake/catalog.db", warehouse=str(Path.cwd() / "lake")
    )
    catalog.create_namespace("nyc")
    source = catalog.create_table("nyc.air", air.schema)
    source.append(air)
    job, runs = ROOT / "configs" / "iceberg.yaml", tmp_path / "runs" / "airquality_iceberg"
    result = em_impute("run", job)
    assert result.exit_code == 0, result.output
    assert "44 missing cells were filled" in result.output
    _, code = blocks((ROOT / "docs" / "lakehouse.md").read_text(), "python")
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"# (.*)", code)

    def with_ozone(factor: float) -> pa.Table:
        ozone = pc.cast(pc.round(pc.multiply(air["Ozone"], factor)), pa.int64())
        return air.set_column(0, "Ozone", ozone)

    source.overwrite(with_ozone(100))
    assert em_impute("run", job).exit_code == 1
    assert len(catalog.load_table("nyc.filled").snapshots()) == 1

    source.overwrite(with_ozone(0.5))
    assert em_impute("run", job).exit_code == 0
    filled = catalog.load_table("nyc.filled")
    assert [field.name for field in filled.spec().fields] == ["Month"]
    table = filled.scan().to_pandas().sort_values(["Month", "Day"], ignore_index=True)
    assert table.notna().all(axis=None)
    shown = air["Ozone"].is_valid().to_numpy()
    assert (table.Ozone[shown] == with_ozone(0.5)["Ozone"].to_pandas()[shown]).all()
    first, refused, last = sorted(
        (json.loads(path.read_text()) for path in runs.glob("*/manifest.json")),
        key=itemgetter("finished"),
    )
    assert refused["target"] is None
    snapshots = [snapshot.snapshot_id for snapshot in filled.snapshots()]
    for manifest, at in zip((first, last), snapshots, strict=True):
        assert manifest["target"]["version"] == at
        verified = em_impute("verify", runs / manifest["run"])
        assert verified.exit_code == 0, verified.output
        assert f"Snapshot {at} of the Iceberg table lake.nyc.filled holds" in verified.output
    read = [manifest["source"]["version"] for manifest in (first, last)]
    assert set(read) < {snapshot.snapshot_id for snapshot in source.snapshots()}


def test_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    csv = ROOT / "data" / "penguins.csv"
    with duckdb.connect("out/penguins.duckdb") as connection:
        connection.execute(f"CREATE TABLE penguins AS FROM read_csv('{csv}', nullstr = 'NA')")
    result = em_impute("run", ROOT / "configs" / "duckdb.yaml")
    assert result.exit_code == 0, result.output
    with duckdb.connect("out/penguins.duckdb") as connection:
        rows = connection.execute("SELECT count(*), count(body_mass_g) FROM penguins_filled")
        assert len(set(rows.fetchall()[0])) == 1


PENGUINS = (
    "SELECT row_number() OVER () AS penguin, * "
    f"FROM read_csv('{ROOT / 'data' / 'penguins.csv'}', nullstr = 'NA')"
)


@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_a_table_is_filled_where_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    """The same cells as by the local engine, and a mask that tells each of them."""
    monkeypatch.chdir(tmp_path)
    url = "duckdb:///warehouse.duckdb" if kind == "duckdb" else postgres.url
    monkeypatch.setenv("WAREHOUSE_URL", url)
    with duckdb.connect("warehouse.duckdb") as connection:
        connection.execute(f"CREATE TABLE penguins AS {PENGUINS}")
        penguins = connection.execute("FROM penguins").to_arrow_table()
    if kind == "postgresql":
        with postgres.session() as cursor:
            cursor.adbc_ingest("penguins", penguins, mode="create")
    config = ROOT / "configs" / "warehouse.yaml"
    result = em_impute("run", config)
    assert result.exit_code == 0, result.output
    assert "19 missing cells were filled" in result.output
    job = load_job(config)
    place = {"target": job.target.model_copy(update={"table": "locally"})}
    local = job.model_copy(update={"engine": EngineOptions(), **place})
    here = open_run_folder(tmp_path, job.name, "local")
    table = steps.load(local, here)
    staged = steps.fill(local, table, steps.fit(local, table, here), here)
    targets.publish(staged, local.target, "local")
    mine, theirs = (
        read(DatabaseSource(url=url, table=name)).sort_by("penguin")
        for name in ("penguins_in_place", "locally")
    )
    assert_same(mine, theirs)
    result = em_impute("check", config)
    assert result.exit_code == 0, result.output
    [run] = (tmp_path / "runs" / "penguins_in_place").iterdir()
    result = em_impute("verify", run)
    assert result.exit_code == 0, result.output
    result = em_impute("export", run, "--to", "sql", "--dialect", kind)
    assert result.exit_code == 0, result.output


def test_dask_draws_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "dask.yaml")
    assert result.exit_code == 0, result.output
    job = load_job(ROOT / "configs" / "dask.yaml").model_copy(update={"engine": EngineOptions()})
    here = open_run_folder(tmp_path, job.name, "here")
    table = steps.load(job, here)
    staged = steps.fill(job, table, steps.fit(job, table, here), here)
    assert staged.sha256 == sha256(Path("out/airquality_dask.parquet"))


def test_folder_of_csv_to_partitioned_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same cells as in the one file; of three runs, the last two versions are kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    for _ in range(3):
        result = em_impute("run", ROOT / "configs" / "folders.yaml")
        assert result.exit_code == 0, result.output
        assert "44 missing cells were filled" in result.output
    current = Path("out/airquality_months/current")
    assert [folder.name for folder in sorted(current.glob("Month=*"))] == [
        f"Month={month}" for month in range(5, 10)
    ]
    assert len(list(Path("out/airquality_months/versions").iterdir())) == 2
    before = pd.read_csv("data/airquality.csv").sort_values(["Month", "Day"], ignore_index=True)
    after = pa_dataset.dataset(current, partitioning="hive").to_table().to_pandas()
    after = after.sort_values(["Month", "Day"], ignore_index=True)[before.columns]
    assert not after.isna().any(axis=None)
    for name in before:
        shown = before[name].notna()
        assert (after[name][shown] == before[name][shown]).all()


def test_mixed_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sex is filled in as a level, whole numbers stay whole, observed cells are as they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "mixed.yaml")
    assert result.exit_code == 0, result.output
    assert "19 missing cells were filled" in result.output
    before, after = (
        pd.read_csv(path, keep_default_na=False)
        for path in ("data/penguins.csv", "out/penguins_mixed.csv")
    )
    assert after["body_mass_g"].dtype == after["flipper_length_mm"].dtype == np.int64
    for name in before:
        shown = before[name] != "NA"
        cells = before[name][shown].astype(after[name].dtype)
        assert (cells == after[name][shown]).all()
    assert (before["sex"] == "NA").sum() == 11
    assert set(after["sex"]) == {"female", "male"}
    [numbers] = (tmp_path / "runs").glob("penguins_mixed/*/report.json")
    columns = {c["name"]: c for c in json.loads(numbers.read_text())["columns"]}
    assert (columns["sex"]["missing"], columns["sex"]["imputed"]["count"]) == (11, 11)


def test_skewed_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "skewed.yaml")
    assert result.exit_code == 0, result.output
    before = pd.read_csv("data/airquality.csv")
    after = pq.read_table("out/airquality_skewed.parquet").to_pandas()
    assert after["Ozone"].dtype == after["Solar.R"].dtype == np.int64
    assert after["Ozone"].between(1, 200).all()
    assert after["Solar.R"].between(0, 340).all()
    for j, name in enumerate(["Ozone", "Solar.R"]):
        drawn = after["em_impute_mask"].to_numpy() >> j & 1
        assert (drawn == before[name].isna()).all()
        assert (after[name][drawn == 0] == before[name][drawn == 0]).all()
    [numbers] = (tmp_path / "runs").glob("airquality_skewed/*/report.json")
    ozone = json.loads(numbers.read_text())["columns"][0]
    assert ozone["observed"]["mean"] == pytest.approx(before["Ozone"].mean())
    assert 20 < ozone["em"]["mean"] < 80
    assert json.loads(numbers.read_text())["drawn"]
    test = json.loads(numbers.read_text())["self_test"]
    assert (test["method"], test["cells"], test["refusal"]) == ("refit", 34 + 43, None)
    assert test["rmse_ratio"] < 1


def test_a_model_per_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "groups.yaml")
    assert result.exit_code == 0, result.output
    said = "Of 5 groups, 1 with fewer than 50 rows are filled by the model of all rows."
    assert said in " ".join(result.output.split())
    filled = pd.read_csv("out/penguins_by_group.csv", keep_default_na=False)
    empty = pd.read_csv("data/penguins.csv")["body_mass_g"].isna()
    for row in filled[empty].itertuples():
        group = filled[(filled.species == row.species) & (filled.island == row.island) & ~empty]
        assert abs(row.body_mass_g - group.body_mass_g.mean()) < 0.5 * group.body_mass_g.std()
    [folder] = (tmp_path / "runs" / "penguins_by_group").iterdir()
    assert len(json.loads((folder / "groups.json").read_text())) == 4


def test_penguins_are_told_apart_by_their_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Components that know no species are, but for a few birds, the species."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "clusters.yaml")
    assert result.exit_code == 0, result.output
    assert "8 missing cells were filled" in result.output
    filled = pd.read_csv("out/penguin_kinds.csv", keep_default_na=False)
    table = pd.crosstab(filled["species"], filled["em_impute_cluster"])
    assert table.to_numpy().argmax(axis=1).tolist() == [0, 2, 1]
    assert len(filled) - table.max(axis=1).sum() == 6
    assert filled["em_impute_cluster_probability"].mean() > 0.97
    [folder] = (tmp_path / "runs" / "penguin_kinds").iterdir()
    assert json.loads((folder / "model.json").read_text())["format"] == "em_impute.mixture"
    assert "Where the components lie" in (folder / "report.html").read_text()


def test_personality_is_five_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes with the questions of one trait, though the fit does not know which these are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "factors.yaml")
    assert result.exit_code == 0, result.output
    assert "508 missing cells were filled" in result.output
    before, after = pd.read_csv("data/bfi.csv"), pd.read_csv("out/personality.csv")
    assert after.notna().all(axis=None)
    filled, scores = after[list(before)], after.drop(columns=list(before))
    pd.testing.assert_frame_equal(filled.where(before.notna()), before, check_dtype=False)
    assert list(scores) == [f"em_impute_factor_{h}" for h in range(1, 6)]
    # Anxious people score high, and traits of one person have little to do with each other.
    assert np.corrcoef(scores["em_impute_factor_1"], filled["N1"])[0, 1] > 0.8
    assert np.abs(np.triu(scores.corr(), 1)).max() < 0.4
    [folder] = (tmp_path / "runs" / "personality").iterdir()
    assert json.loads((folder / "model.json").read_text())["format"] == "em_impute.factor"
    numbers = json.loads((folder / "report.json").read_text())
    factor_of = {
        one["column"]: int(np.abs(one["correlations"]).argmax())
        for one in numbers["factors"]["loads"]
    }
    for trait in "ACENO":
        assert len({factor_of[f"{trait}{i}"] for i in range(1, 6)}) == 1
    assert len(set(factor_of.values())) == 5
    assert numbers["self_test"]["rmse_ratio"] < 0.9
    assert "Which columns go with which factor" in (folder / "report.html").read_text()


def test_missingness_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little's test fails as a warning, with naniar's p-value; the draws are like the observed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "missingness.yaml")
    assert result.exit_code == 0, result.output
    assert Path("out/airquality_missingness.parquet").exists()
    [folder] = (tmp_path / "runs" / "airquality_missingness").iterdir()
    before, after = json.loads((folder / "checks.json").read_text())
    mcar, match = before["results"][-1], after["results"][-1]
    assert mcar["expected"] == (
        "cells of all numeric columns missing completely at random (p at least 0.05)"
    )
    assert (mcar["success"], mcar["severity"]) == (False, "warning")
    assert mcar["observed"].startswith("p = 0.00142, Little's test: 35.11 on 14 degrees of freedom")
    assert match["success"]
    assert match["observed"].endswith("37 imputed and 116 observed cells")
    report = (folder / "report.html").read_text()
    for words in (mcar["expected"], match["observed"]):
        assert words in unescape(report)


def test_a_job_after_another_runs_by_hand_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its deployment waits for the other one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    result = em_impute("run", ROOT / "configs" / "after.yaml")
    assert result.exit_code == 0, result.output
    assert pq.read_table("out/airquality_drawn.parquet").to_pandas().notna().all(axis=None)
