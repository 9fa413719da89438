"""Automations of deployed jobs on a real server: messages to a webhook, and runs after others."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from conftest import ROOT, WriteJob
from holed_tables import factor_table
from prefect import get_client
from prefect.automations import Automation
from prefect.blocks.notifications import (
    CustomWebhookNotificationBlock,
    MicrosoftTeamsWebhook,
    SendgridEmail,
    SlackWebhook,
)
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import FlowRun
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger
from prefect.flow_engine import run_flow
from prefect.states import State, StateType
from receivers import Receiver, receiving
from ruamel.yaml import YAML
from servers import PrefectServer

from em_impute.flows.automations import AGAIN, SILENT
from em_impute.flows.deployments import deploy_jobs
from em_impute.flows.impute import impute
from em_impute.job import CannotRun, Job, load_job

pytestmark = pytest.mark.usefixtures("prefect_server")

OCCASIONS = ["refused", "failed", "warnings", "lost", "drifted"]


def blocks_of(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks(prefect_server: PrefectServer) -> Iterator[Receiver]:
    """Blocks that send messages, one of which sends them here; and one that sends none."""
    message = {"subject": "{{subject}}", "body": "{{body}}"}
    with receiving() as here:
        for block in (
            CustomWebhookNotificationBlock(name="here", url=here.url, json_data=message),
            SlackWebhook(url="https://hooks.slack.com/services/T00/B00/XXX"),
            SendgridEmail(
                api_key="none", sender_email="a@example.org", to_emails=["b@example.org"]
            ),
            MicrosoftTeamsWebhook(
                url="https://prod-1.westus.logic.azure.com:443/workflows/0f/triggers/manual/paths"
                "/invoke?sig=0f"
            ),
            Secret(value="no messenger"),
        ):
            block.save("here", overwrite=True)
        yield here


def job(name: str, **keys: Any) -> tuple[Path, Job]:
    made = {"source": {"path": "in.csv"}, "target": {"path": f"out/{name}.csv"}, **keys}
    return Path(f"{name}.yaml"), Job.model_validate({"name": name, **made})


def deploy(*jobs: tuple[Path, Job], prune: bool = False) -> None:
    deploy_jobs(jobs, Path("runs"), "messages", Path.cwd(), create_pool=True, prune=prune)


def automations(server: PrefectServer, job: str) -> dict[str, Any]:
    """The automations of a job, by what follows its name in theirs."""
    begin = f"em_impute: {job} "
    found = server.ask("automations/filter", {})
    return {a["name"].removeprefix(begin): a for a in found if a["name"].startswith(begin)}


def start(job: str) -> FlowRun:
    """A run of a job's deployment, which nobody has begun."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"impute/{job}")
        return client.create_flow_run_from_deployment(deployment.id)


def run(job: str) -> tuple[FlowRun, State[Any]]:
    """Run a job's deployment here, as a worker would elsewhere."""
    flow_run = start(job)
    state = run_flow(impute, flow_run, parameters=flow_run.parameters, return_type="state")
    assert isinstance(state, State)
    return flow_run, state


Arrived = Callable[[str], dict[str, str]]


@pytest.fixture
def arrived(blocks: Receiver) -> Arrived:
    """Waits for the message with a subject."""

    def wait(subject: str) -> dict[str, str]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := [one for one in blocks.events if one["subject"] == subject]:
                [message] = found
                return message
            time.sleep(0.1)
        pytest.fail(f"No message '{subject}' among {[one['subject'] for one in blocks.events]}")

    return wait


def test_a_run_that_ends_badly_arrives_at_the_webhook_and_no_other(
    write_job: WriteJob, blocks: Receiver, arrived: Arrived
) -> None:
    X = pd.DataFrame(factor_table(300, 3, 0.2, seed=1), columns=["a", "b", "c"])
    never = {"expect_table_row_count_to_equal": {"value": 0}}
    notify = {"webhook": {"block": "here"}, "on": OCCASIONS}
    write_job(X.to_csv(index=False), name="plain", notify=notify).rename("plain.yaml")
    refused = {"input": [never]}
    write_job(name="refusing", notify=notify, checks=refused).rename("refusing.yaml")
    warned = {"input": [{"expect_table_row_count_to_equal": {"value": 0, "severity": "warning"}}]}
    write_job(name="warning", notify=notify, checks=warned).rename("warning.yaml")
    write_job(name="silent", checks=refused).rename("silent.yaml")
    files = [Path(f"{name}.yaml") for name in ("plain", "refusing", "warning", "silent")]
    deploy(*((file, load_job(file)) for file in files))

    _, published = run("plain")
    assert published.name == "Published"
    run("silent")
    for name, words in (("refusing", "was refused"), ("warning", "was published with warnings")):
        flow_run, state = run(name)
        message = arrived(f"{name} {words}")
        assert state.message
        assert message["body"].startswith(f"{state.message}\n\n{name}, ")
        assert message["body"].endswith(f"/runs/flow-run/{flow_run.id}")

    # The second night a column is higher; a file that is gone is a failure.
    X.assign(a=X["a"] + 10).to_csv("in.csv", index=False)
    assert run("plain")[1].name == "Published with warnings"
    assert "The mean of 'a' rose by" in arrived("plain has drifted")["body"]
    assert arrived("plain was published with warnings")
    Path("in.csv").unlink()
    assert run("plain")[1].name == "Failed"
    assert "in.csv" in arrived("plain failed")["body"]
    assert not any("silent" in one["subject"] for one in blocks.events)
    assert len([one for one in blocks.events if one["subject"].startswith("plain")]) == 3


