"""The data date in the names of source and target: ``{date}``, or ``{date:%Y/%m}``."""

from __future__ import annotations

import re
from datetime import date
from typing import TypeVar

from em_impute.job.types import Section

_DATE = re.compile(r"\{date(?::([^{}]*))?\}")
_DATE_FORMAT = re.compile(r"(?:[^%]|%[YymdjbBGVu])*%[YymdjbBGVu](?:[^%]|%[YymdjbBGVu])*")

_Table = TypeVar("_Table", bound=Section)


def with_known_dates(text: str) -> str:
    """Return a text, if whatever looks like a place for the date is one.

    Raises
    ------
    ValueError
    """
    places = list(_DATE.finditer(text))
    if text.count("{date") != len(places):
        raise ValueError("expected {date}, or a format within, such as {date:%Y-%m-%d}")
    for place in places:
        if place[1] is not None and not _DATE_FORMAT.fullmatch(place[1]):
            raise ValueError(
                "a date is written with %Y, %y, %m, %d, %j, %b, %B, %G, %V or %u and what stands "
                "between them, such as {date:%Y-%m-%d}"
            )
    return text


def is_dated(table: Section) -> bool:
    """Whether a source or target is another one for each data date."""
    return any(_DATE.search(text) for text in _texts(table).values())


def on_day(table: _Table, day: date) -> _Table:
    """Return a source or target with a date in the place of ``{date}``."""
    texts = {key: _with_date(text, day) for key, text in _texts(table).items()}
    return table.model_copy(
        update={key: type(getattr(table, key))(text) for key, text in texts.items()}
    )


def date_in(table: Section, day: date) -> str:
    """Return how a date is written in what names a source, such as 2024-05 for a month's file.

    Two dates with one answer have one source.
    """
    places = (place for text in _texts(table).values() for place in _DATE.finditer(text))
    return " ".join(dict.fromkeys(_with_date(place[0], day) for place in places))


def _texts(table: Section) -> dict[str, str]:
    """What names a table, by field: where a date may stand."""
    named = {key: getattr(table, key, None) for key in ("path", "table", "query")}
    return {key: str(value) for key, value in named.items() if value is not None}


def _with_date(text: str, day: date) -> str:
    return _DATE.sub(lambda match: day.strftime(match[1] or "%Y-%m-%d"), text)
