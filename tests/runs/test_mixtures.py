"""A job of `family: mixture`: what it publishes, its ledger, its report, and what stops it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from em_impute import EMMixture
from em_impute.flows.direct import run_directly
from em_impute.gaussian import GaussianModel
from em_impute.gaussian.families import MixtureModel
from em_impute.job import CannotRun, Job, JobError
from em_impute.reporting.records import Report
from em_impute.runs import steps
from em_impute.runs.estimates import estimates_of
from em_impute.runs.export import read_export
from em_impute.runs.history import read_report
from em_impute.runs.recompute import verify
from em_impute.runs.run import Outcome
from em_impute.tables import whole_rows
from em_impute.tables.run_folder import RunFolder

GEYSER = ["eruptions", "waiting"]
CLUSTER, PROBABILITY = "em_impute_cluster", "em_impute_cluster_probability"


def geyser() -> pd.DataFrame:
    """Old Faithful with a fifth of its cells deleted, and a number for each row."""
    whole = pd.read_csv(ROOT / "data" / "faithful.csv").astype(float)
    holed = whole.mask(np.random.default_rng(0).random(whole.shape) < 0.2)
    return holed.assign(eruption=np.arange(len(holed)))


def of_table(frame: pd.DataFrame, folder: Path, **changes: Any) -> Job:
    frame.to_parquet(folder / "in.parquet")
    definition: dict[str, Any] = {
        "name": "clustered",
        "source": {"path": str(folder / "in.parquet")},
        "columns": {"impute": GEYSER, "predictors": [], "key": ["eruption"]},
        "model": {"family": "mixture", "components": 2},
        "target": {"path": str(folder / "out.parquet"), "clusters": True},
        "self_test": "off",
    }
    return Job.model_validate(definition | changes)


def ran(frame: pd.DataFrame, folder: Path, **changes: Any) -> tuple[Outcome, Report, pd.DataFrame]:
    """Run a job on a table: its outcome, its report, and what it published."""
    folder.mkdir(exist_ok=True)
    job = of_table(frame, folder, **changes)
    outcome = run_directly(job, folder / "runs")
    report = read_report(RunFolder(outcome.report.parent))
    path = folder / "out.parquet"
    return outcome, report, pd.read_parquet(path) if path.exists() else pd.DataFrame()


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Report, pd.DataFrame]:
    return ran(geyser(), tmp_path_factory.mktemp("clustered"), self_test={"max_share": 0.3})


def model_of(outcome: Outcome) -> MixtureModel:
    return MixtureModel.load(outcome.report.parent / "model.json")


def test_cells_are_filled_with_the_mixtures_means(
    clustered: tuple[Outcome, Report, pd.DataFrame],
) -> None:
    """The mixture that `EMMixture` finds, too; the ledger has the spread of each cell."""
    outcome, _, filled = clustered
    holed = geyser()
    X = holed[GEYSER].to_numpy()
    model = model_of(outcome)
    estimator = EMMixture(2, random_state=0).fit(holed[GEYSER])
    np.testing.assert_allclose(model.means, estimator.means_, rtol=1e-3)
    np.testing.assert_array_equal(filled[GEYSER].to_numpy(), model.impute(X))
    np.testing.assert_allclose(
        filled[GEYSER], estimator.impute(holed[GEYSER]), rtol=1e-3, atol=1e-3
    )
    ledger = pd.read_parquet(outcome.report.parent / "cells.parquet")
    given = model.conditional(X)
    np.testing.assert_array_equal(ledger["row"], given.rows + 1)
    np.testing.assert_array_equal(ledger["value"], given.mean)
    np.testing.assert_array_equal(ledger["sd"], given.sd)


def test_rows_are_told_their_component(clustered: tuple[Outcome, Report, pd.DataFrame]) -> None:
    outcome, _, filled = clustered
    assert list(filled.columns) == [*geyser().columns, CLUSTER, PROBABILITY]
    responsibilities = model_of(outcome).posteriors(geyser()[GEYSER].to_numpy())[0]
    np.testing.assert_array_equal(filled[CLUSTER], responsibilities.argmax(axis=1))
    np.testing.assert_array_equal(filled[PROBABILITY], responsibilities.max(axis=1))
    assert filled[CLUSTER].dtype == np.int32
    empty = geyser()[GEYSER].isna().all(axis=1)
    assert set(filled.loc[empty, CLUSTER]) == {0}


def test_the_report_describes_the_components(
    clustered: tuple[Outcome, Report, pd.DataFrame],
) -> None:
    outcome, report, _ = clustered
    assert report.fit is not None
    assert (report.fit.family, report.fit.status) == ("mixture", "converged")
    assert report.fit.message.endswith("with 2 components.")
    assert [one.number for one in report.fit.trace] == list(range(report.fit.evaluations + 1))
    assert report.means is None  # no standard errors
    assert [test.name for test in report.mcar_tests] == ["Aleksić"]
    found, model = report.components, model_of(outcome)
    assert found is not None
    assert found.weights == tuple(model.weights)
    profile = next(one for one in found.profiles if one.column == "waiting")
    np.testing.assert_allclose(profile.means, model.means[:, 1])
    np.testing.assert_allclose(profile.sds, np.sqrt(model.covariances[:, 1, 1]))
    assert found.directions is not None
    page = outcome.report.read_text()
    for heading in ("The components", "Where the components lie", "Gain of the last step"):
        assert heading in page
    assert report.self_test is not None
    # One of the two columns tells much of the other, but not where both are missing.
    assert report.self_test.rmse_ratio is not None
    assert report.self_test.rmse_ratio < 0.8
    columns = {column.name: column for column in report.columns}
    assert columns["waiting"].em.mean == pytest.approx(model.mean[1])
    assert columns["waiting"].em.sd == pytest.approx(model.sd[1])


def test_bic_takes_the_number_of_components(tmp_path: Path) -> None:
    outcome, report, _ = ran(geyser(), tmp_path, model={"family": "mixture"})
    assert report.components is not None
    bics = dict(report.components.bics)
    assert len(report.components.weights) == min(bics, key=bics.__getitem__) == 2
    assert report.decisions[-1] == "The mixture has 2 components, the best by BIC of 1 to 4."
    assert outcome.verdict.outcome == "published"


DRAWN: dict[str, Any] = {
    "imputation": {"method": "draw", "seed": 5},
    "columns": {
        "impute": [*GEYSER, "kind"],
        "predictors": [],
        "key": ["eruption"],
        "bounds": {"eruptions": [1, 5.5]},
        "round": ["waiting"],
        "categories": {"kind": "nominal"},
    },
}


def kinds() -> pd.DataFrame:
    """The eruptions with a category that goes with their kind, and holes in it."""
    frame = geyser()
    kind = np.where(pd.read_csv(ROOT / "data" / "faithful.csv")["eruptions"] > 3, "long", "short")
    hidden = np.random.default_rng(1).random(len(frame)) < 0.1
    return frame.assign(kind=np.where(hidden, None, kind))


def test_draws_are_those_of_the_rows_whatever_their_order(tmp_path: Path) -> None:
    """Of the same model: another order of the rows gives another start, and other last bits."""
    frame, drawn = kinds(), []
    job = of_table(frame, tmp_path, **DRAWN, batch_rows=50)
    at = tmp_path / "runs"
    table = steps.load(job, _folder(at, "a"))
    fitted = steps.fit(job, table, _folder(at, "a"))
    for name, rows in (("a", frame), ("b", frame.sample(frac=1, random_state=3))):
        again = of_table(rows, tmp_path, **DRAWN, batch_rows=70)
        steps.fill(again, steps.load(again, _folder(at, name + "2")), fitted, _folder(at, name))
        staged = pd.read_parquet(_folder(at, name).staged("parquet"))
        drawn.append(staged.sort_values("eruption").reset_index(drop=True))
    pd.testing.assert_frame_equal(drawn[0], drawn[1], check_exact=True)
    hidden = frame["eruptions"].isna()
    cells = drawn[0].loc[hidden, "eruptions"]
    assert cells.between(1, 5.5).all()
    # Drawn as they lie: hardly one between the two kinds, where the mean of many is.
    assert cells.between(2.7, 3.3).mean() < 0.12
    assert (drawn[0].loc[frame["waiting"].isna(), "waiting"] % 1 == 0).all()
    long = drawn[0].loc[frame["kind"].isna() & frame["eruptions"].gt(3.5), "kind"]
    assert (long == "long").mean() > 0.9


def _folder(runs: Path, name: str) -> RunFolder:
    path = runs / name
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def test_a_run_is_computed_again(clustered: tuple[Outcome, Report, pd.DataFrame]) -> None:
    found = verify(clustered[0].report.parent)
    assert found.agreement == "equal"


def test_a_mixture_of_rows_that_have_changed_cannot_be_verified(tmp_path: Path) -> None:
    outcome, _, _ = ran(geyser(), tmp_path)
    geyser().assign(waiting=1.0).to_parquet(tmp_path / "in.parquet")
    assert verify(outcome.report.parent).agreement == "cannot be verified"


def test_groups_have_mixtures_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    frame = pd.concat([geyser().assign(well="A"), (geyser() * [1, 1, 1]).assign(well="B")])
    frame.loc[frame["well"] == "B", "waiting"] += 50 + rng.normal(size=272)
    frame = pd.concat([frame, frame.head(5).assign(well="C")], ignore_index=True)
    columns = {"impute": GEYSER, "predictors": [], "group_by": ["well"]}
    outcome, report, filled = ran(frame, tmp_path, columns=columns, self_test="refit")
    assert report.groups is not None
    assert (report.groups.total, report.groups.own_models) == (3, 2)
    kept = json.loads((outcome.report.parent / "groups.json").read_text())
    for well in ("A", "B", "C"):
        rows = frame["well"] == well
        model = model_of(outcome)
        if well in kept:
            model = MixtureModel.from_dict({"columns": GEYSER, **kept[well]})
        X = frame.loc[rows, GEYSER].to_numpy()
        np.testing.assert_array_equal(filled.loc[rows, GEYSER].to_numpy(), model.impute(X))
        components = model.posteriors(X)[0].argmax(axis=1)
        np.testing.assert_array_equal(filled.loc[rows, CLUSTER], components)
    assert verify(outcome.report.parent).agreement == "equal"


def test_a_complete_table_is_clustered(tmp_path: Path) -> None:
    frame = pd.read_csv(ROOT / "data" / "faithful.csv").assign(eruption=range(272))
    outcome, report, filled = ran(frame, tmp_path, columns={"key": ["eruption"]})
    assert outcome.verdict.outcome == "published"
    assert report.imputed_cells == 0
    kind = frame["eruptions"] > 3.1
    assert (filled.loc[kind, CLUSTER] == 0).mean() > 0.98
    assert (filled.loc[~kind, CLUSTER] == 1).mean() > 0.98


def test_a_database_gets_the_columns_of_the_clusters(tmp_path: Path) -> None:
    target = {"url": f"sqlite:///{tmp_path / 'w.sqlite'}", "table": "filled", "clusters": True}
    outcome, _, _ = ran(geyser(), tmp_path, target=target)
    assert outcome.published
    with sqlite3.connect(tmp_path / "w.sqlite") as connection:
        filled = pd.read_sql(f"SELECT {CLUSTER}, {PROBABILITY} FROM filled", connection)
    assert set(filled[CLUSTER]) == {0, 1}
    assert filled[PROBABILITY].between(0.5, 1).all()


def test_a_shift_is_by_the_sd_of_all_rows(
    clustered: tuple[Outcome, Report, pd.DataFrame], tmp_path: Path
) -> None:
    outcome, _, plain = clustered
    shifted = ran(geyser(), tmp_path, imputation={"delta": {"waiting": -0.5}})[2]
    by = np.where(geyser()["waiting"].isna(), -0.5 * model_of(outcome).sd[1], 0.0)
    np.testing.assert_allclose(shifted["waiting"] - plain["waiting"], by, atol=1e-9)


def test_a_constant_column_is_filled_with_its_value(tmp_path: Path) -> None:
    frame = geyser().assign(park=7.0)
    frame.loc[::5, "park"] = np.nan
    columns = {"impute": [*GEYSER, "park"], "predictors": [], "key": ["eruption"]}
    outcome, _, filled = ran(frame, tmp_path, columns=columns)
    assert (filled["park"] == 7.0).all()
    assert "holds all of them" not in outcome.verdict.sentence
    ledger = pd.read_parquet(outcome.report.parent / "cells.parquet")
    assert (ledger.loc[ledger["column"] == "park", "sd"] == 0.0).all()


def test_a_long_table_is_fitted_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_rows, "MOST_CELLS", 400)
    outcome, report, filled = ran(geyser(), tmp_path)
    assert report.components is not None
    assert report.components.rows <= 200
    assert report.decisions == (
        "The mixture is fitted to a sample of 200 of the table's 272 rows, as many as 400 cells "
        "hold.",
    )
    assert outcome.verdict.outcome == "published"
    assert filled[GEYSER].notna().all(axis=None)


def test_the_run_before_is_compared_whatever_its_family(tmp_path: Path) -> None:
    ran(geyser(), tmp_path, model={}, target={"path": str(tmp_path / "out.parquet")})
    _, report, _ = ran(geyser().assign(waiting=geyser()["waiting"] + 40), tmp_path)
    assert report.drift is not None
    assert [change.column for change in report.drift.columns if change.moved] == ["waiting"]


# --- What stops a run, or warns ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "model", "said"),
    [
        (slice(0, 5), {"components": 40}, "got 40 components for 5 different rows"),
        (slice(0, 12), {"components": 6, "prior": 0}, "a component lost its rows or its spread"),
    ],
)
def test_data_that_determine_no_mixture_end_in_a_sentence(
    rows: slice, model: dict[str, Any], said: str, tmp_path: Path
) -> None:
    frame = geyser().iloc[rows]
    outcome, report, _ = ran(frame, tmp_path, model={"family": "mixture", **model})
    assert outcome.stopped == "cannot run"
    assert outcome.verdict.sentence.startswith("The mixture cannot be fitted: ")
    assert said in outcome.verdict.sentence
    assert report.components is None


def test_constant_columns_alone_tell_nothing_apart(tmp_path: Path) -> None:
    frame = geyser().assign(eruptions=1.0, waiting=2.0)
    frame.loc[3, "waiting"] = np.nan
    outcome, _, _ = ran(frame, tmp_path)
    assert "Every column of the model is constant" in outcome.verdict.sentence


def test_a_component_of_few_rows_is_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    X = np.vstack([rng.normal(size=(60, 4)), rng.normal(size=(4, 4)) + 20])
    frame = pd.DataFrame(X, columns=list("abcd")).assign(eruption=range(64))
    frame.loc[::7, "a"] = np.nan
    columns = {"key": ["eruption"]}
    model = {"family": "mixture", "components": 2, "prior": 0.5}
    outcome, report, _ = ran(frame, tmp_path, columns=columns, model=model)
    assert outcome.verdict.outcome == "published with warnings"
    assert any(
        warning.startswith("Component 1 has 4.0 of 64 rows for 4 columns, too few")
        for warning in report.warnings
    )


def test_a_time_limit_ends_the_fit_with_what_there_is(tmp_path: Path) -> None:
    model = {"family": "mixture", "time_limit": 1e-9}
    _, report, filled = ran(geyser(), tmp_path, model=model)
    assert report.fit is not None
    assert report.fit.status == "time_limit"
    assert report.fit.message.startswith("Stopped by the time limit after 0 iterations")
    assert filled[GEYSER].notna().all(axis=None)


@pytest.mark.parametrize("name", [CLUSTER, PROBABILITY])
def test_a_column_of_that_name_is_an_error(name: str, tmp_path: Path) -> None:
    job = of_table(geyser().assign(**{name: 1}), tmp_path)
    with pytest.raises(JobError, match=f"target.clusters: the table has a column '{name}' already"):
        steps.load(job, _folder(tmp_path, "run"))


def test_clusters_of_no_column_are_an_error(tmp_path: Path) -> None:
    frame = pd.DataFrame({"eruption": range(5), "text": list("abcde")})
    job = of_table(frame, tmp_path, columns={"key": ["eruption"]})
    with pytest.raises(JobError, match=r"target\.clusters: no column is in the model"):
        steps.load(job, _folder(tmp_path, "run"))


def test_what_only_one_gaussian_gives_is_refused(
    clustered: tuple[Outcome, Report, pd.DataFrame],
) -> None:
    folder = clustered[0].report.parent
    with pytest.raises(CannotRun, match="a mixture, and a query has a mean and a covariance"):
        read_export(folder)
    with pytest.raises(CannotRun, match="a mixture, whose parameters have no standard errors"):
        estimates_of(folder, 0.95, None)
    with pytest.raises(ValueError, match="a model of another family"):
        GaussianModel.load(folder / "model.json")
