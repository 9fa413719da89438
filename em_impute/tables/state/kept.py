"""The folder of a state: an index, a summary of each partition, the last model.

The index alone says what is kept. It is replaced in one step after all that it names is written, so
a run that is killed leaves what was there before, and at most files that nobody names, which the
next one removes. One run at a time has the folder, by a lock that goes with its process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.job import CannotRun
from em_impute.job.confinement import OutsideError, confined
from em_impute.tables.state.shape import Shape
from em_impute.tables.whole_files import read_json, reason, written_whole
from em_impute.tables.writing.locks import TargetBusyError, one_writer
from em_impute.tables.writing.places import check_writable

VERSION = 1
INDEX, LOCK, MODEL = "index.json", ".lock", "model.json"
PARTITION, BLOCK, ASIDE = "partition-", "block-", ".damaged"
# Adding up what is kept takes seconds, reading days again minutes.
LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class Partition:
    """What was delivered at a time, and counts as one.

    Attributes
    ----------
    name : str
        Its date as the source's name has it, or the name of its file in the folder.
    day : date or None
        From which its age is counted.
    content : str
        Digest of its bytes.
    rows : int
    """

    name: str
    day: date | None
    content: str
    rows: int

    def file(self, shape: Shape) -> str:
        """The name of the file of its summary, of this content in this shape."""
        key = hashlib.sha256(f"{self.name}\0{self.content}\0{shape.digest}".encode()).hexdigest()
        return f"{PARTITION}{f'{self.day}-' if self.day else ''}{key[:20]}.npz"

    @property
    def order(self) -> tuple[date, str]:
        """By which partitions are sorted."""
        return self.day or date.min, self.name


@dataclass(frozen=True)
class Index:
    """What a state holds.

    Attributes
    ----------
    version : int
    job : str
        The job's name.
    shape : Shape
    partitions : tuple of Partition
        In their order.
    """

    version: int
    job: str
    shape: Shape
    partitions: tuple[Partition, ...]

    @cached_property
    def by_name(self) -> dict[str, Partition]:
        """The partitions by name."""
        return {partition.name: partition for partition in self.partitions}


_INDEX = TypeAdapter(Index)


class DamagedPartition(Exception):
    """The summary of a partition is gone, or is not what was written."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(partition.name)
        self.partition = partition


@dataclass(frozen=True)
class Kept:
    """What the folder of a state holds.

    Attributes
    ----------
    folder : Path
    index : Index or None
        None of a state that is to begin.
    damage : str
        Why the index that is there cannot be read; empty if it can.
    """

    folder: Path
    index: Index | None = None
    damage: str = ""

    @property
    def days_with_files(self) -> tuple[date, ...]:
        """The dates of which there are summaries, whatever the index says, the earliest first."""
        days = set[date]()
        for path in self.folder.glob(f"{PARTITION}*.npz"):
            with suppress(ValueError):
                days.add(date.fromisoformat(path.name.removeprefix(PARTITION)[:10]))
        return tuple(sorted(days))

    def summary(self, partition: Partition, shape: Shape, columns: Sequence[str]) -> PatternSummary:
        """The summary of a partition.

        Parameters
        ----------
        partition : Partition
        shape : Shape
            That in which it was summed up.
        columns : sequence of str
            Those of the model.

        Raises
        ------
        DamagedPartition
        """
        try:
            summary = PatternSummary.load(self.folder / partition.file(shape))
        except (OSError, ValueError):
            raise DamagedPartition(partition) from None
        if summary.columns != tuple(columns) or summary.n_rows != partition.rows:
            raise DamagedPartition(partition)
        return summary

    def model(self, columns: Sequence[str]) -> GaussianModel | None:
        """The last model, where a fit of these columns can begin from it."""
        try:
            model = GaussianModel.load(self.folder / MODEL)
        except (OSError, ValueError):
            return None
        usable = sorted(model.columns) == sorted(columns) and (model.sd > 0).all()
        return model if usable else None


# --- Reading --------------------------------------------------------------------------------------


def read_kept(folder: Path, job: str) -> Kept:
    """What the folder of a state holds; the folder need not be there.

    Parameters
    ----------
    folder : Path
    job : str
        Name of the job whose state it is to be.

    Raises
    ------
    CannotRun
        If the state is another job's, was written by a newer version, or cannot be read.
    """
    path = _confined(folder) / INDEX
    try:
        content = read_json(path)
        _require_own(content, folder, job)
        return Kept(folder, _INDEX.validate_python(content))
    except FileNotFoundError:
        return Kept(folder)
    except OSError as error:
        raise CannotRun(
            f"The state {folder} cannot be read ({reason(error)}); give the program the right to, "
            "or choose another folder (state.path)."
        ) from None
    except ValueError:
        return Kept(folder, None, f"{path} was damaged or changed by hand")


