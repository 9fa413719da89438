"""Jobs as Prefect deployments: served by this process, or deployed for the workers of a pool."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.types.entrypoint import EntrypointType

from em_impute.flows.automations import (
    check_order,
    keep_automations,
    keep_automations_of,
    notification_blocks,
    remove_automations_of,
)
from em_impute.flows.impute import impute
from em_impute.job import CannotRun, Job
from em_impute.job import Schedule as JobSchedule
from em_impute.plugin.artifacts import TAG

# Deployments that the server is asked for at a time.
PAGE = 200
# Only one run of a job is active at a time, for all publish to one target; the next one waits.
ONE_BY_ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


@dataclass(frozen=True)
class Deployed:
    """What `deploy_jobs` has done: names of deployments; `ended` have no run that is due."""

    deployed: tuple[str, ...]
    removed: tuple[str, ...]
    ended: tuple[str, ...]


def serve_jobs(jobs: Sequence[tuple[Path, Job]], runs: Path) -> None:
    """Deploy each job under its name and run it by its schedule; returns when interrupted.

    Parameters
    ----------
    jobs : sequence of (Path, Job)
        The absolute path of each file, which every run reads again, and the job in it.
    runs : Path
        Where the folders of the runs are made.

    Raises
    ------
    CannotRun
        If a job names a block, or a job to run after, that is not there.
    """
    runner = _Runner()
    with get_client(sync_client=True) as client:
        check_order(client, [job for _, job in jobs])
        blocks = notification_blocks(client, [job for _, job in jobs])
        for path, job in jobs:
            deployment = runner.add_deployment(_deployment(path, job, runs.absolute()))
            keep_automations_of(client, job, deployment, blocks)
        keep_automations(client)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.handle_sigterm)
    asyncio.run(runner.start())


class _Runner(Runner):
    """Prefect's runner, but what goes on when a signal ends it has time to end, too.

    Prefect's own stops itself from within the signal's handler, by an exit from the loop that waits
    for it: tracebacks, runs that stay "running", deployments that are not paused.
    """

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End, once; a run that has not ended by itself half a minute later is killed."""
        if self._loop and not self.stopping:
            self.stopping = True
            # Kept, for a loop does not keep its tasks.
            self._ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)

    async def _end(self) -> None:
        self._scheduled_run_poller.stopping = True
        self._loops_task_group.cancel_scope.cancel()
        for run in self._process_manager.flow_run_ids():
            await self._process_manager.kill(run)


def deploy_jobs(
    jobs: Sequence[tuple[Path, Job]],
    runs: Path,
    pool: str,
    folder: Path,
    *,
    create_pool: bool = False,
    prune: bool = False,
) -> Deployed:
    """Deploy each job under its name, for the workers of a pool; doing it again changes nothing.

    Parameters
    ----------
    jobs : sequence of (Path, Job)
        The path of each file as the workers find it, absolute or relative to `folder`.
    runs : Path
        Where the workers make the folders of the runs, likewise.
    pool : str
        Name of the work pool.
    folder : Path
        Where the workers' runs are started: what relative paths in a job are relative to.
    create_pool : bool
        Whether a pool that is not there is made, of type process.
    prune : bool
        Whether the pool's other deployments of jobs are removed.

    Raises
    ------
    CannotRun
        If there is no such pool, or a job names a block, or a job to run after, that is not there.
    """
    with get_client(sync_client=True) as client:
        check_order(client, [job for _, job in jobs])
        blocks = notification_blocks(client, [job for _, job in jobs])
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            if not create_pool:
                raise CannotRun(
                    f"There is no work pool '{pool}'. Make it with `prefect work-pool create "
                    f"--type process {pool}`, or add --create-pool."
                ) from None
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        paused = {one.name: one.paused for one in _deployments(client, pool)}
        for path, job in jobs:
            deployment = _deployment(path, job, runs, pool, folder)
            # Whoever paused it in the UI had a reason.
            deployment.paused = paused.get(job.name, False)
            keep_automations_of(client, job, cast(UUID, deployment.apply()), blocks)
        keep_automations(client)
        names = tuple(job.name for _, job in jobs)
        removed = tuple(_removed(client, pool, names)) if prune else ()
    return Deployed(names, removed, ended(jobs))


def ended(jobs: Sequence[tuple[Path, Job]]) -> tuple[str, ...]:
    """Names of the jobs whose schedules have all ended, so that nothing starts them any more."""
    now = datetime.now(UTC)
    return tuple(
        job.name
        for _, job in jobs
        if job.schedules and all(schedule.has_ended(now) for schedule in job.schedules)
    )


def _deployment(
    path: Path, job: Job, runs: Path, pool: str | None = None, folder: Path | None = None
) -> RunnerDeployment:
    # Called outside of an event loop, it answers itself.
    made = impute.to_deployment(
        name=job.name,
        # In full, for a hook of a run that is lost is called elsewhere than the run.
        parameters={"job": str((folder or Path()) / path), "runs": str((folder or Path()) / runs)},
        schedules=_schedules(job),
        concurrency_limit=ONE_BY_ONE,
        description=job.description or f"Fills the holes of {job.source} and writes {job.target}.",
        tags=list(dict.fromkeys([TAG, job.name, *job.tags])),
        work_pool_name=pool,
        job_variables={"working_dir": str(folder)} if folder else {},
        # Workers find the flow in the installed package, wherever they run.
        entrypoint_type=EntrypointType.MODULE_PATH if pool else EntrypointType.FILE_PATH,
    )
    return cast(RunnerDeployment, made)


def _schedules(job: Job) -> list[Schedule]:
    """The job's schedules; from the second on, its number is a parameter of the runs it starts."""
    return [
        _schedule(schedule, {"schedule": i} if i else {})
        for i, schedule in enumerate(job.schedules)
    ]


def _schedule(schedule: JobSchedule, parameters: dict[str, Any]) -> Schedule:
    zone: dict[str, Any] = {"timezone": schedule.timezone, "parameters": parameters}
    if schedule.cron is not None:
        return Cron(schedule.cron, **zone)
    if schedule.rrule is not None:
        return RRule(schedule.rrule, **zone)
    assert schedule.interval is not None
    # From a fixed moment on: deploying again must not shift the rhythm.
    anchor = datetime(2020, 1, 1, tzinfo=ZoneInfo(schedule.timezone))
    return Interval(schedule.interval, anchor_date=anchor, **zone)


def _removed(client: SyncPrefectClient, pool: str, keep: Collection[str]) -> Iterator[str]:
    """Remove the pool's deployments of jobs that are not among `keep`; yield their names."""
    for deployment in list(_deployments(client, pool)):
        if deployment.name not in keep:
            client.delete_deployment(deployment.id)
            remove_automations_of(client, deployment.name)
            yield deployment.name


def _deployments(client: SyncPrefectClient, pool: str) -> Iterator[DeploymentResponse]:
    """The pool's deployments that `deploy_jobs` made."""
    for offset in count(step=PAGE):
        page = client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[impute.name])),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            limit=PAGE,
            offset=offset,
        )
        yield from page
        if len(page) < PAGE:
            return
