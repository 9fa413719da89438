"""Drawings of a line's height for tables on the pages, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from em_impute.reporting.numerals import significant
from em_impute.reporting.records import Distribution, LevelCounts


def miniature(panel: Distribution | LevelCounts | None) -> Markup:
    """A drawing of a line's height: observed cells above, filled ones below, each to its peak."""
    if panel is None:
        return Markup()
    words = f"{sum(panel.observed):,} observed above {sum(panel.imputed):,} filled cells"
    return Markup(
        '<svg class="miniature" viewBox="0 0 {} 2" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><path class="seen" d="{}"/><path class="filled" d="{}"/></svg>'
    ).format(len(panel.observed), words, _outline(panel.observed, -1), _outline(panel.imputed, 1))


def _outline(counts: Sequence[int], way: int) -> str:
    """Bars from the middle line, upwards or downwards, as one path."""
    peak = max(counts, default=0) or 1
    return "M0 1" + "".join(f"V{1 + way * count / peak:.3f}h1" for count in counts) + "V1z"


def bars(numbers: Sequence[float | None]) -> Markup:
    """A drawing of a line's height with a bar for each number, the highest as high as it is."""
    shown = [number for number in numbers if number is not None]
    peak = max(shown, default=0) or 1
    outline = "".join(f"V{1 - (number or 0) / peak:.3f}h.8V1h.2" for number in numbers)
    least, most = min(shown, default=0), max(shown, default=0)
    words = f"{len(shown)} runs, from {significant(least)} to {significant(most)}"
    return Markup(
        '<svg class="miniature" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><path class="seen" d="M0 1{}z"/></svg>'
    ).format(max(len(numbers), 10), words, outline)
