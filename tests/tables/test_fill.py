"""Filling: missing cells get the model's values, and nothing else changes by a bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from holed_tables import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyarrow import feather

from em_impute.gaussian import GaussianModel
from em_impute.job import FileSource, FileTarget
from em_impute.job.job import BATCH_ROWS
from em_impute.tables.columns.roles import Roles, to_matrix
from em_impute.tables.fill import fill, filled_schema
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot
from em_impute.tables.whole_files import DiskFullError
from em_impute.tables.writing.formats import open_writer, read_staged
from em_impute.tables.writing.staged import Staged, TargetError

Take = Callable[..., Snapshot]

DATA = Path(__file__).parents[2] / "data"
FORMATS = ("csv", "parquet", "feather")
# How long a file takes to write is up to the machine.
writes_files = settings(deadline=None)

AIR_ROLES = Roles(
    ("Ozone", "Solar.R", "Wind", "Temp", "Month", "Day"),
    key=("Month", "Day"),
    impute=("Ozone", "Solar.R"),
    predictors=("Wind", "Temp"),
)


def model_of(*columns: str, mean: float = 0.5, correlation: float = 0.5) -> GaussianModel:
    """A model with means `mean`, variances 1 and equal correlations."""
    p = len(columns)
    covariance = np.full((p, p), correlation) + (1 - correlation) * np.eye(p)
    return GaussianModel(np.full(p, mean), covariance, columns)


def air_model() -> GaussianModel:
    air = reference("airquality")
    assert air.mean is not None
    assert air.covariance is not None
    return GaussianModel(air.mean, air.covariance, air.columns)


def roles_of(snapshot: Snapshot, *impute: str, key: tuple[str, ...] = ()) -> Roles:
    columns = tuple(column.name for column in snapshot.columns)
    return Roles(columns, key=key, impute=impute, predictors=())


def read_back(staged: Staged, snapshot: Snapshot, roles: Roles) -> pa.Table:
    schema = filled_schema(snapshot, roles)
    return pa.Table.from_batches(list(read_staged(staged.path, staged.format, schema)), schema)


def bits(column: pa.ChunkedArray) -> list[bytes | None]:
    """The bytes of each cell; of a missing one, None."""
    return [
        None if cell is None or np.isnan(cell) else np.array(cell, numpy_type).tobytes()
        for numpy_type in [column.type.to_pandas_dtype()]
        for cell in column.to_pylist()
    ]


@pytest.fixture(params=FORMATS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> FileTarget:
    return FileTarget(path=tmp_path / f"y.{request.param}")


# --- Real data ---------------------------------------------------------------------------------


def test_airquality(folder: RunFolder, target: FileTarget) -> None:
    """In every format: filled as the model says, observed cells as they were, and a ledger."""
    snapshot = take_snapshot(FileSource(path=DATA / "airquality.csv"), folder.snapshot)
    model = air_model()
    staged = fill(snapshot, model, AIR_ROLES, target, folder)
    assert (staged.rows, staged.cells) == (153, 44)
    assert staged.imputed == (("Ozone", 37), ("Solar.R", 7))
    frame = pd.read_csv(DATA / "airquality.csv")
    expected = frame.astype({"Ozone": float, "Solar.R": float})
    expected[list(model.columns)] = model.impute(frame[list(model.columns)].to_numpy(float))
    filled = read_back(staged, snapshot, AIR_ROLES).to_pandas()
    pd.testing.assert_frame_equal(filled, expected, check_exact=True, check_dtype=False)
    assert [filled[name].dtype for name in ("Ozone", "Temp")] == [np.float64, np.int64]


def test_ledger_of_airquality(folder: RunFolder, tmp_path: Path) -> None:
    """Row, key, column, value and sd of each imputed cell, by row and then by column."""
    snapshot = take_snapshot(FileSource(path=DATA / "airquality.csv"), folder.snapshot)
    model, target = air_model(), FileTarget(path=tmp_path / "y.parquet")
    staged = fill(snapshot, model, AIR_ROLES, target, folder)
    schema = pq.read_schema(staged.ledger)
    assert [(field.name, field.type) for field in schema] == [
        ("row", pa.int64()),
        ("Month", pa.int64()),
        ("Day", pa.int64()),
        ("column", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float64()),
        ("level", pa.string()),
        ("sd", pa.float64()),
        ("pattern", pa.string()),
        ("imputation", pa.int32()),
    ]
    assert schema.metadata[b"em_impute.run"] == b"run-1"
    ledger = pd.read_parquet(staged.ledger)
    assert len(ledger) == 44
    order = ledger.column.map({"Ozone": 0, "Solar.R": 1}).astype(int)
    assert list(zip(ledger.row, order, strict=True)) == sorted(zip(ledger.row, order, strict=True))
    frame, filled = pd.read_csv(DATA / "airquality.csv"), pd.read_parquet(staged.path)
    sd = {"Ozone": model.sd[0], "Solar.R": model.sd[1]}
    for cell in ledger.itertuples():
        assert pd.isna(frame.at[cell.row - 1, cell.column])
        assert filled.at[cell.row - 1, cell.column] == cell.value
        assert (frame.Month[cell.row - 1], frame.Day[cell.row - 1]) == (cell.Month, cell.Day)
        assert 0 < cell.sd < sd[cell.column]


# --- Cells -------------------------------------------------------------------------------------


def test_observed_cells_keep_their_bits(
    folder: RunFolder, take_table: Take, target: FileTarget
) -> None:
    """Negative zero, subnormals, very large and very small numbers, and thirds."""
    double = [-0.0, 5e-324, -5e-324, 1.7e100, 2.2250738585072014e-308, 1 / 3, None]
    single = np.array([-0.0, 1e-45, -1e-45, 3.4e38, 1.1754944e-38, 1 / 3, np.nan], np.float32)
    table = pa.table({"a": double, "b": single})
    snapshot = take_table(table)
    roles = roles_of(snapshot, "a", "b")
    model = model_of("a", "b", mean=0.0, correlation=0.0)
    staged = fill(snapshot, model, roles, target, folder)
    filled = read_back(staged, snapshot, roles)
    for name in ("a", "b"):
        assert filled[name].type == table[name].type
        assert bits(filled[name])[:6] == bits(table[name])[:6]
        assert filled[name][6].as_py() == 0.0


@writes_files
@given(
    cells=st.lists(
        st.one_of(st.none(), st.just(float("nan")), st.floats(-1e100, 1e100)), min_size=1
    ),
    file_format=st.sampled_from(FORMATS),
)
def test_any_observed_cell_keeps_its_bits(cells: list[float | None], file_format: str) -> None:
    table = pa.table({"x": pa.array(cells, pa.float64())})
    with tempfile.TemporaryDirectory() as directory:
        folder = RunFolder(Path(directory))
        snapshot = snapshot_of(table, folder)
        roles = roles_of(snapshot, "x")
        target = FileTarget(path=Path("y"), format=file_format)
        staged = fill(snapshot, model_of("x"), roles, target, folder)
        filled = read_back(staged, snapshot, roles)["x"]
    observed = bits(table["x"])
    assert [b for b, o in zip(bits(filled), observed, strict=True) if o] == [
        *filter(None, observed)
    ]
    missing = [f for f, o in zip(filled.to_pylist(), observed, strict=True) if not o]
    assert missing == [0.5] * staged.cells


def test_integer_column_becomes_double(
    folder: RunFolder, take_table: Take, target: FileTarget
) -> None:
    table = pa.table({"n": pa.array([2**53, None, -7], pa.int64()), "m": pa.array([1, 2, 3], "u1")})
    snapshot = take_table(table)
    roles = roles_of(snapshot, "n")
    filled = read_back(fill(snapshot, model_of("n"), roles, target, folder), snapshot, roles)
    assert filled.schema.types == [pa.float64(), pa.uint8()]
    assert filled["n"].to_pylist() == [2.0**53, 0.5, -7.0]


@pytest.mark.parametrize("type_", [pa.float32(), pa.float16()])
def test_ledger_holds_the_value_that_the_table_holds(
    folder: RunFolder, take_table: Take, target: FileTarget, type_: pa.DataType
) -> None:
    snapshot = take_table(pa.table({"x": pa.array([None, 1.0], type_)}))
    roles = roles_of(snapshot, "x")
    staged = fill(snapshot, model_of("x", mean=0.1), roles, target, folder)
    filled = read_back(staged, snapshot, roles)
    assert filled["x"].type == type_
    [value] = pq.read_table(staged.ledger)["value"].to_pylist()
    assert value == filled["x"][0].as_py() != 0.1
    assert value == pytest.approx(0.1, rel=1e-3)


def test_row_that_shows_nothing_gets_the_means(
    folder: RunFolder, take_csv: Take, target: FileTarget
) -> None:
    snapshot = take_csv("a,b\n,\n1,2\n")
    roles = roles_of(snapshot, "a", "b")
    staged = fill(snapshot, model_of("a", "b"), roles, target, folder)
    assert read_back(staged, snapshot, roles).to_pylist()[0] == {"a": 0.5, "b": 0.5}
    assert pq.read_table(staged.ledger)["sd"].to_pylist() == [1.0, 1.0]


def test_predictors_keep_their_holes(folder: RunFolder, take_csv: Take, target: FileTarget) -> None:
    snapshot = take_csv("a,b\n,\n1,\n,2\n")
    roles = Roles(("a", "b"), key=(), impute=("b",), predictors=("a",))
    staged = fill(snapshot, model_of("a", "b"), roles, target, folder)
    filled = read_back(staged, snapshot, roles)
    assert filled["a"].to_pylist() == [None, 1, None]
    assert filled["b"].null_count == 0
    assert staged.imputed == (("b", 2),)
    assert pq.read_table(staged.ledger)["row"].to_pylist() == [1, 2]


def test_many_batches_are_filled_like_one_array(
    folder: RunFolder, take_table: Take, target: FileTarget
) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2 * BATCH_ROWS + 10, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    snapshot = take_table(pa.table(dict(zip("abc", X.T, strict=True))))
    roles = Roles(("a", "b", "c"), key=(), impute=("a", "c"), predictors=("b",))
    model = model_of("a", "b", "c")
    staged = fill(snapshot, model, roles, target, folder)
    expected = model.impute(X)
    expected[:, 1] = X[:, 1]
    table = read_back(staged, snapshot, roles).combine_chunks()
    filled = to_matrix(table.to_batches()[0], ["a", "b", "c"])
    np.testing.assert_array_equal(filled, expected)
    ledger = pq.read_table(staged.ledger)
    rows = ledger["row"].to_numpy()
    assert (np.diff(rows) >= 0).all()
    assert rows[-1] == 1 + np.flatnonzero(np.isnan(X[:, [0, 2]]).any(axis=1))[-1]


def test_pandas_gets_floats_where_it_had_integers(folder: RunFolder, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": pd.array([1, None, 3], "Int64"), "c": pd.Categorical(list("aba"))})
    frame.to_parquet(tmp_path / "x.parquet")
    snapshot = take_snapshot(FileSource(path=tmp_path / "x.parquet"), folder.snapshot)
    target = FileTarget(path=tmp_path / "y.parquet")
    staged = fill(snapshot, model_of("n"), roles_of(snapshot, "n"), target, folder)
    filled = pd.read_parquet(staged.path)
    pd.testing.assert_frame_equal(filled, frame.assign(n=[1.0, 0.5, 3.0]))


@pytest.mark.parametrize(
    ("model", "columns"), [(model_of("b"), "b"), (model_of("b", "a"), "b, a"), (None, r"\(none\)")]
)
def test_model_of_other_columns(
    folder: RunFolder, take_csv: Take, tmp_path: Path, model: GaussianModel | None, columns: str
) -> None:
    snapshot, target = take_csv("a,b\n1,2\n"), FileTarget(path=tmp_path / "y.csv")
    with pytest.raises(ValueError, match=f"is of the columns {columns}, but the job's are a, b;"):
        fill(snapshot, model, roles_of(snapshot, "a", "b"), target, folder)
    assert list(folder.path.iterdir()) == [folder.snapshot]


@pytest.mark.parametrize("full", ["staged.csv", "cells.parquet"])
def test_full_disk_leaves_no_half_file(
    folder: RunFolder, take_table: Take, tmp_path: Path, full: str
) -> None:
    """/dev/full takes no byte, as a disk without room."""
    snapshot = take_table(pa.table({"x": pa.array([None] * 100_000, pa.float64())}))
    (folder.path / f".{full}.part").symlink_to("/dev/full")
    target = FileTarget(path=tmp_path / "y.csv")
    with pytest.raises(DiskFullError, match=f"The disk is full: .*{full} could not be written"):
        fill(snapshot, model_of("x"), roles_of(snapshot, "x"), target, folder)
    assert full not in {path.name for path in folder.path.iterdir()}
    assert not list(folder.path.glob(".*.part"))


# --- Nothing to fill: the table comes back as it was -------------------------------------------


def snapshot_of(table: pa.Table, folder: RunFolder) -> Snapshot:
    path = folder.path / "x.feather"
    feather.write_feather(table, path)
    return take_snapshot(FileSource(path=path), folder.snapshot)


# Surrogates are no text, and a CSV cannot hold NUL.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
DATES = st.dates(date(1800, 1, 1), date(2200, 1, 1))
TIMES = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1))
PLAIN: list[tuple[pa.DataType, SearchStrategy[object]]] = [
    (pa.float64(), st.floats(allow_nan=True)),
    (pa.float32(), st.floats(width=32)),
    (pa.float16(), st.floats(width=16)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.string(), st.one_of(TEXT, st.sampled_from(["", '"', "NA", "a\r\nb", "a,b", "null", " "]))),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.bool_(), st.booleans()),
    (pa.null(), st.none()),
    (pa.date32(), DATES),
    (pa.date64(), DATES),
    (pa.time32("s"), st.times().map(lambda time: time.replace(microsecond=0))),
    (pa.time64("us"), st.times()),
    (pa.timestamp("s"), TIMES.map(lambda time: time.replace(microsecond=0))),
    (pa.timestamp("ns"), TIMES),
    (pa.timestamp("us", "Europe/Paris"), TIMES.map(lambda time: time.replace(tzinfo=UTC))),
    (pa.duration("us"), st.timedeltas(timedelta(-10_000), timedelta(10_000))),
    (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3)),
    (pa.decimal64(12, 3), st.decimals(-(10**8), 10**8, places=3)),
    (pa.decimal256(30, 0), st.integers(-(10**29), 10**29)),
    (pa.dictionary(pa.int8(), pa.string(), ordered=True), TEXT),
    (pa.dictionary(pa.int32(), pa.int64()), st.integers(0, 3)),
]
NESTED: list[tuple[pa.DataType, SearchStrategy[object]]] = [
    (pa.binary(), st.binary(max_size=4)),
    (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=3)),
    (pa.struct([("a", pa.string())]), st.fixed_dictionaries({"a": TEXT})),
]


@st.composite
def columns(
    draw: st.DrawFn, n_rows: int, kinds: list[tuple[pa.DataType, SearchStrategy[object]]]
) -> pa.Array:
    type_, cells = draw(st.sampled_from(kinds))
    values = draw(st.lists(st.none() | cells, min_size=n_rows, max_size=n_rows))
    if pa.types.is_dictionary(type_):
        encoded = pa.array(values, type_.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            encoded.indices.cast(type_.index_type), encoded.dictionary, ordered=type_.ordered
        )
    return pa.array(values, type_)


@st.composite
def tables(draw: st.DrawFn, kinds: list[tuple[pa.DataType, SearchStrategy[object]]]) -> pa.Table:
    name = TEXT.filter(str.strip)
    names = draw(st.lists(name, min_size=1, max_size=4, unique=True))
    n_rows = draw(st.integers(0, 6))
    return pa.Table.from_arrays([draw(columns(n_rows, kinds)) for _ in names], names)


def comparable(table: pa.Table) -> list[list[object]]:
    """The cells of each column, without the codes of dictionaries, and floats by their bits."""
    return [
        bits(column) if pa.types.is_floating(column.type) else column.to_pylist()
        for column in table.columns
    ]


def published_unchanged(table: pa.Table, file_format: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = RunFolder(Path(directory))
        snapshot = snapshot_of(table, folder)
        roles = roles_of(snapshot)
        target = FileTarget(path=Path("y"), format=file_format)
        staged = fill(snapshot, None, roles, target, folder)
        again = read_back(staged, snapshot, roles)
    assert again.schema.equals(table.schema)
    assert comparable(again) == comparable(table)
    nulls = [column.is_null().to_pylist() for column in table.columns]
    assert [column.is_null().to_pylist() for column in again.columns] == nulls
    assert (staged.cells, staged.imputed) == (0, ())


@writes_files
@given(tables(PLAIN))
def test_any_plain_table_comes_back_from_csv(table: pa.Table) -> None:
    published_unchanged(table, "csv")


@writes_files
@given(tables(PLAIN + NESTED))
def test_any_table_comes_back_from_parquet(table: pa.Table) -> None:
    published_unchanged(table, "parquet")


@writes_files
@given(tables(PLAIN + NESTED))
def test_any_table_comes_back_from_feather(table: pa.Table) -> None:
    published_unchanged(table, "feather")


@pytest.mark.parametrize("type_", [kind for kind, _ in NESTED], ids=str)
def test_csv_refuses_a_type_that_it_cannot_hold(
    folder: RunFolder, take_table: Take, tmp_path: Path, type_: pa.DataType
) -> None:
    snapshot = take_table(pa.table({"a": [1], "b": pa.nulls(1, type_)}))
    with pytest.raises(TargetError, match=r"CSV cannot hold 'b' of type .* Parquet or Feather"):
        fill(snapshot, None, roles_of(snapshot), FileTarget(path=tmp_path / "y.csv"), folder)


def test_a_cell_that_the_format_cannot_hold_is_told_by_its_column(tmp_path: Path) -> None:
    """Parquet counts milliseconds where a table counts seconds."""
    seconds = pa.array([10**18], pa.timestamp("s"))
    table = pa.table({"x": [1.0], "at": seconds})
    path = tmp_path / "y.parquet"
    with (
        pytest.raises(TargetError, match="Parquet cannot hold every cell of 'at'") as caught,
        open_writer(path, "parquet", table.schema) as writer,
    ):
        writer.write_batch(table.to_batches()[0])
    assert "10" not in str(caught.value)
    assert not list(tmp_path.iterdir())