def test_a_lost_run_arrives_and_one_that_is_tried_again_by_hand_does_not(
    blocks: Receiver, arrived: Arrived
) -> None:
    deploy(job("losing", notify={"webhook": {"block": "here"}}))
    for message in ("Tried again in the UI.", SILENT):
        flow_run = start("losing")
        state = State(type=StateType.SCHEDULED, name=AGAIN, message=message)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run.id, state, force=True)
    sent = arrived("losing was lost and is tried again")
    assert sent["body"].startswith(SILENT)
    assert sent["body"].endswith(str(flow_run.id))


def test_what_a_job_asks_for_is_made_once_and_removed_when_it_no_longer_does(
    prefect_server: PrefectServer, blocks: Receiver
) -> None:
    everywhere = {
        "slack": {"block": "here"},
        "email": {"block": "here"},
        "webhook": {"block": "ms-teams-webhook/here"},
    }
    deploy(job("edited", notify=everywhere), job("other", notify=everywhere))
    made = automations(prefect_server, "edited")
    assert set(made) == {"was refused", "failed", "was lost and is tried again"}
    ids = {
        block["id"]: block["block_type"]["slug"]
        for block in prefect_server.ask("block_documents/filter", {})
    }
    sent_by = [ids[action["block_document_id"]] for action in made["failed"]["actions"]]
    assert sent_by == ["slack-webhook", "sendgrid-email", "ms-teams-webhook"]

    # Doing it again leaves them alone, also one that was switched off in the UI.
    with get_client(sync_client=True) as client:
        client.pause_automation(UUID(made["failed"]["id"]))
    made = automations(prefect_server, "edited")
    deploy(job("edited", notify=everywhere))
    assert automations(prefect_server, "edited") == made

    deploy(job("edited", notify={"slack": {"block": "here"}, "on": ["failed", "warnings"]}))
    edited = automations(prefect_server, "edited")
    assert set(edited) == {"failed", "was published with warnings"}
    assert edited["failed"]["id"] == made["failed"]["id"]
    assert not edited["failed"]["enabled"]
    assert [ids[one["block_document_id"]] for one in edited["failed"]["actions"]] == [
        "slack-webhook"
    ]
    deploy(job("edited"), prune=True)
    assert automations(prefect_server, "edited") == automations(prefect_server, "other") == {}


@pytest.mark.parametrize(
    ("key", "block", "missing"),
    [
        ("slack", "nowhere", "block slack-webhook/nowhere that sends messages; there are .*/here"),
        ("email", "secret/here", "block secret/here that sends messages"),
    ],
)
def test_a_block_that_is_not_there_is_an_error_before_anything_is_deployed(
    prefect_server: PrefectServer, blocks: Receiver, key: str, block: str, missing: str
) -> None:
    with pytest.raises(CannotRun, match=f"notify.{key}.block: Prefect has no {missing}"):
        deploy(job("blocked_before"), job("blocked", notify={key: {"block": block}}))
    deployed = {"deployments": {"name": {"any_": ["blocked_before", "blocked"]}}}
    assert prefect_server.ask("deployments/filter", deployed) == []


