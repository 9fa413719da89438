"""Small inputs that failed in the field, in tests/field/: each gives what is right now.

A folder has the input, its job, and a README on what happened; a script prints WRONG where
something is wrong.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import runpy
import shutil
import stat
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from conftest import EM_IMPUTE, write_yaml
from postgres_server import PostgresServer
from prefect.artifacts import Artifact
from ruamel.yaml import YAML

from em_impute.cli import main as cli

FIELD = Path(__file__).parent / "field"
SCRIPTS = sorted(path.name for path in FIELD.glob("python_*.py"))
EVOLVED = sorted(path.name for path in (FIELD / "10-parquet-evolution").iterdir() if path.is_dir())

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the test's folder of inputs, as the current one."""
    folder = tmp_path / "case"
    shutil.copytree(FIELD / request.param, folder)
    monkeypatch.chdir(folder)
    return folder


def inputs(name: str) -> Any:
    """Mark a test as being about a folder of inputs."""
    return pytest.mark.parametrize("here", [name], indirect=True, ids=[name])


def em_impute(*arguments: str, code: int = 0) -> Result:
    """Run the command and see that it ends as expected, without a traceback.

    A job runs without Prefect, which has no part in most of these faults.
    """
    if arguments[0] == "run":
        arguments = (*arguments, "--direct")
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def change_job(**changes: Any) -> None:
    """Change keys of job.yaml; what is given for a mapping joins its keys."""
    job = YAML(typ="safe", pure=True).load(Path("job.yaml"))
    for key, value in changes.items():
        job[key] = job.get(key, {}) | value
    write_yaml(Path("job.yaml"), job)


