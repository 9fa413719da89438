"""A job of `family: factor`: what it publishes, its ledger, its report, and what stops it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from em_impute import EMFactor
from em_impute.flows.direct import run_directly
from em_impute.gaussian import GaussianModel
from em_impute.gaussian.families import FactorModel
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

ITEMS = [f"{trait}{i}" for trait in "ACEN" for i in range(1, 6)]
SCORES = [f"em_impute_factor_{h}" for h in range(1, 5)]


def answers(n: int = 400) -> pd.DataFrame:
    """Some people's answers to 20 questions, more of which are missing than they left out."""
    frame = pd.read_csv(ROOT / "data" / "bfi.csv")[["respondent", *ITEMS]].head(n)
    hidden = np.random.default_rng(0).random((len(frame), len(ITEMS))) < 0.1
    frame[ITEMS] = frame[ITEMS].astype(float).mask(hidden)
    return frame


def of_table(frame: pd.DataFrame, folder: Path, **changes: Any) -> Job:
    frame.to_parquet(folder / "in.parquet")
    definition: dict[str, Any] = {
        "name": "by_factors",
        "source": {"path": str(folder / "in.parquet")},
        "columns": {"impute": ITEMS, "predictors": [], "key": ["respondent"]},
        "model": {"family": "factor", "components": 4, "rotation": "varimax"},
        "target": {"path": str(folder / "out.parquet"), "scores": True},
        "self_test": "off",
    }
    return Job.model_validate(definition | changes)


def ran(frame: pd.DataFrame, folder: Path, **changes: Any) -> tuple[Outcome, Report, pd.DataFrame]:
    """Run a job on a table: its outcome, its report, and what it published."""
    folder.mkdir(exist_ok=True)
    outcome = run_directly(of_table(frame, folder, **changes), folder / "runs")
    report = read_report(RunFolder(outcome.report.parent))
    path = folder / "out.parquet"
    return outcome, report, pd.read_parquet(path) if path.exists() else pd.DataFrame()


@pytest.fixture(scope="module")
def factored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Report, pd.DataFrame]:
    return ran(answers(), tmp_path_factory.mktemp("factored"), self_test={"max_share": 0.1})


def model_of(outcome: Outcome) -> FactorModel:
    return FactorModel.load(outcome.report.parent / "model.json")


def test_cells_are_filled_with_the_models_means(
    factored: tuple[Outcome, Report, pd.DataFrame],
) -> None:
    """The model that `EMFactor` finds, bit by bit; the ledger has the spread of each cell."""
    outcome, _, filled = factored
    holed = answers()[ITEMS]
    model, estimator = model_of(outcome), EMFactor(4, rotation="varimax").fit(holed)
    np.testing.assert_array_equal(model.loadings.T, estimator.components_)
    np.testing.assert_array_equal(filled[ITEMS], estimator.impute(holed))
    ledger = pd.read_parquet(outcome.report.parent / "cells.parquet")
    given = model.conditional(holed.to_numpy())
    by_row = ledger.sort_values(["row", "column"], key=_in_order, kind="stable")
    np.testing.assert_array_equal(by_row["row"], given.rows + 1)
    np.testing.assert_array_equal(by_row["value"], given.mean)
    np.testing.assert_array_equal(by_row["sd"], given.sd)


def _in_order(values: pd.Series) -> pd.Series:
    return values.map(ITEMS.index) if values.name == "column" else values


def test_rows_are_told_their_scores(
    factored: tuple[Outcome, Report, pd.DataFrame], tmp_path: Path
) -> None:
    outcome, _, filled = factored
    assert list(filled.columns) == [*answers().columns, *SCORES]
    expected, _ = model_of(outcome).posteriors(answers()[ITEMS].to_numpy())
    np.testing.assert_array_equal(filled[SCORES], expected)
    database = {"url": f"sqlite:///{tmp_path / 'w.sqlite'}", "table": "filled", "scores": True}
    ran(answers(), tmp_path, target=database)
    with sqlite3.connect(tmp_path / "w.sqlite") as connection:
        there = pd.read_sql(f"SELECT {', '.join(SCORES)} FROM filled", connection)
    np.testing.assert_array_equal(there, expected)


