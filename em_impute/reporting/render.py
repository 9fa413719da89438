"""The report as people meet it: an HTML page, a markdown artifact, tables of columns and checks.

Names of columns, jobs and files come from users and are hostile until proven otherwise: in HTML
jinja2 escapes every value, in markdown `escape_markdown` does, on its way into the template.
Each section and picture is made by itself; one that fails is noted, and a sentence replaces it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from em_impute.job.legible import in_a_table, in_markdown, legible
from em_impute.reporting import pictures
from em_impute.reporting.drift import Change
from em_impute.reporting.formatting import (
    FILTERS,
    decimals,
    escape_markdown,
    legible_if_text,
    short,
)
from em_impute.reporting.glance import Glance, glances
from em_impute.reporting.miniatures import bars, miniature
from em_impute.reporting.missingness import FEWEST_ROWS
from em_impute.reporting.parts import Failure, Parts
from em_impute.reporting.records import CheckRow, Column, ImputedCells, Report
from em_impute.reporting.self_test_plots import calibrated, uneven_first
from em_impute.self_test.scores import NumberScores, SelfTest

SHOWN_COLUMNS = 40
SHOWN_CHANGES = 15
SHOWN_LEFT = 20
SMALLEST_CHANGE = 0.005
MEANS_COLUMNS = 12
MARKDOWN_BYTES = 300_000
MARKDOWN_MEANS = 4
MARKDOWN_PATTERNS = 10
MARKDOWN_WARNINGS = 20
MARKDOWN_CHECKS = 60
TABLE_DIGITS = 6
TABLE_BYTES = 900_000
TABLE_CELL = 500
ROLES = {"impute": "imputed", "predictor": "predictor", "key": "key", "passthrough": "kept as is"}
MEANINGS = {
    "Rows": "Rows of the table as it was read.",
    "Columns": "Columns of the table, whether or not they are in the model.",
    "Missing cells": "Cells that were missing as the table was read, and their share of all cells.",
    "Imputed cells": "Missing cells that the run filled. Observed cells are never changed.",
    "Left missing": "Missing cells that are still missing in the table; each column has its reason "
    "under the columns.",
    "Missingness patterns": "How many different sets of columns are missing together in a row; no "
    "missing cell is one of them.",
    "EM iterations": "How often the map of EM was evaluated until the estimates stood still.",
    "Error on test cells": "Observed cells were hidden and filled: how much lower the root mean "
    "squared error was than that of filling with the column's mean, over all columns of numbers. "
    "In the table, of each column; of categories, than that of the most frequent level.",
    "Missing, after": "Missing cells of a column as the table was read, and as it was published.",
    "In 95% intervals": "The share of a column's test cells within the intervals that the model "
    "gives them. It is near 95% where the model's uncertainty can be trusted.",
}
"""Of the first screen; docs/report.md says more."""
SHARED = {
    "full": "Each has a covariance of its own.",
    "tied": "They have one covariance.",
    "diag": "Within each the columns are independent.",
    "spherical": "Within each the columns are independent, and have one variance.",
}
PLACED = {
    None: "They are turned so that scores are uncorrelated given a whole row.",
    "varimax": "They are turned so that each column loads on few (varimax).",
}

SCRIPT = Markup((files(__package__) / "templates" / "tables.js").read_text(encoding="utf-8"))
"""Sorts and searches the tables of a page; no text from elsewhere is in it."""
SCRIPT_HASH = f"sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}"

Cell = str | int | float | None


def html(report: Report, parts: Parts | None = None) -> str:
    """Return the report as one self-contained page: no network, and no script but its own.

    Parts that cannot be made are noted in `parts`, and named at the page's end.
    """
    parts = parts or Parts()

    def page() -> str:
        return PAGES.get_template("report.html.j2").render(
            **_sections(report, parts),
            **_noted(report, parts, "page", '<p class="alarm">{}</p>\n'),
            pictures=pictures.of_page(report, parts),
            checks=_failed_first(report),
            pits=uneven_first(report.self_test) if report.self_test else (),
        )

    return parts.make("page", page, None) or _bare_page(report)


def markdown(report: Report, page: str | None = None, parts: Parts | None = None) -> str:
    """Return the report as markdown for an artifact, pictures included, at most 300 kB long.

    If the pictures are too large together, the last ones are left out, with a sentence.

    Parameters
    ----------
    report : Report
    page : str, optional
        The address of the page that `html` makes.
    parts : Parts, optional
        Takes note of what could not be made, which the text names at its end.
    """
    parts = parts or Parts()

    def text() -> str:
        drawn = pictures.of_artifact(report, parts)
        while True:
            text = _markdown(report, drawn, page, parts)
            if len(text.encode()) <= MARKDOWN_BYTES or not drawn:
                return text
            drawn.popitem()

    return parts.make("artifact's text", text, None) or _bare_markdown(report)


def _noted(report: Report, parts: Parts, where: str, note: str) -> dict[str, Any]:
    """What the templates need for sections that are made each by itself."""
    unmade = Markup(note.format("This section could not be made."))

    def section(name: str, caller: Callable[[], str]) -> str:
        return parts.make(f"{where}'s section {name}", caller, unmade)

    def failures() -> Sequence[Failure]:
        return tuple(dict.fromkeys([*report.failures, *parts.failures]))

    return {"section": section, "failures": failures}


def _bare_page(report: Report) -> str:
    """The verdict alone."""
    outcome, sentence = (
        escape(legible(text)) for text in (report.verdict.outcome, report.verdict.sentence)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(report.job)}: {outcome}</title>\n</head>\n<body>\n"
        f"<h1>{escape(report.job)}: {outcome}</h1>\n<p>{sentence}</p>\n</body>\n</html>\n"
    )


def _bare_markdown(report: Report) -> str:
    return f"# {in_markdown(f'{report.job}: {report.verdict.outcome}')}\n\n" + in_markdown(
        report.verdict.sentence
    )


def column_table(report: Report) -> list[dict[str, Cell]]:
    """Return one row per column of the table, for a table artifact.

    Every cell is a plain string, integer or finite float (rounded to six digits), or None. Of a
    table larger than `TABLE_BYTES` the columns with the fewest missing cells are left out.
    """
    imputed = {cells.column: cells for cells in report.imputed}
    rows = [
        {
            "column": _cell(column.name),
            "role": ROLES[column.role],
            "observed": column.observed.count,
            "missing": column.missing,
            "missing %": round(100 * column.missing_share, 2),
            "observed mean": _rounded(column.observed.mean),
            "observed sd": _rounded(column.observed.sd),
            "EM mean": _rounded(column.em.mean),
            "EM sd": _rounded(column.em.sd),
            "imputed": column.imputed.count,
            "imputed mean": _rounded(column.imputed.mean),
            "imputed sd": _rounded(column.imputed.sd),
            **_of_imputed_cells(imputed.get(column.name)),
            **_tested(report.self_test, column.name),
        }
        for column in report.columns
    ]
    if len(_that_fit(rows)) < len(rows):
        rows.sort(key=lambda row: -int(row["missing"] or 0))
    return _that_fit(rows)


def _of_imputed_cells(cells: ImputedCells | None) -> dict[str, Cell]:
    return {
        "conditional sd / sd": _rounded(cells.sd_median) if cells else None,
        "beyond range %": round(100 * cells.share_beyond, 2) if cells else None,
        "at bounds": cells.at_bound if cells else None,
    }


def _tested(test: SelfTest | None, column: str) -> dict[str, Cell]:
    """What the self-test says of a column; nothing where there was none."""
    if test is None:
        return {}
    scores = next((s for s in test.numbers if s.column == column), None)
    return {
        "RMSE / mean's": _rounded(scores.rmse_ratio) if scores else None,
        "in 95% interval": _rounded(scores.coverage.at_95) if scores else None,
    }


def _sections(report: Report, parts: Parts) -> dict[str, Any]:
    """What both pages show, picked from the report: tables that are not too long."""
    ranked: Sequence[Column] = report.columns
    if len(ranked) > SHOWN_COLUMNS:
        ranked = sorted(ranked, key=lambda column: -column.missing)
    changes: list[Change] = []
    none: list[Glance] = []
    return {
        "report": report,
        "glances": parts.make("each column", lambda: glances(report), none),
        "columns": ranked[:SHOWN_COLUMNS],
        "more_columns": ranked[SHOWN_COLUMNS:],
        "decisions": [d for d in report.decisions if d not in report.warnings],
        "group_means": parts.make("means by pattern", lambda: _group_means(report), None),
        "changes": parts.make("largest changes", lambda: _largest_changes(report), changes),
        "imputed": sorted(report.imputed, key=lambda cells: -cells.count)[:SHOWN_COLUMNS],
        "calibrated": calibrated(uneven_first(report.self_test)) if report.self_test else (),
    }


def _group_means(report: Report) -> dict[str, Any] | None:
    """The patterns' means, in columns of numbers, as the columns' own numbers are shown."""
    patterns = report.patterns
    if patterns is None or len(patterns.with_means) < 2:
        return None
    known = {column.name: column for column in report.columns}
    at = [
        j
        for j, name in enumerate(patterns.columns)
        if name in known and any(p.means[j] is not None for p in patterns.with_means)
    ][:MEANS_COLUMNS]
    return {
        "columns": [patterns.columns[j] for j in at],
        "rows": [
            {
                "count": pattern.count,
                "share": pattern.count / patterns.total_rows,
                "cells": [
                    (pattern.observed[j], pattern.means[j], decimals(known[patterns.columns[j]]))
                    for j in at
                ],
            }
            for pattern in patterns.with_means
        ],
    }


def _largest_changes(report: Report) -> list[Change]:
    """The columns that moved, and then those whose means changed most, if a reader can see it."""
    if report.drift is None:
        return []
    changed = [
        c
        for c in report.drift.columns
        if c.moved
        or abs(c.mean or 0.0) >= SMALLEST_CHANGE
        or abs((c.sd_ratio or 1.0) - 1.0) >= SMALLEST_CHANGE
        or abs(c.missing - c.missing_before) >= SMALLEST_CHANGE / 10
    ]
    changed.sort(key=lambda c: (not c.moved, -abs(c.mean or 0.0)))
    return changed[:SHOWN_CHANGES]


def check_table(report: Report) -> list[dict[str, Cell]]:
    """Return one row per check, failed ones first, as `column_table` does one per column."""
    return _that_fit(
        [
            {
                "result": "passed" if check.success else "failed",
                "expected": _cell(check.expected),
                "observed": _cell(check.observed),
                "severity": check.severity,
                "stage": check.stage,
                "column": _cell(check.column or ""),
                "check": _cell(check.name),
            }
            for check in _failed_first(report)
        ]
    )


def _that_fit(rows: list[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """The first rows of a table, as many as an artifact may hold."""
    ends = itertools.accumulate(len(json.dumps(row)) + 2 for row in rows)
    return [row for row, end in zip(rows, ends, strict=True) if end <= TABLE_BYTES]


def _cell(text: str) -> str:
    return in_a_table(short(legible(text), TABLE_CELL))


def _markdown(report: Report, drawn: dict[str, Markup], page: str | None, parts: Parts) -> str:
    return _ARTIFACTS.get_template("report.md.j2").render(
        **_sections(report, parts),
        **_noted(report, parts, "artifact", "{}\n\n"),
        page=Markup(f"[report.html](<{page}>)") if page else None,
        pictures=drawn,
        checks=_failed_first(report)[:MARKDOWN_CHECKS],
        panels=pictures.PANELS,
        means=MARKDOWN_MEANS,
        patterns=MARKDOWN_PATTERNS,
        warnings=MARKDOWN_WARNINGS,
        scores=_worst_scores(report.self_test),
        levels=report.self_test.levels[:SHOWN_COLUMNS] if report.self_test else (),
    )


def _worst_scores(test: SelfTest | None) -> Sequence[NumberScores]:
    """The tested columns of numbers, in their order; the worst if there are too many."""
    numbers = test.numbers if test else ()
    if len(numbers) <= SHOWN_COLUMNS:
        return numbers
    return sorted(numbers, key=lambda scores: -(scores.rmse_ratio or 0.0))[:SHOWN_COLUMNS]


def _failed_first(report: Report) -> list[CheckRow]:
    return sorted(report.checks, key=lambda check: (check.success, check.stage))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{TABLE_DIGITS}g}")


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=PackageLoader("em_impute.reporting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= FILTERS | {"miniature": miniature, "bars": bars}
    environment.globals |= {
        "script": SCRIPT,
        "script_hash": SCRIPT_HASH,
        "meanings": MEANINGS,
        "roles": ROLES,
        "fewest_rows": FEWEST_ROWS,
        "left": SHOWN_LEFT,
        "most": SHOWN_COLUMNS,
        "shared": SHARED,
        "placed": PLACED,
    }
    return environment


# Another module of this package renders a page of its own by it.
PAGES = _environment(autoescape=True, finalize=legible_if_text)
_ARTIFACTS = _environment(finalize=escape_markdown)
