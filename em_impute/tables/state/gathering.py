"""The rows that a run's model is fitted to: those of its table, and those that its state keeps.

`gather` sums up what is new in the table, and adds the rest from the state. It leaves the state as
it is; `remember` changes it, when the run has published.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.job import CannotRun, Job, State
from em_impute.job.dates import date_in
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.sources import take_snapshot
from em_impute.tables.state.blocks import Blocks, weight
from em_impute.tables.state.delivered import partitions_of, require_days
from em_impute.tables.state.kept import (
    DamagedPartition,
    Index,
    Kept,
    Overtaken,
    Partition,
    Update,
    held,
    read_kept,
    remove_all_but,
    within_window,
    write_update,
)
from em_impute.tables.state.shape import Shape, with_known_levels
from em_impute.tables.summarise import sum_up_partitions, summarise, summarise_partitions
from em_impute.tables.whole_files import read_json, reason

_SHAPE = TypeAdapter(Shape)


@dataclass(frozen=True, eq=False)
class ModelRows:
    """What a model is fitted to.

    Attributes
    ----------
    summary : PatternSummary
    start : GaussianModel or None
        The model of an earlier run, from which the fit begins.
    """

    summary: PatternSummary
    start: GaussianModel | None

    @classmethod
    def of_run(cls, folder: RunFolder) -> ModelRows:
        """Those that a run has left in its folder."""
        start = GaussianModel.load(folder.start) if folder.start.exists() else None
        return cls(PatternSummary.load(folder.summary), start)


@dataclass(frozen=True, eq=False)
class Gathered(ModelRows):
    """What a model is fitted to, weighted as of the data date, where a job has a state.

    Attributes
    ----------
    table : PatternSummary
        The rows of the run's table, each counting once.
    rest : tuple of PatternSummary
        The rows of the model that are not in the table, weighted.
    parts : tuple of (int, float)
        The rows of each part of the table, in turn, and how much one of them counts in the model;
        0 for a part that the window does not show.
    partitions : tuple of Partition
        Those of the model, in their order.
    rows_read : int
        Rows that were summed up in this run, all others come from the state.
    dropped : tuple of str
        Partitions that the state will not keep any more.
    sentences : tuple of str
        What was decided on the way.
    update : Update
        What the state gets when the run has published.
    """

    table: PatternSummary
    rest: tuple[PatternSummary, ...]
    parts: tuple[tuple[int, float], ...]
    partitions: tuple[Partition, ...]
    rows_read: int
    dropped: tuple[str, ...]
    sentences: tuple[str, ...]
    update: Update

    @property
    def rows_kept(self) -> int:
        """Rows of the model that come from the state."""
        fresh = {partition.name for partition in self.update.new}
        return sum(p.rows for p in self.partitions if p.name not in fresh)

    def with_rows(self, matrices: Iterable[Floats]) -> PatternSummary:
        """The rows of the model, with other ones in place of those of the table, in their order."""
        sizes = [size for size, _ in self.parts]
        summaries = sum_up_partitions(matrices, self.table.columns, sizes)
        pieces = [
            summary.weighted(factor)
            for summary, (_, factor) in zip(summaries, self.parts, strict=True)
            if factor
        ]
        return PatternSummary.together([*self.rest, *pieces])

    def save(self, folder: RunFolder) -> None:
        """Leave in a run's folder what its fit can be made again from, besides the summary."""
        folder.state.write_text(
            json.dumps(
                {
                    "shape": asdict(self.update.shape),
                    "partitions": [p.name for p in self.partitions],
                }
            ),
            encoding="utf-8",
        )
        self.table.save(folder.table_summary)
        if self.start:
            self.start.save(folder.start)


# --- Gathering ------------------------------------------------------------------------------------


