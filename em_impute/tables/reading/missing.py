"""What a source says of its missing cells: the spellings and sentinels that stand for none.

A file of text has usual spellings of a missing number besides. A sentinel that is a number, or a
time, is missing wherever a cell is equal to it, however it is spelled and whatever the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from em_impute.job import DatabaseSource, FileSource

# How a file of text may spell a missing number.
NULL_SPELLINGS: tuple[str, ...] = tuple(pa_csv.ConvertOptions().null_values)


@dataclass(frozen=True)
class Missing:
    """What stands for a missing cell, besides what the format has for it.

    Attributes
    ----------
    everywhere : tuple of str
        In every column.
    columns : mapping of str to tuple of str
        In these.
    """

    everywhere: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: FileSource | DatabaseSource) -> Missing:
        """What a source says."""
        said = source.missing
        return cls(columns=said) if isinstance(said, Mapping) else cls(said)

    def __bool__(self) -> bool:
        return bool(self.everywhere or self.columns)

    def said(self, name: str) -> tuple[str, ...]:
        """What the job says of a column."""
        return self.columns.get(name, self.everywhere)

    def spellings(self, name: str, type_: pa.DataType) -> tuple[str, ...]:
        """How a cell that is missing may be spelled in a column of this type in a file of text.

        What the type has for a value is found by `applied`, in whatever spelling.
        """
        return (*NULL_SPELLINGS, *(t for t in self.said(name) if _as_value(t, type_) is None))

    def levels(self, name: str, has_types: bool) -> tuple[str, ...]:
        """The texts that are no levels of a column of categories.

        What the job says of the column itself takes the place of the usual spellings.
        """
        if has_types:
            return self.said(name)
        if name in self.columns:
            return ("", *self.columns[name])
        return (*NULL_SPELLINGS, *self.everywhere)

    def applied_to(self, schema: pa.Schema) -> pa.Schema:
        """The schema of rows to which it is applied: with nulls where there may be some."""
        fields = [f.with_nullable(f.nullable or bool(self.said(f.name))) for f in schema]
        return pa.schema(fields, schema.metadata)

    def applied(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with null for every number or time that stands for a missing cell."""
        columns = [
            reduce(_without, self.said(name), column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.applied_to(batch.schema))


def _without(cells: pa.Array, text: str) -> pa.Array:
    sentinel = _as_value(text, cells.type)
    if sentinel is None:
        return cells
    equal = pc.equal(cells, sentinel).fill_null(False)
    return pc.if_else(equal, pa.scalar(None, cells.type), cells)


def _as_value(text: str, type_: pa.DataType) -> pa.Scalar | None:
    """A text as a number or a time of a type; None if it is none."""
    is_type = pa.types
    if not (
        is_type.is_integer(type_)
        or is_type.is_floating(type_)
        or is_type.is_decimal(type_)
        or is_type.is_date(type_)
        or is_type.is_timestamp(type_)
    ):
        return None
    for through in (pa.string(), pa.float64()):  # 999 is 999.0, too
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.scalar(text.strip()).cast(through).cast(type_)
    return None


NOTHING = Missing()
