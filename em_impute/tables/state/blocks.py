"""Many partitions added up with few reads: blocks of them are kept added up, too.

A block of level k holds ``4^k`` days. Its sum is a file whose name is made of what all its
partitions hold: when one is delivered again or leaves, the sum has another name, and the old one is
never read again. So nothing is ever subtracted, and a window of a year takes some twenty reads
instead of 365.

The first and the last block of each level are not kept, because those change every night. But when
a night has been kept, what the next one will take is added up ahead: it then has one sum to read.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import groupby

from em_impute.gaussian import PatternSummary
from em_impute.tables.state.kept import BLOCK, DamagedPartition, Index, Kept, Partition
from em_impute.tables.whole_files import written_whole

FAN, LEVELS = 4, 5
AHEAD = "ahead"

Piece = tuple[PatternSummary, date | None]
"""A sum, and the day as of which its rows are weighted."""


def weight(day: date | None, today: date | None, half_life: timedelta | None) -> float:
    """How much a row of a day counts today, ``2^(-age / half_life)``; 1 without a half-life.

    Parameters
    ----------
    day, today : date or None
    half_life : timedelta or None
    """
    if half_life is None or day is None or today is None:
        return 1.0
    return float(2.0 ** (-((today - day) / half_life)))


@dataclass(frozen=True)
class Blocks:
    """The partitions of a state, by the blocks that they are in.

    Attributes
    ----------
    kept : Kept
    index : Index
        What is kept.
    columns : tuple of str
        Of the model.
    half_life : timedelta or None
    """

    kept: Kept
    index: Index
    columns: tuple[str, ...]
    half_life: timedelta | None = None

    @cached_property
    def _days(self) -> list[int]:
        """The days of the partitions, as numbers, from the first on."""
        return [p.day.toordinal() for p in self.index.partitions if p.day]

    def _file(self, level: int, number: int, members: Sequence[Partition]) -> str | None:
        """The name of the file of a block's sum; None of one that is not kept, or not all of it."""
        width = FAN**level
        first, end = (bisect_left(self._days, day * width) for day in (number, number + 1))
        at_an_end = number in (self._days[0] // width, self._days[-1] // width)
        if len(members) < max(2, end - first) or at_an_end:
            return None
        return self._named(str(level), members)

    def _named(self, kind: str, members: Sequence[Partition]) -> str:
        names = "\0".join(member.file(self.index.shape) for member in members)
        key = hashlib.sha256(f"{self.half_life}\0{names}".encode()).hexdigest()
        return f"{BLOCK}{kind}-{key[:20]}.npz"

    @property
    def files(self) -> Iterator[str]:
        """Yield the names of the files of all partitions, and of the blocks that are kept."""
        for partition in self.index.partitions:
            yield partition.file(self.index.shape)
        dated = [partition for partition in self.index.partitions if partition.day]
        for level in range(1, LEVELS + 1):
            for number, members in _in_blocks(dated, level):
                if file := self._file(level, number, members):
                    yield file

    def pieces(self, chosen: Sequence[Partition]) -> list[Piece]:
        """Sums that together hold the rows of the chosen partitions, as few as there can be.

        Raises
        ------
        DamagedPartition
        """
        ordered = sorted(chosen, key=lambda p: p.order)
        if ordered:
            with suppress(OSError, ValueError):
                total = PatternSummary.load(self.kept.folder / self._named(AHEAD, ordered))
                return [(total, ordered[-1].day)]
        return list(self._pieces(LEVELS, ordered))

    def add_ahead(self, chosen: Sequence[Partition]) -> str:
        """Keep the sum of what the next night will choose, in its order; the name of the file."""
        file = self._named(AHEAD, chosen)
        # Whoever reads what has come to harm says so.
        with suppress(DamagedPartition):
            self._keep(self._added(self.pieces(chosen), chosen[-1].day), file)
        return file

    def _pieces(self, level: int, chosen: Sequence[Partition]) -> Iterator[Piece]:
        if level == 0:
            for p in chosen:
                yield self.kept.summary(p, self.index.shape, self.columns), p.day
            return
        for number, members in _in_blocks(chosen, level):
            if file := self._file(level, number, members):
                yield self._block(level, members, file)
            else:
                yield from self._pieces(level - 1, members)

    def _block(self, level: int, members: Sequence[Partition], file: str) -> Piece:
        last = members[-1].day
        try:
            total = PatternSummary.load(self.kept.folder / file)
        except (OSError, ValueError):
            total = self._added(list(self._pieces(level - 1, members)), last)
            self._keep(total, file)
        return total, last

    def _added(self, pieces: Sequence[Piece], today: date | None) -> PatternSummary:
        factors = [weight(day, today, self.half_life) for _, day in pieces]
        return PatternSummary.together(
            [s if w == 1.0 else s.weighted(w) for (s, _), w in zip(pieces, factors, strict=True)]
        )

    def _keep(self, total: PatternSummary, file: str) -> None:
        with written_whole(self.kept.folder / file) as half_written:
            total.save(half_written)


def _in_blocks(
    partitions: Sequence[Partition], level: int
) -> Iterator[tuple[int, list[Partition]]]:
    """Yield the blocks of a level, by their numbers, with those of some days that are in them."""
    blocks = groupby(partitions, key=lambda p: p.day.toordinal() // FAN**level if p.day else 0)
    for number, members in blocks:
        yield number, list(members)
