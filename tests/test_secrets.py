"""Planted secrets and cells are found nowhere that a run leaves, however it ends.

Passwords and tokens are in the environment and in git's settings, marked values in the cells of the
tables. Then jobs run that publish, are refused and fail, and all that they leave is searched: the
folders of the runs, what was printed, everything that the Prefect server keeps, what a receiver of
lineage was sent, and the tables of the history.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tblib.pickling_support
from click.testing import CliRunner
from conftest import WriteJob
from gx_projects import HOOK, make_project
from postgres_server import GUARDED, PostgresServer
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from receivers import Receiver, receiving
from servers import PrefectServer

from em_impute.cli import main as cli
from em_impute.plugin import tasks

pytestmark = pytest.mark.xdist_group("prefect")

# What a URL has to escape stands at the ends, so that the middle is found whichever way.
PASSWORD, WRONG = "/@:pLant3dPassw0rd %?#", "/@:wr0ngPlantedPass %?#"
SECRETS = ["pLant3dPassw0rd", "wr0ngPlantedPass", "pLant3dTok3n", "pLant3dUrlK3y"]
NOTE, KEY, NUMBER = "cellOfXanadu", "keyOfXanadu", 8642097531.25
CELLS = [NOTE, KEY, "8642097531", "8,642,097,531"]


def marked() -> pd.DataFrame:
    """Forty rows with holes in y, whose largest value is the marked number."""
    rng = np.random.default_rng(1)
    x = rng.normal(5e9, 1e9, 40)
    y = np.where(np.arange(40) % 5 == 0, np.nan, x + rng.normal(0, 1e8, 40))
    y[7] = NUMBER
    return pd.DataFrame({"k": [f"{KEY}{i}" for i in range(40)], "x": x, "y": y, "note": NOTE})


@pytest.fixture
def planted(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database whose user needs the password, and an environment that holds the secrets."""
    columns = "k text, x float8, y float8"
    postgres.run(
        f"CREATE ROLE planted LOGIN PASSWORD '{PASSWORD}' IN ROLE {GUARDED}",
        "CREATE SCHEMA planted",
        f"CREATE TABLE planted.narrow ({columns}, note varchar(5))",
        f"CREATE TABLE planted.unique_note ({columns}, note text UNIQUE)",
        f"CREATE TABLE planted.guarded ({columns}, note text)",
        "CREATE FUNCTION planted.complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE 'bad note %', NEW.note USING ERRCODE = 'check_violation'; END $$",
        "CREATE TRIGGER complain BEFORE INSERT ON planted.guarded FOR EACH ROW "
        "EXECUTE FUNCTION planted.complain()",
    )
    with postgres.session() as cursor:
        table = pa.Table.from_pandas(marked(), preserve_index=False)
        cursor.adbc_ingest("measured", table, db_schema_name="planted")
        cursor.execute("GRANT ALL ON SCHEMA planted TO planted")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA planted TO planted")
    place, secret = f"127.0.0.1:{postgres.port}/postgres", quote(PASSWORD, safe="")
    for name, value in {
        "DB_URL": f"postgresql://planted:{secret}@{place}",
        "DB_PASSWORD": PASSWORD,
        "DB_WRONG": WRONG,
        "DB_NOBODY": f"postgresql://planted:{secret}@127.0.0.1:1/d",
        "DB_OPTION": f"postgresql://planted:{secret}@{place}?sslmode=pLant3dTok3n",
        "DB_PERCENT": f"postgresql://planted:pLant3dPassw0rd%ZZ@{place}",
        "DB_SLASH": f"postgresql://planted:x@pLant3dPassw0rd/y@{place}",
        "DB_SURROGATE": f"postgresql://planted:pLant3dPassw0rd\udcff@{place}",
        "PYICEBERG_CATALOG__NOBODY__URI": f"postgresql://planted:{secret}@127.0.0.1:1/d",
        "PYICEBERG_CATALOG__WRONG__URI": f"postgresql://planted:{quote(WRONG, safe='')}@{place}",
        "PYICEBERG_CATALOG__BROKEN__URI": "postgresql:planted:pLant3dPassw0rd",
        "PYICEBERG_CATALOG__PLANTED__URI": f"postgresql://planted:{secret}@{place}"
        "?options=-csearch_path%3Dplanted",
        "SERVICE_TOKEN": "pLant3dTok3n",
        "AWS_ENDPOINT_URL": "http://pLant3dTok3n@127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "pLant3dUrlK3y",
        "AWS_SECRET_ACCESS_KEY": "pLant3dPassw0rd",
        HOOK: "http://127.0.0.1:1/pLant3dUrlK3y",
    }.items():
        monkeypatch.setenv(name, value)


def database(url: str | dict[str, str], table: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "table": f"planted.{table}", **more}


