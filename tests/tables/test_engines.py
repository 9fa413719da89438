"""Passes over a snapshot on a real cluster of Dask: the same bits, and what can go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import distributed
import numpy as np
import pandas as pd
import pytest
from command_line import em_impute, run_directly
from conftest import ROOT

from em_impute.gaussian import DividedSummary, GaussianModel, Iteration
from em_impute.job import EngineOptions, Job
from em_impute.runs import steps
from em_impute.runs.model_rows import FAR_ROWS
from em_impute.runs.run import Loaded
from em_impute.tables import engines, summarise
from em_impute.tables.engines import EngineError, WorkersLostError, opened
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Part, parts_of

# The workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

DASK = EngineOptions(name="dask")
JOBS = {
    "draws into a CSV that is spelled as before": {
        "source": {"path": str(ROOT / "data/airquality.csv")},
        "columns": {"impute": ["Ozone", "Solar.R"], "transform": {"Ozone": "log"}},
        "imputation": {"method": "draw", "mask": True},
        "target": {"path": "filled.csv"},
    },
    "two imputations, levels and groups": {
        "source": {"path": str(ROOT / "data/penguins.csv")},
        "columns": {
            "impute": ["body_mass_g", "sex"],
            "categories": {"sex": "nominal"},
            "group_by": ["island"],
        },
        "model": {"min_group_rows": 20},
        "imputation": {"method": "multiple", "draws": 2, "posterior": "ml"},
        "target": {"path": "filled.parquet"},
    },
    "imputations of resampled rows": {
        "source": {"path": str(ROOT / "data/airquality.csv")},
        "columns": {"impute": ["Ozone", "Solar.R"], "key": ["Month", "Day"]},
        "imputation": {"method": "multiple", "draws": 2, "posterior": "bootstrap"},
        "target": {"path": "filled.parquet"},
    },
    "draws and clusters of a mixture": {
        "source": {"path": str(ROOT / "data/penguins.csv")},
        "columns": {
            "impute": ["bill_length_mm", "bill_depth_mm", "body_mass_g", "sex"],
            "categories": {"sex": "nominal"},
        },
        "model": {"family": "mixture", "components": 3, "n_starts": 2},
        "imputation": {"method": "draw"},
        "target": {"path": "filled.csv", "clusters": True},
    },
    "draws by factors": {
        "source": {"path": str(ROOT / "data/penguins.csv")},
        "columns": {
            "impute": ["bill_length_mm", "bill_depth_mm", "body_mass_g", "sex"],
            "categories": {"sex": "nominal"},
        },
        "model": {"family": "factor", "components": 2},
        "imputation": {"method": "draw"},
        "target": {"path": "filled.parquet"},
    },
}


@contextmanager
def cluster_of_two() -> Iterator[str]:
    """The address of a cluster of two workers, of which a part may lose one."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster that all tests share but those that kill workers."""
    with cluster_of_two() as address:
        yield address


