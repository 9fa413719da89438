"""What the self-test and the report have to know of a run's rows, found while they pass by.

The rows are filled in one pass, and in another one hidden cells are gathered for the self-test. A
`Survey` looks on in both: in the first it chooses the cells to hide and measures the observed ones;
in the second it counts these for histograms, whose bins are known by then. Where a run has not made
such a pass, or not in this process, the report makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from em_impute.job import SelfTestOptions
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.missingness import Counted
from em_impute.reporting.records import Distribution
from em_impute.runs.measure_cells import (
    CountedCells,
    CountedLevels,
    Kurtosis,
    ObservedDigests,
    digest_imputed,
)
from em_impute.runs.measure_missingness import OwnMeans
from em_impute.self_test.cells import Choosing, Hidden
from em_impute.self_test.run import is_tested
from em_impute.tables.columns.hints import Looks, numbers_of
from em_impute.tables.groups import Fitted
from em_impute.tables.snapshot import OnBatch, Snapshot, read_batches
from em_impute.tables.writing.staged import Staged

T = TypeVar("T")
Found = TypeVar("Found", covariant=True)


class Watcher(Protocol[Found]):
    """Looks at rows as they pass, a batch at a time."""

    @property
    def watched(self) -> Sequence[str]:
        """The columns that it looks at; none if it has nothing to find out."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows, which have these columns among others."""

    @property
    def found(self) -> Found:
        """What it has found when all rows have passed."""


class Guarded(Generic[T]):
    """A watcher that stops no pass: its faults are raised to who asks what it has found.

    Parameters
    ----------
    make : callable
        Makes the watcher.
    """

    def __init__(self, make: Callable[[], Watcher[T]]) -> None:
        self._watcher: Watcher[T] | None = None
        self._fault: Exception | None = None
        try:
            self._watcher = make()
        except Exception as fault:
            self._fault = fault

    @property
    def watched(self) -> Sequence[str]:
        """The columns that it looks at; none after a fault."""
        return self._watcher.watched if self._watcher and not self._fault else ()

    def add(self, batch: pa.RecordBatch) -> None:
        """Have the watcher look at the next rows."""
        if self._watcher is None or self._fault or not self._watcher.watched:
            return
        try:
            self._watcher.add(batch)
        except Exception as fault:
            self._fault = fault

    @property
    def found(self) -> T:
        """What the watcher has found when all rows have passed."""
        if self._fault:
            raise self._fault
        assert self._watcher is not None
        return self._watcher.found


class Pass:
    """One pass over the rows that are at hand, and who looks on.

    Parameters
    ----------
    snapshot : Snapshot
    watchers : Guarded
    """

    def __init__(self, snapshot: Snapshot, *watchers: Guarded[Any]) -> None:
        self._snapshot, self._watchers, self._rows = snapshot.at_hand, watchers, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Show the next rows to all."""
        for watcher in self._watchers:
            watcher.add(batch)
        self._rows += batch.num_rows

    @property
    def is_whole(self) -> bool:
        """Whether all rows have passed."""
        return self._rows == self._snapshot.rows

    def read(self) -> None:
        """Read the rows for them."""
        names = list(dict.fromkeys(name for one in self._watchers for name in one.watched))
        self._rows = 0 if names else self._snapshot.rows
        for batch in read_batches(self._snapshot.path, names) if names else ():
            self.add(batch)


class FirstPass(Pass):
    """The pass in which observed cells are measured, and the cells to hide are chosen.

    Attributes
    ----------
    digests, kurtosis, levels, means, looks : Guarded
        What the report shows of the observed cells.
    choosing : Guarded or None
        None where no cell is to be hidden.
    """

    def __init__(
        self, snapshot: Snapshot, fitted: Fitted, known: Known, options: SelfTestOptions | None
    ) -> None:
        roles, at_hand = fitted.roles, snapshot.at_hand
        model = fitted.result.model if fitted.result else None
        self.digests = Guarded(lambda: ObservedDigests(snapshot, roles))
        self.kurtosis = Guarded(lambda: Kurtosis(roles, model))
        self.levels = Guarded(lambda: CountedLevels(snapshot, roles))
        self.means = Guarded(lambda: OwnMeans(roles, known.counted))
        self.looks = Guarded(lambda: Looks(numbers_of(roles) if known.is_compared() else ()))
        self.choosing = None
        if options and is_tested(at_hand, fitted, options):
            self.choosing = Guarded(lambda: Choosing(at_hand, roles, options))
        watchers = self.digests, self.kurtosis, self.levels, self.means, self.looks
        super().__init__(snapshot, *watchers, *filter(None, [self.choosing]))


@dataclass(frozen=True)
class Known:
    """What is known of a run when its rows are filled, found out where it is needed.

    Attributes
    ----------
    counted : callable
        Returns the patterns of the model's columns; None if there are none.
    is_compared : callable
        Returns whether the run is compared with an earlier one.
    """

    counted: Callable[[], Counted | None]
    is_compared: Callable[[], bool]


class Survey:
    """Looks on while a run's rows are filled, and while hidden cells are gathered.

    Parameters
    ----------
    snapshot : Snapshot
    fitted : Fitted
    known : Known
    options : SelfTestOptions
    """

    def __init__(
        self, snapshot: Snapshot, fitted: Fitted, known: Known, options: SelfTestOptions
    ) -> None:
        self._snapshot, self._fitted, self._known = snapshot, fitted, known
        self._options = options
        self._first: FirstPass | None = None
        self._second: Pass | None = None
        self._counted: Guarded[tuple[Distribution, ...]] | None = None
        self._staged: Staged | None = None

    def while_filling(self) -> OnBatch:
        """Return what looks on in the first pass; it is begun anew if there was one before."""
        self._first = FirstPass(self._snapshot, self._fitted, self._known, self._options)
        return self._first.add

    def filled(self, staged: Staged | None) -> None:
        """Take note of the table that was staged."""
        self._staged = staged

    @property
    def hidden(self) -> Hidden | None:
        """The cells to hide; None if they were not chosen."""
        if self._first and self._first.is_whole and self._first.choosing:
            # What came up in choosing them comes up again where they are then chosen.
            with suppress(Exception):
                return self._first.choosing.found
        return None

    def while_gathering(self) -> OnBatch | None:
        """Return what looks on in the second pass; None if there was no first one."""
        if self._first is None or not self._first.is_whole or self._staged is None:
            return None
        return self._look_again().add

    def _look_again(self) -> Pass:
        self._counted = Guarded(self._counting)
        self._second = Pass(self._snapshot, self._counted)
        return self._second

    def _counting(self) -> CountedCells:
        digests = self.first.digests.found
        return CountedCells(self._staged, self._fitted.roles, digests, self.imputed)

    # --- For the report ---------------------------------------------------------------------------

    @property
    def first(self) -> FirstPass:
        """The first pass, made here unless it was made."""
        if self._first is None or not self._first.is_whole:
            self._first = FirstPass(self._snapshot, self._fitted, self._known, None)
            self._first.read()
        return self._first

    @cached_property
    def imputed(self) -> dict[str, ImputedDigest]:
        """What is known of the imputed cells of the columns of numbers."""
        digests = self.first.digests.found
        return digest_imputed(self._staged, self._fitted.roles, digests)

    @property
    def distributions(self) -> tuple[Distribution, ...]:
        """The histograms of the columns with the most imputed cells."""
        if self._counted is None or self._second is None or not self._second.is_whole:
            self._look_again().read()
        assert self._counted is not None
        return self._counted.found
