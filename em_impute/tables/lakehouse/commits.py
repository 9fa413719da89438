"""From a staged table to one commit: what is committed, and that it is committed once.

A commit carries the name of its run, so that a run that comes again finds it and commits nothing.
Of two that commit at the same moment the table takes one, and the other looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from em_impute.tables.lakehouse.versions import NO_TABLE, LakeTarget, capitalised, fault, in_words
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.snapshot import read_schema
from em_impute.tables.writing import partitions
from em_impute.tables.writing.counterparts import counterpart
from em_impute.tables.writing.formats import restored
from em_impute.tables.writing.locks import TargetBusyError
from em_impute.tables.writing.staged import Published, Staged, TargetError

# What a commit says of itself.
RUN, ROWS, SHA256 = "em_impute.run", "em_impute.rows", "em_impute.sha256"
# So often a commit is tried that others come before.
_TRIES = 10
# What users call a format whose name in a job is another.
_NAMES = {"delta": "Delta Lake", "iceberg": "Iceberg"}


def once(attempt: Callable[[], Published | None], target: LakeTarget) -> Published:
    """Try to commit until it is done; None of an attempt says that another commit came first.

    Raises
    ------
    TargetBusyError
        If others commit again and again.
    """
    for _ in range(_TRIES):
        if published := attempt():
            return published
    raise TargetBusyError(
        f"Others committed to {target} each time that this run was about to, {_TRIES} times; run "
        "the job again when they have finished."
    )


def properties_of(staged: Staged, run_id: str) -> dict[str, str]:
    """What a commit says of itself."""
    return {RUN: run_id, ROWS: str(staged.rows), SHA256: staged.sha256}


def check_staged(staged: Staged, target: LakeTarget) -> None:
    """Make sure that there still is something to publish.

    Raises
    ------
    TargetError
    """
    if not staged.path.exists():
        raise fault(target, f"the staged file {staged.path} is gone; run the job again")


def moved(target: LakeTarget, was: int, now: int) -> TargetError:
    """What is raised of a target that another program has changed since the audit."""
    at = [
        f"at {in_words(target, version)}" if version != NO_TABLE else "not there"
        for version in (was, now)
    ]
    return TargetError(
        f"{capitalised(target)} was changed by another program while this run was filling: it "
        f"was {at[0]}, and is {at[1]}. Nothing was published; run the job again."
    )


def check_columns(schema: pa.Schema, target: LakeTarget) -> None:
    """Make sure that a lakehouse can hold every column of a table, and has those of its partitions.

    Raises
    ------
    TargetError
        Naming the columns.
    """
    homeless = [field for field in schema if counterpart(field.type, target.format) is None]
    if homeless:
        columns = ", ".join(f"{field.name!r} of type {field.type}" for field in homeless)
        raise fault(target, f"{_NAMES[target.format]} cannot hold {columns}; convert in the source")
    partitions.check_columns(schema, target.partition_by)


def check_partitions(by: Sequence[str], target: LakeTarget) -> None:
    """Make sure that a table that is there is partitioned as the job says, if it says.

    Raises
    ------
    TargetError
    """
    if target.partition_by and target.partition_by != tuple(by):
        raise fault(
            target,
            f"it is partitioned by {', '.join(by) or 'nothing'}, and target.partition_by is "
            f"{', '.join(target.partition_by)}; name the same columns, or another table",
        )


def check_partitions_stay(by: Sequence[str], target: LakeTarget, schema: pa.Schema) -> None:
    """Make sure that a table that takes the place of another one has the columns of its partitions.

    Raises
    ------
    TargetError
    """
    if absent := [name for name in by if name not in schema.names]:
        raise fault(target, f"it is partitioned by {absent[0]!r}, which the new table has not")


def in_types(schema: pa.Schema, target: LakeTarget) -> pa.Schema:
    """The columns of a table in the types that the lakehouse has."""
    return pa.schema([(field.name, counterpart(field.type, target.format)) for field in schema])


@dataclass
class Rows:
    """The staged rows in the types of the lakehouse, streamed.

    Attributes
    ----------
    staged : Staged
    target : DeltaTarget or IcebergTarget
    fault : Exception or None
        What came up meanwhile, which a library may have hidden.
    """

    staged: Staged
    target: LakeTarget
    fault: Exception | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns of these rows."""
        return in_types(read_schema(self.staged.path), self.target)

    def reader(self) -> pa.RecordBatchReader:
        """What a library streams them from."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises
        ------
        TargetError
            If a cell does not fit its type.
        """
        name, schema = "", self.schema
        try:
            for batch in stream_file(self.staged.path, self.staged.format):
                columns = []
                for name, type_ in zip(schema.names, schema.types, strict=True):
                    columns.append(restored(_decoded(batch.column(name)), type_))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except pa.ArrowException:
            self.fault = fault(
                self.target,
                f"{_NAMES[self.target.format]} cannot hold every cell of {name!r}, such as a time "
                "of nanoseconds; convert in the source",
            )
            raise self.fault from None


def _decoded(cells: pa.Array) -> pa.Array:
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
