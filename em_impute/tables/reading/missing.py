"""What a source says of its missing cells: the spellings and sentinels that stand for none.

A file of text has usual spellings of a missing number besides. A sentinel that is a number, or a
time, is missing wherever a cell is equal to it, however it is spelled and whatever the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from em_impute.job import FileSource, Source
from em_impute.tables import spelling
from em_impute.tables.snapshot import is_text

# How a file of text may spell a missing number.
_USUAL: tuple[str, ...] = tuple(pa_csv.ConvertOptions().null_values)
_TEXT = pa.large_string()


def is_blank(texts: pa.Array) -> pa.Array:
    """Which texts are null, or a usual spelling of a missing cell."""
    return pc.is_in(texts, pa.array((None, *_USUAL), texts.type))


@dataclass(frozen=True)
class Missing:
    """What stands for a missing cell, besides what the format has for it.

    Attributes
    ----------
    everywhere : tuple of str
        In every column.
    columns : mapping of str to tuple of str
        In these.
    typed : bool
        Whether the format has types: a text is a text there, however it is spelled.
    categories : mapping of str to tuple of str
        The columns of categories, each with the levels that the job names.
    """

    everywhere: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    typed: bool = True
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: Source,
        categories: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> Missing:
        """What a source says of missing cells.

        Parameters
        ----------
        source : Source
        categories : mapping of str to tuple of str
            The columns of categories, each with the levels that the job names.
        """
        texts, typed = source.missing, not (isinstance(source, FileSource) and source.is_text)
        if isinstance(texts, Mapping):
            return cls((), texts, typed, categories)
        return cls(texts, {}, typed, categories)

    def __bool__(self) -> bool:
        return bool(self.everywhere or self.columns)

    def named(self, name: str) -> tuple[str, ...]:
        """The texts that the job names for a column."""
        return self.columns.get(name, self.everywhere)

    def spellings(self, name: str, type_: pa.DataType) -> tuple[str, ...]:
        """How a cell that is missing may be spelled in a column of this type in a file of text.

        What the type has for a value is found by `applied`, in whatever spelling.
        """
        return (*_USUAL, *(t for t in self.named(name) if _as_value(t, type_) is None))

    def blanks(self, name: str) -> tuple[str, ...]:
        """The texts that stand for a missing cell in a column of text.

        What the job says of the column itself takes the place of the usual spellings.
        """
        if self.typed:
            texts = self.named(name)
        elif name in self.columns:
            texts = ("", *self.columns[name])
        else:
            texts = (*_USUAL, *self.everywhere)
        return tuple(text for text in texts if text not in self.categories.get(name, ()))

    def applied_to(self, schema: pa.Schema) -> pa.Schema:
        """The schema of rows to which it is applied.

        There are nulls where there may be some, and the texts that categories had in their place
        are in columns of their own.
        """
        fields = [f.with_nullable(f.nullable or bool(self.named(f.name))) for f in schema]
        beside = [(spelling.blanks_of(name), spelling.TEXT) for name in self._blanked(schema)]
        return pa.schema([*fields, *beside], schema.metadata)

    def applied(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with null for every number, time or category that is missing."""
        columns = [
            reduce(_without, self.named(name), column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        for name in self._blanked(batch.schema):
            at = batch.schema.get_field_index(name)
            columns[at], texts = _parted(columns[at], self.blanks(name))
            columns.append(texts)
        return pa.RecordBatch.from_arrays(columns, schema=self.applied_to(batch.schema))

    def _blanked(self, schema: pa.Schema) -> list[str]:
        """The columns of categories in which a text may stand for a missing cell."""
        names = [f.name for f in schema if f.name in self.categories and is_text(f.type)]
        return [name for name in names if self.blanks(name)]


def _parted(cells: pa.Array, blanks: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """The texts of a column that are levels, and those that stand for none; each null elsewhere."""
    texts = cells.cast(_TEXT)
    blank = pc.is_in(texts, pa.array(blanks, _TEXT))
    levels = pc.if_else(blank, pa.scalar(None, _TEXT), texts).cast(cells.type)
    return levels, pc.if_else(blank, texts, pa.scalar(None, _TEXT)).cast(spelling.TEXT)


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
