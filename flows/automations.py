"""Prefect's automations that come with deployed jobs.

Lost runs are tried again, messages are sent, and jobs run after others.

An automation is known by its name, and made anew only where it says something else than it should:
at each update the server forgets the runs of which it waits to hear.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from prefect.automations import Automation, AutomationCore
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from em_impute.flows.impute import ENDINGS, impute
from em_impute.job import CannotRun, Job, Occasion
from em_impute.job.mistakes import listed
from em_impute.plugin.artifacts import ENDED, STATE

# Blocks that the server is asked for at a time.
PAGE = 200

# --- Runs that are lost ------------------------------------------------------------------------

# A run whose process is gone would stay "running" for ever, and keep the next ones of its job
# waiting, or is "crashed", where its worker has noticed. So one that has gone silent is scheduled
# again; it goes on with what is on disk. One that was lost on its way from the worker never sent
# anything.
LOST = "em_impute: lost runs are tried again"
LOST_BEFORE = "em_impute: runs that were lost before they began are tried again"
HEARTBEAT = "prefect.flow-run.heartbeat"
SUBMITTED = ("Pending", "Submitting", "InfrastructurePending")
OVER = (*ENDINGS, "Completed", "Cancelled", "Cancelling", "Scheduled")
BEGINNINGS = ("Running", "Crashed", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused")
MISSED_HEARTBEATS = 3
AGAIN = "AwaitingRetry"
SILENT = "The run's process sent no heartbeat any more."


def keep_automations(client: SyncPrefectClient) -> None:
    """Make the server's automations for lost runs, or bring them up to date where they differ."""
    lost = _for_lost_runs(
        LOST,
        "A run whose process was killed is scheduled again, three times at most.",
        after={HEARTBEAT},
        expect={HEARTBEAT, ENDED, *map(_event, OVER)},
    )
    before = _for_lost_runs(
        LOST_BEFORE,
        "A run whose worker was killed while it was to start is scheduled again.",
        after={*map(_event, SUBMITTED)},
        expect={HEARTBEAT, ENDED, *map(_event, (*OVER, *BEGINNINGS))},
    )
    _keep(client, [lost, before], {lost.name, before.name})


def _event(state: str) -> str:
    return f"prefect.flow-run.{state}"


def _for_lost_runs(
    name: str, description: str, after: set[str], expect: set[str]
) -> AutomationCore:
    """An automation by which a run is scheduled again that should have been heard of."""
    seconds = get_current_settings().flows.heartbeat_frequency or 180
    return AutomationCore(
        name=name,
        description=description,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after=after,
            expect=expect,
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "flow", "prefect.resource.name": impute.name}
            ),
            for_each={"prefect.resource.id"},
            within=timedelta(seconds=MISSED_HEARTBEATS * seconds),
        ),
        actions=[
            ChangeFlowRunState(state=StateType.SCHEDULED, name=AGAIN, message=SILENT, force=True)
        ],
    )


# --- Messages ----------------------------------------------------------------------------------


# A server that was not given its own address has no link.
RUN = "{{ flow_run.name }}\n{{ flow_run | ui_url or '' }}"


@dataclass(frozen=True)
class Occurrence:
    """What a message is about: in words after the job's name, and the event that it follows."""

    words: str
    event: str
    labels: Mapping[str, str]
    text: str = "{{ flow_run.state.message }}"


OCCURRENCES: dict[Occasion, Occurrence] = {
    "refused": Occurrence("was refused", ENDED, {STATE: "Refused"}),
    "failed": Occurrence("failed", ENDED, {STATE: "Failed"}),
    "warnings": Occurrence(
        "was published with warnings", ENDED, {STATE: "Published with warnings"}
    ),
    # Whoever tries a run again in the UI brings it into the same state, with another message.
    "lost": Occurrence(
        "was lost and is tried again", _event(AGAIN), {"prefect.state-message": SILENT}
    ),
    "drifted": Occurrence(
        "has drifted", "em-impute.drifted", {}, "{{ event.payload.changes | join('\n') }}"
    ),
}


def notification_blocks(client: SyncPrefectClient, jobs: Collection[Job]) -> dict[str, UUID]:
    """The server's blocks that send messages, by type and name; asked for if a job names one.

    Raises
    ------
    CannotRun
        If a block that a job names is not among them.
    """
    notifying = [job for job in jobs if job.notify]
    known = dict(_notification_blocks(client)) if notifying else {}
    for job in notifying:
        assert job.notify is not None
        for key, block in job.notify.blocks.items():
            if block not in known:
                there = f"there are {listed(sorted(known))}" if known else "there is none yet"
                raise CannotRun(
                    f"{job.place('notify', key, 'block')}: notify.{key}.block: Prefect has no "
                    f"block {block} that sends messages; {there}. Make it in Prefect's UI, under "
                    "Blocks, or by its class in prefect.blocks.notifications."
                )
    return known


