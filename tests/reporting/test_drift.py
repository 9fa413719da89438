"""What has changed since an earlier run: the numbers, and that chance alone raises no alarm."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from em_impute.gaussian import GaussianModel
from em_impute.reporting.drift import (
    MAX_SENTENCES,
    NIGHTS,
    Drift,
    Estimated,
    describe_drift,
)

RNG = np.random.default_rng(7)


def estimated(frame: pd.DataFrame, run: str = "run", heavy: bool = False) -> Estimated:
    """Moments of the observed cells as they are, which need no EM."""
    sd = frame.std(ddof=0).to_numpy()
    covariance = frame.corr().fillna(0.0).to_numpy() * np.outer(sd, sd)
    np.fill_diagonal(covariance, sd**2)
    model = GaussianModel(frame.mean().to_numpy(), covariance, tuple(frame.columns))
    kurtosis = frame.kurt().to_numpy() + 3.0 if heavy else None
    return Estimated(run, "2026-11-22", len(frame), model, frame.count().to_numpy(), kurtosis)


def night(rows: int, columns: int = 4, seed: int | None = None) -> pd.DataFrame:
    """Columns a, b, ... that correlate by a half."""
    rng = RNG if seed is None else np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)) + rng.normal(size=(rows, 1))
    return pd.DataFrame(10 * X + 100, columns=[chr(ord("a") + j) for j in range(columns)])


def compared(
    before: pd.DataFrame, now: pd.DataFrame, threshold: float | None = 0.25, heavy: bool = False
) -> Drift:
    return describe_drift(
        estimated(before, "earlier", heavy), estimated(now, heavy=heavy), threshold
    )


def test_changes_are_those_of_pandas() -> None:
    before, now = night(300), night(500) * 1.1
    before.loc[:29, "a"] = np.nan
    now.loc[:99, "a"] = np.nan
    found = compared(before, now)
    assert (found.run, found.rows) == ("earlier", 300)
    for change in found.columns:
        old, new = before[change.column], now[change.column]
        assert change.mean == pytest.approx((new.mean() - old.mean()) / old.std(ddof=0))
        assert change.sd_ratio == pytest.approx(new.std(ddof=0) / old.std(ddof=0))
        assert change.missing_before == pytest.approx(old.isna().mean())
        assert change.missing == pytest.approx(new.isna().mean())
    difference = (now.corr() - before.corr()).abs()
    assert found.correlation is not None
    pair = found.correlation.first, found.correlation.second
    assert difference.loc[pair] == pytest.approx(difference.max(axis=None))
    assert found.correlation.before == pytest.approx(before.corr().loc[pair])
    assert found.correlation.now == pytest.approx(now.corr().loc[pair])


def test_the_same_table_has_not_changed() -> None:
    frame = night(100)
    found = compared(frame, frame)
    assert not found.drifted
    assert found.warning == ""
    assert {change.mean for change in found.columns} == {0.0}
    assert {change.sd_ratio for change in found.columns} == {1.0}


@pytest.mark.parametrize("rows", [20, 60, 1000])
def test_chance_alone_raises_no_alarm(rows: int) -> None:
    """Two hundred nights of one population: one in a thousand is expected to be alarmed."""
    alarms = sum(
        compared(night(rows, seed=2 * i), night(rows, seed=2 * i + 1)).drifted for i in range(200)
    )
    assert NIGHTS == 1000
    assert alarms <= 2


def test_chance_alone_raises_no_alarm_where_tails_are_heavy() -> None:
    """Lognormal columns: their sd differs from night to night by a quarter and more."""
    nights = [np.exp((night(1000, seed=seed) - 100) / 14) for seed in range(200)]
    pairs = list(zip(nights[::2], nights[1::2], strict=True))
    assert sum(compared(a, b).drifted for a, b in pairs) > 30
    assert sum(compared(a, b, heavy=True).drifted for a, b in pairs) <= 1


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(a=frame["a"] + 10)


def spread(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(b=100 + 2 * (frame["b"] - 100))


def lost(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(c=frame["c"].where(frame.index % 5 > 0))


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(d=frame["d"].sample(frac=1.0, random_state=0).to_numpy())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shifted, "The mean of 'a' rose by 0.74 sd."),
        (spread, "The sd of 'b' is 2 times what it was."),
        (lost, "20.0% of 'c' is missing; it was 0.0%."),
        (shuffled, "The correlation of 'a' and 'd' went from 0.5"),
    ],
)
def test_what_has_moved_is_said(change: object, sentence: str) -> None:
    before = night(2000, seed=1)
    assert callable(change)
    found = compared(before, change(night(2000, seed=2)))
    assert found.drifted
    assert any(said.startswith(sentence[:-1]) for said in found.sentences), found.sentences
    assert found.warning.startswith("Drift since the last published run, earlier: ")


@pytest.mark.parametrize("rows", [8, 2000])
def test_a_small_table_does_not_tell_drift_from_chance(rows: int) -> None:
    found = compared(night(rows, seed=1), shifted(night(rows, seed=2)))
    assert found.drifted == (rows == 2000)


def test_a_change_below_the_threshold_is_no_drift_however_certain() -> None:
    before = night(100_000, seed=1)
    now = before.assign(a=before["a"] + 3)
    assert not compared(before, now).drifted
    assert compared(before, now, threshold=0.1).drifted
    assert not compared(before, shifted(now), threshold=None).drifted


def test_columns_that_came_or_went_are_named() -> None:
    before, now = night(100, 3), night(100, 4)[["b", "c", "d"]]
    found = compared(before, now)
    assert [change.column for change in found.columns] == ["b", "c"]
    assert (found.new_columns, found.gone_columns) == (("d",), ("a",))


def test_models_without_a_column_in_common_are_compared_in_nothing() -> None:
    found = compared(night(50, 1), night(50, 1).rename(columns={"a": "z"}))
    assert (found.columns, found.correlation, found.sentences) == ((), None, ())


def test_a_constant_column_has_no_change_in_its_own_units() -> None:
    before, now = night(50), night(50)
    before["a"], now["a"] = 1.0, 2.0
    [a] = [change for change in compared(before, now).columns if change.column == "a"]
    assert (a.mean, a.sd_ratio, a.moved) == (None, None, ())


def test_very_many_changes_are_counted_not_listed() -> None:
    before = night(5000, 20, seed=1)
    found = compared(before, night(5000, 20, seed=2) + 1000)
    assert len(found.sentences) == MAX_SENTENCES == 20
    rest = describe_drift(
        estimated(night(5000, 26, seed=1)), estimated(night(5000, 26, seed=2) + 1000), 0.25
    )
    assert rest.sentences[-1] == "There are 7 more such changes."


def test_the_warning_names_the_first_change_and_counts_the_others() -> None:
    before = night(2000, seed=1)
    found = compared(before, lost(shifted(before)))
    assert found.warning == (
        "Drift since the last published run, earlier: 20.0% of 'c' is missing; it was 0.0%, "
        "and 1 other change."
    )
    one = dataclasses.replace(found, sentences=found.sentences[:1])
    assert one.warning.endswith("it was 0.0%.")


def test_a_correlation_of_one_is_compared_too() -> None:
    x: NDArray[np.float64] = np.random.default_rng(0).normal(size=500)
    before = pd.DataFrame({"a": x, "b": x})
    now = pd.DataFrame({"a": x, "b": x[::-1]})
    found = compared(before, now)
    assert found.correlation is not None
    assert found.correlation.before == pytest.approx(1.0)
    assert found.correlation.moved
