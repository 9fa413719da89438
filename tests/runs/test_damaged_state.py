"""What stands beside a target or in a run's folder, damaged by somebody else: passed over or named.

Never a traceback, and never the end of every later run.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from em_impute.cli import main as cli
from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.job import CannotRun, FileSource, FileTarget, Job, KeptRuns
from em_impute.runs.history import imputed_before, past_runs, published_dates
from em_impute.runs.kept import is_overtaken, prune
from em_impute.runs.manifest import Manifest, read_manifests
from em_impute.runs.recompute import verify
from em_impute.tables import sources, summarise, targets
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder, open_run_folder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot
from em_impute.tables.targets import check_target, publish
from em_impute.tables.writing.staged import Staged, TargetError

BRACKETS = "[" * 30_000
NOT_WHAT_WAS_WRITTEN = [
    b"", b"null", b"[]", b"{}", b"7", BRACKETS.encode(), b"\xff\xfe", b'{"published": null}',
    b'{"published": [7]}', b'{"published": [{"run": 1}]}',
]  # fmt: skip
RUN = "20260101T000000Z-abcdefgh"


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- Before anything is read ---------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


ODD = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/null"),
    "link to a pipe": lambda path: (os.mkfifo("pipe"), path.symlink_to(Path("pipe").resolve())),
}


def checked(**target: Any) -> Result:
    """`em-impute check` of a job with this target, whose source is looked for only after it."""
    job = {"name": "x", "source": {"path": "nowhere.csv"}, "target": {"format": "csv"} | target}
    Path("job.yaml").write_text(json.dumps(job))
    return CliRunner().invoke(cli.main, ["check", "job.yaml"])


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("partition_by", [None, []], ids=["file", "folder"])
def test_a_target_that_is_no_file(what: str, partition_by: list[str] | None) -> None:
    Path("out").mkdir()
    ODD[what](Path("out/it"))
    before = os.lstat("out/it")
    said = checked(path="out/it", **({} if partition_by is None else {"partition_by": []}))
    assert said.exit_code == 2
    assert "The target out/it is a device, a pipe or a socket" in said.output
    assert os.lstat("out/it") == before


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
@pytest.mark.parametrize("what", [*ODD, "folder"])
@pytest.mark.parametrize("part", ["source", "target"])
def test_a_database_that_is_no_file(engine: str, what: str, part: str) -> None:
    (ODD | {"folder": Path.mkdir})[what](Path("it"))
    Path("in.csv").write_text("a,b\n1,2\n,3\n2,4\n4,7\n")
    database = {"url": f"{engine}:///it", "table": "t"}
    parts = {"source": {"path": "in.csv"}, "target": {"path": "y.csv"}} | {part: database}
    Path("job.yaml").write_text(json.dumps({"name": "x", **parts}))
    said = CliRunner().invoke(cli.main, ["check", "job.yaml"])
    assert said.exit_code == 2
    assert "it is a folder, a device or a pipe, not the file of a database" in said.output


@pytest.mark.parametrize("name", ["x" * 220, "é" * 110, "x" * 300, f"{'x' * 300}/y"])
def test_a_name_that_leaves_no_room(name: str) -> None:
    said = checked(path=f"out/{name}")
    assert said.exit_code == 2
    assert "name that is too long" in said.output or "file name too long" in said.output


def test_a_name_that_leaves_just_enough_room(folder: RunFolder) -> None:
    """For the record, the lock and what is put there from another device."""
    target = FileTarget(path=Path("x" * 215), format="csv")
    check_target(target)
    publish(staged(folder, target), target, RUN)
    assert Path("x" * 215).exists()


@pytest.mark.parametrize("name", ["_b", ".b"])
def test_partitions_that_readers_pass_over(name: str) -> None:
    said = checked(path="out", partition_by=[name])
    assert said.exit_code == 2
    assert f"{name}: readers pass over folders whose names begin with . or _" in said.output


def test_a_text_that_is_too_long_for_a_folder(folder: RunFolder) -> None:
    target = FileTarget(path=Path("out"), format="csv", partition_by=("s",))
    with pytest.raises(TargetError, match="a text of 's' is too long to name a folder") as caught:
        publish(staged(folder, target, pa.table({"s": ["y" * 300], "k": [1]})), target, RUN)
    assert "yyy" not in str(caught.value)


@pytest.mark.parametrize("what", [*ODD, "link", "dangling link", "folder"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_lock_that_is_no_file(what: str, is_folder: bool) -> None:
    lock = Path("out/.em_impute.lock" if is_folder else "out/.y.csv.em_impute.lock")
    lock.parent.mkdir()
    Path("mine").write_text("mine")
    others = {
        "link": lambda path: path.symlink_to(Path("mine").resolve()),
        "dangling link": lambda path: path.symlink_to("nowhere"),
        "folder": Path.mkdir,
    }
    (ODD | others)[what](lock)
    said = checked(path="out", partition_by=[]) if is_folder else checked(path="out/y.csv")
    assert said.exit_code == 2
    assert f"{lock.name}, is not a plain file but a link, a folder or the like" in said.output
    assert Path("mine").read_text() == "mine"


# --- Beside the target ---------------------------------------------------------------------------


@pytest.fixture
def folder() -> RunFolder:
    return open_run_folder(Path("runs"), "job", RUN)


def staged(folder: RunFolder, target: FileTarget, table: pa.Table | None = None) -> Staged:
    table = pa.table({"k": [1, 2], "x": [1.5, 2.5]}) if table is None else table
    with pa.ipc.new_file("in.feather", table.schema) as writer:
        writer.write_table(table)
    snapshot = take_snapshot(FileSource(path=Path("in.feather")), folder.snapshot)
    return fill(snapshot, None, Roles(tuple(table.column_names), ("k",), (), ()), target, folder)


@pytest.mark.parametrize("content", NOT_WHAT_WAS_WRITTEN)
@pytest.mark.parametrize("mode", ["replace", "upsert", "append"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_record_that_cannot_be_read(
    folder: RunFolder, content: bytes, mode: str, is_folder: bool
) -> None:
    """Passed over where publishing again does no harm; where rows would be added twice, named."""
    path = {"path": "out", "partition_by": []} if is_folder else {"path": "out.csv"}
    target = FileTarget.model_validate({"format": "csv", "mode": mode} | path)
    publish(staged(folder, target), target, "run-1")
    record = Path("out/current/_em_impute.json" if is_folder else ".out.csv.em_impute.json")
    record.write_bytes(content)
    if mode == "append":
        with pytest.raises(TargetError, match=r"The record .* of what was appended cannot be read"):
            publish(staged(folder, target), target, "run-2")
        record.unlink()
    for run in ("run-2", "run-3"):
        assert publish(staged(folder, target), target, run).before is False
    assert publish(staged(folder, target), target, "run-3").before is True


def test_what_others_have_put_among_the_versions_stays(folder: RunFolder) -> None:
    target = FileTarget(path=Path("out"), format="csv", partition_by=())
    publish(staged(folder, target), target, "run-1")
    versions = Path("out/versions")
    (versions / ".DS_Store").write_text("")
    (versions / "notes.txt").write_text("mine")
    (versions / "backup").mkdir()
    (versions / "link").symlink_to("nowhere")
    (versions / ".run-0.part").mkdir()
    for run in ("run-2", "run-3", "run-4", "run-5"):
        publish(staged(folder, target), target, run)
    kept = {path.name for path in versions.iterdir()}
    assert kept == {".DS_Store", "notes.txt", "backup", "link", "run-3", "run-4", "run-5"}


def test_a_folder_where_the_link_was_is_named(folder: RunFolder) -> None:
    target = FileTarget(path=Path("out"), format="csv", partition_by=())
    publish(staged(folder, target), target, "run-1")
    Path("out/current").unlink()
    Path("out/current").mkdir()
    with pytest.raises(TargetError, match="out/current is not the link to a version"):
        check_target(target)


@pytest.mark.parametrize("file_format", ["csv", "parquet", "feather", "jsonl"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"[[[", b"PAR1....PAR1", b"ARROW1..", b"7\n"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_table_that_is_to_be_added_to_and_cannot_be_read(
    folder: RunFolder, file_format: str, content: bytes, mode: str
) -> None:
    path = f"out.{file_format}"
    target = FileTarget.model_validate({"path": path, "mode": mode})
    Path(path).write_bytes(content)
    with pytest.raises(CannotRun, match=r"cannot be read as|has other columns than the new one"):
        publish(staged(folder, target), target, "run-1")
    assert Path(path).read_bytes() == content


def test_a_version_without_files(folder: RunFolder) -> None:
    target = FileTarget(path=Path("out"), format="csv", partition_by=(), mode="append")
    publish(staged(folder, target), target, "run-1")
    for file in Path("out/current").resolve().rglob("*.csv"):
        file.unlink()
    with pytest.raises(TargetError, match="has no files any more"):
        publish(staged(folder, target), target, "run-2")


# --- In the folders of runs ----------------------------------------------------------------------


@pytest.fixture
def run() -> RunFolder:
    """What a run without Prefect leaves."""
    rows = "".join(f"{i},{'' if i % 3 == 1 else i + i % 5}\n" for i in range(20))
    Path("in.csv").write_text(f"a,b\n{rows}")
    job = Job.model_validate(
        {"name": "job", "source": {"path": "in.csv"}, "target": {"path": "out.csv"}}
    )
    folder = open_run_folder(Path("runs"), "job", RUN)
    snapshot = sources.take_snapshot(job.source, folder.snapshot)
    snapshot.save(folder.read)
    roles = assign_roles(snapshot, job)
    summary = summarise.summarise(snapshot, roles)
    summary.save(folder.summary)
    model = summarise.fit_model(summary, job.model).model
    model.save(folder.model)
    table = fill(snapshot, model, roles, job.target, folder)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    manifest = Manifest(
        run=RUN,
        date=now.date(),
        job=job,
        snapshot=snapshot,
        published=targets.publish(table, job.target, RUN),
        cells=table.cells,
        table=table.sha256,
        outputs=folder.hashes(),
        started=now,
        finished=now,
        verdict="Published.",
    )
    manifest.save(folder.manifest)
    return folder


def places(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each place in nested mappings."""
    yield path
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from places(inner, (*path, name))


