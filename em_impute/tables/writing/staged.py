"""A table on its way to its target: staged, then published; and the error where it cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from em_impute.job import CannotRun


class TargetError(CannotRun):
    """The target cannot be written as the job says."""


@dataclass(frozen=True)
class Staged:
    """A filled table that waits to be published, and its ledger.

    Attributes
    ----------
    path : Path
        The table, in the format that the target stages.
    format : str
    rows : int
        Of all imputations.
    cells : int
        Imputed cells, each counted once.
    sha256 : str
        Of the table's bytes.
    ledger : Path
        Parquet, one row per imputed cell, as `ledger` says.
    imputed : tuple of (str, int)
        Imputed cells of each column, each counted once.
    key : tuple of str
        The columns that identify a row.
    imputations : int
        How many versions of the source's rows it has, one after the other.
    beside : str
        The name of the table beside the target, in its database, that has the rows; the file and
        the ledger have a sample of them then. Empty where the file has all.
    onto : int or None
        The version that a target in a lakehouse had when the rows were staged; below 0 where it was
        not there, None for other targets.
    """

    path: Path
    format: str
    rows: int
    cells: int
    sha256: str
    ledger: Path
    imputed: tuple[tuple[str, int], ...]
    key: tuple[str, ...] = ()
    imputations: int = 1
    beside: str = ""
    onto: int | None = None


@dataclass(frozen=True)
class Published:
    """The table that a run has put at its target.

    Attributes
    ----------
    target : str
        What the job names, in words, never with a password.
    rows : int
    sha256 : str
        Of the table's bytes.
    before : bool
        Whether it was there before: nothing was done.
    narrowed : tuple of (str, int)
        Cells that were not filled and that the target's types have changed, of each column.
    version : int or None
        The version of a target in a lakehouse that has the table; None for other targets, and where
        its history does not go back so far.
    """

    target: str
    rows: int
    sha256: str
    before: bool = field(default=False, compare=False)
    narrowed: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    version: int | None = None

    @property
    def warning(self) -> str | None:
        """What a reader should know of cells that are not what they were."""
        if not self.narrowed:
            return None
        columns = ", ".join(f"{cells:,} of {name}" for name, cells in self.narrowed)
        return f"The types of {self.target} changed cells that were not filled: {columns}."
