"""Sources of many files, at URLs, and that change while they are read."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from em_impute.job import FileSource, Job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.reading import csv_text
from em_impute.tables.reading import files as source_files
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import SourceError, read_batches, read_schema
from em_impute.tables.sources import take_snapshot
from em_impute.tables.targets import publish

Read = Callable[..., pa.Table]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def read(folder: RunFolder) -> Read:
    """The table of a snapshot that is taken of a folder or URL."""

    def take(path: Path | str, file_format: str) -> pa.Table:
        take_snapshot(FileSource(path=path, format=file_format), folder.snapshot)
        snapshot = folder.snapshot
        return pa.Table.from_batches(list(read_batches(snapshot)), read_schema(snapshot))

    return take


@pytest.fixture
def refusal(folder: RunFolder) -> Callable[[Path | str, str], str]:
    def take(path: Path | str, file_format: str) -> str:
        with pytest.raises(SourceError) as caught:
            take_snapshot(FileSource(path=path, format=file_format), folder.snapshot)
        assert list(folder.path.iterdir()) == []
        return str(caught.value)

    return take


def put(path: Path, content: str | bytes | pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str | bytes):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    elif path.suffix == ".parquet":
        pq.write_table(content, path)
    else:
        feather.write_feather(content, path)


# --- A folder is one table ---------------------------------------------------------------------


def test_files_are_read_in_the_order_of_their_names(place: Path, read: Read) -> None:
    put(place / "b.csv", "x,y\n3,c\n")
    put(place / "a/z.csv", "x,y\n1,a\n")
    put(place / "a.csv", "y,x\nb,2\n")
    put(place / "_SUCCESS", "")
    put(place / ".tmp/half.csv", "x")
    assert read(place, "csv").to_pydict() == {"x": [2, 1, 3], "y": ["b", "a", "c"]} or read(
        place, "csv"
    ).to_pydict() == {"y": ["b", "a", "c"], "x": [2, 1, 3]}


def test_type_of_a_csv_column_is_decided_by_all_files(place: Path, read: Read) -> None:
    put(place / "1.csv", "i,d,c,n\n1,1,12,\n")
    put(place / "2.csv", "i,d,c,n\n2,2.5,007,\n")
    put(place / "3.csv", "i,d,c,n\n")
    types = [pa.int64(), pa.float64(), pa.string(), pa.null()]
    assert read(place, "csv").schema.types == types


def test_hive_partitions_become_columns_at_the_end(place: Path, read: Read) -> None:
    put(place / "year=2024/where=a%20b/x.csv", "v\n1\n2\n")
    put(place / "year=2025/where=__HIVE_DEFAULT_PARTITION__/x.csv", "v\n3\n")
    table = read(place, "csv")
    assert table.schema.types == [pa.int64(), pa.int32(), pa.string()]
    assert table.to_pydict() == {
        "v": [1, 2, 3],
        "year": [2024, 2024, 2025],
        "where": ["a b", "a b", None],
    }


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_nulls_and_categories_of_files_join(place: Path, read: Read, suffix: str) -> None:
    put(
        place / f"1.{suffix}",
        pa.table({"c": pa.array(["a", "b"]).dictionary_encode(), "n": pa.nulls(2)}),
    )
    put(
        place / f"2.{suffix}",
        pa.table({"n": [1.5, None], "c": pa.array(["c", "a"]).dictionary_encode()}),
    )
    table = read(place, suffix)
    assert table.to_pydict() == {"c": ["a", "b", "c", "a"], "n": [None, None, 1.5, None]}
    assert table.schema.types == [pa.dictionary(pa.int32(), pa.string()), pa.float64()]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"a": [1], "B": [1.0]},
            "2.parquet has no column 'b', which {0}/1.parquet or a file after it has, but a column "
            "'B', which none of these has. A file may have more columns than others, or fewer",
        ),
        (
            {"a": [1], "b": [True]},
            "2.parquet: column 'b' is of type bool, but of type int64 in {0}/1.parquet or a "
            "file after it, and no type holds both; all files need",
        ),
    ],
)
def test_files_that_are_not_one_table(
    place: Path, refusal: Callable[..., str], second: dict[str, list[object]], message: str
) -> None:
    put(place / "1.parquet", pa.table({"a": [1], "b": [1]}))
    put(place / "2.parquet", pa.table(second))
    assert refusal(place, "parquet").startswith(f"{place}/{message.format(place)}")


# A categorical of pandas in which every cell is missing.
NO_CATEGORY = pa.DictionaryArray.from_arrays(pa.array([None], pa.int32()), pa.nulls(0))
DIFFERENT = [
    ([1, 2], [1.5, None], pa.float64()),
    (pa.array([1.5, None], pa.float32()), [1, 2], pa.float64()),
    (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
    (pa.array([-1], pa.int8()), pa.array([200], pa.uint8()), pa.int16()),
    (pa.array([-1], pa.int64()), pa.array([7], pa.uint64()), pa.int64()),
    (["a"], pa.array(["b"], pa.large_string()), pa.large_string()),
    (["a"], pa.array(["b", None]).dictionary_encode(), pa.string()),
    (
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["b", "c"], pa.large_string()).dictionary_encode(),
        pa.dictionary(pa.int32(), pa.large_string()),
    ),
    (
        pa.array([1, None], pa.timestamp("us")),
        pa.array([5], pa.timestamp("ns")),
        pa.timestamp("ns"),
    ),
    (
        pa.array([1], pa.timestamp("ms", "UTC")),
        pa.array([5], pa.timestamp("ns", "UTC")),
        pa.timestamp("ns", "UTC"),
    ),
    (
        pa.array([1], pa.timestamp("us", "UTC")),
        pa.array([5], pa.timestamp("us", "+00:00")),
        pa.timestamp("us", "UTC"),
    ),
    (pa.array([1], pa.duration("s")), pa.array([5], pa.duration("ns")), pa.duration("ns")),
    (pa.array([1], pa.time32("s")), pa.array([5], pa.time64("us")), pa.time64("us")),
    (
        pa.array([Decimal("1.25")], pa.decimal128(5, 2)),
        pa.array([Decimal("12345678901.5")], pa.decimal128(12, 1)),
        pa.decimal128(13, 2),
    ),
    (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), [3, None], pa.decimal128(22, 2)),
    ([[1, 2]], [[1.5], None], pa.list_(pa.float64())),
    ([{"a": 1}], [{"a": 2.5}], pa.struct([("a", pa.float64())])),
    (pa.nulls(2), ["a"], pa.string()),
    (NO_CATEGORY, ["a"], pa.string()),
    (NO_CATEGORY, pa.array(["a"]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string())),
]


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize(("one", "other", "type_"), DIFFERENT)
@pytest.mark.parametrize("turned", [False, True])
def test_files_that_differ_without_loss_are_one_table(
    place: Path,
    folder: RunFolder,
    one: Any,
    other: Any,
    type_: pa.DataType,
    turned: bool,
    suffix: str,
) -> None:
    tables = [pa.table({"x": cells}) for cells in (one, other)][:: -1 if turned else 1]
    for i, table in enumerate(tables):
        put(place / f"{i}.{suffix}", table)
    source = FileSource(path=place, format=suffix)
    snapshot = take_snapshot(source, folder.snapshot)
    assert read_schema(snapshot.path).field("x").type == type_ or suffix == "parquet"
    cells = [batch.column("x").to_pylist() for batch in read_batches(snapshot.path)]
    expected = [cell for table in tables for cell in table["x"].to_pylist()]
    assert [cell for batch in cells for cell in batch] == expected
    nulls = any("null" in str(table.schema.field("x").type) for table in tables)
    if suffix == "feather" and not nulls:
        assert snapshot.notes[0].startswith("Column 'x' is ")
        assert f"{place}/0.{suffix}" in snapshot.notes[0]


@pytest.mark.parametrize(
    "cells",
    [
        ["a", None],
        [True],
        [date(2024, 1, 1)],
        pa.array(["a"]).dictionary_encode(),
        [Decimal("1.5")],
    ],
    ids=["text", "bool", "date", "category", "decimal"],
)
def test_an_empty_column_of_pandas_is_of_any_type(place: Path, read: Read, cells: Any) -> None:
    """It is one of floats, all of them NaN."""
    table = pa.table({"x": cells})
    put(place / "1.parquet", pa.table({"x": [float("nan"), None]}))
    put(place / "2.parquet", table)
    found = read(place, "parquet")
    assert found["x"].to_pylist() == [None, None, *table["x"].to_pylist()]
    assert not pa.types.is_floating(found.schema.field("x").type)


def test_a_file_may_have_more_columns_than_others(place: Path, folder: RunFolder) -> None:
    put(place / "1.parquet", pa.table({"a": [1], "b": pa.array(["u"]).dictionary_encode()}))
    put(place / "2.parquet", pa.table({"c": pa.array(["v"]).dictionary_encode(), "a": [2]}))
    put(place / "2.parquet", pa.table({"c": ["w"], "a": [2], "b": ["x"]}))
    put(place / "3.parquet", pa.table({"a": [3], "b": ["y"]}))
    snapshot = take_snapshot(FileSource(path=place, format="parquet"), folder.snapshot)
    rows = [row for batch in read_batches(snapshot.path) for row in batch.to_pylist()]
    assert rows == [
        {"a": 1, "b": "u", "c": None},
        {"a": 2, "b": "x", "c": "w"},
        {"a": 3, "b": "y", "c": None},
    ]
    assert snapshot.notes[-1] == (
        f"Column 'c' is not in {place}/1.parquet and 1 more: its cells are missing there."
    )


@pytest.mark.parametrize(
    ("one", "other", "row"),
    [
        ([1.5], [1, 2**53 + 1], 2),
        (["a"], [float("nan"), 1.5], 2),
        (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), [None, None, 1.5], 3),
        (pa.array([1], pa.int64()), pa.array([2**63], pa.uint64()), 1),
        (
            pa.array([1], pa.timestamp("ns")),
            pa.array([1, None, 253_402_214_400_000_000], pa.timestamp("us")),
            3,
        ),
    ],
    ids=["int64", "text", "decimal", "uint64", "timestamp"],
)
def test_a_cell_that_no_common_type_holds(
    place: Path, refusal: Callable[..., str], one: Any, other: Any, row: int
) -> None:
    put(place / "1.parquet", pa.table({"x": one}))
    put(place / "2.parquet", pa.table({"x": other}))
    message = refusal(place, "parquet")
    assert message.startswith(f"{place}/2.parquet: column 'x' is of type ")
    assert f"the cell in row {row} would not be the same" in message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a"], [b"a"]),
        ([True], [1]),
        ([date(2024, 1, 1)], pa.array([1], pa.timestamp("us"))),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.array([1], pa.timestamp("us", "Asia/Tokyo"))),
        (["a"], pa.DictionaryArray.from_arrays(pa.array([0]), ["a"], ordered=True)),
        (["1"], [1]),
    ],
)
def test_types_that_do_not_join(
    place: Path, refusal: Callable[..., str], one: Any, other: Any
) -> None:
    put(place / "1.feather", pa.table({"x": one}))
    put(place / "2.feather", pa.table({"x": other}))
    message = refusal(place, "feather")
    assert message.startswith(f"{place}/2.feather: column 'x' is of type ")
    assert "no type holds both" in message


def test_pandas_reads_the_joined_types(place: Path, folder: RunFolder) -> None:
    """What it wrote of itself into the first file is not said of all of them."""
    put(place / "1.parquet", pa.Table.from_pandas(pd.DataFrame({"x": [1, 2], "k": [1, 2]})))
    put(place / "2.parquet", pa.Table.from_pandas(pd.DataFrame({"x": [1.5, None], "k": [3, 4]})))
    snapshot = take_snapshot(FileSource(path=place, format="parquet"), folder.snapshot)
    frame = pa.ipc.open_file(snapshot.path.read_bytes()).read_pandas()
    assert frame["x"].tolist()[:3] == [1.0, 2.0, 1.5]
    assert frame.dtypes.tolist() == [np.dtype("float64"), np.dtype("int64")]


# --- What is no file ---------------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # an address has at most 107 bytes
        one.bind(path.name)


ODD = {
    "a link to a folder": lambda path: path.symlink_to("..", target_is_directory=True),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a device or a pipe": lambda path: path.symlink_to("/dev/null"),
    "a device, a pipe or a socket": os.mkfifo,
    "a device, a pipe or a socket, ": make_socket,
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("inner", ["x.csv", "sub/x.csv"])
def test_nothing_in_a_folder_is_passed_over(
    place: Path, refusal: Callable[..., str], what: str, inner: str
) -> None:
    put(place / "a.csv", "v\n1\n")
    put(place / "sub/b.csv", "v\n2\n")
    ODD[what](place / inner)
    assert refusal(place, "csv").startswith(f"{place}/{inner} is {what.rstrip(', ')}; a source")


def test_links_to_files_are_read_and_hidden_oddities_do_not_count(place: Path, read: Read) -> None:
    put(place / "a.csv", "v\n1\n")
    put(place.parent / "b.csv", "v\n2\n")
    (place / "b.csv").symlink_to(place.parent / "b.csv")
    (place / ".link").symlink_to("nowhere")
    os.mkfifo(place / "_pipe")
    assert read(place, "csv").to_pydict() == {"v": [1, 2]}


@contextmanager
def without_privileges() -> Iterator[None]:
    """Have the system ask for permissions, which it does not of root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_may_not_be_entered() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        put(place / "a.csv", "v\n1\n")
        put(place / "sub/b.csv", "v\n2\n")
        place.chmod(0o755)
        (place / "sub").chmod(0)
        with without_privileges(), pytest.raises(SourceError) as caught:
            source_files.members(place)
        (place / "sub").chmod(0o700)
        assert str(caught.value).startswith(f"{place}/sub cannot be read: permission denied.")


