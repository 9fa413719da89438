"""Encodings: cells into the model, and the model's answers as cells, for each kind of column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, logit, ndtr, ndtri

from em_impute.job import Job, JobError, Logit
from em_impute.tables.columns import misfits
from em_impute.tables.columns.encoding import Instant, Nominal, Number, Ordinal
from em_impute.tables.columns.misfits import Misfits, find_misfits
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.columns.transforms import transform_of
from em_impute.tables.snapshot import Snapshot, is_missing

Take = Callable[..., Snapshot]
MakeJob = Callable[..., Job]
INF = float("inf")


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)[:, None]


# --- Numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [
        ("log", [1e-300, 1.0, 1e300], [0.0, -1.0]),
        ("log1p", [-0.999, 0.0, 1e300], [-1.0]),
        ("sqrt", [0.0, 4.0], [-1e-9]),
        ("cbrt", [-8.0, 0.0, 27.0], []),
        (Logit(logit=(0, 100)), [1e-9, 50.0, 99.0], [0.0, 100.0, 101.0]),
    ],
    ids=str,
)
def test_transforms_and_their_domains(
    option: str | Logit, inside: list[float], outside: list[float]
) -> None:
    transform = transform_of(option)
    x = np.array(inside)
    np.testing.assert_allclose(transform.inverse(transform.forward(x)), x, rtol=1e-11, atol=1e-14)
    assert transform.accepts(np.array([*inside, np.nan])).all()
    assert not transform.accepts(np.array(outside)).any()


MEAN, SD = 0.7, 0.4
CLOSED_FORMS = {
    "log": np.exp(MEAN + SD**2 / 2),
    "log1p": np.expm1(MEAN + SD**2 / 2),
    "cbrt": MEAN**3 + 3 * MEAN * SD**2,
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_back_transform(name: str) -> None:
    transform = transform_of(name)
    median = Number("x", transform).expected(column(MEAN), column(SD))
    assert median[0] == transform.inverse(np.array(MEAN))
    mean = Number("x", transform, back_transform="mean").expected(column(MEAN), column(SD))
    assert mean[0] == pytest.approx(CLOSED_FORMS[name], rel=1e-12)


def test_mean_back_transform_between_bounds() -> None:
    """Of a lognormal cut off at 3, for which there is a closed form too."""
    number = Number("x", transform_of("log"), high=3.0, back_transform="mean")
    end = (np.log(3) - MEAN) / SD
    expected = CLOSED_FORMS["log"] * ndtr(end - SD) / ndtr(end)
    assert number.expected(column(MEAN), column(SD))[0] == pytest.approx(expected, rel=1e-12)


def test_sd_is_that_of_the_columns_own_scale() -> None:
    lognormal = Number("x", transform_of("log")).spread(column(MEAN), column(SD))
    assert lognormal[0] == pytest.approx(CLOSED_FORMS["log"] * np.sqrt(np.expm1(SD**2)), rel=1e-12)
    draws = 100 * expit(np.random.default_rng(1).normal(MEAN, SD, 400_000))
    percent = Number("x", transform_of(Logit(logit=(0, 100)))).spread(column(MEAN), column(SD))
    assert percent[0] == pytest.approx(draws.std(), rel=0.01)


def test_bounds_are_on_the_columns_own_scale() -> None:
    number = Number("x", transform_of(Logit(logit=(0, 100))), low=20, high=40)
    extremes = number.expected(column(-50, 50), column(1, 1))
    assert extremes == pytest.approx([20, 40], rel=0.02)
    assert ((extremes >= 20) & (extremes <= 40)).all()
    drawn = number.draw(np.array([0.5]), column(logit(0.3)), column(1e-9))
    assert number.publish(drawn)[0] == pytest.approx(30)


@pytest.mark.parametrize("type_", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64()], ids=str)
def test_integers_are_rounded_and_stay_what_they_are(type_: pa.DataType) -> None:
    cells = pa.array([1, None, 3, None, None], type_)
    number = Number("x", low=2.2, whole=True, keeps_type=True)
    filled = number.fill(cells, np.array([1, 3, 4]), np.array([1e30, -4.0, 6.5]))
    assert filled.type == type_
    assert filled.to_pylist()[0:5:2] == [1, 3, 6]
    assert filled[3].as_py() == 3
    assert filled[1].as_py() == pytest.approx(2 ** (type_.bit_width - (str(type_)[0] == "i")) - 1)


def test_large_integers_keep_their_digits() -> None:
    cells = pa.array([2**53 + 1, None, -(2**63)])
    filled = Number("x", whole=True, keeps_type=True).fill(cells, np.array([1]), np.array([7.4]))
    assert filled.to_pylist() == [2**53 + 1, 7, -(2**63)]


def test_a_narrow_type_does_not_round_across_a_bound() -> None:
    number = Number("x", low=-0.7, high=0.1)  # both are rounded outwards in 32 bits
    cells = pa.nulls(2, pa.float32())
    filled = number.fill(cells, np.array([0, 1]), np.array([0.1, -0.7])).to_numpy()
    assert filled[0].astype(float) <= 0.1
    assert filled[1].astype(float) >= -0.7


# --- Categories and times ----------------------------------------------------------------------

LEVELS = ["b", None, "a", "c", None]
DICTIONARY = pa.array(LEVELS).dictionary_encode()
CATEGORIES = [
    pa.array(LEVELS),
    pa.array(LEVELS, pa.large_string()),
    pa.array(LEVELS, pa.string_view()),
    pa.DictionaryArray.from_arrays(DICTIONARY.indices.cast("int8"), ["b", "a", "c"], ordered=True),
    pa.array([2, None, 1, 30, None], pa.int8()),
]


@pytest.mark.parametrize("cells", CATEGORIES, ids=lambda cells: str(cells.type))
def test_levels_of_any_type_come_back(cells: pa.Array) -> None:
    names = tuple("abc") if cells.type != pa.int8() else ("1", "2", "30")
    nominal = Nominal("x", names)
    np.testing.assert_array_equal(nominal.encode(cells)[[0, 2, 3]], [[1, 0], [0, 0], [0, 1]])
    assert is_missing(cells).tolist() == [False, True, False, False, True]
    filled = nominal.fill(cells, np.array([1, 4]), np.array([2.0, 0.0]))
    assert filled.type == cells.type
    b, _, a, c, _ = cells.to_pylist()
    assert filled.to_pylist() == [b, c, a, c, a]


def test_booleans_are_two_levels() -> None:
    cells = pa.array([True, None, False])
    nominal = Nominal("x", ("false", "true"))
    assert nominal.dimensions == ("x=true",)
    filled = nominal.fill(cells, np.array([1]), nominal.expected(column(0.8), column(1)))
    assert filled.to_pylist() == [True, True, False]


def test_nominal_draws_have_the_expected_indicators_as_probabilities() -> None:
    nominal = Nominal("x", tuple("abcd"))
    mean = np.tile([0.3, -0.1, 0.5], (40_000, 1))  # 0.3 is left for a; none for c
    uniform = np.random.default_rng(1).random(len(mean))
    codes = nominal.publish(nominal.draw(uniform, mean, mean))
    shares = np.bincount(codes.astype(int), minlength=4) / len(codes)
    np.testing.assert_allclose(shares, np.array([0.3, 0.3, 0, 0.5]) / 1.1, atol=0.01)
    assert nominal.expected(mean[:1], mean[:1]).tolist() == [3]


def test_ordinal_levels_are_intervals_of_a_latent_normal() -> None:
    ordinal = Ordinal("grade", ("low", "mid", "none", "high"), counts=(50, 30, 0, 20))
    cells = pa.array(["low", "mid", None, "high"])
    expected = [ndtri(0.25), ndtri(0.65), np.nan, ndtri(0.9)]
    np.testing.assert_allclose(ordinal.encode(cells)[:, 0], expected)
    draws = np.random.default_rng(2).normal(size=(40_000, 1))
    shares = np.bincount(ordinal.publish(draws).astype(int), minlength=4) / len(draws)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0, 0.2], atol=0.01)
    means = column(-2, ndtri(0.65), 3)
    assert ordinal.expected(means, column(0.1, 0.1, 0)).tolist() == [0, 1, 3]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_seconds(unit: str) -> None:
    cells = pa.array([datetime(1970, 1, 2, tzinfo=UTC), None], pa.timestamp(unit, "UTC"))
    np.testing.assert_array_equal(Instant("t").encode(cells), column(86400.0, np.nan))
    days = pa.array([date(1970, 1, 3), None])
    np.testing.assert_array_equal(Instant("t").encode(days), column(2 * 86400.0, np.nan))


# --- What the job says of columns, against the table -------------------------------------------

TABLE = "x,y,s,k\n1,5,a,1\n0,,b,2\n-3,7,a,3\n,9,,4\n"


def test_parts_of_categories_and_times(take_table: Take, job: MakeJob) -> None:
    table = pa.table({"t": [date(2020, 1, 1)] * 2, "b": [True, None], "x": [1.0, 2.0]})
    roles = assign_roles(take_table(table), job(impute=["b"], predictors=["t", "x"]))
    assert roles.dimensions == ("t", "x")
    assert roles.encoding("b") == Nominal("b", ("true",))
    message = "column 't' is of type date32"
    with pytest.raises(JobError, match=message):
        assign_roles(take_table(table), job(impute=["t"]))


def test_cells_that_do_not_fit_are_counted(take_csv: Take, job: MakeJob) -> None:
    said = job(transform={"x": "log"}, bounds={"y": [6, 8]}, bounds_violated="keep")
    snapshot = take_csv(TABLE)
    assert find_misfits(snapshot, assign_roles(snapshot, said), said) == (
        Misfits("x", "x above 0, as log needs it", 2, (2, 3), stop=True),
        Misfits("y", "observed y between 6 and 8", 2, (1, 4), stop=False),
    )


@pytest.mark.parametrize("most_at_once", [1, 2**22])
def test_keys_that_tell_no_row(
    take_table: Take, job: MakeJob, monkeypatch: pytest.MonkeyPatch, most_at_once: int
) -> None:
    monkeypatch.setattr(misfits, "MOST_KEYS", most_at_once)
    said = job(key=["k", "l"], impute=["x"])
    table = pa.table({"k": ["a", "b", "a", None, "a"], "l": [1, 1, 1, 2, 1], "x": [1.0] * 5})
    snapshot = take_table(table)
    assert find_misfits(snapshot, assign_roles(snapshot, said), said) == (
        Misfits("k, l", "key k, l in every row", 1, (4,), stop=True),
        Misfits("k, l", "key k, l unique", 2, (3, 5), stop=True),
    )
    unique = take_table(table.slice(0, 2))
    assert find_misfits(unique, assign_roles(unique, said), said) == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"transform": {"z": "log"}}, "columns.transform: the table has no column 'z'."),
        ({"bounds": {"s": [0, 1]}}, "columns.bounds: column 's' is not a column of numbers."),
        (
            {"round": ["k"], "key": ["k"]},
            "columns.round: column 'k' is not in the model; name it in columns.impute or",
        ),
        (
            {"transform": {"x": "log"}, "bounds": {"x": [None, 0]}},
            "no number between the bounds of 'x' is in the domain of log, which is above 0.",
        ),
        (
            {"round": True, "bounds": {"x": [0.2, 0.8]}},
            "there is no whole number between the bounds of 'x'.",
        ),
        (
            {"categories": {"s": ["a", "c"]}},
            "column 's' holds at row 2 a level that is not among the 2 that the job names",
        ),
    ],
)
def test_options_that_a_column_cannot_have(
    take_csv: Take, job: MakeJob, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(JobError) as caught:
        assign_roles(take_csv(TABLE), job(**columns))
    assert message in str(caught.value)


def test_floats_are_no_categories(take_table: Take, job: MakeJob) -> None:
    snapshot = take_table(pa.table({"x": [1.5, None]}))
    with pytest.raises(JobError, match="'x' is of type double; categories are text, booleans or"):
        assign_roles(snapshot, job(categories={"x": "nominal"}))


def test_too_many_levels(take_csv: Take, job: MakeJob) -> None:
    names = "".join(f"level{i}\n" for i in range(51))
    with pytest.raises(JobError, match="column 's' has more than 50 levels; join the rare ones"):
        assign_roles(take_csv(f"s\n{names}"), job(categories={"s": "nominal"}))


def test_integers_of_a_typed_source_stay_integers(take_table: Take, tmp_path: Path) -> None:
    snapshot = take_table(pa.table({"n": pa.array([2**53 + 1, None], pa.int64())}))
    typed = Job.model_validate(
        {"name": "a", "source": {"path": "x.feather"}, "target": {"path": "y.csv"}}
    )
    assert assign_roles(snapshot, typed).encoding("n") == Number("n", whole=True, keeps_type=True)


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
    means, sds = Number("x", transform).own_moments(np.array([mean, 0.0]), np.array([sd, 0.5]))
    assert means[0] == pytest.approx(own.mean(), rel=5e-3)
    assert sds[0] == pytest.approx(own.std(), rel=1e-2, abs=1e-9)
    assert np.isfinite([means, sds]).all()


@pytest.mark.parametrize("sd", [0.1, 1.0, 3.0])
def test_moments_of_a_log_normal_column_are_exact(sd: float) -> None:
    ((mean,), (spread,)) = Number("x", transform_of("log")).own_moments(
        np.array([0.3]), np.array([sd])
    )
    assert mean == pytest.approx(np.exp(0.3 + sd**2 / 2), rel=1e-12)
    assert spread == pytest.approx(mean * np.sqrt(np.expm1(sd**2)), rel=1e-9)
