"""A source as it was when it was read: one Arrow file in the run's folder, a profile per column.

`em_impute.tables.sources` takes snapshots; all others read rows from one, never from a source. Of
a table that is in memory, the file is there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from em_impute.job import CannotRun
from em_impute.tables import spelling
from em_impute.tables.progress import rows_passed
from em_impute.tables.whole_files import sha256, written_whole

# Parts of a snapshot have about so many cells of the model.
PART_CELLS = 2**22
TEXT_TYPES = ("string", "large_string", "string_view")

OnBatch = Callable[[pa.RecordBatch], None]
"""Looks at the batches of a snapshot while they pass for something else."""


class SourceError(CannotRun):
    """The source cannot be read as what the job says it is."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a snapshot knows of one column. Rows are counted from 1, the header not counted.

    Attributes
    ----------
    name : str
    type : str
        Name of the Arrow type.
    numeric : bool
        Whether it is an integer, decimal or floating type.
    missing : int
        Cells that are null or NaN.
    infinite : int
    first_infinite_row : int or None
    constant : bool
        Whether at least one cell is observed and all observed ones are equal. False for columns
        that are not numeric.
    in_folders : bool
        Whether it is in the names of folders, not in the files.
    odd : int
        Cells of a column of text that are no numbers, where nearly all are; else 0.
    odd_rows : tuple of int
        The first rows that hold one.
    odd_spellings : tuple of str
        What these cells hold, if that is known to stand for no value; else empty.
    nines : tuple of (str, int)
        Numbers of nines at the edge of a column of numbers, such as -999, and how many cells
        hold them, if these are many.
    separators : str
        The options of a CSV by which a column of text would be one of numbers; empty if none.
    too_precise : bool
        Whether a column is text because its numbers have digits that no float keeps.
    levels : tuple of (str, int) or None
        The levels of a column of categories and how many cells hold each, where they are known
        without the rows.
    """

    name: str
    type: str
    numeric: bool
    missing: int
    infinite: int
    first_infinite_row: int | None
    constant: bool
    in_folders: bool = False
    odd: int = 0
    odd_rows: tuple[int, ...] = ()
    odd_spellings: tuple[str, ...] = ()
    nines: tuple[tuple[str, int], ...] = ()
    separators: str = ""
    too_precise: bool = False
    levels: tuple[tuple[str, int], ...] | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is a column of texts."""
        return self.type in TEXT_TYPES


@dataclass(frozen=True)
class SnapshotFile:
    """One file of a source: its name there, the SHA-256 of its bytes, and its rows."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """A source as it was when it was read.

    Attributes
    ----------
    path : Path
        The Arrow IPC file.
    rows : int
    columns : tuple of ColumnProfile
    fingerprint : str
        ``"sha256:..."`` of the snapshot's bytes.
    source : str
        What was read, for messages.
    notes : tuple of str
        What was decided in reading it, a sentence each.
    headless : bool
        Whether what was taken for the names of columns are numbers.
    files : tuple of SnapshotFile
        The files that were read, in the order of their rows, where the job has to know.
    sample : Snapshot or None
        Of a table that stays where it is: the rows that were read of it, which are what the file
        has. All else is about the whole table then.
    version : int or None
        Which version of a table was read, where a lakehouse keeps several.
    """

    path: Path
    rows: int
    columns: tuple[ColumnProfile, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()
    headless: bool = False
    files: tuple[SnapshotFile, ...] = ()
    sample: Snapshot | None = None
    version: int | None = None

    @property
    def at_hand(self) -> Snapshot:
        """The rows that the file has: all of them, or a sample."""
        return self.sample or self

    @property
    def sample_in_words(self) -> str:
        """What is of a sample and what is of all rows, a sentence; empty where all were read."""
        if self.sample is None:
            return ""
        return (
            f"The table stays in its database, and a sample of {self.sample.rows:,} of its "
            f"{self.rows:,} rows was read: the self-test, the pictures and what the job's checks "
            "see are of the sample; the model, the counts and em_impute's own checks are of all "
            "rows."
        )

    def profile(self, name: str) -> ColumnProfile:
        """Return the profile of one column.

        Raises
        ------
        KeyError
            If the snapshot has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def save(self, path: Path) -> None:
        """Write what is known of the snapshot as JSON."""
        with written_whole(path) as half_written:
            half_written.write_bytes(_SNAPSHOT.dump_json(self))

    @classmethod
    def load(cls, path: Path) -> Snapshot | None:
        """Read what `save` wrote; None if it, or the snapshot that it is of, is not as it was."""
        try:
            snapshot = _SNAPSHOT.validate_json(path.read_bytes())
            whole = snapshot.fingerprint == f"sha256:{sha256(snapshot.path)}"
        except (OSError, ValidationError):
            return None
        return snapshot if whole else None


