"""Where the passes over a job's table are carried out: on what was read of it, or where it is.

Reading, summing up, filling and comparing go over all rows. `passes_of` gives what does these for a
job: `OverSnapshot` here or on the workers of a cluster, `InDatabase` by SQL. What is done with the
results is the same, and in `steps`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from em_impute import checks
from em_impute.checks import CheckResult
from em_impute.gaussian import DividedSummary, GaussianModel, PatternSummary
from em_impute.job import CannotRun, DatabaseSource, DatabaseTarget, Job, split_table
from em_impute.job.legible import one_line
from em_impute.runs.run import Loaded
from em_impute.tables import engines, sources, spelling, summarise
from em_impute.tables import fill as filling
from em_impute.tables.columns.misfits import Misfits, find_misfits
from em_impute.tables.databases.opening import opened
from em_impute.tables.databases.session import Session, Table
from em_impute.tables.groups import Fitted
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.resample import resample
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    OnBatch,
    Snapshot,
    SourceError,
    read_schema,
    read_spelled,
    spelled_columns,
)
from em_impute.tables.sql.select import Filled
from em_impute.tables.sql.staging import StagedTable, drop_what_is_left, staged_name
from em_impute.tables.sql.summary import MOST_COLUMNS
from em_impute.tables.sql.whole import take_sample, whole_table
from em_impute.tables.writing.formats import read_staged
from em_impute.tables.writing.staged import Staged

# Of a job that fills nothing.
NO_MODEL = GaussianModel(np.empty(0), np.empty((0, 0)), ())
Log = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Passes(ABC):
    """The passes over a job's table."""

    job: Job

    @abstractmethod
    def read(self, path: Path) -> Snapshot:
        """Read the source into a file, all of it or a sample."""

    @abstractmethod
    def misfits(self, table: Loaded) -> tuple[Misfits, ...]:
        """Cells that do not fit what the job says of their column."""

    @abstractmethod
    def summarise(
        self, table: Loaded, log: Log
    ) -> AbstractContextManager[PatternSummary | DividedSummary]:
        """Sum up the columns of the model; a divided summary can be asked inside."""

    @abstractmethod
    def resample(self, table: Loaded, m: int) -> list[PatternSummary]:
        """Sum up as many tables of rows that are drawn with replacement."""

    @abstractmethod
    def fill(
        self, table: Loaded, fitted: Fitted, folder: RunFolder, on_batch: OnBatch | None = None
    ) -> Staged:
        """Stage the table with its holes filled, and write the ledger.

        Parameters
        ----------
        table : Loaded
        fitted : Fitted
        folder : RunFolder
        on_batch : callable, optional
            Gets the batches at hand before they are filled, where that is done in this process.
        """

    @abstractmethod
    def compare(self, table: Loaded, fitted: Fitted, staged: Staged) -> tuple[CheckResult, ...]:
        """See that filling has changed nothing but the holes."""

    @abstractmethod
    def filled(
        self, table: Loaded, fitted: Fitted, staged: Staged, names: Sequence[str]
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch], int]:
        """Some columns of the staged rows, or of a sample of them, and how many rows these are."""

    def clear(self, folder: RunFolder) -> None:
        """Remove what only a run needs."""
        folder.clear()


