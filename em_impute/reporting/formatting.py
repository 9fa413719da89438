"""Numbers and texts as the pages write them: what the templates call filters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from em_impute.job.legible import in_markdown, legible
from em_impute.reporting.components import Profile
from em_impute.reporting.missingness import McarTest
from em_impute.reporting.numerals import significant
from em_impute.reporting.records import Column, Fit
from em_impute.reporting.sensitivity import ShiftedMean
from em_impute.self_test.scores import NumberScores
from em_impute.tables.digest import Moments

MARKDOWN_CELL = 160
MARKDOWN_CELL_WORD = 30
MARKDOWN_TEXT = 2_000
MARKDOWN_WORD = 72
# Below this p-value the page names the columns behind it, at most so many.
REJECTED, MOST_NAMED = 0.05, 3
_DISTANCES = {
    "gaussian": "Distance to the maximum",
    "mixture": "Gain of the last step for each row",
    "factor": "Gain that is left for each row",
}


def count(value: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{value:,}"


def percent(share: float | None) -> str:
    """A share in per cent; a dash where it is not known."""
    if share is None:
        return "\u2013"
    return "0%" if not share else "<0.1%" if share < 0.001 else f"{share:.1%}"


def decimals(column: Column) -> int:
    """Decimals that show the column's sd to three digits; its means need no more than that."""
    return _three_digits(column.observed.sd or column.em.sd or column.observed.mean) or 0


def error_decimals(scores: NumberScores) -> int:
    """Decimals that show the error of the mean to three digits."""
    places = _three_digits(scores.by_mean.rmse)
    return 2 if places is None else places


def profile_decimals(profile: Profile) -> int:
    """Decimals that show the smallest sd of a column in a component to three digits."""
    return _three_digits(min((sd for sd in profile.sds if sd > 0), default=profile.means[0])) or 0


def shift_decimals(row: ShiftedMean) -> int:
    """Decimals that show to three digits how far a mean moves with one sd."""
    return _three_digits(row.sd * row.missing_share) or 0


def _three_digits(value: float | None) -> int | None:
    """The decimals that show a number to three digits; None of one that has no digits."""
    if not value or not math.isfinite(value):
        return None
    return 2 - math.floor(math.log10(abs(value)))


def number(value: float | None, decimals: int) -> str:
    """A number with so many decimals; a dash where it is not known."""
    if value is None:
        return "\u2013"
    if decimals > 9 or abs(value) >= 1e12:
        return significant(value)
    return f"{value:z,.{max(decimals, 0)}f}".replace("-", "\u2212")


def signed(value: float | None, decimals: int = 2) -> str:
    """A number with its sign, also a plus; a dash where it is not known."""
    if value is None:
        return "\u2013"
    return f"{value:{'+' if round(value, decimals) else ''}z.{decimals}f}".replace("-", "\u2212")


def lower_or_higher(ratio: float) -> str:
    """How much lower or higher than 1 a ratio is, in per cent."""
    return f"{abs(1 - ratio):.0%} {'lower' if ratio <= 1 else 'higher'}"


def p_value(p: float) -> str:
    """What follows the letter p in a sentence."""
    return "below 0.001" if p < 0.001 else f"= {p:.3f}"


def mcar_sentence(test: McarTest) -> str:
    """A test of cells missing completely at random and, where it rejects, what drives it."""
    if test.statistic is None or test.p_value is None:
        return test.why_not
    found = (
        f"{test.name}'s test: χ² {number(test.statistic, 1)} with {test.df:,} degrees of "
        f"freedom, p {p_value(test.p_value)}"
    )
    if test.left_out:
        found += f", without {test.left_out:,} rows that are alone in their pattern"
    if test.p_value < REJECTED:
        found += f". Most of it comes from {_largest(test.by_column)}"
        if len(test.by_missing) > 1:
            found += f"; from the missing cells of {_largest(test.by_missing)}"
    return f"{found}."


def _largest(contributions: Sequence[tuple[str, float]]) -> str:
    return ", ".join(
        f"{short(name)} ({number(part, 1)})" for name, part in contributions[:MOST_NAMED]
    )


def seconds(value: float) -> str:
    """A duration in seconds, or in minutes and seconds."""
    if value < 60:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    return f"{int(value // 60):,} min {value % 60:02.0f} s"


def rate(rows: int, seconds: float) -> str:
    """Rows a second, to three digits."""
    return f"{float(f'{rows / seconds:.3g}'):,.0f}" if seconds > 0 else "\u2013"


def megabytes(value: int) -> str:
    """A number of bytes as MB or GB."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:,.0f} MB"


def mean_and_sd(moments: Moments, decimals: int) -> str:
    """A mean with its standard deviation in brackets."""
    if moments.mean is None:
        return "\u2013"
    return f"{number(moments.mean, decimals)}\u00a0({number(moments.sd, decimals)})"


def short(text: str, longest: int = MARKDOWN_CELL) -> str:
    """Cut a text in the middle: long names often differ at their ends only."""
    if len(text) <= longest:
        return text
    tail = min(20, longest // 2)
    return f"{text[: longest - tail - 1]}\u2026{text[-tail:]}"


def in_a_cell(text: str) -> str:
    """Cut a text, and each of its words: Prefect does not scroll a table that is too wide."""
    return " ".join(short(word, MARKDOWN_CELL_WORD) for word in short(text).split(" "))


def legible_if_text(value: object) -> object:
    """A text without characters that mislead or vanish; anything else as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return legible(value)


def escape_markdown(value: object) -> object:
    """A text in which nothing is markdown, cut if it is very long; markup as it is."""
    if isinstance(value, Markup):
        return value
    text = short(str(legible_if_text(value)), MARKDOWN_TEXT)
    # A long name without a space would not wrap, and push the page out of its frame.
    return in_markdown(" ".join(short(word, MARKDOWN_WORD) for word in text.split(" ")))


def anchor(title: str) -> str:
    """The id of the section with this heading."""
    return title.lower().replace(" ", "-")


def facts(fit: Fit) -> dict[str, str]:
    """The numbers of a fit by their names, as both pages list them."""
    rejected = f" ({fit.rejected:,} rejected)" if fit.rejected else ""
    tolerance = "" if fit.tol is None else f" (tolerance {significant(fit.tol, 2)})"
    known = {
        "Log-likelihood": number(fit.loglik, 3),
        "Iterations": f"{fit.evaluations:,}{rejected}",
        _DISTANCES[fit.family]: f"{significant(fit.distance, 2)}{tolerance}",
        "Prior": f"ridge, worth {significant(fit.prior_rows)} rows" if fit.prior_rows else "none",
    }
    if fit.condition is not None:
        known["Condition number"] = significant(fit.condition)
    if fit.starts_agree is not None:
        same = "the same maximum" if fit.starts_agree else "different maxima"
        known["Starts"] = f"{fit.starts} ({same})"
    if fit.worst_fraction is not None:
        known["Worst fraction of missing information"] = percent(fit.worst_fraction)
    if fit.worst_fraction and fit.worst_combination:
        known["In the direction of"] = ", ".join(
            f"{short(name)} ({signed(loading)})" for name, loading in fit.worst_combination
        )
    return known


FILTERS = {
    filter_.__name__: filter_
    for filter_ in (
        count,
        percent,
        mean_and_sd,
        number,
        significant,
        decimals,
        error_decimals,
        profile_decimals,
        shift_decimals,
        signed,
        lower_or_higher,
        p_value,
        mcar_sentence,
        seconds,
        megabytes,
        rate,
        short,
        in_a_cell,
        anchor,
        facts,
    )
}
"""What the templates call by these names."""