def changed(content: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    return content | {path[0]: changed(content[path[0]], path[1:], value)}


def go_through_the_runs(run: RunFolder) -> None:
    """All that looks at the manifests of earlier runs."""
    job = Job.model_validate(
        {"name": "job", "source": {"path": "in.csv"}, "target": {"path": "out.csv"}}
    )
    list(read_manifests(Path("runs/job")))
    published_dates(Path("runs"), job)
    imputed_before(Path("runs/job"))
    past_runs("job", Path("runs"))
    prune(Path("runs/job"), KeptRuns(days=10_000), datetime.now(UTC))
    for command in ("verify", "report", "history"):
        said = CliRunner().invoke(cli.main, [command, str(run.path)])
        assert isinstance(said.exception, SystemExit | None), said.exc_info


@pytest.mark.parametrize("content", NOT_WHAT_WAS_WRITTEN)
@pytest.mark.parametrize("name", ["manifest.json", "report.json", "snapshot.json"])
def test_files_of_a_run_that_are_not_what_was_written(
    run: RunFolder, name: str, content: bytes
) -> None:
    (run.path / name).write_bytes(content)
    go_through_the_runs(run)
    if name == "manifest.json":
        with pytest.raises(CannotRun):
            verify(run.path)
    if name == "snapshot.json":
        assert Snapshot.load(run.read) is None


@pytest.mark.parametrize("content", NOT_WHAT_WAS_WRITTEN)
def test_what_a_damaged_report_filled_is_not_known(run: RunFolder, content: bytes) -> None:
    run.numbers.write_bytes(content)
    assert imputed_before(run.path.parent) == frozenset()


@pytest.mark.parametrize("value", [None, 7, "text", [], {}, {"a": None}], ids=repr)
def test_a_manifest_in_which_one_value_is_another(run: RunFolder, value: Any) -> None:
    whole = json.loads(run.manifest.read_text())
    for path in places(whole):
        run.manifest.write_text(json.dumps(changed(whole, path, value)))
        try:
            go_through_the_runs(run)
        except Exception as error:
            pytest.fail(f"{'.'.join(path)} = {value!r}: {error!r}")


def test_a_folder_in_the_place_of_a_file(run: RunFolder) -> None:
    run.manifest.unlink()
    run.manifest.mkdir()
    (run.path / "snapshot.old").mkdir()
    (run.path / "link").symlink_to("nowhere")
    go_through_the_runs(run)
    assert is_overtaken(run) is False
    run.clear()


def test_a_snapshot_that_is_not_as_it_was_is_read_again(run: RunFolder) -> None:
    assert Snapshot.load(run.read) is not None
    run.snapshot.write_bytes(run.snapshot.read_bytes()[:-1])
    assert Snapshot.load(run.read) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"null", BRACKETS.encode()])
@pytest.mark.parametrize(
    ("load", "message"),
    [(GaussianModel.load, "is not a model"), (PatternSummary.load, "is not a pattern summary")],
)
def test_what_is_no_model_and_no_summary(
    content: bytes, load: Callable[[Path], object], message: str
) -> None:
    Path("it").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(Path("it"))