class OverSnapshot(Passes):
    """Over the rows that were read: in this process, or on the workers of a cluster."""

    def read(self, path: Path) -> Snapshot:
        job = self.job
        return sources.take_snapshot(job.source, path, job.batch_rows, Purpose.of(job))

    def misfits(self, table: Loaded) -> tuple[Misfits, ...]:
        return find_misfits(table, table.roles, self.job.columns)

    @contextmanager
    def summarise(self, table: Loaded, log: Log) -> Iterator[PatternSummary | DividedSummary]:
        with engines.opened(self.job.engine) as workers:
            if workers is None:
                yield summarise.summarise(table, table.roles)
                return
            log.info("The table is summed up by %s workers of Dask.", len(workers))
            yield summarise.summarise_by(workers, table, table.roles)

    def resample(self, table: Loaded, m: int) -> list[PatternSummary]:
        with engines.opened(self.job.engine) as workers:
            return resample(table, table.roles, m, self.job.imputation.seed, workers)

    def fill(
        self, table: Loaded, fitted: Fitted, folder: RunFolder, on_batch: OnBatch | None = None
    ) -> Staged:
        job = self.job
        with engines.opened(job.engine) as workers:
            return filling.fill(
                table,
                fitted.result.model if fitted.result else None,
                fitted.roles,
                job.target,
                folder,
                job.imputation,
                fitted.groups,
                fitted.drawn.models if fitted.drawn else (),
                workers,
                on_batch,
            )

    def compare(self, table: Loaded, fitted: Fitted, staged: Staged) -> tuple[CheckResult, ...]:
        roles, schema = fitted.roles, filling.filled_schema(table, fitted.roles)
        spelled = spelled_columns(table)
        written = spelling.spelled(schema) if spelled else schema
        return checks.check_invariants(
            (batch for _ in range(staged.imputations) for batch in _before(table, roles.impute)),
            (
                batch.select([*roles.columns, *spelled.values()])
                for batch in read_staged(staged.path, staged.format, written)
            ),
            roles.impute,
            roles.key,
            spelled,
        )

    def filled(
        self,
        table: Loaded,
        fitted: Fitted,
        staged: Staged,
        names: Sequence[str],  # noqa: ARG002
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch], int]:
        schema = filling.filled_schema(table, fitted.roles)
        return schema, read_staged(staged.path, staged.format, schema), staged.rows


