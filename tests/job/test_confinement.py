"""EM_IMPUTE_ROOT: what jobs may read and write, and that no path leads around it."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from em_impute.cli import main as cli
from em_impute.job import (
    CannotRun,
    DatabaseSource,
    DatabaseTarget,
    FileSource,
    FileTarget,
    load_job,
)
from em_impute.job.confinement import OutsideError, confined, roots
from em_impute.runs.recompute import verify
from em_impute.tables.databases.source import open_source
from em_impute.tables.databases.target import check_target as check_database
from em_impute.tables.run_folder import open_run_folder
from em_impute.tables.snapshot import SourceError
from em_impute.tables.sources import take_snapshot
from em_impute.tables.targets import check_target, publish
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Staged, TargetError

SECRET = "x,y\n1,2\n"


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that jobs may use, in which the program is; beside it lies what they may not.

    The root is a link itself, and a folder whose name begins like its own is not in it.
    """
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "real-not").mkdir()
    (tmp_path / "outside").mkdir()
    for folder in ("real", "real-not", "outside"):
        (tmp_path / folder / "in.csv").write_text(SECRET)
    monkeypatch.setenv("EM_IMPUTE_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def outside(inside: Path) -> Path:
    return inside.parent / "outside"


# --- Which folders, which paths ----------------------------------------------------------------


def test_without_the_variable_every_path_is_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EM_IMPUTE_ROOT", raising=False)
    assert roots() == ()
    assert confined(Path("../../etc/passwd")) == Path("../../etc/passwd")


@pytest.mark.parametrize(
    "value", ["", "data", "/no/such/folder", "{here}:", ":{here}", "{here}/in.csv"]
)
def test_a_root_that_is_no_folder_stops_every_path(
    inside: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("EM_IMPUTE_ROOT", value.format(here=inside))
    with pytest.raises(OutsideError, match=r"EM_IMPUTE_ROOT .* must list existing folders"):
        confined(inside / "in.csv")


def test_several_roots(inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_IMPUTE_ROOT", f"{inside}{os.pathsep}{outside}")
    assert confined(outside / "in.csv") == outside / "in.csv"
    assert confined(Path("in.csv")) == inside.resolve() / "in.csv"
    with pytest.raises(OutsideError, match=f"may use, {inside.resolve()}:{outside}; name a path"):
        confined(inside.parent)


WAYS_OUT: dict[str, Callable[[Path], object]] = {
    "{outside}/in.csv": lambda outside: None,
    "../outside/in.csv": lambda outside: None,
    "../real-not/in.csv": lambda outside: None,
    "nope/../../outside/in.csv": lambda outside: None,
    "link.csv": lambda outside: Path("link.csv").symlink_to(outside / "in.csv"),
    "folder/in.csv": lambda outside: Path("folder").symlink_to(outside),
    "one/in.csv": lambda outside: (Path("one").symlink_to("two"), Path("two").symlink_to(outside)),
    "dangling.csv": lambda outside: Path("dangling.csv").symlink_to(outside / "new.csv"),
    "/proc/self/root{outside}/in.csv": lambda outside: None,
    "/proc/self/cwd/../outside/in.csv": lambda outside: None,
}


@pytest.fixture(params=WAYS_OUT)
def way_out(request: pytest.FixtureRequest, outside: Path) -> str:
    """A path that leads to in.csv or a new file outside of the root."""
    WAYS_OUT[request.param](outside)
    return str(request.param).format(outside=outside)


@pytest.mark.parametrize(
    "way_in", ["in.csv", "./in.csv", "../root/in.csv", "../real/in.csv", "alias"]
)
def test_what_leads_inside_is_allowed(inside: Path, way_in: str) -> None:
    Path("alias").symlink_to("in.csv")
    assert confined(Path(way_in)) == (inside / "in.csv").resolve()


# --- Where a job names a path ------------------------------------------------------------------


def refused_at(job: str) -> str:
    Path("job.yaml").write_text(job)
    with pytest.raises(CannotRun) as caught:
        load_job(Path("job.yaml"))
    return str(caught.value)


def test_a_job_that_leads_out_is_told_where(way_out: str, inside: Path) -> None:
    begins = "" if way_out.startswith("/") else f" (a relative path begins in {inside.resolve()})"
    expected = (
        f"leads out of the folders that jobs may use, {inside.resolve()}{begins}; name a path "
        "inside, or have its folder added to EM_IMPUTE_ROOT where em_impute is started"
    )
    source, target = f"{{path: {way_out}}}", "{path: out.csv}"
    assert refused_at(f"name: a\nsource: {source}\ntarget: {target}\n") == (
        f"job.yaml:2:16: source.path: {expected}"
    )
    assert refused_at(f"name: a\nsource: {{path: in.csv}}\ntarget: {source}\n") == (
        f"job.yaml:3:16: target.path: {expected}"
    )
    url = f"{{url: 'sqlite:///{way_out}', table: t}}"
    assert refused_at(f"name: a\nsource: {url}\ntarget: {target}\n") == (
        f"job.yaml:2:15: source.url: {expected}"
    )


@pytest.mark.parametrize(
    "url",
    [
        "file://{outside}/in.csv",
        "FILE://host{outside}/in.csv",
        "local://{outside}/in.csv",
        "zip://in.csv::file://{outside}/in.zip",
        "simplecache://x::file://{outside}/in.csv",
        "reference://x.csv",
        "https://example.org/in.csv",
    ],
)
def test_a_url_that_can_lead_out(outside: Path, url: str) -> None:
    source = f"{{path: '{url.format(outside=outside)}'}}"
    message = refused_at(f"name: a\nsource: {source}\ntarget: {{path: out.csv}}\n")
    assert message.startswith("job.yaml:2:16: source.path: ")
    assert "out of the folders that jobs may use" in message


def test_a_url_of_a_store_is_allowed(inside: Path) -> None:
    assert FileSource(path="s3://bucket/in.csv").path == "s3://bucket/in.csv"


def test_a_job_file_outside_is_not_read(outside: Path) -> None:
    job = outside / "job.yaml"
    job.write_text("name: a\nsource: {path: in.csv}\ntarget: {path: out.csv}\n")
    with pytest.raises(CannotRun, match=f"^{job}: leads out of the folders that jobs may use"):
        load_job(job)
    result = CliRunner().invoke(cli.main, ["check", str(job)])
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


# --- Where a path is opened: it may have become a link since ------------------------------------


def test_source_that_leads_out_when_it_is_opened(outside: Path, tmp_path: Path) -> None:
    source = FileSource(path=Path("in.csv"))
    Path("in.csv").unlink()
    Path("in.csv").symlink_to(outside / "in.csv")
    with pytest.raises(SourceError, match=r"^in.csv leads out of the folders"):
        take_snapshot(source, tmp_path / "snapshot.arrow")


def test_link_among_the_files_of_a_folder(outside: Path, tmp_path: Path) -> None:
    Path("parts").mkdir()
    Path("parts/a.csv").write_text(SECRET)
    source = FileSource(path=Path("parts"), format="csv")
    assert take_snapshot(source, tmp_path / "snapshot.arrow").rows == 1
    Path("parts/b.csv").symlink_to(outside / "in.csv")
    with pytest.raises(SourceError, match=r"^parts/b.csv leads out of the folders"):
        take_snapshot(source, tmp_path / "snapshot.arrow")


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    table, path = pa.table({"x": [1, 2]}), tmp_path / "staged.csv"
    with open_writer(path, "csv", table.schema) as writer:
        writer.write_batch(table.to_batches()[0])
    return Staged(path, "csv", 2, 0, sha256(path), path, ())


def test_target_that_leads_out_when_it_is_published(outside: Path, staged: Staged) -> None:
    target = FileTarget(path=Path("out/filled.csv"))
    Path("out").symlink_to(outside)
    for step in (lambda: check_target(target), lambda: publish(staged, target, "run")):
        with pytest.raises(TargetError, match=r"^The target out/filled.csv leads out of"):
            step()
    assert sorted(file.name for file in outside.iterdir()) == ["in.csv"]


@pytest.mark.parametrize("part", ["versions", "current"])
def test_part_of_a_folder_that_leads_out(outside: Path, staged: Staged, part: str) -> None:
    """Old versions are removed, and `current` is read: both only inside."""
    target = FileTarget(path=Path("out"), format="csv", partition_by=())
    (outside / "keep").mkdir()
    Path("out/versions").mkdir(parents=True)
    (Path("out") / part).rmdir() if part == "versions" else None
    (Path("out") / part).symlink_to(outside)
    with pytest.raises(TargetError, match=r"^The target out leads out of"):
        publish(staged, target, "run")
    assert (outside / "keep").is_dir()


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_database_that_leads_out_when_it_is_opened(
    outside: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("ITS_URL", f"{engine}:////{outside}/x.db")
    source = DatabaseSource.model_validate({"url": {"env": "ITS_URL"}, "table": "t"})
    with pytest.raises(SourceError, match="cannot be read: its file leads out of the folders"):
        open_source(source, 10)
    target = DatabaseTarget(url=f"{engine}:///x.db", table="t")
    Path("x.db").symlink_to(outside / "x.db")
    with pytest.raises(TargetError, match="cannot be written: its file leads out of the folders"):
        check_database(target)
    assert not (outside / "x.db").exists()


def test_folder_of_runs_that_leads_out(outside: Path) -> None:
    with pytest.raises(CannotRun, match=f"^The run's folder {outside}/job/run leads out of"):
        open_run_folder(outside, "job", "run")
    Path("runs").mkdir()
    Path("runs/job").symlink_to(outside)
    with pytest.raises(CannotRun, match=r"^The run's folder runs/job/run leads out of"):
        open_run_folder(Path("runs"), "job", "run")
    assert open_run_folder(Path("runs"), "other", "run").path.is_dir()


def test_verifying_a_run_whose_job_leads_out(inside: Path, outside: Path) -> None:
    definition = {
        "name": "a",
        "source": {"path": str(outside / "in.csv")},
        "target": {"path": "out.csv"},
    }
    run = inside / "runs"
    run.mkdir()
    content = {
        "run": "run",
        "definition": definition,
        "source": {"path": "in.csv", "fingerprint": "sha256:..."},
        "target": None,
        "outputs": {},
        "versions": {},
        "machine": {},
        "started": "2026-01-01T00:00:00+00:00",
    }
    (run / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(CannotRun, match=r"^A path of the run's job leads out of the folders"):
        verify(run)


# --- What SQL can reach ------------------------------------------------------------------------


def of_duckdb(query: str) -> list[dict[str, Any]]:
    schema, batches = open_source(DatabaseSource(url="duckdb:///x.duckdb", query=query), 10)
    rows: list[dict[str, Any]] = pa.Table.from_batches(list(batches), schema).to_pylist()
    return rows


@pytest.fixture
def duckdb_file(outside: Path) -> Path:
    with duckdb.connect("x.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        connection.execute(f"CREATE VIEW v AS FROM read_csv('{outside}/in.csv')")
    Path("link.csv").symlink_to(outside / "in.csv")
    return Path("x.duckdb")


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_csv('{outside}/in.csv')",
        "FROM '{outside}/in.csv'",
        "FROM read_text('../outside/*')",
        "FROM read_csv('link.csv')",
        "FROM glob('{outside}/*')",
        "FROM v",
        "FROM read_csv('https://example.org/in.csv')",
        "FROM duckdb_secrets()",
    ],
)
@pytest.mark.usefixtures("duckdb_file")
def test_query_of_duckdb_reads_files_inside_only(outside: Path, query: str) -> None:
    assert of_duckdb("SELECT a + x AS b FROM t, read_csv('in.csv')") == [{"b": 2}]
    with pytest.raises(SourceError, match="outside of the folders that jobs may use"):
        of_duckdb(query.format(outside=outside))


@pytest.mark.usefixtures("duckdb_file")
def test_duckdb_is_not_confined_without_the_variable(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EM_IMPUTE_ROOT")
    assert of_duckdb(f"FROM read_csv('{outside}/in.csv')") == [{"x": 1, "y": 2}]


def test_sqlite_attaches_nothing(inside: Path, outside: Path) -> None:
    for path in (Path("x.db"), outside / "y.db"):
        connection = sqlite3.connect(path)
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        connection.close()
    for query in (
        f"SELECT 1); ATTACH '{outside}/y.db' AS y; (SELECT 1",
        f"ATTACH '{outside}/y.db'",
    ):
        with pytest.raises(SourceError, match="cannot be read"):
            open_source(DatabaseSource(url="sqlite:///x.db", query=query), 10)


# --- Names that lead out by themselves -----------------------------------------------------------


def test_name_in_an_archive_that_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed by, also where every path is allowed."""
    monkeypatch.delenv("EM_IMPUTE_ROOT", raising=False)
    work = tmp_path / "a" / "work"
    work.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../../stolen.csv", SECRET)
        archive.writestr("good.csv", SECRET)
    source = FileSource(path=f"zip://::file://{tmp_path}/x.zip", format="csv")
    assert take_snapshot(source, work / "snapshot.arrow").rows == 1
    assert not list(tmp_path.rglob("stolen.csv"))


def test_value_of_a_partition_that_leads_out(inside: Path, tmp_path: Path) -> None:
    table = pa.table({"x": [1], "name": ["../../../stolen"]})
    path = tmp_path / "staged.feather"
    with open_writer(path, "feather", table.schema) as writer:
        writer.write_batch(table.to_batches()[0])
    target = FileTarget(path=Path("out"), format="parquet", partition_by=("name",))
    publish(Staged(path, "feather", 1, 0, sha256(path), path, ()), target, "run")
    (part,) = Path("out/current/").glob("name=*/*.parquet")
    assert pq.ParquetFile(part).metadata.num_rows == 1
    assert part.parent.name == "name=..%2F..%2F..%2Fstolen"
