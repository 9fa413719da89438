"""What a run shows in Prefect: tags, the progress of EM, the report's artifacts, and its events."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict
from functools import partial
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from prefect import Flow, State, get_client, get_run_logger, runtime
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_UI_URL

from em_impute.gaussian import Iteration
from em_impute.gaussian.filling import FittedModel
from em_impute.job import Job
from em_impute.job.legible import in_markdown
from em_impute.plugin.assets import Assets, assets_of, tell_materialized
from em_impute.reporting import render
from em_impute.reporting.brief import in_brief
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.tables.progress import Listener, heard_by, in_words

TAG = "em_impute"
ENDED = "em-impute.ended"
"""The event after which nothing more is heard of a run."""
STATE = "em-impute.state"
"""The label of that event which says by which state the run has ended."""
# Names the address under which the folder of the runs is served, where it is.
RUNS_URL = "EM_IMPUTE_RUNS_URL"
# No user and password, and nothing after which a path cannot go on.
ADDRESS = re.compile(r"https?://[^\s<>()@?#\"\\]+")
# The progress artifact is updated at most this often, in seconds.
PROGRESS_INTERVAL = 1.5
# How often the log says that a step still goes on, in seconds.
HEARTBEAT = 60.0
# What a server that does not answer may hold up a fit that has ended, in seconds.
PATIENCE = 30.0


def artifact_key(job: str) -> str:
    """A job's name as Prefect accepts it in artifact keys."""
    return re.sub(r"[^a-z0-9]+", "-", job.lower()).strip("-")


@contextmanager
def em_progress(key: str) -> Iterator[Callable[[FittedModel], None]]:
    """Have the progress artifact `key` follow EM meanwhile; EM does not wait for it.

    What it gives is to be called with the result.
    """
    progress = _EMProgress(key)
    with _followed_by(progress):
        yield progress.ended


@contextmanager
def heartbeat(step: str) -> Iterator[None]:
    """Have the log say every minute that a step still goes on, and how far it has come."""
    with _followed_by(_Heartbeat(step)):
        yield


class _Follower(Listener):
    """Hears of what goes on, and shows it in a thread of its own.

    Attributes
    ----------
    over : threading.Event
        Set at the end of it.
    """

    def __init__(self) -> None:
        self.over = threading.Event()

    def follow(self) -> None:
        """Show what was heard until it is over."""
        raise NotImplementedError


