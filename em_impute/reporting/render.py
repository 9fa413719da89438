"""The report as people meet it: an HTML page, a markdown artifact, tables of columns and checks.

Names of columns, jobs and files come from users and are hostile until proven otherwise: in HTML
jinja2 escapes every value, in markdown `_escape_markdown` does, on its way into the template.
Sections and pictures are made each by itself; one that fails is noted, and a sentence stands there.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from em_impute.job.legible import in_a_table, in_markdown, legible
from em_impute.reporting import plots
from em_impute.reporting.drift import Change
from em_impute.reporting.missingness import FEWEST_ROWS, Patterns
from em_impute.reporting.parts import Failure, Parts
from em_impute.reporting.records import (
    CheckRow,
    Column,
    Distribution,
    Fit,
    ImputedCells,
    Levels,
    Report,
)
from em_impute.self_test.scores import LEVELS, NumberScores, SelfTest
from em_impute.tables.digest import Moments

SHOWN_COLUMNS = 40
SHOWN_CHANGES = 15
SHOWN_LEFT = 20
SMALLEST_CHANGE = 0.005
MEANS_COLUMNS = 12
MARKDOWN_BYTES = 300_000
MARKDOWN_PANELS = 12
MARKDOWN_MEANS = 4
MARKDOWN_PATTERNS = 10
MARKDOWN_WARNINGS = 20
MARKDOWN_CHECKS = 60
MARKDOWN_CELL = 160
MARKDOWN_CELL_WORD = 30
MARKDOWN_TEXT = 2_000
MARKDOWN_WORD = 72
TABLE_DIGITS = 6
TABLE_BYTES = 900_000
TABLE_CELL = 500
ROLES = {"impute": "imputed", "predictor": "predictor", "key": "key", "passthrough": "kept as is"}

Cell = str | int | float | None


def html(report: Report, parts: Parts | None = None) -> str:
    """Return the report as one self-contained page: no network, no script.

    What of it cannot be made is noted in `parts`, and named at the page's end.
    """
    parts = parts or Parts()

    def page() -> str:
        return _PAGES.get_template("report.html.j2").render(
            **_sections(report, parts),
            **_noted(report, parts, "page", '<p class="alarm">{}</p>\n'),
            pictures=_drawings(report, parts),
            checks=_failed_first(report),
            pits=plots.uneven_first(report.self_test) if report.self_test else (),
        )

    return parts.make("page", page, None) or _bare_page(report)


def markdown(report: Report, page: str | None = None, parts: Parts | None = None) -> str:
    """Return the report as markdown for an artifact, pictures included, at most 300 kB long.

    If the pictures are too large together, the last ones are left out, with a sentence. `page` is
    the address of the page that `html` makes, where it has one. Of `parts`, see there.
    """
    parts = parts or Parts()

    def text() -> str:
        pictures = _pictures(report, parts)
        while True:
            text = _markdown(report, pictures, page, parts)
            if len(text.encode()) <= MARKDOWN_BYTES or not pictures:
                return text
            pictures.popitem()

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
            **_imputed_cells(imputed.get(column.name)),
            **_tested(report.self_test, column.name),
        }
        for column in report.columns
    ]
    if len(_that_fit(rows)) < len(rows):
        rows.sort(key=lambda row: -int(row["missing"] or 0))
    return _that_fit(rows)


def _imputed_cells(cells: ImputedCells | None) -> dict[str, Cell]:
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
    return {
        "report": report,
        "columns": ranked[:SHOWN_COLUMNS],
        "more_columns": ranked[SHOWN_COLUMNS:],
        "decisions": [d for d in report.decisions if d not in report.warnings],
        "group_means": parts.make("means by pattern", lambda: _group_means(report), None),
        "changes": parts.make("largest changes", lambda: _largest_changes(report), changes),
        "imputed": sorted(report.imputed, key=lambda cells: -cells.count)[:SHOWN_COLUMNS],
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
                    (pattern.observed[j], pattern.means[j], _decimals(known[patterns.columns[j]]))
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
    return in_a_table(_short(legible(text), TABLE_CELL))


def _markdown(report: Report, pictures: dict[str, Markup], page: str | None, parts: Parts) -> str:
    return _ARTIFACTS.get_template("report.md.j2").render(
        **_sections(report, parts),
        **_noted(report, parts, "artifact", "{}\n\n"),
        page=Markup(f"[report.html](<{page}>)") if page else None,
        pictures=pictures,
        checks=_failed_first(report)[:MARKDOWN_CHECKS],
        panels=MARKDOWN_PANELS,
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


class _Picture(NamedTuple):
    """A picture that a report has: under which name, how it is drawn, and what it is in words."""

    name: str
    draw: Callable[[], Any]
    words: Callable[[], str]


def _drawings(report: Report, parts: Parts) -> dict[str, Markup]:
    """The pictures of the page, as SVG elements with ids of their own."""

    def drawn(picture: _Picture) -> Markup:
        # matplotlib escaped the names that it drew, and the elements were parsed and written as
        # XML.
        return Markup(plots.svg(picture.draw(), picture.name, picture.words()))

    note = Markup('<p class="alarm">This picture could not be drawn.</p>')
    return _Drawn(
        (picture.name, parts.make(f"picture {picture.name}", partial(drawn, picture), note))
        for picture in parts.make("pictures", lambda: list(_of_the_page(report)), [])
    )


def _pictures(report: Report, parts: Parts) -> dict[str, Markup]:
    """The pictures of the artifact, the most important first."""

    def drawn(picture: _Picture) -> Markup:
        return _embedded(plots.png(picture.draw()), picture.words())

    note = Markup("This picture could not be drawn.")
    return {
        picture.name: parts.make(
            f"artifact's picture {picture.name}", partial(drawn, picture), note
        )
        for picture in parts.make("artifact's pictures", lambda: list(_of_the_artifact(report)), [])
    }


class _Drawn(dict[str, Markup]):
    """Pictures by their names; nothing for one that there is not."""

    def __missing__(self, name: str) -> Markup:
        return Markup()


def _of_the_page(report: Report) -> Iterator[_Picture]:
    known = {picture.name: picture for picture in _of_both(report)}
    yield from (known[name] for name in IN_THE_PAGE if name in known)
    for i, item in enumerate(report.panels):
        yield _Picture(
            f"column{i}", partial(plots.distribution, item), partial(_distribution_in_words, item)
        )
    if test := report.self_test:
        for i, scores in enumerate(plots.uneven_first(test)):
            misfit = scores.column in test.misfits
            yield _Picture(
                f"pit{i}", partial(plots.pit, scores, misfit), partial(_pit_in_words, scores)
            )


def _of_the_artifact(report: Report) -> Iterator[_Picture]:
    known = {picture.name: picture for picture in _of_both(report)}
    yield from (known[name] for name in IN_THE_ARTIFACT if name in known)


def _of_both(report: Report) -> Iterator[_Picture]:
    """The pictures of a report but for those of single columns."""
    outcome, test = report.verdict.outcome, report.self_test
    colour = plots.VERDICT_COLOURS[outcome]
    yield _Picture("verdict", lambda: plots.bar(colour), lambda: outcome)
    if fit := report.fit:
        yield _Picture("trace", lambda: plots.trace(fit), lambda: _trace_in_words(fit))
    if rows := report.patterns:
        yield _Picture("patterns", lambda: plots.patterns(rows), lambda: _patterns_in_words(rows))
    if holes := report.missingness:
        yield _Picture("missingness", lambda: plots.missingness(holes), lambda: _MAP_IN_WORDS)
    if both := report.together:
        yield _Picture("together", lambda: plots.together(both), lambda: _TOGETHER_IN_WORDS)
    if matrix := report.correlations:
        yield _Picture(
            "correlations", lambda: plots.correlations(matrix), lambda: _CORRELATIONS_IN_WORDS
        )
    if panels := report.panels[:MARKDOWN_PANELS]:
        yield _Picture(
            "distributions",
            lambda: plots.distributions(panels),
            lambda: _distributions_in_words(panels),
        )
    if test and test.numbers and test.rmse_ratio is not None:
        yield _Picture("errors", lambda: plots.errors(test), lambda: _errors_in_words(test))
    if test and test.numbers and test.coverage.at_95 is not None:
        yield _Picture("coverage", lambda: plots.coverage(test), lambda: _coverage_in_words(test))
        yield _Picture("pits", lambda: plots.pits(test), lambda: "PIT histograms by column.")


IN_THE_PAGE = (
    "trace",
    "patterns",
    "missingness",
    "together",
    "correlations",
    "errors",
    "coverage",
)
# The last of them are left out of an artifact that would be too large.
IN_THE_ARTIFACT = (
    "verdict",
    "trace",
    "patterns",
    "missingness",
    "distributions",
    "errors",
    "coverage",
    "pits",
    "correlations",
    "together",
)


def _embedded(png: bytes, alt: str) -> Markup:
    data = base64.b64encode(png).decode()
    return Markup(f"![{_escape_markdown(alt)}](data:image/png;base64,{data})")


def _trace_in_words(fit: Fit) -> str:
    return (
        f"Log-likelihood and estimated distance to the maximum over {fit.evaluations:,} "
        f"iterations of EM, {fit.rejected:,} of them rejected."
    )


def _patterns_in_words(patterns: Patterns) -> str:
    return (
        f"The {len(patterns.rows)} most frequent missingness patterns of "
        f"{patterns.total_patterns:,}, by column, with the number of rows of each."
    )


_MAP_IN_WORDS = "All rows by their missingness patterns, missing cells filled."
_TOGETHER_IN_WORDS = "Of the rows that miss one column, the share that misses another, too."
_CORRELATIONS_IN_WORDS = "The model's correlations, column by column."


def _distribution_in_words(item: Distribution | Levels) -> str:
    what = "Histogram" if isinstance(item, Distribution) else "Shares of the levels"
    return f"{what} of {sum(item.observed):,} observed and {sum(item.imputed):,} imputed cells."


def _distributions_in_words(items: Sequence[Distribution | Levels]) -> str:
    return f"Distributions of the observed and the imputed cells of {len(items)} columns."


def _errors_in_words(test: SelfTest) -> str:
    return f"Errors of hidden cells over those of the baselines; in all {test.rmse_ratio:.2f}."


def _coverage_in_words(test: SelfTest) -> str:
    pairs = zip(test.coverage.shares, LEVELS, strict=True)
    held = (f"{share:.1%} in the {level:.0%} ones" for share, level in pairs)
    return f"Share of hidden cells in their intervals: {', '.join(held)}."


def _pit_in_words(scores: NumberScores) -> str:
    return f"Histogram of the PIT of {scores.spread_cells:,} hidden cells: " + ", ".join(
        f"{count:,}" for count in scores.pit
    )


def _failed_first(report: Report) -> list[CheckRow]:
    return sorted(report.checks, key=lambda check: (check.success, check.stage))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{TABLE_DIGITS}g}")


def _count(value: int) -> str:
    return f"{value:,}"


def _percent(share: float) -> str:
    return "0%" if not share else "<0.1%" if share < 0.001 else f"{share:.1%}"


def _share(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.1%}"


def _significant(value: float | None, digits: int = 4) -> str:
    return "\u2013" if value is None else f"{value:.{digits}g}".replace("-", "\u2212")


def _decimals(column: Column) -> int:
    """Decimals that show the column's sd to three digits; its means need no more than that."""
    return _three_digits(column.observed.sd or column.em.sd or column.observed.mean) or 0


