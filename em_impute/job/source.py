"""`source`: the table to read, in files, from a database or in a lakehouse."""

from __future__ import annotations

import codecs
from contextlib import suppress
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from em_impute.job.database import Database, TableName
from em_impute.job.dates import with_known_dates
from em_impute.job.lakehouse import DeltaTable, IcebergTable, kind_of_table
from em_impute.job.table_file import Location, TableFile
from em_impute.job.types import Count, Section, SomeNames

# Files of text may be compressed; they are read as what they are without this suffix.
_COMPRESSED = (".gz", ".zst", ".bz2")


def _one_character(text: str) -> str:
    if len(text) != 1 or ord(text) > 127 or text in "\r\n\0" or text.isalnum():
        raise ValueError("expected one character that is no letter or digit, such as ; or \\t")
    return text


def _known_encoding(name: str) -> str:
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError):
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise ValueError("expected an encoding of text, such as cp1252, latin-1 or utf-16")
    return known.name


def _as_spelled(value: object) -> object:
    """A number as it would be written."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value}"
    return value


def _missing(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        'expected a list of what stands for a missing cell, such as ["-999", "."], or a mapping of '
        "columns to such lists, such as {income: [-999]}"
    )


def _some_sql(query: str) -> str:
    query = query.strip().rstrip(";").rstrip()
    if not query or "\0" in query:
        raise ValueError("expected a query, such as select * from sales.orders")
    return with_known_dates(query)


OneCharacter = Annotated[str, AfterValidator(_one_character)]
TextEncoding = Annotated[str, AfterValidator(_known_encoding)]
Spellings = Annotated[
    tuple[Annotated[str, BeforeValidator(_as_spelled)], ...],
    WithJsonSchema({"type": "array", "items": {"type": ["string", "number"]}}),
]
MissingSpellings = Annotated[Spellings | dict[str, Spellings], WrapValidator(_missing)]
_MISSING = Field(
    (),
    description="What stands for a missing cell besides nothing, NA and null: a list for all "
    "columns, or a mapping of columns.",
    examples=[["-999", "."], {"income": [-999], "country": []}],
)
Query = Annotated[str, AfterValidator(_some_sql)]


class CsvOptions(Section):
    """How a CSV file is written, where it is not as RFC 4180 has it."""

    delimiter: OneCharacter = Field(
        ",", description="What stands between two fields.", examples=[";", "\t"]
    )
    decimal: Literal[".", ","] = Field(".", description="The decimal point of numbers.")
    thousands: Literal[",", ".", " ", "'", "_", "\u00a0", "\u202f"] | None = Field(
        None, description="What stands between groups of three digits.", examples=["."]
    )
    encoding: TextEncoding = Field(
        "utf-8", description="The encoding of the text.", examples=["cp1252", "utf-16"]
    )
    header: Annotated[bool, Strict()] | SomeNames = Field(
        True,
        description="Whether the first line has the names of the columns; or the names, for a "
        "file that has none.",
        examples=[False, ["id", "price"]],
    )
    comment: OneCharacter | None = Field(
        None, description="Lines that begin with this are passed over.", examples=["#"]
    )
    quote: OneCharacter | None = Field(
        '"', description="What a field stands in that holds a delimiter; null for nothing."
    )
    skip_rows: Count = Field(0, ge=0, description="Lines before the header to pass over.")

    @model_validator(mode="after")
    def _tell_apart(self) -> Self:
        names = ("delimiter", "decimal", "comment", "quote")
        for one, other in (*combinations(names, 2), ("decimal", "thousands")):
            if getattr(self, one) is not None and getattr(self, one) == getattr(self, other):
                raise ValueError(f"{one} and {other} are the same character; change one of them")
        return self


class FileSource(TableFile):
    """The table to read: a file, or a folder of files, here or at a URL."""

    path: Location = Field(
        description="Path or URL of the file, or of a folder with the files of one table.",
        examples=["data/table.csv"],
    )
    csv: CsvOptions = Field(
        CsvOptions(),
        description="How CSV files are written: delimiter, decimal comma, encoding and the like.",
        examples=[{"delimiter": ";", "decimal": ","}],
    )
    missing: MissingSpellings = _MISSING

    @property
    def is_text(self) -> bool:
        """Whether it says how its cells are spelled, and not of which types its columns are."""
        return self.file_format in ("csv", "jsonl")

    @property
    def _suffix(self) -> str:
        name = self._name
        compressed = name.suffix.lower() in _COMPRESSED
        return (name.with_suffix("") if compressed else name).suffix.lower()

    @model_validator(mode="after")
    def _options_are_of_csv(self) -> Self:
        if self.csv != CsvOptions() and self.file_format != "csv":
            raise ValueError(f"csv: the source is {self.file_format}; remove these options")
        return self


class DatabaseSource(Database):
    """The table of a database, or the rows of a query, to read."""

    table: TableName | None = Field(
        None, description="The table, with or without its schema.", examples=["sales.orders"]
    )
    query: Query | None = Field(
        None,
        description="Instead of a table: the query whose rows are read.",
        examples=["select id, price from sales.orders where year = 2026"],
    )
    missing: MissingSpellings = _MISSING

    def __str__(self) -> str:
        what = "a query" if self.table is None else f"the table {self.table}"
        return f"{what} of {self.url_shown}"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.table is None) == (self.query is None):
            came = "neither" if self.table is None else "both"
            raise ValueError(f"expected either table or query, got {came}")
        return self


class DeltaSource(DeltaTable):
    """The Delta table to read, at one version of it."""

    version: Count | None = Field(
        None,
        ge=0,
        description="The version to read; default: the newest when the run begins.",
        examples=[12],
    )
    missing: MissingSpellings = _MISSING


class IcebergSource(IcebergTable):
    """The Iceberg table to read, at one snapshot of it."""

    version: Count | None = Field(
        None,
        ge=0,
        description="The id of the snapshot to read; default: the current one when the run begins.",
        examples=[6505842283650261963],
    )
    missing: MissingSpellings = _MISSING


Source = Annotated[
    Annotated[FileSource, Tag("file")]
    | Annotated[DatabaseSource, Tag("database")]
    | Annotated[DeltaSource, Tag("delta")]
    | Annotated[IcebergSource, Tag("iceberg")],
    Discriminator(kind_of_table),
]
