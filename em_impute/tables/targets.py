"""The target of a job, whichever kind it is: can it be written, publish there, what does it hold.

The table of files is published by `writing.file_target`, that of a database by `databases.target`,
that of a lakehouse by `lakehouse.delta_target` or `lakehouse.iceberg_target`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from em_impute.job import DatabaseTarget, DeltaTarget, IcebergTarget, Target
from em_impute.tables.databases import target as databases
from em_impute.tables.lakehouse import delta_target, iceberg_target
from em_impute.tables.writing import file_target, partitions, places
from em_impute.tables.writing.formats import check_types
from em_impute.tables.writing.publications import Standing
from em_impute.tables.writing.staged import Published, Staged


def check_target(target: Target) -> None:
    """Make sure that the target can be written; make its folder if need be.

    Raises
    ------
    TargetError
        If the target is a folder, its own folder cannot be made or written, or its database cannot
        be reached or does not let the table be written.
    """
    match target:
        case DatabaseTarget():
            databases.check_target(target)
        case DeltaTarget():
            delta_target.check_target(target)
        case IcebergTarget():
            iceberg_target.check_target(target)
        case _:
            places.check(target)


def check_schema(schema: pa.Schema, target: Target, key: Sequence[str] = ()) -> None:
    """Make sure that the target can hold every column of a table.

    Parameters
    ----------
    schema : Schema
    target : Target
    key : sequence of str
        The columns that identify a row; may be empty.

    Raises
    ------
    TargetError
        Naming the columns that it cannot hold, or that it needs and has not.
    """
    check_types(schema, target.file_format)
    match target:
        case DatabaseTarget():
            databases.check_schema(schema, target, key)
        case DeltaTarget():
            delta_target.check_schema(schema, target)
        case IcebergTarget():
            iceberg_target.check_schema(schema, target)
        case _:
            partitions.check_columns(schema, target.partition_by or ())


def version(target: Target) -> int | None:
    """The version of a target in a lakehouse, which is below 0 if it is not there; None of others.

    Raises
    ------
    TargetError, OSError
        If it cannot be asked.
    """
    if isinstance(target, IcebergTarget):
        return iceberg_target.version(target)
    return delta_target.version(target) if isinstance(target, DeltaTarget) else None


def publish(staged: Staged, target: Target, run_id: str) -> Published:
    """Put the staged table in the target's place, in one step and once per run.

    It may be called again, after a crash at whatever moment or by a second worker: what the run has
    published already stays as it is.

    Parameters
    ----------
    staged : Staged
    target : Target
    run_id : str
        The name under which it is published.

    Raises
    ------
    TargetError
        If the target cannot be written, or the staged file is gone.
    TargetBusyError
        If another run is publishing there.
    MergeError
        If the table cannot be put together with the one that is there.
    DiskFullError
        If the target is on another device, which is full.
    DatabaseLostError
        If its database cannot be reached, or is gone.
    """
    if isinstance(target, DatabaseTarget):
        return databases.publish(staged, target, run_id, staged.key)
    if isinstance(target, DeltaTarget):
        return delta_target.publish(staged, target, run_id)
    if isinstance(target, IcebergTarget):
        return iceberg_target.publish(staged, target, run_id)
    return file_target.publish(staged, target, run_id)


def find_published(target: Target, run_id: str) -> Published | None:
    """What the target itself says that a run has published there; None if nothing.

    Raises
    ------
    TargetError, OSError, ValueError
        If it cannot be asked.
    """
    if isinstance(target, DatabaseTarget):
        return databases.find_published(target, run_id)
    if isinstance(target, DeltaTarget):
        return delta_target.find_published(target, run_id)
    if isinstance(target, IcebergTarget):
        return iceberg_target.find_published(target, run_id)
    return file_target.find_published(target, run_id)


def standing(target: Target, name: str, sha256: str) -> Standing:
    """Whether a target holds what was published there.

    Parameters
    ----------
    target : Target
    name : str
        The name under which it was published.
    sha256 : str
        Of the table as it was published.

    Raises
    ------
    TargetError
        If a database cannot be reached, or does not let its table be read.
    """
    if isinstance(target, DatabaseTarget):
        return databases.standing(target, name)
    if isinstance(target, DeltaTarget):
        return delta_target.standing(target, name)
    if isinstance(target, IcebergTarget):
        return iceberg_target.standing(target, name)
    return file_target.standing(target, name, sha256)


def in_doubt(target: Target, name: str) -> str:
    """Say that a target may not hold what was published there, and what to do."""
    if isinstance(target, DatabaseTarget):
        return databases.in_doubt(target, name)
    if isinstance(target, DeltaTarget):
        return delta_target.in_doubt(target, name)
    if isinstance(target, IcebergTarget):
        return iceberg_target.in_doubt(target, name)
    return file_target.in_doubt(target, name)