def test_a_complete_table_has_scores(tmp_path: Path) -> None:
    frame = answers().dropna()
    outcome, report, filled = ran(frame, tmp_path, columns={"key": ["respondent"]})
    assert outcome.published
    assert report.imputed_cells == 0
    assert filled[SCORES].std().gt(0.5).all()


@pytest.mark.parametrize("name", ["em_impute_factor_1", "em_impute_factor_4"])
def test_a_column_of_that_name_is_an_error(name: str, tmp_path: Path) -> None:
    job = of_table(answers().assign(**{name: 1}), tmp_path)
    with pytest.raises(JobError, match=f"target.scores: the table has a column '{name}' already"):
        steps.load(job, _folder(tmp_path, "run"))


def test_scores_of_no_column_are_an_error(tmp_path: Path) -> None:
    frame = pd.DataFrame({"respondent": range(5), "text": list("abcde")})
    job = of_table(frame, tmp_path, columns={"key": ["respondent"]})
    with pytest.raises(JobError, match=r"target\.scores: no column is in the model"):
        steps.load(job, _folder(tmp_path, "run"))


def test_the_report_describes_the_factors(factored: tuple[Outcome, Report, pd.DataFrame]) -> None:
    outcome, report, _ = factored
    assert outcome.verdict.outcome in ("published", "published with warnings")
    assert report.fit is not None
    assert (report.fit.family, report.fit.status) == ("factor", "converged")
    assert "with 4 factors; the log-likelihood may yet rise by" in report.fit.message
    assert [one.number for one in report.fit.trace] == list(range(report.fit.evaluations + 1))
    assert report.means is report.components is None
    assert [test.name for test in report.mcar_tests] == ["Aleksić"]
    found, model = report.factors, model_of(outcome)
    assert found is not None
    assert found.rotation == "varimax"
    assert {one.column for one in found.loads} == set(ITEMS)
    [anxious] = [one for one in found.loads if one.column == "N1"]
    at = ITEMS.index("N1")
    np.testing.assert_allclose(anxious.correlations, model.loadings[at] / model.sd[at])
    # Questions of one trait go with one factor.
    of = {one.column: int(np.abs(one.correlations).argmax()) for one in found.loads}
    assert {of[f"N{i}"] for i in range(1, 4)} != {of[f"C{i}"] for i in range(1, 6)}
    page = outcome.report.read_text()
    for heading in ("The factors", "Which columns go with which factor", "Gain that is left"):
        assert heading in page
    columns = {column.name: column for column in report.columns}
    assert columns["N1"].em.mean == pytest.approx(model.mean[at])
    assert columns["N1"].em.sd == pytest.approx(model.sd[at])


def test_hidden_cells_are_foreseen(factored: tuple[Outcome, Report, pd.DataFrame]) -> None:
    test = factored[1].self_test
    assert test is not None
    assert test.rmse_ratio is not None
    assert test.rmse_ratio < 0.92
    assert test.coverage.at_95 is not None
    assert 0.9 < test.coverage.at_95 < 0.99


def test_bic_takes_the_number_of_factors(tmp_path: Path) -> None:
    target = {"path": str(tmp_path / "out.parquet")}
    outcome, report, _ = ran(answers(), tmp_path, model={"family": "factor"}, target=target)
    assert report.factors is not None
    bics = dict(report.factors.bics)
    k = min(bics, key=bics.__getitem__)
    assert len(report.factors.explained) == k > 1
    assert report.decisions[-1] == (
        f"The factor model has {k} factors, the best by BIC of 1 to {max(bics)}."
    )
    assert "They are turned so that scores are uncorrelated" in outcome.report.read_text()


DRAWN: dict[str, Any] = {
    "imputation": {"method": "draw", "seed": 5},
    "columns": {
        "impute": [*ITEMS, "mood"],
        "predictors": [],
        "key": ["respondent"],
        "bounds": {"N1": [1, 6]},
        "round": ["N2"],
        "categories": {"mood": "nominal"},
    },
}