def test_the_job_and_the_blocks_of_the_page_on_messages(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    [example] = blocks_of("notify.md", "yaml")
    (tmp_path / "job.yaml").write_text(example)
    for code in blocks_of("notify.md", "python"):
        exec(code, {})
    deploy((Path("job.yaml"), load_job(tmp_path / "job.yaml")))
    assert set(automations(prefect_server, "orders")) == {
        "was refused",
        "was published with warnings",
        "was lost and is tried again",
        "has drifted",
    }


# --- Jobs that run after others ----------------------------------------------------------------


def runs_of(server: PrefectServer, job: str, number: int) -> list[dict[str, Any]]:
    """So many runs of a job's deployment, the first first, as soon as they are there."""
    query = {
        "deployments": {"name": {"any_": [job]}},
        "flow_runs": {"tags": {"all_": [job]}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: list[dict[str, Any]] = server.ask("flow_runs/filter", query)
        if len(found) >= number:
            return found
        time.sleep(0.1)
    pytest.fail(f"{job} has fewer than {number} runs.")


def say_when_made(table: Path) -> None:
    """Have the webhook hear when a table is published, by the trigger on the page."""
    [trigger] = YAML(typ="safe").load(blocks_of("assets.md", "yaml")[-1])["triggers"]
    trigger["match"]["prefect.resource.id"] = f"file://{table}"
    with get_client(sync_client=True) as client:
        webhook = client.read_block_document_by_name("here", "custom-webhook")
    message = SendNotification(block_document_id=webhook.id, subject="It is there", body="Here.")
    waits = EventTrigger.model_validate(trigger | {"threshold": 1, "within": 0})
    Automation(name="a table is there", trigger=waits, actions=[message]).create()


def test_a_job_runs_when_the_one_before_it_has_published_and_only_then(
    prefect_server: PrefectServer, write_job: WriteJob, blocks: Receiver, arrived: Arrived
) -> None:
    """The second job reads what the first has published of the same day."""
    table = "day,x\n1,1.0\n2,\n3,3.5\n4,4.0\n5,5.5\n"
    whole = {"expect_table_row_count_to_be_between": {"min_value": 5}}
    write_job(
        table, name="first", target={"path": "out/{date}.csv"}, checks={"input": [whole]}
    ).rename("first.yaml")
    write_job(
        name="second",
        source={"path": "out/{date}.csv"},
        target={"path": "out/all.csv"},
        after="first",
    ).rename("second.yaml")
    files = [(path, load_job(path)) for path in (Path("second.yaml"), Path("first.yaml"))]
    deploy(*files)
    say_when_made(Path("out/2026-03-01.csv").absolute())

    def run_first(date: str) -> State[Any]:
        flow_run = start("first")
        parameters = flow_run.parameters | {"date": date}
        state = run_flow(impute, flow_run, parameters=parameters, return_type="state")
        assert isinstance(state, State)
        return state

    assert run_first("2026-03-01").is_completed()
    Path("in.csv").write_text("day,x\n1,\n2,\n")
    refused = run_first("2026-03-02")
    assert refused.name == "Refused"
    Path("in.csv").write_text(table)
    assert run_first("2026-03-03").is_completed()
    # What the server does after an event comes in the events' order.
    begun = runs_of(prefect_server, "second", 2)
    assert [one["parameters"]["date"] for one in begun] == ["2026-03-01", "2026-03-03"]
    assert begun[0]["parameters"]["job"] == str(Path("second.yaml").absolute())
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(begun[0]["id"]))
    state = run_flow(impute, flow_run, parameters=flow_run.parameters, return_type="state")
    assert isinstance(state, State)
    assert state.is_completed(), state.message
    assert Path("out/all.csv").read_bytes() == Path("out/2026-03-01.csv").read_bytes()

    # As the page has it, any automation may wait for the first one's target.
    assert arrived("It is there")

    deploy(job("second"))
    assert automations(prefect_server, "second") == {}


def test_the_job_of_configs_and_of_the_page_runs_after_the_quickstart(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    configs = [ROOT / "configs" / name for name in ("after.yaml", "quickstart.yaml")]
    (tmp_path / "job.yaml").write_text(blocks_of("assets.md", "yaml")[0])
    assert load_job(tmp_path / "job.yaml") == load_job(configs[0])
    deploy(*((config, load_job(config)) for config in configs))
    assert set(automations(prefect_server, "airquality_drawn")) == {"runs after another job"}
    assert automations(prefect_server, "airquality") == {}


def test_a_job_that_is_not_there_or_waits_for_itself_is_an_error() -> None:
    with pytest.raises(CannotRun, match="after: no job nobody is deployed; name its file, too"):
        deploy(job("waiting", after="nobody"))
    circle = job("one", after="three"), job("two", after="one"), job("three", after="two")
    with pytest.raises(CannotRun, match="the jobs one, three, two would run after each other"):
        deploy(job("before"), *circle)
    deploy(job("before"))
    deploy(job("waiting", after="before"))