def test_a_pipe_in_a_folder_at_a_url(place: Path, refusal: Callable[..., str]) -> None:
    put(place / "a.csv", "v\n1\n")
    os.mkfifo(place / "b.csv")
    url = f"local://{place}"
    assert refusal(url, "csv").startswith(f"{url}/b.csv is neither a file nor a folder")


# --- Folders' names ----------------------------------------------------------------------------


def test_folders_are_told_apart_as_they_are_spelt(place: Path, folder: RunFolder) -> None:
    """007 is not 7, and who left the store out is in no store."""
    spelt = ["007", "7", "-0", "a%2Fb", "100%25", "__HIVE_DEFAULT_PARTITION__", "x y", "é", "+1"]
    for i, store in enumerate(spelt):
        put(place / f"store={store}/year={i}/x.csv", f"v\n{i}\n")
    put(place / "store=7/year=__HIVE_DEFAULT_PARTITION__/x.csv", "v\n9\n")
    job = Job.model_validate(
        {
            "name": "stores",
            "source": {"path": place, "format": "csv"},
            "target": {"path": place.with_name("out"), "format": "csv"}
            | {"partition_by": ["store", "year"]},
        }
    )
    snapshot = take_snapshot(job.source, folder.snapshot)
    rows = [row for batch in read_batches(snapshot.path) for row in batch.to_pylist()]
    assert {(row["v"], row["store"], row["year"]) for row in rows} == {
        (0, "007", 0), (1, "7", 1), (2, "-0", 2), (3, "a/b", 3), (4, "100%", 4), (5, None, 5),
        (6, "x y", 6), (7, "é", 7), (8, "+1", 8), (9, "7", None),
    }  # fmt: skip
    roles = assign_roles(snapshot, job)
    assert (roles.impute, roles.predictors) == ((), ("v", "year"))
    staged = fill(snapshot, None, roles, job.target, folder)
    publish(staged, job.target, "run")
    written = {path.parent.relative_to(place.with_name("out") / "current").as_posix()
               for path in (place.with_name("out") / "current").rglob("*.csv")}  # fmt: skip
    assert written == {path.parent.relative_to(place).as_posix() for path in place.rglob("*.csv")}


