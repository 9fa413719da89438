"""EMMixture: scikit-learn's mixture, with missing cells."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import ROOT
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

from em_impute import ConvergenceWarning, EMMixture
from em_impute.gaussian.families import KINDS

Floats = NDArray[np.float64]


@pytest.mark.filterwarnings("ignore::em_impute.gaussian.ConvergenceWarning")
@parametrize_with_checks([EMMixture(n_init=1), EMMixture(2, covariance_type="diag")])
def test_scikit_learn_contract(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for EMImputer.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.fixture(scope="module")
def faithful() -> pd.DataFrame:
    """Old Faithful: minutes of eruptions, and of waiting (Azzalini & Bowman 1990)."""
    return pd.read_csv(ROOT / "data" / "faithful.csv")


@pytest.fixture(scope="module")
def holed(faithful: pd.DataFrame) -> pd.DataFrame:
    hidden = np.random.default_rng(0).random(faithful.shape) < 0.2
    return faithful.mask(hidden)


# mclust 6.0.0, as 2 loglik - parameters log n: VVV with 1 to 5 components, and EEE with 3.
@pytest.mark.parametrize(
    ("k", "kind", "bic"),
    [
        (1, "full", -2607.623),
        (2, "full", -2322.192),
        (3, "full", -2349.696),
        (4, "full", -2351.493),
        (5, "full", -2379.388),
        (3, "tied", -2314.316),
    ],
)
def test_old_faithful_is_fitted_as_well_as_by_mclust(
    faithful: pd.DataFrame, k: int, kind: Any, bic: float
) -> None:
    mixture = EMMixture(k, covariance_type=kind, random_state=0).fit(faithful)
    assert mixture.converged_
    assert -mixture.bic(faithful) >= bic - 0.01


def test_bic_finds_the_two_kinds_of_eruption(faithful: pd.DataFrame) -> None:
    mixture = EMMixture("bic", random_state=0).fit(faithful)
    assert mixture.n_components_ == len(mixture.weights_) == 2
    assert min(mixture.bics_, key=mixture.bics_.__getitem__) == 2
    assert mixture.bics_[2] == pytest.approx(mixture.bic(faithful))
    assert list(mixture.bics_) == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_from_the_start_of_scikit_learn_it_ends_where_that_does(
    faithful: pd.DataFrame, kind: Any
) -> None:
    X = faithful.to_numpy()
    theirs = GaussianMixture(
        3, covariance_type=kind, reg_covar=0, tol=1e-13, max_iter=20_000, random_state=1
    )
    begun = clone(theirs).set_params(max_iter=1, tol=1e9).fit(X)
    start = {
        "weights_init": begun.weights_,
        "means_init": begun.means_,
        "precisions_init": begun.precisions_,
    }
    theirs.set_params(**start).fit(X)
    ours = EMMixture(3, covariance_type=kind, tol=1e-13, max_iter=20_000, **start).fit(X)
    assert ours.loglik_ == pytest.approx(theirs.score(X) * len(X), abs=1e-6)
    assert ours.bic(X) == pytest.approx(theirs.bic(X), abs=1e-5)
    assert ours.aic(X) == pytest.approx(theirs.aic(X), abs=1e-5)
    assert ours.covariances_.shape == theirs.covariances_.shape
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=0.01)


def test_deleting_a_fifth_of_the_cells_leaves_the_clusters(
    faithful: pd.DataFrame, holed: pd.DataFrame
) -> None:
    whole = EMMixture(2, random_state=0).fit_predict(faithful)
    shown = holed.notna().any(axis=1).to_numpy()
    labels = EMMixture(2, random_state=0).fit_predict(holed)
    assert adjusted_rand_score(whole[shown], labels[shown]) >= 0.9


def test_attributes_and_scores_agree(holed: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=0).fit(holed)
    scores = mixture.score_samples(holed)
    assert scores.sum() == pytest.approx(mixture.loglik_)
    assert mixture.score(holed) == pytest.approx(mixture.lower_bound_)
    assert mixture.lower_bounds_[-1] == mixture.lower_bound_
    assert (np.diff(mixture.lower_bounds_) >= -1e-12).all()
    assert 1 <= len(mixture.lower_bounds_) <= mixture.n_iter_
    assert mixture.prior_rows_ == 0
    assert mixture.weights_[0] >= mixture.weights_[1]
    empty = holed.isna().all(axis=1).to_numpy()
    np.testing.assert_allclose(scores[empty], 0.0, atol=1e-12)
    probabilities = mixture.predict_proba(holed)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_allclose(probabilities[empty], [mixture.weights_] * empty.sum())
    assert (mixture.predict(holed) == probabilities.argmax(axis=1)).all()
    n = np.count_nonzero(~empty)
    assert mixture.bic(holed) == pytest.approx(-2 * mixture.loglik_ + 11 * np.log(n))
    assert mixture.aic(holed) == pytest.approx(-2 * mixture.loglik_ + 22)


def test_a_seed_fixes_everything(holed: pd.DataFrame) -> None:
    one, other = (EMMixture(3, n_init=2, random_state=7).fit(holed) for _ in range(2))
    assert one.means_.tobytes() == other.means_.tobytes()
    assert one.impute(holed, "draw").equals(other.impute(holed, "draw"))
    assert pickle.loads(pickle.dumps(one)).impute(holed).equals(one.impute(holed))
    (X, y), (again, _) = one.sample(50), one.sample(50)
    assert X.tobytes() == again.tobytes()
    assert (np.diff(y) >= 0).all()
    assert X.shape == (50, 2)


def test_samples_are_like_the_rows(faithful: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=0).fit(faithful)
    X, y = mixture.sample(50_000)
    np.testing.assert_allclose(X.mean(axis=0), faithful.mean(), rtol=0.01)
    np.testing.assert_allclose(X.std(axis=0), faithful.std(), rtol=0.02)
    np.testing.assert_allclose(np.bincount(y) / 50_000, mixture.weights_, atol=0.01)


@pytest.mark.parametrize("method", ["mean", "component", "draw"])
def test_filling_leaves_observed_cells_to_the_bit(holed: pd.DataFrame, method: Any) -> None:
    holed = holed.set_index(pd.RangeIndex(100, 100 + len(holed), name="eruption"))
    filled = EMMixture(2, random_state=0).fit(holed).impute(holed, method)
    assert filled.index.equals(holed.index)
    assert list(filled.columns) == list(holed.columns)
    assert not filled.isna().any(axis=None)
    shown = holed.notna().to_numpy()
    assert filled.to_numpy()[shown].tobytes() == holed.to_numpy()[shown].tobytes()


def test_draws_depend_on_keys_and_not_on_company(holed: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=3).fit(holed)
    keys = [f"eruption {i}" for i in range(len(holed))]
    whole = mixture.impute(holed, "draw", keys=keys)
    some = np.random.default_rng(0).permutation(len(holed))[:40]
    part = mixture.impute(holed.iloc[some], "draw", keys=[keys[i] for i in some])
    assert part.equals(whole.iloc[some])
    assert not mixture.impute(holed, "draw").equals(whole)


def test_a_most_probable_component_fills_with_its_own_mean(faithful: pd.DataFrame) -> None:
    mixture = EMMixture(2, covariance_type="diag", random_state=0).fit(faithful)
    row = pd.DataFrame({"eruptions": [2.0, np.nan], "waiting": [np.nan, 80.0]})
    means = mixture.means_[mixture.predict(row)]
    filled = mixture.impute(row, "component").to_numpy()
    np.testing.assert_allclose([filled[0, 1], filled[1, 0]], [means[0, 1], means[1, 0]])


def test_tables_come_back_as_they_came(holed: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=0).fit(holed)
    filled = mixture.impute(holed).to_numpy()
    assert isinstance(clone(mixture).fit(holed.to_numpy()).impute(holed.to_numpy()), np.ndarray)
    polars = mixture.impute(pl.from_pandas(holed))
    assert isinstance(polars, pl.DataFrame)
    np.testing.assert_array_equal(polars.to_numpy(), filled)
    arrow = mixture.impute(pa.Table.from_pandas(holed))
    assert isinstance(arrow, pa.Table)
    assert arrow.column_names == list(holed.columns)
    nullable = mixture.impute(holed.convert_dtypes())
    np.testing.assert_allclose(nullable.to_numpy(dtype=float), filled)
    narrow = mixture.impute(holed.astype("float32"))
    assert (narrow.dtypes == "float32").all()


def test_whole_columns_of_integers_stay_integers(faithful: pd.DataFrame) -> None:
    table = faithful.assign(waiting=faithful["waiting"].astype("int64"))
    table.loc[3, "eruptions"] = np.nan
    filled = EMMixture(2, random_state=0).fit(table).impute(table)
    assert filled.dtypes.tolist() == table.dtypes.tolist()


def test_layouts_in_memory_give_the_same_fit(holed: pd.DataFrame) -> None:
    X = holed.to_numpy()
    fits = [
        EMMixture(2, random_state=0).fit(one).means_.tobytes()
        for one in (np.ascontiguousarray(X), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2])
    ]
    assert len(set(fits)) == 1


def test_more_components_than_different_rows() -> None:
    X = np.array([[1.0, np.nan], [1.0, np.nan], [2.0, 3.0], [-0.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="got 4 components for 3 different rows"):
        EMMixture(4).fit(X)


def test_bic_of_one_row() -> None:
    with pytest.raises(ValueError, match=r'n_components="bic" .* compares fits'):
        EMMixture("bic").fit(np.array([[1.0, 2.0]]))


def few_rows(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(12, 5)), columns=list("abcde"))


def test_a_component_with_fewer_rows_than_columns_is_held_and_named() -> None:
    with pytest.warns(ConvergenceWarning, match="holds all of them") as warned:
        mixture = EMMixture(3, random_state=0).fit(few_rows())
    [warning] = warned
    assert "component 2, with" in str(warning.message)
    assert "of 12 rows, in a combination of 'a'" in str(warning.message)
    assert warning.filename == __file__
    assert mixture.prior_rows_ == 1
    assert np.isfinite(mixture.impute(few_rows().mask(np.eye(12, 5, dtype=bool)))).all(axis=None)


def test_without_a_prior_such_a_component_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"lost its rows or its spread.*rows, in a combination"):
        EMMixture(3, prior_rows=0, random_state=0).fit(few_rows())


def test_a_constant_column_is_named() -> None:
    table = few_rows().assign(c=1.0)
    with pytest.warns(ConvergenceWarning, match="of 12 rows, in 'c'"):
        EMMixture(1).fit(table[["a", "c"]])


def test_a_start_that_collapses_is_given_up() -> None:
    """A point that lies apart, in a component of its own, would have an infinite likelihood."""
    rng = np.random.default_rng(1)
    X = np.vstack([rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) / 2 + [4, 0], [[2, 3.5]]])
    mixture = EMMixture(3, n_init=6, random_state=0).fit(X)
    assert mixture.prior_rows_ == 0
    assert mixture.weights_.min() > 3 / 101
    alone = {"weights_init": [0.59, 0.4, 0.01], "means_init": [[0, 0], [4, 0], [2, 3.5]]}
    narrow = {"precisions_init": [np.eye(2), np.eye(2), 100 * np.eye(2)]}
    with pytest.raises(ValueError, match=r"component 2, with 1\.0 of 101 rows"):
        EMMixture(3, prior_rows=0, **alone, **narrow).fit(X)  # type: ignore[arg-type]


def test_a_column_without_cells_is_named(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="No cell is observed in 'rain'"):
        EMMixture(2).fit(holed.assign(rain=np.nan))


def test_infinite_cells_are_named_by_place(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"row 4, column 1 .*'waiting'"):
        EMMixture(2).fit(holed.mask(np.arange(272)[:, None] * [0, 1] == 4, np.inf))


def test_squares_beyond_floating_point(holed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="numbers in 'waiting' are so large"):
        EMMixture(2).fit(holed * [1.0, 1e300])


def test_other_columns_are_refused(holed: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=0).fit(holed)
    with pytest.raises(ValueError, match="feature names should match"):
        mixture.predict(holed.rename(columns={"waiting": "pause"}))
    with pytest.raises(ValueError, match="feature names should match"):
        mixture.impute(holed[["waiting", "eruptions"]])
    with pytest.raises(ValueError, match="3 features"):
        mixture.fit(holed.to_numpy()).predict(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be a whole number from 1"),
        ({"n_components": "BIC"}, "n_components must be a whole number from 1"),
        ({"covariance_type": "round"}, "covariance_type must be one of full, tied, diag"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"n_init": 1.5}, "n_init must be a whole number"),
        ({"tol": -1.0}, "tol must be a number that is not negative"),
        ({"prior_rows": "some"}, "prior_rows must be a number"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"weights_init": [0.5, 0.6]}, "must sum to 1"),
        ({"means_init": [[1.0, 2.0]]}, r"means_init must be finite and of shape \(2, 2\)"),
        ({"precisions_init": [1.0, 2.0]}, r"precisions_init must be finite and of shape"),
        ({"precisions_init": [np.diag([1.0, -1.0])] * 2}, "must be positive definite"),
    ],
)
def test_options_out_of_range(
    faithful: pd.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EMMixture(**{"n_components": 2, **options}).fit(faithful)


def test_questions_out_of_range(faithful: pd.DataFrame) -> None:
    mixture = EMMixture(2, random_state=0).fit(faithful)
    with pytest.raises(ValueError, match="method must be one of mean, component, draw"):
        mixture.impute(faithful, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_samples must be a whole number"):
        mixture.sample(0)


def test_an_early_end_is_one_warning(holed: pd.DataFrame) -> None:
    with pytest.warns(ConvergenceWarning, match="Stopped by max_iter after 2 iterations") as warned:
        mixture = EMMixture(4, max_iter=2, random_state=0).fit(holed)
    assert len(warned) == 1
    assert not mixture.converged_


def test_a_fit_takes_little_memory_beyond_the_table() -> None:
    """Nothing is of the size rows x components x columns."""
    n, p, k = 100_000, 10, 3
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) + 4.0 * rng.integers(k, size=n)[:, None]
    X[rng.random(X.shape) < 0.1] = np.nan
    mixture = EMMixture(k, n_init=1, max_iter=3, tol=1.0, random_state=0)
    tracemalloc.start()
    try:
        mixture.fit(X)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most / 8 < 4 * n * k
