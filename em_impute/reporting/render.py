"""The report as people meet it: an HTML page, a markdown artifact and a table of columns.

Names of columns, jobs and files come from users and are hostile until proven otherwise: in HTML
jinja2 escapes every value, in markdown `_escape_markdown` does, on its way into the template.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from em_impute.reporting import plots
from em_impute.reporting.diagnostics import (
    CheckRow,
    Column,
    Distribution,
    Fit,
    Moments,
    Patterns,
    Report,
)
from em_impute.reporting.self_test import LEVELS, NumberScores, SelfTest

MARKDOWN_BYTES = 300_000
MARKDOWN_COLUMNS = 40
MARKDOWN_CHECKS = 60
MARKDOWN_CELL = 160
MARKDOWN_TEXT = 2_000
MARKDOWN_WORD = 72
TABLE_DIGITS = 6
ROLES = {"impute": "imputed", "predictor": "predictor", "key": "key", "passthrough": "kept as is"}
# An underscore between letters or digits is only an underscore; a colon matters in addresses.
MARKDOWN_SPECIAL = re.compile(r"[\\`*{}\[\]<>#!|&~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)")

Cell = str | int | float | None


def html(report: Report) -> str:
    """Return the report as one self-contained page: no network, no script."""
    return _PAGES.get_template("report.html.j2").render(
        report=report,
        pictures=_drawings(report),
        checks=_failed_first(report),
        pits=plots.uneven_first(report.self_test) if report.self_test else (),
    )


def markdown(report: Report) -> str:
    """Return the report as markdown for an artifact, pictures included, at most 300 kB long.

    If the pictures are too large together, the last ones are left out, with a sentence.
    """
    pictures = _pictures(report)
    while True:
        text = _markdown(report, pictures)
        if len(text.encode()) <= MARKDOWN_BYTES or not pictures:
            return text
        pictures.popitem()


def column_table(report: Report) -> list[dict[str, Cell]]:
    """Return one row per column of the table, for a table artifact.

    Every cell is a plain string, integer or finite float (rounded to six digits), or None.
    """
    return [
        {
            "column": column.name,
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
            **_tested(report.self_test, column.name),
        }
        for column in report.columns
    ]


def _tested(test: SelfTest | None, column: str) -> dict[str, Cell]:
    """What the self-test says of a column; nothing where there was none."""
    if test is None:
        return {}
    scores = next((s for s in test.numbers if s.column == column), None)
    return {
        "RMSE / mean's": _rounded(scores.rmse_ratio) if scores else None,
        "in 95% interval": _rounded(scores.coverage.at_95) if scores else None,
    }


def _markdown(report: Report, pictures: dict[str, Markup]) -> str:
    ranked = sorted(report.columns, key=lambda column: -column.missing)
    many = len(ranked) > MARKDOWN_COLUMNS
    return _ARTIFACTS.get_template("report.md.j2").render(
        report=report,
        pictures=pictures,
        columns=ranked[:MARKDOWN_COLUMNS] if many else report.columns,
        checks=_failed_first(report)[:MARKDOWN_CHECKS],
        scores=_worst_scores(report.self_test),
        levels=report.self_test.levels[:MARKDOWN_COLUMNS] if report.self_test else (),
    )


def _worst_scores(test: SelfTest | None) -> Sequence[NumberScores]:
    """The tested columns of numbers, in their order; the worst if there are too many."""
    numbers = test.numbers if test else ()
    if len(numbers) <= MARKDOWN_COLUMNS:
        return numbers
    return sorted(numbers, key=lambda scores: -(scores.rmse_ratio or 0.0))[:MARKDOWN_COLUMNS]


def _drawings(report: Report) -> dict[str, Markup]:
    """The pictures of the page, as SVG elements with ids of their own."""
    drawings = {}
    if report.fit:
        drawings["trace"] = plots.svg(plots.trace(report.fit), "trace", _trace_in_words(report.fit))
    if report.patterns:
        drawings["patterns"] = plots.svg(
            plots.patterns(report.patterns), "patterns", _patterns_in_words(report.patterns)
        )
    for i, item in enumerate(report.distributions):
        drawings[f"column{i}"] = plots.svg(
            plots.distribution(item), f"column{i}", _distribution_in_words(item)
        )
    drawings |= _self_test_drawings(report.self_test)
    # matplotlib escaped the names that it drew, and the elements were parsed and written as XML.
    return {name: Markup(drawing) for name, drawing in drawings.items()}


def _self_test_drawings(test: SelfTest | None) -> dict[str, str]:
    drawings: dict[str, str] = {}
    if not (test and test.numbers):
        return drawings
    if test.rmse_ratio is not None:
        drawings["errors"] = plots.svg(plots.errors(test), "errors", _errors_in_words(test))
    if test.coverage.at_95 is not None:
        drawings["coverage"] = plots.svg(plots.coverage(test), "coverage", _coverage_in_words(test))
    for i, scores in enumerate(plots.uneven_first(test)):
        figure = plots.pit(scores, scores.column in test.misfits)
        drawings[f"pit{i}"] = plots.svg(figure, f"pit{i}", _pit_in_words(scores))
    return drawings


def _pictures(report: Report) -> dict[str, Markup]:
    """The pictures of the artifact, the most important first."""
    colour = plots.VERDICT_COLOURS[report.verdict.outcome]
    pictures = {"verdict": _embedded(plots.png(plots.bar(colour)), report.verdict.outcome)}
    if report.fit:
        png = plots.png(plots.trace(report.fit))
        pictures["trace"] = _embedded(png, _trace_in_words(report.fit))
    if report.patterns:
        png = plots.png(plots.patterns(report.patterns))
        pictures["patterns"] = _embedded(png, _patterns_in_words(report.patterns))
    if report.distributions:
        png = plots.png(plots.distributions(report.distributions))
        pictures["distributions"] = _embedded(png, _distributions_in_words(report.distributions))
    if (test := report.self_test) and test.rmse_ratio is not None:
        pictures["errors"] = _embedded(plots.png(plots.errors(test)), _errors_in_words(test))
    if (test := report.self_test) and test.coverage.at_95 is not None:
        pictures["coverage"] = _embedded(plots.png(plots.coverage(test)), _coverage_in_words(test))
        pictures["pits"] = _embedded(plots.png(plots.pits(test)), "PIT histograms by column.")
    return pictures


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


def _distribution_in_words(item: Distribution) -> str:
    low, high = _significant(item.edges[0]), _significant(item.edges[-1])
    return (
        f"Histogram of {sum(item.observed):,} observed and {sum(item.imputed):,} imputed cells "
        f"between {low} and {high}."
    )


def _distributions_in_words(items: Sequence[Distribution]) -> str:
    return f"Histograms of the observed and the imputed cells of {len(items)} columns."


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
    spread = column.observed.sd or column.em.sd or column.observed.mean
    return 2 - math.floor(math.log10(abs(spread))) if spread else 0


def _error_decimals(scores: NumberScores) -> int:
    """Decimals that show the error of the mean to three digits."""
    return 2 - math.floor(math.log10(scores.by_mean.rmse)) if scores.by_mean.rmse else 2


def _number(value: float | None, decimals: int) -> str:
    if value is None:
        return "\u2013"
    if decimals > 9 or abs(value) >= 1e12:
        return _significant(value)
    return f"{value:z,.{max(decimals, 0)}f}".replace("-", "\u2212")


def _mean_and_sd(moments: Moments, decimals: int) -> str:
    if moments.mean is None:
        return "\u2013"
    return f"{_number(moments.mean, decimals)}\u00a0({_number(moments.sd, decimals)})"


def _short(text: str, longest: int = MARKDOWN_CELL) -> str:
    """Cut a text in the middle: long names often differ at their ends only."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 21]}\u2026{text[-20:]}"


def _legible(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return plots.legible(value)


def _escape_markdown(value: object) -> object:
    """Write what has a meaning in markdown as a character reference, which has none."""
    if isinstance(value, Markup):
        return value
    text = _short(str(_legible(value)), MARKDOWN_TEXT)
    # A long name without a space would not wrap, and push the page out of its frame.
    text = " ".join(_short(word, MARKDOWN_WORD) for word in text.split(" "))
    return MARKDOWN_SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text)


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
        "error_decimals": _error_decimals,
        "share": _share,
        "short": _short,
    }
    environment.globals["roles"] = ROLES
    return environment


_PAGES = _environment(autoescape=True, finalize=_legible)
_ARTIFACTS = _environment(finalize=_escape_markdown)
