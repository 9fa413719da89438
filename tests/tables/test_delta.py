"""Imputed cells of a table that are shifted: on the model's scale, between the bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from em_impute.gaussian import GaussianModel, fit_gaussian
from em_impute.job import Imputation, Job, JobError
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.fill import fill, filled_schema, shifts_in_words
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot, read_batches
from em_impute.tables.sources import take_snapshot
from em_impute.tables.summarise import summarise
from em_impute.tables.writing.formats import read_staged

COLUMNS = {
    "impute": ["plain", "log", "bounded", "grade"],
    "transform": {"log": "log"},
    "bounds": {"bounded": [0, None]},
    "categories": {"grade": ["low", "mid", "high"], "site": "nominal"},
}
Filled = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def frame(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    size = rng.normal(size=n)
    columns = pd.DataFrame(
        {
            "plain": 50 + 5 * size + rng.normal(size=n),
            "log": np.exp(size + 0.3 * rng.normal(size=n)),
            "bounded": np.abs(size + 0.5 * rng.normal(size=n)),
            "grade": np.array(["low", "mid", "high"], object)[np.digitize(size, [-0.5, 0.8])],
        }
    ).mask(rng.random((n, 4)) < 0.25)
    return columns.assign(always=rng.normal(size=n) + size, site=rng.choice(["a", "b"], n))


def job_of(folder: Path, **sections: Any) -> Job:
    files = {"source": {"path": folder / "x.parquet"}, "target": {"path": folder / "y.feather"}}
    return Job.model_validate({"name": "a", **files, "columns": COLUMNS, **sections})


@pytest.fixture
def read(tmp_path: Path) -> tuple[Snapshot, Roles, GaussianModel]:
    frame().to_parquet(tmp_path / "x.parquet")
    job = job_of(tmp_path)
    snapshot = take_snapshot(job.source, tmp_path / "snapshot.arrow", 250)
    roles = assign_roles(snapshot, job)
    return snapshot, roles, fit_gaussian(summarise(snapshot, roles)).model


@pytest.fixture
def filled(read: tuple[Snapshot, Roles, GaussianModel], tmp_path: Path) -> Filled:
    """The filled table and its ledger."""
    snapshot, roles, model = read

    def run(
        groups: dict[str, GaussianModel] | None = None, **imputation: Any
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        options = Imputation.model_validate(imputation)
        target, folder = job_of(tmp_path).target, RunFolder(tmp_path)
        staged = fill(snapshot, model, roles, target, folder, options, groups)
        batches = read_staged(staged.path, staged.format, filled_schema(snapshot, roles))
        table = pd.concat([batch.to_pandas() for batch in batches], ignore_index=True)
        return table, pq.read_table(staged.ledger).to_pandas()

    return run


def sd_of(read: tuple[Snapshot, Roles, GaussianModel], name: str) -> float:
    model = read[2]
    return float(model.sd[model.columns.index(name)])


@pytest.mark.parametrize("method", ["mean", "draw"])
def test_cells_are_shifted_on_the_models_scale_and_no_other_column_moves(
    read: tuple[Snapshot, Roles, GaussianModel], filled: Filled, method: str
) -> None:
    delta = {"plain": -0.2, "log": 0.5}
    (plain, before), (shifted, after) = filled(method=method), filled(method=method, delta=delta)
    missing = frame().isna()
    moved = (shifted["plain"] - plain["plain"])[missing["plain"]]
    np.testing.assert_allclose(moved, -0.2 * sd_of(read, "plain"), rtol=1e-9)
    ratio = (shifted["log"] / plain["log"])[missing["log"]]
    np.testing.assert_allclose(ratio, np.exp(0.5 * sd_of(read, "log")), rtol=1e-9)
    same = [*plain.columns.difference(["plain", "log"])]
    pd.testing.assert_frame_equal(shifted[same], plain[same], check_exact=True)
    observed = shifted[["plain", "log"]].mask(missing[["plain", "log"]])
    pd.testing.assert_frame_equal(observed, frame()[["plain", "log"]], check_exact=True)
    told = after[after["column"] == "plain"]
    assert told["value"].tolist() == shifted["plain"][missing["plain"]].tolist()
    assert told["sd"].tolist() == before[before["column"] == "plain"]["sd"].tolist()


def test_between_bounds_the_normal_is_shifted_before_it_is_cut(
    read: tuple[Snapshot, Roles, GaussianModel], filled: Filled
) -> None:
    snapshot, roles, model = read
    encoded = np.concatenate([roles.encode(batch) for batch in read_batches(snapshot.path)])
    at = model.columns.index("bounded")
    given = model.conditional(encoded)
    own = given.columns == at
    mean, sd = given.mean[own] - 0.7 * model.sd[at], given.sd[own]
    expected = stats.truncnorm(-mean / sd, np.inf, mean, sd)
    missing = frame()["bounded"].isna()
    table, ledger = filled(delta={"bounded": -0.7})
    np.testing.assert_allclose(table["bounded"][missing], expected.mean(), rtol=1e-6)
    ledger = ledger[ledger["column"] == "bounded"]
    np.testing.assert_allclose(ledger["sd"], expected.std(), rtol=1e-6)
    plain, drawn = (
        filled(method="draw", delta=delta)[0] for delta in ({}, {"bounded": -0.7, "plain": 0.0})
    )
    assert (drawn["bounded"][missing] > 0).all()
    assert (drawn["bounded"] < plain["bounded"])[missing].all()
    others = [*plain.columns.difference(["bounded"])]
    pd.testing.assert_frame_equal(drawn[others], plain[others], check_exact=True)


def test_levels_in_their_order_are_shifted_too(filled: Filled) -> None:
    missing, rank = frame()["grade"].isna(), {"low": 0, "mid": 1, "high": 2}
    for method in ("mean", "draw"):
        plain, shifted = (
            filled(method=method, delta=delta)[0]["grade"].map(rank)[missing]
            for delta in ({}, {"grade": -1.0})
        )
        assert (shifted <= plain).all()
        assert (shifted < plain).any()


def test_groups_are_shifted_by_one_sd_that_of_all_rows(
    read: tuple[Snapshot, Roles, GaussianModel], tmp_path: Path
) -> None:
    snapshot, _, model = read
    job = job_of(
        tmp_path,
        columns={**COLUMNS, "categories": {}, "group_by": ["site"]}
        | {"impute": ["plain"], "predictors": ["always"], "transform": {}, "bounds": {}},
    )
    roles = assign_roles(snapshot, job)
    model = fit_gaussian(summarise(snapshot, roles)).model
    narrow = GaussianModel(model.mean + 3, model.covariance / 9, model.columns)
    tables = []
    for delta in ({}, {"plain": 1.5}):
        options = Imputation.model_validate({"delta": delta})
        staged = fill(
            snapshot, model, roles, job.target, RunFolder(tmp_path), options, {"a": narrow}
        )
        [*batches] = read_staged(staged.path, staged.format, filled_schema(snapshot, roles))
        tables.append(pd.concat([batch.to_pandas() for batch in batches], ignore_index=True))
    moved = (tables[1]["plain"] - tables[0]["plain"])[frame()["plain"].isna()]
    by = 1.5 * model.sd[model.columns.index("plain")]
    np.testing.assert_allclose(moved, by, rtol=1e-9)


def test_the_ledger_names_the_shifts(filled: Filled, tmp_path: Path) -> None:
    def named() -> bytes | None:
        metadata: dict[bytes, bytes] = pq.read_schema(RunFolder(tmp_path).cells).metadata
        return metadata.get(b"em_impute.delta")

    filled()
    assert named() is None
    filled(delta={"plain": -0.2})
    assert json.loads(named() or b"") == {"plain": -0.2}


def test_the_shifts_in_words(read: tuple[Snapshot, Roles, GaussianModel]) -> None:
    delta = {"plain": -0.2, "log": 1, "grade": 0.25, "bounded": 0}
    assert shifts_in_words(read[1], Imputation.model_validate({"delta": delta})) == [
        "plain: imputed cells are shifted by -0.2 sd.",
        "log: imputed cells are shifted by 1 sd on the scale of its log.",
        "grade: imputed cells are shifted by 0.25 sd on the scale of its scores.",
    ]


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        (COLUMNS, "plian", "the table has no column 'plian'; did you mean 'plain'? It has "),
        (
            COLUMNS,
            "always",
            "column 'always' is not imputed, so no cell of it can be shifted; name it in "
            "columns.impute, or remove it from delta.",
        ),
        (
            {"predictors": ["plain", "always"]},
            "plain",
            "column 'plain' is not imputed, so no cell of it can be shifted; ",
        ),
        (
            {"impute": ["grade"], "categories": {"grade": "nominal"}},
            "grade",
            "column 'grade' holds categories without an order, which have no lower or higher; ",
        ),
    ],
)
def test_a_column_that_cannot_be_shifted_is_refused(
    read: tuple[Snapshot, Roles, GaussianModel],
    tmp_path: Path,
    columns: dict[str, Any],
    name: str,
    message: str,
) -> None:
    job = job_of(tmp_path, columns=columns, imputation={"delta": {name: -0.2}})
    with pytest.raises(JobError) as refused:
        assign_roles(read[0], job)
    assert f"imputation.delta: {message}" in str(refused.value)


def test_a_column_without_a_hole_tonight_is_no_mistake(
    read: tuple[Snapshot, Roles, GaussianModel], tmp_path: Path
) -> None:
    columns = {"categories": {"grade": "nominal", "site": "nominal"}}
    job = job_of(tmp_path, columns=columns, imputation={"delta": {"always": -0.2}})
    roles = assign_roles(read[0], job)
    assert "always" in roles.predictors
    assert shifts_in_words(roles, job.imputation) == []