def spelled(path: str) -> dict[str, list[str]]:
    """The columns of a CSV as they are spelled."""
    with Path(path).open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def verdict() -> str:
    """The last run's verdict, and its warnings."""
    folder = max(Path("runs").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    said = json.loads((folder / "report.json").read_text())["verdict"]
    return " ".join(map(str, said.values()))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_nothing_wrong(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(FIELD / script), run_name="__main__")
    said = capsys.readouterr().out
    assert "right" in said, said
    assert "WRONG" not in said, said
    assert "rough" not in said, said


# --- CSV ---------------------------------------------------------------------------------------


@inputs("01-csv-long-digits")
def test_long_digits_keep_their_spelling(here: Path) -> None:
    em_impute("run", "job.yaml")
    before, after = spelled("data.csv"), spelled("out.csv")
    for name in ("id", "money", "d20", "mix", "c"):
        assert after[name] == before[name], name
    for name in ("a", "b"):
        assert all(b in ("", a) for b, a in zip(before[name], after[name], strict=True))
        assert all(after[name])


@inputs("03-one-bad-cell-drops-column")
def test_one_cell_of_text_among_numbers_is_told(here: Path) -> None:
    table = Path("data.csv").read_text()
    Path("data.csv").write_text(table.replace("#DIV/0!", ""))
    em_impute("run", "job.yaml")
    Path("data.csv").write_text(table)
    checked = em_impute("check", "job.yaml").output
    em_impute("run", "job.yaml")
    for told in (checked, verdict()):
        assert "21" in told, told
        assert "a" in told.split() or "'a'" in told, told
    change_job(columns={"impute": ["a", "b"]})
    refused = em_impute("run", "job.yaml", code=2).output
    assert "21" in refused, refused


@inputs("11-csv-semicolon")
def test_a_semicolon_and_a_decimal_comma_are_proposed_and_read(here: Path) -> None:
    told = em_impute("check", "job.yaml", code=2).output
    assert 'delimiter: ";"' in told or "delimiter: ';'" in told, told
    assert "decimal" in told, told
    change_job(source={"csv": {"delimiter": ";", "decimal": ","}})
    em_impute("run", "job.yaml")
    assert all(map(all, spelled("out.csv").values()))


@inputs("13-sentinels")
def test_spellings_of_missing_are_told_and_taken(here: Path) -> None:
    assert "-999" in em_impute("check", "job.yaml").output
    em_impute("run", "job.yaml")
    assert "missing" in verdict(), verdict()
    change_job(source={"missing": ["-999"]})
    em_impute("run", "job.yaml")
    assert "-999" not in spelled("out.csv")["a"]
    shutil.copy("dot.csv", "data.csv")
    change_job(source={"missing": ["."]})
    em_impute("run", "job.yaml")
    filled = spelled("out.csv")
    assert all(float(cell) for name in ("a", "b") for cell in filled[name])


@inputs("13-sentinels")
def test_a_dot_that_makes_a_column_text_is_told(here: Path) -> None:
    shutil.copy("dot.csv", "data.csv")
    assert "missing:" in em_impute("check", "job.yaml").output


@inputs("20-excel-sep-line")
def test_excels_first_line_is_read(here: Path) -> None:
    em_impute("run", "job.yaml")
    assert list(spelled("out.csv")) == ["id", "a", "b", "c"]


# --- Folders and Arrow's files -----------------------------------------------------------------


@inputs("04-hive-null-leading-zero")
def test_folders_names_come_back(here: Path) -> None:
    em_impute("run", "job.yaml")
    published = Path("out/current")
    folders = {path.parent.relative_to(published) for path in published.rglob("*.parquet")}
    assert {folder.parts[0] for folder in folders} == {
        "store=007",
        "store=7",
        "store=__HIVE_DEFAULT_PARTITION__",
    }
    # The only holes of such a column are in a folder's name.
    rows = Counter(
        str(path.relative_to(published).parts[0])
        for path in published.rglob("*.parquet")
        for _ in range(pq.read_metadata(path).num_rows)
    )
    assert set(rows.values()) == {20}


@pytest.mark.parametrize("kind", EVOLVED)
@inputs("10-parquet-evolution")
def test_files_that_differ_without_loss_are_one_table(here: Path, kind: str) -> None:
    os.chdir(kind)
    em_impute("check", "job.yaml")
    em_impute("run", "job.yaml")
    rows = sum(pq.read_metadata(path).num_rows for path in Path("data").rglob("*.parquet"))
    assert pq.read_metadata("out.parquet").num_rows == rows


@inputs("16-decimal-not-imputable")
def test_decimals_are_imputed_and_come_back_as_decimals(here: Path) -> None:
    em_impute("run", "job.yaml")
    before, after = pq.read_table("data.parquet"), pq.read_table("out.parquet")
    assert pa.types.is_decimal(before.schema.field("dec").type)
    assert after.schema.field("dec").type == before.schema.field("dec").type
    assert after["dec"].null_count == 0
    pairs = zip(before["dec"].to_pylist(), after["dec"].to_pylist(), strict=True)
    assert all(was in (None, now) for was, now in pairs)


@inputs("adv-05-source-folder-silently-loses-rows")
def test_files_that_are_passed_over_are_named(here: Path, tmp_path: Path) -> None:
    Path("f/sub").mkdir(parents=True)
    Path("other").mkdir()
    for place in ("f/a.csv", "f/sub/b.csv", "other/c.csv"):
        Path(place).write_text("a,b\n1,2\n,3\n4,5\n")
    write_yaml(
        Path("job.yaml"),
        {"name": "x", "source": {"path": "f", "format": "csv"}, "target": {"path": "o.csv"}},
    )
    Path("f/link").symlink_to("../other")
    assert "link" in em_impute("check", "job.yaml", code=2).output
    Path("f/link").unlink()
    Path("f/dangling.csv").symlink_to("nowhere.csv")
    assert "dangling.csv" in em_impute("check", "job.yaml", code=2).output
    Path("f/dangling.csv").unlink()
    os.mkfifo("f/pipe.csv")
    assert "pipe.csv" in em_impute("check", "job.yaml", code=2).output


@inputs("adv-07-feather-segfault")
def test_a_damaged_feather_file_ends_in_a_sentence(here: Path) -> None:
    done = subprocess.run([EM_IMPUTE, "check", "job.yaml"], capture_output=True, text=True)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "bad.feather" in done.stderr
    assert "Traceback" not in done.stderr


@inputs("adv-10-device-or-pipe-as-target-is-replaced")
def test_a_pipe_is_no_target(here: Path) -> None:
    Path("in.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    Path("out").mkdir()
    os.mkfifo("out/fifo")
    Path("out/link").symlink_to("fifo")
    for target in ("out/fifo", "out/link"):
        job = {"name": "x", "source": {"path": "in.csv"}}
        write_yaml(Path("job.yaml"), job | {"target": {"path": target, "format": "csv"}})
        for command in ("check", "run"):
            em_impute(command, "job.yaml", code=2)
    assert stat.S_ISFIFO(Path("out/fifo").stat().st_mode)


@inputs("adv-03-dated-append-after-target-deleted")
def test_a_record_of_a_file_that_is_gone_is_void(here: Path) -> None:
    Path("in").mkdir()
    for i in (1, 2, 3):
        rng = np.random.default_rng(i)
        a = rng.normal(size=300)
        frame = pd.DataFrame({"id": range(300), "v": i, "a": a, "b": a + rng.normal(size=300)})
        frame.loc[::9, "a"] = np.nan
        frame.to_csv(f"in/2026-01-0{i}.csv", index=False)
    job = {
        "name": "del",
        "source": {"path": "in/{date}.csv"},
        "target": {"path": "out/t.csv", "mode": "append"},
        "columns": {"impute": ["a"], "predictors": ["b"], "key": ["id", "v"]},
    }
    write_yaml(Path("job.yaml"), job)
    days = ("backfill", "job.yaml", "--from", "2026-01-01", "--to", "2026-01-03")
    em_impute(*days)
    Path("out/t.csv").unlink()
    em_impute("run", "job.yaml", "-q", "--date", "2026-01-01")
    em_impute(*days)
    assert Counter(spelled("out/t.csv")["v"]) == {"1": 300, "2": 300, "3": 300}


# --- Databases ---------------------------------------------------------------------------------

BASE = (
    "create table {schema}.base as select i::int as id,"
    " case when i % 5 = 0 then null else (10 + sin(i) * 3 + i / 20.0) end::float8 as a,"
    " case when i % 7 = 0 then null else (5 + cos(i) * 2 + i / 30.0) end::float8 as b,"
    " (sin(i * i) * 4 + i / 10.0)::float8 as c from generate_series(1, 80) i"
)


_schemas = (f"field_{number}" for number in itertools.count())


@pytest.fixture
def schema(postgres: PostgresServer) -> str:
    """A schema of the test's own, with the table `base` in it."""
    name = next(_schemas)
    postgres.run(f"create schema {name}", BASE.format(schema=name))
    return name


def use_tables(postgres: PostgresServer, schema: str, target: str, **keys: Any) -> None:
    """Have job.yaml read `base` and write another table."""
    change_job(
        source={"url": postgres.url, "table": f"{schema}.base"},
        target={"url": postgres.url, "table": f"{schema}.{target}"} | keys,
    )


@inputs("06-pg-target-rounds-observed")
def test_a_target_that_rounds_what_was_observed_is_refused(
    here: Path, postgres: PostgresServer, schema: str
) -> None:
    postgres.run(
        f"create table {schema}.n2 (id int primary key, a numeric(10,2), b float8, c real)"
    )
    use_tables(postgres, schema, "n2")
    em_impute("run", "job.yaml", code=2)
    assert postgres.run(f"select count(*) from {schema}.n2") == [(0,)]
    change_job(target={"narrowing": "allow"})
    em_impute("run", "job.yaml")
    assert postgres.run(f"select count(*), count(a) from {schema}.n2") == [(80, 80)]
    assert "64" in verdict(), verdict()


@inputs("07-pg-identity-always")
def test_an_identity_key_is_upserted(here: Path, postgres: PostgresServer, schema: str) -> None:
    postgres.run(
        f"create table {schema}.ident (id int generated always as identity primary key,"
        " a float8, b float8, c float8)",
        f"insert into {schema}.ident (a, b, c) select a, b, c from {schema}.base",
    )
    use_tables(postgres, schema, "ident")
    em_impute("check", "job.yaml")
    em_impute("run", "job.yaml")
    whole = f"select count(*), count(a), count(b) from {schema}.ident"
    assert postgres.run(whole) == [(80, 80, 80)]


@inputs("adv-01-pg-query-runs-copy-program")
def test_a_query_that_runs_a_program_is_not_sent(here: Path, postgres: PostgresServer) -> None:
    written = here / "written-by-the-server"
    here.chmod(0o777)
    query = f"copy (select 1) to program 'id > {written}'"
    job = {"name": "pg", "source": {"url": postgres.url, "query": query}}
    write_yaml(Path("job.yaml"), job | {"target": {"path": "o.csv"}})
    for command in ("check", "run"):
        assert "SELECT" in em_impute(command, "job.yaml", code=2).output
    assert not written.exists()


TABLE = "create table {s}.t (id bigint, v bigint, a float8)"


@pytest.mark.parametrize(
    "made",
    [
        (
            TABLE,
            "create function {s}.skip() returns trigger language plpgsql as"
            " $$ begin if new.id % 2 = 0 then return null; end if; return new; end $$",
            "create trigger s before insert on {s}.t for each row execute function {s}.skip()",
        ),
        (TABLE, "create rule r as on insert to {s}.t do instead nothing"),
        (
            "create table {s}.under (id bigint, v bigint, a float8)",
            "create view {s}.t as select * from {s}.under where a > 0.5",
        ),
    ],
    ids=["trigger", "rule", "view"],
)
@inputs("adv-02-pg-published-rows-not-counted")
def test_rows_that_the_target_does_not_take_are_counted(
    here: Path, postgres: PostgresServer, schema: str, made: tuple[str, ...]
) -> None:
    postgres.run(*(statement.format(s=schema) for statement in made))
    source = f"select id, 1::bigint as v, nullif(sin(id), sin(3)) as a from {schema}.base"
    job = {"name": "rows", "source": {"url": postgres.url, "query": source}}
    target = {"url": postgres.url, "table": f"{schema}.t"}
    write_yaml(Path("job.yaml"), job | {"target": target, "columns": {"key": ["id"]}})
    for _ in range(2):
        em_impute("run", "job.yaml", code=2)
        assert postgres.run(f"select count(*) from {schema}.t") == [(0,)]


@inputs("adv-08-sqlite-upsert-quadratic")
def test_an_upsert_of_many_rows_into_sqlite_comes_to_an_end(here: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(20_000), "a": rng.random(20_000), "b": rng.random(20_000)})
    frame.loc[::9, "a"] = np.nan
    frame.to_csv("in.csv", index=False)
    job = {
        "name": "many",
        "source": {"path": "in.csv"},
        "target": {"url": "sqlite:///t.db", "table": "t", "mode": "upsert"},
        "columns": {"key": ["id"]},
    }
    write_yaml(Path("job.yaml"), job)
    em_impute("run", "job.yaml")
    em_impute("run", "job.yaml")


# --- Prefect -----------------------------------------------------------------------------------


@inputs("adv-06-prefect-table-artifacts-render-markdown")
def test_names_in_artifacts_are_no_markup(here: Path) -> None:
    assert CliRunner().invoke(cli.main, ["run", "job.yaml"]).exit_code == 0
    for key in ("names-report", "names-columns", "names-checks"):
        artifact = Artifact.get(key)
        assert artifact is not None
        text = str(artifact.data)
        for markup in ("![x](", "<img", "[click](", "www.evil.example"):
            assert markup not in text, (key, markup)
