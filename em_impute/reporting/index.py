"""A page on all jobs: how the last run of each ended, and how its numbers went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

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
    """

    job: str
    outcome: str
    sentence: str
    brief: Brief | None
    report: str | None
    missing: tuple[float | None, ...]
    filled: tuple[float | None, ...]
    errors: tuple[float | None, ...]

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
        )


def html(jobs: Sequence[JobLine]) -> str:
    """Return the page: one file, no network; what ended worst comes first."""
    worst = ("no report", "not published", "published with warnings", "published")
    ranked = sorted(jobs, key=lambda line: worst.index(line.outcome))
    return PAGES.get_template("index.html.j2").render(jobs=ranked)