def _notification_blocks(client: SyncPrefectClient) -> Iterator[tuple[str, UUID]]:
    for offset in count(step=PAGE):
        page = client.read_block_documents(offset=offset, limit=PAGE, include_secrets=False)
        for block in page:
            if block.block_schema and "notify" in block.block_schema.capabilities:
                assert block.block_type is not None
                yield f"{block.block_type.slug}/{block.name}", block.id
        if len(page) < PAGE:
            return


def _message(
    job: Job, about: Occurrence, deployment: UUID, senders: Sequence[UUID]
) -> AutomationCore:
    subject = f"{job.name} {about.words}"
    body = f"{about.text}\n\n{RUN}"
    return AutomationCore(
        name=_name(job.name, about.words),
        description=f"Sends a message when a run of the job {subject}.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={about.event},
            match=ResourceSpecification(dict(about.labels)),
            match_related=ResourceSpecification(
                {
                    "prefect.resource.role": "deployment",
                    "prefect.resource.id": f"prefect.deployment.{deployment}",
                }
            ),
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(block_document_id=sender, subject=subject, body=body)
            for sender in senders
        ],
    )


# --- Jobs that run after others ----------------------------------------------------------------

AFTER = "runs after another job"


def check_order(client: SyncPrefectClient, jobs: Collection[Job]) -> None:
    """See that each job that a job runs after is there, and that there is an end to it.

    Raises
    ------
    CannotRun
    """
    after = {job.name: job.after for job in jobs}
    for job in jobs:
        if job.after is None:
            continue
        if job.after not in after and not _is_deployed(client, job.after):
            raise CannotRun(
                f"{job.place('after')}: after: no job {job.after} is deployed; name its file, too, "
                "or deploy it first."
            )
        follows = [job.name]
        while (before := after.get(follows[-1])) and before not in follows:
            follows.append(before)
        if before:
            raise CannotRun(
                f"{job.place('after')}: after: the jobs {listed(follows)} would run after each "
                "other without end; take `after` from one of them."
            )


def _is_deployed(client: SyncPrefectClient, job: str) -> bool:
    try:
        client.read_deployment_by_name(f"{impute.name}/{job}")
    except ObjectNotFound:
        return False
    return True


def _following(job: Job, after: str, deployment: UUID) -> AutomationCore:
    return AutomationCore(
        name=_name(job.name, AFTER),
        description=f"Runs {job.name} each time the job {after} has published.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"em-impute.published"},
            match=ResourceSpecification({"prefect.resource.id": f"em-impute.job.{after}"}),
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment,
                parameters={"date": "{{ event.payload.date }}"},
            )
        ],
    )


# --- Those of a job ----------------------------------------------------------------------------


def keep_automations_of(
    client: SyncPrefectClient, job: Job, deployment: UUID, blocks: Mapping[str, UUID]
) -> None:
    """Make the automations that a job asks for, and remove those that it does not any more.

    Parameters
    ----------
    client : SyncPrefectClient
    job : Job
    deployment : UUID
        Only its runs count.
    blocks : mapping of str to UUID
        What `notification_blocks` has found.
    """
    wanted = []
    if job.after:
        wanted.append(_following(job, job.after, deployment))
    if job.notify:
        senders = [blocks[name] for name in job.notify.blocks.values()]
        wanted += [
            _message(job, about, deployment, senders)
            for one, about in OCCURRENCES.items()
            if one in job.notify.on
        ]
    _keep(client, wanted, _names(job.name))


def remove_automations_of(client: SyncPrefectClient, job: str) -> None:
    """Remove all automations of a job, by its name."""
    _keep(client, [], _names(job))


def _names(job: str) -> set[str]:
    """The names of all automations that a job may have."""
    return {_name(job, words) for words in (AFTER, *(one.words for one in OCCURRENCES.values()))}


def _name(job: str, words: str) -> str:
    return f"em_impute: {job} {words}"


# --- Kept as they should be --------------------------------------------------------------------


def _keep(
    client: SyncPrefectClient, wanted: Sequence[AutomationCore], names: Collection[str]
) -> None:
    """Of the automations by these names, have the server keep those that are wanted."""
    by_name = AutomationFilter(name=AutomationFilterName(any_=sorted(names)))
    known = {one.name: one for one in client.read_automations(automations=by_name)}
    for automation in wanted:
        before = known.pop(automation.name, None)
        if before is None:
            client.create_automation(automation)
            continue
        # Whoever switched it off in the UI had a reason.
        automation.enabled = before.enabled
        if _content(automation) != _content(before):
            Automation(id=before.id, **automation.model_dump()).update()
    for left in known.values():
        client.delete_automation(left.id)


def _content(automation: AutomationCore) -> Any:
    """What an automation says, however the server orders it."""
    return _in_order(automation.model_dump(mode="json", include={*AutomationCore.model_fields}))


def _in_order(value: Any) -> Any:
    match value:
        case dict():
            return {key: _in_order(one) for key, one in value.items() if key != "id"}
        case list():
            return sorted(map(_in_order, value), key=repr)
    return value
