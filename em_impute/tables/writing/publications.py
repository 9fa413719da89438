"""Which runs have published to a place, and of which of them its table still holds what they did.

A publication has a name: the rows of a day, which are appended once, or a run. What is recorded of
it is true of the table that it made. The table that is there now may be another: deleted, put back
from a copy, written again by another program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from em_impute.job import CannotRun, Job, Target
from em_impute.tables.whole_files import read_json, written_whole
from em_impute.tables.writing.disk import flush
from em_impute.tables.writing.staged import TargetError

# What an entry does not say that an earlier version has recorded.
UNKNOWN = "unknown"
DAYS_ROWS = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""The name under which the rows of a day are appended ends so."""
_DAYS_TABLE = re.compile(r"_(\d{4}-\d{2}-\d{2})$")
# Publications that a target remembers, so that none is made twice: 27 years of days.
REMEMBERED = 10_000

Standing = Literal["held", "replaced", "gone", "in doubt"]
"""Its rows are in the table; a newer table has taken its place; they are not there any more; or
another program has written the table since, so that nobody knows."""


class OvertakenError(CannotRun):
    """A newer table than the one to be published is at the target."""


@dataclass(frozen=True)
class Publication:
    """That something was published to a file or a folder.

    Attributes
    ----------
    run : str
        Name of the publication.
    rows : int
    sha256 : str
        Of the table as it was then.
    onto : str or None
        SHA-256 of the table whose rows this one has kept; None if it kept none.
    """

    run: str
    rows: int
    sha256: str
    onto: str | None = UNKNOWN


@dataclass(frozen=True)
class Comparison:
    """What a target holds, compared with what a run has published.

    Attributes
    ----------
    sentence : str
    differs : bool
        Whether it holds something else where it should still hold the same.
    """

    sentence: str
    differs: bool = False


def named(job: Job, run: str, day: date) -> str:
    """The name under which a run publishes once.

    The rows of a day are appended once, whichever run does it. A table that takes the place of
    another day's says of which day it is.

    Parameters
    ----------
    job : Job
        With {date} in its paths still.
    run : str
    day : date
        That the data are about.
    """
    if job.target.mode == "append" and job.is_dated:
        return f"{job.name}-{day}"
    if job.target.mode == "replace" and job.source_is_dated and not job.target_is_dated:
        return f"{run}_{day}"
    return run


def data_date(name: str) -> date | None:
    """The day of a table that has taken the place of another day's."""
    found = _DAYS_TABLE.search(name)
    return date.fromisoformat(found[1]) if found else None


def run_of(name: str) -> str:
    """The run that has published under a name, if that is not of the rows of a day."""
    return _DAYS_TABLE.sub("", name)


def check_not_overtaken(name: str, latest: Iterable[str], target: str) -> None:
    """See that the table of a day does not take the place of one of a later day.

    Parameters
    ----------
    name : str
        The name under which it would be published.
    latest : iterable of str
        Those of what is there.
    target : str
        As the message names it.

    Raises
    ------
    OvertakenError
    """
    day = data_date(name)
    later = [other for one in latest if (other := data_date(one)) and day and other > day]
    if later:
        raise OvertakenError(
            f"Overtaken: {target} holds the table of {max(later)}, which is newer than that of "
            f"{day}; nothing was done. To publish the older table, remove the newer one, or write "
            "{date} in the path of the target."
        )


def in_force(history: Sequence[Publication], now: str | None) -> tuple[Sequence[Publication], bool]:
    """The publications that have led to the table that is there, and whether it is as they left it.

    Parameters
    ----------
    history : sequence of Publication
        What is recorded, the newest first.
    now : str or None
        SHA-256 of the table that is there; None if there is none.
    """
    if now is None:
        return (), True
    for i, entry in enumerate(history):
        if entry.sha256 == now:
            return history[i:], True
        # The record is written just before the table is put: this one has not come so far.
        if entry.onto == now:
            return history[i + 1 :], True
    return history, not history


def standing(name: str, history: Sequence[Publication], now: str | None) -> Standing:
    """Whether the table that is there holds what was published under a name.

    Parameters
    ----------
    name : str
    history : sequence of Publication
        What is recorded, the newest first.
    now : str or None
        SHA-256 of the table that is there; None if there is none.
    """
    left, as_left = in_force(history, now)
    state: Standing = "held" if as_left else "in doubt"
    for i, entry in enumerate(left):
        if entry.run == name:
            return state
        before = left[i + 1].sha256 if i + 1 < len(left) else None
        if entry.onto is None:
            state = "replaced"
        elif state == "held" and before not in (None, entry.onto) and entry.onto != UNKNOWN:
            state = "in doubt"
    return "gone"


def in_doubt(target: Target, name: str, record: str) -> str:
    """Say that a target may not hold what was published there, and what to do.

    Parameters
    ----------
    target : Target
    name : str
        The name under which it was published.
    record : str
        Where the target says so.
    """
    sentence = (
        f"Another program has changed {target} since {name} was published there, so it may no "
        "longer be in it; nothing was done."
    )
    if target.mode != "append":
        return f"{sentence} `em-impute backfill --again` publishes it again."
    return (
        f"{sentence} If its rows are gone, remove {record} and run the job again; if they are "
        "there, there is nothing to do. `mode: upsert` would replace them."
    )


# --- The record beside files -------------------------------------------------------------------


@dataclass(frozen=True)
class _Record:
    published: tuple[Publication, ...]


_RECORD = TypeAdapter(_Record)


def read_record(path: Path, strict: bool) -> Sequence[Publication]:
    """What is recorded of a place, the newest first.

    A record that somebody has damaged is passed over, unless `strict`: then a run that comes again
    would add its rows twice.

    Raises
    ------
    TargetError
        If the record is damaged, and that matters.
    """
    try:
        return _RECORD.validate_python(read_json(path)).published
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        if strict:
            raise TargetError(
                f"The record {path} of what was appended cannot be read; it was damaged or "
                "changed by hand. See which rows the target holds, then remove the record and run "
                "the job again; rows appended before would otherwise be appended again."
            ) from None
        return ()


def write_record(path: Path, entries: Sequence[Publication]) -> None:
    """Write what is to be remembered of a place, the newest first."""
    with written_whole(path) as partial:
        content = {"published": [asdict(entry) for entry in entries[:REMEMBERED]]}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        flush(partial)
