"""The blocks: Prefect's own standard for them, and on a real server, secrets included."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from conftest import ROOT
from postgres_server import GUARDED, PASSWORD, PostgresServer
from prefect import flow, task
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.logging.handlers import APILogWorker
from prefect.plugins import load_prefect_collections
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError
from servers import PrefectServer

from em_impute import blocks
from em_impute.cli import main as cli
from em_impute.flows.job_block import EMImputeJob
from em_impute.job import CannotRun, DatabaseSource
from em_impute.plugin.blocks import EMImputeDatabase, read_block
from em_impute.runs.run import Refused
from em_impute.tables.databases import logins
from em_impute.tables.databases.logins import Login, LoginError, login_to, read_blocks_with

JOB = (ROOT / "configs" / "quickstart.yaml").read_text()


class TestStandard(BlockStandardTestSuite):
    @pytest.fixture(params=[EMImputeJob, EMImputeDatabase])
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param  # type: ignore[no-any-return]

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """That of a block of Prefect's own, which Prefect tests; not fetched from the web here."""
        pictures = str(Secret._logo_url).rpartition("/")[0]
        assert str(block._logo_url).rpartition("/")[0] == pictures


def test_prefect_finds_the_blocks_by_itself() -> None:
    [entry] = entry_points(group="prefect.collections", name="em_impute")
    assert entry.load() is blocks
    assert load_prefect_collections()["em_impute"] is blocks


# --- What a block refuses ----------------------------------------------------------------------


def refusal(kind: type[Block], **fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        kind(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "expected either yaml, the text of a job, or path, got neither"),
        (
            {"yaml": JOB, "path": "job.yaml"},
            "expected either yaml, the text of a job, or path, got",
        ),
        ({"yaml": "name: x\nsorce: {}"}, "yaml:2:1: sorce: unknown key (did you mean source?)"),
        ({"yaml": JOB, "rums": "runs"}, "Extra inputs are not permitted"),
    ],
)
def test_a_job_is_checked_when_it_is_made(fields: dict[str, str], said: str) -> None:
    assert said in refusal(EMImputeJob, **fields)


def test_a_database_is_checked_when_it_is_made() -> None:
    for url in ("postgresql://u:geheim@h/d", "postgresql://h/d?password=geheim"):
        said = refusal(EMImputeDatabase, url=url)
        assert "the password has a field of its own" in said
        assert "geheim" not in said
    assert "such as postgresql://host/database" in refusal(EMImputeDatabase, url="geheim")
    said = refusal(EMImputeDatabase, url="postgresql://h/d", passwort="geheim")
    assert "geheim" not in said
    assert "geheim" not in repr(EMImputeDatabase(url="duckdb:///a", password="geheim").login())


# --- Logins ------------------------------------------------------------------------------------


@pytest.fixture
def kept() -> Iterator[dict[str, str | Login]]:
    """Blocks that are kept in a dict instead of Prefect."""
    there: dict[str, str | Login] = {}
    read_blocks_with(there.__getitem__)
    yield there
    read_blocks_with(read_block)


def source(**login: Any) -> DatabaseSource:
    return DatabaseSource.model_validate({"table": "t", **login})


URL = "postgresql://u@h/d"