def test_draws_are_those_of_the_rows_whatever_their_order(tmp_path: Path) -> None:
    """Levels and cells between bounds, too; of the same model."""
    frame, drawn = answers(), []
    mood = np.where(frame["N3"].fillna(3) > 3, "low", "high")
    frame["mood"] = np.where(np.random.default_rng(1).random(len(frame)) < 0.1, None, mood)
    job = of_table(frame, tmp_path, **DRAWN, batch_rows=50)
    at = tmp_path / "runs"
    table = steps.load(job, _folder(at, "a"))
    fitted = steps.fit(job, table, _folder(at, "a"))
    for name, rows in (("a", frame), ("b", frame.sample(frac=1, random_state=3))):
        again = of_table(rows, tmp_path, **DRAWN, batch_rows=70)
        steps.fill(again, steps.load(again, _folder(at, name + "2")), fitted, _folder(at, name))
        staged = pd.read_parquet(_folder(at, name).staged("parquet"))
        drawn.append(staged.sort_values("respondent").reset_index(drop=True))
    pd.testing.assert_frame_equal(drawn[0], drawn[1], check_exact=True)
    frame = frame.sort_values("respondent").reset_index(drop=True)
    hidden = frame["N1"].isna()
    cells = drawn[0].loc[hidden, "N1"]
    assert cells.between(1, 6).all()
    assert 0.7 < cells.std() / frame["N1"].std() < 1.3
    assert (drawn[0].loc[frame["N2"].isna(), "N2"] % 1 == 0).all()
    low = drawn[0].loc[frame["mood"].isna() & frame["N3"].gt(4), "mood"]
    assert (low == "low").mean() > 0.6


def _folder(runs: Path, name: str) -> RunFolder:
    path = runs / name
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def test_a_run_is_computed_again(factored: tuple[Outcome, Report, pd.DataFrame]) -> None:
    assert verify(factored[0].report.parent).agreement == "equal"


def test_a_model_of_rows_that_have_changed_cannot_be_verified(tmp_path: Path) -> None:
    outcome, _, _ = ran(answers(), tmp_path)
    answers().assign(N1=1.0).to_parquet(tmp_path / "in.parquet")
    assert verify(outcome.report.parent).agreement == "cannot be verified"


def test_groups_have_factors_of_their_own(tmp_path: Path) -> None:
    """From 50 rows on, however many columns there are."""
    frame = answers(410).assign(wave=np.repeat(["A", "B", "C"], [200, 200, 10]))
    columns = {"impute": ITEMS, "predictors": [], "group_by": ["wave"]}
    outcome, report, filled = ran(frame, tmp_path, columns=columns, self_test="refit")
    assert report.groups is not None
    assert (report.groups.total, report.groups.own_models) == (3, 2)
    kept = json.loads((outcome.report.parent / "groups.json").read_text())
    for wave in ("A", "B", "C"):
        rows, model = frame["wave"] == wave, model_of(outcome)
        if wave in kept:
            model = FactorModel.from_dict({"columns": ITEMS, **kept[wave]})
        X = frame.loc[rows, ITEMS].to_numpy()
        np.testing.assert_array_equal(filled.loc[rows, ITEMS].to_numpy(), model.impute(X))
        np.testing.assert_array_equal(filled.loc[rows, SCORES], model.posteriors(X)[0])
    assert verify(outcome.report.parent).agreement == "equal"