def test_holes_of_folders_names_are_filled_where_the_job_names_them(
    place: Path, folder: RunFolder
) -> None:
    put(place / "year=1/x.csv", "v\n1\n")
    put(place / "year=__HIVE_DEFAULT_PARTITION__/x.csv", "v\n3\n")
    sections = {"source": {"path": place, "format": "csv"}, "target": {"path": "out.csv"}}
    snapshot = take_snapshot(FileSource(path=place, format="csv"), folder.snapshot)
    job = Job.model_validate({"name": "x", **sections, "columns": {"impute": ["year"]}})
    assert assign_roles(snapshot, job).impute == ("year",)


def test_a_folders_name_that_is_no_text(place: Path, refusal: Callable[..., str]) -> None:
    put(place / "store=%FF/x.csv", "v\n1\n")
    assert "the name of its folder is not UTF-8 text" in refusal(place, "csv")


def test_folders_that_name_other_columns(place: Path, refusal: Callable[..., str]) -> None:
    put(place / "year=1/x.csv", "v\n1\n")
    put(place / "month=1/x.csv", "v\n1\n")
    assert refusal(place, "csv").startswith(
        f"{place}/year=1/x.csv: its folders name year=, but those of {place}/month=1/x.csv name "
        "month=;"
    )


def test_column_in_the_file_and_in_the_name_of_its_folder(
    place: Path, refusal: Callable[..., str]
) -> None:
    put(place / "v=1/x.csv", "v\n1\n")
    assert "column 'v' is in the file and in the name of its folder too" in refusal(place, "csv")