def test_a_login_is_put_together_from_what_the_job_names(
    kept: dict[str, str | Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept |= {"secret/url": URL, "secret/pw": "geheim", "em-impute-database/db": Login(URL, "pw")}
    monkeypatch.setenv("PW", "other")
    by_block = {"block": "em-impute-database/db"}
    assert login_to(source(url=by_block)) == Login(URL, "pw")
    assert login_to(source(url=by_block, password={"env": "PW"})) == Login(URL, "other")
    assert login_to(source(url={"block": "secret/url"})) == Login(URL)
    assert login_to(source(url=URL, password={"block": "secret/pw"})) == Login(URL, "geheim")
    assert login_to(source(url=URL, password=by_block)) == Login(URL, "pw")


def test_what_is_no_login_is_said_without_the_secret(kept: dict[str, str | Login]) -> None:
    kept |= {"secret/url": "geheim", "em-impute-database/db": Login("duckdb:///a.duckdb")}
    with pytest.raises(LoginError, match=r"^the block secret/url: expected the URL") as caught:
        login_to(source(url={"block": "secret/url"}))
    assert "geheim" not in str(caught.value)
    with pytest.raises(LoginError, match=r"^the block em-impute-database/db keeps no password$"):
        login_to(source(url=URL, password={"block": "em-impute-database/db"}))


def test_without_prefect_no_block_is_read() -> None:
    program = (
        "from em_impute.job import DatabaseSource as Source\n"
        "from em_impute.tables.sources import take_snapshot\n"
        "from pathlib import Path\n"
        "take_snapshot(Source(url={'block': 'secret/a'}, table='t'), Path('snapshot.arrow'))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stderr.strip().endswith(
        "The table t of the block secret/a cannot be read: the block secret/a can only be read "
        "where Prefect runs the job."
    )


# --- On a server -------------------------------------------------------------------------------

on_a_server = pytest.mark.usefixtures("prefect_server")


def ask(server: PrefectServer, path: str, query: dict[str, Any] | None = None) -> str:
    """What the API answers."""
    request = urllib.request.Request(
        f"{server.url}/api/{path}",
        data=None if query is None else json.dumps(query).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        text: str = answer.read().decode()
    return text


def test_they_are_registered_by_the_command_of_the_docs(prefect_server: PrefectServer) -> None:
    command = [sys.executable, "-m", "prefect", "block", "register", "-m", "em_impute.blocks"]
    said = subprocess.run(
        command, env=prefect_server.environment, capture_output=True, text=True, check=True
    )
    assert re.findall(r"│ (.*?) +│", said.stdout) == ["EM Impute Database", "EM Impute Job"]
    for slug in ("em-impute-job", "em-impute-database"):
        kind = json.loads(ask(prefect_server, f"block_types/slug/{slug}"))
        assert kind["description"]
        assert "BLOCK_NAME" in kind["code_example"]


def warehouse(postgres: PostgresServer, schema: str) -> None:
    """New York's air in a schema that GUARDED, who needs a password, can read and write."""
    postgres.run(f"CREATE SCHEMA {schema} AUTHORIZATION {GUARDED}")
    air = pd.read_csv(ROOT / "data" / "airquality.csv").astype(float)
    air.columns = [name.lower().replace(".", "_") for name in air.columns]
    with postgres.session() as cursor:
        table = pa.Table.from_pandas(air, preserve_index=False)
        cursor.adbc_ingest("measured", table, mode="create", db_schema_name=schema)
        cursor.execute(f"GRANT SELECT ON {schema}.measured TO {GUARDED}")


def test_a_job_and_its_login_are_kept_in_prefect(
    prefect_server: PrefectServer,
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Saved, loaded, run; the password opens PostgreSQL and is nowhere else."""
    monkeypatch.chdir(tmp_path)
    warehouse(postgres, "kept")
    login = EMImputeDatabase(url=postgres.guarded_url, password=PASSWORD)
    login.save("warehouse", overwrite=True)
    login_here = "url: {block: em-impute-database/warehouse}"
    text = (
        "name: kept_in_prefect\n"
        f"source: {{{login_here}, table: kept.measured}}\n"
        "columns: {impute: [ozone, solar_r], key: [month, day]}\n"
        f"target: {{{login_here}, table: kept.filled}}\n"
    )
    EMImputeJob(yaml=text, runs="kept-runs").save("kept", overwrite=True)
    job = EMImputeJob.load("kept")
    outcome = job.run()
    assert "44 missing cells were filled" in outcome.verdict.sentence
    assert postgres.run("SELECT count(*) FROM kept.filled WHERE ozone IS NOT NULL") == [(153,)]
    assert outcome.report.is_relative_to("kept-runs/kept_in_prefect")

    APILogWorker.drain_all(timeout=30)
    document = "block_types/slug/em-impute-database/block_documents/name/warehouse"
    asked = ask(prefect_server, document)
    assert json.loads(asked)["data"] == {"url": postgres.guarded_url, "password": "********"}
    folder = outcome.report.parent
    kept = prefect_server.kept()
    left = {
        "the block": asked,
        "the log": ask(prefect_server, "logs/filter", {"sort": "TIMESTAMP_DESC"}),
        "the artifacts": ask(prefect_server, "artifacts/filter", {"sort": "CREATED_DESC"}),
        "the flow runs": ask(prefect_server, "flow_runs/filter", {"sort": "START_TIME_DESC"}),
        "the task runs": ask(prefect_server, "task_runs/filter", {}),
        **{str(p): p.read_bytes().decode(errors="replace") for p in folder.iterdir()},
        **{name: data.decode(errors="replace") for name, data in kept.items()},
    }
    assert "kept_in_prefect" in left["the artifacts"] + left["the flow runs"]
    assert "the block em-impute-database/warehouse" in left["the log"]
    assert {"the table block_document", "the table log"} <= left.keys()
    assert any(name.endswith("server.log") for name in left)
    assert not [name for name, text in left.items() if PASSWORD in text or "s3cret" in text]


@on_a_server
def test_a_job_of_a_path_is_read_again_by_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a flow of one's own; a refusal ends that flow with the reason."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("x,y\n1,2\n2,\n3,7\n4,8\n")
    Path("job.yaml").write_text("name: p\nsource: {path: in.csv}\ntarget: {path: out.csv}\n")
    EMImputeJob(path="job.yaml").save("by-path", overwrite=True)

    @flow
    def nightly() -> str:
        return EMImputeJob.load("by-path").run().verdict.sentence

    assert "1 missing cell was filled" in nightly()
    refusing = "checks: {input: [{expect_column_mean_to_be_between: {column: x, min_value: 5}}]}\n"
    Path("job.yaml").write_text(Path("job.yaml").read_text() + refusing)
    with pytest.raises(Refused, match="1 critical check failed on the input"):
        nightly()
    Path("job.yaml").write_text("name: p\n")
    with pytest.raises(CannotRun, match="source: this key is missing"):
        nightly()


@on_a_server
def test_a_secret_of_digits_stays_text_and_other_kinds_are_refused() -> None:
    Secret(value="0123456").save("digits", overwrite=True)
    assert read_block("secret/digits") == "0123456"
    Secret(value={"password": "geheim"}).save("object", overwrite=True)
    EMImputeJob(yaml=JOB).save("no-login", overwrite=True)
    for name, said in {
        "secret/object": "keeps something else than text",
        "em-impute-job/no-login": "is neither a secret/... nor an em-impute-database/...",
        "secret/nowhere": "cannot be read from Prefect (ValueError); see that `prefect block",
    }.items():
        with pytest.raises(LoginError) as caught:
            read_block(name)
        assert f"the block {name} {said}" in str(caught.value)
        assert "geheim" not in str(caught.value)


@on_a_server
def test_tasks_of_asynchronous_flows_read_blocks_too() -> None:
    Secret(value="geheim").save("asked", overwrite=True)

    @task
    def read() -> int:
        return len(str(read_block("secret/asked")))

    @flow
    async def asynchronous() -> int:
        return read()

    assert asyncio.run(asynchronous()) == len("geheim")


@on_a_server
def test_check_and_verify_read_blocks_too(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    warehouse(postgres, "checked")
    Secret(value=PASSWORD).save("checked-password", overwrite=True)
    Path("job.yaml").write_text(
        "name: checked\n"
        f"source: {{url: '{postgres.guarded_url}', table: checked.measured, "
        "password: {block: secret/checked-password}}\n"
        "target: {path: out.parquet}\n"
    )
    for command in (["check", "job.yaml"], ["run", "job.yaml"]):
        result = CliRunner().invoke(cli.main, command)
        assert result.exit_code == 0, result.output
    [folder] = Path("runs/checked").iterdir()
    monkeypatch.setattr(logins, "_read_block", logins._no_blocks)
    verified = CliRunner().invoke(cli.main, ["verify", str(folder)])
    assert verified.exit_code == 0, verified.output
    Path("job.yaml").write_text(Path("job.yaml").read_text().replace("checked-password", "nope"))
    refused = CliRunner().invoke(cli.main, ["check", "job.yaml"])
    assert refused.exit_code == 2
    assert "the block secret/nope cannot be read from Prefect" in refused.output