def known_shape(job: Job) -> Shape | None:
    """The shape of what a job's state holds; None without a state, or of one that is to begin.

    Raises
    ------
    CannotRun
        If the state is another job's, was written by a newer version, or cannot be read.
    """
    kept = read_kept(job.state.folder, job.name) if job.state else None
    return kept.index.shape if kept and kept.index else None


def shape_of(folder: RunFolder) -> Shape | None:
    """The shape in which the rows of a run's model were summed up; None if it had no state."""
    if not folder.state.exists():
        return None
    return _SHAPE.validate_python(read_json(folder.state)["shape"])


def plan(job: Job, snapshot: Snapshot, roles: Roles) -> str:
    """What a job's state holds, and what a run would do with it, in a sentence or two.

    Parameters
    ----------
    job : Job
        That of one day, with a state.
    snapshot : Snapshot
    roles : Roles
    """
    assert job.state
    kept, shape = read_kept(job.state.folder, job.name), Shape.of(roles, job.of_any_day.source)
    state, index = job.state.path, kept.index
    changes = index.shape.changes(shape) if index else ()
    if kept.damage or changes:
        reason = kept.damage or "; ".join(changes)
        return f"A run would begin the state {state} anew: {reason}."
    tonight = partitions_of(job, snapshot, job.day or date.today())
    known = index.by_name if index else {}
    rows = sum(p.rows for p in tonight if known.get(p.name) != p)
    if index is None:
        return f"A run would begin the state {state} with {rows:,} rows."
    names, held_rows = [p.name for p in index.partitions], sum(p.rows for p in index.partitions)
    many = f"{len(names):,} partition{'s' if len(names) > 1 else ''}"
    return (
        f"The state {state} holds {held_rows:,} rows in {many}, {names[0]} to {names[-1]}; a run "
        f"would sum up {rows:,} rows and take the others from there."
    )


def gather(job: Job, snapshot: Snapshot, roles: Roles, work: Path) -> Gathered:
    """Sum up what is new in a run's table, and add what the job's state keeps.

    Parameters
    ----------
    job : Job
        That of one day, with a state.
    snapshot : Snapshot
    roles : Roles
    work : Path
        Folder in which sources are read again, where that has to be.

    Raises
    ------
    CannotRun
    """
    assert job.state
    with held(job.state.folder):
        return _Gathering(job, job.state, snapshot, roles, work).gathered()