def test_more_columns_than_rows(tmp_path: Path) -> None:
    """Where one Gaussian would need a prior."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 300)) + rng.normal(size=(60, 300)) / 2
    frame = pd.DataFrame(X, columns=[f"gene{j}" for j in range(300)])
    holed = frame.mask(rng.random(frame.shape) < 0.1)
    changes: dict[str, Any] = {"columns": {}, "model": {"family": "factor"}}
    changes["target"] = {"path": str(tmp_path / "out.parquet")}
    outcome, report, filled = ran(holed, tmp_path, **changes)
    assert outcome.verdict.outcome == "published"
    assert report.factors is not None
    assert len(report.factors.explained) == 2
    hidden = holed.isna().to_numpy()
    error = np.sqrt(np.mean((filled - frame).to_numpy()[hidden] ** 2))
    assert 0.45 < error < 0.6


def test_a_shift_is_by_the_sd_of_all_rows(
    factored: tuple[Outcome, Report, pd.DataFrame], tmp_path: Path
) -> None:
    outcome, _, plain = factored
    shifted = ran(answers(), tmp_path, imputation={"delta": {"N1": -0.5}})[2]
    by = -0.5 * model_of(outcome).sd[ITEMS.index("N1")]
    expected = np.where(answers()["N1"].isna(), by, 0.0)
    np.testing.assert_allclose(shifted["N1"] - plain["N1"], expected, atol=1e-9)


def test_a_constant_column_is_filled_with_its_value(tmp_path: Path) -> None:
    frame = answers().assign(year=2005.0)
    frame.loc[::5, "year"] = np.nan
    columns = {"impute": [*ITEMS, "year"], "predictors": [], "key": ["respondent"]}
    outcome, report, filled = ran(frame, tmp_path, columns=columns)
    assert (filled["year"] == 2005.0).all()
    assert "Heywood" not in " ".join(report.decisions)
    ledger = pd.read_parquet(outcome.report.parent / "cells.parquet")
    assert (ledger.loc[ledger["column"] == "year", "sd"] == 0.0).all()


def test_a_long_table_is_fitted_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_rows, "MOST_CELLS", 6000)
    _, report, filled = ran(answers(), tmp_path)
    assert report.factors is not None
    assert report.factors.rows == 300
    assert report.decisions == (
        "The factor model is fitted to a sample of 300 of the table's 400 rows, as many as 6,000 "
        "cells hold.",
    )
    assert filled[ITEMS].notna().all(axis=None)


def test_the_run_before_is_compared_whatever_its_family(tmp_path: Path) -> None:
    ran(answers(), tmp_path, model={}, target={"path": str(tmp_path / "out.parquet")})
    _, report, _ = ran(answers().assign(N1=answers()["N1"] + 40), tmp_path)
    assert report.drift is not None
    assert [change.column for change in report.drift.columns if change.moved] == ["N1"]


# --- What stops a run, or warns ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "components", "said"),
    [
        (slice(0, 400), 20, "Expected fewer factors than columns, got n_components = 20"),
        (slice(0, 9), 12, "Expected fewer factors than rows that show anything"),
    ],
)
def test_data_that_determine_no_model_end_in_a_sentence(
    rows: slice, components: int, said: str, tmp_path: Path
) -> None:
    model = {"family": "factor", "components": components}
    outcome, report, _ = ran(answers().iloc[rows], tmp_path, model=model)
    assert outcome.stopped == "cannot run"
    assert outcome.verdict.sentence.startswith("The factor model cannot be fitted: ")
    assert said in outcome.verdict.sentence
    assert report.factors is None


def test_a_column_that_others_determine_is_a_warning(tmp_path: Path) -> None:
    frame = answers()
    frame["N1_again"] = frame["N1"] * 2 + 1
    columns = {"impute": [*ITEMS, "N1_again"], "predictors": [], "key": ["respondent"]}
    outcome, report, _ = ran(frame, tmp_path, columns=columns)
    assert outcome.verdict.outcome == "published with warnings"
    assert any("would shrink to nothing (a Heywood case)" in one for one in report.warnings)
    assert report.factors is not None
    assert {one.column for one in report.factors.loads if one.held} >= {"N1_again"}


def test_a_time_limit_ends_the_fit_with_what_there_is(tmp_path: Path) -> None:
    model, target = (
        {"family": "factor", "time_limit": 1e-9},
        {"path": str(tmp_path / "out.parquet")},
    )
    _, report, filled = ran(answers(), tmp_path, model=model, target=target)
    assert report.fit is not None
    assert report.fit.status == "time_limit"
    assert report.fit.message.startswith(
        "Stopped by the time limit after 0 iterations, before a maximum was reached, with 1 "
        "factor (the time limit kept it from more): the log-likelihood is estimated to rise by"
    )
    assert filled[ITEMS].notna().all(axis=None)


def test_what_only_one_gaussian_gives_is_refused(
    factored: tuple[Outcome, Report, pd.DataFrame],
) -> None:
    folder = factored[0].report.parent
    with pytest.raises(CannotRun, match="a factor model, and a query has a mean and a covariance"):
        read_export(folder)
    with pytest.raises(CannotRun, match="a factor model, whose parameters have no standard errors"):
        estimates_of(folder, 0.95, None)
    with pytest.raises(ValueError, match="a model of another family"):
        GaussianModel.load(folder / "model.json")