def _error_decimals(scores: NumberScores) -> int:
    """Decimals that show the error of the mean to three digits."""
    decimals = _three_digits(scores.by_mean.rmse)
    return 2 if decimals is None else decimals


def _three_digits(value: float | None) -> int | None:
    """The decimals that show a number to three digits; None of one that has no digits."""
    if not value or not math.isfinite(value):
        return None
    return 2 - math.floor(math.log10(abs(value)))


def _number(value: float | None, decimals: int) -> str:
    if value is None:
        return "\u2013"
    if decimals > 9 or abs(value) >= 1e12:
        return _significant(value)
    return f"{value:z,.{max(decimals, 0)}f}".replace("-", "\u2212")


def _signed(value: float | None, decimals: int = 2) -> str:
    if value is None:
        return "\u2013"
    return f"{value:{'+' if round(value, decimals) else ''}z.{decimals}f}".replace("-", "\u2212")


def _p_value(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"= {p:.3f}"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    return f"{int(value // 60):,} min {value % 60:02.0f} s"


def _rate(rows: int, seconds: float) -> str:
    return f"{float(f'{rows / seconds:.3g}'):,.0f}" if seconds > 0 else "\u2013"


def _bytes(value: int) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:,.0f} MB"


def _mean_and_sd(moments: Moments, decimals: int) -> str:
    if moments.mean is None:
        return "\u2013"
    return f"{_number(moments.mean, decimals)}\u00a0({_number(moments.sd, decimals)})"