@pytest.fixture
def scheduler(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, where a run looks for it."""
    monkeypatch.setenv(engines.ADDRESS, address)
    return address


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("em_impute.tables.snapshot.PART_CELLS", 300)


def loaded(job: Job, folder: Path) -> tuple[Loaded, RunFolder]:
    folder.mkdir()
    return steps.load(job, RunFolder(folder)), RunFolder(folder)


def a_job(about: dict[str, Any], **engine: object) -> Job:
    return Job.model_validate({"name": "job", "batch_rows": 25, "engine": engine, **about})


@pytest.mark.usefixtures("small_parts", "scheduler")
@pytest.mark.parametrize("about", JOBS.values(), ids=JOBS)
def test_workers_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    left: list[list[Any]] = []
    for name, engine in (
        ("here", {"name": "local"}),
        ("there", {"name": "dask"}),
    ):
        job = a_job(about, **engine)
        table, folder = loaded(job, tmp_path / name)
        assert len(parts_of(table, 6)) > 2
        fitted = steps.fit(job, table, folder)
        staged = steps.fill(job, table, fitted, folder)
        assert not list(folder.path.glob(".*.part"))
        ledger = pd.read_parquet(folder.cells)
        left.append([folder.model.read_bytes(), staged.sha256, staged.imputed, ledger.to_csv()])
    assert left[0] == left[1]
    assert left[0][2]


def assert_refused(said: str) -> None:
    with pytest.raises(EngineError, match=said), opened(DASK):
        pass


def summed_up(table: Loaded) -> Any:
    with opened(DASK) as workers:
        assert workers is not None
        return summarise.summarise_by(workers, table, table.roles)


def dies_once(folder: Path, function: Any, snapshot: Path, roles: Any, part: Part) -> Any:
    if part.first and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    return function(snapshot, roles, part)


def dies(*_: object) -> None:
    os._exit(1)


@pytest.mark.usefixtures("small_parts")
def test_a_worker_that_dies_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = JOBS["two imputations, levels and groups"]
    table, _ = loaded(a_job(about, name="local"), tmp_path / "run")
    expected = summarise.summarise(table, table.roles).to_bytes()
    whole = summarise._sum_up_part
    with cluster_of_two() as address:
        monkeypatch.setenv(engines.ADDRESS, address)
        monkeypatch.setattr(summarise, "_sum_up_part", partial(dies_once, tmp_path, whole))
        assert summed_up(table).to_bytes() == expected
        assert (tmp_path / "died").exists()
        monkeypatch.setattr(summarise, "_sum_up_part", dies)
        # Dask may give up a worker that dies as soon as it has begun.
        monkeypatch.setattr(engines, "PATIENCE", 5)
        said = "several of Dask's workers died of it|none of Dask's workers is left"
        with pytest.raises(WorkersLostError, match=said):
            summed_up(table)


@pytest.fixture
def few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little fits into the run's memory, so that rows stay on the workers."""
    monkeypatch.setattr(summarise, "MOST_NUMBERS", 80)


@pytest.mark.usefixtures("small_parts", "scheduler", "few_numbers")
def test_rows_that_stay_on_the_workers(write_job: Callable[..., Path]) -> None:
    table = pd.read_csv(ROOT / "data/airquality.csv").to_csv(index=False)
    about = {"name": "far_rows", "batch_rows": 25, "imputation": {"method": "draw"}}
    assert not run_directly(write_job(table, **about), "--runs", "near").exit_code
    near = pd.read_csv("out/filled.csv")
    done = run_directly(write_job(**about, engine="dask"), "--runs", "far")
    assert not done.exit_code, done.output
    assert re.search(r"\d+ weighted rows stay on the workers, in \d+ blocks", done.output)
    pd.testing.assert_frame_equal(pd.read_csv("out/filled.csv"), near, rtol=1e-8)
    [of_near], [run] = Path("near/far_rows").glob("2*"), Path("far/far_rows").glob("2*")
    assert not (run / "summary.npz").exists()
    [expected, found] = (json.loads((at / "report.json").read_text()) for at in (of_near, run))
    for column, ours in zip(expected["columns"], found["columns"], strict=True):
        assert ours["observed"] == pytest.approx(column["observed"], rel=1e-9)
    assert found["patterns"]["total_patterns"] == expected["patterns"]["total_patterns"]
    assert found["fit"]["worst_fraction"] == pytest.approx(
        expected["fit"]["worst_fraction"], abs=1e-3
    )
    assert FAR_ROWS in found["decisions"]
    assert not found["mcar_tests"]
    assert not found["means"]
    assert em_impute("verify", run).exit_code == 0
    refused = em_impute("estimates", run)
    assert refused.exit_code == 2
    assert "stayed on Dask's workers" in refused.output


@pytest.mark.usefixtures("small_parts", "few_numbers")
def test_a_worker_that_dies_during_the_fit_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(JOBS["draws by factors"] | {"model": {}})
    table, _ = loaded(job, tmp_path / "run")
    killed: list[int] = []

    def fitted(workers: engines.Workers, dies_at: int | None) -> GaussianModel:
        def look(iteration: Iteration) -> None:
            if iteration.number == dies_at:
                held = workers.client.has_what()
                holder = max(held, key=lambda worker: len(held[worker]))
                killed.append(len(held[holder]))
                os.kill(workers.client.run(os.getpid)[holder], signal.SIGKILL)

        summary = summarise.summarise_by(workers, table, table.roles)
        assert isinstance(summary, DividedSummary)
        assert summary.n_blocks > 1
        return summarise.fit_model(summary, job.model, look).model

    with cluster_of_two() as address:
        monkeypatch.setenv(engines.ADDRESS, address)
        with opened(DASK) as workers:
            assert workers is not None
            expected = fitted(workers, None)
            found = fitted(workers, 2)
    assert killed > [0]
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.covariance, expected.covariance)


@pytest.mark.usefixtures("small_parts")
def test_no_worker_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = loaded(a_job(JOBS["two imputations, levels and groups"]), tmp_path / "run")
    monkeypatch.setattr(engines, "PATIENCE", 3)
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster.scheduler_address) as client,
    ):
        [worker] = client.scheduler_info()["workers"]
        workers = engines.Workers(client)
        monkeypatch.setattr(
            engines.Workers,
            "_require_sight",
            lambda *_: client.retire_workers([worker], close_workers=True),
        )
        with pytest.raises(WorkersLostError, match="none of Dask's workers is left"):
            summarise.summarise_by(workers, table, table.roles)


@pytest.mark.usefixtures("scheduler")
def test_workers_that_do_not_see_the_snapshot(tmp_path: Path) -> None:
    table, folder = loaded(a_job(next(iter(JOBS.values())), name="local"), tmp_path / "r")
    folder.snapshot.rename(tmp_path / "elsewhere")
    said = r"The Dask worker at tcp:.* does not see .*snapshot\.arrow"
    with opened(DASK) as workers:
        assert workers is not None
        with pytest.raises(EngineError, match=said):
            next(workers.map(dies, table, []))


@pytest.mark.usefixtures("scheduler")
def test_a_worker_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    here = metadata.version

    def newer(name: str) -> str:
        return "99.1" if name == "em-impute" else here(name)

    monkeypatch.setattr(metadata, "version", newer)
    assert_refused(r"The Dask worker at tcp:.* has em_impute .*here is 99\.1")


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    monkeypatch.setenv(engines.ADDRESS, "tcp://127.0.0.1:9")
    assert_refused(r"Dask's scheduler at tcp://127\.0\.0\.1:9 does not answer")


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        monkeypatch.setenv(engines.ADDRESS, cluster.scheduler_address)
        assert_refused("has no worker; start some by `dask worker tcp:")


def test_dask_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert_refused(r"pip install 'em-impute\[dask\]'")
