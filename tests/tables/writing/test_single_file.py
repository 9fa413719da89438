"""Publishing a file: once, whole, on whichever device, and when it is killed meanwhile."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from em_impute.job import FileTarget
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.targets import check_target, publish
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Published, Staged, TargetError

OLD, NEW = b"the old table", b"the new table, of another length"


def visible(folder: Path) -> list[Path]:
    """The files that users see; the record of what was published and its lock are hidden."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def stage(folder: RunFolder, content: bytes = NEW) -> Staged:
    path = folder.staged("csv")
    path.write_bytes(content)
    return Staged(path, "csv", 1, 1, sha256(path), folder.cells, (("x", 1),))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the target is, with an old table in it."""
    path = tmp_path / "out" / "y.csv"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A target with an old table, on another device than the run's folder."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second device")
    folder = memory / f"em_impute-test-{os.getpid()}"
    folder.mkdir()
    path = folder / "y.csv"
    path.write_bytes(OLD)
    yield path
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_published_file_is_the_staged_one(folder: RunFolder, place: Path) -> None:
    staged = stage(folder)
    published = publish(staged, FileTarget(path=place), "run-1")
    assert published == Published(str(place), 1, staged.sha256)
    assert place.read_bytes() == NEW
    assert list(folder.path.iterdir()) == []


def test_publishing_again_changes_nothing(folder: RunFolder, place: Path) -> None:
    staged, target = stage(folder), FileTarget(path=place)
    first, before = publish(staged, target, "run-1"), place.stat()
    assert publish(staged, target, "run-1") == first
    # Being read, to see which table it is, is no change.
    now = place.stat()
    assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nothing_to_publish(folder: RunFolder, place: Path) -> None:
    staged = stage(folder)
    staged.path.unlink()
    with pytest.raises(
        TargetError, match=r"is gone, and this run has not published to .*; run the"
    ):
        publish(staged, FileTarget(path=place), "run-1")
    assert place.read_bytes() == OLD


def test_target_that_became_unwritable(folder: RunFolder, tmp_path: Path) -> None:
    staged = stage(folder)
    (tmp_path / "y.csv").mkdir()
    for path in (Path("/proc/gone/y.csv"), tmp_path / "y.csv"):
        with pytest.raises(TargetError, match=f"The target {path} cannot be written in"):
            publish(staged, FileTarget(path=path), "run-1")
        assert staged.path.read_bytes() == NEW


def test_new_file_follows_the_umask(folder: RunFolder, tmp_path: Path) -> None:
    table = pa.table({"x": [1]})
    for mask, mode in {0o022: 0o644, 0o002: 0o664, 0o077: 0o600}.items():
        before = os.umask(mask)
        try:
            for file_format in ("csv", "parquet", "feather"):
                path = folder.staged(file_format)
                with open_writer(path, file_format, table.schema) as writer:
                    writer.write_batch(table.to_batches()[0])
                target = FileTarget(path=tmp_path / f"{mask}.{file_format}")
                publish(Staged(path, file_format, 1, 0, "", folder.cells, ()), target, "run-1")
                assert stat.S_IMODE(target.path.stat().st_mode) == mode
        finally:
            os.umask(before)


def test_file_that_is_replaced_keeps_its_permissions(folder: RunFolder, place: Path) -> None:
    place.chmod(0o640)
    publish(stage(folder), FileTarget(path=place), "run-1")
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_link_stays_and_what_it_points_to_is_replaced(
    folder: RunFolder, place: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to("out/y.csv")
    check_target(FileTarget(path=link))
    assert publish(stage(folder), FileTarget(path=link), "run-1").target == str(link)
    assert link.is_symlink()
    assert place.read_bytes() == NEW


def test_what_a_killed_run_has_copied_to_another_device_is_removed(
    folder: RunFolder, other_device: Path
) -> None:
    left = other_device.with_name(f".{other_device.name}.run-0.part")
    left.write_bytes(NEW[:3])
    publish(stage(folder), FileTarget(path=other_device), "run-1")
    assert other_device.read_bytes() == NEW
    assert not left.exists()


def test_another_device_is_reached_by_a_copy(folder: RunFolder, other_device: Path) -> None:
    other_device.chmod(0o640)
    staged = stage(folder)
    publish(staged, FileTarget(path=other_device), "run-1")
    assert other_device.read_bytes() == NEW
    assert stat.S_IMODE(other_device.stat().st_mode) == 0o640
    assert visible(other_device.parent) == [other_device]
    assert not staged.path.exists()


# Publishes, and is killed just before or just after the rename that does it.
KILLED_WHILE_PUBLISHING = """
import os, signal, sys
from pathlib import Path
from em_impute.job import FileTarget
from em_impute.tables.writing.staged import Staged
from em_impute.tables.run_folder import sha256
from em_impute.tables.targets import publish

staged_path, target_path, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
replace = os.replace

def replace_and_die(source, destination):
    if Path(destination) != target_path:
        return replace(source, destination)
    if moment == "before" and os.stat(source).st_dev == os.stat(destination).st_dev:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, destination)
    os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_and_die
staged = Staged(staged_path, "csv", 1, 1, sha256(staged_path), staged_path.parent / "cells", ())
publish(staged, FileTarget(path=target_path), "run-1")
"""


@pytest.mark.parametrize("device", ["place", "other_device"])
@pytest.mark.parametrize(("moment", "content"), [("before", OLD), ("after", NEW)])
def test_kill_leaves_a_whole_file_and_publishing_again_completes(
    folder: RunFolder, request: pytest.FixtureRequest, device: str, moment: str, content: bytes
) -> None:
    """Across devices, `before` is when the copy is there."""
    path: Path = request.getfixturevalue(device)
    staged = stage(folder)
    arguments = [str(staged.path), str(path), moment]
    process = subprocess.run([sys.executable, "-c", KILLED_WHILE_PUBLISHING, *arguments])
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == content
    published = publish(staged, FileTarget(path=path), "run-1")
    assert (published.sha256, path.read_bytes()) == (staged.sha256, NEW)
    assert publish(staged, FileTarget(path=path), "run-1") == published
    assert visible(path.parent) == [path]
