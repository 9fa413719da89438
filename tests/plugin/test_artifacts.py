"""What a run shows in Prefect, as its API gives it away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from conftest import ROOT
from holed_tables import factor_table
from prefect import flow
from prefect.artifacts import Artifact
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_UI_URL, temporary_settings
from servers import PrefectServer

from em_impute.flows.impute import impute
from em_impute.job import Job
from em_impute.plugin.artifacts import ENDED, flow_run_address, page_address
from em_impute.reporting.brief import Brief

pytestmark = pytest.mark.usefixtures("prefect_server")

# Stands in docs/automations.yaml for the id of a block that sends messages.
NO_BLOCK = "00000000-0000-0000-0000-000000000000"


def job(folder: Path, name: str, columns: int = 4, **changes: object) -> Job:
    """A job on 1,000 rows; half of their cells are missing, so that EM takes long on 60 columns."""
    frame = pd.DataFrame(factor_table(1000, columns, 0.5, seed=1)).rename(columns="x{}".format)
    frame.to_parquet(folder / "in.parquet")
    return Job.model_validate(
        {
            "name": name,
            "source": {"path": str(folder / "in.parquet")},
            "target": {"path": str(folder / "out.parquet")},
        }
        | changes
    )


class Watcher(threading.Thread):
    """Looks at an artifact ten times a second, as a browser might, and keeps what it sees."""

    def __init__(self, server: PrefectServer, key: str) -> None:
        super().__init__()
        self.server, self.key = server, key
        self.over = threading.Event()
        self.seen: list[tuple[float, str]] = []

    def run(self) -> None:
        query = {"artifacts": {"key": {"any_": [self.key]}}}
        while not self.over.wait(0.1):
            for artifact in self.server.ask("artifacts/filter", query):
                state = (artifact["data"], artifact["description"])
                if state not in self.seen[-1:]:
                    self.seen.append(state)


def test_progress_moves_while_em_works(prefect_server: PrefectServer, tmp_path: Path) -> None:
    slow = {"acceleration": "none", "max_iter": 1_000_000, "time_limit": 5, "prior": 0}
    watcher = Watcher(prefect_server, "watched-em")
    watcher.start()
    try:
        state = impute(
            job(tmp_path, "watched", 60, model=slow), tmp_path / "runs", return_state=True
        )
    finally:
        watcher.over.set()
        watcher.join()
    assert state.is_completed()
    while_it_worked = [text for _, text in watcher.seen if text.startswith("EM iteration")]
    percents = [percent for percent, _ in watcher.seen]
    # Some five are seen, fewer on busy cores.
    assert len(while_it_worked) >= 2
    assert len(set(percents)) > 2
    assert percents == sorted(percents)
    assert percents[-1] < 100.0, "the fit ended before the maximum"
    assert "Stopped by the time limit" in watcher.seen[-1][1]


def test_a_fit_goes_on_when_its_progress_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise PrefectException("no")

    monkeypatch.setattr("em_impute.plugin.artifacts.update_progress_artifact", refuse)
    state = impute(job(tmp_path, "unwatched"), tmp_path / "runs", return_state=True)
    assert state.is_completed()
    artifact = Artifact.get("unwatched-em")
    assert artifact is not None
    assert artifact.data == 0
    assert "does not show the progress of EM any more (PrefectException)" in caplog.text


def test_no_name_of_a_column_has_a_meaning_in_a_description(tmp_path: Path) -> None:
    """Prefect renders descriptions as markdown, in which names could load a picture or link."""
    name = "<img src=http://example.org/x.png>"
    frame = pd.DataFrame({name: [1.0, 2.0, 4.0] * 20, "**b**": [2.0, 4.0, 8.0] * 20})
    frame.loc[0, name] = None
    frame.to_csv(tmp_path / "twins.csv", index=False)
    twins = job(tmp_path, "twins", model={"prior": 0}, source={"path": str(tmp_path / "twins.csv")})
    state = impute(twins, tmp_path / "runs", return_state=True)
    assert name in str(state.message)
    for key in ("twins-em", "twins-report", "twins-columns", "twins-checks"):
        artifact = Artifact.get(key)
        assert artifact is not None
        assert artifact.description is not None
        assert not set("<>*[]") & set(artifact.description)
        assert artifact.type == "table" or "<img" not in str(artifact.data)


@dataclass(frozen=True)
class Runs:
    """A job that published first and was refused then: its flow runs, and its run folders."""

    published: dict[str, Any]
    refused: dict[str, Any]
    folders: list[Path]


class Pager(ThreadingHTTPServer):
    """Where the automations of docs/automations.yaml call; keeps what they say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PagerCall)
        self.messages: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class PagerCall(BaseHTTPRequestHandler):
    """One message."""

    server: Pager

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.messages.append(json.loads(self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing on the tests' stderr."""


@pytest.fixture(scope="module")
def pager(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pager]:
    """Someone who is paged by the automations in docs/, made with Prefect's own command."""
    with Pager() as pager:
        threading.Thread(target=pager.serve_forever, daemon=True).start()
        message = {"subject": "{{subject}}", "body": "{{body}}"}
        block = CustomWebhookNotificationBlock(name="pager", url=pager.address, json_data=message)
        block_id = block.save("pager", overwrite=True)
        text = (ROOT / "docs" / "automations.yaml").read_text()
        assert text.count(NO_BLOCK) == 2
        file = tmp_path_factory.mktemp("automations") / "automations.yaml"
        file.write_text(text.replace(NO_BLOCK, str(block_id)))
        made = subprocess.run(
            [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(file)],
            env=prefect_server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        yield pager
        pager.shutdown()


@pytest.fixture(scope="module")
def runs(
    prefect_server: PrefectServer, pager: Pager, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    folder = tmp_path_factory.mktemp("twice")
    schedule = {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}
    never = {"input": [{"expect_table_row_count_to_equal": {"value": 0}}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EM_IMPUTE_RUNS_URL", "http://reports.example.org/all_runs/")
        for changes in ({}, {"checks": never}):
            run = job(folder, "Tw_ice", schedule=schedule, **changes)
            impute(run, folder / "runs", return_state=True)
    query = {"flow_runs": {"tags": {"all_": ["em_impute", "Tw_ice"]}}, "sort": "START_TIME_ASC"}
    published, refused = prefect_server.ask("flow_runs/filter", query)
    return Runs(published, refused, sorted((folder / "runs" / "Tw_ice").iterdir()))


def test_a_flow_run_is_named_for_its_job_and_date_and_says_the_verdict(runs: Runs) -> None:
    started = datetime.fromisoformat(runs.published["expected_start_time"])
    tokyo = started.astimezone(ZoneInfo("Asia/Tokyo"))
    assert runs.published["name"] == f"Tw_ice, {tokyo:%Y-%m-%d %H:%M:%S}"
    assert runs.published["state"]["message"].startswith("1,936 missing cells were filled")
    assert runs.refused["state"]["type"] == "FAILED"
    assert runs.refused["state"]["message"].startswith("1 critical check failed on the input")


def test_the_runs_of_a_job_are_versions_of_its_artifacts(
    prefect_server: PrefectServer, runs: Runs
) -> None:
    for name in ("report", "columns", "checks", "page"):
        key = {"artifacts": {"key": {"any_": [f"tw-ice-{name}"]}}}
        versions = prefect_server.ask("artifacts/filter", key | {"sort": "CREATED_DESC"})
        assert [one["flow_run_id"] for one in versions] == [
            runs.refused["id"],
            runs.published["id"],
        ]
        [latest] = prefect_server.ask("artifacts/latest/filter", key)
        assert latest["flow_run_id"] == runs.refused["id"]


def artifact(server: PrefectServer, flow_run: dict[str, Any], key: str) -> dict[str, Any]:
    """The artifact that a run left under a key."""
    query = {"flow_run_id": {"any_": [flow_run["id"]]}, "key": {"any_": [key]}}
    [found] = server.ask("artifacts/filter", {"artifacts": query})
    return found


def test_a_row_for_each_check_is_in_their_table(prefect_server: PrefectServer, runs: Runs) -> None:
    table = artifact(prefect_server, runs.refused, "tw-ice-checks")
    rows = json.loads(table["data"])
    known = json.loads((runs.folders[1] / "report.json").read_text())["checks"]
    assert len(rows) == len(known) > 1
    assert [row["check"] for row in rows if row["result"] == "failed"] == [
        "expect_table_row_count_to_equal"
    ]
    assert rows[0]["result"] == "failed"
    assert table["description"] == f"{len(rows)} checks: 1 failed."


def test_the_served_page_is_linked(prefect_server: PrefectServer, runs: Runs) -> None:
    page = f"http://reports.example.org/all_runs/Tw_ice/{runs.folders[0].name}/report.html"
    link = artifact(prefect_server, runs.published, "tw-ice-page")
    report = artifact(prefect_server, runs.published, "tw-ice-report")
    assert f"]({page})" in link["data"]
    assert f"](<{page}>)" in report["data"]
    assert report["description"] == "Published: 1,936 cells missing, 1,936 imputed."


def events(server: PrefectServer, resource: str, number: int) -> list[dict[str, Any]]:
    """So many events of a resource, the first first; the server takes some seconds to keep them."""
    query = {"filter": {"resource": {"id": [resource]}, "order": "ASC"}}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: list[dict[str, Any]] = server.ask("events/filter", query)["events"]
        if len(found) >= number:
            return found
        time.sleep(0.5)
    pytest.fail(f"{resource} has fewer than {number} events.")


def test_a_run_is_announced_with_its_counts(prefect_server: PrefectServer, runs: Runs) -> None:
    published, refused = events(prefect_server, "em-impute.job.Tw_ice", 2)
    assert published["event"] == "em-impute.published"
    assert refused["event"] == "em-impute.refused"
    for event, flow_run, folder in (
        (published, runs.published, runs.folders[0]),
        (refused, runs.refused, runs.folders[1]),
    ):
        related = {one["prefect.resource.role"]: one for one in event["related"]}
        assert related["flow-run"]["prefect.resource.id"] == f"prefect.flow-run.{flow_run['id']}"
        assert event["payload"]["verdict"] == flow_run["state"]["message"]
        assert event["payload"]["run"] == folder.name
        assert event["payload"]["page"].endswith(f"/Tw_ice/{folder.name}/report.html")
        for role, table in (("source", "in"), ("target", "out")):
            file = folder.parents[2] / f"{table}.parquet"
            assert related[role]["prefect.resource.id"] == f"file://{file}"
    keys = {field.name for field in fields(Brief)} | {"stopped_by", "page"}
    assert published["payload"].keys() == refused["payload"].keys() == keys
    counts = {"rows": 1000, "columns": 4, "missing_cells": 1936, "imputed_cells": 1936}
    assert counts.items() <= published["payload"].items()
    assert published["payload"]["stopped_by"] is None
    assert refused["payload"]["stopped_by"] == "refused"
    assert refused["payload"]["failed_checks"] == 1


def test_the_target_is_an_asset_that_the_published_run_has_made_of_the_source(
    prefect_server: PrefectServer, runs: Runs
) -> None:
    folder = runs.folders[0].parents[2]
    source, target = f"file://{folder / 'in.parquet'}", f"file://{folder / 'out.parquet'}"
    # The refused run came later, and the events of both are there.
    assert events(prefect_server, "em-impute.job.Tw_ice", 2)
    [made] = events(prefect_server, target, 1)
    [referenced] = events(prefect_server, source, 1)
    assert made["event"] == "prefect.asset.materialization.succeeded"
    assert referenced["event"] == "prefect.asset.referenced"
    related = {one["prefect.resource.role"]: one["prefect.resource.id"] for one in made["related"]}
    assert related["asset"] == source
    assert related["asset-materialized-by"] == "em_impute"
    assert related["flow-run"] == f"prefect.flow-run.{runs.published['id']}"
    assert made["payload"] == {
        "job": "Tw_ice",
        "run": runs.folders[0].name,
        "date": None,
        "outcome": "published",
        "verdict": runs.published["state"]["message"],
        "rows": 1000,
        "imputed_cells": 1936,
        "left_cells": 0,
    }


def test_an_asset_that_cannot_be_announced_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PrefectException("no")

    monkeypatch.setattr("em_impute.plugin.artifacts.tell_materialized", refuse)
    state = impute(job(tmp_path, "unannounced"), tmp_path / "runs", return_state=True)
    assert state.name == "Published with warnings"
    assert "event of the target (PrefectException at" in str(state.message)


def test_the_last_event_of_a_run_waits_for_no_other(
    prefect_server: PrefectServer, runs: Runs
) -> None:
    """Prefect holds back its own, `Completed`, where it has not seen the one before."""
    for flow_run, state in ((runs.published, "Published"), (runs.refused, "Refused")):
        resource = f"prefect.flow-run.{flow_run['id']}"
        [ended] = [
            event for event in events(prefect_server, resource, 4) if event["event"] == ENDED
        ]
        assert ended["follows"] is None
        assert ended["payload"] == {"state": state}
        [flow] = [one for one in ended["related"] if one["prefect.resource.role"] == "flow"]
        assert flow["prefect.resource.name"] == impute.name


def test_drift_is_announced_after_the_run(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """The second night one column is ten units higher, and the job's threshold is 0.25 sd."""
    drifting = job(tmp_path, "drifting")
    for _ in range(2):
        assert impute(drifting, tmp_path / "runs", return_state=True).is_completed()
        frame = pd.read_parquet(tmp_path / "in.parquet")
        frame.assign(x2=frame["x2"] + 10).to_parquet(tmp_path / "in.parquet")
    announced = events(prefect_server, "em-impute.job.drifting", 3)
    assert [event["event"] for event in announced] == [
        "em-impute.published",
        "em-impute.published",
        "em-impute.drifted",
    ]
    first, second, drifted = announced
    assert second["payload"]["outcome"] == "published with warnings"
    assert drifted["payload"].items() > second["payload"].items()
    assert drifted["payload"]["since"] == first["payload"]["run"]
    assert drifted["payload"]["changes"][0].startswith("The mean of 'x2' rose by")


def test_the_block_of_the_page_on_watching_can_be_saved(
    prefect_server: PrefectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "watch.md").read_text()
    [example] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(example, {})
    assert UUID(capsys.readouterr().out.strip())


def test_an_automation_pages_someone_when_a_job_is_refused(pager: Pager, runs: Runs) -> None:
    deadline = time.monotonic() + 60
    while not any("Tw_ice" in m["subject"] for m in pager.messages) and time.monotonic() < deadline:
        time.sleep(0.1)
    [message] = [m for m in pager.messages if m["subject"].startswith("Tw_ice")]
    assert message["subject"] == "Tw_ice was not published"
    assert runs.refused["state"]["message"] in message["body"]
    assert f"/runs/flow-run/{runs.refused['id']}" in message["body"]
    assert "/all_runs/Tw_ice/" in message["body"]


@pytest.mark.parametrize(
    "address", ["reports.example.org", "http://user:s3cr3t@host/runs", "https://host/?runs=1"]
)
def test_what_is_no_address_of_a_folder_is_said_and_not_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("EM_IMPUTE_RUNS_URL", address)

    @flow
    def linked() -> str | None:
        return page_address("job", "run")

    assert linked() is None
    assert "EM_IMPUTE_RUNS_URL is not the address of a folder" in caplog.text
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("ui", "shown"),
    [
        ("https://ui.example.org/", "https://ui.example.org/runs/flow-run/1f"),
        ("https://me:s3cr3t@ui.example.org", ""),
        ("https://ui.example.org/?key=s3cr3t", ""),
    ],
)
def test_a_flow_run_has_an_address_where_the_ui_has_one(ui: str, shown: str) -> None:
    with temporary_settings({PREFECT_UI_URL: ui}):
        assert flow_run_address("1f") == shown
        assert flow_run_address(None) == ""