def _short(text: str, longest: int = MARKDOWN_CELL) -> str:
    """Cut a text in the middle: long names often differ at their ends only."""
    if len(text) <= longest:
        return text
    tail = min(20, longest // 2)
    return f"{text[: longest - tail - 1]}\u2026{text[-tail:]}"


def _in_a_cell(text: str) -> str:
    """Cut a text, and each of its words: Prefect does not scroll a table that is too wide."""
    return " ".join(_short(word, MARKDOWN_CELL_WORD) for word in _short(text).split(" "))


def _legible(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return legible(value)


def _escape_markdown(value: object) -> object:
    if isinstance(value, Markup):
        return value
    text = _short(str(_legible(value)), MARKDOWN_TEXT)
    # A long name without a space would not wrap, and push the page out of its frame.
    return in_markdown(" ".join(_short(word, MARKDOWN_WORD) for word in text.split(" ")))


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=PackageLoader("em_impute.reporting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "mean_and_sd": _mean_and_sd,
        "number": _number,
        "significant": _significant,
        "decimals": _decimals,
        "signed": _signed,
        "p_value": _p_value,
        "seconds": _seconds,
        "bytes": _bytes,
        "rate": _rate,
        "error_decimals": _error_decimals,
        "share": _share,
        "short": _short,
        "cell": _in_a_cell,
    }
    environment.globals |= {"roles": ROLES, "fewest_rows": FEWEST_ROWS, "left": SHOWN_LEFT}
    return environment


_PAGES = _environment(autoescape=True, finalize=_legible)
_ARTIFACTS = _environment(finalize=_escape_markdown)
