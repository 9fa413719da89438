"""Means and draws of whole tables: the same bits however they are cut, and within the bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from scipy import stats
from threadpoolctl import threadpool_limits

from em_impute.gaussian import GaussianModel, fit_gaussian, threads
from em_impute.job import MASK, FileSource, Imputation, Job
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.fill import fill, filled_schema
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot
from em_impute.tables.summarise import summarise
from em_impute.tables.writing.formats import read_staged

PENGUINS = Path(__file__).parents[2] / "data" / "penguins.csv"
COLUMNS = {
    "categories": {"species": "nominal", "grade": ["low", "mid", "high"]},
    "transform": {"mass": "log"},
    "bounds": {"bill": [None, 50], "mass": [2500, None]},
    "round": ["flipper"],
}


def mixed_table(n: int = 1500) -> pa.Table:
    """Rows like penguins, a fifth of the cells missing."""
    rng = np.random.default_rng(4)
    size = rng.normal(size=n)
    species = rng.integers(0, 3, n)
    columns = {
        "bill": 44 + 3 * species + 2 * size + rng.normal(size=n),
        "mass": np.exp(8.3 + 0.1 * size + 0.05 * species + 0.05 * rng.normal(size=n)),
        "flipper": 200.0 + np.rint(10 * size + 4 * rng.normal(size=n)),
        "species": np.array(["Adelie", "Chinstrap", "Gentoo"], object)[species],
        "grade": np.array(["low", "mid", "high"], object)[np.digitize(size, [-0.5, 0.8])],
    }
    columns["bill"] = np.minimum(columns["bill"], 50)
    columns["mass"] = np.maximum(columns["mass"], 2500)
    frame = pd.DataFrame(columns)
    table = {name: pa.array(frame[name].mask(rng.random(n) < 0.2)) for name in frame}
    return pa.table({"id": pa.array([f"bird {i}" for i in range(n)]), **table})


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Job, Roles, GaussianModel]:
    table = mixed_table()
    job = job_with(tmp_path / "all.feather", key=["id"])
    snapshot = snapshot_of(table, tmp_path / "all", len(table))
    roles = assign_roles(snapshot, job)
    return job, roles, fit_gaussian(summarise(snapshot, roles)).model


def job_with(path: Path, **columns: object) -> Job:
    return Job.model_validate(
        {
            "name": "mixed",
            "source": {"path": path},
            "target": {"path": path.with_name("y.feather")},
            "columns": {**COLUMNS, **columns},
        }
    )


def snapshot_of(table: pa.Table, folder: Path, batch_rows: int) -> Snapshot:
    """A snapshot in batches of the given size."""
    folder.mkdir()
    feather.write_feather(table, folder / "x.feather")
    snapshot = take_snapshot(FileSource(path=folder / "x.feather"), folder / "snapshot.arrow")
    with pa.ipc.new_file(snapshot.path, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=batch_rows)
    return snapshot


def filled_with(
    snapshot: Snapshot, model: GaussianModel, roles: Roles, job: Job, **imputation: object
) -> tuple[pa.Table, pa.Table]:
    """The filled table and its ledger."""
    folder = RunFolder(snapshot.path.parent)
    options = Imputation.model_validate(imputation)
    staged = fill(snapshot, model, roles, job.target, folder, options)
    schema = filled_schema(snapshot, roles)
    batches = list(read_staged(staged.path, staged.format, schema))
    return pa.Table.from_batches(batches, schema), pq.read_table(staged.ledger)


@pytest.mark.parametrize("method", ["mean", "draw"])
def test_the_same_bits_however_the_table_is_cut(
    prepared: tuple[Job, Roles, GaussianModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """Batches of 1, 1,000 and all rows; one thread and two; rows shuffled, told by their key."""
    job, roles, model = prepared
    table = mixed_table()
    whole, ledger = filled_with(
        snapshot_of(table, tmp_path / "whole", len(table)), model, roles, job, method=method
    )
    assert all(column.null_count == 0 for column in whole.columns)
    for batch_rows, cores in [(1, 1), (1000, 2), (len(table), 2)]:
        monkeypatch.setattr(threads, "_cores", lambda cores=cores: cores)
        rows = min(len(table), 150 * batch_rows)
        snapshot = snapshot_of(table.slice(0, rows), tmp_path / f"{batch_rows}", batch_rows)
        with threadpool_limits(cores):
            cut, cut_ledger = filled_with(snapshot, model, roles, job, method=method)
        assert cut.equals(whole.slice(0, rows))
        assert cut_ledger.equals(ledger.slice(0, cut_ledger.num_rows))
    order = np.random.default_rng(0).permutation(len(table))
    shuffled, _ = filled_with(
        snapshot_of(table.take(order), tmp_path / "shuffled", 700),
        model,
        roles,
        job,
        method=method,
    )
    assert shuffled.equals(whole.take(order))


def test_another_seed_gives_other_draws_and_none_leaves_its_bounds(
    prepared: tuple[Job, Roles, GaussianModel], tmp_path: Path
) -> None:
    job, roles, model = prepared
    snapshot = snapshot_of(mixed_table(), tmp_path / "one", 500)
    one, ledger = filled_with(snapshot, model, roles, job, method="draw", seed=1)
    other, _ = filled_with(snapshot, model, roles, job, method="draw", seed=2)
    for name in ("bill", "mass", "flipper", "species", "grade"):
        missing = mixed_table()[name].is_null()
        assert one[name].filter(missing) != other[name].filter(missing)
    assert max(one["bill"].to_pylist()) <= 50
    assert min(one["mass"].to_pylist()) >= 2500
    flippers = ledger.filter(pa.compute.equal(ledger["column"].cast("string"), "flipper"))
    assert all(value.is_integer() for value in flippers["value"].to_pylist())
    assert ledger["level"].null_count == ledger["value"].is_valid().to_pylist().count(True)


def test_bounded_draws_are_truncated_normal(tmp_path: Path) -> None:
    """One bounded cell a row: Kolmogorov-Smirnov against the conditional, truncated."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=5_000)
    table = pa.table({"x": x, "y": pa.array([None] * len(x), pa.float64())})
    model = GaussianModel(np.array([0.0, -1.0]), np.array([[1.0, 0.6], [0.6, 1.0]]), ("x", "y"))
    job = Job.model_validate(
        {"name": "a", "source": {"path": "x.csv"}, "target": {"path": "y.feather"}}
        | {"columns": {"impute": ["y"], "bounds": {"y": [0, None]}}}
    )
    snapshot = snapshot_of(table, tmp_path / "s", 999)
    roles = assign_roles(snapshot, job)
    filled, ledger = filled_with(snapshot, model, roles, job, method="draw")
    y, centre = filled["y"].to_numpy(), -1 + 0.6 * x
    shares = stats.truncnorm.cdf(y, -centre / 0.8, np.inf, centre, 0.8)
    assert stats.kstest(shares, "uniform").pvalue > 0.001
    assert (y >= 0).all()
    expected = stats.truncnorm.std(-centre / 0.8, np.inf, centre, 0.8)
    np.testing.assert_allclose(ledger["sd"].to_numpy(), expected, rtol=1e-6)


