"""Of which rows the model is, where a job keeps those of earlier runs in a state."""

from __future__ import annotations

from dataclasses import dataclass

from em_impute.job import State
from em_impute.tables.state.gathering import Gathered

MOST_NAMED = 5


@dataclass(frozen=True)
class RowsOfModel:
    """The rows of the model, by where they come from.

    Attributes
    ----------
    state : str
        The folder of the state.
    partitions : int
        Dates or files whose rows are in the model.
    first, last : str
        The first and the last of them, by name.
    rows : int
    read : int
        Rows that were summed up in this run.
    kept : int
        Rows of the model that came from the state.
    half_life : int or None
        Days after which a row counts half as much.
    dropped : tuple of str
        Partitions that have left the window, or the source.
    """

    state: str
    partitions: int
    first: str
    last: str
    rows: int
    read: int
    kept: int
    half_life: int | None = None
    dropped: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it in words."""
        of = f"{self.first} to {self.last}" if self.partitions > 1 else self.first
        parts = "1 partition" if self.partitions == 1 else f"{self.partitions:,} partitions"
        return (
            f"The model is of {self.rows:,} rows in {parts}, {of}: {self.read:,} rows were summed "
            f"up in this run, {self.kept:,} came from the state {self.state}.",
            *(
                [f"A row counts half as much after {self.half_life:,} days."]
                if self.half_life
                else ()
            ),
            *([self._dropped] if self.dropped else ()),
        )

    @property
    def _dropped(self) -> str:
        names, more = ", ".join(self.dropped[:MOST_NAMED]), len(self.dropped) - MOST_NAMED
        return f"No longer in the state: {names}{f' and {more:,} more' if more > 0 else ''}."


def describe_rows(gathered: Gathered, state: State) -> RowsOfModel:
    """Return of which rows a model is."""
    names = [partition.name for partition in gathered.partitions]
    return RowsOfModel(
        state=str(state.path),
        partitions=len(names),
        first=names[0],
        last=names[-1],
        rows=gathered.summary.n_rows,
        read=gathered.rows_read,
        kept=gathered.rows_kept,
        half_life=state.half_life.days if state.half_life else None,
        dropped=gathered.dropped,
    )
