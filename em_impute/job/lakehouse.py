"""A table of a lakehouse: what `source` and `target` share where their `format` is `delta`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from em_impute.job.database import file_or_database
from em_impute.job.table_file import Location
from em_impute.job.types import Section

_LAKES = ("delta",)


class DeltaTable(Section):
    """A Delta table; a relative path begins in the folder the program is started in."""

    path: Location = Field(
        description="Path or URL of the table: the folder that holds its _delta_log.",
        examples=["lake/air"],
    )
    format: Literal["delta"] = Field(description="delta: a table of Delta Lake.")

    @property
    def file_format(self) -> Literal["feather"]:
        """The format in which the table waits for its publication: it loses nothing."""
        return "feather"

    @property
    def staged_format(self) -> Literal["feather"]:
        """The same: what is committed is always written anew."""
        return self.file_format

    def __str__(self) -> str:
        return f"the Delta table {self.path}"


def kind_of_table(value: object) -> str:
    """Return which kind of source or target is meant, by its keys and its format."""
    given = value.get("format") if isinstance(value, dict) else getattr(value, "format", None)
    return given if isinstance(given, str) and given in _LAKES else file_or_database(value)
