"""The rhythms of a schedule: a cron line, an interval, a recurrence rule that come due at all.

Prefect takes a rhythm that never comes due as it takes any other, and no run ever starts. So it is
refused where the job is read. One that has come due before and has ended is none of these.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from croniter import CroniterBadDateError, croniter
from dateutil.rrule import DAILY, rrule, rruleset, rrulestr

# Where Prefect begins to count, if a rule does not say it.
ANCHOR = datetime(2020, 1, 1)
# No rhythm is finer than cron's; a run takes seconds.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=3660)
LONGEST_RULE = 1000
# A rule is looked through to the end of time; the last forty years of it show whether it recurs.
LAST_YEARS = datetime(9960, 1, 1)


def cron_line(cron: str) -> str:
    """Return a cron line, if it has five fields and comes due.

    Raises
    ------
    ValueError
    """
    fields = cron.split()
    known = len(fields) == 5 and not {"h", "r"} & {field.lower() for field in fields}
    if not known or not croniter.is_valid(cron):
        raise ValueError(
            "expected the five fields of cron (minute, hour, day, month, weekday), "
            'such as "0 3 * * *"'
        )
    _, _, day, month, weekday = fields
    # Of a day that no year has Prefect finds no weekday either.
    for due, when in (
        (f"0 0 {day} {month} *", f"day {day} of month {month}"),
        (cron, f"day {day} of month {month} that is a weekday {weekday}"),
    ):
        try:
            croniter(due, ANCHOR).get_next()
        except CroniterBadDateError:
            raise ValueError(
                f"never comes due: no year has a {when}; expected a day that exists, such as "
                '"0 3 28 2 *"'
            ) from None
    return cron


def recurrence(rule: str) -> str:
    """Return a recurrence rule, if it is one and recurs.

    Raises
    ------
    ValueError
    """
    try:
        parsed = rrulestr(rule, dtstart=ANCHOR)
    except (ValueError, TypeError, OverflowError):
        parsed = None
    if parsed is None or isinstance(parsed, rruleset) or len(rule) > LONGEST_RULE:
        raise ValueError(
            "expected one recurrence rule of RFC 5545, such as "
            '"FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0;BYSECOND=0"'
        )
    options = {key.upper(): value for key, value in re.findall(r"(\w+)=([^;\s]+)", rule)}
    if options["FREQ"].upper() == "SECONDLY":
        raise ValueError("comes due every second; expected FREQ=MINUTELY, or one that is longer")
    for option in ("INTERVAL", "COUNT"):
        if not int(options.get(option, 1)) > 0:
            raise ValueError(f"never comes due: its {option} is not above 0")
    if "COUNT" in options and "DTSTART" not in rule.upper():
        raise ValueError(
            "never comes due: COUNT counts from 1 January 2020 where the rule does not say from "
            "when; expected a DTSTART before it, such as "
            '"DTSTART:20300101T030000\\nRRULE:FREQ=DAILY;COUNT=5"'
        )
    if not _recurs(parsed, options):
        raise ValueError(
            "never comes due: no day matches the rule, or UNTIL is before its start; "
            "expected a rule that recurs"
        )
    return rule


def _recurs(rule: rrule, options: dict[str, str]) -> bool:
    tried: dict[str, Any] = {"dtstart": LAST_YEARS, "until": None, "count": None}
    if options["FREQ"].upper() in ("HOURLY", "MINUTELY"):
        # Looked for by the minute, a day that there is not takes minutes to be found missing.
        tried |= {"freq": DAILY, "interval": 1, "byhour": None, "byminute": None, "bysecond": None}
    with suppress(ValueError, OverflowError):
        return bool(next(iter(rule.replace(**tried)), None) and next(iter(rule), None))
    return False


def has_ended(rule: str, moment: datetime) -> bool:
    """Whether a recurrence rule comes due no more after a moment, which is in its time zone."""
    if not re.search("COUNT|UNTIL", rule, re.IGNORECASE):
        return False
    parsed = rrulestr(rule, dtstart=ANCHOR)
    try:
        return parsed.after(moment.replace(tzinfo=None)) is None
    except TypeError:  # of a rule that names its own time zone
        return parsed.after(moment) is None