@contextmanager
def _followed_by(follower: _Follower) -> Iterator[None]:
    # In this context the thread finds the task's run, its logger and its client.
    thread = threading.Thread(target=copy_context().run, args=(follower.follow,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the machine has no room for another thread; the run goes on unwatched
        yield
        return
    try:
        with heard_by(follower):
            yield
    finally:
        follower.over.set()
        thread.join(PATIENCE)


class _EMProgress(_Follower):
    """What of EM is to be shown in its artifact, which is updated once more when EM is over."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self._shown = self._latest = (0.0, "EM begins.")

    def iterated(self, iteration: Iteration, share: float) -> None:
        """Take note; the thread comes for it when it is time."""
        self._latest = (100.0 * share, in_words(iteration))

    def ended(self, result: FittedModel) -> None:
        """Take note of how it ended; only at the maximum all of the way has been gone."""
        self._latest = (100.0 if result.converged else self._latest[0], result.message)

    def follow(self) -> None:
        """Make the artifact, and keep it as EM is until it is over."""
        try:
            # Outside of an event loop Prefect's functions answer themselves, not by a coroutine.
            artifact = cast(
                UUID, create_progress_artifact(0.0, key=self._key, description=self._shown[1])
            )
            pause = PROGRESS_INTERVAL
            while not self.over.wait(pause):
                began = time.monotonic()
                if self._update(artifact):
                    get_run_logger().info(self._shown[1])
                # A slow server is asked as often, but not all the time.
                pause = max(PROGRESS_INTERVAL - (time.monotonic() - began), PROGRESS_INTERVAL / 5)
            self._update(artifact)
        except Exception as error:  # of whatever kind: the fit does not depend on being watched
            get_run_logger().warning(
                "Prefect does not show the progress of EM any more (%s); the fit goes on.",
                type(error).__name__,
            )

    def _update(self, artifact: UUID) -> bool:
        latest = self._latest
        if latest == self._shown:
            return False
        sentence = in_markdown(latest[1])
        update_progress_artifact(artifact, round(latest[0], 1), description=sentence)
        self._shown = latest
        return True


class _Heartbeat(_Follower):
    """What was heard of a step last, for the log."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step, self._latest = step, ""

    def rows_passed(self, rows: int, share: float | None) -> None:
        """Take note of the rows that are done."""
        self._latest = f": {rows:,} rows" + (f", {share:.0%}" if share is not None else "")

    def follow(self) -> None:
        """Log until it is over."""
        began = time.monotonic()
        with suppress(Exception):  # the step does not depend on being heard of
            while not self.over.wait(HEARTBEAT):
                seconds = time.monotonic() - began
                get_run_logger().info(
                    "Still at %s after %.0f s%s.", self._step, seconds, self._latest
                )


def tag_flow_run(*tags: str) -> None:
    """Give the flow run that this is in the tag `em_impute`, and these."""
    if run := runtime.flow_run.id:
        all_tags = list(dict.fromkeys([*runtime.flow_run.tags, TAG, *tags]))
        get_client(sync_client=True).update_flow_run(UUID(run), tags=all_tags)


def page_address(job: str, run: str) -> str | None:
    """Where a run's report.html is served, if `EM_IMPUTE_RUNS_URL` says so."""
    address = os.environ.get(RUNS_URL)
    if not address:
        return None
    if not ADDRESS.fullmatch(address):
        get_run_logger().warning(
            "%s is not the address of a folder: expected http://host/folder or https://host/folder "
            "without a user, a password or a query. The report is not linked.",
            RUNS_URL,
        )
        return None
    return f"{address.rstrip('/')}/{quote(job)}/{quote(run)}/report.html"


def flow_run_address(flow_run: str | None) -> str:
    """Where Prefect's UI shows a flow run; empty if its address is not known, or holds a login."""
    address = PREFECT_UI_URL.value()
    if not (flow_run and address and ADDRESS.fullmatch(address)):
        return ""
    return f"{address.rstrip('/')}/runs/flow-run/{quote(flow_run)}"


def leave_report(key: str, report: Report, page: str | None, parts: Parts) -> None:
    """Make the artifacts of a run: the report, its tables, and the link to its `page`.

    The keys are those of the job's other runs, whose artifacts are earlier versions of these.

    Parameters
    ----------
    key : str
        What the keys begin with.
    report : Report
    page : str or None
        Where the report's page is served.
    parts : Parts
        Takes note of one that fails; the others are made.
    """
    for name, make in ARTIFACTS.items():
        parts.make(f"artifact {name}", partial(make, f"{key}-{name}", report, page, parts), None)


def _leave_markdown(key: str, report: Report, page: str | None, parts: Parts) -> None:
    outcome = report.verdict.outcome.capitalize()
    create_markdown_artifact(
        render.markdown(report, page, parts),
        key=key,
        description=f"{outcome}: {report.missing_cells:,} cells missing, "
        f"{report.imputed_cells:,} imputed"
        + (f", {report.left_cells:,} left missing." if report.left_cells else "."),
    )


def _leave_columns(key: str, report: Report, page: str | None, parts: Parts) -> None:  # noqa: ARG001
    if columns := render.column_table(report):
        create_table_artifact(
            columns,
            key=key,
            description=_how_many(len(columns), len(report.columns), "columns")
            + ", with what was observed, estimated and imputed.",
        )


def _leave_checks(key: str, report: Report, page: str | None, parts: Parts) -> None:  # noqa: ARG001
    if checks := render.check_table(report):
        how_many = _how_many(len(checks), len(report.checks), "checks")
        create_table_artifact(checks, key=key, description=f"{how_many}: {_result(report)}.")


def _leave_link(key: str, report: Report, page: str | None, parts: Parts) -> None:  # noqa: ARG001
    if page:
        create_link_artifact(
            page,
            in_markdown(f"The report of {report.job} on one page"),
            key=key,
            description="Where this run's report.html is served.",
        )


ARTIFACTS = {
    "report": _leave_markdown,
    "columns": _leave_columns,
    "checks": _leave_checks,
    "page": _leave_link,
}
"""What makes each artifact of a run, by the end of its key."""


def _result(report: Report) -> str:
    brief = in_brief(report)
    counts = {"failed": brief.failed_checks, "warned": brief.warned_checks}
    return " and ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "all passed"


def _how_many(shown: int, total: int, what: str) -> str:
    return f"{total:,} {what}" if shown == total else f"{shown:,} of {total:,} {what}"


def announce(
    report: Report, job: Job, stopped_by: str | None, page: str | None, parts: Parts
) -> None:
    """Emit the run's event, `em-impute.published` or `em-impute.refused`; no cell is in it.

    Its resource is the job, the flow run and the job's tables are related to it, and its payload is
    the report in brief, with `page` and with what the run was stopped by. What was published is
    also an event of the target as an asset. If the estimates have moved since the last
    published run, `em-impute.drifted` follows, with that run and with what has moved.

    Parameters
    ----------
    report : Report
    job : Job
        Whose tables are related to the events.
    stopped_by : str or None
        What kind of thing stopped the run.
    page : str or None
        Where the report's page is served.
    parts : Parts
        Takes note of an event that fails.
    """
    least = {
        "job": report.job,
        "run": report.run,
        "outcome": report.verdict.outcome,
        "verdict": report.verdict.sentence,
    }
    brief = parts.make("the run in brief", lambda: asdict(in_brief(report)), least)
    payload = brief | {"stopped_by": stopped_by, "page": page}
    event = "published" if report.published else "refused"
    assets = parts.make("names of the tables", lambda: assets_of(job), Assets())
    related = assets.related()
    parts.make(f"event {event}", lambda: _emit(event, report.job, payload, related), None)
    if report.published:
        parts.make("event of the target", lambda: tell_materialized(assets, report), None)
    if (drift := report.drift) and drift.drifted:
        moved = {"since": drift.run, "changes": list(drift.sentences)}
        parts.make(
            "event drifted", lambda: _emit("drifted", report.job, payload | moved, related), None
        )


def tell_ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Emit the event `em-impute.ended` of a flow run, as a hook of its flow.

    Prefect may hold its own event of that back for a quarter of an hour, until one has come that
    this one follows. Nothing precedes ours.
    """
    related = [
        {
            "prefect.resource.id": f"prefect.flow.{flow_run.flow_id}",
            "prefect.resource.role": "flow",
            "prefect.resource.name": flow.name,
        }
    ]
    if flow_run.deployment_id:
        related.append(
            {
                "prefect.resource.id": f"prefect.deployment.{flow_run.deployment_id}",
                "prefect.resource.role": "deployment",
            }
        )
    emit_event(
        ENDED,
        {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", STATE: state.name or ""},
        related=related,
        payload={"state": state.name},
    )


def _emit(event: str, job: str, payload: dict[str, Any], related: list[dict[str, str]]) -> None:
    resource = {"prefect.resource.id": f"em-impute.job.{job}", "prefect.resource.name": job}
    # Prefect relates the run, its flow, its deployment and their tags to the event by itself.
    emit_event(f"em-impute.{event}", resource, related=related, payload=payload)