@pytest.fixture
def lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver of lineage, asked for with a key, which does not take the starts of runs."""
    with receiving(lambda event: 401 if event["eventType"] == "START" else 200) as receiver:
        place = receiver.url.partition("//")[2]
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://me:pLant3dUrlK3y@{place}")
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "pLant3dTok3n")
        (tmp_path / ".git").mkdir()
        address = "https://me:pLant3dTok3n@git.example.org/jobs.git"
        (tmp_path / ".git" / "config").write_text(f'[remote "origin"]\n\turl = {address}\n')
        yield receiver


@pytest.fixture
def project(tmp_path: Path) -> None:
    """A project of Great Expectations whose suites fail on the marked cells, and its webhook."""
    largest = gxe.ExpectColumnMaxToBeBetween(column="y", max_value=1, severity="warning")
    notes = gxe.ExpectColumnValuesToBeInSet(column="note", value_set=["x"], severity="warning")
    make_project(tmp_path, {"planted": [largest, notes]})


FROM_DB = database({"env": "DB_URL"}, "measured")
MODEL = {"key": ["k"]}


def runs(port: int) -> dict[str, tuple[dict[str, Any], int, str]]:
    """What to run: the job, its exit code, and something that it says."""
    url = f"postgresql://planted@127.0.0.1:{port}/postgres"
    to_db = {"target": database({"env": "DB_URL"}, "filled"), "source": FROM_DB, "columns": MODEL}
    to_db["report"] = {"history_table": database({"env": "DB_URL"}, "numbers")}

    def checked(name: str, **options: Any) -> dict[str, Any]:
        return {"source": FROM_DB, "columns": MODEL, "checks": {"input": [{name: options}]}}

    def wrong(url: Any, **more: Any) -> dict[str, Any]:
        return {"source": database(url, "measured", **more)}

    return {
        "published": (to_db, 0, "8 missing cells were filled"),
        "judged by the suite of a project": (
            {
                "source": FROM_DB,
                "columns": MODEL,
                "checks": {"context": "gx", "checkpoint": {"input": "planted"}},
                "self_test": "off",
            },
            0,
            "The first of 3 warnings: Not met on the input",
        ),
        "published again": (
            to_db
            | {
                "source": database(url, "measured", password={"env": "DB_PASSWORD"}),
                "imputation": {"method": "draw", "mask": True},
                "target": {"path": "out/filled.parquet"},
                "report": {"history_table": database(url, "numbers", password={"env": "DB_WRONG"})},
                "self_test": "off",
            },
            0,
            "are not in its history table: The table planted.numbers",
        ),
        "refused: too large": (
            checked("expect_column_values_to_be_between", column="y", max_value=1),
            1,
            "32 of 32 rows unexpected",
        ),
        "refused: not in the set": (
            checked("expect_column_values_to_be_in_set", column="note", value_set=["a"]),
            1,
            "40 of 40 rows unexpected",
        ),
        "refused: maximum": (
            checked("expect_column_max_to_be_between", column="y", max_value=1),
            1,
            "failed",
        ),
        "connection refused": (wrong({"env": "DB_NOBODY"}), 3, "connection refused"),
        "wrong password": (wrong(url, password={"env": "DB_WRONG"}), 2, "refused the login"),
        "a wrong option": (wrong({"env": "DB_OPTION"}), 2, "is not one that PostgreSQL's driver"),
        "half an escape": (wrong({"env": "DB_PERCENT"}), 2, "is not one that PostgreSQL's driver"),
        "an open slash": (wrong({"env": "DB_SLASH"}), 2, "written with %2F"),
        "no Unicode": (wrong({"env": "DB_SURROGATE"}), 2, "not valid text"),
        "a token for a URL": (wrong({"env": "SERVICE_TOKEN"}), 2, "expected the URL of a database"),
        "missing column": (
            {"source": FROM_DB, "columns": {"impute": ["nope"]}},
            2,
            "no column 'nope'",
        ),
        "text to impute": ({"source": FROM_DB, "columns": {"impute": ["note"]}}, 2, "'note'"),
        "text in a CSV": ({"columns": {"impute": ["y"], "predictors": ["note"]}}, 2, "'note'"),
        "too long for the target": (
            to_db | {"target": database({"env": "DB_URL"}, "narrow")},
            2,
            "its types would change cells that were not filled",
        ),
        "not unique in the target": (
            to_db | {"target": database({"env": "DB_URL"}, "unique_note")},
            2,
            "unique_note_note_key",
        ),
        "a trigger that tells": (
            to_db | {"target": database({"env": "DB_URL"}, "guarded")},
            2,
            "a trigger or function of the database raised an error",
        ),
        "a password in the job": (
            {"target": database("postgresql://planted:pLant3dPassw0rd@h/d", "t")},
            2,
            "a password must not stand in a job",
        ),
        "a key in a URL": (
            {"source": {"path": "zip://a.csv::s3://pLant3dUrlK3y:x@bucket/b.zip"}},
            2,
            "a URL in a job holds no password",
        ),
        "a Delta table to read at a store that does not answer": (
            {"source": {"path": "s3://lake/air", "format": "delta"}},
            3,
            "s3://lake/air cannot be reached",
        ),
        "a Delta table to write there": (
            {"target": {"path": "s3://lake/filled", "format": "delta"}},
            3,
            "s3://lake/filled cannot be reached",
        ),
        "a key in the URL of a Delta table": (
            {"target": {"path": "s3://pLant3dUrlK3y:x@lake/filled", "format": "delta"}},
            2,
            "a URL in a job holds no password",
        ),
        "an Iceberg table to read whose catalog does not answer": (
            {"source": {"table": "nyc.air", "format": "iceberg", "catalog": "nobody"}},
            3,
            "nobody.nyc.air cannot be reached",
        ),
        "an Iceberg table to write there": (
            {"target": {"table": "nyc.filled", "format": "iceberg", "catalog": "nobody"}},
            3,
            "nobody.nyc.filled cannot be reached",
        ),
        "an Iceberg table whose catalog refuses the password": (
            {"target": {"table": "nyc.filled", "format": "iceberg", "catalog": "wrong"}},
            3,
            "wrong.nyc.filled cannot be reached",
        ),
        "an Iceberg table whose catalog has no address": (
            {"source": {"table": "nyc.air", "format": "iceberg", "catalog": "broken"}},
            2,
            "pyiceberg refuses it",
        ),
        "a password in the address of a catalog": (
            {
                "target": {
                    "table": "nyc.filled",
                    "format": "iceberg",
                    "catalog": {"uri": "postgresql://planted:pLant3dPassw0rd@h/d"},
                }
            },
            2,
            "a password must not stand in a job",
        ),
        "an Iceberg table of a catalog with a password": (
            {
                "target": {
                    "table": "nyc.filled",
                    "format": "iceberg",
                    "catalog": {"name": "planted", "warehouse": "lake"},
                },
                "columns": MODEL,
            },
            0,
            "8 missing cells were filled",
        ),
        "a broken URL": ({"source": {"path": "s3://u:pLant3dUrlK3y\u2100@b/a.csv"}}, 2, "a URL"),
        "a password that stands alone": (
            {"target": database(url, "t", password="pLant3dPassw0rd")},
            2,
            "a password must not stand in a job",
        ),
    }


def spellings(text: str) -> set[bytes]:
    """A text as it may be found, base64 at each of its three offsets included."""
    found = {text.encode(), text.encode("utf-16-le"), text.encode().hex().encode()}
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + text.encode() + b"x" * 3)
        # The first and last digits hold bits of the neighbours.
        found.add(encoded[4:-8] if before else encoded[:-8])
    return found


def wait_until_stored(server: PrefectServer, words: str) -> None:
    """Logs and events are written by and by."""
    APILogWorker.drain_all(timeout=30)
    EventsWorker.drain_all(timeout=30)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        kept = server.kept()
        if all(words.encode() in kept[f"the table {name}"] for name in ("log", "events")):
            return
        time.sleep(0.5)
    pytest.fail("The server has not stored the last run's log and events.")


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("planted", "project")
def test_planted_secrets_and_cells_are_nowhere(
    prefect_server: PrefectServer,
    postgres: PostgresServer,
    write_job: WriteJob,
    lineage: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tasks.load, "retry_delay_seconds", [0, 0])
    # As Dask does it: exceptions that Prefect stores are stored with those behind them.
    tblib.pickling_support.install()
    printed = ""
    for name, (changes, code, words) in runs(postgres.port).items():
        path = write_job(marked().to_csv(index=False), name="planted", **changes)
        result = CliRunner().invoke(cli.main, ["run", str(path)])
        assert result.exit_code == code, (name, result.output)
        assert words in " ".join(result.output.split()), (name, result.output)
        out, err = capfd.readouterr()
        printed += f"{result.output}{out}{err}{result.exception!r}"
    wait_until_stored(prefect_server, "planted")
    left = {"what was printed": printed.encode(), **prefect_server.kept()}
    left["what a receiver of lineage was sent"] = b"".join(lineage.bodies)
    numbers = (
        *postgres.run("TABLE planted.numbers"),
        *postgres.run("TABLE planted.numbers_columns"),
    )
    left["the history tables"] = str(numbers).encode()
    folders = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    left |= {str(path.relative_to(tmp_path)): path.read_bytes() for path in folders}
    # Where a search of the bytes would find nothing, compressed as they are.
    ledgers = [path for path in folders if path.name == "cells.parquet"]
    readable = {f"{path}, read": str(pq.read_table(path).to_pylist()).encode() for path in ledgers}

    assert len(ledgers) >= 2
    assert {"START", "COMPLETE", "FAIL"} == set(lineage.states)
    assert "a trigger or function" in left["the history tables"].decode()
    assert "HTTPError, status 401" in left["the table log"].decode()
    assert "The action alert of the checkpoint planted failed" in left["the table log"].decode()
    for text in ("planted.measured", "32 of 32 rows", "missing cells were filled"):
        assert text in left["the table log"].decode() + left["the table artifact"].decode()
    for secret in SECRETS:
        for spelled in spellings(secret):
            assert not [place for place, data in {**left, **readable}.items() if spelled in data]
    number = struct.pack("<d", NUMBER)
    for cell in (*CELLS, number):
        spelled = cell if isinstance(cell, bytes) else cell.encode()
        assert not [
            place
            for place, data in left.items()
            if spelled in data and "cells.parquet" not in place
        ], cell
    # The ledger is where cells of the key may stand.
    assert all(KEY.encode() in data for data in readable.values())
