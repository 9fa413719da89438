"""Sources of many files, at URLs, and that change while they are read."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from snapshots import Read, Refusal, put

from em_impute.tables.reading import csv_text
from em_impute.tables.reading import files as source_files
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import SourceError


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
    place: Path, refusal: Refusal, what: str, inner: str
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


def test_a_pipe_in_a_folder_at_a_url(place: Path, refusal: Refusal) -> None:
    put(place / "a.csv", "v\n1\n")
    os.mkfifo(place / "b.csv")
    url = f"local://{place}"
    assert refusal(url, "csv").startswith(f"{url}/b.csv is neither a file nor a folder")


def test_a_folder_of_versions_is_not_one_table(place: Path, refusal: Refusal) -> None:
    (place / "versions").mkdir()
    (place / "current").symlink_to("versions")
    assert refusal(place, "csv") == f"{place} keeps a table in versions; read {place}/current."


def test_what_is_wrong_with_a_file_is_said_with_its_name(place: Path, refusal: Refusal) -> None:
    put(place / "1.parquet", pa.table({"x": range(1000)}))
    put(place / "2.parquet", (place / "1.parquet").read_bytes()[:-100])
    assert refusal(place, "parquet").startswith(f"{place}/2.parquet is not a whole Parquet file:")
    put(place / "c/1.csv", "x,y\n1,2\n")
    put(place / "c/2.csv", b"x,y\n1,Z\xfcrich\n")
    assert refusal(place / "c", "csv") == (
        f"{place}/c/2.csv: line 2 is not UTF-8 text; save the file as UTF-8. "
        "Try `csv: {encoding: cp1252}` in the job's source."
    )


@pytest.mark.parametrize("change", ["append", "replace", "remove", "new file"])
def test_a_source_that_changes_while_it_is_read(
    place: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch, change: str
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


def test_messages_name_the_url(store: fsspec.AbstractFileSystem, refusal: Refusal) -> None:
    store.pipe("/b/t/x.csv", b"v,w\n1\n")
    assert refusal("memory://b/t", "csv").startswith("memory://b/t/x.csv: row 1 has 1 field where")
    assert refusal("memory://b/u", "csv") == "memory://b/u: no such file or folder."
    assert "of nosuch:// cannot be read here; install the package of fsspec" in refusal(
        "nosuch://b/u", "csv"
    )


def test_no_such_file_says_where_and_what_is_near(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "airquality.csv").touch()
    message = refusal(tmp_path / "airqualty.csv")
    assert message.endswith(f"no such file in {tmp_path}. Did you mean airquality.csv?")


def test_no_such_folder(tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("dat/x.csv")) == (
        f"dat/x.csv: no such file; the folder {tmp_path}/dat does not exist. "
        f"The program was started in {tmp_path}."
    )


def test_a_folder_without_files_is_no_source(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_SUCCESS").touch()
    assert "in is a folder without files; names that" in refusal(tmp_path / "in", "csv")


def test_a_pipe_is_no_source(tmp_path: Path, refusal: Refusal) -> None:
    os.mkfifo(tmp_path / "x.csv")
    assert "is a device or a pipe" in refusal(tmp_path / "x.csv")
