"""What a run's table is delivered in: the rows of a date, or the files of a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from em_impute.job import CannotRun, Job, State
from em_impute.job.dates import date_in
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.state.kept import Partition

_DATE = re.compile(r"(?<!\d)(\d{4})([-_/]?)(\d{2})(?:\2(\d{2}))?(?!\d)")
_HIVE = re.compile(r"year=(\d{4})/month=(\d{1,2})(?:/day=(\d{1,2}))?", re.IGNORECASE)


def day_of(name: str) -> date | None:
    """The day that the name of a file tells, such as ``2024-01-31`` or ``year=2024/month=1``.

    A month counts from its first day. Of several the last one counts.
    """
    found = [*((m[1], m[2], m[3]) for m in _HIVE.finditer(name))]
    found = found or [(m[1], m[3], m[4]) for m in _DATE.finditer(name)]
    for year, month, day in reversed(found):
        try:
            return date(int(year), int(month), int(day or 1))
        except ValueError:
            continue
    return None


def partitions_of(job: Job, snapshot: Snapshot, day: date) -> list[Partition]:
    """What the rows of a table are delivered in, in their order.

    Parameters
    ----------
    job : Job
    snapshot : Snapshot
        The table.
    day : date
        Its data date.
    """
    if job.of_any_day.source_is_dated:
        name = date_in(job.of_any_day.source, day)
        return [Partition(name, day, snapshot.fingerprint, snapshot.rows)]
    return [
        Partition(file.name, day_of(file.name), file.sha256, file.rows) for file in snapshot.files
    ]


def require_days(state: State, partitions: Sequence[Partition]) -> None:
    """Raise a CannotRun if the age of a partition counts, and its name does not tell it."""
    undated = [partition for partition in partitions if partition.day is None]
    if undated and (state.window or state.half_life):
        key = "window" if state.window else "half_life"
        raise CannotRun(
            f"state.{key}: the name of {undated[0].name} tells no date from which its age could be "
            "counted, as 2024-01-31.csv does; rename the files, write {date} in the path of the "
            f"source, or remove state.{key}."
        )
