"""read_job: the imputer of a job file, and what a job says that no imputer can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT

from em_impute import EMImputer, read_job
from em_impute.job import JobError

TEXT = """\
name: air_in_python
source: {{path: air.csv, missing: ["-999"]}}
target: {{path: out.csv}}
{}
"""


def read(folder: Path, text: str = "") -> Any:
    (folder / "job.yaml").write_text(TEXT.format(text))
    return read_job(folder / "job.yaml")


def test_what_the_job_says_are_options(tmp_path: Path) -> None:
    job = read(
        tmp_path,
        "columns: {transform: {Ozone: log, hum: {logit: [0, 100]}}, bounds: {Ozone: [0, null]}, "
        "round: true, categories: {kind: nominal, grade: [low, high]}, group_by: [place], "
        "key: [id]}\n"
        "model: {tol: 1e-7, max_iter: 50, prior: 2, n_starts: 3, acceleration: none}\n"
        "imputation: {method: draw, seed: 12, delta: {Ozone: 0.5}}",
    )
    params = job.imputer(n_jobs=2, keep_empty_features=True).get_params()
    expected = {
        "transforms": {"Ozone": "log", "hum": {"logit": (0.0, 100.0)}},
        "bounds": {"Ozone": (0.0, None)},
        "round": True,
        "categories": {"kind": "nominal", "grade": ("low", "high")},
        "group_by": ("place",),
        "key": ("id",),
        "missing_values": ("-999",),
        "tol": 1e-7,
        "max_iter": 50,
        "prior_rows": 2,
        "n_starts": 3,
        "acceleration": "none",
        "sample": True,
        "random_state": 12,
        "delta": {"Ozone": 0.5},
        "n_jobs": 2,
        "keep_empty_features": True,
    }
    assert {name: params[name] for name in expected} == expected
    assert job.job.name == "air_in_python"


def test_the_shortest_job_fills_as_jobs_do(tmp_path: Path) -> None:
    air = pd.read_csv(ROOT / "data" / "airquality.csv").astype({"Ozone": "Int64"})
    imputer = read(tmp_path).imputer()
    assert imputer.missing_values == ("-999",)
    assert imputer.fit_transform(air)["Ozone"].dtype == "Int64"
    assert isinstance(imputer, EMImputer)


@pytest.mark.parametrize(
    ("said", "option", "place"),
    [
        ("columns: {transform: {Ozone: log}}", {"transforms": {}}, "4:22.*columns.transform"),
        ("columns: {bounds: {Ozone: [0, 1]}}", {"bounds": None}, "4:19.*columns.bounds"),
        ("columns: {round: true}", {"round": False}, "columns.round"),
        ("columns: {categories: {a: nominal}}", {"categories": {}}, "columns.categories"),
        ("columns: {group_by: [a]}", {"group_by": []}, "columns.group_by"),
        ("columns: {impute: [a]}", {"impute": []}, "columns.impute"),
        ("columns: {predictors: [a]}", {"predictors": []}, "columns.predictors"),
        ("columns: {key: [a]}", {"key": []}, "columns.key"),
        ("columns: {back_transform: mean}", {"back_transform": "mean"}, "columns.back_transform"),
        ("columns: {bounds_violated: keep}", {"bounds_violated": "keep"}, "columns.bounds_viol"),
        ("model: {min_group_rows: 9}", {"min_group_rows": 9}, "model.min_group_rows"),
        ("model: {prior: 2}", {"prior_rows": 2}, "model.prior"),
        ("model: {tol: 1e-3}", {"tol": 1e-3}, "model.tol"),
        ("model: {max_iter: 9}", {"max_iter": 9}, "model.max_iter"),
        ("model: {acceleration: none}", {"acceleration": "none"}, "model.acceleration"),
        ("model: {n_starts: 2}", {"n_starts": 2}, "model.n_starts"),
        ("imputation: {method: draw}", {"sample": True}, "imputation.method"),
        ("imputation: {seed: 1}", {"random_state": 1}, "imputation.seed"),
        ("imputation: {delta: {a: 1}}", {"delta": {}}, "imputation.delta"),
        ("", {"missing_values": -1}, "2:34.*source.missing"),
    ],
)
def test_what_is_given_twice_is_refused(
    tmp_path: Path, said: str, option: dict[str, Any], place: str
) -> None:
    job = read(tmp_path, said)
    [name] = option
    with pytest.raises(ValueError, match=rf"^{name} is given here, and by the job at .*{place}"):
        job.imputer(**option)


def test_options_that_the_job_leaves_open_may_be_given(tmp_path: Path) -> None:
    imputer = read(tmp_path, "columns: {impute: [Ozone]}").imputer(
        transforms={"Ozone": "log"}, sample=True, random_state=5
    )
    assert imputer.transforms == {"Ozone": "log"}
    assert (imputer.sample, imputer.random_state, imputer.impute) == (True, 5, ("Ozone",))
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        read(tmp_path).imputer(transform={"Ozone": "log"})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("model: {family: mixture}", "4:17: model.family: the job fills by a mixture"),
        ("model: {family: factor}", "4:17: model.family: the job fills by a factor model"),
        ("imputation: {method: multiple}", "4:22: imputation.method: the job fills several times"),
        ("state: {path: kept}", "4:8: state: the job adds the rows of earlier runs"),
    ],
)
def test_jobs_that_fill_otherwise_are_refused(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        read(tmp_path, said).imputer()


def test_mistakes_of_the_file_are_those_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="4:1: colums: unknown key"):
        read(tmp_path, "colums: {}")
    with pytest.raises(JobError, match="no such file"):
        read_job(str(tmp_path / "nowhere.yaml"))
