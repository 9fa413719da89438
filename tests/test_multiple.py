"""Multiple imputation: tables of each road, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import ROOT
from holed_tables import factor_table

from em_impute import EMImputer, multiply_impute, pool
from em_impute.gaussian import ConvergenceWarning, GaussianModel, Mixing, fit_gaussian, posterior
from em_impute.multiple import POSTERIORS, MultipleImputation

AIR = pd.read_csv(ROOT / "data" / "airquality.csv")[["Ozone", "Solar.R", "Wind", "Temp"]]
FIT = fit_gaussian(AIR)


def mean_of_ozone(table: Any) -> tuple[float, float]:
    x = np.asarray(table)[:, 0].astype(float)
    return x.mean(), x.var(ddof=1) / len(x)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_tables_keep_what_was_observed_and_differ_elsewhere(posterior: Any) -> None:
    tables = list(multiply_impute(AIR, 4, result=FIT, posterior=posterior, seed=3))
    assert len(tables) == 4
    for table in tables:
        assert not table.isna().any().any()
        assert table.index.equals(AIR.index)
        np.testing.assert_array_equal(table.to_numpy()[AIR.notna()], AIR.to_numpy()[AIR.notna()])
    assert len({table.Ozone[4] for table in tables}) == 4


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_pooled_errors_are_those_of_the_observed_information(posterior: Any) -> None:
    """Within what chance leaves of 200 imputations."""
    known = FIT.estimates().set_index("parameter").loc["mean of Ozone"]
    pooled = pool(mean_of_ozone, multiply_impute(AIR, 200, result=FIT, posterior=posterior))
    assert pooled.rules == ("ml" if posterior == "ml" else "rubin")
    assert pooled.std_error[0] == pytest.approx(known.std_error, rel=0.06)
    assert pooled.estimate[0] == pytest.approx(known.estimate, abs=0.2 * known.std_error)


def test_draws_at_one_estimate_are_not_pooled_by_rubin() -> None:
    tables = multiply_impute(AIR, 3, result=FIT, posterior="ml")
    with pytest.raises(ValueError, match="drawn at one estimate"):
        pool(mean_of_ozone, tables, rules="rubin")


def test_the_same_seed_gives_the_same_tables() -> None:
    one, same, other = (multiply_impute(AIR, 2, result=FIT, seed=seed) for seed in (1, 1, 2))
    for a, b, c in zip(one, same, other, strict=True):
        pd.testing.assert_frame_equal(a, b)
        assert not a.equals(c)
    # And again, from the same object.
    pd.testing.assert_frame_equal(next(iter(one)), next(iter(one)))


def test_what_was_saved_fills_new_rows_by_the_same_posterior(tmp_path: Path) -> None:
    made = multiply_impute(AIR, 3, result=FIT, seed=5)
    made.save(tmp_path / "posterior.json")
    loaded = MultipleImputation.load(tmp_path / "posterior.json")
    assert (len(loaded), loaded.posterior, loaded.seed) == (3, "augmentation", 5)
    with pytest.raises(ValueError, match="no table to fill"):
        iter(loaded)
    rows = AIR.head(30).assign(station="NY")
    for before, after in zip(made, loaded.of(rows), strict=True):
        assert list(after.columns) == [*AIR.columns, "station"]
        pd.testing.assert_frame_equal(after[list(AIR.columns)], before.head(30))


def test_a_delta_shifts_every_table_and_is_saved(tmp_path: Path) -> None:
    plain, shifted = (
        multiply_impute(AIR, 3, result=FIT, seed=5, delta=delta) for delta in (None, {"Ozone": -1})
    )
    shifted.save(tmp_path / "posterior.json")
    again = MultipleImputation.load(tmp_path / "posterior.json").of(AIR)
    for model, before, after, loaded in zip(plain.models, plain, shifted, again, strict=True):
        sd = model.sd[model.columns.index("Ozone")]
        moved = np.where(AIR["Ozone"].isna(), -sd, 0.0)
        np.testing.assert_allclose(after["Ozone"] - before["Ozone"], moved, rtol=1e-9)
        pd.testing.assert_frame_equal(loaded, after)
    tables = EMImputer(delta={"Ozone": -1}, random_state=5).fit(AIR).multiply(AIR, 3)
    assert tables.delta == {"Ozone": -1}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format": "em_impute.MultipleImputation", "version": 9}),
        json.dumps(
            {
                "format": "em_impute.MultipleImputation",
                "version": 1,
                "posterior": "none",
                "seed": 1,
                "columns": ["a"],
                "models": [],
            }
        ),
    ],
)
def test_a_file_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="no multiple imputation that can be read"):
        MultipleImputation.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive semidefinite"),
        ({"covariance": [[1.0, 0.5], [0.4, 1.0]]}, "symmetric"),
        ({"covariance": [[1.0, 0.5]]}, "must have shape"),
        ({"mean": [0.0, "1"]}, "numbers"),
        ({"mean": [0.0, None]}, "numbers"),
        ({"columns": ["a", 1]}, "names to be text"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_found_when_it_is_loaded(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "x.json"
    models = tuple(GaussianModel(np.array([0.0, k]), np.eye(2), ("a", "b")) for k in range(3))
    MultipleImputation(models, "augmentation", 1).save(path)
    content = json.loads(path.read_text())
    (content if "columns" in change else content["models"][1]).update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"no multiple imputation that can be read: .*{message}"):
        MultipleImputation.load(path)


def test_keys_identify_the_rows() -> None:
    keys = np.arange(len(AIR))
    order = np.random.default_rng(1).permutation(len(AIR))
    made = multiply_impute(AIR, 2, result=FIT, keys=keys)
    shuffled = made.of(AIR.iloc[order], keys=keys[order])
    for one, other in zip(made, shuffled, strict=True):
        pd.testing.assert_frame_equal(one.iloc[order], other)


def test_arrays_and_the_transformer() -> None:
    X = factor_table(80, 3, 0.2, seed=1)
    for table in multiply_impute(X, 2):
        assert isinstance(table, np.ndarray)
        assert not np.isnan(table).any()
    imputer = EMImputer(random_state=4).fit(AIR)
    tables = imputer.multiply(AIR, 3)
    assert tables.seed == imputer.seed_ == 4
    assert all(isinstance(table, pd.DataFrame) for table in tables)
    with pytest.warns(UserWarning, match="without any observed cell"):
        empty = EMImputer().fit(np.column_stack([X, np.full(80, np.nan)]))
    assert next(iter(empty.multiply(np.column_stack([X, np.full(80, np.nan)]), 2))).shape == (80, 3)
    copy = pickle.loads(pickle.dumps(imputer))
    assert len(copy.multiply(AIR, 2, posterior="ml")) == 2
    with pytest.raises(ValueError, match="came without the data"):
        copy.multiply(AIR, 2)


def test_frames_of_polars_come_back_as_such() -> None:
    table = pl.from_pandas(AIR).with_columns(station=pl.lit("NY"))
    made = multiply_impute(AIR, 2, result=FIT)
    for one, other in zip(made, made.of(table), strict=True):
        assert isinstance(other, pl.DataFrame)
        assert other.columns == [*AIR.columns, "station"]
        np.testing.assert_array_equal(one.to_numpy(), other.drop("station").to_numpy())


def test_chains_go_on_until_they_have_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = multiply_impute(AIR, 5, result=FIT).mixing
    assert mixing is not None
    assert mixing.mixed
    assert mixing.rhat < 1.01
    assert mixing.draws >= 400
    assert "chains of" in mixing.sentence
    assert all(course.shape == (4, mixing.sweeps) for course in mixing.traces.values())
    monkeypatch.setattr(posterior, "FIRST_SWEEPS", 4)
    longer = multiply_impute(AIR, 5, result=FIT).mixing
    assert longer is not None
    assert longer.sweeps > 4
    assert longer.mixed


def test_chains_that_do_not_mix_are_told() -> None:
    """Two columns that are seen together in three rows."""
    X = pd.DataFrame(factor_table(400, 3, 0.0, seed=2), columns=list("abc"))
    X.loc[:198, "a"] = np.nan
    X.loc[202:, "b"] = np.nan
    with pytest.warns(ConvergenceWarning, match=r"have not mixed.*slowest is the .*\bof\b"):
        found = multiply_impute(X, 4, max_sweeps=60)
    assert found.mixing is not None
    assert not found.mixing.mixed
    assert len(list(found)) == 4


def test_many_columns_are_watched_by_their_means_and_variances() -> None:
    X = factor_table(300, 31, 0.02, seed=3)
    mixing = multiply_impute(X, 2, max_sweeps=300).mixing
    assert isinstance(mixing, Mixing)
    worst = fit_gaussian(X).worst_combination[0][0]
    assert not any("covariance" in name for name in mixing.traces if not name.startswith(worst))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"m": 1}, "m must be a whole number, at least 2, got 1"),
        ({"m": 2.5}, "m must be a whole number"),
        ({"m": True}, "m must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"max_sweeps": 0}, "max_sweeps must be a whole number"),
        ({"posterior": "mcmc"}, "posterior must be one of"),
        ({"delta": {"ozone": 1.0}}, "delta names 'ozone', which the model does not have"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multiply_impute(AIR, **options)


def test_a_fit_without_a_maximum_and_a_table_without_its_columns_are_refused() -> None:
    with pytest.warns(ConvergenceWarning):
        stopped = fit_gaussian(AIR, max_iter=1)
    with pytest.raises(ValueError, match="drawn about a maximum"):
        multiply_impute(AIR, 2, result=stopped)
    with pytest.raises(ValueError, match="has no column 'Ozone'"):
        next(iter(multiply_impute(AIR, 2, result=FIT).of(AIR[["Wind", "Temp"]])))


def test_a_pooled_regression_agrees_with_mice_and_amelia() -> None:
    """100 imputations each; what is left is chance, of which a fifth of an error is plenty."""

    def regression(table: pd.DataFrame) -> tuple[Any, Any]:
        X = np.column_stack([np.ones(len(table)), table["Wind"], table["Temp"]])
        slopes, squares, *_ = np.linalg.lstsq(X, table["Ozone"].to_numpy(), rcond=None)
        return slopes, squares[0] / (len(table) - 3) * np.linalg.inv(X.T @ X)

    pooled = pool(regression, multiply_impute(AIR, 100, result=FIT, seed=1), complete_df=150)
    known = json.loads((ROOT / "tests" / "reference" / "regression.json").read_text())
    for theirs in known.values():
        error = np.array(theirs["std_error"])
        assert (np.abs(pooled.estimate - theirs["estimate"]) < 0.2 * error).all()
        np.testing.assert_allclose(pooled.std_error, error, rtol=0.1)