class _Gathering:
    """One run's way from its table, and what is kept, to the rows of its model."""

    def __init__(
        self, job: Job, state: State, snapshot: Snapshot, roles: Roles, work: Path
    ) -> None:
        self.job, self.state, self.work = job, state, work
        self.snapshot, self.roles = snapshot, roles
        self.today = job.day or date.today()
        self.by_day = job.of_any_day.source_is_dated
        self.shape = Shape.of(roles, job.of_any_day.source)
        self.kept = read_kept(state.folder, job.name)
        partitions = partitions_of(job, snapshot, self.today)
        require_days(state, partitions)
        self.tonight = {partition.name: partition for partition in partitions}
        self.index = self.kept.index
        # What is summed up in this run, by name, and what cannot be.
        self.fresh: dict[str, tuple[Partition, PatternSummary]] = {}
        self.damaged: list[Partition] = []
        self.lost: list[str] = []
        self.sentences: list[str] = []

    def gathered(self) -> Gathered:
        before = self.index
        changes = before.shape.changes(self.shape) if before else ()
        if changes or self.kept.damage:
            self.index = None
            self._begin_anew(before, changes)
        self._sum_up_changed()
        table = [self._leaf(name) for name in self.tonight]
        rest = self._rest()
        parts = self._parts()
        shown = [s.weighted(w) for s, (_, w) in zip(table, parts, strict=True) if w]
        if not shown and not rest:
            raise CannotRun(
                f"No file of the source is of the {_days(self.state.window)} up to {self.today}, "
                "so no row is left for the model; widen state.window, or run a later date."
            )
        return Gathered(
            summary=PatternSummary.together([*rest, *shown]),
            table=PatternSummary.together(table),
            rest=rest,
            parts=parts,
            start=self.kept.model(self.roles.dimensions),
            partitions=tuple(self._of_model()),
            rows_read=sum(partition.rows for partition, _ in self.fresh.values()),
            dropped=self._dropped(),
            sentences=tuple(self.sentences),
            update=self._update(before.shape if before else None),
        )

    def _update(self, before: Shape | None) -> Update:
        return Update(
            job=self.job.name,
            shape=self.shape,
            before=before,
            new=dict(self.fresh.values()),
            gone=(*self.lost, *(() if self.by_day else self._vanished())),
            damaged=tuple(self.damaged),
            # Files of a folder are its table's, however old they are.
            window=self.state.window if self.by_day else None,
        )

    @property
    def known(self) -> dict[str, Partition]:
        """What can be taken from the state, by name."""
        return self.index.by_name if self.index else {}

    def _vanished(self) -> tuple[str, ...]:
        """Files that were there at an earlier run."""
        return tuple(name for name in self.known if name not in self.tonight)

    def _dropped(self) -> tuple[str, ...]:
        if not self.by_day:
            return self._vanished()
        left = {p.name for p in within_window(self._all().values(), self.state.window)}
        return tuple(name for name in self.known if name not in {*left, *self.lost})

    def _all(self) -> dict[str, Partition]:
        """Every partition that there is."""
        found = self.known | {name: partition for name, (partition, _) in self.fresh.items()}
        return {name: p for name, p in found.items() if name not in self.lost}

    def _of_model(self) -> list[Partition]:
        """The partitions whose rows count, in their order."""
        shown = list(self.tonight.values())
        if self.by_day:
            shown = within_window(self._all().values(), self.state.window, self.today)
        elif self.state.window or self.state.half_life:
            shown = within_window(shown, self.state.window, self.today)
        return sorted(shown, key=lambda partition: partition.order)

    def _parts(self) -> tuple[tuple[int, float], ...]:
        shown = {partition.name for partition in self._of_model()}
        half_life = self.state.half_life
        return tuple(
            (p.rows, weight(p.day, self.today, half_life) if name in shown else 0.0)
            for name, p in self.tonight.items()
        )

    # What is read, from the table, from the state, and again from earlier sources.

    def _sum_up_changed(self) -> None:
        changed = [name for name, p in self.tonight.items() if self.known.get(name) != p]
        self._sum_up(changed)
        for name in changed:
            earlier = self.known.get(name)
            if earlier and earlier.content != self.tonight[name].content:
                self.sentences.append(_replaced(name))

    def _sum_up(self, names: Sequence[str]) -> None:
        order, sizes = list(self.tonight), [p.rows for p in self.tonight.values()]
        wanted = {order.index(name) for name in names}
        summaries = summarise_partitions(self.snapshot, self.roles, sizes, wanted) if wanted else {}
        for k, summary in summaries.items():
            self.fresh[order[k]] = self.tonight[order[k]], summary

    def _leaf(self, name: str) -> PatternSummary:
        """The rows of a partition of the table."""
        if name not in self.fresh:
            try:
                return self.kept.summary(self.known[name], self.shape, self.roles.dimensions)
            except DamagedPartition as found:
                self._recover(found.partition)
        return self.fresh[name][1]

    def _rest(self) -> tuple[PatternSummary, ...]:
        """The rows of the model that are not in the table, weighted, in few sums."""
        blocks = self.index and Blocks(
            self.kept, self.index, self.roles.dimensions, self.state.half_life
        )
        while True:
            others = [p for p in self._of_model() if p.name not in self.tonight]
            fresh = [(self.fresh[p.name][1], p.day) for p in others if p.name in self.fresh]
            kept = [p for p in others if p.name not in self.fresh]
            try:
                pieces = [*fresh, *(blocks.pieces(kept) if blocks else ())]
            except DamagedPartition as found:
                self._recover(found.partition)
                continue
            return tuple(
                summary.weighted(weight(day, self.today, self.state.half_life))
                for summary, day in pieces
            )

    def _recover(self, partition: Partition) -> None:
        """Sum up again what has come to harm, or do without it."""
        self.damaged.append(partition)
        what = f"The rows of {partition.name} in the state {self.state.path} were damaged"
        if partition.name in self.tonight:
            self._sum_up([partition.name])
        elif not (self.by_day and partition.day and self._read_again(partition.day)):
            self.lost.append(partition.name)
            self.sentences.append(
                f"{what}, and their source could not be read again: the model does without them. "
                "The file is kept aside."
            )
            return
        self.sentences.append(f"{what}; they were read again, and the file is kept aside.")

    def _begin_anew(self, before: Index | None, changes: Sequence[str]) -> None:
        """Read the days of the state again, where their sources still are."""
        reason = f"{'; '.join(changes)}" if changes else f"{self.kept.damage} and is kept aside"
        known = [p.day for p in before.partitions] if before else self.kept.days_with_files
        source = self.job.of_any_day.source
        days = {date_in(source, day): day for day in known if day} if self.by_day else {}
        days = {name: day for name, day in days.items() if name not in self.tonight}
        read = sum(map(self._read_again, days.values()))
        how = f" {read} of its {len(days)} other dates were read again." if days else ""
        self.sentences.append(f"The state {self.state.path} begins anew: {reason}.{how}")

    def _read_again(self, day: date) -> bool:
        """Sum up another day from its source; whether that is there, and its table alike."""
        job = self.job.at(day)
        with tempfile.TemporaryDirectory(prefix=".source.", dir=self.work) as folder:
            place = Path(folder) / "snapshot.arrow"
            try:
                snapshot = take_snapshot(job.source, place, job.batch_rows, Purpose.of(job))
                roles = with_known_levels(assign_roles(snapshot, job), self.shape)
                if Shape.of(roles, job.of_any_day.source) != self.shape:
                    return False
                [found] = partitions_of(job, snapshot, day)
                self.fresh[found.name] = found, summarise(snapshot, roles)
            except (CannotRun, OSError, ValueError):
                return False
        return True


