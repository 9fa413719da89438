"""A page on all jobs: how the last run of each ended, and how its numbers went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from markupsafe import Markup

from em_impute.reporting.brief import Brief
from em_impute.reporting.render import PAGES


@dataclass(frozen=True)
class JobLine:
    """A job on the page.

    Attributes
    ----------
    job : str
    outcome : str
        Of the last run; "no report" if it left none.
    sentence : str
        Its verdict, or why there is none.
    brief : Brief or None
        The last run in brief.
    report : str or None
        The address of its page.
    missing, filled, errors : tuple of float or None
        Of the last runs, the earliest first: missing cells in per cent, filled cells, and the
        self-test's error over that of the mean; None of a run that did not come to it.
    past : tuple of Brief or None
        These runs.
    """

    job: str
    outcome: str
    sentence: str
    brief: Brief | None
    report: str | None
    missing: tuple[float | None, ...]
    filled: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    past: tuple[Brief | None, ...]

    @classmethod
    def of(
        cls,
        job: str,
        briefs: Sequence[Brief | None],
        outcome: str,
        trouble: str,
        report: str | None,
    ) -> Self:
        """Make the line of a job.

        Parameters
        ----------
        job : str
        briefs : sequence of Brief or None
            Its last runs, the earliest first; None of one that left no report.
        outcome, trouble : str
            Of the last run; why it left no report.
        report : str or None
        """
        last = briefs[-1]
        return cls(
            job,
            outcome,
            last.verdict if last else trouble,
            last,
            report and quote(report),
            tuple(one.missing_percent if one else None for one in briefs),
            tuple(one.imputed_cells if one else None for one in briefs),
            tuple(one.rmse_ratio if one else None for one in briefs),
            tuple(briefs),
        )

    @property
    def highest(self) -> float:
        """The most missing cells of these runs, in per cent."""
        return max((number for number in self.missing if number is not None), default=0.0)

    @property
    def span(self) -> str:
        """The days of the first and the last of these runs that are known."""
        days = [_day(one) for one in self.past if one]
        return " \u2013 ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def over_time(past: Sequence[Brief | None]) -> Markup:
    """A drawing with a bar for each run: the cells that were missing, and those filled of them."""
    peak = max((one.missing_percent for one in past if one), default=0.0) or 1.0
    bars = Markup().join(
        _BAR.format(
            place,
            1 - one.missing_percent / peak,
            one.missing_percent / peak,
            1 - _filled(one) / peak,
            _filled(one) / peak,
            f"{_day(one)}: {one.missing_percent:.2f}% missing, {_filled(one):.2f}% filled, "
            f"{one.outcome}",
        )
        for place, one in enumerate(past)
        if one
    )
    words = f"Missing and filled cells of {sum(one is not None for one in past)} runs."
    return Markup(
        '<svg class="over-time" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(max(len(past), 10), words, bars)


_BAR = Markup(
    '<g transform="translate({})"><rect class="seen" y="{:.3f}" width=".8" height="{:.3f}"/>'
    '<rect class="filled" y="{:.3f}" width=".8" height="{:.3f}"/><title>{}</title></g>'
)


def _filled(one: Brief) -> float:
    """The cells that a run filled, in per cent of its table."""
    return one.missing_percent * one.imputed_cells / max(one.missing_cells, 1)


def _day(one: Brief) -> str:
    return one.date or one.started[:10]


def html(jobs: Sequence[JobLine]) -> str:
    """Return the page: one file, no network; what ended worst comes first."""
    worst = ("no report", "not published", "published with warnings", "published")
    ranked = sorted(jobs, key=lambda line: worst.index(line.outcome))
    return PAGES.get_template("index.html.j2").render(jobs=ranked, over_time=over_time)
