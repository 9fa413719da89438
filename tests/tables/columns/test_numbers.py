"""Numbers and instants: cells into the model, and the model's answers as cells."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, logit, ndtr

from em_impute.job import Logit
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.transforms import transform_of


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)[:, None]


MEAN, SD = 0.7, 0.4


CLOSED_FORMS = {
    "log": np.exp(MEAN + SD**2 / 2),
    "log1p": np.expm1(MEAN + SD**2 / 2),
    "cbrt": MEAN**3 + 3 * MEAN * SD**2,
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_back_transform(name: str) -> None:
    transform = transform_of(name)
    median = Numeric("x", transform).expected(column(MEAN), column(SD))
    assert median[0] == transform.inverse(np.array(MEAN))
    mean = Numeric("x", transform, back_transform="mean").expected(column(MEAN), column(SD))
    assert mean[0] == pytest.approx(CLOSED_FORMS[name], rel=1e-12)


def test_mean_back_transform_between_bounds() -> None:
    """Of a lognormal cut off at 3, for which there is a closed form too."""
    number = Numeric("x", transform_of("log"), high=3.0, back_transform="mean")
    end = (np.log(3) - MEAN) / SD
    expected = CLOSED_FORMS["log"] * ndtr(end - SD) / ndtr(end)
    assert number.expected(column(MEAN), column(SD))[0] == pytest.approx(expected, rel=1e-12)


def test_sd_is_that_of_the_columns_own_scale() -> None:
    lognormal = Numeric("x", transform_of("log")).spread(column(MEAN), column(SD))
    assert lognormal[0] == pytest.approx(CLOSED_FORMS["log"] * np.sqrt(np.expm1(SD**2)), rel=1e-12)
    draws = 100 * expit(np.random.default_rng(1).normal(MEAN, SD, 400_000))
    percent = Numeric("x", transform_of(Logit(logit=(0, 100)))).spread(column(MEAN), column(SD))
    assert percent[0] == pytest.approx(draws.std(), rel=0.01)


def test_bounds_are_on_the_columns_own_scale() -> None:
    number = Numeric("x", transform_of(Logit(logit=(0, 100))), low=20, high=40)
    extremes = number.expected(column(-50, 50), column(1, 1))
    assert extremes == pytest.approx([20, 40], rel=0.02)
    assert ((extremes >= 20) & (extremes <= 40)).all()
    drawn = number.draw(np.array([0.5]), column(logit(0.3)), column(1e-9))
    assert number.publish(drawn)[0] == pytest.approx(30)


@pytest.mark.parametrize("type_", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64()], ids=str)
def test_integers_are_rounded_and_stay_what_they_are(type_: pa.DataType) -> None:
    cells = pa.array([1, None, 3, None, None], type_)
    number = Numeric("x", low=2.2, whole=True, keeps_type=True)
    filled = number.fill(cells, np.array([1, 3, 4]), np.array([1e30, -4.0, 6.5]))
    assert filled.type == type_
    assert filled.to_pylist()[0:5:2] == [1, 3, 6]
    assert filled[3].as_py() == 3
    assert filled[1].as_py() == pytest.approx(2 ** (type_.bit_width - (str(type_)[0] == "i")) - 1)


def test_large_integers_keep_their_digits() -> None:
    cells = pa.array([2**53 + 1, None, -(2**63)])
    filled = Numeric("x", whole=True, keeps_type=True).fill(cells, np.array([1]), np.array([7.4]))
    assert filled.to_pylist() == [2**53 + 1, 7, -(2**63)]


def test_a_narrow_type_does_not_round_across_a_bound() -> None:
    number = Numeric("x", low=-0.7, high=0.1)  # both are rounded outwards in 32 bits
    cells = pa.nulls(2, pa.float32())
    filled = number.fill(cells, np.array([0, 1]), np.array([0.1, -0.7])).to_numpy()
    assert filled[0].astype(float) <= 0.1
    assert filled[1].astype(float) >= -0.7


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_seconds(unit: str) -> None:
    cells = pa.array([datetime(1970, 1, 2, tzinfo=UTC), None], pa.timestamp(unit, "UTC"))
    np.testing.assert_array_equal(Instant("t").encode(cells), column(86400.0, np.nan))
    days = pa.array([date(1970, 1, 3), None])
    np.testing.assert_array_equal(Instant("t").encode(days), column(2 * 86400.0, np.nan))


@pytest.mark.parametrize("option", [None, "log", "log1p", "sqrt", "cbrt", Logit(logit=(0, 100))])
@pytest.mark.parametrize(("mean", "sd"), [(0.8, 1.0), (3.0, 0.2), (1.5, 0.0)])
def test_moments_of_the_column_are_those_of_a_simulation(
    option: str | Logit | None, mean: float, sd: float
) -> None:
    """A normal of the model's scale, transformed back; of sqrt, the part of it that is above 0."""
    transform = transform_of(option)
    drawn = mean + sd * np.random.default_rng(0).normal(size=2_000_000)
    low, high = transform.ends(-np.inf, np.inf)
    own = transform.inverse(drawn[(drawn >= low) & (drawn <= high)])
    means, sds = Numeric("x", transform).own_moments(np.array([mean, 0.0]), np.array([sd, 0.5]))
    assert means[0] == pytest.approx(own.mean(), rel=5e-3)
    assert sds[0] == pytest.approx(own.std(), rel=1e-2, abs=1e-9)
    assert np.isfinite([means, sds]).all()


@pytest.mark.parametrize("sd", [0.1, 1.0, 3.0])
def test_moments_of_a_log_normal_column_are_exact(sd: float) -> None:
    ((mean,), (spread,)) = Numeric("x", transform_of("log")).own_moments(
        np.array([0.3]), np.array([sd])
    )
    assert mean == pytest.approx(np.exp(0.3 + sd**2 / 2), rel=1e-12)
    assert spread == pytest.approx(mean * np.sqrt(np.expm1(sd**2)), rel=1e-9)
