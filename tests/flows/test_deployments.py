"""Jobs deployed to a real Prefect server: schedules, doing it again, pruning, daylight saving."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import EM_IMPUTE, WriteJob
from prefect import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from servers import PrefectServer

from em_impute.flows.automations import LOST, LOST_BEFORE
from em_impute.flows.deployments import deploy_jobs
from em_impute.job import CannotRun, Job, load_job

pytestmark = pytest.mark.usefixtures("prefect_server")

NIGHTS = [
    {"cron": "30 2 * * *", "timezone": "Europe/Paris", "offset_days": -1},
    {"interval": 5400},
    {"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0;BYSECOND=0"},
]


def job(name: str, **keys: Any) -> tuple[Path, Job]:
    made = {"source": {"path": "in.csv"}, "target": {"path": f"out/{name}.csv"}, **keys}
    return Path(f"{name}.yaml"), Job.model_validate({"name": name, **made})


def deployed(name: str) -> DeploymentResponse:
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(f"impute/{name}")


def deploy(*jobs: tuple[Path, Job], pool: str = "night", prune: bool = False) -> Any:
    folder = Path("/srv/em_impute")
    return deploy_jobs(jobs, Path("runs"), pool, folder, create_pool=True, prune=prune)


def test_a_job_is_deployed_with_all_that_it_says() -> None:
    deploy(job("air", description="New York's **air**.", tags=["sensors"], schedule=NIGHTS))
    found = deployed("air")
    assert found.description == "New York's **air**."
    assert found.tags == ["em_impute", "air", "sensors"]
    assert found.parameters == {"job": "/srv/em_impute/air.yaml", "runs": "/srv/em_impute/runs"}
    assert found.work_pool_name == "night"
    assert found.job_variables == {"working_dir": "/srv/em_impute"}
    assert found.entrypoint == "em_impute.flows.impute.impute"
    assert found.global_concurrency_limit is not None
    assert found.global_concurrency_limit.limit == 1
    assert found.concurrency_options is not None
    assert found.concurrency_options.collision_strategy == "ENQUEUE"
    assert {"job", "runs", "date", "schedule"} == found.parameter_openapi_schema[
        "properties"
    ].keys()
    parameters = {
        type(one.schedule).__name__: (one.parameters, one.schedule.timezone)
        for one in found.schedules
    }
    assert parameters == {
        "CronSchedule": ({}, "Europe/Paris"),
        "IntervalSchedule": ({"schedule": 1}, "UTC"),
        "RRuleSchedule": ({"schedule": 2}, "UTC"),
    }


def test_a_schedule_that_has_ended_is_said() -> None:
    over = {"rrule": "DTSTART:20200101T030000\nRRULE:FREQ=DAILY;COUNT=5"}
    done = deploy(job("over", schedule=over), job("both", schedule=[over, NIGHTS[0]]), job("none"))
    assert done.ended == ("over",)


def test_deploying_again_changes_nothing_but_what_has_changed() -> None:
    deploy(job("again", schedule=NIGHTS))
    before = deployed("again")
    deploy(job("again", schedule=NIGHTS))
    after = deployed("again")
    assert after.id == before.id
    assert [one.schedule for one in after.schedules] == [one.schedule for one in before.schedules]
    deploy(job("again", schedule=NIGHTS[0]))
    assert [one.schedule.cron for one in deployed("again").schedules] == ["30 2 * * *"]
    deploy(job("again"))
    assert deployed("again").schedules == []


def test_deploying_again_leaves_the_automations_alone(prefect_server: PrefectServer) -> None:
    """An update would have the server forget the runs of which it waits to hear."""

    def automations() -> dict[str, Any]:
        found = prefect_server.ask("automations/filter", {})
        return {one["name"]: one for one in found if one["name"] in (LOST, LOST_BEFORE)}

    deploy(job("again"))
    before = automations()
    assert len(before) == 2
    deploy(job("again"))
    assert automations() == before
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 77}):
        deploy(job("again"))
    changed = automations()
    assert changed.keys() == before.keys()
    for name, automation in changed.items():
        assert automation["id"] == before[name]["id"]
        assert automation["trigger"]["within"] == 231
    deploy(job("again"))


def test_a_paused_deployment_stays_paused() -> None:
    deploy(job("paused", schedule=NIGHTS[0]))
    with get_client(sync_client=True) as client:
        client.pause_deployment(deployed("paused").id)
    deploy(job("paused", schedule=NIGHTS[0]))
    assert deployed("paused").paused


def test_only_prune_removes_and_only_from_its_pool() -> None:
    assert deploy(job("keep"), job("gone"), pool="small").removed == ()
    deploy(job("elsewhere"), pool="other")
    assert deploy(job("keep"), pool="small").removed == ()
    assert deployed("gone")
    assert deploy(job("keep"), pool="small", prune=True).removed == ("gone",)
    assert deployed("keep")
    assert deployed("elsewhere")


def test_a_pool_that_is_not_there_is_an_error_with_the_remedy() -> None:
    with pytest.raises(
        CannotRun, match="work-pool create --type process typo`, or add --create-po"
    ):
        deploy_jobs([job("air")], Path("runs"), "typo", Path("/srv"))


def test_a_clock_change_takes_no_night_and_doubles_none() -> None:
    """Paris has no 02:30 on 29 March 2026, and has it twice on 25 October."""
    deploy(job("paris", schedule=NIGHTS[0]))
    schedule = deployed("paris").schedules[0].schedule
    assert times_of(schedule, datetime(2026, 3, 28, tzinfo=UTC), 3) == [
        "2026-03-28 02:30 CET",
        "2026-03-29 01:30 CET",
        "2026-03-30 02:30 CEST",
    ]
    assert times_of(schedule, datetime(2026, 10, 24, tzinfo=UTC), 3) == [
        "2026-10-24 02:30 CEST",
        "2026-10-25 02:30 CEST",
        "2026-10-26 02:30 CET",
    ]


def times_of(schedule: Any, start: datetime, n: int) -> list[str]:
    """The next times of a schedule, as Prefect's scheduler computes them."""
    theirs = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    times = asyncio.run(theirs.get_dates(n=n, start=start))
    zone = ZoneInfo(schedule.timezone)
    return [f"{time.astimezone(zone):%Y-%m-%d %H:%M %Z}" for time in times]


def test_the_command_deploys_and_says_so(
    prefect_server: PrefectServer, write_job: WriteJob, tmp_path: Path
) -> None:
    write_job("x\n1\n", name="commanded", schedule=NIGHTS[0])
    command = [EM_IMPUTE, "deploy", "job.yaml", "--pool", "commands"]
    environment = prefect_server.environment
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("em-impute: There is no work pool 'commands'.")
    done = subprocess.run(
        [*command, "--create-pool"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Deployed commanded to the work pool commands.\n"
    assert deployed("commanded").job_variables == {"working_dir": str(tmp_path)}
    assert load_job(Path(deployed("commanded").parameters["job"])).name == "commanded"
