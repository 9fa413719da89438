"""When a job runs by itself: intervals, cron lines and rules, and the day of its data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from job_files import MINIMAL, complaints, load


@pytest.mark.parametrize("text", ["5400", "5400.0", "PT1H30M", "01:30:00"])
def test_an_interval_is_seconds_or_a_duration(text: str) -> None:
    [schedule] = load(f"{MINIMAL}schedule: {{interval: {text}}}").schedules
    assert schedule.interval == timedelta(hours=1, minutes=30)


def test_the_data_date_is_the_schedules_day() -> None:
    """At 02:30 UTC it is still the day before in New York, and the data are of one day earlier."""
    job = load(
        f"{MINIMAL}schedule:\n"
        "  - {cron: 30 2 * * *}\n"
        "  - {cron: 30 21 * * *, timezone: America/New_York, offset_days: -1}\n"
    )
    moment = datetime(2026, 2, 3, 2, 30, tzinfo=UTC)
    assert job.data_date(moment) == date(2026, 2, 3)
    assert job.data_date(moment, schedule=1) == date(2026, 2, 1)
    assert load(MINIMAL).data_date(moment) == date(2026, 2, 3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "schedule: {cron: 0 3 * * *, timezon: UTC}",
            "4:29: schedule.timezon: unknown key (did you mean timezone?); "
            "allowed here: cron, interval, rrule, timezone, offset_days",
        ),
        (
            "schedule: {}",
            "4:11: schedule: expected one of cron, interval and rrule, got none of them",
        ),
        (
            "schedule: {cron: 0 3 * * *, interval: 60}",
            "4:11: schedule: expected one of cron, interval and rrule, got cron and interval",
        ),
        (
            "schedule: {cron: daily}",
            "4:18: schedule.cron: expected the five fields of cron "
            '(minute, hour, day, month, weekday), such as "0 3 * * *"',
        ),
        *(
            (
                f"schedule: {{interval: {interval}}}",
                "4:22: schedule.interval: expected 60 seconds to 10 years, in seconds or as an "
                "ISO 8601 duration such as PT1H30M",
            )
            for interval in ("0", "-60", "59.9", "true", "1h30m", "1e300", "1e9", "PT0.001S")
        ),
        (
            "schedule:\n  - {cron: 0 3 * * *}\n  - {cron: daily}",
            "6:12: schedule.1.cron: expected the five fields of cron "
            '(minute, hour, day, month, weekday), such as "0 3 * * *"',
        ),
        (
            "schedule:\n  - {cron: 0 3 * * *, timezon: UTC}",
            "5:23: schedule.0.timezon: unknown key (did you mean timezone?); "
            "allowed here: cron, interval, rrule, timezone, offset_days",
        ),
        *(
            (
                f"schedule: {{rrule: '{rule}'}}",
                "4:19: schedule.rrule: expected one recurrence rule of RFC 5545, such as "
                '"FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0;BYSECOND=0"',
            )
            for rule in ("daily", "FREQ=DALY", "RRULE:FREQ=DAILY\\nRRULE:FREQ=WEEKLY", "")
        ),
        (
            "schedule: {cron: 0 3 * * *, timezone: Europe/Pari}",
            "4:39: schedule.timezone: unknown time zone (did you mean Europe/Paris?); "
            "expected an IANA name such as Europe/Paris",
        ),
    ],
)
def test_a_mistake_in_a_schedule_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]