def test_a_folder_of_versions_is_not_one_table(place: Path, refusal: Callable[..., str]) -> None:
    (place / "versions").mkdir()
    (place / "current").symlink_to("versions")
    assert refusal(place, "csv") == f"{place} keeps a table in versions; read {place}/current."


def test_what_is_wrong_with_a_file_is_said_with_its_name(
    place: Path, refusal: Callable[..., str]
) -> None:
    put(place / "1.parquet", pa.table({"x": range(1000)}))
    put(place / "2.parquet", (place / "1.parquet").read_bytes()[:-100])
    assert refusal(place, "parquet").startswith(f"{place}/2.parquet is not a whole Parquet file:")
    put(place / "c/1.csv", "x,y\n1,2\n")
    put(place / "c/2.csv", b"x,y\n1,Z\xfcrich\n")
    assert refusal(place / "c", "csv") == (
        f"{place}/c/2.csv: line 2 is not UTF-8 text; save the file as UTF-8. "
        "Try `csv: {encoding: cp1252}` in the job's source."
    )


# --- What changes while it is read -------------------------------------------------------------


@pytest.mark.parametrize("change", ["append", "replace", "remove", "new file"])
def test_a_source_that_changes_while_it_is_read(
    place: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    put(place / "1.csv", "x\n1\n")
    put(place / "2.csv", "x\n2\n")
    really = csv_text.infer

    def meanwhile(files: list[object], reading: csv_text.Reading) -> pa.Schema:
        schema = really(files, reading)
        match change:
            case "append":
                with (place / "2.csv").open("a") as file:
                    file.write("3\n")
            case "replace":
                put(place / "new", "x\n2\n")
                (place / "new").replace(place / "2.csv")
            case "remove":
                (place / "2.csv").unlink()
            case "new file":
                put(place / "3.csv", "x\n3\n")
        return schema

    monkeypatch.setattr(csv_text, "infer", meanwhile)
    name = "3.csv" if change == "new file" else "2.csv"
    assert refusal(place, "csv").startswith(f"{place}/{name} was changed while it was read; run")


# --- At a URL ----------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An object store in this process, seen through fsspec as those of others are."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def test_file_and_folder_at_a_url(
    store: fsspec.AbstractFileSystem, read: Read, folder: RunFolder
) -> None:
    store.pipe("/b/t/year=2024/x.csv", b"v\n1\n")
    store.pipe("/b/t/year=2025/x.csv", b"v\n2\n")
    assert read("memory://b/t", "csv").to_pydict() == {"v": [1, 2], "year": [2024, 2025]}
    assert read("memory://b/t/year=2024/x.csv", "csv").to_pydict() == {"v": [1]}
    assert list(folder.path.iterdir()) == [folder.snapshot]


