"""A folder of files is one table, with the columns that its folders' names give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from snapshots import Read, Refusal, put

from em_impute.job import FileSource, Job
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import read_batches
from em_impute.tables.sources import take_snapshot
from em_impute.tables.targets import publish


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
    place: Path, refusal: Refusal, second: dict[str, list[object]], message: str
) -> None:
    put(place / "1.parquet", pa.table({"a": [1], "b": [1]}))
    put(place / "2.parquet", pa.table(second))
    assert refusal(place, "parquet").startswith(f"{place}/{message.format(place)}")


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


def test_a_folders_name_that_is_no_text(place: Path, refusal: Refusal) -> None:
    put(place / "store=%FF/x.csv", "v\n1\n")
    assert "the name of its folder is not UTF-8 text" in refusal(place, "csv")


def test_folders_that_name_other_columns(place: Path, refusal: Refusal) -> None:
    put(place / "year=1/x.csv", "v\n1\n")
    put(place / "month=1/x.csv", "v\n1\n")
    assert refusal(place, "csv").startswith(
        f"{place}/year=1/x.csv: its folders name year=, but those of {place}/month=1/x.csv name "
        "month=;"
    )


def test_column_in_the_file_and_in_the_name_of_its_folder(place: Path, refusal: Refusal) -> None:
    put(place / "v=1/x.csv", "v\n1\n")
    assert "column 'v' is in the file and in the name of its folder too" in refusal(place, "csv")


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An object store in this process, seen through fsspec as those of others are."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)
