"""`state`: where the rows of earlier runs are kept, summed up, and how long they count."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
)

from em_impute.job.dates import is_dated
from em_impute.job.options import Imputation
from em_impute.job.source import DatabaseSource, DeltaSource, FileSource, IcebergSource
from em_impute.job.table_file import Location
from em_impute.job.target import DeltaTarget, FileTarget, overlap
from em_impute.job.types import Section

_DAYS = re.compile(r"\s*(\d{1,6})\s*(day|week)s?\s*", re.IGNORECASE)
_LONGEST = timedelta(days=36_525)


def _duration(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str) and (written := _DAYS.fullmatch(value)):
        value = timedelta(**{f"{written[2].lower()}s": int(written[1])})
    with suppress(ValidationError):
        # A number alone says nothing of its unit.
        duration: timedelta | None = None if isinstance(value, int | float) else handler(value)
        if duration and timedelta(0) < duration <= _LONGEST and not duration % timedelta(days=1):
            return duration
    raise ValueError(
        "expected a number of days or weeks, up to a hundred years, such as 90 days or 12 weeks"
    )


Duration = Annotated[
    timedelta,
    WrapValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\d+\s*([Dd]ay|[Ww]eek)s?\s*$|^P\d+[DW]$"}),
]


class State(Section):
    """Where the rows of earlier runs are kept, summed up, and how long they count."""

    path: Location = Field(
        description="Folder, of this job alone, in which the rows of earlier runs are kept, summed "
        "up.",
        examples=["state/airquality"],
    )
    window: Duration | None = Field(
        None,
        description="How many days back from the data date rows count, that day included; default: "
        "without end.",
        examples=["90 days"],
    )
    half_life: Duration | None = Field(
        None,
        description="After how many days a row counts half as much in the estimate; default: all "
        "count alike.",
        examples=["30 days"],
    )

    @field_validator("path")
    @classmethod
    def _is_local(cls, path: Path | str) -> Path | str:
        if isinstance(path, str):
            raise ValueError("expected a local folder: a state at a URL is not supported")
        if is_dated(cls.model_construct(path=path)):
            raise ValueError("the state is one for all dates; remove {date} from its path")
        return path

    @property
    def folder(self) -> Path:
        """The folder."""
        return Path(self.path)


def require_room(state: State, source: object, target: object) -> None:
    """Raise a ValueError if the state's folder is in the way of the source or the target."""
    tables = (
        ("source", source, FileSource | DeltaSource),
        ("target", target, FileTarget | DeltaTarget),
    )
    for what, table, kind in tables:
        path = table.path if isinstance(table, kind) else None
        if isinstance(path, Path) and overlap(path, state.folder):
            raise ValueError(
                f"the folder of the state and the {what} are one, or one lies in the other; "
                "choose another folder, such as state/sales"
            )


def require_partitions(source: object) -> None:
    """Raise a ValueError if the source has nothing by which its rows can be told from others'."""
    match source:
        case DatabaseSource():
            place = "query, such as select * from sales where day = date '{date}'"
        case DeltaSource():
            place = "path, such as lake/{date}"
        case IcebergSource():
            place = "table, such as sales.of_{date:%Y%m%d}"
        case _:
            return
    if not is_dated(source):
        raise ValueError(
            "the source has the same name on each date, so that the rows of one night cannot be "
            f"told from those of another; write {{date}} in its {place}"
        )


def require_known_weights(state: State, imputation: Imputation) -> None:
    """Raise a ValueError if imputations would need more than the rows of a state tell."""
    if imputation.posterior == "bootstrap":
        raise ValueError(
            "`posterior: bootstrap` resamples rows, and a state keeps sums of those of other "
            "nights; use `posterior: augmentation`, which needs the sums only"
        )
    if state.half_life is None or not imputation.is_multiple:
        return
    if imputation.posterior != "ml" or imputation.draws == "auto":
        raise ValueError(
            "half_life: rows that count less than once have no posterior distribution from which "
            "models of several imputations could be drawn; use `posterior: ml` with a number of "
            "draws, or window instead of half_life"
        )