def _require_own(content: Any, folder: Path, job: str) -> None:
    known = content if isinstance(content, dict) else {}
    version, whose = known.get("version"), known.get("job")
    if isinstance(version, int) and version > VERSION:
        raise CannotRun(
            f"The state {folder} was written by a newer version of em_impute (format {version}, "
            f"this one reads {VERSION}); update em_impute, or choose another folder (state.path)."
        )
    if isinstance(whose, str) and whose != job:
        raise CannotRun(
            f"The state {folder} is that of the job {whose!r}, not of {job!r}; each job needs a "
            "folder of its own (state.path). If the job was renamed, give it its old name, or "
            "choose a new folder."
        )


def _confined(folder: Path) -> Path:
    try:
        return confined(folder)
    except OutsideError as outside:
        raise CannotRun(f"state.path: {folder} {outside}.") from None


def require_writable(folder: Path) -> None:
    """Make the folder of a state if it is not there, and see that files can be made in it.

    Raises
    ------
    CannotRun
    """
    try:
        check_writable(_confined(folder))
    except OSError as error:
        raise CannotRun(
            f"The state {folder} cannot be written ({reason(error)}); give the program the right "
            "to, or choose another folder (state.path)."
        ) from None


@contextmanager
def held(folder: Path, seconds: float = LONGEST_WAIT) -> Iterator[None]:
    """Have the folder of a state for oneself; wait for another run that has it.

    Parameters
    ----------
    folder : Path
    seconds : float
        How long to wait.

    Raises
    ------
    CannotRun
    """
    try:
        with one_writer(folder / LOCK, f"the state {folder}", seconds):
            yield
    except TargetBusyError:
        raise CannotRun(
            f"Another run has been using the state {folder} for more than {seconds:g} seconds; run "
            "the job again when it has finished."
        ) from None


# --- Writing --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Update:
    """What a run that has published adds to a state.

    Attributes
    ----------
    job : str
    shape : Shape
        In which its partitions are summed up.
    before : Shape or None
        That of the state which the run read; None if there was none, or a damaged one.
    new : mapping of Partition to PatternSummary
        New or changed partitions, and those that were read again.
    gone : tuple of str
        Partitions that are no longer there: out of the source, or damaged and not to be had again.
    damaged : tuple of Partition
        Those whose files are to be kept aside.
    window : timedelta or None
        How long before the latest day a partition is kept.
    """

    job: str
    shape: Shape
    before: Shape | None
    new: Mapping[Partition, PatternSummary]
    gone: tuple[str, ...] = ()
    damaged: tuple[Partition, ...] = ()
    window: timedelta | None = None


class Overtaken(Exception):
    """Another run has begun the state anew in another shape meanwhile."""


def write_update(folder: Path, update: Update, model: GaussianModel | None) -> Index:
    """Put what a run adds into the folder of its state, which is `held`; return what is kept now.

    Parameters
    ----------
    folder : Path
    update : Update
    model : GaussianModel or None
        Where the next fit begins.

    Raises
    ------
    Overtaken
    CannotRun
    OSError
    """
    kept = read_kept(folder, update.job)
    if kept.index and kept.index.shape not in (update.shape, update.before):
        raise Overtaken
    index = _updated(kept, update)
    if kept.damage:
        _set_aside(folder / INDEX)
    for partition in update.damaged:
        _set_aside(folder / partition.file(update.shape))
    for partition, summary in update.new.items():
        if partition.name in index.by_name:
            with written_whole(folder / partition.file(index.shape)) as half_written:
                summary.save(half_written)
    if model:
        with written_whole(folder / MODEL) as half_written:
            model.save(half_written)
    with written_whole(folder / INDEX) as half_written:
        half_written.write_bytes(_INDEX.dump_json(index, indent=1))
    return index


def _updated(kept: Kept, update: Update) -> Index:
    goes_on = kept.index is not None and kept.index.shape == update.shape
    partitions = dict(kept.index.by_name) if kept.index and goes_on else {}
    for name in update.gone:
        partitions.pop(name, None)
    partitions |= {partition.name: partition for partition in update.new}
    left = within_window(partitions.values(), update.window)
    return Index(VERSION, update.job, update.shape, tuple(sorted(left, key=lambda p: p.order)))


def within_window(
    partitions: Iterable[Partition], window: timedelta | None, day: date | None = None
) -> list[Partition]:
    """The partitions that a window shows which ends with a day; by default with the latest.

    Parameters
    ----------
    partitions : iterable of Partition
    window : timedelta or None
        None shows all up to that day.
    day : date, optional
    """
    partitions = list(partitions)
    last = day or max((p.day for p in partitions if p.day), default=date.max)
    return [
        p
        for p in partitions
        if p.day is None or (p.day <= last and (window is None or last - p.day < window))
    ]


def _set_aside(path: Path) -> None:
    """Rename a damaged file, so that it can be looked at."""
    with suppress(FileNotFoundError):
        path.rename(path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}{ASIDE}"))


def remove_all_but(folder: Path, names: Iterable[str]) -> None:
    """Remove the files of partitions and blocks that nothing names any more.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        Names of the files that stay.
    """
    stay = set(names)
    for pattern in (f"{PARTITION}*.npz", f"{BLOCK}*.npz", ".*.part"):
        for path in folder.glob(pattern):
            if path.name not in stay:
                path.unlink(missing_ok=True)