def _before(table: Loaded, imputed: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The table as it was read, of the imputed columns the spellings of observed cells only."""
    for batch in read_spelled(table.path):
        shown = spelling.as_read(batch, imputed)
        if spelling.is_spelled(batch.schema):
            shown = spelling.observed_spellings(shown, imputed)
        yield shown


class InDatabase(Passes):
    """By SQL, where the table is; what was read is a sample of it."""

    @property
    def _source(self) -> DatabaseSource:
        assert isinstance(self.job.source, DatabaseSource)
        return self.job.source

    @property
    def _target(self) -> DatabaseTarget:
        assert isinstance(self.job.target, DatabaseTarget)
        return self.job.target

    def read(self, path: Path) -> Snapshot:
        with opened(self._target, sparing=True) as session:
            # The filled rows wait in a table of their own.
            session.check_privileges(_beside(session, self._target, "em_impute_staged"), ())
        return take_sample(self.job, path)

    def misfits(self, table: Loaded) -> tuple[Misfits, ...]:
        if (columns := len(table.roles.dimensions)) > MOST_COLUMNS:
            raise CannotRun(
                f"The model would have {columns} columns, and `engine: sql` has {MOST_COLUMNS} at "
                "most: a missingness pattern is a whole number of 64 bits in a database. Leave "
                "out predictors."
            )
        with opened(self._source, sparing=True) as session:
            return whole_table(session, self.job).misfits(table.roles, self.job)

    @contextmanager
    def summarise(self, table: Loaded, log: Log) -> Iterator[PatternSummary]:
        with opened(self._source, sparing=True) as session:
            summary, note = whole_table(session, self.job).summarise(table.roles)
        log.info("The table was summed up in its database.")
        if note:
            log.warning(note)
        missing = summary.n_rows - summary.observed_counts
        at = {name: table.roles.at(name) for name in table.roles.impute}
        first = {name: place.start for name, place in at.items() if place.start < place.stop}
        self._require_as_read(table, summary.n_rows, {n: int(missing[d]) for n, d in first.items()})
        yield summary

    def resample(self, table: Loaded, m: int) -> list[PatternSummary]:
        raise NotImplementedError  # a job that may ask for it has another engine

    def fill(
        self, table: Loaded, fitted: Fitted, folder: RunFolder, on_batch: OnBatch | None = None
    ) -> Staged:
        model = fitted.result.model if fitted.result else None
        sample = filling.fill(
            table.at_hand,
            model,
            fitted.roles,
            self._target,
            folder,
            self.job.imputation,
            on_batch=on_batch,
        )
        name = staged_name(folder)
        with self._opened(table, fitted, name) as beside:
            drop_what_is_left(beside.session, beside.table, folder)
            beside.make()
            rows, cells = beside.counted()
            beside.session.commit()
        self._require_as_read(table, rows, cells)
        filled = tuple(cells.items())
        return replace(sample, rows=rows, cells=sum(cells.values()), imputed=filled, beside=name)

    def _require_as_read(self, table: Loaded, rows: int, missing: Mapping[str, int]) -> None:
        """Raise an error if the table has other rows or holes than when it was looked at."""
        name = f"{table.source}"[0].upper() + f"{table.source}"[1:]
        if rows != table.rows:
            raise SourceError(
                f"{name} changed during the run: it had {table.rows:,} rows, and has {rows:,} now. "
                "Run the job again when nobody writes to it."
            )
        for column, cells in missing.items():
            if cells != (before := table.profile(column).missing):
                raise SourceError(
                    f"{name} changed during the run: column {column!r} lacked {before:,} cells, "
                    f"and lacks {cells:,} now. Run the job again when nobody writes to it."
                )

    def compare(self, table: Loaded, fitted: Fitted, staged: Staged) -> tuple[CheckResult, ...]:
        with self._opened(table, fitted, staged.beside) as beside:
            held = beside.compared()
        impute, filled = fitted.roles.impute, ", ".join(fitted.roles.impute)
        others = [name for name in held.changed if name not in impute]
        observed = [name for name in held.changed if name in impute]
        found: list[tuple[str, str, Sequence[str]]]
        found = [("other_cells", "every cell of the other columns kept", others)]
        if filled:
            found += [
                ("observed_cells", f"observed cells of {filled} kept", observed),
                ("no_missing_cell", f"no missing cell in {filled}", held.missing),
                ("no_infinite_cell", f"no infinite cell in {filled}", held.infinite),
            ]
        rows = held.rows
        other_rows = None if rows == table.rows else f"{table.rows} rows before, {rows} after"
        return (
            checks.invariant("same_rows", "number of rows kept", other_rows, rows),
            *(checks.invariant(name, words, _first(broken), rows) for name, words, broken in found),
        )

    def filled(
        self, table: Loaded, fitted: Fitted, staged: Staged, names: Sequence[str]
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch], int]:
        with self._opened(table, fitted, staged.beside) as beside:
            rows = beside.rows(names, self.job.engine.sample_rows)
        return rows.schema, iter(rows.to_batches()), rows.num_rows

    def clear(self, folder: RunFolder) -> None:
        if folder.staged(self._target.staged_format).exists():
            with suppress(CannotRun, OSError), opened(self._target) as session:
                beside = _beside(session, self._target, staged_name(folder))
                session.run(f"DROP TABLE IF EXISTS {beside.sql}")
                session.commit()
        folder.clear()

    @contextmanager
    def _opened(self, table: Loaded, fitted: Fitted, name: str) -> Iterator[StagedTable]:
        """The staged table of that name, which may not be made yet."""
        model = fitted.result.model if fitted.result else NO_MODEL
        assert isinstance(model, GaussianModel)  # of another family `engine: sql` has no job
        roles = fitted.roles if fitted.result else replace(fitted.roles, predictors=())
        with opened(self._target, sparing=True) as session:
            whole = whole_table(session, self.job)
            filled = Filled.by(self.job, model, roles, read_schema(table.path))
            yield StagedTable(whole, filled, _beside(session, self._target, name))


def _first(columns: Sequence[str]) -> str | None:
    """Say that something does not hold in some columns; None if there are none."""
    return f"not so in column {one_line(columns[0])}" if columns else None


def _beside(session: Session, target: DatabaseTarget, name: str) -> Table:
    """A table beside a target, which may exist or not."""
    return session.find(split_table(target.table)).beside(name)


def passes_of(job: Job) -> Passes:
    """What carries out the passes over a job's table."""
    return InDatabase(job) if job.engine.name == "sql" else OverSnapshot(job)