def test_the_mask_tells_the_filled_cells(
    prepared: tuple[Job, Roles, GaussianModel], tmp_path: Path
) -> None:
    job, _, model = prepared
    table = mixed_table()
    snapshot = snapshot_of(table, tmp_path / "s", 333)
    masked = job.model_copy(update={"imputation": Imputation(mask=True)})
    roles = assign_roles(snapshot, masked)
    filled, _ = filled_with(snapshot, model, roles, masked)
    mask = filled[MASK].to_numpy()
    for j, name in enumerate(roles.impute):
        expected = table[name].is_null().to_numpy()
        np.testing.assert_array_equal(mask >> j & 1, expected)


@pytest.mark.parametrize("column", ["species", "sex"])
@pytest.mark.parametrize("method", ["mean", "draw"])
def test_categories_are_better_imputed_than_by_their_mode(
    tmp_path: Path, column: str, method: str
) -> None:
    """A third of the levels hidden at random: shares of the levels, and how many are right."""
    frame = pd.read_csv(PENGUINS, na_values="NA")
    rng = np.random.default_rng(8)
    hidden = frame[column].notna() & (rng.random(len(frame)) < 1 / 3)
    path = tmp_path / "penguins.csv"
    frame.assign(**{column: frame[column].mask(hidden)}).to_csv(path, index=False, na_rep="NA")
    job = Job.model_validate(
        {"name": "p", "source": {"path": path}, "target": {"path": tmp_path / "y.feather"}}
        | {"columns": {"categories": {"species": "nominal", "sex": "nominal"}}}
    )
    folder = RunFolder(tmp_path)
    snapshot = take_snapshot(job.source, folder.snapshot, purpose=Purpose.of(job))
    assert snapshot.profile(column).missing == frame[column].isna().sum() + hidden.sum()
    roles = assign_roles(snapshot, job)
    model = fit_gaussian(summarise(snapshot, roles)).model
    filled = filled_with(snapshot, model, roles, job, method=method)[0].to_pandas()[column]
    truth, mode = frame[column][hidden], frame[column][~hidden].mode()[0]
    shares = truth.value_counts(normalize=True)
    off = filled[hidden].value_counts(normalize=True).sub(shares, fill_value=0).abs().sum()
    assert off < 0.5 * (1 - shares[mode]) * 2
    assert (filled[hidden] == truth).mean() > (truth == mode).mean() + 0.1
