"""Schedules that never come due are refused; Prefect finds the next time of all others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule
from pydantic import ValidationError

from em_impute.job import Schedule

NO_DAY = "never comes due: no year has a day"
NO_SUCH = "never comes due: no day matches the rule, or UNTIL is before its start"


def complaint(**schedule: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Schedule.model_validate(schedule)
    return str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 31 2 *", f"{NO_DAY} 31 of month 2"),
        ("0 0 30 feb *", f"{NO_DAY} 30 of month feb"),
        ("0 0 31 4,6,9,11 *", f"{NO_DAY} 31 of month 4,6,9,11"),
        # Others would take the Mondays of February; Prefect's scheduler fails.
        ("0 0 31 2 1", f"{NO_DAY} 31 of month 2"),
        ("0 0 1 1 5#3", f"{NO_DAY} 1 of month 1 that is a weekday 5#3"),
        ("99 0 * * *", "expected the five fields of cron"),
        ("0 0 0 * *", "expected the five fields of cron"),
        ("0 0 * 13 *", "expected the five fields of cron"),
        ("R 0 * * *", "expected the five fields of cron"),
        ("0 0 * * 5L", "expected the five fields of cron"),
    ],
)
def test_a_cron_line_that_never_comes_due_is_refused(cron: str, expected: str) -> None:
    assert expected in complaint(cron=cron)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", NO_SUCH),
        ("FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31", NO_SUCH),
        ("FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", NO_SUCH),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6", NO_SUCH),
        ("DTSTART:20210101T000000\nRRULE:FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29", NO_SUCH),
        ("DTSTART:20300101T000000\nRRULE:FREQ=DAILY;UNTIL=20290101T000000", NO_SUCH),
        ("FREQ=DAILY;UNTIL=20191231T000000", NO_SUCH),
        ("FREQ=DAILY;INTERVAL=0", "never comes due: its INTERVAL is not above 0"),
        ("FREQ=DAILY;INTERVAL=-1", "never comes due: its INTERVAL is not above 0"),
        ("FREQ=DAILY;COUNT=3", "never comes due: COUNT counts from 1 January 2020"),
        ("DTSTART:20300101T000000\nRRULE:FREQ=DAILY;COUNT=0", "its COUNT is not above 0"),
        ("FREQ=SECONDLY", "comes due every second"),
    ],
)
def test_a_rule_that_never_recurs_is_refused(rule: str, expected: str) -> None:
    assert expected in complaint(rrule=rule)


@pytest.mark.parametrize("interval", [0.5, 59, "PT0.001S", "P99999D", "-P1D", 0, True])
def test_an_interval_that_cannot_be_kept_is_refused(interval: object) -> None:
    assert "expected 60 seconds to 10 years" in complaint(interval=interval)


@pytest.mark.parametrize(
    "cron",
    ["0 0 29 2 *", "30 2 31 * *", "0 0 L * *", "0 6 * * mon-fri", "0 22-4 * * *", "0 0 * 1 5#3"],
)
def test_prefect_finds_the_next_time_of_what_is_accepted(cron: str) -> None:
    Schedule(cron=cron)
    assert asyncio.run(CronSchedule(cron=cron).get_dates(n=1, start=datetime(2026, 1, 1)))


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYMONTHDAY=31;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
        "DTSTART:20300101T030000\nRRULE:FREQ=DAILY;COUNT=5",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=29",
    ],
)
def test_rare_rules_are_accepted(rule: str) -> None:
    Schedule(rrule=rule)
    assert asyncio.run(RRuleSchedule(rrule=rule).get_dates(n=1, start=datetime(2026, 1, 1)))


def test_a_schedule_that_has_ended_is_still_read() -> None:
    """A run that comes late reads its job, too."""
    ended = Schedule(rrule="FREQ=DAILY;UNTIL=20251231T000000")
    assert ended.has_ended(datetime(2026, 1, 1, tzinfo=UTC))
    assert not ended.has_ended(datetime(2025, 12, 1, tzinfo=UTC))
    aware = Schedule(rrule="DTSTART:20250101T000000Z\nRRULE:FREQ=DAILY;COUNT=2")
    assert aware.has_ended(datetime(2025, 1, 3, tzinfo=UTC))
    assert not Schedule(cron="0 0 29 2 *").has_ended(datetime(2025, 1, 3, tzinfo=UTC))
    assert Schedule(interval=timedelta(hours=1)).interval == timedelta(hours=1)