def test_messages_name_the_url(
    store: fsspec.AbstractFileSystem, refusal: Callable[..., str]
) -> None:
    store.pipe("/b/t/x.csv", b"v,w\n1\n")
    assert refusal("memory://b/t", "csv").startswith("memory://b/t/x.csv: row 1 has 1 field where")
    assert refusal("memory://b/u", "csv") == "memory://b/u: no such file or folder."
    assert "of nosuch:// cannot be read here; install the package of fsspec" in refusal(
        "nosuch://b/u", "csv"
    )


@pytest.mark.parametrize("codes", [pa.int8(), pa.int16()])
def test_categories_of_all_files_together_may_be_more_than_their_codes_tell(
    tmp_path: Path, folder: RunFolder, codes: pa.DataType
) -> None:
    """pandas writes codes of one byte where a file has few categories."""
    (tmp_path / "in").mkdir()
    texts = [[f"{part}{i}" for i in range(100)] for part in "ab"]
    for number, (cells, type_) in enumerate(zip(texts, (pa.int8(), codes), strict=True)):
        column = pa.array(cells).dictionary_encode().cast(pa.dictionary(type_, pa.string()))
        pq.write_table(pa.table({"t": column}), tmp_path / "in" / f"{number}.parquet")
    source = FileSource(path=tmp_path / "in", format="parquet")
    batches = list(read_batches(take_snapshot(source, folder.snapshot).path))
    found = pa.Table.from_batches(batches)["t"]
    assert found.type == pa.dictionary(pa.int32(), pa.string())
    assert found.to_pylist() == [*texts[0], *texts[1]]