_SNAPSHOT = TypeAdapter(Snapshot)


@dataclass(frozen=True)
class HeldSnapshot(Snapshot):
    """A table in memory as it was when it was handed in.

    Attributes
    ----------
    path : Buffer
        The Arrow IPC file.
    """

    path: pa.Buffer


@dataclass(frozen=True)
class Part:
    """Batches of a snapshot that lie one behind the other.

    Attributes
    ----------
    first, last : int
        The first batch, and the one behind the last.
    first_row : int
        The number of its first row, from 0.
    rows : int
    """

    first: int
    last: int
    first_row: int
    rows: int


def parts_of(snapshot: Snapshot, columns: int) -> list[Part]:
    """Parts of a snapshot with about as many cells each, in so many of its columns.

    They depend on nothing but the snapshot, however many work on them.
    """
    with _mapped(snapshot.path) as file:
        reader = pa.ipc.open_file(file)
        n = reader.num_record_batches
        rows = reader.get_batch(0).num_rows if n else 0
    step = max(1, PART_CELLS // max(1, rows * columns))
    return [
        Part(first, last, first * rows, min(last * rows, snapshot.rows) - first * rows)
        for first in range(0, n, step)
        for last in [min(first + step, n)]
    ]


# --- Its rows ---------------------------------------------------------------------------------


def arrow_schema(path: Path | pa.Buffer) -> pa.Schema:
    """Schema of an Arrow file, such as a snapshot, with all that is in it."""
    with _mapped(path) as file:
        return pa.ipc.open_file(file).schema


def _mapped(path: Path | pa.Buffer) -> pa.NativeFile:
    return pa.BufferReader(path) if isinstance(path, pa.Buffer) else pa.memory_map(str(path))


def spelled_columns(snapshot: Snapshot) -> dict[str, str]:
    """The names of the columns that have the spellings of others, by these; there may be none."""
    schema = arrow_schema(snapshot.path)
    if not spelling.is_spelled(schema):
        return {}
    return {name: spelling.spelling_of(name) for name in spelling.plain(schema).names}


def read_schema(path: Path | pa.Buffer) -> pa.Schema:
    """The columns of a snapshot."""
    return spelling.plain(arrow_schema(path))


def read_batches(
    path: Path | pa.Buffer, columns: Sequence[str] | None = None, part: Part | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot in the order of its rows; by default with every column.

    A cell is missing where it is null or NaN, and nowhere else.

    Parameters
    ----------
    path : Path or Buffer
    columns : sequence of str, optional
    part : Part, optional
        By default all of it.
    """
    names = read_schema(path).names if columns is None else list(columns)
    return _read_batches(path, names, part)


def read_spelled(
    path: Path, columns: Collection[str] | None = None, part: Part | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a snapshot with all that it keeps of its columns, or of some of them.

    These are what `read_batches` yields, their spellings, and the texts that stand for missing
    cells, as far as there are any.
    """
    names = arrow_schema(path).names
    if columns is not None:
        names = [name for name in names if spelling.column_of(name) in columns]
    return _read_batches(path, names, part)


def _read_batches(
    path: Path | pa.Buffer, columns: list[str], part: Part | None
) -> Iterator[pa.RecordBatch]:
    # Arrow passes over the bytes of all other columns.
    names = arrow_schema(path).names
    options = pa.ipc.IpcReadOptions(included_fields=sorted(map(names.index, columns)))
    # Not a memory map: its pages would count as this process's memory, up to the whole file.
    in_memory = isinstance(path, pa.Buffer)
    with pa.BufferReader(path) if in_memory else pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file, options=options)
        rows, batches = 0, range(reader.num_record_batches)
        if part is not None:
            rows, batches = part.first_row, range(part.first, part.last)
        for i in batches:
            batch = reader.get_batch(i)
            yield batch.select(columns)
            rows += batch.num_rows
            rows_passed(rows, (i + 1) / reader.num_record_batches)


def is_missing(cells: pa.Array) -> NDArray[np.bool_]:
    """Which cells of a snapshot are missing, of shape (n,): those that are null or NaN."""
    if pa.types.is_dictionary(cells.type) and cells.dictionary.null_count:
        cells = cells.dictionary_decode()
    missing: NDArray[np.bool_] = pc.is_null(cells, nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


# --- Types -------------------------------------------------------------------------------------


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of this type holds texts, each for itself and not by a code."""
    return str(type_) in TEXT_TYPES


def is_numeric(type_: pa.DataType) -> bool:
    """Whether a column of this type can take part in a model: integers, decimals, floats."""
    is_type = pa.types
    numeric = is_type.is_integer(type_) or is_type.is_floating(type_) or is_type.is_decimal(type_)
    return bool(numeric)