def _replaced(name: str) -> str:
    return (
        f"{name} was delivered again with other content: its rows take the place of the earlier "
        "ones in the state."
    )


def _days(duration: timedelta | None) -> str:
    return f"{duration.days:,} days" if duration else "days"


def remember(job: Job, gathered: Gathered, model: GaussianModel | None) -> str:
    """Add the rows of a run that has published to its job's state.

    Parameters
    ----------
    job : Job
    gathered : Gathered
    model : GaussianModel or None
        The run's, from which the next fit begins.

    Returns
    -------
    str
        Why that could not be, a sentence; empty if it was.
    """
    assert job.state
    folder = job.state.folder
    try:
        with held(folder):
            index = write_update(folder, gathered.update, model)
            blocks = Blocks(Kept(folder, index), index, gathered.table.columns, job.state.half_life)
            tomorrow = (job.day or date.today()) + timedelta(days=1)
            chosen = within_window(index.partitions, job.state.window, tomorrow)
            by_day = job.of_any_day.source_is_dated and chosen
            ahead = blocks.add_ahead(chosen) if by_day else ""
            remove_all_but(folder, {*blocks.files, ahead})
    except Overtaken:
        why = "another run has begun it anew for other columns or options meanwhile"
    except CannotRun as error:
        why = str(error).rstrip(".")
    except OSError as error:
        why = reason(error)
    else:
        return ""
    return not_kept(folder, why)


def not_kept(folder: Path, why: str) -> str:
    """Say that the rows of a run are not in its state."""
    return (
        f"The rows of this run are not in the state {folder}: {why}. Run this date again, or the "
        "next models do without them."
    )
