"""`schedule`: when the job runs by itself, and of which day its data are."""

from __future__ import annotations

import zoneinfo
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from em_impute.job import rhythms
from em_impute.job.mistakes import did_you_mean
from em_impute.job.types import Count, Section

_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 60},
        {"type": "string", "format": "duration"},
    ]
}


def _known_timezone(timezone: str) -> str:
    zones = zoneinfo.available_timezones()
    if timezone not in zones:
        nearest = did_you_mean(timezone, zones)
        raise ValueError(f"unknown time zone{nearest}; expected an IANA name such as Europe/Paris")
    return timezone


def _interval(value: object, handler: ValidatorFunctionWrapHandler) -> timedelta:
    with suppress(ValidationError):
        interval: timedelta = handler(value)
        if rhythms.SHORTEST <= interval <= rhythms.LONGEST and not isinstance(value, bool):
            return interval
    raise ValueError(
        "expected 60 seconds to 10 years, in seconds or as an ISO 8601 duration such as PT1H30M"
    )


RRule = Annotated[str, AfterValidator(rhythms.recurrence)]
Cron = Annotated[str, AfterValidator(rhythms.cron_line)]
Interval = Annotated[timedelta, WrapValidator(_interval), WithJsonSchema(_DURATION)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
_RHYTHMS = ("cron", "interval", "rrule")


class Schedule(Section):
    """When the job runs by itself: by cron, at an interval or by a recurrence rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [rhythm], "properties": {rhythm: {"not": {"type": "null"}}}}
                for rhythm in _RHYTHMS
            ]
        }
    )

    cron: Cron | None = Field(
        None,
        description="Minute, hour, day, month and weekday, as in crontab.",
        examples=["0 3 * * *"],
    )
    interval: Interval | None = Field(
        None,
        description="Seconds from one run to the next, or an ISO 8601 duration.",
        examples=[3600],
    )
    rrule: RRule | None = Field(
        None,
        description="Recurrence rule of RFC 5545 (iCalendar).",
        examples=["FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0"],
    )
    timezone: Timezone = Field("UTC", description="IANA time zone in which the schedule is read.")
    offset_days: Count = Field(
        0,
        ge=-3660,
        le=3660,
        description="Days from a run's scheduled day to its data date: -1 for the day before.",
        examples=[-1],
    )

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        given = [rhythm for rhythm in _RHYTHMS if getattr(self, rhythm) is not None]
        if len(given) != 1:
            came = " and ".join(given) or "none of them"
            raise ValueError(f"expected one of cron, interval and rrule, got {came}")
        return self

    def data_date(self, scheduled: datetime) -> date:
        """The day that a run scheduled for this moment is about."""
        day = scheduled.astimezone(zoneinfo.ZoneInfo(self.timezone)).date()
        return day + timedelta(days=self.offset_days)

    def has_ended(self, moment: datetime) -> bool:
        """Whether no run is due any more after a moment."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        return self.rrule is not None and rhythms.has_ended(self.rrule, moment.astimezone(zone))


def _one_or_several(value: object) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


Schedules = Annotated[
    Annotated[Schedule, Tag("one")] | Annotated[tuple[Schedule, ...], Tag("several")],
    Discriminator(_one_or_several),
]
