"""What tables of all lakehouses have: a version that is read, and a name in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from em_impute.job import CannotRun, DeltaSource, DeltaTarget, IcebergSource, IcebergTarget
from em_impute.tables.snapshot import SourceError
from em_impute.tables.writing.staged import TargetError

LakeTarget = DeltaTarget | IcebergTarget
Place = DeltaSource | IcebergSource | LakeTarget

NO_TABLE = -1
"""The version of a table that is not there."""


@dataclass(frozen=True)
class Version:
    """One version of a table.

    Attributes
    ----------
    version : int
    schema : Schema
    batches : iterator of RecordBatch
        Streamed, in an order that is the same each time.
    """

    version: int
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Brought:
    """What one commit has brought.

    Attributes
    ----------
    batches : iterator of RecordBatch
        The rows of the files that it has written.
    newest : int
        The version that the table has now.
    """

    batches: Iterator[pa.RecordBatch]
    newest: int


def fault(place: Place, reason: str) -> CannotRun:
    """What is raised where a table cannot be read or written; the reason is without a full stop."""
    if isinstance(place, DeltaSource | IcebergSource):
        return SourceError(f"{capitalised(place)} cannot be read: {reason}.")
    return TargetError(f"{capitalised(place)} cannot be written: {reason}.")


def in_words(place: Place, version: int) -> str:
    """A version as users of the format name it."""
    return f"{'snapshot' if place.format == 'iceberg' else 'version'} {version}"


def capitalised(place: Place) -> str:
    """How a sentence about a table begins."""
    return f"{place}"[0].upper() + f"{place}"[1:]
