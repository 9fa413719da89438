"""What a run is and what it has found, from which its report is made. No Prefect in here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from em_impute.checks import Checked
from em_impute.job import CannotRun, Job
from em_impute.job.legible import legible_lines
from em_impute.reporting.brief import Brief
from em_impute.reporting.parts import Parts, kind_and_place
from em_impute.reporting.records import Report, Verdict
from em_impute.runs.manifest import Manifest, installed_versions, this_machine
from em_impute.runs.survey import Survey
from em_impute.self_test.scores import SelfTest
from em_impute.tables import progress
from em_impute.tables.columns.roles import Roles
from em_impute.tables.groups import Fitted
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.targets import find_published
from em_impute.tables.writing.locks import TargetBusyError
from em_impute.tables.writing.staged import Published, Staged


class Refused(Exception):
    """The table must not be published; the message is the reason, a sentence."""


class TookTooLong(TimeoutError):
    """The run has come to its time limit."""


class Unforeseen(Exception):
    """A fault of the program, in a sentence; the log has the rest."""

    def __init__(self, fault: Exception) -> None:
        self.__cause__ = fault
        super().__init__(f"The run failed by a fault of the program ({type(fault).__name__}).")


EXPECTED = (CannotRun, Refused, OSError)
"""What may stop a run without being a fault of the program."""


class SentencesOnly(logging.Filter):
    """Makes a message legible, and drops the traceback of what is the user's to mend.

    Names in it may be hostile, and the message says it all.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and pass it on."""
        record.msg, record.args = legible_lines(record.getMessage()), ()
        if record.exc_info and isinstance(record.exc_info[1], EXPECTED):
            record.exc_info = None
        return True


Stop = Literal["refused", "cannot run", "failed"]
"""By its checks; because job, source or target are wrong; by anything else, such as a full disk."""


_APPENDED_BEFORE = (
    "The rows of this date had been appended to the target before, so nothing was added; with "
    "mode: upsert they would be replaced."
)

_PUBLISHED_ALL_THE_SAME = (
    "The target holds the table, but an error came up in publishing when it was there"
)


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes
    ----------
    id : str
        Name of the run's folder.
    job : Job
    folder : RunFolder
    started : datetime
        For which it was scheduled.
    date : date
        The day that its data are about.
    publication : str
        What is published once under this name: the run's table, or the rows of a day to append.
    is_deployed : bool
        Whether it is tried again if its process is lost, with what is in its folder.
    seconds : dict of str to float
        How long each step took, in their order; filled in as they end.
    dated : bool
        Whether the source or the target is another one for each date.
    is_direct : bool
        Whether it goes its steps without Prefect.
    flow_run : str
        Where Prefect's UI shows it; empty if that is not known.
    """

    id: str
    job: Job
    folder: RunFolder
    started: datetime
    date: date
    publication: str
    is_deployed: bool = False
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    dated: bool = False
    is_direct: bool = False
    flow_run: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tell that a step goes on, and note how long it took; tried again, all of it."""
        began = time.monotonic()
        try:
            with progress.step(name):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


@dataclass(frozen=True)
class Loaded(Snapshot):
    """The source as it was read, with what each of its columns is for.

    Attributes
    ----------
    roles : Roles
        Made once, of the job and the snapshot; the steps behind go by them.
    """

    roles: Roles = field(kw_only=True)

    @classmethod
    def of(cls, snapshot: Snapshot, roles: Roles) -> Loaded:
        """Return the snapshot with these roles."""
        known = {field.name: getattr(snapshot, field.name) for field in fields(Snapshot)}
        return cls(**known, roles=roles)


@dataclass
class Found:
    """What a run has found so far; the report is made of it, wherever the run stopped.

    Attributes
    ----------
    snapshot : Snapshot or None
        A `Loaded` one as soon as the parts of its columns are known.
    before, fitted, staged, tested, after, published
        What the steps have found; None of a step that was not reached.
    survey : Survey or None
        What was seen of the rows while they passed for a step.
    stopped_by : Exception or None
        Why nothing was published.
    afterwards : str
        What kind of error came up in publishing when the table was at its target.
    left : tuple of str
        Sentences on the cells that stay missing.
    not_kept : str
        Why the rows of a run that published are not in its job's state; empty if they are.
    not_passed_on : tuple of str
        Sentences on who could not be told of the run, such as a receiver of its lineage.
    unsettled : bool
        Whether it is not known that the target was not changed.
    outcome : Outcome or None
        What was reported.
    """

    snapshot: Snapshot | None = None
    before: Checked | None = None
    fitted: Fitted | None = None
    survey: Survey | None = None
    staged: Staged | None = None
    tested: SelfTest | None = None
    after: Checked | None = None
    published: Published | None = None
    stopped_by: Exception | None = None
    afterwards: str = ""
    left: tuple[str, ...] = ()
    not_kept: str = ""
    not_passed_on: tuple[str, ...] = ()
    unsettled: bool = False
    outcome: Outcome | None = None

    @property
    def stopped(self) -> Stop | None:
        """What kind of thing stopped the run."""
        match self.stopped_by:
            case None:
                return None
            case Refused():
                return "refused"
            case CannotRun():
                return "cannot run"
        return "failed"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what a reader should know before trusting the table, by importance."""
        result = self.fitted.result if self.fitted else None
        calming = result.starts.sentence if result and result.starts and result.starts.agree else ""
        ending = [result.message] if result and not result.converged else []
        shown = {calming, *ending}
        return (
            *ending,
            *(self.tested.warnings if self.tested else ()),
            *(self.after.warnings if self.after else ()),
            *([_APPENDED_BEFORE] if self.published and self.published.before else ()),
            *filter(None, [self.published.warning] if self.published else ()),
            *([f"{_PUBLISHED_ALL_THE_SAME} ({self.afterwards})."] if self.afterwards else ()),
            *filter(None, [self.not_kept]),
            *self.not_passed_on,
            *(self.fitted.drawn.warnings if self.fitted and self.fitted.drawn else ()),
            *(s for s in (self.fitted.decisions if self.fitted else ()) if s not in shown),
            *(self.before.warnings if self.before else ()),
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """What the program decided by itself, a sentence each, with its reason."""
        notes = (checked.note for checked in (self.before, self.after) if checked)
        sample = self.snapshot.sample_in_words if self.snapshot else ""
        decided = (*self.fitted.decisions, *self.fitted.notes) if self.fitted else ()
        return (*decided, *filter(None, (sample, *notes)))


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    verdict : Verdict
        Published, published with warnings or not published, and why.
    stopped : {"refused", "cannot run", "failed"} or None
        What kind of thing stopped the run.
    fit : str
        How the fit ended, a sentence; empty if there was none.
    tested : str
        What the self-test says, likewise.
    cells : tuple of (str, int)
        Imputed cells of each column.
    target : str
    report : Path
    brief : Brief or None
        The report in brief.
    published : bool or None
        Whether the target holds the table; None if that could not be found out.
    """

    verdict: Verdict
    stopped: Stop | None
    fit: str
    tested: str
    cells: tuple[tuple[str, int], ...]
    target: str
    report: Path
    brief: Brief | None = None
    published: bool | None = None


def stop_if_refused(found: Found) -> None:
    """Stop the run if what was found forbids publishing.

    Raises
    ------
    Refused
        With the reason.
    """
    for checked in (found.before, found.fitted, found.after, found.tested):
        if checked and checked.refusal:
            raise Refused(checked.refusal)


def interruption_behind(fault: BaseException | None) -> BaseException | None:
    """The signal that a fault came of; None if it came of none.

    Prefect may be interrupted in work of its own, between two steps, and fail in clearing that up.
    Its exception for a signal has the number.
    """
    while isinstance(fault, Exception):
        fault = fault.__cause__ or fault.__context__
    return fault if isinstance(fault, KeyboardInterrupt) or hasattr(fault, "signal") else None


def settle(run: Run, found: Found) -> None:
    """Find out what is true of the target of a run that was stopped.

    Publishing can fail after its one step: in tidying up, in Prefect, by a lost connection.
    """
    reason = found.stopped_by
    if reason is None or isinstance(reason, TargetBusyError) or not run.folder.publishing.exists():
        return
    try:
        found.published = find_published(run.job.target, run.publication)
    except Exception:
        found.unsettled = True
        return
    if found.published:
        found.published = replace(found.published, before=False)
        found.afterwards, found.stopped_by = kind_and_place(reason.__cause__ or reason), None


def manifest(run: Run, snapshot: Snapshot, found: Found, numbers: Report, parts: Parts) -> Manifest:
    """What ran on what, with which outcome.

    Parameters
    ----------
    run : Run
    snapshot : Snapshot
    found : Found
    numbers : Report
    parts : Parts
        Takes note of what cannot be found out, which is left out.
    """
    unknown: dict[str, str] = {}
    return Manifest(
        run=run.id,
        date=run.date,
        job=run.job,
        snapshot=snapshot,
        published=found.published,
        cells=found.staged.cells if found.staged else 0,
        imputed=dict(found.staged.imputed) if found.staged else {},
        table=found.staged.sha256 if found.staged else None,
        outputs=parts.make("hashes of the files", run.folder.hashes, unknown),
        versions=parts.make("versions", installed_versions, unknown),
        machine=parts.make("machine", this_machine, unknown),
        started=run.started,
        finished=datetime.now(UTC),
        verdict=numbers.verdict.sentence,
        rows_of_model=numbers.rows_of_model,
    )
